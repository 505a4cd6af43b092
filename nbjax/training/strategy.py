"""What a session trains, how faithfully to the authors' loop, and the cut that follows from both.

A strategy is written as in `straightforward`, `extension-4`, `unfreezing-3`, `unfreezing-all`, `unfreezing-2-stages`,
`extension-2+unfreezing-1` or `scratch`.
"""

import dataclasses
import re
from typing import NamedTuple

from nbjax.errors import InputError
from nbjax.fields import check, check_types
from nbjax.models.anatomy import anatomy
from nbjax.models.heads import head_sizes
from nbjax.models.network import Network

Path = tuple[str, ...]
ALL = -1
CROPS = ("centre", "bank", "random")
BATCH_NORMS = ("frozen", "batch")
SWITCH = ("off", "on")
_WORDS = re.compile(r"extension-(\d+)|unfreezing-(?:(all)|(\d+)(-stages)?)")


class Strategy(NamedTuple):
    """What is trained besides the head's first form.

    Attributes:
        nonlinearities: k of the head; 0 is one linear layer (paper V, VI.A).
        unfrozen: weight tensors of the backbone, from its end, that are trained with every vector parameter after them
            (paper VI.B); `ALL` for all.
        stages: `unfrozen` counts stages with parameters instead of tensors, which is the fairer count where a network
            has branches side by side.
        scratch: the whole network is trained from a random start of each session's own.
    """

    nonlinearities: int = 0
    unfrozen: int = 0
    stages: bool = False
    scratch: bool = False

    @property
    def name(self) -> str:
        """The kind: straightforward, extension, unfreezing, extension and unfreezing, scratch."""
        if self.scratch:
            return "scratch"
        kinds = ["extension"] * bool(self.nonlinearities) + ["unfreezing"] * bool(self.unfrozen)
        return " and ".join(kinds) or "straightforward"

    @property
    def text(self) -> str:
        """As `parse_strategy` reads it."""
        if self.scratch:
            return "scratch"
        count = "all" if self.unfrozen == ALL else str(self.unfrozen)
        parts = [f"extension-{self.nonlinearities}"] * bool(self.nonlinearities)
        parts += [f"unfreezing-{count}{'-stages' if self.stages else ''}"] * bool(self.unfrozen)
        return "+".join(parts) or "straightforward"


def parse_strategy(text: str) -> Strategy:
    """Reads a strategy as this module's first lines write it.

    Raises:
        InputError: it is not one.
    """
    if text == "straightforward":
        return Strategy()
    if text == "scratch":
        return Strategy(unfrozen=ALL, scratch=True)
    strategy = Strategy()
    for part in text.split("+"):
        match = _WORDS.fullmatch(part)
        if match is None:
            raise InputError(
                f"strategy {text!r}: {part!r} is none; expected straightforward, extension-K, unfreezing-K, "
                f"unfreezing-all, unfreezing-K-stages, an extension and an unfreezing joined by +, or scratch."
            )
        if match[1] is not None:
            strategy = strategy._replace(nonlinearities=int(match[1]))
        else:
            unfrozen = ALL if match[2] else int(match[3])
            strategy = strategy._replace(unfrozen=unfrozen, stages=match[4] is not None)
    if strategy.text != text:
        raise InputError(f"strategy {text!r}: written otherwise; did you mean {strategy.text!r}?")
    return strategy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How close a session stays to the authors' loop where the paper leaves it open or it costs much.

    Attributes:
        batch_norm: `frozen`: batch norms use their running statistics, everywhere and always; `batch`: while training
            they use the batch's and update the running ones, in frozen layers too, as the authors' loop did.
        crop: `centre`: the middle of each sample; `bank`: one of `crops` random windows of each sample, drawn anew
            each time; `random`: a fresh window each time, as the authors' loop did, in evaluation too.
        crops: windows a sample for `bank`.
        dropout: of the backbone, in frozen layers too: `off`, or `on` while training, as the authors' loop had it.
    """

    batch_norm: str = "frozen"
    crop: str = "centre"
    crops: int = 4
    dropout: str = "off"

    def __post_init__(self) -> None:
        check_types(self)
        check(self.batch_norm in BATCH_NORMS, "fidelity.batch_norm", self.batch_norm, " or ".join(BATCH_NORMS))
        check(self.crop in CROPS, "fidelity.crop", self.crop, " or ".join(CROPS))
        check(self.crops >= 1, "fidelity.crops", self.crops, "at least 1")
        check(self.dropout in SWITCH, "fidelity.dropout", self.dropout, " or ".join(SWITCH))


FAST = Fidelity()
PAPER = Fidelity(batch_norm="batch", crop="random", dropout="on")
PRESETS = {"fast": FAST, "paper": PAPER}


class Cut(NamedTuple):
    """Where a network is divided.

    Attributes:
        start: the first stage that a session runs; None where that is the network's first, on pixels.
        reason: in words, why not later.
    """

    start: str | None
    reason: str


def trainable(network: Network, strategy: Strategy) -> tuple[Path, ...]:
    """Paths of the backbone's parameters that a strategy trains, first to last; the replaced last layer is none of them.

    Counted as the authors did: backwards through the parameters in torch's order, the first k + 1 tensors of two or more
    dimensions (the new last layer is the first of them) and every vector parameter after the last of these.

    Raises:
        InputError: the network has fewer tensors or stages than the strategy names, or fewer features than its head
            halves.
    """
    head_sizes(network.feature_size, strategy.nonlinearities, 1)
    order = [tensor for tensor in anatomy(network).tensors if tensor.path[0] != network.stages[-1].name]
    if strategy.unfrozen == 0:
        return ()
    stages = list(dict.fromkeys(tensor.path[0] for tensor in order))
    matrices = [index for index, tensor in enumerate(order) if len(tensor.shape) > 1]
    most = len(stages) if strategy.stages else len(matrices)
    if strategy.unfrozen > most:
        kind = "stages with parameters" if strategy.stages else "weight tensors"
        raise InputError(
            f"strategy {strategy.text!r}: {network.name} has {most} {kind} before its last layer; expected at most that."
        )
    if strategy.unfrozen == ALL:
        first = 0
    elif strategy.stages:
        first = next(i for i, tensor in enumerate(order) if tensor.path[0] == stages[-strategy.unfrozen])
    else:
        first = matrices[-strategy.unfrozen]
    return tuple(tensor.path for tensor in order[first:])


def find_cut(network: Network, strategy: Strategy, fidelity: Fidelity, crops: bool = True) -> Cut:
    """The latest cut before which everything is frozen and deterministic.

    Args:
        network: the architecture.
        strategy: of the session.
        fidelity: of the session.
        crops: whether samples are cropped at all; a network that scales them whole (Inception v3) has nothing to draw.
    """
    trained = {path[0] for path in trainable(network, strategy)}
    if crops and fidelity.crop == "random":
        return Cut(None, "every sample is cropped anew each time")
    holds = anatomy(network)
    for index, stage in enumerate(network.stages[:-1]):
        if stage.name in trained:
            reason = f"{stage.name} is trained"
        elif fidelity.batch_norm == "batch" and stage.name in holds.batch_norm:
            reason = f"{stage.name} normalises by its batch"
        elif fidelity.dropout == "on" and stage.name in holds.dropout:
            reason = f"{stage.name} has dropout"
        else:
            continue
        return Cut(stage.name if index else None, reason)
    return Cut(network.stages[-1].name, "everything before the new last layer is frozen")
