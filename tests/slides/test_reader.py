import numpy as np
import openslide
import PIL.Image
import pytest

from nbjax.errors import InputError
from nbjax.slides import open_slide


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tif", "PNG"])
def test_lossless_images_are_read_to_the_pixel(tmp_path, pixels, suffix):
    save(tmp_path / f"slide.{suffix}", pixels)
    with open_slide(tmp_path / f"slide.{suffix}") as slide:
        assert (slide.width, slide.height, slide.mpp) == (400, 300, None)
        np.testing.assert_array_equal(slide.read(10, 20, 50, 60), pixels[20:80, 10:60])


def test_svs_equals_openslide(shared):
    path = shared / "slides/wsi/CMU-1-Small-Region.svs"
    with open_slide(path) as slide:
        assert (slide.width, slide.height) == (2220, 2967)
        assert slide.mpp == pytest.approx(0.499)
        ours = slide.read(1000, 500, 250, 250)
    theirs = openslide.OpenSlide(path).read_region((1000, 500), 0, (250, 250)).convert("RGB")
    np.testing.assert_array_equal(ours, np.asarray(theirs))


def test_transparent_pixels_are_white(tmp_path, pixels):
    alpha = np.zeros((300, 400, 1), np.uint8)
    save(tmp_path / "slide.png", np.concatenate([pixels, alpha], axis=2))
    with open_slide(tmp_path / "slide.png") as slide:
        assert slide.read(0, 0, 400, 300).min() == 255


def test_unreadable_images_are_named(tmp_path, pixels):
    whole = tmp_path / "whole.png"
    save(whole, pixels)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "text.png").write_text("not an image", encoding="utf-8")
    (tmp_path / "text.svs").write_text("not a slide", encoding="utf-8")
    save(tmp_path / "grey.png", pixels[..., 0])
    for name in ("cut.png", "text.png", "text.svs", "grey.png", "missing.png"):
        with pytest.raises(InputError, match=name), open_slide(tmp_path / name):
            pass
