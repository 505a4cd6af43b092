"""Runs nbjax's scripts in forked children of one process that has imported everything, and injects faults into them.

Started as a process of its own; takes requests as lines of JSON on standard input and answers each with one line. A
request: `module`, `arguments`, and any of `environment`, `under` (the folder whose file events count), `kill_at`
(SIGKILL before the so-manyth of them), `kill_after` (SIGKILL after so many seconds), `largest_file` (bytes, a limit),
`count` alone (how many file events). The answer: `status` (negative: the signal), `out`, `err`, `seconds`, `events`.

File events are those that Python's audit hooks see: what is opened for writing, made, renamed, removed. What C++
libraries write in between is hit by the kills after seconds.
"""

import contextlib
import importlib
import json
import os
import resource
import runpy
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

MODULES = (
    "jax",
    "optax",
    "orbax.checkpoint",
    "tensorflow_datasets",
    "pyarrow.parquet",
    "pyarrow.csv",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "sklearn.linear_model",
    "scipy.stats",
    "jinja2",
    "openslide",
    "nbjax.models",
    "nbjax.training.study",
    "nbjax.training.partition_study",
    "nbjax.report.study_page",
    "nbjax.report.paper.results",
    "nbjax.samples.reading",
    "datasets.neuroblastoma.neuroblastoma_dataset_builder",
)
PATHS = {"os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.truncate", "os.symlink"}


def count_events(under: str, kill_at: int | None, counted: list[int]) -> None:
    """Counts this process's file events below a folder, and ends it before the one asked for."""

    def hook(event: str, values: tuple[Any, ...]) -> None:
        if event == "open":
            path, flags = values[0], values[2]
            changes = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        elif event == "ctypes.dlsym":
            # Names are exchanged by a call of the C library.
            path, changes = under, values[1] == "renameat2"
        else:
            path, changes = values[0] if event in PATHS else None, event in PATHS
        if not changes or isinstance(path, int):
            return
        path = os.fsdecode(path)
        if not path.startswith("/") and event in ("os.remove", "os.rmdir") and values[-1] not in (-1, None):
            with contextlib.suppress(OSError):
                path = str(Path(f"/proc/self/fd/{values[-1]}").readlink() / path)
        if not os.path.abspath(path).startswith(under):  # noqa: PTH100
            return
        counted[0] += 1
        if counted[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def work(request: dict[str, Any], events: int) -> int:
    """What a child does; its exit status."""
    os.environ.update(request.get("environment", {}))
    if "largest_file" in request:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"], resource.RLIM_INFINITY))
    counted = [0]
    if "under" in request:
        count_events(request["under"], request.get("kill_at"), counted)
    sys.argv = [request["module"], *request["arguments"]]
    status: Any = 0
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except Exception:  # noqa: BLE001 (the parent prints it)
        traceback.print_exc()
        status = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(events, str(counted[0]).encode())
    return int(status or 0)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """One request in a child."""
    reading, writing = os.pipe()
    # What it says goes through pipes: a file would have the limit of its other files.
    pipes = [os.pipe() for _ in range(2)]
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        status = 98
        try:
            for number, (_, end) in enumerate(pipes, start=1):
                os.dup2(end, number)
            status = work(request, writing)
        finally:
            os._exit(status)
    os.close(writing)
    for _, end in pipes:
        os.close(end)
    said: list[list[str]] = [[], []]
    readers = [threading.Thread(target=_read, args=(end, into)) for (end, _), into in zip(pipes, said, strict=True)]
    for reader in readers:
        reader.start()
    deadline = begin + request.get("kill_after", 500)
    ended = 0
    while not ended:
        ended, status = os.waitpid(child, os.WNOHANG)
        if not ended and time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            ended, status = os.waitpid(child, 0)
        time.sleep(0.01)
    seconds = time.monotonic() - begin
    events = int(os.read(reading, 20) or 0)
    os.close(reading)
    for reader in readers:
        reader.join()
    texts = ["".join(some) for some in said]
    status = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return {"status": status, "out": texts[0], "err": texts[1], "seconds": seconds, "events": events}


def _read(end: int, into: list[str]) -> None:
    with open(end, encoding="utf-8", errors="replace") as pipe:
        into.append(pipe.read())


def main() -> None:
    """Answers requests until there are no more."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    os.environ["MPLBACKEND"] = "agg"
    for name in MODULES:
        importlib.import_module(name)
    for line in sys.stdin:
        answer = run(json.loads(line))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
