import numpy as np
import pytest
import sklearn.linear_model
import sklearn.metrics
import sklearn.model_selection
import sklearn.pipeline
import sklearn.preprocessing
import sklearn.svm
from scipy.special import expit, softmax

from nbjax.baselines.codebook import fit_codebook, word_frequencies
from nbjax.baselines.descriptors import Descriptors, word_descriptors
from nbjax.baselines.methods import (
    METHODS,
    Method,
    Rows,
    choose_penalty,
    fit_alone,
    fit_on_splits,
    logits,
    predict_folds,
    predict_test,
)
from nbjax.errors import InputError
from nbjax.training.crossvalidation import INNER_FOLDS, family_folds

LOGISTIC = Method("lr", "", "features", "logistic", (1e-3, 1e-1, 10.0))
RADIAL = Method("svm", "", "patterns", "radial_svm", (0.1, 1.0))


def draw(seed, count, classes=2, distance=1.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    inputs = rng.normal(size=(count, 12)).astype(np.float32)
    inputs[np.arange(count), labels] += distance
    return Rows(
        inputs, labels, np.array([f"f{row // 6 % 5}/{label}" for row, label in enumerate(labels)]), np.ones(count)
    )


def probabilities(found):
    return np.stack([1 - expit(found[:, 0]), expit(found[:, 0])], 1) if found.shape[1] == 1 else softmax(found, axis=1)


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_regression_is_scikit_learns_with_the_best_c_of_the_validation_split(classes):
    train, validation, test = (draw(seed, 90, classes) for seed in range(3))
    best = None
    for c in LOGISTIC.penalties:
        model = sklearn.linear_model.LogisticRegression(C=c, max_iter=5000)
        pipe = sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(), model)
        pipe.fit(train.inputs.astype(float), train.labels)
        loss = sklearn.metrics.log_loss(validation.labels, pipe.predict_proba(validation.inputs.astype(float)))
        best = min(best or (np.inf,), (loss, c, pipe), key=lambda one: one[0])
    fitted = fit_on_splits(LOGISTIC, train, validation)
    assert fitted.penalty == best[1]
    assert fitted.validation_loss == pytest.approx(best[0])
    expected = best[2].predict_proba(test.inputs.astype(float))
    np.testing.assert_allclose(probabilities(logits(fitted, test.inputs)), expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("classes", [2, 3])
def test_every_kind_predicts_and_is_calibrated_on_validation_alone(method, classes):
    train, validation, test = (draw(seed, 120, classes, distance=2.0) for seed in range(3))
    fitted = fit_on_splits(method, train, validation)
    found = logits(fitted, test.inputs)
    assert found.shape == (120, 1 if classes == 2 else 3)
    shares = probabilities(found)
    assert (shares.argmax(axis=1) == test.labels).mean() > 0.75
    assert sklearn.metrics.log_loss(test.labels, shares) < 0.8 * np.log(classes)


def test_platts_sigmoid_turns_a_decision_of_a_machine_into_a_probability():
    train, validation, test = (draw(seed, 120) for seed in range(3))
    fitted = fit_on_splits(RADIAL._replace(penalties=(1.0,)), train, validation)
    scaler = sklearn.preprocessing.StandardScaler().fit(train.inputs.astype(float))
    machine = sklearn.svm.SVC(C=1.0).fit(scaler.transform(train.inputs.astype(float)), train.labels)
    decisions = machine.decision_function(scaler.transform(test.inputs.astype(float)))
    slope, shift = np.polyfit(decisions, logits(fitted, test.inputs)[:, 0], 1)
    np.testing.assert_allclose(logits(fitted, test.inputs)[:, 0], slope * decisions + shift, atol=1e-6)
    assert slope > 0


@pytest.mark.parametrize("method", [LOGISTIC, RADIAL])
def test_a_weight_is_a_repeated_row(method):
    train, validation, test = (draw(seed, 60) for seed in range(3))
    repeats = np.random.default_rng(3).integers(1, 4, 60)
    repeated = [Rows(*(np.repeat(values, repeats, axis=0) for values in rows)) for rows in (train, validation)]
    weighted = [rows._replace(weights=repeats.astype(float)) for rows in (train, validation)]
    one, other = (fit_on_splits(method, *rows) for rows in (weighted, repeated))
    assert one.penalty == other.penalty
    np.testing.assert_allclose(logits(one, test.inputs), logits(other, test.inputs), atol=5e-3)


def test_held_out_families_change_no_prediction_of_their_own_fold():
    rows = draw(0, 120)
    fold = family_folds(rows.families, rows.labels, 3, 0)
    for method in (LOGISTIC, RADIAL):
        known = (fold, rows.labels, rows.families)
        found = predict_folds(method, Descriptors(lambda _: rows.inputs, np.arange(120)), *known)
        here = np.flatnonzero(fold == 1)
        alone = Rows(*(values[fold != 1] for values in rows))
        fitted = fit_alone(method, choose_penalty(method, alone), alone)
        np.testing.assert_allclose(found[here], logits(fitted, rows.inputs[here]), atol=1e-9)
        changed = rows.labels.copy()
        changed[here] = 1 - changed[here]
        again = predict_folds(method, Descriptors(lambda _: rows.inputs, np.arange(120)), fold, changed, rows.families)
        np.testing.assert_array_equal(found[here], again[here])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("classes", [2, 3])
def test_inner_folds_that_lack_a_label_choose_all_the_same(method, classes):
    """Three families a label: without one of them, inner folds lack its label."""
    rng = np.random.default_rng(0)
    family = np.repeat(np.arange(3 * classes), 4)
    labels, names = family // 3, np.char.mod("f%d", family)
    rows = Rows(rng.normal(size=(len(family), 6)) + labels[:, None], labels, names, np.ones(len(family)))
    train = Rows(*(values[family > 0] for values in rows))
    inner = family_folds(train.families, train.labels, INNER_FOLDS)
    assert any(len(set(train.labels[inner == one])) < classes for one in set(inner))
    assert choose_penalty(method, train) in method.penalties
    fold = family_folds(names, labels, 3, 0)
    found = predict_folds(method, Descriptors(lambda _: rows.inputs, np.arange(len(family))), fold, labels, names)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("method", [LOGISTIC, RADIAL])
def test_a_validation_split_with_one_sample_of_a_label_chooses(method):
    train, validation = draw(0, 60), draw(1, 60)
    some = np.flatnonzero((validation.labels == 0) | (np.arange(60) == 1))
    fitted = fit_on_splits(method, train, Rows(*(values[some] for values in validation)))
    assert np.isfinite(logits(fitted, train.inputs)).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_a_regression_of_held_out_families_is_scikit_learns_with_a_c_chosen_inside(classes):
    for seed, distance in ((0, 1.5), (1, 0.6)):
        rows = draw(seed, 180, classes, distance)
        fold = family_folds(rows.families, rows.labels, 4, 0)
        described = Descriptors(lambda _, inputs=rows.inputs: inputs, np.arange(180))
        found = probabilities(predict_folds(LOGISTIC, described, fold, rows.labels, rows.families))
        for number in (0, 3):
            train, here = fold != number, fold == number
            search = sklearn.model_selection.GridSearchCV(
                sklearn.pipeline.make_pipeline(
                    sklearn.preprocessing.StandardScaler(), sklearn.linear_model.LogisticRegression(max_iter=5000)
                ),
                {"logisticregression__C": LOGISTIC.penalties},
                scoring=sklearn.metrics.make_scorer(
                    lambda y, p: -sklearn.metrics.log_loss(y, p, normalize=False), response_method="predict_proba"
                ),
                cv=sklearn.model_selection.PredefinedSplit(
                    family_folds(rows.families[train], rows.labels[train], 3, 0)
                ),
            ).fit(rows.inputs[train].astype(float), rows.labels[train])
            alone = Rows(*(values[train] for values in rows))
            assert choose_penalty(LOGISTIC, alone) == search.best_params_["logisticregression__C"]
            np.testing.assert_allclose(found[here], search.predict_proba(rows.inputs[here].astype(float)), atol=2e-3)


def test_a_patient_whose_other_label_is_trained_on_is_judged_by_it():
    """Twelve patients with both labels, whose look says who they are and little of the label."""
    rng = np.random.default_rng(0)
    patient, labels = np.repeat(np.arange(12), 20), np.tile([0, 1], 120)
    features = np.concatenate([4 * np.eye(12)[patient], rng.normal(size=(240, 4))], axis=1)
    features[:, -1] += 0.3 * labels
    names = np.char.mod("p%d", patient)
    accuracies = []
    # By patient, and as if a patient's two labels were two patients.
    for families in (names, np.char.add(names, labels.astype(str))):
        fold = family_folds(families, labels, 4, 0)
        described = Descriptors(lambda _: features, np.arange(240))
        answered = predict_folds(METHODS[0], described, fold, labels, families)[:, 0] > 0
        accuracies.append((answered == labels).mean())
    by_patient, apart = accuracies
    assert 0.45 < by_patient < 0.65
    assert apart < by_patient - 0.1
    # A machine's inner folds, which calibrate it, keep patients whole too.
    fold = family_folds(names, labels, 3, 0)
    found = predict_folds(RADIAL, described, fold, labels, names)
    assert 0.4 < ((found[:, 0] > 0) == labels).mean() < 0.65


def spots(seed, count, radius):
    """Grey patches with discs of one size."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[:120, :120]
    images = []
    for _ in range(count):
        image = np.full((120, 120), 200.0) + rng.normal(0, 4, (120, 120))
        for cy, cx in rng.integers(10, 110, (12, 2)):
            image[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] -= 90
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    return images


def test_words_tell_small_discs_from_large_ones_and_learn_from_training_patches_alone():
    images = [image for pair in zip(spots(0, 30, 4), spots(1, 30, 9), strict=True) for image in pair]
    labels = np.tile([0, 1], 30).repeat(2)
    # Each patch is two samples.
    row = np.arange(60).repeat(2)
    split = np.repeat(["train", "validation", "test"], [60, 30, 30])
    families = np.array([f"{label}/{patch // 6}" for label, patch in zip(labels, row, strict=True)])
    words = word_descriptors(images, row, words=20)
    fitted, found = predict_test(METHODS[3], words, split, labels, families)
    assert found.shape == (30, 1)
    np.testing.assert_array_equal(found[::2], found[1::2])
    assert ((found[:, 0] > 0) == labels[split == "test"]).mean() > 0.9

    train = np.arange(60) < 30
    noise = list(np.random.default_rng(2).integers(0, 256, (15, 120, 120), np.uint8))
    changed = word_descriptors(images[:45] + noise, row, words=20)
    np.testing.assert_array_equal(words.encode(train)[:45], changed.encode(train)[:45])
    assert (words.encode(train)[45:] != changed.encode(train)[45:]).any()
    other, _ = predict_test(METHODS[3], changed, split, labels, families)
    np.testing.assert_array_equal(logits(other, words.encode(train)), logits(fitted, words.encode(train)))


def test_frequencies_of_words():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [100, 0], [0, 100]])
    members = [[0, 0, 1], [2, 2, 2, 2], [], [1, 2]]
    patches = [(centres[one] + rng.integers(0, 9, (len(one), 2))).astype(np.uint8).reshape(-1, 2) for one in members]
    codebook = fit_codebook(patches, words=3, seed=1)
    name = codebook.predict(centres.astype(np.float32) + 4)
    assert sorted(name) == [0, 1, 2]
    expected = np.zeros((4, 3))
    expected[0, name[[0, 1]]] = [2 / 3, 1 / 3]
    expected[1, name[2]] = 1
    expected[3, name[[1, 2]]] = 0.5
    np.testing.assert_allclose(word_frequencies(codebook, patches), expected, rtol=1e-6)
    assert fit_codebook(patches, words=50).n_clusters == 9
    with pytest.raises(InputError, match="no SIFT keypoint"):
        fit_codebook([np.zeros((0, 128), np.uint8)] * 3)
