"""What a strategy trains of a network, and the cut that follows."""

from typing import NamedTuple

from nbjax.errors import InputError
from nbjax.models.anatomy import anatomy
from nbjax.models.heads import head_sizes
from nbjax.models.network import Keys, Network
from nbjax.training.strategy import ALL, Fidelity, Strategy


class Cut(NamedTuple):
    """Where a network is divided.

    Attributes:
        start: the first stage that a session runs; None where that is the network's first, on pixels.
        reason: in words, why not later.
    """

    start: str | None
    reason: str


def trainable(network: Network, strategy: Strategy) -> tuple[Keys, ...]:
    """Paths of the backbone's parameters that a strategy trains, first to last; the replaced last layer is none of
    them.

    Counted as the authors did: backwards through the parameters in torch's order, the first k + 1 tensors of two or
    more dimensions (the new last layer is the first of them) and every vector parameter after the last of these.

    Raises:
        InputError: the network has fewer tensors or stages than the strategy names, or fewer features than its head
            halves.
    """
    head_sizes(network.feature_size, strategy.nonlinearities, 1)
    order = [tensor for tensor in anatomy(network).tensors if tensor.path[0] != network.stages[-1].name]
    if strategy.unfrozen == 0:
        return ()
    stages = list(dict.fromkeys(tensor.path[0] for tensor in order))
    matrices = [index for index, tensor in enumerate(order) if len(tensor.shape) > 1]
    most = len(stages) if strategy.stages else len(matrices)
    if strategy.unfrozen > most:
        kind = "stages with parameters" if strategy.stages else "weight tensors"
        raise InputError(
            f"strategy {strategy.text!r}: {network.name} has {most} {kind} before its last layer; expected at most "
            "that."
        )
    if strategy.unfrozen == ALL:
        first = 0
    elif strategy.stages:
        first = next(i for i, tensor in enumerate(order) if tensor.path[0] == stages[-strategy.unfrozen])
    else:
        first = matrices[-strategy.unfrozen]
    return tuple(tensor.path for tensor in order[first:])


def find_cut(network: Network, strategy: Strategy, fidelity: Fidelity, crops: bool = True) -> Cut:
    """The latest cut before which everything is frozen and deterministic.

    Args:
        network: the architecture.
        strategy: of the session.
        fidelity: of the session.
        crops: whether samples are cropped at all; a network that scales them whole (Inception v3) has nothing to draw.
    """
    trained = {path[0] for path in trainable(network, strategy)}
    if crops and fidelity.crop == "random":
        return Cut(None, "every sample is cropped anew each time")
    holds = anatomy(network)
    for index, stage in enumerate(network.stages[:-1]):
        if stage.name in trained:
            reason = f"{stage.name} is trained"
        elif fidelity.batch_norm == "batch" and stage.name in holds.batch_norm:
            reason = f"{stage.name} normalises by its batch"
        elif fidelity.dropout == "on" and stage.name in holds.dropout:
            reason = f"{stage.name} has dropout"
        else:
            continue
        return Cut(stage.name if index else None, reason)
    return Cut(network.stages[-1].name, "everything before the new last layer is frozen")
