import itertools

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from nbjax.analysis.comparison import LEAST_SEEDS, compare_with_chosen
from nbjax.analysis.selection import CellKey, choose_cell, summarise_cells
from nbjax.errors import InputError


def history_of(losses):
    """A study of one epoch: `losses` are `[cells, seeds]`; NaN is a session without a finite one."""
    rows = [
        {
            **CellKey("resnet18", "straightforward", 0, 0, 0.001 * (cell + 1), 8)._asdict(),
            "seed": seed,
            "epoch": 1,
            "train_loss": loss,
            "validation_loss": loss,
            "train_accuracy": 0.5,
            "validation_accuracy": 0.5,
            "diverged": bool(np.isnan(loss)),
        }
        for cell, of_cell in enumerate(losses)
        for seed, loss in enumerate(of_cell)
    ]
    return pa.Table.from_pylist(rows)


def compared(losses, **given):
    history = history_of(losses)
    chosen = choose_cell(summarise_cells(history, "validation_loss")).key
    return list(compare_with_chosen(history, "validation_loss", chosen, **given).values())


def test_seeds_are_pairs_and_ties_count_half():
    rng = np.random.default_rng(0)
    shared = rng.normal(1, 0.3, 12)
    first, second = compared([shared, shared + 0.01, np.where(np.arange(12) < 2, shared, shared + 0.02)])
    # Apart, what a seed does to both would hide so small a difference.
    assert (first.seeds, first.won, second.won) == (12, 12, 11)
    exact = stats.binomtest(12, 12).proportion_ci()
    assert first.interval == pytest.approx((exact.low, exact.high))
    assert second.interval == pytest.approx(stats.binomtest(11, 12).proportion_ci())
    assert first.p_value < 0.05


def test_a_half_won_pair_widens_the_interval_to_either_side():
    (only,) = compared([[1.0, 1, 1, 1, 1, 1], [1.0, 2, 2, 2, 2, 2]])
    assert only.won == 5.5
    low, high = (stats.binomtest(won, 6).proportion_ci() for won in (5, 6))
    assert only.interval == pytest.approx((low.low, high.high))


def test_with_few_seeds_nothing_but_the_count_is_said():
    losses = np.add.outer([0.0, 1.0, 2.0], np.arange(LEAST_SEEDS - 1))
    assert [one[1:] for one in compared(losses)] == [(LEAST_SEEDS - 1, None, None)] * 2


def test_a_session_without_a_finite_loss_is_beaten_by_all():
    losses = np.array([[0.5, 0.6, 0.5, 0.6, 0.5, 0.6], [0.1] * 5 + [np.nan]])
    (only,) = compared(losses)
    assert (only.seeds, only.won) == (6, 1)


def test_the_p_value_is_that_of_every_permutation():
    losses = np.random.default_rng(1).normal(size=(3, 5)) + np.array([[0.0], [0.4], [0.9]])
    losses = losses[losses.mean(axis=1).argsort()]

    def behind(of_cells):
        best = of_cells.mean(axis=1).argmin()
        return [stats.ttest_rel(one, of_cells[best]).statistic for place, one in enumerate(of_cells) if place != best]

    furthest = []
    for orders in itertools.product(itertools.permutations(range(3)), repeat=5):
        permuted = np.stack([losses[list(order), seed] for seed, order in enumerate(orders)], axis=1)
        furthest.append(max(behind(permuted)))
    expected = [np.mean(np.asarray(furthest) >= one - 1e-9) for one in behind(losses)]
    ours = [one.p_value for one in compared(losses, permutations=20_000)]
    np.testing.assert_allclose(ours, expected, atol=0.015)


@pytest.mark.parametrize("cells", [3, 12])
def test_where_no_cell_is_better_few_studies_claim_one(cells):
    rng, claims = np.random.default_rng(cells), []
    for number in range(200):
        # Seeds differ by more than cells do within one.
        losses = rng.normal(size=10) + 0.5 * rng.normal(size=(cells, 10))
        claims.append(min(one.p_value for one in compared(np.exp(losses), permutations=99, seed=number)) <= 0.05)
    # 5 % of 200 studies, with three standard errors.
    assert np.mean(claims) < 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


def test_a_cell_that_is_better_is_found():
    rng = np.random.default_rng(0)
    losses = rng.normal(size=10) + 0.3 * rng.normal(size=(12, 10))
    losses[4] -= 3
    assert all(one.p_value < 0.05 for one in compared(np.exp(losses)))


def test_a_cell_that_is_not_there_is_said():
    history = history_of([[0.1, 0.2], [0.3, 0.4]])
    with pytest.raises(InputError, match="no cell"):
        compare_with_chosen(history, "validation_loss", CellKey("other", "straightforward", 0, 0, 0.001, 8))
