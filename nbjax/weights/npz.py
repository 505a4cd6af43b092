"""NumPy's .npz: a zip archive with one .npy array an entry.

Written from NumPy's documentation, `numpy.lib.format`: 6 bytes of magic, 2 of version, the header's length (2 bytes,
from version 2 on 4), the header, a Python dict literal in text, then the elements. The header is matched, not
evaluated, and arrays of Python objects, which would be pickles, are refused.
"""

import re

import numpy as np

from nbjax.errors import InputError
from nbjax.weights.archive import Entry, read_entry
from nbjax.weights.raw import Raw
from nbjax.weights.tensors import brief, decode, element_count, element_size, read_only

MAGIC = b"\x93NUMPY"

_SUFFIX = ".npy"
_PAIR = r"'(?:descr|fortran_order|shape)': *(?:'[^']{1,32}'|True|False|\([0-9, ]{0,512}\))"
_HEADER = re.compile(rf"\{{{_PAIR}, *{_PAIR}, *{_PAIR} *,? *\}} *\n?")
_ITEMS = re.compile(r"'(\w+)': *('[^']*'|\w+|\([^)]*\))")
_DESCR = re.compile(r"'([<>|=])([fiu][1248]|b1)'")
_SHAPE = re.compile(r"\( *(?:[0-9]{1,18} *, *)*(?:[0-9]{1,18} *)?\)")
_LARGEST_EXPANSION = 16
_FREE_EXPANSION = 2**26


def read_npz(raw: Raw, entries: dict[str, Entry]) -> dict[str, np.ndarray]:
    """Arrays of an .npz file by name.

    Args:
        raw: the file.
        entries: its directory.

    Raises:
        InputError: an entry is not an array of numbers, or they decompress to over 16 times the file (and 64 MiB),
            which no trained weights do.
    """
    expanded = sum(entry.size for entry in entries.values() if entry.compressed)
    limit = max(_FREE_EXPANSION, _LARGEST_EXPANSION * raw.size)
    if expanded > limit:
        raise InputError(
            f"its compressed arrays claim {expanded:,} bytes, over the {limit:,} that such a file may take"
        )
    arrays = {}
    for entry in entries.values():
        if not entry.name.endswith(_SUFFIX):
            raise InputError(f"its zip archive holds {brief(entry.name)}, which is not a .npy array")
        name = entry.name.removesuffix(_SUFFIX)
        arrays[name] = read_only(_parse_array(read_entry(raw, entry), name))
    return arrays


def _parse_array(data: np.ndarray, name: str) -> np.ndarray:
    prefix = data[:12].tobytes()
    width = 2 if prefix[6:7] == b"\x01" else 4
    if len(prefix) < 12 or prefix[:6] != MAGIC or prefix[6:8] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise InputError(f"its entry {brief(name)} does not begin as a .npy array does")
    begin = 8 + width + int.from_bytes(prefix[8 : 8 + width], "little")
    if begin > data.size:
        raise InputError(f"the header of its array {brief(name)} claims more bytes than there are")
    element, order, fortran, shape = _parse_header(data[8 + width : begin].tobytes(), name)
    count = element_count(shape) * element_size(element)
    if count != data.size - begin:
        raise InputError(
            f"its array {brief(name)} of shape {brief(shape)} needs {count:,} bytes, not {data.size - begin:,}"
        )
    values = decode(data[begin:], element, order)
    return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)


def _parse_header(text: bytes, name: str) -> tuple[str, str, bool, tuple[int, ...]]:
    """Element type, byte order, whether column-major, and shape."""
    header = text.decode("latin-1")
    items = dict(_ITEMS.findall(header)) if _HEADER.fullmatch(header) else {}
    if set(items) != {"descr", "fortran_order", "shape"}:
        raise InputError(f"the header of its array {brief(name)} is not a .npy header")
    descr, shape = _DESCR.fullmatch(items["descr"]), _SHAPE.fullmatch(items["shape"])
    if descr is None:
        raise InputError(
            f"its array {brief(name)} is of type {brief(items['descr'].strip(chr(39)))}: expected numbers or truth "
            f"values (arrays of Python objects are never read)"
        )
    if shape is None or items["fortran_order"] not in ("True", "False"):
        raise InputError(f"its array {brief(name)} has the shape {brief(items['shape'])}, not a tuple of lengths")
    lengths = tuple(int(length) for length in re.findall("[0-9]+", shape.group()))
    return descr.group(2), ">" if descr.group(1) == ">" else "<", items["fortran_order"] == "True", lengths
