"""Selection, scores, uncertainty."""

from nbjax.analysis.metrics import TestResult, score_test
from nbjax.analysis.selection import choose_cell, select_epochs, summarise_cells
from nbjax.analysis.uncertainty import Interval, family_interval, naive_interval

__all__ = [
    "Interval",
    "TestResult",
    "choose_cell",
    "family_interval",
    "naive_interval",
    "score_test",
    "select_epochs",
    "summarise_cells",
]
