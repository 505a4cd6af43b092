"""Baselines: a linear model or a support vector machine on fixed descriptors, on the splits of a study.

Each is fitted on the training split, its regularisation chosen and, of a support vector machine, its probabilities
calibrated on the validation split; the test split is predicted once. A row of descriptors may stand for several samples
(a patch under its transforms) and then weighs as many.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from nbjax.baselines.descriptors import Descriptors
from nbjax.progress import meter
from nbjax.training.crossvalidation import INNER_FOLDS, family_folds

# C of a regression on the values of a support vector machine: next to no penalty.
WEAK = 1e6


class Method(NamedTuple):
    """A baseline.

    Attributes:
        name: in tables.
        text: for people.
        descriptors: `features`, `patterns` or `words`.
        kind: of classifier: `logistic`, `linear_svm` or `radial_svm`.
        penalties: values of C, ascending: the inverse of the regularisation.
    """

    name: str
    text: str
    descriptors: str
    kind: str
    penalties: tuple[float, ...]


# A radial kernel for few dimensions, a linear one for the many of a backbone, where it is many times faster. With ever
# less C a support vector machine only changes its scale, which calibration undoes: the least C here is as good as none
# less.
METHODS = (
    Method(
        "features_logistic",
        "frozen features, logistic regression",
        "features",
        "logistic",
        (1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
    ),
    Method("features_svm", "frozen features, linear SVM", "features", "linear_svm", (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)),
    Method("patterns_svm", "local binary patterns, SVM", "patterns", "radial_svm", (0.01, 0.1, 1.0, 10.0, 100.0)),
    Method("words_svm", "SIFT visual words, SVM", "words", "radial_svm", (0.01, 0.1, 1.0, 10.0, 100.0)),
)


class Rows(NamedTuple):
    """Descriptors with their labels.

    Attributes:
        inputs: float `[rows, n]`.
        labels: class of each, int `[rows]`.
        families: name of each, `[rows]`.
        weights: samples that each stands for, `[rows]`.
    """

    inputs: np.ndarray
    labels: np.ndarray
    families: np.ndarray
    weights: np.ndarray


class Fitted(NamedTuple):
    """A fitted baseline.

    Attributes:
        scaler: of its inputs.
        model: gives probabilities of scaled inputs.
        penalty: the C it was fitted with.
        validation_loss: cross-entropy in nats by which C was chosen; None where it was given.
    """

    scaler: StandardScaler
    model: Any
    penalty: float
    validation_loss: float | None


def fit_on_splits(method: Method, train: Rows, validation: Rows) -> Fitted:
    """Fits on the training rows with each C, and keeps the one of least validation loss, the smallest of equals."""
    scaler = _scaler(train)
    # Repeated, since scikit-learn takes no weights for the calibration of a fitted estimator.
    repeats = validation.weights.astype(int)
    unseen, labels = (
        np.repeat(_scaled(scaler, validation.inputs), repeats, axis=0),
        np.repeat(validation.labels, repeats),
    )
    inputs = _scaled(scaler, train.inputs)
    fitted, losses, every = [], [], np.arange(len(labels))
    for penalty in method.penalties:
        model = classifier(method.kind, penalty).fit(inputs, train.labels, sample_weight=train.weights)
        if method.kind != "logistic":
            # Platt's sigmoid, one a class; the model is not fitted again, so that all rows may calibrate it at once.
            model = CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid", cv=[(every, every)])
            model = model.fit(unseen, labels)
        loss = float(log_loss(labels, model.predict_proba(unseen), labels=model.classes_))
        fitted.append(Fitted(scaler, model, penalty, loss))
        losses.append(loss)
    return fitted[int(np.argmin(losses))]


def choose_penalty(method: Method, train: Rows, seed: int = 0, done: Callable[[float], None] = lambda _: None) -> float:
    """The C of least loss where folds of the training families are held out in turn, the smallest of equals.

    `done` is told of every such fold what share of all of them it is.
    """
    fold, decisions = family_folds(train.families, train.labels, INNER_FOLDS, seed), {}
    for number in np.unique(fold):
        inside, outside = _some(train, fold != number), _some(train, fold == number)
        scaler = _scaler(inside)
        inputs, unseen = _scaled(scaler, inside.inputs), _scaled(scaler, outside.inputs)
        for penalty in method.penalties:
            model = classifier(method.kind, penalty).fit(inputs, inside.labels, sample_weight=inside.weights)
            values = model.predict_proba(unseen) if method.kind == "logistic" else model.decision_function(unseen)
            decisions[penalty, number] = values.reshape(len(unseen), -1)
        done(1 / (fold.max() + 1))
    order = np.argsort(np.concatenate([np.flatnonzero(fold == number) for number in np.unique(fold)]))
    losses = []
    for penalty in method.penalties:
        values = np.concatenate([decisions[penalty, number] for number in np.unique(fold)])[order]
        if method.kind != "logistic":
            # Of all folds together: one may lack a label, and nothing could be calibrated on it alone.
            platt = LogisticRegression(C=WEAK, max_iter=5000)
            values = platt.fit(values, train.labels, sample_weight=train.weights).predict_proba(values)
        losses.append(log_loss(train.labels, values, sample_weight=train.weights))
    return method.penalties[int(np.argmin(losses))]


def fit_alone(method: Method, penalty: float, train: Rows, seed: int = 0) -> Fitted:
    """Fits with one C where there is no validation split: inner folds of training families calibrate a support vector
    machine.
    """
    scaler = _scaler(train)
    model = classifier(method.kind, penalty)
    if method.kind != "logistic":
        fold = family_folds(train.families, train.labels, INNER_FOLDS, seed)
        cuts = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in np.unique(fold)]
        model = CalibratedClassifierCV(model, method="sigmoid", cv=cuts, ensemble=False)
    model = model.fit(_scaled(scaler, train.inputs), train.labels, sample_weight=train.weights)
    return Fitted(scaler, model, penalty, None)


def _scaler(train: Rows) -> StandardScaler:
    return StandardScaler().fit(train.inputs.astype(np.float64), sample_weight=train.weights)


def _scaled(scaler: StandardScaler, inputs: np.ndarray) -> np.ndarray:
    """In float64: of float32 scikit-learn's probabilities do not sum to 1."""
    scaled: np.ndarray = scaler.transform(inputs.astype(np.float64))
    return scaled


def classifier(kind: str, penalty: float) -> Any:
    """scikit-learn's estimator for inputs of mean 0 and variance 1."""
    if kind == "logistic":
        return LogisticRegression(C=penalty, max_iter=5000)
    return LinearSVC(C=penalty, dual=False, max_iter=5000) if kind == "linear_svm" else SVC(C=penalty, gamma="auto")


def logits(fitted: Fitted, inputs: np.ndarray) -> np.ndarray:
    """What `nbjax.training.tables.prediction_table` takes of one session: `[rows, 1]` for two classes, else `[rows,
    classes]`.
    """
    return _logits_of(fitted.model.predict_proba(_scaled(fitted.scaler, inputs)))


def _logits_of(probabilities: np.ndarray) -> np.ndarray:
    """Of two classes the second's logit `[rows, 1]`, else logarithms `[rows, classes]`."""
    logarithms: np.ndarray = np.log(np.maximum(probabilities, 1e-12))
    return logarithms[:, 1:] - logarithms[:, :1] if probabilities.shape[1] == 2 else logarithms


def predict_test(
    method: Method, descriptors: Descriptors, split: np.ndarray, labels: np.ndarray, families: np.ndarray
) -> tuple[Fitted, np.ndarray]:
    """Fits a baseline on a dataset's splits, and predicts the test samples.

    Args:
        method: the baseline.
        descriptors: of all samples.
        split: of each sample: train, validation or test, `[samples]`.
        labels: class of each sample `[samples]`.
        families: names `[samples]`.

    Returns:
        What was fitted, and the test samples' logits in their order.
    """
    of_row = split[_first(descriptors.row)]
    inputs = descriptors.encode(of_row == "train")
    rows = _rows(descriptors.row, inputs, labels, families)
    fitted = fit_on_splits(method, *(_some(rows, of_row == one) for one in ("train", "validation")))
    return fitted, logits(fitted, inputs[descriptors.row[split == "test"]])


def predict_folds(
    method: Method, descriptors: Descriptors, fold: np.ndarray, labels: np.ndarray, families: np.ndarray
) -> np.ndarray:
    """Logits of every sample by a baseline that saw nothing of its fold: C, codebook, scaling and calibration included.

    Args:
        method: the baseline.
        descriptors: of all samples.
        fold: of each sample, as `nbjax.training.crossvalidation.family_folds` gives it.
        labels: class of each sample `[samples]`.
        families: names `[samples]`.
    """
    of_row = fold[_first(descriptors.row)]
    predicted: list[np.ndarray] = []
    order: list[np.ndarray] = []
    # Of a fold's work the choice of C is most.
    folds, share = np.unique(fold), 0.8
    with meter(len(folds), f"{method.name}, held out", "fold") as done:
        for number in folds:
            inputs = descriptors.encode(of_row != number)
            rows = _rows(descriptors.row, inputs, labels, families)
            train = _some(rows, of_row != number)
            penalty = choose_penalty(method, train, done=lambda part: done(share * part))
            fitted = fit_alone(method, penalty, train)
            order.append(np.flatnonzero(fold == number))
            predicted.append(logits(fitted, inputs[descriptors.row[order[-1]]]))
            done(1 - share)
    return np.concatenate(predicted)[np.argsort(np.concatenate(order))]


def _first(row: np.ndarray) -> np.ndarray:
    """A sample of each row."""
    return np.unique(row, return_index=True)[1]


def _rows(row: np.ndarray, inputs: np.ndarray, labels: np.ndarray, families: np.ndarray) -> Rows:
    first = _first(row)
    return Rows(inputs, labels[first], families[first], np.bincount(row).astype(np.float64))


def _some(rows: Rows, chosen: np.ndarray) -> Rows:
    return Rows(*(values[chosen] for values in rows))
