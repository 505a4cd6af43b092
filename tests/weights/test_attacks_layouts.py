"""What an attacker could try on tar, legacy, npz and safetensors files."""

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nbjax.errors import InputError
from nbjax.weights import read_checkpoint

KINDS = {"F32": 4, "BF16": 2, "BOOL": 1}


def refuse(write, path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with write.memory_limit(2**29), pytest.raises(InputError, match=message) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 600


def tar(
    change: Callable[[tarfile.TarInfo], None] = lambda member: None,
    name: str = "storages",
    form: int = tarfile.USTAR_FORMAT,
) -> bytes:
    """An archive of the four members, the header of one of them changed, its checksum right."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for key in ("sys_info", "pickle", "tensors", "storages"):
            member = tarfile.TarInfo(key)
            if key == name:
                change(member)
            buffer.write(member.tobuf(form))
            archive.offset = buffer.tell()
    return buffer.getvalue()


def setting(**fields) -> Callable[[tarfile.TarInfo], None]:
    def change(member: tarfile.TarInfo) -> None:
        for field, value in fields.items():
            setattr(member, field, value)

    return change


EXTENDED = tarfile.TarInfo("././@PaxHeader")
EXTENDED.type = tarfile.XHDTYPE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tar(), "ends in the middle"),
        (tar(setting(type=tarfile.SYMTYPE, linkname="/etc/passwd")), "holds 'storages', where torch writes"),
        (tar(setting(type=tarfile.LNKTYPE, linkname="pickle")), "holds 'storages', where torch writes"),
        (tar(setting(type=tarfile.DIRTYPE)), "where torch writes"),
        (tar(setting(name="/storages")), "holds '/storages', where torch writes"),
        (tar(setting(name="../storages")), "holds '../storages', where torch writes"),
        (tar(setting(name="pickle")), "holds 'pickle', where torch writes"),
        (tar(setting(size=0o77777777777)), "should reach to byte"),
        (tar(setting(size=2**40), form=tarfile.GNU_FORMAT), "not octal"),
        (tar(setting(name="x" * 150), form=tarfile.GNU_FORMAT), "where torch writes"),
        (tar()[:700], "incomplete"),
        (EXTENDED.tobuf(tarfile.USTAR_FORMAT) * 1000, "over 64 headers"),
        (tar()[:1536] + bytes(10240), "where torch writes"),
        (tar().replace(b"tensors", b"tensorz"), "'tensorz' is damaged"),
    ],
)
def test_tar_archives(write, tmp_path: Path, content: bytes, message: str) -> None:
    refuse(write, tmp_path / "net.pth", content, message)


def tar_parts(write) -> dict[str, bytes]:
    tensor = write.Tensor(write.Storage(np.arange(4, dtype=np.float32), "11"), 0, (4,), (1,))
    return write.tar_members({"w": tensor}, {"21": tensor}, {})


@pytest.mark.parametrize(
    ("member", "make", "message"),
    [
        ("storages", lambda write: write.dumps(2**62), "ends in the middle"),
        ("storages", lambda write: write.dumps("many"), "do not begin with their number"),
        ("storages", lambda write: write.dumps(1) + write.dumps((1, "cpu", 3)), "key, a device and a type"),
        ("tensors", lambda write: write.dumps(2**62), "ends in the middle"),
        ("tensors", lambda write: write.dumps(1) + write.dumps(([], [], 3)), "not a key, a storage and a type"),
        ("pickle", lambda write: write.dumps({"w": 1}), "its 'w' is of type int"),
        ("pickle", lambda write: b"\x80\x02}X\1\0\0\0wX\2\0\0\x0099Qs.", "the tensor 99, which its table"),
        ("pickle", lambda write: b"\x80\x02}X\1\0\0\0wX\3\0\0\0../Qs.", "something other than a tensor"),
    ],
)
def test_tar_members(write, tmp_path: Path, member: str, make, message: str) -> None:
    parts = tar_parts(write)
    parts[member] = make(write)
    refuse(write, tmp_path / "net.pth", write.tar_bytes(parts), message)


@pytest.mark.parametrize("count", [-1, -(2**63), 100, 2**40, 2**63 - 1])
def test_tar_storages_that_lie_about_their_size(write, tmp_path: Path, count: int) -> None:
    parts = tar_parts(write)
    parts["storages"] = parts["storages"].replace(struct.pack("<q", 4), struct.pack("<q", count))
    refuse(write, tmp_path / "net.pth", write.tar_bytes(parts), "elements, more than there are")


@pytest.mark.parametrize("shape", [(2**40,), (-1,), (5,)])
def test_tar_tensors_that_lie_about_their_shape(write, tmp_path: Path, shape: tuple) -> None:
    tensor = write.Tensor(write.Storage(np.arange(4, dtype=np.float32), "11"), 0, shape, (1,))
    content = write.tar_bytes(write.tar_members({"w": tensor}, {"21": tensor}, {}))
    refuse(write, tmp_path / "net.pth", content, "does not fit its storage|impossible shape")


@pytest.mark.parametrize("view", [("11", -1, 4), ("11", 2, 3), ("11", 0, 2**62), ("99", 0, 1)])
def test_tar_views_that_leave_their_storage(write, tmp_path: Path, view: tuple) -> None:
    whole = write.Tensor(write.Storage(np.arange(4, dtype=np.float32), "11"), 0, (4,), (1,))
    piece = write.Tensor(write.Storage(np.arange(1, dtype=np.float32), "12"), 0, (1,), (1,))
    members = write.tar_members({"a": whole, "b": piece}, {"21": whole, "22": piece}, {"12": view})
    refuse(write, tmp_path / "net.pth", write.tar_bytes(members), "lies outside of it|names a wrong storage")


@pytest.mark.parametrize("count", [-1, 3, 5, 2**60])
def test_legacy_storages_that_lie_about_their_size(write, tmp_path: Path, count: int) -> None:
    tensor = write.Tensor(write.Storage(np.full(4, 1, np.float32), "11"), 0, (4,), (1,))
    write.save_legacy(tmp_path / "net.pth", {"w": tensor})
    content = (tmp_path / "net.pth").read_bytes()
    place = len(content) - 24
    assert content[place : place + 8] == struct.pack("<q", 4)
    content = content[:place] + struct.pack("<q", count) + content[place + 8 :]
    refuse(write, tmp_path / "net.pth", content, "elements, but its tensors expect 4")


def test_a_cut_legacy_file_is_incomplete(write, tmp_path: Path) -> None:
    tensor = write.Tensor(write.Storage(np.full(4, 1, np.float32), "11"), 0, (4,), (1,))
    write.save_legacy(tmp_path / "net.pth", {"w": tensor})
    content = (tmp_path / "net.pth").read_bytes()
    for size in range(1, len(content)):
        refuse(
            write,
            tmp_path / "cut.pth",
            content[:size],
            f"this file is incomplete: it ends after {size:,} bytes|is empty|begins",
        )


def npy(header: str, data: bytes, version: bytes = b"\1\0") -> bytes:
    text = header.encode()
    length = len(text).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + length + text + data


def npz(array: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("w.npy", array)
    return buffer.getvalue()


def header(descr: str = "'<f4'", shape: str = "(4,)", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (npy(header("'|O'"), bytes(32)), "of type '|O': expected numbers"),
        (npy(header("'<V4'"), bytes(16)), "expected numbers"),
        (npy(header("'<M8'"), bytes(32)), "expected numbers"),
        (npy(header("[('a', '<f4')]"), bytes(16)), "is not a .npy header"),
        (npy(header("__import__('os')"), bytes(16)), "is not a .npy header"),
        (npy(header(shape="(1099511627776,)"), bytes(16)), "needs 4,398,046,511,104 bytes, not 16"),
        (npy(header(shape="(" + "9" * 18 + ", " + "9" * 18 + ")"), bytes(16)), "impossible shape"),
        (npy(header(shape="(" + "9" * 500 + ",)"), bytes(16)), "not a tuple of lengths"),
        (npy(header(shape="(" + "9" * 5000 + ",)"), bytes(16)), "is not a .npy header"),
        (npy(header(shape="(" + "1," * 200 + ")"), bytes(4)), "claims 200 dimensions"),
        (npy(header(shape="(-4,)"), bytes(16)), "is not a .npy header"),
        (npy(header(shape="[4]"), bytes(16)), "is not a .npy header"),
        (npy(header(shape="(4 4)"), bytes(64)), "not a tuple of lengths"),
        (npy(header(fortran="1"), bytes(16)), "is not a .npy header"),
        (npy(header(), bytes(15)), "needs 16 bytes, not 15"),
        (npy(header(), bytes(17)), "needs 16 bytes, not 17"),
        (npy("{'descr': '<f4', 'descr': '<f4', 'shape': (4,), }", bytes(16)), "is not a .npy header"),
        (npy("(" * 20_000, b""), "is not a .npy header"),
        (npy("-" * 20_000 + "1", b""), "is not a .npy header"),
        (npy(header(), bytes(16), b"\7\0"), "does not begin as a .npy array"),
        (b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(64), "claims more bytes than there are"),
        (b"\x93NUM", "does not begin as a .npy array"),
        (b"", "does not begin as a .npy array"),
        (npy(header("'|b1'"), b"\0\1\2\1"), "neither 0 nor 1"),
    ],
)
def test_npz_arrays(write, tmp_path: Path, array: bytes, message: str) -> None:
    refuse(write, tmp_path / "net.npz", npz(array), message)


def test_an_npz_bomb_is_refused_by_what_it_claims(write, tmp_path: Path) -> None:
    bomb = npz(npy(header(shape="(50000000,)"), bytes(200_000_000)), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**20
    refuse(write, tmp_path / "net.npz", bomb, "compressed arrays claim 200,000,0.. bytes, over the 67,108,864")


def test_an_npz_bomb_that_claims_little_is_refused_by_what_comes_out(write, tmp_path: Path) -> None:
    bomb = npz(npy(header(shape="(50000000,)"), bytes(200_000_000)), zipfile.ZIP_DEFLATED)
    place = bomb.rindex(b"PK\1\2") + 24
    lying = bomb[:place] + struct.pack("<L", 1000) + bomb[place + 4 :]
    refuse(write, tmp_path / "net.npz", lying, "does not decompress to the 1,000 bytes announced")


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def line(dtype: object = "F32", shape: object = (4,), begin: object = 0, end: object = 16, **more) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (safetensors({"w": line(shape=[2**40])}, bytes(16)), "which is not its size"),
        (safetensors({"w": line(shape=[2**40], end=2**42)}, bytes(16)), "is incomplete: it ends after"),
        (safetensors({"w": line(shape=[2**62, 2**62], end=2**126)}, bytes(16)), "impossible shape"),
        (safetensors({"w": line(shape=[0, 2**60], end=0)}, b""), "impossible shape"),
        (safetensors({"w": line(shape=[1] * 40, end=4)}, bytes(4)), "claims 40 dimensions"),
        (safetensors({"w": line(shape=[-4], end=16)}, bytes(16)), "not a list of lengths"),
        (safetensors({"w": line(shape=[True] * 4, end=16)}, bytes(16)), "not a list of lengths"),
        (safetensors({"w": line(shape=4)}, bytes(16)), "not a list of lengths"),
        (safetensors({"w": line(begin=-16, end=0)}, bytes(16)), "not a begin and an end"),
        (safetensors({"w": line(begin=0.0)}, bytes(16)), "not a begin and an end"),
        (safetensors({"w": line(begin=16, end=32)}, bytes(32)), "begins at byte 16, expected 0"),
        (safetensors({"v": line(), "w": line(begin=8, end=24)}, bytes(24)), "begins at byte 8, expected 16"),
        (safetensors({f"w{i}": line() for i in range(1000)}, bytes(16)), "begins at byte 0, expected 16"),
        (safetensors({"w": line()}, bytes(17)), "1 bytes after its last tensor"),
        (safetensors({"w": line("F8_E4M3", end=4)}, bytes(4)), "of type 'F8_E4M3'"),
        (safetensors({"w": line(["F32"])}, bytes(16)), "expected one of F64"),
        (safetensors({"w": line("BOOL", end=4)}, b"\0\1\2\1"), "neither 0 nor 1"),
        (safetensors({"w": line(more=1)}, bytes(16)), "not described by"),
        (safetensors({"w": 1}), "not described by"),
        (safetensors(b'{"w": {}, "w": {}}'), "uses a name twice"),
        (safetensors(b'{"w":' * 100_000), "is not JSON"),
        (safetensors(b'{"w":' + b"[" * 4_000_000), "is not JSON"),
        (safetensors(b'{"w":' + b"9" * 100_000 + b"}"), "is not JSON|not described"),
        (safetensors(b"{\xff}"), "is not JSON"),
        (safetensors({}), "holds no tensors"),
        (safetensors({"__metadata__": {}}), "holds no tensors"),
        ((2**23).to_bytes(8, "little") + b"{}", "incomplete"),
        ((2**63).to_bytes(8, "little") + b"{}", "header claims"),
    ],
)
def test_safetensors(write, tmp_path: Path, content: bytes, message: str) -> None:
    refuse(write, tmp_path / "net.safetensors", content, message)
