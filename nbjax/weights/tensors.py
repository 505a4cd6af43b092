"""Element types, storages and strided tensors: what all layouts of checkpoint files share."""

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nbjax.errors import InputError

BFLOAT16 = "bf2"
"""bfloat16, which NumPy lacks; the other element types are NumPy's names without byte order."""

MAXIMUM_DIMENSIONS = 32
_MAXIMUM_ELEMENTS = 2**48


@dataclass(frozen=True, slots=True)
class StorageRef:
    """A run of elements in a file, as torch's files refer to it.

    Attributes:
        element: type of the elements, as for `element_size`.
        key: the storage's name in the file.
        count: elements of the whole storage.
        begin: first element of this part of it.
        length: elements of this part of it.
    """

    element: str
    key: str
    count: int
    begin: int
    length: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor as a window on a storage; offset and strides in elements."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def element_size(element: str) -> int:
    """Bytes of an element of type `bf2`, `f2`, `f4`, `f8`, `i1` to `i8`, `u1` to `u8` or `b1`."""
    return int(element[-1])


def decode(data: np.ndarray, element: str, order: str = "<") -> np.ndarray:
    """Elements in the machine's byte order, bfloat16 as float32: `[count]`.

    Args:
        data: uint8 `[count * element_size]`.
        element: as for `element_size`.
        order: of the bytes, `<` or `>`.

    Raises:
        InputError: a byte of a bool is neither 0 nor 1.
    """
    if element == BFLOAT16:
        # bfloat16 is the upper half of a float32.
        return (data.view(f"{order}u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    if element == "b1" and data.size and data.max() > 1:
        raise InputError(f"a truth value in it is {int(data.max())}, neither 0 nor 1")
    return data.view(f"{order}{element}").astype(element, copy=False)


def element_count(shape: Sequence[int]) -> int:
    """Elements of a tensor of a claimed shape.

    Raises:
        InputError: the shape is not one that a tensor can have.
    """
    if len(shape) > MAXIMUM_DIMENSIONS:
        raise InputError(f"a tensor in it claims {len(shape)} dimensions, more than {MAXIMUM_DIMENSIONS}")
    if any(length < 0 for length in shape) or math.prod(max(length, 1) for length in shape) > _MAXIMUM_ELEMENTS:
        raise InputError(f"a tensor in it claims the impossible shape {brief(tuple(shape))}")
    return math.prod(shape)


def window(values: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """A read-only strided view of a storage; no memory is spent.

    Args:
        values: `[count]`, the storage.
        offset: of the first element.
        shape: of the tensor.
        strides: in elements, one a dimension.

    Raises:
        InputError: the view leaves the storage, or claims more elements than the storage has.
    """
    count = element_count(shape)
    if len(shape) != len(strides):
        raise InputError(f"a tensor in it has {len(shape)} dimensions and {len(strides)} strides")
    if count == 0:
        return read_only(np.empty(shape, values.dtype))
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if offset < 0 or min(strides, default=0) < 0 or last >= values.size or count > values.size:
        raise InputError(
            f"a tensor in it of shape {brief(shape)}, strides {brief(strides)} and offset {brief(offset)} does not fit "
            f"its storage of {values.size:,} elements"
        )
    size = values.itemsize
    # A dimension of length 1 may carry any stride, even one too large for NumPy.
    steps = tuple(stride * size if length > 1 else size for length, stride in zip(shape, strides, strict=True))
    return read_only(np.ndarray(shape, values.dtype, values, offset * size, steps))


def read_only(array: np.ndarray) -> np.ndarray:
    """The array itself, closed for writing: tensors may share memory, as they do in the file."""
    array.flags.writeable = False
    return array


def brief(value: object) -> str:
    """A value from a file, for an error message: printable and short, however long or deep the value is."""
    return _BRIEF.repr(value)


_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 2
_BRIEF.maxtuple = _BRIEF.maxlist = 8
_BRIEF.maxstring = _BRIEF.maxother = 80
