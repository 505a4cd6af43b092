"""Which families and patches are classified wrongly, by sessions that did not see them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.analysis.units import placed_units_at


class _Patches(NamedTuple):
    """The patches of a table of predictions, an array `[patches]` each.

    Attributes:
        slide: name.
        family: name.
        x: of the upper left corner on the slide, pixels.
        y: likewise.
        label: class.
        answered: the most probable class, of the mean over sessions.
        confidence: mean probability of that class.
        right: share of the sessions whose own answer is the label.
    """

    slide: np.ndarray
    family: np.ndarray
    x: np.ndarray
    y: np.ndarray
    label: np.ndarray
    answered: np.ndarray
    confidence: np.ndarray
    right: np.ndarray


def misclassified_table(table: pa.Table, classes: Sequence[str]) -> pa.Table:
    """Patches whose answer, of the mean probability over sessions and transforms, is not their label.

    The families with the largest share of such patches come first, of equal ones that with more of them; within a
    family the surest mistake.

    Args:
        table: a row a seed and sample, with slide, x and y: best the predictions of families held out in turn.
        classes: names of the labels.

    Returns:
        Columns family, slide, x, y, label, answered (names), confidence (mean probability of the answer, in (0, 1]) and
        sessions_wrong (share of the sessions that answer something else than the label, in [0, 1]).

    Raises:
        InputError: a column is missing, or the seeds did not predict the same samples.
    """
    patches = _patches(table, len(classes))
    names, member = np.unique(patches.family, return_inverse=True)
    wrong = patches.answered != patches.label
    number = np.bincount(member, weights=wrong, minlength=len(names))
    share = number / np.bincount(member)
    order = np.lexsort(
        (patches.x, patches.y, patches.slide, -patches.confidence, member, -number[member], -share[member])
    )
    order = order[wrong[order]]
    ordered = _Patches(*(values[order] for values in patches))
    return pa.table(
        {
            "family": pa.array(ordered.family.tolist(), pa.string()),
            "slide": pa.array(ordered.slide.tolist(), pa.string()),
            "x": pa.array(ordered.x, pa.int64()),
            "y": pa.array(ordered.y, pa.int64()),
            "label": pa.array([classes[label] for label in ordered.label], pa.string()),
            "answered": pa.array([classes[label] for label in ordered.answered], pa.string()),
            "confidence": pa.array(ordered.confidence, pa.float64()),
            "sessions_wrong": pa.array(1 - ordered.right, pa.float64()),
        }
    )


def family_table(table: pa.Table, classes: Sequence[str]) -> pa.Table:
    """How each family is classified, the least accurate first, of equal ones that with more patches.

    Args:
        table: as for `misclassified_table`.
        classes: names of the labels.

    Returns:
        A row a family, one with several labels included: family, labels (names, `A + B`), slides and patches (how
        many), misclassified (patches in `misclassified_table`) and accuracy (share of the patches classified rightly,
        mean over sessions).

    Raises:
        InputError: as `misclassified_table`.
    """
    patches = _patches(table, len(classes))
    names, member, count = np.unique(patches.family, return_inverse=True, return_counts=True)
    wrong = np.bincount(member, weights=patches.answered != patches.label).astype(np.int64)
    accuracy = np.bincount(member, weights=patches.right) / count
    order = np.lexsort((np.arange(len(names)), -count, accuracy))
    of_family = [np.flatnonzero(member == family) for family in order]
    return pa.table(
        {
            "family": pa.array(names[order].tolist(), pa.string()),
            "labels": [" + ".join(classes[label] for label in np.unique(patches.label[rows])) for rows in of_family],
            "slides": pa.array([len(np.unique(patches.slide[rows])) for rows in of_family], pa.int64()),
            "patches": pa.array(count[order], pa.int64()),
            "misclassified": pa.array(wrong[order], pa.int64()),
            "accuracy": pa.array(accuracy[order], pa.float64()),
        }
    )


def _patches(table: pa.Table, classes: int) -> _Patches:
    units, places = placed_units_at(table, "patch", classes)
    mean = units.probabilities.mean(axis=0)
    return _Patches(
        **{name: places[name] for name in ("slide", "family", "x", "y", "label")},
        answered=mean.argmax(axis=1),
        confidence=mean.max(axis=1),
        right=units.hits.mean(axis=0),
    )
