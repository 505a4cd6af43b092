"""Slides to report: tile, build the dataset, fill the feature bank, run the sessions, write the report.

    python -m experiments.study --config=configs/quickstart.py --slides=FOLDER --out=FOLDER
    python -m experiments.study --config=configs/straightforward.py --size=small

A finished dataset and feature bank are kept and used again by the same command.
"""

import functools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.cli import run
from nbjax.config import CellsConfig, StudyConfig, load_config, to_dict
from nbjax.english import counted, listed
from nbjax.errors import InputError
from nbjax.files import damage
from nbjax.progress import bar, say
from nbjax.samples.plan import plan_samples, replaced_methods
from nbjax.slides.folder import left_out_sentences
from nbjax.slides.manifest import read_manifest, remarks
from nbjax.slides.phantom import write_phantom
from nbjax.slides.tile import tile_folder

CONFIG = flags.DEFINE_string("config", "configs/quickstart.py", "the study's config file")
SIZE = flags.DEFINE_string("size", None, "paper or small, for the configs that have both; else paper")
SET = flags.DEFINE_multi_string("set", [], "change a field: --set=epochs=50 --set=dataset.tiling.minimum_tissue=0.5")
SLIDES = flags.DEFINE_string("slides", None, "folder of <label>/<slide> or <label>/<family>/<slide>; else a phantom")
OUT = flags.DEFINE_string("out", None, "where everything goes; else results/<the study's name>")
BANKS = flags.DEFINE_string("banks", None, "folder of feature banks, which studies may share; else banks in --out")
# Of a small study's tables, programs and report; what a large one adds is little beside its dataset.
OUTPUT_BYTES = 8 * 2**20


def main() -> None:
    """Runs the study that the flags describe."""
    config = load_config(CONFIG.value, SET.value, SIZE.value, kind=StudyConfig)
    out = Path(OUT.value or f"results/{config.name}")
    report = study(config, SLIDES.value, out, None if BANKS.value is None else Path(BANKS.value))
    print(f"\nreport: {report}")


def study(
    config: StudyConfig, slides: str | None, out: Path, banks: Path | None = None, manifest: Path | None = None
) -> Path:
    """Runs every step in folder `out` and returns the report's path.

    Feature banks go to `banks`, else into `out`; slides that were tiled already are not tiled again where their
    `manifest` is given.
    """
    from nbjax.training.store import locked

    with locked(out):
        seconds: dict[str, float] = {}
        earlier = _earlier_seconds(config, out)
        # Bad flags, names, weights and slides are found before anything is built; names before a slide is opened.
        backbones = _timed(seconds, "backbones", check_backbones, config)
        folder = _timed(seconds, "slides", slides_folder, config, slides, out)
        manifest = manifest or _timed(seconds, "tiling", tile, config, folder, out)
        dataset = _timed(seconds, "dataset", build, config, folder, manifest, out, banks)
        return _learn(config, folder, dataset, backbones, out, banks or out / "banks", seconds, earlier)


def _timed(seconds: dict[str, float], step: str, function: Any, *arguments: Any) -> Any:
    start = time.perf_counter()
    result = function(*arguments)
    seconds[step] = round(time.perf_counter() - start, 2)
    return result


def _earlier_seconds(config: StudyConfig, out: Path) -> dict[str, float]:
    """Wall time by step that earlier calls with this config recorded; none where there was no such call."""
    from nbjax.training.folder import StudyFolder

    path = StudyFolder(out).record
    harm = damage(path) if path.is_file() else None
    if harm is not None:
        say(f"{path} {harm}; it is written anew, and its seconds are not counted.")
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        # Which label is positive takes no time.
        same = {**record["config"], "positive": None} == {**json.loads(json.dumps(to_dict(config))), "positive": None}
        return {str(step): float(value) for step, value in record["seconds"].items()} if same else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # A record that cannot be read is about to be written anew.
        return {}


def _spent(earlier: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    """Wall time by step over all calls: a step that goes on where it stopped adds up, of others the longest call
    counts.
    """
    steps = {**earlier, **now}
    added = ("features", "sessions")
    return {
        step: round((sum if step in added else max)((earlier.get(step, 0.0), now.get(step, 0.0))), 2) for step in steps
    }


def slides_folder(config: CellsConfig, slides: str | None, out: Path) -> Path:
    """The folder given, else one with the config's phantom, drawn once."""
    if slides is not None:
        return Path(slides)
    if config.phantom is None:
        raise InputError(f"study {config.name} has no phantom to fall back on; give a folder of slides with --slides.")
    print("slides: none given, so a phantom is drawn (procedural pictures, no patient)")
    write_phantom(config.phantom, out / "phantom", lambda slides: bar(slides, "phantom", "slide"))
    return out / "phantom"


def tile(config: CellsConfig, folder: Path, out: Path) -> Path:
    """Writes the patch manifest, reusing what lies there, checks that the dataset can be planned, and returns its
    path.
    """
    path = out / "manifest.parquet"
    manifest, left_out = tile_folder(folder, config.dataset.tiling, lambda files: bar(files, "tiling", "slide"), path)
    for sentence in (*left_out_sentences(left_out), *remarks(manifest)):
        print(sentence)
    for sentence in replaced_methods(plan_samples(manifest, config.dataset)):
        print(sentence)
    if isinstance(config, StudyConfig):
        _check_positive(config, sorted(set(manifest.table["label"].to_pylist())))
    families, labels = (set(manifest.table[name].to_pylist()) for name in ("family", "label"))
    print(
        f"patches: {manifest.kept().num_rows} kept of {manifest.table.num_rows}, from "
        f"{counted(len(manifest.slides), 'slide')} of {counted(len(families), 'family', 'families')}; labels: "
        f"{listed(sorted(labels))}"
    )
    return path


def _check_positive(config: StudyConfig, labels: Sequence[str]) -> None:
    """Raises InputError where the label that is to be positive is none of two."""
    if config.positive is not None and (len(labels) != 2 or config.positive not in labels):
        raise InputError(
            f"config field positive: found {config.positive!r}, and the slides' labels are {', '.join(labels)}; "
            + (
                "name one of them, as in --set=positive=" + labels[-1]
                if len(labels) == 2
                else "only of two labels one is positive: leave --set=positive out"
            )
            + "."
        )


def build(config: StudyConfig, folder: Path, manifest: Path, out: Path, banks: Path | None = None) -> Any:
    """Builds the dataset with TFDS unless the same one lies there, and opens it.

    The disk must have room for it and for what comes after it, the feature banks too where they have no folder of their
    own in `banks`.
    """
    # Before imports that take seconds.
    print("dataset: partition, balance, augment, write, unless the same one lies there", flush=True)
    from datasets.neuroblastoma.neuroblastoma_dataset_builder import build_from_manifest
    from nbjax.samples.reading import open_dataset
    from nbjax.training.study import bank_bytes

    samples = len(plan_samples(read_manifest(manifest), config.dataset).patch)
    beside = OUTPUT_BYTES + (bank_bytes(config, samples) if banks is None else 0)
    return open_dataset(build_from_manifest(folder, manifest, config.dataset, out / "dataset", beside=beside))


def check_backbones(config: CellsConfig) -> dict[str, Any]:
    """Loads each backbone once, when all names are known to be right, and returns what is said of it."""
    from nbjax.models import check_names, load_headless
    from nbjax.training.cut import trainable
    from nbjax.training.record import describe_backbone
    from nbjax.training.strategy import parse_strategy

    check_names(config.backbones, config.weights)
    described = {}
    for name in config.backbones:
        backbone = load_headless(name, config.weights, config.input_size)
        for strategy in config.strategies:
            trainable(backbone.network, parse_strategy(strategy))
        described[name] = describe_backbone(backbone)
        print(f"backbone: {name}; weights: {backbone.provenance}")
    return described


def _learn(
    config: StudyConfig,
    folder: Path,
    dataset: Any,
    backbones: dict[str, Any],
    out: Path,
    banks: Path,
    seconds: dict[str, float],
    earlier: dict[str, float],
) -> Path:
    from nbjax.models import load_headless
    from nbjax.report.study_page import write_report
    from nbjax.training.record import write_record
    from nbjax.training.study import Study, conclude, plan_study, run_study

    # Most studies have one backbone: it is kept.
    load = functools.lru_cache(maxsize=1)(lambda name: load_headless(name, config.weights, config.input_size))
    this = Study(config, dataset, out, banks, load)
    tasks = _timed(seconds, "plan", plan_study, this)
    source = "phantom drawn by nbjax" if dataset.card["phantom"] else str(folder)
    first = next(iter(tasks.values()))[0]
    programs = [task.name for of_backbone in tasks.values() for task in of_backbone]
    write_record(out, config, source, dataset, backbones, first, None, _spent(earlier, seconds), programs)
    for task in {
        (task.backbone, task.strategy.text): task for of_backbone in tasks.values() for task in of_backbone
    }.values():
        print(f"{task.backbone}, {task.strategy.text}: cut before {task.start or 'the pixels'}, since {task.reason}")
    sessions = sum(task.sessions for of_backbone in tasks.values() for task in of_backbone)
    before = len(this.files.finished(programs))
    known = f", {before} of them finished before" if before else ""
    print(
        f"sessions: {sessions}, {counted(config.epochs, 'epoch')} each, in {counted(len(programs), 'program')}{known}"
    )
    run_study(this, tasks, seconds)
    chosen = _timed(seconds, "conclusion", conclude, this, tasks)
    chosen_task = next(
        task
        for task in tasks[chosen["backbone"]]
        if (task.strategy.name, task.strategy.nonlinearities, task.strategy.unfrozen)
        == (chosen["strategy"], chosen["nonlinearities"], chosen["unfrozen"])
    )
    write_record(out, config, source, dataset, backbones, chosen_task, chosen, _spent(earlier, seconds), programs)
    print("report: figures, tables, page")
    return write_report(out)


if __name__ == "__main__":
    run(main)
