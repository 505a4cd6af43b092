"""Read a built dataset as arrays, without TensorFlow."""

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from nbjax.errors import InputError, first_line
from nbjax.files import check_seal
from nbjax.samples.standardise import Standardisation, standardise
from nbjax.samples.transforms import apply_transform

COLUMNS = ("label", "family", "slide", "x", "y")
# How the builder stores samples: each as a PNG, each as standardised float32, or each patch once with the list of its
# transforms.
STORAGES = ("samples", "standardised", "compact")


class Dataset(NamedTuple):
    """A built dataset.

    Attributes:
        folder: where its ArrayRecord files lie.
        card: its metadata, see `nbjax.samples.card`.
        splits: by name; element i is a record with its image still encoded.
        samples: by split, int32 `[samples, 2]`: the record of each sample and the transform that it must still get.
    """

    folder: Path
    card: Mapping[str, Any]
    splits: Mapping[str, Sequence[Mapping[str, Any]]]
    samples: Mapping[str, np.ndarray]

    def standardisation(self, split: str) -> Standardisation:
        """What the split's pixels are standardised with."""
        moments = self.card["standardisation"]
        return Standardisation(tuple(moments["mean"][split]), tuple(moments["std"][split]))

    @property
    def is_standardised(self) -> bool:
        """Whether the stored images already are standardised float32."""
        return bool(self.card["storage"] == "standardised")


def open_dataset(folder: str | Path) -> Dataset:
    """Opens what `tfds build` wrote: the folder that holds `dataset_info.json`.

    Raises:
        InputError: no finished dataset lies there, or a file of it is not as it was written.
    """
    # tensorflow_datasets takes over a second to import; only those who read a dataset pay.
    import tensorflow_datasets as tfds

    folder = Path(folder)
    if not (folder / "dataset_info.json").is_file():
        # As deep as a study keeps its dataset below its own folder, and no deeper: a mistyped folder may be a whole
        # disk.
        below = [path for depth in range(1, 5) for path in sorted(folder.glob("*/" * depth + "dataset_info.json"))]
        advice = (
            f"the one below is {below[0].parent}." if below else "a study builds one, as does `tfds build` (README)."
        )
        raise InputError(f"{folder}: no built dataset lies here (no dataset_info.json); {advice}")
    check_seal(folder, "build it again, with the command that built it")
    try:
        builder = tfds.builder_from_directory(folder)
        card = dict(builder.info.metadata or {})
        decoders = None if card["storage"] == "standardised" else {"image": tfds.decode.SkipDecoding()}
        splits = {name: builder.as_data_source(split=name, decoders=decoders) for name in builder.info.splits}
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        raise InputError(
            f"{folder}: the dataset cannot be read ({first_line(error)}); remove this folder and build it again."
        ) from error
    compact = card["storage"] == "compact"
    samples = {name: _compact_samples(source) if compact else _plain_samples(source) for name, source in splits.items()}
    return Dataset(folder, card, splits, samples)


def _plain_samples(source: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.stack([np.arange(len(source)), np.zeros(len(source))], axis=1).astype(np.int32)


def _compact_samples(source: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.argwhere(np.stack([source[index]["transforms"] for index in range(len(source))])).astype(np.int32)


def columns(dataset: Dataset, split: str) -> dict[str, np.ndarray]:
    """Everything but the pixels: one array `[samples]` a column; family and slide as text."""
    source = dataset.splits[split]
    record, transform = dataset.samples[split].T
    names = COLUMNS if dataset.card["storage"] == "compact" else (*COLUMNS, "transform")
    rows = [[_text(row[name]) for name in names] for row in (source[index] for index in range(len(source)))]
    table = {name: np.asarray(values)[record] for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    return {**table, "transform": transform} if dataset.card["storage"] == "compact" else table


def under_transforms(dataset: Dataset, count: int) -> Dataset:
    """A compact dataset in which each patch is a sample under the first `count` transforms, whatever its split and
    class.

    Its card says so, and a feature bank of it is therefore not taken for one of the dataset itself.

    Raises:
        InputError: the dataset is not stored compactly.
    """
    if dataset.card["storage"] != "compact":
        raise InputError(
            f"{dataset.folder}: stored as {dataset.card['storage']}; expected compact, where each patch is stored once."
        )
    config = {**dataset.card["config"], "samples": f"each patch under the first {count} transforms"}
    samples = {
        split: np.argwhere(np.ones((len(source), count), bool)).astype(np.int32)
        for split, source in dataset.splits.items()
    }
    return dataset._replace(card={**dataset.card, "config": config}, samples=samples)


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def image_batches(dataset: Dataset, split: str, batch_size: int, workers: int = 2) -> Iterator[np.ndarray]:
    """Images `[batch, H, W, 3]` in the order of `columns`, uint8, or float32 where they are stored standardised.

    The last batch may be smaller.
    """
    source, samples = dataset.splits[split], dataset.samples[split]
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(samples), batch_size):
            batch = samples[start : start + batch_size]
            records, place = np.unique(batch[:, 0], return_inverse=True)
            images = list(pool.map(lambda record: decode(source[int(record)]["image"]), records))
            yield np.stack([apply_transform(images[row], int(t)) for row, t in zip(place, batch[:, 1], strict=True)])


def standardised(dataset: Dataset, split: str, images: np.ndarray) -> np.ndarray:
    """Images `[..., 3]` as `image_batches` gives them, standardised with their split's moments: float32."""
    return images if dataset.is_standardised else standardise(images, dataset.standardisation(split))


def picture(dataset: Dataset, split: str, sample: int) -> np.ndarray:
    """One sample as it was before standardising, uint8 `[H, W, 3]`."""
    record, transform = dataset.samples[split][sample]
    image = apply_transform(decode(dataset.splits[split][int(record)]["image"]), int(transform))
    if not dataset.is_standardised:
        return image
    mean, std = dataset.standardisation(split)
    return np.rint((image * np.asarray(std) + np.asarray(mean)) * 255).astype(np.uint8)


def decode(image: bytes | np.ndarray) -> np.ndarray:
    """The pixels of a stored image `[H, W, 3]`: uint8 of a PNG, float32 as they are."""
    return image if isinstance(image, np.ndarray) else np.asarray(PIL.Image.open(io.BytesIO(image)))


def centre_crop(images: np.ndarray, size: int) -> np.ndarray:
    """The middle `[..., size, size, C]` of `[..., H, W, C]`."""
    top, left = (images.shape[-3] - size) // 2, (images.shape[-2] - size) // 2
    return images[..., top : top + size, left : left + size, :]
