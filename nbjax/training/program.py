"""What a session is compiled for: everything that must be known before, and the network it runs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nbjax.errors import InputError
from nbjax.models.heads import apply_head, init_head
from nbjax.models.layers import Mode
from nbjax.models.network import Keys, Network, Tree, forward
from nbjax.training.config import OPTIMISERS
from nbjax.training.inputs import View, inputs, window

Params = Any


class Program(NamedTuple):
    """What must be known when a session is compiled.

    Attributes:
        network: the architecture; None where sessions run on features alone, whose width then is `features`.
        start: the first stage that a session runs; None is the network's first, on pixels.
        trained: paths of the network's parameters that a session trains.
        scratch: they start at random, drawn from the session's key; else from the backbone's.
        view: how pixels become inputs; None for a bank behind a cut.
        crops: rows of the bank a sample.
        features: width of the head's input.
        outputs: 1 for two classes, else the number of classes.
        nonlinearities: of the head; 0 is one linear layer.
        batch_size: samples a step; the last step of an epoch takes what is left.
        optimiser: `sgd`, `adam` or `adagrad`.
        momentum: of SGD.
        batch_norm: `frozen` or `batch`, as in `Fidelity`.
        dropout: of the network while training; the head's own is always on.
        head_input: `features` or `standardised`, as in `Fidelity`.
        weight_decay: of the head's kernels, as in `Fidelity`.
        criterion: `max_train_validation_loss` or `validation_loss`; the epoch of its minimum is the one kept.
        goal: training accuracy at which a session stops; None for never.
        block: steps the first layer of a head takes at once where there is no weight decay, see
            `nbjax.training.blocked`; 1 is one after the other.
    """

    features: int
    outputs: int = 1
    nonlinearities: int = 0
    batch_size: int = 32
    optimiser: str = "sgd"
    momentum: float = 0.9
    criterion: str = "max_train_validation_loss"
    goal: float | None = None
    network: Network | None = None
    start: str | None = None
    trained: tuple[Keys, ...] = ()
    scratch: bool = False
    view: View | None = None
    crops: int = 1
    batch_norm: str = "frozen"
    dropout: bool = False
    head_input: str = "features"
    weight_decay: float = 0.0
    block: int = 1

    @property
    def head_only(self) -> bool:
        """Whether a session runs nothing but its head."""
        return self.network is None or self.start == self.network.stages[-1].name


class Rows(NamedTuple):
    """A split as rows of the samples.

    Attributes:
        rows: int32 `[size]`; the first `count` are the split's, the others fill it up.
        count: int32, at least 1.
    """

    rows: Any
    count: Any


class Hyper(NamedTuple):
    """Traced hyper-parameters: sessions that differ in them share one compiled program.

    Attributes:
        learning_rate: float32.
        seed: uint32; every random number of the session derives from it and the epoch.
        train: the rows of the training samples that the session sees; None for all. Rows are for heads on features
            alone.
        validation: likewise of the validation samples.
    """

    learning_rate: Any
    seed: Any
    train: Rows | None = None
    validation: Rows | None = None


class Samples(NamedTuple):
    """One split of a bank.

    Attributes:
        inputs: float32 or bfloat16 `[samples * crops, …]`, what the stage before the cut gave; or the stored pixels.
        labels: int32 `[samples]`.
        convention: as `nbjax.training.inputs.to_network` gives it; None behind a cut.
    """

    inputs: Any
    labels: Any
    convention: Any = None


class Frozen(NamedTuple):
    """What all sessions share: the backbone's trees from the cut on, by stage; empty for a head alone."""

    params: Tree
    batch_stats: Tree


NOTHING = Frozen({}, {})
# Among a session's batch statistics: what standardises the head's input. A frozen batch norm, as it were.
MOMENTS = "head_input"


def optimiser(program: Program, learning_rate: jax.Array) -> optax.GradientTransformation:
    """Of a session.

    Raises:
        InputError: there is none of that name.
    """
    if program.optimiser == "sgd":
        return optax.sgd(learning_rate, momentum=program.momentum)
    if program.optimiser == "adam":
        return optax.adam(learning_rate)
    if program.optimiser == "adagrad":
        return optax.adagrad(learning_rate)
    raise InputError(f"optimiser: found {program.optimiser!r}; expected {' or '.join(OPTIMISERS)}.")


def penalty(program: Program, params: Params) -> jax.Array:
    """What weight decay adds to a batch's mean loss: half of it times the squares of the head's kernels; biases are
    free.
    """
    kernels = [layer["kernel"] for layer in params["head"]]
    if program.weight_decay == 0:
        return jnp.zeros((), kernels[0].dtype)
    squares = [jnp.sum(jnp.square(kernel)) for kernel in kernels]
    return jnp.asarray(program.weight_decay / 2, kernels[0].dtype) * sum(squares[1:], squares[0])


def initial(program: Program, key: jax.Array, frozen: Frozen) -> tuple[Params, Any]:
    """A session's parameters before training (`head` and, of the network, `suffix`), and its own batch statistics.

    Where its head takes standardised features, `nbjax.training.session.init` adds their moments to these.
    """
    suffix = pick(frozen.params, program.trained)
    if program.scratch:
        suffix = _draw(jax.random.fold_in(key, 1), suffix)
    head = init_head(key, program.features, program.nonlinearities, program.outputs)
    return {"head": head, "suffix": suffix}, frozen.batch_stats if program.batch_norm == "batch" else {}


def _draw(key: jax.Array, suffix: Tree) -> Any:
    """Torch's default start of every layer: kernel and bias uniform in ±1/sqrt(inputs), scale 1 and shift 0."""
    names = [path for path, _ in jax.tree_util.tree_flatten_with_path(suffix)[0]]
    kernels = {path[:-1]: leaf for path, leaf in jax.tree_util.tree_flatten_with_path(suffix)[0] if leaf.ndim > 1}

    def one(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        if path[:-1] not in kernels:
            return jnp.full(leaf.shape, path[-1].key == "scale", jnp.float32)
        bound = kernels[path[:-1]][..., 0].size ** -0.5
        return jax.random.uniform(jax.random.fold_in(key, names.index(path)), leaf.shape, jnp.float32, -bound, bound)

    return jax.tree_util.tree_map_with_path(one, suffix)


def fetch(program: Program, samples: Samples, rows: jax.Array, key: jax.Array) -> jax.Array:
    """The inputs `[N, …]` of the stage after the cut, for samples `rows` `[N]`; `key` draws windows, if any are
    drawn.
    """
    draws = jnp.zeros_like(rows) if program.crops == 1 else jax.random.randint(key, rows.shape, 0, program.crops)
    if program.view is None:
        return samples.inputs[rows * program.crops + draws]
    view = program.view
    corners = None
    if view.crop != "none":
        keys = jax.random.split(jax.random.fold_in(key, 1), len(rows))
        corners = jax.vmap(window, (None, 0, 0, 0))(view, keys, rows, draws)
    assert samples.convention is not None
    return inputs(view, samples.inputs[rows], samples.convention, corners)


def logits_of(
    program: Program,
    params: Params,
    batch_stats: Any,
    frozen: Frozen,
    x: jax.Array,
    dropout_key: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """Logits `[N, outputs]` of inputs `[N, …]` after the cut, and the batch statistics after them.

    Arguments are those of `features_of`.
    """
    x, batch_stats = features_of(program, params, batch_stats, frozen, x, dropout_key)
    head_key = None if dropout_key is None else jax.random.fold_in(dropout_key, 1_000_003)
    return apply_head(params["head"], standardised(batch_stats, x), head_key), batch_stats


def standardised(batch_stats: Any, features: jax.Array) -> jax.Array:
    """Features `[N, d]` as a session's head takes them."""
    if MOMENTS not in batch_stats:
        return features
    mean, deviation = (batch_stats[MOMENTS][name].astype(features.dtype) for name in ("mean", "deviation"))
    return (features - mean) / deviation


def moments(features: jax.Array, count: jax.Array | int) -> dict[str, jax.Array]:
    """Mean and deviation `[d]` of the first `count` of features `[N, d]`.

    A hundredth of the root mean square of all deviations is added in quadrature: a feature that is all but constant in
    training is not blown up elsewhere.
    """
    real = (jnp.arange(len(features)) < count)[:, None]
    total = jnp.asarray(count, features.dtype)
    mean = jnp.sum(jnp.where(real, features, 0.0), axis=0) / total
    variance = jnp.sum(jnp.where(real, jnp.square(features - mean), 0.0), axis=0) / total
    return {"mean": mean, "deviation": jnp.sqrt(variance + 1e-4 * jnp.mean(variance) + 1e-12)}


def features_of(
    program: Program,
    params: Params,
    batch_stats: Any,
    frozen: Frozen,
    x: jax.Array,
    dropout_key: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """Features `[N, d]` of inputs `[N, …]` after the cut, and the batch statistics after them.

    Args:
        program: of the session.
        params: of the session, as `initial` draws them.
        batch_stats: of the session: its batch norms' where they are its own, and the moments of its head's input.
        frozen: what the sessions share.
        x: as `fetch` gives it.
        dropout_key: of this step; None is evaluation mode.
    """
    x = x.astype(params["head"][0]["kernel"].dtype)
    if program.network is not None and not program.head_only:
        training = dropout_key is not None
        own = program.batch_norm == "batch"
        x, changed, _ = forward(
            program.network,
            merged(frozen.params, params["suffix"]),
            batch_stats if own else frozen.batch_stats,
            x,
            start=program.start,
            stop=program.network.stages[-1].name,
            mode=Mode(train=training and program.dropout, batch_statistics=training and own),
            dropout_key=dropout_key,
        )
        batch_stats = changed if own else batch_stats
    return x, batch_stats


def pick(tree: Tree, paths: tuple[Keys, ...]) -> dict[str, Any]:
    """The leaves of a tree at these paths, nested as they are there."""
    picked: dict[str, Any] = {}
    for path in paths:
        source, target = tree, picked
        for name in path[:-1]:
            source, target = source[name], target.setdefault(name, {})
        target[path[-1]] = source[path[-1]]
    return picked


def merged(tree: Tree, other: Tree) -> Tree:
    """A tree with the leaves of another in place of its own."""
    return {
        name: merged(value, other[name]) if isinstance(value, Mapping) and name in other else other.get(name, value)
        for name, value in tree.items()
    }
