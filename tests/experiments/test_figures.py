"""From the folders of studies, as a shell runs it, to figures and tables."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from experiments.study import study
from nbjax.config import StudyConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finished(slides, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    config = StudyConfig(
        name="tiny",
        backbones=("resnet18",),
        weights="random",
        input_size=64,
        strategies=("straightforward", "extension-1"),
        learning_rates=(1e-3, 1e-2),
        epochs=2,
        seeds=2,
    )
    study(config, str(slides), out)
    return out


def run(*arguments):
    command = [sys.executable, "-m", "experiments.figures", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)


@pytest.mark.slow
def test_figures_and_tables_of_a_study(finished, tmp_path):
    done = run(f"--studies={finished}", f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert f"study: {finished}, finished" in done.stdout
    assert "figure_15: not made, no study has the strategy unfreezing-K with finite losses" in done.stdout
    names = {path.name for path in tmp_path.iterdir()}
    figures = {f"figure_{number}" for number in (11, 13, 16, 17, 18, 19, 20)}
    assert {f"{name}{ending}" for name in figures for ending in (".png", ".csv")} <= names
    assert {"dataset_samples.png", "dataset_families.png", "dataset_families.csv"} <= names
    assert {f"table_{n}{ending}" for n in (1, 2, 3, 4) for ending in (".md", ".csv", ".tex")} <= names

    history = pyarrow.parquet.read_table(finished / "sessions.parquet").to_pylist()
    plain = [row for row in history if row["strategy"] == "straightforward"]
    best = min(max(row["train_loss"], row["validation_loss"]) for row in plain)
    (row,) = csv.DictReader((tmp_path / "figure_11.csv").read_text(encoding="utf-8").splitlines())
    assert float(row["best_loss"]) == best
    assert int(row["sessions"]) == 4
    by_strategy = list(csv.DictReader((tmp_path / "table_4.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["strategy"] for row in by_strategy] == ["straightforward", "extension"]
    assert float(by_strategy[0]["best_loss"]) == best


def test_one_sentence_for_what_is_no_study(tmp_path):
    for arguments, expected in [((), "--studies is missing"), ((f"--studies={tmp_path}",), "study.json")]:
        done = run(*arguments)
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1
        assert expected in done.stderr
