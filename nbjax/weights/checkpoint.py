"""One way in for all checkpoint files: .pth and .pt of every age, .safetensors, .npz."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from nbjax.errors import InputError
from nbjax.files import sha256
from nbjax.weights.archive import read_directory
from nbjax.weights.npz import MAGIC, read_npz
from nbjax.weights.raw import IncompleteError, Raw, open_raw
from nbjax.weights.safetensors import read_safetensors
from nbjax.weights.sources import promised_digits
from nbjax.weights.tensors import brief
from nbjax.weights.torch_legacy import read_torch_legacy
from nbjax.weights.torch_tar import read_torch_tar
from nbjax.weights.torch_zip import read_torch_zip

_PREFIX = "module."


class Checkpoint(NamedTuple):
    """What a file holds.

    Attributes:
        arrays: by name, read-only.
        under: the key in the file that they lie under, with dots between several; empty where that is its top.
    """

    arrays: dict[str, np.ndarray]
    under: str


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Named arrays of a checkpoint file; no code in it is executed, and no memory spent on what is not there.

    The layout is recognised by the content: torch's zip, legacy and tar layouts, safetensors, npz. Of a torch file the
    state_dict is read, at the top or under a key (`open_checkpoint` says which); what lies beside it is left alone.
    Where every name begins with `module.`, as `DataParallel` leaves them, that prefix is taken off once; where only
    some do, all names stay.

    A file under the name of a published one, which ends in eight digits of its sha256 (`resnet18-f37072fd.pth`), is
    checked against them.

    Args:
        path: of the file.

    Returns:
        Read-only arrays by name, in the file's order: bfloat16 as float32, every other type as it is (half as float16).
        Arrays that share memory in the file share it here; a view of a storage stays a view.

    Raises:
        InputError: whatever is wrong with the file; the message names it.
        OSError: the system refuses to open or read it.
    """
    return open_checkpoint(path).arrays


def open_checkpoint(path: str | Path) -> Checkpoint:
    """As `read_checkpoint`, with where in the file the arrays lie."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give the path of a .pth, .pt, .safetensors or .npz file")
    try:
        with path.open("rb") as file:
            layout = _read_layout(open_raw(file))
        if not layout.arrays:
            raise InputError("it holds no tensors")
    except IncompleteError as error:
        raise InputError(
            f"{path}: this file is incomplete: {error}; {_mismatch(path)}download or copy it again"
        ) from None
    except InputError as error:
        note = _mismatch(path)
        raise InputError(f"{path}: {error}{f'; {note}download it again' if note else ''}") from None
    except MemoryError:
        raise InputError(
            f"{path}: there is not enough memory to read this file of {path.stat().st_size:,} bytes"
        ) from None
    if note := _mismatch(path):
        raise InputError(f"{path}: {note}download it again, or rename it if it was changed on purpose")
    return layout._replace(arrays=_without_prefix(layout.arrays))


def _read_layout(raw: Raw) -> Checkpoint:
    head = raw.read(0, min(raw.size, 512), "its beginning").tobytes()
    if not head:
        raise IncompleteError("it is empty")
    if head.startswith(b"PK\x03\x04"):
        entries = read_directory(raw)
        if any(name.endswith("/data.pkl") for name in entries):
            return Checkpoint(*read_torch_zip(raw, entries))
        return Checkpoint(read_npz(raw, entries), "")
    if head[257:262] == b"ustar":
        return Checkpoint(*read_torch_tar(raw))
    if head.startswith(MAGIC):
        raise InputError("it is a single .npy array, not a checkpoint of named ones: save them with numpy.savez")
    if head[8:9] == b"{":
        return Checkpoint(read_safetensors(raw), "")
    if head.startswith(b"\x80"):
        return Checkpoint(*read_torch_legacy(raw))
    raise InputError(f"it begins with {brief(head[:12])}, as none of .pth, .pt, .safetensors and .npz files does")


def _without_prefix(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if all(name.startswith(_PREFIX) for name in arrays):
        return {name.removeprefix(_PREFIX): array for name, array in arrays.items()}
    return arrays


def _mismatch(path: Path) -> str:
    """A clause where the file's sha256 is not what its name promises, else nothing."""
    digits = promised_digits(path.name)
    if digits is None:
        return ""
    digest = sha256(path)[:8]
    return "" if digest == digits else f"its sha256 begins with {digest}, not with the {digits} in its name; "
