"""How many transforms each class receives (paper III.E, equations 3 and 4)."""

from collections.abc import Mapping
from fractions import Fraction

from nbjax.errors import InputError


def transforms_per_class(patches_per_class: Mapping[str, int], available: int = 7) -> dict[str, int]:
    """Number of transforms, identity apart, that balance the classes and then augment them all.

    With t transforms available and r the rounded ratio of the largest class to a class, the minority's r satisfies
    `r n + (r - 1) <= t`; its largest n is the number of global class augmentations (NGCA, equation 4). A class whose
    own ratio rounds to 1 gets NGCA transforms, another `r NGCA + r - 1`. Ratios are rounded to the nearest integer,
    halves to the even one. Where even balancing alone needs more than t transforms, a class gets all t.

    Args:
        patches_per_class: patches of each class in one split, each at least 1.
        available: t, 0 to 7.

    Returns:
        Transforms of each class, 0 to `available`; a class then has `patches * (1 + transforms)` samples.

    Raises:
        InputError: no class, or a class without patches.
    """
    if not patches_per_class:
        raise InputError("no class was given to balance; expected patches of at least one.")
    for label, patches in patches_per_class.items():
        if patches < 1:
            raise InputError(f"class {label} has {patches} patches to balance; expected at least 1.")
    largest = max(patches_per_class.values())
    ratios = {label: round(Fraction(largest, patches)) for label, patches in patches_per_class.items()}
    ratio = max(ratios.values())
    ngca = (available + 1) // ratio - 1 if available >= ratio - 1 else 0
    return {label: min(available, ngca if r == 1 else r * ngca + r - 1) for label, r in ratios.items()}


def balanced_count(patches_per_class: Mapping[str, int], label: str) -> int:
    """Patches of a class after balancing alone, the middle column of the paper's Table 2."""
    return patches_per_class[label] * round(Fraction(max(patches_per_class.values()), patches_per_class[label]))
