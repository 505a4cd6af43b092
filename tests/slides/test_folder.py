import os
import socket

import numpy as np
import PIL.Image
import pytest

from nbjax.errors import InputError
from nbjax.slides import find_slides, left_out_sentences


@pytest.fixture
def folder(tmp_path):
    """A folder of two labels with a slide each, beside which tests put what they need."""
    for name in ("D/a.png", "PD/b.png"):
        put(tmp_path / "slides" / name)
    return tmp_path / "slides"


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(path)


def names(slides):
    return [slide.name for slide in slides]


def test_label_and_family_come_from_the_folders(folder):
    for name in ("PD/patient 1/b.v2.png", "PD/patient 1/c.jpg"):
        put(folder / name)
    (folder / "D/notes.txt").write_text("notes", encoding="utf-8")
    (folder / "D/.DS_Store").write_text("", encoding="utf-8")
    slides, left_out = find_slides(folder)
    assert [tuple(slide) for slide in slides] == [
        ("D/a.png", "D", "D/a"),
        ("PD/b.png", "PD", "PD/b"),
        ("PD/patient 1/b.v2.png", "PD", "patient 1"),
        ("PD/patient 1/c.jpg", "PD", "patient 1"),
    ]
    assert left_out == {"D/notes.txt": "not a slide"}


def test_linked_folders_are_entered_and_loops_end(folder, tmp_path):
    put(tmp_path / "elsewhere/c.png")
    put(tmp_path / "label/d.png")
    (folder / "PD/patient 2").symlink_to(tmp_path / "elsewhere")
    (folder / "C").symlink_to(tmp_path / "label")
    (folder / "D/round").symlink_to(folder)
    (folder / "A").symlink_to(folder / "D")
    slides, left_out = find_slides(folder)
    # A real folder's slides keep the names of their real place, though A comes first.
    assert names(slides) == ["C/d.png", "D/a.png", "PD/b.png", "PD/patient 2/c.png"]
    assert left_out == dict.fromkeys(("A", "D/round"), "a link to a folder that was read already")


def test_what_cannot_be_a_slide_is_named_and_never_opened(folder):
    os.mkfifo(folder / "D/pipe.png")
    (folder / "D/zero.png").symlink_to("/dev/zero")
    (folder / "D/gone.png").symlink_to("/nowhere/x.png")
    (folder / "D/itself.png").symlink_to("itself.png")
    (folder / "PD/.hidden.png").write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(folder, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{here}/s.png")
        os.close(here)
        slides, left_out = find_slides(folder)
    assert names(slides) == ["D/a.png", "PD/b.png"]
    assert left_out == {
        "D/pipe.png": "a pipe, socket or device",
        "D/zero.png": "a pipe, socket or device",
        "s.png": "a pipe, socket or device",
        "D/gone.png": "a link that leads nowhere",
        "D/itself.png": "a link that leads nowhere",
        "PD/.hidden.png": "a hidden file",
    }
    assert "left out, a link that leads nowhere (2): D/gone.png, D/itself.png" in left_out_sentences(left_out)


@pytest.mark.parametrize("name", ["@eaDir", "__MACOSX", "$RECYCLE.BIN", "lost+found", "System Volume Information"])
def test_folders_of_the_system_are_passed_over_and_said(folder, name):
    put(folder / "D" / name / "a.png" / "SYNOPHOTO_THUMB_M.jpg")
    put(folder / ".Trash" / "x.png")
    slides, left_out = find_slides(folder)
    assert names(slides) == ["D/a.png", "PD/b.png"]
    assert left_out == {f"D/{name}": "a folder of the system's", ".Trash": "a hidden folder"}


def test_a_name_that_is_not_utf8_is_printed_and_refused(folder):
    name = os.fsdecode(b"pr\xe9parat 1.png")
    (folder / "D/a.png").rename(folder / "D" / name)
    if name.isprintable():
        # In a Latin-1 locale these bytes are a name like any other.
        assert f"D/{name}" in {slide.name for slide in find_slides(folder)[0]}
        return
    with pytest.raises(InputError, match=r"D/pr\\xe9parat 1\.png: the name is not UTF-8") as refused:
        find_slides(folder)
    str(refused.value).encode("utf-8")


def test_wrong_places_are_named(folder, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_slides(tmp_path / "missing")
    (tmp_path / "empty/D").mkdir(parents=True)
    (tmp_path / "empty/D/gone.png").symlink_to("/nowhere")
    with pytest.raises(InputError, match=r"found no slide.*leads nowhere \(1\): D/gone\.png"):
        find_slides(tmp_path / "empty")
    put(folder / "slide.png")
    put(folder / "D/1/2/deep.png")
    with pytest.raises(
        InputError, match=r"slides/D/1/2/deep\.png, slide\.png: a slide's place must be <label>/<slide>"
    ):
        find_slides(folder)


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ("A/e\u0301/1.png", "A/\u00e9/2.png", "family"),
        ("A/p 1/1.png", "B/p 1 /2.png", "family"),
        ("A/1.png", "A /2.png", "label"),
        ("A/p\u200b/1.png", "B/p/2.png", "family"),
    ],
)
def test_two_names_that_look_the_same_are_refused(folder, first, second, what):
    put(folder / first)
    put(folder / second)
    with pytest.raises(InputError, match=rf"each {what} has a name of its own, and .* look the same"):
        find_slides(folder)


def test_a_label_without_a_slide_is_said(folder):
    (folder / "C/patient").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    _, left_out = find_slides(folder)
    assert left_out == {"C": "a folder without a slide", ".hidden": "a hidden folder"}
