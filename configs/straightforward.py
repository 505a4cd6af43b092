"""A new last layer on frozen backbones (paper V, Figure 11)."""

from nbjax.config import DatasetConfig, StudyConfig
from nbjax.slides.phantom import PAPER, SMALL
from nbjax.slides.tile import Tiling

BACKBONES = (
    "inception_v3",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
)


def get_config(size: str = "paper") -> StudyConfig:
    """Sixteen cells a backbone, ten sessions a cell."""
    if size == "small":
        return StudyConfig(
            name="straightforward-small",
            phantom=SMALL,
            learning_rates=(3e-4, 1e-3, 3e-3, 1e-2),
            batch_sizes=(8, 16, 32, 64),
            epochs=25,
            seeds=10,
        )
    return StudyConfig(
        name="straightforward",
        phantom=PAPER,
        # The paper's smallest slide holds no whole patch, and neither does the phantom's.
        dataset=DatasetConfig(tiling=Tiling(allow_small_slides=True)),
        backbones=BACKBONES,
        weights="IMAGENET1K_V1",
        learning_rates=(1e-5, 3e-5, 1e-4, 5e-4),
        batch_sizes=(8, 16, 32, 64),
        epochs=25,
        seeds=10,
    )
