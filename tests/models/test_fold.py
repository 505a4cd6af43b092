"""The folded, faster forward pass equals the plain one; Winograd's form equals SciPy's convolution."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from nbjax.models import forward
from nbjax.models.fold import fold, run_folded
from nbjax.models.winograd import convolve, convolve_line, transform_kernel


def correlated(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The valid correlation of `[N, H, W, C]` with `[h, w, C, K]`, in float64."""
    planes = np.moveaxis(x.astype(np.float64), 3, 0)
    filters = np.moveaxis(kernel.astype(np.float64), (2, 3), (0, 1))
    found = [
        [
            sum(scipy.signal.correlate2d(plane[n], one[c], mode="valid") for c, plane in enumerate(planes))
            for n in range(len(x))
        ]
        for one in np.moveaxis(filters, 1, 0)
    ]
    return np.moveaxis(np.asarray(found), 0, 3)


@pytest.mark.parametrize("height", [5, 7, 14, 18])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("taps", "padding"), [(3, 0), (3, 1), (5, 0), (5, 2)])
def test_winograd_equals_scipys_correlation(height: int, batch: int, taps: int, padding: int) -> None:
    rng = np.random.default_rng(height)
    x = rng.standard_normal((batch, height, height + 3, 5)).astype(np.float32)
    kernel = rng.standard_normal((taps, taps, 5, 6)).astype(np.float32)
    expected = correlated(np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0))), kernel)
    found = convolve(jnp.asarray(x), jnp.asarray(transform_kernel(kernel)), taps, padding)
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("length", [7, 12, 17])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("padding", [0, 3])
def test_seven_taps_in_a_line_equal_scipys_correlation(length: int, axis: int, padding: int) -> None:
    rng = np.random.default_rng(length)
    x = rng.standard_normal((2, length, length + 1, 5)).astype(np.float32)
    kernel = rng.standard_normal((7, 1, 5, 6) if axis == 1 else (1, 7, 5, 6)).astype(np.float32)
    widths = [(padding, padding) if one == axis else (0, 0) for one in range(4)]
    expected = correlated(np.pad(x, widths), kernel)
    found = convolve_line(jnp.asarray(x), jnp.asarray(transform_kernel(kernel)), axis, padding)
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_few_and_many_tiles_agree() -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((8, 56, 56, 3)).astype(np.float32))
    transformed = jnp.asarray(transform_kernel(rng.standard_normal((3, 3, 3, 4))))
    one_by_one = jnp.concatenate([convolve(image[None], transformed, 3, 1) for image in x])
    np.testing.assert_allclose(convolve(x, transformed, 3, 1), one_by_one, atol=1e-5)


def test_folded_paths_agree_with_the_plain_one(case: Any) -> None:
    """Written for a CPU and not, within 1e-4 of the features' deviation; no batch norm after a convolution is left."""
    backbone, network = case.backbone, case.backbone.network
    last, images = network.stages[-1].name, jnp.asarray(case.images[:2])
    plain = np.asarray(forward(network, backbone.params, backbone.batch_stats, images, stop=last)[0])
    for on_cpu in (False, True):
        params, batch_stats = fold(network, backbone.params, backbone.batch_stats, on_cpu)
        found = np.asarray(run_folded(network, params, batch_stats, images, last))
        assert np.abs(found - plain).max() < 1e-4 * plain.std()
        # DenseNet alone has norms that no convolution comes before.
        assert bool(jax.tree.leaves(batch_stats)) == (case.arch == "densenet121")
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
        assert any("winograd" in path for path in paths) == (on_cpu and case.arch != "efficientnet_b0")
