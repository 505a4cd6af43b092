"""What people's training scripts leave in their files beside the tensors, and where they put the tensors."""

import argparse
import collections
import datetime
import decimal
import enum
import functools
import pathlib
import uuid

import numpy as np
import pytest

from nbjax.errors import InputError
from nbjax.weights.checkpoint import open_checkpoint


class Phase(enum.Enum):
    """A class of the user's own."""

    TRAIN = 1


class Settings(dict):
    """A dict of the user's own class, as EasyDict is."""


BESIDE = {
    "counter": collections.Counter([10, 20]),
    "namespace": argparse.Namespace(lr=0.1, out=pathlib.Path("runs")),
    "NumPy's scalar": np.float64(0.93),
    "NumPy's array": np.arange(30_000.0),
    "NumPy's generator": np.random.default_rng(0),
    "time": datetime.datetime(2024, 1, 31, tzinfo=datetime.UTC),
    "path": pathlib.Path("data/slides"),
    "set": {1, 2},
    "frozenset": frozenset({"a"}),
    "enum": Phase.TRAIN,
    "own dict": Settings(lr=0.1),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "deque": collections.deque([1, 2]),
    "decimal": decimal.Decimal("0.1"),
    "uuid": uuid.UUID(int=1),
    "function": print,
    "partial": functools.partial(print, 1),
    "large number": 10**1000,
    "bytes": bytes(range(256)) * 20,
    "bytearray": bytearray(b"abc"),
    "long text": "x" * 100_000,
    "text of an odd kind": "\udc80",
    "complex": 1j,
    "keys": {(1, 2): 3, None: 4, 1.5: 5, b"k": 6, 10**30: 7, Phase.TRAIN: 8},
}


def network(write, count: int = 2) -> dict:
    storage = write.Storage(np.arange(6, dtype=np.float32), "7")
    tensor = write.Tensor(storage, 0, (2, 3), (3, 1))
    return {f"layer{number}.weight": tensor for number in range(count)}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("what", BESIDE)
def test_unknown_objects_beside_the_tensors_are_left_alone(write, tmp_path, what: str, protocol: int) -> None:
    value = {"args": BESIDE[what], "state_dict": network(write), "after": [BESIDE[what]]}
    for save in (write.save_zip, write.save_legacy):
        save(tmp_path / "net.pth", value, protocol)
        found = open_checkpoint(tmp_path / "net.pth")
        assert found.under == "state_dict"
        assert list(found.arrays) == ["layer0.weight", "layer1.weight"]
        assert found.arrays["layer1.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_an_unknown_object_among_the_tensors_is_named(write, tmp_path) -> None:
    write.save_zip(tmp_path / "net.pth", {"state_dict": network(write) | {"args": argparse.Namespace()}})
    with pytest.raises(InputError, match=r"its 'args' is of type argparse.Namespace, not a tensor"):
        open_checkpoint(tmp_path / "net.pth")
    write.save_zip(tmp_path / "net.pth", argparse.Namespace(lr=1))
    with pytest.raises(InputError, match=r"a value of type argparse.Namespace.*save the model's state_dict"):
        open_checkpoint(tmp_path / "net.pth")


def optimiser(write) -> dict:
    return {"state": {0: {"exp_avg": next(iter(network(write).values()))}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize(
    ("key", "others"),
    [
        ("state_dict", ("state_dict_ema", "optimizer")),
        ("model_state_dict", ("epoch",)),
        ("model", ("model_ema", "optimizer", "epoch")),
        ("net", ("acc",)),
        ("params", ("params_ema",)),
        ("state_dict_ema", ("epoch",)),
        ("encoder", ("optimizer",)),
        ("checkpoint.weights", ("epoch",)),
    ],
)
def test_the_key_that_holds_the_tensors_is_found_and_said(write, tmp_path, key: str, others: tuple) -> None:
    value: dict = {"epoch": 9, "acc": 0.5, "optimizer": optimiser(write)}
    value = {name: value.get(name) or network(write, 3) for name in others}
    outer, _, inner = key.partition(".")
    value[outer] = {inner: network(write)} if inner else network(write)
    write.save_zip(tmp_path / "net.pth", value)
    found = open_checkpoint(tmp_path / "net.pth")
    assert found.under == key
    assert len(found.arrays) == 2


def test_several_keys_are_named_with_what_to_do(write, tmp_path) -> None:
    write.save_zip(tmp_path / "net.pth", {"student": network(write), "teacher": network(write)})
    with pytest.raises(InputError, match=r"keys \('student', 'teacher'\): .* torch.save\(checkpoint\['student'\]"):
        open_checkpoint(tmp_path / "net.pth")


def test_a_dict_of_an_own_class_and_a_modules_extra_state(write, tmp_path) -> None:
    write.save_zip(tmp_path / "net.pth", Settings(network(write)))
    assert open_checkpoint(tmp_path / "net.pth").under == ""
    write.save_zip(tmp_path / "net.pth", network(write) | {"layer0._extra_state": None})
    assert len(open_checkpoint(tmp_path / "net.pth").arrays) == 2
