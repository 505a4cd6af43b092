"""The store: what goes in comes out, and what was damaged is not taken for it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nbjax.errors import InputError
from nbjax.weights.store import is_stored, load_tree, read_provenance, save_tree, stored_names


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("NBJAX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "net-00000000.pth"
    path.write_bytes(b"a checkpoint")
    return path


def tree() -> dict:
    random = np.random.default_rng(0)
    kernel = random.standard_normal((3, 3, 4, 8)).astype(np.float32)
    kernel.flags.writeable = False
    return {
        "params": {"conv": {"kernel": kernel.transpose(3, 2, 1, 0), "bias": kernel[0, 0, 0]}, "scale": np.array(2.5)},
        "batch_stats": {"a/b": {"c.d": np.arange(3), "half": np.ones(2, np.float16), "flag": np.array([True])}},
        "nothing": {},
    }


def same(left, right) -> bool:
    if isinstance(left, dict):
        return (
            isinstance(right, dict) and left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
        )
    return isinstance(right, np.ndarray) and left.dtype == right.dtype and np.array_equal(left, right)


def test_a_tree_comes_back_with_its_provenance(source: Path, home: Path) -> None:
    assert not is_stored("resnet18-IMAGENET1K_V1")
    assert save_tree("resnet18-IMAGENET1K_V1", tree(), source) == home / "weights" / "resnet18-IMAGENET1K_V1"
    assert is_stored("resnet18-IMAGENET1K_V1")
    loaded, provenance = load_tree("resnet18-IMAGENET1K_V1")
    assert same(tree(), loaded)
    assert provenance["source"] == "net-00000000.pth"
    assert provenance["source_sha256"] == hashlib.sha256(b"a checkpoint").hexdigest()
    assert set(provenance["versions"]) == {"nbjax", "numpy", "jax", "orbax-checkpoint"}
    assert provenance["date"].endswith("+00:00")


def test_saving_again_replaces_and_leaves_nothing_behind(source: Path, home: Path) -> None:
    save_tree("net", tree(), source)
    save_tree("net", {"w": np.ones(2)}, source)
    assert same({"w": np.ones(2)}, load_tree("net")[0])
    assert [path.name for path in (home / "weights").iterdir()] == ["net"]


def test_what_is_stored_can_be_listed(source: Path, home: Path) -> None:
    assert stored_names() == []
    for name in ("vgg16-IMAGENET1K_V1", "resnet18-IMAGENET1K_V1"):
        save_tree(name, {"w": np.ones(2)}, source)
    (home / "weights" / ".half.tmp").mkdir()
    assert stored_names() == ["resnet18-IMAGENET1K_V1", "vgg16-IMAGENET1K_V1"]
    assert read_provenance("vgg16-IMAGENET1K_V1") == load_tree("vgg16-IMAGENET1K_V1")[1]


def test_a_failed_save_leaves_what_was_there(source: Path, home: Path) -> None:
    save_tree("net", {"w": np.ones(2)}, source)
    with pytest.raises(FileNotFoundError):
        save_tree("net", {"w": np.zeros(2)}, source.with_name("absent"))
    assert same({"w": np.ones(2)}, load_tree("net")[0])
    assert [path.name for path in (home / "weights").iterdir()] == ["net"]


def test_damage_anywhere_is_a_clear_error(source: Path) -> None:
    folder = save_tree("net", tree(), source)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) > 4
    for path in files:
        content = path.read_bytes()
        for changed in (content[: len(content) // 2], None):
            path.unlink() if changed is None else path.write_bytes(changed)
            with pytest.raises(InputError, match="damaged: remove this folder and convert the checkpoint again"):
                load_tree("net")
            path.write_bytes(content)
    assert same(tree(), load_tree("net")[0])


NO_DATE = json.dumps({"files": {}, "source": "net.pth", "source_sha256": "0", "date": None})


@pytest.mark.parametrize(
    "text", [NO_DATE, "", "[]", "{}", '{"files": 3}', '{"files": {"x": 1}}', json.dumps({"files": ["a"]})]
)
def test_a_wrong_provenance_is_a_clear_error(source: Path, text: str) -> None:
    folder = save_tree("net", {"w": np.ones(2)}, source)
    (folder / "provenance.json").write_text(text, encoding="utf-8")
    for read in (load_tree, read_provenance):
        with pytest.raises(InputError, match="damaged"):
            read("net")


def test_an_added_file_is_damage(source: Path) -> None:
    folder = save_tree("net", {"w": np.ones(2)}, source)
    (folder / "tree" / "more").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"1 files changed since \(first more\)"):
        load_tree("net")


def test_no_room_and_no_folder_end_in_one_sentence_and_leave_nothing(source: Path, home: Path, monkeypatch) -> None:
    usage = shutil.disk_usage(source)._replace(free=2**20)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(InputError, match=r"no room for them\); free 8 MiB there, or name .*, as in NBJAX_HOME=/"):
            save_tree("net", {"w": np.ones(2**20)}, source)
    assert list((home / "weights").iterdir()) == []
    monkeypatch.setenv("NBJAX_HOME", str(source))
    with pytest.raises(InputError, match=r"cannot be stored there \(Not a directory\)"):
        save_tree("net", {"w": np.ones(2)}, source)


def test_what_had_to_be_understood_is_kept(source: Path) -> None:
    save_tree("net", {"w": np.ones(2)}, source, ", read from its key 'model'")
    assert read_provenance("net")["note"] == ", read from its key 'model'"


def test_absent_weights_are_a_clear_error(home: Path) -> None:
    with pytest.raises(InputError, match="no weights are stored under this name"):
        load_tree("net")
    assert not os.path.lexists(home)


@pytest.mark.parametrize("name", ["", "..", "../net", "a/b", "/net", ".net", "a b", "n" * 129])
def test_names_stay_in_the_folder(source: Path, name: str) -> None:
    for use in (lambda: save_tree(name, {"w": np.ones(2)}, source), lambda: load_tree(name), lambda: is_stored(name)):
        with pytest.raises(InputError, match="must be letters, digits"):
            use()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "is empty"),
        ({"a": {"b": [1, 2]}}, "no array with elements at a/b"),
        ({"a": np.zeros((0, 3))}, "no array with elements at a"),
        ({"a": 1.0}, "no array with elements at a"),
        ({1: np.ones(2)}, "has the key 1 at its top"),
    ],
)
def test_what_is_not_a_tree_of_arrays_is_refused(source: Path, wrong, message: str, home: Path) -> None:
    with pytest.raises(InputError, match=message):
        save_tree("net", wrong, source)
    assert not is_stored("net")


# Threads of Orbax's complain of the read that was given up, after their loop has ended.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_weights_that_are_stored_anew_meanwhile_are_read_whole(source: Path) -> None:
    save_tree("net", tree(), source)
    # Files enough that reading takes a while.
    again = (
        "import sys; from pathlib import Path; from tests.weights.test_store import tree; from nbjax.weights.store "
        "import save_tree\nfor _ in range(25): save_tree('net', tree(), Path(sys.argv[1]))"
    )
    other = subprocess.Popen([sys.executable, "-c", again, str(source)], cwd=Path(__file__).parents[2])
    reads = 0
    while other.poll() is None:
        assert same(tree(), load_tree("net")[0])
        reads += 1
    assert other.returncode == 0
    assert reads > 3
