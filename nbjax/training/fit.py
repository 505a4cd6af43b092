"""How many sessions of a program run at once in a device's memory."""

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax

from nbjax.errors import InputError
from nbjax.training.config import CellsConfig
from nbjax.training.program import Frozen, Hyper, Program, Samples
from nbjax.training.sessions import Batching, advance, start

# Of the machine's memory, for one program.
SHARE = 0.6
# XLA's convolutions on a CPU take memory of their own, which the compiler's plan leaves out: measured to what was
# planned for programs that train them, by batching (`benchmarks/memory.md`).
SCRATCH = {"map": 1.2, "vmap": 1.6}


class Fit(NamedTuple):
    """How sessions of one program run on a machine.

    Attributes:
        block: steps the first layer of a head takes at once.
        batching: how they run beside each other.
        together: sessions at once, the repeated ones that fill a chunk up included.
        memory: bytes that they take at their peak on each device, the bank included.
    """

    block: int
    batching: Batching
    together: int
    memory: int


def fit_sessions(
    config: CellsConfig,
    program: Program,
    batching: Batching,
    hypers: Hyper,
    frozen: Frozen,
    train: Samples,
    validation: Samples,
    beside: Any = (),
) -> Fit:
    """As many of the sessions at once as the memory takes; shapes are enough.

    Args:
        config: says how much memory there is, and what can be asked to take less.
        program: of the sessions.
        batching: how they run beside each other.
        hypers: of all of them.
        frozen: what they share.
        train: what they train on.
        validation: what they are judged on.
        beside: arrays that lie on the device meanwhile.

    Raises:
        InputError: one session a device does not fit.
    """
    limit, size = memory_limit(config), hypers.seed.shape[0]
    while True:
        spread = size + -size % batching.devices
        memory = memory_of(program, batching, shapes_of(hypers, spread), frozen, train, validation) + _size(beside)
        if memory <= limit:
            return Fit(program.block, batching, size, memory)
        if size == batching.devices:
            raise InputError(_too_large(config, program, memory, limit))
        shared = _size((frozen, train, validation, beside))
        fits = int(size * max(0.0, (limit - shared) / (memory - shared)))
        size = max(batching.devices, min(size - 1, fits))


def shapes_of(hypers: Hyper, count: int) -> Hyper:
    """Shapes of as many sessions."""
    shapes: Hyper = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype), hypers)
    return shapes


def memory_of(
    program: Program, batching: Batching, hypers: Hyper, frozen: Frozen, train: Samples, validation: Samples
) -> int:
    """Bytes on one device while an epoch of sessions runs; shapes are enough."""
    states, _ = jax.eval_shape(lambda *data: start(program, batching, *data), hypers, frozen, train, validation)
    compiled = advance.lower(program, batching, states, hypers, frozen, train, validation).compile()
    analysis: Any = compiled.memory_analysis()
    arguments = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    planned = int(arguments + analysis.temp_size_in_bytes)
    own = jax.default_backend() == "cpu" and not program.head_only
    return int(planned * SCRATCH[batching.kind]) if own else planned


def _size(tree: Any) -> int:
    """Bytes of arrays or of their shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _too_large(config: CellsConfig, program: Program, memory: int, limit: int) -> str:
    # A head's memory is its samples; only of convolutions does the batch take much.
    transforms = config.dataset.transforms
    ways = [f"--set=batch_sizes={program.batch_size // 2}"] * (program.batch_size > 1 and not program.head_only)
    ways += [f"--set=dataset.transforms={transforms // 2}"] * (program.head_only and transforms > 0)
    ways += ["--set=fidelity.crops=1"] * (program.view is None and program.crops > 1)
    return (
        f"one session of {program.network.name if program.network else 'a head'} with batch size {program.batch_size} "
        f"takes {memory / 2**30:.2g} GiB and the limit is {limit / 2**30:.2g} GiB; try "
        f"{', '.join(ways) or 'a smaller backbone'}, or where the machine has more "
        f"--set=memory_gib={math.ceil(memory / 2**30 * 1000) / 1000}."
    )


def memory_limit(config: CellsConfig) -> int:
    """Bytes that one program may take."""
    return default_limit() if config.memory_gib is None else int(config.memory_gib * 2**30)


def default_limit() -> int:
    """Bytes of memory a program may take, of one device or of this machine (or of the container it is)."""
    device = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if device and "bytes_limit" in device:
        return int(0.9 * device["bytes_limit"])
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text(encoding="utf-8").strip() if limit.is_file() else "max"
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(SHARE * (machine if allowed == "max" else min(machine, int(allowed))))
