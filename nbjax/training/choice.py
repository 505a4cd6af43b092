"""How a program's sessions run beside each other: a rule, from what `benchmarks/batching.md` measured.

It decides speed and, by rounding alone, the last digits of a result; what a study began with is kept with its programs
(`nbjax.training.plan`). For tests, and to run a study as another machine did, the environment variable `NBJAX_CHOICE`
(`vmap-1`, `vmap-16`, `map-1` or `map-16`: batching and block) takes the place of the rule.
"""

import os

import jax

from nbjax.errors import InputError
from nbjax.training.program import Program
from nbjax.training.sessions import Batching

VARIABLE = "NBJAX_CHOICE"
KINDS = ("vmap", "map")
BLOCK = 16
NAMES = tuple(f"{kind}-{block}" for kind in KINDS for block in (1, BLOCK))
# So many features for each sample of a batch, and a CPU takes several steps at once: their products grow with the
# batch, what they save with the features.
WIDE = 128


def choose(program: Program, devices: int = 1, whole: bool = True) -> tuple[Program, Batching]:
    """The program with its `block`, and its batching.

    Args:
        program: to run.
        devices: over which its sessions are spread.
        whole: they train on all samples; not on rows of them, of which each step is taken alone.

    Raises:
        InputError: `NBJAX_CHOICE` is none of its words.
    """
    word = os.environ.get(VARIABLE) or rule(program, jax.default_backend())
    if word not in NAMES:
        raise InputError(f"the environment variable {VARIABLE} is {word!r}; expected {', '.join(NAMES)}, or none.")
    kind, block = word.split("-")
    return program._replace(block=int(block) if whole and blocks_of(program) else 1), Batching(kind, devices)


def blocks_of(program: Program) -> bool:
    """Whether a program can take several steps at once: a head with hidden layers, under SGD without weight decay."""
    hidden = program.head_only and program.nonlinearities > 0
    return hidden and program.optimiser == "sgd" and program.weight_decay == 0


def rule(program: Program, backend: str) -> str:
    """One of `NAMES`.

    Convolutions with weights of each session's own are slow side by side, so that networks run one after the other.
    Heads run side by side; several steps at once save the reading and writing of a head's weights for a few samples'
    sake.
    """
    if not program.head_only:
        return "map-1"
    several = backend != "cpu" or program.features >= WIDE * program.batch_size
    return f"vmap-{BLOCK}" if several else "vmap-1"
