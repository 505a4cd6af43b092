"""Tables of patches and their splits: a wrong one never ends in "0 findings"."""

import csv

import PIL.Image
import pytest

from nbjax.errors import InputError
from nbjax.partition.patch_table import COLUMNS, check_places, read_patch_table, shared_slides


def rows(**changes):
    """Two slides a split, four patches each; `changes` maps a row's number to what differs there."""
    splits = ("train", "train", "validation", "validation", "test", "test")
    return [
        dict(zip(COLUMNS, (f"A/s{number}.png", f"P{number}", "A", x, y, split), strict=True))
        | changes.get(f"row{4 * number + place}", {})
        for number, split in enumerate(splits)
        for place, (x, y) in enumerate(((0, 0), (250, 0), (0, 250), (250, 250)))
    ]


def written(tmp_path, rows):
    with (tmp_path / "patches.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "patches.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    (folder / "A").mkdir()
    for number in range(6):
        PIL.Image.new("RGB", (500, 520), (90, 60, 120)).save(folder / f"A/s{number}.png")
    return folder


def test_a_good_table_passes(folder, tmp_path):
    patches = read_patch_table(written(tmp_path, rows(row0={"family": "07"}, row1={"family": "07"})))
    check_places(patches, folder, 250)
    assert patches.column_names == list(COLUMNS)
    assert patches.num_rows == 24
    assert patches["family"].to_pylist()[:2] == ["07", "07"]
    assert shared_slides(patches) == ["A/s0.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": -1}, r"row 6 \(line 7\) has -1 in the column x; expected a pixel of the slide"),
        ({"x": ""}, r"row 6 \(line 7\) has nothing in the column x"),
        ({"y": "1.5"}, "has '1.5' in the column y"),
        ({"split": "val"}, "has 'val' in the column split; expected train, validation, test"),
        ({"split": "Train"}, "has 'Train' in the column split"),
        ({"label": "a"}, "has both 'A' and 'a'"),
        ({"x": 0, "y": 0}, r"row 5 \(line 6\) and row 6 \(line 7\) are one patch .A/s1.png at x=0, y=0, train."),
        ({"slide": ""}, "nothing in the column slide"),
    ],
)
def test_rows_that_are_no_patch(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_patch_table(written(tmp_path, rows(row5=change)))


def test_a_patch_in_two_splits_is_left_to_the_audit(tmp_path):
    change = {"slide": "A/s0.png", "x": 0, "y": 0, "split": "test"}
    assert read_patch_table(written(tmp_path, rows(row9=change))).num_rows == 24


def test_one_split_alone(tmp_path):
    with pytest.raises(InputError, match="every patch is in train"):
        read_patch_table(written(tmp_path, rows()[:8]))


@pytest.mark.parametrize(
    ("change", "size", "message"),
    [
        (
            {"x": 350},
            250,
            r"s1.png: the patch at x=350 with an edge of 250 pixels reaches beyond the slide, which has 500x520",
        ),
        ({"y": 271}, 250, "the patch at y=271"),
        ({"x": 10**14}, 250, "the patch at x=100000000000000"),
        ({}, 251, "--patch_size"),
        ({"slide": "s1"}, 250, "there is no slide s1; "),
        ({"slide": "../A/s1.png"}, 250, "there is no slide ../A/s1.png"),
    ],
)
def test_patches_outside_their_slides(change, size, message, folder, tmp_path):
    with pytest.raises(InputError, match=message):
        check_places(read_patch_table(written(tmp_path, rows(row4=change))), folder, size)


def test_the_absolute_path_of_a_slide_is_none_of_the_folder(folder, tmp_path):
    change = {"slide": str(folder / "A/s1.png")}
    with pytest.raises(InputError, match="there is no slide /"):
        check_places(read_patch_table(written(tmp_path, rows(row4=change))), folder, 250)
    with pytest.raises(InputError, match="no such folder of slides"):
        check_places(read_patch_table(written(tmp_path, rows())), folder / "none", 250)
