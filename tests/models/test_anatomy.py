"""The order of the parameters against torchvision's own lists."""

import json
from pathlib import Path

import pytest

from nbjax.models import build_network
from nbjax.models.anatomy import anatomy
from nbjax.models.convert import name_table

ARCHITECTURES = ("resnet18", "googlenet", "efficientnet_b0", "vgg16_bn", "densenet121", "inception_v3", "resnet50")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_parameters_come_in_torchs_order(arch: str, shared: Path) -> None:
    meta = json.loads((shared / "parity" / "torchvision" / f"{arch}.json").read_text(encoding="utf-8"))
    auxiliary = tuple(f"{stage.name}." for stage in build_network(arch).auxiliary)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    expected = [name for name in meta["state_dict"] if not name.endswith(statistics) and not name.startswith(auxiliary)]
    names = {entry.path: entry.torch_name for entry in name_table(build_network(arch))}
    assert [names[tensor.path] for tensor in anatomy(build_network(arch)).tensors] == expected


def test_stages_with_dropout_and_batch_norm() -> None:
    assert anatomy(build_network("vgg16")).dropout == {"classifier.2", "classifier.5"}
    assert anatomy(build_network("vgg16")).batch_norm == frozenset()
    assert anatomy(build_network("resnet18")).dropout == frozenset()
    assert "layer4.1" in anatomy(build_network("resnet18")).batch_norm
    assert anatomy(build_network("resnet18")).shapes["layer4.1"] == (1, 7, 7, 512)
