"""No text is read or written in whatever encoding the machine has."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("nbjax", "experiments", "datasets", "configs", "benchmarks", "tests")
NOT_FILES = {"PIL.Image", "openslide", "tarfile", "os", "zipfile", "archive"}


def unnamed(source):
    """Lines of calls that open text without naming its encoding."""
    lines = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name not in ("open", "read_text", "write_text") or owner in NOT_FILES:
            continue
        binary = name == "open" and any(
            "b" in ast.unparse(given) for given in (call.args[:1] if owner else call.args[1:2])
        )
        if not binary and not any(keyword.arg == "encoding" for keyword in call.keywords):
            lines.append(call.lineno)
    return lines


def test_the_rule_sees_what_it_should():
    text = "p.write_text(x)\np.open('w')\nopen(p)\np.open('rb')\nopen(p, 'wb')\n"
    text += "p.read_text(encoding='utf-8')\nPIL.Image.open(p)"
    assert unnamed(text) == [1, 2, 3]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_text_file_names_its_encoding(folder):
    found = {str(path): unnamed(path.read_text(encoding="utf-8")) for path in (ROOT / folder).rglob("*.py")}
    assert {path: lines for path, lines in found.items() if lines} == {}
