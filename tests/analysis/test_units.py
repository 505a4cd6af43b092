import numpy as np
import pyarrow as pa
import pytest

from nbjax.analysis.units import units_at
from nbjax.errors import InputError


def test_a_patch_counts_once_however_many_samples_it_has(make_predictions):
    table = make_predictions(sessions=2, transforms=3)
    means = {}
    for row in table.to_pylist():
        means.setdefault((row["seed"], row["slide"], row["x"]), []).append(row["probability"])
    patches = units_at(table, "patch", 2)
    assert patches.probabilities.shape == (2, len(means) // 2, 2)
    expected = sorted(np.mean(values) for (seed, _, _), values in means.items() if seed == 1)
    np.testing.assert_allclose(np.sort(patches.probabilities[1, :, 1]), expected, rtol=1e-9)
    np.testing.assert_allclose(
        patches.losses, -np.log(np.take_along_axis(patches.probabilities, patches.labels[None, :, None], 2)[..., 0])
    )


def test_slides_and_families_are_means_over_patches_not_samples(make_predictions):
    table = make_predictions(sessions=1, transforms=1)
    # One patch gets two samples more, alike: nothing above samples may move.
    extra = table.slice(0, 1)
    place = table.column_names.index("sample")
    more = [table] + [extra.set_column(place, "sample", pa.array([len(table) + n])) for n in range(2)]
    for level in ("patch", "slide", "family"):
        once, thrice = units_at(table, level, 2), units_at(pa.concat_tables(more), level, 2)
        np.testing.assert_allclose(thrice.probabilities, once.probabilities, rtol=1e-12)
    assert len(units_at(table, "family", 2).labels) == 8
    assert len(units_at(table, "slide", 2).labels) == 16


def test_a_sure_and_wrong_float32_keeps_its_loss(make_predictions):
    table = make_predictions(sessions=1, transforms=1).slice(0, 1)
    for name, value in (("probability", np.float32(1)), ("loss", np.float32(30))):
        table = table.set_column(table.column_names.index(name), name, pa.array([value]))
    np.testing.assert_allclose(units_at(table, "patch", 2).losses, 30, rtol=1e-6)


def test_bad_predictions(make_predictions):
    table = make_predictions()
    with pytest.raises(InputError, match="level: found 'cell'"):
        units_at(table, "cell", 2)
    with pytest.raises(InputError, match="no column slide, x"):
        units_at(table.drop_columns(["slide", "x"]), "patch", 2)
    with pytest.raises(InputError, match="not of the same samples"):
        units_at(table.slice(1), "patch", 2)
