"""Pixels in: open a slide, tile it, keep the patches with tissue, the patch manifest, the phantom."""

from nbjax.slides.folder import SlideFile, find_slides, left_out_sentences
from nbjax.slides.header import Header, read_header
from nbjax.slides.manifest import Manifest, SlideRecord, check_labels, read_manifest, remarks, write_manifest
from nbjax.slides.nuclei import magnification_warning, nuclear_width, nuclear_widths
from nbjax.slides.reader import Slide, open_slide
from nbjax.slides.tile import PATCH_SIZE, Tiling, check_unchanged, read_patches, tile_folder
from nbjax.slides.tissue import MINIMUM_TISSUE, TISSUE_RULE, tissue_fraction

__all__ = [
    "MINIMUM_TISSUE",
    "PATCH_SIZE",
    "TISSUE_RULE",
    "Header",
    "Manifest",
    "Slide",
    "SlideFile",
    "SlideRecord",
    "Tiling",
    "check_labels",
    "check_unchanged",
    "find_slides",
    "left_out_sentences",
    "magnification_warning",
    "nuclear_width",
    "nuclear_widths",
    "open_slide",
    "read_header",
    "read_manifest",
    "read_patches",
    "remarks",
    "tile_folder",
    "tissue_fraction",
    "write_manifest",
]
