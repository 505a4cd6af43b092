"""What a score is taken over: samples, patches, slides or families of a table of predictions."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.errors import InputError

# What tells one unit from another at each level, and what it is averaged from.
LEVELS: dict[str, tuple[tuple[str, ...], str]] = {
    "sample": (("sample",), ""),
    "patch": (("slide", "x", "y"), "sample"),
    "slide": (("slide",), "patch"),
    "family": (("family",), "patch"),
}
# A wrong answer more certain than this counts as just this certain, so that one prediction cannot make a mean infinite.
LEAST = float(np.finfo(np.float64).tiny)


class Units(NamedTuple):
    """Predictions of some sessions at one level, the units in the order of their label, family and key.

    Attributes:
        level: of `LEVELS`.
        seeds: of the sessions, int `[sessions]`, ascending.
        labels: int `[units]`.
        families: names `[units]`.
        probabilities: float64 `[sessions, units, classes]`; each unit's mean over what it consists of.
        losses: float64 `[sessions, units]`, in nats: minus the logarithm of the mean probability of the label.
    """

    level: str
    seeds: np.ndarray
    labels: np.ndarray
    families: np.ndarray
    probabilities: np.ndarray
    losses: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """Class `[sessions, units]`: the most probable, of equally probable ones the first."""
        return self.probabilities.argmax(axis=2)

    @property
    def hits(self) -> np.ndarray:
        """1.0 where the predicted class is the label, else 0.0: `[sessions, units]`."""
        return (self.predicted == self.labels).astype(np.float64)

    @property
    def confidence(self) -> np.ndarray:
        """Probability of the predicted class, in [1 / classes, 1]: `[sessions, units]`."""
        return self.probabilities.max(axis=2)

    @property
    def brier(self) -> np.ndarray:
        """Squared error of the probabilities `[sessions, units]`: of class 1, or summed over more than two classes."""
        classes = self.probabilities.shape[2]
        squares = ((self.probabilities - np.eye(classes)[self.labels]) ** 2).sum(axis=2)
        return squares / 2 if classes == 2 else squares


def ensemble(units: Units) -> Units:
    """The sessions as one prediction: the mean of their probabilities, as if of one session with the first's seed."""
    probabilities = units.probabilities.mean(axis=0, keepdims=True)
    # The loss keeps what a probability next to 0 or 1 loses.
    losses = -np.log(np.maximum(np.exp(-units.losses).mean(axis=0, keepdims=True), LEAST))
    return units._replace(seeds=units.seeds[:1], probabilities=probabilities, losses=losses)


def units_at(table: pa.Table, level: str, classes: int) -> Units:
    """Predictions averaged up to one level.

    A test split may hold a patch under several transforms. A patch's probability is the mean over its samples, so that
    every patch counts once; a slide's and a family's is the mean over their patches. A unit has one true label: a slide
    or family with patches of two labels is two units, one for each, which `families` names alike. What is independent
    is the family: intervals (`nbjax.analysis.uncertainty`) count it once. The order of rows changes nothing.

    Args:
        table: a row a seed and sample: seed, sample, family, label, loss, probability (of class 1) or probabilities (of
            every class); above samples also slide, x and y.
        level: `sample`, `patch`, `slide` or `family`.
        classes: how many there are.

    Raises:
        InputError: unknown level, a column is missing, or the seeds did not predict the same samples.
    """
    return placed_units_at(table, level, classes)[0]


def placed_units_at(table: pa.Table, level: str, classes: int) -> tuple[Units, dict[str, np.ndarray]]:
    """`units_at`, and where each unit is: label and family, above samples slide, x and y too, by name, each `[units]`.

    Of a unit of several patches, slide, x and y are those of one of them.
    """
    if level not in LEVELS:
        raise InputError(f"level: found {level!r}; expected one of {', '.join(LEVELS)}.")
    needed = ["seed", "sample", "family", "label", "loss", "probability" if classes == 2 else "probabilities"]
    needed += [] if level == "sample" else ["slide", "x", "y"]
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise InputError(f"predictions have no column {', '.join(missing)}, which the {level} level needs.")
    table = table.sort_by([("seed", "ascending"), ("sample", "ascending")])
    seeds = np.unique(table["seed"].to_numpy())
    samples = table["sample"].to_numpy()
    per_session = len(samples) // max(len(seeds), 1)
    whole = len(samples) == len(seeds) * per_session > 0
    if not whole or (samples.reshape(len(seeds), -1) != samples[:per_session]).any():
        raise InputError(
            f"{len(samples)} predictions of {len(seeds)} seeds are not of the same samples; expected one a seed and "
            "sample; run the study again."
        )
    values = _values(table, classes).reshape(len(seeds), per_session, classes + 1)
    columns = {name: np.asarray(table[name][:per_session].to_pylist()) for name in needed if name not in NOT_KEYS}
    columns, values = _means(columns, values, "sample")
    for step in ("patch", level):
        if level != "sample":
            columns, values = _means(columns, values, step)
    losses = -np.log(np.maximum(values[..., classes], LEAST))
    units = Units(level, seeds, columns["label"], columns["family"], values[..., :classes], losses)
    return units, columns


NOT_KEYS = ("seed", "loss", "probability", "probabilities")


def _values(table: pa.Table, classes: int) -> np.ndarray:
    """Probability of every class, then that of the label: `[rows, classes + 1]`.

    The label's is taken from the loss, which keeps what a float32 probability next to 0 or 1 loses.
    """
    if classes == 2:
        last = table["probability"].to_numpy().astype(np.float64)
        probabilities = np.stack([1 - last, last], axis=1)
    else:
        probabilities = np.asarray(table["probabilities"].to_pylist(), np.float64)
    return np.concatenate([probabilities, np.exp(-table["loss"].to_numpy().astype(np.float64))[:, None]], axis=1)


def _means(columns: dict[str, np.ndarray], values: np.ndarray, level: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Units of one level from those of a finer one; a unit that had two labels or families counts as two."""
    names = ("label", "family", *(name for name in LEVELS[level][0] if name != "family"))
    codes = np.stack([np.unique(columns[name], return_inverse=True)[1] for name in names])
    _, first, member, counts = np.unique(codes, axis=1, return_index=True, return_inverse=True, return_counts=True)
    together = values[:, np.argsort(member.ravel(), kind="stable")]
    sums = np.add.reduceat(together, np.cumsum(counts) - counts, axis=1)
    return {name: column[first] for name, column in columns.items()}, sums / counts[:, None]
