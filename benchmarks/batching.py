"""Ways to run sessions beside each other, and what `nbjax.training.choice` takes of them.

    python -m benchmarks.batching
    python -m benchmarks.batching --networks=    # heads alone

prints tables and writes benchmarks/batching.md, or batching_gpu.md on a GPU. Features, images and weights are random
numbers: what is measured is time.
"""

import datetime
import itertools
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.partition import processor
from nbjax.memory import keep_freed_memory
from nbjax.models import Backbone, load_backbone
from nbjax.training.bank import row_of
from nbjax.training.choice import BLOCK, KINDS, NAMES, blocks_of, rule
from nbjax.training.cut import find_cut, trainable
from nbjax.training.inputs import View, view_of
from nbjax.training.plan import frozen_part
from nbjax.training.program import NOTHING, Frozen, Program, Samples
from nbjax.training.sessions import Batching, advance, grid, start
from nbjax.training.strategy import FAST, parse_strategy

NETWORKS = flags.DEFINE_list(
    "networks",
    [
        *("resnet18:unfreezing-1", "resnet18:unfreezing-all", "vgg11:unfreezing-1"),
        *("efficientnet_lite0:unfreezing-2", "small_cnn:scratch"),
    ],
    "backbones and strategies",
)
SESSIONS = flags.DEFINE_integer("sessions", 10, "heads at once; networks are four")
# Non-linearities, features, batch size, optimiser.
HEADS = [
    *itertools.product((1,), (512, 2048), (8, 16, 32, 64), ("sgd",)),
    *itertools.product((4,), (2048,), (8, 64), ("sgd", "adam")),
]
HEAD_STEPS, NETWORK_STEPS, REPEATS = 2 * BLOCK, 2, 3


def made_up(program: Program, count: int, row: tuple[int, ...]) -> Samples:
    """Random samples, pixels where the program starts at them."""
    rng = np.random.default_rng(count)
    shape = (count, *row)
    pixels = program.view is not None
    inputs = rng.integers(0, 256, shape, np.uint8) if pixels else rng.standard_normal(shape, np.float32)
    convention = jnp.asarray([[0.01] * 3, [-1.0] * 3], jnp.float32) if pixels else None
    return Samples(jnp.asarray(inputs), jnp.asarray(rng.integers(0, 2, count), jnp.int32), convention)


def measured(program: Program, name: str, sessions: int, frozen: Frozen, row: tuple[int, ...]) -> float:
    """Milliseconds of a session's step, in the shortest of three epochs of a few steps."""
    kind, block = name.split("-")
    program, batching = program._replace(block=int(block)), Batching(kind)
    steps = HEAD_STEPS if program.head_only else NETWORK_STEPS
    data = (frozen, made_up(program, steps * program.batch_size, row), made_up(program, program.batch_size, row))
    hypers = jax.tree.map(jnp.asarray, grid([1e-6], range(sessions)))
    states, _ = start(program, batching, hypers, *data)
    times = []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        states, metrics = advance(program, batching, states, hypers, *data)
        jax.block_until_ready(metrics)
        times.append(time.perf_counter() - begin)
    return min(times[1:]) / steps / sessions * 1000


def heads() -> Iterator[tuple[str, Program, int, Frozen, tuple[int, ...]]]:
    """What each is, its program, sessions, shared part and an input's shape."""
    for nonlinearities, features, batch_size, optimiser in HEADS:
        program = Program(features=features, nonlinearities=nonlinearities, batch_size=batch_size, optimiser=optimiser)
        text = f"{nonlinearities} non-linearities, {features} features, batch {batch_size}, {optimiser}"
        yield text, program, SESSIONS.value, NOTHING, (features,)


def networks() -> Iterator[tuple[str, Program, int, Frozen, tuple[int, ...]]]:
    """As `heads`, of networks that are trained in part."""
    for word, batch_size in itertools.product(NETWORKS.value, (8,)):
        name, _, text = word.partition(":")
        backbone = load_backbone(name, weights="random")
        program, row = network_program(backbone, text, batch_size)
        yield f"{name}, {text}, batch {batch_size}", program, 4, frozen_part(program, backbone), row


def network_program(backbone: Backbone, text: str, batch_size: int) -> tuple[Program, tuple[int, ...]]:
    """A session's program, and the shape of what it takes of a sample."""
    network, strategy = backbone.network, parse_strategy(text)
    view: View = view_of(250, network.input_size, FAST)
    first = find_cut(network, strategy, FAST, view.crop == "random").start
    program = Program(
        features=network.feature_size,
        batch_size=batch_size,
        network=network,
        start=first,
        trained=trainable(network, strategy),
        scratch=strategy.scratch,
        view=view if first is None else None,
    )
    return program, row_of(backbone, first, view)


def table(rows: Iterator[tuple[str, Program, int, Frozen, tuple[int, ...]]]) -> list[str]:
    """A row a program: milliseconds of a session's step by way, and how much longer the rule's takes than the best."""
    lines = [f"| | {' | '.join(NAMES)} | rule | times the best |", "| --- |" + " ---: |" * len(NAMES) + " --- | ---: |"]
    for text, program, sessions, frozen, row in rows:
        names = [name for name in NAMES if blocks_of(program) or name in [f"{kind}-1" for kind in KINDS]]
        found = {name: measured(program, name, sessions, frozen, row) for name in names}
        taken = rule(program, jax.default_backend())
        # Where it cannot take several steps at once, it takes one.
        taken = taken if taken in found else f"{taken.split('-')[0]}-1"
        cells = [f"{found[name]:.3g}" if name in found else "" for name in NAMES]
        lines.append(f"| {text} | {' | '.join(cells)} | {taken} | {found[taken] / min(found.values()):.2f} |")
        print(lines[-1], flush=True)
    return lines


def main(_: list[str]) -> None:
    """Measures and writes the tables."""
    keep_freed_memory()
    backend, device = jax.default_backend(), jax.devices()[0].device_kind
    where = f"{processor()}, {os.cpu_count()} cores" if backend == "cpu" else device
    text = [
        "# Ways to run sessions beside each other",
        "",
        f"{where}; Python {platform.python_version()}, JAX {jax.__version__} on {backend}; "
        f"{datetime.datetime.now(datetime.UTC).date()}. Written by `python -m benchmarks.batching`.",
        "",
        "Milliseconds of one session's step: all sessions side by side (`vmap`) or one after the other (`map`), the "
        "head's first",
        f"layer one step at a time (`-1`) or {BLOCK} at once (`-{BLOCK}`); evaluation of as many samples as a step has "
        "is in it. The",
        "least of three epochs. Other machines will differ.",
        "",
        f"## Heads, {SESSIONS.value} sessions",
        "",
        *table(heads()),
    ]
    if NETWORKS.value:
        text += ["", "## Networks trained in part, four sessions", "", *table(networks())]
    name = "batching.md" if backend == "cpu" else "batching_gpu.md"
    Path(__file__).with_name(name).write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
