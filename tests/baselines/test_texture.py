import importlib.util

import numpy as np
import pytest
import skimage.data

from nbjax.baselines import texture
from nbjax.errors import InputError
from nbjax.samples.transforms import apply_transform


def stripes(period):
    return np.broadcast_to(np.where(np.arange(64) // period % 2, 200, 50).astype(np.uint8), (64, 64))


def test_patterns_of_an_even_patch_of_a_ramp_and_of_noise():
    even = texture.binary_patterns(np.full((64, 64), 7, np.uint8))
    # All eight neighbours are at least as bright.
    np.testing.assert_array_equal(np.flatnonzero(even), [8, 18, 28])
    # On a ramp the three of the bright side and the two in line.
    ramp = texture.binary_patterns(np.tile(np.arange(0, 192, 3, dtype=np.uint8), (64, 1)))
    np.testing.assert_array_equal(np.flatnonzero(ramp), [5, 15, 25])
    noise = texture.binary_patterns(np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8))
    np.testing.assert_allclose(noise.reshape(3, 10).sum(axis=1), 1, rtol=1e-5)
    assert (noise.reshape(3, 10)[:, 9] > 0.2).all()


def test_edges_have_five_bright_neighbours_on_one_side_and_all_elsewhere():
    found = texture.binary_patterns(stripes(16))[:10]
    # A bright pixel at a vertical edge: its own column and the bright side, five of eight; a dark one there, and all
    # others: eight.
    assert set(np.flatnonzero(found)) == {5, 8}
    assert found[5] == pytest.approx(3 / 62)


@pytest.mark.parametrize("transform", range(8))
def test_patterns_are_the_same_under_every_transform(transform):
    image = texture.grey(skimage.data.astronaut()[:250, :250])
    turned = apply_transform(image[..., None], transform)[..., 0]
    np.testing.assert_allclose(texture.binary_patterns(turned), texture.binary_patterns(image), atol=1e-3)


def test_keypoints_are_found_where_there_is_structure():
    image = texture.grey(skimage.data.astronaut()[:250, :250])
    found = texture.keypoint_descriptors(image)
    assert found.dtype == np.uint8
    assert found.shape[1] == 128
    assert 100 < len(found) < 250
    # Lowe's descriptors have length 512 as bytes, but for rounding.
    np.testing.assert_allclose(np.linalg.norm(found.astype(float), axis=1), 512, rtol=0.02)
    assert texture.keypoint_descriptors(np.full((250, 250), 200, np.uint8)).shape == (0, 128)


def test_what_is_not_installed_is_named(monkeypatch):
    texture.check_installed()
    real = importlib.util.find_spec
    monkeypatch.setattr(texture, "find_spec", lambda name: None if name == "cv2" else real(name))
    with pytest.raises(InputError, match=r"^OpenCV: not installed.*pip install -e '\.\[baselines\]'"):
        texture.check_installed()
