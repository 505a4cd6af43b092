"""What the few global names in torch's pickles stand for, and marks for all that any other name would make."""

from collections.abc import Callable
from dataclasses import dataclass

from nbjax.errors import InputError
from nbjax.weights.tensors import BFLOAT16, MAXIMUM_DIMENSIONS, StorageRef, TensorRef

_LARGEST_KEY = 2**60

_ELEMENTS = {
    "Float": "f4",
    "Double": "f8",
    "Half": "f2",
    "BFloat16": BFLOAT16,
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "b1",
}


@dataclass(frozen=True, slots=True)
class Symbol:
    """What a global name stands for: a role, and the element type for those of storages and tensors."""

    role: str
    element: str = ""


@dataclass(slots=True)
class Parameter:
    """A trainable tensor: the tensor, and what is of no use here. Filled by the opcode after the one that makes it."""

    data: TensorRef | None


@dataclass(slots=True, eq=False)
class Inert:
    """Stands for a value of which nothing is known here, or made.

    Attributes:
        name: of its type, or of the global that would have made it.
        entries: where it is given items as a dict is.
    """

    name: str
    entries: dict[object, object] | None = None

    def __repr__(self) -> str:
        return f"an object of {self.name}"


def type_name(value: object) -> str:
    """Of a loaded value, for an error message."""
    return value.name if isinstance(value, Inert) else type(value).__name__


SYMBOLS = {
    ("collections", "OrderedDict"): Symbol("dict"),
    ("torch", "Size"): Symbol("size"),
    ("torch._utils", "_rebuild_tensor"): Symbol("tensor"),
    ("torch._utils", "_rebuild_tensor_v2"): Symbol("tensor"),
    ("torch._tensor", "_rebuild_from_type_v2"): Symbol("tensor of a class"),
    ("torch._utils", "_rebuild_parameter"): Symbol("rebuilt parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"): Symbol("rebuilt parameter"),
    ("torch.nn.parameter", "Parameter"): Symbol("parameter"),
    **{
        (module, f"{name}{kind}"): Symbol(role, element)
        for module in ("torch", "torch.cuda")
        for kind, role in (("Storage", "storage"), ("Tensor", "tensor type"))
        for name, element in _ELEMENTS.items()
    },
}


def set_item(target: dict[object, object], key: object, value: object) -> None:
    """Sets an item under a text or a small number.

    Hashing a tuple nested a million deep would exhaust the C stack, and numbers can be chosen so that their hashes
    collide. Any other key is a mark of its own.
    """
    is_flat = type(key) is str or (type(key) is int and abs(key) < _LARGEST_KEY)
    target[key if is_flat else Inert(type_name(key))] = value


def _make_dict(arguments: tuple[object, ...]) -> dict[object, object]:
    if not arguments:
        return {}
    # Python 2 wrote an OrderedDict as a list of pairs.
    pairs = arguments[0]
    if len(arguments) != 1 or type(pairs) is not list:
        raise InputError("its pickle makes a dict of something other than pairs")
    made: dict[object, object] = {}
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise InputError("its pickle makes a dict of something other than pairs")
        set_item(made, pair[0], pair[1])
    return made


def _make_size(arguments: tuple[object, ...]) -> object:
    if len(arguments) != 1 or type(arguments[0]) is not tuple:
        raise InputError("its pickle makes a size of something other than a tuple")
    return arguments[0]


def _make_tensor(arguments: tuple[object, ...]) -> TensorRef | Inert:
    storage, offset, shape, strides = arguments[:4] if len(arguments) >= 4 else (None,) * 4
    if isinstance(storage, Inert):
        return Inert(storage.name)
    if not isinstance(storage, StorageRef) or type(offset) is not int or type(shape) is not tuple:
        raise InputError("its pickle makes a tensor of something other than a storage, an offset and a shape")
    if type(strides) is not tuple or max(len(shape), len(strides)) > MAXIMUM_DIMENSIONS:
        raise InputError(f"its pickle makes a tensor without strides, or of over {MAXIMUM_DIMENSIONS} dimensions")
    if any(type(number) is not int for number in shape + strides):
        raise InputError("its pickle makes a tensor whose shape and strides are not whole numbers")
    return TensorRef(storage, offset, shape, strides)


def _make_tensor_of_a_class(arguments: tuple[object, ...]) -> TensorRef | Inert:
    """(how it is rebuilt, its class, what it is rebuilt from, its attributes): a subclass of torch's tensors."""
    how, _, inner = arguments[:3] if len(arguments) >= 3 else (None,) * 3
    if isinstance(how, Symbol) and how.role == "tensor" and type(inner) is tuple:
        return _make_tensor(inner)
    return Inert("a tensor of an unknown class")


def _make_rebuilt_parameter(arguments: tuple[object, ...]) -> TensorRef | Inert:
    if arguments and isinstance(arguments[0], Inert):
        return arguments[0]
    if not arguments or not isinstance(arguments[0], TensorRef):
        raise InputError("its pickle makes a parameter of something other than a tensor")
    return arguments[0]


def _make_parameter(arguments: tuple[object, ...]) -> Parameter | Inert:
    tensor = _make_rebuilt_parameter(arguments) if arguments else None
    return tensor if isinstance(tensor, Inert) else Parameter(tensor)


CALLS: dict[str, Callable[[tuple[object, ...]], object]] = {
    "dict": _make_dict,
    "size": _make_size,
    "tensor": _make_tensor,
    "tensor of a class": _make_tensor_of_a_class,
    "rebuilt parameter": _make_rebuilt_parameter,
    "parameter": _make_parameter,
}
