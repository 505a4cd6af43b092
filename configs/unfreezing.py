"""Zero to ten of the backbone's last weight tensors trained with the new last layer (paper VII, Figure 15)."""

from nbjax.config import DatasetConfig, StudyConfig
from nbjax.slides.phantom import PAPER, SMALL
from nbjax.slides.tile import Tiling

BACKBONES = ("inception_v3", "resnet18", "resnet152", "vgg19")


def strategies(deepest: int) -> tuple[str, ...]:
    """K = 0, 1, … `deepest` unfrozen layers."""
    return ("straightforward", *(f"unfreezing-{k}" for k in range(1, deepest + 1)))


def get_config(size: str = "paper") -> StudyConfig:
    """Sixteen cells for each backbone and k, ten sessions a cell."""
    if size == "small":
        return StudyConfig(
            name="unfreezing-small",
            phantom=SMALL,
            strategies=strategies(3),
            learning_rates=(1e-3,),
            batch_sizes=(16,),
            epochs=4,
            seeds=3,
        )
    return StudyConfig(
        name="unfreezing",
        phantom=PAPER,
        # The paper's smallest slide holds no whole patch, and neither does the phantom's.
        dataset=DatasetConfig(tiling=Tiling(allow_small_slides=True)),
        backbones=BACKBONES,
        weights="IMAGENET1K_V1",
        strategies=strategies(10),
        learning_rates=(1e-5, 3e-5, 1e-4, 5e-4),
        batch_sizes=(8, 16, 32, 64),
        epochs=25,
        seeds=10,
    )
