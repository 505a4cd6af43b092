"""Patches to samples: the eight transforms, balance, standardisation, the plan of a dataset, reading it."""

from nbjax.samples.balance import transforms_per_class
from nbjax.samples.transforms import TRANSFORMS, apply_transform

__all__ = ["TRANSFORMS", "apply_transform", "transforms_per_class"]
