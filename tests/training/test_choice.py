"""Measured choices: kept a file each, measured again where a file cannot be used, and never a reason to stop."""

import json

import pytest

from nbjax.errors import InputError
from nbjax.training.choice import NAMES, choose
from nbjax.training.program import NOTHING, Program

# Under Adam a head has two ways to run, which takes half the time to measure.
ADAM = Program(features=4, nonlinearities=1, batch_size=2, optimiser="adam")
SGD = ADAM._replace(optimiser="sgd")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and nothing forced."""
    monkeypatch.setenv("NBJAX_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NBJAX_CHOICE", raising=False)
    return tmp_path / "home"


def chosen(program):
    found, batching = choose(program, 2, NOTHING, (4,), 1)
    assert found == program._replace(block=found.block)
    assert batching.devices == 1
    return f"{batching.kind}-{found.block}"


def entries(cache):
    return {path: json.loads(path.read_text(encoding="utf-8")) for path in (cache / "choices").iterdir()}


def test_the_fastest_is_taken_kept_and_not_measured_again(cache):
    first = chosen(ADAM)
    ((path, entry),) = entries(cache).items()
    assert entry["choice"] == first == min(entry["seconds"], key=entry["seconds"].get)
    assert set(entry["seconds"]) == {"vmap-1", "map-1"}
    for name in ("vmap-1", "map-1"):
        path.write_text(json.dumps({**entry, "choice": name}), encoding="utf-8")
        assert chosen(ADAM) == name
        assert entries(cache) == {path: {**entry, "choice": name}}


def test_a_linear_head_has_no_choice(cache):
    assert chosen(ADAM._replace(nonlinearities=0)) == "vmap-1"
    assert not cache.exists()


@pytest.mark.parametrize(
    "damage",
    [
        *("", "[]", "null", "3", '"vmap-1"', "{", "[" * 100_000, '{"choice": "vmap-1"}', "\xff\xfe"),
        *({"choice": choice} for choice in ("fast", "vmap-16", "vmap 1", None, 3, ["vmap-1"], {"vmap-1": 1})),
        {"program": "another"},
    ],
    ids=lambda damage: str(damage)[:24],
)
def test_a_damaged_entry_is_measured_again_and_no_other_is_lost(damage, cache):
    chosen(ADAM)
    ((path, entry),) = entries(cache).items()
    other = path.with_name("other.json")
    other.write_text("{}", encoding="utf-8")
    text = damage if isinstance(damage, str) else json.dumps({**entry, **damage})
    path.write_bytes(text.encode("latin1"))
    assert chosen(ADAM) in ("vmap-1", "map-1")
    assert entries(cache)[path]["program"] == entry["program"]
    assert entries(cache).keys() == {path, other}


def test_a_cache_that_cannot_be_read_or_written_is_gone_without(cache, tmp_path, monkeypatch):
    chosen(ADAM)
    (path,) = entries(cache)
    path.unlink()
    path.mkdir()
    assert chosen(ADAM) in ("vmap-1", "map-1")
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("NBJAX_HOME", str(tmp_path / "file"))
    assert chosen(ADAM) in ("vmap-1", "map-1")


@pytest.mark.parametrize("name", NAMES)
def test_a_choice_is_forced_as_far_as_the_program_can_do_it(name, cache, monkeypatch):
    monkeypatch.setenv("NBJAX_CHOICE", name)
    assert chosen(SGD) == name
    assert chosen(ADAM) == f"{name.split('-')[0]}-1"
    assert not cache.exists()


def test_a_word_that_forces_nothing_is_refused(cache, monkeypatch):
    monkeypatch.setenv("NBJAX_CHOICE", "first")
    with pytest.raises(
        InputError, match=r"NBJAX_CHOICE is 'first'; expected vmap-1, vmap-16, map-1, map-16, or none\."
    ):
        chosen(SGD)
