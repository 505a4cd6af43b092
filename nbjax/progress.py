"""Progress bars, shown to people and kept out of log files."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import tqdm

T = TypeVar("T")


def bar(items: Iterable[T], label: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Iterates over `items` under a bar with rate and time left; where standard error is no terminal, one line at the
    end.
    """
    yield from tqdm.tqdm(items, desc=label, unit=unit, total=total, mininterval=0.5 if sys.stderr.isatty() else 30)


class Meter(Protocol):
    """Told how much more is done; what an earlier run did counts, and is left out of the rate."""

    def __call__(self, more: float, *, earlier: bool = False) -> None:
        """Moves the bar on by `more`."""


@contextlib.contextmanager
def meter(total: int, label: str, unit: str) -> Iterator[Meter]:
    """A bar that is told how much more is done; drawn as `bar` draws."""
    with tqdm.tqdm(desc=label, unit=unit, total=total, mininterval=0.5 if sys.stderr.isatty() else 30) as drawn:

        def move(more: float, *, earlier: bool = False) -> None:
            drawn.initial += more if earlier else 0
            drawn.update(more)

        yield move


def say(text: str) -> None:
    """Prints a line for people, on standard error, without spoiling a bar."""
    tqdm.tqdm.write(text, file=sys.stderr)
