"""Dependencies point one way: no folder of the library imports from one that is further along."""

import ast
from pathlib import Path

import nbjax

ROOT = Path(nbjax.__file__).parent
ORDER = ("slides", "partition", "samples", "weights", "models", "analysis", "training", "baselines", "report")


def imported(path):
    """Folders and files of the library that a file names in its imports, wherever these stand in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"nbjax.{one.name}" for one in node.names] if node.module == "nbjax" else [node.module]
        else:
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        yield from (name.split(".")[1] for name in names if name.startswith("nbjax."))


def test_no_import_goes_upward():
    upward = [
        f"{path.relative_to(ROOT)} imports {name}"
        for place, folder in enumerate(ORDER)
        for path in (ROOT / folder).rglob("*.py")
        for name in imported(path)
        if name in ORDER[place + 1 :] or name == "config"
    ]
    assert sorted({path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}) == sorted(ORDER)
    assert upward == []


def test_what_all_share_needs_no_folder_but_the_loader_of_configs():
    shared = {path: set(imported(path)) & set(ORDER) for path in ROOT.glob("*.py") if path.name != "config.py"}
    assert {path.name: names for path, names in shared.items() if names} == {}
