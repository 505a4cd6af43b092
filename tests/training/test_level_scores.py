import numpy as np
import sklearn.metrics

from nbjax.training.level_scores import level_scores

# Twelve patches of five families, three samples each, in any order.
PATCH = np.random.default_rng(0).permutation(np.repeat(np.arange(12), 3))
FAMILY = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4])[PATCH]
LABEL = np.array([0, 1, 1, 0, 1])[FAMILY]


def grouped(probability, group):
    """A mean and the label of each group, by a loop."""
    means = [probability[group == one].mean() for one in np.unique(group)]
    return np.array(means), np.array([LABEL[group == one][0] for one in np.unique(group)])


def test_each_level_is_scikit_learns_score_of_mean_probabilities():
    logits = np.random.default_rng(1).normal(size=(2, 36, 1)).astype(np.float32)
    found = level_scores(logits, LABEL, PATCH, FAMILY)
    for session in range(2):
        probability = 1 / (1 + np.exp(-logits[session, :, 0].astype(float)))
        patches = [probability[one == PATCH].mean() for one in range(12)]
        of_patch = np.array([FAMILY[one == PATCH][0] for one in range(12)])
        families = np.array([np.mean(np.array(patches)[of_patch == one]) for one in range(5)])
        levels = {
            "sample": (probability, LABEL),
            "patch": grouped(probability, PATCH),
            "family": (families, np.array([0, 1, 1, 0, 1])),
        }
        for level, (values, label) in levels.items():
            losses, accuracies = found[level]
            np.testing.assert_allclose(losses[session], sklearn.metrics.log_loss(label, values), rtol=1e-6)
            assert accuracies[session] == sklearn.metrics.accuracy_score(label, values > 0.5)


def test_two_outputs_give_what_one_gives():
    logits = np.random.default_rng(2).normal(size=(3, 36, 1)).astype(np.float32)
    both = np.concatenate([np.zeros_like(logits), logits], axis=2)
    one, other = (level_scores(each, LABEL, PATCH, FAMILY) for each in (logits, both))
    for level in one:
        np.testing.assert_allclose(one[level], other[level])


def test_a_family_with_many_patches_counts_once():
    logits = np.where(FAMILY == 0, 5.0, np.where(LABEL == 1, 5.0, -5.0))[None, :, None]
    found = level_scores(logits, LABEL, PATCH, FAMILY)
    assert found["family"][1] == 4 / 5
    assert found["patch"][1] == 9 / 12


def test_a_family_with_two_labels_is_judged_once_for_each():
    # Families 0 and 1 are one patient: label 0 in three patches, label 1 in two.
    patient = np.where(FAMILY == 1, 0, FAMILY)
    logits = np.random.default_rng(2).normal(size=(2, 36, 1)).astype(np.float32)
    apart, together = (level_scores(logits, LABEL, PATCH, family) for family in (FAMILY, patient))
    for level in apart:
        np.testing.assert_allclose(apart[level], together[level])
