"""What is measured on a dataset's pixels before it is written: sums for standardising, fingerprints for the audit."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from nbjax.english import counted, listing
from nbjax.errors import InputError
from nbjax.partition import Fingerprints, Violation, audit_patches, fingerprint_patches
from nbjax.samples.assign import SPLITS
from nbjax.samples.plan import SamplePlan
from nbjax.samples.standardise import NO_PIXELS, PixelSums, add_sums, pixel_sums, repeat_sums
from nbjax.threads import map_ahead


class Measurements(NamedTuple):
    """Of a plan's patches.

    Attributes:
        sums: over each split's samples, by its name.
        fingerprints: of each patch.
    """

    sums: dict[str, PixelSums]
    fingerprints: Fingerprints


def measure_patches(plan: SamplePlan, pixels: Iterable[np.ndarray]) -> Measurements:
    """Reads every patch once.

    Args:
        plan: the samples.
        pixels: the plan's patches in order, uint8 `[S, S, 3]` each.
    """
    samples = np.zeros((plan.patches.num_rows, len(SPLITS)), np.int64)
    np.add.at(samples, (plan.patch, plan.split), 1)

    def measure(patch: np.ndarray) -> tuple[PixelSums, Fingerprints]:
        return pixel_sums(patch), fingerprint_patches([patch])

    sums = dict.fromkeys(SPLITS, NO_PIXELS)
    digests: list[bytes] = []
    frequencies, contrast = [], []
    for (of_patch, print_), times in zip(map_ahead(measure, pixels), samples.tolist(), strict=True):
        for split, count in zip(SPLITS, times, strict=True):
            sums[split] = add_sums(sums[split], repeat_sums(of_patch, count))
        digests += print_.digests
        frequencies.append(print_.frequencies)
        contrast.append(print_.contrast)
    return Measurements(sums, Fingerprints(digests, np.concatenate(frequencies), np.concatenate(contrast)))


def audit_plan(plan: SamplePlan, patch_size: int, fingerprints: Fingerprints) -> list[Violation]:
    """Audits where the plan's patches go; see `nbjax.partition.audit`. A patch in two splits counts in both.

    Returns:
        The violations; their `patches` are rows of `plan.patches`.
    """
    patch, split = np.unique(np.stack([plan.patch, plan.split]), axis=1)
    columns = {
        name: np.asarray(plan.patches[name].to_pylist())[patch] for name in ("slide", "family", "label", "x", "y")
    }
    here = Fingerprints(
        [fingerprints.digests[one] for one in patch], fingerprints.frequencies[patch], fingerprints.contrast[patch]
    )
    violations = audit_patches(**columns, split=split, patch_size=patch_size, fingerprints=here)
    return [one._replace(patches=tuple(np.unique(patch[list(one.patches)]).tolist())) for one in violations]


def refused(plan: SamplePlan, violations: list[Violation], leak: str, accept: Iterable[str]) -> list[Violation]:
    """The violations that stop a build.

    Families with two labels are only reported. An experiment that leaks between train and validation accepts what
    violates between those two, never what touches the test split.
    """
    test = set(plan.patch[plan.split == SPLITS.index("test")].tolist())
    accepted = {"label", *accept}
    return [
        violation
        for violation in violations
        if violation.kind not in accepted and (leak == "none" or test & set(violation.patches))
    ]


# What mends a finding, by its kind.
MENDS = {
    "family": "give the family one split",
    "overlap": "remove one of the two patches",
    "identical": "remove one of the two slides, or, if they are of one patient, put both into one folder "
    "<label>/<patient>/",
    "similar": "look at the two: if they are of one patient, put their slides into one folder <label>/<patient>/",
}


def check_audit(stopping: list[Violation]) -> None:
    """Stops where something is shared between splits.

    Raises:
        InputError: there are violations; the first is described, with what mends it.
    """
    if stopping:
        kinds = sorted({violation.kind for violation in stopping})
        first = stopping[0]
        raise InputError(
            f"splits or families share something ({counted(len(stopping), 'finding')} of the kind {listing(kinds)}): "
            f"{first.message.rstrip('.')}; {MENDS[first.kind]}; --set=dataset.accept={','.join(kinds)} builds the "
            "dataset nevertheless, and its card then says so."
        )


def violations_by_kind(violations: list[Violation]) -> Iterator[tuple[str, list[Violation]]]:
    """The violations of each kind, in their order."""
    for kind in dict.fromkeys(violation.kind for violation in violations):
        yield kind, [violation for violation in violations if violation.kind == kind]
