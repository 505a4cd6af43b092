import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nbjax.errors import InputError
from nbjax.samples.standardise import (
    NO_PIXELS,
    add_sums,
    moments,
    pixel_sums,
    repeat_sums,
    standardisations,
    standardise,
)
from nbjax.samples.transforms import apply_transform

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 20, 20, 3), dtype=np.uint8)


def test_standardised_samples_have_mean_0_and_deviation_1():
    images = standardise(IMAGES, moments(pixel_sums(IMAGES))).astype(np.float64)
    np.testing.assert_allclose(images.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(images.std(axis=(0, 1, 2)), 1, atol=1e-6)


@given(hnp.arrays(np.uint8, (4, 5, 5, 3)), st.integers(1, 8))
def test_sums_are_exact_and_count_repeated_samples(images, times):
    repeated = np.concatenate([apply_transform(images, t) for t in range(times)]).reshape(-1, 3).astype(object)
    sums = repeat_sums(add_sums(pixel_sums(images[:1]), pixel_sums(images[1:])), times)
    assert sums.pixels == len(repeated)
    assert sums.sums.tolist() == repeated.sum(axis=0).tolist()
    assert sums.squares.tolist() == (repeated**2).sum(axis=0).tolist()


def test_moments_equal_numpys():
    result = moments(pixel_sums(IMAGES))
    scaled = IMAGES.reshape(-1, 3) / 255
    np.testing.assert_allclose(result.mean, scaled.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(result.std, scaled.std(axis=0), rtol=1e-12)


def test_modes():
    sums = {"train": pixel_sums(IMAGES[:3]), "test": pixel_sums(IMAGES[3:])}
    assert standardisations("per_split", sums)["test"] == moments(sums["test"])
    assert standardisations("train", sums)["test"] == moments(sums["train"])
    assert standardisations("imagenet", sums)["test"].mean == (0.485, 0.456, 0.406)
    plain = standardise(IMAGES, standardisations("none", sums)["train"])
    np.testing.assert_allclose(plain, IMAGES / 255, atol=1e-6)
    with pytest.raises(InputError, match="standardisation: found 'other'"):
        standardisations("other", sums)


def test_nothing_to_standardise_is_refused():
    with pytest.raises(InputError, match="without samples"):
        moments(NO_PIXELS)
    with pytest.raises(InputError, match="same value in every pixel"):
        moments(pixel_sums(np.full((2, 2, 3), 7, np.uint8)))
