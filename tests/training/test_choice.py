"""How sessions run beside each other: by a rule, or as the environment says."""

import pytest

from nbjax.errors import InputError
from nbjax.models.networks import build_network
from nbjax.training.choice import NAMES, choose, rule
from nbjax.training.program import Program

HEAD = Program(features=2048, nonlinearities=1, batch_size=8)


def chosen(program, **settings):
    found, batching = choose(program, **settings)
    assert found == program._replace(block=found.block)
    return f"{batching.kind}-{found.block}"


@pytest.fixture
def nothing_forced(monkeypatch):
    monkeypatch.delenv("NBJAX_CHOICE", raising=False)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (HEAD, "vmap-16"),
        (HEAD._replace(batch_size=64), "vmap-1"),
        (HEAD._replace(features=512), "vmap-1"),
        # Steps of Adam, or with weight decay, are taken one after the other.
        (HEAD._replace(optimiser="adam"), "vmap-1"),
        (HEAD._replace(weight_decay=0.1), "vmap-1"),
        (HEAD._replace(nonlinearities=0), "vmap-1"),
        (HEAD._replace(network=build_network("small_cnn")), "map-1"),
    ],
)
def test_the_rule_on_a_processor(program, expected, nothing_forced):
    assert chosen(program) == expected


def test_a_gpu_has_its_own_rule():
    assert [rule(HEAD._replace(batch_size=size), "gpu") for size in (8, 64)] == ["vmap-16", "vmap-16"]
    assert rule(HEAD._replace(network=build_network("small_cnn")), "gpu") == "map-1"


@pytest.mark.parametrize("name", NAMES)
def test_a_choice_is_forced_as_far_as_the_program_can_do_it(name, monkeypatch):
    monkeypatch.setenv("NBJAX_CHOICE", name)
    kind = name.split("-")[0]
    assert chosen(HEAD) == name
    assert chosen(HEAD._replace(optimiser="adam")) == f"{kind}-1"
    assert chosen(HEAD, whole=False) == f"{kind}-1"


def test_sessions_are_spread_over_devices():
    assert choose(HEAD, 2)[1].devices == 2


def test_a_word_that_forces_nothing_is_refused(monkeypatch):
    monkeypatch.setenv("NBJAX_CHOICE", "first")
    with pytest.raises(
        InputError, match=r"NBJAX_CHOICE is 'first'; expected vmap-1, vmap-16, map-1, map-16, or none\."
    ):
        choose(HEAD)
