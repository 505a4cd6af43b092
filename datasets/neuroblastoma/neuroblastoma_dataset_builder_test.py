"""tensorflow_datasets' own battery for builders, on the dummy slides (small phantoms)."""

import pytest
from tensorflow_datasets.testing import DatasetBuilderTestCase

from datasets.neuroblastoma.neuroblastoma_dataset_builder import Builder

# The battery warns of its own.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


class Battery(DatasetBuilderTestCase):
    """Its tests read with tf.data, which does not know ArrayRecord."""

    DATASET_CLASS = Builder

    def _make_builder(self, config=None):
        return Builder(data_dir=self.tmp_dir, config=config, file_format="tfrecord")


class TestSamples(Battery):
    """A record a sample."""

    BUILDER_CONFIG_NAMES_TO_TEST = ("slides", "slides_standardised")
    SPLITS = {"train": 64, "validation": 16, "test": 16}  # noqa: RUF012 (read as a plain class attribute)


class TestCompact(Battery):
    """A record a patch."""

    BUILDER_CONFIG_NAMES_TO_TEST = ("slides_compact",)
    SPLITS = {"train": 8, "validation": 2, "test": 2}  # noqa: RUF012 (as above)


# What only others derive from is no test of its own.
del Battery, DatasetBuilderTestCase
