"""Sessions per hour: the authors' loop, a loop on cached features, and ours, paired in one run.

    python -m benchmarks.sessions
    python -m benchmarks.sessions --part=grid    # or heads, or ten

prints tables and writes each to a file of its own, as benchmarks/sessions_grid.md. Features and images are random
numbers: what is measured is time. PyTorch (with torchvision) is no dependency of nbjax: install it in an environment of
your own for the loops it runs.
"""

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.partition import processor
from nbjax.config import StudyConfig, load_config
from nbjax.memory import keep_freed_memory
from nbjax.models import load_backbone
from nbjax.training.choice import choose
from nbjax.training.program import NOTHING, Program, Samples
from nbjax.training.sessions import Batching, advance, grid, start

PART = flags.DEFINE_enum("part", "all", ["all", "heads", "grid", "ten"], "which tables to make")
# Of the paper's dataset: samples of the training and of the validation split.
TRAIN, VALIDATION, SAMPLES = 6048, 1280, 8608
EPOCHS = 25
REPEATS = 3
# Of a loop whose epochs take minutes: steps that are timed; the epoch is extrapolated from them.
STEPS = 40
# Of heads with non-linearities, a part of the samples is run and the epoch extrapolated from it.
SHARE = 1 / 12
HEADS = ((0, 512), (0, 2048), (4, 2048))


def seconds(run: Callable[[], Any]) -> float:
    """Median wall time of one call, after a first that is not counted."""
    run()
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def made_up(count: int, features: int) -> Samples:
    """Random features and labels."""
    rng = np.random.default_rng(count)
    inputs = jnp.asarray(rng.standard_normal((count, features), np.float32))
    return Samples(inputs, jnp.asarray(rng.integers(0, 2, count), jnp.int32))


def ours(features: int, nonlinearities: int, batch_size: int, sessions: int) -> tuple[float, str]:
    """Seconds of an epoch of one session when so many run at once, evaluation included; and how they ran."""
    program = Program(features=features, nonlinearities=nonlinearities, batch_size=batch_size)
    program, batching = choose(program)
    share = SHARE if nonlinearities else 1
    train, validation = (made_up(int(count * share), features) for count in (TRAIN, VALIDATION))
    hypers = jax.tree.map(jnp.asarray, grid([1e-4], range(sessions)))
    state = [start(program, batching, hypers, NOTHING, train, validation)[0]]

    def epoch() -> None:
        state[0], metrics = advance(program, batching, state[0], hypers, NOTHING, train, validation)
        jax.block_until_ready(metrics)

    return seconds(epoch) / share / sessions, f"{batching.kind}, block {program.block}"


def torch_head(features: int, nonlinearities: int) -> Any:
    """The paper's head in PyTorch."""
    import torch

    layers: list[Any] = []
    for k in range(nonlinearities):
        layers += [torch.nn.Linear(features >> k, features >> (k + 1)), torch.nn.LeakyReLU(0.2), torch.nn.Dropout(0.5)]
    return torch.nn.Sequential(*layers, torch.nn.Linear(features >> nonlinearities, 1))


def torch_steps(model: Any, inputs: Any, labels: Any, batch_size: int, steps: int) -> float:
    """Seconds of one training step of a loop as the authors wrote it: batches, loss, accuracy, SGD."""
    import torch

    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4, momentum=0.9)
    criterion = torch.nn.BCEWithLogitsLoss()
    model.train()
    order = torch.randperm(len(labels))
    begin = 0.0
    for step in range(steps + 3):
        if step == 3:
            begin = time.perf_counter()
        rows = order[torch.arange(step * batch_size, (step + 1) * batch_size) % len(order)]
        logits = model(inputs[rows])[:, 0]
        loss = criterion(logits, labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        float(loss.detach())
        float(((logits > 0) == (labels[rows] > 0.5)).float().mean())
    return (time.perf_counter() - begin) / steps


def torch_evaluation(model: Any, inputs: Any, batch_size: int, steps: int) -> float:
    """Seconds of one step of an evaluation."""
    import torch

    model.eval()
    with torch.no_grad():
        model(inputs[:batch_size])
        begin = time.perf_counter()
        for _ in range(steps):
            model(inputs[:batch_size])
    return (time.perf_counter() - begin) / steps


def theirs_on_features(features: int, nonlinearities: int, batch_size: int) -> float:
    """Seconds of an epoch of one session of a PyTorch loop on cached features."""
    import torch

    inputs = torch.randn(TRAIN, features)
    labels = torch.randint(0, 2, (TRAIN,)).float()
    model = torch_head(features, nonlinearities)
    steps = 200 if nonlinearities == 0 else STEPS
    training = statistics.median(torch_steps(model, inputs, labels, batch_size, steps) for _ in range(REPEATS))
    evaluation = statistics.median(torch_evaluation(model, inputs, batch_size, steps) for _ in range(REPEATS))
    return training * -(-TRAIN // batch_size) + evaluation * -(-VALIDATION // batch_size)


def theirs(name: str, batch_size: int) -> float:
    """Seconds of an epoch of one session of the authors' loop: the whole network at each step."""
    import torch

    torch.library.register_fake = lambda *_, **__: lambda function: function
    import torchvision

    model = getattr(torchvision.models, name)(weights=None).to(memory_format=torch.channels_last)
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = torch.nn.Linear(model.fc.in_features, 1)
    inputs = torch.randn(4 * batch_size, 3, 224, 224).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 2, (4 * batch_size,)).float()
    steps = max(3, 320 // batch_size)
    training = torch_steps(model, inputs, labels, batch_size, steps)
    evaluation = torch_evaluation(model, inputs, batch_size, steps)
    return training * -(-TRAIN // batch_size) + evaluation * -(-VALIDATION // batch_size)


def heads() -> list[str]:
    """A row for each head and batch size."""
    lines = [
        "| non-linearities | features | batch | PyTorch, s | ours, 1 seed, s | 10 seeds, s | 100 seeds, s | ratio | "
        "how |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for nonlinearities, features in HEADS:
        for batch_size in (8, 64):
            before = theirs_on_features(features, nonlinearities, batch_size)
            found = {count: ours(features, nonlinearities, batch_size, count) for count in (1, 10, 100)}
            after = theirs_on_features(features, nonlinearities, batch_size)
            reference = (before + after) / 2
            cells = [f"{found[count][0]:.4f}" for count in (1, 10, 100)]
            best = min(value for value, _ in found.values())
            row = [str(nonlinearities), str(features), str(batch_size), f"{reference:.3f}", *cells]
            lines.append(f"| {' | '.join(row)} | {reference / best:.1f} | {found[10][1]} |")
            print(lines[-1], flush=True)
    return lines


def whole_grid(name: str = "resnet18", samples: int = SAMPLES, sessions: int = 160) -> list[str]:
    """The straightforward grid of one backbone against the authors' loop, feature extraction included."""
    rates, batch_sizes = 4, (8, 16, 32, 64)
    loop = {size: theirs(name, size) for size in batch_sizes}
    backbone = load_backbone(name, weights="random")
    images = np.random.default_rng(0).standard_normal((16, 224, 224, 3)).astype(np.float32)
    features = seconds(lambda: backbone.features(images).block_until_ready()) * samples / 16
    spent = 0.0
    for size in batch_sizes:
        program = Program(features=backbone.feature_size, batch_size=size)
        train, validation = made_up(TRAIN, program.features), made_up(VALIDATION, program.features)
        hypers = jax.tree.map(jnp.asarray, grid([1e-4 * (k + 1) for k in range(rates)], range(sessions // rates // 4)))
        begin = time.perf_counter()
        states, _ = start(program, Batching(), hypers, NOTHING, train, validation)
        for _ in range(EPOCHS):
            states, metrics = advance(program, Batching(), states, hypers, NOTHING, train, validation)
        jax.block_until_ready(metrics)
        spent += time.perf_counter() - begin
    reference = sum(loop[size] for size in batch_sizes) * EPOCHS * sessions / len(batch_sizes)
    text = [
        f"{sessions} sessions of {EPOCHS} epochs ({rates} learning rates, batch sizes "
        f"{', '.join(map(str, batch_sizes))}, {sessions // rates // 4} seeds) of {name}, straightforward, {samples} "
        "samples:",
        "",
        "| | seconds |",
        "| --- | --- |",
        f"| PyTorch, the whole network at each step (extrapolated from measured steps) | {reference:,.0f} |",
        f"| ours: features (extrapolated from one batch) | {features:.1f} |",
        f"| ours: sessions, compilation included (run whole) | {spent:.1f} |",
        f"| ratio | {reference / (features + spent):,.0f} |",
    ]
    print("\n".join(text), flush=True)
    return text


def ten_backbones() -> list[str]:
    """The cost of `configs/straightforward.py`, extrapolated from measured parts."""
    config = load_config("configs/straightforward.py", kind=StudyConfig)
    hypers = jax.tree.map(jnp.asarray, grid(config.learning_rates, range(config.seeds)))
    epochs: dict[int, float] = {}
    lines = [
        "| backbone | features, s | sessions, s |",
        "| --- | --- | --- |",
    ]
    total = 0.0
    for name in config.backbones:
        backbone = load_backbone(name, weights="random")
        edge = backbone.input_size
        images = np.random.default_rng(0).standard_normal((16, edge, edge, 3)).astype(np.float32)
        features = seconds(lambda: backbone.features(images).block_until_ready()) * SAMPLES / 16  # noqa: B023
        width = backbone.feature_size
        if width not in epochs:
            epochs[width] = sum(_epoch(width, size, hypers) for size in config.batch_sizes)
        sessions = epochs[width] * config.epochs
        total += features + sessions
        lines.append(f"| {name} | {features:.0f} | {sessions:.0f} |")
        print(lines[-1], flush=True)
    return [*lines, f"| all, hours | | {total / 3600:.2f} |"]


def _epoch(features: int, batch_size: int, hypers: Any) -> float:
    """Seconds of one epoch of these sessions, straightforward."""
    program = Program(features=features, batch_size=batch_size)
    train, validation = made_up(TRAIN, features), made_up(VALIDATION, features)
    state = [start(program, Batching(), hypers, NOTHING, train, validation)[0]]

    def epoch() -> None:
        state[0], metrics = advance(program, Batching(), state[0], hypers, NOTHING, train, validation)
        jax.block_until_ready(metrics)

    return seconds(epoch)


NOTES = {
    "heads": f"Seconds of one session's epoch ({TRAIN} training and {VALIDATION} validation samples) on cached "
    "features; PyTorch before and after ours, their mean; the ratio is to our best. With non-linearities ours runs "
    "1/12 of the samples and PyTorch 40 steps, and the epoch is extrapolated.",
    "grid": "The paper's grid of one backbone, feature extraction included, against the authors' loop.",
    "ten": f"`configs/straightforward.py`, {SAMPLES} samples: features extrapolated from a batch of 16, sessions (160 "
    "a backbone, four programs of 40) from one epoch of each program.",
}
PARTS = {"heads": heads, "grid": whole_grid, "ten": ten_backbones}


def main(_: list[str]) -> None:
    """Measures and writes the tables."""
    # As the scripts of `experiments` do; PyTorch in this process has the same advantage.
    keep_freed_memory()
    import torch

    for part in PARTS if PART.value == "all" else [PART.value]:
        text = [
            f"# Sessions: {part}",
            "",
            f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, JAX {jax.__version__} on "
            f"{jax.default_backend()}, PyTorch {torch.__version__}; {datetime.datetime.now(datetime.UTC).date()}. "
            "Random features and weights: only time is measured. Written by `python -m benchmarks.sessions "
            f"--part={part}`.",
            "",
            NOTES[part],
            "",
            *PARTS[part](),
        ]
        Path(__file__).with_name(f"sessions_{part}.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
