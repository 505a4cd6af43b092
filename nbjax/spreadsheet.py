"""Tables for people's spreadsheets: what would be run as a formula is written as text, and read back as it was.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@` whoever wrote it, and a label, family or slide may be
named so. Such text gets an apostrophe before it, as OWASP's page on CSV injection advises; numbers stay numbers.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from nbjax.files import replacing

# Programs that open a CSV drop space before a cell's text, and take full-width letters for the narrow ones.
_RUNS = re.compile(r"\s*[=+\-@\t\r\n＝＋－＠]")
_RUNS_BEHIND_APOSTROPHES = re.compile(r"'*" + _RUNS.pattern)


def inert(text: str) -> str:
    """Text that no spreadsheet runs; apostrophes before such text are kept apart from the one that is added."""
    return f"'{text}" if _RUNS_BEHIND_APOSTROPHES.match(text) else text


def restored(texts: Sequence[str]) -> list[str]:
    """A column's texts as they were before `inert`.

    A column in which something stands that `inert` would have changed is another program's, and stays as it is.
    """
    if any(_RUNS.match(text) for text in texts):
        return list(texts)
    return [text[1:] if _RUNS_BEHIND_APOSTROPHES.match(text) else text for text in texts]


def csv_text(table: pa.Table) -> str:
    """A table as CSV, its names in a header line; every text is quoted, an absent value is an empty cell."""
    file = io.BytesIO()
    columns = {
        inert(name): _inert_column(column) for name, column in zip(table.column_names, table.columns, strict=True)
    }
    pyarrow.csv.write_csv(pa.table(columns), file)
    return file.getvalue().decode()


def write_csv(table: pa.Table | Iterable[Mapping[str, Any]], path: str | Path) -> None:
    """Writes a table, or rows that all have the same keys, as UTF-8; whole or not at all."""
    text = csv_text(table if isinstance(table, pa.Table) else pa.Table.from_pylist(list(table)))
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """The rows of a file that `write_csv` wrote, each cell's text by the name of its column.

    Raises:
        OSError, ValueError: there is no such file, or it is no table of ours.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        try:
            header, *rows = csv.reader(file)
        except csv.Error as error:
            raise ValueError(f"not a CSV table ({error})") from error
    columns = [restored(column) for column in zip(*rows, strict=True)]
    return [dict(zip(restored(header), row, strict=True)) for row in zip(*columns, strict=True)]


def _inert_column(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return column
    return pa.array([None if text is None else inert(text) for text in column.to_pylist()], pa.string())
