"""Heads: shapes, torch's initialisation, and the forward pass against one written in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from nbjax.errors import InputError
from nbjax.models.heads import apply_head, head_sizes, init_head, take_standardised

KEY = jax.random.key(11)


def numpy_head(params, features: np.ndarray, masks=None) -> np.ndarray:
    """The paper's extension in float64: Linear, LeakyReLU 0.2, dropout by the masks given, …, Linear."""
    x = features.astype(np.float64)
    for index, layer in enumerate(params):
        x = x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)
        if index < len(params) - 1:
            x = np.where(x >= 0, x, 0.2 * x)
            x = x if masks is None else x * masks[index] / 0.5
    return x


def features(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((count, size)).astype(np.float32)


def test_the_papers_example() -> None:
    # Figure 12: two non-linearities.
    assert head_sizes(512, 2, 1) == (512, 256, 128, 1)
    assert head_sizes(2048, 0, 1) == (2048, 1)


# 512 and 2048 ResNet, 2048 Inception, 4096 VGG.
@pytest.mark.parametrize("size", [512, 2048, 4096])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("nonlinearities", range(7))
def test_shapes_and_bounds(size: int, outputs: int, nonlinearities: int) -> None:
    params = init_head(KEY, size, nonlinearities, outputs)
    assert len(params) == nonlinearities + 1
    for index, layer in enumerate(params):
        inputs = size // 2**index
        width = outputs if index == nonlinearities else inputs // 2
        bound = np.float32(1 / np.sqrt(inputs))
        assert (layer["kernel"].shape, layer["bias"].shape) == ((inputs, width), (width,))
        for array in layer.values():
            assert array.dtype == jnp.float32
            assert np.abs(np.asarray(array)).max() <= bound
    logits = apply_head(params, jnp.asarray(features(5, size)))
    assert (logits.shape, logits.dtype) == ((5, outputs), jnp.float32)
    np.testing.assert_allclose(logits, numpy_head(params, features(5, size)), rtol=0, atol=1e-5)


def test_initial_values_are_uniform_and_each_layer_has_its_own() -> None:
    params = init_head(KEY, 1024, 2, 1)
    samples = {
        (index, name): np.asarray(array).ravel() * np.sqrt(1024 / 2**index)
        for index, layer in enumerate(params)
        for name, array in layer.items()
        if array.size > 200
    }
    assert len(samples) == 5
    for where, values in samples.items():
        assert scipy.stats.kstest(values, scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3, where
    first = [values[:200] for values in samples.values()]
    correlations = np.corrcoef(first)[np.triu_indices(len(first), 1)]
    assert np.abs(correlations).max() < 0.3


def test_biases_of_many_heads_are_uniform_too() -> None:
    keys = jax.random.split(KEY, 2000)
    (layer,) = jax.vmap(lambda key: init_head(key, 64, 0, 1))(keys)
    values = np.asarray(layer["bias"]).ravel() * 8
    assert scipy.stats.kstest(values, scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_a_head_is_a_function_of_its_key_alone() -> None:
    keys = jax.random.split(KEY, 3)
    together = jax.vmap(lambda key: init_head(key, 32, 1, 1))(keys)
    for index, key in enumerate(keys):
        alone = init_head(key, 32, 1, 1)
        assert jax.tree.all(jax.tree.map(lambda a, b, i=index: np.array_equal(a[i], b), together, alone))
    assert not np.array_equal(together[0]["kernel"][0], together[0]["kernel"][1])


def test_dropout_drops_half_and_doubles_the_rest() -> None:
    params = init_head(KEY, 512, 1, 1)
    # A last layer that shows each hidden unit by itself.
    params = (params[0], {"kernel": jnp.eye(256, dtype=jnp.float32), "bias": jnp.zeros(256, jnp.float32)})
    x = jnp.asarray(features(400, 512))
    kept = np.asarray(apply_head(params, x))
    dropped = np.asarray(apply_head(params, x, jax.random.key(5)))
    mask = dropped != 0
    np.testing.assert_allclose(dropped[mask], 2 * kept[mask], rtol=1e-6)
    # 102,400 independent draws: five deviations of their mean.
    assert abs(mask.mean() - 0.5) < 5 * 0.5 / np.sqrt(mask.size)
    # Every example and every unit has draws of its own.
    assert 0.3 < mask.mean(axis=1).min() < mask.mean(axis=1).max() < 0.7
    assert 0.3 < mask.mean(axis=0).min() < mask.mean(axis=0).max() < 0.7


def test_dropout_follows_the_key_that_is_given() -> None:
    params, x = init_head(KEY, 64, 3, 1), jnp.asarray(features(6, 64))
    first, again, other = (apply_head(params, x, jax.random.key(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(apply_head(params, x), apply_head(params, x))


def test_layers_have_masks_of_their_own() -> None:
    eye = {"kernel": jnp.eye(256, dtype=jnp.float32), "bias": jnp.zeros(256, jnp.float32)}
    x = jnp.ones((100, 256), jnp.float32)
    # Two dropouts in a row keep a quarter, four times as large.
    twice = np.asarray(apply_head((eye, eye, eye), x, KEY))
    assert set(np.unique(twice)) == {0.0, 4.0}
    assert abs((twice > 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / twice.size)


def test_one_layer_has_no_dropout_and_no_activation() -> None:
    params, x = init_head(KEY, 32, 0, 4), jnp.asarray(features(6, 32))
    assert np.array_equal(apply_head(params, x), apply_head(params, x, jax.random.key(1)))
    np.testing.assert_allclose(
        apply_head(params, -x) + apply_head(params, x), 2 * params[0]["bias"][None] + 0 * x[:, :4], atol=1e-5
    )


@given(st.floats(-10, 10, width=32))
def test_the_slope_of_negative_values_is_a_fifth(value: float) -> None:
    layer = {"kernel": jnp.ones((1, 1), jnp.float32), "bias": jnp.zeros(1, jnp.float32)}
    found = float(apply_head((layer, layer), jnp.full((1, 1), value, jnp.float32))[0, 0])
    assert found == pytest.approx(value if value > 0 else 0.2 * value, rel=1e-6, abs=1e-37)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((512, -1, 1), "-1 non-linearities does not fit 512 features; expected 0 to 9"),
        ((512, 10, 1), "10 non-linearities does not fit 512 features"),
        ((512, 0, 0), "0 outputs; expected 1 for two classes"),
    ],
)
def test_heads_that_cannot_be(sizes: tuple[int, int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        init_head(KEY, *sizes)


@pytest.mark.parametrize("nonlinearities", [0, 2])
def test_a_head_that_takes_standardised_features_is_a_head_on_features(nonlinearities: int) -> None:
    params, x = init_head(KEY, 32, nonlinearities, 3), features(20, 32) * 7 + 2
    mean, deviation = np.linspace(-3, 3, 32, dtype=np.float32), np.linspace(0.5, 9, 32, dtype=np.float32)
    found = apply_head(take_standardised(params, jnp.asarray(mean), jnp.asarray(deviation)), jnp.asarray(x))
    np.testing.assert_allclose(found, numpy_head(params, (x - mean) / deviation), atol=1e-5)
