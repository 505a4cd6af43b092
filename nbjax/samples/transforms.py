"""The eight transforms of a square patch, in the authors' order (paper III.E.1): the dihedral group.

Transform t rotates by (t // 2) quarter turns counter-clockwise, after which odd t flips left and right.
"""

import numpy as np

TRANSFORMS = (
    "identity",
    "flip",
    "rotation 90",
    "rotation 90, flip",
    "rotation 180",
    "rotation 180, flip",
    "rotation 270",
    "rotation 270, flip",
)


def apply_transform(patches: np.ndarray, transform: int) -> np.ndarray:
    """Applies one of the eight transforms.

    Args:
        patches: `[..., S, S, C]`, square.
        transform: 0 to 7, an index of `TRANSFORMS`.

    Returns:
        The same shape; a view where NumPy can give one.
    """
    turned = np.rot90(patches, transform // 2, axes=(-3, -2))
    return turned[..., ::-1, :] if transform % 2 else turned


def compose(second: int, first: int) -> int:
    """The transform that equals `first` followed by `second`."""
    # A flip turns every later quarter turn into one the other way round.
    turns = first // 2 + (-(second // 2) if first % 2 else second // 2)
    return 2 * (turns % 4) + (first + second) % 2


def inverse(transform: int) -> int:
    """The transform that undoes `transform`."""
    return next(t for t in range(len(TRANSFORMS)) if compose(t, transform) == 0)
