"""Checkpoints in: safe readers, key checks, published sources. The store of converted weights:
`nbjax.weights.store`.
"""

from nbjax.weights.checkpoint import read_checkpoint
from nbjax.weights.keys import match_keys

__all__ = ["match_keys", "read_checkpoint"]
