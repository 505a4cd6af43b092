"""Numbers with their nouns and lists of names, as they stand in a sentence."""

from collections.abc import Iterable, Sequence


def counted(number: int, word: str, words: str = "") -> str:
    """A number with its noun, in the plural where that is due."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def listing(items: Iterable[object]) -> str:
    """All of them: `a`, `a and b`, `a, b and c`."""
    *others, last = map(str, items)
    return f"{', '.join(others)} and {last}" if others else last


def listed(names: Sequence[str], most: int = 10) -> str:
    """The first `most` names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
