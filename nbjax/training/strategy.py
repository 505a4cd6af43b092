"""What a session trains, and how faithfully to the authors' loop.

A strategy is written as in `straightforward`, `extension-4`, `unfreezing-3`, `unfreezing-all`, `unfreezing-2-stages`,
`extension-2+unfreezing-1` or `scratch`.
"""

import dataclasses
import math
import re
from typing import NamedTuple

from nbjax.errors import InputError
from nbjax.fields import check, check_types

ALL = -1
CROPS = ("centre", "bank", "random")
BATCH_NORMS = ("frozen", "batch")
SWITCH = ("off", "on")
HEAD_INPUTS = ("standardised", "features")
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
        """The kind: straightforward, extension, unfreezing (stages), extension and unfreezing, scratch."""
        if self.scratch:
            return "scratch"
        unfreezing = "unfreezing stages" if self.stages else "unfreezing"
        kinds = ["extension"] * bool(self.nonlinearities) + [unfreezing] * bool(self.unfrozen)
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
                f"strategy {text!r}: {part!r} is no strategy; expected straightforward, extension-K, unfreezing-K, "
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
        head_input: `standardised`: each feature less its mean over the training split, over its deviation there, so
            that one learning rate suits every backbone; `features`: as the backbone gives them, as the authors' loop
            did. A network that is trained from scratch keeps them as they are.
        weight_decay: of a linear head's kernel where nothing else is trained, 0 or more: half of it times the kernel's
            squares is added to the loss, so that a long session ends at the logistic regression of scikit-learn whose C
            is 1 / (weight_decay * samples). `benchmarks/defaults.md` has what the default rests on. The authors' loop
            had none.
    """

    batch_norm: str = "frozen"
    crop: str = "centre"
    crops: int = 4
    dropout: str = "off"
    head_input: str = "standardised"
    weight_decay: float = 1.0

    def __post_init__(self) -> None:
        check_types(self)
        check(self.batch_norm in BATCH_NORMS, "batch_norm", self.batch_norm, " or ".join(BATCH_NORMS))
        check(self.crop in CROPS, "crop", self.crop, " or ".join(CROPS))
        check(self.crops >= 1, "crops", self.crops, "at least 1")
        check(self.dropout in SWITCH, "dropout", self.dropout, " or ".join(SWITCH))
        check(self.head_input in HEAD_INPUTS, "head_input", self.head_input, " or ".join(HEAD_INPUTS))
        check(0 <= self.weight_decay < math.inf, "weight_decay", self.weight_decay, "0 or more")


def head_of(strategy: Strategy, fidelity: Fidelity) -> tuple[str, float]:
    """How a session's head takes its features, and the weight decay of its kernels."""
    # Features of a random network move with every step: nothing would be standardised by their first moments.
    head_input = "features" if strategy.scratch else fidelity.head_input
    # Several layers would shrink to nothing together, and a trained backbone would make up for a small kernel.
    alone = strategy.nonlinearities == 0 and strategy.unfrozen == 0
    return head_input, fidelity.weight_decay if alone else 0.0


FAST = Fidelity()
# The authors' head on a bank: for the paper's experiments where crops and batch norms are not at issue.
PLAIN = Fidelity(head_input="features", weight_decay=0.0)
PAPER = Fidelity(batch_norm="batch", crop="random", dropout="on", head_input="features", weight_decay=0.0)
PRESETS = {"fast": FAST, "plain": PLAIN, "paper": PAPER}
