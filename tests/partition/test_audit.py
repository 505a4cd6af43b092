import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from nbjax.errors import InputError
from nbjax.partition import audit_patches, fingerprint_patches, partition_families

EDGE = 64


def textures(number, seed=0, edge=EDGE):
    """Unrelated patches with coarse and fine structure."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(number, edge, edge, 3))
    smooth = sum(gaussian_filter(noise, (0, sigma, sigma, 0)) * sigma for sigma in (1, 3, 8))
    return np.clip(128 + 60 * smooth, 0, 255).astype(np.uint8)


def cohort(pixels=None, **changes):
    """Six patches of six slides, two in each split; what is changed is changed."""
    fingerprints = None if pixels is None else fingerprint_patches(pixels)
    arguments = {
        "slide": np.array(list("abcdef")),
        "family": np.array(list("ABCDEF")),
        "label": np.array(["D", "D", "PD", "PD", "D", "PD"]),
        "x": np.zeros(6, dtype=int),
        "y": np.zeros(6, dtype=int),
        "split": np.array([0, 0, 1, 1, 2, 2]),
        "patch_size": EDGE,
        "fingerprints": fingerprints,
    }
    return audit_patches(**{**arguments, **changes})


def recompressed(patch, quality):
    buffer = io.BytesIO()
    Image.fromarray(patch).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def eight_transforms(patch):
    turns = [np.rot90(patch, k) for k in range(4)]
    return [*turns, *(turn[:, ::-1] for turn in turns)]


def test_a_clean_cohort_has_no_violations():
    assert cohort(textures(6)) == []


@given(st.lists(st.integers(1, 12), min_size=3, max_size=30), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_partition_of_families_passes(sizes, seed):
    family = np.repeat(np.arange(len(sizes)), sizes)
    places = np.arange(len(family))
    split = partition_families(sizes).assignment[family]
    label = np.random.default_rng(seed).integers(0, 3, len(sizes))[family]
    assert audit_patches(family, family, label, places % 7 * 10, places // 7 * 10, split, 10) == []


def test_a_family_in_two_splits_is_found():
    (found,) = cohort(family=np.array(list("ABACDE")), label=np.array(["D"] * 6))
    assert found.kind == "family"
    assert found.patches == (0, 2)
    assert found.message == "Family A has patches of the splits train, validation."


def test_a_family_of_two_labels_is_found():
    (found,) = cohort(family=np.array(list("AACDEF")), label=np.array(["D", "PD", "PD", "PD", "D", "PD"]))
    assert (found.kind, found.patches) == ("label", (0, 1))
    assert found.message == "Family A has patches of the labels D, PD."


@pytest.mark.parametrize(
    ("x", "y", "shares"),
    [(EDGE, 0, False), (EDGE - 1, 0, True), (0, EDGE - 1, True), (1 - EDGE, 1 - EDGE, True), (EDGE - 1, -EDGE, False)],
)
def test_shared_pixels_are_found_and_touching_edges_are_not(x, y, shares):
    found = cohort(
        slide=np.array(list("abaabb")),
        x=np.array([500, 500, 500 + x, 5000, 9000, 9000]),
        y=np.array([500, 900, 500 + y, 5000, 9000, 9000]),
        split=np.array([0, 0, 1, 1, 2, 2]),
    )
    assert [violation.kind for violation in found] == (["overlap"] if shares else [])
    if shares:
        assert found[0].patches == (0, 2)
        assert "Slide a: 1 pairs of patches share pixels between train and validation" in found[0].message


@given(st.integers(0, 10**6), st.integers(10, 300), st.floats(0.001, 0.05))
@settings(max_examples=30, deadline=None)
def test_overlaps_are_those_of_all_pairs(seed, patches, density):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, int(10 / density), (2, patches))
    slide, split = rng.integers(0, 3, patches), rng.integers(0, 3, patches)
    found = audit_patches(slide, np.arange(patches), np.zeros(patches), x, y, split, 10)
    near = (np.abs(x[:, None] - x) < 10) & (np.abs(y[:, None] - y) < 10)
    near &= (slide[:, None] == slide) & (split[:, None] != split)
    assert {patch for violation in found for patch in violation.patches} == set(
        np.flatnonzero(near.any(axis=1)).tolist()
    )


@pytest.mark.parametrize("transform", range(8))
@pytest.mark.parametrize("shape", [(64, 64), (64, 48), (65, 65)])
def test_identical_patches_are_found_under_every_transform(transform, shape):
    patches = list(textures(6, edge=65)[:, : shape[0], : shape[1]])
    patches[4] = eight_transforms(patches[1])[transform]
    (found,) = cohort(patches)
    assert (found.kind, found.patches) == ("identical", (1, 4))
    assert "b at x=0, y=0 (train) and e at x=0, y=0 (test)" in found.message


@pytest.mark.parametrize("families", [("a", "a"), ("a", "b")])
def test_identical_patches_of_one_split_count_where_their_families_may_be_held_out_apart(families):
    patch = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    other = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    prints = fingerprint_patches([patch, np.rot90(patch), other])
    family = [*families, "c"]
    found = audit_patches(["s", "t", "u"], family, ["x"] * 3, *np.zeros((2, 3), int), np.zeros(3, int), 64, prints)
    assert [violation.kind for violation in found] == ["identical"] * (families[0] != families[1])
    assert [violation.patches for violation in found] == [(0, 1)] * (families[0] != families[1])


def test_identical_patches_with_symmetries_are_found():
    patches = textures(6)
    quarter = patches[0][:32, :32]
    symmetric = np.block([[[quarter], [quarter[:, ::-1]]], [[quarter[::-1]], [quarter[::-1, ::-1]]]])
    patches[1], patches[5] = symmetric, np.rot90(symmetric)
    (found,) = cohort(patches)
    assert (found.kind, found.patches) == ("identical", (1, 5))


def test_rearranged_pixels_are_not_identical():
    patches = textures(6)
    # The same sums of rows and of columns, other pixels.
    checker = np.zeros((EDGE, EDGE, 3), dtype=np.uint8)
    checker[0, 0] = checker[1, 1] = 200
    other = np.zeros((EDGE, EDGE, 3), dtype=np.uint8)
    other[0, 1] = other[1, 0] = 200
    checker[40, 7] = other[40, 7] = 9
    patches[0], patches[3] = checker, other
    assert "identical" not in {violation.kind for violation in cohort(patches)}


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: recompressed(patch, 30),
        lambda patch: recompressed(np.ascontiguousarray(np.rot90(patch)[:, ::-1]), 60),
        lambda patch: np.clip(patch.astype(int) + 12, 0, 255).astype(np.uint8),
        lambda patch: np.array(Image.fromarray(patch).resize((48, 48)).resize((EDGE, EDGE))),
        lambda patch: np.clip(patch + np.random.default_rng(0).normal(0, 8, patch.shape), 0, 255).astype(np.uint8),
    ],
)
def test_near_copies_are_found(change):
    patches = list(textures(6))
    patches[3] = change(patches[0])
    (found,) = cohort(patches)
    assert (found.kind, found.patches) == ("similar", (0, 3))


def test_unrelated_patches_are_not_similar():
    patches = textures(120, seed=7)
    split = np.arange(120) % 3
    numbers = np.arange(120)
    assert (
        audit_patches(numbers, numbers, np.zeros(120), numbers, numbers, split, EDGE, fingerprint_patches(patches))
        == []
    )


def test_copies_within_one_split_and_family_are_no_violation():
    patches = textures(6)
    patches[1] = patches[0]
    assert cohort(patches, family=np.array(list("AACDEF"))) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": np.array([0, 0, 1, 1, 2, 3])}, "split: found 3"),
        ({"x": np.zeros(5, dtype=int)}, r"x: found an array of shape \(5,\)"),
        ({"y": np.zeros(6)}, "y: found values of type float64"),
        ({"patch_size": 0}, "patch_size: found 0"),
        ({"pixels": textures(5)}, "fingerprints: found 5, expected 6"),
        ({"pixels": textures(6).astype(float)}, "pixels: patch 0 is float64"),
        ({"pixels": textures(6)[..., 0]}, "pixels: patch 0 is uint8"),
    ],
)
def test_bad_input_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        cohort(**changes)


def even(seed, level, noise):
    return np.clip(np.random.default_rng(seed).normal(level, noise, (EDGE, EDGE, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "featureless",
    [
        [np.zeros((EDGE, EDGE, 3), np.uint8)] * 3,
        [np.full((EDGE, EDGE, 3), level, np.uint8) for level in (200, 201, 240)],
        [even(0, 230, 2)] * 3,
        [recompressed(even(seed, 120, 3), 40) for seed in range(3)],
        # Light that falls off towards a corner.
        [
            (np.add.outer(np.arange(EDGE), np.arange(EDGE))[..., None] // 16 + np.uint8([220, 210, 215 + one])).astype(
                np.uint8
            )
            for one in range(3)
        ],
    ],
)
def test_patches_that_show_nothing_are_not_compared(featureless):
    patches = list(textures(6))
    patches[0], patches[3], patches[5] = featureless
    prints = fingerprint_patches(patches)
    assert prints.has_features.tolist() == [False, True, True, False, True, False]
    assert cohort(patches) == []


def test_copies_are_found_beside_patches_that_show_nothing():
    patches = list(textures(6))
    patches[0] = patches[5] = np.zeros((EDGE, EDGE, 3), np.uint8)
    patches[3] = patches[1]
    (found,) = cohort(patches)
    assert (found.kind, found.patches) == ("identical", (1, 3))
