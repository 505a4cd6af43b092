"""How large nuclei look on each slide: a scan beside its reduction is noticed where no file states a resolution."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.ndimage import gaussian_filter

from nbjax.english import listed
from nbjax.slides.manifest import TILING_FLAG, Manifest
from nbjax.slides.tile import Tiling, read_patches

# Of a slide, those with most tissue.
PATCHES = 2
# Nuclei stand out against what lies this many pixels around them; wider changes are of the tissue, not of its cells.
SURROUNDINGS = 12
# Glass passes this share of the light of a patch's brightest spot, or more.
GLASS = 0.95
HEIGHT = 0.4
LONGEST = 60
# Groups of slides that are further apart are named. Slides of one magnification differ as well, with their tissue: the
# best two groups of breakhis100x lie 1.37 apart, of crc7k 1.46. With every second slide reduced by two breakhis100x's
# lie 1.6 to 1.8 apart, by which slides are taken. Set between these on the same slides: on others it is untried.
APART = 1.52
NAMED = 3


def nuclear_width(patches: Sequence[np.ndarray]) -> float | None:
    """Typical width of what absorbs red light, which haematoxylin does and eosin hardly.

    It is the full width at 0.4 of the height of the density's autocorrelation, less than a nucleus is wide: a scale to
    compare slides by, not a measure of cells.

    Args:
        patches: uint8 `[H, W, 3]`, of one slide.

    Returns:
        Pixels; None where the patches show nothing to measure.
    """
    prepared = [_contrast(patch) for patch in patches]
    previous, start = 1.0, _correlation(prepared, 0)
    if start <= 0:
        return None
    for lag in range(1, min(LONGEST, *(min(patch.shape[:2]) for patch in patches))):
        correlation = _correlation(prepared, lag) / start
        if correlation < HEIGHT:
            return float(2 * (lag - (HEIGHT - correlation) / (previous - correlation)))
        previous = correlation
    return None


def _contrast(patch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Density of red less that of its surroundings, and where it counts: both float32 `[H, W]`, 0 on glass."""
    density = -np.log10((patch[..., 0].astype(np.float32) + 1) / 256)
    light = gaussian_filter(patch.mean(axis=-1, dtype=np.float32), 1)
    tissue = (light < light.max() * GLASS).astype(np.float32)
    around = gaussian_filter(density * tissue, SURROUNDINGS) / np.maximum(gaussian_filter(tissue, SURROUNDINGS), 1e-3)
    contrast = (density - around) * tissue
    return (contrast - contrast.sum() / max(tissue.sum(), 1)) * tissue, tissue


def _correlation(prepared: list[tuple[np.ndarray, np.ndarray]], lag: int) -> float:
    """Mean product of pixels of tissue that lie `lag` apart, along both axes."""
    products, pairs = 0.0, 0.0
    for contrast, tissue in prepared:
        height, width = contrast.shape
        for one, other in (
            (np.s_[lag:], np.s_[: height - lag]),
            (np.s_[:, lag:], np.s_[:, : width - lag]),
        ):
            products += float(np.sum(contrast[one] * contrast[other]))
            pairs += float(np.sum(tissue[one] * tissue[other]))
    return products / max(pairs, 1)


def nuclear_widths(folder: str | Path, manifest: Manifest) -> dict[str, float]:
    """`nuclear_width` of each slide that has kept patches and nuclei to measure, read from its two fullest patches."""
    rows = manifest.kept().sort_by(
        [("slide", "ascending"), ("tissue", "descending"), ("y", "ascending"), ("x", "ascending")]
    )
    names = rows["slide"].to_pylist()
    fullest = [row for row, name in enumerate(names) if row < PATCHES or names[row - PATCHES] != name]
    sample = rows.take(pa.array(fullest, pa.int64()))
    of_slide: dict[str, list[np.ndarray]] = {}
    for row, pixels in read_patches(folder, sample, manifest.patch_size):
        of_slide.setdefault(names[fullest[row]], []).append(pixels)
    widths = {name: nuclear_width(patches) for name, patches in of_slide.items()}
    return {name: width for name, width in widths.items() if width is not None}


def magnification_warning(widths: dict[str, float], flag: str) -> str | None:
    """A sentence where slides fall into two groups whose nuclei differ in size as two magnifications do.

    The groups are those of least variance within (two means of the logarithms). One slide of another magnification
    among many unlike ones is not found: tissues differ nearly as much.

    Args:
        widths: `nuclear_width` by slide.
        flag: what accepts slides of mixed resolution, as it is typed.

    Returns:
        None where there is nothing to say.
    """
    names = sorted(widths, key=lambda name: (widths[name], name))
    sizes = np.log([widths[name] for name in names])
    splits = range(1, len(names))
    if not splits:
        return None
    first = min(splits, key=lambda split: split * np.var(sizes[:split]) + (len(names) - split) * np.var(sizes[split:]))
    ratio = float(np.exp(np.median(sizes[first:]) - np.median(sizes[:first])))
    if ratio < APART:
        return None
    small, large = names[:first], names[first:]
    fewer, others, word = (small, large, "small") if len(small) <= len(large) else (large, small, "large")
    named = listed(sorted(fewer), NAMED)
    times = f"{1 / ratio if word == 'small' else ratio:.1f} times as large"
    return (
        f"nuclei look {times} on {len(fewer)} of {len(names)} slides ({named}) as on the other {len(others)} "
        f"(such as {others[len(others) // 2]}): were they scanned at another magnification? If so, export all slides "
        f"at one; if not, {flag} leaves out this comparison."
    )


def compare_magnifications(
    folder: str | Path, manifest: Manifest, tiling: Tiling, flag: str = TILING_FLAG
) -> str | None:
    """`magnification_warning` of a folder, where resolutions must be alike and some slide states none.

    Where every slide states its resolution these are compared instead, when the slides are tiled. `flag` is how the
    command line names a field of the tiling.
    """
    if tiling.allow_mixed_resolution or all(record.mpp is not None for record in manifest.slides.values()):
        return None
    return magnification_warning(nuclear_widths(folder, manifest), f"{flag}allow_mixed_resolution=True")
