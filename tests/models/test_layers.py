"""Our gradients of convolutions against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nbjax.models.layers import _convolve, _convolve_on_cpu


@pytest.mark.parametrize(
    ("edge", "channels", "kernel", "stride", "padding"),
    [
        # No padding is wider than a kernel less one pixel: JAX 0.10's own gradient of such a convolution is wrong on a CPU.
        (16, 3, (3, 3), 1, ((0, 0), (0, 0))),
        (5, 4, (3, 3), 1, ((0, 0), (0, 0))),
        (9, 2, (3, 3), 1, ((1, 1), (1, 1))),
        (9, 2, (5, 3), 1, ((2, 2), (0, 1))),
        (8, 2, (2, 2), 1, ((0, 1), (1, 0))),
        (11, 2, (1, 7), 1, ((0, 0), (3, 3))),
        (11, 2, (3, 3), 2, ((1, 1), (1, 1))),
        (12, 2, (7, 7), 2, ((3, 3), (3, 3))),
    ],
)
def test_gradients_are_xlas(edge, channels, kernel, stride, padding):
    rng = np.random.default_rng(0)
    x, weights = (
        jnp.asarray(rng.standard_normal(shape, np.float32))
        for shape in ((3, edge, edge, channels), (*kernel, channels, 5))
    )
    found, expected = (
        jax.vjp(lambda x, w, function=function: function(x, w, stride, padding), x, weights)
        for function in (_convolve_on_cpu, _convolve)
    )
    gradient = jnp.asarray(rng.standard_normal(found[0].shape, np.float32))
    for one, other in zip(found[1](gradient), expected[1](gradient), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
