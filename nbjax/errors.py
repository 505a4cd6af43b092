"""The one exception class for bad input, and what is made of other libraries' errors."""

import errno

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_WORDS = ("No space left on device", "Disk quota exceeded", "File too large")


class InputError(ValueError):
    """Something the user gave is wrong.

    The message is one sentence: which file or field, what was found, what was expected, what to do. Scripts print it
    and exit with status 1; anything else that escapes is a defect and keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its name where it says nothing."""
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)


def disk_is_full(error: BaseException) -> bool:
    """Whether an exception, or one that it came from, says that a disk, a quota or the largest file is full."""
    if (isinstance(error, OSError) and error.errno in FULL) or any(words in str(error) for words in FULL_WORDS):
        return True
    earlier = error.__cause__ or error.__context__
    return earlier is not None and disk_is_full(earlier)


def memory_ran_out(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, Python's or XLA's."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error))
