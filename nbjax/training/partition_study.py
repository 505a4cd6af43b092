"""One bank under many partitions: which patch goes where, the sessions of each, their scores; stored one by one."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from nbjax import __version__
from nbjax.partition import (
    SPLITS,
    measure_quality,
    partition_classes,
    partition_families,
    resample_classes,
    resample_jointly,
    spread_families,
)
from nbjax.progress import Meter, meter
from nbjax.samples.plan import split_transforms
from nbjax.training.bank import Bank
from nbjax.training.choice import choose
from nbjax.training.config import PartitionStudyConfig
from nbjax.training.fit import fit_sessions, shapes_of
from nbjax.training.level_scores import level_scores
from nbjax.training.program import NOTHING, Program, Samples
from nbjax.training.session import Metrics
from nbjax.training.sessions import best_logits, grid, on_rows, rows_of_splits, run_chunks
from nbjax.training.store import is_whole, read_table, write_table
from nbjax.training.strategy import head_of, parse_strategy

# Sessions that run at once on a CPU: more are slower, since what a step of all of them collects leaves the cache.
SESSIONS = 20


class Cohort(NamedTuple):
    """The patches of a bank that holds each under several transforms.

    Attributes:
        labels: class names.
        label: index of `labels`, int `[patches]`.
        families: names, by label (of several, the first), then name.
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
    """
    inputs = np.concatenate([bank.inputs[split] for split in SPLITS])
    columns = {name: np.concatenate([bank.columns[split][name] for split in SPLITS]) for name in bank.columns["train"]}
    order = np.lexsort([columns[name] for name in ("transform", "x", "y", "slide")])
    rows = order.reshape(-1, columns["transform"].max() + 1)
    first = rows[:, 0]
    label = columns["label"][first]
    names, member = np.unique(columns["family"][first], return_inverse=True)
    lowest = np.full(len(names), len(labels))
    np.minimum.at(lowest, member, label)
    by_label = np.lexsort((names, lowest))
    place = np.empty_like(by_label)
    place[by_label] = np.arange(len(names))
    samples = Samples(jnp.asarray(inputs), jnp.asarray(columns["label"], jnp.int32))
    return Cohort(labels, label, tuple(names[by_label].tolist()), place[member], rows, samples)


def patch_counts(cohort: Cohort) -> np.ndarray:
    """Patches of each family by label, int `[families, labels]`."""
    counts = np.zeros((len(cohort.families), len(cohort.labels)), np.int64)
    np.add.at(counts, (cohort.family, cohort.label), 1)
    return counts


def arrange_partitions(cohort: Cohort, config: PartitionStudyConfig) -> list[Arrangement]:
    """The partition of the dataset's method, number 0, then the resampled ones; all labels jointly where families have
    several.

    Filing takes one label at a time: with a family of two labels number 0 is the exact method's, as where filing leaves
    a split without a family.

    Raises:
        InputError: a label with too few families, or too few near-optimal partitions.
    """
    targets = (config.dataset.proportions, config.dataset.diversities)
    counts = patch_counts(cohort)
    resampling = (config.partitions, config.partition_seed, config.tolerance, *targets)
    if ((counts > 0).sum(axis=1) > 1).any():
        joint = partition_classes(counts, *targets, method="exact", every_split=True)
        first, of_labels = joint.assignment, joint.classes
        drawn = resample_jointly(counts, *resampling)
    else:
        sizes = [column[column > 0] for column in counts.T]
        of_labels = tuple(partition_families(some, *targets, config.dataset.method, every_split=True) for some in sizes)
        first, drawn = np.empty(len(counts), np.int64), np.empty((config.partitions, len(counts)), np.int64)
        for column, one, some in zip(counts.T, of_labels, resample_classes(sizes, *resampling), strict=True):
            first[column > 0] = one.assignment
            drawn[:, column > 0] = some
    # Filing gives way to exact label by label.
    method = "+".join(dict.fromkeys(one.method for one in of_labels))
    for label, one in zip(cohort.labels, of_labels, strict=True):
        if one.reason:
            print(f"partition 0, label {label}, method {one.method}: {one.reason}.")
    arrangements = []
    for number, assignment in enumerate([first, *drawn]):
        about: dict[str, Any] = {"partition": number, "method": "resampled" if number else method}
        for name, column in zip(cohort.labels, counts.T, strict=True):
            about[f"discrepancy_{name}"] = measure_quality(column, assignment, *targets).discrepancy
        arrangements.append(Arrangement(about, assignment[cohort.family]))
    return arrangements


def arrange_leaks(cohort: Cohort, partitions: list[Arrangement], config: PartitionStudyConfig) -> list[Arrangement]:
    """Each leak fraction under the first resampled partitions; the test families stay as they are.

    The more leaks, the more families have patches in train: their number is told, since it helps the true score too.
    """
    arrangements = []
    for fraction in config.leak_fractions:
        for partition in partitions[1 : 1 + config.leak_draws]:
            number = partition.about["partition"]
            seed = config.partition_seed + number
            split = spread_families(cohort.family, partition.split, cohort.label, fraction, seed)
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
    strategy = parse_strategy(config.strategies[0])
    head_input, weight_decay = head_of(strategy, config.fidelity)
    return Program(
        features=cohort.bank.inputs.shape[1],
        outputs=1 if len(cohort.labels) == 2 else len(cohort.labels),
        nonlinearities=strategy.nonlinearities,
        batch_size=config.batch_sizes[0],
        optimiser=config.optimiser,
        momentum=config.momentum,
        criterion=config.criterion,
        head_input=head_input,
        weight_decay=weight_decay,
    )


def run_arrangements(
    cohort: Cohort, arrangements: list[Arrangement], config: PartitionStudyConfig, seeds: int, folder: Path, key: Any
) -> pa.Table:
    """Sessions of every arrangement with every seed; a row each.

    The rows of each arrangement are stored in `folder` under a hash of all that decides them, and read where they are
    there already, so that a run that was stopped goes on, to the same table.

    Args:
        cohort: the patches.
        arrangements: with the same columns in all of them.
        config: the study's.
        seeds: sessions of each arrangement.
        folder: of the stored rows.
        key: what decides the features, as JSON values.

    Returns:
        The arrangements' columns, seed, epoch (the one kept), train_loss (there), diverged (a loss was not finite), and
        of validation and test `<split>_<level>_<loss or accuracy>` for the levels of `nbjax.training.level_scores`.

    Raises:
        InputError: one session does not fit the memory.
    """
    program = program_of(cohort, config)
    decides = json.dumps([key, __version__, repr(program), config.epochs, config.learning_rates, seeds], sort_keys=True)
    paths = [folder / f"{_digest(decides, arrangement)}.parquet" for arrangement in arrangements]
    missing = [number for number, path in enumerate(paths) if not is_whole(path)]
    each = seeds * config.epochs
    with meter(len(paths) * each, "sessions", "session-epoch") as done:
        done((len(paths) - len(missing)) * each, earlier=True)
        for number, table in _run(cohort, program, arrangements, missing, config, seeds, done):
            write_table(table, paths[number])
    return pa.concat_tables([read_table(path) for path in paths])


def _digest(decides: str, arrangement: Arrangement) -> str:
    digest = hashlib.sha256(decides.encode())
    digest.update(json.dumps(arrangement.about).encode() + arrangement.split.astype(np.int8).tobytes())
    return digest.hexdigest()[:24]


def _run(
    cohort: Cohort,
    program: Program,
    arrangements: list[Arrangement],
    wanted: list[int],
    config: PartitionStudyConfig,
    seeds: int,
    done: Meter,
) -> Iterator[tuple[int, pa.Table]]:
    """Numbers of the wanted arrangements and their rows, some at a time and in chunks of one shape."""
    if not wanted:
        return
    rows = [sample_rows(cohort, one.split, config) for one in arrangements]
    train, validation = (rows_of_splits([one[split] for one in rows]) for split in (0, 1))
    of_seeds = grid(config.learning_rates, range(seeds))
    most = SESSIONS if jax.default_backend() == "cpu" else len(arrangements) * seeds
    program, batching = choose(program, min(len(jax.devices()), most), whole=False)
    bank = cohort.bank
    shapes = shapes_of(on_rows(of_seeds, train, validation, np.asarray(wanted[:1])), most)
    fit = fit_sessions(config, program, batching, shapes, NOTHING, bank, bank)
    # Of all arrangements, wanted or not: what goes on has the shape, and so the last digits, of what it goes on from.
    at_once = max(1, fit.together // seeds)
    at_once = -(-len(arrangements) // -(-len(arrangements) // at_once))
    for first in range(0, len(wanted), at_once):
        numbers_of_chunk = wanted[first : first + at_once]
        # The last ones are filled up with the last arrangement.
        numbers = np.asarray(numbers_of_chunk + numbers_of_chunk[-1:] * (at_once - len(numbers_of_chunk)))
        hypers = on_rows(of_seeds, train, validation, numbers)
        ran_chunks = []
        for ran, count in run_chunks(program, config.epochs, hypers, bank, bank, batching, fit.together):
            logits = best_logits(program, batching, ran.states, ran.hypers, NOTHING, bank)
            of_session = (ran.metrics, np.asarray(ran.states.best_epoch), np.asarray(logits))
            ran_chunks.append(jax.tree.map(lambda values, count=count: values[:count], of_session))
        metrics, epochs, logits = jax.tree.map(lambda *values: np.concatenate(values), *ran_chunks)
        for place, number in enumerate(numbers_of_chunk):
            mine = slice(place * seeds, (place + 1) * seeds)
            own = jax.tree.map(lambda values, mine=mine: values[mine], metrics)
            yield number, _table(cohort, arrangements[number], rows[number], own, epochs[mine], logits[mine])
        done(len(numbers_of_chunk) * seeds * config.epochs)


def _table(
    cohort: Cohort,
    arrangement: Arrangement,
    rows: list[np.ndarray],
    metrics: Metrics,
    epochs: np.ndarray,
    logits: np.ndarray,
) -> pa.Table:
    """Scores of an arrangement's sessions, by seed, at the epochs that they kept."""
    patch = np.empty(cohort.rows.size, np.int64)
    patch[cohort.rows] = np.arange(len(cohort.rows))[:, None]
    labels, seeds = np.asarray(cohort.bank.labels), len(epochs)
    finite = np.logical_and.reduce([np.isfinite(values).all(axis=1) for values in metrics])
    columns: dict[str, Any] = {name: [value] * seeds for name, value in arrangement.about.items()}
    columns |= {
        "seed": np.arange(seeds, dtype=np.int32),
        "epoch": epochs,
        "train_loss": metrics.train_loss[np.arange(seeds), epochs],
        "diverged": ~finite,
    }
    for split in (1, 2):
        here = rows[split]
        of_patch = patch[here]
        scores = level_scores(logits[:, here], labels[here], of_patch, cohort.family[of_patch])
        for level, (losses, accuracies) in scores.items():
            columns[f"{SPLITS[split]}_{level}_loss"] = losses
            columns[f"{SPLITS[split]}_{level}_accuracy"] = accuracies
    return pa.table(columns)


def assignment_table(cohort: Cohort, arrangements: list[Arrangement]) -> pa.Table:
    """One row a partition, family and label of it: partition, label, family, split, patches."""
    counts = patch_counts(cohort)
    labels, families = np.nonzero(counts.T)
    first = np.unique(cohort.family, return_index=True)[1]
    return pa.concat_tables(
        pa.table(
            {
                "partition": np.full(len(families), arrangement.about["partition"], np.int32),
                "label": [cohort.labels[label] for label in labels],
                "family": [cohort.families[family] for family in families],
                "split": [SPLITS[split] for split in arrangement.split[first][families]],
                "patches": counts[families, labels].astype(np.int32),
            }
        )
        for arrangement in arrangements
    )
