"""Peak memory of sessions: what is predicted before a study starts, against what the process takes.

    python -m benchmarks.memory

prints a table and writes it to benchmarks/memory.md. Each shape runs in a process of its own. The prediction is
`nbjax.training.fit.memory_of`; measured is the process's peak while an epoch runs, less what it held before its first
array. Linux only: it reads /proc.
"""

import ctypes
import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import app

from benchmarks.partition import processor
from nbjax.models import load_backbone
from nbjax.training.bank import row_of
from nbjax.training.cut import find_cut, trainable
from nbjax.training.fit import memory_of
from nbjax.training.inputs import View
from nbjax.training.plan import frozen_part
from nbjax.training.program import NOTHING, Frozen, Hyper, Program, Samples
from nbjax.training.sessions import Batching, advance, start
from nbjax.training.strategy import FAST, PAPER, Fidelity, parse_strategy

# Backbone (None: random features of that width), strategy, fidelity, batch size, batching, sessions, training samples.
SHAPES: tuple[tuple[str, str, Fidelity, int, str, int, int], ...] = (
    ("2048 features", "straightforward", FAST, 8, "vmap", 100, 6048),
    ("2048 features", "extension-4", FAST, 8, "vmap", 20, 6048),
    ("4096 features", "extension-2", FAST, 64, "vmap", 10, 6048),
    ("resnet18", "unfreezing-1", FAST, 32, "map", 4, 2000),
    ("resnet18", "unfreezing-1", FAST, 32, "vmap", 4, 2000),
    ("resnet18", "straightforward", PAPER, 16, "map", 2, 1000),
    ("small_cnn", "scratch", FAST, 32, "map", 4, 1000),
    # The factors of `nbjax.training.plan.SCRATCH` come from those above; these two are to test them.
    ("resnet34", "unfreezing-2", FAST, 16, "map", 6, 1500),
    ("resnet34", "unfreezing-1", FAST, 16, "vmap", 3, 1500),
)


def shaped(index: int) -> tuple[Program, Frozen, tuple[int, ...], Any]:
    """The program of one of `SHAPES`, what its sessions share, the shape of an input and its type."""
    name, text, fidelity, batch_size, _, _, _ = SHAPES[index]
    strategy = parse_strategy(text)
    program = Program(features=0, nonlinearities=strategy.nonlinearities, batch_size=batch_size)
    if name.endswith("features"):
        width = int(name.split()[0])
        return program._replace(features=width), NOTHING, (width,), jnp.float32
    backbone = load_backbone(name, weights="random")
    network, view = backbone.network, View(224, 250, fidelity.crop, 1)
    cut = find_cut(network, strategy, fidelity)
    program = program._replace(
        features=network.feature_size,
        network=network,
        start=cut.start,
        trained=trainable(network, strategy),
        scratch=strategy.scratch,
        view=view if cut.start is None else None,
        batch_norm=fidelity.batch_norm,
        dropout=fidelity.dropout == "on",
    )
    dtype = jnp.uint8 if cut.start is None else jnp.float32
    return program, frozen_part(program, backbone), row_of(backbone, cut.start, view), dtype


def resident(field: str) -> int:
    """Bytes by a line of /proc/self/status: VmRSS now, VmHWM at the peak."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def measure(index: int) -> None:
    """Prints predicted and measured bytes of one of `SHAPES`."""
    _, _, _, _, kind, sessions, count = SHAPES[index]
    program, frozen, row, dtype = shaped(index)
    batching = Batching(kind)
    # Parameters that are on the device already count as the study's.
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(frozen))

    def split(number: int, make: Any) -> Samples:
        convention = None if program.view is None else make((2, 3), jnp.float32)
        return Samples(make((number, *row), dtype), make((number,), jnp.int32), convention)

    shapes = [split(number, jax.ShapeDtypeStruct) for number in (count, count // 5)]
    hypers = Hyper(jnp.full(sessions, 1e-4, jnp.float32), jnp.arange(sessions, dtype=jnp.uint32))
    predicted = memory_of(program, batching, hypers, frozen, *shapes)
    given = (hypers, frozen, *shapes)
    begin = jax.jit(start, static_argnums=(0, 1)).lower(program, batching, *given).compile()
    states, _ = jax.eval_shape(lambda *data: start(program, batching, *data), *given)
    run = advance.lower(program, batching, states, *given).compile()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    data = [split(number, lambda shape, dtype: jnp.ones(shape, dtype)) for number in (count, count // 5)]
    states, _ = begin(hypers, frozen, *data)
    jax.block_until_ready(states)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    states, metrics = run(states, hypers, frozen, *data)
    jax.block_until_ready(metrics)
    print(predicted, resident("VmHWM") - before + held)


def main(arguments: list[str]) -> None:
    """Measures and writes the table; with the number of a shape, that one alone."""
    if len(arguments) > 1:
        measure(int(arguments[1]))
        return
    lines = [
        "# Memory",
        "",
        f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, JAX {jax.__version__} on "
        f"{jax.default_backend()}; {datetime.datetime.now(datetime.UTC).date()}. Random weights. Written by "
        "`python -m benchmarks.memory`.",
        "",
        "| sessions of | strategy | fidelity | batch | run by | sessions | samples | predicted, MiB | measured, MiB | "
        "ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for index, (name, text, fidelity, batch_size, kind, sessions, count) in enumerate(SHAPES):
        command = [sys.executable, "-m", "benchmarks.memory", str(index)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        predicted, measured = map(int, done.stdout.split())
        preset = "paper" if fidelity == PAPER else "fast"
        cells = (name, text, preset, batch_size, kind, sessions, count)
        sizes = f"{predicted / 2**20:.0f} | {measured / 2**20:.0f} | {predicted / measured:.2f}"
        lines.append(f"| {' | '.join(map(str, cells))} | {sizes} |")
        print(lines[-1], flush=True)
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
