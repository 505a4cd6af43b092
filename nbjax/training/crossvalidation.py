"""The same head with every family held out once: how much the score owes to one small test split."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from nbjax.partition import grouped_folds
from nbjax.training.bank import Bank
from nbjax.training.program import NOTHING, Hyper, Program, Samples
from nbjax.training.sessions import TOGETHER, best_logits, run_sessions
from nbjax.training.tables import prediction_table

SPLITS = ("train", "validation", "test")


def family_folds(families: np.ndarray, labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each sample, int `[samples]`: families stay whole, each label is spread over all folds.

    With fewer families of a label than folds there are as many folds as that label has families.

    Args:
        families: names `[samples]`.
        labels: class of each sample `[samples]`.
        folds: wanted.
        seed: of the assignment.
    """
    names = {label: np.unique(families[labels == label], return_counts=True) for label in np.unique(labels)}
    folds = min(folds, *(len(members) for members, _ in names.values()))
    fold = np.zeros(len(families), np.int64)
    for label, (members, counts) in names.items():
        assigned = grouped_folds(counts, folds, seed)
        rows = np.flatnonzero(labels == label)
        fold[rows] = assigned[np.searchsorted(members, families[rows])]
    return fold


def cross_validate(program: Program, hypers: Hyper, epochs: int, bank: Bank, folds: int, seed: int = 0) -> pa.Table:
    """Predictions on every sample of the bank by sessions that saw nothing of its family.

    All three splits are put together and cut into folds of whole families. Nothing is chosen here: the learning rate and
    the number of epochs come from the study, and a session keeps its epoch of least training loss.

    Args:
        program: of the study's sessions, which train nothing but a head.
        hypers: one learning rate, and the seeds of the sessions of each fold.
        epochs: of each session.
        bank: of the study.
        folds: wanted; fewer where a label has fewer families.
        seed: of the folds.

    Returns:
        One row a fold's seed and sample, with the columns of the study's test predictions and `fold`.
    """
    inputs = np.concatenate([bank.inputs[split] for split in SPLITS])
    columns = {name: np.concatenate([bank.columns[split][name] for split in SPLITS]) for name in bank.columns["train"]}
    labels = columns["label"]
    fold_of = family_folds(columns["family"], labels, folds, seed)
    tables = []
    for fold in np.unique(fold_of):
        train = _samples(inputs, labels, fold_of != fold, program.crops)
        # The training samples stand in the place of validation, so that what is held out chooses nothing.
        finished = run_sessions(program, epochs, hypers, train, train)
        rows = np.flatnonzero(fold_of == fold)
        held_out: dict[str, Any] = {name: values[rows] for name, values in columns.items()}
        samples = _samples(inputs, labels, fold_of == fold, program.crops)
        on_device = jax.tree.map(jnp.asarray, hypers)
        logits = np.asarray(best_logits(program, TOGETHER, finished.states, on_device, NOTHING, samples))
        table = prediction_table(hypers.seed, logits, held_out, rows)
        tables.append(table.append_column("fold", pa.array(np.full(len(table), fold, np.int32))))
    return pa.concat_tables(tables)


def _samples(inputs: np.ndarray, labels: np.ndarray, chosen: np.ndarray, crops: int) -> Samples:
    return Samples(jnp.asarray(inputs[np.repeat(chosen, crops)]), jnp.asarray(labels[chosen], jnp.int32))
