import numpy as np
import pytest
from scipy import optimize, stats

from nbjax.analysis.distribution import (
    dip_statistic,
    dip_test,
    loss_accuracy_pairs,
    modes,
    summarise,
)
from nbjax.errors import InputError


def least_distance(values):
    """The dip by its definition: linear programs, one for each place of the mode."""
    places, count = np.sort(values), len(values)
    above, below = np.arange(1, count + 1) / count, np.arange(count) / count
    best = 1.0
    for mode in range(count):
        # Unknowns: the convex part at 0 … mode, the concave part at mode … count - 1 (it may jump there), the distance.
        left, size = range(mode + 1), count + 2
        right = {place: place + 1 for place in range(mode, count)}
        rows, bounds = [], []

        def add(bound, entries, size=size, rows=rows, bounds=bounds):
            row = np.zeros(size)
            for column, value in entries:
                row[column] += value
            rows.append(row)
            bounds.append(bound)

        for place in left:
            add(below[place], [(place, 1), (-1, -1)])
            if place < mode:
                add(-above[place], [(place, -1), (-1, -1)])
        for place, column in right.items():
            add(-above[place], [(column, -1), (-1, -1)])
            if place > mode:
                add(below[place], [(column, 1), (-1, -1)])
        add(0, [(mode, 1), (right[mode], -1)])
        for first, sign, last in ((0, 1, mode), (mode + 1, -1, count)):
            shift = first - (0 if sign == 1 else mode)
            for column in range(first, last):
                add(0, [(column, 1), (column + 1, -1)])
            for column in range(first, last - 1):
                one, other = np.diff(places[column - shift : column - shift + 3])
                bend = [(column, -1 / one), (column + 1, 1 / one + 1 / other), (column + 2, -1 / other)]
                add(0, [(place, sign * value) for place, value in bend])
        found = optimize.linprog(np.eye(size)[-1], A_ub=np.array(rows), b_ub=bounds, bounds=(0, 1))
        if found.status == 0:
            best = min(best, found.fun)
    return best


@pytest.mark.parametrize("seed", range(12))
def test_the_dip_is_the_distance_to_the_nearest_unimodal_distribution(seed):
    rng = np.random.default_rng(seed)
    values = rng.random(7) if seed % 2 else np.concatenate([rng.normal(0, 0.1, 4), rng.normal(1, 0.1, 4)])
    assert dip_statistic(values) == pytest.approx(least_distance(values), abs=1e-9)


def test_the_dip_knows_its_bounds_and_neither_place_nor_scale_nor_order():
    rng = np.random.default_rng(0)
    values = rng.random(50)
    dip = dip_statistic(values)
    assert 1 / 100 <= dip < 0.25
    assert dip_statistic(3 - 7 * rng.permutation(values)) == pytest.approx(dip)
    assert dip_statistic(np.arange(10.0)) == pytest.approx(1 / 20)
    assert dip_statistic(np.concatenate([rng.normal(0, 1e-6, 500), rng.normal(1, 1e-6, 500)])) > 0.24


def test_one_mode_is_seldom_taken_for_two_and_two_are_seen():
    rng = np.random.default_rng(0)
    given = {"replicates": 200}
    assert np.mean([dip_test(rng.random(100), **given)[1] <= 0.05 for _ in range(200)]) == pytest.approx(0.05, abs=0.05)
    assert np.mean([dip_test(rng.normal(size=100), **given)[1] <= 0.05 for _ in range(100)]) < 0.03
    two = [np.concatenate([rng.normal(-2, 1, 100), rng.normal(2, 1, 100)]) for _ in range(30)]
    assert np.mean([dip_test(one, **given)[1] <= 0.05 for one in two]) > 0.9


def test_a_lattice_is_no_row_of_modes():
    accuracies = np.random.default_rng(0).binomial(40, 0.5, 600) / 40
    assert dip_statistic(accuracies) > 0.03
    assert dip_test(accuracies, replicates=200)[1] > 0.2


def test_a_summary_tells_one_mode_from_two():
    rng = np.random.default_rng(0)
    normal = rng.normal(0.705, 0.042, 400)
    one = summarise(normal, replicates=200)
    assert (one.values, len(one.modes)) == (400, 1)
    assert one.skewness == pytest.approx(stats.skew(normal))
    assert one.normality_p == pytest.approx(stats.normaltest(normal).pvalue)
    two = summarise(np.concatenate([normal - 0.1, normal + 0.1]), replicates=200)
    assert len(two.modes) == 2
    np.testing.assert_allclose(two.modes, [0.605, 0.805], atol=0.02)
    assert two.dip_p < 0.01 < one.dip_p
    assert two.normality_p < 0.01
    # A few outliers are no mode.
    assert len(modes(np.append(normal, [1.2, 1.25]))) == 1
    assert summarise(normal[:10], replicates=50).normality_p is None
    with pytest.raises(InputError, match="5 values, 5 finite, 1 different"):
        summarise(np.ones(5))


def test_two_far_points_of_a_fine_lattice_are_two_modes():
    values = np.repeat([0.4, 0.6], 50)
    assert dip_test(values, step=0.01)[1] < 0.01
    # Without the lattice's step the distance of the two would be taken for it.
    assert dip_test(values)[1] > 0.05


def test_every_epoch_is_a_pair(make_history):
    table = make_history({0.1: (0.5, 3), 0.2: (0.6, 3)}, epochs=4)
    place = table.column_names.index("validation_loss")
    losses = table["validation_loss"].to_numpy().copy()
    losses[1] = np.nan
    pairs = loss_accuracy_pairs(table.set_column(place, "validation_loss", [losses]), "validation")
    assert (len(pairs.loss), pairs.sessions, pairs.left_out) == (23, 6, 1)
    np.testing.assert_allclose(pairs.accuracy, 1 - pairs.loss / 2)
    with pytest.raises(InputError, match="split: found 'test'"):
        loss_accuracy_pairs(table, "test")
