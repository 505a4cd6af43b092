"""What a report says in plain words."""

from collections.abc import Mapping, Sequence
from typing import Any

from nbjax.analysis.metrics import TestResult
from nbjax.analysis.selection import Cell
from nbjax.analysis.uncertainty import Interval
from nbjax.report.tables import loss, percent

FEW_FAMILIES = 5
CRITERIA = {
    "max_train_validation_loss": "the larger of its training and validation loss",
    "validation_loss": "its validation loss",
}


def chance(result: TestResult) -> float:
    """Accuracy of always answering the most frequent label."""
    return float(result.confusion.sum(axis=1).max() / result.confusion.sum())


def answer(study: Mapping[str, Any], test: TestResult | None, folds: TestResult | None) -> list[str]:
    """The first paragraphs: what was done, how well it went, how sure that is."""
    dataset, backbone = study["dataset"], study["backbone"]
    train = dataset["counts"]["train"].values()
    weights = "pretrained on ImageNet" if backbone["pretrained"] else "with random weights"
    if study["strategy"] == "scratch":
        weights = "from a random start"
    kind = "phantom slides (drawn by a program, no patient)" if dataset["phantom"] else "slides"
    sentences = [
        f"{_trained(study['strategy'])} {backbone['name']}, {weights}, was trained to tell {' from '.join(dataset['classes'])} "
        f"in {sum(row['patches'] for row in train)} patches of {sum(row['families'] for row in train)} families of {kind}."
    ]
    if test is None:
        return [*sentences, "The study is not finished: nothing was classified yet."]
    sentences.append(
        f"On the test split, {sum(test.accuracy.families)} families it never saw, {percent(test.accuracy.estimate)} of the "
        f"samples were classified rightly ({_interval(test.accuracy)}; mean of {test.sessions} sessions, standard deviation "
        f"{percent(test.accuracy_std)}), at a loss of {loss(test.loss.estimate)}. Always answering the most frequent label "
        f"would give {percent(chance(test))}."
    )
    if folds is not None:
        sentences.append(
            f"One small test split says little. With each of the {sum(folds.accuracy.families)} families held out once, "
            f"{percent(folds.accuracy.estimate)} were classified rightly ({_interval(folds.accuracy)})."
        )
    return sentences


def _trained(strategy: str) -> str:
    """What of a network a strategy trains, up to the network's name."""
    if strategy == "scratch":
        return "The whole of"
    head = "A new last layer on"
    if "extension" in strategy:
        head = "A new head of several layers on"
    return head + (" and the last layers of" if "unfreezing" in strategy else " the frozen")


def _interval(result: Interval) -> str:
    if result.low is None:
        return f"no interval: {result.reason}"
    return f"95 % interval {percent(result.low)} to {percent(result.high)}, counting families"


def cautions(study: Mapping[str, Any], cells: Sequence[Cell], test: TestResult | None) -> list[str]:
    """What a reader must not overlook."""
    found = []
    if study["dataset"]["phantom"]:
        found.append(
            "This is a phantom: procedural pictures in the manner of stained tissue. It says nothing of any tumour."
        )
    found += _leaks(study["dataset"])
    if not study["backbone"]["pretrained"] and study["strategy"] != "scratch":
        found.append("The backbone's weights are random: its features were never trained on any picture.")
    diverged = sum(cell.diverged for cell in cells)
    if diverged:
        found.append(f"{diverged} of {sum(cell.sessions for cell in cells)} sessions diverged (a loss was not finite).")
    if test is None:
        return found
    if test.accuracy.low is not None and test.accuracy.low <= chance(test):
        found.append(
            f"The test split's interval reaches down to {percent(test.accuracy.low)}, not above the {percent(chance(test))} of "
            "always answering the most frequent label: this test split alone does not show that the network learnt anything."
        )
    if min(test.accuracy.families) < FEW_FAMILIES:
        found.append(
            f"The test split has {' and '.join(map(str, test.accuracy.families))} families of the labels "
            f"{' and '.join(study['dataset']['classes'])}; with fewer than {FEW_FAMILIES} of a label its score depends much on which ones."
        )
    return found


def _leaks(dataset: Mapping[str, Any]) -> list[str]:
    """What the splits share, on purpose or accepted."""
    leak, audit = dataset.get("leak", "none"), dataset.get("audit", {})
    found = []
    if leak != "none":
        found.append(
            f"Training and validation share families on purpose (the dataset's leak is {leak}): a validation score is no "
            "estimate for new patients here. The test split is not concerned."
        )
    shared = {kind: row["findings"] for kind, row in audit.items() if kind != "label"}
    if shared and leak == "none":
        counts = ", ".join(f"{count} of the kind {kind}" for kind, count in shared.items())
        found.append(f"The audit found what the splits share, and the dataset's config accepts it: {counts}.")
    if "label" in audit:
        found.append(f"{audit['label']['findings']} families have patches of more than one label.")
    return found


def nature(study: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of everything that went in: was it real, random, a phantom or pretrained."""
    dataset, backbone, head = study["dataset"], study["backbone"], study["head"]
    weights = "pretrained" if backbone["pretrained"] else "random"
    provenance = backbone["provenance"]
    if study["strategy"] == "scratch":
        weights, provenance = "random", "a start of its own for each seed (torch's default initialisation)"
    return [
        ("slides", f"phantom ({dataset['source']})" if dataset["phantom"] else f"given: {dataset['source']}"),
        ("backbone", f"{weights}: {backbone['name']}, {backbone['parameters']:,} parameters, {provenance}"),
        ("head", head["initialisation"]),
        ("order of samples", "random, one order per seed and epoch"),
        ("crop", study["crop"]),
        ("frozen part", study["cut"]),
    ]


def fingerprints(study: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What identifies the inputs, the software and the machine."""
    return [
        ("manifest (sha256)", study["dataset"]["sha256"]),
        ("weights (sha256)", study["backbone"]["sha256"]),
        ("versions", ", ".join(f"{name} {version}" for name, version in study["versions"].items())),
        ("hardware", ", ".join(f"{name}: {value}" for name, value in study["hardware"].items())),
        ("seconds", ", ".join(f"{name} {value:.1f}" for name, value in study["seconds"].items())),
    ]
