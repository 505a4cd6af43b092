"""The TFDS builder: slides to balanced, augmented samples in leak-free splits."""

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from nbjax.config import DatasetConfig, to_dict
from nbjax.errors import InputError
from nbjax.files import check_room, damage, sync, write_sums
from nbjax.locks import locked
from nbjax.progress import bar, say
from nbjax.samples.assign import SPLITS
from nbjax.samples.card import dataset_card, manifest_hash
from nbjax.samples.measure import audit_plan, check_audit, measure_patches, refused
from nbjax.samples.plan import SamplePlan, plan_samples, replaced_methods
from nbjax.samples.records import estimate_bytes, records_of_patch, records_of_slide
from nbjax.samples.standardise import standardisations
from nbjax.samples.transforms import TRANSFORMS
from nbjax.samples.writer import ReproducibleWriter
from nbjax.slides.manifest import Manifest, read_manifest
from nbjax.slides.nuclei import compare_magnifications
from nbjax.slides.phantom import NOTE, PAPER, SMALL, PhantomConfig, write_phantom
from nbjax.slides.tile import Tiling, check_unchanged, read_patches, tile_folder
from nbjax.threads import map_ahead


@dataclasses.dataclass(kw_only=True)
class NeuroblastomaConfig(tfds.core.BuilderConfig):
    """One way to build the dataset.

    Attributes:
        dataset: from slides to samples.
        phantom: the phantom to make; None reads the slides in the manual folder.
        manifest: a patch manifest of the slides, made earlier (and perhaps reviewed); None tiles them.
        storage: one of `nbjax.samples.reading.STORAGES`.
    """

    dataset: DatasetConfig = dataclasses.field(default_factory=DatasetConfig)
    phantom: PhantomConfig | None = None
    manifest: str | None = None
    storage: str = "samples"


# One of the 61 slides is smaller than a patch, as in the paper's cohort.
PAPER_TILING = Tiling(allow_small_slides=True)
SOURCES = {
    "phantom": ("A small phantom, no real tissue", SMALL, DatasetConfig()),
    "paper_phantom": ("A phantom of the paper's size, no real tissue", PAPER, DatasetConfig(tiling=PAPER_TILING)),
    "slides": ("The labelled slides in the manual folder", None, DatasetConfig()),
}
# What differs from the default: iterative filing, no leak, ImageNet's moments, each sample stored as a PNG.
VARIANTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "": ("iterative filing", {}, "samples"),
    "exact": ("the partition of least discrepancy", {"method": "exact"}, "samples"),
    "sequential": ("the authors' baseline partition", {"method": "sequential"}, "samples"),
    "stratified": ("scikit-learn's StratifiedGroupKFold", {"method": "stratified_group_folds"}, "samples"),
    "resampled": ("another near-optimal partition", {"method": "resampled"}, "samples"),
    "exchange": ("experiment 2: one patch a family leaks", {"leak": "exchange"}, "samples"),
    "random": ("experiment 3: patches of train and validation at random", {"leak": "random"}, "samples"),
    "random_samples": ("experiment 3 on samples", {"leak": "random_samples"}, "samples"),
    "split_moments": (
        "each split standardised by itself, as in the paper",
        {"standardisation": "per_split"},
        "samples",
    ),
    "train_moments": ("all splits standardised as train", {"standardisation": "train"}, "samples"),
    "compact": ("each patch once, transformed when read", {}, "compact"),
    "standardised": ("standardised float32 pixels", {}, "standardised"),
}


def _configs() -> list[NeuroblastomaConfig]:
    return [
        NeuroblastomaConfig(
            name=f"{source}_{variant}" if variant else source,
            description=f"{what}; {how}.",
            phantom=phantom,
            dataset=dataclasses.replace(dataset, **changes),
            storage=storage,
        )
        for source, (what, phantom, dataset) in SOURCES.items()
        for variant, (how, changes, storage) in VARIANTS.items()
    ]


class Builder(tfds.core.GeneratorBasedBuilder):
    """Slide-grouped, balanced, augmented 250x250 samples for classifying neuroblastoma, or any labelled slides."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (TFDS reads a plain class attribute)
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put one folder a label in the manual folder: <label>/<slide>.<ext> or <label>/<family>/<slide>.<ext>; "
        "PNG, JPEG, TIFF or SVS."
    )
    BUILDER_CONFIGS = _configs()

    def __init__(self, *, file_format: str | None = None, **kwargs: Any) -> None:
        """As TFDS's own, but ArrayRecord unless another format is asked for: it is read without TensorFlow."""
        super().__init__(file_format=file_format or "array_record", **kwargs)
        self._on_beam = False
        # By split, how many must be written.
        self._records: dict[str, int] = {}

    def _info(self) -> tfds.core.DatasetInfo:
        """Features; class names and metadata are filled in once the slides are known."""
        config = self.builder_config
        return self.dataset_info_from_configs(
            features=_features(config.dataset.tiling.patch_size, config.storage),
            supervised_keys=("image", "label"),
            metadata=tfds.core.MetadataDict(),
        )

    def download_and_prepare(self, **kwargs: Any) -> None:
        """As TFDS's own, but brought to the disk and marked as whole at the end; what lacks the mark is built again."""
        _make_way(Path(self.data_path))
        super().download_and_prepare(**kwargs)
        if Path(self.data_path).is_dir() and damage(self.data_path) is not None:
            # What TFDS writes for all configs together, beside them.
            sync(Path(self.data_path).parents[1] / ".config")
            write_sums(self.data_path)

    def _log_download_bytes(self) -> None:
        """Says nothing: nothing is downloaded."""

    def _log_download_done(self) -> None:
        """Says nothing, for the same reason."""

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> Any:
        # Where TFDS has Beam options it runs Beam; the generators then must be Beam's too.
        self._on_beam = bool(download_config.beam_options or download_config.beam_runner)
        if self._on_beam:
            _stop_timed_flushes()
        return super()._download_and_prepare(dl_manager, download_config)

    def _generate_splits(self, dl_manager: Any, download_config: Any) -> Any:
        infos = super()._generate_splits(dl_manager, download_config)
        if download_config.max_examples_per_split is None:
            for info in infos:
                if info.num_examples != self._records[info.name]:
                    raise InputError(
                        f"split {info.name}: {info.num_examples} of {self._records[info.name]} records were written, "
                        "the others got lost on the way; nothing was kept, build again, and with another Beam runner "
                        "if this was one of Beam's."
                    )
        return infos

    def _example_writer(self) -> ReproducibleWriter:
        return ReproducibleWriter(file_format=self.info.file_format)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        """Tiles, partitions, measures and audits the slides; pixels are read again when the samples are written."""
        config = self.builder_config
        folder = _slides(dl_manager, config)
        manifest = _manifest(folder, config)
        plan = plan_samples(manifest, config.dataset)
        if config.manifest is None:
            # Who gives a manifest has planned it already.
            print(*replaced_methods(plan), sep="\n", end="\n" if replaced_methods(plan) else "")
        magnifications = compare_magnifications(folder, manifest, config.dataset.tiling)
        if magnifications is not None:
            print(f"caution: {magnifications}")
        pixels = (patch for _, patch in read_patches(folder, plan.patches, manifest.patch_size))
        measured = measure_patches(plan, bar(pixels, "dataset, measuring", "patch", plan.patches.num_rows))
        violations = audit_plan(plan, manifest.patch_size, measured.fingerprints)
        check_audit(refused(plan, violations, config.dataset.leak, config.dataset.accept))
        moments = standardisations(config.dataset.standardisation, measured.sums)
        card = dataset_card(manifest, plan, moments, violations, config.dataset, magnifications)
        self.info.features["label"].names = list(plan.labels)
        self.info.metadata.update(card | {"storage": config.storage, "phantom": (folder / NOTE).is_file()})
        return {
            split: self._generate_examples(folder, plan, split, manifest.patch_size, moments[split]) for split in SPLITS
        }

    def _generate_examples(self, folder: Path, plan: SamplePlan, split: str, size: int, moments: Any) -> Any:
        """Yields `<slide>/<y>/<x>/<transform>` and the sample; on Beam a transform that does, one slide a step."""
        here = plan.split == SPLITS.index(split)
        patches, first = np.unique(plan.patch[here], return_index=True)
        transforms = np.split(plan.transform[here], first[1:])
        table = plan.patches.take(patches)
        self._records[split] = len(patches) if self.builder_config.storage == "compact" else int(here.sum())
        encode = functools.partial(records_of_patch, storage=self.builder_config.storage, moments=moments)
        if self._on_beam:
            return records_of_slide(folder, table, transforms, size, encode)
        records = _generate(folder, table, transforms, size, encode)
        return bar(records, f"dataset, {split}", "sample", self._records[split])


def _features(size: int, storage: str) -> tfds.features.FeaturesDict:
    """The features of a record (see `records_of_patch`) of a patch with an edge of `size` pixels."""
    shape = (size, size, 3)
    image: Any = tfds.features.Image(shape=shape, encoding_format="png")
    if storage == "standardised":
        image = tfds.features.Tensor(shape=shape, dtype=np.float32, encoding=tfds.features.Encoding.BYTES)
    transform = {"transform": np.int32}
    if storage == "compact":
        transform = {"transforms": tfds.features.Tensor(shape=(len(TRANSFORMS),), dtype=np.int32)}
    return tfds.features.FeaturesDict(
        {
            "image": image,
            "label": tfds.features.ClassLabel(),
            "family": tfds.features.Text(),
            "slide": tfds.features.Text(),
            "x": np.int32,
            "y": np.int32,
            **transform,
        }
    )


def _generate(folder: Path, table: Any, transforms: list[np.ndarray], size: int, encode: Any) -> Iterator[Any]:
    rows = table.to_pylist()
    jobs = ((pixels, rows[index], transforms[index]) for index, pixels in read_patches(folder, table, size))
    for records in map_ahead(lambda job: encode(*job), jobs):
        yield from records


def _stop_timed_flushes() -> None:
    """Makes Beam's local runner flush its buffers by size alone.

    Once a second it also flushes them from another thread, and loses what is written in that moment: with 2.77 and two
    local workers hundreds of 8,608 records got lost in most builds.
    """
    from apache_beam.runners.portability.fn_api_runner import worker_handlers

    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = 0


def _slides(dl_manager: tfds.download.DownloadManager, config: NeuroblastomaConfig) -> Path:
    """The folder of slides; a phantom is drawn where it does not lie already."""
    if config.phantom is None:
        return Path(dl_manager.manual_dir)
    folder = Path(dl_manager.download_dir) / f"phantom-{_digest(to_dict(config.phantom))}"
    write_phantom(config.phantom, folder)
    return folder


def _manifest(folder: Path, config: NeuroblastomaConfig) -> Manifest:
    if config.manifest is None:
        return tile_folder(folder, config.dataset.tiling)[0]
    manifest = read_manifest(config.manifest)
    check_unchanged(folder, manifest)
    return manifest


def build_from_manifest(
    slides: Path, manifest: Path, dataset: DatasetConfig, data_dir: Path, storage: str = "samples", beside: int = 0
) -> Path:
    """Builds the dataset of a manifest below `data_dir`, unless it is there already, and returns its folder.

    One that is damaged, or was cut short, is said and built again. The disk must have room for it and for `beside`
    bytes.

    The config's name ends in a hash of the manifest's content and the dataset's config: another manifest or another
    config is another folder.
    """
    read = read_manifest(manifest)
    name = f"manifest-{_digest([manifest_hash(read), to_dict(dataset), storage])}"
    config = NeuroblastomaConfig(
        name=name, description="Slides of a manifest.", dataset=dataset, manifest=str(manifest), storage=storage
    )
    folder = data_dir / Builder.name / name / str(Builder.VERSION)
    # Bars of our own say what is done; TFDS's count something else.
    tfds.disable_progress_bar()
    with locked(folder.parent, "this dataset", wait=True):
        for left in folder.parent.glob("incomplete.*"):
            shutil.rmtree(left)
        # Before TFDS reads what lies there.
        _make_way(folder)
        if not folder.is_dir():
            needed = estimate_bytes(slides, plan_samples(read, dataset), read.patch_size, storage)
            what = "the dataset and what is computed from it take about" if beside else "the dataset takes about"
            check_room(data_dir, needed + beside, what)
        builder = Builder(config=config, data_dir=data_dir)
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=slides))
    return folder


def _make_way(folder: Path) -> None:
    """Removes a built dataset that is damaged, or was cut short before it was marked as whole, and says so."""
    harm = damage(folder) if folder.is_dir() else None
    if harm is not None:
        say(f"{folder} {harm}; it is built again.")
        shutil.rmtree(folder)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
