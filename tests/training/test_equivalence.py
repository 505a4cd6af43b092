"""The engine against the authors' loop, written again in NumPy float64 on a tiny network: every step's loss."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nbjax.models.heads import _keep
from nbjax.models.layers import BatchNorm, Dropout, Linear, Mode, conv, global_average
from nbjax.models.network import Network, Stage, initialise
from nbjax.training.cut import find_cut, trainable
from nbjax.training.inputs import View
from nbjax.training.program import Frozen, Hyper, Program, Samples
from nbjax.training.session import init, train_epoch, train_step
from nbjax.training.strategy import Fidelity, parse_strategy

EDGE, WIDTHS, BATCH, TRAIN, VALIDATION, RATE, MOMENTUM, EPOCHS = 6, (4, 8), 5, 17, 7, 0.1, 0.9, 3


class Unit(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x, mode):
        return nn.relu(BatchNorm(name="bn")(conv(self.width, 3, name="conv")(x), mode))


class Pool(nn.Module):
    def __call__(self, x, mode):
        del mode
        return global_average(x)


NETWORK = Network(
    "tiny",
    (
        Stage("one", Unit(WIDTHS[0])),
        Stage("two", Unit(WIDTHS[1])),
        Stage("pool", Pool()),
        Stage("dropout", Dropout(0.5)),
        Stage("fc", Linear(10)),
    ),
    feature_size=WIDTHS[1],
    input_size=EDGE,
)


# The authors' loop. `w` holds weights under (stage, …) or ("head", layer, kind); `stats` running moments by stage.
def columns(x):
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    return np.concatenate([padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=-1)


def unit(x, w, stage, stats, own):
    kernel, scale, bias = (w[stage, *name] for name in (("conv", "kernel"), ("bn", "scale"), ("bn", "bias")))
    seen = columns(x)
    before = seen @ kernel.reshape(-1, kernel.shape[-1])
    mean, var = stats[stage]
    if own:
        mean, var = before.mean((0, 1, 2)), before.var((0, 1, 2))
        unbiased = before.var((0, 1, 2), ddof=1)
        stats[stage] = (0.9 * stats[stage][0] + 0.1 * mean, 0.9 * stats[stage][1] + 0.1 * unbiased)
    normal = (before - mean) / np.sqrt(var + 1e-5)
    after = normal * scale + bias

    def back(g):
        g = g * (after > 0)
        grads = {(stage, "bn", "scale"): (g * normal).sum((0, 1, 2)), (stage, "bn", "bias"): g.sum((0, 1, 2))}
        g = g * scale
        if own:
            g = g - g.mean((0, 1, 2)) - normal * (g * normal).mean((0, 1, 2))
        g = g / np.sqrt(var + 1e-5)
        flat = g.reshape(-1, g.shape[-1])
        grads[stage, "conv", "kernel"] = (seen.reshape(len(flat), -1).T @ flat).reshape(kernel.shape)
        spread = (g @ kernel.reshape(-1, kernel.shape[-1]).T).reshape(*g.shape[:3], 9, x.shape[-1])
        padded = np.zeros((len(x), x.shape[1] + 2, x.shape[2] + 2, x.shape[3]))
        for tap in range(9):
            i, j = divmod(tap, 3)
            padded[:, i : i + x.shape[1], j : j + x.shape[2]] += spread[..., tap, :]
        return padded[:, 1:-1, 1:-1], grads

    return np.maximum(after, 0), back


def features_before(w, stats, pixels):
    """Evaluation-mode features of whole splits: their moments in training standardise the head's input."""
    one, _ = unit(pixels, w, "one", stats, False)
    two, _ = unit(one, w, "two", stats, False)
    features = two.mean((1, 2))
    variance = features.var(axis=0)
    return features.mean(axis=0), np.sqrt(variance + 1e-4 * variance.mean())


def loop_step(w, velocity, stats, trained, x, labels, layers, own, masks, moments=(0.0, 1.0), decay=0.0, rate=RATE):
    """One step of the authors' loop, in place; returns its loss. `masks` is None for evaluation: no update then.

    What the authors' loop had not: `moments` that standardise the head's input, and `decay` of its kernels.
    """
    stats = stats if masks is not None else dict(stats)
    training = own and masks is not None
    one, back_one = unit(x, w, "one", stats, training)
    two, back_two = unit(one, w, "two", stats, training)
    features = two.mean((1, 2))
    dropped = features * masks["dropout"] if masks is not None else features
    values, linear = [(dropped - moments[0]) / moments[1]], []
    for k in range(layers):
        linear.append(values[-1] @ w["head", k, "kernel"] + w["head", k, "bias"])
        if k < layers - 1:
            leaky = np.where(linear[-1] > 0, linear[-1], 0.2 * linear[-1])
            values.append(leaky * masks[k] if masks is not None else leaky)
    chance = 1 / (1 + np.exp(-linear[-1][:, 0]))
    loss = -np.mean(labels * np.log(chance) + (1 - labels) * np.log(1 - chance))
    if masks is None:
        return loss
    g, grads = (chance - labels)[:, None] / len(labels), {}
    for k in reversed(range(layers)):
        grads["head", k, "kernel"], grads["head", k, "bias"] = values[k].T @ g, g.sum(0)
        g = g @ w["head", k, "kernel"].T
        if k > 0:
            g = g * masks[k - 1] * np.where(linear[k - 1] > 0, 1, 0.2)
    g = np.broadcast_to((g / moments[1] * masks["dropout"])[:, None, None] / EDGE**2, two.shape)
    g, more = back_two(g)
    grads |= more | back_one(g)[1]
    for k in range(layers):
        grads["head", k, "kernel"] = grads["head", k, "kernel"] + decay * w["head", k, "kernel"]
    for name in trained:
        velocity[name] = MOMENTUM * velocity.get(name, 0) + grads[name]
        w[name] = w[name] - rate * velocity[name]
    return loss


def masks_of(key, rows, nonlinearities, dropout):
    """The masks that a step draws, scaled by 2."""
    masks = {"dropout": np.ones((rows, WIDTHS[1]))}
    if dropout:
        index = [stage.name for stage in NETWORK.stages].index("dropout")
        rngs = {"dropout": jax.random.fold_in(key, index)}
        ones = jnp.ones((rows, WIDTHS[1]))
        masks["dropout"] = np.asarray(Dropout(0.5).apply({}, ones, Mode(train=True), rngs=rngs), np.float64)
    for k in range(nonlinearities):
        layer = jax.random.fold_in(jax.random.fold_in(key, 1_000_003), k)
        masks[k] = 2.0 * np.asarray(_keep(layer, (rows, WIDTHS[1] >> (k + 1))))
    return masks


def problem(strategy, fidelity):
    """Program, frozen part and splits of a session on stored pixels, so that batch norm and dropout are in the
    session.
    """
    rng = np.random.default_rng(0)
    params, batch_stats = initialise(NETWORK, 0)
    for stage in ("one", "two"):
        shape = batch_stats[stage]["bn"]["mean"].shape
        batch_stats[stage]["bn"] = {"mean": 0.1 * rng.standard_normal(shape), "var": rng.uniform(0.5, 2, shape)}
    params, batch_stats = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (params, batch_stats))
    program = Program(
        features=WIDTHS[1],
        nonlinearities=strategy.nonlinearities,
        batch_size=BATCH,
        network=NETWORK,
        trained=trainable(NETWORK, strategy),
        view=View(EDGE, EDGE, "centre", 1),
        batch_norm=fidelity.batch_norm,
        dropout=fidelity.dropout == "on",
        head_input=fidelity.head_input,
        weight_decay=fidelity.weight_decay,
    )
    convention = jnp.asarray([[1 / 64] * 3, [-2.0] * 3], jnp.float32)

    def split(count):
        pixels = jnp.asarray(rng.integers(0, 256, (count, EDGE, EDGE, 3), np.uint8))
        return Samples(pixels, jnp.asarray(rng.integers(0, 2, count), jnp.int32), convention)

    names = ("one", "two", "pool", "dropout")
    frozen = Frozen({name: params[name] for name in names}, {name: batch_stats[name] for name in names})
    return program, frozen, split(TRAIN), split(VALIDATION)


def weights_of(program, frozen, params):
    """All weights in float64, the names of those that are trained, and the running moments."""
    w = {(*(key.key for key in path),): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(frozen.params)[0]}
    w |= {("head", k, kind): leaf for k, layer in enumerate(params["head"]) for kind, leaf in layer.items()}
    trained = [*program.trained, *(name for name in w if name[0] == "head")]
    moments = {stage: frozen.batch_stats[stage]["bn"] for stage in ("one", "two")}
    stats = {
        stage: tuple(np.asarray(bn[kind], np.float64) for kind in ("mean", "var")) for stage, bn in moments.items()
    }
    return {name: np.asarray(leaf, np.float64) for name, leaf in w.items()}, trained, stats


@pytest.mark.parametrize(
    ("text", "batch_norm", "dropout", "head_input", "decay"),
    [
        ("straightforward", "frozen", "on", "features", 0.0),
        ("straightforward", "batch", "off", "features", 0.0),
        ("straightforward", "frozen", "off", "standardised", 0.3),
        ("extension-2", "frozen", "off", "features", 0.0),
        ("extension-2", "batch", "on", "features", 0.0),
        ("unfreezing-1", "frozen", "on", "features", 0.0),
        ("unfreezing-1", "batch", "off", "features", 0.0),
        ("unfreezing-2", "batch", "on", "standardised", 0.1),
        ("extension-1+unfreezing-all", "frozen", "off", "features", 0.0),
    ],
)
def test_every_step_has_the_loss_of_the_authors_loop(text, batch_norm, dropout, head_input, decay):
    strategy = parse_strategy(text)
    fidelity = Fidelity(batch_norm=batch_norm, dropout=dropout, head_input=head_input, weight_decay=decay)
    program, frozen, train, validation = problem(strategy, fidelity)
    rate = RATE if head_input == "features" else RATE / 10
    hyper, own, layers = Hyper(jnp.float32(rate), jnp.uint32(5)), batch_norm == "batch", strategy.nonlinearities + 1
    pixels = [np.asarray(split.inputs, np.float64) / 64 - 2 for split in (train, validation)]
    labels = [np.asarray(split.labels) for split in (train, validation)]
    state, metrics = jax.jit(init, static_argnums=0)(program, hyper, frozen, train, validation)
    w, trained, stats = weights_of(program, frozen, state.params)
    # Features over their small deviations round as much more, and ask for smaller steps.
    tolerance = 1e-5 if head_input == "features" else 1e-4
    velocity = {}
    beside = ((0.0, 1.0) if head_input == "features" else features_before(w, dict(stats), pixels[0]), decay, rate)

    def evaluated(which):
        starts = range(0, len(labels[which]), BATCH)
        batches = [(pixels[which][at : at + BATCH], labels[which][at : at + BATCH]) for at in starts]
        return np.mean(
            [loop_step(w, velocity, stats, trained, *batch, layers, own, None, *beside) for batch in batches]
        )

    np.testing.assert_allclose(metrics.train_loss_batches, evaluated(0), rtol=tolerance)
    step, epoch_of = jax.jit(train_step, static_argnums=0), jax.jit(train_epoch, static_argnums=0)
    for epoch in range(1, EPOCHS + 1):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(hyper.seed), epoch), 3)
        order = jax.random.permutation(keys[0], TRAIN)
        carry, losses, expected = (state.params, state.batch_stats, state.opt_state), [], []
        for number, at in enumerate(range(0, TRAIN, BATCH)):
            rows, key = order[at : at + BATCH], jax.random.fold_in(keys[1], number)
            carry, means = step(program, carry, hyper, frozen, train, rows, key)
            masks = masks_of(jax.random.split(key)[1], len(rows), strategy.nonlinearities, dropout == "on")
            batch = pixels[0][rows], labels[0][rows]
            losses.append(means[0])
            expected.append(loop_step(w, velocity, stats, trained, *batch, layers, own, masks, *beside))
        np.testing.assert_allclose(losses, expected, rtol=tolerance)
        state, metrics = epoch_of(program, state, hyper, frozen, train, validation)
        np.testing.assert_allclose(metrics.train_loss_batches, np.mean(expected), rtol=tolerance)
        np.testing.assert_allclose(metrics.validation_loss_batches, evaluated(1), rtol=tolerance)
    for (stage, *rest), leaf in ((path, w[path]) for path in program.trained):
        found = state.params["suffix"][stage]
        for name in rest:
            found = found[name]
        np.testing.assert_allclose(found, leaf, rtol=10 * tolerance, atol=1e-5)


def test_a_session_behind_a_cut_is_the_session_on_pixels():
    """What is frozen may run before or within the session: the same losses."""
    strategy, fidelity = parse_strategy("extension-1+unfreezing-1"), Fidelity()
    program, frozen, train, validation = problem(strategy, fidelity)
    cut = find_cut(NETWORK, strategy, fidelity)
    assert cut.start == "two"
    hyper = Hyper(jnp.float32(RATE), jnp.uint32(5))

    def behind(split):
        pixels = split.inputs.astype(jnp.float32) * split.convention[0] + split.convention[1]
        module = NETWORK.stages[0].module
        variables = {"params": frozen.params["one"], "batch_stats": frozen.batch_stats["one"]}
        return Samples(module.apply(variables, pixels, Mode()), split.labels)

    later = program._replace(start="two", view=None)
    rest = Frozen(*({name: tree[name] for name in ("two", "pool", "dropout")} for tree in frozen))
    one, _ = init(program, hyper, frozen, train, validation)
    other, _ = init(later, hyper, rest, behind(train), behind(validation))
    for _ in range(2):
        one, first = train_epoch(program, one, hyper, frozen, train, validation)
        other, second = train_epoch(later, other, hyper, rest, behind(train), behind(validation))
        np.testing.assert_allclose(np.asarray(first), np.asarray(second), rtol=1e-5)
