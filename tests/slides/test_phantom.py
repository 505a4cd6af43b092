import dataclasses
import os

import numpy as np
import PIL.Image
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from nbjax.errors import InputError
from nbjax.slides import Tiling, tile_folder
from nbjax.slides.phantom import NOTE, PAPER, SMALL, PhantomConfig, phantom_sizes, phantom_slide, write_phantom

TINY = PhantomConfig(
    slides=(("PD", 3), ("D", 2)),
    shares=((0.5,), (0.6,)),
    smallest=(260, 300),
    largest=(300, 420),
)
SQUARES = PhantomConfig(
    slides=(("PD", 8), ("D", 8)), shares=((0.125,), (0.125,)), smallest=(500, 500), largest=(500, 500)
)


@pytest.fixture(scope="module")
def textbook():
    """Label to its slides of 500x500 pixels without overlap."""
    config = dataclasses.replace(SQUARES, overlap=0.0)
    return {label: [phantom_slide(config, label, index) for index in range(8)] for label in ("PD", "D")}


def test_a_slide_is_the_same_twice_and_changes_with_seed_index_and_overlap():
    slide = phantom_slide(TINY, "PD", 0)
    assert slide.dtype == np.uint8
    assert slide.shape == (300, 420, 3)
    np.testing.assert_array_equal(slide, phantom_slide(TINY, "PD", 0))
    for change in ({"seed": 1}, {"overlap": 0.9}):
        assert np.any(slide != phantom_slide(dataclasses.replace(TINY, **change), "PD", 0)), change
    assert np.any(slide[:260, :300] != phantom_slide(TINY, "PD", 2)[:260, :300])


def test_a_slide_does_not_depend_on_which_others_exist():
    fewer = dataclasses.replace(TINY, slides=(("D", 1),), shares=((0.6,),))
    np.testing.assert_array_equal(phantom_slide(TINY, "D", 0), phantom_slide(fewer, "D", 0))
    more = dataclasses.replace(TINY, slides=(("PD", 3), ("D", 9)))
    np.testing.assert_array_equal(phantom_slide(TINY, "PD", 1), phantom_slide(more, "PD", 1))


def test_paper_has_the_slides_and_pixels_of_the_cohort():
    # Expected numbers: shared/paper/results.json, `dataset`.
    sizes = phantom_sizes(PAPER)
    assert len(sizes) == 61
    assert (min(s.height for s in sizes), min(s.width for s in sizes)) == (241, 321)
    assert ("PD", 241, 321) in {(s.label, s.height, s.width) for s in sizes}
    assert ("D", 3000, 4000) in {(s.label, s.height, s.width) for s in sizes}
    pixels = sum(s.height * s.width for s in sizes)
    assert pixels == pytest.approx(116_077_948, rel=0.005)
    patches = {
        label: [(s.height // 250) * (s.width // 250) for s in sizes if s.label == label] for label in ("PD", "D")
    }
    assert {label: np.count_nonzero(counts) for label, counts in patches.items()} == {"PD": 44, "D": 16}
    lost_at_borders = 1 - sum(map(sum, patches.values())) * 62_500 / pixels
    assert lost_at_borders == pytest.approx(0.0253, abs=0.005)
    assert max(patches["D"]) / sum(patches["D"]) == pytest.approx(0.3, abs=0.05)
    assert max(patches["PD"]) / sum(patches["PD"]) == pytest.approx(0.171, abs=0.02)


def test_small_has_about_three_hundred_patches_and_loses_border_pixels():
    sizes = phantom_sizes(SMALL)
    assert [s.label for s in sizes] == ["PD"] * 12 + ["D"] * 12
    assert len({s.name for s in sizes}) == 24
    assert 250 <= sum((s.height // 250) * (s.width // 250) for s in sizes) <= 400
    assert any(s.width % 250 or s.height % 250 for s in sizes)


@given(
    counts=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    first=st.floats(0.02, 1),
    small=st.integers(32, 900),
    large=st.integers(900, 5000),
    seed=st.integers(0, 2**31),
)
def test_sizes_stay_within_their_limits_and_each_label_begins_with_the_largest(counts, first, small, large, seed):
    slides = tuple(zip(("D", "PD"), counts, strict=True))
    config = PhantomConfig(
        slides=slides, shares=((first,), (first,)), smallest=(small, small), largest=(large, large), seed=seed
    )
    sizes = phantom_sizes(config)
    assert len(sizes) == sum(counts)
    assert all(small <= side <= large for s in sizes for side in (s.height, s.width))
    for label in ("D", "PD"):
        assert next((s.height, s.width) for s in sizes if s.label == label) == (large, large)


def stained_pixels(slide):
    return -np.log10((slide + 1.0) / 256).mean(-1) > 0.05


def nuclear_share(slide):
    """Share of the stained pixels that are dark: nuclei absorb red, eosin hardly does."""
    red = scipy.ndimage.gaussian_filter(slide[..., 0].astype(float), 1)
    stained = stained_pixels(slide)
    light, dark = np.percentile(red[stained], [99, 1])
    return np.mean(red[stained] < (light + dark) / 2)


def test_textbook_labels_differ_in_nuclear_share(textbook):
    shares = {label: [nuclear_share(slide) for slide in slides] for label, slides in textbook.items()}
    assert np.median(shares["PD"]) > 0.3
    assert np.median(shares["D"]) < 0.2
    assert min(shares["PD"]) > max(shares["D"])


def test_full_overlap_draws_both_labels_from_one_distribution():
    # Averages over slides: the nuclear share spans about 0.05 to 0.45, so a mean of eight has a standard error of 0.05.
    config = dataclasses.replace(SQUARES, smallest=(300, 300), largest=(300, 300), overlap=1.0)
    means = {
        label: np.mean([nuclear_share(phantom_slide(config, label, index)) for index in range(8)])
        for label in ("PD", "D")
    }
    assert abs(means["PD"] - means["D"]) < 0.12


def test_slides_differ_in_colour_more_than_the_patches_of_a_slide(textbook):
    for label, slides in textbook.items():
        means, variances = [], []
        for slide in slides:
            quarters = [slide[y : y + 250, x : x + 250] for y in (0, 250) for x in (0, 250)]
            colours = [quarter.mean((0, 1)) for quarter in quarters if stained_pixels(quarter).mean() > 0.9]
            if len(colours) >= 2:
                means.append(np.mean(colours, axis=0))
                variances.append(np.var(colours, axis=0, ddof=1))
        assert len(means) >= 4
        assert np.var(means, axis=0, ddof=1).sum() > 1.5 * np.mean(variances, axis=0).sum(), label


def test_slides_look_stained(textbook):
    for slides in textbook.values():
        for slide in slides:
            red, green, blue = slide[slide.min(-1) < 200].mean(0)
            assert green < red, "eosin and haematoxylin absorb green most"
            assert green < blue
    # Glass is near white, and counts as unstained.
    brightest = np.stack([np.percentile(slide, 99.5, axis=(0, 1)) for slides in textbook.values() for slide in slides])
    assert np.all(brightest > 215)


def test_a_written_phantom_is_tiled_resumed_and_reused(tmp_path):
    folder = tmp_path / "phantom"
    seen = []

    def progress(slides):
        for slide in slides:
            seen.append(slide.name)
            yield slide

    paths = write_phantom(TINY, folder, progress)
    assert seen == ["PD-001", "PD-002", "PD-003", "D-001", "D-002"]
    assert [path.relative_to(folder).as_posix() for path in paths][3:] == ["D/D-001.png", "D/D-002.png"]
    note = (folder / NOTE).read_text(encoding="utf-8")
    assert "no patient" in note
    assert '"overlap": 0.25' in note
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(paths[4])), phantom_slide(TINY, "D", 1))

    manifest, ignored = tile_folder(folder, Tiling(minimum_tissue=0.0))
    assert ignored == {NOTE: "not a slide"}
    assert set(manifest.table["label"].to_pylist()) == {"PD", "D"}
    assert manifest.table.num_rows == 5

    os.utime(paths[0], (1, 1))
    paths[1].unlink()
    assert write_phantom(TINY, folder) == paths
    assert paths[0].stat().st_mtime == 1
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(paths[1])), phantom_slide(TINY, "PD", 1))
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == sorted([NOTE, *(p.name for p in paths)])


def test_an_interrupted_phantom_holds_whole_slides_only(tmp_path):
    def interrupt(slides):
        yield slides[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantom(TINY, tmp_path / "phantom", interrupt)
    left = sorted(p for p in (tmp_path / "phantom").rglob("*") if p.is_file())
    assert (tmp_path / "phantom" / NOTE) in left
    for path in left[:-1]:
        drawn = phantom_slide(TINY, path.parent.name, int(path.stem[-3:]) - 1)
        np.testing.assert_array_equal(np.asarray(PIL.Image.open(path)), drawn)


def test_a_folder_of_something_else_is_refused(tmp_path):
    folder = tmp_path / "phantom"
    write_phantom(dataclasses.replace(TINY, slides=(("D", 1),), shares=((1.0,),)), folder)
    with pytest.raises(InputError, match="holds a phantom of another config"):
        write_phantom(TINY, folder)
    with pytest.raises(InputError, match="holds files but no PHANTOM"):
        write_phantom(TINY, folder / "D")
    with pytest.raises(InputError, match="is a file"):
        write_phantom(TINY, folder / NOTE)


def test_a_foreign_slide_among_the_phantoms_is_refused(tmp_path):
    config = dataclasses.replace(TINY, slides=(("D", 1),), shares=((1.0,),))
    write_phantom(config, tmp_path)
    (tmp_path / "D" / "mine.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"D/mine\.png, which is not of this phantom"):
        write_phantom(config, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slides": (("PD", 3), ("benign", 2))}, "slides.*each label once, out of PD, D"),
        ({"slides": (("PD", 3), ("PD", 2))}, "slides.*each label once"),
        ({"slides": ()}, "slides.*each label once"),
        ({"slides": (("PD", 3), ("D", 0))}, "slides.*at least 1 slide"),
        ({"slides": {"PD": 3, "D": 2}}, r"slides.*expected \(text, a whole number\), or several"),
        ({"shares": ((0.5,),)}, "shares.*one tuple of shares for each"),
        ({"shares": ((0.5,), ())}, "shares.*falling positive numbers for label D"),
        ({"shares": ((0.2, 0.3), (0.6,))}, "shares.*falling positive numbers for label PD"),
        ({"shares": ((0.5, 0.0), (0.6,))}, "shares.*falling positive numbers"),
        ({"shares": ((0.5,), (0.3, 0.3, 0.3))}, "shares.*at most 2 numbers for label D"),
        ({"shares": ((0.5,), (0.6, 0.6))}, "shares.*a sum of at most 1"),
        ({"smallest": (16, 300)}, "smallest.*32 to 16000"),
        ({"largest": (300, 20_000)}, "largest.*32 to 16000"),
        ({"smallest": (301, 300)}, "smallest.*no side longer"),
        ({"overlap": 1.1}, "overlap.*found 1.1; expected a number in"),
        ({"overlap": float("nan")}, "overlap.*a number in"),
        ({"seed": -1}, "seed.*0 or more"),
        ({"seed": 1.5}, "seed.*expected a whole number"),
    ],
)
def test_a_bad_config_is_one_sentence(change, message):
    with pytest.raises(InputError, match=message) as caught:
        dataclasses.replace(TINY, **change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("label", "index"), [("PD", 3), ("D", -1), ("benign", 0)])
def test_a_slide_that_is_not_there_is_an_error(label, index):
    with pytest.raises(InputError, match=f"slide {index} of label '{label}' is not in the phantom"):
        phantom_slide(TINY, label, index)
