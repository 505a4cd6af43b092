"""Every kind of stored file of a finished study, damaged in every way: the same command says so and makes it again."""

import random
import shutil

import pytest

from tests.torture.conftest import wrong

# Files that are read again, each said by its own name or by that of its folder; a bank whose description is damaged is
# made again whole, so its features are harmed on their own.
READ_AGAIN = {
    "manifest.parquet": "manifest.parquet",
    "study.json": "study.json",
    "banks/*/bank.json": "banks/",
    "programs/*straight*/history.parquet": "history.parquet",
    "programs/*extension*/logits.npz": "logits.npz",
}
PARTS = {
    "banks/*/train.npy": "train.npy",
    "banks/*/test.npy": "test.npy",
    "programs/*straight*/best/tree/d/*": "best",
    "programs/*extension*/program.json": "program.json",
}
DATASET = [
    "dataset/neuroblastoma/*/1.0.0/*train.array_record*",
    "dataset/neuroblastoma/*/1.0.0/dataset_info.json",
    "dataset/neuroblastoma/*/1.0.0/features.json",
    "dataset/neuroblastoma/*/1.0.0/metadata.json",
    "dataset/neuroblastoma/*/1.0.0/label.labels.txt",
    "dataset/neuroblastoma/*/1.0.0/SHA256SUMS",
]
# Written by every run, so that whatever lies there is replaced.
WRITTEN_ANEW = [
    "sessions.parquet",
    "test_predictions.parquet",
    "fold_predictions.parquet",
    "fold_choices.parquet",
    "tables/cells.csv",
]
WAYS = ("flipped", "cut", "longer", "zeros", "emptied", "removed", "unsealed")


def harm(path, way, draw):
    """Damages a file; `unsealed` takes away what says that it is whole."""
    data = bytearray(path.read_bytes())
    if way == "removed":
        path.unlink()
    elif way == "unsealed":
        path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)
    else:
        at = draw.randrange(len(data))
        flipped = data.copy()
        flipped[at] ^= 1 << draw.randrange(8)
        contents = {
            "flipped": flipped,
            "cut": data[:at],
            "longer": data + b"\0",
            "zeros": bytes(len(data)),
            "emptied": b"",
        }
        path.write_bytes(contents[way])


def harmed(out, patterns, way, draw):
    for pattern in patterns:
        path = draw.choice(sorted(path for path in out.glob(pattern) if path.is_file()))
        harm(path, way, draw)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_everything_damaged_at_once_is_said_and_made_again(way, run, commands, finished, tmp_path):
    out, draw = tmp_path / "out", random.Random(way)
    shutil.copytree(finished, out)
    harmed(out, (*READ_AGAIN, *WRITTEN_ANEW, DATASET[WAYS.index(way) % len(DATASET)]), way, draw)
    answer = run(commands["study"].request(out))
    assert answer["status"] == 0, answer["err"]
    assert wrong(out, finished) == []
    # What is gone is made again without a word; a bank's description has no seal, its name says what it must be.
    silent = {"removed": set(READ_AGAIN), "unsealed": {"banks/*/bank.json"}}.get(way, set())
    for pattern, name in READ_AGAIN.items():
        assert pattern in silent or name in answer["err"], (pattern, answer["err"])


@pytest.mark.slow
@pytest.mark.parametrize("way", [way for way in WAYS if way != "unsealed"])
def test_a_damaged_file_of_the_dataset_of_a_bank_or_of_a_program_is_said_and_made_again(
    way, run, commands, finished, tmp_path
):
    draw = random.Random(way)
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    harmed(out, [*PARTS, DATASET[(WAYS.index(way) + 2) % len(DATASET)]], way, draw)
    answer = run(commands["study"].request(out))
    assert answer["status"] == 0, answer["err"]
    assert wrong(out, finished) == []
    # A bank's split that is gone is filled without a word, as at first.
    said = {name for name in PARTS.values() if way != "removed" or not name.endswith(".npy")}
    for name in (*said, "1.0.0"):
        assert name in answer["err"], answer["err"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["study.json", "sessions.parquet", "test_predictions.parquet", "fold_predictions.parquet", "fold_choices.parquet"],
)
def test_a_report_on_a_damaged_table_is_one_sentence(name, run, commands, finished, tmp_path):
    out, draw = tmp_path / "out", random.Random(name)
    for way in ("flipped", "cut", "emptied"):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(finished, out)
        harm(out / name, way, draw)
        answer = run(commands["report"]._replace(arguments=("--study={out}",)).request(out))
        assert answer["status"] == 1
        last = answer["err"].strip().splitlines()[-1]
        assert last.startswith(f"error: {out / name} is damaged: ")
        assert last.endswith("run the study again, with the same command.")
        assert "Traceback" not in answer["err"]
