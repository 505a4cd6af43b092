"""The safetensors layout: a JSON header with every tensor's type, shape and place, then their elements.

Written from the format's specification (huggingface/safetensors, README, "Format"): 8 bytes with the header's length,
little-endian; the header; the elements, little-endian, row-major, without holes or overlaps.
"""

import json
from dataclasses import dataclass

import numpy as np

from nbjax.errors import InputError
from nbjax.weights.pickles import is_count
from nbjax.weights.raw import IncompleteError, Raw
from nbjax.weights.tensors import BFLOAT16, brief, decode, element_count, element_size, read_only

_ELEMENTS = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": BFLOAT16,
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U64": "u8",
    "U32": "u4",
    "U16": "u2",
    "U8": "u1",
    "BOOL": "b1",
}
_LONGEST_HEADER = 2**23
"""80,000 tensors; the specification allows 100 MB, which would let a small file spend gigabytes on its header."""


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    element: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_safetensors(raw: Raw) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file by name, bfloat16 as float32.

    Raises:
        IncompleteError: the file ends before its last tensor.
        InputError: header and file contradict each other.
    """
    length = int.from_bytes(raw.read(0, 8, "the length of its header").tobytes(), "little")
    if length > _LONGEST_HEADER:
        raise InputError(f"its safetensors header claims {length:,} bytes, more than {_LONGEST_HEADER:,}")
    header = _parse_header(raw.read(8, length, "its header").tobytes())
    lines = [_parse_line(name, line) for name, line in header.items() if name != "__metadata__"]
    _check_places(lines, raw.size - 8 - length, raw.size)
    arrays = {}
    for line in lines:
        data = raw.read(8 + length + line.begin, line.end - line.begin, f"its tensor {brief(line.name)}")
        arrays[line.name] = read_only(decode(data, line.element).reshape(line.shape))
    return arrays


def _parse_header(data: bytes) -> dict[str, object]:
    try:
        header = json.loads(data.decode(), object_pairs_hook=_unique)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"its safetensors header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise InputError(f"its safetensors header is a {type(header).__name__}, not an object of tensors")
    return header


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise InputError("its safetensors header uses a name twice")
    return made


def _parse_line(name: str, line: object) -> _Line:
    if not isinstance(line, dict) or set(line) != {"dtype", "shape", "data_offsets"}:
        raise InputError(f"its tensor {brief(name)} is not described by dtype, shape and data_offsets alone")
    element, shape, offsets = line["dtype"], line["shape"], line["data_offsets"]
    if not isinstance(element, str) or element not in _ELEMENTS:
        raise InputError(
            f"its tensor {brief(name)} is of type {brief(element)}, expected one of {', '.join(_ELEMENTS)}"
        )
    if not isinstance(shape, list) or not all(map(is_count, shape)):
        raise InputError(f"the shape of its tensor {brief(name)} is {brief(shape)}, not a list of lengths")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(is_count, offsets)):
        raise InputError(f"the offsets of its tensor {brief(name)} are {brief(offsets)}, not a begin and an end")
    parsed = _Line(name, _ELEMENTS[element], tuple(shape), offsets[0], offsets[1])
    if element_count(shape) * element_size(parsed.element) != parsed.end - parsed.begin:
        raise InputError(
            f"its tensor {brief(name)} of type {element} and shape {brief(shape)} lies from byte {parsed.begin} to "
            f"{parsed.end}, which is not its size"
        )
    return parsed


def _check_places(lines: list[_Line], available: int, size: int) -> None:
    """Without holes or overlaps, to the end of the file."""
    end = 0
    for line in sorted(lines, key=lambda line: (line.begin, line.end)):
        if line.begin != end:
            raise InputError(f"its tensor {brief(line.name)} begins at byte {line.begin}, expected {end}")
        end = line.end
    if end > available:
        raise IncompleteError(
            f"it ends after {size:,} bytes, but its last tensor should reach to byte {size - available + end:,}"
        )
    if end < available:
        raise InputError(f"it has {available - end:,} bytes after its last tensor")
