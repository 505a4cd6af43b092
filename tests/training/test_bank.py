"""Feature banks against the backbone run by hand on the samples they are of."""

import resource
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from datasets.neuroblastoma.neuroblastoma_dataset_builder import build_from_manifest
from nbjax.config import DatasetConfig, StudyConfig
from nbjax.errors import InputError
from nbjax.models import load_backbone, load_headless
from nbjax.samples.reading import image_batches, open_dataset
from nbjax.samples.standardise import IMAGENET_MEAN, IMAGENET_STD
from nbjax.slides.manifest import write_manifest
from nbjax.slides.tile import Tiling, tile_folder
from nbjax.training import bank as banks
from nbjax.training.bank import feature_bank, missing_files
from nbjax.training.inputs import view_of, window
from nbjax.training.strategy import FAST, Fidelity
from nbjax.training.study import bank_bytes


@pytest.fixture(scope="module")
def dataset(slides, tmp_path_factory):
    out = tmp_path_factory.mktemp("dataset")
    write_manifest(tile_folder(slides, Tiling())[0], out / "m.parquet")
    config = DatasetConfig(standardisation="per_split")
    return open_dataset(build_from_manifest(slides, out / "m.parquet", config, out))


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("resnet18", weights="random")


def by_hand(dataset, backbone, split, corners, size, stop):
    """Outputs of the samples' windows, standardised as the dataset says; torchvision's convention is the identity
    then.
    """
    mean, std = (np.asarray(values) for values in dataset.standardisation(split))
    pixels = np.concatenate(list(image_batches(dataset, split, 16)))[: len(corners)]
    cut = np.stack([one[y : y + size, x : x + size] for one, (y, x) in zip(pixels, corners, strict=True)])
    images = ((cut / 255 - mean) / std).astype(np.float32)
    return np.asarray(backbone.prefix(images, stop))


@pytest.mark.parametrize(("stop", "shape"), [("fc", (512,)), ("layer4.1", (2, 2, 512))])
def test_a_centre_bank_is_the_prefix_of_every_sample(stop, shape, dataset, backbone, tmp_path):
    view = view_of(250, 64, FAST)
    bank = feature_bank(dataset, backbone, stop, view, tmp_path)
    for split, samples in dataset.samples.items():
        assert bank.inputs[split].shape == (len(samples), *shape)
        assert len(bank.columns[split]["label"]) == len(samples)
    corners = np.full((20, 2), (250 - 64) // 2)
    expected = by_hand(dataset, backbone, "train", corners, 64, stop)
    np.testing.assert_allclose(bank.inputs["train"][:20], expected, atol=1e-4 * expected.std(), rtol=1e-4)


def test_a_bank_of_crops_holds_each_samples_own_fixed_windows(dataset, backbone, tmp_path):
    view = view_of(250, 64, Fidelity(crop="bank", crops=3))
    bank = feature_bank(dataset, backbone, "fc", view, tmp_path)
    assert bank.crops == 3
    assert len(bank.inputs["train"]) == 3 * len(dataset.samples["train"])
    key = jax.random.key(99)
    for draw in range(3):
        corners = [np.asarray(window(view, key, jnp.int32(row), jnp.int32(draw))) for row in range(8)]
        assert len({tuple(corner) for corner in corners}) > 4
        expected = by_hand(dataset, backbone, "train", corners, 64, "fc")
        np.testing.assert_allclose(
            bank.inputs["train"][draw : 3 * 8 : 3], expected, atol=1e-4 * expected.std(), rtol=1e-4
        )


def test_bfloat16_takes_half_and_is_the_rounded_bank(dataset, backbone, tmp_path):
    view = view_of(250, 64, FAST)
    half, whole = (
        sum(missing_files(dataset, backbone, "fc", view, tmp_path, dtype).values()) for dtype in ("bfloat16", "float32")
    )
    assert 2 * half == whole
    assert half == 2 * 512 * sum(len(samples) for samples in dataset.samples.values())
    whole = feature_bank(dataset, backbone, "fc", view, tmp_path).inputs["test"]
    found = feature_bank(dataset, backbone, "fc", view, tmp_path, "bfloat16").inputs["test"]
    np.testing.assert_array_equal(found, np.asarray(whole).astype(ml_dtypes.bfloat16))
    assert missing_files(dataset, backbone, "fc", view, tmp_path, "bfloat16") == {}


def test_backbones_share_a_bank_of_pixels(dataset, backbone, tmp_path):
    view = view_of(250, 64, Fidelity(crop="random"))
    other = load_headless("vgg11", "random", 64)
    wanted, same = (missing_files(dataset, one, None, view, tmp_path, "float32") for one in (backbone, other))
    assert same == wanted
    one = StudyConfig(name="pixels", backbones=("resnet18",), weights="random", strategies=("scratch",))
    assert bank_bytes(replace(one, backbones=("resnet18", "vgg11")), 100) == bank_bytes(one, 100) == 100 * 250 * 250 * 3


def test_a_bank_of_pixels_keeps_them(dataset, backbone, tmp_path):
    bank = feature_bank(dataset, backbone, None, view_of(250, 64, Fidelity(crop="random")), tmp_path)
    expected = np.concatenate(list(image_batches(dataset, "validation", 16)))
    assert bank.inputs["validation"].dtype == np.uint8
    np.testing.assert_array_equal(bank.inputs["validation"], expected)
    mean, std = (np.asarray(values) for values in dataset.standardisation("validation"))
    factor, shift = bank.conventions["validation"]
    np.testing.assert_allclose(expected[0] * factor + shift, (expected[0] / 255 - mean) / std, atol=1e-4)


def test_lite0_gets_its_own_convention(dataset, tmp_path):
    lite0 = load_backbone("efficientnet_lite0", weights="random")
    bank = feature_bank(dataset, lite0, None, view_of(250, 64, Fidelity(crop="random")), tmp_path)
    mean, std = (np.asarray(values) for values in dataset.standardisation("train"))
    factor, shift = bank.conventions["train"]
    pixels = np.arange(256)[:, None]
    # What is standardised is read as if ImageNet-normalised, then written as (pixel - 127) / 128.
    seen = 255 * ((pixels / 255 - mean) / std * np.asarray(IMAGENET_STD) + np.asarray(IMAGENET_MEAN))
    np.testing.assert_allclose(pixels * factor + shift, (seen - 127) / 128, atol=1e-4)


def test_other_weights_views_and_cuts_have_banks_of_their_own(dataset, backbone, tmp_path):
    other = load_backbone("resnet18", weights="random", seed=1)
    view = view_of(250, 64, FAST)
    folders = [
        feature_bank(dataset, *arguments, tmp_path).folder
        for arguments in [
            (backbone, "fc", view),
            (other, "fc", view),
            (backbone, "avgpool", view),
            (backbone, "fc", view_of(250, 96, FAST)),
        ]
    ]
    assert len(set(folders)) == 4
    assert feature_bank(dataset, backbone, "fc", view, tmp_path).folder == folders[0]


def damages(path):
    """Each way of damaging a file, by name."""
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) * 2 // 3] ^= 16
    return {
        "flipped": bytes(flipped),
        "cut": content[: len(content) // 2],
        "zeros": bytes(len(content)),
        "emptied": b"",
    }


@pytest.mark.parametrize("name", ["validation.npy", "validation.npy.sha256", "bank.json"])
def test_a_damaged_bank_is_said_and_made_again_to_the_same_bytes(name, dataset, backbone, tmp_path, capsys):
    arguments = (dataset, backbone, "fc", view_of(250, 64, FAST), tmp_path)
    folder = feature_bank(*arguments).folder
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for how, content in {**damages(folder / name), "removed": None}.items():
        capsys.readouterr()
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        feature_bank(*arguments)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
        said = [line for line in capsys.readouterr().err.splitlines() if line.endswith("made again.")]
        assert len(said) == (0 if how == "removed" and not name.endswith("sha256") else 1)


def test_a_disk_that_fills_while_a_bank_is_written_is_one_sentence(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def blocks():
        yield np.ones((10, 100), np.float32)

    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(InputError, match=r"train\.npy: the disk got full .*; make room there or choose") as caught:
            banks._write(tmp_path / "train.npy", blocks(), (10, 100), np.dtype(np.float32), "bank", 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_bank_that_does_not_fit_the_disk_is_refused_before_it_is_made(dataset, backbone, tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(
        InputError, match=r"the feature banks take .* and the disk has 0\.0 MiB free; make room there, choose another"
    ):
        feature_bank(dataset, backbone, "fc", view_of(250, 64, FAST), tmp_path)
    assert not list(tmp_path.rglob("*.npy"))
