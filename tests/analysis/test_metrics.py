import numpy as np
import pyarrow as pa
import sklearn.metrics

from nbjax.analysis import score_test


def predictions(seed=0, sessions=3, samples=60):
    rng = np.random.default_rng(seed)
    label = np.repeat([0, 1], samples // 2)
    family = np.char.add("f", (np.arange(samples) // 6).astype(str))
    tables = []
    for session in range(sessions):
        probability = np.clip(0.3 + 0.4 * label + rng.normal(0, 0.3, samples), 0.01, 0.99)
        loss = -np.log(np.where(label == 1, probability, 1 - probability))
        columns = {"seed": np.full(samples, session), "sample": np.arange(samples), "family": family, "label": label}
        tables.append(pa.table({**columns, "probability": probability, "loss": loss}))
    return pa.concat_tables(tables)


def test_scores_equal_scikit_learns():
    table = predictions()
    result = score_test(table, 2)
    label, probability = table["label"].to_numpy(), table["probability"].to_numpy()
    predicted = (probability > 0.5).astype(int)
    assert result.sessions == 3
    assert result.samples == 60
    np.testing.assert_allclose(result.accuracy.estimate, sklearn.metrics.accuracy_score(label, predicted))
    np.testing.assert_allclose(result.loss.estimate, sklearn.metrics.log_loss(label, probability))
    np.testing.assert_array_equal(result.confusion, sklearn.metrics.confusion_matrix(label, predicted))
    areas = [sklearn.metrics.roc_auc_score(label[s : s + 60], probability[s : s + 60]) for s in (0, 60, 120)]
    np.testing.assert_allclose(result.roc_auc, np.mean(areas))


def test_family_accuracies_add_up_to_the_accuracy():
    result = score_test(predictions(1), 2)
    assert len(result.family_accuracy) == 10
    total = sum(samples * accuracy for samples, accuracy in result.family_accuracy.values())
    np.testing.assert_allclose(total / result.samples, result.accuracy.estimate)


def test_order_of_rows_changes_nothing():
    table = predictions(2)
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    one, other = score_test(table, 2), score_test(shuffled, 2)
    np.testing.assert_array_equal(one.confusion, other.confusion)
    assert one.accuracy == other.accuracy
    assert one.family_accuracy == other.family_accuracy


def test_three_classes():
    table = predictions(3).drop_columns(["probability"])
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1, 1, 1], len(table))
    result = score_test(table.append_column("probabilities", pa.array(list(probabilities))), 3)
    expected = sklearn.metrics.accuracy_score(table["label"].to_numpy(), probabilities.argmax(axis=1))
    np.testing.assert_allclose(result.accuracy.estimate, expected)
    assert result.roc_auc is None
    assert result.confusion.shape == (3, 3)
