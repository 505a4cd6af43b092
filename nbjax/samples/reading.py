"""Read a built dataset as arrays, without TensorFlow."""

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from nbjax.errors import InputError
from nbjax.samples.standardise import Standardisation

COLUMNS = ("label", "family", "slide", "x", "y", "transform")


class Dataset(NamedTuple):
    """A built dataset.

    Attributes:
        folder: where its ArrayRecord files lie.
        card: its metadata, see `nbjax.samples.card`.
        splits: by name; element i is a sample with its image still encoded.
    """

    folder: Path
    card: Mapping[str, Any]
    splits: Mapping[str, Sequence[Mapping[str, Any]]]

    def standardisation(self, split: str) -> Standardisation:
        """What the split's pixels are standardised with."""
        moments = self.card["standardisation"]
        return Standardisation(tuple(moments["mean"][split]), tuple(moments["std"][split]))


def open_dataset(folder: str | Path) -> Dataset:
    """Opens what `tfds build` wrote: the folder that holds `dataset_info.json`.

    Raises:
        InputError: no finished dataset lies there.
    """
    # tensorflow_datasets takes over a second to import; only those who read a dataset pay.
    import tensorflow_datasets as tfds

    folder = Path(folder)
    if not (folder / "dataset_info.json").is_file():
        raise InputError(f"{folder}: no built dataset lies here (no dataset_info.json); build it with `tfds build`.")
    try:
        builder = tfds.builder_from_directory(folder)
        decoders = {"image": tfds.decode.SkipDecoding()}
        splits = {name: builder.as_data_source(split=name, decoders=decoders) for name in builder.info.splits}
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        raise InputError(f"{folder}: the dataset is damaged ({error}); build it again.") from error
    return Dataset(folder, dict(builder.info.metadata or {}), splits)


def columns(split: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Everything but the pixels: one array `[samples]` a column; family and slide as text."""
    rows = [split[index] for index in range(len(split))]
    return {name: np.asarray([_text(row[name]) for row in rows]) for name in COLUMNS}


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def image_batches(split: Sequence[Mapping[str, Any]], batch_size: int, workers: int = 2) -> Iterator[np.ndarray]:
    """Decoded pixels in storage order, uint8 `[batch, H, W, 3]`; the last batch may be smaller."""
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(split), batch_size):
            stop = min(start + batch_size, len(split))
            yield np.stack(list(pool.map(lambda index: decode(split[index]["image"]), range(start, stop))))


def decode(png: bytes) -> np.ndarray:
    """The pixels of an encoded sample, uint8 `[H, W, 3]`."""
    return np.asarray(PIL.Image.open(io.BytesIO(png)))


def centre_crop(images: np.ndarray, size: int) -> np.ndarray:
    """The middle `[..., size, size, C]` of `[..., H, W, C]`."""
    top, left = (images.shape[-3] - size) // 2, (images.shape[-2] - size) // 2
    return images[..., top : top + size, left : left + size, :]
