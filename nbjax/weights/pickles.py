"""A restricted interpreter for the pickles in torch's files: containers, numbers, text, and inert marks for tensors.

A pickle is a program. This runs the part of it that tensor files need, and refuses the rest: no module is imported, no
attribute looked up, nothing foreign called. The few global names that tensor files use stand for entries of a table here;
any other name ends the reading. Opcodes: Python's `pickletools` documents each. Work and memory are bounded by
`MAXIMUM_STEPS`, as a byte of a pickle can ask for a container of 64 bytes.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

from nbjax.errors import InputError
from nbjax.weights.raw import IncompleteError
from nbjax.weights.tensors import BFLOAT16, MAXIMUM_DIMENSIONS, StorageRef, TensorRef, brief

MAXIMUM_STEPS = 500_000
"""A tensor costs about 35 steps: room for 14,000."""

_LONGEST_NAME = 256
_LONGEST_TEXT = 2**16
_STOP = ord(".")

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


SYMBOLS = {
    ("collections", "OrderedDict"): Symbol("dict"),
    ("torch", "Size"): Symbol("size"),
    ("torch._utils", "_rebuild_tensor"): Symbol("tensor"),
    ("torch._utils", "_rebuild_tensor_v2"): Symbol("tensor"),
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


def load(data: bytes, position: int, persistent: Callable[[object], object]) -> tuple[object, int]:
    """Runs one pickle.

    Args:
        data: holds the pickle.
        position: its first byte.
        persistent: resolves a persistent id, torch's way to refer to what lies outside the pickle.

    Returns:
        The value, and the position after the pickle. Containers are `dict`, `list` and `tuple`.

    Raises:
        IncompleteError: `data` ends before the pickle.
        InputError: the pickle asks for what tensor files do not need, or is damaged.
    """
    machine = _Machine(data, position, persistent)
    return machine.run(), machine.position


def no_persistent(identifier: object) -> object:
    """For pickles that have no reason to refer to anything outside."""
    raise InputError(f"its pickle refers to {brief(identifier)} outside of itself, where tensor files never do")


def is_count(value: object) -> TypeGuard[int]:
    """Whether a value is an int, not a bool, of at least 0."""
    return type(value) is int and value >= 0


class _Machine:
    """Stack machine: `stack` since the last mark, `marks` the stacks below, `memo` of numbered values."""

    def __init__(self, data: bytes, position: int, persistent: Callable[[object], object]) -> None:
        self.data = data
        self.position = position
        self.persistent = persistent
        self.stack: list[object] = []
        self.marks: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.steps = 0

    def run(self) -> object:
        while True:
            self.spend(1)
            opcode = self.take(1)[0]
            if opcode == _STOP:
                return self.pop()
            handler = _HANDLERS.get(opcode)
            if handler is None:
                raise InputError(f"its pickle uses the opcode {bytes([opcode])!r}, which tensor files never do")
            handler(self)

    def spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAXIMUM_STEPS:
            raise InputError(f"its pickle takes over {MAXIMUM_STEPS:,} steps, which no tensor file needs")

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise IncompleteError("its pickle ends in the middle of an instruction")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, count: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(count), "little", signed=signed)

    def text(self, count: int) -> str:
        if count > _LONGEST_TEXT:
            raise InputError(f"its pickle claims a text of {count:,} bytes, longer than any name in a tensor file")
        try:
            return self.take(count).decode()
        except UnicodeDecodeError:
            raise InputError("its pickle holds a text that is not UTF-8") from None

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + _LONGEST_NAME)
        if end < 0 and len(self.data) - self.position < _LONGEST_NAME:
            raise IncompleteError("its pickle ends in the middle of an instruction")
        if end < 0:
            raise InputError("its pickle holds a global name without an end")
        text = self.text(end - self.position)
        self.position = end + 1
        return text

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if not self.stack:
            raise InputError("its pickle takes a value from an empty stack")
        return self.stack.pop()

    def top(self) -> object:
        if not self.stack:
            raise InputError("its pickle looks at an empty stack")
        return self.stack[-1]

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[object]:
        if not self.marks:
            raise InputError("its pickle goes back to a mark that it never made")
        values, self.stack = self.stack, self.marks.pop()
        return values

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def put(self, index: int) -> None:
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise InputError(f"its pickle asks for the value number {index}, which it never stored")
        self.push(self.memo[index])

    def frame(self) -> None:
        if self.number(8) > len(self.data) - self.position:
            raise IncompleteError("its pickle ends inside of a frame")

    def protocol(self) -> None:
        version = self.number(1)
        if not 2 <= version <= 5:
            raise InputError(f"its pickle is of protocol {version}, not 2 to 5")

    def append(self, values: list[object]) -> None:
        target = self.top()
        if type(target) is not list:
            raise InputError("its pickle appends to something other than a list")
        target.extend(values)

    def set_items(self, values: list[object]) -> None:
        target = self.top()
        if type(target) is not dict or len(values) % 2:
            raise InputError("its pickle sets the items of something other than a dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            _set_item(target, key, value)

    def global_name(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise InputError("its pickle asks for a global name that is not a text")
        symbol = SYMBOLS.get((module, name))
        if symbol is None:
            raise InputError(
                f"its pickle asks for {brief(f'{module}.{name}')}, which is no part of a tensor file (nothing was "
                f"executed): save the model's state_dict() alone, or as .safetensors"
            )
        self.push(symbol)

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.global_name(module, name)

    def call(self) -> None:
        arguments, symbol = self.pop(), self.pop()
        if not isinstance(symbol, Symbol) or symbol.role not in _CALLS or type(arguments) is not tuple:
            raise InputError("its pickle calls something that cannot be called in a tensor file")
        if symbol.role == "dict" and arguments:
            # The only call that copies: without a price, a few bytes could repeat it on a large list.
            self.spend(len(arguments[0]) if type(arguments[0]) is list else 0)
        self.push(_CALLS[symbol.role](arguments))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Parameter):
            # torch's oldest files: made empty, then given (tensor, …); later ones: made with it, then given other things.
            if target.data is None and type(state) is tuple and state and isinstance(state[0], TensorRef):
                target.data = state[0]
        elif type(target) is not dict or type(state) is not dict:
            # On a dict it is the `_metadata` that torch hangs on a state_dict: versions of modules, of no use here.
            raise InputError("its pickle gives a state to something other than a dict or a parameter")


def _set_item(target: dict[object, object], key: object, value: object) -> None:
    """Only flat keys: hashing a tuple nested a million deep would exhaust the C stack."""
    if type(key) is not str and type(key) is not int:
        raise InputError(f"its pickle uses a {type(key).__name__} as the key of a dict, where tensor files use names")
    target[key] = value


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
        _set_item(made, pair[0], pair[1])
    return made


def _make_size(arguments: tuple[object, ...]) -> object:
    if len(arguments) != 1 or type(arguments[0]) is not tuple:
        raise InputError("its pickle makes a size of something other than a tuple")
    return arguments[0]


def _make_tensor(arguments: tuple[object, ...]) -> TensorRef:
    storage, offset, shape, strides = arguments[:4] if len(arguments) >= 4 else (None,) * 4
    if not isinstance(storage, StorageRef) or type(offset) is not int or type(shape) is not tuple:
        raise InputError("its pickle makes a tensor of something other than a storage, an offset and a shape")
    if type(strides) is not tuple or max(len(shape), len(strides)) > MAXIMUM_DIMENSIONS:
        raise InputError(f"its pickle makes a tensor without strides, or of over {MAXIMUM_DIMENSIONS} dimensions")
    if any(type(number) is not int for number in shape + strides):
        raise InputError("its pickle makes a tensor whose shape and strides are not whole numbers")
    return TensorRef(storage, offset, shape, strides)


def _make_rebuilt_parameter(arguments: tuple[object, ...]) -> TensorRef:
    if not arguments or not isinstance(arguments[0], TensorRef):
        raise InputError("its pickle makes a parameter of something other than a tensor")
    return arguments[0]


def _make_parameter(arguments: tuple[object, ...]) -> Parameter:
    return Parameter(_make_rebuilt_parameter(arguments) if arguments else None)


_CALLS: dict[str, Callable[[tuple[object, ...]], object]] = {
    "dict": _make_dict,
    "size": _make_size,
    "tensor": _make_tensor,
    "rebuilt parameter": _make_rebuilt_parameter,
    "parameter": _make_parameter,
}

_HANDLERS: dict[int, Callable[[_Machine], None]] = {
    0x80: _Machine.protocol,
    0x95: _Machine.frame,
    ord("("): _Machine.mark,
    ord("}"): lambda machine: machine.push({}),
    ord("]"): lambda machine: machine.push([]),
    ord(")"): lambda machine: machine.push(()),
    ord("t"): lambda machine: machine.push(tuple(machine.pop_mark())),
    0x85: lambda machine: machine.tuple_of(1),
    0x86: lambda machine: machine.tuple_of(2),
    0x87: lambda machine: machine.tuple_of(3),
    ord("a"): lambda machine: machine.append([machine.pop()]),
    ord("e"): lambda machine: machine.append(machine.pop_mark()),
    ord("s"): lambda machine: machine.set_items([machine.pop(), machine.pop()][::-1]),
    ord("u"): lambda machine: machine.set_items(machine.pop_mark()),
    ord("N"): lambda machine: machine.push(None),
    0x88: lambda machine: machine.push(True),
    0x89: lambda machine: machine.push(False),
    ord("J"): lambda machine: machine.push(machine.number(4, signed=True)),
    ord("K"): lambda machine: machine.push(machine.number(1)),
    ord("M"): lambda machine: machine.push(machine.number(2)),
    0x8A: lambda machine: machine.push(machine.number(machine.number(1), signed=True)),
    ord("G"): lambda machine: machine.push(struct.unpack(">d", machine.take(8))[0]),
    ord("X"): lambda machine: machine.push(machine.text(machine.number(4))),
    0x8C: lambda machine: machine.push(machine.text(machine.number(1))),
    # Python 2's byte strings.
    ord("T"): lambda machine: machine.push(machine.text(machine.number(4))),
    ord("U"): lambda machine: machine.push(machine.text(machine.number(1))),
    ord("q"): lambda machine: machine.put(machine.number(1)),
    ord("r"): lambda machine: machine.put(machine.number(4)),
    0x94: lambda machine: machine.put(len(machine.memo)),
    ord("h"): lambda machine: machine.get(machine.number(1)),
    ord("j"): lambda machine: machine.get(machine.number(4)),
    ord("c"): lambda machine: machine.global_name(machine.line(), machine.line()),
    0x93: _Machine.stack_global,
    ord("R"): _Machine.call,
    0x81: _Machine.call,
    ord("b"): _Machine.build,
    ord("Q"): lambda machine: machine.push(machine.persistent(machine.pop())),
}
