"""One writer a folder."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from nbjax.errors import InputError
from nbjax.files import make_folder
from nbjax.progress import say

LOCK = "lock"
# What a file system without locks answers.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def locked(folder: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Keeps other processes out of a folder; the system lets go of the lock when the process ends, however it ends.

    On a file system without locks a warning is printed and the work goes on. A folder that holds nothing afterwards is
    removed: bad input leaves nothing behind.

    Args:
        folder: created where it is not there.
        what: is written there, in words.
        wait: for the other process, else it is an error.

    Raises:
        InputError: another process is at work there.
    """
    with _locked_file(folder, what, wait) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        try:
            yield
        finally:
            # Two runs leave the same bytes.
            file.truncate(0)
            if [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
                folder.rmdir()


@contextlib.contextmanager
def _locked_file(folder: Path, what: str, wait: bool) -> Iterator[TextIO]:
    while True:
        make_folder(folder)
        with (folder / LOCK).open("a+", encoding="utf-8") as file:
            _lock(file, folder, what, wait)
            # The former owner may have removed the file before it let go of it.
            if (folder / LOCK).exists() and os.path.samestat(os.fstat(file.fileno()), (folder / LOCK).stat()):
                yield file
                return


def _lock(file: TextIO, folder: Path, what: str, wait: bool) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            say(
                f"warning: {folder}: this file system has no locks ({error.strerror}), so nothing keeps a second "
                "process out; start one at a time."
            )
        elif error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        else:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            if not wait:
                raise InputError(
                    f"{folder}: another process ({owner}) is at work on {what}; wait for it or choose another --out."
                ) from error
            say(f"{folder}: waiting for another process ({owner}) that makes {what}")
            fcntl.flock(file, fcntl.LOCK_EX)
