"""How a program's sessions run beside each other, measured once for each shape on this machine."""

import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nbjax.files import replacing
from nbjax.training.program import Frozen, Hyper, Program, Samples
from nbjax.training.sessions import TOGETHER, Batching, advance, start
from nbjax.weights.folders import home

BLOCK = 16
# Of a measurement: enough for a rate, few enough to cost seconds.
SESSIONS = 4
HEAD_STEPS, NETWORK_STEPS = 2 * BLOCK, 2


def choose(
    program: Program, sessions: int, frozen: Frozen, row: tuple[int, ...], devices: int
) -> tuple[Program, Batching]:
    """The program with its fastest `block`, and its fastest batching.

    A linear head needs no measurement. What was measured is kept in `choices.json` of the cache folder, so that the same
    study runs the same way again.

    Args:
        program: to run.
        sessions: of the study that run beside each other.
        frozen: what they share; shapes are enough.
        row: shape of one input.
        devices: over which they are spread.
    """
    if program.head_only and program.nonlinearities == 0:
        return program, Batching("vmap", devices)
    count = min(sessions, SESSIONS)
    key = f"{_text(program)} row {row} sessions {count} on {jax.devices()[0].device_kind}, jax {jax.__version__}"
    path = home() / "choices.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if key not in known:
        seconds = {
            f"{kind} {block}": _seconds(program._replace(block=block), kind, count, frozen, row)
            for kind in ("vmap", "map")
            for block in ((1, BLOCK) if program.head_only and program.optimiser == "sgd" else (1,))
        }
        known[key] = {"choice": min(seconds, key=lambda name: seconds[name]), "seconds": seconds}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")
    kind, block = known[key]["choice"].split()
    return program._replace(block=int(block)), Batching(kind, devices)


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
