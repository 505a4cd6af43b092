"""From a study's config to programs: what each runs, on which bank, how many sessions at once, in how much memory."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nbjax import __version__
from nbjax.config import StudyConfig
from nbjax.errors import InputError
from nbjax.models import Backbone
from nbjax.samples.reading import Dataset
from nbjax.training.bank import row_of
from nbjax.training.choice import choose
from nbjax.training.cut import find_cut, trainable
from nbjax.training.inputs import View, text, view_of
from nbjax.training.program import NOTHING, Frozen, Hyper, Program, Samples
from nbjax.training.sessions import Batching, advance, chunks, grid, start
from nbjax.training.strategy import Strategy, parse_strategy

# Of the machine's memory, for one program.
SHARE = 0.6
# XLA's convolutions on a CPU take memory of their own, which the compiler's plan leaves out: measured to what was planned
# for programs that train them, by batching (`benchmarks/memory.md`).
SCRATCH = {"map": 1.2, "vmap": 1.6}


class Task(NamedTuple):
    """Sessions that run at once.

    Attributes:
        backbone: its name.
        strategy: of the sessions.
        program: compiled for them.
        batching: how they run beside each other.
        start: stage before which the bank's cut is; None for pixels.
        view: of the study.
        reason: why the cut is there.
        hypers: of the sessions; the last ones may be repeated to fill a chunk up.
        sessions: how many of them count.
        memory: bytes that the program takes at its peak, the bank on the device included.
        key: everything that decides the results, as JSON values.
    """

    backbone: str
    strategy: Strategy
    program: Program
    batching: Batching
    start: str | None
    view: View
    reason: str
    hypers: Hyper
    sessions: int
    memory: int
    key: dict[str, Any]

    @property
    def name(self) -> str:
        """Of its folder: readable, and as unique as its key."""
        digest = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()
        return f"{self.backbone}_{self.strategy.text}_batch-{self.program.batch_size}_{digest[:12]}"


def frozen_part(program: Program, backbone: Backbone) -> Frozen:
    """What a program's sessions share of a backbone."""
    if program.network is None:
        return NOTHING
    names = [stage.name for stage in program.network.stages[:-1]]
    kept = names[0 if program.start is None else names.index(program.start) :]
    trees = (backbone.params, backbone.batch_stats)
    params, batch_stats = ({name: tree[name] for name in kept} for tree in trees)
    return Frozen(params, batch_stats)


def plan_backbone(config: StudyConfig, dataset: Dataset, backbone: Backbone, weights: str) -> list[Task]:
    """Every task of one backbone, in the order in which they run: by strategy, then batch size.

    Args:
        config: the study's.
        dataset: the built one.
        backbone: one of the config's.
        weights: their fingerprint.

    Raises:
        InputError: a strategy that the backbone cannot have, an empty split, or one session that does not fit.
    """
    for split, samples in dataset.samples.items():
        if len(samples) == 0:
            raise InputError(f"split {split} of {dataset.folder} is empty; build the dataset with other proportions.")
    tasks = []
    for word in config.strategies:
        for batch_size in config.batch_sizes:
            tasks += _tasks(config, dataset, backbone, weights, parse_strategy(word), batch_size)
    return tasks


def _tasks(
    config: StudyConfig, dataset: Dataset, backbone: Backbone, weights: str, strategy: Strategy, batch_size: int
) -> list[Task]:
    network, edge = backbone.network, dataset.card["patch_size"]
    view = view_of(edge, config.input_size or network.input_size, config.fidelity)
    cut = find_cut(network, strategy, config.fidelity, view.crop == "random")
    head_only = cut.start == network.stages[-1].name
    classes = len(dataset.card["classes"])
    program = Program(
        features=network.feature_size,
        outputs=1 if classes == 2 else classes,
        nonlinearities=strategy.nonlinearities,
        batch_size=batch_size,
        optimiser=config.optimiser,
        momentum=config.momentum,
        criterion=config.criterion,
        goal=config.accuracy_goal,
        network=None if head_only else network,
        start=None if head_only else cut.start,
        trained=trainable(network, strategy),
        scratch=strategy.scratch,
        view=view if cut.start is None else None,
        crops=view.crops,
        batch_norm=config.fidelity.batch_norm if not head_only else "frozen",
        dropout=not head_only and (config.fidelity.dropout == "on" or strategy.scratch),
    )
    frozen = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), frozen_part(program, backbone))
    row = row_of(backbone, cut.start, view)
    hypers = grid(config.learning_rates, range(config.seeds))
    devices = min(len(jax.devices()), len(hypers.seed))
    program, batching = choose(program, len(hypers.seed), frozen, row, devices)
    size, memory = _fit(config, dataset, program, batching, len(hypers.seed), frozen, row)
    common = {
        "backbone": network.name,
        "strategy": strategy.text,
        "batch_size": batch_size,
        "block": program.block,
        "batching": batching.kind,
        "weights": None if strategy.scratch else weights,
        "dataset": dataset.card["sha256"],
        "dataset_config": dataset.card["config"],
        "fidelity": [config.fidelity.batch_norm, config.fidelity.dropout],
        "view": text(view),
        "bank_dtype": config.bank_dtype,
        "optimiser": config.optimiser,
        "momentum": config.momentum,
        "epochs": config.epochs,
        "accuracy_goal": config.accuracy_goal,
        "criterion": config.criterion,
        "nbjax": __version__,
    } | ({"test_curve": True} if config.test_curve else {})
    tasks = []
    for some, count in chunks(hypers, size, devices):
        key = {**common, "learning_rates": some.learning_rate.tolist(), "seeds": some.seed.tolist()}
        key = json.loads(json.dumps(key))
        tasks.append(
            Task(network.name, strategy, program, batching, cut.start, view, cut.reason, some, count, memory, key)
        )
    return tasks


def memory_of(
    program: Program, batching: Batching, count: int, frozen: Frozen, train: Samples, validation: Samples
) -> int:
    """Bytes on one device while an epoch of `count` sessions runs; shapes are enough."""
    hypers = Hyper(jax.ShapeDtypeStruct((count,), jnp.float32), jax.ShapeDtypeStruct((count,), jnp.uint32))
    states, _ = jax.eval_shape(lambda *data: start(program, batching, *data), hypers, frozen, train, validation)
    compiled = advance.lower(program, batching, states, hypers, frozen, train, validation).compile()
    found: Any = compiled.memory_analysis()
    arguments = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    planned = int(arguments + found.temp_size_in_bytes)
    own = jax.default_backend() == "cpu" and not program.head_only
    return int(planned * SCRATCH[batching.kind]) if own else planned


def _fit(
    config: StudyConfig,
    dataset: Dataset,
    program: Program,
    batching: Batching,
    sessions: int,
    frozen: Frozen,
    row: tuple[int, ...],
) -> tuple[int, int]:
    """How many sessions run at once within the memory, and the bytes they take on each device."""
    dtype: Any = jnp.dtype(config.bank_dtype)
    if program.view is not None:
        dtype = np.float32 if dataset.is_standardised else np.uint8
    crops = 1 if program.view is not None else program.crops

    def shapes(split: str) -> Samples:
        inputs = jax.ShapeDtypeStruct((len(dataset.samples[split]) * crops, *row), dtype)
        convention = None if program.view is None else jax.ShapeDtypeStruct((2, 3), jnp.float32)
        return Samples(inputs, jax.ShapeDtypeStruct((len(dataset.samples[split]),), jnp.int32), convention)

    train, validation = shapes("train"), shapes("validation")
    limit = int(config.memory_gib * 2**30) if config.memory_gib is not None else default_limit()
    size = sessions
    while True:
        spread = size + -size % batching.devices
        memory = memory_of(program, batching, spread, frozen, train, validation)
        if memory <= limit:
            return size, memory
        if size == batching.devices:
            raise InputError(
                f"one session of {program.network.name if program.network else 'a head'} with batch size "
                f"{program.batch_size} takes {memory / 2**30:.2f} GiB and the limit is {limit / 2**30:.2f} GiB; "
                f"choose a smaller batch size, bank_dtype bfloat16, fewer crops, or set memory_gib."
            )
        shared = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((frozen, train, validation)))
        fits = int(size * max(0.0, (limit - shared) / (memory - shared)))
        size = max(batching.devices, min(size - 1, fits))


def default_limit() -> int:
    """Bytes of memory a program may take, of one device or of this machine (or of the container it is)."""
    found = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if found and "bytes_limit" in found:
        return int(0.9 * found["bytes_limit"])
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text(encoding="utf-8").strip() if limit.is_file() else "max"
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(SHARE * (machine if allowed == "max" else min(machine, int(allowed))))
