"""Scores in words, and how families held out in folds are classified: the report's first number."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nbjax.analysis.scores import Score, Tested
from nbjax.analysis.units import Units
from nbjax.english import counted
from nbjax.report.findings import Findings
from nbjax.report.score_tables import LEVELS
from nbjax.report.table import Head, Table, number, percent, span, three, whole

SESSION = "a session is one training run from a random start of its own"


def chance(units: Units) -> float:
    """Accuracy of always answering the most frequent label."""
    return float(np.bincount(units.labels).max() / len(units.labels))


def distinct(tested: Tested) -> int:
    """Families that were predicted, each counted once whatever its labels."""
    return len(np.unique(tested.units.families))


def session_note(tested: Tested, accuracy: Score) -> str:
    """What the numbers are means of, and the loss, each explained where it first stands."""
    labels, loss = tested.units.probabilities.shape[2], tested.score("loss")
    spread = "" if accuracy.std is None else f", standard deviation {percent(accuracy.std)}"
    of = (
        "This is of 1 session" if tested.sessions == 1 else f"These are means over {tested.sessions:,} sessions{spread}"
    )
    nats = three(loss.estimate) if loss.std is None else f"{three(loss.estimate)} ± {three(loss.std)}"
    guess = three(math.log(labels))
    return f"{of} ({SESSION}); the loss is {nats} nats (cross-entropy: 0 is certain and right, guessing gives {guess})."


def interval(score: Score) -> str:
    """A score's interval, or why there is none."""
    if score.interval is None:
        return f"no interval: {score.reason}"
    return f"95 % interval {span(score.interval, percent)}, counting families"


def in_folds(findings: Findings) -> list[str]:
    """How held-out families are classified, or that nothing is learned that carries over to them; then what a random
    split says.
    """
    idle, own = findings.verdict is not None and findings.verdict.nothing, _of_families(findings)
    said = []
    if findings.folds is not None:
        said.append(_held_out(findings, findings.folds))
        if idle:
            said[0] = f"Where folds of families choose, and not the one validation split: w{said[0][1:]}"
    elif own:
        said.append(
            f"With each family held out once nothing is learned{' either' if idle else ''}: outside each of "
            f"{counted(len(own), 'fold')} the other families found no epoch better than the start, so that no score of "
            "held-out families is shown."
        )
    return [*said, *_random_split(findings)]


def _of_families(findings: Findings) -> Sequence[Mapping[str, Any]]:
    return findings.choices.get("fold", [])


def _held_out(findings: Findings, folds: Tested) -> str:
    accuracy, units = folds.score("accuracy"), LEVELS[folds.units.level]
    by_family = folds.scores.get(("family", "accuracy"))
    also = ""
    if by_family is not None and by_family.estimate is not None:
        pairs = by_family.units != by_family.distinct_families
        whose = f"{by_family.units} pairs of a family and a label" if pairs else "families"
        also = f", and {percent(by_family.estimate)} of the {whose} by the mean of their {units}"
    trained = "a new head" if "extension" in findings.study["strategy"] else "a new last layer"
    return (
        f"With each of the {distinct(folds)} families held out once, {percent(accuracy.estimate)} of the {units} were "
        f"classified rightly ({interval(accuracy)}){also}. {session_note(folds, accuracy)} For this {trained} is "
        f"trained {folds.folds} times, each time without the families of one of {folds.folds} folds, "
        f"{fold_settings(findings)}. Always answering the most frequent label would give "
        f"{percent(chance(folds.units))}."
    )


def fold_settings(findings: Findings) -> str:
    """What the sessions of held-out folds were trained with, and which families chose that."""
    own = _of_families(findings)
    rates, sizes, epochs = (
        sorted({choice[name] for choice in own}) for name in ("learning_rate", "batch_size", "epochs")
    )
    batch = ", a batch size" if len(findings.study.get("config", {}).get("batch_sizes", sizes)) > 1 else ""
    said = (
        f"with a learning rate{batch} and a number of epochs that the families outside that fold chose among "
        f"themselves ({_between([f'{rate:g}' for rate in rates])}; {_between(epochs)} "
        f"{'epoch' if epochs == [1] else 'epochs'})"
    )
    idle = sum(choice["epochs"] == 0 for choice in own)
    if idle:
        said += f"; in {idle} of {len(own)} folds they found no epoch better than the start, which answers at random"
    poor = sum(choice["loss"] >= math.log(len(findings.classes)) for choice in own)
    if poor > idle:
        said += f"; in {poor} of {len(own)} folds the least loss that they found is no less than guessing gives"
    return said


def _between(values: Sequence[object]) -> str:
    return f"{values[0]}" if len(values) == 1 else f"{values[0]} to {values[-1]}"


def folds_table(findings: Findings) -> Table | None:
    """What each fold of held-out families was trained with; None where none was."""
    own = _of_families(findings)
    if not own:
        return None
    heads = [Head("fold"), Head("learning rate"), Head("batch size"), Head("epochs"), Head("loss in the folds inside")]
    rows = [
        [
            whole(choice["fold"] + 1),
            number(choice["learning_rate"], "{:g}".format),
            whole(choice["batch_size"]),
            whole(choice["epochs"]),
            number(choice["loss"], three),
        ]
        for choice in own
    ]
    return Table("folds", heads, rows, title="What each fold was trained with")


def _random_split(findings: Findings) -> list[str]:
    folds, careless = findings.folds, findings.random_folds
    if careless is None:
        return []
    units = LEVELS[careless.units.level]
    if distinct(careless) == careless.score("accuracy").units:
        return [f"Every family has one patch only, so that {units} split at random would be no other test than this."]
    apparent = careless.score("accuracy")
    said = (
        f"Had the {units} been split at random, so that those of one family lie on both sides, and learning rate and "
        f"epochs been chosen by such splits, {percent(apparent.estimate)} would have been reported"
    )
    if folds is None:
        return [f"{said}, which slides of new patients would not give."]
    honest = folds.score("accuracy")
    assert honest.estimate is not None
    assert apparent.estimate is not None
    if apparent.std is None or honest.std is None:
        return [f"{said}; with one session nothing tells whether the difference is luck."]
    if apparent.estimate - honest.estimate <= math.hypot(apparent.std, honest.std):
        return [f"{said}: no more than sessions of one split differ by."]
    # Of the numbers as they are printed.
    points = round(100 * apparent.estimate, 1) - round(100 * honest.estimate, 1)
    return [f"{said}: {points:.1f} points more, which slides of new patients would not give."]


def doubt(findings: Findings) -> tuple[str, str] | None:
    """Where held-out families do not show what the one validation split does: a word for it, and a sentence; else
    None.
    """
    if findings.folds is None:
        if not _of_families(findings):
            return None
        return "Not for other families", "With families held out in folds, no epoch was better than the start."
    accuracy, guess = findings.folds.score("accuracy"), chance(findings.folds.units)
    assert accuracy.estimate is not None
    share = f"{percent(accuracy.estimate)} of the {LEVELS[findings.folds.units.level]}"
    of = f"With families held out in turn {share} are classified rightly"
    if accuracy.estimate <= guess:
        return "Not for other families", f"{of}, not above the {percent(guess)} of always answering one label."
    if accuracy.interval is None or accuracy.interval.low <= guess:
        return (
            "It does not show for other families",
            f"{of}, not surely above the {percent(guess)} of always answering one label.",
        )
    return None
