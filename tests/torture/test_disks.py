"""Disks that are full, lose power or have another writer."""

import contextlib
import os
import shutil
import subprocess
import threading
import time

import pytest

from tests.torture.conftest import wrong


@contextlib.contextmanager
def mounted(folder, *arguments):
    """A file system of its own in a folder; the test is skipped where none may be mounted."""
    folder.mkdir()
    found = (
        subprocess.run(["mount", *arguments, str(folder)], capture_output=True, check=False)
        if shutil.which("mount")
        else None
    )
    if found is None or found.returncode:
        pytest.skip("this machine mounts nothing for its user")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def last_line(answer):
    return answer["err"].replace("\r", "\n").strip().splitlines()[-1]


def one_sentence(answer):
    assert answer["status"] == 1, answer
    assert "Traceback" not in answer["err"], answer["err"]
    assert last_line(answer).startswith("error: ")


@pytest.mark.slow
def test_what_does_not_fit_is_said_before_anything_is_built(run, commands, tmp_path):
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=3m", "tmpfs") as disk:
        answer = run(commands["study"].request(disk / "out"))
        one_sentence(answer)
        assert "the dataset and what is computed from it take about" in last_line(answer)
        assert not list(disk.rglob("*array_record*"))


@pytest.mark.slow
@pytest.mark.parametrize("largest", [200, 5_000, 40_000, 150_000, 400_000])
def test_a_disk_that_gets_full_is_one_sentence_and_the_command_goes_on_afterwards(
    largest, run, commands, finished, tmp_path
):
    out = tmp_path / "out"
    shutil.copytree(finished / "phantom", out / "phantom")
    answer = run(commands["study"].request(out, largest_file=largest))
    if answer["status"]:
        one_sentence(answer)
        assert "the same command goes on" in last_line(answer)
    answer = run(commands["study"].request(out))
    assert answer["status"] == 0, answer["err"]
    assert wrong(out, finished) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tile", "convert_weights", "report", "partitions"])
def test_a_full_disk_is_one_sentence_of_every_command(name, run, commands, tmp_path):
    answer = run(commands[name].request(tmp_path / "out", largest_file=1_500))
    one_sentence(answer)


@pytest.mark.slow
def test_two_studies_that_fill_one_disk_with_banks_end_in_a_sentence_at_most(run, commands, finished, tmp_path):
    with mounted(tmp_path / "banks", "-t", "tmpfs", "-o", "size=160k", "tmpfs") as banks:
        answers = together(run, [banks_request(commands, finished, tmp_path / f"out{n}", banks, n) for n in (1, 2)])
        assert all(answer["status"] in (0, 1) for answer in answers), answers
        assert any(answer["status"] == 1 for answer in answers)
        for answer in answers:
            if answer["status"]:
                one_sentence(answer)
        assert not list(banks.rglob("*.tmp"))


@pytest.mark.slow
def test_two_studies_with_the_same_banks_fill_them_once(run, commands, finished, tmp_path):
    banks = tmp_path / "banks"
    answers = together(run, [banks_request(commands, finished, tmp_path / f"out{n}", banks, 0) for n in (1, 2)])
    assert [answer["status"] for answer in answers] == [0, 0], answers
    assert sum("train: " in answer["err"] and "small_cnn to" in answer["err"] for answer in answers) == 1
    for number in (1, 2):
        shutil.copytree(banks, tmp_path / f"out{number}" / "banks")
        assert wrong(tmp_path / f"out{number}", finished) == []


@pytest.mark.slow
def test_a_second_writer_of_a_folder_is_refused_and_the_first_one_ends_well(run, commands, finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished / "phantom", out / "phantom")
    answers = together(run, [commands["study"].request(out)] * 2)
    assert sorted(answer["status"] for answer in answers) == [0, 1], answers
    refused = next(answer for answer in answers if answer["status"])
    assert "is at work on this study" in last_line(refused)
    assert wrong(out, finished) == []


def banks_request(commands, finished, out, banks, seed):
    shutil.copytree(finished / "phantom", out / "phantom")
    study = commands["study"]
    more = (f"--banks={banks}", *((f"--set=dataset.seed={seed}",) if seed else ()))
    return study._replace(arguments=(*study.arguments, *more)).request(out)


def together(run, requests):
    """Two requests at once."""
    answers = [None] * len(requests)

    def go(at):
        answers[at] = run(requests[at], at)

    threads = [threading.Thread(target=go, args=(at,)) for at in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 1.1])
def test_after_a_power_cut_the_same_command_ends_in_the_same_files(share, run, commands, finished, tmp_path):
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("there is no mkfs.ext4 here")
    disk, cut = tmp_path / "disk", tmp_path / "cut"
    with disk.open("wb") as file:
        file.truncate(200 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(disk)], check=True)
    with mounted(tmp_path / "live", "-o", "loop", str(disk)) as live:
        shutil.copytree(finished / "phantom", live / "out" / "phantom")
        os.sync()
        whole = run(commands["study"].request(tmp_path / "timed"))["seconds"]
        thread = threading.Thread(target=lambda: run(commands["study"].request(live / "out"), 1))
        thread.start()
        if share > 1:
            thread.join()
        else:
            time.sleep(share * whole)
        # What the disk holds at this moment, without what waits in memory.
        subprocess.run(["cp", "--sparse=always", str(disk), str(cut)], check=True)
        thread.join()
    with mounted(tmp_path / "again", "-o", "loop", str(cut)) as again:
        if share > 1:
            empty = [path for path in (again / "out").rglob("*") if path.is_file() and path.stat().st_size == 0]
            assert {path.name for path in empty} <= {"lock"}
        answer = run(commands["study"].request(again / "out"))
        assert answer["status"] == 0, answer["err"]
        assert wrong(again / "out", finished) == []
