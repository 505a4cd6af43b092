"""The same head with every family held out once, and with patches held out at random: what a score owes to one small test split,
and what to forgotten families.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from nbjax.partition import SPLITS, joint_folds
from nbjax.progress import meter
from nbjax.training.bank import Bank
from nbjax.training.program import NOTHING, Hyper, Program, Samples
from nbjax.training.sessions import TOGETHER, best_logits, on_rows, rows_of_splits
from nbjax.training.sessions import epochs as run_epochs
from nbjax.training.tables import prediction_table

PATCH = ("slide", "family", "label", "x", "y")


def pooled_columns(columns: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The samples' columns, by split, put together as if there were no splits: training first, then validation, then test."""
    return {name: np.concatenate([columns[split][name] for split in SPLITS]) for name in columns["train"]}


def patch_numbers(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The patch of each sample, int `[samples]`, in 0…patches-1: samples of one patch differ in their transform only."""
    codes = np.stack([np.unique(columns[name], return_inverse=True)[1] for name in PATCH])
    return np.unique(codes, axis=1, return_inverse=True)[1].ravel()


def family_folds(families: np.ndarray, labels: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """The fold of each row, int `[rows]`: a family is in one fold, whatever its labels; each label is spread over the folds.

    See `nbjax.partition.joint_folds`: with fewer families of a label than folds there are as many folds as that label has
    families.

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


def cross_validations(program: Program, hypers: Hyper, epochs: int, bank: Bank, folds: int) -> dict[str, pa.Table]:
    """What a study tells of samples that its sessions did not see, beside the test split.

    Returns:
        By name `fold`, with every family held out once, and `random_fold`, with as many folds of patches at random:
        tables of `cross_validate`. The second is what a report that forgets families would print.
    """
    columns = pooled_columns(bank.columns)
    held_out = held_out_folds(columns, folds)
    assignments = {
        "fold": ("every family held out once", held_out),
        "random_fold": ("patches held out at random", random_folds(columns, len(np.unique(held_out)))),
    }
    # Of one size, so that all folds of both run in one compiled program.
    size = len(held_out) - min(int(np.bincount(fold).min()) for _, fold in assignments.values())
    return {
        name: cross_validate(program, hypers, epochs, bank, fold, label, size)
        for name, (label, fold) in assignments.items()
    }


def cross_validate(
    program: Program,
    hypers: Hyper,
    epochs: int,
    bank: Bank,
    fold: np.ndarray,
    label: str = "held out",
    size: int | None = None,
) -> pa.Table:
    """Predictions on every sample of the bank by sessions that were trained on the other folds.

    All three splits are put together. Nothing is chosen here: the learning rate and the number of epochs come from the
    study, and a session keeps its epoch of least training loss.

    Args:
        program: of the study's sessions, which train nothing but a head.
        hypers: one learning rate, and the seeds of the sessions of each fold.
        epochs: of each session.
        bank: of the study.
        fold: of each sample, int `[samples]`, in 0…folds-1.
        label: of the progress bar.
        size: rows that training sets are filled up to; else as many as the greatest has.

    Returns:
        One row a fold's seed and sample, with the columns of the study's test predictions and `fold`.
    """
    columns = pooled_columns(bank.columns)
    samples = Samples(
        jnp.asarray(np.concatenate([bank.inputs[split] for split in SPLITS])), jnp.asarray(columns["label"], jnp.int32)
    )
    folds, sessions = int(fold.max()) + 1, len(hypers.seed)
    train = rows_of_splits([np.flatnonzero(fold != number) for number in range(folds)], size)
    tables = []
    with meter(folds * sessions * epochs, label, "session-epoch") as done:
        for number in range(folds):
            # The training rows stand in the place of validation, so that what is held out chooses nothing.
            some = jax.tree.map(jnp.asarray, on_rows(hypers, train, train, np.asarray([number])))
            for epoch, (last, _) in enumerate(run_epochs(program, TOGETHER, some, epochs, samples, samples)):
                # Else the bar would count what is only asked for.
                states = jax.block_until_ready(last)
                done(sessions if epoch else 0)
            rows = np.flatnonzero(fold == number)
            held_out: dict[str, Any] = {name: values[rows] for name, values in columns.items()}
            logits = np.asarray(best_logits(program, TOGETHER, states, some, NOTHING, samples))[:, rows]
            table = prediction_table(hypers.seed, logits, held_out, rows)
            tables.append(table.append_column("fold", pa.array(np.full(len(table), number, np.int32))))
    return pa.concat_tables(tables)
