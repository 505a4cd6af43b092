"""Scores of many sessions at once, by sample, by patch and by family."""

import numpy as np
import scipy.special

LEVELS = ("sample", "patch", "family")


def level_scores(
    logits: np.ndarray, labels: np.ndarray, patch: np.ndarray, family: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Loss and accuracy of each session, each float64 `[sessions]`, by level.

    `sample`: each transform of a patch counts, as in the paper. `patch`: the mean probability over a patch's samples.
    `family`: the mean probability over a family's patches of one label. Each sample or patch counts once, a family once
    for each of its labels; the class of the highest probability is the predicted one. Losses are cross-entropies in
    nats.

    Args:
        logits: `[sessions, samples, outputs]`, one output for two classes.
        labels: class of each sample, int `[samples]`.
        patch: of each sample, int `[samples]`.
        family: of each sample, int `[samples]`.
    """
    logits = logits.astype(np.float64)
    if logits.shape[2] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=2)
    probabilities = scipy.special.softmax(logits, axis=2)
    scores = {"sample": _scores(probabilities, labels)}
    probabilities, first = _means(probabilities, patch)
    labels, family = labels[first], family[first]
    scores["patch"] = _scores(probabilities, labels)
    # A family's patches of one label are judged together, as in `nbjax.analysis.units`.
    probabilities, first = _means(probabilities, family * (labels.max() + 1) + labels)
    scores["family"] = _scores(probabilities, labels[first])
    return scores


def _means(probabilities: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the members of each group, `[sessions, groups, classes]`, and a member of each."""
    _, first, counts = np.unique(group, return_index=True, return_counts=True)
    together = probabilities[:, np.argsort(group, kind="stable")]
    return np.add.reduceat(together, np.cumsum(counts) - counts, axis=1) / counts[:, None], first


def _scores(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    true = np.take_along_axis(probabilities, labels[None, :, None].astype(np.int64), axis=2)[..., 0]
    tiny = np.finfo(np.float64).tiny
    hits = probabilities.argmax(axis=2) == labels
    return -np.log(np.maximum(true, tiny)).mean(axis=1), hits.mean(axis=1)
