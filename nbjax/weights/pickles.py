"""A restricted interpreter for the pickles in torch's files: containers, numbers, text, and inert marks for tensors.

A pickle is a program. This runs the part of it that builds values, and nothing else: no module is imported, no
attribute looked up, nothing foreign called. The few global names that tensor files use stand for entries of a table
here; what any other name would make is an `Inert` mark that keeps its name, as training scripts leave all sorts of
objects beside the tensors. Opcodes: Python's `pickletools` documents each. Work and memory are bounded by
`MAXIMUM_STEPS`, as a byte of a pickle can ask for a container of 64 bytes.
"""

import struct
from collections.abc import Callable
from typing import TypeGuard

from nbjax.errors import InputError
from nbjax.weights.raw import IncompleteError
from nbjax.weights.symbols import CALLS, SYMBOLS, Inert, Parameter, Symbol, set_item
from nbjax.weights.tensors import TensorRef, brief

MAXIMUM_STEPS = 1_000_000
"""A tensor costs about 35 steps: room for 28,000."""

_LONGEST_NAME = 1024
_LONGEST_TEXT = 2**16
_STOP = ord(".")


def load(data: bytes, position: int, persistent: Callable[[object], object]) -> tuple[object, int]:
    """Runs one pickle.

    Args:
        data: holds the pickle.
        position: its first byte.
        persistent: resolves a persistent id, torch's way to refer to what lies outside the pickle.

    Returns:
        The value, and the position after the pickle. Containers are `dict`, `list` and `tuple`; whatever else an object
        is made of is an `Inert`.

    Raises:
        IncompleteError: `data` ends before the pickle.
        InputError: the pickle asks for more than files need, or is damaged.
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

    def skip(self, count: int, what: str) -> Inert:
        if self.position + count > len(self.data):
            raise IncompleteError("its pickle ends in the middle of an instruction")
        self.position += count
        return Inert(what)

    def text(self, count: int) -> str | Inert:
        """Inert where no name can be so long, or where it is not UTF-8: Python 2 wrote bytes as texts."""
        if count > _LONGEST_TEXT:
            return self.skip(count, "str")
        taken = self.take(count)
        try:
            return taken.decode()
        except UnicodeDecodeError:
            return Inert("bytes")

    def line(self) -> object:
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

    def discard(self) -> None:
        self.pop()

    def discard_marked(self) -> None:
        self.pop_mark()

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
        if isinstance(target, Inert):
            return
        if type(target) is not list:
            raise InputError("its pickle appends to something other than a list")
        target.extend(values)

    def set_items(self, values: list[object]) -> None:
        target = self.top()
        if isinstance(target, Inert):
            # A dict of an unknown class: EasyDict, Counter, defaultdict.
            target.entries = {} if target.entries is None else target.entries
            target = target.entries
        if type(target) is not dict or len(values) % 2:
            raise InputError("its pickle sets the items of something other than a dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            set_item(target, key, value)

    def add_items(self) -> None:
        self.pop_mark()
        if not isinstance(self.top(), Inert):
            raise InputError("its pickle adds to something other than a set")

    def freeze_set(self) -> None:
        self.pop_mark()
        self.push(Inert("frozenset"))

    def global_name(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise InputError("its pickle asks for a global name that is not a text")
        if len(module) + len(name) > _LONGEST_NAME:
            raise InputError("its pickle asks for a global name longer than any")
        self.push(SYMBOLS.get((module, name)) or Inert(f"{module}.{name}"))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.global_name(module, name)

    def call(self) -> None:
        arguments, symbol = self.pop(), self.pop()
        if isinstance(symbol, Inert):
            self.push(Inert(symbol.name))
            return
        if not isinstance(symbol, Symbol) or symbol.role not in CALLS or type(arguments) is not tuple:
            raise InputError("its pickle calls something that cannot be called in a tensor file")
        if symbol.role == "dict" and arguments:
            # The only call that copies: without a price, a few bytes could repeat it on a large list.
            self.spend(len(arguments[0]) if type(arguments[0]) is list else 0)
        self.push(CALLS[symbol.role](arguments))

    def call_with_keywords(self) -> None:
        self.pop()
        self.call()

    def make_object(self) -> None:
        """Python 2's way to make an instance of a class."""
        values = self.pop_mark()
        if not values or not isinstance(values[0], Inert):
            raise InputError("its pickle makes an object of something other than a class")
        self.push(Inert(values[0].name))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Parameter):
            # torch's oldest files: made empty, then given (tensor, …); later ones: made with it, then given other
            # things.
            if target.data is None and type(state) is tuple and state and isinstance(state[0], TensorRef):
                target.data = state[0]
        elif not isinstance(target, Inert) and type(target) is not dict:
            # On a dict it is the `_metadata` that torch hangs on a state_dict: versions of modules, of no use here.
            raise InputError("its pickle gives a state to something other than an object")


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
    0x8D: lambda machine: machine.push(machine.text(machine.number(8))),
    0x8B: lambda machine: machine.push(machine.skip(machine.number(4), "int")),
    ord("B"): lambda machine: machine.push(machine.skip(machine.number(4), "bytes")),
    ord("C"): lambda machine: machine.push(machine.skip(machine.number(1), "bytes")),
    0x8E: lambda machine: machine.push(machine.skip(machine.number(8), "bytes")),
    0x96: lambda machine: machine.push(machine.skip(machine.number(8), "bytearray")),
    0x8F: lambda machine: machine.push(Inert("set")),
    0x90: _Machine.add_items,
    0x91: _Machine.freeze_set,
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
    0x92: _Machine.call_with_keywords,
    ord("o"): _Machine.make_object,
    ord("0"): _Machine.discard,
    ord("1"): _Machine.discard_marked,
    ord("b"): _Machine.build,
    ord("Q"): lambda machine: machine.push(machine.persistent(machine.pop())),
}
