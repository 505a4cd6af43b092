"""One bank under many partitions: which patch goes where, the sessions of each, their scores; stored chunk by chunk."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from nbjax import __version__
from nbjax.config import PartitionStudyConfig
from nbjax.errors import InputError
from nbjax.partition import SPLITS, measure_quality, partition_families, resample_classes, spread_families
from nbjax.progress import meter
from nbjax.samples.plan import split_transforms
from nbjax.training.bank import Bank
from nbjax.training.level_scores import level_scores
from nbjax.training.partitions import Outcome, fill_up, run_partitions
from nbjax.training.program import Program, Samples
from nbjax.training.sessions import grid
from nbjax.training.store import is_whole, read_table, write_table
from nbjax.training.strategy import parse_strategy

# Sessions that run at once: on two cores more are slower, since what a step of all of them collects leaves the cache.
SESSIONS = 20


class Cohort(NamedTuple):
    """The patches of a bank that holds each under several transforms.

    Attributes:
        labels: class names.
        label: index of `labels`, int `[patches]`.
        families: names, by label, then name.
        family: index of `families`, int `[patches]`.
        rows: of the bank, int `[patches, transforms]`, by transform.
        bank: all samples.
    """

    labels: tuple[str, ...]
    label: np.ndarray
    families: tuple[str, ...]
    family: np.ndarray
    rows: np.ndarray
    bank: Samples


class Arrangement(NamedTuple):
    """Where each patch is under one partition, leaks included.

    Attributes:
        about: what its rows of the table say of it, by column.
        split: index of `SPLITS`, int `[patches]`.
    """

    about: dict[str, Any]
    split: np.ndarray


def cohort_of(bank: Bank, labels: tuple[str, ...]) -> Cohort:
    """Puts the splits of a bank together, as if there were none.

    Patches are sorted by slide, y and x: the cohort does not depend on the partition that the dataset was stored with.

    Args:
        bank: of a dataset under `nbjax.samples.reading.under_transforms`, one crop a sample.
        labels: class names.

    Raises:
        InputError: a family with two labels.
    """
    inputs = np.concatenate([bank.inputs[split] for split in SPLITS])
    columns = {name: np.concatenate([bank.columns[split][name] for split in SPLITS]) for name in bank.columns["train"]}
    order = np.lexsort([columns[name] for name in ("transform", "x", "y", "slide")])
    rows = order.reshape(-1, columns["transform"].max() + 1)
    first = rows[:, 0]
    label = columns["label"][first]
    names = np.asarray([f"{one:03d} {family}" for one, family in zip(label, columns["family"][first], strict=True)])
    families, family = np.unique(names, return_inverse=True)
    plain = tuple(name[4:] for name in families.tolist())
    twice = sorted({name for name in plain if plain.count(name) > 1})
    if twice:
        raise InputError(f"family {twice[0]} has two labels; a study over partitions takes one class at a time.")
    samples = Samples(jnp.asarray(inputs), jnp.asarray(columns["label"], jnp.int32))
    return Cohort(labels, label, plain, family, rows, samples)


def arrange_partitions(cohort: Cohort, config: PartitionStudyConfig) -> list[Arrangement]:
    """Iterative filing's partition, number 0, then the resampled ones.

    Raises:
        InputError: a label with too few families, or too few near-optimal partitions.
    """
    targets = (config.dataset.proportions, config.dataset.diversities)
    sizes = np.bincount(cohort.family)
    # Of each family.
    label = cohort.label[np.unique(cohort.family, return_index=True)[1]]
    members = [np.flatnonzero(label == number) for number in range(len(cohort.labels))]
    filing = [partition_families(sizes[some], *targets).assignment for some in members]
    drawn = resample_classes(
        [sizes[some] for some in members], config.partitions, config.partition_seed, config.tolerance, *targets
    )
    arrangements = []
    for number in range(config.partitions + 1):
        chosen = filing if number == 0 else [one[number - 1] for one in drawn]
        assignment = np.empty(len(sizes), np.int64)
        about: dict[str, Any] = {"partition": number, "method": "resampled" if number else "filing"}
        for name, some, one in zip(cohort.labels, members, chosen, strict=True):
            assignment[some] = one
            about[f"discrepancy_{name}"] = measure_quality(sizes[some], one, *targets).discrepancy
        arrangements.append(Arrangement(about, assignment[cohort.family]))
    return arrangements


def arrange_leaks(cohort: Cohort, partitions: list[Arrangement], config: PartitionStudyConfig) -> list[Arrangement]:
    """Each leak fraction under the first resampled partitions; the test families stay as they are.

    The more leaks, the more families have patches in train: their number is told, since it helps the true score too.
    """
    arrangements = []
    for fraction in config.leak_fractions:
        for one in partitions[1 : 1 + config.leak_draws]:
            number = one.about["partition"]
            seed = config.partition_seed + number
            split = spread_families(cohort.family, one.split, cohort.label, fraction, seed)
            families = len(np.unique(cohort.family[split == 0]))
            about = {"fraction": fraction, "partition": number, "train_families": families}
            arrangements.append(Arrangement(about, split))
    return arrangements


def sample_rows(cohort: Cohort, split: np.ndarray, config: PartitionStudyConfig) -> list[np.ndarray]:
    """Rows of the bank that are the samples of each split: balanced and augmented as a dataset with that partition.

    Raises:
        InputError: a split without patches of a label.
    """
    names = np.asarray(cohort.labels)[cohort.label]
    transforms = split_transforms(names, split, cohort.labels, config.dataset)
    rows = []
    for number, name in enumerate(SPLITS):
        patches = np.flatnonzero(split == number)
        counts = np.asarray([1 + transforms[name][label] for label in names[patches]])
        wanted = np.arange(cohort.rows.shape[1]) < counts[:, None]
        rows.append(cohort.rows[patches][wanted])
    return rows


def program_of(cohort: Cohort, config: PartitionStudyConfig) -> Program:
    """What every session of the study is compiled for."""
    return Program(
        features=cohort.bank.inputs.shape[1],
        outputs=1 if len(cohort.labels) == 2 else len(cohort.labels),
        nonlinearities=parse_strategy(config.strategies[0]).nonlinearities,
        batch_size=config.batch_sizes[0],
        optimiser=config.optimiser,
        momentum=config.momentum,
        criterion=config.criterion,
    )


def run_arrangements(
    cohort: Cohort, arrangements: list[Arrangement], config: PartitionStudyConfig, seeds: int, folder: Path, key: Any
) -> pa.Table:
    """Sessions of every arrangement with every seed; a row each.

    Arrangements are run in chunks of equal shape. Each chunk is stored in `folder` under a hash of all that decides it,
    and read where it is there already, so that a run that was stopped goes on, to the same table.

    Args:
        cohort: the patches.
        arrangements: with the same columns in all of them.
        config: the study's.
        seeds: sessions of each arrangement.
        folder: of the chunks.
        key: what decides the features, as JSON values.

    Returns:
        The arrangements' columns, seed, epoch (the one kept), train_loss (there), diverged (a loss was not finite), and
        of validation and test `<split>_<level>_<loss or accuracy>` for the levels of `nbjax.training.level_scores`.
    """
    program = program_of(cohort, config)
    rows = [sample_rows(cohort, one.split, config) for one in arrangements]
    train, validation = (fill_up([one[split] for one in rows]) for split in (0, 1))
    each = max(1, SESSIONS // seeds)
    each = -(-len(rows) // -(-len(rows) // each))
    hypers = grid(config.learning_rates, range(seeds))
    decides = [key, __version__, repr(program), config.epochs, config.learning_rates, seeds, train.rows.shape[1], each]
    tables = []
    with meter(len(rows) * seeds, "sessions", "session") as done:
        for start in range(0, len(rows), each):
            # The last chunk is filled up with the last arrangement.
            some = np.minimum(np.arange(start, start + each), len(rows) - 1)
            digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode())
            for one in arrangements[start : start + each]:
                digest.update(json.dumps(one.about).encode() + one.split.astype(np.int8).tobytes())
            path = folder / f"{digest.hexdigest()[:24]}.parquet"
            if not is_whole(path):
                splits = [jax.tree.map(lambda values, some=some: values[some], one) for one in (train, validation)]
                outcome = run_partitions(program, config.epochs, hypers, cohort.bank, *splits)
                outcome = jax.tree.map(np.asarray, outcome)
                here = slice(start, start + each)
                write_table(_table(cohort, arrangements[here], rows[here], outcome, hypers.seed), path)
            tables.append(read_table(path))
            done(len(arrangements[start : start + each]) * seeds)
    return pa.concat_tables(tables)


def _table(
    cohort: Cohort, arrangements: list[Arrangement], rows: list[list[np.ndarray]], outcome: Outcome, seeds: np.ndarray
) -> pa.Table:
    patch = np.empty(cohort.rows.size, np.int64)
    patch[cohort.rows] = np.arange(len(cohort.rows))[:, None]
    labels = np.asarray(cohort.bank.labels)
    tables = []
    for number, (one, split_rows) in enumerate(zip(arrangements, rows, strict=True)):
        history, epoch = outcome.history[number], outcome.epoch[number]
        columns: dict[str, Any] = {name: [value] * len(seeds) for name, value in one.about.items()}
        columns |= {
            "seed": seeds.astype(np.int32),
            "epoch": epoch,
            "train_loss": history[np.arange(len(epoch)), epoch, 0],
        }
        columns["diverged"] = ~np.isfinite(history).all(axis=(1, 2))
        for split in (1, 2):
            here = split_rows[split]
            of_patch = patch[here]
            scores = level_scores(outcome.logits[number][:, here], labels[here], of_patch, cohort.family[of_patch])
            for level, (losses, accuracies) in scores.items():
                columns[f"{SPLITS[split]}_{level}_loss"] = losses
                columns[f"{SPLITS[split]}_{level}_accuracy"] = accuracies
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def assignment_table(cohort: Cohort, arrangements: list[Arrangement]) -> pa.Table:
    """One row a partition and family: partition, label, family, split, patches."""
    families, first, sizes = np.unique(cohort.family, return_index=True, return_counts=True)
    names = {
        "label": [cohort.labels[one] for one in cohort.label[first]],
        "family": [cohort.families[one] for one in families],
    }
    return pa.concat_tables(
        pa.table(
            {
                "partition": np.full(len(families), one.about["partition"], np.int32),
                **names,
                "split": [SPLITS[split] for split in one.split[first]],
                "patches": sizes.astype(np.int32),
            }
        )
        for one in arrangements
    )
