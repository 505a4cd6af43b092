"""A backbone: a network with weights, ready to run frozen."""

import dataclasses
import functools
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nbjax.errors import InputError
from nbjax.models.convert import fit, name_table
from nbjax.models.fold import fold, run_folded
from nbjax.models.network import Network, forward, initialise
from nbjax.models.networks import build_network
from nbjax.models.stored import RANDOM, check_weights, find_weights

# Networks whose dense layers are as wide as their input is large, and the least input that passes through them.
SIZED = {"small_cnn": 46}


class RandomWeightsWarning(UserWarning):
    """Weights are random without having been asked for."""


@dataclasses.dataclass(frozen=True, repr=False)
class Backbone:
    """A network with weights.

    Attributes:
        network: the architecture.
        params: by stage.
        batch_stats: by stage.
        pretrained: False for random weights.
        provenance: in words, where the weights came from.
    """

    network: Network
    params: Mapping[str, Any]
    batch_stats: Mapping[str, Any]
    pretrained: bool
    provenance: str

    def __repr__(self) -> str:
        count = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        return f"Backbone({self.network.name}, {count:,} parameters, weights: {self.provenance})"

    @property
    def feature_size(self) -> int:
        """Width of the last layer's input."""
        return self.network.feature_size

    @property
    def input_size(self) -> int:
        """Pixels of the square input the network was published with."""
        return self.network.input_size

    def logits(self, images: np.ndarray | jax.Array) -> jax.Array:
        """Evaluation-mode outputs float32 `[N, 1000]` of images float32 `[N, H, W, 3]` in the network's own convention.

        The convention is the published one: for torchvision's networks ImageNet-normalised, for EfficientNet-lite0
        (pixel - 127) / 128.
        """
        return _classify(self.network, self.params, self.batch_stats, self.features(images))

    def features(self, images: np.ndarray | jax.Array) -> jax.Array:
        """Evaluation-mode inputs of the last layer, float32 `[N, feature_size]`, of images as `logits` takes them."""
        return self.prefix(images, self.network.stages[-1].name)

    def prefix(self, images: np.ndarray | jax.Array, stop: str) -> jax.Array:
        """Evaluation-mode inputs of stage `stop`, float32 `[N, …]`, of images as `logits` takes them."""
        run = run_folded if _on_cpu() else _run_prefix
        return run(self.network, *self._folded, _checked(images), stop)

    @functools.cached_property
    def _folded(self) -> tuple[Any, Any]:
        """What `prefix` runs; made once."""
        folded: tuple[Any, Any] = jax.device_put(fold(self.network, self.params, self.batch_stats, _on_cpu()))
        return folded


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _checked(images: np.ndarray | jax.Array) -> jax.Array:
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.float32:
        raise InputError(f"images are {images.dtype} {list(images.shape)}; expected float32 [N, H, W, 3].")
    return jnp.asarray(images)


_run_prefix = jax.jit(run_folded, static_argnums=(0, 4))


@functools.partial(jax.jit, static_argnums=0)
def _classify(network: Network, params: Any, batch_stats: Any, features: jax.Array) -> jax.Array:
    return forward(network, params, batch_stats, features, start=network.stages[-1].name)[0]


def load_backbone(
    name: str,
    state_dict: Mapping[str, np.ndarray] | None = None,
    weights: str | None = None,
    seed: int = 0,
    partial: str | Sequence[str] | None = None,
) -> Backbone:
    """Builds a network and gives it weights.

    Names of a state dict or a file may all have one prefix (`model.resnet.`); `provenance` then says so.

    Args:
        name: one of `NETWORKS`.
        state_dict: arrays by torchvision's names (EfficientNet-lite0: by those of its published file).
        weights: `IMAGENET1K_V1` or `IMAGENET1K_V2`, once `python -m experiments.convert_weights` has stored them;
            `imagenet`, where that can mean one set only (EfficientNet-lite0: its package's, which need no storing);
            `random`; or the path of a checkpoint file that `nbjax.weights.read_checkpoint` reads. With neither this nor
            a state dict weights are random too, with a `RandomWeightsWarning`.
        seed: of random weights; `provenance` then says that they are random.
        partial: pattern or patterns of published names that the state dict or the file may lack (`classifier.*`); the
            stages that need them cannot be run.

    Raises:
        InputError: an unknown name, both kinds of weights at once, weights that are not there, or that do not fit.
    """
    return _load(build_network(name), state_dict, weights, seed, partial, headless=False)


def load_headless(name: str, weights: str | None, input_size: int | None = None) -> Backbone:
    """As `load_backbone`, but of a checkpoint file the last layer, in whose place a head comes, does not matter.

    It may be absent, of other classes or other layers altogether, as may auxiliary classifiers and whatever else the
    file holds beside the backbone's layers.

    A network without published weights whose dense layers depend on the input's size (`small_cnn`) is made for
    `input_size` pixels, where that is given.

    Raises:
        InputError: as there, or an input too small for such a network.
    """
    network = build_network(name)
    if name in SIZED and weights in (None, RANDOM) and input_size is not None:
        if input_size < SIZED[name]:
            raise InputError(f"input_size: found {input_size}; {name} needs at least {SIZED[name]} pixels.")
        network = network._replace(input_size=input_size)
    return _load(network, None, weights, 0, None, headless=True)


def check_names(backbones: Sequence[str], weights: str) -> None:
    """Looks whether backbones of these names with these weights can be loaded, without reading any.

    Args:
        backbones: as `load_backbone` takes each.
        weights: of all of them, as it takes them.

    Raises:
        InputError: an unknown name; weights that are not published for a backbone, are not stored, or are no file.
    """
    for name in backbones:
        check_weights(build_network(name), weights)


def _load(
    network: Network,
    state_dict: Mapping[str, np.ndarray] | None,
    weights: str | None,
    seed: int,
    partial: str | Sequence[str] | None,
    headless: bool,
) -> Backbone:
    name = network.name
    if state_dict is not None and weights is not None:
        raise InputError(f"{name}: both a state dict and weights {weights!r} were given; give one of them.")
    pretrained = state_dict is not None or weights not in (None, RANDOM)
    if not pretrained and partial is not None:
        raise InputError(f"{name}: patterns of what may be absent go with a state dict or a file; none was given.")
    if not pretrained and weights is None:
        warnings.warn(
            f"{name} has random weights, as neither a state dict nor weights were given; ask for them by "
            f'load_backbone("{name}", weights="random"), or for trained ones by '
            f'load_backbone("{name}", weights="imagenet").',
            RandomWeightsWarning,
            stacklevel=3,
        )
    if state_dict is not None:
        fitted = fit(network, state_dict, partial=partial)
        trees = fitted.trees
        provenance = f"state dict given by the caller, sha256 of its tensors {_digest(state_dict)}{fitted.note}"
    elif pretrained:
        assert weights is not None
        trees, provenance = find_weights(network, weights, partial, headless)
    else:
        trees, provenance = initialise(network, seed), f"random (seed {seed})"
    absent = len(name_table(network)) - len(jax.tree.leaves(trees)) if partial is not None or headless else 0
    if absent:
        provenance += f", without {absent} of the network's tensors"
    params, batch_stats = jax.device_put(trees)
    return Backbone(network, params, batch_stats, pretrained, provenance)


def _digest(state_dict: Mapping[str, np.ndarray]) -> str:
    """sha256 over the names, types, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name, array in sorted(state_dict.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
