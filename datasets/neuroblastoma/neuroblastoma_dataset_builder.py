"""The TFDS builder: slides to balanced, augmented samples in leak-free splits."""

import dataclasses
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

from nbjax.config import DatasetConfig, to_dict
from nbjax.samples.card import dataset_card, manifest_hash
from nbjax.samples.plan import SPLITS, SamplePlan, plan_samples, samples_of
from nbjax.samples.standardise import NO_PIXELS, add_sums, pixel_sums, standardisations
from nbjax.samples.transforms import apply_transform
from nbjax.slides.manifest import Manifest, read_manifest
from nbjax.slides.phantom import NOTE, SMALL, PhantomConfig, write_phantom
from nbjax.slides.tile import check_unchanged, read_patches, tile_folder

# Level 1 packs H&E patches within a few percent of level 6 and is several times faster.
PNG_LEVEL = 1


@dataclasses.dataclass(kw_only=True)
class NeuroblastomaConfig(tfds.core.BuilderConfig):
    """One way to build the dataset.

    Attributes:
        dataset: from slides to samples.
        phantom: the phantom to make; None reads the slides in the manual folder.
        manifest: a patch manifest of the slides, made earlier (and perhaps reviewed); None tiles them.
    """

    dataset: DatasetConfig = dataclasses.field(default_factory=DatasetConfig)
    phantom: PhantomConfig | None = None
    manifest: str | None = None


class Builder(tfds.core.GeneratorBasedBuilder):
    """Slide-grouped, balanced, augmented 250x250 samples for classifying neuroblastoma, or any labelled slides."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (TFDS reads a plain class attribute)
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put one folder a label in the manual folder: <label>/<slide>.<ext> or <label>/<family>/<slide>.<ext>; "
        "PNG, JPEG, TIFF or SVS."
    )
    BUILDER_CONFIGS = [  # noqa: RUF012 (as above)
        NeuroblastomaConfig(name="phantom", description="A small phantom, no real tissue.", phantom=SMALL),
        NeuroblastomaConfig(name="slides", description="The labelled slides in the manual folder."),
    ]

    def __init__(self, *, file_format: str | None = None, **kwargs: Any) -> None:
        """As TFDS's own, but ArrayRecord unless another format is asked for: it is read without TensorFlow."""
        super().__init__(file_format=file_format or "array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        """Features; class names and metadata are filled in once the slides are known."""
        size = self.builder_config.dataset.tiling.patch_size
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(),
                    "family": tfds.features.Text(),
                    "slide": tfds.features.Text(),
                    "x": np.int32,
                    "y": np.int32,
                    "transform": np.int32,
                }
            ),
            supervised_keys=("image", "label"),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        """Tiles, partitions and measures the slides; the pixels are read again when the samples are written."""
        config = self.builder_config
        if config.phantom is None:
            folder = Path(dl_manager.manual_dir)
        else:
            folder = Path(dl_manager.download_dir) / f"phantom-{_digest(to_dict(config.phantom))}"
            write_phantom(config.phantom, folder)
        manifest = _manifest(folder, config)
        plan = plan_samples(manifest, config.dataset)
        self.info.features["label"].names = list(plan.labels)
        card = dataset_card(manifest, plan, _standardisations(folder, manifest, plan, config.dataset), config.dataset)
        self.info.metadata.update(card | {"phantom": (folder / NOTE).is_file()})
        return {split: self._generate_examples(folder, plan, split, manifest.patch_size) for split in SPLITS}

    def _generate_examples(self, folder: Path, plan: SamplePlan, split: str, size: int) -> Iterator[tuple[str, dict]]:
        """Yields `<slide>/<y>/<x>/<transform>` and the sample."""
        transforms = dict(samples_of(plan, split))
        rows = sorted(transforms)
        for index, pixels in read_patches(folder, plan.patches.take(rows), size):
            row: dict[str, Any] = plan.patches.slice(rows[index], 1).to_pylist()[0]
            for transform in transforms[rows[index]]:
                yield (
                    f"{row['slide']}/{row['y']}/{row['x']}/{transform}",
                    {
                        "image": _png(apply_transform(pixels, transform)),
                        "label": row["label"],
                        "family": row["family"],
                        "slide": row["slide"],
                        "x": row["x"],
                        "y": row["y"],
                        "transform": transform,
                    },
                )


def _manifest(folder: Path, config: NeuroblastomaConfig) -> Manifest:
    if config.manifest is None:
        return tile_folder(folder, config.dataset.tiling)[0]
    manifest = read_manifest(config.manifest)
    check_unchanged(folder, manifest)
    return manifest


def _standardisations(folder: Path, manifest: Manifest, plan: SamplePlan, config: DatasetConfig) -> dict[str, Any]:
    """Mean and deviation of each split's samples, from one pass over the patches."""
    transforms = {row: each for split in SPLITS for row, each in samples_of(plan, split)}
    sums = dict.fromkeys(SPLITS, NO_PIXELS)
    for row, pixels in read_patches(folder, plan.patches, manifest.patch_size):
        split = SPLITS[plan.split[row]]
        sums[split] = add_sums(sums[split], pixel_sums(pixels, len(transforms[row])))
    return standardisations(config.standardisation, sums)


def _png(pixels: np.ndarray) -> io.BytesIO:
    """Lossless bytes that TFDS stores as they are, so that building needs no TensorFlow."""
    file = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=PNG_LEVEL)
    file.seek(0)
    return file


def build_from_manifest(slides: Path, manifest: Path, dataset: DatasetConfig, data_dir: Path) -> Path:
    """Builds the dataset of a manifest below `data_dir`, unless it is there already, and returns its folder.

    The config's name ends in a hash of the manifest's content and the dataset's config: another manifest or another
    config is another folder.
    """
    name = f"manifest-{_digest([manifest_hash(read_manifest(manifest)), to_dict(dataset)])}"
    config = NeuroblastomaConfig(
        name=name, description="Slides of a manifest.", dataset=dataset, manifest=str(manifest)
    )
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    builder = Builder(config=config, data_dir=data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=slides))
    return Path(builder.data_path)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
