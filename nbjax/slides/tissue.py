"""The one rule that decides how much of a patch is tissue.

Glass, air, pen, saturated areas and the black around a scan have one thing in common whatever their colour: they are
smooth. Tissue is not: nuclei, fibres and cell walls change its density every few pixels. Colour alone tells neither:
glass is white, beige, pink, green or blue from one microscope to the next, and a stain may be brown, blue or green too.
`benchmarks/tissue.md` has what the rule gets right and wrong on patches judged by eye.
"""

import numpy as np
from scipy.ndimage import minimum_filter, uniform_filter

# Name of the rule; a manifest made by another one is not the same manifest.
TISSUE_RULE = "texture-1"
MINIMUM_TISSUE = 0.25

# Chosen on half of the families of `tests/golden/tissue.csv`. Lengths are pixels, for scans of about 0.5 micrometres a
# pixel: averaging over 5 removes the noise of cameras and JPEG, and 7 is about half a nucleus. Of real tissue on
# patches reduced by 2 all is kept, of patches enlarged by 2 at least 96 %, by 4 at least 88 %: smooth tissue is lost at
# high magnification.
SMOOTHING = 5
STEP = 7
NEIGHBOURHOOD = 11
# Optical density. Noise of 8 levels in 256 on glass stays below the first; pale stroma lies well above it. The second
# is 4 % of the light: glass beside tissue is not stained.
TEXTURED = 0.018
STAINED = 0.017
# Mean of the three channels. Borders of scans and the mask of an eyepiece lie below, dark nuclei above.
BLACK = 24
# Added to every brightness before its logarithm, or the noise of dark ink would be texture.
STRAY = 32


def tissue_fraction(patch: np.ndarray) -> float:
    """Share of a patch's pixels that are tissue.

    A pixel is tissue where three things hold. Its neighbourhood is textured: the root mean square of the density's
    second differences, which no even shading has, exceeds `TEXTURED`. It is stained: its density (-log10 of the light
    that passes, Beer and Lambert) exceeds that of the patch's brightest spot by `STAINED`. It is not black. What is
    black takes no part in the other two, so blackening or adding black pixels never raises the share.

    Args:
        patch: uint8 `[H, W, 3]`.

    Returns:
        A fraction in [0, 1]; 0 for a patch of one colour. Adipose tissue counts by its cell walls alone: the emptied
        cells are glass.
    """
    # Channel by channel: several times faster than a mean over so short an axis.
    brightness = (patch[..., 0].astype(np.float32) + patch[..., 1] + patch[..., 2]) / 3
    seen = brightness >= BLACK
    # Averages that no black pixel has entered.
    clear = minimum_filter(seen, SMOOTHING)
    if not clear.any():
        return 0.0
    density = -np.log10((uniform_filter(brightness, SMOOTHING) + STRAY) / (255 + STRAY))
    textured = uniform_filter(_roughness(density, clear), NEIGHBOURHOOD) > TEXTURED**2
    stained = density > density[clear].min() + STAINED
    return float(np.mean(textured & stained & seen))


def _roughness(density: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Squared second differences along both axes, summed `[H, W]`; 0 where one of the five values is not clear."""
    height, width = density.shape
    around, known = np.pad(density, STEP, mode="edge"), np.pad(clear, STEP, mode="edge")
    rows, columns = slice(STEP, STEP + height), slice(STEP, STEP + width)
    down = 2 * density - around[:height, columns] - around[2 * STEP :, columns]
    across = 2 * density - around[rows, :width] - around[rows, 2 * STEP :]
    usable = clear & known[:height, columns] & known[2 * STEP :, columns]
    usable &= known[rows, :width] & known[rows, 2 * STEP :]
    return np.where(usable, down**2 + across**2, 0)
