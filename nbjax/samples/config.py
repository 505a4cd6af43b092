"""From slides to samples: the config of a dataset, checked when it is made."""

import dataclasses

from nbjax.fields import check, check_types
from nbjax.partition.audit import KINDS
from nbjax.samples.standardise import MODES
from nbjax.slides.tile import Tiling

METHODS = ("filing", "exact", "sequential", "stratified_group_folds", "resampled")
LEAKS = ("none", "exchange", "random", "random_samples")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """From slides to samples.

    Attributes:
        tiling: how slides become patches.
        proportions: of patches in train, validation and test; sum to 1.
        diversities: of families in train, validation and test; sum to 1.
        discrepancy_weights: factors of the two sums of the discrepancy, proportions first (paper, discussion).
        method: how families are assigned to splits: `filing`, `exact` or `sequential` (see
            `nbjax.partition.partition_families`), `stratified_group_folds` (scikit-learn's), or `resampled` (any
            partition near filing's, drawn from the seed).
        leak: `none`; or an experiment that correlates train and validation on purpose (paper III.G): `exchange` (one
            patch a family changes place), `random` (patches drawn at random) or `random_samples` (samples drawn at
            random, so that transforms of one patch fall on both sides). The test split is never touched.
        accept: kinds of violation, by the names of `nbjax.partition.audit`, with which the dataset is built
            nevertheless; its card then lists them.
        seed: of what a method or a leak draws.
        transforms: available for balancing and augmenting, 0 to 7 (paper III.E).
        standardisation: `imagenet`, `per_split` (the paper's), `train` or `none`, see `nbjax.samples.standardise`.
    """

    tiling: Tiling = dataclasses.field(default_factory=Tiling)
    proportions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    diversities: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    discrepancy_weights: tuple[float, float] = (1.0, 1.0)
    method: str = "filing"
    leak: str = "none"
    accept: tuple[str, ...] = ()
    seed: int = 0
    transforms: int = 7
    standardisation: str = "imagenet"

    def __post_init__(self) -> None:
        check_types(self)
        check(self.method in METHODS, "method", self.method, " or ".join(METHODS))
        check(self.leak in LEAKS, "leak", self.leak, " or ".join(LEAKS))
        check(set(self.accept) <= set(KINDS), "accept", self.accept, f"names out of {', '.join(KINDS)}")
        check(self.seed >= 0, "seed", self.seed, "0 or more")
        check(0 <= self.transforms <= 7, "transforms", self.transforms, "0 to 7")
        check(self.standardisation in MODES, "standardisation", self.standardisation, " or ".join(MODES))
