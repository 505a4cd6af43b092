"""Batches for training from a built dataset, with grain: seeded, the same for any number of workers, resumable."""

import dataclasses
from typing import Any

import grain
import numpy as np
import PIL.Image
from absl import flags

from nbjax.errors import InputError
from nbjax.samples.reading import Dataset, centre_crop, decode, standardised
from nbjax.samples.transforms import apply_transform

CROPS = ("random", "centre", "resize")


@dataclasses.dataclass(frozen=True)
class _Source:
    """Samples of a split: standardised images, as grain reads them."""

    dataset: Dataset
    split: str

    def __len__(self) -> int:
        return len(self.dataset.samples[self.split])

    def __getitem__(self, index: int) -> dict[str, Any]:
        record, transform = self.dataset.samples[self.split][int(index)]
        row = self.dataset.splits[self.split][int(record)]
        image = apply_transform(decode(row["image"]), int(transform))
        return {"image": image, "label": np.int32(row["label"]), "sample": np.int32(index)}


@dataclasses.dataclass(frozen=True)
class _Fit(grain.transforms.RandomMap):
    """Standardises an image and brings it to the wanted size."""

    source: _Source
    size: int
    crop: str

    def random_map(self, element: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        image = element["image"]
        if self.crop == "random":
            top, left = rng.integers(0, np.subtract(image.shape[:2], self.size) + 1)
            image = image[top : top + self.size, left : left + self.size]
        elif self.crop == "centre":
            image = centre_crop(image, self.size)
        image = standardised(self.source.dataset, self.source.split, image)
        if self.crop == "resize":
            image = resize(image, self.size)
        return {**element, "image": np.ascontiguousarray(image)}


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Scales `[H, W, C]` to `[size, size, C]`, float32: bilinear, over a wider window where it gets smaller."""
    planes = [
        PIL.Image.fromarray(np.ascontiguousarray(plane)).resize((size, size), PIL.Image.Resampling.BILINEAR)
        for plane in np.moveaxis(image.astype(np.float32), -1, 0)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def training_batches(
    dataset: Dataset,
    split: str,
    batch_size: int,
    seed: int,
    *,
    epochs: int | None = None,
    size: int = 224,
    crop: str = "random",
    workers: int = 0,
) -> grain.IterDataset:
    """Batches of a split, each epoch in another order, with the smaller last batch of an epoch kept.

    What a batch holds depends on the seed alone, not on the workers. `iter()` of the result gives an iterator whose
    `get_state()` (plain data) can be stored and given to `set_state()` of another one with as many workers, which then
    goes on from there. Worker processes import the script that starts them: guard its main part with
    `if __name__ == "__main__":`.

    Args:
        dataset: from `nbjax.samples.reading.open_dataset`.
        split: `train`, `validation` or `test`.
        batch_size: samples a batch, at least 1.
        seed: of the order and of the crops.
        epochs: None never ends.
        size: pixels of the square that the network sees.
        crop: `random` (a new window each epoch) or `centre`: a window of that size; `resize`: the whole sample, scaled
            (bilinear, antialiased where it gets smaller).
        workers: processes that read; 0 reads in threads of this one.

    Returns:
        Batches with `image` float32 `[n, size, size, 3]`, standardised; `label` int32 `[n]`; `sample` int32 `[n]`, the
        index of each in the split.

    Raises:
        InputError: an unknown split or crop, a batch size, number of epochs or of workers that cannot be, or a window
            larger than the samples.
    """
    _check(dataset, split, batch_size, epochs, size, crop, workers)
    source = _Source(dataset, split)
    samples = grain.MapDataset.source(source).seed(seed).shuffle().random_map(_Fit(source, size, crop))
    batches = samples.batch(batch_size).repeat(epochs)
    if workers == 0:
        return batches.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4))
    if not flags.FLAGS.is_parsed():
        # grain's workers read absl's flags, which a plain script or a notebook never parses.
        flags.FLAGS.mark_as_parsed()
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    shared = batches.to_iter_dataset(options).mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    # Out of the memory shared with the workers, which would go with them.
    return shared.map(lambda batch: {name: np.array(values) for name, values in batch.items()})


def _check(
    dataset: Dataset, split: str, batch_size: int, epochs: int | None, size: int, crop: str, workers: int
) -> None:
    if split not in dataset.splits:
        raise InputError(f"split: found {split!r}; expected one of {', '.join(dataset.splits)}.")
    if crop not in CROPS:
        raise InputError(f"crop: found {crop!r}; expected one of {', '.join(CROPS)}.")
    if batch_size < 1:
        raise InputError(f"batch_size: found {batch_size}; expected at least 1 sample.")
    if epochs is not None and epochs < 1:
        raise InputError(f"epochs: found {epochs}; expected at least 1, or None for no end.")
    if workers < 0:
        raise InputError(f"workers: found {workers}; expected 0 or more.")
    edge = dataset.card["patch_size"]
    if size < 1 or (crop != "resize" and size > edge):
        raise InputError(f"size: found {size}; expected 1 to {edge} pixels, the samples' edge, with crop {crop!r}.")
