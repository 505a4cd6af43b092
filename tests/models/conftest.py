"""One case an architecture: torchvision's outputs on weights that NumPy rebuilds, and our network with these
weights.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nbjax.models import Backbone, Mode, forward, load_backbone

FAST = ("resnet18", "googlenet", "efficientnet_b0")
SLOW = (
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "vgg16_bn",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "inception_v3",
    "densenet121",
)


class Case(NamedTuple):
    """What the battery needs of one architecture.

    Attributes:
        arch: its name.
        meta: `<arch>.json` of the shared folder.
        reference: `<arch>.npz` of the shared folder.
        state_dict: the rebuilt weights.
        backbone: loaded from them.
        images: float32 `[4, H, H, 3]`.
    """

    arch: str
    meta: Mapping[str, Any]
    reference: Mapping[str, np.ndarray]
    state_dict: Mapping[str, np.ndarray]
    backbone: Backbone
    images: np.ndarray


def rebuilt(arch: str, name: str, shape: tuple[int, ...], salt: str = "shared") -> np.ndarray:
    """One tensor of the state dict, by the recipe of the shared folder's README."""
    random = np.random.RandomState(zlib.crc32(f"{salt}/{arch}/{name}".encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_mean"):
        values = 0.1 * random.standard_normal(shape)
    elif name.endswith("running_var"):
        values = random.uniform(0.5, 1.5, shape)
    elif len(shape) >= 2:
        values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("weight"):
        last = "bn2.weight" if arch in ("resnet18", "resnet34") else "bn3.weight"
        values = random.uniform(0.5, 1.5, shape) * (0.2 if arch.startswith("resnet") and name.endswith(last) else 1)
    else:
        values = 0.05 * random.standard_normal(shape)
    return values.astype(np.float32)


def rebuilt_images(arch: str, size: int, salt: str = "shared") -> np.ndarray:
    random = np.random.RandomState(zlib.crc32(f"{salt}/{arch}/input".encode()))
    images = random.standard_normal((4, 3, size, size)).astype(np.float32)
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


@pytest.fixture(scope="session")
def rebuild(shared: Path) -> Callable[[str, str], Case]:
    """Rebuilds the case of an architecture and a salt; the reference is right for the salt `shared` alone."""

    def build(arch: str, salt: str = "shared") -> Case:
        folder = shared / "parity" / "torchvision"
        meta = json.loads((folder / f"{arch}.json").read_text(encoding="utf-8"))
        with np.load(folder / f"{arch}.npz") as file:
            reference = dict(file)
        state_dict = {name: rebuilt(arch, name, tuple(shape), salt) for name, shape in meta["state_dict"].items()}
        images = rebuilt_images(arch, meta["input_size"], salt)
        return Case(arch, meta, reference, state_dict, load_backbone(arch, state_dict=state_dict), images)

    return build


@pytest.fixture(scope="session", params=[*FAST, *(pytest.param(arch, marks=pytest.mark.slow) for arch in SLOW)])
def case(request: pytest.FixtureRequest, rebuild: Callable[[str, str], Case]) -> Iterator[Case]:
    """The case of one architecture; pytest runs all tests of one before it makes the next."""
    yield rebuild(request.param, "shared")
    jax.clear_caches()


@pytest.fixture(scope="session")
def evaluated(case: Case) -> Mapping[str, np.ndarray]:
    """Every stage's output on the first two images, in evaluation mode, in the stages' order."""
    backbone = case.backbone
    outputs = forward(backbone.network, backbone.params, backbone.batch_stats, jnp.asarray(case.images[:2]))[2]
    return {name: np.asarray(output) for name, output in outputs.items()}


class Trained(NamedTuple):
    """A pass with batch statistics over all four images, without dropout."""

    logits: np.ndarray
    batch_stats: Mapping[str, Any]
    auxiliary: Mapping[str, np.ndarray]


@pytest.fixture(scope="session")
def trained(case: Case) -> Trained:
    backbone, mode = case.backbone, Mode(batch_statistics=True)
    trees, images = (backbone.params, backbone.batch_stats), jnp.asarray(case.images)
    logits, changed, outputs = forward(backbone.network, *trees, images, mode=mode, auxiliary=True)
    auxiliary = {stage.name: outputs[stage.name] for stage in backbone.network.auxiliary}
    return Trained(*jax.tree.map(np.asarray, (logits, changed, auxiliary)))
