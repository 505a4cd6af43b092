"""The same head with every family held out once, and with patches held out at random: what a score owes to one small
test split, and what to forgotten families. The learning rate, the batch size and the epochs of a fold are chosen by the
families outside it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from nbjax.analysis.selection import criterion_of
from nbjax.partition import SPLITS, joint_folds
from nbjax.progress import Meter, meter
from nbjax.training.bank import Bank
from nbjax.training.program import NOTHING, Hyper, Program, Samples
from nbjax.training.sessions import TOGETHER, Batching, best_logits, grid, on_rows, rows_of_splits, run_chunks
from nbjax.training.tables import prediction_table

PATCH = ("slide", "family", "label", "x", "y")
# Folds and sessions of each candidate that choose among the families outside a fold.
INNER_FOLDS, INNER_SEEDS = 3, 3
# Nats by which losses differ that are the same but for rounding.
SAME = 1e-5
# Samples' columns, folds wanted and a seed to the fold of each sample.
Folds = Callable[[Mapping[str, np.ndarray], int, int], np.ndarray]


class Candidate(NamedTuple):
    """Sessions of one kind, at every learning rate, that folds may choose.

    Attributes:
        program: compiled for them; it trains nothing but a head.
        batching: how they run beside each other.
        together: sessions at once, which fit the memory.
    """

    program: Program
    batching: Batching = TOGETHER
    together: int = 32


class Choice(NamedTuple):
    """What a fold's sessions are trained with.

    Attributes:
        candidate: its place among the candidates.
        learning_rate: of the optimiser.
        epochs: to train for; 0 where the families outside the fold show no epoch to be better than the start.
        loss: the criterion there, of the inner folds, in nats.
    """

    candidate: int
    learning_rate: float
    epochs: int
    loss: float


def pooled_columns(columns: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The samples' columns, by split, put together as if there were no splits: training first, then validation, then
    test.
    """
    return {name: np.concatenate([columns[split][name] for split in SPLITS]) for name in columns["train"]}


class Pool(NamedTuple):
    """All samples of a bank of features as if there were no splits.

    Attributes:
        samples: on the device.
        columns: as `pooled_columns` has them.
    """

    samples: Samples
    columns: Mapping[str, np.ndarray]


def pool(bank: Bank) -> Pool:
    """Puts the splits of a bank together: training first, then validation, then test."""
    columns = pooled_columns(bank.columns)
    inputs = jnp.asarray(np.concatenate([bank.inputs[split] for split in SPLITS]))
    return Pool(Samples(inputs, jnp.asarray(columns["label"], jnp.int32)), columns)


def patch_numbers(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The patch of each sample, int `[samples]`, in 0…patches-1: samples of one patch differ in their transform
    only.
    """
    codes = np.stack([np.unique(columns[name], return_inverse=True)[1] for name in PATCH])
    return np.unique(codes, axis=1, return_inverse=True)[1].ravel()


def family_folds(families: np.ndarray, labels: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """The fold of each row, int `[rows]`: a family is in one fold, whatever its labels; each label is spread over the
    folds.

    See `nbjax.partition.joint_folds`: with fewer families of a label than folds there are as many folds as that label
    has families.

    Args:
        families: names `[rows]`.
        labels: class of each row `[rows]`.
        folds: wanted.
        seed: of the assignment.

    Raises:
        InputError: a label with one family.
    """
    names, member = np.unique(families, return_inverse=True)
    classes, of_class = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(counts, (member, of_class), 1)
    return joint_folds(counts, folds, seed)[member]


def held_out_folds(columns: Mapping[str, np.ndarray], folds: int, seed: int = 0) -> np.ndarray:
    """The folds of `family_folds`, alike in patches: those of a study's own head and of everything compared with it.

    Args:
        columns: of the samples, each `[samples]`: slide, family, label, x and y.
        folds: wanted.
        seed: of the assignment.

    Returns:
        The fold of each sample, int `[samples]`.

    Raises:
        InputError: a label with one family.
    """
    patch = patch_numbers(columns)
    first = np.unique(patch, return_index=True)[1]
    return family_folds(columns["family"][first], columns["label"][first], folds, seed)[patch]


def random_folds(columns: Mapping[str, np.ndarray], folds: int, seed: int = 0) -> np.ndarray:
    """The fold of each sample, int `[samples]`: patches at random, families forgotten, as careless practice has it.

    All transforms of a patch are in one fold. Each label's patches are dealt to the folds in turn.

    Args:
        columns: of the samples, each `[samples]`: slide, family, label, x and y.
        folds: how many.
        seed: of the order.
    """
    rng = np.random.default_rng(seed)
    patch = patch_numbers(columns)
    labels = columns["label"][np.unique(patch, return_index=True)[1]]
    order = rng.permutation(len(labels))
    fold = np.empty(len(labels), np.int64)
    fold[order[np.argsort(labels[order], kind="stable")]] = np.arange(len(labels)) % folds
    return fold[patch]


def choose_inside(
    pooled: Pool,
    candidates: Sequence[Candidate],
    learning_rates: Sequence[float],
    epochs: int,
    fold: np.ndarray,
    seed: int = 0,
    split: Folds = held_out_folds,
) -> list[Choice]:
    """For each fold what is best where families outside it are held out in turn: nothing of a fold chooses for itself.

    Every candidate, learning rate and number of epochs, 0 among them, is judged by the candidate's criterion, whose
    losses are means over the samples of all inner folds and over seeds; of equal ones the fewest epochs win.

    Args:
        pooled: the samples.
        candidates: whose sessions are judged.
        learning_rates: each judged.
        epochs: the most.
        fold: of each sample, as `held_out_folds` gives it.
        seed: of the inner folds.
        split: how what is outside a fold is cut into inner folds: as the folds themselves are.

    Returns:
        A choice a fold.

    Raises:
        InputError: a label with fewer than two families outside a fold.
    """
    outer: list[int] = []
    train: list[np.ndarray] = []
    held_out: list[np.ndarray] = []
    for number in range(int(fold.max()) + 1):
        outside = np.flatnonzero(fold != number)
        inner = split({name: values[outside] for name, values in pooled.columns.items()}, INNER_FOLDS, seed)
        for place in range(int(inner.max()) + 1):
            outer.append(number)
            train.append(outside[inner != place])
            held_out.append(outside[inner == place])
    hypers = on_rows(
        grid(learning_rates, range(INNER_SEEDS)), rows_of_splits(train), rows_of_splits(held_out), np.arange(len(outer))
    )
    total = len(candidates) * len(hypers.seed) * epochs
    with meter(total, "choosing inside folds", "session-epoch") as done:
        losses = np.stack([_inner_losses(pooled.samples, one, hypers, epochs, done) for one in candidates])
    # Now [candidates, inner folds, rates, epochs]: seeds lie together.
    losses = losses.reshape(len(candidates), len(outer), len(learning_rates), INNER_SEEDS, epochs + 1, 2).mean(axis=3)
    sizes = np.asarray([len(rows) for rows in held_out], np.float64)
    choices = []
    for number in range(int(fold.max()) + 1):
        mine = np.asarray(outer) == number
        means = np.average(losses[:, mine], axis=1, weights=sizes[mine])
        # Now [epochs, candidates, rates], so that the fewest epochs come first among equals.
        judged = np.stack([_judged(one.program, mean) for one, mean in zip(candidates, means, strict=True)], axis=1)
        best = np.flatnonzero(judged <= judged.min() + SAME)[0]
        epoch, place, rate = (int(one) for one in np.unravel_index(best, judged.shape))
        choices.append(Choice(place, learning_rates[rate], epoch, float(judged[epoch, place, rate])))
    return choices


def _inner_losses(samples: Samples, candidate: Candidate, hypers: Hyper, epochs: int, done: Meter) -> np.ndarray:
    """Training and held-out losses `[sessions, epochs + 1, 2]` of sessions on rows of the samples."""
    program, batching, together = candidate
    losses = [
        np.stack([ran.metrics.train_loss, ran.metrics.validation_loss], axis=2)[:count]
        for ran, count in run_chunks(program, epochs, hypers, samples, samples, batching, together, done)
    ]
    return np.concatenate(losses).astype(np.float64)


def _judged(program: Program, losses: np.ndarray) -> np.ndarray:
    """The program's criterion `[epochs + 1, rates]` of mean losses `[rates, epochs + 1, 2]`; infinite where one is not
    finite.
    """
    return criterion_of(losses[:, :, 0], losses[:, :, 1], program.criterion).T


def choices_table(choices: Mapping[str, Sequence[Choice]], batch_sizes: Sequence[int]) -> pa.Table:
    """A row a fold of each way to hold out: of (`fold` or `random_fold`), fold, and learning_rate, batch_size, epochs
    and loss as in `Choice`; `batch_sizes` are the candidates'.
    """
    rows = [(of, fold, choice) for of, of_folds in choices.items() for fold, choice in enumerate(of_folds)]
    return pa.table(
        {
            "of": pa.array([of for of, _, _ in rows], pa.string()),
            "fold": pa.array([fold for _, fold, _ in rows], pa.int32()),
            "learning_rate": pa.array([choice.learning_rate for _, _, choice in rows], pa.float64()),
            "batch_size": pa.array([batch_sizes[choice.candidate] for _, _, choice in rows], pa.int32()),
            "epochs": pa.array([choice.epochs for _, _, choice in rows], pa.int32()),
            "loss": pa.array([choice.loss for _, _, choice in rows], pa.float64()),
        }
    )


def cross_validations(
    bank: Bank,
    candidates: Sequence[Candidate],
    learning_rates: Sequence[float],
    epochs: int,
    seeds: Sequence[int],
    folds: int,
) -> tuple[dict[str, pa.Table], dict[str, list[Choice]]]:
    """What a study tells of samples that its sessions did not see, beside the test split.

    Args:
        bank: of features.
        candidates: what folds choose among.
        learning_rates: that a fold may choose.
        epochs: the most that it may choose.
        seeds: of the sessions of each fold.
        folds: wanted.

    Returns:
        By name `fold`, with every family held out once, and `random_fold`, with as many folds of patches at random,
        whose choices forget families too: tables of `cross_validate`. The second is what a report that forgets families
        would print. One is left out where no fold learns anything. And the choices, by the same names.

    Raises:
        InputError: a label with fewer than three families: outside a fold one must be held out of two.
    """
    pooled = pool(bank)
    held_out = held_out_folds(pooled.columns, folds)
    assignments = {"fold": held_out, "random_fold": random_folds(pooled.columns, len(np.unique(held_out)))}
    labels = {"fold": "every family held out once", "random_fold": "patches held out at random"}
    ways: dict[str, Folds] = {"fold": held_out_folds, "random_fold": random_folds}
    # Of one size, so that all folds of both run in one compiled program.
    size = len(held_out) - min(int(np.bincount(fold).min()) for fold in assignments.values())
    tables, choices = {}, {}
    for name, fold in assignments.items():
        choices[name] = choose_inside(pooled, candidates, learning_rates, epochs, fold, split=ways[name])
        if any(choice.epochs for choice in choices[name]):
            tables[name] = cross_validate(pooled, candidates, choices[name], seeds, fold, labels[name], size)
    return tables, choices


def cross_validate(
    pooled: Pool,
    candidates: Sequence[Candidate],
    choices: Sequence[Choice],
    seeds: Sequence[int],
    fold: np.ndarray,
    label: str = "held out",
    size: int | None = None,
) -> pa.Table:
    """Predictions on every sample by sessions that were trained on the other folds.

    All three splits are put together. A session keeps its epoch of least training loss: nothing of a fold chooses
    there.

    Args:
        pooled: the samples.
        candidates: of the choices.
        choices: one a fold.
        seeds: of the sessions of each fold.
        fold: of each sample, int `[samples]`, in 0…folds-1.
        label: of the progress bar.
        size: rows that training sets are filled up to; else as many as the greatest has.

    Returns:
        One row a fold's seed and sample, with the columns of the study's test predictions and `fold`.
    """
    train = rows_of_splits([np.flatnonzero(fold != number) for number in range(len(choices))], size)
    tables = []
    with meter(len(seeds) * sum(choice.epochs for choice in choices), label, "session-epoch") as done:
        for number, choice in enumerate(choices):
            rows = np.flatnonzero(fold == number)
            # The training rows stand in the place of validation, so that what is held out chooses nothing.
            hypers = on_rows(grid([choice.learning_rate], seeds), train, train, np.asarray([number]))
            logits = _held_out_logits(pooled.samples, candidates[choice.candidate], hypers, choice.epochs, rows, done)
            columns: dict[str, Any] = {name: values[rows] for name, values in pooled.columns.items()}
            table = prediction_table(np.asarray(seeds), logits, columns, rows)
            tables.append(table.append_column("fold", pa.array(np.full(len(table), number, np.int32))))
    return pa.concat_tables(tables)


def _held_out_logits(
    samples: Samples, candidate: Candidate, hypers: Hyper, epochs: int, rows: np.ndarray, done: Meter
) -> np.ndarray:
    """Logits `[sessions, rows, outputs]` of some samples by sessions that were trained on others."""
    program, batching, together = candidate
    logits = []
    for ran, count in run_chunks(program, epochs, hypers, samples, samples, batching, together, done):
        own = jax.tree.map(jnp.asarray, ran.hypers)
        logits.append(np.asarray(best_logits(program, batching, ran.states, own, NOTHING, samples))[:count, rows])
    return np.concatenate(logits)
