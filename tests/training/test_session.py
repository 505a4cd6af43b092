import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from nbjax.models.heads import apply_head, init_head, take_standardised
from nbjax.training.losses import sample_hits, sample_losses
from nbjax.training.program import MOMENTS, NOTHING, Program, Samples, moments
from nbjax.training.sessions import TOGETHER, Batching, best_logits, grid, run_sessions

FEATURES = 12


def split(count, classes=2):
    rng = np.random.default_rng(count)
    labels = rng.integers(0, classes, count)
    features = rng.normal(size=(count, FEATURES)) + labels[:, None]
    return Samples(jnp.asarray(features, jnp.float32), jnp.asarray(labels, jnp.int32))


TRAIN, VALIDATION = split(45), split(20)
PROGRAM = Program(features=FEATURES, batch_size=8)


def run(program, epochs, rates, seeds, train=TRAIN, validation=VALIDATION, **settings):
    return run_sessions(program, epochs, grid(rates, seeds), train, validation, **settings)


def authors_loop(seed, learning_rate, epochs, batch_size, train, validation, standardised=False, decay=0.0):
    """The straightforward adaptation in plain NumPy, float64: SGD as torch defines it, the same head and batches.

    What the authors' loop had not: features standardised by the training split, and decay of the kernel alone.

    Losses by epoch: training and validation as means over samples, then both as means over batches.
    """
    key = jax.random.key(seed)
    (layer,) = init_head(jax.random.fold_in(key, 0), FEATURES, 0, 1)
    kernel, bias = np.asarray(layer["kernel"], float), np.asarray(layer["bias"], float)
    momentum = [np.zeros_like(kernel), np.zeros_like(bias)]

    def loss(x, y):
        logit = (x @ kernel + bias)[:, 0]
        return np.mean(np.logaddexp(0, logit) - y * logit)

    def batches(x, y):
        return np.mean([loss(x[at : at + batch_size], y[at : at + batch_size]) for at in range(0, len(y), batch_size)])

    x, y = np.asarray(train.inputs, float), np.asarray(train.labels)
    vx, vy = np.asarray(validation.inputs, float), np.asarray(validation.labels)
    if standardised:
        mean, variance = x.mean(axis=0), x.var(axis=0)
        deviation = np.sqrt(variance + 1e-4 * variance.mean())
        x, vx = (x - mean) / deviation, (vx - mean) / deviation
    history = [(loss(x, y), loss(vx, vy), batches(x, y), batches(vx, vy))]
    for epoch in range(1, epochs + 1):
        order_key = jax.random.split(jax.random.fold_in(key, epoch), 3)[0]
        order = np.asarray(jax.random.permutation(order_key, len(y)))
        total, means = 0.0, []
        for start in range(0, len(y), batch_size):
            rows = order[start : start + batch_size]
            means.append(loss(x[rows], y[rows]))
            total += means[-1] * len(rows)
            off = (1 / (1 + np.exp(-(x[rows] @ kernel + bias))) - y[rows, None]) / len(rows)
            gradients = (x[rows].T @ off + decay * kernel, off.sum(axis=0))
            momentum = [0.9 * old + new for old, new in zip(momentum, gradients, strict=True)]
            kernel, bias = kernel - learning_rate * momentum[0], bias - learning_rate * momentum[1]
        history.append((total / len(y), loss(vx, vy), np.mean(means), batches(vx, vy)))
    return np.asarray(history).T


@pytest.mark.parametrize("batch_size", [8, 45, 64])
@pytest.mark.parametrize("block", [1, 3, 16])
def test_losses_equal_a_plain_loop(batch_size, block):
    metrics = run(PROGRAM._replace(batch_size=batch_size, block=block), 6, [0.05], [3]).metrics
    expected = authors_loop(3, 0.05, 6, batch_size, TRAIN, VALIDATION)
    found = [metrics.train_loss, metrics.validation_loss, metrics.train_loss_batches, metrics.validation_loss_batches]
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-5)


@pytest.mark.parametrize(("block", "decay"), [(1, 0.0), (1, 0.3), (4, 0.0), (4, 0.3)])
def test_losses_on_standardised_features_equal_a_plain_loop(block, decay):
    """Features of unlike sizes and places: what the head sees of them has mean 0 and deviation 1 in training."""
    rng = np.random.default_rng(0)
    scale, shift = 10.0 ** rng.uniform(-2, 1, FEATURES), rng.normal(size=FEATURES)
    train, validation = (
        one._replace(inputs=jnp.asarray(one.inputs * scale + shift, jnp.float32)) for one in (TRAIN, VALIDATION)
    )
    program = PROGRAM._replace(head_input="standardised", weight_decay=decay, block=block)
    result = run(program, 6, [0.05], [3], train, validation)
    expected = authors_loop(3, 0.05, 6, 8, train, validation, True, decay)
    found = [getattr(result.metrics, name) for name in ("train_loss", "validation_loss")]
    np.testing.assert_allclose(np.concatenate(found), expected[:2], rtol=2e-5)
    # What is kept is whole: with its moments the head classifies features as they are.
    kept = jax.tree.map(lambda leaf: leaf[0], (result.states.best_params["head"], result.states.best_batch_stats))
    logits = apply_head(take_standardised(kept[0], **kept[1][MOMENTS]), validation.inputs)
    best = result.states.best_epoch[0]
    loss = jnp.mean(sample_losses(logits, validation.labels))
    np.testing.assert_allclose(loss, result.metrics.validation_loss[0, best], rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_with_decay_a_long_session_ends_at_scikit_learns_logistic_regression(classes):
    train, held_out = split(120, classes), split(40, classes)
    decay = 0.05
    program = PROGRAM._replace(
        outputs=1 if classes == 2 else classes, batch_size=120, head_input="standardised", weight_decay=decay
    )
    result = run(program, 400, [0.05], [0, 1], train, train)
    # Its last epoch, which need not be that of the least loss: what decay adds does not count there.
    last = result.states._replace(best_params=result.states.params)
    hypers = jax.tree.map(jnp.asarray, result.hypers)
    logits = np.asarray(best_logits(program, TOGETHER, last, hypers, NOTHING, held_out))
    inputs = np.asarray(train.inputs, np.float64)
    scaler = StandardScaler().fit(inputs)
    reference = LogisticRegression(C=1 / (decay * len(inputs)), tol=1e-8, max_iter=1000)
    reference.fit(scaler.transform(inputs), np.asarray(train.labels))
    expected = reference.predict_proba(scaler.transform(np.asarray(held_out.inputs, np.float64)))
    for one in logits.astype(np.float64):
        found = np.concatenate([0 * one, one], axis=1) if classes == 2 else one
        np.testing.assert_allclose(scipy.special.softmax(found, axis=1), expected, atol=2e-3)


def test_a_feature_that_is_constant_in_training_stays_harmless():
    constant = TRAIN._replace(inputs=TRAIN.inputs.at[:, 0].set(2.0))
    found = moments(constant.inputs, 45)
    assert 0 < found["deviation"][0] < 0.02 * np.median(found["deviation"])
    result = run(PROGRAM._replace(head_input="standardised"), 3, [0.05], [0], constant, VALIDATION)
    assert np.isfinite(result.metrics.validation_loss).all()


@pytest.mark.parametrize(
    ("nonlinearities", "block", "kind"), [(0, 1, "vmap"), (0, 1, "map"), (2, 1, "vmap"), (2, 4, "map")]
)
def test_a_session_among_others_equals_the_same_session_alone(nonlinearities, block, kind):
    program = PROGRAM._replace(nonlinearities=nonlinearities, block=block)
    together = run(program, 4, [0.003, 0.03], range(5), batching=Batching(kind))
    for index in (0, 3, 9):
        rate, seed = together.hypers.learning_rate[index], together.hypers.seed[index]
        alone = run(program, 4, [rate], [int(seed)])
        for one, other in zip(alone.metrics, together.metrics, strict=True):
            np.testing.assert_allclose(one[0], other[index], rtol=1e-4, atol=1e-5)
        mine, theirs = (jax.tree.leaves(found.states.best_params) for found in (alone, together))
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(one[0], other[index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("criterion", ["max_train_validation_loss", "validation_loss"])
def test_the_kept_parameters_are_those_of_the_best_epoch(criterion):
    # A rate this high makes validation loss rise and fall, so the best epoch is not the last.
    result = run(PROGRAM._replace(criterion=criterion), 12, [0.5], range(6))
    score = result.metrics.validation_loss
    if criterion == "max_train_validation_loss":
        score = np.maximum(score, result.metrics.train_loss)
    best = np.asarray(result.states.best_epoch)
    np.testing.assert_array_equal(best, score.argmin(axis=1))
    assert (best < 12).any()
    for session in range(6):
        params = jax.tree.map(lambda leaf, session=session: leaf[session], result.states.best_params)
        loss = jnp.mean(sample_losses(apply_head(params["head"], VALIDATION.inputs), VALIDATION.labels))
        np.testing.assert_allclose(loss, result.metrics.validation_loss[session, best[session]], rtol=1e-5)


def test_epoch_0_is_before_any_update():
    result = run(PROGRAM, 1, [0.1, 0.2], [7])
    np.testing.assert_array_equal(result.metrics.train_loss[0, 0], result.metrics.train_loss[1, 0])
    params = init_head(jax.random.fold_in(jax.random.key(7), 0), FEATURES, 0, 1)
    loss = jnp.mean(sample_losses(apply_head(params, TRAIN.inputs), TRAIN.labels))
    np.testing.assert_allclose(result.metrics.train_loss[0, 0], loss, rtol=1e-6)


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adagrad"])
def test_three_classes_learn(optimiser):
    train, validation = split(90, 3), split(45, 3)
    program = PROGRAM._replace(outputs=3, optimiser=optimiser)
    result = run(program, 30, [0.05], range(2), train, validation)
    assert result.metrics.train_loss.shape == (2, 31)
    assert (result.metrics.validation_accuracy[:, -1] > 0.6).all()


def test_a_diverging_session_is_recorded_and_leaves_the_others_alone():
    # Steps of 1e38 overflow within an epoch; the other session must not notice.
    both = run(PROGRAM, 3, [0.01, 1e38], [0])
    alone = run(PROGRAM, 3, [0.01], [0])
    assert not np.isfinite(both.metrics.validation_loss[1]).all()
    np.testing.assert_allclose(both.metrics.validation_loss[0], alone.metrics.validation_loss[0], rtol=1e-6)


def test_a_session_stops_where_its_goal_is_reached():
    free = run(PROGRAM, 12, [0.05], range(4))
    # Between what 45 samples can give, so that no rounding reaches it or falls short of it.
    goal = float(np.median(free.metrics.train_accuracy[:, 4])) - 0.1 / 45
    held = run(PROGRAM._replace(goal=goal), 12, [0.05], range(4))
    for session in range(4):
        reached = np.flatnonzero(free.metrics.train_accuracy[session, 1:] >= goal)
        last = reached[0] + 1 if len(reached) else 12
        assert np.asarray(held.states.epoch)[session] == last
        loss = held.metrics.train_loss[session]
        np.testing.assert_allclose(loss[: last + 1], free.metrics.train_loss[session, : last + 1], rtol=1e-6)
        assert np.isnan(loss[last + 1 :]).all()


def test_binary_and_two_logit_losses_agree():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(9, 1)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 2, 9), jnp.int32)
    two = jnp.concatenate([jnp.zeros_like(logits), logits], axis=1)
    np.testing.assert_allclose(sample_losses(logits, labels), sample_losses(two, labels), rtol=1e-5)
    np.testing.assert_array_equal(sample_hits(logits, labels), sample_hits(two, labels))
