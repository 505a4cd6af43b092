"""Sessions on one, two and eight devices, which a CPU can be made to pretend, and in chunks of any size."""

import os
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import sys
import jax, jax.numpy as jnp, numpy as np
from nbjax.training.program import NOTHING, Program, Samples
from nbjax.training.sessions import Batching, grid, run_chunks

assert len(jax.devices()) == 8
rng = np.random.default_rng(0)
def split(count):
    inputs, labels = rng.standard_normal((count, 16)), rng.integers(0, 2, count)
    return Samples(jnp.asarray(inputs, jnp.float32), jnp.asarray(labels, jnp.int32))
train, validation = split(37), split(12)
hypers = grid([0.01, 0.1], range(20))
found = {}
for k, block in ((0, 1), (2, 4)):
    program = Program(features=16, nonlinearities=k, batch_size=8, block=block)
    for kind, devices, size in (("vmap", 1, 40), ("vmap", 2, 7), ("map", 8, 16)):
        parts = [
            ran.metrics.validation_loss[:count]
            for ran, count in run_chunks(program, 3, hypers, train, validation, Batching(kind, devices), size)
        ]
        found[f"{k} {block} {kind} {devices} {size}"] = np.concatenate(parts)
np.savez(sys.argv[1], **found)
"""


def test_results_do_not_depend_on_how_sessions_are_spread(tmp_path):
    path = tmp_path / "found.npz"
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", SCRIPT, str(path)], env=environment, check=True)
    with np.load(path) as found:
        for k, block in ((0, 1), (2, 4)):
            whole = found[f"{k} {block} vmap 1 40"]
            assert whole.shape == (40, 4)
            assert len(np.unique(whole[:, 0])) == 20
            for how in ("vmap 2 7", "map 8 16"):
                np.testing.assert_allclose(found[f"{k} {block} {how}"], whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("count", "size", "devices"), [(40, 7, 2), (40, 40, 1), (5, 100, 8), (9, 4, 1), (1, 1, 1)])
def test_chunks_cover_every_session_once(count, size, devices):
    from nbjax.training.sessions import chunks, grid

    hypers = grid([0.5], range(count))
    parts = chunks(hypers, size, devices)
    assert len({len(some.seed) for some, _ in parts}) == 1
    assert all(len(some.seed) % devices == 0 for some, _ in parts)
    assert all(len(some.seed) <= max(size, devices) for some, _ in parts)
    assert np.concatenate([some.seed[:valid] for some, valid in parts]).tolist() == list(range(count))
