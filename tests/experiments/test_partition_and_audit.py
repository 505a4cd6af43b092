"""The scripts `experiments.partition` and `experiments.audit`, as from a shell."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pyarrow as pa
import pyarrow.parquet
import pytest

from nbjax.config import DatasetConfig
from nbjax.report.partition_methods import cohort_of, compare, read_cohort
from nbjax.slides import Tiling, tile_folder
from nbjax.slides.manifest import write_manifest
from nbjax.spreadsheet import write_csv

ROOT = Path(__file__).parents[2]


def run(script, *arguments, cwd=ROOT):
    command = [sys.executable, "-m", f"experiments.{script}", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_methods_are_compared(tmp_path):
    families = "PD:171,168,68,68,50,41,41,9,7,5,5 D:190,187,70,70,38,9,9,9"
    done = run("partition", f"--families={families}", f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "partition.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {(row["label"], row["method"]): float(row["discrepancy"]) for row in rows}
    assert len(found) == 8
    for label in ("PD", "D"):
        best = found[label, "exact"]
        assert all(best <= value + 1e-6 for (of, _), value in found.items() if of == label)
        for name in ("heat_map", "methods"):
            with PIL.Image.open(tmp_path / f"{name}_{label}.png") as picture:
                assert min(picture.size) > 300


def test_patients_with_two_labels_are_partitioned_jointly(slides, tmp_path):
    # Of five slides a label, two of each are of patients who have the other label too.
    folder = tmp_path / "slides"
    for number, path in enumerate(sorted(path for path in slides.rglob("*") if path.is_file())):
        label = path.relative_to(slides).parts[0]
        patient = f"shared {number % 5}" if number % 5 < 2 else f"{label} {number}"
        (folder / label / patient).mkdir(parents=True, exist_ok=True)
        (folder / label / patient / path.name).write_bytes(path.read_bytes())
    write_manifest(tile_folder(folder, Tiling())[0], tmp_path / "manifest.parquet")
    cohort = read_cohort(tmp_path / "manifest.parquet")
    assert cohort.mixed == 2
    assert len(cohort.counts) < (cohort.counts > 0).sum()
    rows = compare(cohort, DatasetConfig(), tmp_path / "out", 20.0).rows
    for label in cohort.labels:
        of_label = {row[1]: row for row in rows if row[0] == label}
        assert float(of_label["exact"][2]) >= 0
        for method in ("filing", "sequential"):
            assert of_label[method][2] == "–"
            assert "takes one label at a time, and 2 of 11 families have several; exact takes all" in " ".join(
                of_label[method]
            )
        assert (tmp_path / "out" / f"methods_{label}.png").is_file()
        assert not (tmp_path / "out" / f"heat_map_{label}.png").exists()


def write_table(manifest, path, splits):
    rows = manifest.kept().to_pylist()
    with path.open("w", newline="", encoding="utf-8") as file:
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
    found = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert len(found["findings"]["family"]) == 15

    write_table(manifest, tmp_path / "clean.csv", lambda _, row: names[int(row["slide"].split()[1][0]) % 3])
    done = run("audit", f"--table={tmp_path / 'clean.csv'}", f"--slides={slides}", f"--out={tmp_path / 'audit.json'}")
    assert done.returncode == 0, done.stdout
    assert json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))["findings"] == {}


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("audit", [], "either --dataset=FOLDER or --table=FILE"),
        ("audit", ["--dataset=nowhere"], "no built dataset lies here"),
        ("audit", ["--table=nowhere.csv"], "there is no such table"),
        ("partition", [], "either --manifest=FILE or --families="),
        ("partition", ["--families=PD:3,x"], "expected classes, each once, and whole numbers"),
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


def test_the_same_families_from_any_table_and_the_same_files_again(tmp_path):
    sizes = {"=A": [5, 4, 3, 2], "B/C": [7, 3, 1]}
    rows = [
        {"family": f"{label} {number}", "label": label, "kept": kept}
        for label, of_label in sizes.items()
        for number, size in enumerate(of_label)
        for kept in [True] * size + [False]
    ]
    write_csv(rows, tmp_path / "patches.csv")
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "patches.bin")
    cohorts = [read_cohort(tmp_path / name) for name in ("patches.csv", "patches.bin")]
    assert all(one.labels == ("=A", "B/C") for one in cohorts)
    assert all(one.counts.tolist() == cohort_of(sizes).counts.tolist() for one in cohorts)
    for name, cohort in zip(("one", "two"), cohorts, strict=True):
        compare(cohort, DatasetConfig(), tmp_path / name, 20.0)
    written = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert "heat_map_B%2FC.csv" in written
    assert "'=A" in (tmp_path / "one/partition.csv").read_text(encoding="utf-8")
    for name in written:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_table_is_not_replaced_by_what_is_said_of_it(slides, tmp_path):
    manifest = tile_folder(slides, Tiling())[0]
    table = tmp_path / "table.csv"
    write_table(manifest, table, lambda *_: "train")
    before = table.read_bytes()
    done = run("audit", f"--table={table}", f"--out={tmp_path}/./table.csv")
    assert done.returncode == 1
    assert "is the table itself" in done.stderr
    assert table.read_bytes() == before


@pytest.mark.parametrize("sizes", ["A:1000000000000000000000000000000,2,3 B:1,2,3", f"A:{2**62},{2**62},3 B:1,2,3"])
def test_more_patches_than_there_are_in_the_world_are_refused(sizes, tmp_path):
    done = run("partition", f"--families={sizes}", f"--out={tmp_path / 'out'}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "patches" in done.stderr
