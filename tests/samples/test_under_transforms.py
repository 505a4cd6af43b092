from pathlib import Path

import pytest

from nbjax.errors import InputError
from nbjax.samples.reading import Dataset, under_transforms


def make_dataset(storage):
    card = {"storage": storage, "config": {"seed": 0}}
    splits = {"train": [{}] * 3, "test": [{}]}
    return Dataset(Path("built"), card, splits, {})


def test_each_patch_is_a_sample_under_each_transform_and_the_card_says_so():
    dataset = make_dataset("compact")
    found = under_transforms(dataset, 4)
    assert found.samples["train"].tolist() == [[patch, transform] for patch in range(3) for transform in range(4)]
    assert found.samples["test"].tolist() == [[0, 0], [0, 1], [0, 2], [0, 3]]
    assert found.card["config"] != dataset.card["config"]
    assert found.card["config"]["seed"] == 0


def test_a_dataset_of_samples_is_refused():
    with pytest.raises(InputError, match="stored as samples; expected compact"):
        under_transforms(make_dataset("samples"), 4)
