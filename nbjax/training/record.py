"""What is known of a study besides its tables: `study.json`."""

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from nbjax import __version__
from nbjax.fields import to_dict
from nbjax.files import sealing
from nbjax.models import Backbone
from nbjax.samples.reading import Dataset
from nbjax.training.bank import fingerprint
from nbjax.training.config import StudyConfig
from nbjax.training.folder import StudyFolder
from nbjax.training.inputs import text
from nbjax.training.plan import Task

PACKAGES = ("jax", "flax", "optax", "numpy", "tensorflow-datasets", "scikit-learn")


def write_record(
    folder: str | Path,
    config: StudyConfig,
    source: str,
    dataset: Dataset,
    backbones: Mapping[str, Mapping[str, Any]],
    task: Task,
    chosen: Mapping[str, Any] | None,
    seconds: Mapping[str, float],
    programs: Sequence[str],
) -> None:
    """Writes `study.json` into `folder`, keyed as the report reads it.

    Args:
        folder: the study's.
        config: the study's.
        source: in words, where the slides came from.
        dataset: the built one.
        backbones: by name, as `describe_backbone` gives them.
        task: of the chosen cell; while the study is unfinished, any of its tasks.
        chosen: the chosen cell's values, None while the study is unfinished.
        seconds: wall time by step.
        programs: names of the folders that hold, or will hold, the results of the study's programs.
    """
    record = {
        "name": config.name,
        "config": to_dict(config),
        "command": command(),
        "dataset": {**dataset.card, "source": source, "folder": os.path.relpath(dataset.folder, folder)},
        "backbone": backbones[task.backbone],
        "backbones": list(backbones.values()),
        "cut": f"before {task.start}: {task.reason}" if task.start else f"none, on pixels: {task.reason}",
        "crop": text(task.view),
        "strategy": task.strategy.text,
        "head": {
            "nonlinearities": task.strategy.nonlinearities,
            "initialisation": "random (torch's default), one per seed",
        },
        "selection": {"criterion": config.criterion},
        "chosen": None if chosen is None else dict(chosen),
        "programs": list(programs),
        "versions": {"nbjax": __version__, "python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "hardware": hardware(),
        "seconds": dict(seconds),
    }
    with sealing(StudyFolder(Path(folder)).record) as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")


def describe_backbone(backbone: Backbone) -> dict[str, Any]:
    """What the report says of a backbone."""
    return {
        "name": backbone.network.name,
        "pretrained": backbone.pretrained,
        "provenance": backbone.provenance,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(backbone.params)),
        "sha256": fingerprint((backbone.params, backbone.batch_stats)),
    }


def command() -> str:
    """The command that runs, as it can be typed again; empty in a notebook or a program of somebody's own."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None or not spec.name.startswith("experiments."):
        return ""
    return f"python -m {spec.name} {shlex.join(sys.argv[1:])}".strip()


def hardware() -> dict[str, Any]:
    """Processor, its cores and memory, and the devices JAX runs on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip()
            for line in info.read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    devices = jax.devices()
    return {"cpu": cpu, "cores": os.cpu_count(), "devices": f"{len(devices)} x {devices[0].device_kind}"}
