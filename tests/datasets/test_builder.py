"""The builder on small slides: the invariants of the splits, storages, leaks, the audit, and the same bytes again."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from datasets.neuroblastoma.neuroblastoma_dataset_builder import SOURCES, VARIANTS, Builder, build_from_manifest
from nbjax.config import DatasetConfig
from nbjax.errors import InputError
from nbjax.samples.reading import columns, decode, image_batches, open_dataset, picture, standardised
from nbjax.samples.transforms import apply_transform
from nbjax.slides import Tiling, tile_folder, write_manifest

ROOT = Path(__file__).parents[2]


def build(slides, out, storage="samples", **changes):
    """The dataset of a folder of slides, each split with moments of its own."""
    config = DatasetConfig(**{"standardisation": "per_split", **changes})
    write_manifest(tile_folder(slides, Tiling())[0], out / "manifest.parquet")
    return open_dataset(build_from_manifest(slides, out / "manifest.parquet", config, out, storage))


@pytest.fixture(scope="module")
def built(slides, tmp_path_factory):
    return build(slides, tmp_path_factory.mktemp("built"))


def sample_keys(dataset, split):
    """What identifies each sample, with the index that it has."""
    table = columns(dataset, split)
    names = ("slide", "y", "x", "transform")
    return {key: index for index, key in enumerate(zip(*(table[name].tolist() for name in names), strict=True))}


def test_no_family_is_in_two_splits_and_no_patch_is_lost(built):
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


@pytest.mark.parametrize("storage", ["compact", "standardised"])
def test_other_storages_hold_the_same_samples(built, slides, tmp_path, storage):
    other = build(slides, tmp_path, storage)
    for split in built.splits:
        expected, found = sample_keys(built, split), sample_keys(other, split)
        assert set(expected) == set(found)
        images = np.concatenate([standardised(other, split, batch) for batch in image_batches(other, split, 50)])
        for key in sorted(expected)[::7]:
            original = picture(built, split, expected[key])
            np.testing.assert_array_equal(picture(other, split, found[key]), original)
            np.testing.assert_array_equal(images[found[key]], standardised(built, split, original))
    assert other.card["standardisation"] == built.card["standardisation"]
    sizes = [sum(file.stat().st_size for file in one.folder.iterdir()) for one in (built, other)]
    assert (sizes[1] < sizes[0]) == (storage == "compact")


@pytest.mark.parametrize("leak", ["exchange", "random", "random_samples"])
def test_a_leak_is_between_train_and_validation_and_said(built, slides, tmp_path, leak):
    leaky = build(slides, tmp_path, leak=leak, seed=1)
    counts = {split: {label: row["samples"] for label, row in of.items()} for split, of in built.card["counts"].items()}
    for split, labels in leaky.card["counts"].items():
        assert {label: row["samples"] for label, row in labels.items()} == counts[split]
    assert sample_keys(leaky, "test").keys() == sample_keys(built, "test").keys()
    families = [set(columns(leaky, split)["family"].tolist()) for split in ("train", "validation", "test")]
    assert families[0] & families[1]
    assert not (families[0] | families[1]) & families[2]
    assert leaky.card["leak"] == leak
    assert leaky.card["audit"]["family"]["findings"] == len(families[0] & families[1])
    patches = [{key[:3] for key in sample_keys(leaky, split)} for split in ("train", "validation")]
    assert bool(patches[0] & patches[1]) == (leak == "random_samples")
    assert ("identical" in leaky.card["audit"]) == (leak == "random_samples")


def test_a_copied_slide_stops_the_build_unless_it_is_accepted(slides, tmp_path):
    copy = Path(shutil.copytree(slides, tmp_path / "slides"))
    # The copy is turned, so that only the pixels tell; all slides are of one size, so some pair lies in two splits.
    whole = PIL.Image.open(copy / "A/slide 0.png").crop((0, 0, 500, 500))
    for index in range(9):
        whole.rotate(90 * index).save(copy / f"A/slide {index}.png")
    with pytest.raises(InputError, match=r"findings? of the kind identical.*slide \d\.png at x=\d+, y=\d+ \(train\)"):
        build(copy, tmp_path)
    accepted = build(copy, tmp_path, accept=("identical",))
    assert accepted.card["audit"]["identical"]["findings"] == 4
    assert "slide 0.png" in accepted.card["audit"]["identical"]["messages"][0]


def test_a_family_of_two_labels_needs_the_exact_method(slides, tmp_path):
    copy = tmp_path / "slides"
    for label in "AB":
        for path in (slides / label).iterdir():
            family = "both" if path.stem == "slide 0" else f"{label} {path.stem}"
            (copy / label / family).mkdir(parents=True)
            shutil.copy(path, copy / label / family)
    with pytest.raises(
        InputError, match=r"patches of the labels A and B, .*but method filing.*--set=dataset.method=exact"
    ):
        build(copy, tmp_path)
    exact = build(copy, tmp_path, method="exact")
    where = [split for split in exact.splits if "both" in columns(exact, split)["family"]]
    assert len(where) == 1
    assert exact.card["audit"] == {
        "label": {"findings": 1, "messages": ["Family both has patches of the labels A, B."]}
    }


def test_a_split_left_empty_is_named(slides, tmp_path):
    # Filling train beyond 70 % takes seven of nine equal families, validation the other two.
    with pytest.raises(InputError, match=r"label A has no patch in the test split with method sequential.*exact"):
        build(slides, tmp_path, method="sequential")


@pytest.mark.parametrize("method", ["exact", "stratified_group_folds", "resampled"])
def test_other_methods_keep_families_together(slides, tmp_path, method):
    dataset = build(slides, tmp_path, method=method, transforms=0)
    families = [set(columns(dataset, split)["family"].tolist()) for split in dataset.splits]
    assert sum(map(len, families)) == len(set.union(*families)) == 15
    assert {row["method"] for row in dataset.card["partition"].values()} == {method}


def test_there_is_a_config_of_each_source_and_variant():
    names = [config.name for config in Builder.BUILDER_CONFIGS]
    assert len(set(names)) == len(names) == len(SOURCES) * len(VARIANTS)
    assert {"phantom", "paper_phantom_exchange", "slides_compact"} <= set(names)


def test_the_same_content_is_built_once_and_another_config_elsewhere(slides, tmp_path):
    few = {"transforms": 1}
    first = build(slides, tmp_path, **few).folder
    before = {path: path.stat().st_mtime_ns for path in first.iterdir()}
    assert build(slides, tmp_path, **few).folder == first
    assert {path: path.stat().st_mtime_ns for path in first.iterdir()} == before
    assert build(slides, tmp_path, transforms=0).folder != first


def test_a_changed_slide_stops_the_build(slides, tmp_path):
    slides = Path(shutil.copytree(slides, tmp_path / "slides"))
    write_manifest(tile_folder(slides, Tiling())[0], tmp_path / "m.parquet")
    PIL.Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(slides / "A/slide 0.png")
    with pytest.raises(InputError, match=r"slide 0\.png: the slide changed"):
        build_from_manifest(slides, tmp_path / "m.parquet", DatasetConfig(), tmp_path)
    # TFDS keeps a list of config names; nothing of the dataset itself may be there.
    left = [path for path in tmp_path.glob("neuroblastoma/**/*") if path.is_file() and path.parent.name != ".config"]
    assert not left


def test_slides_of_another_magnification_are_said_and_noted_in_the_card(built, slides, tmp_path, capsys):
    assert built.card["magnifications"] is None
    folder = tmp_path / "slides"
    shutil.copytree(slides, folder)
    for path in sorted(folder.glob("*/*"))[::2]:
        picture = PIL.Image.open(path)
        picture.resize((2 * picture.width, 2 * picture.height)).save(path)
    card = build(folder, tmp_path, transforms=1).card
    assert "times as large" in card["magnifications"]
    assert f"caution: {card['magnifications']}" in capsys.readouterr().out
    accepted = build(folder, tmp_path, transforms=1, tiling=Tiling(allow_mixed_resolution=True))
    assert accepted.card["magnifications"] is None


def test_missing_dataset_is_named(built, tmp_path):
    with pytest.raises(InputError, match=r"no built dataset lies here .* a study builds one"):
        open_dataset(tmp_path)
    # A mistyped folder may be a whole disk: it is searched no deeper than a study keeps its dataset.
    deep = tmp_path / "a/b/c/d/e"
    deep.mkdir(parents=True)
    (deep / "dataset_info.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="a study builds one"):
        open_dataset(tmp_path)
    root = built.folder.parents[2]
    with pytest.raises(InputError, match=f"the one below is {re.escape(str(built.folder))}"):
        open_dataset(root)


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


def tfds_build(slides, data_dir, *more):
    """Builds from a shell and returns the dataset's folder."""
    tfds = Path(sys.executable).with_name("tfds")
    command = [tfds, "build", "datasets/neuroblastoma", f"--data_dir={data_dir}", f"--manual_dir={slides}", *more]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    (folder,) = data_dir.glob("neuroblastoma/slides/*")
    return folder


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.slow
def test_tfds_build_from_a_shell_gives_the_same_bytes_twice_and_on_beam(slides, tmp_path):
    folder = tfds_build(slides, tmp_path / "one", "--config=slides")
    dataset = open_dataset(folder)
    assert dataset.card["classes"] == ["A", "B"]
    assert sum(len(source) for source in dataset.splits.values()) == sum(
        row["samples"] for labels in dataset.card["counts"].values() for row in labels.values()
    )
    assert json.loads((folder / "metadata.json").read_text(encoding="utf-8"))["partition"]["A"]["method"] == "filing"
    assert digests(tfds_build(slides, tmp_path / "two", "--config=slides")) == digests(folder)
    options = "--beam_pipeline_options=direct_num_workers=2,direct_running_mode=multi_processing"
    assert digests(tfds_build(slides, tmp_path / "beam", "--config=slides", options)) == digests(folder)
