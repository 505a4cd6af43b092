"""Bounded reading: never more bytes than a file really has, whatever its headers claim."""

import os
from dataclasses import dataclass
from io import BufferedReader

import numpy as np

from nbjax.errors import InputError


class IncompleteError(InputError):
    """The file ends before what it announces: an interrupted download or copy."""


@dataclass(frozen=True)
class Raw:
    """An open file of known size.

    Attributes:
        file: opened for reading bytes.
        size: bytes.
    """

    file: BufferedReader
    size: int

    def read(self, offset: int, count: int, what: str) -> np.ndarray:
        """The `count` bytes from `offset`, uint8 `[count]`; `what` names them in the error.

        Raises:
            IncompleteError: the file ends before.
        """
        if offset + count > self.size:
            raise IncompleteError(
                f"it ends after {self.size:,} bytes, but {what} should reach to byte {offset + count:,}"
            )
        data = np.empty(count, np.uint8)
        self.file.seek(offset)
        if self.file.readinto(data.data) != count:
            raise IncompleteError(f"it became shorter than {self.size:,} bytes while it was read")
        return data


def open_raw(file: BufferedReader) -> Raw:
    """An open file, measured."""
    return Raw(file, os.fstat(file.fileno()).st_size)
