"""Typed configs: every field documented, checked when made; a misspelt field is an error."""

import ast
import dataclasses
import difflib
import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from nbjax.errors import InputError
from nbjax.fields import check, check_types
from nbjax.partition.audit import KINDS
from nbjax.samples.standardise import MODES
from nbjax.slides.phantom import PhantomConfig
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
        standardisation: `per_split`, `train`, `imagenet` or `none`, see `nbjax.samples.standardise`.
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
    standardisation: str = "per_split"

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
        backbone: a name that `nbjax.models.load_backbone` knows.
        weights: `imagenet`, a published set by its name (`IMAGENET1K_V1`, `IMAGENET1K_V2`) or a checkpoint file; None is
            random weights, and the report says so.
        input_size: pixels of the square centre crop that the backbone sees.
        learning_rates: one cell of the grid each.
        batch_size: samples a step.
        epochs: of each session; epoch 0, before training, comes on top.
        seeds: sessions a cell.
        criterion: chooses a session's epoch and the study's cell: `max_train_validation_loss` (paper IV.B.2) or
            `validation_loss` (the authors' program). Test data never choose.
    """

    name: str
    phantom: PhantomConfig | None = None
    dataset: DatasetConfig = dataclasses.field(default_factory=DatasetConfig)
    backbone: str = "efficientnet_lite0"
    weights: str | None = "imagenet"
    input_size: int = 224
    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    batch_size: int = 32
    epochs: int = 25
    seeds: int = 10
    criterion: str = "max_train_validation_loss"

    def __post_init__(self) -> None:
        check_types(self)
        rates = self.learning_rates
        check(bool(rates) and min(rates) > 0, "learning_rates", rates, "one or more numbers above 0")
        check(len(set(rates)) == len(rates), "learning_rates", rates, "each number once")
        for field in ("batch_size", "epochs", "seeds"):
            check(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")
        check(
            32 <= self.input_size <= self.dataset.tiling.patch_size,
            "input_size",
            self.input_size,
            "32 to patch_size pixels",
        )
        criteria = ("max_train_validation_loss", "validation_loss")
        check(self.criterion in criteria, "criterion", self.criterion, " or ".join(criteria))


def load_config(path: str | Path, settings: Sequence[str] = ()) -> StudyConfig:
    """Runs a config file and returns what its `get_config()` gives.

    Args:
        path: a Python file of `configs/` or of your own; it is your program and runs as such.
        settings: `field=value` or `dataset.field=value`, values as Python literals or plain words.

    Raises:
        InputError: no such file, an unknown field, a value of another type or out of range.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such config file; those that come with nbjax are in configs/.")
    namespace = runpy.run_path(str(path))
    if "get_config" not in namespace:
        raise InputError(f"{path}: defines no function get_config(); expected one that returns a StudyConfig.")
    try:
        config = namespace["get_config"]()
    except TypeError as error:
        raise InputError(f"{path}: {_explain(error)}") from error
    if not isinstance(config, StudyConfig):
        raise InputError(f"{path}: get_config() returned a {type(config).__name__}; expected a StudyConfig.")
    for setting in settings:
        config = _set(config, setting)
    return config


def _explain(error: TypeError) -> str:
    # Python words a misspelt dataclass field as an unexpected keyword argument.
    words = str(error).split("'")
    if "unexpected keyword argument" not in words[0] or len(words) < 2:
        return f"{error}."
    kinds = {kind.__name__: kind for kind in (StudyConfig, DatasetConfig, Tiling, PhantomConfig)}
    kind = kinds.get(words[0].split(".")[0], StudyConfig)
    return _unknown_field(words[1], kind)


def _unknown_field(field: str, kind: type) -> str:
    known = [f.name for f in dataclasses.fields(kind)]
    close = difflib.get_close_matches(field, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(known)}."
    return f"{kind.__name__} has no field {field!r}; {hint}"


def _set(config: Any, setting: str) -> Any:
    name, equals, text = setting.partition("=")
    if not equals:
        raise InputError(f"--set={setting}: expected field=value.")
    field, _, rest = name.strip().partition(".")
    if field not in {f.name for f in dataclasses.fields(config)}:
        raise InputError(f"--set={setting}: {_unknown_field(field, type(config))}")
    if rest:
        inner = getattr(config, field)
        if not dataclasses.is_dataclass(inner):
            raise InputError(f"--set={setting}: field {field!r} has no fields of its own.")
        return dataclasses.replace(config, **{field: _set(inner, f"{rest}={text}")})
    return dataclasses.replace(config, **{field: _literal(text.strip(), get_type_hints(type(config))[field])})


def _literal(text: str, kind: Any) -> Any:
    """A Python literal, or the words themselves; one number where several may stand is a sequence of one."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return (value,) if get_origin(kind) is tuple and not isinstance(value, tuple) else value


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON values (tuples as lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain
