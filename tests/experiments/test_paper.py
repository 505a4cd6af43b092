"""Every experiment of the paper in one command: its jobs, and the page of what they left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.paper import STUDIES
from nbjax.config import SIZES, load_config

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.paper", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)


def test_one_job_leaves_a_page(slides: Path, tmp_path: Path) -> None:
    done = run("--size=small", "--jobs=partition", f"--slides={slides}", f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"report: {tmp_path / 'report.html'}" in done.stdout
    assert "The partition" in page
    assert "not possible: patches_per_family_and_class: 6 families cannot fill 7 folds" in page
    assert sorted(path.name for path in (tmp_path / "partition").glob("heat_map_*.png")) == [
        "heat_map_A.png",
        "heat_map_B.png",
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--size=smal",), "--size=smal: expected paper or small."),
        (("--set=epochs=3",), "--set: every job has a config and banks of its own"),
        (("--jobs=",), "--jobs is empty"),
        (("--size=small", "--jobs=baselines"), "baselines: {}/best/study.json: there is no such file"),
    ],
)
def test_bad_flags_end_in_one_sentence(arguments: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    done = run(*arguments, f"--out={tmp_path}")
    assert done.returncode == 1
    assert expected.format(tmp_path) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_job_that_cannot_run_leaves_the_others_and_is_said(slides: Path, tmp_path: Path) -> None:
    done = run("--size=small", "--jobs=baselines,partition", f"--slides={slides}", f"--out={tmp_path}")
    assert done.returncode == 1
    assert "1 of 2 jobs could not run" in done.stderr
    assert "The partition" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_job_whose_folder_cannot_be_written_leaves_the_others_and_is_said(slides: Path, tmp_path: Path) -> None:
    (tmp_path / "partition").touch()
    done = run("--size=small", "--jobs=partition,baselines", f"--slides={slides}", f"--out={tmp_path}")
    assert done.returncode == 1
    assert f"partition: [Errno 17] File exists: '{tmp_path / 'partition'}'" in done.stderr
    assert "baselines cannot run" in done.stdout
    assert "Traceback" not in done.stderr


def test_an_unknown_job_ends_in_one_sentence(tmp_path: Path) -> None:
    done = run("--jobs=partition,dessert", f"--out={tmp_path}")
    assert done.returncode == 1
    assert "there is no job 'dessert'; expected some of partition, straightforward" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("size", SIZES)
def test_the_studies_that_share_a_page_share_dataset_and_phantom(size: str) -> None:
    configs = [load_config(f"configs/{name}.py", size=size) for name in STUDIES]
    assert len({config.dataset for config in configs}) == 1
    assert len({config.phantom for config in configs}) == 1
    assert len({config.name for config in configs}) == len(STUDIES)
