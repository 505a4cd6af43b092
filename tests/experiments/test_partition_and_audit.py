"""The scripts `experiments.partition` and `experiments.audit`, as from a shell."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

from nbjax.slides import Tiling, tile_folder

ROOT = Path(__file__).parents[2]


def run(script, *arguments, cwd=ROOT):
    command = [sys.executable, "-m", f"experiments.{script}", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_methods_are_compared(tmp_path):
    families = "PD:171,168,68,68,50,41,41,9,7,5,5 D:190,187,70,70,38,9,9,9"
    done = run("partition", f"--families={families}", f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "partition.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {(row["label"], row["method"]): float(row["discrepancy"]) for row in rows}
    assert len(found) == 8
    for label in ("PD", "D"):
        best = found[label, "exact"]
        assert all(best <= value + 1e-6 for (of, _), value in found.items() if of == label)
        for name in ("heat_map", "methods"):
            with PIL.Image.open(tmp_path / f"{name}_{label}.png") as picture:
                assert min(picture.size) > 300


def write_table(manifest, path, splits):
    rows = manifest.kept().to_pylist()
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["slide", "family", "label", "x", "y", "split"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, "split": splits(index, row)} for index, row in enumerate(rows))


def test_a_table_with_leaks_and_one_without(slides, tmp_path):
    manifest = tile_folder(slides, Tiling())[0]
    names = ("train", "validation", "test")
    write_table(manifest, tmp_path / "leaky.csv", lambda index, _: names[index % 3])
    done = run("audit", f"--table={tmp_path / 'leaky.csv'}", f"--slides={slides}", f"--out={tmp_path / 'audit.json'}")
    assert done.returncode == 1
    assert "family: 15" in done.stdout
    assert "60 patches" in done.stdout.splitlines()[-1]
    found = json.loads((tmp_path / "audit.json").read_text())
    assert len(found["findings"]["family"]) == 15

    write_table(manifest, tmp_path / "clean.csv", lambda _, row: names[int(row["slide"].split()[1][0]) % 3])
    done = run("audit", f"--table={tmp_path / 'clean.csv'}", f"--slides={slides}", f"--out={tmp_path / 'audit.json'}")
    assert done.returncode == 0, done.stdout
    assert json.loads((tmp_path / "audit.json").read_text())["findings"] == {}


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("audit", [], "either --dataset=FOLDER or --table=FILE"),
        ("audit", ["--dataset=nowhere"], "no built dataset lies here"),
        ("audit", ["--table=nowhere.csv"], "there is no such table"),
        ("partition", [], "either --manifest=FILE or --families="),
        ("partition", ["--families=PD:3,x"], "expected classes and whole numbers"),
        ("partition", ["--families=PD:3,2,1", "--proportions=0.7,0.3"], "expected three numbers"),
        ("partition", ["--families=PD:3,2,1", "--proportions=0.7,0.2,0.2"], "sum"),
        ("partition", ["--families=PD:3,-2,1"], "whole numbers above 0"),
    ],
)
def test_bad_flags_get_one_sentence(script, arguments, message, tmp_path):
    done = run(script, *arguments, f"--out={tmp_path / 'out'}")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
