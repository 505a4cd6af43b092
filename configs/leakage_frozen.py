"""The leakage experiments again, with a frozen backbone that ImageNet trained and a new last layer.

python -m experiments.leakage --config=configs/leakage_frozen.py --slides=FOLDER --out=results/leakage_frozen
python -m experiments.leakage --config=configs/leakage_frozen.py --size=small
"""

import dataclasses

from nbjax.config import DatasetConfig, StudyConfig
from nbjax.slides.phantom import PAPER, SMALL
from nbjax.slides.tile import Tiling


def get_config(size: str = "paper") -> StudyConfig:
    """One cell, the same for every experiment; features of each sample's middle, computed once."""
    paper = StudyConfig(
        name="leakage_frozen",
        phantom=PAPER,
        dataset=DatasetConfig(tiling=Tiling(allow_small_slides=True)),
        learning_rates=(1e-3,),
        batch_sizes=(32,),
        epochs=100,
        seeds=10,
        folds=0,
        test_curve=True,
    )
    if size == "paper":
        return paper
    return dataclasses.replace(paper, phantom=SMALL, dataset=DatasetConfig(transforms=0))
