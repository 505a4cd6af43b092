"""Zero to six non-linearities on frozen backbones (paper VI, Figure 13).

    python -m experiments.study --config=configs/extension.py --size=small
    python -m experiments.study --config=configs/extension.py
    python -m experiments.figures --studies=results/extension-small --out=results/figures

Small: the small phantom, one backbone, every second k, two cells of five sessions each; 153 seconds on two cores (AMD
EPYC), as `make paper` runs it with nothing compiled before. Expected on the validation split: the best cell's selected
loss is 0.283 ± 0.006 (standard deviation of its five sessions) at k = 0, 0.282 ± 0.020 at 2, 0.288 ± 0.011 at 4 and
0.367 ± 0.073 at 6. With other batching, which is measured on each machine, the last comes out a little otherwise: deep
heads magnify rounding.

Paper: four backbones, seven k, 16 cells of ten sessions each: 4,480 sessions, torchvision's weights, which
`python -m experiments.convert_weights` stores first. It was not run. The paper's best losses go from 0.278 (Inception
v3, k = 4) to 0.556 (ResNet-152, k = 6), without a spread.
"""

from nbjax.config import DatasetConfig, StudyConfig
from nbjax.slides.phantom import PAPER, SMALL
from nbjax.slides.tile import Tiling
from nbjax.training.strategy import PLAIN

BACKBONES = ("inception_v3", "resnet18", "resnet152", "vgg19")
STRATEGIES = ("straightforward", *(f"extension-{k}" for k in range(1, 7)))


def get_config(size: str = "paper") -> StudyConfig:
    """Sixteen cells for each backbone and k, ten sessions a cell."""
    if size == "small":
        return StudyConfig(
            name="extension-small",
            phantom=SMALL,
            dataset=DatasetConfig(standardisation="per_split"),
            fidelity=PLAIN,
            strategies=STRATEGIES[::2],
            learning_rates=(1e-3, 1e-2),
            batch_sizes=(16,),
            epochs=15,
            seeds=5,
        )
    return StudyConfig(
        name="extension",
        phantom=PAPER,
        # The paper's smallest slide holds no whole patch, and neither does the phantom's.
        dataset=DatasetConfig(standardisation="per_split", tiling=Tiling(allow_small_slides=True)),
        fidelity=PLAIN,
        backbones=BACKBONES,
        weights="IMAGENET1K_V1",
        strategies=STRATEGIES,
        learning_rates=(1e-5, 3e-5, 1e-4, 5e-4),
        batch_sizes=(8, 16, 32, 64),
        epochs=25,
        seeds=10,
    )
