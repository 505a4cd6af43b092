"""A study: a grid of sessions, run by programs that are stored one by one, and its tables."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from nbjax.analysis.selection import choose_cell, key_of, median_epoch, select_epochs, summarise_cells
from nbjax.files import remove_sealed
from nbjax.models import Backbone, load_headless
from nbjax.progress import Meter, meter
from nbjax.samples.reading import Dataset
from nbjax.training import store
from nbjax.training.bank import DTYPES, Bank, check_room, feature_bank, fingerprint, missing_files, row_of
from nbjax.training.config import StudyConfig
from nbjax.training.crossvalidation import (
    INNER_FOLDS,
    INNER_SEEDS,
    Candidate,
    choices_table,
    cross_validations,
)
from nbjax.training.cut import find_cut
from nbjax.training.folder import FOLDS, StudyFolder
from nbjax.training.inputs import view_of
from nbjax.training.plan import Task, frozen_part, plan_backbone
from nbjax.training.program import Frozen, Samples
from nbjax.training.session import Metrics, State
from nbjax.training.sessions import advance, best_logits, scores, start
from nbjax.training.strategy import parse_strategy
from nbjax.training.tables import history_table, prediction_table

PREDICTED = ("validation", "test")


# Of one epoch: what chooses, and the test split's scores, which do not, where the config asks for them.
Found = tuple[Metrics, jax.Array | None]


class Study(NamedTuple):
    """What a study's programs need besides their plan.

    Attributes:
        config: the study's.
        dataset: the built one.
        folder: the study's.
        banks: folder of feature banks, which studies may share.
        load: a backbone by its name, with the study's weights.
    """

    config: StudyConfig
    dataset: Dataset
    folder: Path
    banks: Path
    load: Callable[[str], Backbone]

    @property
    def files(self) -> StudyFolder:
        """What lies in the folder."""
        return StudyFolder(self.folder)


def samples_of(bank: Bank, split: str) -> Samples:
    """One split of a bank on the device."""
    labels = jnp.asarray(bank.columns[split]["label"], jnp.int32)
    convention = bank.conventions.get(split)
    return Samples(jnp.asarray(bank.inputs[split]), labels, None if convention is None else jnp.asarray(convention))


def plan_study(study: Study) -> dict[str, list[Task]]:
    """Every backbone's tasks; what cannot run, does not fit or has no weights is found here, before anything starts.

    Each is described in its folder: a study that was stopped goes on as it was planned.
    """
    tasks: dict[str, list[Task]] = {}
    missing: dict[Path, int] = {}
    for name in study.config.backbones:
        backbone = study.load(name)
        weights = fingerprint((backbone.params, backbone.batch_stats))
        tasks[name] = plan_backbone(study.config, study.dataset, backbone, weights, study.files.programs)
        banks = {task.start: task for task in tasks[name]}
        for task in banks.values():
            of_task = (task.start, task.view, study.banks, study.config.bank_dtype)
            missing |= missing_files(study.dataset, backbone, *of_task)
    check_room(study.banks, sum(missing.values()))
    for task in itertools.chain.from_iterable(tasks.values()):
        if not store.is_finished(program_folder(study, task)):
            store.describe(program_folder(study, task), task.description)
    return tasks


def bank_bytes(config: StudyConfig, samples: int) -> int:
    """Bytes of all feature banks of a study whose dataset has so many samples."""
    edge = config.dataset.tiling.patch_size
    # Backbones share the bank of pixels.
    banks: dict[tuple[str, str | None], int] = {}
    for name in config.backbones:
        backbone = load_headless(name, config.weights, config.input_size)
        view = view_of(edge, config.input_size or backbone.network.input_size, config.fidelity)
        strategies = [parse_strategy(word) for word in config.strategies]
        cuts = {
            find_cut(backbone.network, strategy, config.fidelity, view.crop == "random").start
            for strategy in strategies
        }
        for cut in cuts:
            values = int(np.prod(row_of(backbone, cut, view)))
            each = 1 if cut is None else view.crops * DTYPES[config.bank_dtype].itemsize
            banks["" if cut is None else name, cut] = samples * values * each
    return sum(banks.values())


def run_study(study: Study, tasks: dict[str, list[Task]], seconds: dict[str, float]) -> None:
    """Runs what of the tasks is not finished and stores each; adds wall time to `seconds`, by step."""
    for name, of_backbone in tasks.items():
        if not all(store.is_finished(program_folder(study, task)) for task in of_backbone):
            _run_backbone(study, study.load(name), of_backbone, seconds)


def program_folder(study: Study, task: Task) -> Path:
    """Where a task's results lie."""
    return study.files.programs / task.name


def bank_of(study: Study, backbone: Backbone, task: Task) -> Bank:
    """The bank that a task runs on."""
    return feature_bank(study.dataset, backbone, task.start, task.view, study.banks, study.config.bank_dtype)


def _run_backbone(study: Study, backbone: Backbone, tasks: list[Task], seconds: dict[str, float]) -> None:
    for _, of_cut in itertools.groupby(tasks, lambda task: task.start):
        _run_cut(study, backbone, list(of_cut), seconds)


def _run_cut(study: Study, backbone: Backbone, tasks: list[Task], seconds: dict[str, float]) -> None:
    """Tasks of one bank, which leaves the memory before the next one comes."""
    unfinished = [task for task in tasks if not store.is_finished(program_folder(study, task))]
    if not unfinished:
        return
    begin = time.perf_counter()
    bank = bank_of(study, backbone, unfinished[0])
    data = {split: samples_of(bank, split) for split in ("train", *PREDICTED)}
    ready = time.perf_counter()
    seconds["features"] = seconds.get("features", 0.0) + round(ready - begin, 2)
    total, left = (sum(task.sessions for task in counted) * study.config.epochs for counted in (tasks, unfinished))
    with meter(total, f"{backbone.network.name} sessions", "session-epoch") as done:
        done(total - left, earlier=True)
        for task in unfinished:
            _run_task(study, task, frozen_part(task.program, backbone), data, done)
    seconds["sessions"] = seconds.get("sessions", 0.0) + round(time.perf_counter() - ready, 2)


def _run_task(study: Study, task: Task, frozen: Frozen, data: dict[str, Samples], done: Meter) -> None:
    """One program from its last checkpoint to its end."""
    folder = program_folder(study, task)
    shown = 0
    for epoch, last, so_far in _epochs(study, task, frozen, data, folder):
        states, by_epoch = last, so_far
        # What goes on from a checkpoint has its earlier epochs behind it.
        done(task.sessions * (epoch - shown), earlier=epoch - shown > 1)
        shown = epoch
    # All may have stopped early.
    done(task.sessions * (study.config.epochs - shown))
    history = history_table(task, *jax.tree.map(lambda *values: np.stack(values, axis=1), *by_epoch))
    hypers = jax.tree.map(jnp.asarray, task.hypers)
    logits = {
        split: np.asarray(best_logits(task.program, task.batching, states, hypers, frozen, data[split]))[
            : task.sessions
        ]
        for split in PREDICTED
    }
    store.finish(folder, history, logits, _best(task, states))


def _epochs(
    study: Study, task: Task, frozen: Frozen, data: dict[str, Samples], folder: Path
) -> Iterator[tuple[int, State, list[Found]]]:
    """Epoch, states and all that was found so far, after every epoch still to run (or the last one where none is)."""
    hypers = jax.tree.map(jnp.asarray, task.hypers)
    shared = (frozen, data["train"], data["validation"])

    def begin(*given: Any) -> tuple[State, Found]:
        states, metrics = start(task.program, task.batching, *given)
        return states, look(states, metrics)

    def look(states: State, metrics: Metrics) -> Found:
        shown = (task.program, task.batching, states, hypers, frozen, data["test"])
        return metrics, scores(*shown) if study.config.test_curve else None

    shapes, shape_of_epoch = jax.eval_shape(begin, hypers, *shared)
    saved = store.restore(folder, shapes, shape_of_epoch)
    if saved is None:
        states, first = begin(hypers, *shared)
        epoch, by_epoch = 0, [jax.tree.map(np.asarray, first)]
    else:
        epoch, states, stacked = saved
        states = jax.tree.map(jnp.asarray, states)
        by_epoch = [jax.tree.map(lambda values, at=at: values[at], stacked) for at in range(epoch + 1)]
    yield epoch, states, by_epoch
    written = time.monotonic()
    while epoch < study.config.epochs and not bool(np.asarray(states.stopped).all()):
        states, metrics = advance(task.program, task.batching, states, hypers, *shared)
        epoch += 1
        by_epoch.append(jax.tree.map(np.asarray, look(states, metrics)))
        if time.monotonic() - written > study.config.checkpoint_seconds:
            store.checkpoint(folder, epoch, states, jax.tree.map(lambda *values: np.stack(values), *by_epoch))
            written = time.monotonic()
        yield epoch, states, by_epoch


def _best(task: Task, states: State) -> dict[str, Any]:
    """The parameters of each cell's best session, with the session axis first."""
    rates, seeds = task.hypers.learning_rate[: task.sessions], task.hypers.seed[: task.sessions]
    scores = np.asarray(states.best_score)[: task.sessions]
    rows = [
        members[np.argmin(scores[members])] for members in (np.flatnonzero(rates == rate) for rate in np.unique(rates))
    ]
    params, batch_stats = jax.tree.map(
        lambda leaf: np.asarray(leaf)[rows], (states.best_params, states.best_batch_stats)
    )
    return {
        "learning_rate": rates[rows],
        "seed": seeds[rows],
        "epoch": np.asarray(states.best_epoch)[rows],
        "score": scores[rows],
        "params": params,
        "batch_stats": batch_stats,
    }


def all_histories(study: Study, tasks: dict[str, list[Task]]) -> pa.Table:
    """The rows of every finished program in the plan's order; those of one kind by learning rate, seed and epoch.

    How sessions were put together does not show.
    """
    place = {float(str(np.float32(rate))): number for number, rate in enumerate(study.config.learning_rates)}
    tables = []
    for _, of_kind in itertools.groupby(
        itertools.chain.from_iterable(tasks.values()),
        lambda task: (task.backbone, task.strategy, task.program.batch_size),
    ):
        folders = [program_folder(study, task) for task in of_kind]
        histories = [store.read_history(folder) for folder in folders if store.is_finished(folder)]
        if histories:
            table = pa.concat_tables(histories)
            rates = [place[rate] for rate in table["learning_rate"].to_pylist()]
            tables.append(table.take(np.lexsort((table["epoch"], table["seed"], rates))))
    return pa.concat_tables(tables)


def conclude(study: Study, tasks: dict[str, list[Task]]) -> dict[str, Any]:
    """Chooses a cell by training and validation data, looks at the test split once, cross-validates.

    Writes `sessions.parquet`, `test_predictions.parquet`, `validation_predictions.parquet` (for temperature scaling)
    and, where only a head was trained, `fold_choices.parquet`, `fold_predictions.parquet` and, with patches held out at
    random, `random_fold_predictions.parquet`.

    Returns:
        The chosen cell's values: learning_rate, batch_size and so on, and `epochs`, the median of its kept epochs; 0
        where half of its sessions or more kept the untrained head.
    """
    config = study.config
    history = all_histories(study, tasks)
    store.write_table(history, study.files.sessions)
    chosen = choose_cell(summarise_cells(history, config.criterion)).key._asdict()
    of_cell = [
        task
        for task in tasks[chosen["backbone"]]
        if (task.strategy.name, task.strategy.nonlinearities, task.strategy.unfrozen, task.program.batch_size)
        == tuple(chosen[name] for name in ("strategy", "nonlinearities", "unfrozen", "batch_size"))
    ]
    rate = np.float32(chosen["learning_rate"])
    backbone = study.load(chosen["backbone"])
    bank = bank_of(study, backbone, of_cell[0])
    for split in PREDICTED:
        store.write_table(
            _predictions(study, of_cell, rate, bank.columns[split], split),
            study.files.predictions(split),
        )

    sessions = select_epochs(history, config.criterion)
    epochs = median_epoch([session for session in sessions if session.cell == key_of(chosen)])
    _hold_out(study, tasks[chosen["backbone"]], chosen, bank)
    return {**chosen, "epochs": epochs}


def _hold_out(study: Study, tasks: list[Task], chosen: Mapping[str, Any], bank: Bank) -> None:
    """Writes what sessions say of families and of patches that they did not see, unless it lies there already.

    The learning rate, the batch size and the epochs of a fold are chosen by families outside it. Where no fold learns
    anything there is nothing to hold out.

    Args:
        study: this one.
        tasks: of the chosen backbone.
        chosen: the study's cell.
        bank: of the tasks that train a head alone.
    """
    config, files = study.config, study.files
    paths = [files.predictions(name) for name in FOLDS]
    cell = tuple(chosen[name] for name in ("strategy", "nonlinearities", "unfrozen"))
    kind = [
        task for task in tasks if (task.strategy.name, task.strategy.nonlinearities, task.strategy.unfrozen) == cell
    ]
    if not kind[0].program.head_only or not config.folds:
        for path in (*paths, files.fold_choices):
            remove_sealed(path)
        return
    # Of each batch size the program that was planned for most sessions at once.
    by_batch = {task.program.batch_size: task for task in sorted(kind, key=lambda task: len(task.hypers.seed))}
    seeds = list(range(config.seeds))
    decides = {
        "cells": [task.common for task in by_batch.values()],
        "learning_rates": list(config.learning_rates),
        "seeds": seeds,
        "folds": config.folds,
        "inner": [INNER_FOLDS, INNER_SEEDS],
    }
    if store.is_whole(files.fold_choices) and store.made_of(files.fold_choices) == decides:
        table = store.read_table(files.fold_choices)
        learned = {
            of for of, epochs in zip(table["of"].to_pylist(), table["epochs"].to_pylist(), strict=True) if epochs
        }
        needed = [files.predictions(name) for name in FOLDS if name in learned]
        if all(store.is_whole(path) and store.made_of(path) == decides for path in needed):
            return
    for path in (*paths, files.fold_choices):
        remove_sealed(path)
    # Epochs are chosen, not stopped at a goal.
    candidates = [
        Candidate(task.program._replace(goal=None), task.batching, len(task.hypers.seed)) for task in by_batch.values()
    ]
    tables, choices = cross_validations(bank, candidates, config.learning_rates, config.epochs, seeds, config.folds)
    for name, predicted in tables.items():
        store.write_table(predicted, files.predictions(name), decides)
    store.write_table(choices_table(choices, list(by_batch)), files.fold_choices, decides)


def _predictions(
    study: Study, tasks: list[Task], rate: np.float32, columns: Mapping[str, np.ndarray], split: str
) -> pa.Table:
    """What the tasks' sessions of one learning rate said of a split's samples."""
    logits, seeds = [], []
    for task in tasks:
        rows = np.flatnonzero(task.hypers.learning_rate[: task.sessions] == rate)
        if len(rows):
            logits.append(store.read_logits(program_folder(study, task))[split][rows])
            seeds.append(task.hypers.seed[rows])
    order = np.argsort(np.concatenate(seeds))
    numbers = np.arange(len(columns["label"]))
    return prediction_table(np.concatenate(seeds)[order], np.concatenate(logits)[order], columns, numbers)
