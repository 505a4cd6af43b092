"""Tables that other people and programs made: read by what is in the file, every name as text.

A name is never read as a number, a date or a missing value: 7, 07, 19.10 and NA are themselves. What is read is decided
by the file's bytes: Parquet or CSV, either of them gzipped; commas, semicolons or tabs; UTF-8 with or without a byte
order mark, or UTF-16 and UTF-32 with one.
"""

import codecs
import csv
import gzip
import io
import re
import shlex
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from nbjax.errors import InputError
from nbjax.spreadsheet import restored

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    # Before UTF-16's, whose mark is the beginning of this one.
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
GZIP = b"\x1f\x8b"
# How files begin that people take for tables.
OTHERS = {
    b"PK\x03\x04": "an Excel workbook or another zip archive; save the sheet as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV (UTF-8)",
    b"ARROW1": "a Feather file; save the table as Parquet or CSV",
    b"BZh": "compressed with bzip2; unpack it with bunzip2",
    b"\xfd7zXZ": "compressed with xz; unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it with unzstd",
    b"%PDF": "a PDF; save the table as CSV (UTF-8)",
    b"\x89HDF": "an HDF5 file; save the table as Parquet or CSV",
}
_WHOLE = re.compile(r"[+-]?0*[0-9]{1,15}(\.0*)?")


class Table(NamedTuple):
    """A file's cells.

    Attributes:
        path: of the file, for messages.
        columns: by name, each a list of one length: text in a CSV file, values of the column's own type in Parquet;
            None where nothing stands.
        types: of Parquet's columns; empty of a CSV file.
        lines: of a CSV file's rows, counted from 1; empty of a Parquet file, whose rows have none.
    """

    path: Path
    columns: Mapping[str, list[Any]]
    types: Mapping[str, pa.DataType]
    lines: Sequence[int]

    def row(self, index: int) -> str:
        """A row in words that find it."""
        return f"row {index + 1} (line {self.lines[index]})" if self.lines else f"row {index + 1}"


def read_table(path: str | Path, names: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """Reads columns of a Parquet or CSV file; other columns are left alone.

    Args:
        path: of the file, whatever its suffix.
        names: of the columns that must be there.
        optional: of those that may be.

    Raises:
        InputError: no such file; neither Parquet nor CSV; an encoding that is not read; a column that is missing or
            stands twice; no rows; a row with more or fewer cells than there are columns.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: a folder; expected a CSV or Parquet file with a row a patch.")
    if not path.is_file():
        raise InputError(f"{path}: there is no such table; give a CSV or Parquet file with a row a patch.")
    content = _unpacked(path)
    for beginning, what in OTHERS.items():
        if content.startswith(beginning):
            raise InputError(f"{path}: expected a CSV or Parquet table, found {what}.")
    read = _read_parquet if content.startswith(b"PAR1") else _read_csv
    table = read(path, content, names, optional)
    if not table.columns[names[0]]:
        raise InputError(f"{path}: the table has a header but no rows; expected a row a patch.")
    return table


def texts(table: Table, name: str) -> list[str]:
    """A column of names, each as it stands.

    Raises:
        InputError: an empty cell; numbers with a fraction, dates and so on, which are not what was typed; two names
            that look the same.
    """
    _check_type(table, name)
    column = table.columns[name]
    for index, value in enumerate(column):
        if value is None or not str(value).strip():
            raise InputError(f"{table.path}: {table.row(index)} has nothing in the column {name}; expected a name.")
    words = [str(value) for value in column]
    _check_looks(table, name, words)
    return restored(words) if not table.types else words


def whole_numbers(table: Table, name: str) -> np.ndarray:
    """A column of whole numbers, int64 `[rows]`.

    Raises:
        InputError: an empty cell, or something else than a whole number.
    """
    numbers = []
    for index, value in enumerate(table.columns[name]):
        if value is None or (isinstance(value, str) and not value.strip()):
            raise InputError(f"{table.path}: {table.row(index)} has nothing in the column {name}; expected a number.")
        # True and False are numbers to Python.
        text = "" if isinstance(value, bool) else _plain(value)
        if not _WHOLE.fullmatch(text):
            raise InputError(
                f"{table.path}: {table.row(index)} has {_shown(value)} in the column {name}; expected a whole number "
                "such as 250."
            )
        numbers.append(int(text.partition(".")[0]))
    return np.asarray(numbers, np.int64)


def _plain(value: Any) -> str:
    """A number as digits: 250.0, which is what tables with gaps make of 250, is whole; 1e3 as text is not."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value).strip()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _check_type(table: Table, name: str) -> None:
    kind = table.types.get(name)
    if kind is None or pa.types.is_null(kind):
        return
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_integer(kind)
    ):
        raise InputError(
            f"{table.path}: the column {name} holds values of type {kind}, which do not keep names as they were "
            "written (19.1 and 19.10 are one); store the column as text."
        )


def looks_of(word: str) -> str:
    """What a reader sees of a name: without spaces around, characters that do not show, and accents put together
    otherwise.
    """
    visible = "".join(letter for letter in word if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFC", visible).strip()


def _check_looks(table: Table, name: str, words: list[str]) -> None:
    """Refuses two names that a reader takes for one."""
    seen: dict[str, str] = {}
    for word in dict.fromkeys(words):
        other = seen.setdefault(looks_of(word), word)
        if other != word:
            raise InputError(
                f"{table.path}: the column {name} has both {other!a} and {word!a}, which look the same; write them "
                "alike where they are one, else give one another name."
            )


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: the gzipped file is damaged ({error}); make or copy it again.") from error


def _read_parquet(path: Path, content: bytes, names: Sequence[str], optional: Sequence[str]) -> Table:
    try:
        file = pyarrow.parquet.ParquetFile(pa.BufferReader(content))
        header = file.schema_arrow.names
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    _check_header(path, header, names, optional)
    try:
        table = file.read([name for name in (*names, *optional) if name in header])
        columns = {name: table[name].to_pylist() for name in table.column_names}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return Table(path, columns, {name: table.schema.field(name).type for name in table.column_names}, ())


def _damaged(path: Path, error: Exception) -> InputError:
    words = " ".join(str(error).split())
    return InputError(f"{path}: a damaged Parquet file ({words[:200]}); make or copy it again.")


def _read_csv(path: Path, content: bytes, names: Sequence[str], optional: Sequence[str]) -> Table:
    lines = _records(path, _decoded(path, content), names)
    (_, header), *rows = lines or [(1, [])]
    _check_header(path, header, names, optional)
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"{path}: line {line} has {len(row)} cells, the header has {len(header)}; expected as many."
            )
    places = {name: header.index(name) for name in (*names, *optional) if name in header}
    columns: dict[str, list[Any]] = {name: [row[place] for _, row in rows] for name, place in places.items()}
    return Table(path, columns, {}, [line for line, _ in rows])


def _decoded(path: Path, content: bytes) -> str:
    """The text of a CSV file, without its byte order mark."""
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise InputError(
                f"{path}: begins as {encoding} but is damaged ({error}); save it again as UTF-8."
            ) from error
        line = content.count(b"\n", 0, error.start) + 1
        where = f"{path}: not UTF-8 (byte 0x{content[error.start]:02x} in line {line})"
        try:
            content.decode("cp1252")
        except UnicodeDecodeError:
            raise InputError(f"{where}, nor Windows-1252; save it as UTF-8 with the program that wrote it.") from error
        raise InputError(
            f"{where}, probably Windows-1252 (cp1252), as Excel's plain CSV is; save it as UTF-8, for instance with "
            f"{_conversion(path, 'WINDOWS-1252')}."
        ) from error
    if "\0" in text:
        wide = "UTF-16LE" if content[1:2] == b"\0" else "UTF-16BE"
        if content[:2].count(b"\0") == 1:
            raise InputError(
                f"{path}: {wide} without a byte order mark; save it as UTF-8, for instance with "
                f"{_conversion(path, wide)}."
            )
        raise InputError(f"{path}: not a CSV or Parquet table (it holds zero bytes); give a table with a row a patch.")
    return text


def _conversion(path: Path, encoding: str) -> str:
    old, new = (shlex.quote(str(name)) for name in (path, path.with_name(f"{path.name.split('.')[0]}-utf8.csv")))
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
    convert = f"iconv -f {encoding} -t UTF-8"
    return f"`gzip -dc < {old} | {convert} > {new}`" if packed else f"`{convert} {old} > {new}`"


def _records(path: Path, text: str, names: Sequence[str]) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers, cut at the separator under which the header names most
    columns.
    """
    # Excel's own first line, which says how the others are cut.
    skipped = 1 if re.match(r"sep=.\r?\n", text) else 0
    body = text.split("\n", 1)[1] if skipped else text
    headers = {separator_: _header(body, separator_) for separator_ in SEPARATORS}
    separator = max(
        SEPARATORS, key=lambda separator_: (len(set(headers[separator_]) & set(names)), len(headers[separator_]))
    )
    records: list[tuple[int, list[str]]] = []
    try:
        records.extend((line + skipped, row) for line, row in _cut(body, separator))
    except csv.Error as error:
        after = f"after line {records[-1][0]}" if records else "in its first line"
        raise InputError(
            f"{path}: not a CSV or Parquet table ({after}: {error}); save it again as CSV (UTF-8)."
        ) from error
    return records


def _header(text: str, separator: str) -> list[str]:
    try:
        return next(_cut(text, separator), (0, []))[1]
    except csv.Error:
        return []


def _cut(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each line that is not empty with its number; of one that goes on inside quotes that of its beginning."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    begins = 1
    for row in reader:
        if row:
            yield begins, row
        begins = reader.line_num + 1


def _check_header(path: Path, header: Sequence[str], names: Sequence[str], optional: Sequence[str]) -> None:
    missing = [name for name in names if name not in header]
    if missing:
        columns = ", ".join(header[:12]) or "nothing"
        raise InputError(
            f"{path}: has no column {', '.join(missing)}; expected {', '.join(names)}, divided by "
            f"{', '.join(SEPARATORS.values())}; found {_shown(columns)}."
        )
    twice = [name for name, count in Counter(header).items() if count > 1 and name in (*names, *optional)]
    if twice:
        raise InputError(f"{path}: the column {twice[0]} stands twice; leave one of them out.")
