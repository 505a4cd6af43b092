"""How a program's sessions run beside each other, measured once for each shape on this machine.

The choice decides speed and, by rounding alone, the last digits of a result; what a study began with is kept with its
programs (`nbjax.training.plan`). For tests, and to run a study as another machine did, the environment variable
`NBJAX_CHOICE` (`vmap-1`, `vmap-16`, `map-1` or `map-16`: batching and block) takes the place of every measurement.
"""

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.training.program import Frozen, Hyper, Program, Samples
from nbjax.training.sessions import TOGETHER, Batching, advance, start
from nbjax.weights.folders import home

VARIABLE = "NBJAX_CHOICE"
KINDS = ("vmap", "map")
BLOCK = 16
NAMES = tuple(f"{kind}-{block}" for kind in KINDS for block in (1, BLOCK))
# Of a measurement: enough for a rate, few enough to cost seconds.
SESSIONS = 4
HEAD_STEPS, NETWORK_STEPS = 2 * BLOCK, 2


def choose(
    program: Program, sessions: int, frozen: Frozen, row: tuple[int, ...], devices: int
) -> tuple[Program, Batching]:
    """The program with its fastest `block`, and its fastest batching.

    A linear head needs no measurement. What was measured is kept in the cache folder, a file a shape in `choices`; a file
    that is damaged is measured again, and where none can be written the next study measures again.

    Args:
        program: to run.
        sessions: of the study that run beside each other.
        frozen: what they share; shapes are enough.
        row: shape of one input.
        devices: over which they are spread.

    Raises:
        InputError: `NBJAX_CHOICE` is none of its words.
    """
    if program.head_only and program.nonlinearities == 0:
        return program, Batching("vmap", devices)
    # Only a head under SGD takes several steps at once.
    names = NAMES if program.head_only and program.optimiser == "sgd" else tuple(f"{kind}-1" for kind in KINDS)
    name = _forced(names)
    if name is None:
        count = min(sessions, SESSIONS)
        key = f"{_text(program)} row {row} sessions {count} on {jax.devices()[0].device_kind}, jax {jax.__version__}"
        path = home() / "choices" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
        name = _read(path, key, names)
    if name is None:
        seconds = {name: _seconds(*_as(program, name), count, frozen, row) for name in names}
        name = min(seconds, key=lambda one: seconds[one])
        with contextlib.suppress(OSError), replacing(path) as temporary:
            text = json.dumps({"program": key, "choice": name, "seconds": seconds}, indent=1)
            temporary.write_text(text, encoding="utf-8")
    program, kind = _as(program, name)
    return program, Batching(kind, devices)


def _as(program: Program, name: str) -> tuple[Program, str]:
    kind, block = name.split("-")
    return program._replace(block=int(block)), kind


def _forced(names: tuple[str, ...]) -> str | None:
    """What the environment says, as far as the program can do it; None where it says nothing."""
    word = os.environ.get(VARIABLE)
    if not word:
        return None
    if word not in NAMES:
        raise InputError(f"the environment variable {VARIABLE} is {word!r}; expected {', '.join(NAMES)}, or none.")
    return word if word in names else f"{word.split('-')[0]}-1"


def _read(path: Path, key: str, names: tuple[str, ...]) -> str | None:
    """What was measured before; None where there is nothing that can be used."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found["choice"] if found["program"] == key and found["choice"] in names else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _text(program: Program) -> str:
    """What of a program decides its speed."""
    network = "head" if program.network is None else f"{program.network.name} from {program.start}"
    trained = sum(1 for _ in program.trained)
    return (
        f"{network}, {trained} trained, {program.features} features, {program.nonlinearities} nonlinearities, "
        f"{program.outputs} outputs, batch {program.batch_size}, {program.optimiser}, batch norm {program.batch_norm}, "
        f"dropout {program.dropout}, view {program.view}"
    )


def _seconds(program: Program, kind: str, count: int, frozen: Frozen, row: tuple[int, ...]) -> float:
    """Of one short epoch on made-up inputs."""
    rng = np.random.default_rng(0)
    steps = HEAD_STEPS if program.head_only else NETWORK_STEPS

    def samples(number: int) -> Samples:
        shape = (number * (1 if program.view is not None else program.crops), *row)
        if program.view is None:
            inputs = rng.standard_normal(shape, np.float32)
        else:
            inputs = rng.integers(0, 256, shape, np.uint8)
        convention = None if program.view is None else jnp.asarray([[0.01] * 3, [-1.0] * 3], jnp.float32)
        return Samples(jnp.asarray(inputs), jnp.asarray(rng.integers(0, 2, number), jnp.int32), convention)

    def fill(leaf: Any) -> jax.Array:
        # Variances and scales must be above 0; the size keeps activations from overflowing.
        return jnp.asarray(np.abs(rng.standard_normal(leaf.shape, np.float32)) * 0.05)

    made_up = jax.tree.map(fill, frozen)
    data = (made_up, samples(steps * program.batch_size), samples(program.batch_size))
    hypers = Hyper(jnp.full(count, 1e-6, jnp.float32), jnp.arange(count, dtype=jnp.uint32))
    batching = TOGETHER._replace(kind=kind)
    states, _ = start(program, batching, hypers, *data)
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        states, metrics = advance(program, batching, states, hypers, *data)
        jax.block_until_ready(metrics)
        times.append(time.perf_counter() - begin)
    # The first call compiles.
    return min(times[1:])
