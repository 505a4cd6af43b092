"""A study's folder: what is finished, what is in flight, and who writes."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint
import pyarrow as pa
import pyarrow.parquet

from nbjax import locks
from nbjax.errors import InputError, first_line
from nbjax.files import check_folder, check_seal, clear_leftovers, damage, remove_sealed, sealing
from nbjax.progress import say

PROGRAMS = "programs"
DESCRIPTION = "program.json"
HISTORY = "history.parquet"
LOGITS = "logits.npz"
BEST = "best"
IN_FLIGHT = "in_flight"
# Of a table's metadata.
MADE_OF = b"made_of"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a study's folder, and first clears what killed ones left there.

    A program with a damaged file is said and counts as not begun, so that it runs again.

    Raises:
        InputError: another process is at work there, or nothing can be written there.
    """
    check_folder(folder)
    with locks.locked(folder, "this study"):
        clear_leftovers(folder)
        for program in sorted(folder.glob(f"{PROGRAMS}/*")):
            _look_through(program)
        yield


def _look_through(folder: Path) -> None:
    """Drops a finished program's checkpoint; a damaged program loses what says that it is finished and how it is
    planned.
    """
    finished = is_finished(folder)
    needed = (DESCRIPTION, HISTORY, LOGITS, BEST) if finished else (DESCRIPTION,)
    harm_of = {name: damage(folder / name) for name in needed if finished or (folder / name).exists()}
    damaged = [name for name, what in harm_of.items() if what is not None]
    if damaged:
        say(f"{folder / damaged[0]} {harm_of[damaged[0]]}; this program runs again.")
        remove_sealed(folder / HISTORY)
    if DESCRIPTION in damaged:
        remove_sealed(folder / DESCRIPTION)
    if finished or damaged:
        shutil.rmtree(folder / IN_FLIGHT, ignore_errors=True)


def write_table(table: pa.Table, path: Path, decides: dict[str, Any] | None = None) -> None:
    """Writes Parquet, whole or not at all, with its seal; `decides` is all that its content follows from."""
    if decides is not None:
        table = table.replace_schema_metadata({MADE_OF: json.dumps(decides, sort_keys=True)})
    with sealing(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)


def read_table(path: Path) -> pa.Table:
    """A table as `write_table` wrote it.

    Raises:
        InputError: it is damaged.
    """
    check_seal(path, f"remove {path}, and the same command makes it again")
    return pyarrow.parquet.read_table(path)


def made_of(path: Path) -> dict[str, Any] | None:
    """What `write_table` was told that the table follows from; None where it was told nothing."""
    try:
        stored = (pyarrow.parquet.read_schema(path).metadata or {}).get(MADE_OF)
        return None if stored is None else dict(json.loads(stored))
    except ValueError:  # Arrow's own is one too
        return None


def is_whole(path: Path) -> bool:
    """Whether a sealed file is there as it was written; says so where it is there and damaged."""
    harm = damage(path)
    if harm is not None and path.exists():
        say(f"{path} {harm}; it is made again.")
    return harm is None


def finish(folder: Path, history: pa.Table, logits: dict[str, np.ndarray], best: Any) -> None:
    """Stores a finished program, the history last, and drops its checkpoint."""
    with sealing(folder / LOGITS) as temporary, temporary.open("wb") as file:
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
    check_seal(folder / HISTORY, _again(folder))
    return pyarrow.parquet.read_table(folder / HISTORY)


def read_logits(folder: Path) -> dict[str, np.ndarray]:
    """A finished program's logits `[sessions, samples, outputs]` at each session's best epoch, by split.

    Raises:
        InputError: its file is missing or damaged.
    """
    check_seal(folder / LOGITS, _again(folder))
    with (folder / LOGITS).open("rb") as opened, np.load(opened) as file:
        return dict(file)


def _again(folder: Path) -> str:
    return f"remove {folder}, and the same command runs this program again"


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

    A damaged checkpoint is said and removed, so that the program goes on from an earlier one or starts anew. What a
    killed process left half-written is removed.

    Args:
        folder: the program's.
        states: the shapes of the states.
        metrics: one epoch's metrics, to tell their names.

    Raises:
        InputError: the checkpoint is of another program.
    """
    parent = folder / IN_FLIGHT
    clear_leftovers(folder)
    for path in sorted(parent.glob("[0-9]*"), key=lambda path: int(path.name), reverse=True):
        harm = damage(path)
        if harm is None:
            return _restored(path, states, metrics)
        say(f"{path} {harm}; it is removed, and this program runs its epochs again.")
        shutil.rmtree(path)
    return None


def _restored(path: Path, states: Any, metrics: Any) -> tuple[int, Any, Any]:
    try:
        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            stored = checkpointer.restore((path / "tree").absolute())
        leaves, kept = _leaves(stored["states"]), _leaves(stored["metrics"])
        shapes = [(leaf.shape, leaf.dtype) for leaf in leaves]
        if shapes != [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(states)]:
            raise ValueError("other shapes than this program has")
        rebuilt = jax.tree.unflatten(jax.tree.structure(states), leaves)
        return int(stored["epoch"]), rebuilt, jax.tree.unflatten(jax.tree.structure(metrics), kept)
    except Exception as error:  # Orbax and TensorStore each have their own
        raise InputError(
            f"{path}: a checkpoint of another program ({first_line(error)}); remove {path} to start this program anew."
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
    with sealing(path) as temporary:
        temporary.mkdir()
        try:
            with orbax.checkpoint.StandardCheckpointer() as checkpointer:
                checkpointer.save((temporary / "tree").absolute(), tree)
        except Exception as error:  # Orbax and TensorStore each have their own
            raise OSError(f"{path}: could not be written ({first_line(error)})") from error


def describe(folder: Path, description: dict[str, Any]) -> None:
    """Writes what a program is, beside its results."""
    with sealing(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(description, indent=1), encoding="utf-8")
