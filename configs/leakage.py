"""The paper's leakage experiments 1, 2 and 3 (III.G) with its small network, trained from scratch.

python -m experiments.leakage --config=configs/leakage.py --slides=FOLDER --out=results/leakage
python -m experiments.leakage --size=small

In paper size: ten sessions of a hundred epochs an experiment, on all eight transforms and a fresh crop of 224 pixels each
time, which takes days on two cores. There, without transforms and on the middle 80 pixels of each patch:

python -m experiments.leakage --set=dataset.transforms=0 --set=fidelity.crop=centre --set=input_size=80 \
    --set=learning_rates=5e-3 --set=batch_sizes=8 --set=epochs=20 --set=seeds=4

Expected (paper, Figure 8): the validation loss of experiment 1 rises above its training loss, that of 2 less, that of 3
stays beside it, while the test loss of 3 is about 0.7. In small size, three sessions each on the small phantom, three
minutes of processor time: gaps of 1.36 (95 % interval 0.87 to 1.85), 1.34 (0.81 to 1.87) and 0.29 (0.13 to 0.45), and a
test loss of 0.72 (0.48 to 0.96) in experiment 3; one patch of each of few families is too small a leak to tell 2 from 1.
"""

import dataclasses

from nbjax.config import DatasetConfig, StudyConfig
from nbjax.slides.phantom import PAPER, SMALL
from nbjax.slides.tile import Tiling
from nbjax.training.strategy import PAPER as AS_PUBLISHED


def get_config(size: str = "paper") -> StudyConfig:
    """One cell, the same for every experiment. The paper gives no learning rate and no batch size; these are ours."""
    paper = StudyConfig(
        name="leakage",
        phantom=PAPER,
        dataset=DatasetConfig(tiling=Tiling(allow_small_slides=True)),
        backbones=("small_cnn",),
        weights=None,
        strategies=("scratch",),
        fidelity=AS_PUBLISHED,
        learning_rates=(1e-3,),
        batch_sizes=(32,),
        epochs=100,
        seeds=10,
        folds=0,
        test_curve=True,
    )
    if size == "paper":
        return paper
    return dataclasses.replace(
        paper,
        name="leakage-small",
        phantom=SMALL,
        dataset=DatasetConfig(transforms=0),
        fidelity=dataclasses.replace(AS_PUBLISHED, crop="centre"),
        input_size=80,
        learning_rates=(3e-3,),
        batch_sizes=(8,),
        epochs=10,
        seeds=3,
    )
