"""Selection, scores, uncertainty, comparison, calibration, distributions.

By question:

- which epoch, which cell: `selection`; what its sessions reached: `cells`; is it better than another: `comparison`; how
  much of its lead is luck: `winner`
- is one method better than another on the same families: `differences`
- how good on families that no session saw: `scores` (every family counted once, then every unit), `curves`,
  `calibration`
- which patches, which families are wrong: `mistakes`
- how sure: `uncertainty` (intervals that respect families), `resampling`
- what shape have the sessions: `distribution`
"""

from nbjax.analysis.calibration import fit_temperature, reliability, scale_temperatures
from nbjax.analysis.cells import cells_table, describe_cells
from nbjax.analysis.comparison import compare_with_chosen
from nbjax.analysis.curves import confusion_matrices, precision_recall_curves, roc_curves
from nbjax.analysis.differences import differences
from nbjax.analysis.distribution import dip_test, summarise
from nbjax.analysis.mistakes import family_table, misclassified_table
from nbjax.analysis.scores import Tested, score_predictions, score_units, scores_table
from nbjax.analysis.selection import CellKey, choose_cell, key_of, select_epochs, summarise_cells
from nbjax.analysis.uncertainty import FamilyEstimate, Interval, family_interval, jackknife_interval, naive_interval
from nbjax.analysis.units import units_at
from nbjax.analysis.winner import expected_best, nested_choice

__all__ = [
    "CellKey",
    "FamilyEstimate",
    "Interval",
    "Tested",
    "cells_table",
    "choose_cell",
    "compare_with_chosen",
    "confusion_matrices",
    "describe_cells",
    "differences",
    "dip_test",
    "expected_best",
    "family_interval",
    "family_table",
    "fit_temperature",
    "jackknife_interval",
    "key_of",
    "misclassified_table",
    "naive_interval",
    "nested_choice",
    "precision_recall_curves",
    "reliability",
    "roc_curves",
    "scale_temperatures",
    "score_predictions",
    "score_units",
    "scores_table",
    "select_epochs",
    "summarise",
    "summarise_cells",
    "units_at",
]
