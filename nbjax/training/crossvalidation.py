"""The same head with every family held out once: how much the score owes to one small test split."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from nbjax.partition import grouped_folds
from nbjax.training.bank import Bank
from nbjax.training.session import Samples, Settings
from nbjax.training.sessions import predict, run_sessions

FOLDS = 5
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


def cross_validate(
    settings: Settings, learning_rate: float, epochs: int, seeds: range, bank: Bank, seed: int = 0
) -> pa.Table:
    """Predictions on every sample of the bank by sessions that saw nothing of its family.

    All three splits are put together and cut into folds of whole families. Nothing is chosen here: the learning rate and
    the number of epochs come from the study, and a session keeps its epoch of least training loss.

    Args:
        settings: of the study's sessions.
        learning_rate: of the chosen cell.
        epochs: of each session.
        seeds: of the sessions of each fold.
        bank: of the study.
        seed: of the folds.

    Returns:
        One row a fold's seed and sample, with the columns of the study's test predictions and `fold`.
    """
    features = np.concatenate([bank.features[split] for split in SPLITS])
    columns = {name: np.concatenate([bank.columns[split][name] for split in SPLITS]) for name in bank.columns["train"]}
    labels = columns["label"]
    folds = family_folds(columns["family"], labels, FOLDS, seed)
    tables = []
    for fold in np.unique(folds):
        train = _samples(features, labels, folds != fold)
        # The training samples stand in the place of validation, so that what is held out chooses nothing.
        sessions = run_sessions(settings, epochs, [learning_rate], seeds, train, train)
        rows = np.flatnonzero(folds == fold)
        held_out: dict[str, Any] = {name: values[rows] for name, values in columns.items()}
        everyone = np.arange(len(sessions.seeds))
        table = predict(sessions, everyone, _samples(features, labels, folds == fold), held_out, rows)
        tables.append(table.append_column("fold", pa.array(np.full(len(table), fold, np.int32))))
    return pa.concat_tables(tables)


def _samples(features: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> Samples:
    return Samples(jnp.asarray(features[rows]), jnp.asarray(labels[rows], jnp.int32))
