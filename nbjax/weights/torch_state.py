"""From what a torch pickle holds to named arrays: the `state_dict` in it, and its tensors' storages."""

from collections.abc import Callable

import numpy as np

from nbjax.errors import InputError
from nbjax.weights.pickles import Parameter
from nbjax.weights.tensors import StorageRef, TensorRef, brief, window

WRAPPINGS = ("state_dict", "model_state_dict")
"""Keys under which training scripts keep the network's tensors, beside an optimiser's and others."""


def state_dict(value: object) -> dict[str, TensorRef]:
    """The named tensors of a loaded pickle.

    The pickle holds either names and tensors, or, under one key of `WRAPPINGS`, names and tensors; what is beside that key
    is left alone.

    Raises:
        InputError: neither is so.
    """
    if not isinstance(value, dict):
        raise InputError(f"it holds a value of type {type(value).__name__}, not a state_dict of named tensors")
    present = [key for key in WRAPPINGS if isinstance(value.get(key), dict)]
    if len(present) > 1:
        raise InputError("it holds both a 'state_dict' and a 'model_state_dict': save the one to use")
    named = value[present[0]] if present else value
    tensors = {}
    for name, entry in named.items():
        tensor = entry.data if isinstance(entry, Parameter) else entry
        if not isinstance(name, str) or not isinstance(tensor, TensorRef):
            raise InputError(
                f"its {brief(name)} is of type {type(entry).__name__}, not a tensor: expected a state_dict of "
                f"named tensors, at the top or under the key 'state_dict'"
            )
        tensors[name] = tensor
    return tensors


def read_tensors(
    tensors: dict[str, TensorRef], read_storage: Callable[[StorageRef], np.ndarray]
) -> dict[str, np.ndarray]:
    """Arrays of a state dict; tensors that share a storage in the file share memory.

    Args:
        tensors: by name.
        read_storage: gives the elements `[count]` of a whole storage.
    """
    storages: dict[tuple[str, str], np.ndarray] = {}
    arrays = {}
    for name, tensor in tensors.items():
        storage = tensor.storage
        if (storage.key, storage.element) not in storages:
            storages[storage.key, storage.element] = read_storage(storage)
        values = storages[storage.key, storage.element][storage.begin : storage.begin + storage.length]
        arrays[name] = window(values, tensor.offset, tensor.shape, tensor.strides)
    return arrays
