"""Genuine files: torch's own, real networks, and interrupted downloads."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nbjax.errors import InputError
from nbjax.weights import read_checkpoint
from nbjax.weights.sources import efficientnet_lite0_file, promised_digits


@pytest.mark.parametrize(
    "name", ["zip.pth", "legacy.pth", "wrapped.pth", "data_parallel.pth", "parameters.pth", "expected.npz"]
)
def test_files_written_by_torch_hold_what_torch_put_in(shared: Path, name: str) -> None:
    with np.load(shared / "weights/good/expected.npz") as expected:
        found = read_checkpoint(shared / "weights/good" / name)
        assert list(found) == list(expected)
        for key, array in found.items():
            assert (array.dtype, array.shape) == (expected[key].dtype, expected[key].shape), key
            assert np.array_equal(array, expected[key]), key


def test_arrays_that_share_memory_cannot_be_written(shared: Path) -> None:
    found = read_checkpoint(shared / "weights/good/zip.pth")
    assert np.shares_memory(found["shared_a"], found["shared_b"])
    with pytest.raises(ValueError, match="read-only"):
        found["shared_a"][0, 0] = 1


def test_the_published_lite0_file_is_whole_and_has_its_known_shapes() -> None:
    found = read_checkpoint(efficientnet_lite0_file())
    assert len(found) == 296
    assert found["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert found["_fc.weight"].shape == (1000, 1280)
    assert all(np.isfinite(array).all() for array in found.values())
    assert min(array.min() for name, array in found.items() if name.endswith("running_var")) >= 0


def test_real_vgg16_features(shared: Path) -> None:
    path = shared / "weights/vgg16_features_oxford.npz"
    found = read_checkpoint(path)
    with np.load(path) as expected:
        assert list(found) == list(expected)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("name", "size", "reach"),
    [
        ("resnet18-5c106cde.first1048576bytes", "1,048,576", "46,822,653"),
        ("resnet50-19c8e357.first358400bytes", "358,400", "102,498,781"),
        ("resnet18-f37072fd.first579901bytes", "579,901", "directory"),
    ],
)
def test_an_interrupted_download_is_called_incomplete(shared: Path, name: str, size: str, reach: str) -> None:
    with pytest.raises(InputError) as caught:
        read_checkpoint(shared / "weights/truncated" / name)
    message = str(caught.value)
    assert name in message
    assert f"this file is incomplete: it ends after {size} bytes" in message
    assert reach in message
    assert f"not with the {promised_digits(name)} in its name; download or copy it again" in message


def test_a_file_under_a_published_name_is_checked_against_its_digits(shared: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "resnet18-f37072fd.pth"
    shutil.copy(shared / "weights/good/zip.pth", wrong)
    with pytest.raises(InputError, match="not with the f37072fd in its name; download it again, or rename it"):
        read_checkpoint(wrong)


@pytest.mark.parametrize(
    "name", ["run-48213377.pth", "net-0123abcd.pth", "resnet18-48213377.pth", "net-20240131.pth", "job-deadbeef.ckpt"]
)
def test_digits_in_any_other_name_are_a_jobs_number(shared: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(shared / "weights/good/zip.pth", tmp_path / name)
    assert len(read_checkpoint(tmp_path / name)) == 14


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        ("resnet18-f37072fd.pth", "f37072fd"),
        ("resnet18-f37072fd (1).pth", "f37072fd"),
        ("resnet18-f37072fd.pth.part", "f37072fd"),
        ("resnet18-5c106cde.pth", "5c106cde"),
        ("vgg13-19584684.pth", "19584684"),
        ("efficientnet-lite0-57934424.pth", "57934424"),
        ("inception_v3_google-0cc3c7bd.pth", "0cc3c7bd"),
        ("finetuned-20240131.pth", None),
        ("my-resnet18-f37072fd.pth", None),
        ("resnet18-f37072fda.pth", None),
        ("resnet18.pth", None),
        ("resnet18-F37072FD.pth", None),
    ],
)
def test_promised_digits(name: str, digits: str | None) -> None:
    assert promised_digits(name) == digits


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is incomplete: it is empty"),
        (b"<!DOCTYPE html><html>", "begins with b'<!DOCTYPE ht'"),
        (b"\x80\x02K\x01.", "not one that torch.save wrote"),
        (b"\x80\x02\x8a", "it ends after 3 bytes, before its first tensor"),
        (b"\x89HDF\r\n\x1a\n", "as none of"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_missing_file_and_a_folder_are_clear_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(InputError, match="there is no such file"):
            read_checkpoint(path)


def test_reading_imports_no_framework(shared: Path) -> None:
    program = (
        "import sys; from nbjax.weights import read_checkpoint; "
        f"print(len(read_checkpoint({str(shared / 'weights/good/zip.pth')!r}))); "
        "print({'torch', 'tensorflow', 'jax', 'flax', 'orbax'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["14", "set()"]
