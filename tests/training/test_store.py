import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest

from nbjax.errors import InputError
from nbjax.training import store
from nbjax.training.program import NOTHING, Hyper, Program, Samples
from nbjax.training.sessions import TOGETHER, start

PROGRAM = Program(features=6, nonlinearities=1, batch_size=4)


def begun(count=3):
    rng = np.random.default_rng(0)
    data = Samples(jnp.asarray(rng.standard_normal((9, 6), np.float32)), jnp.asarray(rng.integers(0, 2, 9), jnp.int32))
    hypers = Hyper(jnp.full(count, 0.01, jnp.float32), jnp.arange(count, dtype=jnp.uint32))
    return start(PROGRAM, TOGETHER, hypers, NOTHING, data, data)


def test_a_checkpoint_gives_back_every_bit_and_only_the_last_is_kept(tmp_path):
    states, metrics = begun()
    stacked = jax.tree.map(lambda values: np.stack([values, values]), metrics)
    for epoch in (3, 10, 9):
        store.checkpoint(tmp_path, epoch, states, stacked)
    assert [path.name for path in (tmp_path / store.IN_FLIGHT).iterdir()] == ["9"]
    (tmp_path / store.IN_FLIGHT / ".11.4194304-1.0123abcd.tmp").mkdir()
    epoch, found, kept = store.restore(tmp_path, jax.eval_shape(lambda: states), metrics)
    assert epoch == 9
    assert jax.tree.structure(found) == jax.tree.structure(states)
    for one, other in zip(jax.tree.leaves((found, kept)), jax.tree.leaves((states, stacked)), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_no_checkpoint_is_none(tmp_path):
    states, metrics = begun()
    assert store.restore(tmp_path, states, metrics) is None


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped", "removed", "unsealed"])
def test_a_damaged_checkpoint_is_said_and_the_program_goes_on_from_an_earlier_one(damage, tmp_path, capsys):
    states, metrics = begun()
    stacked = jax.tree.map(lambda values: values[None], metrics)
    store.checkpoint(tmp_path, 4, states, stacked)
    shutil.copytree(tmp_path / store.IN_FLIGHT / "4", tmp_path / "4")
    store.checkpoint(tmp_path, 5, states, stacked)
    (tmp_path / "4").rename(tmp_path / store.IN_FLIGHT / "4")
    path = tmp_path / store.IN_FLIGHT / "5"
    files = sorted((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    content = bytearray(files[-1].read_bytes())
    if damage == "removed":
        files[-1].unlink()
    elif damage == "unsealed":
        (path / "SHA256SUMS").unlink()
    else:
        content[len(content) // 2] ^= 4
        files[-1].write_bytes({"cut": content[:100], "emptied": b"", "flipped": content}[damage])
    epoch, *_ = store.restore(tmp_path, jax.eval_shape(lambda: states), metrics)
    assert epoch == 4
    assert "in_flight/5" in capsys.readouterr().err
    assert [left.name for left in (tmp_path / store.IN_FLIGHT).iterdir()] == ["4"]


def test_a_checkpoint_of_another_program_is_named(tmp_path):
    states, metrics = begun()
    store.checkpoint(tmp_path, 5, states, jax.tree.map(lambda values: values[None], metrics))
    with pytest.raises(InputError, match="in_flight/5: a checkpoint of another program") as caught:
        store.restore(tmp_path, begun(4)[0], metrics)
    assert "\n" not in str(caught.value)


def finished(folder):
    table = pa.table({"seed": [1, 2], "epoch": [0, 0]})
    store.finish(
        folder, table, {"test": np.ones((2, 3, 1), np.float32)}, {"params": {"head": ({"kernel": np.ones(3)},)}}
    )
    return table


def test_what_is_finished_is_read_back_and_drops_the_checkpoint(tmp_path):
    states, metrics = begun()
    store.checkpoint(tmp_path, 5, states, jax.tree.map(lambda values: values[None], metrics))
    assert not store.is_finished(tmp_path)
    table = finished(tmp_path)
    assert store.is_finished(tmp_path)
    assert store.read_history(tmp_path).equals(table)
    np.testing.assert_array_equal(store.read_logits(tmp_path)["test"], np.ones((2, 3, 1)))
    assert not (tmp_path / store.IN_FLIGHT).exists()


@pytest.mark.parametrize("kept", [0, 3, 200, -1])
@pytest.mark.parametrize(("name", "read"), [(store.HISTORY, store.read_history), (store.LOGITS, store.read_logits)])
def test_a_damaged_result_is_named(name, read, kept, tmp_path):
    finished(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=rf"{name} is damaged: .*; remove .* the same command runs this program again"):
        read(tmp_path)


@pytest.mark.parametrize("name", [store.HISTORY, store.LOGITS, store.DESCRIPTION, f"{store.BEST}/tree/_METADATA"])
@pytest.mark.parametrize("seal", [False, True])
def test_a_program_with_damage_counts_as_unfinished_when_the_study_is_opened_and_others_do_not(
    name, seal, tmp_path, capsys
):
    programs = [tmp_path / store.PROGRAMS / letter for letter in "ab"]
    for folder in programs:
        store.describe(folder, {"a": 1})
        finished(folder)
        # A process that died before it dropped its checkpoint.
        (folder / store.IN_FLIGHT / "3").mkdir(parents=True)
    victim = programs[1] / name
    if seal:
        seals = [programs[1] / store.BEST / "SHA256SUMS", victim.with_name(f"{victim.name}.sha256")]
        next(path for path in reversed(seals) if path.is_file()).unlink()
    else:
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    with store.locked(tmp_path):
        assert [store.is_finished(folder) for folder in programs] == [True, False]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert str(programs[1] / name.split("/")[0]) in said[0]
    assert said[0].endswith("this program runs again.")
    assert not (programs[0] / store.IN_FLIGHT).exists()


def test_a_second_process_is_refused_and_a_dead_one_is_not(tmp_path):
    code = "import sys; from pathlib import Path; from nbjax.training.store import locked\n"
    code += "with locked(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "in\n"
        with (
            pytest.raises(InputError, match=rf"another process \(process {other.pid}\) is at work"),
            store.locked(tmp_path),
        ):
            pass
        other.kill()
    with store.locked(tmp_path):
        (tmp_path / "kept").write_text("", encoding="utf-8")
    assert (tmp_path / "kept").is_file()
