"""A study: a grid of sessions on one feature bank, its tables on disk."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from nbjax.analysis.selection import choose_cell, summarise_cells
from nbjax.config import StudyConfig
from nbjax.files import replacing
from nbjax.training.bank import Bank
from nbjax.training.crossvalidation import cross_validate
from nbjax.training.session import Samples, Settings
from nbjax.training.sessions import Sessions, predict, run_sessions

MOMENTUM = 0.9
HISTORY = "sessions.parquet"
PREDICTIONS = "test_predictions.parquet"
FOLDS = "fold_predictions.parquet"


def samples(bank: Bank, split: str) -> Samples:
    """One split of the bank on the device."""
    return Samples(jnp.asarray(bank.features[split]), jnp.asarray(bank.columns[split]["label"], jnp.int32))


def settings_of(config: StudyConfig, bank: Bank, classes: int) -> Settings:
    """What the study's sessions are compiled with."""
    return Settings(
        feature_size=bank.features["train"].shape[1],
        outputs=1 if classes == 2 else classes,
        nonlinearities=0,
        batch_size=config.batch_size,
        momentum=MOMENTUM,
        criterion=config.criterion,
    )


def history_table(config: StudyConfig, sessions: Sessions) -> pa.Table:
    """One row a session and epoch; `diverged` marks every row of a session with a loss that is not finite."""
    count, epochs = sessions.metrics.train_loss.shape
    metrics = {name: np.asarray(values, np.float32).ravel() for name, values in sessions.metrics._asdict().items()}
    finite = np.isfinite(sessions.metrics.train_loss) & np.isfinite(sessions.metrics.validation_loss)
    rows = count * epochs
    return pa.table(
        {
            "backbone": [config.backbone] * rows,
            "strategy": ["straightforward"] * rows,
            "nonlinearities": np.zeros(rows, np.int32),
            "unfrozen": np.zeros(rows, np.int32),
            "learning_rate": np.repeat(sessions.learning_rates, epochs),
            "batch_size": np.full(rows, config.batch_size, np.int32),
            "seed": np.repeat(sessions.seeds, epochs).astype(np.int32),
            "epoch": np.tile(np.arange(epochs, dtype=np.int32), count),
            **metrics,
            "diverged": np.repeat(~finite.all(axis=1), epochs),
        }
    )


def run_study(config: StudyConfig, bank: Bank, classes: int, folder: str | Path) -> dict[str, Any]:
    """Trains the grid, chooses a cell by training and validation data, looks at the test split once, cross-validates.

    Writes `sessions.parquet`, `test_predictions.parquet` and `fold_predictions.parquet` into `folder`.

    Returns:
        The chosen cell's values: learning_rate, batch_size and so on, and `epochs`, the median of its kept epochs.
    """
    folder = Path(folder)
    settings, seeds = settings_of(config, bank, classes), range(config.seeds)
    train, validation, test = (samples(bank, split) for split in ("train", "validation", "test"))
    sessions = run_sessions(settings, config.epochs, config.learning_rates, seeds, train, validation)
    history = history_table(config, sessions)
    write_table(history, folder / HISTORY)

    chosen = choose_cell(summarise_cells(history, config.criterion)).values
    of_cell = np.flatnonzero(sessions.learning_rates == chosen["learning_rate"])
    columns = bank.columns["test"]
    write_table(predict(sessions, of_cell, test, columns, np.arange(len(columns["label"]))), folder / PREDICTIONS)

    epochs = max(1, int(np.median(sessions.best_epochs[of_cell])))
    write_table(cross_validate(settings, chosen["learning_rate"], epochs, seeds, bank), folder / FOLDS)
    return {**chosen, "epochs": epochs}


def write_table(table: pa.Table, path: Path) -> None:
    """Writes Parquet, whole or not at all."""
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)
