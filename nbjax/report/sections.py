"""A part of the page of all experiments, as the job that made it stores it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nbjax.errors import InputError
from nbjax.files import check_seal, sealing
from nbjax.report.table import Entry, Head, Table

SECTION = "section.json"
# Of what is compared with a study, in the study's folder.
BASELINES_SECTION = "baselines_section.json"


class Picture(NamedTuple):
    """A figure: the PNG's path, and what stands below it."""

    path: Path
    caption: str


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        title: above it.
        lines: the answer in plain words, a paragraph each.
        pictures: figures.
        tables: tables.
        notes: in small print below.
        more: a page of its own beside this one, by its path; None where there is none.
        about: `of_study` of the study that it is compared with; empty where there is none.
    """

    title: str
    lines: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    more: str | None = None
    about: str = ""


def of_study(study: Mapping[str, Any]) -> str:
    """What of a study a comparison with it rests on: its dataset, its backbone, its folds and sessions, and what it
    chose.
    """
    dataset, config = study["dataset"], study.get("config", {})
    decides = [dataset["sha256"], dataset["config"], study["backbone"]["sha256"], study["chosen"]]
    decides += [config.get("folds"), config.get("seeds")]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def store_section(section: Section, path: Path) -> None:
    """Writes a section as JSON with its seal; its pictures, by their place beside it, must be there already."""
    pictures = [
        {"path": picture.path.relative_to(path.parent).as_posix(), "caption": picture.caption}
        for picture in section.pictures
    ]
    tables = [
        {
            **table._asdict(),
            "heads": [head._asdict() for head in table.heads],
            "rows": [[entry._asdict() for entry in row] for row in table.rows],
            # A page prints none of them.
            "values": [],
        }
        for table in section.tables
    ]
    with sealing(path) as temporary:
        content = section._asdict() | {"pictures": pictures, "tables": tables}
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_section(path: Path) -> Section:
    """A section as `store_section` wrote it.

    Raises:
        InputError: it is damaged, of another version, or a picture of it is gone.
    """
    check_seal(path, "run that experiment again, with the same command")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        pictures = [Picture(path.parent / one["path"], one["caption"]) for one in stored["pictures"]]
        section = Section(**stored | {"pictures": pictures, "tables": [_table(one) for one in stored["tables"]]})
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: of another version of nbjax ({error}); run that experiment again.") from error
    missing = [picture.path for picture in pictures if not picture.path.is_file()]
    if missing:
        raise InputError(f"{missing[0]} is missing; run that experiment again, with the same command.")
    return section


def _table(stored: dict[str, Any]) -> Table:
    heads = [Head(**head) for head in stored["heads"]]
    return Table(**stored | {"heads": heads, "rows": [[Entry(**entry) for entry in row] for row in stored["rows"]]})
