"""Compiled programs, which JAX keeps in a folder from one run to the next and reads again without a look at their
bytes.
"""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

from nbjax.files import SUMS, read_sums, replacing, sha256
from nbjax.progress import say

# Names that JAX gives its entries.
ENTRIES = "*-cache"


def watch_compiled(folder: Path, own: bool) -> Callable[[], None]:
    """Removes what is damaged in JAX's folder; what it returns notes the sha256 of new entries, to be called at the
    end.

    A flipped bit in a program is a crash or, worse, other numbers. What is removed is compiled again.

    Args:
        folder: of JAX's cache; need not exist.
        own: whether nothing but nbjax writes there, so that an entry without a sum is one that a killed run left, or
            one of a run that goes on, which has it in its memory.
    """
    sums = read_sums(folder / SUMS)
    for path in sorted(folder.glob(ENTRIES)):
        expected = sums.get(path.name)
        if expected is None and own:
            path.unlink(missing_ok=True)
        elif expected is not None and sha256(path) != expected:
            say(f"{path} is damaged: its bytes do not have the sha256 in {SUMS}; it is removed and compiled again.")
            path.unlink(missing_ok=True)
    return functools.partial(_note, folder, frozenset(path.name for path in folder.glob(ENTRIES)))


def _note(folder: Path, before: frozenset[str]) -> None:
    sums = read_sums(folder / SUMS)
    new = {path.name: sha256(path) for path in folder.glob(ENTRIES) if path.name not in before}
    if not new:
        return
    kept = {name: digest for name, digest in (sums | new).items() if (folder / name).is_file()}
    # A full disk: what has no sum is compiled again next time.
    with contextlib.suppress(OSError), replacing(folder / SUMS) as temporary:
        lines = [f"{digest}  {name}\n" for name, digest in sorted(kept.items())]
        temporary.write_text("".join(lines), encoding="utf-8")
