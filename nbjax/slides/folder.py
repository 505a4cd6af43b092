"""Find the slides of a labelled folder, and say what was left out."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nbjax.english import listed
from nbjax.errors import InputError
from nbjax.files import printable
from nbjax.table import looks_of

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
OPENSLIDE_SUFFIXES = (".svs", ".ndpi", ".scn", ".mrxs", ".vms", ".bif")
SUFFIXES = IMAGE_SUFFIXES + OPENSLIDE_SUFFIXES
# What network drives and operating systems put beside a user's files, in small letters: thumbnails, copies, waste.
SYSTEM_FOLDERS = frozenset(
    {
        "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "__macosx", "lost+found", "$recycle.bin",
        "recycler", "system volume information", "network trash folder", "temporary items",
    }
)  # fmt: skip
NOT_A_SLIDE = "not a slide"


class SlideFile(NamedTuple):
    """Where a slide lies and what is known of it.

    Attributes:
        name: path relative to the folder, with `/`, the slide's identifier everywhere.
        label: name of the class, the first folder.
        family: what must stay together: `<label>/<slide>` without a family folder, else the family folder's name. A
            family folder of the same name under two labels is one family with two labels.
    """

    name: str
    label: str
    family: str


def find_slides(folder: str | Path) -> tuple[list[SlideFile], dict[str, str]]:
    """Finds `<label>/<slide>.<ext>` and `<label>/<family>/<slide>.<ext>` below `folder`.

    Linked folders are entered, each real folder once. Only regular files are slides; pipes and devices are not touched.

    Returns:
        The slides sorted by name; and what was left out, by name, with the reason, as `left_out_sentences` says it.
        Hidden files that could not be slides are not mentioned.

    Raises:
        InputError: the folder is missing, holds no slide, a slide lies where no label can be read from its place, or
            its name is not UTF-8, two labels or two families have names that look the same.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "this is a file" if folder.exists() else "there is no such folder"
        raise InputError(f"{printable(folder)}: {what}; give the folder that holds one folder of slides per label.")
    names, left_out = [], {}
    for name, reason in _walk(folder):
        if reason:
            left_out[printable(name)] = reason
        else:
            names.append(name)
    left_out |= _empty_labels(folder, names, left_out)
    _check_places(folder, names)
    if not names:
        raise InputError(
            f"{printable(folder)}: found no slide; expected <label>/<slide> or <label>/<family>/<slide> with one of "
            f"{', '.join(SUFFIXES)}{''.join(f'; {said}' for said in left_out_sentences(left_out))}."
        )
    files = [_slide_file(name) for name in sorted(names)]
    for what in ("label", "family"):
        _check_looks(folder, what, sorted({getattr(file, what) for file in files}))
    return files, left_out


def _check_looks(folder: Path, what: str, names: list[str]) -> None:
    """Refuses two labels, or two families, that a reader takes for one."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(looks_of(name), name)
        if other != name:
            raise InputError(
                f"{printable(folder)}: each {what} has a name of its own, and {other!a} and {name!a} look the same; "
                "put them into one folder where they are one, else give one another name."
            )


def _empty_labels(folder: Path, names: list[str], left_out: dict[str, str]) -> dict[str, str]:
    """Folders that would be a label's and hold nothing that was found or left out."""
    mentioned = {printable(name).split("/")[0] for name in names} | {name.split("/")[0] for name in left_out}
    with os.scandir(folder) as scan:
        labels = sorted(printable(entry.name) for entry in scan if _why_left_out(entry) is None)
    return {label: "a folder without a slide" for label in labels if label not in mentioned}


def _slide_file(name: str) -> SlideFile:
    label, *between, _ = name.split("/")
    return SlideFile(name, label, between[0] if between else f"{label}/{Path(name).stem}")


def _check_places(folder: Path, names: list[str]) -> None:
    """Raises InputError that names every slide whose place or name cannot be used."""
    misplaced = [printable(name) for name in sorted(names) if name.count("/") not in (1, 2)]
    if misplaced:
        raise InputError(
            f"{listed([printable(folder / misplaced[0]), *misplaced[1:]], 3)}: a slide's place must be <label>/<slide> "
            f"or <label>/<family>/<slide> below {printable(folder)}; move it there."
        )
    foreign = [printable(name) for name in sorted(names) if not _is_utf8(name)]
    if foreign:
        raise InputError(
            f"{listed([printable(folder / foreign[0]), *foreign[1:]])}: the name is not UTF-8, so no table can hold "
            "it; rename the file or its folder."
        )


def _is_utf8(name: str) -> bool:
    # Python keeps bytes of a name that are not UTF-8 as lone surrogates.
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file below a folder, with the reason why it is left out, empty for a slide; folders that are left out
    too.
    """
    entered: set[tuple[int, int]] = set()
    # Links wait until all real folders were entered, so that a slide gets the name of its real place where it has one.
    folders, linked = [""], list[str]()
    while folders or linked:
        place = folders.pop() if folders else linked.pop(0)
        try:
            status = (folder / place).stat()
            with os.scandir(folder / place) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            yield place or ".", f"a folder that cannot be read ({error.strerror})"
            continue
        identity = (status.st_dev, status.st_ino)
        if identity in entered:
            yield place, "a link to a folder that was read already"
            continue
        entered.add(identity)
        for entry in entries:
            name = f"{place}/{entry.name}" if place else entry.name
            reason = _why_left_out(entry)
            if reason is None:
                (linked if entry.is_symlink() else folders).append(name)
            elif reason != NOT_A_SLIDE or not entry.name.startswith("."):
                yield name, reason


def _why_left_out(entry: os.DirEntry[str]) -> str | None:
    """The reason to leave a file or folder out; empty for a slide, None for a folder to enter."""
    could_be_a_slide = Path(entry.name).suffix.lower() in SUFFIXES
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        return "a link that leads nowhere" if entry.is_symlink() else f"a file that cannot be read ({error.strerror})"
    if stat.S_ISDIR(mode):
        if entry.name.startswith("."):
            return "a hidden folder"
        return "a folder of the system's" if entry.name.lower() in SYSTEM_FOLDERS else None
    if not could_be_a_slide:
        return NOT_A_SLIDE
    if entry.name.startswith("."):
        return "a hidden file"
    return "" if stat.S_ISREG(mode) else "a pipe, socket or device"


def left_out_sentences(left_out: dict[str, str]) -> list[str]:
    """One sentence a reason, with the count and the first names."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        by_reason.setdefault(reason, []).append(name)
    return [f"left out, {reason} ({len(names)}): {listed(names)}" for reason, names in by_reason.items()]
