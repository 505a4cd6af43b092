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
# Samples a step from which, on a CPU, all sessions at once are faster than one after the other in blocks of steps.
LARGE_BATCH = 64


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

    Convolutions with weights of each session's own are slow side by side everywhere. Of a head with hidden layers each
    session's weights outgrow a processor's cache, so that a processor takes one session after the other while its
    batches are small; a GPU has the room, and is kept busy by many sessions at once.
    """
    if not program.head_only:
        return "map-1"
    if program.nonlinearities == 0:
        return "vmap-1"
    if backend != "cpu":
        return f"vmap-{BLOCK}"
    return f"map-{BLOCK}" if program.batch_size < LARGE_BATCH else "vmap-1"
