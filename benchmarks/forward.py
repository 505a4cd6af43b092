"""Images per second of the frozen forward pass: plain, folded, folded with Winograd; and PyTorch's where it is
installed.

    python -m benchmarks.forward
    python -m benchmarks.forward --backbones=resnet18,vgg16 --images=16

    python -m benchmarks.forward --backbones=resnet18,vgg16 --keep_freed=false --out=/tmp/returned.md
    python -m benchmarks.forward --backbones=resnet152 --whole --out=/tmp/whole.md

prints a table and writes it to benchmarks/forward.md. Weights are random; `benchmarks.stages` shows where the time
goes. PyTorch (with torchvision) is no dependency of nbjax: install it in an environment of your own to have its column.
"""

import datetime
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from benchmarks.partition import processor
from nbjax.memory import keep_freed_memory
from nbjax.models import forward, load_backbone
from nbjax.models.fold import fold, run_folded

PAPER = [
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "inception_v3",
]
BACKBONES = flags.DEFINE_list("backbones", [*PAPER, "efficientnet_lite0"], "which to measure")
IMAGES = flags.DEFINE_integer("images", 16, "images a call")
KEEP = flags.DEFINE_bool("keep_freed", True, "keep freed memory, as the scripts of experiments do")
WHOLE = flags.DEFINE_bool("whole", False, "on a CPU too, run each network as one compiled program")
OUT = flags.DEFINE_string("out", str(Path(__file__).with_suffix(".md")), "where the table goes")
REPEATS = 5
BLOCKS = (4, 8, 16)


def seconds(run: Callable[[], Any]) -> float:
    """Of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ours(name: str, images: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The ways to run one of our networks on these images, features only."""
    backbone = load_backbone(name, weights="random")
    network, last = backbone.network, backbone.network.stages[-1].name

    def plain(trees: Any, x: Any) -> Any:
        return forward(network, *trees, x, stop=last)[0]

    def folded(trees: Any, x: Any) -> Any:
        return run_folded(network, *trees, x, last)

    # On a CPU stage by stage, as `Backbone.features` does it there.
    compiled = (lambda run: run) if jax.default_backend() == "cpu" and not WHOLE.value else jax.jit
    trees = (backbone.params, backbone.batch_stats)
    ways = {
        "plain": (compiled(plain), trees),
        "folded": (compiled(folded), jax.device_put(fold(network, *trees, on_cpu=False))),
        "winograd": (compiled(folded), jax.device_put(fold(network, *trees, on_cpu=True))),
    }
    return {
        name: lambda run=run, trees=trees: run(trees, images).block_until_ready() for name, (run, trees) in ways.items()
    }


def theirs(name: str, images: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Torchvision's network in channels-last layout, for each batch size."""
    if importlib.util.find_spec("torch") is None or name == "efficientnet_lite0":
        return {}
    import torch

    # The registration of torchvision's own detection operators fails on some builds; classification needs none.
    torch.library.register_fake = lambda *_, **__: lambda function: function
    import torchvision

    settings = {"init_weights": False} if name == "inception_v3" else {}
    model = getattr(torchvision.models, name)(weights=None, **settings).eval().to(memory_format=torch.channels_last)
    batch = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(memory_format=torch.channels_last)

    def run(size: int) -> None:
        with torch.inference_mode():
            for part in batch.split(size):
                model(part)

    return {f"torch {size}": lambda size=size: run(size) for size in BLOCKS if size <= len(images)}


def measure(name: str) -> str:
    """One row of the table; the ways take turns."""
    size = load_backbone(name, weights="random").input_size
    images = np.random.default_rng(0).standard_normal((IMAGES.value, size, size, 3)).astype(np.float32)
    ways = ours(name, images) | theirs(name, images)
    for run in ways.values():
        run()
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(REPEATS):
        for way, run in ways.items():
            times[way].append(seconds(run))
    rates = {way: IMAGES.value / statistics.median(found) for way, found in times.items()}
    torch_rate = max((rate for way, rate in rates.items() if way.startswith("torch")), default=None)
    cells = [f"{rates[way]:.1f}" for way in ("plain", "folded", "winograd")]
    cells += ["", ""] if torch_rate is None else [f"{torch_rate:.1f}", f"{rates['winograd'] / torch_rate:.2f}"]
    line = f"| {name} | {' | '.join(cells)} |"
    print(line, flush=True)
    return line


def main(_: list[str]) -> None:
    """Measures and writes the table."""
    # As the scripts of `experiments` do; PyTorch in this process has the same advantage.
    if KEEP.value:
        keep_freed_memory()
    lines = [measure(name) for name in BACKBONES.value]
    has_torch = importlib.util.find_spec("torch") is not None
    if has_torch:
        import torch
    beside = (
        f"PyTorch {torch.__version__} eager, channels last, its best batch size" if has_torch else "without PyTorch"
    )
    text = [
        "# Frozen forward pass",
        "",
        f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, JAX {jax.__version__} on "
        f"{jax.default_backend()}; {beside}; {datetime.datetime.now(datetime.UTC).date()}. Images per second, float32, "
        f"{IMAGES.value} images a call, median of {REPEATS}, taking turns; random weights; freed memory is "
        f"{'kept' if KEEP.value else 'given back'} for both (`nbjax.memory`). The ratio is ours (folded, Winograd) to "
        "PyTorch. Written by `python -m benchmarks.forward`.",
        "",
        "| backbone | plain | folded | folded, Winograd | PyTorch | ratio |",
        "| --- | --- | --- | --- | --- | --- |",
        *lines,
    ]
    Path(OUT.value).write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
