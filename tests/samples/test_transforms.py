import itertools

import numpy as np
import pytest

from nbjax.samples.transforms import TRANSFORMS, apply_transform, compose, inverse

PATCH = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
ALL = range(8)


def test_the_authors_order():
    expected = [PATCH, PATCH[:, ::-1]]
    for turns in (1, 2, 3):
        turned = np.rot90(PATCH, turns)
        expected += [turned, turned[:, ::-1]]
    assert len(TRANSFORMS) == 8
    for transform in ALL:
        np.testing.assert_array_equal(apply_transform(PATCH, transform), expected[transform])


def test_eight_different_pictures():
    assert len({apply_transform(PATCH, transform).tobytes() for transform in ALL}) == 8


@pytest.mark.parametrize(("second", "first"), list(itertools.product(ALL, ALL)))
def test_closed_under_composition(second, first):
    one_by_one = apply_transform(apply_transform(PATCH, first), second)
    np.testing.assert_array_equal(one_by_one, apply_transform(PATCH, compose(second, first)))


def test_group_axioms():
    for a, b, c in itertools.product(ALL, ALL, ALL):
        assert compose(a, compose(b, c)) == compose(compose(a, b), c)
    for a in ALL:
        assert compose(a, 0) == compose(0, a) == a
        assert compose(inverse(a), a) == compose(a, inverse(a)) == 0


def test_batches_are_transformed_patch_by_patch():
    batch = np.stack([PATCH, PATCH[::-1]])
    for transform in ALL:
        np.testing.assert_array_equal(apply_transform(batch, transform)[1], apply_transform(batch[1], transform))
