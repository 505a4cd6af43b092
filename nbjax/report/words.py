"""What a report says in plain words."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from nbjax.analysis.scores import Score
from nbjax.analysis.units import Units
from nbjax.report.findings import Findings, Tested
from nbjax.report.grid import percent, span, three
from nbjax.report.score_tables import LEVELS
from nbjax.report.tables import strategy_text

FEW_FAMILIES = 5
CRITERIA = {
    "max_train_validation_loss": "the larger of its training and validation loss",
    "validation_loss": "its validation loss",
}


def chance(units: Units) -> float:
    """Accuracy of always answering the most frequent label."""
    return float(np.bincount(units.labels).max() / len(units.labels))


def counted(number: int, word: str, words: str = "") -> str:
    """A number with its noun, in the plural where that is due."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def answer(found: Findings) -> list[str]:
    """The first paragraphs: what was done, how well it went, how sure that is."""
    study, test, folds = found.study, found.test, found.folds
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
        so_far = "" if found.progress is None else f" ({found.progress[0]} of {counted(found.progress[1], 'program')})"
        return [*sentences, f"The study is not finished{so_far}: nothing was classified yet."]
    accuracy, units = test.score("accuracy"), LEVELS[test.units.level]
    spread = "" if accuracy.std is None else f", standard deviation {percent(accuracy.std)}"
    sentences.append(
        f"On the test split, {sum(accuracy.families)} families{_unseen(dataset)}, {percent(accuracy.estimate)} of the "
        f"{units} were classified rightly ({_interval(accuracy)}; mean of {counted(test.sessions, 'session')}{spread}), "
        f"at a loss of {_spread(test.score('loss'))}. Always answering the most frequent label "
        f"would give {percent(chance(test.units))}.{_by_slide(test)}"
    )
    if folds is not None:
        whole = folds.score("accuracy")
        sentences.append(
            f"One small test split says little. With each of the {sum(whole.families)} families held out once, "
            f"{percent(whole.estimate)} were classified rightly ({_interval(whole)})."
        )
    return sentences


def _unseen(dataset: Mapping[str, Any]) -> str:
    """That training saw nothing of the test families, unless the audit found what splits share and was told to accept it."""
    found = set(dataset.get("audit", {})) - {"label"}
    accepted = dataset.get("config", {}).get("accept", [])
    return "" if found and accepted else " it never saw"


def kicker(found: Findings) -> str:
    """What the study is about, in a line; its strategies, while none of them is chosen."""
    study = found.study
    names = study.get("config", {}).get("strategies", []) if study["chosen"] is None else []
    return " · ".join([" and ".join(found.classes), study["backbone"]["name"], ", ".join(names) or study["strategy"]])


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
    if slides is None or slides.units == test.score("accuracy").units:
        return ""
    return f" With all patches of a slide taken together, {percent(slides.estimate)} of {slides.units} slides were classified rightly."


def _spread(score: Score) -> str:
    return three(score.estimate) if score.std is None else f"{three(score.estimate)} ± {three(score.std)}"


def _interval(score: Score) -> str:
    if score.low is None:
        return f"no interval: {score.reason}"
    return f"95 % interval {span(score.low, score.high, percent)}, counting families"


def cautions(found: Findings) -> list[str]:
    """What a reader must not overlook."""
    study, test = found.study, found.test
    said = []
    if study["dataset"]["phantom"]:
        said.append(
            "This is a phantom: procedural pictures in the manner of stained tissue. It says nothing of any tumour."
        )
    said += _leaks(study["dataset"])
    if not study["backbone"]["pretrained"] and study["strategy"] != "scratch":
        said.append("The backbone's weights are random: its features were never trained on any picture.")
    diverged = sum(cell.diverged for cell in found.losses)
    if diverged:
        said.append(f"{diverged} of {found.sessions} sessions diverged (a loss was not finite).")
    if test is None:
        return said
    accuracy = test.score("accuracy")
    if accuracy.low is not None and accuracy.low <= chance(test.units):
        said.append(
            f"The test split's interval reaches down to {percent(accuracy.low)}, not above the {percent(chance(test.units))} of "
            "always answering the most frequent label: this test split alone does not show that the network learnt anything."
        )
    if min(accuracy.families) < FEW_FAMILIES:
        said.append(
            f"The test split has {' and '.join(map(str, accuracy.families))} families of the labels "
            f"{' and '.join(found.classes)}; with fewer than {FEW_FAMILIES} of a label its score depends much on which ones."
        )
    return said


def _leaks(dataset: Mapping[str, Any]) -> list[str]:
    """What the splits share, on purpose or accepted."""
    leak, audit = dataset.get("leak", "none"), dataset.get("audit", {})
    said = []
    if leak != "none":
        said.append(
            f"Training and validation share families on purpose (the dataset's leak is {leak}): a validation score is no "
            "estimate for new patients here."
            + ("" if dataset["config"].get("accept") else " The test split is not concerned.")
        )
    shared = {kind: row["findings"] for kind, row in audit.items() if kind != "label"}
    if shared and (leak == "none" or dataset["config"].get("accept")):
        counts = ", ".join(f"{count} of the kind {kind}" for kind, count in shared.items())
        said.append(f"The audit found what the splits share, and the dataset's config accepts it: {counts}.")
    if "label" in audit:
        said.append(f"{audit['label']['findings']} families have patches of more than one label.")
    return said


def is_clean(dataset: Mapping[str, Any]) -> bool:
    """Whether an audit was made and found nothing."""
    return "audit" in dataset and not dataset["audit"]


def audit(dataset: Mapping[str, Any], patches: int) -> str:
    """What was checked, and what came of it."""
    if "audit" not in dataset:
        return (
            "This dataset's card holds no audit: it was built by an older version. Run experiments.audit on its folder."
        )
    checked = f"All {patches:,} patches were compared across the three splits"
    if not dataset["audit"]:
        return f"{checked}: none shares a family, a pixel or its looks with a patch of another split."
    return f"{checked}. What was found is counted below; the dataset was built nevertheless, since its config accepts it or leaks on purpose."


def progress(found: Findings) -> str:
    """How much of the study there is."""
    cells = counted(len(found.losses), "cell")
    said = f"{counted(found.sessions, 'session')} in {cells} of the grid."
    if found.progress is not None:
        finished, programs = found.progress
        said = f"So far {said} {finished} of the study's {counted(programs, 'program')} are finished."
    return said


def uncertainty(found: Findings) -> list[str]:
    """What the intervals count, and how much that matters here."""
    assert found.test is not None
    accuracy, units = found.test.score("accuracy"), LEVELS[found.test.units.level]
    said = (
        f"{units.capitalize()} of one family are alike, so that {counted(accuracy.units, units[:-1] if units == 'samples' else 'patch', units)} "
        f"of {sum(accuracy.families)} families say less than as many independent ones would. The question is how well other "
        "families would be classified, so families are what the intervals count."
    )
    if accuracy.times_wider is not None:
        drawn, naive = (
            span(low, high, percent)
            for low, high in (
                (accuracy.bootstrap_low, accuracy.bootstrap_high),
                (accuracy.naive_low, accuracy.naive_high),
            )
        )
        said += (
            f" For the accuracy a bootstrap that draws families gives an interval {accuracy.times_wider:.1f} times as wide as one that "
            f"draws {units} ({drawn} against {naive}). With few families even the former is too narrow; the intervals of this "
            f"report are Student's t over families{'' if accuracy.low is None else f': {span(accuracy.low, accuracy.high, percent)}'}."
        )
    if accuracy.std is not None:
        said += (
            f" Seeds matter too: {counted(accuracy.sessions, 'session')} that differ in nothing else have a standard deviation of "
            f"{percent(accuracy.std)}."
        )
    return [said]


def winner(found: Findings) -> str:
    """The correction for having picked the best of many."""
    assert found.winner is not None
    nested = found.winner.nested
    if nested is None:
        return f"No correction for having picked the best of many can be made: {found.winner.reason}."
    left_out = len(found.losses) - nested.cells
    without = f" ({counted(left_out, 'cell')} with a session without a finite loss left out)" if left_out > 0 else ""
    luck = "No flattery shows."
    if nested.optimism > 0:
        luck = f"Such a choice flatters by about {three(nested.optimism)}, one by all seeds by less."
    return (
        f"The chosen cell is the best of {nested.cells} cells{without}, and the best of many is partly lucky. The best cell by half of "
        f"the {nested.seeds} seeds has a mean selected loss of {three(nested.apparent)} on these, and of {three(nested.honest)} on the "
        f"others, which did not choose it. {luck} The luckiest of all {nested.cells * nested.seeds} sessions has {three(nested.luckiest)}."
    )


def best(found: Findings) -> str:
    """Which cell was chosen, and how it fared by the criterion."""
    assert found.chosen is not None
    cell, accuracy = found.losses[found.chosen], found.accuracies[found.chosen]
    values, epochs = cell.values, found.study["chosen"].get("epochs")
    spread = "" if cell.std is None else f" ± {three(cell.std)}"
    kept = "" if epochs is None else f" The median of its kept epochs is {epochs}."
    return (
        f"{values['backbone']}, {strategy_text(values)}, learning rate {values['learning_rate']:g}, batch size {values['batch_size']}: "
        f"selected loss {three(cell.mean.value)}{spread} and validation accuracy {percent(accuracy.mean.value)} over "
        f"{counted(cell.sessions, 'session')}.{kept}"
    )


def calibration(found: Findings) -> str:
    """What temperature scaling says, or why there is none."""
    scaling = found.calibration
    if scaling is None:
        return (
            "Temperature scaling needs predictions on the validation split, which this study's folder does not hold "
            "(validation_predictions.parquet; running the study's command again writes it)."
        )
    temperature, many = scaling.temperature, len(scaling.temperature) > 1
    spread = f" ± {temperature.std(ddof=1):.2f}" if many else ""
    mean = temperature.mean()
    said = (
        f"A temperature fitted on {counted(scaling.validation_samples, 'validation sample')} is {mean:.2f}{spread} over "
        f"{counted(len(temperature), 'session')}{_manner(temperature)}. Dividing the test split's logits by it changes "
        f"no prediction of a sample, and moves the expected calibration error from {percent(scaling.error_before.mean())} to "
        f"{percent(scaling.error_after.mean())}."
    )
    if scaling.at_bound.any():
        said += (
            f" Of {counted(int(scaling.at_bound.sum()), 'session')} the temperature lies at an end of its range: validation does not "
            "determine it."
        )
    return said


def _manner(temperature: np.ndarray) -> str:
    """What the temperatures of sessions say of their certainty, where Student's interval of their mean leaves 1 out."""
    count = len(temperature)
    if count < 2:
        return ""
    half = stats.t.ppf(0.975, count - 1) * temperature.std(ddof=1) / count**0.5
    low, high = temperature.mean() - half, temperature.mean() + half
    if low <= 1 <= high:
        return ": neither too certain nor too uncertain on validation, as far as they show"
    return f": on validation the predictions were {'too certain' if low > 1 else 'not certain enough'}"


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
    others = [one for one in study.get("backbones", []) if one["name"] != study["backbone"]["name"]]
    return [
        ("manifest (sha256)", study["dataset"]["sha256"]),
        ("weights (sha256)", study["backbone"]["sha256"]),
        *((f"weights of {one['name']} (sha256)", one["sha256"]) for one in others),
        ("versions", ", ".join(f"{name} {version}" for name, version in study["versions"].items())),
        ("hardware", ", ".join(f"{name}: {value}" for name, value in study["hardware"].items())),
        ("seconds", ", ".join(f"{name} {value:.1f}" for name, value in study["seconds"].items())),
    ]
