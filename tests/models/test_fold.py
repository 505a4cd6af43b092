"""The folded, faster forward pass equals the plain one; Winograd's form equals SciPy's convolution."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from nbjax.models import forward
from nbjax.models.fold import fold, run_folded
from nbjax.models.winograd import convolve, transform_kernel


@pytest.mark.parametrize("height", [4, 7, 14, 18])
@pytest.mark.parametrize("batch", [1, 3])
def test_winograd_equals_scipys_correlation(height: int, batch: int) -> None:
    rng = np.random.default_rng(height)
    x = rng.standard_normal((batch, height, height + 3, 5)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 5, 6)).astype(np.float32)
    expected = np.zeros((*x.shape[:3], 6))
    for image in range(batch):
        for channel in range(5):
            for width in range(6):
                plane, filter_ = x[image, ..., channel].astype(np.float64), kernel[..., channel, width]
                expected[image, ..., width] += scipy.signal.correlate2d(plane, filter_, mode="same")
    found = convolve(jnp.asarray(x), jnp.asarray(transform_kernel(kernel)))
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_few_and_many_tiles_agree() -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((8, 56, 56, 3)).astype(np.float32))
    transformed = jnp.asarray(transform_kernel(rng.standard_normal((3, 3, 3, 4))))
    one_by_one = jnp.concatenate([convolve(image[None], transformed) for image in x])
    np.testing.assert_allclose(convolve(x, transformed), one_by_one, atol=1e-5)


def test_folded_paths_agree_with_the_plain_one(case: Any) -> None:
    """With and without Winograd, within 1e-4 of the features' deviation; no batch norm after a convolution is left."""
    backbone, network = case.backbone, case.backbone.network
    last, images = network.stages[-1].name, jnp.asarray(case.images[:2])
    plain = np.asarray(forward(network, backbone.params, backbone.batch_stats, images, stop=last)[0])
    for use_winograd in (False, True):
        params, batch_stats = fold(network, backbone.params, backbone.batch_stats, use_winograd)
        found = np.asarray(run_folded(network, params, batch_stats, images, last))
        assert np.abs(found - plain).max() < 1e-4 * plain.std()
        # DenseNet alone has norms that no convolution comes before.
        assert bool(jax.tree.leaves(batch_stats)) == (case.arch == "densenet121")
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
        wins = case.arch not in ("efficientnet_b0", "densenet121") and use_winograd
        assert any("winograd" in path for path in paths) == wins
