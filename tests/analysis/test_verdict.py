import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbjax.analysis.selection import CellKey
from nbjax.analysis.verdict import judge

CHOSEN = CellKey("resnet18", "straightforward", 0, 0, 0.01, 8)
VALIDATION = {"D": {"patches": 20, "samples": 80}, "PD": {"patches": 40, "samples": 80}}


def history(curves, accuracy=0.9, rates=(0.01,), train=None):
    """Validation losses `[sessions, epochs + 1]` of each learning rate; training losses are lower unless given."""
    rows = [
        {
            **CHOSEN._asdict(),
            "learning_rate": rate,
            "seed": seed,
            "epoch": epoch,
            "train_loss": loss / 2 if train is None else train[epoch],
            "validation_loss": loss,
            "train_accuracy": accuracy,
            "validation_accuracy": accuracy,
            "diverged": False,
        }
        for rate in rates
        for seed, curve in enumerate(curves)
        for epoch, loss in enumerate(curve)
    ]
    return pa.Table.from_pylist(rows)


def verdict_of(curves, **kinds):
    return judge(history(curves, **kinds), CHOSEN, "max_train_validation_loss", VALIDATION)


@given(st.lists(st.lists(st.floats(0.01, 5), min_size=5, max_size=5), min_size=1, max_size=7))
def test_sessions_are_untrained_where_no_later_loss_is_lower(curves):
    verdict = verdict_of(curves)
    best = np.asarray([int(np.argmin(curve)) for curve in curves])
    assert verdict.untrained == (best == 0).sum()
    assert verdict.last == (best == 4).sum()
    assert verdict.median == np.median(best)
    assert verdict.nothing == (np.median(best) < 1)


def test_a_session_without_a_finite_epoch_learned_nothing():
    curves = [[0.7, 0.5, 0.6], [np.nan, np.nan, np.nan], [0.7, 0.6, 0.5]]
    assert verdict_of(curves).untrained == 1


def test_a_head_that_only_learns_its_training_families():
    verdict = verdict_of([[0.7, 0.8, 0.9]] * 4, train=[0.7, 0.3, 0.1])
    assert (verdict.nothing, verdict.training_fell, verdict.validation_fell) == (True, True, False)
    stuck = verdict_of([[0.7, 0.8, 0.9]] * 4, train=[0.7, 0.7, 0.71])
    assert (stuck.nothing, stuck.training_fell) == (True, False)


@pytest.mark.parametrize(
    ("rates", "edge"), [((0.01,), ""), ((0.01, 0.1), "least"), ((0.001, 0.01), "greatest"), ((0.001, 0.01, 0.1), "")]
)
def test_the_end_of_the_grid_that_was_chosen(rates, edge):
    assert verdict_of([[0.7, 0.5]] * 2, rates=rates).edge == edge


@pytest.mark.parametrize(("accuracy", "above"), [(0.5, False), (0.6, False), (0.64, True)])
def test_guessing_reaches_some_way_above_a_half_on_sixty_patches(accuracy, above):
    # Of 60 throws of a coin, 95 % of shares lie within 0.5 ± 0.1265 (SciPy: binom.interval gives 23 to 37).
    verdict = verdict_of([[0.7, 0.5]] * 2, accuracy=accuracy)
    assert (verdict.chance, verdict.above_chance) == (0.5, above)
