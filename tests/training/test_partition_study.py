import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from nbjax.config import DatasetConfig, PartitionStudyConfig
from nbjax.errors import InputError
from nbjax.partition import partition_classes, partition_families
from nbjax.samples.balance import transforms_per_class
from nbjax.training import partition_study
from nbjax.training.bank import Bank
from nbjax.training.partition_study import (
    arrange_leaks,
    arrange_partitions,
    assignment_table,
    cohort_of,
    run_arrangements,
    sample_rows,
)

CONFIG = PartitionStudyConfig(
    name="test",
    dataset=DatasetConfig(standardisation="imagenet", transforms=3),
    learning_rates=(0.1,),
    batch_sizes=(16,),
    epochs=3,
    seeds=3,
    partitions=6,
    leak_fractions=(0.0, 1.0),
    leak_draws=2,
    leak_seeds=2,
)
# Nine families of label A, six of B with a third of the patches; four transforms of each patch.
SIZES = np.array([9, 8, 7, 6, 6, 5, 5, 4, 4, 3, 3, 3, 3, 3, 3])


def make_bank(order_seed=0):
    """A bank whose first feature is the patch's number, dealt to stored splits in any order."""
    rng = np.random.default_rng(5)
    family = np.repeat(np.arange(15), SIZES)
    label = (family >= 9).astype(int)
    patches = len(family)
    features = rng.normal(size=(patches, 4, 6)) + label[:, None, None]
    features[:, :, 0] = np.arange(patches)[:, None] / 100
    stored = np.random.default_rng(order_seed).integers(0, 3, patches)
    inputs, columns = {}, {}
    for number, split in enumerate(("train", "validation", "test")):
        here = np.random.default_rng(order_seed).permutation(np.flatnonzero(stored == number))
        inputs[split] = features[here].reshape(-1, 6).astype(np.float32)
        columns[split] = {
            "label": np.repeat(label[here], 4),
            "family": np.repeat(np.char.mod("f%02d", family[here]), 4),
            "slide": np.repeat(np.char.mod("s%02d", family[here]), 4),
            "x": np.repeat(here, 4),
            "y": np.zeros(4 * len(here), int),
            "transform": np.tile(np.arange(4), len(here)),
        }
    return Bank(None, inputs, columns)


@pytest.fixture(scope="module")
def cohort():
    return cohort_of(make_bank(), ("A", "B"))


def test_a_cohort_does_not_depend_on_the_splits_it_was_stored_in(cohort):
    other = cohort_of(make_bank(3), ("A", "B"))
    for one in (cohort, other):
        features = np.asarray(one.bank.inputs)[one.rows]
        np.testing.assert_allclose(features[:, :, 0] * 100, np.arange(72)[:, None].repeat(4, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(cohort.family, other.family)
    np.testing.assert_array_equal(
        np.asarray(cohort.bank.inputs)[cohort.rows], np.asarray(other.bank.inputs)[other.rows]
    )
    np.testing.assert_array_equal(np.bincount(cohort.family), SIZES)


def test_partitions_keep_families_whole_and_filing_is_number_0(cohort):
    found = arrange_partitions(cohort, CONFIG)
    assert [one.about["partition"] for one in found] == list(range(7))
    for one in found:
        for family in range(15):
            assert len(set(one.split[cohort.family == family])) == 1
    filing = partition_families(SIZES[:9]).assignment
    np.testing.assert_array_equal(found[0].split[cohort.label == 0], np.repeat(filing, SIZES[:9]))
    limits = {name: found[0].about[f"discrepancy_{name}"] + CONFIG.tolerance + 1e-9 for name in "AB"}
    assert all(one.about[f"discrepancy_{name}"] <= limits[name] for one in found for name in "AB")
    assert len({one.split.tobytes() for one in found[1:]}) == 6
    table = assignment_table(cohort, found)
    assert len(table) == 7 * 15
    assert sum(table["patches"].to_pylist()) == 7 * 72


def test_leaks_touch_no_test_family(cohort):
    partitions = arrange_partitions(cohort, CONFIG)
    leaks = arrange_leaks(cohort, partitions, CONFIG)
    assert [(one.about["fraction"], one.about["partition"]) for one in leaks] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    for one in leaks:
        before = partitions[one.about["partition"]].split
        np.testing.assert_array_equal(one.split == 2, before == 2)
        assert (one.split == before).all() == (one.about["fraction"] == 0)
        assert one.about["train_families"] == len(set(cohort.family[one.split == 0].tolist()))


def test_samples_are_balanced_as_a_dataset_with_that_partition_would_be(cohort):
    (one, *_) = arrange_partitions(cohort, CONFIG)
    for number, rows in enumerate(sample_rows(cohort, one.split, CONFIG)):
        here = one.split == number
        patches = {name: int((here & (cohort.label == label)).sum()) for label, name in enumerate("AB")}
        transforms = transforms_per_class(patches, 3)
        counts = np.bincount(np.asarray(cohort.bank.labels)[rows], minlength=2)
        assert counts.tolist() == [patches[name] * (1 + transforms[name]) for name in "AB"]
        assert len(set(rows.tolist())) == len(rows)


def test_a_stopped_run_goes_on_to_the_same_table(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(partition_study, "SESSIONS", 9)
    some = arrange_partitions(cohort, CONFIG)
    whole = run_arrangements(cohort, some, CONFIG, 3, tmp_path / "whole", "key")
    assert len(whole) == 7 * 3
    assert whole["partition"].to_pylist() == np.repeat(np.arange(7), 3).tolist()
    assert not any(whole["diverged"].to_pylist())
    assert 0.5 < np.mean(whole["test_sample_accuracy"].to_numpy()) <= 1
    chunks = sorted((tmp_path / "whole").glob("*.parquet"))
    assert len(chunks) == 7

    written = []

    def stop_after_one(table, path):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        keep(table, path)

    keep = partition_study.write_table
    monkeypatch.setattr(partition_study, "write_table", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        run_arrangements(cohort, some, CONFIG, 3, tmp_path / "stopped", "key")
    monkeypatch.setattr(partition_study, "write_table", keep)
    first = written[0].stat().st_mtime_ns
    assert run_arrangements(cohort, some, CONFIG, 3, tmp_path / "stopped", "key").equals(whole)
    assert written[0].stat().st_mtime_ns == first
    # A damaged chunk is said and run again.
    chunks[0].write_bytes(b"cut")
    capsys.readouterr()
    assert run_arrangements(cohort, some, CONFIG, 3, tmp_path / "whole", "key").equals(whole)
    assert f"{chunks[0].name} is damaged" in capsys.readouterr().err


def test_how_many_sessions_run_at_once_changes_nothing_but_rounding(cohort, tmp_path, monkeypatch):
    some = arrange_partitions(cohort, CONFIG)
    whole = run_arrangements(cohort, some, CONFIG, 3, tmp_path / "whole", "key")
    # What is stored is read by a run that puts sessions together otherwise.
    for path in sorted((tmp_path / "whole").glob("*.parquet"))[:4]:
        path.unlink()
    monkeypatch.setattr(partition_study, "SESSIONS", 2)
    again = run_arrangements(cohort, some, CONFIG, 3, tmp_path / "whole", "key")
    assert again.column_names == whole.column_names
    for name in whole.column_names:
        if pa.types.is_floating(whole.schema.field(name).type):
            np.testing.assert_allclose(again[name].to_numpy(), whole[name].to_numpy(), rtol=1e-4)
        else:
            assert again[name].equals(whole[name])


def test_sessions_that_do_not_fit_the_memory_are_refused(cohort, tmp_path):
    config = dataclasses.replace(CONFIG, memory_gib=1e-5)
    with pytest.raises(InputError, match=r"one session of a head with batch size 16 takes .*--set=memory_gib=0\.00"):
        run_arrangements(cohort, arrange_partitions(cohort, CONFIG), config, 3, tmp_path, "key")


def two_label_bank():
    """The bank with three families of label B given to families of label A: twelve families, three with two labels."""
    bank = make_bank()
    for columns in bank.columns.values():
        for family, other in (("f14", "f00"), ("f13", "f01"), ("f12", "f08")):
            columns["family"] = np.where(columns["family"] == family, other, columns["family"])
    return bank


def test_partition_0_says_both_methods_where_filing_gives_way_for_one_label():
    bank = make_bank()
    for columns in bank.columns.values():
        for family, other in (("f12", "f09"), ("f13", "f10"), ("f14", "f11")):
            columns["family"] = np.where(columns["family"] == family, other, columns["family"])
    # Three equal families of label B: filing leaves a split without one.
    found = arrange_partitions(cohort_of(bank, ("A", "B")), CONFIG)
    assert found[0].about["method"] == "filing+exact"


def test_families_with_two_labels_are_assigned_jointly_and_lie_in_one_split():
    cohort = cohort_of(two_label_bank(), ("A", "B"))
    assert cohort.families == tuple(f"f{number:02d}" for number in range(12))
    found = arrange_partitions(cohort, CONFIG)
    assert [one.about["method"] for one in found] == ["exact"] + ["resampled"] * 6
    counts = np.zeros((12, 2), int)
    np.add.at(counts, (cohort.family, cohort.label), 1)
    limit = partition_classes(counts, method="exact").discrepancy + CONFIG.tolerance + 1e-9
    for one in found:
        for family in range(12):
            assert len(set(one.split[cohort.family == family])) == 1
        for label in (0, 1):
            assert set(one.split[cohort.label == label]) == {0, 1, 2}
        assert np.mean([one.about[f"discrepancy_{name}"] for name in "AB"]) <= limit
    assert len({one.split.tobytes() for one in found[1:]}) == 6
    table = assignment_table(cohort, found).to_pylist()
    assert len(table) == 7 * 15
    splits = {}
    for row in table:
        splits.setdefault((row["partition"], row["family"]), set()).add(row["split"])
    assert all(len(of_one) == 1 for of_one in splits.values())
    assert sum(row["patches"] for row in table if row["partition"] == 0) == 72


def test_families_with_two_labels_leak_between_train_and_validation_alone():
    cohort = cohort_of(two_label_bank(), ("A", "B"))
    some = arrange_partitions(cohort, CONFIG)
    for leak in arrange_leaks(cohort, some, CONFIG):
        np.testing.assert_array_equal(leak.split == 2, some[leak.about["partition"]].split == 2)
        assert leak.about["train_families"] == len(set(cohort.family[leak.split == 0].tolist()))
        for number, rows in enumerate(sample_rows(cohort, leak.split, CONFIG)):
            assert set(np.asarray(cohort.bank.labels)[rows].tolist()) == {0, 1}, number
