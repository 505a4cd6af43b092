"""What the paper reports, each number with the place where it stands; nothing here was computed by nbjax.

Losses are in nats, accuracies in [0, 1]. Curves whose values the paper does not print were read off the vector figures
of the authors' own report. Best values are minima over a grid's sessions; how they spread, the paper says of one cell
only.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Score(NamedTuple):
    """A loss with the accuracy at the same epoch."""

    loss: float
    accuracy: float


class Backbone(NamedTuple):
    """A line of Table 3.

    Attributes:
        top1: ImageNet accuracy of the first guess, in per cent.
        top5: the same of the first five.
        parameters: in millions.
        operations: of one forward pass, in billions; the table's FLOPS.
    """

    top1: float
    top5: float
    parameters: float
    operations: float


class Other(NamedTuple):
    """A line of Table 1: another group's method on its own slides."""

    reference: str
    date: str
    framework: str
    accuracy: float


TABLE1 = (
    Other("Kong et al.", "10/2008", "semantic segmentation", 0.88),
    Other("Gheisari et al.", "04/2018", "patched completed local binary pattern, histogram", 0.76),
    Other("Gheisari et al.", "05/2018", "convolutional deep belief network", 0.84),
    Other("Panta et al.", "11/2020", "SIFT, bag of visual words, k-means, SVM", 0.90),
)
# Patches, balanced patches and samples by label and split (Table 2).
TABLE2: Mapping[tuple[str, str], tuple[int, int, int]] = {
    ("PD", "train"): (734, 734, 2936),
    ("D", "train"): (420, 840, 3360),
    ("PD", "validation"): (127, 127, 508),
    ("D", "validation"): (82, 164, 656),
    ("PD", "test"): (127, 127, 508),
    ("D", "test"): (80, 160, 640),
}
TABLE3: Mapping[str, Backbone] = {
    "resnet18": Backbone(69.76, 89.08, 11.7, 2),
    "resnet34": Backbone(73.30, 91.42, 22, 4),
    "resnet50": Backbone(76.15, 92.87, 26, 4),
    "resnet101": Backbone(77.37, 93.56, 45, 8),
    "resnet152": Backbone(78.31, 94.06, 60, 12),
    "vgg11": Backbone(69.02, 88.63, 133, 8),
    "vgg13": Backbone(69.93, 89.25, 133, 11),
    "vgg16": Backbone(71.59, 90.38, 138, 15),
    "vgg19": Backbone(72.38, 90.88, 144, 20),
    "inception_v3": Backbone(77.29, 93.45, 27.2, 5.71),
}
# Best on the validation split by strategy: backbone, k and score (Table 4).
TABLE4: Mapping[str, tuple[str, int, Score]] = {
    "straightforward": ("inception_v3", 0, Score(0.322, 0.859)),
    "extension": ("inception_v3", 4, Score(0.278, 0.8836)),
    "unfreezing": ("vgg19", 6, Score(0.282, 0.8809)),
}
# Best loss and its accuracy by backbone (Figure 11).
FIGURE11: Mapping[str, Score] = {
    "inception_v3": Score(0.322, 0.859),
    "resnet18": Score(0.488, 0.775),
    "resnet34": Score(0.522, 0.740),
    "resnet50": Score(0.550, 0.705),
    "resnet101": Score(0.486, 0.779),
    "resnet152": Score(0.454, 0.785),
    "vgg11": Score(0.585, 0.681),
    "vgg13": Score(0.555, 0.769),
    "vgg16": Score(0.515, 0.783),
    "vgg19": Score(0.479, 0.769),
}
# Best loss by backbone for k = 0, 1, … non-linearities (Figure 13) and unfrozen layers (Figure 15). The authors'
# program read k = 10 unfrozen layers as k = 0.
DEPTH_LOSS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "extension": {
        "inception_v3": (0.322, 0.2948, 0.2881, 0.2821, 0.278, 0.2963, 0.3198),
        "resnet18": (0.4858, 0.4481, 0.4952, 0.5075, 0.5051, 0.5381, 0.5381),
        "resnet152": (0.4522, 0.4692, 0.4564, 0.442, 0.4433, 0.4672, 0.5556),
        "vgg19": (0.4765, 0.4589, 0.4475, 0.4384, 0.4664, 0.4842, 0.5041),
    },
    "unfreezing": {
        "inception_v3": (0.322, 0.3474, 0.3386, 0.3458, 0.3266, 0.3476, 0.3432, 0.3436, 0.3316, 0.3412, 0.3206),
        "resnet18": (0.4898, 0.4822, 0.4806, 0.4506, 0.4642, 0.4682, 0.4388, 0.4608, 0.4674, 0.4666, 0.4798),
        "resnet152": (0.4554, 0.5026, 0.4824, 0.4974, 0.4862, 0.484, 0.4444, 0.447, 0.4374, 0.4456, 0.4712),
        "vgg19": (0.4804, 0.3984, 0.4292, 0.3662, 0.3104, 0.2894, 0.282, 0.3048, 0.2896, 0.3274, 0.4302),
    },
}
# Of the ten sessions of Inception v3 with four non-linearities, learning rate 3e-5, batch size 8 (paper VIII).
BEST = ("inception_v3", 4, 0)
BEST_MEAN = Score(0.310, 0.8695)
BEST_TEST = Score(0.320, 0.8843)
# Before training, over all sessions: mean and standard deviation (Figures 18 and 19).
SESSIONS = 12_500
EPOCH0: Mapping[str, tuple[float, float]] = {"loss": (0.705, 0.042), "accuracy": (0.500, 0.0995)}


def best_loss(backbone: str, nonlinearities: int, unfrozen: int) -> float | None:
    """The paper's best validation loss of a backbone and strategy (Figures 11, 13, 15); None where it has none."""
    if nonlinearities and unfrozen:
        return None
    if not nonlinearities and not unfrozen:
        score = FIGURE11.get(backbone)
        return None if score is None else score.loss
    losses = DEPTH_LOSS["extension" if nonlinearities else "unfreezing"].get(backbone, ())
    k = nonlinearities or unfrozen
    return losses[k] if 0 < k < len(losses) else None


def best_lines(metric: str, backbone: str, nonlinearities: int, unfrozen: int) -> list[tuple[float, str]]:
    """What Figures 16 (`loss`) and 17 (`accuracy`) draw of the paper beside a cell: values and what each is, in words.

    The paper's own cell has its best session and the mean of its ten; of another backbone or strategy there is the best
    loss.
    """
    text = "{:.3f}" if metric == "loss" else "{:.2%}"
    if (backbone, nonlinearities, unfrozen) == BEST:
        best, mean = (getattr(score, metric) for score in (TABLE4["extension"][2], BEST_MEAN))
        return [
            (best, f"the paper's best session: {text.format(best)}"),
            (mean, f"the paper's mean of ten sessions: {text.format(mean)}"),
        ]
    loss = best_loss(backbone, nonlinearities, unfrozen)
    if metric != "loss" or loss is None:
        return []
    return [(loss, f"the paper's best with this backbone and strategy: {text.format(loss)}")]
