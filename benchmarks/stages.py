"""Where the time of a frozen forward pass goes: milliseconds and GFLOP/s of each stage, alone.

    python -m benchmarks.stages --backbones=resnet50,inception_v3

prints a table a backbone and writes them to benchmarks/stages.md. Weights are random.
"""

import datetime
import os
import platform
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.partition import processor
from nbjax.memory import keep_freed_memory
from nbjax.models import load_backbone
from nbjax.models.count import count_operations
from nbjax.models.fold import fold, run_folded

BACKBONES = flags.DEFINE_list("backbones", ["resnet18", "resnet50", "inception_v3"], "which to measure")
IMAGES = flags.DEFINE_integer("images", 16, "images a call")
REPEATS = 5


def measure(name: str) -> list[str]:
    """Rows of one backbone."""
    backbone = load_backbone(name, weights="random")
    network, stages = backbone.network, backbone.network.stages[:-1]
    trees = jax.device_put(fold(network, backbone.params, backbone.batch_stats, jax.default_backend() == "cpu"))
    run = jax.jit(run_folded, static_argnums=(0, 4))
    shape = (IMAGES.value, network.input_size, network.input_size, 3)
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))
    lines, total, before = [], 0.0, 0
    for index, stage in enumerate(stages):
        # Up to the stage after it, which is not run.
        alone, stop = network._replace(stages=network.stages[index : index + 2]), network.stages[index + 1].name
        y = run(alone, *trees, x, stop).block_until_ready()
        times = []
        for _ in range(REPEATS):
            begin = time.perf_counter()
            run(alone, *trees, x, stop).block_until_ready()
            times.append(time.perf_counter() - begin)
        spent = statistics.median(times) / IMAGES.value
        done = count_operations(network._replace(stages=stages[: index + 1], auxiliary=())).multiply_accumulates
        rate = 2 * (done - before) / spent / 1e9
        if spent > 1e-5:
            cells = (stage.name, "×".join(map(str, y.shape[1:])), f"{1000 * spent:.2f}", f"{rate:.0f}")
            lines.append(f"| {' | '.join(cells)} |")
        total, before, x = total + spent, done, y
    head = [
        f"{name}: {1 / total:.1f} images/s if every stage ran as fast as alone, {2 * before / total / 1e9:.0f} GFLOP/s."
    ]
    return [*head, "", "| stage | output | ms an image | GFLOP/s |", "| --- | --- | --- | --- |", *lines, ""]


def main(_: list[str]) -> None:
    """Measures and writes the tables."""
    keep_freed_memory()
    text = [
        "# Stages of the frozen forward pass",
        "",
        f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, JAX {jax.__version__} on "
        f"{jax.default_backend()}; {datetime.datetime.now(datetime.UTC).date()}. float32, {IMAGES.value} images a "
        f"call, median of {REPEATS}; folded, with Winograd. GFLOP/s count two operations a multiply-accumulate of the "
        "plain convolution, so that Winograd's can exceed what the machine does. Written by `python -m "
        "benchmarks.stages`.",
        "",
    ]
    for name in BACKBONES.value:
        text += measure(name)
        print("\n".join(text[-5:]), flush=True)
    Path(__file__).with_suffix(".md").write_text("\n".join(text[:-1]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
