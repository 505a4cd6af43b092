"""The paper's straightforward grid: ten backbones, 16 cells of ten sessions each, 25 epochs (1,600 sessions).

python -m experiments.study --config=configs/ten_backbones.py --slides=FOLDER

Without --slides it runs on a phantom of the paper's size (61 slides, 1,570 patches, 8,608 samples). It needs
torchvision's weights, stored once by `python -m experiments.convert_weights --backbone=NAME --weights=IMAGENET1K_V1` for
each backbone. What it costs on two cores: benchmarks/sessions_ten.md.
"""

from nbjax.config import StudyConfig
from nbjax.slides.phantom import PAPER

BACKBONES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "inception_v3",
)


def get_config() -> StudyConfig:
    """Four of the authors' learning rates by four of their batch sizes."""
    return StudyConfig(
        name="ten_backbones",
        phantom=PAPER,
        backbones=BACKBONES,
        weights="IMAGENET1K_V1",
        learning_rates=(1e-5, 3e-5, 1e-4, 5e-4),
        batch_sizes=(8, 16, 32, 64),
        epochs=25,
        seeds=10,
    )
