"""Every figure and table is made, or named with the reason; one that fails takes no other with it."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from nbjax import locks
from nbjax.report.paper import results
from nbjax.report.studies import pool, read_study
from tests.report.conftest import random_history

ROOT = Path(__file__).parents[3]
PLAIN = ("resnet18", "straightforward", 0, 0, 0.1, 8)
DEEP = ("resnet18", "extension", 1, 0, 0.1, 8)
EVERYTHING = {*results.FIGURES, *results.TABLES, *results.OVERVIEW}
LOSSES = ("train_loss", "validation_loss")


def with_losses(history, value, split=LOSSES):
    columns = {name: np.full(len(history), value) for name in split}
    columns["diverged"] = np.full(len(history), not np.isfinite(value))
    return pa.table({**{name: history[name] for name in history.column_names}, **columns})


HISTORIES = {
    "one session of two epochs": random_history([PLAIN], seeds=1, epochs=2),
    "before training alone": random_history([PLAIN, DEEP], seeds=1, epochs=1),
    "alike": with_losses(random_history([PLAIN, DEEP], seeds=30, epochs=2), 0.5),
    "losses beyond the axes": with_losses(random_history([PLAIN, DEEP]), 1e12),
    "losses at their upper end": with_losses(random_history([PLAIN, DEEP]), 0.8),
    "never finite": with_losses(random_history([PLAIN, DEEP]), np.nan),
    "infinite": with_losses(random_history([PLAIN, DEEP]), np.inf, ("validation_loss",)),
    "unfreezing alone": random_history([("vgg16", "unfreezing", 0, 2, 0.1, 8)], seeds=2),
    "from scratch": random_history([("small_cnn", "scratch", 0, 0, 0.1, 8)], seeds=2),
}


def pooled(make_study, history, classes):
    def change(record):
        record["config"] = {"epochs": 3}

    return pool([read_study(make_study(change, classes=classes, history=history))])


@pytest.mark.parametrize("classes", [("D", "PD"), ("D", "PD", "UD")], ids=len)
@pytest.mark.parametrize("name", HISTORIES)
def test_whatever_a_study_has(name, classes, make_study, tmp_path):
    made = results.make(pooled(make_study, HISTORIES[name], classes))
    written = {path.stem for path in results.write(made, tmp_path / "out")}
    assert not made.failed
    assert written.isdisjoint(made.missing)
    assert {*written, *made.missing} == EVERYTHING
    assert {"table_1", "table_2", "table_3"} <= written
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    if "finite" in name or "beyond" in name:
        assert re.fullmatch(r"no (session has a finite loss|epoch has a loss up to .*)", made.missing["figure_20"])


def test_figure_20_reaches_as_far_from_chance_for_three_classes(make_study, tmp_path):
    history = with_losses(random_history([PLAIN]), np.log(3))
    made = results.make(pooled(make_study, history, ("D", "PD", "UD")))
    (axis, _) = made.figures["figure_20"].figure.axes
    assert axis.get_xlim() == pytest.approx((0, 0.8 * np.log(3) / np.log(2)))
    assert axis.get_ylim() == pytest.approx((80 / 3, 100))
    assert [one.get_text() for one in axis.texts] == ["ln 3: always answering 1/3 "]
    assert [one.get_xdata()[0] for one in axis.lines] == pytest.approx([np.log(3)])
    results.write(made, tmp_path / "out")
    counts = pyarrow.csv.read_csv(tmp_path / "out/figure_20.csv")
    assert sum(counts["epochs"].to_pylist()) == len(history)


FAILING = """
import sys
from experiments import cli, figures
from nbjax.report.paper import results

def fails(pooled):
    raise ValueError("Invalid vmin or vmax")

def fails_to_be_drawn(pooled, drawn=results.FIGURES["figure_18"].draw):
    found = drawn(pooled)
    found.figure.axes[0].set_title("$\\\\frac{$")
    return found

for name, draw in (("figure_11", fails), ("figure_19", fails_to_be_drawn)):
    results.FIGURES[name] = results.FIGURES[name]._replace(draw=draw)
results.TABLES |= {"table_3": fails}
cli.run(figures.main)
"""


def test_one_that_fails_is_named_and_the_others_are_made(make_study, tmp_path):
    folder, out = make_study(lambda record: record.update(config={"epochs": 5})), tmp_path / "out"
    flags = [f"--studies={folder}", f"--out={out}"]

    def run(*script):
        # Scripts share names of flags, so that each has a process of its own.
        return subprocess.run([sys.executable, *script, *flags], cwd=ROOT, capture_output=True, text=True)

    assert run("-m", "experiments.figures").returncode == 0
    before = {path.name for path in out.iterdir()}
    (out / "mine.txt").write_text("", encoding="utf-8")
    assert {"figure_11.png", "figure_19.png", "figure_20.csv"} <= before
    ended = run("-c", FAILING)
    assert ended.returncode == 1
    said = ended.stderr.strip().splitlines()[-1]
    assert re.match(r"error: .*failed by a defect of nbjax", said)
    names = said.removeprefix("error: ").split(": failed")[0].split(", ")
    assert sorted(names) == ["figure_11", "figure_19", "table_3"]
    assert "figure_11: not made, a defect of nbjax (ValueError: Invalid vmin or vmax)" in ended.stdout
    # What lies there is of this call, and what is not its own stays.
    after = {path.name for path in out.iterdir()}
    assert after == {name for name in before if name.split(".")[0] not in names} | {"mine.txt"}


def test_a_full_disk_leaves_what_was_there(make_study, tmp_path, monkeypatch):
    made = results.make(pooled(make_study, random_history([PLAIN]), ("D", "PD")))
    results.write(made, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(drawn, stem):
        raise OSError(28, "No space left on device", str(stem))

    monkeypatch.setattr(results, "save", full)
    with pytest.raises(OSError, match="No space left"):
        results.write(made, tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_two_processes_do_not_mix_their_figures(make_study, tmp_path):
    made = results.make(pooled(make_study, HISTORIES["alike"], ("D", "PD")))
    with locks.locked(tmp_path / "out", "this folder of figures"):
        imports = "from pathlib import Path; from nbjax.report.paper import results"
        run = f"{imports}; results.write(results.Made({{}}, {{}}, {{}}, {{}}), Path(%r))"
        done = subprocess.run(
            [sys.executable, "-c", run % str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert "InputError" in done.stderr
    assert "another process" in done.stderr
    written = results.write(made, tmp_path / "out")
    assert written
    assert all(path.stat().st_size for path in written)
