"""What a baseline is fitted on: frozen features, local binary patterns or visual words of all samples of a dataset."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from nbjax.baselines.codebook import WORDS, fit_codebook, word_frequencies
from nbjax.baselines.texture import binary_patterns, keypoint_descriptors, patches
from nbjax.progress import bar
from nbjax.samples.reading import Dataset
from nbjax.training.bank import Bank
from nbjax.training.crossvalidation import SPLITS


class Descriptors(NamedTuple):
    """What describes the samples of all splits put together.

    Attributes:
        encode: inputs `[rows, n]` of all rows; what it must learn (a codebook) it learns from the rows that the mask
            given to it, bool `[rows]`, marks.
        row: of each sample, int `[samples]`; every row has samples, all of one split and family.
    """

    encode: Callable[[np.ndarray], np.ndarray]
    row: np.ndarray


def pooled_patches(dataset: Dataset) -> tuple[list[np.ndarray], np.ndarray]:
    """Each patch once, grey uint8 `[H, W]`, the splits one after the other; and the patch of each sample, int
    `[samples]`.
    """
    images: list[np.ndarray] = []
    rows = []
    for split in SPLITS:
        of_split, patch = patches(dataset, split)
        rows.append(patch + len(images))
        images += list(of_split)
    return images, np.concatenate(rows)


def feature_descriptors(bank: Bank) -> Descriptors:
    """A bank's features, a row a sample; the mean over its windows where it has several."""
    pooled = np.concatenate([np.asarray(bank.inputs[split], np.float32) for split in SPLITS])
    inputs = pooled.reshape(-1, bank.crops, pooled.shape[-1]).mean(axis=1)
    return Descriptors(lambda _: inputs, np.arange(len(inputs)))


def pattern_descriptors(images: Sequence[np.ndarray], row: np.ndarray) -> Descriptors:
    """Square roots of the frequencies of local binary patterns: their distance is Hellinger's.

    Args:
        images: grey patches, uint8 `[H, W]` each.
        row: the patch of each sample.
    """
    inputs = np.sqrt(np.stack([binary_patterns(image) for image in bar(images, "local binary patterns", "patch")]))
    return Descriptors(lambda _: inputs, row)


def word_descriptors(images: Sequence[np.ndarray], row: np.ndarray, words: int = WORDS, seed: int = 0) -> Descriptors:
    """Square roots of the frequencies of visual words, in a codebook of the marked patches alone.

    Args:
        images: grey patches, uint8 `[H, W]` each.
        row: the patch of each sample.
        words: of the codebook.
        seed: of the codebook.
    """
    descriptors = [keypoint_descriptors(image) for image in bar(images, "visual words, keypoints", "patch")]

    def encode(learnt_from: np.ndarray) -> np.ndarray:
        codebook = fit_codebook([descriptors[patch] for patch in np.flatnonzero(learnt_from)], words, seed)
        return np.sqrt(word_frequencies(codebook, descriptors))

    return Descriptors(encode, row)
