"""Studies read back while they run, and put together."""

import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from nbjax.errors import InputError
from nbjax.report.studies import pool, read_study


@pytest.fixture
def make_folder(make_study, tmp_path):
    """A study's folder of named programs: a history each, or None where it is not finished."""

    def make(name, histories, **change):
        fields = {"programs": list(histories), "config": {"momentum": 0.9, "epochs": 8}, "chosen": None} | change
        source = make_study(lambda record: record.update(fields))
        folder = tmp_path / name
        for program, history in histories.items():
            (folder / "programs" / program).mkdir(parents=True)
            if history is not None:
                pyarrow.parquet.write_table(history, folder / "programs" / program / "history.parquet")
        (source / "study.json").rename(folder / "study.json")
        return folder

    return make


CELLS = [("resnet18", "straightforward", 0, 0, rate, 8) for rate in (0.1, 0.2, 0.3)]


def test_an_unfinished_study_has_what_is_finished(make_folder, make_history):
    first, third = make_history(CELLS[:1]), make_history(CELLS[1:])
    study = read_study(make_folder("one", {"a": first, "b": None, "c": third}))
    assert study.progress == (2, 3)
    assert study.history.equals(pa.concat_tables([first, third]).select(study.history.column_names))


def test_a_finished_study_has_its_table(make_study, make_history):
    history = make_history(CELLS)
    study = read_study(make_study(history=history))
    assert study.progress is None
    assert study.history.equals(history.select(study.history.column_names))


def test_programs_of_another_config_do_not_count(make_folder, make_history):
    folder = make_folder("one", {"a": make_history(CELLS[:1])})
    (folder / "programs/old").mkdir()
    pyarrow.parquet.write_table(make_history(CELLS), folder / "programs/old/history.parquet")
    assert read_study(folder).progress == (1, 1)
    assert len(read_study(folder).history) == len(make_history(CELLS[:1]))


def test_what_cannot_be_read_is_one_sentence(make_folder, make_history, make_study, tmp_path):
    with pytest.raises(InputError, match="no program of this study is finished yet; wait for the first of 2"):
        read_study(make_folder("none", {"a": None, "b": None}))
    with pytest.raises(InputError, match=r"study\.json: there is no such file"):
        read_study(tmp_path / "nowhere")
    with pytest.raises(InputError, match="field programs is missing"):
        read_study(make_study(lambda record: record.update(chosen=None)))
    folder = make_folder("damaged", {"a": make_history(CELLS)})
    (folder / "programs/a/history.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"history\.parquet: not a readable table"):
        read_study(folder)


def test_a_session_of_two_studies_counts_once(make_folder, make_history):
    one = read_study(make_folder("one", {"a": make_history(CELLS[:2])}))
    two = read_study(make_folder("two", {"a": make_history(CELLS[1:])}))
    pooled = pool([one, two])
    assert pooled.doubled == 3
    assert len(pooled.history) == len(make_history(CELLS))
    of_first = pooled.history.slice(0, len(one.history))
    assert of_first.equals(one.history)


def test_sessions_of_other_lengths_are_not_put_into_one_cell(make_folder, make_history):
    one = read_study(make_folder("one", {"a": make_history(CELLS[:2])}))
    two = read_study(make_folder("two", {"a": make_history(CELLS[1:])}, config={"momentum": 0.9, "epochs": 3}))
    table = two.history
    seeds = pa.array(table["seed"].to_numpy() + 100, table["seed"].type)
    two = two._replace(history=table.set_column(table.column_names.index("seed"), "seed", seeds))
    pooled = pool([one, two])
    # The second study's seeds are others, but the cell that both have would be of two kinds of sessions.
    assert pooled.doubled == 3
    assert len(pooled.history) == len(make_history(CELLS))
    same = two._replace(record={**two.record, "config": one.record["config"]})
    assert pool([one, same]).doubled == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"config": {"momentum": 0.5}}, "config.momentum is 0.5 and in .*one 0.9"),
        ({"selection": {"criterion": "validation_loss"}}, "selection.criterion"),
    ],
)
def test_studies_that_differ_are_refused(make_folder, make_history, change, expected):
    one = read_study(make_folder("one", {"a": make_history(CELLS)}))
    folder = make_folder("two", {"a": make_history(CELLS)})
    record = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    (folder / "study.json").write_text(json.dumps(record | change), encoding="utf-8")
    with pytest.raises(InputError, match=expected) as caught:
        pool([one, read_study(folder)])
    assert "\n" not in str(caught.value)


def test_other_weights_are_refused(make_folder, make_history):
    histories = {"a": make_history(CELLS)}
    one = read_study(make_folder("one", histories, backbones=[{"name": "resnet18", "sha256": "ab"}]))
    two = read_study(make_folder("two", histories, backbones=[{"name": "resnet18", "sha256": "cd"}]))
    with pytest.raises(InputError, match="resnet18 has other weights than in"):
        pool([one, two])
