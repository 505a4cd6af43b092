"""JAX's folder of compiled programs: a damaged one is never run."""

import os
import subprocess
import sys

import pytest

# Two processes of a user's; the second reads what the first compiled.
PROGRAM = """
import sys
from experiments.cli import run
def main():
    import jax
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    print(float(jax.jit(lambda x: (x * 3 + 1).sum())(jax.numpy.arange(4.0))))
run(main)
"""


def outcome(home, **more):
    environment = os.environ | {"NBJAX_HOME": str(home), "JAX_PLATFORMS": "cpu"} | more
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, env=environment | more, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "22.0\n"
    return done.stderr


def entries(folder):
    return sorted(folder.glob("*-cache"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    assert "damaged" not in outcome(home)
    return home


def test_what_was_compiled_is_kept_with_its_sum_and_read_again(home):
    folder = home / "compiled"
    before = {path.name: path.stat().st_mtime_ns for path in entries(folder)}
    assert before
    assert len((folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()) == len(before)
    assert "damaged" not in outcome(home)
    assert {path.name: path.stat().st_mtime_ns for path in entries(folder)} == before


def test_a_flipped_bit_is_said_and_compiled_again(home):
    path = max(entries(home / "compiled"), key=lambda path: path.stat().st_size)
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 4]) + whole[101:])
    said = outcome(home)
    assert f"{path} is damaged" in said
    assert len(path.read_bytes()) == len(whole)
    assert "damaged" not in outcome(home)


def test_what_a_killed_run_left_is_not_read_but_others_folders_are_left_alone(home, tmp_path):
    stray = home / "compiled" / "jit_stray-cache"
    stray.write_bytes(b"half")
    assert "damaged" not in outcome(home)
    assert not stray.exists()
    other = tmp_path / "jit_mine-cache"
    other.write_bytes(b"another program's")
    outcome(home, JAX_COMPILATION_CACHE_DIR=str(tmp_path))
    assert other.read_bytes() == b"another program's"
