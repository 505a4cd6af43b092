"""Every architecture through the same checks, against torchvision's own outputs where there are any."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nbjax.errors import InputError
from nbjax.models import build_network, forward
from nbjax.models.convert import convert, name_table

# Of the logits' standard deviation.
TOLERANCE = 1e-4
# Inception's pass with batch statistics is ill-conditioned on four images: its auxiliary head normalises over four
# values. In float64 our network differs from torchvision's float32 logits by 1.1e-4 (auxiliary 2.7e-4) at most, so
# that no float32 implementation can be nearer; ours in float32 differs from float64 by as much.
TRAINING_TOLERANCE = {"inception_v3": 5e-4}
# Logits of bfloat16 activations, relative to the float32 logits (norms). B0 with these weights doubles its activations'
# scale from stage to stage and amplifies any rounding (ten times the others' in float32, too): only its stages are
# held.
ROUGH = 2e-2
AMPLIFIES = ("efficientnet_b0",)


def torch_order(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


def last_stage_of(module: str, names: list[str]) -> str:
    """The last stage that belongs to a torch module: `layer1` ends with `layer1.1`."""
    return [name for name in names if name == module or name.startswith(f"{module}.")][-1]


def test_every_tap_agrees(case: Any, evaluated: Mapping[str, np.ndarray]) -> None:
    taps = [key.removeprefix("tap/") for key in case.reference if key.startswith("tap/")]
    assert len(taps) >= 3
    unit = TOLERANCE * case.reference["eval_logits"].std()
    for tap in taps:
        ours = torch_order(evaluated[last_stage_of(tap, list(evaluated))])
        shape = tuple(int(size) for size in case.reference[f"tapshape/{tap}"])
        assert ours.shape == (shape[:2] if shape[2:] == (1, 1) else shape) or (tap, ours.size) == (
            "avgpool",
            np.prod(shape),
        )
        found = np.concatenate([[ours.mean(), ours.std()], ours.ravel()[:16]])
        np.testing.assert_allclose(found, case.reference[f"tap/{tap}"], rtol=0, atol=unit, err_msg=tap)


def test_logits_agree(case: Any, evaluated: Mapping[str, np.ndarray]) -> None:
    expected = case.reference["eval_logits"]
    logits = evaluated[case.backbone.network.stages[-1].name]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=TOLERANCE * expected.std())


def test_training_pass_agrees(case: Any, trained: Any) -> None:
    if not jax.tree.leaves(case.backbone.batch_stats):
        assert "train_logits" not in case.reference
        return
    tolerance = TRAINING_TOLERANCE.get(case.arch, TOLERANCE)
    expected = case.reference["train_logits"]
    np.testing.assert_allclose(trained.logits, expected, rtol=0, atol=tolerance * expected.std())
    if "train_aux_logits" in case.reference:
        # GoogLeNet has two auxiliary heads; torchvision's named output begins with the second.
        expected = case.reference["train_aux_logits"]
        found = trained.auxiliary[case.backbone.network.auxiliary[-1].name]
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * expected.std())


def test_running_statistics_agree(case: Any, trained: Any) -> None:
    entries = {entry.torch_name: entry for entry in name_table(case.backbone.network)}
    names = [key.removeprefix("train_stat/") for key in case.reference if key.startswith("train_stat/")]
    assert len(names) == (4 if jax.tree.leaves(case.backbone.batch_stats) else 0)
    for name in names:
        found = trained.batch_stats
        for key in entries[name].path:
            found = found[key]
        expected = case.reference[f"train_stat/{name}"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * expected.std(), err_msg=name)


def test_number_of_parameters(case: Any) -> None:
    assert sum(leaf.size for leaf in jax.tree.leaves(case.backbone.params)) == case.meta["parameters"]


def test_backbone_gives_logits_and_features_and_compiles_once(
    case: Any, evaluated: Mapping[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    backbone, images = case.backbone, case.images[:2]
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        logits, features = backbone.logits(images), backbone.features(images)
        assert "Compiling" in caplog.text
        caplog.clear()
        again = backbone.logits(images[::-1].copy()), backbone.features(images[::-1].copy())
        assert "Compiling" not in caplog.text
    names = list(evaluated)
    unit = TOLERANCE * case.reference["eval_logits"].std()
    np.testing.assert_allclose(logits, evaluated[names[-1]], rtol=0, atol=unit)
    np.testing.assert_allclose(features, evaluated[names[-2]], rtol=0, atol=unit)
    np.testing.assert_allclose(again[0][::-1], logits, rtol=0, atol=unit)
    assert features.shape == (2, backbone.feature_size)
    assert logits.dtype == features.dtype == jnp.float32


def test_every_cut_gives_the_whole(case: Any) -> None:
    backbone = case.backbone
    network, trees = backbone.network, (backbone.params, backbone.batch_stats)
    # Small images: what is tested is the order of the stages.
    images = jnp.asarray(case.images[:1, :96, :96])
    whole, _, outputs = forward(network, *trees, images)
    assert list(outputs) == [stage.name for stage in network.stages]
    for stage in network.stages:
        prefix, _, before = forward(network, *trees, images, stop=stage.name)
        suffix, _, after = forward(network, *trees, prefix, start=stage.name)
        assert [*before, *after] == list(outputs)
        assert np.array_equal(suffix, whole), stage.name


def test_wrong_keys_are_named_on_both_sides(case: Any) -> None:
    network = case.backbone.network
    names = [name for name in case.state_dict if not name.endswith("num_batches_tracked")]
    first, middle, last = names[0], names[len(names) // 2], names[-1]
    broken = {name: array for name, array in case.state_dict.items() if name != first}
    broken["head.weight"] = np.zeros((3, 5), np.float32)
    broken[middle] = broken[middle][:-1]
    with pytest.raises(InputError) as caught:
        convert(network, broken, "broken.pth")
    message = str(caught.value)
    assert message.startswith("broken.pth: ")
    assert f"1 missing ({first} {case.state_dict[first].shape})" in message
    assert "1 unexpected (head.weight (3, 5))" in message
    wanted = case.state_dict[middle].shape
    assert f"1 of another shape ({middle} {(wanted[0] - 1, *wanted[1:])}, expected {wanted})" in message
    assert last not in message


def test_counters_may_be_absent(case: Any) -> None:
    without = {name: array for name, array in case.state_dict.items() if not name.endswith("num_batches_tracked")}
    params, batch_stats = convert(case.backbone.network, without)
    assert jax.tree.all(jax.tree.map(np.array_equal, params, case.backbone.params))
    assert jax.tree.all(jax.tree.map(np.array_equal, batch_stats, case.backbone.batch_stats))


def test_bfloat16_stays_near(case: Any, evaluated: Mapping[str, np.ndarray]) -> None:
    backbone = case.backbone
    network, trees, names = backbone.network, (backbone.params, backbone.batch_stats), list(evaluated)
    images = jnp.asarray(case.images[:2], jnp.bfloat16)
    for previous, name, following in zip([None, *names], names, [*names[1:], None], strict=False):
        x = images if previous is None else jnp.asarray(evaluated[previous], jnp.bfloat16)
        alone = forward(network, *trees, x, start=name, stop=following)[0]
        assert alone.dtype == jnp.bfloat16
        assert relative(alone, evaluated[name]) < ROUGH, name
    if case.arch not in AMPLIFIES:
        assert relative(forward(network, *trees, images)[0], evaluated[names[-1]]) < ROUGH


def relative(found: jax.Array, expected: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(found, np.float32) - expected) / np.linalg.norm(expected))


def test_another_salt_gives_other_finite_logits(case: Any, rebuild: Callable[[str, str], Any]) -> None:
    other = rebuild(case.arch, "another")
    logits = np.asarray(other.backbone.logits(other.images[:2]))
    expected = case.reference["eval_logits"]
    assert np.all(np.isfinite(logits))
    assert 0.2 < logits.std() / expected.std() < 5
    assert abs(np.corrcoef(logits.ravel(), expected.ravel())[0, 1]) < 0.5


def test_second_network_of_the_name_is_equal(case: Any) -> None:
    again = build_network(case.arch)
    assert again == case.backbone.network
    assert hash(again) == hash(case.backbone.network)
