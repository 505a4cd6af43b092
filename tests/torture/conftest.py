"""Commands to torture, run in a process of their own that has imported everything; what they write is compared."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from nbjax.files import TEMPORARY, damage

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PHANTOM = (
    'PhantomConfig(slides=(("PD", 4), ("D", 4)), shares=((0.3,), (0.3,)), smallest=(200, 200), largest=(300, 400))'
)
STUDY = f"""
from nbjax.config import DatasetConfig, PartitionStudyConfig, StudyConfig
from nbjax.slides.phantom import PhantomConfig
from nbjax.slides.tile import Tiling


def get_config(size="small"):
    return StudyConfig(
        name="tortured",
        phantom={PHANTOM},
        dataset=DatasetConfig(tiling=Tiling(patch_size=100), transforms=1),
        backbones=("small_cnn",),
        weights="random",
        input_size=80,
        strategies=("straightforward", "extension-1"),
        learning_rates=(1e-3, 3e-3),
        batch_sizes=(8,),
        epochs=3,
        seeds=2,
        folds=2,
        checkpoint_seconds=0.0,
    )
"""
PARTITIONS = f"""
from nbjax.config import DatasetConfig, PartitionStudyConfig
from nbjax.slides.phantom import PhantomConfig
from nbjax.slides.tile import Tiling


def get_config(size="small"):
    return PartitionStudyConfig(
        name="tortured-partitions",
        phantom={PHANTOM.replace("4)", "8)")},
        dataset=DatasetConfig(tiling=Tiling(patch_size=100), transforms=1, standardisation="imagenet"),
        backbones=("small_cnn",),
        weights="random",
        learning_rates=(1e-3,),
        batch_sizes=(8,),
        epochs=3,
        seeds=2,
        partitions=4,
        tolerance=0.2,
        leak_fractions=(0.0, 1.0),
        leak_draws=2,
        leak_seeds=1,
    )
"""
# What differs by nature: seconds, times of day, and names that Orbax draws.
DIFFERS = {"study.json", "study.json.sha256", "record.json", "report.html", "provenance.json", "SHA256SUMS"}


class Command(NamedTuple):
    """A script that writes into a folder; `environment` may hold {out}, as the arguments may."""

    module: str
    arguments: tuple[str, ...]
    environment: dict[str, str] = {}  # noqa: RUF012 (nothing writes into it)

    def request(self, out: Path, **more: Any) -> dict[str, Any]:
        """What the runner is asked; file events below `out` count."""
        environment = {name: text.format(out=out) for name, text in self.environment.items()}
        arguments = [text.format(out=out) for text in self.arguments]
        asked = {"module": self.module, "arguments": arguments, "environment": environment, "under": str(out)}
        return asked | more


Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs a request (see `injection`); two can be asked for at once, of two processes, with `at=0` and `at=1`."""
    home = tmp_path_factory.mktemp("home")
    environment = {
        **os.environ,
        "NBJAX_HOME": str(home),
        "JAX_COMPILATION_CACHE_DIR": str(home / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_PLATFORMS": "cpu",
    }
    started: dict[int, subprocess.Popen[str]] = {}

    def ask(request: dict[str, Any], at: int = 0) -> dict[str, Any]:
        if at not in started:
            pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            command = [sys.executable, str(HERE / "injection.py")]
            started[at] = subprocess.Popen(command, cwd=ROOT, env=environment, encoding="utf-8", **pipes)
        process = started[at]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer

    yield ask
    for process in started.values():
        process.communicate()


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of configs and references."""
    folder = tmp_path_factory.mktemp("torture")
    (folder / "study.py").write_text(STUDY, encoding="utf-8")
    (folder / "partitions.py").write_text(PARTITIONS, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def finished(run: Run, work: Path) -> Path:
    """A finished study; not to be changed."""
    out = work / "finished"
    answer = run(Command("experiments.study", (f"--config={work}/study.py", "--out={out}")).request(out))
    assert answer["status"] == 0, answer["err"]
    return out


@pytest.fixture(scope="session")
def commands(work: Path, finished: Path) -> dict[str, Command]:
    """Every script that writes, by name."""
    from nbjax.models import build_network
    from nbjax.models.convert import name_table

    rng = np.random.default_rng(0)
    arrays = {
        row.torch_name: rng.standard_normal(row.torch_shape).astype(np.float32)
        for row in name_table(build_network("resnet18"))
    }
    np.savez(work / "resnet18.npz", **arrays)  # type: ignore[arg-type]
    (dataset,) = finished.glob("dataset/neuroblastoma/manifest-*/1.0.0")
    leaks = ("--set=strategies=straightforward", "--set=learning_rates=1e-3", "--set=folds=0", "--set=test_curve=True")
    return {
        "study": Command("experiments.study", (f"--config={work}/study.py", "--out={out}")),
        "partitions": Command("experiments.partitions", (f"--config={work}/partitions.py", "--out={out}")),
        "leakage": Command("experiments.leakage", (f"--config={work}/study.py", *leaks, "--out={out}")),
        "tile": Command(
            "experiments.tile",
            (f"--slides={finished}/phantom", "--patch_size=100", "--out={out}/manifest.parquet", "--csv"),
        ),
        "report": Command("experiments.report", (f"--study={finished}", "--out={out}")),
        "figures": Command("experiments.figures", (f"--studies={finished}", "--out={out}")),
        "partition": Command(
            "experiments.partition", ("--families=PD:9,8,7,5,3,2 D:9,9,4,3,3", "--out={out}", "--seconds=5")
        ),
        "audit": Command("experiments.audit", (f"--dataset={dataset}", "--out={out}/audit.json")),
        "models": Command("experiments.models", ("--csv={out}/models.csv",)),
        "convert_weights": Command(
            "experiments.convert_weights",
            ("--backbone=resnet18", f"--file={work}/resnet18.npz"),
            {"NBJAX_HOME": "{out}"},
        ),
    }


def content(folder: Path) -> dict[str, str]:
    """What lies in a folder: sha256 by name, or what kind of thing where the bytes differ by nature."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or "/tree/" in name or "/compiled/" in f"/{name}":
            continue
        found[name] = "a file" if path.name in DIFFERS else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def wrong(out: Path, reference: Path) -> list[str]:
    """What is not as in a folder that nothing happened to: other files, damage, leftovers."""
    mine, theirs = content(out), content(reference)
    other = [f"differs: {name}" for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]
    seals = [path.with_name(path.name.removesuffix(".sha256")) for path in out.rglob("*.sha256")]
    sealed = [*seals, *(path.parent for path in out.rglob("SHA256SUMS"))]
    damaged = [f"{path} {damage(path)}" for path in sealed if damage(path) is not None]
    left = [path for path in out.rglob("*") if TEMPORARY.fullmatch(path.name) or path.name.startswith("incomplete.")]
    return [*other, *damaged, *(f"left over: {path}" for path in (*left, *out.rglob("in_flight")))]
