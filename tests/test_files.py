"""Files whole or absent, their seals, what dead processes left, and locks."""

import errno
import fcntl
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbjax.errors import InputError
from nbjax.files import (
    SUMS,
    check_file,
    check_folder,
    check_if_sealed,
    check_room,
    check_seal,
    clear_leftovers,
    damage,
    remove_sealed,
    replacing,
    reserve,
    sealing,
)
from nbjax.locks import LOCK, locked

ROOT = Path(__file__).parents[1]
INJECTION = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
sys.path.insert(0, {str(ROOT / "tests" / "torture")!r})
from injection import count_events
from nbjax.files import sealing, replacing
root, kind, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def change(path, text):
    with sealing(path) as temporary:
        if kind == "file":
            temporary.write_text(text, encoding="utf-8")
        else:
            temporary.mkdir()
            for name in "ab":
                (temporary / name).write_text(text, encoding="utf-8")

change(root / "it", "old")
counted = [0]
for at in range(1, 100):
    child = os.fork()
    if child == 0:
        count_events(str(root), at, counted)
        change(root / "it", "new")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    from nbjax.files import damage
    it = root / "it"
    parts = [it] if it.is_file() else [it / name for name in "ab"]
    text = "+".join(sorted(part.read_text(encoding="utf-8") for part in parts))
    print(at, os.WIFSIGNALED(status), text, damage(it))
    change(it, "old")
    if not os.WIFSIGNALED(status):
        break
print(sorted(path.name for path in root.iterdir()))
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_killed_at_any_event_the_old_one_or_the_new_one_is_there_and_its_seal_fits(kind, tmp_path):
    command = [sys.executable, "-c", INJECTION, str(tmp_path), kind, "0"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    *kills, last, names = lines
    assert len(kills) >= 5
    whole = {"file": ("old", "new"), "folder": ("old+old", "new+new")}[kind]
    assert {line.split()[2] for line in kills} == set(whole)
    assert all(line.split()[1:] in (["True", text, "None"] for text in whole) for line in kills)
    assert last.split()[1:] == ["False", whole[1], "None"]
    assert names == str(["it", "it.sha256"] if kind == "file" else ["it"])


def test_a_folder_is_replaced_also_where_names_cannot_be_exchanged(tmp_path, monkeypatch):
    monkeypatch.setattr("nbjax.files._swap", lambda one, other: False)
    for text in ("old", "new"):
        with sealing(tmp_path / "it") as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text, encoding="utf-8")
    assert sorted(path.name for path in (tmp_path / "it").iterdir()) == sorted([SUMS, "new"])
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
    # A process that died between the two renames.
    (tmp_path / "it").rename(tmp_path / ".it.4194304-1.0123abcd.old")
    clear_leftovers(tmp_path)
    assert (tmp_path / "it" / "new").read_text(encoding="utf-8") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def stored(folder, kind):
    with sealing(folder / "it") as temporary:
        if kind == "file":
            temporary.write_bytes(bytes(range(200)))
        else:
            (temporary / "deeper").mkdir(parents=True)
            (temporary / "one").write_bytes(bytes(range(100)))
            (temporary / "deeper" / "two").write_bytes(bytes(50))
    return folder / "it"


@pytest.mark.parametrize("kind", ["file", "folder"])
@given(st.data())
def test_no_byte_changed_cut_or_lost_passes_unseen(kind, data):
    with tempfile.TemporaryDirectory() as folder:
        path = stored(Path(folder), kind)
        assert damage(path) is None
        files = [path] if kind == "file" else [path / "one", path / "deeper" / "two"]
        victim = data.draw(st.sampled_from(files))
        content = bytearray(victim.read_bytes())
        how = data.draw(st.sampled_from(["flip", "cut", "longer", "gone"]))
        if how == "flip":
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "cut":
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        elif how == "longer":
            content += b"x"
        victim.write_bytes(content)
        if how == "gone":
            victim.unlink()
        assert damage(path) is not None


@pytest.mark.parametrize("kind", ["file", "folder"])
@given(cut=st.integers(0, 63), bit=st.integers(0, 7))
def test_a_damaged_seal_seals_nothing(kind, cut, bit):
    with tempfile.TemporaryDirectory() as folder:
        path = stored(Path(folder), kind)
        seal = path / SUMS if kind == "folder" else path.with_name("it.sha256")
        content = seal.read_bytes()
        flipped = bytearray(content)
        flipped[cut] ^= 1 << bit
        for damaged in (content[:cut], bytes(flipped), bytes(len(content))):
            seal.write_bytes(damaged)
            assert damage(path) is not None
        seal.unlink()
        assert damage(path) is not None


def test_seals_are_what_sha256sum_reads(tmp_path):
    if shutil.which("sha256sum") is None:
        pytest.skip("there is no sha256sum here")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    stored(tmp_path / "a", "file")
    folder = stored(tmp_path / "b", "folder")
    for where, name in ((tmp_path / "a", "it.sha256"), (folder, SUMS)):
        subprocess.run(["sha256sum", "--check", "--strict", name], cwd=where, check=True, capture_output=True)


def test_what_is_wrong_is_one_sentence_with_a_step(tmp_path, capsys):
    path = stored(tmp_path, "file")
    path.write_bytes(b"other")
    with pytest.raises(
        InputError, match=r"it is damaged: its bytes do not have the sha256 in it\.sha256; make it anew\.$"
    ):
        check_seal(path, "make it anew")
    with pytest.raises(InputError, match="make it anew"):
        check_if_sealed(path, "make it anew")
    (tmp_path / "it.sha256").unlink()
    with pytest.raises(InputError, match=r"has no it\.sha256 beside it, .*; make it anew\.$"):
        check_seal(path, "make it anew")
    check_if_sealed(path, "make it anew")
    assert "read as it is" in capsys.readouterr().err
    remove_sealed(path)
    assert not list(tmp_path.iterdir())


def test_a_dead_process_is_cleared_after_and_a_live_one_is_not(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "print(end='', flush=True)"]) as gone:
        gone.wait()
    alive = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    begin = Path(f"/proc/{alive.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19]
    try:
        kept = tmp_path / f".it.{alive.pid}-{begin}.0123abcd.tmp"
        # Numbers of processes come again.
        again = tmp_path / f".it.{alive.pid}-1.0123abcd.tmp"
        left = [
            tmp_path / f".it.{gone.pid}-77.0123abcd.tmp",
            tmp_path / "deeper" / f".x.{gone.pid}-77.0123abcd.tmp",
            again,
        ]
        for path in (kept, *left):
            path.mkdir(parents=True)
        with replacing(tmp_path / "it") as temporary:
            temporary.write_text("it", encoding="utf-8")
        assert [path.exists() for path in (kept, *left)] == [True, False, True, False]
        clear_leftovers(tmp_path)
        assert [path.exists() for path in (kept, *left)] == [True, False, False, False]
    finally:
        alive.communicate(b"\n")


def test_no_room_is_said_before_and_while_writing(tmp_path):
    check_room(tmp_path / "not" / "there", 1)
    with pytest.raises(InputError, match=r"the dataset takes 1048576\.0 GiB and the disk has .* free; make room there"):
        check_room(tmp_path, 2**50)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with (tmp_path / "it").open("wb") as file, pytest.raises(OSError, match="too large"):
            reserve(file, 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_places_that_cannot_be_written_are_said(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    check_folder(tmp_path / "folder" / "new" / "er")
    check_file(tmp_path / "folder" / "new" / "er.csv")
    for path in ("file", "file/below", "link", "link/below"):
        with pytest.raises(InputError, match=rf"--out=.*{path}: .* expected a folder, choose another --out"):
            check_folder(tmp_path / path)
    with pytest.raises(InputError, match="this is a folder; expected the name of a file"):
        check_file(tmp_path / "folder")
    with pytest.raises(InputError, match="nothing can be written into /proc"):
        check_folder("/proc/new")


@pytest.mark.parametrize("write", [replacing, sealing])
def test_a_folder_in_a_files_place_is_said(tmp_path, write):
    (tmp_path / "it").mkdir()
    (tmp_path / "it/mine.txt").write_text("", encoding="utf-8")
    said = r"it is a folder; expected a file of that name, or none"
    with pytest.raises(InputError, match=said), write(tmp_path / "it") as temporary:
        temporary.write_text("", encoding="utf-8")
    assert (tmp_path / "it/mine.txt").is_file()


def test_a_lock_leaves_no_process_behind_and_an_empty_folder_not_at_all(tmp_path):
    with locked(tmp_path / "a", "this study"):
        assert (tmp_path / "a" / LOCK).read_text(encoding="utf-8") == f"process {os.getpid()}"
        (tmp_path / "a" / "kept").write_text("", encoding="utf-8")
    assert (tmp_path / "a" / LOCK).read_bytes() == b""
    with pytest.raises(InputError, match="wrong"), locked(tmp_path / "b" / "c", "this study"):
        raise InputError("wrong")
    assert not (tmp_path / "b" / "c").exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_and_the_work_goes_on(number, tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path, "this study"):
        (tmp_path / "kept").write_text("", encoding="utf-8")
    said = capsys.readouterr().err
    assert "this file system has no locks" in said
    assert "another process" not in said


def test_a_waiting_process_goes_on_when_the_other_has_ended(tmp_path):
    code = "import sys; from pathlib import Path; from nbjax.locks import locked\n"
    code += "with locked(Path(sys.argv[1]), 'this bank', wait=True): print('in', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout.readline() == "in\n"
        with subprocess.Popen(command, **pipes) as second:
            assert f"waiting for another process (process {first.pid}) that makes this bank" in second.stderr.readline()
            first.communicate()
            assert second.stdout.readline() == "in\n"
            second.communicate()
            assert second.returncode == 0
