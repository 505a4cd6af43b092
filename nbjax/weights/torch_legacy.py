"""torch's layout of versions 0.1.10 to 1.5: five pickles, then the storages, one after the other.

Facts of the layout: torch's documentation and the files it writes. The pickles are a magic number, a protocol version,
facts on the machine, the value, and the keys of the storages in their order; a storage is its number of elements
(int64) and its elements, both little-endian.
"""

from dataclasses import dataclass

import numpy as np

from nbjax.errors import InputError
from nbjax.weights.pickles import is_count, load, no_persistent
from nbjax.weights.raw import IncompleteError, Raw
from nbjax.weights.symbols import Inert, Symbol, type_name
from nbjax.weights.tensors import StorageRef, brief, decode, element_size
from nbjax.weights.torch_state import read_tensors, state_dict

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_LONGEST_PICKLES = 2**24


def read_torch_legacy(raw: Raw) -> tuple[dict[str, np.ndarray], str]:
    """Arrays of a torch file in legacy layout, by name, and the key that they lie under, as `state_dict` gives it.

    Raises:
        IncompleteError: the file ends early.
        InputError: it is not such a file.
    """
    data = raw.read(0, min(raw.size, _LONGEST_PICKLES), "its pickles").tobytes()
    storages = _Storages({})
    try:
        magic, position = load(data, 0, no_persistent)
        if magic != _MAGIC:
            raise InputError("it is a pickle, but not one that torch.save wrote")
        protocol, position = load(data, position, no_persistent)
        if protocol != _PROTOCOL:
            raise InputError(f"its torch protocol is {brief(protocol)}, not {_PROTOCOL}")
        _, position = load(data, position, no_persistent)
        value, position = load(data, position, storages.refer)
        keys, position = load(data, position, no_persistent)
    except IncompleteError:
        if len(data) == raw.size:
            raise IncompleteError(f"it ends after {raw.size:,} bytes, before its first tensor") from None
        raise InputError(f"its pickles take over {_LONGEST_PICKLES:,} bytes, which no tensor file needs") from None
    offsets = _offsets(raw, position, storages.refs, keys)

    def read(storage: StorageRef) -> np.ndarray:
        count = storage.count * element_size(storage.element)
        return decode(raw.read(offsets[storage.key], count, f"its storage {storage.key}"), storage.element)

    tensors, under = state_dict(value)
    return read_tensors(tensors, read), under


@dataclass(frozen=True)
class _Storages:
    """The storages that a pickle refers to, by key: each whole."""

    refs: dict[str, StorageRef]

    def refer(self, identifier: object) -> StorageRef | Inert:
        """Resolves ('storage', type, key, device, elements, None or (view key, first element, elements)).

        Of ('module', class, …), which torch wrote for the classes of whole models, a mark is left.
        """
        if type(identifier) is tuple and len(identifier) > 1 and identifier[0] == "module":
            return Inert(type_name(identifier[1]))
        if type(identifier) is not tuple or len(identifier) != 6 or identifier[0] != "storage":
            raise InputError("its pickle refers to something other than a storage")
        _, symbol, key, _, count, view = identifier
        if not isinstance(symbol, Symbol) or symbol.role != "storage" or not is_count(count) or type(key) is not str:
            raise InputError("its pickle refers to a storage without a type, a name or a size")
        whole = StorageRef(symbol.element, key, count, 0, count)
        if self.refs.setdefault(key, whole) != whole:
            raise InputError(f"its pickle refers to the storage {brief(key)} with two types or sizes")
        if view is None:
            return whole
        if type(view) is not tuple or len(view) != 3:
            raise InputError(f"its pickle refers to a part of the storage {brief(key)} without saying which")
        return part(whole, view[1], view[2])


def part(whole: StorageRef, begin: object, length: object) -> StorageRef:
    """A run of elements of a storage, as an own storage.

    Raises:
        InputError: it leaves the storage.
    """
    if type(begin) is not int or type(length) is not int or not 0 <= begin <= begin + length <= whole.count:
        raise InputError(f"a part of its storage {brief(whole.key)} lies outside of it")
    return StorageRef(whole.element, whole.key, whole.count, begin, length)


def _offsets(raw: Raw, position: int, refs: dict[str, StorageRef], keys: object) -> dict[str, int]:
    """Where each storage's elements begin."""
    if type(keys) is not list or set(map(type, keys)) - {str} or len(keys) != len(refs) or set(keys) != set(refs):
        raise InputError("its list of storages is not that of the storages its tensors refer to")
    offsets = {}
    for number, key in enumerate(keys, 1):
        what = f"storage {number} of {len(keys)}"
        count = int.from_bytes(raw.read(position, 8, what).tobytes(), "little", signed=True)
        if count != refs[key].count:
            raise InputError(f"its {what} has {count:,} elements, but its tensors expect {refs[key].count:,}")
        offsets[key] = position + 8
        position = offsets[key] + count * element_size(refs[key].element)
        if position > raw.size:
            raise IncompleteError(f"it ends after {raw.size:,} bytes, but {what} should reach to byte {position:,}")
    return offsets
