"""The grain pipeline on a small built dataset."""

import json
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from datasets.neuroblastoma.neuroblastoma_dataset_builder import build_from_manifest
from nbjax.config import DatasetConfig
from nbjax.errors import InputError
from nbjax.samples.pipeline import resize, training_batches
from nbjax.samples.reading import columns, open_dataset, picture
from nbjax.slides import Tiling, tile_folder, write_manifest

SMALL = {"size": 64, "seed": 3}


@pytest.fixture(scope="module", params=["samples", "compact"])
def dataset(request, slides, tmp_path_factory):
    out = tmp_path_factory.mktemp("pipeline")
    write_manifest(tile_folder(slides, Tiling())[0], out / "m.parquet")
    config = DatasetConfig(transforms=1, standardisation="per_split")
    return open_dataset(build_from_manifest(slides, out / "m.parquet", config, out, request.param))


def equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_every_sample_once_an_epoch_in_another_order(dataset):
    samples = len(dataset.samples["train"])
    batches = list(training_batches(dataset, "train", 7, epochs=2, **SMALL))
    sizes = [len(batch["label"]) for batch in batches]
    epoch = [7] * (samples // 7) + ([samples % 7] if samples % 7 else [])
    assert sizes == 2 * epoch
    order = np.concatenate([batch["sample"] for batch in batches])
    first, second = order[:samples], order[samples:]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(samples))
    assert first.tolist() != second.tolist()
    other = next(iter(training_batches(dataset, "train", samples, size=64, seed=4)))["sample"]
    assert other.tolist() != first.tolist()
    labels = columns(dataset, "train")["label"]
    np.testing.assert_array_equal(np.concatenate([batch["label"] for batch in batches]), labels[order])


@pytest.mark.parametrize("crop", ["random", "centre"])
def test_images_are_standardised_windows_of_their_samples(dataset, crop):
    mean, std = (np.asarray(moment, np.float32) for moment in dataset.standardisation("validation"))
    corners = set()
    for batch in training_batches(dataset, "validation", 5, epochs=2, crop=crop, **SMALL):
        assert batch["image"].dtype == np.float32
        for image, sample in zip(batch["image"], batch["sample"].tolist(), strict=True):
            whole = picture(dataset, "validation", sample)
            pixels = np.rint((image * std + mean) * 255).astype(np.uint8)
            windows = np.lib.stride_tricks.sliding_window_view(whole[..., 0], (64, 64))
            candidates = np.argwhere((windows[..., ::21, ::21] == pixels[::21, ::21, 0]).all(axis=(2, 3)))
            found = [(y, x) for y, x in candidates.tolist() if (whole[y : y + 64, x : x + 64] == pixels).all()]
            assert len(found) == 1
            corners |= set(found)
    assert corners == {(93, 93)} if crop == "centre" else len(corners) > 20


def test_resized_images_equal_pillows(dataset):
    batch = next(iter(training_batches(dataset, "test", 3, seed=0, size=299, crop="resize")))
    assert batch["image"].shape == (3, 299, 299, 3)
    mean, std = (np.asarray(moment, np.float32) for moment in dataset.standardisation("test"))
    whole = PIL.Image.fromarray(picture(dataset, "test", int(batch["sample"][0])))
    expected = np.asarray(whole.resize((299, 299), PIL.Image.Resampling.BILINEAR), np.float32)
    # On 8-bit images Pillow rounds to whole numbers, along each axis.
    difference = (batch["image"][0] * std + mean) * 255 - expected
    assert np.abs(difference).max() < 1.01
    assert abs(difference.mean()) < 0.01


def test_smaller_sizes_are_antialiased():
    stripes = np.tile(np.arange(64)[None, :, None] % 2, (64, 1, 3)).astype(np.float32)
    inner = resize(stripes, 8)[:, 1:-1]
    np.testing.assert_allclose(inner, 0.5, atol=0.01)


def test_stopping_after_any_batch_and_going_on_changes_nothing(dataset):
    batches = training_batches(dataset, "validation", 5, epochs=2, **SMALL)
    iterator = iter(batches)
    states, whole = [iterator.get_state()], []
    for batch in iterator:
        whole.append(batch)
        states.append(iterator.get_state())
    assert len(whole) > 4
    for done, state in enumerate(states):
        resumed = iter(training_batches(dataset, "validation", 5, epochs=2, **SMALL))
        # A state is plain data that a checkpoint can hold.
        resumed.set_state(json.loads(json.dumps(state)))
        rest = list(resumed)
        assert len(rest) == len(whole) - done
        for one, other in zip(whole[done:], rest, strict=True):
            equal(one, other)


SCRIPT = """
import sys
import numpy as np
from nbjax.samples.pipeline import training_batches
from nbjax.samples.reading import open_dataset

if __name__ == "__main__":
    dataset = open_dataset(sys.argv[1])
    batches = training_batches(dataset, "validation", 5, seed=3, size=64, epochs=2, workers=2)
    iterator = iter(batches)
    first = [next(iterator) for _ in range(3)]
    resumed = iter(batches)
    resumed.set_state(iterator.get_state())
    rest = list(resumed)
    np.savez(sys.argv[2], *[batch["image"] for batch in first + rest])
"""


@pytest.mark.slow
def test_workers_give_the_same_batches_in_a_plain_script(dataset, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "script.py"), str(dataset.folder), str(tmp_path / "out.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    alone = list(training_batches(dataset, "validation", 5, epochs=2, **SMALL))
    with np.load(tmp_path / "out.npz") as found:
        assert len(found.files) == len(alone)
        for name, batch in zip(found.files, alone, strict=True):
            np.testing.assert_array_equal(found[name], batch["image"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "tset"}, "split: found 'tset'"),
        ({"batch_size": 0}, "batch_size: found 0"),
        ({"epochs": 0}, "epochs: found 0"),
        ({"workers": -1}, "workers: found -1"),
        ({"crop": "smart"}, "crop: found 'smart'"),
        ({"size": 251}, "size: found 251; expected 1 to 250"),
    ],
)
def test_bad_input_gets_one_sentence(dataset, changes, message):
    with pytest.raises(InputError, match=message):
        training_batches(dataset, **{"split": "train", "batch_size": 4, "seed": 0, **changes})
