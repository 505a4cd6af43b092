"""Losses and accuracies of a thousand random starts, before and while they are trained (paper IX, Figures 18 to 20)."""

from nbjax.config import DatasetConfig, StudyConfig
from nbjax.slides.phantom import PAPER, SMALL
from nbjax.slides.tile import Tiling


def get_config(size: str = "paper") -> StudyConfig:
    """A thousand seeds; learning rates a factor of ten apart."""
    small = size == "small"
    return StudyConfig(
        name="distribution-small" if small else "distribution",
        phantom=SMALL if small else PAPER,
        # The paper's smallest slide holds no whole patch, and neither does the phantom's.
        dataset=DatasetConfig(tiling=Tiling(allow_small_slides=True)),
        learning_rates=(3e-5, 3e-4, 3e-3),
        batch_sizes=(32,),
        epochs=10,
        seeds=1000,
        folds=0,
    )
