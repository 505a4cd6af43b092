"""A study's folder across runs: what is finished stays, what is cut short goes on, and the tables come out the same."""

import functools
import hashlib
import itertools
import json
import shutil

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet
import pytest

from experiments.study import build, study, tile
from nbjax.config import StudyConfig
from nbjax.errors import InputError
from nbjax.models import load_backbone, load_headless
from nbjax.samples.reading import open_dataset
from nbjax.training import store
from nbjax.training.bank import fingerprint
from nbjax.training.choice import NAMES
from nbjax.training.plan import SAID, plan_backbone
from nbjax.training.study import Study, conclude, plan_study, run_study

GRID = {
    "backbones": ("small_cnn",),
    "weights": "random",
    "input_size": 48,
    "strategies": ("straightforward", "extension-1"),
    "batch_sizes": (16,),
    "learning_rates": (1e-3, 1e-2),
    "epochs": 5,
    "seeds": 3,
}
TABLES = ("sessions.parquet", "test_predictions.parquet", "fold_predictions.parquet", "fold_choices.parquet")


@pytest.fixture(scope="module")
def finished(slides, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    config = StudyConfig(name="grid", **GRID)
    build(config, slides, tile(config, slides, out), out)
    learn(out)
    return out


def learn(out, **settings):
    """What a study's command does with a dataset that is built, but for the report."""
    (folder,) = (out / "dataset").glob("neuroblastoma/*/1.0.0")
    config = StudyConfig(name="grid", **{**GRID, **settings})
    load = functools.cache(lambda name: load_headless(name, config.weights, config.input_size))
    this = Study(config, open_dataset(folder), out, out / "banks", load)
    planned = plan_study(this)
    run_study(this, planned, {})
    conclude(this, planned)


def planned(finished, programs):
    (folder,) = (finished / "dataset").glob("neuroblastoma/*/1.0.0")
    backbone = load_headless("small_cnn", "random", 48)
    weights = fingerprint((backbone.params, backbone.batch_stats))
    return plan_backbone(StudyConfig(name="grid", **GRID), open_dataset(folder), backbone, weights, programs)


def tables(out):
    return [(out / name).read_bytes() for name in TABLES]


def test_every_cell_and_session_is_there_once(finished):
    history = pyarrow.parquet.read_table(finished / "sessions.parquet").to_pydict()
    names = ("strategy", "nonlinearities", "batch_size", "learning_rate", "seed", "epoch")
    rows = list(zip(*(history[name] for name in names), strict=True))
    kinds = [("straightforward", 0), ("extension", 1)]
    expected = {(*kind, *rest) for kind, *rest in itertools.product(kinds, (16,), (1e-3, 1e-2), range(3), range(6))}
    assert set(rows) == expected
    assert len(rows) == len(expected)


def test_what_is_missing_alone_is_run_again_to_the_same_bytes(finished, tmp_path):
    copy = tmp_path / "study"
    shutil.copytree(finished, copy)
    programs = sorted((copy / "programs").iterdir())
    assert len(programs) == 2
    shutil.rmtree(programs[1])
    kept = {path: path.stat().st_mtime_ns for path in copy.glob("programs/*/history.parquet")}
    learn(copy)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert tables(copy) == tables(finished)


def test_a_damaged_history_is_said_and_its_program_alone_runs_again(finished, tmp_path, capsys):
    copy = tmp_path / "study"
    shutil.copytree(finished, copy)
    first, second = sorted(copy.glob("programs/*/history.parquet"))
    kept = first.stat().st_mtime_ns
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 1
    second.write_bytes(content)
    with pytest.raises(InputError, match=r"history\.parquet is damaged: .* the same command runs this program again"):
        learn(copy)
    with store.locked(copy):
        learn(copy)
    assert f"{second.parent.name}/history.parquet is damaged" in capsys.readouterr().err
    assert first.stat().st_mtime_ns == kept
    assert tables(copy) == tables(finished)


def test_held_out_families_are_trained_anew_only_where_they_would_come_out_otherwise(finished, tmp_path, capsys):
    out = tmp_path / "study"
    shutil.copytree(finished, out)
    paths = [out / f"{name}_predictions.parquet" for name in ("fold", "random_fold")]
    before, written = [path.read_bytes() for path in paths], [path.stat().st_ino for path in paths]
    learn(out)
    assert [path.stat().st_ino for path in paths] == written
    said = capsys.readouterr().err
    assert "held out" not in said
    assert "inside folds" not in said
    learn(out, folds=3)
    assert [path.read_bytes() for path in paths] != before
    learn(out)
    paths[0].write_bytes(before[0][:-1])
    learn(out)
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.slow
def test_more_seeds_and_a_strategy_more_keep_no_wrong_session(finished, slides, tmp_path):
    copy = tmp_path / "study"
    shutil.copytree(finished, copy)
    larger = {**GRID, "strategies": ("straightforward", "extension-2"), "seeds": 4}
    study(StudyConfig(name="grid", **larger), str(slides), copy)
    history = pyarrow.parquet.read_table(copy / "sessions.parquet")
    assert len(history) == 2 * 2 * 4 * 6
    before = pyarrow.parquet.read_table(finished / "sessions.parquet").to_pandas()
    both = history.to_pandas().merge(
        before, on=["strategy", "nonlinearities", "batch_size", "learning_rate", "seed", "epoch"]
    )
    assert len(both) == 2 * 3 * 6
    np.testing.assert_allclose(both.validation_loss_x, both.validation_loss_y, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"memory_gib": 1e-5},
            r"one session of a head with batch size 16 takes .* the limit is 1e-05 GiB; try "
            r"--set=dataset\.transforms=3, .* --set=memory_gib=0.00[1-9]",
        ),
        ({"strategies": ("extension-10",)}, "10 non-linearities does not fit 128 features"),
        ({"strategies": ("unfreezing-40",)}, "small_cnn has 5 weight tensors before its last layer"),
        ({"backbones": ("resnet19",)}, "there is no backbone 'resnet19'; did you mean 'resnet18'"),
    ],
)
def test_what_cannot_run_is_said_before_anything_starts(settings, expected, slides, tmp_path):
    with pytest.raises(InputError, match=expected) as caught:
        study(StudyConfig(name="grid", **{**GRID, **settings}), str(slides), tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.npy"))


def test_an_empty_split_is_refused(finished):
    (folder,) = (finished / "dataset").glob("neuroblastoma/*/1.0.0")
    dataset = open_dataset(folder)
    empty = dataset._replace(samples={**dataset.samples, "validation": dataset.samples["validation"][:0]})
    with pytest.raises(
        InputError,
        match=r"split validation of .* is empty; try other proportions, as in --set=dataset.proportions=0.6,0.2,0.2",
    ):
        plan_backbone(
            StudyConfig(name="grid", **GRID),
            empty,
            load_backbone("small_cnn", weights="random"),
            "",
            finished / "programs",
        )


def losses_and_accuracies(out):
    """What the sessions of a study gave, in its own order."""
    table = pyarrow.parquet.read_table(out / "sessions.parquet")
    return table.select([name for name in table.column_names if "loss" in name or "accuracy" in name]).to_pandas()


def same_to_rounding(one, other):
    """Other batchings add the same numbers in another order: float32 keeps 1e-7 of each, and 5 epochs may multiply
    it.
    """
    one, other = (losses_and_accuracies(out).to_numpy() for out in (one, other))
    assert one.max() < 10
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def little_memory(out):
    """GiB in which not all sessions of a study's largest program run at once."""
    needed = [
        json.loads(path.read_text(encoding="utf-8"))["memory_bytes"] for path in out.glob("programs/*/program.json")
    ]
    return 0.6 * max(needed) / 2**30


def histories(out):
    return {path: path.stat().st_mtime_ns for path in out.glob("programs/*/history.parquet")}


def test_chunks_that_fit_give_the_same_results_and_stay_as_they_are(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "cut", ignore=shutil.ignore_patterns("programs"))
    learn(tmp_path / "cut", memory_gib=little_memory(finished))
    kept = histories(tmp_path / "cut")
    assert len(kept) > 2
    same_to_rounding(finished, tmp_path / "cut")
    before = tables(tmp_path / "cut")
    # A machine with more memory would not have cut them.
    learn(tmp_path / "cut")
    assert histories(tmp_path / "cut") == kept
    assert tables(tmp_path / "cut") == before


@pytest.mark.parametrize("choice", NAMES)
def test_another_choice_changes_nothing_of_what_was_planned(choice, finished, tmp_path, monkeypatch):
    copy = tmp_path / "moved"
    shutil.copytree(finished, copy)
    monkeypatch.setenv("NBJAX_CHOICE", choice)
    kept = histories(copy)
    learn(copy)
    assert histories(copy) == kept
    # What was planned and had not begun goes on as it was planned.
    for path in kept:
        path.unlink()
    learn(copy)
    assert tables(copy) == tables(finished)
    # What nobody remembers is planned again, under the same name.
    programs = {path.name for path in (copy / "programs").iterdir()}
    shutil.rmtree(copy / "programs")
    learn(copy)
    assert {path.name for path in (copy / "programs").iterdir()} == programs
    same_to_rounding(finished, copy)


def test_a_machine_with_less_memory_keeps_what_is_finished_and_cuts_the_rest(finished, tmp_path):
    copy = tmp_path / "moved"
    shutil.copytree(finished, copy)
    kept = histories(copy)
    lost = next(path for path in kept if "extension" in str(path))
    lost.unlink()
    del kept[lost]
    learn(copy, memory_gib=little_memory(finished))
    after = histories(copy)
    assert kept.items() < after.items()
    assert len(after) > 2
    same_to_rounding(finished, copy)


def test_more_seeds_run_the_new_sessions_alone(finished, tmp_path):
    copy = tmp_path / "more"
    shutil.copytree(finished, copy)
    kept = histories(copy)
    learn(copy, seeds=4, folds=0)
    after = histories(copy)
    assert kept.items() < after.items()
    assert len(after) == 4
    table = pyarrow.parquet.read_table(copy / "sessions.parquet")
    assert len(table) == 2 * 2 * 4 * 6
    order = [table[name].to_numpy() for name in ("epoch", "seed", "learning_rate", "batch_size", "nonlinearities")]
    assert (np.lexsort(order) == np.arange(len(table))).all()
    old = table.filter(pc.less(table["seed"], 3))
    assert old.equals(pyarrow.parquet.read_table(finished / "sessions.parquet"))


def test_a_machine_with_fewer_devices_goes_on(finished, tmp_path):
    copy = tmp_path / "moved"
    shutil.copytree(finished, copy)
    for path in (copy / "programs").iterdir():
        found = json.loads((path / "program.json").read_text(encoding="utf-8"))
        # Six sessions, filled up for four devices.
        store.describe(path, {**found, "devices": 4, "together": 8})
        (path / "history.parquet").unlink()
    learn(copy, folds=0)
    assert len(histories(copy)) == 2
    same_to_rounding(finished, copy)


@pytest.mark.parametrize(
    "damage",
    [
        *("", "[]", "null", "{}", '{"view": 3}', "\xff"),
        *({"seeds": []}, {"seeds": [-1] * 6}, {"learning_rates": 3}, {"block": 0}, {"batching": "fast"}),
        *({"together": 2}, {"devices": "1"}, {"memory_bytes": None}),
    ],
    ids=str,
)
def test_a_damaged_description_is_named_where_there_are_results(damage, finished, tmp_path):
    folder = sorted((finished / "programs").iterdir())[1]
    copy = tmp_path / folder.name
    copy.mkdir()
    (copy / "history.parquet").touch()
    if isinstance(damage, dict):
        damage = json.dumps({**json.loads((folder / "program.json").read_text(encoding="utf-8")), **damage})
    (copy / "program.json").write_bytes(damage.encode("latin1"))
    with pytest.raises(
        InputError, match=rf"{folder.name}/program.json: damaged .*; remove .*{folder.name}, and"
    ) as caught:
        planned(finished, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_damaged_description_without_results_is_written_anew(finished, tmp_path):
    copy = tmp_path / "damaged"
    shutil.copytree(finished, copy)
    folder = sorted((copy / "programs").iterdir())[0]
    (folder / "history.parquet").unlink()
    described = json.loads((folder / "program.json").read_text(encoding="utf-8"))
    (folder / "program.json").write_text("{", encoding="utf-8")
    learn(copy)
    assert json.loads((folder / "program.json").read_text(encoding="utf-8")) == described
    assert tables(copy) == tables(finished)


def test_a_description_holds_what_decides_a_result_apart_from_how_it_ran(finished):
    for path in finished.glob("programs/*/program.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        decides = {name: value for name, value in found.items() if name not in SAID}
        assert path.parent.name.endswith(hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12])
        assert found.keys() - decides.keys() == set(SAID)
        assert decides["view"] == [48, 250, "centre", 1]
