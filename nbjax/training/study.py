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

from nbjax.analysis.selection import choose_cell, select_epochs, summarise_cells
from nbjax.config import StudyConfig
from nbjax.files import remove_sealed
from nbjax.models import Backbone, load_headless
from nbjax.progress import Meter, meter
from nbjax.samples.reading import Dataset
from nbjax.training import store
from nbjax.training.bank import DTYPES, Bank, check_room, feature_bank, fingerprint, missing_bytes, row_of
from nbjax.training.crossvalidation import cross_validate
from nbjax.training.cut import find_cut
from nbjax.training.inputs import view_of
from nbjax.training.plan import Task, frozen_part, plan_backbone
from nbjax.training.program import Frozen, Samples
from nbjax.training.session import Metrics, State
from nbjax.training.sessions import advance, best_logits, grid, scores, start
from nbjax.training.strategy import parse_strategy
from nbjax.training.tables import history_table, prediction_table

PREDICTED = ("validation", "test")
HISTORY = "sessions.parquet"
PREDICTIONS = "{split}_predictions.parquet"
FOLDS = "fold_predictions.parquet"


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


def samples_of(bank: Bank, split: str) -> Samples:
    """One split of a bank on the device."""
    labels = jnp.asarray(bank.columns[split]["label"], jnp.int32)
    convention = bank.conventions.get(split)
    return Samples(jnp.asarray(bank.inputs[split]), labels, None if convention is None else jnp.asarray(convention))


def plan_study(study: Study) -> dict[str, list[Task]]:
    """Every backbone's tasks; what cannot run, does not fit or has no weights is found here, before anything starts."""
    tasks, needed = {}, 0
    for name in study.config.backbones:
        backbone = study.load(name)
        tasks[name] = plan_backbone(
            study.config, study.dataset, backbone, fingerprint((backbone.params, backbone.batch_stats))
        )
        banks = {task.start: task for task in tasks[name]}
        for task in banks.values():
            of_task = (task.start, task.view, study.banks, study.config.bank_dtype)
            needed += missing_bytes(study.dataset, backbone, *of_task)
    check_room(study.banks, needed)
    return tasks


def bank_bytes(config: StudyConfig, samples: int) -> int:
    """Bytes of all feature banks of a study whose dataset has so many samples."""
    edge, total = config.dataset.tiling.patch_size, 0
    for name in config.backbones:
        backbone = load_headless(name, config.weights, config.input_size)
        view = view_of(edge, config.input_size or backbone.network.input_size, config.fidelity)
        strategies = [parse_strategy(word) for word in config.strategies]
        cuts = {find_cut(backbone.network, one, config.fidelity, view.crop == "random").start for one in strategies}
        for cut in cuts:
            values = int(np.prod(row_of(backbone, cut, view)))
            each = 1 if cut is None else view.crops * DTYPES[config.bank_dtype].itemsize
            total += samples * values * each
    return total


def run_study(study: Study, tasks: dict[str, list[Task]], seconds: dict[str, float]) -> None:
    """Runs what of the tasks is not finished and stores each; adds wall time to `seconds`, by step."""
    unfinished = {
        name: [task for task in some if not store.is_finished(program_folder(study, task))]
        for name, some in tasks.items()
    }
    for name, some in unfinished.items():
        if some:
            _run_backbone(study, study.load(name), some, seconds)


def program_folder(study: Study, task: Task) -> Path:
    """Where a task's results lie."""
    return study.folder / store.PROGRAMS / task.name


def bank_of(study: Study, backbone: Backbone, task: Task) -> Bank:
    """The bank that a task runs on."""
    return feature_bank(study.dataset, backbone, task.start, task.view, study.banks, study.config.bank_dtype)


def _run_backbone(study: Study, backbone: Backbone, tasks: list[Task], seconds: dict[str, float]) -> None:
    for _, of_one in itertools.groupby(tasks, lambda task: task.start):
        some = list(of_one)
        begin = time.perf_counter()
        bank = bank_of(study, backbone, some[0])
        data = {split: samples_of(bank, split) for split in ("train", *PREDICTED)}
        ready = time.perf_counter()
        seconds["features"] = seconds.get("features", 0.0) + round(ready - begin, 2)
        total = sum(task.sessions for task in some) * study.config.epochs
        with meter(total, f"{backbone.network.name} sessions", "session-epoch") as done:
            for task in some:
                _run_task(study, task, frozen_part(task.program, backbone), data, done)
        seconds["sessions"] = seconds.get("sessions", 0.0) + round(time.perf_counter() - ready, 2)


def _run_task(study: Study, task: Task, frozen: Frozen, data: dict[str, Samples], done: Meter) -> None:
    """One program from its last checkpoint to its end."""
    folder = program_folder(study, task)
    store.describe(folder, {**task.key, "cut": task.start, "reason": task.reason, "memory_bytes": task.memory})
    for epoch, last, so_far in _epochs(study, task, frozen, data, folder):
        states, found = last, so_far
        done(task.sessions * (epoch > 0))
    history = history_table(task, *jax.tree.map(lambda *values: np.stack(values, axis=1), *found))
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

    shapes, one = jax.eval_shape(begin, hypers, *shared)
    saved = store.restore(folder, shapes, one)
    if saved is None:
        states, first = begin(hypers, *shared)
        epoch, found = 0, [jax.tree.map(np.asarray, first)]
    else:
        epoch, states, stacked = saved
        states = jax.tree.map(jnp.asarray, states)
        found = [jax.tree.map(lambda values, at=at: values[at], stacked) for at in range(epoch + 1)]
    yield epoch, states, found
    written = time.monotonic()
    while epoch < study.config.epochs and not bool(np.asarray(states.stopped).all()):
        states, metrics = advance(task.program, task.batching, states, hypers, *shared)
        epoch += 1
        found.append(jax.tree.map(np.asarray, look(states, metrics)))
        if time.monotonic() - written > study.config.checkpoint_seconds:
            store.checkpoint(folder, epoch, states, jax.tree.map(lambda *values: np.stack(values), *found))
            written = time.monotonic()
        yield epoch, states, found


def _best(task: Task, states: State) -> dict[str, Any]:
    """The parameters of each cell's best session, with the session axis first."""
    rates, seeds = (values[: task.sessions] for values in task.hypers)
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
    """The rows of every finished program, in the plan's order."""
    finished = [program_folder(study, task) for some in tasks.values() for task in some]
    return pa.concat_tables([store.read_history(folder) for folder in finished if store.is_finished(folder)])


def conclude(study: Study, tasks: dict[str, list[Task]]) -> dict[str, Any]:
    """Chooses a cell by training and validation data, looks at the test split once, cross-validates.

    Writes `sessions.parquet`, `test_predictions.parquet`, `validation_predictions.parquet` (for temperature scaling) and,
    where only a head was trained, `fold_predictions.parquet`.

    Returns:
        The chosen cell's values: learning_rate, batch_size and so on, and `epochs`, the median of its kept epochs.
    """
    config = study.config
    history = all_histories(study, tasks)
    store.write_table(history, study.folder / HISTORY)
    chosen = choose_cell(summarise_cells(history, config.criterion)).values
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
            study.folder / PREDICTIONS.format(split=split),
        )

    kept = [
        session.epoch for session in select_epochs(history, config.criterion) if session.cell == tuple(chosen.values())
    ]
    epochs = max(1, int(np.median([epoch for epoch in kept if epoch is not None])))
    program = of_cell[0].program
    remove_sealed(study.folder / FOLDS)
    if program.head_only and config.folds:
        hypers = grid([chosen["learning_rate"]], range(config.seeds))
        store.write_table(cross_validate(program, hypers, epochs, bank, config.folds), study.folder / FOLDS)
    return {**chosen, "epochs": epochs}


def _predictions(
    study: Study, tasks: list[Task], rate: np.float32, columns: Mapping[str, np.ndarray], split: str
) -> pa.Table:
    """What the tasks' sessions of one learning rate said of a split's samples."""
    numbers, tables = np.arange(len(columns["label"])), []
    for task in tasks:
        rows = np.flatnonzero(task.hypers.learning_rate[: task.sessions] == rate)
        if len(rows):
            logits = store.read_logits(program_folder(study, task))[split][rows]
            tables.append(prediction_table(task.hypers.seed[rows], logits, columns, numbers))
    return pa.concat_tables(tables)
