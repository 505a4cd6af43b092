"""A new last layer on frozen backbones (paper V, Figure 11).

    python -m experiments.study --config=configs/straightforward.py --size=small
    python -m experiments.study --config=configs/straightforward.py
    python -m experiments.figures --studies=results/straightforward-small --out=results/figures

Small: the small phantom, one backbone, 16 cells of ten sessions; 70 seconds on two cores (AMD EPYC), as `make paper`
runs it with nothing compiled before. Expected on the validation split: the best cell (learning rate 1e-3, batch size
64) reaches a selected loss of 0.278 ± 0.006 (standard deviation of its ten sessions) at an accuracy of 90.6 ± 0.7 %;
the best of all 160 sessions 0.253. On the test split 86.5 ± 1.2 % of the patches (95 % interval 58.4 to 96.7 %, 8
families).

Paper: ten backbones, 1,600 sessions, torchvision's weights, which `python -m experiments.convert_weights` stores first.
It was not run; `benchmarks/sessions_ten.md` extrapolates 1.8 hours on two cores. The paper's best losses go from 0.322
(Inception v3) to 0.585 (VGG-11), without a spread.
"""

from nbjax.config import DatasetConfig, StudyConfig
from nbjax.slides.phantom import PAPER, SMALL
from nbjax.slides.tile import Tiling
from nbjax.training.strategy import PLAIN

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
            dataset=DatasetConfig(standardisation="per_split"),
            fidelity=PLAIN,
            learning_rates=(3e-4, 1e-3, 3e-3, 1e-2),
            batch_sizes=(8, 16, 32, 64),
            epochs=25,
            seeds=10,
        )
    return StudyConfig(
        name="straightforward",
        phantom=PAPER,
        # The paper's smallest slide holds no whole patch, and neither does the phantom's.
        dataset=DatasetConfig(standardisation="per_split", tiling=Tiling(allow_small_slides=True)),
        fidelity=PLAIN,
        backbones=BACKBONES,
        weights="IMAGENET1K_V1",
        learning_rates=(1e-5, 3e-5, 1e-4, 5e-4),
        batch_sizes=(8, 16, 32, 64),
        epochs=25,
        seeds=10,
    )
