import csv
import io
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbjax.slides import MINIMUM_TISSUE, TISSUE_RULE, Tiling, open_slide, tile_folder, tissue_fraction

GOLDEN = Path(__file__).parents[1] / "golden/tissue.csv"
GLASS = (238, 236, 240)


def texture(height, width, seed=0):
    """Blobs of two stains: uint8 `[height, width, 3]`, no pixel as bright as glass."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 2, (height // 12 + 2, width // 12 + 2)).astype(np.uint8) * 255
    blobs = (
        np.asarray(PIL.Image.fromarray(small).resize((width, height), PIL.Image.Resampling.BICUBIC))[..., None] / 255
    )
    pixels = (1 - blobs) * (225, 170, 200) + blobs * (90, 60, 140) + rng.normal(0, 3, (height, width, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def noisy(colour, size=250, deviation=2.0, seed=0):
    noise = np.random.default_rng(seed).normal(0, deviation, (size, size, 3))
    return np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("half", ["tuning", "other"])
def test_patches_judged_by_eye(shared, half):
    # Where the labels come from: benchmarks/tissue.md. Constants were chosen on the half called tuning.
    rows = [
        row
        for row in csv.DictReader(GOLDEN.read_text(encoding="utf-8").splitlines())
        if row["half"] == half and row["label"] != "unsure"
    ]
    right, wrong = {"tissue": 0, "glass": 0}, []
    for name in sorted({row["slide"] for row in rows}):
        with open_slide(shared / "slides" / name) as slide:
            for row in (row for row in rows if row["slide"] == name):
                x, y, size = int(row["x"]), int(row["y"]), int(row["size"])
                kept = tissue_fraction(slide.read(x, y, size, size)) >= MINIMUM_TISSUE
                if kept == (row["label"] == "tissue"):
                    right[row["label"]] += 1
                else:
                    wrong.append((name, x, y, size, row["label"]))
    assert min(right.values()) >= 20
    kept_glass = sum(label == "glass" for *_, label in wrong)
    assert right["tissue"] / (right["tissue"] + kept_glass) > 0.99, wrong
    assert right["tissue"] / (right["tissue"] + len(wrong) - kept_glass) > 0.99, wrong


@given(st.tuples(*[st.integers(0, 255)] * 3), st.integers(1, 60))
def test_one_colour_is_no_tissue(colour, size):
    assert tissue_fraction(np.full((size, size, 3), colour, np.uint8)) == 0


@pytest.mark.parametrize(
    "colour",
    [
        *((255, 255, 255), (236, 226, 213), (205, 225, 235), (215, 235, 200), (128, 128, 128), (12, 10, 14)),
        *((20, 120, 60), (30, 50, 160), (28, 26, 30), (250, 20, 30)),
    ],
)
def test_noise_and_compression_on_one_colour_are_no_tissue(colour):
    for deviation in (1, 3, 6):
        pixels = noisy(colour, deviation=deviation)
        assert tissue_fraction(pixels) < MINIMUM_TISSUE / 2
        file = io.BytesIO()
        PIL.Image.fromarray(pixels).save(file, format="JPEG", quality=40)
        assert tissue_fraction(np.asarray(PIL.Image.open(file))) < MINIMUM_TISSUE


def test_shade_is_no_tissue():
    y, x = np.mgrid[:250, :250]
    for softness in (1, 10, 40):
        eyepiece = 1 / (1 + np.exp((np.hypot(x - 300, y - 300) - 300) / softness))
        pixels = 5 + eyepiece[..., None] * np.array([230, 228, 215])
        assert tissue_fraction(noisy(pixels)) < MINIMUM_TISSUE
    assert tissue_fraction(noisy(np.linspace(60, 250, 250)[:, None, None] * np.ones((250, 250, 3)))) < 0.05


@pytest.mark.parametrize("ink", [(20, 120, 60), (30, 50, 160), (25, 25, 28)])
def test_a_pen_stroke_is_no_tissue(ink):
    for width, softness in ((12, 1), (30, 2), (90, 4)):
        picture = PIL.Image.new("RGB", (250, 250), GLASS)
        PIL.ImageDraw.Draw(picture).line((0, 60, 250, 150), fill=ink, width=width)
        pixels = noisy(np.asarray(picture.filter(PIL.ImageFilter.GaussianBlur(softness))))
        assert tissue_fraction(pixels) < MINIMUM_TISSUE


@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_stained_texture_counts_in_any_stain_and_light(gain):
    pixels = texture(250, 250)
    for channels in ([0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 1, 1]):
        assert tissue_fraction((pixels[..., channels] * gain).astype(np.uint8)) > 0.8


def test_half_texture_is_about_a_half():
    for glass in (GLASS, (236, 226, 213), (225, 240, 225)):
        pixels = noisy(glass)
        pixels[:, :125] = texture(250, 125)
        assert tissue_fraction(pixels) == pytest.approx(0.5, abs=0.06)
        pixels[125:] = 0
        assert tissue_fraction(pixels) == pytest.approx(0.25, abs=0.06)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 100), st.integers(0, 7), st.booleans())
def test_black_around_a_patch_never_raises_its_fraction(above, left, inside, seed, noise):
    pixels = (
        np.random.default_rng(seed).integers(0, 256, (120, 110, 3)).astype(np.uint8) if noise else noisy(GLASS, 120)
    )
    pixels[20:70, 20:90] = texture(50, 70, seed)
    whole = tissue_fraction(pixels)
    assert tissue_fraction(np.pad(pixels, ((above, left), (left, above), (0, 0)))) <= whole
    covered = pixels.copy()
    covered[:inside] = 0
    covered[:, :left] = 0
    assert tissue_fraction(covered) <= whole


def test_a_black_border_gives_no_patches(tmp_path):
    for index, name in enumerate(("A/a.png", "B/b.png")):
        pixels = texture(750, 750, index)
        pixels[500:] = 0
        (tmp_path / name).parent.mkdir()
        PIL.Image.fromarray(pixels).save(tmp_path / name)
    manifest, _ = tile_folder(tmp_path, Tiling())
    assert all(row["kept"] == (row["y"] < 500) for row in manifest.table.to_pylist())
    assert manifest.kept().num_rows == 12
    assert manifest.tissue_rule == TISSUE_RULE == "texture-1"
