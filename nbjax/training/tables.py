"""A study's tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.special

from nbjax.training.plan import Task
from nbjax.training.session import Metrics


def history_table(task: Task, metrics: Metrics, test: np.ndarray | None = None) -> pa.Table:
    """One row a session and epoch, epochs after a session's stop left out.

    `diverged` marks every row of a session with a loss that is not finite.

    Args:
        task: of the sessions.
        metrics: each `[sessions, epochs + 1]`, the task's repeated sessions included.
        test: loss and accuracy of the test split `[sessions, epochs + 1, 2]`, where they were asked for; they then are
            columns too.
    """
    metrics = Metrics(*(np.asarray(values, np.float32)[: task.sessions] for values in metrics))
    count, epochs = metrics.train_loss.shape
    ran = np.ones((count, epochs), bool)
    if task.program.goal is not None:
        reached = metrics.train_accuracy[:, :-1] >= task.program.goal
        # Epoch 0 comes before training and stops nothing.
        reached[:, :1] = False
        ran[:, 1:] = ~np.logical_or.accumulate(reached, axis=1)
    losses = np.stack([metrics.train_loss, metrics.validation_loss])
    diverged = (~np.isfinite(losses) & ran).any(axis=(0, 2))
    shown = {} if test is None else dict(zip(("test_loss", "test_accuracy"), test[:count].T, strict=True))
    rows = count * epochs
    strategy = task.strategy
    table = pa.table(
        {
            "backbone": [task.backbone] * rows,
            "strategy": [strategy.name] * rows,
            "nonlinearities": np.full(rows, strategy.nonlinearities, np.int32),
            "unfrozen": np.full(rows, strategy.unfrozen, np.int32),
            "learning_rate": np.repeat(task.hypers.learning_rate[:count].astype(str).astype(np.float64), epochs),
            "batch_size": np.full(rows, task.program.batch_size, np.int32),
            "seed": np.repeat(task.hypers.seed[:count], epochs).astype(np.int32),
            "epoch": np.tile(np.arange(epochs, dtype=np.int32), count),
            **{name: values.ravel() for name, values in metrics._asdict().items()},
            **{name: values.T.astype(np.float32).ravel() for name, values in shown.items()},
            "diverged": np.repeat(diverged, epochs),
        }
    )
    return table.filter(pa.array(ran.ravel()))


def prediction_table(
    seeds: np.ndarray, logits: np.ndarray, columns: Mapping[str, np.ndarray], numbers: np.ndarray
) -> pa.Table:
    """Predictions of some sessions: one row a session and sample.

    Args:
        seeds: of the sessions, int `[sessions]`.
        logits: `[sessions, samples, outputs]`.
        columns: of the samples, each `[samples]`: slide, family, label, transform, x, y.
        numbers: of the samples, int `[samples]`.

    Returns:
        Columns seed, sample, those given, probability (of class 1; of every class, `probabilities`, for more than two)
        and loss (in nats).
    """
    logits, labels = logits.astype(np.float64), columns["label"]
    if logits.shape[2] == 1:
        logits = logits[..., 0]
        losses = np.logaddexp(0, logits) - labels * logits
        probabilities: list[dict[str, Any]] = [
            {"probability": row.astype(np.float32)} for row in scipy.special.expit(logits)
        ]
    else:
        logarithms = scipy.special.log_softmax(logits, axis=2)
        losses = -np.take_along_axis(logarithms, labels[None, :, None].astype(int), axis=2)[..., 0]
        probabilities = [{"probabilities": list(row)} for row in np.exp(logarithms).astype(np.float32)]
    return pa.concat_tables(
        pa.table(
            {
                "seed": np.full(len(numbers), seed, np.int32),
                "sample": numbers.astype(np.int32),
                **{name: columns[name] for name in ("slide", "family", "label", "transform", "x", "y")},
                **probabilities[row],
                "loss": losses[row].astype(np.float32),
            }
        )
        for row, seed in enumerate(seeds)
    )
