"""torch's oldest layout, before version 0.1.10: a tar archive of `sys_info`, `pickle`, `tensors` and `storages`.

torchvision's first ResNets are such files. Facts of the layout: the files themselves, and POSIX ustar for the archive.
`storages` is a pickled number, then for each storage a pickled (key, device, type), its number of elements (int64) and
its elements; at last a pickled list of (key, root key, first element, elements) for storages that are parts of another.
`tensors` is a pickled number, then for each tensor a pickled (key, storage's key, type), its dimensions (int32, and 4
bytes of nothing), shape, strides and offset (int64). `pickle` refers to tensors by key. All is little-endian.
"""

import struct
from collections.abc import Callable

import numpy as np

from nbjax.errors import InputError
from nbjax.weights.pickles import is_count, load, no_persistent
from nbjax.weights.raw import IncompleteError, Raw
from nbjax.weights.symbols import Symbol
from nbjax.weights.tensors import MAXIMUM_DIMENSIONS, StorageRef, TensorRef, brief, decode, element_size
from nbjax.weights.torch_legacy import part
from nbjax.weights.torch_state import read_tensors, state_dict

_BLOCK = 512
_MEMBERS = ("sys_info", "pickle", "tensors", "storages")
_MOST_HEADERS = 64
_LONGEST_PICKLE = 2**24
_LONGEST_STORAGE_KEY = 4096


def read_torch_tar(raw: Raw) -> tuple[dict[str, np.ndarray], str]:
    """Arrays of a torch file in tar layout, by name, and the key that they lie under, as `state_dict` gives it.

    Raises:
        IncompleteError: the file ends early.
        InputError: it is not such a file.
    """
    members = read_members(raw)
    storages, offsets = _read_storages(raw, *members["storages"])
    tensors = read_tensor_table(_read_member(raw, members, "tensors"), storages)

    def refer(identifier: object) -> TensorRef:
        if type(identifier) is not str or not identifier.isascii() or not identifier.isdigit() or len(identifier) > 20:
            raise InputError("its pickle refers to something other than a tensor")
        if int(identifier) not in tensors:
            raise InputError(f"its pickle refers to the tensor {identifier}, which its table of tensors lacks")
        return tensors[int(identifier)]

    def read(storage: StorageRef) -> np.ndarray:
        count = storage.count * element_size(storage.element)
        return decode(raw.read(offsets[storage.key], count, f"its storage {storage.key}"), storage.element)

    value, _ = _load(_read_member(raw, members, "pickle"), 0, refer)
    found, key = state_dict(value)
    return read_tensors(found, read), key


def read_members(raw: Raw) -> dict[str, tuple[int, int]]:
    """Offset and bytes of the four members of the tar archive.

    Extended headers are stepped over: torch's hold a time. Links, folders and any other name end the reading.
    """
    members: dict[str, tuple[int, int]] = {}
    position = 0
    for _ in range(_MOST_HEADERS):
        if len(members) == len(_MEMBERS):
            return members
        header = raw.read(position, _BLOCK, f"the {len(_MEMBERS)} members of its tar archive").tobytes()
        name = header[:100].rstrip(b"\0").decode("latin-1")
        if not name:
            raise InputError(f"its tar archive holds {brief(tuple(members))}, where torch writes {_MEMBERS}")
        if _octal(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * ord(" "):
            raise InputError(f"the header of the tar member {brief(name)} is damaged")
        size = _octal(header[124:136])
        extended = header[156:157] == b"x"
        if not extended and (name not in _MEMBERS or name in members or header[156:157] not in b"0\0"):
            raise InputError(
                f"its tar archive holds {brief(name)}, where torch writes {_MEMBERS}, each once and a file"
            )
        begin = position + _BLOCK
        if begin + size > raw.size:
            raise IncompleteError(
                f"it ends after {raw.size:,} bytes, but its tar member {brief(name)} should reach to byte "
                f"{begin + size:,}"
            )
        if not extended:
            members[name] = begin, size
        position = begin + -(-size // _BLOCK) * _BLOCK
    raise InputError(f"its tar archive has over {_MOST_HEADERS} headers, where torch writes eight")


def read_tensor_table(data: bytes, storages: dict[int, StorageRef]) -> dict[int, TensorRef]:
    """Tensors of the member `tensors` by key."""
    count, position = _load(data, 0)
    if not is_count(count):
        raise InputError("its table of tensors does not begin with their number")
    tensors: dict[int, TensorRef] = {}
    while len(tensors) < count:
        line, position = _load(data, position)
        if (
            type(line) is not tuple
            or len(line) != 3
            or not isinstance(line[2], Symbol)
            or line[2].role != "tensor type"
        ):
            raise InputError("a line of its table of tensors is not a key, a storage and a type")
        key, storage, _ = line
        if not is_count(key) or key in tensors or not is_count(storage) or storage not in storages:
            raise InputError("a line of its table of tensors has a wrong key or storage")
        (dimensions,) = struct.unpack("<i", _slice(data, position, 4))
        if not 0 <= dimensions <= MAXIMUM_DIMENSIONS:
            raise InputError(f"a tensor in it claims {dimensions} dimensions, not up to {MAXIMUM_DIMENSIONS}")
        numbers = struct.unpack(f"<{2 * dimensions + 1}q", _slice(data, position + 8, 16 * dimensions + 8))
        position += 16 + 16 * dimensions
        tensors[key] = TensorRef(storages[storage], numbers[-1], numbers[:dimensions], numbers[dimensions:-1])
    return tensors


def _read_storages(raw: Raw, begin: int, size: int) -> tuple[dict[int, StorageRef], dict[str, int]]:
    """Storages of the member `storages` by key, and where the elements of each whole storage begin."""
    end = begin + size
    count, position = _load_at(raw, begin, end, _LONGEST_STORAGE_KEY)
    if not is_count(count):
        raise InputError("its storages do not begin with their number")
    storages: dict[int, StorageRef] = {}
    offsets: dict[str, int] = {}
    while len(storages) < count:
        line, position = _load_at(raw, position, end, _LONGEST_STORAGE_KEY)
        if type(line) is not tuple or len(line) != 3 or not isinstance(line[2], Symbol) or line[2].role != "storage":
            raise InputError("one of its storages does not begin with a key, a device and a type")
        key, element = line[0], line[2].element
        if not is_count(key) or key in storages:
            raise InputError("one of its storages has a wrong key")
        elements = int.from_bytes(raw.read(position, 8, "a storage").tobytes(), "little", signed=True)
        offsets[str(key)] = position + 8
        position += 8 + elements * element_size(element)
        if elements < 0 or position > end:
            raise InputError(f"its storage {key} claims {elements:,} elements, more than there are")
        storages[key] = StorageRef(element, str(key), elements, 0, elements)
    views, _ = _load_at(raw, position, end, _LONGEST_PICKLE)
    for view in views if type(views) is list else [None]:
        if type(view) is not tuple or len(view) != 4 or not is_count(view[0]) or not is_count(view[1]):
            raise InputError("its storages do not end with a list of parts")
        if view[0] in storages or view[1] not in storages:
            raise InputError("its list of parts of storages names a wrong storage")
        storages[view[0]] = part(storages[view[1]], view[2], view[3])
    return storages, offsets


def _read_member(raw: Raw, members: dict[str, tuple[int, int]], name: str) -> bytes:
    begin, size = members[name]
    if size > _LONGEST_PICKLE:
        raise InputError(f"its tar member {name} has {size:,} bytes, which no tensor file needs")
    return raw.read(begin, size, name).tobytes()


def _load_at(raw: Raw, position: int, end: int, limit: int) -> tuple[object, int]:
    data = raw.read(position, min(limit, end - position), "a storage").tobytes()
    value, length = _load(data, 0)
    return value, position + length


def _load(data: bytes, position: int, persistent: Callable[[object], object] = no_persistent) -> tuple[object, int]:
    try:
        return load(data, position, persistent)
    except IncompleteError as error:
        # The archive's members are whole: the fault is within.
        raise InputError(str(error)) from None


def _slice(data: bytes, begin: int, count: int) -> bytes:
    if begin + count > len(data):
        raise InputError("its table of tensors ends in the middle of a tensor")
    return data[begin : begin + count]


def _octal(field: bytes) -> int:
    digits = field.rstrip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise InputError("a header of its tar archive holds a number that is not octal")
    return int(digits, 8)
