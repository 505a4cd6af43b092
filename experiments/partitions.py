"""How much of a test score is the partition, how much the seed, how much a leak.

    python -m experiments.partitions --config=configs/partitions.py --slides=FOLDER --out=results/partitions
    python -m experiments.partitions --size=small

The slides are tiled and the dataset is built once; its card has the audit. One feature bank holds every patch under all
transforms (`dataset.transforms` and identity), standardised by constants, so that a patch has the same features in
every split. Then the head is trained anew from each seed under each of many resampled near-optimal partitions (classes
are resampled one by one, or together where families have several), and under iterative filing's own, or exact's with
`--set=dataset.method=exact`, which families of two labels need. Each partition is balanced as a dataset built with it
would be: its splits take the first transforms of each class that `nbjax.samples.transforms_per_class` gives for their
numbers of patches. Training and validation families choose a session's epoch; its test families are scored once.

For the leak curve a share of the families in train and validation has its patches dealt at random to both. The reported
score is the validation split's, the true one that of the test families, which never leak. Leaks also let training see
patches of more families, which may raise the true score too. Beside it the accuracy of
scikit-learn's logistic regression in 5-fold cross-validation (C = 0.01, standardised features, five repetitions), whose
folds leak in the same way: whole families at 0, random patches at 1.

Writes partitions.parquet (a row a partition and seed; partition 0 is filing's), assignments.parquet (partition x
family), leak.parquet, leak_regression.parquet, variance.json, record.json, and figures/ as PNG with their numbers as
CSV. Sessions are stored in chunks: the same command goes on from them.
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
from nbjax.files import replacing
from nbjax.report.sections import SECTION, Section, store_section

OWN_CONFIG = "configs/partitions.py"


def main() -> None:
    """Runs the study that the flags describe."""
    config = load_config(studies.CONFIG.value, studies.SET.value, studies.SIZE.value, kind=PartitionStudyConfig)
    out = Path(studies.OUT.value or f"results/{config.name}")
    banks = None if studies.BANKS.value is None else Path(studies.BANKS.value)
    for line in study(config, studies.SLIDES.value, out, banks).lines:
        print(line)
    print(f"\ntables and figures: {out}")


def study(config: PartitionStudyConfig, slides: str | None, out: Path, banks: Path | None = None) -> Section:
    """Runs every step in folder `out` and returns the part of a page that shows what came of it."""
    from nbjax.report.partition_study import conclude
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
        cohort, key, about = features(config, slides, out, banks or out / "banks")
        seconds["slides to features"] = time.perf_counter() - begin
        partitions = arrange_partitions(cohort, config)
        write_table(assignment_table(cohort, partitions), out / "assignments.parquet")
        tables = {}
        for name, arrangements, seeds in (
            ("partitions", partitions, config.seeds),
            ("leak", arrange_leaks(cohort, partitions, config), config.leak_seeds),
        ):
            start = time.perf_counter()
            if arrangements:
                print(f"{name}: {len(arrangements) * seeds} sessions of {config.epochs} epochs")
                tables[name] = run_arrangements(cohort, arrangements, config, seeds, out / "chunks", key)
                write_table(tables[name], out / f"{name}.parquet")
            seconds[f"{name}, sessions"] = time.perf_counter() - start
        start = time.perf_counter()
        if config.leak_fractions:
            tables["regression"] = _regression(cohort, config, out / "chunks", key)
            write_table(tables["regression"], out / "leak_regression.parquet")
        seconds["logistic regression"] = time.perf_counter() - start
        start = time.perf_counter()
        section = conclude(config, tables, out)
        store_section(section, out / SECTION)
        seconds["analysis and figures"] = time.perf_counter() - start
        _record(config, slides, out, key | about, seconds)
        print("seconds: " + ", ".join(f"{step} {value:.0f}" for step, value in seconds.items()))
        return section


def features(
    config: PartitionStudyConfig, slides: str | None, out: Path, banks: Path
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The cohort on its bank, what decides the features, and what else the record says of them."""
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
        "view": list(view),
    }
    about = {"provenance": described["provenance"], "phantom": dataset.card["phantom"]}
    return cohort_of(bank, tuple(dataset.card["classes"])), key, about


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
        accuracies = [
            regression_accuracies(features, cohort.label, family, fraction) for fraction in config.leak_fractions
        ]
        table = {
            "fraction": np.repeat(config.leak_fractions, 5),
            "repetition": np.tile(np.arange(5, dtype=np.int32), len(accuracies)),
            "accuracy": np.concatenate(accuracies),
        }
        write_table(pa.table(table), path)
    return read_table(path)


def _record(
    config: PartitionStudyConfig, slides: str | None, out: Path, described: dict[str, Any], seconds: Any
) -> None:
    from nbjax.training.record import command, hardware

    record = {
        "name": config.name,
        "config": to_dict(config),
        "command": command(),
        "source": "phantom drawn by nbjax" if described["phantom"] else str(slides),
        "features": described,
        "hardware": hardware(),
        "seconds": {step: round(value, 1) for step, value in seconds.items()},
        "nbjax": __version__,
    }
    with replacing(out / "record.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    flags.set_default(studies.CONFIG, OWN_CONFIG)
    run(main)
