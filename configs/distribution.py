"""Losses and accuracies of a thousand random starts, before and while they are trained (paper IX, Figures 18 to 20).

    python -m experiments.study --config=configs/distribution.py --size=small
    python -m experiments.study --config=configs/distribution.py
    python -m experiments.figures --studies=results/distribution --out=results/figures
    python -m benchmarks.epoch0_modes --study=results/distribution --banks=results/distribution/banks

Both sizes have 3,000 sessions of ten epochs on EfficientNet-lite0, whose weights come with its package. Small: the
small phantom, 68 seconds on two cores (AMD EPYC), as `make paper` runs it. Paper: the phantom of the paper's size, 9.3
minutes of processor time on the same machine.

Expected of the thousand starts, in small size: a loss of 0.705 ± 0.043 on the training and 0.705 ± 0.043 on the
validation split (standard deviation over starts; the paper has 0.705 ± 0.042), an accuracy of 49.7 ± 13.5 % and 50.0
± 13.1 % (the paper: 50.0 ± 9.95 %), with more than one peak, as in the paper (Hartigan's dip test: p = 0.008 and
below 0.001). In paper size, with an earlier rule for tissue: 0.704 ± 0.043 and 0.703 ± 0.039, 49.7 ± 13.6 % and 50.1
± 12.2 %, with one peak. `benchmarks/epoch0_modes.md` shows when there are two.
"""

from nbjax.config import DatasetConfig, StudyConfig
from nbjax.slides.phantom import PAPER, SMALL
from nbjax.slides.tile import Tiling
from nbjax.training.strategy import PLAIN


def get_config(size: str = "paper") -> StudyConfig:
    """A thousand seeds; learning rates a factor of ten apart."""
    small = size == "small"
    return StudyConfig(
        name="distribution-small" if small else "distribution",
        phantom=SMALL if small else PAPER,
        # The paper's smallest slide holds no whole patch, and neither does the phantom's.
        dataset=DatasetConfig(standardisation="per_split", tiling=Tiling(allow_small_slides=not small)),
        fidelity=PLAIN,
        # The small size has none of the small straightforward study, whose sessions are longer: cells are not mixed.
        learning_rates=(2e-5, 2e-4, 2e-3) if small else (3e-5, 3e-4, 3e-3),
        batch_sizes=(32,),
        epochs=10,
        seeds=1000,
        folds=0,
    )
