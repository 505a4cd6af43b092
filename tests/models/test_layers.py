"""Convolutions written for a CPU against XLA's own, forwards and backwards."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nbjax.models import layers
from nbjax.models.layers import convolve

# No padding is wider than a kernel less one pixel: JAX 0.10's own gradient of such a convolution is wrong on a CPU.
CASES = [
    # edge, channels, kernel, stride, padding
    (16, 3, (3, 3), 1, ((0, 0), (0, 0))),
    (5, 4, (3, 3), 1, ((0, 0), (0, 0))),
    (9, 2, (3, 3), 1, ((1, 1), (1, 1))),
    (9, 2, (5, 3), 1, ((2, 2), (0, 1))),
    (8, 2, (2, 2), 1, ((0, 1), (1, 0))),
    (11, 2, (1, 7), 1, ((0, 0), (3, 3))),
    (11, 2, (3, 3), 2, ((1, 1), (1, 1))),
    (12, 2, (7, 7), 2, ((3, 3), (3, 3))),
    (7, 6, (1, 1), 1, ((0, 0), (0, 0))),
    (7, 6, (1, 1), 2, ((0, 0), (0, 0))),
    (8, 1, (1, 1), 2, ((0, 0), (0, 0))),
]
DEPTHWISE = [
    (9, 4, (3, 3), 1, ((1, 1), (1, 1))),
    (10, 4, (5, 5), 2, ((1, 2), (1, 2))),
    (8, 1, (3, 3), 2, ((0, 1), (0, 1))),
]


def example(edge: int, channels: int, kernel: tuple[int, int], *, depthwise: bool) -> list[jax.Array]:
    rng = np.random.default_rng(0)
    of_kernel = (*kernel, 1, channels) if depthwise else (*kernel, channels, 5)
    return [jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in ((3, edge, edge, channels), of_kernel)]


@pytest.mark.parametrize(
    ("edge", "channels", "kernel", "stride", "padding", "depthwise", "vmapped"),
    [(*case, False, False) for case in CASES]
    + [(*case, True, False) for case in DEPTHWISE]
    + [(*CASES[6], False, True), (*CASES[9], False, True), (*DEPTHWISE[1], True, True)],
)
def test_values_and_gradients_are_xlas(edge, channels, kernel, stride, padding, depthwise, vmapped):
    x, weights = example(edge, channels, kernel, depthwise=depthwise)
    given = [jnp.stack([a, 2 * a]) for a in (x, weights)] if vmapped else [x, weights]

    def both(function):
        def run(x, weights):
            return function(x, weights, stride, padding)

        run = jax.vmap(run) if vmapped else run
        values = run(*given)
        factors = jnp.asarray(np.random.default_rng(1).standard_normal(values.shape, np.float32))
        return values, *jax.jit(jax.grad(lambda *of: jnp.sum(run(*of) * factors), argnums=(0, 1)))(*given)

    for one, other in zip(both(convolve), both(layers._forward), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(("platform", "products"), [("cpu", True), ("cuda", False), ("tpu", False)])
@pytest.mark.parametrize("depthwise", [False, True])
def test_only_a_cpu_gets_slices_and_products(platform: str, products: bool, depthwise: bool) -> None:
    """What XLA is given for a strided 1×1 convolution (its compiler for GPUs dies of slice and product) and a depthwise
    one.
    """
    arrays = example(8, 4, (3, 3) if depthwise else (1, 1), depthwise=depthwise)
    padding = ((1, 1), (1, 1)) if depthwise else ((0, 0), (0, 0))

    def total(x: jax.Array, weights: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(convolve(x, weights, 2, padding)))

    for function in (total, jax.grad(total, argnums=(0, 1)), functools.partial(jax.lax.map, lambda one: total(*one))):
        given = ((jnp.stack([a, a]) for a in arrays),) if isinstance(function, functools.partial) else arrays
        given = [tuple(one) if not isinstance(one, jax.Array) else one for one in given]
        text = jax.jit(function).trace(*given).lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.convolution" in text) == (not products)
        if not products:
            assert "stablehlo.slice" not in text
            assert "dot_general" not in text
