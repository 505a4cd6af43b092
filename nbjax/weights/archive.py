"""Zip archives of tensors, read from their directory and checked before a byte of an entry is taken.

Written from PKWARE's APPNOTE 6.3 (sections 4.3.7, 4.3.12, 4.3.16). Left out on purpose, as neither torch nor NumPy
needs it for files under 4 GiB: zip64, encryption, several disks, compression other than deflate.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from nbjax.errors import InputError
from nbjax.weights.raw import IncompleteError, Raw
from nbjax.weights.tensors import brief

_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LONGEST_COMMENT = 0xFFFF
_MAXIMUM_ENTRIES = 0xFFFF - 1
_MAXIMUM_DIRECTORY = 2**25
_ENCRYPTED = 1
_STORED, _DEFLATED = 0, 8


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the archive's directory.

    Attributes:
        name: checked to be relative and to stay below its folder.
        size: bytes, uncompressed.
        packed: bytes in the archive.
        compressed: whether by deflate.
        crc: CRC-32 of the uncompressed bytes.
        header: offset of the entry's local header in the file.
    """

    name: str
    size: int
    packed: int
    compressed: bool
    crc: int
    header: int


def read_directory(raw: Raw) -> dict[str, Entry]:
    """Entries of a zip archive by name.

    Raises:
        IncompleteError: the directory, which a zip archive has at its end, is not there.
        InputError: the directory contradicts itself or the file, or names what must not be named.
    """
    position, end = _find_end(raw)
    count, size, start = end[4], end[5], end[6]
    if 0xFFFF in end[1:5] or 0xFFFFFFFF in (size, start):
        raise InputError("it is a zip archive of over 4 GiB or 65,534 entries, which is not supported")
    disks = end[1] or end[2] or end[3] != count
    if disks or start + size > position or size > _MAXIMUM_DIRECTORY or count * _ENTRY.size > size:
        raise InputError("the directory of its zip archive contradicts itself")
    data = raw.read(start, size, "the directory of its zip archive").tobytes()
    entries: dict[str, Entry] = {}
    position = 0
    for _ in range(count):
        entry, position = _parse_entry(data, position)
        if entry.name in entries:
            raise InputError(f"its zip archive holds {brief(entry.name)} twice")
        entries[entry.name] = entry
    _check_places(entries, start)
    return entries


def read_entry(raw: Raw, entry: Entry) -> np.ndarray:
    """Uncompressed bytes of an entry, uint8 `[size]`.

    Raises:
        InputError: the entry's own header disagrees with the directory, or its bytes with size or CRC-32.
    """
    header = _LOCAL.unpack(raw.read(entry.header, _LOCAL.size, "a zip entry").tobytes())
    name = entry.name.encode()
    begin = entry.header + _LOCAL.size
    if header[0] != b"PK\x03\x04" or header[3] not in (_STORED, _DEFLATED) or bool(header[3]) != entry.compressed:
        raise InputError(f"the header of the zip entry {brief(entry.name)} is damaged")
    if header[9] != len(name) or raw.read(begin, len(name), "a zip entry").tobytes() != name:
        raise InputError(f"the zip entry {brief(entry.name)} names itself differently from the directory")
    data = raw.read(begin + header[9] + header[10], entry.packed, f"the zip entry {brief(entry.name)}")
    if entry.compressed:
        data = _inflate(data, entry)
    if zlib.crc32(data.data) != entry.crc:
        raise InputError(f"the zip entry {brief(entry.name)} fails its CRC check: the file is damaged")
    return data


def _inflate(data: np.ndarray, entry: Entry) -> np.ndarray:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # One byte more than announced is enough to see a lie; memory grows with what really comes out.
        unpacked = unpacker.decompress(data.data, entry.size + 1)
    except zlib.error as error:
        raise InputError(f"the zip entry {brief(entry.name)} cannot be decompressed: {error}") from None
    if len(unpacked) != entry.size or not unpacker.eof:
        raise InputError(f"the zip entry {brief(entry.name)} does not decompress to the {entry.size:,} bytes announced")
    return np.frombuffer(unpacked, np.uint8)


def _find_end(raw: Raw) -> tuple[int, tuple[bytes, int, int, int, int, int, int, int]]:
    """The record that ends the directory: where it begins, and its fields."""
    count = min(raw.size, _END.size + _LONGEST_COMMENT)
    tail = raw.read(raw.size - count, count, "a zip archive").tobytes()
    position = tail.rfind(b"PK\x05\x06")
    while position >= 0:
        if position + _END.size <= len(tail):
            end = _END.unpack_from(tail, position)
            if position + _END.size + end[7] == len(tail):
                return raw.size - count + position, end
        position = tail.rfind(b"PK\x05\x06", 0, position)
    raise IncompleteError(f"it ends after {raw.size:,} bytes, without the directory that closes a zip archive")


def _parse_entry(data: bytes, position: int) -> tuple[Entry, int]:
    if position + _ENTRY.size > len(data):
        raise InputError("the directory of its zip archive ends in the middle of an entry")
    fields = _ENTRY.unpack_from(data, position)
    signature, _, _, flags, method = fields[:5]
    crc, packed, size, name_length, extra_length, comment_length, _, _, _, header = fields[7:]
    begin = position + _ENTRY.size
    end = begin + name_length + extra_length + comment_length
    if signature != b"PK\x01\x02" or end > len(data):
        raise InputError("the directory of its zip archive is damaged")
    try:
        name = data[begin : begin + name_length].decode()
    except UnicodeDecodeError:
        raise InputError("its zip archive holds an entry whose name is not UTF-8") from None
    if name.startswith("/") or ".." in name.split("/") or not name.isprintable() or "\\" in name:
        raise InputError(f"its zip archive holds an entry with the unsafe name {brief(name)}")
    if flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
        raise InputError(f"the zip entry {brief(name)} is encrypted or compressed by an unknown method")
    if 0xFFFFFFFF in (packed, size, header):
        raise InputError(f"the zip entry {brief(name)} is over 4 GiB, which is not supported")
    if method == _STORED and packed != size:
        raise InputError(f"the zip entry {brief(name)} is not compressed, but claims two different sizes")
    return Entry(name, size, packed, method == _DEFLATED, crc, header), end


def _check_places(entries: dict[str, Entry], start: int) -> None:
    """Entries that overlap would let a small file stand for a large one."""
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: entry.header):
        if entry.header < end:
            raise InputError(f"the zip entry {brief(entry.name)} overlaps another")
        end = entry.header + _LOCAL.size + len(entry.name.encode()) + entry.packed
        if end > start:
            raise InputError(f"the zip entry {brief(entry.name)} claims more bytes than the file has")
