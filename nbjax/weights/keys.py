"""Names and shapes of a checkpoint against those of a network, both ways."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from nbjax.errors import InputError

_COUNTER = "num_batches_tracked"
_SHOWN = 4


def match_keys(
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, np.ndarray],
    source: str,
    partial: str | Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """The arrays that a network expects, none missing, none left over, each of its shape and of floating point.

    torch's `num_batches_tracked`, a counter in every batch norm that evaluation does not use and files before torch
    0.4.1 lack, is ignored on both sides.

    Args:
        expected: shape by name.
        found: array by name, as `read_checkpoint` gives them.
        source: names the checkpoint in the error: its file.
        partial: pattern or patterns, as for a shell (`classifier.*`), of names that may be absent. Each must fit a name
            that is expected. A name that may be absent is still checked where it is present.

    Returns:
        Arrays by name, in the order of `expected`.

    Raises:
        InputError: names or shapes differ: how many and which, a few of each; or a pattern fits nothing.
    """
    patterns = [partial] if isinstance(partial, str) else list(partial or ())
    wanted = {name: tuple(shape) for name, shape in expected.items() if not is_counter(name)}
    given = {name: array for name, array in found.items() if not is_counter(name)}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in wanted):
            raise InputError(f"{source}: the pattern {pattern!r} fits no expected name ({_some(wanted)})")
    missing = [
        f"{name} {shape}"
        for name, shape in wanted.items()
        if name not in given and not any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
    unexpected = [f"{name} {array.shape}" for name, array in given.items() if name not in wanted]
    both = [name for name in wanted if name in given]
    shapes = [
        f"{name} {given[name].shape}, expected {wanted[name]}" for name in both if given[name].shape != wanted[name]
    ]
    types = [f"{name} {given[name].dtype}" for name in both if given[name].dtype.kind != "f"]
    faults = (
        ("missing", missing),
        ("unexpected", unexpected),
        ("of another shape", shapes),
        ("not of floating point", types),
    )
    listed = [f"{len(names)} {what} ({_some(names)})" for what, names in faults if names]
    if listed:
        raise InputError(f"{source}: its {len(given)} tensors are not the {len(wanted)} expected: {'; '.join(listed)}")
    return {name: given[name] for name in both}


def prefixes_of(name: str, found: Iterable[str]) -> set[str]:
    """What stands before a published name where it is found, dots included; empty where nothing does."""
    before = (other.removesuffix(name) for other in found if other.endswith(name))
    return {prefix for prefix in before if not prefix or prefix.endswith(".")}


def without_prefix(
    expected: Iterable[str], found: Mapping[str, np.ndarray], source: str
) -> tuple[dict[str, np.ndarray], str]:
    """The arrays without a prefix that all expected names have in common, and the prefix; names without it are left
    out.

    Where the expected names stand without one, or no prefix leads to all of them, all stays as it is.

    Raises:
        InputError: there are several such prefixes.
    """
    names = list(expected)
    prefixes = prefixes_of(names[0], found) if names else set()
    whole = sorted(prefix for prefix in prefixes if all(prefix + name in found for name in names))
    if "" in whole or not whole:
        return dict(found), ""
    if len(whole) > 1:
        raise InputError(
            f"{source}: its names begin in several ways that fit ({', '.join(map(repr, whole[:4]))}): save the tensors "
            f"of one of them alone"
        )
    return {name.removeprefix(whole[0]): found[name] for name in found if name.startswith(whole[0])}, whole[0]


def is_inside(name: str, expected: Iterable[str], last: str) -> bool:
    """Whether a name is of one of the modules that the expected names are of, and not of the last layer (`fc.`)."""
    modules = {one.partition(".")[0] for one in expected}
    return name.partition(".")[0] in modules and not name.startswith(last)


def is_counter(name: str) -> bool:
    """Whether a name is of a batch norm's counter."""
    return name.rpartition(".")[2] == _COUNTER


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
