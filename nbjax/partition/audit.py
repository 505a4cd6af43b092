"""Leakage audit: is anything of one split also in another?

Kinds of violation, by the names that a dataset's config may allow:

- `family`: a family has patches in two splits;
- `label`: a family has patches of two labels;
- `overlap`: two patches of one slide share pixels and are in different splits;
- `identical`: patches in different splits are equal byte for byte under one of the eight dihedral transforms;
- `similar`: patches in different splits look alike under one of the eight transforms (see `similarity_bits`).
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

from nbjax.errors import InputError
from nbjax.partition.inputs import SPLITS

KINDS = ("family", "label", "overlap", "identical", "similar")
# Of 256 signs of a patch's lowest spatial frequencies. Unrelated patches differ in about half of them.
FREQUENCIES = 16
MOST_DIFFERENT_BITS = 60
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
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


class Fingerprints(NamedTuple):
    """What the audit keeps of the patches' pixels.

    Attributes:
        digests: equal for patches that are equal under one of the eight transforms `[patches]`.
        frequencies: lowest coefficients of the cosine transform of the grey image, float32 `[patches, 16, 16]`.
    """

    digests: list[bytes]
    frequencies: np.ndarray


def audit_patches(
    slide: Sequence[str] | np.ndarray,
    family: Sequence[str] | np.ndarray,
    label: Sequence[str] | np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    split: np.ndarray,
    patch_size: int,
    pixels: Iterable[np.ndarray] | None = None,
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
        pixels: the patches themselves in the same order, uint8 `[H, W, 3]` each, read once; None to leave out
            `identical` and `similar`.

    Returns:
        The violations found, in the order of `KINDS`; empty where there is none.

    Raises:
        InputError: arrays of different lengths, an unknown split, a patch size below 1, or pixels that do not fit.
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
        *_overlaps(columns["slide"], np.stack([columns["x"], columns["y"]], axis=1), split, patch_size),
    ]
    if pixels is not None:
        fingerprints = fingerprint(pixels)
        if len(fingerprints.digests) != len(split):
            raise InputError(f"pixels: found {len(fingerprints.digests)} patches, expected {len(split)}, one a row.")
        violations += _identical(fingerprints.digests, split)
        violations += _similar(fingerprints, split)
    return violations


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
        found = [str(names[one] if names else one) for one in distinct[present[mixed]]]
        patches = tuple(np.flatnonzero(number == mixed).tolist())
        yield Violation(kind, f"Family {families[mixed]} has patches of the {noun} {', '.join(found)}.", patches)


def _overlaps(slide: np.ndarray, corners: np.ndarray, split: np.ndarray, patch_size: int) -> Iterator[Violation]:
    """Slides with patches of different splits that share pixels."""
    slides, number = np.unique(slide, return_inverse=True)
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
                    f"{SPLITS[first]} and {SPLITS[second]}, the first pair is {pairs[0][0]} and {pairs[0][1]}.",
                    tuple(sorted({patch for pair in pairs for patch in pair})),
                )


def fingerprint(pixels: Iterable[np.ndarray]) -> Fingerprints:
    """Reads patches once.

    Args:
        pixels: uint8 `[H, W, 3]` each.

    Raises:
        InputError: an array of another type or shape.
    """
    digests, frequencies = [], []
    bases: dict[int, np.ndarray] = {}
    for number, patch in enumerate(pixels):
        if patch.dtype != np.uint8 or patch.ndim != 3 or patch.shape[2] != 3:
            raise InputError(f"pixels: patch {number} is {patch.dtype} {patch.shape}, expected uint8 (H, W, 3).")
        values = patch.astype(np.float32)
        digests.append(_digest(patch, values))
        grey = values @ _GREY
        rows, columns = (bases.setdefault(size, _cosines(size)) for size in grey.shape)
        frequencies.append(rows @ grey @ columns.T)
    return Fingerprints(digests, np.array(frequencies, dtype=np.float32).reshape(-1, FREQUENCIES, FREQUENCIES))


def _digest(patch: np.ndarray, values: np.ndarray) -> bytes:
    """A hash of the patch, turned the way that makes its sums of rows, then of columns, come first in order.

    The sums are whole numbers below 2^24, so float32 holds them exactly (edges up to 65,000 pixels).
    """
    height, width = patch.shape[:2]
    of_rows = np.matmul(np.ones((1, width), np.float32), values).reshape(height, 3)
    of_columns = (np.ones((1, height), np.float32) @ values.reshape(height, -1)).reshape(width, 3)
    sums = (of_rows, of_columns)
    keys = {}
    for transposed in (False, True):
        for flip_rows in (1, -1):
            for flip_columns in (1, -1):
                along, across = sums[transposed], sums[not transposed]
                key = along[::flip_rows].tobytes() + across[::flip_columns].tobytes()
                keys[transposed, flip_rows, flip_columns] = (len(along), key)
    least = min(keys.values())
    candidates = []
    for (transposed, flip_rows, flip_columns), key in keys.items():
        if key == least:
            turned = patch.transpose(1, 0, 2) if transposed else patch
            turned = np.ascontiguousarray(turned[::flip_rows, ::flip_columns])
            candidates.append(hashlib.sha256(str(turned.shape).encode() + turned.tobytes()).digest())
    return min(candidates)


def _cosines(size: int) -> np.ndarray:
    """The first rows of the cosine transform (type II), float32 `[16, size]`."""
    places = (np.arange(size) + 0.5) / size
    return np.cos(np.pi * np.arange(FREQUENCIES)[:, None] * places[None, :]).astype(np.float32)


def _identical(digests: list[bytes], split: np.ndarray) -> Iterator[Violation]:
    """Sets of equal patches that lie in more than one split."""
    alike: dict[bytes, list[int]] = {}
    for patch, digest in enumerate(digests):
        alike.setdefault(digest, []).append(patch)
    for patches in alike.values():
        splits = sorted(set(split[patches].tolist()))
        if len(splits) > 1:
            yield Violation(
                "identical",
                f"Patches {', '.join(map(str, patches))} are identical under a dihedral transform, in the splits "
                f"{', '.join(SPLITS[one] for one in splits)}.",
                tuple(patches),
            )


def similarity_bits(frequencies: np.ndarray) -> np.ndarray:
    """Perceptual hashes: the signs of the lowest frequencies, under each of the eight transforms.

    Patches count as similar when at most `MOST_DIFFERENT_BITS` of 256 signs differ. Measured on 1,044 patches of 23
    patients (BreaKHis, 250 pixels): among a million pairs of different patients none differed in fewer than 88; copies
    compressed again (JPEG quality 20), scaled by a half, blurred, made noisier or darker differed in at most 13, 20 %
    brighter ones in at most 58, ones moved by 3 pixels in at most 41 and by 8 pixels in about 67, which is not found.

    A flip changes the sign of every odd frequency along its axis, a transposition exchanges the axes; the constant term
    is left out.

    Args:
        frequencies: float32 `[patches, 16, 16]`.

    Returns:
        uint64 `[8, patches, 4]`, the first under the identity.
    """
    signs = np.where(np.arange(FREQUENCIES) % 2 == 1, -1, 1).astype(np.float32)
    hashes = []
    for transposed in (False, True):
        turned = frequencies.swapaxes(1, 2) if transposed else frequencies
        for flip_rows in (False, True):
            for flip_columns in (False, True):
                factor = (signs[:, None] if flip_rows else 1) * (signs[None, :] if flip_columns else 1)
                bits = (turned * factor > 0).reshape(len(frequencies), -1)
                bits[:, 0] = False
                hashes.append(np.packbits(bits, axis=1).view(np.uint64))
    return np.stack(hashes)


def _similar(fingerprints: Fingerprints, split: np.ndarray) -> Iterator[Violation]:
    """Pairs of patches in different splits that look alike but are not identical."""
    hashes = similarity_bits(fingerprints.frequencies)
    for first, second in combinations(range(len(SPLITS)), 2):
        larger, smaller = sorted((np.flatnonzero(split == one) for one in (first, second)), key=len, reverse=True)
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
                        f"Patches {pair[0]} ({SPLITS[split[pair[0]]]}) and {pair[1]} ({SPLITS[split[pair[1]]]}) look "
                        f"alike: {different[i, j]} of 256 signs of their spatial frequencies differ under a dihedral "
                        "transform.",
                        tuple(pair),
                    )
