"""From a study's config to programs: what each runs, on which bank, how many sessions at once, in how much memory.

A program is known by what decides its sessions' results. How they were put together on the machine at hand (the block,
the batching, the chunks that fit its memory) is described beside it: a study that goes on keeps what it began with.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nbjax import __version__
from nbjax.errors import InputError
from nbjax.models import Backbone
from nbjax.models.network import Network
from nbjax.samples.reading import Dataset
from nbjax.training.bank import row_of
from nbjax.training.choice import KINDS, choose
from nbjax.training.config import StudyConfig
from nbjax.training.cut import find_cut, trainable
from nbjax.training.fit import Fit, fit_sessions, memory_limit
from nbjax.training.inputs import View, view_of
from nbjax.training.program import NOTHING, Frozen, Hyper, Program, Samples
from nbjax.training.sessions import Batching, chunks, filled_up, grid
from nbjax.training.store import DESCRIPTION, IN_FLIGHT, is_finished
from nbjax.training.strategy import Strategy, head_of, parse_strategy

# What a program's description says besides that which decides its results.
SAID = ("block", "batching", "devices", "together", "cut", "reason", "memory_bytes")


class Task(NamedTuple):
    """Sessions that run at once.

    Attributes:
        name: of its folder.
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
        key: everything that decides the results, and nothing else, as JSON values.
    """

    name: str
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
    def common(self) -> dict[str, Any]:
        """What decides the results besides the learning rates and seeds."""
        return {name: value for name, value in self.key.items() if name not in ("learning_rates", "seeds")}

    @property
    def description(self) -> dict[str, Any]:
        """What is stored of it, as `_known` reads it."""
        fit = (self.program.block, *self.batching, len(self.hypers.seed), self.start, self.reason, self.memory)
        return {**self.key, **dict(zip(SAID, fit, strict=True))}


def frozen_part(program: Program, backbone: Backbone) -> Frozen:
    """What a program's sessions share of a backbone."""
    if program.network is None:
        return NOTHING
    names = [stage.name for stage in program.network.stages[:-1]]
    kept = names[0 if program.start is None else names.index(program.start) :]
    trees = (backbone.params, backbone.batch_stats)
    params, batch_stats = ({name: tree[name] for name in kept} for tree in trees)
    return Frozen(params, batch_stats)


def plan_backbone(
    config: StudyConfig, dataset: Dataset, backbone: Backbone, weights: str, programs: Path
) -> list[Task]:
    """Every task of one backbone, in the order in which they run: by strategy, then batch size.

    Args:
        config: the study's.
        dataset: the built one.
        backbone: one of the config's.
        weights: their fingerprint.
        programs: folder of the study's programs; those that hold wanted sessions are tasks as they are, where they are
            finished or can run here.

    Raises:
        InputError: a strategy that the backbone cannot have, an empty split, one session that does not fit, or a
            damaged description of a finished program.
    """
    for split, samples in dataset.samples.items():
        if len(samples) == 0:
            raise InputError(
                f"split {split} of {dataset.folder} is empty; try other proportions, as in "
                "--set=dataset.proportions=0.6,0.2,0.2."
            )
    tasks = []
    for word in config.strategies:
        for batch_size in config.batch_sizes:
            tasks += _tasks(config, dataset, backbone, weights, parse_strategy(word), batch_size, programs)
    return tasks


def _tasks(
    config: StudyConfig,
    dataset: Dataset,
    backbone: Backbone,
    weights: str,
    strategy: Strategy,
    batch_size: int,
    programs: Path,
) -> list[Task]:
    network, edge = backbone.network, dataset.card["patch_size"]
    view = view_of(edge, config.input_size or network.input_size, config.fidelity)
    cut = find_cut(network, strategy, config.fidelity, view.crop == "random")
    program = _program(config, dataset, network, strategy, batch_size, cut.start, view)
    common = _common(config, dataset, network, strategy, batch_size, view, weights)

    def task(some: Hyper, count: int, fit: Fit, name: str | None = None) -> Task:
        rates, seeds = some.learning_rate[:count].tolist(), some.seed[:count].tolist()
        key = {**common, "learning_rates": rates, "seeds": seeds}
        return Task(
            name or _name(key),
            network.name,
            strategy,
            program._replace(block=fit.block),
            fit.batching,
            cut.start,
            view,
            cut.reason,
            some,
            count,
            fit.memory,
            key,
        )

    hypers = grid(config.learning_rates, range(config.seeds))
    place = {pair: number for number, pair in enumerate(_pairs(hypers))}
    tasks = []
    for name, some, fit in _known(programs, common, memory_limit(config)):
        pairs = _pairs(some)
        if place.keys() >= set(pairs):
            tasks.append(task(filled_up(some, fit.together), len(pairs), fit, name))
            place = {pair: number for pair, number in place.items() if pair not in pairs}
    if place:
        missing: Hyper = jax.tree.map(lambda values: values[list(place.values())], hypers)
        frozen = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), frozen_part(program, backbone))
        fit = _fit(config, dataset, program, missing, frozen, row_of(backbone, cut.start, view))
        tasks += [task(some, count, fit) for some, count in chunks(missing, fit.together, fit.batching.devices)]
    first = {pair: number for number, pair in enumerate(_pairs(hypers))}
    return sorted(tasks, key=lambda one: first[_pairs(one.hypers)[0]])


def _common(
    config: StudyConfig,
    dataset: Dataset,
    network: Network,
    strategy: Strategy,
    batch_size: int,
    view: View,
    weights: str,
) -> dict[str, Any]:
    """What decides the results of sessions besides their learning rates and seeds, as JSON gives it back."""
    decides = {
        "backbone": network.name,
        "strategy": strategy.text,
        "batch_size": batch_size,
        "weights": None if strategy.scratch else weights,
        "dataset": dataset.card["sha256"],
        "dataset_config": dataset.card["config"],
        "fidelity": [config.fidelity.batch_norm, config.fidelity.dropout],
        "head": list(head_of(strategy, config.fidelity)),
        "view": list(view),
        "bank_dtype": config.bank_dtype,
        "optimiser": config.optimiser,
        "momentum": config.momentum,
        "epochs": config.epochs,
        "accuracy_goal": config.accuracy_goal,
        "criterion": config.criterion,
        "nbjax": __version__,
    } | ({"test_curve": True} if config.test_curve else {})
    plain: dict[str, Any] = json.loads(json.dumps(decides))
    return plain


def _name(key: dict[str, Any]) -> str:
    """Readable, and as unique as the key."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return f"{key['backbone']}_{key['strategy']}_batch-{key['batch_size']}_{digest[:12]}"


def _pairs(hypers: Hyper) -> list[tuple[float, int]]:
    """Learning rate and seed of each session."""
    return list(zip(hypers.learning_rate.tolist(), hypers.seed.tolist(), strict=True))


def _program(
    config: StudyConfig,
    dataset: Dataset,
    network: Network,
    strategy: Strategy,
    batch_size: int,
    start: str | None,
    view: View,
) -> Program:
    head_only = start == network.stages[-1].name
    classes = len(dataset.card["classes"])
    head_input, weight_decay = head_of(strategy, config.fidelity)
    return Program(
        features=network.feature_size,
        outputs=1 if classes == 2 else classes,
        nonlinearities=strategy.nonlinearities,
        batch_size=batch_size,
        optimiser=config.optimiser,
        momentum=config.momentum,
        criterion=config.criterion,
        goal=config.accuracy_goal,
        network=None if head_only else network,
        start=None if head_only else start,
        trained=trainable(network, strategy),
        scratch=strategy.scratch,
        view=view if start is None else None,
        crops=view.crops,
        batch_norm=config.fidelity.batch_norm if not head_only else "frozen",
        dropout=not head_only and (config.fidelity.dropout == "on" or strategy.scratch),
        head_input=head_input,
        weight_decay=weight_decay,
    )


def _known(programs: Path, common: dict[str, Any], limit: int) -> list[tuple[str, Hyper, Fit]]:
    """Programs of a study whose sessions are of one kind: finished ones, then those in flight or planned that can run
    here.

    Args:
        programs: their folder.
        common: what decides the results, but for the learning rates and seeds.
        limit: bytes of memory that one may take.

    Returns:
        Name, sessions and how they run.
    """
    known = []
    for path in programs.glob(f"*/{DESCRIPTION}"):
        folder = path.parent
        finished = is_finished(folder)
        try:
            decides, hypers, fit = _described(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            if finished:
                raise InputError(
                    f"{path}: damaged ({error}); remove {folder}, and the same command runs this program again."
                ) from error
            # What had not finished is planned anew.
            continue
        if decides == common and (finished or fit.memory <= limit):
            order = (not finished, not (folder / IN_FLIGHT).is_dir(), folder.name)
            known.append((order, (folder.name, hypers, fit)))
    return [found for _, found in sorted(known, key=lambda one: one[0])]


def _described(said: dict[str, Any]) -> tuple[dict[str, Any], Hyper, Fit]:
    """What decides a program's results but for learning rates and seeds, its sessions, and how they run here."""
    decides = {name: value for name, value in said.items() if name not in SAID}
    rates, seeds = decides.pop("learning_rates"), decides.pop("seeds")
    if len(rates) != len(seeds) or not seeds:
        raise ValueError(f"{len(rates)} learning rates and {len(seeds)} seeds")
    hypers = Hyper(np.asarray(rates, np.float32), np.asarray(seeds, np.uint32))
    block, kind, devices, together, memory = (
        said[name] for name in ("block", "batching", "devices", "together", "memory_bytes")
    )
    if kind not in KINDS or min(block, devices) < 1 or together < len(seeds) or together % devices:
        raise ValueError(f"{kind} of {together} sessions on {devices} devices in blocks of {block}")
    # Where there are fewer devices, each has more sessions.
    here = devices if devices <= len(jax.devices()) else math.gcd(together, len(jax.devices()))
    return decides, hypers, Fit(block, Batching(kind, here), together, memory * devices // here)


def _fit(
    config: StudyConfig, dataset: Dataset, program: Program, hypers: Hyper, frozen: Frozen, row: tuple[int, ...]
) -> Fit:
    """How the sessions run here, as many at once as the memory takes."""
    program, batching = choose(program, min(len(jax.devices()), len(hypers.seed)))
    dtype: Any = jnp.dtype(config.bank_dtype)
    if program.view is not None:
        dtype = np.float32 if dataset.is_standardised else np.uint8
    crops = 1 if program.view is not None else program.crops

    def shapes(split: str) -> Samples:
        inputs = jax.ShapeDtypeStruct((len(dataset.samples[split]) * crops, *row), dtype)
        convention = None if program.view is None else jax.ShapeDtypeStruct((2, 3), jnp.float32)
        return Samples(inputs, jax.ShapeDtypeStruct((len(dataset.samples[split]),), jnp.int32), convention)

    # The test split lies on the device while they train, though no epoch needs it.
    return fit_sessions(
        config, program, batching, hypers, frozen, shapes("train"), shapes("validation"), beside=shapes("test")
    )
