"""Reads config files and changes their fields; the classes that they use are all here, each at home with its layer."""

import ast
import dataclasses
import difflib
import inspect
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints, overload

from nbjax.errors import InputError
from nbjax.fields import to_dict
from nbjax.samples.config import LEAKS, DatasetConfig
from nbjax.slides.phantom import PhantomConfig
from nbjax.slides.tile import Tiling
from nbjax.training.config import CellsConfig, PartitionStudyConfig, StudyConfig
from nbjax.training.strategy import PRESETS, Fidelity

__all__ = [
    "LEAKS",
    "SIZES",
    "CellsConfig",
    "DatasetConfig",
    "PartitionStudyConfig",
    "StudyConfig",
    "load_config",
    "to_dict",
]

C = TypeVar("C", bound=CellsConfig)
# Of a study: as the paper had it, or to an end within minutes on two cores.
SIZES = ("paper", "small")


@overload
def load_config(path: str | Path, settings: Sequence[str] = (), size: str | None = None) -> CellsConfig: ...


@overload
def load_config(path: str | Path, settings: Sequence[str] = (), size: str | None = None, *, kind: type[C]) -> C: ...


def load_config(
    path: str | Path, settings: Sequence[str] = (), size: str | None = None, *, kind: type[CellsConfig] = CellsConfig
) -> CellsConfig:
    """Runs a config file and returns what its `get_config()` gives.

    Args:
        path: a Python file of `configs/` or of your own; it is your program and runs as such.
        settings: `field=value` or `dataset.field=value`, values as Python literals or plain words.
        size: one of `SIZES`, handed to `get_config(size)`; None leaves it to the file.
        kind: of config that is wanted; without one any is.

    Raises:
        InputError: no such file, a size where there are none, an unknown field, a value of another type or out of
            range.
    """
    if size is not None and size not in SIZES:
        raise InputError(f"--size={size}: expected {' or '.join(SIZES)}.")
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such config file; those that come with nbjax are in configs/.")
    namespace = runpy.run_path(str(path))
    if "get_config" not in namespace:
        raise InputError(f"{path}: defines no function get_config(); expected one that returns a StudyConfig.")
    get_config = namespace["get_config"]
    if size is not None and not inspect.signature(get_config).parameters:
        raise InputError(f"{path}: this study has one size only; leave --size={size} out.")
    try:
        config = get_config() if size is None else get_config(size)
    except TypeError as error:
        raise InputError(f"{path}: {_explain(error)}") from error
    if not isinstance(config, kind):
        runs = {PartitionStudyConfig: "partitions", StudyConfig: "study"}.get(type(config))
        advice = f"; run it with python -m experiments.{runs}" if runs else ""
        wanted = "StudyConfig" if kind is CellsConfig else kind.__name__
        raise InputError(f"{path}: get_config() returned a {type(config).__name__}; expected a {wanted}{advice}.")
    return _replaced(config, [_parsed(setting) for setting in settings])


def _explain(error: TypeError) -> str:
    # Python words a misspelt dataclass field as an unexpected keyword argument.
    words = str(error).split("'")
    if "unexpected keyword argument" not in words[0] or len(words) < 2:
        return f"{error}."
    kinds = {
        kind.__name__: kind
        for kind in (StudyConfig, PartitionStudyConfig, DatasetConfig, Tiling, PhantomConfig, Fidelity)
    }
    kind = kinds.get(words[0].split(".")[0], StudyConfig)
    return _unknown_field(words[1], kind)


def _unknown_field(field: str, kind: type) -> str:
    known = [f.name for f in dataclasses.fields(kind)]
    inner = [
        f"{f.name}.{field}"
        for f in dataclasses.fields(kind)
        for option in (get_type_hints(kind)[f.name],)
        if dataclasses.is_dataclass(option) and field in {g.name for g in dataclasses.fields(option)}
    ]
    if inner:
        return f"{kind.__name__} has no field {field!r}; did you mean {inner[0]!r}, as in --set={inner[0]}=…?"
    close = difflib.get_close_matches(field, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(known)}."
    return f"{kind.__name__} has no field {field!r}; {hint}"


class Setting(NamedTuple):
    """One `--set`: the path of a field, its value as text, and how it was typed."""

    path: tuple[str, ...]
    text: str
    typed: str


def _parsed(setting: str) -> Setting:
    name, equals, text = setting.partition("=")
    if not equals:
        raise InputError(f"--set={setting}: expected field=value.")
    return Setting(tuple(name.strip().split(".")), text.strip(), setting)


def _replaced(config: Any, settings: Sequence[Setting]) -> Any:
    """The config with all settings applied at once, so that it is checked as a whole and their order does not count.

    Of two settings of one field the later holds; fields of a field are set after the field itself.
    """
    values: dict[str, Any] = {}
    kinds = get_type_hints(type(config))
    for setting in settings:
        if setting.path[0] not in {f.name for f in dataclasses.fields(config)}:
            raise InputError(f"--set={setting.typed}: {_unknown_field(setting.path[0], type(config))}")
        if len(setting.path) == 1:
            values[setting.path[0]] = _literal(setting.text, kinds[setting.path[0]])
    deeper = [setting for setting in settings if len(setting.path) > 1]
    for field in dict.fromkeys(setting.path[0] for setting in deeper):
        of_field = [setting for setting in deeper if setting.path[0] == field]
        inner = values.get(field, getattr(config, field))
        if not dataclasses.is_dataclass(inner):
            raise InputError(f"--set={of_field[0].typed}: field {field!r} has no fields of its own.")
        try:
            values[field] = _replaced(inner, [setting._replace(path=setting.path[1:]) for setting in of_field])
        except InputError as error:
            raise InputError(str(error).replace("config field ", f"config field {field}.", 1)) from error
    return dataclasses.replace(config, **values)


def _literal(text: str, kind: Any) -> Any:
    """A Python literal, or the words themselves; where several may stand they are parted by commas, and one is
    several.
    """
    if kind is Fidelity:
        if text not in PRESETS:
            raise InputError(
                f"--set=fidelity={text}: expected {' or '.join(PRESETS)}, or a field as in fidelity.crop=bank."
            )
        return PRESETS[text]
    several, options = get_origin(kind) is tuple, get_args(kind) or (kind,)
    if str in options and not several:
        # A label or a path may look like a number.
        return None if text == "None" and type(None) in options else _unquoted(text)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return tuple(word.strip() for word in text.split(",")) if several else text
    return (value,) if several and not isinstance(value, tuple) else value


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
