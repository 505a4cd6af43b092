"""One session: a pure function of its key, its hyper-parameters and the bank.

Written for one session; `nbjax.training.study` batches it with `vmap`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nbjax.models.heads import apply_head, init_head

Params = Any


class Settings(NamedTuple):
    """What must be known when a session is compiled.

    Attributes:
        feature_size: of the bank.
        outputs: 1 for two classes, else the number of classes.
        nonlinearities: of the head; 0 is the straightforward adaptation.
        batch_size: samples a step; the last step of an epoch takes what is left.
        momentum: of SGD.
        criterion: `max_train_validation_loss` or `validation_loss`; the epoch of its minimum is the one kept.
    """

    feature_size: int
    outputs: int
    nonlinearities: int
    batch_size: int
    momentum: float
    criterion: str


class Hyper(NamedTuple):
    """Traced hyper-parameters: sessions that differ in them share one compiled program."""

    learning_rate: jax.Array


class Samples(NamedTuple):
    """One split of a bank: features float32 `[samples, features]`, labels int32 `[samples]`."""

    features: jax.Array
    labels: jax.Array


class Metrics(NamedTuple):
    """Of one epoch, each a scalar; accuracies in [0, 1], losses in nats."""

    train_loss: jax.Array
    train_accuracy: jax.Array
    validation_loss: jax.Array
    validation_accuracy: jax.Array


class State(NamedTuple):
    """A session between two epochs.

    Attributes:
        key: the session's own; every random number derives from it and the epoch.
        epoch: int32, epochs done.
        params: of the head.
        opt_state: of the optimiser.
        best_params: those of the epoch with the least score so far.
        best_score: that score; infinite while no epoch had a finite one.
        best_epoch: int32.
    """

    key: jax.Array
    epoch: jax.Array
    params: Params
    opt_state: Any
    best_params: Params
    best_score: jax.Array
    best_epoch: jax.Array


def sample_losses(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of each sample: binary for logits `[N, 1]`, else over classes `[N, C]`; returns `[N]`."""
    if logits.shape[-1] == 1:
        return optax.sigmoid_binary_cross_entropy(logits[:, 0], labels.astype(logits.dtype))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def sample_hits(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """1 where the predicted class is the label, else 0: float32 `[N]`; class 1 is predicted above probability 0.5."""
    predicted = logits[:, 0] > 0 if logits.shape[-1] == 1 else jnp.argmax(logits, axis=-1)
    return (predicted.astype(labels.dtype) == labels).astype(jnp.float32)


def evaluate(params: Params, samples: Samples) -> tuple[jax.Array, jax.Array]:
    """Mean loss and accuracy over a split, dropout off."""
    logits = apply_head(params, samples.features)
    return jnp.mean(sample_losses(logits, samples.labels)), jnp.mean(sample_hits(logits, samples.labels))


def _optimiser(settings: Settings, hyper: Hyper) -> optax.GradientTransformation:
    return optax.sgd(hyper.learning_rate, momentum=settings.momentum)


def init(
    settings: Settings, key: jax.Array, hyper: Hyper, train: Samples, validation: Samples
) -> tuple[State, Metrics]:
    """A session before training, and its epoch 0: both splits evaluated before any update."""
    params = init_head(jax.random.fold_in(key, 0), settings.feature_size, settings.nonlinearities, settings.outputs)
    state = State(
        key=key,
        epoch=jnp.int32(0),
        params=params,
        opt_state=_optimiser(settings, hyper).init(params),
        best_params=params,
        best_score=jnp.float32(jnp.inf),
        best_epoch=jnp.int32(0),
    )
    metrics = Metrics(*evaluate(params, train), *evaluate(params, validation))
    return _keep_best(settings, state, metrics), metrics


def train_epoch(
    settings: Settings, state: State, hyper: Hyper, train: Samples, validation: Samples
) -> tuple[State, Metrics]:
    """One epoch: every training sample once in a fresh order, then the validation split.

    The training metrics are the running ones of the epoch (in training mode, before each step's update), summed over
    samples and divided by their number; the paper averages over batches, which weighs a short last batch more.
    """
    epoch = state.epoch + 1
    shuffle_key, dropout_key = jax.random.split(jax.random.fold_in(state.key, epoch))
    count = train.labels.shape[0]
    steps = -(-count // settings.batch_size)
    padding = steps * settings.batch_size - count
    order = jnp.pad(jax.random.permutation(shuffle_key, count), (0, padding), constant_values=-1)
    batches = order.reshape(steps, settings.batch_size)

    def step(carry: tuple[Params, Any], batch: tuple[jax.Array, jax.Array]) -> tuple[tuple[Params, Any], jax.Array]:
        return train_step(settings, carry, hyper, train, batch, dropout_key)

    start = (state.params, state.opt_state)
    (params, opt_state), sums = jax.lax.scan(step, start, (jnp.arange(steps, dtype=jnp.int32), batches))
    loss, accuracy = jnp.sum(sums, axis=0) / jnp.float32(count)
    state = state._replace(epoch=epoch, params=params, opt_state=opt_state)
    metrics = Metrics(loss, accuracy, *evaluate(params, validation))
    return _keep_best(settings, state, metrics), metrics


def train_step(
    settings: Settings,
    carry: tuple[Params, Any],
    hyper: Hyper,
    train: Samples,
    batch: tuple[jax.Array, jax.Array],
    dropout_key: jax.Array,
) -> tuple[tuple[Params, Any], jax.Array]:
    """One update on the samples that `batch` (step number, indices with -1 for none) names; returns sums of loss and hits."""
    params, opt_state = carry
    number, indices = batch
    present = (indices >= 0).astype(jnp.float32)
    features, labels = train.features[indices], train.labels[indices]

    def mean_loss(params: Params) -> tuple[jax.Array, jax.Array]:
        logits = apply_head(params, features, jax.random.fold_in(dropout_key, number))
        sums = jnp.stack([sample_losses(logits, labels), sample_hits(logits, labels)]) @ present
        return sums[0] / jnp.sum(present), sums

    gradients, sums = jax.grad(mean_loss, has_aux=True)(params)
    updates, opt_state = _optimiser(settings, hyper).update(gradients, opt_state)
    return (optax.apply_updates(params, updates), opt_state), sums


def _keep_best(settings: Settings, state: State, metrics: Metrics) -> State:
    score = metrics.validation_loss
    if settings.criterion == "max_train_validation_loss":
        score = jnp.maximum(score, metrics.train_loss)
    better = score < state.best_score
    return state._replace(
        best_params=jax.tree.map(lambda new, old: jnp.where(better, new, old), state.params, state.best_params),
        best_score=jnp.where(better, score, state.best_score),
        best_epoch=jnp.where(better, state.epoch, state.best_epoch),
    )


def run(
    settings: Settings, epochs: int, key: jax.Array, hyper: Hyper, train: Samples, validation: Samples
) -> tuple[State, Metrics]:
    """A whole session: its last state and the metrics of epochs 0 to `epochs`, each `[epochs + 1]`."""
    state, first = init(settings, key, hyper, train, validation)

    def epoch(state: State, _: None) -> tuple[State, Metrics]:
        return train_epoch(settings, state, hyper, train, validation)

    state, rest = jax.lax.scan(epoch, state, None, length=epochs)
    return state, jax.tree.map(lambda one, many: jnp.concatenate([one[None], many]), first, rest)
