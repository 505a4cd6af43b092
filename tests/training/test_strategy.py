"""Strategies against the paper's counting rule, and cuts against what they must keep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbjax.errors import InputError
from nbjax.models import build_network
from nbjax.training.cut import find_cut, trainable
from nbjax.training.strategy import ALL, FAST, PAPER, PLAIN, Fidelity, Strategy, head_of, parse_strategy

WRITTEN = st.builds(
    Strategy,
    nonlinearities=st.integers(0, 6),
    unfrozen=st.integers(0, 10) | st.just(ALL),
    stages=st.booleans(),
    scratch=st.just(False),
).map(lambda drawn: drawn._replace(stages=drawn.stages and drawn.unfrozen > 0))


@given(WRITTEN)
def test_a_strategy_reads_as_it_is_written(strategy: Strategy) -> None:
    assert parse_strategy(strategy.text) == strategy


@pytest.mark.parametrize("text", ["unfreezing", "extension-0", "unfreezing-1+extension-2", "scratch+extension-1", ""])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="strategy"):
        parse_strategy(text)


def dotted(arch: str, text: str) -> list[str]:
    return [".".join(path) for path in trainable(build_network(arch), parse_strategy(text))]


def test_unfreezing_counts_weight_tensors_backwards() -> None:
    # The new last layer is the first tensor counted and not listed. VGG-16: two linear layers, then convolutions.
    assert dotted("vgg16", "straightforward") == []
    assert dotted("vgg16", "extension-3") == []
    assert dotted("vgg16", "unfreezing-1") == ["classifier.3.kernel", "classifier.3.bias"]
    assert dotted("vgg16", "unfreezing-3")[:2] == ["features.28.28.kernel", "features.28.28.bias"]
    # ResNet-18: every vector parameter after the tensor counted last, the batch norm's too.
    assert dotted("resnet18", "unfreezing-1") == [
        "layer4.1.conv2.kernel",
        "layer4.1.bn2.scale",
        "layer4.1.bn2.bias",
    ]
    # torch lists the branch around the first block after the block's own convolutions.
    assert dotted("resnet18", "unfreezing-3")[0] == "layer4.0.downsample.0.kernel"
    assert dotted("resnet18", "unfreezing-3-stages")[0] == "layer3.1.conv1.kernel"


def test_all_is_every_parameter_but_the_last_layers() -> None:
    found = dotted("resnet18", "unfreezing-all")
    assert found[0] == "stem.conv1.kernel"
    assert len(found) == 60
    assert not any(name.startswith("fc") for name in found)


def test_too_many_is_refused() -> None:
    with pytest.raises(InputError, match="at most"):
        dotted("resnet18", "unfreezing-21")
    with pytest.raises(InputError, match="non-linearities"):
        dotted("resnet18", "extension-10")


@pytest.mark.parametrize(
    ("arch", "text", "fidelity", "start"),
    [
        ("resnet18", "straightforward", FAST, "fc"),
        ("resnet18", "extension-4", FAST, "fc"),
        ("resnet18", "unfreezing-2", FAST, "layer4.1"),
        ("resnet18", "unfreezing-all", FAST, None),
        ("resnet18", "straightforward", Fidelity(batch_norm="batch"), None),
        ("resnet18", "straightforward", Fidelity(crop="bank"), "fc"),
        ("vgg16", "straightforward", FAST, "classifier.6"),
        ("vgg16", "straightforward", Fidelity(dropout="on"), "classifier.2"),
        ("vgg16", "straightforward", PAPER, None),
        ("vgg16", "unfreezing-1", FAST, "classifier.3"),
        ("vgg16_bn", "unfreezing-1", Fidelity(batch_norm="batch"), None),
        ("inception_v3", "straightforward", Fidelity(dropout="on"), "dropout"),
    ],
)
def test_the_cut_is_the_latest_that_changes_nothing(
    arch: str, text: str, fidelity: Fidelity, start: str | None
) -> None:
    assert find_cut(build_network(arch), parse_strategy(text), fidelity).start == start


def test_without_crops_random_windows_do_not_move_the_cut() -> None:
    network, strategy = build_network("vgg16"), Strategy()
    assert find_cut(network, strategy, Fidelity(crop="random"), crops=False).start == "classifier.6"


@pytest.mark.parametrize(
    ("text", "fidelity", "expected"),
    [
        ("straightforward", FAST, ("standardised", FAST.weight_decay)),
        ("extension-2", FAST, ("standardised", 0.0)),
        ("unfreezing-1", FAST, ("standardised", 0.0)),
        ("scratch", FAST, ("features", 0.0)),
        ("straightforward", PLAIN, ("features", 0.0)),
        ("straightforward", PAPER, ("features", 0.0)),
    ],
)
def test_decay_is_for_a_linear_head_that_is_trained_alone(
    text: str, fidelity: Fidelity, expected: tuple[str, float]
) -> None:
    assert head_of(parse_strategy(text), fidelity) == expected
