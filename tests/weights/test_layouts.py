"""Round trips: what writers not of this project put into each layout comes out."""

import collections
import json
import tempfile
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nbjax.errors import InputError
from nbjax.weights import read_checkpoint
from nbjax.weights.pickles import load
from nbjax.weights.raw import open_raw
from nbjax.weights.tensors import TensorRef
from nbjax.weights.torch_tar import read_members, read_tensor_table

ELEMENTS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")
SAFE = {
    "f2": "F16",
    "f4": "F32",
    "f8": "F64",
    "i1": "I8",
    "i2": "I16",
    "i4": "I32",
    "i8": "I64",
    "u1": "U8",
    "b1": "BOOL",
}
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="/\\."), min_size=1, max_size=8
)
ARRAYS = st.sampled_from(ELEMENTS).flatmap(
    lambda element: hnp.arrays(np.dtype(element), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
STATES = st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=5)
RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def same(found: dict, expected: dict) -> bool:
    return list(found) == list(expected) and all(
        found[name].dtype == expected[name].dtype
        and found[name].shape == expected[name].shape
        and found[name].tobytes() == np.ascontiguousarray(expected[name]).tobytes()
        for name in expected
    )


def read_bytes(content: bytes, name: str = "net.pth") -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return read_checkpoint(path)


def safetensors(state: dict[str, np.ndarray], kinds: dict[str, str]) -> bytes:
    """By the format's specification."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in state.items():
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": kinds[name], "shape": list(array.shape), "data_offsets": offsets}
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


@RELAXED
@given(STATES)
def test_safetensors(state) -> None:
    assert same(
        read_bytes(safetensors(state, {name: SAFE[array.dtype.str[1:]] for name, array in state.items()})), state
    )


def test_safetensors_bfloat16() -> None:
    values = np.array([[1, -0.0, 3.140625], [65280, 2**-126, np.inf]], ml_dtypes.bfloat16)
    found = read_bytes(safetensors({"w": values}, {"w": "BF16"}))["w"]
    assert found.dtype == np.float32
    assert np.array_equal(found, values.astype(np.float32))


@RELAXED
@given(STATES, st.booleans(), st.booleans())
def test_npz(state, compressed: bool, fortran: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.npz"
        given_state = {
            name: np.asfortranarray(array) if fortran and array.ndim else array for name, array in state.items()
        }
        (np.savez_compressed if compressed else np.savez)(path, **given_state)
        assert same(read_checkpoint(path), state)


def test_npz_big_endian_and_later_header_versions(tmp_path: Path) -> None:
    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(tmp_path / "big.npz", w=expected.astype(">f4"))
    assert same(read_checkpoint(tmp_path / "big.npz"), {"w": expected})
    for version in ((1, 0), (2, 0), (3, 0)):
        with zipfile.ZipFile(tmp_path / "net.npz", "w") as archive, archive.open("w.npy", "w") as file:
            np.lib.format.write_array(file, expected, version)
        assert same(read_checkpoint(tmp_path / "net.npz"), {"w": expected})


@st.composite
def windows(draw):
    """An element type, a storage's length, and an offset, shape and strides that stay within it."""
    element = draw(st.sampled_from(ELEMENTS))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=4))
    order = draw(st.permutations(range(len(shape))))
    strides, step = [0] * len(shape), draw(st.integers(1, 2))
    for axis in order:
        strides[axis] = step
        step *= shape[axis]
    offset = draw(st.integers(0, 5))
    reach = offset + 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    return element, reach + draw(st.integers(0, 5)), offset, tuple(shape), tuple(strides)


@RELAXED
@given(
    st.lists(st.tuples(NAMES, windows()), min_size=1, max_size=4, unique_by=lambda pair: pair[0]),
    st.integers(2, 5),
    st.data(),
)
def test_torch_layouts(write, described, protocol: int, data) -> None:
    state = collections.OrderedDict()
    for number, (name, (element, length, offset, shape, strides)) in enumerate(described):
        values = data.draw(hnp.arrays(np.dtype(element), length))
        state[name] = write.Tensor(write.Storage(values, str(number)), offset, shape, strides)
    expected = {name: tensor.array() for name, tensor in state.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.pth"
        for save in (write.save_zip, write.save_legacy):
            save(path, state, protocol)
            assert same(read_checkpoint(path), expected)
        write.save_zip(path, {"epoch": 3, "state_dict": state, "loss": [0.5, None]}, protocol, big_endian=True)
        assert same(read_checkpoint(path), expected)


def tensor(write, number: int, *shape: int):
    """A contiguous float32 tensor of its own storage."""
    values = np.arange(np.prod(shape, dtype=int), dtype=np.float32) + 1000 * number
    strides = np.empty(shape, "i1").strides
    return write.Tensor(write.Storage(values, str(number)), 0, shape, strides)


def test_module_prefix_goes_only_where_every_name_has_it(write, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    write.save_zip(path, {"module.a": tensor(write, 0, 2), "module.module.b": tensor(write, 1, 3)})
    assert list(read_checkpoint(path)) == ["a", "module.b"]
    write.save_zip(path, {"module.a": tensor(write, 0, 2), "b": tensor(write, 1, 3)})
    assert list(read_checkpoint(path)) == ["module.a", "b"]


def test_model_state_dict_and_metadata(write, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    state = collections.OrderedDict(a=tensor(write, 0, 2, 2))
    state._metadata = collections.OrderedDict({"": {"version": 2}})
    write.save_zip(path, {"model_state_dict": state, "optimizer": {"state": {0: {"step": 7}}}})
    assert same(read_checkpoint(path), {"a": state["a"].array()})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "it holds a value of type list, not a state_dict"),
        ({"epoch": 3}, "its 'epoch' is of type int, not a tensor"),
        ({"model": {"a": 1}}, "its 'model' is of type dict, not a tensor"),
        ({"state_dict": {}, "model_state_dict": {}}, "under several keys .'state_dict', 'model_state_dict'."),
        ({}, "it holds no tensors"),
        ({"state_dict": {}}, "it holds no tensors"),
    ],
)
def test_what_is_not_a_state_dict_is_an_error(write, tmp_path: Path, value, message: str) -> None:
    write.save_zip(tmp_path / "net.pth", value)
    with pytest.raises(InputError, match=message):
        read_checkpoint(tmp_path / "net.pth")


def test_pairs_as_python_2_wrote_them(write, tmp_path: Path) -> None:
    class Ordered(collections.OrderedDict):
        def __reduce_ex__(self, protocol):
            return collections.OrderedDict, ([[name, value] for name, value in self.items()],)

    state = Ordered(a=tensor(write, 0, 2), b=tensor(write, 1, 3))
    write.save_legacy(tmp_path / "net.pth", state)
    assert same(read_checkpoint(tmp_path / "net.pth"), {name: part.array() for name, part in state.items()})


def tar_file(write) -> tuple[bytes, dict[str, np.ndarray]]:
    whole = write.Storage(np.arange(20, dtype=np.float32), "11")
    piece = write.Storage(whole.values[4:16], "12")
    tensors = {
        "21": write.Tensor(whole, 2, (3, 2), (2, 1)),
        "22": write.Tensor(piece, 1, (2, 2), (1, 5)),
        "23": write.Tensor(write.Storage(np.arange(4), "13"), 0, (4,), (1,)),
    }
    tensors["22"].storage = piece
    state = collections.OrderedDict(a=write.Parameter(tensors["21"]), b=tensors["22"], c=tensors["23"])
    expected = {name: part.array() for name, part in zip("abc", tensors.values(), strict=True)}
    return write.tar_bytes(write.tar_members(state, tensors, {"12": ("11", 4, 12)})), expected


def test_tar_layout(write) -> None:
    content, expected = tar_file(write)
    assert same(read_bytes(content), expected)


def test_genuine_tar_tables_with_other_values(write, shared: Path, tmp_path: Path) -> None:
    """The published tables of ResNet-18 and ResNet-50, with storages filled by number: every tensor finds its own."""
    for name, count in (("resnet18-5c106cde.first1048576bytes", 102), ("resnet50-19c8e357.first358400bytes", 267)):
        with (shared / "weights/truncated" / name).open("rb") as file:
            raw = open_raw(file)
            # Without its last member, the storages, the archive is whole.
            with pytest.raises(InputError, match="'storages' should reach"):
                read_members(raw)
            content = (shared / "weights/truncated" / name).read_bytes()
        members = {}
        position = 0
        while len(members) < 3:
            size = int(content[position + 124 : position + 135], 8)
            key = content[position : position + 100].rstrip(b"\0").decode()
            if content[position + 156 : position + 157] == b"0":
                members[key] = content[position + 512 : position + 512 + size]
            position += 512 + -(-size // 512) * 512
        keys = _storage_keys(members["tensors"])
        assert len(keys) == count
        storages = [write.dumps(len(keys))]
        for number, (key, size) in enumerate(keys.items()):
            storages += [write.dumps((key, "cpu", write.Storage(np.zeros(1, np.float32), "0").type))]
            storages += [size.to_bytes(8, "little"), np.full(size, number, np.float32).tobytes()]
        members["storages"] = b"".join(storages) + write.dumps([])
        found = read_bytes(write.tar_bytes(members))
        assert len(found) == count
        assert found["conv1.weight"].shape == (64, 3, 7, 7)
        assert found["fc.weight"].shape == (1000, 512 if "resnet18" in name else 2048)
        assert sorted(int(array.flat[0]) for array in found.values()) == list(range(count))


def _storage_keys(table: bytes) -> dict[int, int]:
    """Storage key to elements, where every tensor is a whole storage: taken from the table itself."""

    class Every(dict):
        def __contains__(self, key) -> bool:
            return True

        def __missing__(self, key):
            return key

    tensors = read_tensor_table(table, Every())
    assert all(isinstance(part, TensorRef) for part in tensors.values())
    return {part.storage: int(np.prod(part.shape)) for part in tensors.values()}


def test_torch_size_and_numbers_are_read(write) -> None:
    class Shape(tuple):
        __slots__ = ()

        def __reduce_ex__(self, protocol):
            return write.size, (tuple(self),)

    value = {"shape": Shape((1, 2)), "numbers": [0, -1, 255, 65535, 2**31, -(2**40), 1.5], "none": (None, True, False)}
    for protocol in (2, 3, 4, 5):
        data = write.dumps(value, protocol)
        assert load(data, 0, lambda identifier: None) == (
            {"shape": (1, 2), "numbers": value["numbers"], "none": (None, True, False)},
            len(data),
        )
