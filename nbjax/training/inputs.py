"""From stored samples to what a network takes: cropped or scaled, in the network's own convention."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nbjax.models.network import Network
from nbjax.samples.reading import Dataset
from nbjax.samples.standardise import IMAGENET_MEAN, IMAGENET_STD
from nbjax.training.strategy import Fidelity

# Of the windows of a bank of crops: fixed, so that every study has the same.
_CROPS_SEED = 0


class View(NamedTuple):
    """How a stored sample becomes an input.

    Attributes:
        size: pixels of the square that the network sees.
        edge: pixels of the stored sample; smaller than `size`: it is scaled up as a whole, and never cropped.
        crop: `centre`, `bank` or `random`, as in `Fidelity`; `none` where the sample is scaled.
        crops: windows a sample for `bank`, else 1.
    """

    size: int
    edge: int
    crop: str
    crops: int


def view_of(edge: int, size: int, fidelity: Fidelity) -> View:
    """What a study sees of samples of `edge` pixels with a network that takes `size`."""
    if size > edge:
        return View(size, edge, "none", 1)
    if size == edge:
        return View(size, edge, "centre", 1)
    return View(size, edge, fidelity.crop, fidelity.crops if fidelity.crop == "bank" else 1)


def text(view: View) -> str:
    """In words, for the report."""
    window = f"{view.size}x{view.size} pixels"
    return {
        "none": f"each whole sample, scaled to {window} (bilinear)",
        "centre": f"the middle {window} of each sample",
        "bank": f"one of {view.crops} fixed random windows of {window} of each sample, drawn anew each time",
        "random": f"a window of {window} of each sample, drawn anew each time, in evaluation too",
    }[view.crop]


def to_network(dataset: Dataset, split: str, network: Network) -> np.ndarray:
    """Factor and shift `[2, 3]` by which stored pixels of a split become a network's inputs.

    Standardised pixels are read as if they were ImageNet-normalised, which is what torchvision's networks expect.
    """
    factor = np.divide(IMAGENET_STD, network.deviation)
    shift = np.divide(np.subtract(IMAGENET_MEAN, network.mean), network.deviation)
    if not dataset.is_standardised:
        mean, std = (np.asarray(values) for values in dataset.standardisation(split))
        shift = shift - factor * mean / std
        factor = factor / (255 * std)
    return np.stack([factor, shift]).astype(np.float32)


def window(view: View, key: jax.Array, row: jax.Array, draw: jax.Array) -> jax.Array:
    """Top left corner `[2]` of one sample's window.

    Args:
        view: of the study.
        key: of this drawing; used for `random` alone.
        row: number of the sample; decides with `draw` for `bank`.
        draw: which of the sample's windows, below `view.crops`.
    """
    spare = view.edge - view.size
    if view.crop == "centre":
        return jnp.full(2, spare // 2, jnp.int32)
    if view.crop == "bank":
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(_CROPS_SEED), row), draw)
    return jax.random.randint(key, (2,), 0, spare + 1)


def inputs(view: View, pixels: jax.Array, convention: jax.Array, corners: jax.Array | None) -> jax.Array:
    """A network's inputs float32 `[N, size, size, 3]` of stored samples `[N, edge, edge, 3]`.

    Args:
        view: of the study.
        pixels: uint8, or float32 where they are stored standardised.
        convention: as `to_network` gives it.
        corners: of the windows, int32 `[N, 2]`; None where samples are scaled.
    """
    if corners is not None:
        zero = jnp.int32(0)
        shape = (view.size, view.size, 3)
        pixels = jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (at[0], at[1], zero), shape))(pixels, corners)
    images = pixels.astype(jnp.float32) * convention[0] + convention[1]
    if view.crop == "none":
        images = jax.image.resize(images, (len(images), view.size, view.size, 3), "bilinear", antialias=True)
    return images
