"""Names of families that look as if they were one patient's."""

import re
from collections.abc import Iterable

# A name's parts; a change between letters and digits divides too, as in `P12b`.
PARTS = re.compile(r"[A-Za-z]+|\d+|[^\sA-Za-z\d_.\-]+")
# Fewer beginnings than this that most families share are a year's, a batch's or a scanner's, not a patient's.
FEWEST_PATIENTS = 3


def one_patients_names(families: Iterable[str]) -> dict[str, list[str]]:
    """Families whose names differ in their last part only, after a beginning with a number in it: `Case-3-A15`,
    `Case-3-A17`.

    That is how laboratories number a patient's blocks and slides. Where most families share fewer than three
    beginnings, these say something else (a year, a batch), and nothing is returned.

    Args:
        families: identifiers, each `<label>/<slide>` or the name of a family's folder.

    Returns:
        By the beginning, the families that share it, where these are several; sorted.
    """
    by_beginning: dict[str, list[str]] = {}
    names = sorted(set(families))
    for family in names:
        beginning = _beginning(family.rsplit("/", 1)[-1])
        if beginning:
            by_beginning.setdefault(beginning, []).append(family)
    shared = {beginning: alike for beginning, alike in sorted(by_beginning.items()) if len(alike) > 1}
    covered = sum(map(len, shared.values()))
    return {} if len(by_beginning) < FEWEST_PATIENTS and 2 * covered > len(names) else shared


def _beginning(name: str) -> str:
    """What stands before a name's last part, where a number is in it; else empty."""
    words = [word for word in re.split(r"[\s_.\-]+", name) if word]
    beginning = words[:-1]
    if not beginning:
        # One word: `P12b` is block b of P12; `slide12` is slide 12 of no patient.
        parts = PARTS.findall(name)
        beginning = parts[:2] if len(parts) == 3 and parts[1].isdigit() else []
    return "-".join(beginning) if any(any(letter.isdigit() for letter in word) for word in beginning) else ""
