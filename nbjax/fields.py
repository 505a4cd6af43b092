"""Checks on the fields of a config."""

import dataclasses
import json
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

from nbjax.errors import InputError


def check(holds: bool, field: str, found: Any, expected: str) -> None:
    """Raises InputError that names the field unless `holds`."""
    if not holds:
        raise InputError(f"config field {field}: found {found!r}; expected {expected}.")


def check_types(config: Any) -> None:
    """Raises InputError for a field of a dataclass whose value is not of its annotated type."""
    for field, kind in get_type_hints(type(config)).items():
        value = getattr(config, field)
        if not _is_a(value, kind):
            raise InputError(f"config field {field}: found {value!r}; expected {_in_words(kind)}.")


def _in_words(kind: Any) -> str:
    """What a value of an annotated type is called by someone who types it."""
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "text", types.NoneType: "None"}
    inner = [option for option in get_args(kind) if option is not Ellipsis]
    if get_origin(kind) in (types.UnionType, Union):
        return " or ".join(map(_in_words, inner))
    if get_origin(kind) is tuple:
        each = list(map(_in_words, inner))
        if Ellipsis in get_args(kind):
            return f"{each[0]}, or several parted by commas"
        alike = len(set(each)) == 1
        return f"{len(inner)} values, parted by commas, each {each[0]}" if alike else f"({', '.join(each)})"
    return words.get(kind, f"a {getattr(kind, '__name__', kind)}")


def _is_a(value: Any, kind: Any) -> bool:
    if get_origin(kind) in (types.UnionType, Union):
        return any(_is_a(value, option) for option in get_args(kind))
    if get_origin(kind) is tuple:
        inner = [option for option in get_args(kind) if option is not Ellipsis]
        open_ended = Ellipsis in get_args(kind)
        if not isinstance(value, tuple) or (not open_ended and len(value) != len(inner)):
            return False
        return all(_is_a(item, inner[0] if open_ended else inner[n]) for n, item in enumerate(value))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON values (tuples as lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain
