"""Counts against those that torchvision and the paper publish."""

import csv
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import pytest

from nbjax.models import NETWORKS, Network, Stage, build_network
from nbjax.models.count import count_operations, count_parameters
from nbjax.models.layers import BatchNorm, DepthwiseConv, GlobalAverage, Linear, conv

ROOT = Path(__file__).parents[2]
# torchvision's documentation of each set of weights: parameters (GoogLeNet's without its auxiliary heads) and GFLOPS.
PUBLISHED = {
    "vgg11": (132_863_336, 7.609),
    "vgg13": (133_047_848, 11.308),
    "vgg16": (138_357_544, 15.470),
    "vgg19": (143_667_240, 19.632),
    "vgg16_bn": (138_365_992, 15.470),
    "resnet18": (11_689_512, 1.814),
    "resnet34": (21_797_672, 3.664),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnet152": (60_192_808, 11.514),
    "inception_v3": (27_161_264, 5.713),
    "googlenet": (6_624_904, 1.498),
    "densenet121": (7_978_856, 2.834),
    "efficientnet_b0": (5_288_548, 0.386),
}
# The paper's Table 3: "No. Params" in millions, "FLOPS" in billions. It rounds ResNet-34's 3.66 to 4 and so on.
PAPER = {
    "resnet18": (11.7, 2),
    "resnet34": (22, 4),
    "resnet50": (26, 4),
    "resnet101": (45, 8),
    "resnet152": (60, 12),
    "vgg11": (133, 8),
    "vgg13": (133, 11),
    "vgg16": (138, 15),
    "vgg19": (144, 20),
    "inception_v3": (27.2, 5.71),
}
# Weighted layers in the network's name, projections on shortcuts aside.
PROJECTIONS = {"resnet18": 3, "resnet34": 3, "resnet50": 4, "resnet101": 4, "resnet152": 4}
DEPTHS = {"vgg11": 11, "vgg13": 13, "vgg16": 16, "vgg19": 19, "vgg16_bn": 16, "densenet121": 121}
DEPTHS |= {name: int(name.removeprefix("resnet")) + extra for name, extra in PROJECTIONS.items()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_those_that_torchvision_publishes(name: str) -> None:
    network = build_network(name)
    parameters, giga = PUBLISHED[name]
    assert count_parameters(network, auxiliary=name != "googlenet") == parameters
    assert round(count_operations(network).multiply_accumulates / 1e9, 3) == giga
    assert count_operations(network).layers == DEPTHS.get(name, count_operations(network).layers)


def test_auxiliary_heads_are_counted_or_not() -> None:
    # Of GoogLeNet with its heads and of Inception v3 without: torchvision's modules.
    assert count_parameters(build_network("googlenet")) == 13_004_888
    assert count_parameters(build_network("inception_v3"), auxiliary=False) == 23_834_568
    plain = build_network("resnet18")
    assert count_parameters(plain) == count_parameters(plain, auxiliary=False)


def test_lite0_has_the_size_of_its_published_description() -> None:
    # Its authors give 4.7 million parameters and 0.4 billion multiply-accumulates.
    network = build_network("efficientnet_lite0")
    assert round(count_parameters(network) / 1e6, 1) == 4.7
    assert round(count_operations(network).multiply_accumulates / 1e9, 1) == 0.4


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_table_3(name: str) -> None:
    network = build_network(name)
    millions, billions = PAPER[name]
    digits = len(str(millions).partition(".")[2])
    assert round(count_parameters(network) / 1e6, digits) == millions
    digits = len(str(billions).partition(".")[2])
    assert round(count_operations(network).multiply_accumulates / 1e9, digits) == billions


class Tiny(nn.Module):
    """One of each counted layer but the dense one."""

    @nn.compact
    def __call__(self, x, mode):
        x = conv(4, 3, 2, bias=True, name="a")(x)
        x = BatchNorm(name="b")(x, mode)
        return conv(2, 1, name="d")(DepthwiseConv(3, 1, ((1, 1), (1, 1)), name="c")(x))


def test_a_network_counted_by_hand() -> None:
    network = Network("tiny", (Stage("body", Tiny()), Stage("mean", GlobalAverage()), Stage("fc", Linear(5))), 2, 8)
    # Output 4×4: a 3·3·3·4 kernel values, c 3·3·4, d 4·2; fc 2·5.
    kernels = 108, 36, 8, 10
    assert count_operations(network) == (4, 16 * (108 + 36 + 8) + 10)
    assert count_operations(network, size=16) == (4, 64 * (108 + 36 + 8) + 10)
    # Biases of a and fc, scale and bias of b.
    assert count_parameters(network) == sum(kernels) + 4 + 5 + 8


@pytest.mark.slow
def test_the_table_from_a_shell(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.models", f"--csv={tmp_path / 'models.csv'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len({line.count("|") for line in lines[: len(NETWORKS) + 2]}) == 1
    assert any(line.startswith("| inception_v3 ") and "27,161,264" in line and "5.713B" in line for line in lines)
    assert "multiply-accumulates" in done.stdout
    with (tmp_path / "models.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["backbone"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(NETWORKS)
    assert rows["resnet18"]["parameters"] == "11689512"
    assert rows["resnet18"]["accuracy_top1_percent"] == "69.76"
    assert rows["googlenet"]["accuracy_top1_percent"] == ""


def test_a_table_that_is_no_csv_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.models", f"--csv={tmp_path / 'models.xlsx'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
