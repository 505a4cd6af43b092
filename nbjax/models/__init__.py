"""Backbones and heads in Flax Linen, and the conversion of published weights."""

from nbjax.models.backbone import NETWORKS, Backbone, build_network, load_backbone, load_headless
from nbjax.models.heads import apply_head, init_head
from nbjax.models.layers import Mode
from nbjax.models.network import Network, Stage, forward

__all__ = [
    "NETWORKS",
    "Backbone",
    "Mode",
    "Network",
    "Stage",
    "apply_head",
    "build_network",
    "forward",
    "init_head",
    "load_backbone",
    "load_headless",
]
