"""The first paragraphs of a report: what was done, whether anything was learned, how well it went, how sure that is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nbjax.analysis.scores import Score
from nbjax.analysis.verdict import Verdict
from nbjax.english import counted, listed, listing
from nbjax.report.findings import Findings, Tested
from nbjax.report.held_out import (
    SESSION,
    against_guessing,
    distinct,
    doubt,
    guessing,
    in_folds,
    interval,
    session_note,
)
from nbjax.report.score_tables import LEVELS
from nbjax.report.table import percent

FEW_FAMILIES = 5
# An interval this wide leaves open whether a classifier is good or worthless.
SAYS_NOTHING = 0.5
CELL = "a cell is one combination of backbone, strategy, learning rate and batch size"


def answer(findings: Findings) -> list[str]:
    """What was done and what came of it: the held-out families first, then the random split beside them, then the test
    split.
    """
    verdict, task = findings.verdict, _task(findings)
    if verdict is None:
        so_far = (
            ""
            if findings.progress is None
            else f" ({findings.progress[0]} of {counted(findings.progress[1], 'program')})"
        )
        return [f"{task[0]} is to tell {task[1]}.", f"The study is not finished{so_far}: nothing was classified yet."]
    if verdict.nothing:
        of = f"in {verdict.untrained} of {counted(verdict.sessions, 'session')} of the best cell"
        whole = verdict.untrained == verdict.sessions
        return [
            f"Nothing was learned{f': {of},' if whole else f' {of}:'} no epoch of training was better than the start, "
            f"before any training (epoch 0). {task[0]} was to tell {task[1]}; "
            f"{'what is there answers' if whole else 'half of the sessions or more answer'} at random, so that no "
            f"score of {'it' if whole else 'them'} is shown ({SESSION}; {CELL}).",
            *why_nothing(findings, verdict),
            *in_folds(findings),
        ]
    done = f"{task[0]} was trained to tell {task[1]}."
    if verdict.untrained:
        done = (
            f"{task[0]} was to tell {task[1]}. In {verdict.untrained} of {counted(verdict.sessions, 'session')} "
            "nothing was learned: they kept their random start, and answer below together with the others."
        )
    return [done, *in_folds(findings), *([text] if (text := _test_split(findings)) else [])]


def _task(findings: Findings) -> tuple[str, str]:
    """What of a network is trained, and what it has to tell apart in which patches."""
    study = findings.study
    dataset, backbone = study["dataset"], study["backbone"]
    train = dataset["counts"]["train"].values()
    weights = "pretrained on ImageNet" if backbone["pretrained"] else "with random weights"
    if study["strategy"] == "scratch":
        weights = "from a random start"
    kind = "phantom slides (drawn by a program, no patient)" if dataset["phantom"] else "slides"
    network = f"{_trained(study['strategy'])} {backbone['name']}, {weights},"
    return network, (
        f"{_apart(dataset['classes'])} in {sum(row['patches'] for row in train)} patches of "
        f"{counted(families(dataset, 'train'), 'family', 'families')} of {kind}"
    )


def _apart(classes: Sequence[str]) -> str:
    return f"{classes[0]} from {classes[1]}" if len(classes) == 2 else f"{listing(classes)} apart"


def families(dataset: Mapping[str, Any], split: str | None = None) -> int:
    """Families of a split, or of the dataset: one that has patches of two labels counts once."""
    totals = dataset.get("distinct_families", {})
    if split is None:
        return int(totals["all"]) if "all" in totals else sum(dataset["families"].values())
    return int(totals[split]) if split in totals else sum(row["families"] for row in dataset["counts"][split].values())


def _test_split(findings: Findings) -> str:
    test = findings.test
    if test is None:
        return ""
    accuracy, units = test.score("accuracy"), LEVELS[test.units.level]
    who = f"{counted(distinct(test), 'family', 'families')}{_unseen(findings.study['dataset'])}"
    if findings.folds is not None and says_nothing(accuracy):
        return (
            f"The one test split, {who}, says next to nothing: {percent(accuracy.estimate)} of a family's {units} were "
            f"classified rightly, with {interval(accuracy)}."
        )
    note = session_note(test, accuracy) if findings.folds is None else ""
    return (
        f"On the test split, {who}, {percent(accuracy.estimate)} of a family's {units} were classified rightly, in the "
        f"mean over families ({interval(accuracy)}).{_by_slide(test)} {note} {guessing(test)}."
    ).replace("  ", " ")


def says_nothing(score: Score) -> bool:
    """Whether a score has no interval, or one so wide that it decides nothing."""
    return score.interval is None or score.interval.high - score.interval.low > SAYS_NOTHING


def _unseen(dataset: Mapping[str, Any]) -> str:
    """That training saw nothing of the test families, unless the audit found what splits share and was told to accept
    it.
    """
    kinds = set(dataset.get("audit", {})) - {"label"}
    accepted = dataset.get("config", {}).get("accept", [])
    return "" if kinds and accepted else " it never saw"


def _trained(strategy: str) -> str:
    """What of a network a strategy trains, up to the network's name."""
    if strategy == "scratch":
        return "The whole of"
    head = "A new last layer on"
    if "extension" in strategy:
        head = "A new head of several layers on"
    return head.removesuffix(" on") + " and the last layers of" if "unfreezing" in strategy else f"{head} the frozen"


def _by_slide(test: Tested) -> str:
    slides = test.scores.get(("slide", "accuracy"))
    if slides is None or slides.units == len(test.units.labels):
        return ""
    share = f"{percent(slides.estimate)} of {slides.units} slides"
    return f" With all patches of a slide taken together, {share} were classified rightly."


def why_nothing(findings: Findings, verdict: Verdict) -> list[str]:
    """What may be the cause where nothing was learned, and what to try."""
    rates = sorted(findings.study.get("config", {}).get("learning_rates", []))
    said = []
    if not verdict.training_fell:
        tried = f" ({', '.join(f'{rate:g}' for rate in rates)} were tried)" if rates else ""
        said.append(
            f"Not even the training loss fell: the learning rates{tried} may be too small, or so great that training "
            "diverges. Try others, as in --set=learning_rates=1e-4,1e-3,1e-2."
        )
    else:
        said.append(
            "The training loss fell and the validation loss did not: what was learned of the training families does "
            "not carry over to those of the validation split. There may be too few families, the labels may not differ "
            "in what this backbone sees, or the learning rates are too great."
        )
    mode = findings.study["dataset"]["standardisation"]["mode"]
    if findings.study["backbone"]["pretrained"] and mode == "per_split":
        said.append(
            "Each split is standardised by moments of its own (dataset.standardisation is per_split), so that a patch "
            "looks different to the backbone in each, and not as its pictures did: "
            "--set=dataset.standardisation=imagenet."
        )
    elif findings.study["backbone"]["pretrained"] and mode == "imagenet":
        said.append("Where the slides' scanners differ, --set=dataset.standardisation=train may help.")
    if not findings.study["backbone"]["pretrained"]:
        said.append("The backbone's weights are random; with --set=weights=imagenet its features may tell more.")
    return said


def verdict_words(findings: Findings, verdict: Verdict) -> tuple[str, list[str]]:
    """Whether the chosen cell learned: a word or two, and what that rests on."""
    reasons = [
        f"{verdict.sessions - verdict.untrained} of {counted(verdict.sessions, 'session')} of the chosen cell kept an "
        f"epoch of training; the median of the kept epochs is {verdict.median:g} of {verdict.epochs}."
    ]
    compared = "above" if verdict.validation_accuracy > verdict.chance else "not above"
    accuracy = (
        f"Their validation accuracy is {percent(verdict.validation_accuracy)}, {compared} the "
        f"{percent(verdict.chance)} of always answering one label"
    )
    doubtful = compared == "above" and not verdict.above_chance
    reasons.append(accuracy + (", but no further than guessing may reach on so few patches." if doubtful else "."))
    if verdict.last:
        more = (
            f": more may be better, as in --set=epochs={2 * verdict.epochs}"
            if 3 * verdict.last >= verdict.sessions and findings.study.get("config", {}).get("accuracy_goal") is None
            else ""
        )
        reasons.append(f"{counted(verdict.last, 'session')} kept the last epoch{more}.")
    if verdict.edge:
        rate = findings.study["chosen"]["learning_rate"]
        beyond = rate / 3 if verdict.edge == "least" else 3 * rate
        reasons.append(
            f"The chosen learning rate, {rate:g}, is the {verdict.edge} that was tried: one beyond it may be better, "
            f"as in --set=learning_rates={','.join(f'{value:.3g}' for value in sorted((rate, beyond)))}."
        )
    if verdict.nothing:
        return "No", reasons
    if not verdict.above_chance:
        return "It does not show", reasons
    if (doubted := doubt(findings)) is not None:
        return doubted[0], [f"{reasons[0]} That is by the one validation split.", *reasons[1:], doubted[1]]
    return ("In part" if verdict.untrained else "Yes"), reasons


def cautions(findings: Findings) -> list[str]:
    """What a reader must not overlook."""
    study = findings.study
    said = []
    if study["dataset"]["phantom"]:
        said.append(
            "This is a phantom: procedural pictures in the manner of stained tissue. It says nothing of any tumour."
        )
    said += _leaks(study["dataset"])
    # Not in the card of a dataset that an older version built.
    if magnifications := study["dataset"].get("magnifications"):
        said.append(magnifications[0].upper() + magnifications[1:])
    if not study["backbone"]["pretrained"] and study["strategy"] != "scratch":
        said.append("The backbone's weights are random: its features were never trained on any picture.")
    diverged = sum(cell.diverged for cell in findings.losses)
    if diverged:
        said.append(f"{diverged} of {findings.sessions} sessions diverged (a loss was not finite).")
    for name, tested in (("held-out families'", findings.folds), ("test split's", findings.test)):
        said += [] if tested is None else _guessing(name, tested)
    if findings.test is not None:
        said += _few_families(findings.test, findings.classes)
    return said


def _guessing(name: str, tested: Tested) -> list[str]:
    score, guess, metric = against_guessing(tested)
    if score.estimate is not None and score.estimate <= guess:
        return [
            f"The {name} {metric}, {percent(score.estimate)}, is not above the {percent(guess)} of always answering "
            "one label."
        ]
    if score.interval is not None and score.interval.low > guess:
        return []
    reach = (
        f"has no interval ({score.reason}) that would show it to be above"
        if score.interval is None
        else f"has an interval down to {percent(score.interval.low)}, not above"
    )
    return [
        f"The {name} {metric} {reach} the {percent(guess)} of always answering one label: it alone does not show that "
        "anything was learned."
    ]


def _few_families(test: Tested, classes: list[str]) -> list[str]:
    units = test.units
    number = [len(np.unique(units.families[units.labels == label])) for label in range(len(classes))]
    few = [f"{of} of {label}" for of, label in zip(number, classes, strict=True) if of < FEW_FAMILIES]
    if not few:
        return []
    return [
        f"Families in the test split: {listed(few)}. With fewer than {FEW_FAMILIES} of a label its score depends much "
        "on which ones."
    ]


def _leaks(dataset: Mapping[str, Any]) -> list[str]:
    """What the splits share, on purpose or accepted."""
    leak, audit = dataset.get("leak", "none"), dataset.get("audit", {})
    said = []
    if leak != "none":
        said.append(
            f"Training and validation share families on purpose (the dataset's leak is {leak}): a validation score is "
            "no estimate for new patients here."
            + ("" if dataset["config"].get("accept") else " The test split is not concerned.")
        )
    shared = {kind: row["findings"] for kind, row in audit.items() if kind != "label"}
    if shared and (leak == "none" or dataset["config"].get("accept")):
        counts = ", ".join(f"{count} of the kind {kind}" for kind, count in shared.items())
        said.append(f"The audit found what the splits share, and the dataset's config accepts it: {counts}.")
    if "label" in audit:
        number = audit["label"]["findings"]
        said.append(
            f"{counted(number, 'family has', 'families have')} patches of more than one label; each counts as one "
            "family everywhere."
        )
    return said
