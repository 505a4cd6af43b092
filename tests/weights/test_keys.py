"""Names and shapes both ways."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbjax.errors import InputError
from nbjax.weights import match_keys

EXPECTED = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "fc.weight": (10, 4), "fc.bias": (10,)}


def given_arrays() -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, np.float32) for name, shape in EXPECTED.items()}


def test_a_match_comes_in_the_expected_order() -> None:
    found = dict(reversed(given_arrays().items()))
    matched = match_keys(EXPECTED, found, "net.pth")
    assert list(matched) == list(EXPECTED)
    assert all(matched[name] is found[name] for name in EXPECTED)


def test_the_error_lists_all_that_differs_with_shapes() -> None:
    found = given_arrays()
    del found["fc.bias"]
    found["conv.bias"] = np.zeros(5, np.float32)
    found["fc.weight"] = np.zeros((10, 4), np.int64)
    for number in range(6):
        found[f"extra{number}"] = np.zeros((2, number), np.float32)
    with pytest.raises(InputError) as caught:
        match_keys(EXPECTED, found, "net.pth")
    message = str(caught.value)
    assert message.startswith(
        "net.pth: its 9 tensors are not the 4 expected: 1 missing (fc.bias (10,)); 6 unexpected ("
    )
    assert "extra0 (2, 0), extra1 (2, 1), extra2 (2, 2), extra3 (2, 3), …" in message
    assert "extra4" not in message
    assert "1 of another shape (conv.bias (5,), expected (4,))" in message
    assert "1 not of floating point (fc.weight int64)" in message


@pytest.mark.parametrize("partial", ["fc.*", ["fc.weight", "fc.bias"], ("*.bias", "fc.weight")])
def test_what_a_pattern_names_may_be_absent(partial) -> None:
    found = given_arrays()
    del found["fc.weight"], found["fc.bias"]
    assert list(match_keys(EXPECTED, found, "net.pth", partial)) == ["conv.weight", "conv.bias"]
    with pytest.raises(InputError, match="2 missing"):
        match_keys(EXPECTED, found, "net.pth")
    del found["conv.weight"]
    with pytest.raises(InputError, match=r"1 missing \(conv.weight"):
        match_keys(EXPECTED, found, "net.pth", partial)


def test_a_pattern_does_not_excuse_a_wrong_shape_or_an_unexpected_name() -> None:
    found = given_arrays() | {"fc.weight": np.zeros((2, 4), np.float32), "fc.scale": np.zeros(1, np.float32)}
    with pytest.raises(InputError, match=r"1 unexpected \(fc.scale \(1,\)\); 1 of another shape \(fc.weight \(2, 4\)"):
        match_keys(EXPECTED, found, "net.pth", "fc.*")


def test_a_pattern_that_fits_nothing_is_an_error() -> None:
    with pytest.raises(InputError, match=r"the pattern 'classifier\.\*' fits no expected name"):
        match_keys(EXPECTED, given_arrays(), "net.pth", "classifier.*")


@pytest.mark.parametrize(("in_expected", "in_found"), [(False, False), (False, True), (True, False), (True, True)])
def test_counters_of_batches_are_ignored_on_both_sides(in_expected: bool, in_found: bool) -> None:
    counter = "bn.num_batches_tracked"
    expected = EXPECTED | ({counter: ()} if in_expected else {})
    found = given_arrays() | ({counter: np.zeros((), np.int64)} if in_found else {})
    assert list(match_keys(expected, found, "net.pth")) == list(EXPECTED)


SHAPES = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([(), (1,), (2,), (1, 2)]), min_size=1, max_size=6)


@given(SHAPES, SHAPES)
def test_it_matches_exactly_when_names_and_shapes_are_equal(expected, shapes) -> None:
    found = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    if expected == shapes:
        assert match_keys(expected, found, "net.pth") == found
    else:
        with pytest.raises(InputError, match="tensors are not the"):
            match_keys(expected, found, "net.pth")
