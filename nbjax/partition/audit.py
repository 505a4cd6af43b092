"""Leakage audit: is anything of one split also in another?

Kinds of violation, by the names that a dataset's config may allow:

- `family`: a family has patches in two splits;
- `label`: a family has patches of two labels;
- `overlap`: two patches of one slide share pixels and are in different splits;
- `identical`: patches in different splits, or of different families, which are held out apart, are equal byte for byte
  under one of the eight dihedral transforms;
- `similar`: patches in different splits look alike under one of the eight transforms (see `similarity_bits`).

Patches that show nothing, black or blank, take no part in the last two: they are all alike and tell nothing of a
patient.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

from nbjax.errors import InputError
from nbjax.partition.fingerprints import MOST_DIFFERENT_BITS, Fingerprints, similarity_bits
from nbjax.partition.inputs import SPLITS

KINDS = ("family", "label", "overlap", "identical", "similar")
# Hashes compared at once: bounds the memory of a comparison to about 100 MB.
_BLOCK = 256


class Violation(NamedTuple):
    """Something that makes splits depend on each other.

    Attributes:
        kind: one of `KINDS`.
        message: one sentence.
        patches: indices of the patches concerned, at least one pair's for `overlap` and `similar`.
    """

    kind: str
    message: str
    patches: tuple[int, ...]


def audit_patches(
    slide: Sequence[str] | np.ndarray,
    family: Sequence[str] | np.ndarray,
    label: Sequence[str] | np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    split: np.ndarray,
    patch_size: int,
    fingerprints: Fingerprints | None = None,
) -> list[Violation]:
    """Looks for whatever a split shares with another.

    Args:
        slide: name or number of each patch's slide `[patches]`.
        family: the same of its family `[patches]`.
        label: the same of its label `[patches]`.
        x: level-0 pixels of the left edge, int `[patches]`.
        y: level-0 pixels of the upper edge, int `[patches]`.
        split: 0 train, 1 validation, 2 test, int `[patches]`.
        patch_size: edge in level-0 pixels.
        fingerprints: of the patches in the same order, from `fingerprint_patches`; None leaves out `identical` and
            `similar`.

    Returns:
        The violations found, in the order of `KINDS`; empty where there is none.

    Raises:
        InputError: arrays of different lengths, an unknown split, a patch size below 1, or fingerprints that do not
            fit.
    """
    columns = {
        name: np.asarray(values)
        for name, values in zip(
            ("slide", "family", "label", "x", "y", "split"), (slide, family, label, x, y, split), strict=True
        )
    }
    _check(columns, patch_size)
    split = columns["split"]
    violations = [
        *_mixed(columns["family"], split, "family", "splits", SPLITS),
        *_mixed(columns["family"], columns["label"], "label", "labels", None),
        *_overlaps(columns, patch_size),
    ]
    if fingerprints is not None:
        if len(fingerprints.digests) != len(split):
            raise InputError(f"fingerprints: found {len(fingerprints.digests)}, expected {len(split)}, one a patch.")
        violations += _identical(fingerprints, columns)
        violations += _similar(fingerprints, columns)
    return violations


def _place(columns: dict[str, np.ndarray], patch: int) -> str:
    """A patch in words that find it: its slide, corner and split."""
    slide, x, y = (columns[name][patch] for name in ("slide", "x", "y"))
    return f"{slide} at x={x}, y={y} ({SPLITS[columns['split'][patch]]})"


def _check(columns: dict[str, np.ndarray], patch_size: int) -> None:
    patches = len(columns["split"])
    for name, values in columns.items():
        if values.shape != (patches,):
            raise InputError(
                f"{name}: found an array of shape {values.shape}, expected ({patches},), one value a patch."
            )
        if name in ("x", "y", "split") and values.dtype.kind not in "iu":
            raise InputError(f"{name}: found values of type {values.dtype}, expected whole numbers.")
    unknown = np.setdiff1d(columns["split"], np.arange(len(SPLITS)))
    if unknown.size:
        raise InputError(f"split: found {unknown[0]}, expected 0 train, 1 validation or 2 test.")
    if patch_size < 1:
        raise InputError(f"patch_size: found {patch_size}, expected at least 1 pixel.")


def _mixed(
    family: np.ndarray, values: np.ndarray, kind: str, noun: str, names: Sequence[str] | None
) -> Iterator[Violation]:
    """Families with more than one value of something."""
    families, number = np.unique(family, return_inverse=True)
    distinct, value = np.unique(values, return_inverse=True)
    present = np.zeros((len(families), len(distinct)), dtype=bool)
    present[number, value] = True
    for mixed in np.flatnonzero(present.sum(axis=1) > 1):
        mixed_names = [str(names[code] if names else code) for code in distinct[present[mixed]]]
        patches = tuple(np.flatnonzero(number == mixed).tolist())
        yield Violation(kind, f"Family {families[mixed]} has patches of the {noun} {', '.join(mixed_names)}.", patches)


def _overlaps(columns: dict[str, np.ndarray], patch_size: int) -> Iterator[Violation]:
    """Slides with patches of different splits that share pixels."""
    split, corners = columns["split"], np.stack([columns["x"], columns["y"]], axis=1)
    slides, number = np.unique(columns["slide"], return_inverse=True)
    order = np.argsort(number, kind="stable")
    for patches in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
        for first, second in combinations(range(len(SPLITS)), 2):
            sides = [patches[split[patches] == one] for one in (first, second)]
            if not (len(sides[0]) and len(sides[1])):
                continue
            # Squares share pixels where their corners are closer than an edge in x and in y.
            trees = [KDTree(corners[side]) for side in sides]
            near = trees[0].query_ball_tree(trees[1], patch_size - 0.5, p=np.inf)
            pairs = [(int(sides[0][i]), int(sides[1][j])) for i, others in enumerate(near) for j in others]
            if pairs:
                yield Violation(
                    "overlap",
                    f"Slide {slides[number[patches[0]]]}: {len(pairs)} pairs of patches share pixels between "
                    f"{SPLITS[first]} and {SPLITS[second]}, first {_place(columns, pairs[0][0])} and "
                    f"{_place(columns, pairs[0][1])}.",
                    tuple(sorted({patch for pair in pairs for patch in pair})),
                )


def _identical(fingerprints: Fingerprints, columns: dict[str, np.ndarray]) -> Iterator[Violation]:
    """Sets of equal patches that lie in more than one split, or are of more than one family."""
    split, family = columns["split"], columns["family"]
    alike: dict[bytes, list[int]] = {}
    for patch in np.flatnonzero(fingerprints.has_features).tolist():
        alike.setdefault(fingerprints.digests[patch], []).append(patch)
    for patches in alike.values():
        others = [patch for patch in patches if split[patch] != split[patches[0]]]
        twins = [patch for patch in patches if family[patch] != family[patches[0]]]
        if twins and not others:
            yield Violation(
                "identical",
                f"{len(patches)} patches of different families are identical under a dihedral transform, among them "
                f"{_place(columns, patches[0])} and {_place(columns, twins[0])}.",
                tuple(patches),
            )
        if others:
            yield Violation(
                "identical",
                f"{len(patches)} patches are identical under a dihedral transform and lie in several splits, among "
                f"them {_place(columns, patches[0])} and {_place(columns, others[0])}.",
                tuple(patches),
            )


def _similar(fingerprints: Fingerprints, columns: dict[str, np.ndarray]) -> Iterator[Violation]:
    """Pairs of patches in different splits that look alike but are not identical."""
    # What shows nothing is given no split.
    split = np.where(fingerprints.has_features, columns["split"], -1)
    hashes = similarity_bits(fingerprints.frequencies)
    for first, second in combinations(range(len(SPLITS)), 2):
        larger, smaller = sorted((np.flatnonzero(split == side) for side in (first, second)), key=len, reverse=True)
        upright = hashes[0, larger]
        for start in range(0, len(smaller), _BLOCK):
            block = smaller[start : start + _BLOCK]
            different = np.full((len(block), len(larger)), 256, dtype=np.uint16)
            for turned in hashes[:, block]:
                count = np.zeros(different.shape, dtype=np.uint16)
                for word in range(turned.shape[1]):
                    count += np.bitwise_count(turned[:, None, word] ^ upright[None, :, word])
                np.minimum(different, count, out=different)
            for i, j in np.argwhere(different <= MOST_DIFFERENT_BITS):
                pair = sorted((int(block[i]), int(larger[j])))
                if fingerprints.digests[pair[0]] != fingerprints.digests[pair[1]]:
                    yield Violation(
                        "similar",
                        f"{_place(columns, pair[0])} and {_place(columns, pair[1])} look alike: under a dihedral "
                        f"transform {different[i, j]} of 256 signs of their spatial frequencies differ.",
                        tuple(pair),
                    )
