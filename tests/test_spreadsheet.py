"""CSV for spreadsheets: nothing in it is run, and our own reader gives back what was written."""

import csv

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbjax.spreadsheet import csv_text, inert, restored, write_csv
from nbjax.table import read_table, texts

FORMULAS = ["=1+1", "+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", "＋1", "－1", "＠A"]


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_become_text_and_come_back(name, tmp_path):
    write_csv([{"family": name, "number": -1.5}, {"family": f"'{name}", "number": 2.0}], tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert first == {"family": f"'{name}", "number": "-1.5"}
    assert second["family"] == f"''{name}"
    assert texts(read_table(tmp_path / "t.csv", ["family"]), "family") == [name, f"'{name}"]


@pytest.mark.parametrize("name", ["A", "7", "19.10", "a=b", "O'Neil", "'quoted'", "–", "x-1", "", "癌"])
def test_other_names_stay_as_they_are(name):
    assert inert(name) == name
    assert restored([name]) == [name]


@given(st.lists(st.text()))
def test_restoring_undoes_it(names):
    assert restored([inert(name) for name in names]) == names


def test_a_column_of_another_program_stays_as_it_is():
    assert restored(["-5", "'-5"]) == ["-5", "'-5"]


def test_headers_numbers_and_absent_values():
    table = pa.table({"=label": ["a", None], "x": pa.array([-1, None], pa.int32()), "kept": [True, False]})
    table = table.append_column("kind", table["=label"].dictionary_encode())
    assert csv_text(table) == '"\'=label","x","kept","kind"\n"a",-1,true,"a"\n,,false,\n'


_names = st.text(st.characters(exclude_categories=["Cs", "Cf"], exclude_characters="\0"), min_size=1)


@given(st.lists(_names.filter(str.strip), min_size=1, max_size=8))
def test_what_is_written_is_read(tmp_path_factory, names):
    names = list({name.strip(): name for name in names if name.isascii()}.values()) or ["x"]
    path = tmp_path_factory.mktemp("t") / "t.csv"
    write_csv([{"n": number, "name": name} for number, name in enumerate(names)], path)
    assert texts(read_table(path, ["name", "n"]), "name") == names
