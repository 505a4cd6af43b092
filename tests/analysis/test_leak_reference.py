"""Real patches: the reference accuracies of `../shared/slides/README.md`, from our tiling and our backbone."""

import numpy as np
import pytest

from nbjax.analysis.leak_curve import regression_accuracies
from nbjax.models import load_backbone
from nbjax.samples.reading import centre_crop
from nbjax.slides.tile import Tiling, read_patches, tile_folder


@pytest.mark.slow
def test_random_and_patient_grouped_accuracy_are_the_reference(shared):
    folder = shared / "slides/breakhis100x"
    manifest, _ = tile_folder(folder, Tiling(minimum_tissue=0.0))
    table = manifest.kept()
    assert len(table) == 348
    backbone = load_backbone("efficientnet_lite0", weights="imagenet")
    features = np.empty((348, backbone.feature_size), np.float32)
    for row, pixels in read_patches(folder, table, manifest.patch_size):
        image = (centre_crop(pixels, 224)[None].astype(np.float32) - 127) / 128
        features[row] = backbone.features(image)[0]
    label, family = (np.unique(table[name].to_pylist(), return_inverse=True)[1] for name in ("label", "family"))
    order = np.argsort(table["slide"].to_pylist(), kind="stable")
    features, label, family = features[order], label[order], family[order]
    leaking, apart = (regression_accuracies(features, label, family, fraction) for fraction in (1.0, 0.0))
    # 0.880 ± 0.006 and 0.694 ± 0.018 over five repetitions.
    assert leaking.mean() == pytest.approx(0.880, abs=0.015)
    assert apart.mean() == pytest.approx(0.694, abs=0.02)
