"""The configs of studies, checked when they are made."""

import dataclasses
from pathlib import Path

import numpy as np

from nbjax.analysis.selection import CRITERIA
from nbjax.fields import check, check_types
from nbjax.samples.config import DatasetConfig
from nbjax.slides.phantom import PhantomConfig
from nbjax.training.strategy import FAST, Fidelity, parse_strategy

OPTIMISERS = ("sgd", "adam", "adagrad")
BANK_DTYPES = ("float32", "bfloat16")
# Samples of a step: more than any training set that fits a machine.
MOST_TOGETHER = 2**24
# Epochs, and seeds of a cell: more than anyone waits for.
MOST = 1_000_000
INPUT_SIZES = (32, 4096)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellsConfig:
    """What sessions are of: a dataset, backbones, strategies and hyper-parameters.

    Attributes:
        name: of the study, shown in the report.
        phantom: the phantom to make where no slides are given; None where slides must be given.
        dataset: from slides to samples.
        backbones: names that `nbjax.models.load_backbone` knows.
        weights: of all of them: `imagenet`, a published set by its name (`IMAGENET1K_V1`, `IMAGENET1K_V2`), a
            checkpoint file, or `random`, and the report says so.
        strategies: each as `nbjax.training.strategy.parse_strategy` reads it: `straightforward`, `extension-4`,
            `unfreezing-2`, `extension-2+unfreezing-1`, `scratch` and so on.
        fidelity: how close sessions stay to the authors' loop; `--set=fidelity=paper` takes a preset by its name.
        input_size: pixels of the square that the backbones see; None is what each was published with. Where it is more
            than a patch has, patches are scaled up as a whole, else cropped.
        learning_rates: one cell of the grid each.
        batch_sizes: samples a step, one cell each.
        epochs: of each session; epoch 0, before training, comes on top.
        seeds: sessions a cell.
        optimiser: `sgd`, `adam` or `adagrad`.
        momentum: of SGD, in [0, 1).
        criterion: chooses a session's epoch and the study's cell: `max_train_validation_loss` (paper IV.B.2) or
            `validation_loss` (the authors' program). Test data never choose.
        memory_gib: that one compiled program may take; None is most of the machine's.
    """

    name: str
    phantom: PhantomConfig | None = None
    dataset: DatasetConfig = dataclasses.field(default_factory=DatasetConfig)
    backbones: tuple[str, ...] = ("efficientnet_lite0",)
    weights: str = "imagenet"
    strategies: tuple[str, ...] = ("straightforward",)
    fidelity: Fidelity = FAST
    input_size: int | None = None
    learning_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    batch_sizes: tuple[int, ...] = (32,)
    epochs: int = 25
    seeds: int = 10
    optimiser: str = "sgd"
    momentum: float = 0.9
    criterion: str = "max_train_validation_loss"
    memory_gib: float | None = None

    def __post_init__(self) -> None:
        plain = self.name == Path(self.name).name and self.name.isprintable() and self.name not in ("", "..")
        check(plain, "name", self.name, "a plain name, as a folder has")
        named = "imagenet, the name of a published set, a checkpoint file, or random (--set=weights=random)"
        check(self.weights not in (None, "None"), "weights", self.weights, named)
        check_types(self)
        for field in ("backbones", "strategies", "learning_rates", "batch_sizes"):
            values = getattr(self, field)
            check(bool(values) and len(set(values)) == len(values), field, values, "one or more, each once")
        for strategy in self.strategies:
            parse_strategy(strategy)
        with np.errstate(over="ignore", under="ignore"):
            rates = np.asarray(self.learning_rates, np.float32)
        held = bool(
            np.isfinite(rates).all()
            and (rates >= np.finfo(np.float32).tiny).all()
            and len(set(rates.tolist())) == len(rates)
        )
        expected = "numbers above 0 that float32 holds and tells apart (about 1e-38 to 3e38, seven figures)"
        check(held, "learning_rates", self.learning_rates, expected)
        check(min(self.batch_sizes) >= 1, "batch_sizes", self.batch_sizes, "numbers of 1 or more")
        check(max(self.batch_sizes) <= MOST_TOGETHER, "batch_sizes", self.batch_sizes, f"at most {MOST_TOGETHER:,}")
        for field in ("epochs", "seeds"):
            check(1 <= getattr(self, field) <= MOST, field, getattr(self, field), f"at least 1, at most {MOST:,}")
        low, high = INPUT_SIZES
        size = self.input_size
        check(size is None or low <= size <= high, "input_size", size, f"{low} to {high} pixels, or None")
        check(self.optimiser in OPTIMISERS, "optimiser", self.optimiser, " or ".join(OPTIMISERS))
        check(0 <= self.momentum < 1, "momentum", self.momentum, "0 or more, below 1")
        check(self.criterion in CRITERIA, "criterion", self.criterion, " or ".join(CRITERIA))
        check(self.memory_gib is None or self.memory_gib > 0, "memory_gib", self.memory_gib, "above 0, or None")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig(CellsConfig):
    """A grid of sessions on one dataset.

    Attributes:
        accuracy_goal: training accuracy at which a session stops early; None is never.
        bank_dtype: of stored features: `float32` or `bfloat16`.
        checkpoint_seconds: least time between two checkpoints of a program in flight.
        folds: with every family held out once, the chosen strategy is trained again on so many folds, each with the
            learning rate, batch size and epochs that the families outside it choose (`accuracy_goal` plays no part); 0
            leaves it out. Only where nothing but the head is trained.
        test_curve: store the test split's loss and accuracy of every epoch too; they choose nothing (the leakage
            experiments show them).
        positive: of two labels the one whose presence is asked for: sensitivity, precision and the curves are about it.
            None is the last by alphabet, and the report says so. It changes nothing that is trained.
    """

    accuracy_goal: float | None = None
    bank_dtype: str = "float32"
    checkpoint_seconds: float = 30.0
    folds: int = 5
    test_curve: bool = False
    positive: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        goal = self.accuracy_goal
        check(goal is None or 0 < goal <= 1, "accuracy_goal", goal, "above 0, at most 1, or None")
        check(self.bank_dtype in BANK_DTYPES, "bank_dtype", self.bank_dtype, " or ".join(BANK_DTYPES))
        check(self.checkpoint_seconds >= 0, "checkpoint_seconds", self.checkpoint_seconds, "0 or more")
        check(self.folds == 0 or self.folds >= 2, "folds", self.folds, "0, or 2 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartitionStudyConfig(CellsConfig):
    """One cell of a study under many partitions of the same families, and under leaks.

    Attributes:
        dataset: as in `CellsConfig`; standardised by constants (the default), so that features do not depend on a
            partition.
        learning_rates: one, the middle one of a study's.
        partitions: resampled near-optimal ones; iterative filing's own comes on top.
        partition_seed: of the resampling and of the leaks.
        tolerance: discrepancy above filing's that still counts as near-optimal.
        leak_fractions: of the families, one point of the leak curve each, in [0, 1]; none leaves it out.
        leak_draws: partitions under which each point is drawn.
        leak_seeds: sessions of each point and draw.
    """

    learning_rates: tuple[float, ...] = (1e-3,)
    partitions: int = 200
    partition_seed: int = 0
    tolerance: float = 0.01
    leak_fractions: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
    leak_draws: int = 20
    leak_seeds: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("backbones", "strategies", "learning_rates", "batch_sizes"):
            values = getattr(self, field)
            check(len(values) == 1, field, values, "one, since a study over partitions has one cell")
        check(self.partitions >= 2, "partitions", self.partitions, "at least 2")
        check(self.seeds >= 2, "seeds", self.seeds, "at least 2")
        check(self.partition_seed >= 0, "partition_seed", self.partition_seed, "0 or more")
        check(self.tolerance >= 0, "tolerance", self.tolerance, "0 or more")
        fractions = self.leak_fractions
        check(all(0 <= fraction <= 1 for fraction in fractions), "leak_fractions", fractions, "shares in [0, 1]")
        check(2 <= self.leak_draws <= self.partitions, "leak_draws", self.leak_draws, "2 or more, at most partitions")
        check(self.leak_seeds >= 1, "leak_seeds", self.leak_seeds, "at least 1")
        strategy, crop = parse_strategy(self.strategies[0]), self.fidelity.crop
        head_only = strategy.unfrozen == 0 and not strategy.scratch
        check(head_only, "strategies", self.strategies, "straightforward or an extension, which train a head alone")
        check(crop == "centre", "fidelity.crop", crop, "centre, so that one bank serves every partition")
        check(self.fidelity.batch_norm == "frozen", "fidelity.batch_norm", self.fidelity.batch_norm, "frozen")
        check(self.fidelity.dropout == "off", "fidelity.dropout", self.fidelity.dropout, "off")
        # Moments of a split would differ from one partition to the next, and with them the features.
        fixed, leak = ("imagenet", "none"), self.dataset.leak
        mode = self.dataset.standardisation
        check(mode in fixed, "dataset.standardisation", mode, "imagenet or none, which do not depend on a partition")
        method = self.dataset.method
        check(
            method in ("filing", "exact"),
            "dataset.method",
            method,
            "filing, or exact, which takes families of two labels",
        )
        check(leak == "none", "dataset.leak", leak, "none; leak_fractions are this study's")
