"""Writers of checkpoint files that share no code with the readers: the standard library's pickler, zip and tar writers.

torch is not installed: its few names that pickles refer to are stood in for by stubs while the pickler runs.
"""

import collections
import contextlib
import copyreg
import io
import json
import pickle
import resource
import struct
import sys
import tarfile
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

KINDS = {
    "f4": "FloatStorage",
    "f8": "DoubleStorage",
    "f2": "HalfStorage",
    "i8": "LongStorage",
    "i4": "IntStorage",
    "i2": "ShortStorage",
    "i1": "CharStorage",
    "u1": "ByteStorage",
    "b1": "BoolStorage",
}


def _stub(module: str, name: str) -> type:
    return type(name, (), {"__module__": module, "__qualname__": name})


def _function(module: str, name: str):
    def stub(*arguments):
        raise AssertionError("a pickle called this")

    stub.__module__, stub.__qualname__, stub.__name__ = module, name, name
    return stub


TORCH, UTILS, NN, PARAMETER = (
    types.ModuleType(name) for name in ("torch", "torch._utils", "torch.nn", "torch.nn.parameter")
)
for _name in KINDS.values():
    setattr(TORCH, _name, _stub("torch", _name))
    setattr(TORCH, _name.replace("Storage", "Tensor"), _stub("torch", _name.replace("Storage", "Tensor")))
for _name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"):
    setattr(UTILS, _name, _function("torch._utils", _name))
TORCH.Size = _function("torch", "Size")
MODULES = {module.__name__: module for module in (TORCH, UTILS, NN, PARAMETER)}


class Storage:
    def __init__(self, values: np.ndarray, key: str) -> None:
        self.values, self.key = values, key
        self.type = getattr(TORCH, KINDS[values.dtype.str[1:]])

    def identifier(self, legacy: bool):
        view = (None,) if legacy else ()
        return ("storage", self.type, self.key, "cpu", len(self.values), *view)


class Tensor:
    """A window on a storage, pickled as torch pickles a tensor."""

    def __init__(self, storage: Storage, offset: int, shape: tuple, strides: tuple) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def __reduce_ex__(self, protocol: int):
        window = (self.storage, self.offset, self.shape, self.strides)
        return UTILS._rebuild_tensor_v2, (*window, False, collections.OrderedDict())

    def array(self) -> np.ndarray:
        size = self.storage.values.itemsize
        steps = tuple(stride * size for stride in self.strides)
        values = self.storage.values[self.offset :]
        return np.lib.stride_tricks.as_strided(values, self.shape, steps).copy()


class Parameter:
    """Pickled as torch 0.1 pickled parameters: made empty, then given its tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __reduce_ex__(self, protocol: int):
        return copyreg.__newobj__, (Parameter,), (self.tensor, None, None, True, False)


Parameter.__module__ = PARAMETER.__name__
PARAMETER.Parameter = Parameter


class Pickler(pickle.Pickler):
    def __init__(self, file, protocol: int, identify) -> None:
        super().__init__(file, protocol)
        self.identify = identify

    def persistent_id(self, value):
        return self.identify(value)


def dumps(value, protocol: int = 2, identify=lambda value: None) -> bytes:
    buffer = io.BytesIO()
    with mock.patch.dict(sys.modules, MODULES):
        Pickler(buffer, protocol, identify).dump(value)
    return buffer.getvalue()


def storages_of(value) -> dict[str, Storage]:
    found = {}

    def identify(part):
        if isinstance(part, Storage):
            found[part.key] = part
            return part.key
        return None

    dumps(value, 2, identify)
    return found


def save_zip(path: Path, value, protocol: int = 2, big_endian: bool = False) -> None:
    order = ">" if big_endian else "<"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "net/data.pkl",
            dumps(value, protocol, lambda part: (isinstance(part, Storage) and part.identifier(False)) or None),
        )
        archive.writestr("net/byteorder", "big" if big_endian else "little")
        for key, storage in storages_of(value).items():
            archive.writestr(
                f"net/data/{key}", storage.values.astype(storage.values.dtype.newbyteorder(order)).tobytes()
            )
        archive.writestr("net/version", "3\n")


def save_legacy(path: Path, value, protocol: int = 2) -> None:
    storages = storages_of(value)
    parts = [
        dumps(0x1950A86A20F9469CFC6C, protocol),
        dumps(1001, protocol),
        dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}, protocol),
        dumps(value, protocol, lambda part: (isinstance(part, Storage) and part.identifier(True)) or None),
        dumps(list(storages), protocol),
    ]
    for storage in storages.values():
        parts += [struct.pack("<q", len(storage.values)), storage.values.tobytes()]
    path.write_bytes(b"".join(parts))


def tar_bytes(members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, data in members.items():
            information = tarfile.TarInfo(name)
            information.size = len(data)
            information.mtime = 1483719550.98166
            archive.addfile(information, io.BytesIO(data))
    return buffer.getvalue()


def tar_members(value, tensors: dict[str, Tensor], views: dict[str, tuple[str, int, int]]) -> dict[str, bytes]:
    """Members of a file in torch's oldest layout; `views` are parts of storages: (key of the whole, first,
    elements).
    """
    wholes = {t.storage.key: t.storage for t in tensors.values() if t.storage.key not in views}
    storages = [dumps(len(wholes))]
    for key, storage in wholes.items():
        storages += [
            dumps((int(key), "cpu", storage.type)),
            struct.pack("<q", len(storage.values)),
            storage.values.tobytes(),
        ]
    storages.append(dumps([(int(key), int(root), begin, length) for key, (root, begin, length) in views.items()]))
    table = [dumps(len(tensors))]
    for key, tensor in tensors.items():
        kind = getattr(TORCH, tensor.storage.type.__name__.replace("Storage", "Tensor"))
        table.append(dumps((int(key), int(tensor.storage.key), kind)))
        table.append(struct.pack("<ii", len(tensor.shape), 7))
        table.append(struct.pack(f"<{2 * len(tensor.shape) + 1}q", *tensor.shape, *tensor.strides, tensor.offset))
    keys = {id(tensor): key for key, tensor in tensors.items()}
    return {
        "sys_info": dumps({"protocol_version": 1000, "little_endian": True}),
        "pickle": dumps(value, 2, lambda part: keys.get(id(part))),
        "tensors": b"".join(table),
        "storages": b"".join(storages),
    }


@contextlib.contextmanager
def memory_limit(extra: int = 2**30) -> Iterator[None]:
    """At most `extra` bytes of address space more than now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def example_state() -> dict[str, Tensor]:
    whole = Storage(np.arange(24, dtype=np.float32), "1")
    return {
        "a": Tensor(whole, 0, (4, 6), (6, 1)),
        "b": Tensor(whole, 2, (6, 3), (1, 6)),
        "c": Tensor(Storage(np.array([True, False]), "2"), 0, (2,), (1,)),
        "d": Tensor(Storage(np.arange(3), "3"), 1, (), ()),
    }


def example_tar() -> bytes:
    state = example_state()
    tensors = {str(20 + number): tensor for number, tensor in enumerate(state.values())}
    value = {name: Parameter(tensor) if name == "a" else tensor for name, tensor in state.items()}
    return tar_bytes(tar_members(value, tensors, {}))


def example_safetensors() -> bytes:
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
        "c": {"dtype": "BOOL", "shape": [], "data_offsets": [32, 33]},
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(range(32)) + b"\1"


def example_protocol_4(folder: Path) -> bytes:
    save_legacy(folder / "net.pth", {"state_dict": example_state(), "epoch": 3}, protocol=4)
    return (folder / "net.pth").read_bytes()


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Small whole files of the layouts of which there is no genuine small one."""
    folder = tmp_path_factory.mktemp("examples")
    return {
        "tar": example_tar(),
        "safetensors": example_safetensors(),
        "protocol 4": example_protocol_4(folder),
    }


@pytest.fixture(scope="session")
def write() -> types.SimpleNamespace:
    """The writers above."""
    names = (Storage, Tensor, Parameter, dumps, save_zip, save_legacy, tar_bytes, tar_members, memory_limit)
    return types.SimpleNamespace(**{name.__name__: name for name in names}, size=TORCH.Size)
