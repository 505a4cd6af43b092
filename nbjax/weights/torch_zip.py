"""torch's layout since version 1.6: a zip archive with a pickle and one uncompressed entry a storage.

Facts of the layout: torch's documentation, "Serialization semantics", and the files it writes: `<folder>/data.pkl`,
`<folder>/data/<key>` and, where present, `<folder>/byteorder`.
"""

from dataclasses import dataclass

import numpy as np

from nbjax.errors import InputError
from nbjax.weights.archive import Entry, read_entry
from nbjax.weights.pickles import is_count, load
from nbjax.weights.raw import IncompleteError, Raw
from nbjax.weights.symbols import Inert, Symbol
from nbjax.weights.tensors import StorageRef, brief, decode, element_size
from nbjax.weights.torch_state import read_tensors, state_dict

_LONGEST_PICKLE = 2**28
"""Arrays of NumPy's that lie beside the tensors are in it."""


def read_torch_zip(raw: Raw, entries: dict[str, Entry]) -> tuple[dict[str, np.ndarray], str]:
    """Arrays of a torch file in zip layout, by name, and the key that they lie under, as `state_dict` gives it.

    Args:
        raw: the file.
        entries: its directory.

    Raises:
        InputError: the archive is not as torch writes it.
    """
    archive = _Archive(raw, entries, _folder(entries))
    data = archive.read("data.pkl", _LONGEST_PICKLE).tobytes()
    try:
        value, _ = load(data, 0, _storage_ref)
    except IncompleteError as error:
        # The archive is whole: the fault is within.
        raise InputError(str(error)) from None
    order = archive.order()
    tensors, key = state_dict(value)
    return read_tensors(tensors, lambda storage: archive.storage(storage, order)), key


@dataclass(frozen=True)
class _Archive:
    raw: Raw
    entries: dict[str, Entry]
    folder: str

    def read(self, name: str, limit: int) -> np.ndarray:
        entry = self.entries.get(f"{self.folder}/{name}")
        if entry is None:
            raise InputError(f"its zip archive lacks the entry {brief(name)}")
        if entry.size > limit:
            raise InputError(f"its zip entry {brief(name)} has {entry.size:,} bytes, more than the {limit:,} expected")
        return read_entry(self.raw, entry)

    def order(self) -> str:
        if f"{self.folder}/byteorder" not in self.entries:
            return "<"
        name = self.read("byteorder", 16).tobytes()
        if name not in (b"little", b"big"):
            raise InputError(f"its byte order is {brief(name)}, neither little nor big")
        return "<" if name == b"little" else ">"

    def storage(self, storage: StorageRef, order: str) -> np.ndarray:
        size = storage.count * element_size(storage.element)
        data = self.read(f"data/{storage.key}", size)
        if data.size != size:
            raise InputError(f"its storage {storage.key} has {data.size:,} bytes, but claims {size:,}")
        return decode(data, storage.element, order)


def _folder(entries: dict[str, Entry]) -> str:
    """The one folder that holds everything."""
    folders = {name.partition("/")[0] for name in entries}
    if len(folders) != 1:
        raise InputError(f"its zip archive holds {len(folders)} folders, where torch writes one")
    for entry in entries.values():
        if entry.compressed:
            raise InputError(f"its zip entry {brief(entry.name)} is compressed, which torch never does")
    return folders.pop()


def _storage_ref(identifier: object) -> StorageRef | Inert:
    """Resolves ('storage', type, key, device, elements); a storage of an unknown type stays a mark."""
    if type(identifier) is not tuple or len(identifier) != 5 or identifier[0] != "storage":
        raise InputError("its pickle refers to something other than a storage")
    _, symbol, key, _, count = identifier
    if isinstance(symbol, Inert):
        return symbol
    if not isinstance(symbol, Symbol) or symbol.role != "storage" or not is_count(count):
        raise InputError("its pickle refers to a storage without a type or a size")
    if type(key) is not str or not (key.isascii() and key.isdigit()):
        raise InputError(f"its pickle refers to a storage by the name {brief(key)}, which is not a number")
    return StorageRef(symbol.element, key, count, 0, count)
