"""People's own checkpoints of a network: other last layers, prefixes, other networks, values that are no numbers."""

import functools
import warnings

import jax
import numpy as np
import pytest

from nbjax.errors import InputError
from nbjax.models import RandomWeightsWarning, build_network, check_names, load_backbone, load_headless
from nbjax.models.convert import convert, fitting_networks, name_table


@functools.cache
def state_of(name: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(entry.torch_name, entry.torch_shape) for entry in name_table(build_network(name))]
    return {name: 0.05 * rng.random(shape, np.float32) for name, shape in shapes}


def body() -> dict[str, np.ndarray]:
    return {name: array for name, array in state_of("resnet18").items() if not name.startswith("fc.")}


def saved(tmp_path, state: dict[str, np.ndarray]) -> str:
    np.savez(tmp_path / "net.npz", **state)
    return str(tmp_path / "net.npz")


OWN_HEADS = {
    "none": {},
    "two classes": {"fc.weight": np.ones((2, 512), np.float32), "fc.bias": np.ones(2, np.float32)},
    "several layers": {"fc.1.weight": np.ones((128, 512), np.float32), "fc.4.weight": np.ones((2, 128), np.float32)},
    "under another name": {"head.weight": np.ones((2, 512), np.float32)},
    "no numbers": {"fc.weight": np.full((1000, 512), np.nan, np.float32), "fc.bias": np.ones(1000, np.float32)},
}


@pytest.mark.parametrize("head", OWN_HEADS)
@pytest.mark.parametrize("prefix", ["", "model.resnet.", "module.backbone.", "encoder."])
def test_a_study_takes_any_last_layer_under_any_prefix(tmp_path, head: str, prefix: str) -> None:
    whole = {prefix + name: array for name, array in (body() | OWN_HEADS[head]).items()}
    if prefix:
        whole["loss.weight"] = np.ones(2, np.float32)
    backbone = load_headless("resnet18", saved(tmp_path, whole))
    assert np.array_equal(backbone.params["stem"]["conv1"]["kernel"], body()["conv1.weight"].transpose(2, 3, 1, 0))
    # Readers take DataParallel's own prefix off.
    shown = prefix.removeprefix("module.") if not any(not name.startswith("module.") for name in whole) else prefix
    assert (f"without their prefix {shown!r}" in backbone.provenance) == bool(prefix)
    assert backbone.provenance.endswith("without 2 of the network's tensors")


def test_a_prefix_of_a_whole_state_dict_is_said() -> None:
    backbone = load_backbone("resnet18", {f"net.{name}": array for name, array in state_of("resnet18").items()})
    assert backbone.provenance.endswith("names taken without their prefix 'net.'")
    expected = convert(build_network("resnet18"), state_of("resnet18"))
    assert jax.tree.all(jax.tree.map(np.array_equal, (backbone.params, backbone.batch_stats), expected))


def test_two_prefixes_that_fit_are_an_error(tmp_path) -> None:
    both = {prefix + name: array for prefix in ("encoder_q.", "encoder_k.") for name, array in body().items()}
    with pytest.raises(InputError, match=r"several ways that fit \('encoder_k.', 'encoder_q.'\)"):
        load_headless("resnet18", saved(tmp_path, both))


def test_layers_of_the_used_part_still_matter(tmp_path) -> None:
    deeper = body() | {"layer3.2.conv1.weight": np.ones((256, 256, 3, 3), np.float32)}
    with pytest.raises(InputError, match=r"1 unexpected \(layer3.2.conv1.weight .*it fits none of the backbones"):
        load_headless("resnet18", saved(tmp_path, deeper))


def test_a_file_of_another_network_is_named(tmp_path) -> None:
    path = saved(tmp_path, {f"net.{name}": array for name, array in body().items()})
    with pytest.raises(InputError, match=r"it fits resnet18: name that backbone \(--set=backbones=resnet18"):
        load_headless("resnet50", path)
    with pytest.raises(InputError, match=rf"--set=backbones=resnet18 --set=weights={path}\)"):
        load_backbone("resnet18", weights=path)
    with pytest.raises(InputError, match=r'begin with fc. out and give partial="fc.\*"'):
        load_backbone("resnet18", state_dict=body() | OWN_HEADS["two classes"])


@pytest.mark.parametrize("name", ["vgg11", "resnet18", "small_cnn"])
def test_the_network_that_a_state_dict_fits(name: str) -> None:
    assert fitting_networks(state_of(name))[0] == name


def test_a_larger_network_of_the_family_does_not_fit_as_the_smaller() -> None:
    """ResNet-101 has every tensor of ResNet-50, and more."""
    shapes = {entry.torch_name: entry.torch_shape for entry in name_table(build_network("resnet101"))}
    state = {name: np.broadcast_to(np.float32(1), shape) for name, shape in shapes.items()}
    assert fitting_networks(state) == ["resnet101"]


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("conv1.weight", np.nan, np.float32),
        ("layer2.0.bn1.bias", np.inf, np.float16),
        ("bn1.weight", 1e300, np.float64),
        ("bn1.running_var", -1.0, np.float32),
    ],
)
def test_values_that_are_no_numbers_are_named_on_reading(tmp_path, name: str, value: float, kind: type) -> None:
    broken = body()
    array = broken[name].astype(kind)
    array.flat[1] = value
    broken[name] = array
    with pytest.raises(InputError, match=rf"not finite, or variances below 0, in {name} \(1 of [0-9,]+\)"):
        load_headless("resnet18", saved(tmp_path, broken))


def test_random_weights_are_asked_for() -> None:
    with pytest.warns(RandomWeightsWarning, match=r'ask for them by load_backbone\("resnet18", weights="random"\)'):
        fallen_into = load_backbone("resnet18", seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked_for = load_backbone("resnet18", weights="random", seed=3)
    assert fallen_into.provenance == asked_for.provenance == "random (seed 3)"
    assert not asked_for.pretrained
    assert jax.tree.all(jax.tree.map(np.array_equal, fallen_into.params, asked_for.params))


def test_a_backbone_prints_in_one_line() -> None:
    assert repr(load_backbone("resnet18", weights="random")) == (
        "Backbone(resnet18, 11,689,512 parameters, weights: random (seed 0))"
    )


@pytest.mark.parametrize(
    ("backbones", "weights", "message"),
    [
        (["resnet18", "resnt50"], "random", "there is no backbone 'resnt50'; did you mean 'resnet50'"),
        (
            ["resnet18"],
            "imagenet",
            "not stored on this machine; run `python -m experiments.convert_weights --backbone=r",
        ),
        (["resnet50"], "imagenet", "name one of them"),
        (["resnet18"], "IMAGENET1K_V2", "resnet18 has IMAGENET1K_V1"),
        (["resnet18"], "randm", "there is no such file; did you mean random?"),
        (["small_cnn"], "imagenet", "--set=weights=random --set=strategies=scratch"),
    ],
)
def test_names_are_looked_at_without_reading_anything(tmp_path, monkeypatch, backbones, weights, message) -> None:
    monkeypatch.setenv("NBJAX_HOME", str(tmp_path))
    with pytest.raises(InputError, match=message):
        check_names(backbones, weights)


def test_names_that_are_right(tmp_path) -> None:
    (tmp_path / "net.pth").write_bytes(b"not looked at")
    check_names(["resnet18", "vgg11"], "random")
    check_names(["efficientnet_lite0"], "imagenet")
    check_names(["resnet18"], str(tmp_path / "net.pth"))
