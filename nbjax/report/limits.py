"""What a study cannot say: each limit follows from its own numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from nbjax.english import counted, listed
from nbjax.report.answer import FEW_FAMILIES
from nbjax.report.findings import Findings
from nbjax.report.held_out import distinct
from nbjax.report.table import percent, three

FEW_SESSIONS = 5


def limits(findings: Findings) -> list[str]:
    """A sentence or two each, the gravest first."""
    return [*_slides(findings), *_partition(findings), *_search(findings)]


def _slides(findings: Findings) -> list[str]:
    dataset = findings.study["dataset"]
    if dataset["phantom"]:
        return ["The slides are drawn by a program: whatever this report says of them says nothing of any tissue."]
    said = [
        "All intervals are for families like these. How slides of another laboratory, stain or scanner would be "
        "classified, nothing here tells."
    ]
    alike = dataset.get("one_patients_names", {})
    if alike:
        said.append(
            f"{_alike(alike)} Where that is so, put the slides of one patient into one folder: else the same patient "
            "may lie in two splits, and the scores are too good."
        )
    elif dataset["slides"] == dataset["families"]:
        said.append(
            f"Every one of the {sum(dataset['slides'].values())} slides counts as a family of its own. Where a patient "
            "has several slides, put them into one folder, or the same patient may lie in two splits."
        )
    return [*said, *_left_out(dataset)]


def _alike(alike: Mapping[str, Sequence[str]]) -> str:
    """That families' names look like one patient's, with an example."""
    names = next(iter(alike.values()))
    families = sum(map(len, alike.values()))
    patients, such = counted(len(alike), "patient"), f"as {names[0]} and {names[1]} do"
    return f"{families} families have names that look like those of {patients}, {such}."


def _left_out(dataset: Mapping[str, Any]) -> list[str]:
    """What of the slides is not in the dataset, or is not known of them."""
    said = []
    without, resolution = dataset.get("without_patches", []), dataset.get("resolution", {})
    if without:
        said.append(f"{counted(len(without), 'slide')} gave no patch and took no part: {listed(without, 3)}.")
    if resolution.get("known") and resolution.get("unknown"):
        said.append(
            f"Of {resolution['known'] + resolution['unknown']} slides {resolution['unknown']} state no resolution: "
            "whether all show tissue at one magnification, nothing here tells."
        )
    return said


def _partition(findings: Findings) -> list[str]:
    counts, test, folds = findings.study["dataset"]["counts"], findings.test, findings.folds
    said = []
    validation = [row["families"] for row in counts.get("validation", {}).values()]
    if validation and min(validation) < FEW_FAMILIES:
        said.append(
            "The epochs of the study's own sessions, and its cell, were chosen by a validation split of "
            f"{' + '.join(map(str, validation))} families: with others another cell may have been chosen."
        )
    if test is None:
        return said
    if folds is None:
        said.append(
            f"There is one partition, and with it one test split of {distinct(test)} families. "
            f"{_no_folds(findings.study)}"
        )
        return said
    on_test, in_folds = (result.score("accuracy").estimate for result in (test, folds))
    assert on_test is not None
    assert in_folds is not None
    said.append(
        f"There is one partition, with one test split of {distinct(test)} families: it gives {percent(on_test)}, and "
        f"holding out every family once {percent(in_folds)}. Other test families would give another number."
    )
    if len({(cell.key.backbone, cell.key.strategy, cell.key.nonlinearities) for cell in findings.losses}) > 1:
        said[-1] += " Backbone and strategy were chosen with all families in view, those held out too."
    return said


def _no_folds(study: Mapping[str, Any]) -> str:
    strategy = study["strategy"]
    if strategy == "scratch" or "unfreezing" in strategy:
        cost = f"{strategy} trains more than a head and each fold would cost a study"
        return f"Families were not held out in turn, since {cost}."
    return "Families were not held out in turn."


def _search(findings: Findings) -> list[str]:
    said = []
    winner = findings.winner
    if winner is not None and winner.nested is not None:
        flattered = "no flattery shows in a choice by half of them"
        if winner.nested.optimism > 0:
            flattered = f"a choice by half of them is by about {three(winner.nested.optimism)}, one by all by less"
        said.append(
            f"{winner.nested.cells} cells were compared, so that the chosen cell's selected loss may be too low for "
            f"its luck with seeds: {flattered}. The test split had no part in that choice."
        )
    fewest = min((cell.sessions for cell in findings.losses), default=0)
    if 0 < fewest < FEW_SESSIONS:
        said.append(
            f"Cells have as few as {counted(fewest, 'session')}: their standard deviations and intervals are "
            "themselves uncertain."
        )
    if findings.progress is not None:
        finished, programs = findings.progress
        said.append(
            f"The study is not finished: {programs - finished} of {counted(programs, 'program')} are missing, "
            "and what is missing may be better than what is here."
        )
    return said
