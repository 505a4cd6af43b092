import pytest

from nbjax.slides.names import one_patients_names


def test_blocks_of_one_case_are_seen():
    names = ["D/Case-1-A1", "D/Case-2-B4", "PD/Case-3-A15", "PD/Case-3-A17", "PD/Case-4-A1"]
    assert one_patients_names(names) == {"Case-3": ["PD/Case-3-A15", "PD/Case-3-A17"]}


def test_a_case_under_two_labels_is_one():
    names = ["D/TCGA-A1-A0SB-DX1", "PD/TCGA-A1-A0SB-DX2", "D/TCGA-A1-A0SC-DX1", "D/TCGA-A2-A04P-DX1"]
    assert one_patients_names(names) == {"TCGA-A1-A0SB": ["D/TCGA-A1-A0SB-DX1", "PD/TCGA-A1-A0SB-DX2"]}


def test_two_of_a_case_among_plain_names():
    names = ["Case-3-A15", "Case-3-A17", *(f"s{number}" for number in range(6))]
    assert list(one_patients_names(names)) == ["Case-3"]


@pytest.mark.parametrize(
    "names",
    [
        [f"D/slide {number}" for number in range(9)],
        [f"D/slide{number}" for number in range(9)],
        [f"D/{year}_{number:03}" for year in (2020, 2021) for number in range(9)],
        [f"14-{number}AB" for number in range(22_000, 22_009)],
        [f"NORM-TCGA-{word}" for word in ("ABCDEFGH", "QWERTYUI", "ZXCVBNMA")],
        [],
    ],
)
def test_numbers_of_slides_years_and_patients_are_no_blocks(names):
    assert one_patients_names(names) == {}
