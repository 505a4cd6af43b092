"""Every writing command is killed at chosen file events and moments, and run again: nothing lost, nothing half, nothing
left.
"""

import random
import shutil

import pytest

from tests.torture.conftest import wrong

# Kills of each command.
KILLS = {
    "study": 30,
    "partitions": 14,
    "leakage": 8,
    "tile": 10,
    "report": 8,
    "figures": 8,
    "partition": 8,
    "audit": 4,
    "models": 4,
    "convert_weights": 10,
}


def torture(run, command, reference, out, kills, seed):
    """Kills a command again and again; whenever it ends by itself, its folder is compared and another one begun.

    Returns the number of kills, that of those which left sessions under way, and what was wrong.
    """
    draw = random.Random(seed)
    first = run(command.request(reference))
    assert "Traceback" not in first["err"], first["err"]
    done, under_way, ends, problems = 0, 0, 0, []
    while done < kills or ends == 0:
        shutil.rmtree(out, ignore_errors=True)
        answer = {"status": -9}
        events, seconds = first["events"], first["seconds"]
        while answer["status"] == -9:
            if done >= kills:
                how = {}
            elif draw.random() < 0.6:
                how = {"kill_at": draw.randint(1, max(1, events))}
            else:
                how = {"kill_after": draw.uniform(0.1, seconds)}
            answer = run(command.request(out, **how))
            done += answer["status"] == -9
            under_way += answer["status"] == -9 and any(out.glob("programs/*/in_flight/*"))
        ends += 1
        if answer["status"] != first["status"] or "Traceback" in answer["err"]:
            problems.append(f"ended with {answer['status']}: {answer['err'][-500:]}")
        problems += wrong(out, reference)
        shutil.rmtree(out, ignore_errors=True)
    return done, under_way, problems


@pytest.mark.slow
@pytest.mark.parametrize("name", list(KILLS))
def test_a_killed_command_ends_in_the_same_files_when_it_is_run_again(name, run, commands, tmp_path):
    done, under_way, problems = torture(run, commands[name], tmp_path / "reference", tmp_path / "out", KILLS[name], 1)
    assert problems == []
    assert done >= KILLS[name]
    assert under_way or name != "study"


def test_there_are_a_hundred_kills():
    assert sum(KILLS.values()) >= 100
