"""What an attacker could try on each layout: bounded memory, bounded work, one clear error."""

import io
import struct
import zipfile
from pathlib import Path

import pytest

from nbjax.errors import InputError
from nbjax.weights import read_checkpoint

HEAD = b"\x80\x02"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"
MANY = 450_000

PICKLES = {
    # Values nested so deep that hashing, comparing or printing one would exhaust the stack.
    "a deep tuple as a key": (b"}" + b")" + b"\x85" * MANY + b"K\x01s.", "an object of tuple is of type int"),
    "a deep tuple as a value": (b"}X\x01\0\0\0w" + b")" + b"\x85" * MANY + b"s.", "its 'w' is of type tuple"),
    "a deep tuple as a persistent id": (
        b"]" + b"\x85" * MANY + b"Q.",
        "something other than a storage",
    ),
    "a deep tuple as a module name": (b")" + b"\x85" * MANY + b"X\x01\0\0\0x\x93.", "global name that is not a text"),
    "a deep tuple as a shape": (
        TENSOR + b"(" + STORAGE + b"K\0)" + b"\x85" * MANY + b")tR.",
        "not whole numbers|strides",
    ),
    "marks without end": (b"(" * 1_100_000, "over 1,000,000 steps"),
    "lists without end": (b"]" * 1_100_000, "over 1,000,000 steps"),
    # 2 to the power of 200 leaves in 200 memoised lists.
    "a billion laughs": (b"]q\0" + b"](h\0h\0eq\0" * 200 + b".", "holds a value of type list"),
    "a billion laughs as a name": (b"]q\0" + b"](h\0h\0eq\0" * 200 + b"}h\0K\1s.", "an object of list is of type int"),
    "a dict of pairs again and again": (
        b"](" + b"]K\1aK\2a" * 20_000 + b"eq\0ccollections\nOrderedDict\nq\1" + b"h\1h\0\x85R" * 20_000 + b".",
        "over 1,000,000 steps",
    ),
    "a giant LONG1 claim": (b"\x8a\xff\1.", "ends in the middle"),
    "a giant LONG4": (b"\x8b\xff\xff\xff\x7f.", "ends in the middle"),
    "a giant BINBYTES8": (b"\x8e" + b"\xff" * 7 + b"\x7f.", "ends in the middle"),
    "a giant BINUNICODE8": (b"\x8d" + b"\xff" * 7 + b"\x7f.", "ends in the middle"),
    "a giant BYTEARRAY8": (b"\x96" + b"\xff" * 7 + b"\x7f.", "ends in the middle"),
    "a giant BINUNICODE": (b"X\xff\xff\xff\xff.", "ends in the middle"),
    "a frame that lies": (b"\x95" + b"\xff" * 8 + b"N.", "ends inside of a frame"),
    "a global name without end": (b"c" + b"x" * 100_000, "global name without an end"),
    "a memo number never stored": (b"j\xff\xff\xff\xff.", "asks for the value number 4294967295"),
    "a huge memo number": (b"Nr\xff\xff\xff\xff0.", "empty stack"),
    "a duplicate": (b"N2.", "uses the opcode"),
    "an instance": (b"(iposix\nsystem\n.", "uses the opcode"),
    "an object": (b"(cposix\nsystem\no.", "a value of type posix.system, not a state_dict"),
    "an extension": (b"\x82\x01.", "uses the opcode"),
    "a text persistent id": (b"P0\n.", "uses the opcode"),
    "a number as persistent id": (b"K\1Q.", "something other than a storage"),
    "a symbol as persistent id": (b"ctorch\nFloatStorage\nQ.", "something other than a storage"),
    "a storage type called": (b"ctorch\nFloatStorage\nK\1\x85R.", "cannot be called"),
    "a tensor type called": (b"ctorch\nFloatTensor\nK\1\x85R.", "cannot be called"),
    "a number called": (b"K\1)R.", "cannot be called"),
    "a tensor built upon": (TENSOR + b"(" + STORAGE + b"K\0K\4\x85K\1\x85tR}b.", "gives a state to something other"),
    "a tensor appended to": (TENSOR + b"(" + STORAGE + b"K\0K\4\x85K\1\x85tRNa.", "appends to something other"),
    "a tensor of truth values": (TENSOR + b"(" + STORAGE + b"K\0\x88\x85\x89\x85tR.", "not whole numbers"),
    "an attribute through a dotted name": (
        b"\x8c\x05torch\x8c\x0bSize.__call\x93.",
        "a value of type torch.Size.__call, not",
    ),
    "an empty stack": (b".", "empty stack"),
    # Each a mark of its own that keeps no more than its name.
    "a foreign call again and again": (
        b"cposix\nsystem\nq\0" + b"X\x09\0\0\0touch x y\x85q\x010" + b"h\0h\1R" * 300_000 + b".",
        "a value of type posix.system",
    ),
    "names that grow": (
        b"X\0\x03\0\0" + b"x" * 768 + b"q\0" + b"h\0h\0\x93" * 200_000 + b".",
        "a global name longer than any",
    ),
    "tensors of tensors of foreign storages": (
        TENSOR + b"q\0cposix\nsystem\n" + b"q\1" + b"h\0(h\1K\0))tRq\1" * 60_000 + b".",
        "a value of type posix.system",
    ),
    "numbers of one hash": (
        b"}("
        + b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"K\0" for k in range(1, 150_000))
        + b"u.",
        "an object of int is of type int",
    ),
    "dicts in dicts in dicts, all the same": (
        b"}q\0"
        + b"".join(b"}q\1(" + b"".join(b"X\4\0\0\0%04dh\0" % k for k in range(9_000)) + b"uh\1q\0" for _ in range(3))
        + b".",
        "is of type dict, not a tensor",
    ),
    "nothing to append to": (b"Na.", "empty stack"),
    "odd items": (b"}(K\1u.", "sets the items"),
    "protocol 0": (b"\x80\0N.", "is of protocol 0"),
}


def archive(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return buffer.getvalue()


def refuse(write, path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with write.memory_limit(2**29), pytest.raises(InputError, match=message) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 600


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", PICKLES)
def test_pickles(write, tmp_path: Path, name: str) -> None:
    program, message = PICKLES[name]
    content = archive({"net/data.pkl": HEAD + program, "net/data/0": bytes(16)})
    refuse(write, tmp_path / "net.pth", content, message)


def tensor_pickle(key: bytes, count: int, offset: int, shape: tuple, strides: tuple) -> bytes:
    """A dict of the tensor `w`; numbers up to 2**64."""

    def number(value: int) -> bytes:
        return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)

    identifier = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX" + struct.pack("<L", len(key)) + key
    numbers = [b"(" + b"".join(map(number, values)) + b"t" for values in (shape, strides)]
    window = identifier + b"X\x03\0\0\0cpu" + number(count) + b"tQ" + number(offset) + b"".join(numbers)
    return HEAD + b"}X\x01\0\0\0w" + TENSOR + b"(" + window + b"tRs."


@pytest.mark.parametrize(
    ("key", "count", "offset", "shape", "strides", "message"),
    [
        (b"0", 2**62, 0, (4,), (1,), "has 16 bytes, but claims"),
        (b"0", 4, 0, (2**40,), (1,), "does not fit its storage"),
        (b"0", 4, 0, (2**40,), (0,), "does not fit its storage"),
        (b"0", 4, 0, (2**40, 2**40), (0, 0), "impossible shape"),
        (b"0", 4, 0, (0, 2**63), (1, 1), "impossible shape"),
        (b"0", 4, 0, (-1,), (1,), "impossible shape"),
        (b"0", 4, -1, (1,), (1,), "does not fit its storage"),
        (b"0", 4, 3, (2,), (1,), "does not fit its storage"),
        (b"0", 4, 3, (2,), (-1,), "does not fit its storage"),
        (b"0", 4, 2**62, (2,), (2**62,), "does not fit its storage"),
        (b"0", 4, 0, (2, 2), (1,), "2 dimensions and 1 strides"),
        (b"0", 4, 0, (1,) * 33, (1,) * 33, "over 32 dimensions"),
        (b"0", -4, 0, (1,), (1,), "without a type or a size"),
        (b"../../0", 4, 0, (1,), (1,), "which is not a number"),
        ("٠".encode(), 4, 0, (1,), (1,), "which is not a number"),
        (b"7", 4, 0, (1,), (1,), "lacks the entry 'data/7'"),
    ],
)
def test_tensors_that_claim_what_is_not_there(
    write, tmp_path: Path, key, count, offset, shape, strides, message
) -> None:
    content = archive({"net/data.pkl": tensor_pickle(key, count, offset, shape, strides), "net/data/0": bytes(16)})
    refuse(write, tmp_path / "net.pth", content, message)


def test_strides_of_single_elements_do_not_matter(tmp_path: Path) -> None:
    content = archive({"net/data.pkl": tensor_pickle(b"0", 4, 1, (1, 1), (2**62, 0)), "net/data/0": bytes(range(16))})
    (tmp_path / "net.pth").write_bytes(content)
    assert read_checkpoint(tmp_path / "net.pth")["w"].tobytes() == bytes(range(4, 8))


def good_zip() -> bytes:
    return archive({"net/data.pkl": tensor_pickle(b"0", 4, 0, (4,), (1,)), "net/data/0": bytes(16)})


def patched(content: bytes, old: bytes, new: bytes, which: int = -1) -> bytes:
    """One of the places where `old` stands replaced."""
    places = [place for place in range(len(content)) if content.startswith(old, place)]
    place = places[which]
    return content[:place] + new + content[place + len(old) :]


def directory_field(offset: int, new: bytes) -> bytes:
    """The zip archive with a field of the last directory entry overwritten."""
    content = good_zip()
    place = content.rindex(b"PK\1\2") + offset
    return content[:place] + new + content[place + len(new) :]


def end_field(offset: int, new: bytes) -> bytes:
    content = good_zip()
    place = content.rindex(b"PK\5\6") + offset
    return content[:place] + new + content[place + len(new) :]


ZIPS = {
    "a checksum that fails": (lambda: good_zip().replace(bytes(16), bytes(15) + b"\1"), "fails its CRC check"),
    "a size that lies": (lambda: directory_field(24, struct.pack("<L", 2**31)), "two different sizes"),
    "both sizes lie": (lambda: directory_field(20, struct.pack("<LL", 2**31, 2**31)), "claims more bytes than"),
    "zip64 in an entry": (lambda: directory_field(20, b"\xff" * 8), "over 4 GiB"),
    "zip64 in the end": (lambda: end_field(8, b"\xff" * 4), "over 4 GiB or 65,534 entries"),
    "encryption": (lambda: directory_field(8, b"\1\0"), "encrypted or compressed"),
    "an unknown method": (lambda: directory_field(10, b"\x0c\0"), "encrypted or compressed"),
    "a directory longer than the file": (lambda: end_field(12, struct.pack("<L", 2**30)), "contradicts itself"),
    "a directory elsewhere": (lambda: end_field(16, struct.pack("<L", 7)), "damaged"),
    "more entries than there are": (lambda: end_field(8, b"\x03\0\x03\0"), "ends in the middle|contradicts|damaged"),
    "an entry elsewhere": (lambda: directory_field(42, struct.pack("<L", 3)), "overlaps"),
    "an overlap": (lambda: directory_field(42, struct.pack("<L", 0)), "overlaps"),
    "another name inside": (lambda: patched(good_zip(), b"net/data/0", b"net/data/1", -2), "names itself differently"),
    "a damaged local header": (lambda: patched(good_zip(), b"PK\3\4", b"PK\3\5"), "zip entry 'net/data/0' is damaged"),
    "an absolute name": (lambda: archive({"/net/data.pkl": b""}), "unsafe name"),
    "a backslash": (lambda: good_zip().replace(b"net/data/0", b"..\\data\\00"), "unsafe name"),
    "two folders": (lambda: archive({"a/data.pkl": b"", "b/data.pkl": b""}), "2 folders"),
    "compressed tensors": (lambda: archive({"net/data.pkl": b"", "net/data/0": bytes(10**6)}, 8), "torch never does"),
    "neither torch's nor NumPy's": (lambda: archive({"readme.txt": b""}), "which is not a .npy array"),
    "an empty archive": (lambda: b"PK\3\4" + archive({}), "contradicts itself|holds no tensors"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_zip_archives(write, tmp_path: Path, name: str) -> None:
    make, message = ZIPS[name]
    refuse(write, tmp_path / "net.pth", make(), message)


def test_a_zip_entry_twice(write, tmp_path: Path) -> None:
    content = archive(
        {"net/data.pkl": tensor_pickle(b"0", 4, 0, (4,), (1,)), "net/data/0": bytes(16), "net/data/1": b""}
    )
    refuse(write, tmp_path / "net.pth", content.replace(b"net/data/1", b"net/data/0"), "holds 'net/data/0' twice")
