"""The builder on small slides: TFDS's own test, the invariants of the splits, and reading without TensorFlow."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from datasets.neuroblastoma.neuroblastoma_dataset_builder import build_from_manifest
from nbjax.config import DatasetConfig
from nbjax.errors import InputError
from nbjax.samples.reading import columns, decode, image_batches, open_dataset, standardised
from nbjax.samples.transforms import apply_transform
from nbjax.slides import Tiling, tile_folder, write_manifest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(slides, tmp_path_factory):
    out = tmp_path_factory.mktemp("built")
    write_manifest(tile_folder(slides, Tiling())[0], out / "manifest.parquet")
    return open_dataset(build_from_manifest(slides, out / "manifest.parquet", DatasetConfig(), out))


def test_no_family_is_in_two_splits_and_no_patch_is_lost(built, slides):
    seen = {}
    patches = 0
    for split in built.splits:
        rows = columns(built, split)
        patches += int((rows["transform"] == 0).sum())
        for family in set(rows["family"]):
            assert seen.setdefault(family, split) == split
    assert len(seen) == 15
    assert patches == 15 * 4


def test_every_sample_is_its_patch_under_its_transform(built, slides):
    row = built.splits["train"][5]
    whole = np.asarray(PIL.Image.open(slides / row["slide"].decode()))
    patch = whole[row["y"] : row["y"] + 250, row["x"] : row["x"] + 250]
    np.testing.assert_array_equal(decode(row["image"]), apply_transform(patch, int(row["transform"])))


def test_counts_are_those_of_the_card(built):
    for split, labels in built.card["counts"].items():
        rows = columns(built, split)
        for index, label in enumerate(built.card["classes"]):
            here = rows["label"] == index
            assert (
                here.sum() == labels[label]["samples"] == labels[label]["patches"] * (1 + labels[label]["transforms"])
            )
            assert len(set(rows["family"][here])) == labels[label]["families"]


def test_each_standardised_split_has_mean_0_and_deviation_1(built):
    for split in built.splits:
        images = np.concatenate([standardised(built, split, batch) for batch in image_batches(built, split, 64)])
        np.testing.assert_allclose(images.mean(axis=(0, 1, 2), dtype=np.float64), 0, atol=1e-4)
        np.testing.assert_allclose(images.std(axis=(0, 1, 2), dtype=np.float64), 1, atol=1e-4)


def test_the_same_content_is_built_once_and_another_config_elsewhere(slides, tmp_path):
    write_manifest(tile_folder(slides, Tiling())[0], tmp_path / "m.parquet")
    few = DatasetConfig(transforms=1)
    first = build_from_manifest(slides, tmp_path / "m.parquet", few, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in first.iterdir()}
    assert build_from_manifest(slides, tmp_path / "m.parquet", few, tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in first.iterdir()} == before
    other = build_from_manifest(slides, tmp_path / "m.parquet", DatasetConfig(transforms=0), tmp_path)
    assert other != first


def test_a_changed_slide_stops_the_build(slides, tmp_path):
    slides = Path(shutil.copytree(slides, tmp_path / "slides"))
    write_manifest(tile_folder(slides, Tiling())[0], tmp_path / "m.parquet")
    PIL.Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(slides / "A/slide 0.png")
    with pytest.raises(InputError, match=r"slide 0\.png: the slide changed"):
        build_from_manifest(slides, tmp_path / "m.parquet", DatasetConfig(), tmp_path)
    # TFDS keeps a list of config names; nothing of the dataset itself may be there.
    left = [path for path in tmp_path.glob("neuroblastoma/**/*") if path.is_file() and path.parent.name != ".config"]
    assert not left


def test_missing_dataset_is_named(tmp_path):
    with pytest.raises(InputError, match="no built dataset lies here"):
        open_dataset(tmp_path)


READER = """
import sys
import tensorflow_datasets as tfds
source = tfds.builder_from_directory(sys.argv[1]).as_data_source(split="train")
print(len(source), source[0]["image"].shape, "tensorflow" in sys.modules)
"""


def test_reading_loads_no_tensorflow(built):
    command = [sys.executable, "-c", READER, str(built.folder)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(" ", 1)
    assert int(out[0]) == len(built.splits["train"])
    assert out[1].strip() == "(250, 250, 3) False"


@pytest.mark.slow
def test_tfds_build_from_a_shell(slides, tmp_path):
    tfds = Path(sys.executable).with_name("tfds")
    command = [
        tfds,
        "build",
        "datasets/neuroblastoma",
        f"--data_dir={tmp_path}",
        f"--manual_dir={slides}",
        "--config=slides",
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    (folder,) = tmp_path.glob("neuroblastoma/slides/*")
    dataset = open_dataset(folder)
    assert dataset.card["classes"] == ["A", "B"]
    assert sum(len(source) for source in dataset.splits.values()) == sum(
        row["samples"] for labels in dataset.card["counts"].values() for row in labels.values()
    )
    assert json.loads((folder / "metadata.json").read_text())["partition"]["A"]["method"] == "filing"
