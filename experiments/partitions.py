"""How much of a test score is the partition, how much the seed, how much a leak.

    python -m experiments.partitions --config=configs/partitions.py --slides=FOLDER --out=results/partitions
    python -m experiments.partitions --size=small

The slides are tiled and the dataset is built once; its card has the audit. One feature bank holds every patch under all
transforms (`dataset.transforms` and identity), standardised by constants, so that a patch has the same features in every
split. Then the head is trained anew from each seed under each of many resampled near-optimal partitions (classes are
resampled one by one, or together where families have several), and under iterative filing's own, or exact's with
`--set=dataset.method=exact`, which families of two labels need. Each partition is balanced as a dataset built with it would be:
its splits take the first transforms of each class that `nbjax.samples.transforms_per_class` gives for their numbers of
patches. Training and validation families choose a session's epoch; its test families are scored once.

For the leak curve a share of the families in train and validation has its patches dealt at random to both. The reported
score is the validation split's, the true one that of the test families, which never leak. Leaks also let training see
patches of more families, which may raise the true score too. Beside it the accuracy of
scikit-learn's logistic regression in 5-fold cross-validation (C = 0.01, standardised features, five repetitions), whose
folds leak in the same way: whole families at 0, random patches at 1.

Writes partitions.parquet (a row a partition and seed; partition 0 is filing's), assignments.parquet (partition x family),
leak.parquet, leak_regression.parquet, variance.json, record.json, and figures/ as PNG with their numbers as CSV. Sessions
are stored in chunks: the same command goes on from them.
"""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from absl import flags

from experiments import study as studies
from experiments.cli import run
from nbjax import __version__
from nbjax.config import PartitionStudyConfig, load_config, to_dict
from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.spreadsheet import write_csv

OWN_CONFIG = "configs/partitions.py"
# The paper's one test score (III, of another dataset); context, never a target.
PAPER_ACCURACY = 0.8843
LEVELS = {"sample": "samples (as in the paper)", "patch": "patches", "family": "families"}


def main() -> None:
    """Runs the study that the flags describe."""
    path = studies.CONFIG.value
    config = load_config(path, studies.SET.value, studies.SIZE.value)
    if not isinstance(config, PartitionStudyConfig):
        raise InputError(f"{path}: get_config() returned a {type(config).__name__}; expected a PartitionStudyConfig.")
    out = Path(studies.OUT.value or f"results/{config.name}")
    banks = None if studies.BANKS.value is None else Path(studies.BANKS.value)
    for line in study(config, studies.SLIDES.value, out, banks):
        print(line)
    print(f"\ntables and figures: {out}")


def study(config: PartitionStudyConfig, slides: str | None, out: Path, banks: Path | None = None) -> list[str]:
    """Runs every step in folder `out` and returns the answer in plain words."""
    from nbjax.training.partition_study import (
        arrange_leaks,
        arrange_partitions,
        assignment_table,
        run_arrangements,
    )
    from nbjax.training.store import locked, write_table

    with locked(out):
        begin = time.perf_counter()
        seconds: dict[str, float] = {}
        cohort, key = features(config, slides, out, banks or out / "banks")
        seconds["slides to features"] = time.perf_counter() - begin
        partitions = arrange_partitions(cohort, config)
        write_table(assignment_table(cohort, partitions), out / "assignments.parquet")
        tables = {}
        for name, some, seeds in (
            ("partitions", partitions, config.seeds),
            ("leak", arrange_leaks(cohort, partitions, config), config.leak_seeds),
        ):
            start = time.perf_counter()
            if some:
                print(f"{name}: {len(some) * seeds} sessions of {config.epochs} epochs")
                tables[name] = run_arrangements(cohort, some, config, seeds, out / "chunks", key)
                write_table(tables[name], out / f"{name}.parquet")
            seconds[f"{name}, sessions"] = time.perf_counter() - start
        start = time.perf_counter()
        if config.leak_fractions:
            tables["regression"] = _regression(cohort, config, out / "chunks", key)
            write_table(tables["regression"], out / "leak_regression.parquet")
        seconds["logistic regression"] = time.perf_counter() - start
        start = time.perf_counter()
        lines = _conclude(config, tables, out)
        seconds["analysis and figures"] = time.perf_counter() - start
        _record(config, slides, out, key, seconds)
        print("seconds: " + ", ".join(f"{step} {value:.0f}" for step, value in seconds.items()))
        return lines


def features(config: PartitionStudyConfig, slides: str | None, out: Path, banks: Path) -> tuple[Any, dict[str, Any]]:
    """The cohort on its bank, and what decides the features."""
    from datasets.neuroblastoma.neuroblastoma_dataset_builder import build_from_manifest
    from nbjax.models import load_headless
    from nbjax.samples.reading import open_dataset, under_transforms
    from nbjax.training.bank import feature_bank
    from nbjax.training.inputs import view_of
    from nbjax.training.partition_study import cohort_of

    folder = studies.slides_folder(config, slides, out)
    manifest = studies.tile(config, folder, out)
    (described,) = studies.check_backbones(config).values()
    built = open_dataset(build_from_manifest(folder, manifest, config.dataset, out / "dataset", "compact"))
    dataset = under_transforms(built, config.dataset.transforms + 1)
    backbone = load_headless(config.backbones[0], config.weights, config.input_size)
    view = view_of(dataset.card["patch_size"], config.input_size or backbone.input_size, config.fidelity)
    bank = feature_bank(dataset, backbone, backbone.network.stages[-1].name, view, banks)
    key = {
        "dataset": dataset.card["sha256"],
        "dataset_config": dataset.card["config"],
        "backbone": described["name"],
        "weights": described["sha256"],
        "provenance": described["provenance"],
        "phantom": dataset.card["phantom"],
        "view": list(view),
    }
    return cohort_of(bank, tuple(dataset.card["classes"])), key


def _regression(cohort: Any, config: PartitionStudyConfig, folder: Path, key: dict[str, Any]) -> pa.Table:
    """Accuracy of the logistic regression by leak fraction and repetition, on each patch as it is."""
    from nbjax.analysis.leak_curve import regression_accuracies
    from nbjax.training.store import is_whole, read_table, write_table

    decides = json.dumps([key, "regression", config.leak_fractions, __version__], sort_keys=True)
    path = folder / f"{hashlib.sha256(decides.encode()).hexdigest()[:24]}.parquet"
    if not is_whole(path):
        print(f"logistic regression: {25 * len(config.leak_fractions)} fits by scikit-learn")
        features = np.asarray(cohort.bank.inputs)[cohort.rows[:, 0]]
        # By name: the folds that scikit-learn draws depend on how the groups are sorted.
        family = np.asarray(cohort.families)[cohort.family]
        found = [regression_accuracies(features, cohort.label, family, one) for one in config.leak_fractions]
        table = {
            "fraction": np.repeat(config.leak_fractions, 5),
            "repetition": np.tile(np.arange(5, dtype=np.int32), len(found)),
            "accuracy": np.concatenate(found),
        }
        write_table(pa.table(table), path)
    return read_table(path)


def _conclude(config: PartitionStudyConfig, tables: dict[str, pa.Table], out: Path) -> list[str]:
    """Analyses the tables, draws, and says what was found."""
    from nbjax.analysis.leak_curve import leak_points, point_of, score_matrix
    from nbjax.analysis.variance import variance_components
    from nbjax.report.partition_study_figures import leak_figure, score_distribution, variance_figure

    lines, notes = [], []
    for name in ("partitions", "leak"):
        diverged = int(np.sum(tables[name]["diverged"].to_numpy(zero_copy_only=False))) if name in tables else 0
        if diverged:
            notes.append(f"{name}: {diverged} sessions diverged; they keep their best finite epoch and are counted.")
    scores = {level: score_matrix(tables["partitions"], f"test_{level}_accuracy") for level in LEVELS}
    components = {LEVELS[level]: variance_components(found[1:]) for level, found in scores.items()}
    filing, resampled = scores["sample"][0], scores["sample"][1:]
    placed = _placed(resampled, float(filing.mean()), PAPER_ACCURACY)
    # Whose partition number 0 is: exact's where filing does not apply.
    method = tables["partitions"]["method"][0].as_py()
    content = {name: _plain(one) for name, one in components.items()} | {"placed": placed}
    with replacing(out / "variance.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    title = f"Test accuracy, {resampled.size} sessions of {config.strategies[0]} on {config.backbones[0]}"
    figures = {
        "variance": (variance_figure(components, "Where the test accuracy's variance comes from"), _rows(components)),
        "distribution": (
            score_distribution(
                resampled,
                filing,
                PAPER_ACCURACY,
                title,
                method="iterative filing" if method == "filing" else "the exact method",
            ),
            [{"partition": number, "mean": float(row.mean())} for number, row in enumerate(scores["sample"])],
        ),
    }
    lines += _answer(components[LEVELS["sample"]], placed, method)
    if config.leak_fractions:
        regression = tables["regression"]
        fractions, accuracies = (regression[name].to_numpy() for name in ("fraction", "accuracy"))
        curves = {
            "reported: the head on a validation split that leaks": leak_points(
                tables["leak"], "validation_sample_accuracy"
            ),
            "true: the same sessions on test families, which never leak": leak_points(
                tables["leak"], "test_sample_accuracy"
            ),
            "reported: logistic regression in 5-fold cross-validation": {
                float(one): point_of(accuracies[fractions == one][:, None]) for one in np.unique(fractions)
            },
        }
        rows = [
            {"curve": name, "fraction": fraction, **point._asdict()}
            for name, points in curves.items()
            for fraction, point in points.items()
        ]
        figures["leak_curve"] = (leak_figure(curves, "What leaking families do to a reported accuracy"), rows)
        lines += _leak_answer(curves, tables["leak"])
    for name, (figure, rows) in figures.items():
        with replacing(out / "figures" / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png")
        write_csv(rows, out / "figures" / f"{name}.csv")
    return [*lines, *notes]


def _placed(sessions: np.ndarray, filing: float, paper: float) -> dict[str, Any]:
    """Where two scores lie among those of partitions x seeds `sessions`: the share below, in [0, 1]."""
    means = sessions.mean(axis=1)
    return {
        "resampled_mean": float(means.mean()),
        "resampled_std": float(means.std(ddof=1)),
        "resampled_quantiles": np.quantile(means, [0, 0.025, 0.5, 0.975, 1]).tolist(),
        "filing": filing,
        "filing_percentile": float(np.mean(means < filing)),
        "paper": paper,
        # One session, and so placed among sessions.
        "paper_percentile": float(np.mean(sessions < paper)),
    }


def _plain(components: Any) -> dict[str, Any]:
    return {name: part._asdict() if hasattr(part, "_asdict") else part for name, part in components._asdict().items()}


def _rows(components: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"level": level, "part": part, **getattr(one, part)._asdict()}
        for level, one in components.items()
        for part in ("partition", "seed", "interaction")
    ]


def _answer(found: Any, placed: dict[str, Any], method: str) -> list[str]:
    def share(part: Any) -> str:
        return f"{part.share:.0%} ({part.share_low:.0%} to {part.share_high:.0%})"

    def points(variance: float) -> str:
        return f"{100 * variance**0.5:.1f}"

    least, low, middle, high, most = (f"{one:.1%}" for one in placed["resampled_quantiles"])
    return [
        f"The same head was trained under {found.partitions} nearly equally good partitions with {found.seeds} seeds each. Which families are "
        f"in which split explains {share(found.partition)} of the variance of the test accuracy, the seed {share(found.seed)}, and what "
        f"is left, their interaction, {share(found.interaction)}; 95 % bootstrap intervals, rough ones with so few seeds.",
        f"As standard deviations: partition {points(found.partition.variance)}, seed {points(found.seed.variance)}, interaction "
        f"{points(found.interaction.variance)} points of accuracy.",
        *(
            f"The {name} part's estimate was negative and is given as 0: too small to be told from none."
            for name in ("partition", "seed", "interaction")
            if getattr(found, name).truncated
        ),
        f"Nearly equally good partitions of the same families give mean test accuracies from {least} to {most} (median {middle}, "
        f"95 % of them in {low} to {high}).",
        f"{'Iterative filing' if method == 'filing' else 'The exact method'}'s own partition gives {placed['filing']:.1%}: {placed['filing_percentile']:.0%} of the resampled "
        f"ones give less. The paper's {placed['paper']:.2%}, of one session on one partition of another dataset, would be above "
        f"{placed['paper_percentile']:.0%} of the sessions.",
    ]


def _leak_answer(curves: dict[str, Any], table: pa.Table) -> list[str]:
    def said(point: Any) -> str:
        return f"{point.mean:.1%} ({point.low:.1%} to {point.high:.1%})"

    reported, true, regression = (list(points.items()) for points in curves.values())
    (first, start), (last, end) = reported[0], reported[-1]
    fractions, counts = (table[name].to_numpy() for name in ("fraction", "train_families"))
    families = [counts[fractions == one].mean() for one in (first, last)]
    before, after = (_gap_by_draw(table, fraction) for fraction in (first, last))
    return [
        f"With {first:.0%} of the families leaking, the reported accuracy is {said(start)} and the true one "
        f"{said(true[0][1])}; with {last:.0%} it is {said(end)} and the true one {said(true[-1][1])}; {start.draws} draws x "
        f"{start.sessions // start.draws} seeds, 95 % intervals over draws.",
        f"Reported less true accuracy is {_points(before)} points with {first:.0%} leaking (other families, and validation chooses the "
        f"epoch) and {_points(after)} with {last:.0%}: the larger leak adds {_points(after - before)} points.",
        f"Training then sees patches of {families[-1]:.1f} instead of {families[0]:.1f} families on average, which can raise the true score.",
        f"Logistic regression, five repetitions of 5-fold cross-validation: {said(regression[0][1])} with "
        f"{regression[0][0]:.0%} leaking, {said(regression[-1][1])} with {regression[-1][0]:.0%}; standard deviations over "
        f"repetitions {regression[0][1].std:.3f} and {regression[-1][1].std:.3f}.",
        "All these intervals are over draws of partitions or folds of the same families: they do not say how other families would fare.",
    ]


def _gap_by_draw(table: pa.Table, fraction: float) -> np.ndarray:
    """Reported less true accuracy of each draw with a fraction of families leaking, means over seeds `[draws]`."""
    from nbjax.analysis.leak_curve import score_matrix

    here = table.filter(pa.array(table["fraction"].to_numpy() == fraction))
    reported, true = (score_matrix(here, f"{split}_sample_accuracy") for split in ("validation", "test"))
    return np.asarray((reported - true).mean(axis=1))


def _points(draws: np.ndarray) -> str:
    """A mean over draws with its 95 % interval, in points of accuracy."""
    from nbjax.analysis.leak_curve import point_of

    point = point_of(100 * draws[:, None])
    return f"{point.mean:+.1f} ({point.low:+.1f} to {point.high:+.1f})"


def _record(config: PartitionStudyConfig, slides: str | None, out: Path, key: dict[str, Any], seconds: Any) -> None:
    from nbjax.training.record import command, hardware

    record = {
        "name": config.name,
        "config": to_dict(config),
        "command": command(),
        "source": "phantom drawn by nbjax" if key["phantom"] else str(slides),
        "features": key,
        "hardware": hardware(),
        "seconds": {step: round(value, 1) for step, value in seconds.items()},
        "nbjax": __version__,
    }
    with replacing(out / "record.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    flags.set_default(studies.CONFIG, OWN_CONFIG)
    run(main)
