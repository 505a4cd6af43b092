"""A study: a grid of sessions on one feature bank, its tables on disk."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from nbjax.analysis.selection import choose_cell, summarise_cells
from nbjax.config import StudyConfig
from nbjax.files import replacing
from nbjax.models.heads import apply_head
from nbjax.training.bank import Bank
from nbjax.training.session import Samples, Settings, sample_losses
from nbjax.training.sessions import Sessions, run_sessions

MOMENTUM = 0.9
HISTORY = "sessions.parquet"
PREDICTIONS = "test_predictions.parquet"


def samples(bank: Bank, split: str) -> Samples:
    """One split of the bank on the device."""
    return Samples(jnp.asarray(bank.features[split]), jnp.asarray(bank.columns[split]["label"], jnp.int32))


def train_grid(config: StudyConfig, bank: Bank, classes: int) -> Sessions:
    """Runs every learning rate with seeds 0 to `config.seeds - 1` in one compiled program."""
    settings = Settings(
        feature_size=bank.features["train"].shape[1],
        outputs=1 if classes == 2 else classes,
        nonlinearities=0,
        batch_size=config.batch_size,
        momentum=MOMENTUM,
        criterion=config.criterion,
    )
    rates, seeds = config.learning_rates, range(config.seeds)
    return run_sessions(settings, config.epochs, rates, seeds, samples(bank, "train"), samples(bank, "validation"))


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


def test_table(sessions: Sessions, learning_rate: float, bank: Bank) -> pa.Table:
    """Predictions on the test split by the chosen cell's sessions, each at its own kept epoch: a row a seed and sample."""
    chosen = np.flatnonzero(sessions.learning_rates == learning_rate)
    params = jax.tree.map(lambda leaf: leaf[chosen], sessions.best_params)
    test = samples(bank, "test")
    logits = jax.jit(jax.vmap(apply_head, (0, None)))(params, test.features)
    losses = np.asarray(jax.vmap(sample_losses, (0, None))(logits, test.labels))
    return pa.concat_tables(
        pa.table(
            {
                "seed": np.full(len(test.labels), sessions.seeds[session], np.int32),
                "sample": np.arange(len(test.labels), dtype=np.int32),
                **{name: bank.columns["test"][name] for name in ("slide", "family", "transform", "x", "y")},
                "label": np.asarray(test.labels),
                **_probabilities(np.asarray(logits[row])),
                "loss": losses[row],
            }
        )
        for row, session in enumerate(chosen)
    )


def _probabilities(logits: np.ndarray) -> dict[str, Any]:
    """Of class 1 for one logit a sample, else of every class."""
    if logits.shape[1] == 1:
        return {"probability": np.asarray(jax.nn.sigmoid(logits[:, 0]))}
    return {"probabilities": list(np.asarray(jax.nn.softmax(logits, axis=-1)))}


def run_study(config: StudyConfig, bank: Bank, classes: int, folder: str | Path) -> dict[str, Any]:
    """Trains the grid, chooses a cell by training and validation data, then looks at the test split once.

    Writes `sessions.parquet` and `test_predictions.parquet` into `folder`.

    Returns:
        The chosen cell's values: learning_rate, batch_size and so on.
    """
    sessions = train_grid(config, bank, classes)
    history = history_table(config, sessions)
    write_table(history, Path(folder) / HISTORY)
    chosen = choose_cell(summarise_cells(history, config.criterion)).values
    write_table(test_table(sessions, chosen["learning_rate"], bank), Path(folder) / PREDICTIONS)
    return chosen


def write_table(table: pa.Table, path: Path) -> None:
    """Writes Parquet, whole or not at all."""
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)
