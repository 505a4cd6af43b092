"""Tables of other programs: names as they stand, and one sentence for what is no table."""

import codecs
import gzip
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from nbjax.errors import InputError
from nbjax.table import read_table, texts, whole_numbers

NAMES = ["7", "07", "007", "19.1", "19.10", "NA", "null", "nan", "None", "1e3", "2021-03-04", "TRUE", "é"]


def csv_of(names, separator=","):
    return separator.join(["name", "x"]) + "\n" + "".join(f"{name}{separator}250\n" for name in names)


def parquet(columns):
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), file)
    return file.getvalue()


def read(tmp_path, content, name="table.csv"):
    (tmp_path / name).write_bytes(content)
    return read_table(tmp_path / name, ["name", "x"])


@pytest.mark.parametrize(
    "content",
    [
        csv_of(NAMES).encode(),
        csv_of(NAMES, ";").encode(),
        csv_of(NAMES, "\t").encode(),
        csv_of(NAMES).replace("\n", "\r\n").encode(),
        ("sep=;\n" + csv_of(NAMES, ";")).encode(),
        csv_of(NAMES).encode("utf-8-sig"),
        csv_of(NAMES).encode("utf-16"),
        codecs.BOM_UTF16_BE + csv_of(NAMES).encode("utf-16-be"),
        csv_of(NAMES).encode("utf-32"),
        gzip.compress(csv_of(NAMES).encode(), mtime=0),
        parquet({"name": NAMES, "x": [250] * len(NAMES)}),
        parquet({"name": pa.array(NAMES).dictionary_encode(), "x": [250.0] * len(NAMES)}),
        gzip.compress(parquet({"name": pa.array(NAMES, pa.large_string()), "x": ["250"] * len(NAMES)}), mtime=0),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".PARQUET", ".txt"])
def test_names_are_text_in_every_kind_of_file(content, suffix, tmp_path):
    table = read(tmp_path, content, f"table{suffix}")
    assert texts(table, "name") == NAMES
    assert whole_numbers(table, "x").tolist() == [250] * len(NAMES)


def test_whole_numbers_of_parquet_are_their_digits(tmp_path):
    table = read(tmp_path, parquet({"name": pa.array([7, 12], pa.int16()), "x": pa.array([0, 2**31], pa.uint64())}))
    assert texts(table, "name") == ["7", "12"]
    assert whole_numbers(table, "x").dtype == np.int64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column name, x"),
        (b"name,x\n", "no rows"),
        (b"name;y\na;1\n", "has no column x"),
        (b"Name,X\na,1\n", "has no column name, x; .*found 'Name, X'"),
        (b"name,x,x\na,1,2\n", "the column x stands twice"),
        (b"name,x\na,1\nb\n", "line 3 has 1 cells, the header has 2"),
        (b"name,x\na,1,2\n", "line 2 has 3 cells"),
        (b'name,x\na,"1\n', "not a CSV or Parquet table .in its|after line"),
        ("name,x\né,1\n".encode("cp1252"), "Windows-1252 .*iconv -f WINDOWS-1252 -t UTF-8"),
        (b"name,x\n\x81\xff,1\n", "not UTF-8 .byte 0x81 in line 2., nor Windows-1252"),
        ("name,x\na,1\n".encode("utf-16-le"), "UTF-16LE without a byte order mark"),
        (codecs.BOM_UTF16_LE + b"n", "damaged"),
        (b"name,x\na\0,1\n", "zero bytes"),
        (gzip.compress(b"name,x\na,1\n", mtime=0)[:-9], "gzipped file is damaged"),
        (b"PK\x03\x04rest", "an Excel workbook"),
        (b"ARROW1\0\0", "Feather"),
        (b"PAR1 and no more", "damaged Parquet"),
        (parquet({"name": ["a"], "x": [1]})[:-20] + b"PAR1", "damaged Parquet"),
        (parquet({"name": ["a"]}), "has no column x"),
    ],
)
def test_what_is_no_table_is_one_sentence(content, message, tmp_path):
    with pytest.raises(InputError, match=message) as raised:
        read(tmp_path, content)
    assert str(tmp_path / "table.csv") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_doubled_column_of_parquet(tmp_path):
    table = pa.table([pa.array(["a"]), pa.array([1]), pa.array([2])], names=["name", "x", "x"])
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(InputError, match="the column x stands twice"):
        read_table(tmp_path / "t.parquet", ["name", "x"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name,x\na,1\n,2\n", r"row 2 \(line 3\) has nothing in the column name"),
        (b'name,x\n"two\nlines",1\n\n  ,2\n', r"row 2 \(line 5\) has nothing in the column name"),
        (parquet({"name": ["a", None], "x": [1, 2]}), "row 2 has nothing in the column name"),
        (parquet({"name": ["", "b"], "x": [1, 2]}), "row 1 has nothing"),
        (parquet({"name": [None, None], "x": [1, 2]}), "row 1 has nothing"),
        (parquet({"name": [19.1, 19.10], "x": [1, 2]}), "holds values of type double"),
        (parquet({"name": pa.array([19.1, 2.0]).dictionary_encode(), "x": [1, 2]}), "type double"),
        (parquet({"name": [True, False], "x": [1, 2]}), "type bool"),
        (parquet({"name": [["a"], ["b"]], "x": [1, 2]}), "type list"),
        (b"name,x\nP1,1\nP1 ,2\n", "which look the same"),
        ("name,x\né,1\ne\u0301,2\n".encode(), "which look the same"),
        ("name,x\nP1,1\n\u200bP1,2\n".encode(), "which look the same"),
    ],
)
def test_names_that_are_none(content, message, tmp_path):
    with pytest.raises(InputError, match=message):
        texts(read(tmp_path, content), "name")


@pytest.mark.parametrize("text", ["", " ", "1.5", "1e3", "1_000", "1,000", "0x1", "nan", "٣", "9" * 19, "x"])
def test_numbers_that_are_not_whole(text, tmp_path):
    with pytest.raises(InputError, match=r"row 2 \(line 3\) has .* in the column x"):
        whole_numbers(read(tmp_path, f'name,x\na,-0\nb,"{text}"\n'.encode()), "x")


@pytest.mark.parametrize("value", [1.5, float("nan"), float("inf"), True, None])
def test_numbers_of_parquet_that_are_not_whole(value, tmp_path):
    with pytest.raises(InputError, match=r"row 1 has .* in the column x"):
        whole_numbers(read(tmp_path, parquet({"name": ["a"], "x": [value]})), "x")


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="there is no such table"):
        read_table(tmp_path / "none.csv", ["name"])
    with pytest.raises(InputError, match="a folder"):
        read_table(tmp_path, ["name"])
