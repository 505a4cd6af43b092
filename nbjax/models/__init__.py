"""Backbones and heads in Flax Linen, and the conversion of published weights."""

from nbjax.models.backbone import Backbone, RandomWeightsWarning, check_names, load_backbone, load_headless
from nbjax.models.heads import apply_head, init_head
from nbjax.models.layers import Mode
from nbjax.models.network import Network, Stage, forward
from nbjax.models.networks import NETWORKS, build_network

__all__ = [
    "NETWORKS",
    "Backbone",
    "Mode",
    "Network",
    "RandomWeightsWarning",
    "Stage",
    "apply_head",
    "build_network",
    "check_names",
    "forward",
    "init_head",
    "load_backbone",
    "load_headless",
]
