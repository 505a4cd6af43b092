"""The leakage experiments again, with a frozen backbone that ImageNet trained and a new last layer.

    python -m experiments.leakage --config=configs/leakage_frozen.py --size=small
    python -m experiments.leakage --config=configs/leakage_frozen.py --slides=FOLDER --out=results/leakage_frozen

Small: ten sessions each on the small phantom; 35 seconds on two cores (AMD EPYC), as `make paper` runs it. Expected:
gaps between validation and training loss of 0.285 (95 % interval 0.276 to 0.294), 0.251 (0.246 to 0.256) and 0.029
(0.027 to 0.031) in experiments 1, 2 and 3; the test loss of 3, 0.483 (0.477 to 0.489), stays below that of the
untrained network.

Paper: on all eight transforms; it was not run. On the same phantom without transforms, two minutes:

    python -m experiments.leakage --config=configs/leakage_frozen.py --out=results/leakage_frozen \
        --set=dataset.transforms=0 --set=learning_rates=1e-2 --set=epochs=40

Its result, in `benchmarks/leakage.md`, is the paper's picture: the validation loss of experiment 1 rises, that of 3
stays beside its training loss (0.064 and 0.015) while its test loss is 0.97, and 2 lies between.
"""

import dataclasses

from nbjax.config import DatasetConfig, StudyConfig
from nbjax.slides.phantom import PAPER, SMALL
from nbjax.slides.tile import Tiling
from nbjax.training.strategy import PLAIN


def get_config(size: str = "paper") -> StudyConfig:
    """One cell, the same for every experiment; features of each sample's middle, computed once."""
    paper = StudyConfig(
        name="leakage_frozen",
        phantom=PAPER,
        dataset=DatasetConfig(standardisation="per_split", tiling=Tiling(allow_small_slides=True)),
        fidelity=PLAIN,
        learning_rates=(1e-3,),
        batch_sizes=(32,),
        epochs=100,
        seeds=10,
        folds=0,
        test_curve=True,
    )
    if size == "paper":
        return paper
    small = DatasetConfig(standardisation="per_split", transforms=0)
    return dataclasses.replace(paper, name="leakage_frozen-small", phantom=SMALL, dataset=small)
