"""Plans of random cohorts, and the paper's Table 2."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nbjax.errors import InputError
from nbjax.partition import audit_patches, partition_families
from nbjax.samples.card import dataset_card
from nbjax.samples.config import METHODS, DatasetConfig
from nbjax.samples.plan import SPLITS, count_samples, plan_samples, replaced_methods
from nbjax.samples.standardise import Standardisation
from nbjax.slides.manifest import SCHEMA, Manifest, SlideRecord

# Of each family of a cohort that filing splits as the paper's Table 2 has it; the sums are the paper's, the sizes made
# up so that no other partition is as good.
PAPER_SIZES = {
    "PD": [92] * 6 + [91] * 2 + [16] * 14 + [15] * 2,
    "D": [189, 187, 70, 70, 38, 6, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1],
}
# Class and split: starting patches, after balancing, after augmentation (paper, Table 2).
TABLE_2 = {
    ("PD", "train"): (734, 734, 2936),
    ("D", "train"): (420, 840, 3360),
    ("PD", "validation"): (127, 127, 508),
    ("D", "validation"): (82, 164, 656),
    ("PD", "test"): (127, 127, 508),
    ("D", "test"): (80, 160, 640),
}


def manifest_of(sizes, names=None, order=None, size=250):
    """A manifest with one slide a family, ten patches a row of the slide's grid."""
    rows, slides = [], {}
    for label, of_label in sizes.items():
        for index, patches in enumerate(of_label):
            name = f"{label}/{index:03d}" if names is None else names[label][index]
            slides[name] = SlideRecord(name, "0" * 64, 10 * size, size * -(-patches // 10), None)
            for patch in range(patches):
                place = {"x": size * (patch % 10), "y": size * (patch // 10)}
                common = {"slide": name, "family": name, "label": label, "tissue": 1.0, "kept": True, "reason": ""}
                rows.append({**common, **place})
    if order is not None:
        rows = [rows[index] for index in order(len(rows))]
    return Manifest(pa.Table.from_pylist(rows, SCHEMA), slides, size, 0.25)


def test_the_papers_table_2():
    plan = plan_samples(manifest_of(PAPER_SIZES), DatasetConfig())
    counts = count_samples(plan)
    found = {
        (label, split): tuple(counts[split][label][name] for name in ("patches", "balanced", "samples"))
        for label, split in TABLE_2
    }
    assert found == TABLE_2
    assert len(plan.split) == 8608
    assert {label: {counts[split][label]["transforms"] for split in SPLITS} for label in ("PD", "D")} == {
        "PD": {3},
        "D": {7},
    }


@st.composite
def cohorts(draw):
    """2 to 5 classes, 6 to 300 families, 1 to 40 patches each."""
    classes = draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    most = draw(st.sampled_from([1, 5, 40]))
    return {
        f"class {index}": rng.integers(1, most + 1, draw(st.integers(3, 300 // classes))).tolist()
        for index in range(classes)
    }


def plan_or_none(sizes, config, **changes):
    """The plan; None where the method leaves a split of a class empty or cannot fold so few, which is refused by
    name.
    """
    try:
        return plan_samples(manifest_of(sizes, **changes), config)
    except InputError as error:
        known = "has no patch in the" in str(error) or "one a fold" in str(error) or "cannot fill" in str(error)
        if not known:
            raise
        return None


@given(cohorts(), st.sampled_from(sorted(set(METHODS) - {"resampled", "exact"})), st.integers(0, 7))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_nothing_is_lost_doubled_or_shared(sizes, method, transforms):
    plan = plan_or_none(sizes, DatasetConfig(method=method, transforms=transforms))
    assume(plan is not None)
    # Every patch is there untransformed, once, and every sample once.
    assert len(set(zip(plan.patch.tolist(), plan.transform.tolist(), strict=True))) == len(plan.patch)
    plain = plan.patch[plan.transform == 0]
    assert plain.tolist() == list(range(sum(map(sum, sizes.values()))))
    columns = {name: np.asarray(plan.patches[name].to_pylist()) for name in ("slide", "family", "label", "x", "y")}
    assert audit_patches(**columns, split=plan.split[plan.transform == 0], patch_size=250) == []
    counts = count_samples(plan)
    for split, labels in counts.items():
        for label, row in labels.items():
            assert 0 <= row["transforms"] == plan.transforms[split][label] <= transforms
            assert row["patches"] <= row["balanced"]
    for label, of_label in sizes.items():
        assert sum(counts[split][label]["patches"] for split in SPLITS) == sum(of_label)
        assert sum(counts[split][label]["families"] for split in SPLITS) == len(of_label)


@given(cohorts(), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_order_and_names_of_families_change_nothing(sizes, seed):
    plan = plan_or_none(sizes, DatasetConfig())
    assume(plan is not None)
    rng = np.random.default_rng(seed)
    names = {label: [f"{label}/{n}" for n in rng.permutation(len(of)).tolist()] for label, of in sizes.items()}
    shuffled = {label: rng.permutation(of).tolist() for label, of in sizes.items()}
    other = plan_or_none(shuffled, DatasetConfig(), names=names, order=lambda rows: rng.permutation(rows).tolist())
    assert count_samples(other) == count_samples(plan)
    assert other.partitions.keys() == plan.partitions.keys()
    for label, partition in plan.partitions.items():
        assert other.partitions[label].discrepancy == partition.discrepancy


@given(cohorts(), st.sampled_from(["exchange", "random", "random_samples"]), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_leaks_keep_the_counts_and_the_test_split(sizes, leak, seed):
    honest = plan_or_none(sizes, DatasetConfig())
    assume(honest is not None)
    leaky = plan_or_none(sizes, DatasetConfig(leak=leak, seed=seed))
    test = [(one.patch[one.split == 2].tolist(), one.transform[one.split == 2].tolist()) for one in (honest, leaky)]
    assert test[0] == test[1]
    for split in SPLITS:
        for label, row in count_samples(honest)[split].items():
            found = count_samples(leaky)[split][label]
            assert {name: found[name] for name in ("patches", "balanced", "samples")} == {
                name: row[name] for name in ("patches", "balanced", "samples")
            }
    if leak != "random_samples":
        # All samples of a patch are in one split.
        pairs = set(zip(leaky.patch.tolist(), leaky.split.tolist(), strict=True))
        assert len(pairs) == leaky.patches.num_rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proportions": (0.7, 0.2, 0.2)}, "proportions: .* sum"),
        ({"proportions": (0.5, 0.25, 0.25)}, "proportions: .*0.5"),
        ({"diversities": (0.5, 0.5, 0.5)}, "diversities: .* sum"),
        ({"method": "magic"}, "method: found 'magic'"),
        ({"leak": "some"}, "leak: found 'some'"),
        ({"accept": ("everything",)}, "accept: found"),
        ({"seed": -1}, "seed: found -1"),
    ],
)
def test_bad_settings_get_one_sentence(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        plan_samples(manifest_of(PAPER_SIZES), DatasetConfig(**changes))
    assert "\n" not in str(caught.value)


def test_bad_cohorts_get_one_sentence():
    for sizes, message in [
        ({"D": [3, 2, 1], "PD": [4, 4]}, "label PD has 2 families; expected at least 3"),
        ({"D": [3, 2, 1]}, "carry one label only"),
    ]:
        with pytest.raises(InputError, match=message):
            plan_samples(manifest_of(sizes), DatasetConfig())
    with pytest.raises(InputError, match=r"label D has no patch in the .* --set=dataset.method=exact gives every"):
        plan_samples(manifest_of({"D": [1, 1, 1], "PD": [9] * 7}), DatasetConfig(method="sequential"))


@given(st.lists(st.integers(1, 60), min_size=3, max_size=6), st.sampled_from(["filing", "exact"]))
@settings(max_examples=40, deadline=None)
def test_three_families_a_label_are_enough(sizes, method):
    plan = plan_samples(manifest_of({"D": sizes, "PD": [4, 4, 4]}), DatasetConfig(method=method))
    counts = count_samples(plan)
    assert all(counts[split][label]["families"] >= 1 for split in SPLITS for label in ("D", "PD"))
    filled = len(set(partition_families(sizes, method=method).assignment.tolist())) == 3
    assert (plan.partitions["D"].reason == "") == filled
    assert plan.partitions["D"].method == (method if filled else "exact")
    assert len(replaced_methods(plan)) == sum(bool(one.reason) for one in plan.partitions.values())


def mixed_manifest():
    """Seven families of which two have patches of both labels, and a slide for each label."""
    sizes = {"D": [3, 4, 5, 6], "PD": [2, 3, 4, 5, 6]}
    manifest = manifest_of(sizes)
    both = {"D/000": "patient 1", "PD/000": "patient 1", "D/001": "patient 2", "PD/001": "patient 2"}
    names = manifest.table["family"].to_pylist()
    place = manifest.table.schema.get_field_index("family")
    family = pa.array([both.get(name, name) for name in names])
    return manifest._replace(table=manifest.table.set_column(place, SCHEMA.field("family"), family))


def test_a_family_of_two_labels_is_refused_by_filing_with_a_flag_and_counts_once():
    manifest = mixed_manifest()
    with pytest.raises(
        InputError,
        match=r"patient 1 has patches of the labels D and PD, as 2 of 7 families .* --set=dataset.method=exact",
    ):
        plan_samples(manifest, DatasetConfig())
    config = DatasetConfig(method="exact")
    plan = plan_samples(manifest, config)
    card = dataset_card(manifest, plan, dict.fromkeys(SPLITS, Standardisation((0.0,) * 3, (1.0,) * 3)), [], config)
    assert card["families"] == {"D": 4, "PD": 5}
    assert sum(card["distinct_families"][split] for split in SPLITS) == 7
    assert card["partition"]["D"]["reason"] == ""
