"""A study's folder: what is finished, what is in flight, and who writes."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint
import pyarrow as pa
import pyarrow.parquet

from nbjax.errors import InputError
from nbjax.files import replacing

PROGRAMS = "programs"
DESCRIPTION = "program.json"
HISTORY = "history.parquet"
LOGITS = "logits.npz"
BEST = "best"
IN_FLIGHT = "in_flight"
LOCK = "lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a study's folder; the system lets go of the lock when the process ends, however it ends.

    Raises:
        InputError: another process is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise InputError(
                f"{folder}: another process ({owner}) is at work on this study; wait for it or choose another --out."
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        try:
            yield
        finally:
            # Bad input leaves nothing behind.
            if [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
                folder.rmdir()


def write_table(table: pa.Table, path: Path) -> None:
    """Writes Parquet, whole or not at all."""
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)


def finish(folder: Path, history: pa.Table, logits: dict[str, np.ndarray], best: Any) -> None:
    """Stores a finished program, the history last, and drops its checkpoint."""
    with replacing(folder / LOGITS) as temporary, temporary.open("wb") as file:
        arrays: dict[str, Any] = dict(logits)
        np.savez(file, **arrays)
    _save(folder / BEST, _plain(best))
    write_table(history, folder / HISTORY)
    shutil.rmtree(folder / IN_FLIGHT, ignore_errors=True)


def is_finished(folder: Path) -> bool:
    """Whether a program's results are there."""
    return (folder / HISTORY).is_file()


def read_history(folder: Path) -> pa.Table:
    """A finished program's rows.

    Raises:
        InputError: its file is damaged.
    """
    path = folder / HISTORY
    try:
        return pyarrow.parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: damaged ({error}); remove {folder} to have this program run again.") from error


def read_logits(folder: Path) -> dict[str, np.ndarray]:
    """A finished program's logits `[sessions, samples, outputs]` at each session's best epoch, by split.

    Raises:
        InputError: its file is missing or damaged.
    """
    path = folder / LOGITS
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            return dict(file)
    except Exception as error:  # zipfile, zlib and NumPy each have their own
        raise InputError(f"{path}: damaged ({error}); remove {folder} to have this program run again.") from error


def checkpoint(folder: Path, epoch: int, states: Any, metrics: Any) -> None:
    """Stores a program in flight, then drops its earlier checkpoint: at every moment one of them is whole."""
    parent = folder / IN_FLIGHT
    tree = {"epoch": np.int32(epoch), "states": _numbered(states), "metrics": _numbered(metrics)}
    _save(parent / str(epoch), tree)
    for other in parent.iterdir():
        if other.name != str(epoch):
            shutil.rmtree(other)


def restore(folder: Path, states: Any, metrics: Any) -> tuple[int, Any, Any] | None:
    """Epoch, states and metrics of a program's last checkpoint; None where there is none.

    What a killed process left half-written is removed.

    Args:
        folder: the program's.
        states: the shapes of the states.
        metrics: one epoch's metrics, to tell their names.

    Raises:
        InputError: the checkpoint is damaged or of another program.
    """
    parent = folder / IN_FLIGHT
    for left in (*folder.glob(".*.tmp"), *parent.glob(".*.tmp")):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    epochs = [int(path.name) for path in parent.glob("*")]
    if not epochs:
        return None
    path = parent / str(max(epochs))
    try:
        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            found = checkpointer.restore((path / "tree").absolute())
        leaves, kept = _leaves(found["states"]), _leaves(found["metrics"])
        shapes = [(leaf.shape, leaf.dtype) for leaf in leaves]
        if shapes != [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(states)]:
            raise ValueError("other shapes than this program has")
        rebuilt = jax.tree.unflatten(jax.tree.structure(states), leaves)
        return int(found["epoch"]), rebuilt, jax.tree.unflatten(jax.tree.structure(metrics), kept)
    except Exception as error:  # Orbax and TensorStore each have their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{path}: a damaged checkpoint ({reason}); remove {path} to start this program anew."
        ) from error


def _leaves(saved: dict[str, Any]) -> list[np.ndarray]:
    return [np.asarray(saved[name]) for name in sorted(saved, key=int)]


def _numbered(tree: Any) -> dict[str, np.ndarray]:
    """Leaves under their numbers: Orbax gives back dicts, whatever the tree was made of."""
    return {str(number): np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(tree))}


def _plain(tree: Any) -> Any:
    """Dicts all the way down; a tuple's members under their numbers."""
    if isinstance(tree, tuple | list):
        return {str(number): _plain(value) for number, value in enumerate(tree)}
    return {name: _plain(value) for name, value in tree.items()} if isinstance(tree, dict) else np.asarray(tree)


def _save(path: Path, tree: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.mkdir()
        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            checkpointer.save((temporary / "tree").absolute(), tree)


def describe(folder: Path, description: dict[str, Any]) -> None:
    """Writes what a program is, beside its results."""
    with replacing(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(description, indent=1))
