import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "give the study's folder: --study="), (["--study=nowhere"], "nowhere/study.json: there is no such file")],
)
def test_bad_flags_get_one_sentence(arguments, message):
    command = [sys.executable, "-m", "experiments.baselines", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
