"""Descriptors made by hand, as before neural networks: local binary patterns and SIFT (paper II.B and II.D).

Both describe each patch once, as it was cut from its slide: local binary patterns are the same under all eight
transforms, and SIFT turns with its keypoints (a mirrored patch does change its descriptors; no transform is made for it
all the same). scikit-image and OpenCV are imported where they are used: nothing else needs them.
"""

from importlib.util import find_spec

import numpy as np
import PIL.Image

from nbjax.english import listing
from nbjax.errors import InputError
from nbjax.samples.reading import Dataset, columns, picture
from nbjax.samples.transforms import apply_transform, inverse

RADII = (1, 2, 4)
NEIGHBOURS = 8
KEYPOINTS = 200


def check_installed() -> None:
    """Raises InputError unless scikit-image and OpenCV can be imported."""
    missing = [name for name, module in (("scikit-image", "skimage"), ("OpenCV", "cv2")) if find_spec(module) is None]
    if missing:
        raise InputError(
            f"{listing(missing)}: not installed, and texture descriptors need it; run `pip install -e '.[baselines]'`."
        )


def patches(dataset: Dataset, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Each patch of a split once, in grey and without transform.

    Returns:
        uint8 `[patches, H, W]`, and the patch of each sample, int `[samples]`.
    """
    table = columns(dataset, split)
    place = np.stack([np.unique(table[name], return_inverse=True)[1] for name in ("slide", "y", "x")], axis=1)
    _, first, patch = np.unique(place, axis=0, return_index=True, return_inverse=True)
    back = [inverse(int(table["transform"][sample])) for sample in first]
    upright = (apply_transform(picture(dataset, split, int(one)), t) for one, t in zip(first, back, strict=True))
    return np.stack([grey(image) for image in upright]), patch.reshape(-1)


def grey(image: np.ndarray) -> np.ndarray:
    """Luminance (ITU-R 601) of an image uint8 `[H, W, 3]`: uint8 `[H, W]`."""
    return np.asarray(PIL.Image.fromarray(np.ascontiguousarray(image)).convert("L"))


def binary_patterns(image: np.ndarray) -> np.ndarray:
    """How often each uniform local binary pattern occurs, at radii 1, 2 and 4 (Ojala et al., IEEE TPAMI 24(7), 2002).

    Pixels nearer to the border than the radius are left out: part of their circle lies outside.

    Args:
        image: uint8 `[H, W]`.

    Returns:
        float32 `[30]`: ten frequencies a radius (0 to 8 bright neighbours in one run; all that is not uniform), which
        sum to 1.
    """
    from skimage.feature import local_binary_pattern

    frequencies = []
    for radius in RADII:
        codes = local_binary_pattern(image, NEIGHBOURS, radius, method="uniform")[radius:-radius, radius:-radius]
        frequencies.append(np.bincount(codes.astype(np.int64).ravel(), minlength=NEIGHBOURS + 2) / codes.size)
    return np.concatenate(frequencies).astype(np.float32)


def keypoint_descriptors(image: np.ndarray) -> np.ndarray:
    """SIFT descriptors of the strongest keypoints (Lowe, IJCV 60(2), 2004), as OpenCV finds them.

    Args:
        image: uint8 `[H, W]`.

    Returns:
        uint8 `[keypoints, 128]`; about 200 keypoints at most, none in an even patch.
    """
    import cv2

    _, descriptors = cv2.SIFT.create(nfeatures=KEYPOINTS).detectAndCompute(image, None)
    # OpenCV gives whole numbers of 0 to 255 as floats.
    return np.zeros((0, 128), np.uint8) if descriptors is None else descriptors.astype(np.uint8)
