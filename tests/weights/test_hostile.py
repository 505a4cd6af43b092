"""Files made to harm: no code runs, memory and time stay small, each ends in one clear error or a correct load."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nbjax.errors import InputError
from nbjax.weights import read_checkpoint

CHILD = """
import json, resource, signal, sys, time
import numpy as np
from nbjax.errors import InputError
from nbjax.weights import read_checkpoint

pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[2:]:
    # Of the processor: others may be at work beside.
    signal.setitimer(signal.ITIMER_PROF, 5)
    begin = time.process_time()
    try:
        arrays = read_checkpoint(path)
        with np.load(sys.argv[1]) as expected:
            correct = list(arrays) == list(expected) and all(np.array_equal(arrays[k], expected[k]) for k in expected)
        outcome = "loaded" if correct else "loaded other values"
    except InputError as error:
        outcome = str(error)
    signal.setitimer(signal.ITIMER_PROF, 0)
    # Not ru_maxrss, which a child inherits from the process that started it.
    peak = next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(json.dumps({"path": path, "outcome": outcome, "seconds": time.process_time() - begin, "peak": peak}))
"""


def read_in_child(shared: Path, canary: Path, paths: list[Path]) -> list[dict]:
    arguments = [sys.executable, "-c", CHILD, str(shared / "weights/good/expected.npz"), *map(str, paths)]
    environment = {**os.environ, "NBJAX_CANARY": str(canary)}
    run = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def check(results: list[dict], paths: list[Path]) -> None:
    assert [result["path"] for result in results] == [str(path) for path in paths]
    for path, result in zip(paths, results, strict=True):
        outcome = result["outcome"]
        may_load = path.name.startswith("flipped")
        assert outcome.startswith(f"{path}: ") or (may_load and outcome == "loaded"), (path.name, outcome)
        assert "\n" not in outcome
        assert len(outcome) < 400, outcome
        assert "not enough memory" not in outcome
        assert result["peak"] < 1024, (path.name, result)


def test_hostile_files(shared: Path, tmp_path: Path) -> None:
    paths = sorted((shared / "weights/hostile").iterdir())
    assert len(paths) == 36
    check(read_in_child(shared, tmp_path, paths), paths)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_hostile_files_each_in_a_fresh_process(shared: Path, tmp_path: Path) -> None:
    for path in sorted((shared / "weights/hostile").iterdir()):
        results = read_in_child(shared, tmp_path, [path])
        check(results, [path])
        assert results[0]["seconds"] < 5
    assert list(tmp_path.iterdir()) == []


def test_the_canary_would_have_shown_code_that_ran(shared: Path, tmp_path: Path, monkeypatch) -> None:
    """The same file under Python's own pickle, which does run it: creates one file, named after it."""
    monkeypatch.setenv("NBJAX_CANARY", str(tmp_path))
    with (shared / "weights/hostile/exec_raw_1.pth").open("rb") as file:
        pickle.load(file)
    assert [path.name for path in tmp_path.iterdir()] == ["exec_raw_1"]


def mutate(content: bytes, random: np.random.Generator) -> bytes:
    """One to four byte flips, cuts, insertions, repetitions or overwritten numbers."""
    data = bytearray(content)
    for _ in range(random.integers(1, 5)):
        if not data:
            break
        place = int(random.integers(len(data)))
        match random.integers(6):
            case 0 | 1:
                data[place] ^= 1 << int(random.integers(8))
            case 2:
                del data[place : place + int(random.integers(1, 64))]
            case 3:
                data[place:place] = random.bytes(int(random.integers(1, 32)))
            case 4:
                data[place:place] = data[place : place + int(random.integers(1, 256))]
            case 5:
                data[place : place + 4] = random.choice([b"\xff\xff\xff\x7f", b"\xff" * 4, b"\0" * 4, b"\0\0\0\x80"])
    return bytes(data) if random.integers(8) else bytes(data[: random.integers(len(data) + 1)])


def mutate_entry(content: bytes, random: np.random.Generator) -> bytes:
    """A zip archive with one entry mutated and all checksums right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(buffer, "w") as changed:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("data.pkl")]
        chosen = pickles[0] if pickles and random.integers(4) else names[random.integers(len(names))]
        for name in names:
            data = archive.read(name)
            changed.writestr(name, mutate(data, random) if name == chosen else data)
    return buffer.getvalue()


def read_mutated(path: Path) -> str:
    """What reading ends in: `loaded` or the error."""
    try:
        arrays = read_checkpoint(path)
    except InputError as error:
        return str(error)
    # Touches every element: a view that left its storage would not survive it.
    assert all(len(array.tobytes()) == array.nbytes for array in arrays.values())
    return "loaded"


@pytest.mark.timeout(120)
def test_a_thousand_mutated_files(write, examples, shared: Path, tmp_path: Path) -> None:
    originals = [path.read_bytes() for path in sorted((shared / "weights/good").iterdir())]
    originals += examples.values()
    random = np.random.default_rng(0)
    outcomes = []
    for number in range(1000):
        content = originals[number % len(originals)]
        inside = content.startswith(b"PK") and random.integers(2)
        path = tmp_path / "net.pth"
        path.write_bytes(mutate_entry(content, random) if inside else mutate(content, random))
        with write.memory_limit():
            outcomes.append(read_mutated(path))
    refused = [outcome for outcome in outcomes if outcome != "loaded"]
    assert 500 < len(refused) < 1000
    assert all(outcome.startswith(f"{path}: ") and len(outcome) < 600 for outcome in refused)
    assert not any("not enough memory" in outcome for outcome in refused)
