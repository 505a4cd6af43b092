"""The one rule that decides whether a patch holds enough stained tissue."""

import numpy as np

# Glass in a scanned bright-field slide stays below this optical density; haematoxylin and eosin lie above it.
STAINED_DENSITY = 0.05
MINIMUM_TISSUE = 0.25
# Name of the rule; what was tiled under another one is tiled again.
TISSUE_RULE = "density-1"


def tissue_fraction(patch: np.ndarray) -> float:
    """Share of a patch's pixels that are stained.

    A pixel is stained when its optical density, -log10((v + 1) / 256) averaged over red, green and blue, exceeds
    `STAINED_DENSITY` (Beer and Lambert: stain absorbs, glass does not).

    Args:
        patch: uint8 `[H, W, 3]`.

    Returns:
        A fraction in [0, 1].
    """
    return float(np.mean(_DENSITY_THIRDS[patch].sum(axis=-1) > STAINED_DENSITY))


# A pixel has one of 256 values a channel: look its density up instead of taking logarithms.
_DENSITY_THIRDS = (-np.log10((np.arange(256) + 1) / 256) / 3).astype(np.float32)
