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
        ([f"--slides={slides}", "--patch_size=1e2"], "--patch_size=1e2: expected a whole number, such as 250"),
        ([f"--slides={slides}", "--minimum_tissue=25%"], "--minimum_tissue=25%: expected a number, such as 0.25"),
        ([f"--slides={slides}", "--csv=maybe"], "--csv=maybe: expected true or false"),
        (["--slides="], "--slides= is empty; give it a value, or leave it out"),
        ([f"--slides={__file__}"], "this is a file; give the folder"),
    ]:
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert expected in done.stderr


def test_a_file_that_is_no_manifest_is_never_replaced(slides, tmp_path):
    notes = tmp_path / "notes.parquet"
    notes.write_text("mine", encoding="utf-8")
    done = run(f"--slides={slides}", f"--out={notes}")
    assert (done.returncode, notes.read_text(encoding="utf-8")) == (1, "mine")
    assert done.stderr.startswith(f"error: --out: {notes} is there and is no manifest; give another name")
    (tmp_path / "m.csv").write_text("mine", encoding="utf-8")
    done = run(f"--slides={slides}", f"--out={tmp_path / 'm.parquet'}", "--csv")
    assert (done.returncode, (tmp_path / "m.csv").read_text(encoding="utf-8")) == (1, "mine")
    # Its own it replaces, also where the seal was lost or nothing is in it.
    (tmp_path / "m.csv").unlink()
    for _ in range(2):
        assert run(f"--slides={slides}", f"--out={tmp_path / 'm.parquet'}", "--csv").returncode == 0
        (tmp_path / "m.parquet.sha256").unlink()
    (tmp_path / "m.parquet").write_bytes(b"")
    assert run(f"--slides={slides}", f"--out={tmp_path / 'm.parquet'}", "--csv").returncode == 0
