"""The leakage experiments' small network, trained from a random start of each session's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nbjax.errors import InputError
from nbjax.models import build_network, forward, load_backbone, load_headless
from nbjax.models.anatomy import anatomy
from nbjax.models.count import count_parameters
from nbjax.training.cut import find_cut, trainable
from nbjax.training.inputs import View
from nbjax.training.program import Frozen, Program, Samples, initial
from nbjax.training.sessions import grid, run_sessions
from nbjax.training.strategy import FAST, parse_strategy

NETWORK = build_network("small_cnn")
SCRATCH = parse_strategy("scratch")
# By the facts about the authors' program: weights and biases, layer by layer, the replaced last one included.
COUNTS = [9 * 3 * 32 + 32, 9 * 32 * 32 + 32, 9 * 32 * 64 + 64, 9 * 64 * 64 + 64, 9216 * 128 + 128, 128 + 1]


def test_its_layers_are_the_papers():
    assert count_parameters(NETWORK) == sum(COUNTS)
    assert anatomy(NETWORK).shapes["flatten"] == (1, 9216)
    assert len(trainable(NETWORK, SCRATCH)) == 10
    assert find_cut(NETWORK, SCRATCH, FAST).start is None


def program_and_frozen():
    backbone = load_backbone("small_cnn", weights="random")
    names = [stage.name for stage in NETWORK.stages[:-1]]
    frozen = Frozen(*({name: tree[name] for name in names} for tree in (backbone.params, backbone.batch_stats)))
    view = View(224, 224, "centre", 1)
    program = Program(
        features=128,
        batch_size=8,
        network=NETWORK,
        trained=trainable(NETWORK, SCRATCH),
        scratch=True,
        view=view,
        dropout=True,
    )
    return program, frozen


def test_every_seed_starts_as_torch_draws_its_layers():
    program, frozen = program_and_frozen()
    one, other = (initial(program, jax.random.key(seed), frozen)[0]["suffix"] for seed in (0, 1))
    leaves = jax.tree_util.tree_flatten_with_path(one)[0]
    assert len(leaves) == 10
    for path, leaf in leaves:
        layer = one
        for key in path[:-1]:
            layer = layer[key.key]
        bound = np.prod(layer["kernel"].shape[:-1]) ** -0.5
        assert np.abs(leaf).max() <= bound
        if leaf.size > 500:
            # Of a uniform distribution, within five standard errors of its deviation.
            np.testing.assert_allclose(np.std(leaf), bound / 3**0.5, rtol=5 / leaf.size**0.5)
    assert all((np.asarray(a) != np.asarray(b)).all() for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True))


def test_sessions_learn_and_change_every_parameter():
    program, frozen = program_and_frozen()
    rng = np.random.default_rng(0)
    labels = np.arange(16) % 2
    pixels = rng.integers(0, 120, (16, 224, 224, 3)) + 120 * labels[:, None, None, None]
    convention = jnp.asarray([[1 / 128] * 3, [-1.0] * 3], jnp.float32)
    samples = Samples(jnp.asarray(pixels, jnp.uint8), jnp.asarray(labels, jnp.int32), convention)
    found = run_sessions(program, 4, grid([1e-2], [0, 1]), samples, samples, frozen)
    assert (found.metrics.validation_loss[:, -1] < found.metrics.validation_loss[:, 0]).all()
    assert (found.metrics.validation_accuracy[:, -1] == 1).all()
    for seed in (0, 1):
        key = jax.random.fold_in(jax.random.key(seed), 0)
        before = jax.tree.leaves(initial(program, key, frozen)[0])
        after = [leaf[seed] for leaf in jax.tree.leaves(found.states.params)]
        assert all((np.asarray(one) != np.asarray(other)).any() for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize(("size", "width"), [(46, 64), (80, 576)])
def test_it_can_be_made_for_smaller_pictures(size, width):
    backbone = load_headless("small_cnn", "random", size)
    found = forward(backbone.network, backbone.params, backbone.batch_stats, jnp.zeros((1, size, size, 3)))
    assert found[2]["flatten"].shape == (1, width)
    assert found[0].shape == (1, 1)
    with pytest.raises(InputError, match="needs at least 46 pixels"):
        load_headless("small_cnn", "random", 45)


def test_there_are_no_weights_for_it():
    with pytest.raises(InputError, match="small_cnn has no published weights, and 'imagenet' was asked for"):
        load_backbone("small_cnn", weights="imagenet")
