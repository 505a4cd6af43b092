import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbjax.analysis.winner import expected_best, losses_by_cell, nested_choice
from nbjax.errors import InputError


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_expected_best_is_the_mean_over_all_draws(scores):
    for number, value in enumerate(expected_best(np.array(scores)), start=1):
        draws = list(itertools.product(scores, repeat=number))
        assert value == pytest.approx(np.mean([min(draw) for draw in draws]))
    highest = expected_best(np.array(scores), lower_is_better=False)
    assert highest[-1] == pytest.approx(np.mean([max(draw) for draw in itertools.product(scores, repeat=len(scores))]))


def test_expected_best_of_one_is_the_mean_and_more_are_better():
    scores = np.random.default_rng(0).normal(size=30)
    values = expected_best(scores)
    assert values[0] == pytest.approx(scores.mean())
    assert (np.diff(values) < 0).all()
    assert values[-1] > scores.min()
    np.testing.assert_allclose(expected_best(scores, lower_is_better=False), -expected_best(-scores))
    with pytest.raises(InputError, match="2 scores, 1 finite"):
        expected_best(np.array([0.1, np.inf]))


def test_the_best_of_many_equal_cells_is_luck_and_the_nested_estimate_says_how_much():
    rng = np.random.default_rng(0)
    found = [nested_choice(rng.normal(0.5, 0.1, (30, 10)), splits=100) for _ in range(200)]
    apparent, honest = (np.array([getattr(one, name) for one in found]) for name in ("apparent", "honest"))
    # Every cell's true mean is 0.5; the least of 30 means of five lies about two standard errors below.
    standard_error = 0.1 / 5**0.5
    assert apparent.mean() == pytest.approx(0.5 - 2.04 * standard_error, abs=0.1 * standard_error)
    assert honest.mean() == pytest.approx(0.5, abs=0.005)
    assert np.mean([one.optimism for one in found]) == pytest.approx(2.04 * standard_error, rel=0.1)
    assert all(one.luckiest < one.apparent < one.honest for one in found)


def test_a_clear_winner_has_no_optimism():
    losses = np.random.default_rng(1).normal(0.5, 0.01, (4, 6)) - np.array([[0.3], [0], [0], [0]])
    found = nested_choice(losses)
    assert (found.splits, found.held_out) == (20, 3)
    assert found.optimism == pytest.approx(0, abs=1e-12)
    np.testing.assert_array_equal(found.chosen, [1, 0, 0, 0])
    assert found.honest == pytest.approx(losses[0].mean())


def test_every_split_is_taken_where_they_are_few():
    losses = np.random.default_rng(2).normal(size=(3, 4))
    found = nested_choice(losses, held_out=1)
    honest = [losses[np.delete(losses, seed, axis=1).mean(axis=1).argmin(), seed] for seed in range(4)]
    assert (found.splits, found.honest) == (4, pytest.approx(np.mean(honest)))
    many = np.random.default_rng(3).normal(size=(3, 20))
    assert nested_choice(many, splits=50).splits == 50
    for held_out in (0, 4):
        with pytest.raises(InputError, match=f"{held_out} of 4 seeds held out"):
            nested_choice(losses, held_out)


def test_losses_of_a_study(make_history):
    table = make_history({0.1: (0.5, 4), 0.2: (0.6, 3)})
    cells, losses = losses_by_cell(table, "validation_loss")
    assert losses.shape == (2, 3)
    assert [cell.learning_rate for cell in cells] == [0.1, 0.2]
    with pytest.raises(InputError, match="criterion: found 'min_train_validation_accuracy'"):
        losses_by_cell(table, "min_train_validation_accuracy")
    with pytest.raises(InputError, match="share no seed"):
        losses_by_cell(table.slice(0, 0), "validation_loss")
