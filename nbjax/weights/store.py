"""Converted weights on disk: Orbax checkpoints in the cache folder, each with where it came from.

A stored tree is a folder `<home>/weights/<name>` of `tree/`, Orbax's own, and `provenance.json`, which also holds the
sha256 of each of Orbax's files: they are compared before Orbax reads them.
"""

import datetime
import errno
import importlib.metadata
import json
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, TypeAlias, Union

import numpy as np

from nbjax.errors import InputError
from nbjax.files import replacing, reserve, sha256
from nbjax.weights.folders import VARIABLE, home

Tree: TypeAlias = dict[str, Union[np.ndarray, "Tree"]]
"""Nested dicts of arrays."""

_PACKAGES = ("nbjax", "numpy", "jax", "orbax-checkpoint")
_ROOM = 2**20
# What TensorStore says in the system's words, within many of its own.
_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
_ADVICE = "the stored weights are damaged: remove this folder and convert the checkpoint again"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def save_tree(name: str, tree: Tree, source: str | Path, note: str = "") -> Path:
    """Stores a tree under a name; whole or not at all, in place of what had that name.

    Args:
        name: letters, digits, `_`, `.` and `-`.
        tree: nested dicts of NumPy arrays; a dict may be empty, an array not.
        source: the checkpoint file that it was made from; its name and sha256 become part of the provenance.
        note: in words, what had to be understood in that file; likewise.

    Returns:
        The folder.

    Raises:
        InputError: the name or the tree is not such, or the folder has no room for it or cannot be written.
    """
    folder = _folder(name)
    if not tree:
        raise InputError(f"the tree to store as {name!r} is empty")
    _check_tree(tree, ())
    size, digest = _bytes(tree), sha256(source)
    try:
        _check_room(folder, size)
        with replacing(folder) as temporary:
            temporary.mkdir()
            _write(temporary / "tree", tree)
            provenance = {
                "source": Path(source).name,
                "source_sha256": digest,
                "note": note,
                "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "versions": {package: importlib.metadata.version(package) for package in _PACKAGES},
                "files": _digests(temporary / "tree"),
            }
            text = json.dumps(provenance, indent=2) + "\n"
            (temporary / "provenance.json").write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{folder}: the weights cannot be stored there ({error.strerror or error}); free {size / 2**20:,.0f} MiB "
            f"there, or name a folder that can be written, as in {VARIABLE}=/path/to/folder before the command"
        ) from None
    return folder


def _bytes(tree: Tree) -> int:
    return sum(_bytes(value) if isinstance(value, dict) else value.nbytes for value in tree.values())


def _check_room(folder: Path, size: int) -> None:
    """Takes the room and gives it back, which sees quotas too; weights hardly compress."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder.parent).free < size + _ROOM:
        raise OSError(errno.ENOSPC, "the disk has no room for them")
    with tempfile.TemporaryFile(dir=folder.parent) as file:
        reserve(file, size + _ROOM)


def _write(folder: Path, tree: Tree) -> None:
    """Orbax's own words on a failure, hundreds of lines of them, are kept from the user.

    Raises:
        OSError: it failed.
    """
    import orbax.checkpoint

    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder.absolute(), tree)
    except ValueError as error:
        # Threads of Orbax's that end later have their say too.
        logging.getLogger("concurrent.futures").disabled = True
        known = next((code for code in _REFUSALS if os.strerror(code) in str(error)), errno.EIO)
        raise OSError(known, os.strerror(known)) from None
    finally:
        logging.disable(level)


def load_tree(name: str) -> tuple[Tree, dict[str, Any]]:
    """A stored tree and its provenance: `source`, `source_sha256`, `note`, `date`, `versions` and `files`.

    Raises:
        InputError: there is none of that name, or its files are not those that were stored.
    """
    folder = _folder(name)
    while True:
        before = folder.stat().st_ino if folder.is_dir() else None
        try:
            return _load(name)
        except Exception:
            # Another process stored these weights anew while they were read.
            if before is None or not folder.is_dir() or folder.stat().st_ino == before:
                raise


def _load(name: str) -> tuple[Tree, dict[str, Any]]:
    folder = _folder(name)
    if not is_stored(name):
        raise InputError(f"{folder}: no weights are stored under this name; convert a checkpoint first")
    provenance = read_provenance(name)
    expected, actual = provenance["files"], _digests(folder / "tree")
    if actual != expected:
        changed = sorted(file for file in {*expected, *actual} if actual.get(file) != expected.get(file))
        raise InputError(f"{folder}: {len(changed)} files changed since (first {changed[0]}), so {_ADVICE}")
    # Slow to import, and not needed where nothing is stored.
    import orbax.checkpoint

    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(folder.absolute() / "tree"), provenance


def read_provenance(name: str) -> dict[str, Any]:
    """Where a stored tree came from, as `load_tree` gives it; the tree itself is not looked at.

    Raises:
        InputError: what is written there is not that.
    """
    folder = _folder(name)
    try:
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        provenance["files"] = dict(provenance["files"])
        # Weights stored by earlier versions have no note.
        provenance.setdefault("note", "")
        texts = [provenance[key] for key in ("source", "source_sha256", "date", "note")]
    except (OSError, ValueError, KeyError, TypeError):
        texts = [None]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{folder}: provenance.json is missing or unreadable, so {_ADVICE}")
    return provenance


def stored_names() -> list[str]:
    """Names of all stored trees, in order."""
    folder = home() / "weights"
    return sorted(path.name for path in folder.glob("*") if path.is_dir() and _NAME.fullmatch(path.name))


def is_stored(name: str) -> bool:
    """Whether a tree has that name; it may still be damaged."""
    return _folder(name).is_dir()


def _folder(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise InputError(f"the name {name!r} of stored weights must be letters, digits, '_', '.' and '-'")
    return home() / "weights" / name


def _check_tree(tree: Tree, path: tuple[str, ...]) -> None:
    for key, value in tree.items():
        if not isinstance(key, str):
            raise InputError(f"the tree to store has the key {key!r} at {'/'.join(path) or 'its top'}, expected a text")
        if isinstance(value, dict):
            _check_tree(value, (*path, key))
        elif not isinstance(value, np.ndarray) or value.size == 0:
            raise InputError(f"the tree to store holds no array with elements at {'/'.join((*path, key))}")


def _digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder by relative path."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): sha256(file) for file in files}
