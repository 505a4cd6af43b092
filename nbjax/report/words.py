"""What a report says in plain words, after its first paragraphs."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from nbjax.english import counted, listed
from nbjax.report.findings import Findings
from nbjax.report.held_out import distinct
from nbjax.report.score_tables import LEVELS
from nbjax.report.table import percent, span, three
from nbjax.report.tables import strategy_text

NO_COMMAND = "none: it was run from Python, and no command repeats it; its config is in study.json"
CRITERIA = {
    "max_train_validation_loss": "the larger of its training and validation loss",
    "validation_loss": "its validation loss",
}


def title(study: Mapping[str, Any]) -> str:
    """The name of the slides' folder; of a phantom, the study's."""
    dataset = study["dataset"]
    return str(study["name"]) if dataset["phantom"] else Path(dataset["source"]).name


def kicker(findings: Findings) -> str:
    """What the study is about, in a line; its strategies, while none of them is chosen."""
    study = findings.study
    names = study.get("config", {}).get("strategies", []) if study["chosen"] is None else []
    return " · ".join([listed(findings.classes, 4), study["backbone"]["name"], ", ".join(names) or study["strategy"]])


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
        return (
            f"{checked}: none shares a family, a pixel or its looks with a patch of another split, and no two families "
            "share a patch. Patients filed as two families, stains and magnifications are not what it compares; nor "
            "does it see a copy that is cut into patches at other places, as a turned slide is whose edges the grid "
            "does not divide."
        )
    if set(dataset["audit"]) == {"label"}:
        none = "none shares a pixel or its looks with a patch of another split"
        return f"{checked}: {none}. Families of two labels, each in one split, are no leak."
    why = "the dataset was built nevertheless, since its config accepts it or leaks on purpose"
    return f"{checked}. What was found is counted below; {why}."


def progress(findings: Findings) -> str:
    """How much of the study there is."""
    cells = counted(len(findings.losses), "cell")
    said = f"{counted(findings.sessions, 'session')} in {cells} of the grid."
    if findings.progress is not None:
        finished, programs = findings.progress
        said = f"So far {said} {finished} of the study's {counted(programs, 'program')} are finished."
    return said


def uncertainty(findings: Findings) -> list[str]:
    """What the intervals count, and how much that matters here."""
    if findings.test is None:
        return []
    accuracy, units = findings.test.score("accuracy"), LEVELS[findings.test.units.level]
    said = (
        f"{units.capitalize()} of one family are alike, so that "
        f"{counted(accuracy.units, units[:-1] if units == 'samples' else 'patch', units)} of "
        f"{counted(distinct(findings.test), 'family', 'families')} say less than as many independent ones would. The "
        "question is how well other families would be classified, so every family counts once, however many "
        f"{units} it has, and intervals are Student's t over families. Where {units} are counted there is no interval: "
        "large families may be the hard ones, and then none would hold."
    )
    if accuracy.times_wider is not None:
        said += (
            f" For the accuracy the interval, {span(accuracy.interval, percent)}, is {accuracy.times_wider:.1f} times "
            f"as wide as one that takes {units} for independent ({span(accuracy.naive, percent)})."
        )
    if accuracy.std is not None:
        said += (
            f" Seeds matter too: {counted(accuracy.sessions, 'session')} that differ in nothing else have a standard "
            f"deviation of {percent(accuracy.std)}; all scores are those of their answers taken together."
        )
    return [said]


def winner(findings: Findings) -> str:
    """The correction for having picked the best of many."""
    assert findings.winner is not None
    nested = findings.winner.nested
    if nested is None:
        return f"No correction for having picked the best of many can be made: {findings.winner.reason}."
    left_out = len(findings.losses) - nested.cells
    without = f" ({counted(left_out, 'cell')} with a session without a finite loss left out)" if left_out > 0 else ""
    luck = "No flattery shows."
    if nested.optimism > 0:
        luck = f"Such a choice flatters by about {three(nested.optimism)}, one by all seeds by less."
    return (
        f"The chosen cell is the best of {nested.cells} cells{without}, and the best of many is partly lucky. The best "
        f"cell by half of the {nested.seeds} seeds has a mean selected loss of {three(nested.apparent)} on these, and "
        f"of {three(nested.honest)} on the others, which did not choose it. {luck} The luckiest of all "
        f"{nested.cells * nested.seeds} sessions has {three(nested.luckiest)}."
    )


def best(findings: Findings) -> str:
    """Which cell was chosen, and how it fared by the criterion."""
    assert findings.chosen is not None
    cell, accuracy = findings.losses[findings.chosen], findings.accuracies[findings.chosen]
    key = cell.key
    spread = "" if cell.std is None else f" ± {three(cell.std)}"
    kept = "" if findings.verdict is None else f" The median of its kept epochs is {findings.verdict.median:g}."
    return (
        f"{key.backbone}, {strategy_text(key)}, learning rate {key.learning_rate:g}, batch size "
        f"{key.batch_size}: selected loss {three(cell.mean.value)}{spread} and validation accuracy "
        f"{percent(accuracy.mean.value)} over {counted(cell.sessions, 'session')}.{kept}"
    )


def calibration(findings: Findings) -> str:
    """What temperature scaling says, or why there is none."""
    scaling = findings.calibration
    if scaling is None:
        return (
            "Temperature scaling needs predictions on the validation split, which this study's folder does not hold "
            "(validation_predictions.parquet; running the study's command again writes it)."
        )
    temperature, many = scaling.temperature, len(scaling.temperature) > 1
    spread = f" ± {temperature.std(ddof=1):.2f}" if many else ""
    mean = temperature.mean()
    said = (
        f"A temperature fitted on {counted(scaling.validation_samples, 'validation sample')} is {mean:.2f}{spread} "
        f"over {counted(len(temperature), 'session')}{_manner(temperature)}. Dividing the test split's logits by it "
        "changes no prediction of a sample, and moves the expected calibration error from "
        f"{percent(scaling.error_before.mean())} to {percent(scaling.error_after.mean())}."
    )
    if scaling.at_bound.any():
        said += (
            f" Of {counted(int(scaling.at_bound.sum()), 'session')} the temperature lies at an end of its range: "
            "validation does not determine it."
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


def slides_source(dataset: Mapping[str, Any]) -> str:
    """Where the slides came from."""
    return f"phantom ({dataset['source']})" if dataset["phantom"] else f"given: {dataset['source']}"


def nature(findings: Findings) -> list[tuple[str, str]]:
    """Of everything that went in: was it real, random, a phantom or pretrained."""
    study = findings.study
    dataset, backbone = study["dataset"], study["backbone"]
    weights = "pretrained" if backbone["pretrained"] else "random"
    provenance = backbone["provenance"]
    if study["strategy"] == "scratch":
        weights, provenance = "random", "a start of its own for each seed (torch's default initialisation)"
    return [
        ("slides", slides_source(dataset)),
        ("backbone", f"{weights}: {backbone['name']}, {backbone['parameters']:,} parameters, {provenance}"),
        ("head", _head(findings)),
        ("order of samples", "random, one order per seed and epoch"),
        ("crop", study["crop"]),
        ("frozen part", study["cut"]),
    ]


def _head(findings: Findings) -> str:
    start, verdict = str(findings.study["head"]["initialisation"]), findings.verdict
    if verdict is None or not verdict.untrained:
        return start
    return f"{start}; untrained in {verdict.untrained} of {counted(verdict.sessions, 'session')} of the chosen cell"


def positive(findings: Findings) -> str:
    """Of two labels, which is the positive one and why; empty with more."""
    if len(findings.classes) != 2:
        return ""
    other, name = findings.classes
    if findings.study.get("config", {}).get("positive") is None:
        return (
            f"The positive label is {name}: none was named, so that the last by alphabet is; "
            f"--set=positive={shlex.quote(other)} with the study's command makes it the other, and trains nothing anew."
        )
    return f"The positive label is {name}, as the study's config names it."


def fingerprints(study: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What identifies the inputs, the software and the machine."""
    others = [backbone for backbone in study.get("backbones", []) if backbone["name"] != study["backbone"]["name"]]
    return [
        ("manifest (sha256)", study["dataset"]["sha256"]),
        ("weights (sha256)", study["backbone"]["sha256"]),
        *((f"weights of {backbone['name']} (sha256)", backbone["sha256"]) for backbone in others),
        ("versions", ", ".join(f"{name} {version}" for name, version in study["versions"].items())),
        ("hardware", ", ".join(f"{name}: {value}" for name, value in study["hardware"].items())),
        ("seconds", ", ".join(f"{name} {value:.1f}" for name, value in study["seconds"].items())),
    ]
