"""Scores in words, and how families held out in folds are classified: the report's first number."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nbjax.analysis.scores import Score, Tested
from nbjax.analysis.uncertainty import families_needed, once_weights
from nbjax.english import counted
from nbjax.report.findings import Findings
from nbjax.report.score_tables import LEVELS
from nbjax.report.table import Head, Table, number, percent, span, three, whole

SESSION = "a session is one training run from a random start of its own"
# A family with more of all units than this is named.
LARGE = 0.25
# An interval wider than this is said to need more families, for so many points to either side.
WIDE, POINTS = 0.15, 0.05


def chance(tested: Tested) -> float:
    """Accuracy of always answering the label that most families have, every family counted once."""
    weights = once_weights(tested.units.families, tested.units.labels)
    return float(np.bincount(tested.units.labels, weights).max() / weights.sum())


def needed(score: Score) -> str:
    """How many families would be enough, where these say little; empty where they do."""
    if score.interval is None or score.error is None or score.interval.high - score.interval.low <= WIDE:
        return ""
    count = families_needed(score.distinct_families, score.error, POINTS)
    if count <= score.distinct_families:
        return ""
    return f" For an interval of ± {100 * POINTS:.0f} points about {count:,} families like these would be needed."


def against_guessing(tested: Tested) -> tuple[Score, float, str]:
    """The accuracy that is compared with guessing, what one answer for all families has of it, and its name.

    That is the mean of the labels' own accuracies where there are units of every label, of which one answer is right
    for one label alone: how many families of each label happen to be there does not matter.
    """
    balanced = tested.score("balanced_accuracy")
    if balanced.estimate is None:
        return tested.score("accuracy"), chance(tested), "accuracy"
    return balanced, 1 / tested.units.probabilities.shape[2], "balanced accuracy"


def guessing(tested: Tested) -> str:
    """How good one answer for all families is, beside what is compared with it."""
    score, guess, name = against_guessing(tested)
    of_most = f"always answering the label that most families have would give {percent(chance(tested))}"
    if name == "accuracy":
        return of_most[0].upper() + of_most[1:]
    return (
        f"In the mean over labels (balanced accuracy) it is {percent(score.estimate)} ({interval(score)}), where one "
        f"answer for all has {percent(guess)}; of the families alike, {of_most}"
    )


def distinct(tested: Tested) -> int:
    """Families that were predicted, each counted once whatever its labels."""
    return len(np.unique(tested.units.families))


def session_note(tested: Tested, accuracy: Score) -> str:
    """Whose answers these are, how one session's differ, and the loss, each explained where it first stands."""
    labels, loss = tested.units.probabilities.shape[2], tested.score("loss")
    of = f"This is of 1 session ({SESSION})"
    if tested.sessions > 1:
        alone = percent(accuracy.session_mean)
        spread = "" if accuracy.std is None else f" ± {percent(accuracy.std)}"
        of = (
            f"{tested.sessions:,} sessions answer together, by the mean of their probabilities ({SESSION}; by itself "
            f"one has {alone}{spread})"
        )
    return (
        f"{of}; the loss is {three(loss.estimate)} nats (cross-entropy: 0 is certain and right, guessing gives "
        f"{three(math.log(labels))})."
    )


def interval(score: Score) -> str:
    """A score's interval, or why there is none."""
    if score.interval is None:
        return f"no interval: {score.reason}"
    return f"95 % interval {span(score.interval, percent)}"


def in_folds(findings: Findings) -> list[str]:
    """How held-out families are classified, or that nothing is learned that carries over to them; then what a random
    split says.
    """
    idle, own = findings.verdict is not None and findings.verdict.nothing, _of_families(findings)
    said = []
    if findings.folds is not None:
        said += _held_out(findings, findings.folds)
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


def _held_out(findings: Findings, folds: Tested) -> list[str]:
    """How well, then how that was found out."""
    accuracy, units = folds.score("accuracy"), LEVELS[folds.units.level]
    trained = "a new head" if "extension" in findings.study["strategy"] else "a new last layer"
    return [
        f"With each of the {distinct(folds)} families held out once, {percent(accuracy.estimate)} of a family's "
        f"{units} were classified rightly, in the mean over families ({interval(accuracy)}){_whole_families(folds)}."
        f"{needed(accuracy)} {guessing(folds)}.{_by_units(folds)}",
        f"{session_note(folds, accuracy)} For this {trained} is trained {folds.folds} times, each time without the "
        f"families of one of {folds.folds} folds, {fold_settings(findings)}.",
    ]


def _whole_families(tested: Tested) -> str:
    """How many families are classified rightly by the mean of their units."""
    by_family = tested.scores.get(("family", "accuracy"))
    if by_family is None or by_family.estimate is None:
        return ""
    return f", and {percent(by_family.estimate)} of the families by the mean of their {LEVELS[tested.units.level]}"


def _by_units(tested: Tested) -> str:
    """The accuracy with every unit counted once, and how much of it one family holds."""
    level, accuracy = tested.units.level, tested.scores[tested.units.level, "accuracy"]
    units, families = LEVELS[level], distinct(tested)
    if accuracy.units == families or accuracy.estimate is None:
        return ""
    names, counts = np.unique(tested.units.families, return_counts=True)
    share = counts.max() / counts.sum()
    largest = f"; {names[counts.argmax()]} alone has {percent(share)} of them" if share > LARGE else ""
    return (
        f" Of all {accuracy.units:,} {units}, those of large families counting most, {percent(accuracy.estimate)} are "
        f"classified rightly; so counted the {families} families tell as much as {accuracy.effective_families:.1f} of "
        f"equal size would{largest}."
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
    if distinct(careless) == len(careless.units.labels):
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
    score, guess, name = against_guessing(findings.folds)
    assert score.estimate is not None
    of = f"With families held out in turn the {name} is {percent(score.estimate)} ({interval(score)})"
    if score.estimate <= guess:
        return "Not for other families", f"{of}, not above the {percent(guess)} of always answering one label."
    if score.interval is None or score.interval.low <= guess:
        return (
            "It does not show for other families",
            f"{of}, not surely above the {percent(guess)} of always answering one label.",
        )
    return None
