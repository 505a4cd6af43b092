"""Advice in messages can be typed as it stands: every flag, field and script that one names is there."""

import ast
import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest

from nbjax.config import PartitionStudyConfig, StudyConfig, load_config
from nbjax.errors import InputError

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("nbjax", "experiments", "datasets")
    for path in (ROOT / folder).rglob("*.py")
    if not path.name.endswith("_test.py")
)
# Of other programs that messages name.
FOREIGN = {"tfds": {"data_dir", "manual_dir", "config"}, "pip": {"upgrade"}}
# Where a value stands that is known only when the message is written.
HOLE = "…"


def texts_of(path):
    """Every text of a source that is no docstring, with its line; f-strings with a hole for each value."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs, parts = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            docs.add(id(node.body[0].value))
        if isinstance(node, ast.JoinedStr):
            parts |= {id(part) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (docs | parts):
            yield node.lineno, node.value


MESSAGES = [
    pytest.param(text, path, id=f"{path.relative_to(ROOT)}:{line}")
    for path in SOURCES
    for line, text in texts_of(path)
    if " " in text
]


def fields_of(kind, before=""):
    """All fields of a config, those of the configs in it with dots."""
    config = kind(name="x") if "name" in {field.name for field in dataclasses.fields(kind)} else kind()
    names = set()
    for field in dataclasses.fields(kind):
        names.add(f"{before}{field.name}")
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            names |= fields_of(type(value), f"{before}{field.name}.")
    return names


FIELDS = fields_of(StudyConfig) | fields_of(PartitionStudyConfig)


def defined_flags(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr.startswith("DEFINE_")
    }


# Of each script: its own flags, and those of study.py where it has them too.
FLAGS = {path.stem: defined_flags(path) for path in sorted((ROOT / "experiments").glob("*.py"))}
for name in FLAGS:
    if "adopt_module_key_flags(studies)" in (ROOT / "experiments" / f"{name}.py").read_text(encoding="utf-8"):
        FLAGS[name] = FLAGS[name] | FLAGS["study"]


@pytest.mark.parametrize(("text", "path"), [one for one in MESSAGES if "--set=" in one.values[0]])
def test_fields_that_are_set_exist(text, path):
    for field in re.findall(r"--set=([\w.…]+?)\.?(?:=|\b(?![\w.]))", text):
        assert HOLE in field or field in FIELDS, field


@pytest.mark.parametrize(("text", "path"), [one for one in MESSAGES if re.search(r"(?<![\w-])--[a-z]", one.values[0])])
def test_flags_exist(text, path):
    # A whole command has its script's flags; a flag alone is of the script that prints it, or of any that uses the
    # library.
    for script, flags in re.findall(r"python -m experiments\.(\w+)((?:\s+--[\w=.…,]+)*)", text):
        assert set(re.findall(r"--([a-z]\w*)", flags)) <= FLAGS[script], text
    named = re.findall(r"\bexperiments\.(\w+)", text)
    own = path.parent.name == "experiments" and path.stem != "cli"
    scripts = [*named, path.stem] if own else FLAGS
    known = set().union(*(FLAGS[script] for script in scripts), {"help", "verbosity"})
    for program, foreign in FOREIGN.items():
        known |= foreign if program in text else set()
    found = set(re.findall(r"(?<![\w-])--([a-z]\w*)", text))
    assert found <= known, found - known


@pytest.mark.parametrize(("text", "path"), [one for one in MESSAGES if re.search(r"\bpython -m ", one.values[0])])
def test_scripts_exist(text, path):
    for module in re.findall(r"\bpython -m (\w+(?:\.\w+)*)", text):
        assert importlib.util.find_spec(module) is not None, module


# Words of advice before a field's own name, as one would not type it.
NAMES = sorted({field.rpartition(".")[2] for field in FIELDS}, key=len, reverse=True)
UNTYPED = re.compile(
    rf"\b(?:set|lower|raise|change|increase|reduce|allow)\s+(?:the\s+|an?\s+)?`?(?:{'|'.join(NAMES)})\b"
    rf"|(?<![\w.\-=({HOLE}])(?:{'|'.join(NAMES)})=[\"'({HOLE}]"
)


def untyped(text):
    """Such words outside of Python's own calls."""
    return UNTYPED.search(re.sub(r"\w\([^()]*\)", "", text))


def test_advice_is_a_flag_and_no_name():
    assert [one.values[0] for one in MESSAGES if untyped(one.values[0])] == []


def test_the_sources_are_read():
    """The texts above are those that people see, of f-strings too."""
    told = [one.values[0] for one in MESSAGES]
    assert any("--set=dataset.method=exact" in text for text in told)
    assert any(text.startswith(f"{HOLE}: not UTF-8") or "not UTF-8" in text for text in told)
    assert "dataset.tiling.patch_size" in FIELDS
    assert "set" in FLAGS["study"]
    assert not untyped("--set=dataset.method=exact assigns all labels together")
    assert untyped('or set method="exact".')
    assert untyped("check its slides or lower minimum_tissue.")


def test_a_setting_from_a_message_is_taken():
    config = load_config(ROOT / "configs/quickstart.py", ["dataset.method=exact", "dataset.accept=identical,similar"])
    assert config.dataset.method == "exact"
    assert config.dataset.accept == ("identical", "similar")
    with pytest.raises(InputError, match="method"):
        load_config(ROOT / "configs/quickstart.py", ["method=exact"])
