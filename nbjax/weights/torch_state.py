"""From what a torch pickle holds to named arrays: the `state_dict` in it, and its tensors' storages."""

from collections.abc import Callable

import numpy as np

from nbjax.errors import InputError
from nbjax.weights.symbols import Inert, Parameter, type_name
from nbjax.weights.tensors import StorageRef, TensorRef, brief, window

WRAPPINGS = (("state_dict", "model_state_dict"), ("model", "net", "network", "params"))
"""Keys under which training scripts keep the network's tensors, beside an optimiser's; the first come first."""

_DEEPEST = 3


def state_dict(value: object) -> tuple[dict[str, TensorRef], str]:
    """The named tensors of a loaded pickle, and the key that they lie under: empty at the top, dots between several.

    They lie at the top, or, where there are other things, under a key: one of `WRAPPINGS` before any other, and else
    the only one that holds named tensors. What is beside them is left alone.

    Raises:
        InputError: there are none, or several keys hold some.
    """
    entries = _entries(value)
    if entries is None:
        raise InputError(
            f"it holds a value of type {type_name(value)}, not a state_dict of named tensors (nothing in it was "
            f"executed): save the model's state_dict() in place of it"
        )
    candidates = _candidates(entries, "", 1, set())
    if not candidates or all(isinstance(_tensor(entry), TensorRef) for entry in entries.values()):
        return _tensors(entries), ""
    for keys in (*WRAPPINGS, tuple(candidates)):
        present = [key for key in keys if key in candidates]
        if len(present) == 1:
            return _tensors(candidates[present[0]]), present[0]
        if present:
            break
    listed = ", ".join(repr(key) for key in present[:4]) + (", …" if len(present) > 4 else "")
    raise InputError(
        f"it holds named tensors under several keys ({listed}): save those to use alone, as in "
        f"torch.save(checkpoint[{present[0]!r}], 'weights.pth')"
    )


def _entries(value: object) -> dict[object, object] | None:
    return value.entries if isinstance(value, Inert) else value if isinstance(value, dict) else None


def _candidates(
    entries: dict[object, object], above: str, depth: int, seen: set[int]
) -> dict[str, dict[object, object]]:
    """Dicts of named tensors below the top by their keys; `seen` has the identities of those looked at, each once."""
    candidates: dict[str, dict[object, object]] = {}
    for key, value in entries.items():
        inner = _entries(value)
        if not isinstance(key, str) or inner is None or id(inner) in seen:
            continue
        seen.add(id(inner))
        if _is_state(inner) or (depth == 1 and key in WRAPPINGS[0]):
            candidates[above + key] = inner
        elif depth < _DEEPEST:
            candidates.update(_candidates(inner, f"{above}{key}.", depth + 1, seen))
    return candidates


def _is_state(entries: dict[object, object]) -> bool:
    """Whether a dict looks like a network: mostly names with tensors, of which one at least is an array of floats."""
    tensors = [tensor for entry in entries.values() if isinstance(tensor := _tensor(entry), TensorRef)]
    is_network = any(tensor.shape and "f" in tensor.storage.element for tensor in tensors)
    return is_network and 2 * len(tensors) > len(entries)


def _tensor(entry: object) -> object:
    return entry.data if isinstance(entry, Parameter) else entry


def _tensors(entries: dict[object, object]) -> dict[str, TensorRef]:
    """The tensors of a dict; torch's `_extra_state` of a module is none and is left out."""
    tensors = {}
    for name, entry in entries.items():
        tensor = _tensor(entry)
        if isinstance(name, str) and name.rpartition(".")[2] == "_extra_state":
            continue
        if not isinstance(name, str) or not isinstance(tensor, TensorRef):
            raise InputError(
                f"its {brief(name)} is of type {type_name(entry)}, not a tensor: expected a state_dict of "
                f"named tensors, at the top or under a key such as 'state_dict'"
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
