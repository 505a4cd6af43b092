"""Every baseline on a study's own dataset and splits: what each said of the test samples and of held-out families."""

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.baselines import descriptors
from nbjax.baselines.descriptors import Descriptors
from nbjax.baselines.methods import METHODS, Method, predict_folds, predict_test
from nbjax.baselines.texture import check_installed
from nbjax.errors import InputError
from nbjax.files import remove_sealed
from nbjax.models import load_headless
from nbjax.progress import say
from nbjax.samples.reading import Dataset, columns, open_dataset
from nbjax.training.bank import Bank, feature_bank
from nbjax.training.crossvalidation import SPLITS, held_out_folds, pooled_columns
from nbjax.training.inputs import view_of
from nbjax.training.record import describe_backbone
from nbjax.training.store import write_table
from nbjax.training.strategy import FAST
from nbjax.training.tables import prediction_table


class Baseline(NamedTuple):
    """A method that was fitted.

    Attributes:
        method: which.
        test: predictions of the test split, with the columns of a study's own; `seed` is 0.
        folds: with every family held out once; None where the study holds none out.
        penalty: the C that validation data chose.
        seconds: by step.
    """

    method: Method
    test: pa.Table
    folds: pa.Table | None
    penalty: float
    seconds: Mapping[str, float]


def run_baselines(folder: Path, study: Mapping[str, Any], banks: Path) -> list[Baseline]:
    """Fits every baseline, and writes `baselines.parquet` and `baseline_folds.parquet` into the study's folder.

    They have the columns of the study's own predictions and `method`.

    Args:
        folder: of the study; its dataset must be built, its sessions may be unfinished.
        study: its record.
        banks: folder of feature banks; the backbone's is made where it is missing.

    Raises:
        InputError: the dataset is gone, scikit-image or OpenCV is not installed, or the backbone's weights have
            changed.
    """
    check_installed()
    dataset = open_dataset(folder / study["dataset"]["folder"])
    splits = {name: columns(dataset, name) for name in SPLITS}
    table = pooled_columns(splits)
    table["split"] = np.repeat(SPLITS, [len(splits[split]["label"]) for split in SPLITS])
    wanted = study["config"]["folds"]
    fold = held_out_folds(table, wanted) if wanted else None
    describe = _describers(study, dataset, banks)
    baselines = []
    for place, method in enumerate(METHODS, 1):
        if not study["backbone"]["pretrained"]:
            method = method._replace(text=method.text.replace("frozen features", "features of random weights"))
        say(f"{place} of {len(METHODS)} baselines: {method.text}")
        baselines.append(_run(method, describe[method.descriptors], table, fold))
    _store(folder / "baselines.parquet", {baseline.method.name: baseline.test for baseline in baselines})
    _store(
        folder / "baseline_folds.parquet",
        {baseline.method.name: baseline.folds for baseline in baselines if baseline.folds is not None},
    )
    return baselines


def _describers(study: Mapping[str, Any], dataset: Dataset, banks: Path) -> dict[str, Callable[[], Descriptors]]:
    """What gives each kind of descriptors; patches are read once."""
    read = functools.cache(lambda: descriptors.pooled_patches(dataset))
    return {
        "features": lambda: descriptors.feature_descriptors(_bank(study, dataset, banks)),
        "patterns": lambda: descriptors.pattern_descriptors(*read()),
        "words": lambda: descriptors.word_descriptors(*read()),
    }


def _bank(study: Mapping[str, Any], dataset: Dataset, banks: Path) -> Bank:
    """The features of the study's backbone: of the middle of each sample, as its sessions had them but for a bank of
    crops.
    """
    config, name = study["config"], study["backbone"]["name"]
    backbone = load_headless(name, config["weights"], config["input_size"])
    if describe_backbone(backbone)["sha256"] != study["backbone"]["sha256"]:
        raise InputError(f"backbone {name}: its weights are no longer those of the study; run the study again.")
    view = view_of(dataset.card["patch_size"], config["input_size"] or backbone.network.input_size, FAST)
    return feature_bank(dataset, backbone, backbone.network.stages[-1].name, view, banks, config["bank_dtype"])


def _run(
    method: Method, describe: Callable[[], Descriptors], table: Mapping[str, np.ndarray], fold: np.ndarray | None
) -> Baseline:
    seconds: dict[str, float] = {}
    known = (table["split"], table["label"], table["family"])
    described = _timed(seconds, "descriptors", describe)
    fitted, predicted = _timed(seconds, "fit", predict_test, method, described, *known)
    is_test = table["split"] == "test"
    seed = np.zeros(1, int)
    of_test = {name: values[is_test] for name, values in table.items()}
    test = prediction_table(seed, predicted[None], of_test, np.arange(len(predicted)))
    folds = None
    if fold is not None:
        predicted = _timed(seconds, "folds", predict_folds, method, described, fold, *known[1:])
        folds = prediction_table(seed, predicted[None], table, np.arange(len(predicted)))
        folds = folds.append_column("fold", pa.array(fold, pa.int32()))
    return Baseline(method, test, folds, fitted.penalty, seconds)


def _timed(seconds: dict[str, float], step: str, function: Any, *arguments: Any) -> Any:
    start = time.perf_counter()
    result = function(*arguments)
    seconds[step] = round(time.perf_counter() - start, 2)
    return result


def _store(path: Path, tables: Mapping[str, pa.Table]) -> None:
    """One table, with the column `method`; an earlier run's is removed where there are none."""
    if not tables:
        remove_sealed(path)
        return
    marked = [table.append_column("method", pa.array([name] * len(table))) for name, table in tables.items()]
    write_table(pa.concat_tables(marked), path)
