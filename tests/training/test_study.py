"""A study's folder across runs: what is finished stays, what is cut short goes on, and the tables come out the same."""

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from experiments.study import study
from nbjax.config import StudyConfig
from nbjax.errors import InputError
from nbjax.models import load_backbone
from nbjax.samples.reading import open_dataset
from nbjax.training.plan import plan_backbone

ROOT = Path(__file__).parents[2]
GRID = {
    "backbones": ("resnet18",),
    "weights": None,
    "input_size": 32,
    "strategies": ("straightforward", "extension-1"),
    "batch_sizes": (8, 16),
    "learning_rates": (1e-3, 1e-2),
    "epochs": 5,
    "seeds": 3,
}
TABLES = ("sessions.parquet", "test_predictions.parquet", "fold_predictions.parquet")


@pytest.fixture(scope="module")
def finished(slides, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    study(StudyConfig(name="grid", **GRID), str(slides), out)
    return out


def tables(out):
    return [(out / name).read_bytes() for name in TABLES]


def test_every_cell_and_session_is_there_once(finished):
    history = pyarrow.parquet.read_table(finished / "sessions.parquet").to_pydict()
    names = ("strategy", "nonlinearities", "batch_size", "learning_rate", "seed", "epoch")
    rows = list(zip(*(history[name] for name in names), strict=True))
    kinds = [("straightforward", 0), ("extension", 1)]
    expected = {(*kind, *rest) for kind, *rest in itertools.product(kinds, (8, 16), (1e-3, 1e-2), range(3), range(6))}
    assert set(rows) == expected
    assert len(rows) == len(expected)


def test_what_is_missing_alone_is_run_again_to_the_same_bytes(finished, slides, tmp_path):
    copy = tmp_path / "study"
    shutil.copytree(finished, copy)
    programs = sorted((copy / "programs").iterdir())
    assert len(programs) == 4
    shutil.rmtree(programs[1])
    kept = {path: path.stat().st_mtime_ns for path in copy.glob("programs/*/history.parquet")}
    study(StudyConfig(name="grid", **GRID), str(slides), copy)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert tables(copy) == tables(finished)


def test_a_damaged_history_is_said_and_its_program_alone_runs_again(finished, slides, tmp_path, capsys):
    copy = tmp_path / "study"
    shutil.copytree(finished, copy)
    paths = sorted(copy.glob("programs/*/history.parquet"))
    kept = {path: path.stat().st_mtime_ns for path in paths}
    content = bytearray(paths[2].read_bytes())
    content[len(content) // 2] ^= 1
    paths[2].write_bytes(content)
    study(StudyConfig(name="grid", **GRID), str(slides), copy)
    assert f"{paths[2].parent.name}/history.parquet is damaged" in capsys.readouterr().err
    assert [path.stat().st_mtime_ns == kept[path] for path in paths] == [True, True, False, True]
    assert tables(copy) == tables(finished)


@pytest.mark.slow
def test_more_seeds_and_a_strategy_more_keep_no_wrong_session(finished, slides, tmp_path):
    copy = tmp_path / "study"
    shutil.copytree(finished, copy)
    larger = {**GRID, "strategies": ("straightforward", "extension-2"), "seeds": 4, "batch_sizes": (8,)}
    study(StudyConfig(name="grid", **larger), str(slides), copy)
    history = pyarrow.parquet.read_table(copy / "sessions.parquet")
    assert len(history) == 2 * 2 * 4 * 6
    before = pyarrow.parquet.read_table(finished / "sessions.parquet").to_pandas()
    both = history.to_pandas().merge(
        before, on=["strategy", "nonlinearities", "batch_size", "learning_rate", "seed", "epoch"]
    )
    assert len(both) == 2 * 3 * 6
    np.testing.assert_allclose(both.validation_loss_x, both.validation_loss_y, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"memory_gib": 1e-5}, "one session of a head with batch size 8 takes .* choose a smaller batch size"),
        ({"strategies": ("extension-10",)}, "10 non-linearities does not fit 512 features"),
        ({"strategies": ("unfreezing-40",)}, "resnet18 has 20 weight tensors before its last layer"),
        ({"backbones": ("resnet19",)}, "there is no backbone 'resnet19'; did you mean 'resnet18'"),
    ],
)
def test_what_cannot_run_is_said_before_anything_starts(settings, expected, slides, tmp_path):
    with pytest.raises(InputError, match=expected) as caught:
        study(StudyConfig(name="grid", **{**GRID, **settings}), str(slides), tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.npy"))


def test_an_empty_split_is_refused(finished):
    (folder,) = (finished / "dataset").glob("neuroblastoma/*/1.0.0")
    dataset = open_dataset(folder)
    empty = dataset._replace(samples={**dataset.samples, "validation": dataset.samples["validation"][:0]})
    with pytest.raises(InputError, match=r"split validation of .* is empty; build the dataset with other proportions"):
        plan_backbone(StudyConfig(name="grid", **GRID), empty, load_backbone("resnet18"), "")


def test_chunks_that_fit_give_the_same_results(finished, slides, tmp_path):
    shutil.copytree(finished / "dataset", tmp_path / "dataset")
    shutil.copytree(finished / "banks", tmp_path / "banks")
    study(StudyConfig(name="grid", **GRID, memory_gib=0.006), str(slides), tmp_path)
    assert len(list((tmp_path / "programs").iterdir())) > 4
    one, other = (pyarrow.parquet.read_table(out / "sessions.parquet").to_pandas() for out in (finished, tmp_path))
    names = [name for name in one if "loss" in name or "accuracy" in name]
    order = ["strategy", "batch_size", "learning_rate", "seed", "epoch"]
    one, other = (table.sort_values(order)[names].to_numpy() for table in (one, other))
    np.testing.assert_allclose(one, other, atol=1e-5)


def command(slides, out, environment=None):
    """The study as from a shell, with many short epochs, in a process of its own."""
    settings = {**GRID, "epochs": 300, "checkpoint_seconds": 0.2, "folds": 0, "test_curve": True}
    values = [f"--set={name}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in settings.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.study", f"--slides={slides}", f"--out={out}", *values],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_killed_at_thirty_moments_the_table_is_the_same_to_the_bit(finished, slides, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        for name in ("dataset", "banks", "manifest.parquet"):
            (shutil.copytree if (finished / name).is_dir() else shutil.copy)(finished / name, folder / name)
    begin = time.monotonic()
    with command(slides, whole) as process:
        assert process.wait() == 0, process.stderr.read()
    span = time.monotonic() - begin
    draw, kills, ends, in_flight = random.Random(0), 0, 0, 0
    while kills < 30 or ends == 0:
        with command(slides, cut) as process:
            try:
                process.wait(draw.uniform(0.2, 1.0) * span if kills < 30 else None)
                assert process.returncode == 0, process.stderr.read()
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
                in_flight += bool(list(cut.glob("programs/*/in_flight/*")))
                continue
        ends += 1
        for name in TABLES[:2]:
            assert (cut / name).read_bytes() == (whole / name).read_bytes()
        if kills < 30:
            shutil.rmtree(cut / "programs")
    assert in_flight > 5
    assert not list(cut.rglob("*.tmp"))
