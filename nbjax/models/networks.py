"""All architectures by name."""

import difflib

from nbjax.errors import InputError
from nbjax.models.densenet import densenet121
from nbjax.models.efficientnet import efficientnet_b0
from nbjax.models.efficientnet_lite import efficientnet_lite0
from nbjax.models.googlenet import googlenet
from nbjax.models.inception import inception_v3
from nbjax.models.network import Network
from nbjax.models.resnet import DEPTHS as RESNETS
from nbjax.models.resnet import resnet
from nbjax.models.small_cnn import small_cnn
from nbjax.models.vgg import DEPTHS as VGGS
from nbjax.models.vgg import vgg, vgg_gap

NETWORKS = {
    **dict.fromkeys(VGGS, vgg),
    **dict.fromkeys(RESNETS, resnet),
    "inception_v3": inception_v3,
    "googlenet": googlenet,
    "densenet121": densenet121,
    "efficientnet_b0": efficientnet_b0,
    "efficientnet_lite0": efficientnet_lite0,
    "vgg16_gap": vgg_gap,
    "small_cnn": small_cnn,
}


def build_network(name: str) -> Network:
    """The architecture of that name.

    Raises:
        InputError: there is none.
    """
    if name not in NETWORKS:
        close = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the backbones are {', '.join(NETWORKS)}."
        raise InputError(f"there is no backbone {name!r}; {hint}")
    return NETWORKS[name](name)
