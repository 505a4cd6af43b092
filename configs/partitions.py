"""One cell under 200 near-optimal partitions of the same families, ten seeds each, and a leak curve.

    python -m experiments.partitions --size=small
    python -m experiments.partitions --slides=FOLDER --out=results/partitions

Without --slides a phantom is drawn: of the paper's size, or for `small` the quickstart's. Small: 37 seconds on two
cores (AMD EPYC), as `make paper` runs it. Expected: the partition explains 79 % (95 % interval 24 to 100 %) of the test
accuracy's variance, 6.8 points as a standard deviation, the seed 0 % (0 to 4 %); mean test accuracies under 20
partitions from 65.5 to 95.8 %.

Paper's size: on the phantom it was not run. What it costs and gives on 174 real slides is in
benchmarks/partition_study.md.
"""

from nbjax.config import DatasetConfig, PartitionStudyConfig
from nbjax.slides.phantom import PAPER, SMALL
from nbjax.slides.tile import Tiling


def get_config(size: str = "paper") -> PartitionStudyConfig:
    """2,010 sessions for the variance and 600 for the leak curve; `small`: 126 and 120."""
    if size == "small":
        return PartitionStudyConfig(
            name="partitions-small",
            phantom=SMALL,
            epochs=15,
            seeds=6,
            partitions=20,
            leak_fractions=(0.0, 0.5, 1.0),
            leak_draws=10,
            leak_seeds=4,
        )
    return PartitionStudyConfig(
        name="partitions",
        phantom=PAPER,
        dataset=DatasetConfig(tiling=Tiling(allow_small_slides=True)),
        seeds=10,
        partitions=200,
    )
