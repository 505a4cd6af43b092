"""Zero to ten of the backbone's last weight tensors trained with the new last layer (paper VII, Figure 15).

    python -m experiments.study --config=configs/unfreezing.py --size=small
    python -m experiments.study --config=configs/unfreezing.py
    python -m experiments.figures --studies=results/unfreezing-small --out=results/figures

Small: the small phantom, one backbone, k = 0 to 3, one cell of three sessions each; 180 seconds on two cores (AMD
EPYC), as `make paper` runs it with nothing compiled before. Expected on the validation split: a selected loss of 0.281
± 0.006 (standard deviation of three sessions) at k = 0, 0.276 ± 0.016 at 1, 0.332 ± 0.049 at 2 and 0.343 ± 0.042 at 3,
after at most two epochs.

Paper: four backbones, eleven k, 16 cells of ten sessions each: 7,040 sessions, torchvision's weights, which
`python -m experiments.convert_weights` stores first. It was not run. The paper's best losses go from 0.282 (VGG-19, k =
6) to 0.503 (ResNet-152, k = 1), without a spread; its k = 10 was trained as k = 0.
"""

from nbjax.config import DatasetConfig, StudyConfig
from nbjax.slides.phantom import PAPER, SMALL
from nbjax.slides.tile import Tiling
from nbjax.training.strategy import PLAIN

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
            dataset=DatasetConfig(standardisation="per_split"),
            fidelity=PLAIN,
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
        dataset=DatasetConfig(standardisation="per_split", tiling=Tiling(allow_small_slides=True)),
        fidelity=PLAIN,
        backbones=BACKBONES,
        weights="IMAGENET1K_V1",
        strategies=strategies(10),
        learning_rates=(1e-5, 3e-5, 1e-4, 5e-4),
        batch_sizes=(8, 16, 32, 64),
        epochs=25,
        seeds=10,
    )
