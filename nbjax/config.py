"""Typed configs: every field documented, checked when made; a misspelt field is an error."""

import ast
import dataclasses
import difflib
import inspect
import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from nbjax.errors import InputError
from nbjax.fields import check, check_types
from nbjax.partition.audit import KINDS
from nbjax.samples.standardise import MODES
from nbjax.slides.phantom import PhantomConfig
from nbjax.slides.tile import Tiling
from nbjax.training.strategy import FAST, PRESETS, Fidelity, parse_strategy

METHODS = ("filing", "exact", "sequential", "stratified_group_folds", "resampled")
OPTIMISERS = ("sgd", "adam", "adagrad")
BANK_DTYPES = ("float32", "bfloat16")
LEAKS = ("none", "exchange", "random", "random_samples")
# Of a study: as the paper had it, or to an end within minutes on two cores.
SIZES = ("paper", "small")


# Samples of a step: more than any training set that fits a machine.
MOST_TOGETHER = 2**24


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """A grid of sessions on one dataset.

    Attributes:
        name: of the study, shown in the report.
        phantom: the phantom to make where no slides are given; None where slides must be given.
        dataset: from slides to samples.
        backbones: names that `nbjax.models.load_backbone` knows.
        weights: of all of them: `imagenet`, a published set by its name (`IMAGENET1K_V1`, `IMAGENET1K_V2`), a checkpoint
            file, or `random`, and the report says so.
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
        accuracy_goal: training accuracy at which a session stops early; None is never.
        criterion: chooses a session's epoch and the study's cell: `max_train_validation_loss` (paper IV.B.2) or
            `validation_loss` (the authors' program). Test data never choose.
        bank_dtype: of stored features: `float32` or `bfloat16`.
        memory_gib: that one compiled program may take; None is most of the machine's.
        checkpoint_seconds: least time between two checkpoints of a program in flight.
        folds: with every family held out once, the chosen cell is trained again on so many folds; 0 leaves it out. Only
            where nothing but the head is trained.
        test_curve: store the test split's loss and accuracy of every epoch too; they choose nothing (the leakage
            experiments show them).
        positive: of two labels the one whose presence is asked for: sensitivity, precision and the curves are about it.
            None is the last by alphabet, and the report says so. It changes nothing that is trained.
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
    accuracy_goal: float | None = None
    criterion: str = "max_train_validation_loss"
    bank_dtype: str = "float32"
    memory_gib: float | None = None
    checkpoint_seconds: float = 30.0
    folds: int = 5
    test_curve: bool = False
    positive: str | None = None

    def __post_init__(self) -> None:
        named = "imagenet, the name of a published set, a checkpoint file, or random (--set=weights=random)"
        check(self.weights not in (None, "None"), "weights", self.weights, named)
        check_types(self)
        for field in ("backbones", "strategies", "learning_rates", "batch_sizes"):
            values = getattr(self, field)
            check(bool(values) and len(set(values)) == len(values), field, values, "one or more, each once")
        for strategy in self.strategies:
            parse_strategy(strategy)
        check(min(self.learning_rates) > 0, "learning_rates", self.learning_rates, "numbers above 0")
        check(min(self.batch_sizes) >= 1, "batch_sizes", self.batch_sizes, "numbers of 1 or more")
        check(max(self.batch_sizes) <= MOST_TOGETHER, "batch_sizes", self.batch_sizes, f"at most {MOST_TOGETHER:,}")
        for field in ("epochs", "seeds"):
            check(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")
        check(
            self.input_size is None or self.input_size >= 32,
            "input_size",
            self.input_size,
            "at least 32 pixels, or None",
        )
        check(self.optimiser in OPTIMISERS, "optimiser", self.optimiser, " or ".join(OPTIMISERS))
        check(0 <= self.momentum < 1, "momentum", self.momentum, "0 or more, below 1")
        goal = self.accuracy_goal
        check(goal is None or 0 < goal <= 1, "accuracy_goal", goal, "above 0, at most 1, or None")
        check(self.bank_dtype in BANK_DTYPES, "bank_dtype", self.bank_dtype, " or ".join(BANK_DTYPES))
        check(self.memory_gib is None or self.memory_gib > 0, "memory_gib", self.memory_gib, "above 0, or None")
        check(self.checkpoint_seconds >= 0, "checkpoint_seconds", self.checkpoint_seconds, "0 or more")
        check(self.folds == 0 or self.folds >= 2, "folds", self.folds, "0, or 2 or more")
        criteria = ("max_train_validation_loss", "validation_loss")
        check(self.criterion in criteria, "criterion", self.criterion, " or ".join(criteria))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartitionStudyConfig(StudyConfig):
    """One cell of a study under many partitions of the same families, and under leaks.

    Attributes:
        dataset: as in `StudyConfig`; standardised by constants (the default), so that features do not depend on a partition.
        learning_rates: one, the middle one of `StudyConfig`.
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
        check(all(0 <= one <= 1 for one in fractions), "leak_fractions", fractions, "shares in [0, 1]")
        check(2 <= self.leak_draws <= self.partitions, "leak_draws", self.leak_draws, "2 or more, at most partitions")
        check(self.leak_seeds >= 1, "leak_seeds", self.leak_seeds, "at least 1")
        strategy, crop = parse_strategy(self.strategies[0]), self.fidelity.crop
        head_only = strategy.unfrozen == 0 and not strategy.scratch
        check(head_only, "strategies", self.strategies, "straightforward or an extension, which train a head alone")
        check(crop == "centre", "fidelity.crop", crop, "centre, so that one bank serves every partition")
        check(self.fidelity.batch_norm == "frozen", "fidelity.batch_norm", self.fidelity.batch_norm, "frozen")
        check(self.fidelity.dropout == "off", "fidelity.dropout", self.fidelity.dropout, "off")
        check(self.accuracy_goal is None, "accuracy_goal", self.accuracy_goal, "None")
        check(self.bank_dtype == "float32", "bank_dtype", self.bank_dtype, "float32")
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


def load_config(path: str | Path, settings: Sequence[str] = (), size: str | None = None) -> StudyConfig:
    """Runs a config file and returns what its `get_config()` gives.

    Args:
        path: a Python file of `configs/` or of your own; it is your program and runs as such.
        settings: `field=value` or `dataset.field=value`, values as Python literals or plain words.
        size: one of `SIZES`, handed to `get_config(size)`; None leaves it to the file.

    Raises:
        InputError: no such file, a size where there are none, an unknown field, a value of another type or out of range.
    """
    if size is not None and size not in SIZES:
        raise InputError(f"--size={size}: expected {' or '.join(SIZES)}.")
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such config file; those that come with nbjax are in configs/.")
    namespace = runpy.run_path(str(path))
    if "get_config" not in namespace:
        raise InputError(f"{path}: defines no function get_config(); expected one that returns a StudyConfig.")
    get_config = namespace["get_config"]
    if size is not None and not inspect.signature(get_config).parameters:
        raise InputError(f"{path}: this study has one size only; leave --size={size} out.")
    try:
        config = get_config() if size is None else get_config(size)
    except TypeError as error:
        raise InputError(f"{path}: {_explain(error)}") from error
    if not isinstance(config, StudyConfig):
        raise InputError(f"{path}: get_config() returned a {type(config).__name__}; expected a StudyConfig.")
    return _replaced(config, [_parsed(setting) for setting in settings])


def _explain(error: TypeError) -> str:
    # Python words a misspelt dataclass field as an unexpected keyword argument.
    words = str(error).split("'")
    if "unexpected keyword argument" not in words[0] or len(words) < 2:
        return f"{error}."
    kinds = {
        kind.__name__: kind
        for kind in (StudyConfig, PartitionStudyConfig, DatasetConfig, Tiling, PhantomConfig, Fidelity)
    }
    kind = kinds.get(words[0].split(".")[0], StudyConfig)
    return _unknown_field(words[1], kind)


def _unknown_field(field: str, kind: type) -> str:
    known = [f.name for f in dataclasses.fields(kind)]
    inner = [
        f"{f.name}.{field}"
        for f in dataclasses.fields(kind)
        for option in (get_type_hints(kind)[f.name],)
        if dataclasses.is_dataclass(option) and field in {g.name for g in dataclasses.fields(option)}
    ]
    if inner:
        return f"{kind.__name__} has no field {field!r}; did you mean {inner[0]!r}, as in --set={inner[0]}=…?"
    close = difflib.get_close_matches(field, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(known)}."
    return f"{kind.__name__} has no field {field!r}; {hint}"


class Setting(NamedTuple):
    """One `--set`: the path of a field, its value as text, and how it was typed."""

    path: tuple[str, ...]
    text: str
    typed: str


def _parsed(setting: str) -> Setting:
    name, equals, text = setting.partition("=")
    if not equals:
        raise InputError(f"--set={setting}: expected field=value.")
    return Setting(tuple(name.strip().split(".")), text.strip(), setting)


def _replaced(config: Any, settings: Sequence[Setting]) -> Any:
    """The config with all settings applied at once, so that it is checked as a whole and their order does not count.

    Of two settings of one field the later holds; fields of a field are set after the field itself.
    """
    values: dict[str, Any] = {}
    kinds = get_type_hints(type(config))
    for setting in settings:
        if setting.path[0] not in {f.name for f in dataclasses.fields(config)}:
            raise InputError(f"--set={setting.typed}: {_unknown_field(setting.path[0], type(config))}")
        if len(setting.path) == 1:
            values[setting.path[0]] = _literal(setting.text, kinds[setting.path[0]])
    deeper = [setting for setting in settings if len(setting.path) > 1]
    for field in dict.fromkeys(setting.path[0] for setting in deeper):
        of_field = [setting for setting in deeper if setting.path[0] == field]
        inner = values.get(field, getattr(config, field))
        if not dataclasses.is_dataclass(inner):
            raise InputError(f"--set={of_field[0].typed}: field {field!r} has no fields of its own.")
        values[field] = _replaced(inner, [setting._replace(path=setting.path[1:]) for setting in of_field])
    return dataclasses.replace(config, **values)


def _literal(text: str, kind: Any) -> Any:
    """A Python literal, or the words themselves; where several may stand they are parted by commas, and one is several."""
    if kind is Fidelity:
        if text not in PRESETS:
            raise InputError(
                f"--set=fidelity={text}: expected {' or '.join(PRESETS)}, or a field as in fidelity.crop=bank."
            )
        return PRESETS[text]
    several, options = get_origin(kind) is tuple, get_args(kind) or (kind,)
    if str in options and not several:
        # A label or a path may look like a number.
        return None if text == "None" and type(None) in options else _unquoted(text)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return tuple(word.strip() for word in text.split(",")) if several else text
    return (value,) if several and not isinstance(value, tuple) else value


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON values (tuples as lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain
