import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet
import pytest
import scipy.special

from experiments.study import study
from nbjax.config import PartitionStudyConfig, StudyConfig, load_config
from nbjax.errors import InputError
from nbjax.files import sealing
from nbjax.report.study_page import write_report
from nbjax.slides.manifest import read_manifest

ROOT = Path(__file__).parents[2]
SMALL = {
    "learning_rates": (1e-3, 1e-2),
    "epochs": 3,
    "seeds": 3,
    "backbones": ("resnet18",),
    "weights": "random",
    "input_size": 64,
}


def run(*arguments, cwd=ROOT):
    """A script as from a shell: its exit status and last line of standard error."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip().splitlines()


@pytest.fixture(scope="module")
def finished(slides, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    return study(StudyConfig(name="small", **SMALL), str(slides), out), out


def test_a_study_ends_in_a_report(finished):
    report, out = finished
    page = report.read_text(encoding="utf-8")
    assert "random weights" in page
    assert "15 slides of 15 families" in page
    assert "http" not in page.replace("http-equiv", "")
    history = pyarrow.parquet.read_table(out / "sessions.parquet")
    assert len(history) == 2 * 3 * 4
    assert not list(out.rglob("*.tmp"))


def test_the_same_command_again_uses_what_is_finished(finished, slides):
    _, out = finished
    kept = {path: path.stat().st_mtime_ns for folder in ("dataset", "banks") for path in (out / folder).rglob("*.*")}
    before = (out / "sessions.parquet").read_bytes()
    seconds = json.loads((out / "study.json").read_text(encoding="utf-8"))["seconds"]
    study(StudyConfig(name="small", **SMALL), str(slides), out)
    # What it took to make all this is still told.
    again = json.loads((out / "study.json").read_text(encoding="utf-8"))["seconds"]
    assert again["sessions"] == seconds["sessions"] > 0
    assert all(again[step] >= seconds[step] for step in seconds)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (out / "sessions.parquet").read_bytes() == before


def test_validation_predictions_are_the_programs_logits(finished):
    _, out = finished
    (program,) = (out / "programs").iterdir()
    description = json.loads((program / "program.json").read_text(encoding="utf-8"))
    chosen = json.loads((out / "study.json").read_text(encoding="utf-8"))["chosen"]
    rows = [np.isclose(rate, chosen["learning_rate"]) for rate in description["learning_rates"]]
    logits = np.load(program / "logits.npz")["validation"][rows][..., 0]
    table = pyarrow.parquet.read_table(out / "validation_predictions.parquet")
    table = table.sort_by([("seed", "ascending"), ("sample", "ascending")])
    found = table["probability"].to_numpy().reshape(logits.shape)
    np.testing.assert_allclose(found, scipy.special.expit(logits), rtol=1e-5)
    assert "temperature" in (out / "report.html").read_text(encoding="utf-8")


def test_a_report_at_any_time(finished, tmp_path):
    _, out = finished
    status, lines = run("experiments.report", f"--study={out}", f"--out={tmp_path / 'one'}")
    assert (status, lines) == (0, [])
    text = [(folder / "report.html").read_text(encoding="utf-8") for folder in (out, tmp_path / "one")]
    assert text[0] == text[1]
    killed = tmp_path / "killed"
    shutil.copytree(out, killed, ignore=shutil.ignore_patterns("*.parquet", "banks", "phantom"))
    shutil.copytree(out / "programs", killed / "programs", dirs_exist_ok=True)
    record = json.loads((killed / "study.json").read_text(encoding="utf-8"))
    with sealing(killed / "study.json") as temporary:
        temporary.write_text(json.dumps(record | {"chosen": None}), encoding="utf-8")
    page = write_report(killed).read_text(encoding="utf-8")
    assert "The study is not finished" in page
    assert "6 sessions in 2 cells of the grid" in page


def test_a_report_of_no_study_is_one_sentence(tmp_path):
    for arguments, expected in [
        ([], "--study is missing"),
        ([f"--study={tmp_path}"], "study.json: there is no such file"),
    ]:
        status, lines = run("experiments.report", *arguments)
        assert (status, len(lines)) == (1, 1)
        assert expected in lines[0]


def test_a_damaged_bank_is_said_and_made_again(finished, slides, tmp_path, capsys):
    _, out = finished
    copy = tmp_path / "study"
    shutil.copytree(out, copy)
    (bank,) = (copy / "banks").glob("*/train.npy")
    whole = bank.read_bytes()
    bank.write_bytes(whole[:-8] + bytes(byte ^ 1 for byte in whole[-8:]))
    # A finished study looks at its bank again where it concludes.
    study(StudyConfig(name="small", **SMALL), str(slides), copy)
    assert "train.npy is damaged" in capsys.readouterr().err
    assert bank.read_bytes() == whole


def break_folder(kind, slides, folder):
    """A folder of slides that is wrong in one way, and what the sentence about it says."""
    if kind == "missing":
        return "there is no such folder"
    if kind == "empty":
        folder.mkdir()
        return "found no slide"
    shutil.copytree(slides, folder)
    if kind == "one label":
        shutil.rmtree(folder / "B")
        return "one label only"
    if kind == "unreadable":
        (folder / "A/slide 0.png").write_bytes((folder / "A/slide 0.png").read_bytes()[:5000])
        return r"slide 0\.png: not a readable image"
    if kind == "small":
        PIL.Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(folder / "A/slide 0.png")
        return "smaller than one patch"
    if kind == "no tissue":
        for path in (folder / "B").iterdir():
            PIL.Image.fromarray(np.full((300, 300, 3), 255, np.uint8)).save(path)
        return "label B: no patch was kept"
    for path in sorted((folder / "B").iterdir())[2:]:
        path.unlink()
    return "label B has 2 families; expected at least 3"


@pytest.mark.parametrize("kind", ["missing", "empty", "one label", "unreadable", "small", "no tissue", "few families"])
def test_bad_folders_get_one_sentence_and_leave_nothing_half_written(kind, slides, tmp_path):
    expected = break_folder(kind, slides, tmp_path / "slides")
    with pytest.raises(InputError, match=expected) as caught:
        study(StudyConfig(name="small", **SMALL), str(tmp_path / "slides"), tmp_path / "out")
    assert "\n" not in str(caught.value)
    # What was tiled is kept, whole, for the next run; nothing else is there.
    left = {path.name for path in (tmp_path / "out").rglob("*")}
    manifests = {name for name in left if name in ("manifest.parquet", "manifest.unfinished.parquet")}
    assert len(manifests) <= 1
    assert left <= {"lock", *manifests, *(f"{name}.sha256" for name in manifests)}
    for name in manifests:
        assert len(read_manifest(tmp_path / "out" / name).table)


def test_exit_status_and_one_sentence_from_a_shell(tmp_path, shared):
    misspelt = tmp_path / "config.py"
    misspelt.write_text(
        "from nbjax.config import StudyConfig\ndef get_config():\n    return StudyConfig(name='x', sedes=3)\n",
        encoding="utf-8",
    )
    for arguments, expected in [
        ([f"--config={misspelt}"], "StudyConfig has no field 'sedes'; did you mean 'seeds'?"),
        (["--set=epoch=3"], "StudyConfig has no field 'epoch'; did you mean 'epochs'?"),
        (["--set=epochs=many"], "config field epochs: found 'many'; expected a whole number."),
        ([f"--slides={tmp_path / 'none'}"], "there is no such folder"),
    ]:
        status, lines = run("experiments.study", f"--out={tmp_path / 'out'}", *arguments)
        assert status == 1
        assert len(lines) == 1
        assert lines[0].startswith("error: ")
        assert expected in lines[0]


def test_a_truncated_checkpoint_is_named(slides, shared, tmp_path):
    weights = str(shared / "weights/truncated/resnet18-f37072fd.first579901bytes")
    config = StudyConfig(name="small", **{**SMALL, "weights": weights})
    with pytest.raises(InputError, match="incomplete"):
        study(config, str(slides), tmp_path)


def test_configs_that_come_with_the_repository_load():
    configs = sorted((ROOT / "configs").glob("*.py"))
    assert configs
    for path in configs:
        assert isinstance(load_config(path), StudyConfig | PartitionStudyConfig)


def test_import_is_light_and_quick():
    code = "import sys, nbjax; print(sorted({'tensorflow', 'flax', 'matplotlib', 'jax'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert out.stdout.strip() == "[]"
