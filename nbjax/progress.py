"""Progress bars, shown to people and kept out of log files."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

import tqdm

T = TypeVar("T")


def bar(items: Iterable[T], label: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Iterates over `items` under a bar with rate and time left; where standard error is no terminal, one line at the end."""
    yield from tqdm.tqdm(items, desc=label, unit=unit, total=total, mininterval=0.5 if sys.stderr.isatty() else 30)
