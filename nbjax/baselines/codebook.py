"""Bags of visual words: a codebook of local descriptors, and how often each of its words occurs (paper II.D)."""

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from nbjax.errors import InputError

WORDS = 200


def fit_codebook(descriptors: Sequence[np.ndarray], words: int = WORDS, seed: int = 0) -> MiniBatchKMeans:
    """Clusters the descriptors of some patches.

    Args:
        descriptors: of each patch, `[keypoints, n]`.
        words: wanted; fewer where there are fewer descriptors.
        seed: of the clustering.

    Raises:
        InputError: not one patch has a keypoint.
    """
    every = np.concatenate(descriptors).astype(np.float32)
    if not len(every):
        raise InputError(f"{len(descriptors)} training patches have no SIFT keypoint; expected slides with structure.")
    # Random starts: k-means++ takes most of the time and leaves distances within a percent of these.
    clusters = MiniBatchKMeans(min(words, len(every)), init="random", batch_size=4096, n_init=1, random_state=seed)
    return clusters.fit(every)


def word_frequencies(codebook: MiniBatchKMeans, descriptors: Sequence[np.ndarray]) -> np.ndarray:
    """Share of each word among a patch's keypoints, float32 `[patches, words]`; zeros for a patch without keypoints.

    Args:
        codebook: as `fit_codebook` gives it.
        descriptors: of each patch, `[keypoints, n]`.
    """
    counts = np.array([len(of_patch) for of_patch in descriptors])
    words = codebook.n_clusters
    every = np.concatenate(descriptors).astype(np.float32)
    if not len(every):
        return np.zeros((len(descriptors), words), np.float32)
    patch = np.repeat(np.arange(len(descriptors)), counts)
    cells = np.bincount(patch * words + codebook.predict(every), minlength=len(descriptors) * words)
    frequencies = cells.reshape(len(descriptors), words) / np.maximum(counts, 1)[:, None]
    return frequencies.astype(np.float32)
