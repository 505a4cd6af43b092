import csv
import subprocess
import sys
from pathlib import Path

from nbjax.slides.manifest import read_manifest

ROOT = Path(__file__).parents[2]


def run(*arguments):
    command = [sys.executable, "-m", "experiments.tile", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_rows_as_parquet_and_csv(slides, tmp_path):
    done = run(f"--slides={slides}", f"--out={tmp_path / 'manifest.parquet'}", "--csv")
    assert done.returncode == 0, done.stderr
    assert "manifest.parquet" in done.stdout.splitlines()[-1]
    manifest = read_manifest(tmp_path / "manifest.parquet")
    with (tmp_path / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["slide"] for row in rows] == manifest.table["slide"].to_pylist()
    assert [int(row["x"]) for row in rows] == manifest.table["x"].to_pylist()
    assert set(rows[0]) == {"slide", "family", "label", "x", "y", "tissue", "kept", "reason"}


def test_bad_flags_get_one_sentence(slides, tmp_path):
    for arguments, expected in [
        ([], "--slides is missing"),
        ([f"--slides={slides}", "--out=m.csv"], "a manifest is a Parquet file"),
        ([f"--slides={slides}", "--minimum_tissue=2"], "a fraction from 0 to 1"),
        ([f"--slides={tmp_path / 'none'}"], "there is no such folder"),
    ]:
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert expected in done.stderr
