"""Files that are either whole or absent, also after a power cut, and that show when they were damaged since.

What is stored to be read again carries a seal: a file has its sha256 beside it in `NAME.sha256`, a folder holds those
of all its files in `SHA256SUMS`, both as `sha256sum --check` reads them. A folder's sums are written last: without them
it is not whole.
"""

import contextlib
import ctypes
import errno
import glob
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nbjax.errors import InputError
from nbjax.progress import say

SEAL = ".sha256"
SUMS = "SHA256SUMS"
# .NAME.PROCESS-ITS START.RANDOM.tmp, and .old for a folder that is being replaced.
TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)(-(?P<begin>\d+))?\.[0-9a-f]+\.(?P<kind>tmp|old)")


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary name beside `path`; on success what was written there replaces `path`, on failure it is
    removed; InputError where `path` is a folder and what was written is a file.

    Works for a file and for a folder. The folder that holds `path` is created. Everything is on the disk before the new
    name is, and at every moment there is the old one or the new one. What dead processes left of `path` is cleared.
    """
    path = Path(path)
    make_folder(path.parent)
    clear_leftovers(path.parent, path.name)
    temporary = _temporary(path, "tmp")
    try:
        yield temporary
        sync(temporary)
        if path.is_dir() and not temporary.is_dir():
            raise InputError(f"{path} is a folder; expected a file of that name, or none: move the folder away.")
        _rename(temporary, path)
        sync_folder(path.parent)
    finally:
        _remove(temporary)


@contextlib.contextmanager
def sealing(path: str | Path) -> Iterator[Path]:
    """As `replacing`, with a seal: see `damage`.

    Killed at any moment, the file is the old one or the new one and its seal names it: until the file is renamed the
    seal holds both sums.
    """
    path = Path(path)
    with replacing(path) as temporary:
        yield temporary
        if temporary.is_dir():
            write_sums(temporary)
        else:
            digest, former = sha256(temporary), _sealed(path) if path.is_file() else []
            _write_seal(path, [digest, *former])
    if path.is_file() and former:
        _write_seal(path, [digest])


def damage(path: str | Path) -> str | None:
    """What is wrong with a sealed file or folder, in words that follow its name; None where it is as it was written."""
    path = Path(path)
    try:
        if path.is_dir():
            return _folder_damage(path)
        if not path.is_file():
            return "is missing"
        if not _seal(path).is_file():
            return f"has no {path.name}{SEAL} beside it, so that nobody knows whether it is whole"
        return (
            None
            if sha256(path) in _sealed(path)
            else f"is damaged: its bytes do not have the sha256 in {path.name}{SEAL}"
        )
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def check_seal(path: str | Path, advice: str) -> None:
    """Raises InputError, which ends in `advice`, where a sealed file or folder is not as it was written."""
    harm = damage(path)
    if harm is not None:
        raise InputError(f"{path} {harm}; {advice}.")


def check_if_sealed(path: str | Path, advice: str) -> None:
    """As `check_seal` of a file that an older nbjax or another program may have written: without a seal that is
    said.
    """
    path = Path(path)
    if _seal(path).is_file():
        check_seal(path, advice)
    elif path.is_file():
        say(f"note: {path} has no {path.name}{SEAL} beside it, so it is read as it is: nobody would see damage.")


def remove_sealed(path: str | Path) -> None:
    """Removes a file with its seal, where there is one."""
    Path(path).unlink(missing_ok=True)
    _seal(Path(path)).unlink(missing_ok=True)


def write_sums(folder: str | Path) -> None:
    """Marks a folder as whole: brings its files to the disk, then writes their sha256 into its `SHA256SUMS`."""
    folder = Path(folder)
    (folder / SUMS).unlink(missing_ok=True)
    sync(folder)
    lines = [f"{sha256(folder / name)}  {name}\n" for name in _names(folder)]
    with replacing(folder / SUMS) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def read_sums(path: Path) -> dict[str, str]:
    """Sums by name, as a file of them has them; none where there is no such file."""
    return {name: digest for digest, name in _sums(path)} if path.is_file() else {}


def sha256(path: str | Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def printable(path: str | Path) -> str:
    """A path as it can be printed and stored anywhere: what is no letter, as bytes that are not UTF-8, is escaped."""
    # Not `os.fsencode`: in an ASCII locale it has no bytes for letters.
    text = os.fspath(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def make_folder(folder: str | Path) -> None:
    """Makes a folder and those above it, on the disk too."""
    folder = Path(folder)
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def reserve(file: IO[bytes], size: int) -> None:
    """Takes room on the disk for so many bytes of an open file, where the system has a call for it.

    Raises:
        OSError: there is none.
    """
    if not hasattr(os, "posix_fallocate") or size == 0:
        return
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        # Of a file system that has no such thing.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise


def sync(path: Path) -> None:
    """Waits until a file, or a folder with all that is in it, is on the disk."""
    for below in path.rglob("*") if path.is_dir() else ():
        _sync(below)
    _sync(path)


def sync_folder(folder: Path) -> None:
    """Waits until a folder's names are on the disk; one that may be written but not read is passed over."""
    with contextlib.suppress(PermissionError):
        _sync(folder)


def clear_leftovers(folder: Path, name: str | None = None) -> None:
    """Removes what processes that are dead began to write in `folder`: of `name`, else of anything in it or below.

    A folder that was put aside to be replaced gets its name back where the new one never came.
    """
    if name is None:
        leftovers = [path for pattern in (".*.tmp", ".*.old") for path in folder.rglob(pattern)]
    else:
        leftovers = [path for kind in ("tmp", "old") for path in folder.glob(f".{glob.escape(name)}.*.{kind}")]
    for path in leftovers:
        parts = TEMPORARY.fullmatch(path.name)
        begin = None if parts is None else _begin(int(parts["process"]))
        if parts is None or (begin is not None and begin == (parts["begin"] or begin)):
            continue
        if parts["kind"] == "old" and not (path.parent / parts["name"]).exists():
            path.rename(path.parent / parts["name"])
        else:
            _remove(path)


def check_folder(path: str | Path, flag: str = "--out") -> None:
    """Raises InputError unless files can be written into folder `path`, which need not exist."""
    path = Path(path)
    above = next(place for place in (path, *path.absolute().parents) if place.exists() or place.is_symlink())
    if not above.is_dir():
        what = "is a file" if above.exists() else "is a link to nowhere"
        raise InputError(f"{flag}={path}: {above} {what}; expected a folder, choose another {flag}.")
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise InputError(
            f"{flag}={path}: nothing can be written into {above} ({error.strerror}); choose another {flag}."
        ) from error


def check_file(path: str | Path, flag: str = "--out") -> None:
    """Raises InputError unless file `path` can be written; the folder above it need not exist."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{flag}={path}: this is a folder; expected the name of a file, choose another {flag}.")
    check_folder(path.absolute().parent, flag)


def check_room(folder: str | Path, needed: int, what: str = "the dataset takes", advice: str = "") -> None:
    """Raises InputError unless the disk of `folder`, which need not exist, has room for so many bytes."""
    folder = Path(folder)
    free = shutil.disk_usage(next(place for place in (folder, *folder.absolute().parents) if place.is_dir())).free
    if needed > free:
        raise InputError(
            f"{folder}: {what} {size(needed)} and the disk has {size(free)} free; "
            f"{advice or 'make room there, or choose an --out on another disk'}."
        )


def size(count: int) -> str:
    """A number of bytes in words."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"


def _temporary(path: Path, kind: str) -> Path:
    process = os.getpid()
    return path.with_name(f".{path.name}.{process}-{_begin(process)}.{uuid.uuid4().hex[:8]}.{kind}")


def _begin(process: int) -> str | None:
    """When a process began, as Linux counts (elsewhere 0), since numbers of processes come again; None of a dead
    one.
    """
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "0"


def _rename(temporary: Path, path: Path) -> None:
    if not (path.is_dir() and temporary.is_dir()):
        temporary.replace(path)
        return
    if _swap(temporary, path):
        return
    aside = _temporary(path, "old")
    path.rename(aside)
    try:
        temporary.rename(path)
    except OSError:
        aside.rename(path)
        raise
    _remove(aside)


def _swap(first: Path, second: Path) -> bool:
    """Exchanges two names in one step; False where the system or the file system cannot."""
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, swap = -100, 2
    return exchange is not None and exchange(here, os.fsencode(first), here, os.fsencode(second), swap) == 0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Of a file system that has no such thing.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _seal(path: Path) -> Path:
    return path.with_name(path.name + SEAL)


def _write_seal(path: Path, sums: list[str]) -> None:
    with replacing(_seal(path)) as temporary:
        lines = [f"{digest}  {path.name}\n" for digest in dict.fromkeys(sums)]
        temporary.write_text("".join(lines), encoding="utf-8")


def _sealed(path: Path) -> list[str]:
    """The sums that a file's seal allows."""
    return [digest for digest, _ in _sums(_seal(path))] if _seal(path).is_file() else []


def _sums(path: Path) -> list[tuple[str, str]]:
    """Sums and names in a file of them; a line that is not whole is none."""
    lines = path.read_bytes().decode("utf-8", "replace").splitlines()
    return [(line[:64], line[66:]) for line in lines if re.fullmatch(r"[0-9a-f]{64}  .+", line)]


def _names(folder: Path) -> list[str]:
    """All files of a folder but hidden ones and its sums, by their relative paths."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != SUMS and not any(part[0] == "." for part in name.split("/")))


def _folder_damage(folder: Path) -> str | None:
    if not (folder / SUMS).is_file():
        return f"has no {SUMS}, the mark of a whole folder, which is written last"
    expected = read_sums(folder / SUMS)
    for name in sorted({*expected, *_names(folder)}):
        if name not in expected:
            return f"is damaged: {name} is not in its {SUMS}"
        if not (folder / name).is_file():
            return f"is damaged: {name} is missing"
        if sha256(folder / name) != expected[name]:
            return f"is damaged: the bytes of {name} do not have the sha256 in its {SUMS}"
    return None if expected else f"is damaged: its {SUMS} names no file"
