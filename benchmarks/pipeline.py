"""Samples a second of the training pipeline, for 0, 1 and 2 workers, windows of 224 pixels and samples scaled to 299.

    python -m benchmarks.pipeline
    python -m benchmarks.pipeline --dataset=FOLDER

prints a table and writes it to benchmarks/pipeline.md. Without `--dataset` it builds the small phantom in a temporary
folder.
"""

import argparse
import datetime
import importlib.metadata
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.partition import processor
from nbjax.samples.pipeline import training_batches
from nbjax.samples.reading import Dataset, open_dataset

BATCH_SIZE = 32
# Enough for every worker's buffer to be drained before the clock starts.
WARM_UP = 8
BATCHES = 40
RUNS = 3
MODES = (("random", 224), ("resize", 299))


def build(data_dir: Path) -> Path:
    """Builds the small phantom; its folder."""
    # Only here: it needs tensorflow_datasets' builder, and workers import this module too.
    from datasets.neuroblastoma.neuroblastoma_dataset_builder import Builder

    builder = Builder(config="phantom", data_dir=data_dir)
    builder.download_and_prepare()
    return Path(builder.data_path)


def measure(dataset: Dataset, crop: str, size: int, workers: int, seed: int) -> tuple[float, float]:
    """Seconds to the first batch, and samples a second once the buffers are drained."""
    start = time.perf_counter()
    iterator = iter(training_batches(dataset, "train", BATCH_SIZE, seed, size=size, crop=crop, workers=workers))
    next(iterator)
    first = time.perf_counter() - start
    for _ in range(WARM_UP):
        next(iterator)
    start = time.perf_counter()
    samples = sum(len(next(iterator)["label"]) for _ in range(BATCHES))
    rate = samples / (time.perf_counter() - start)
    iterator.close()
    return first, rate


def row(dataset: Dataset, crop: str, size: int, workers: int) -> str:
    """One line of the table."""
    firsts, rates = zip(*(measure(dataset, crop, size, workers, seed) for seed in range(RUNS)), strict=True)
    line = (
        f"| {crop} | {size} | {workers} | {statistics.median(rates):.0f} | {min(rates):.0f} to {max(rates):.0f} | "
        f"{statistics.median(firsts):.2f} s |"
    )
    print(line, flush=True)
    return line


def write(dataset: Dataset, lines: list[str]) -> None:
    """Writes the table and what it was measured on."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("grain", "numpy", "pillow"))
    edge = dataset.card["patch_size"]
    text = [
        "# Training pipeline: samples a second",
        "",
        f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}; "
        f"{datetime.datetime.now(datetime.UTC).date()}. {len(dataset.samples['train']):,} training samples of "
        f"{edge}x{edge} pixels, stored as `{dataset.card['storage']}`, in the system's file cache; batches of "
        f"{BATCH_SIZE}, {BATCHES} of them timed after {WARM_UP + 1}; median and range of {RUNS} runs. Nothing else is "
        "done with a batch. Written by `python -m benchmarks.pipeline`.",
        "",
        "0 workers read in two threads of the one process; a worker is a process with one thread, whose start is in "
        "the time to the first batch.",
        "",
        "| crop | size | workers | samples a second | range | first batch |",
        "| --- | --- | --- | --- | --- | --- |",
        *lines,
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(text) + "\n", encoding="utf-8")


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", type=Path, help="folder of a built dataset; without it the small phantom is built")
    folder = parser.parse_args().dataset
    with tempfile.TemporaryDirectory() as temporary:
        dataset = open_dataset(folder or build(Path(temporary)))
        lines = [row(dataset, crop, size, workers) for crop, size in MODES for workers in (0, 1, 2)]
    write(dataset, lines)


if __name__ == "__main__":
    main()
