"""Whether networks run on a GPU and give there what they give on a CPU: evaluation passes, one training step, timings.

    python -m benchmarks.gpu_check
    python -m benchmarks.gpu_check --jobs=evaluate:resnet50,train:resnet18,time

Each job is a process of its own, so that one in which the compiler aborts does not end the others. It needs
`nbjax.models` alone, and ends within six minutes: what had no time is said. On a machine without a GPU it compares a
CPU with itself.
"""

import collections
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from absl import app, flags

TRAINED = ("resnet18", "resnet50", "inception_v3", "vgg11", "densenet121", "efficientnet_b0")
JOBS = flags.DEFINE_list("jobs", None, "out of evaluate:NAME, train:NAME and time; else all")
JOB = flags.DEFINE_string("job", None, "the one that this process does; set by the script itself")
SECONDS = flags.DEFINE_integer("seconds", 330, "after which no job begins, and those that run are stopped 20 later")
AT_ONCE = flags.DEFINE_integer("at_once", 5, "processes at once")
SIZE = flags.DEFINE_integer("size", None, "pixels of the images; else what each network was published with")
# Of the outputs' deviation, and of the gradients' norm: sums in another order, through many layers. Random weights and
# batch statistics of eight images make gradients ill-conditioned: float32 and float64 on one CPU differ by 0.02 for
# ResNet-50.
OUTPUT_TOLERANCE, GRADIENT_TOLERANCE = 1e-3, 5e-2
# Images of an evaluation pass and of a training step; sessions side by side.
IMAGES, BATCH, SESSIONS = 4, 8, 2
REPEATS = 20


def main(arguments: list[str]) -> None:
    """One job, or all of them in processes of their own."""
    del arguments
    if JOB.value is None:
        sys.exit(run_all())
    kind, _, name = JOB.value.partition(":")
    {"evaluate": evaluate, "train": train, "time": time_layers}[kind](name)


def run_all() -> int:
    """Runs the jobs, several at once, and says how each ended; 1 where one did not end well."""
    from nbjax.models import NETWORKS

    published = [name for name in NETWORKS if name not in ("vgg16_gap", "small_cnn")]
    names = JOBS.value or [*(f"train:{name}" for name in TRAINED), *(f"evaluate:{name}" for name in published), "time"]
    # Timings have the machine to themselves, at the beginning.
    waiting = collections.deque(sorted(names, key=lambda name: name != "time"))
    begin, running, failed = time.monotonic(), {}, []
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONUNBUFFERED": "1"}
    while running or waiting:
        seconds = time.monotonic() - begin
        free = not running if "time" in running or (waiting and waiting[0] == "time") else len(running) < AT_ONCE.value
        if waiting and seconds > SECONDS.value:
            failed += [f"{name}: no time" for name in waiting]
            waiting.clear()
        elif waiting and free and "time" not in running:
            name = waiting.popleft()
            size = [] if SIZE.value is None else [f"--size={SIZE.value}"]
            command = [sys.executable, "-m", "benchmarks.gpu_check", f"--job={name}", *size]
            running[name] = subprocess.Popen(command, env=environment), seconds
        for name, (process, started) in list(running.items()):
            if process.poll() is None and seconds > SECONDS.value + 20:
                process.kill()
            if process.poll() is not None:
                del running[name]
                ended = "done" if process.returncode == 0 else f"FAILED, status {process.returncode}"
                print(f"{name}: {ended} after {seconds - started:.0f} s", flush=True)
                failed += [f"{name}: status {process.returncode}"] if process.returncode else []
        time.sleep(0.2)
    print(f"{len(names)} jobs in {time.monotonic() - begin:.0f} s; not well: {', '.join(failed) or 'none'}", flush=True)
    return 1 if failed else 0


def devices() -> tuple[Any, Any]:
    """The first CPU, and the first device of the default platform."""
    import jax

    jax.config.update("jax_default_matmul_precision", "highest")
    return jax.devices("cpu")[0], jax.devices()[0]


def network_of(name: str) -> tuple[Any, Any]:
    """A network, and its random trees as NumPy arrays."""
    from nbjax.models import build_network
    from nbjax.models.network import initialise

    network = build_network(name)
    return network, initialise(network, 0)


def report(what: str, worst: float, limit: float, begin: float) -> None:
    """Prints one comparison; ends the process with status 1 where it failed."""
    words = "ok" if worst <= limit else "TOO FAR"
    print(
        f"{JOB.value} {what}: differs by {worst:.1e} (at most {limit:.0e}), {time.monotonic() - begin:.0f} s: {words}",
        flush=True,
    )
    if not worst <= limit:
        sys.exit(1)


def evaluate(name: str) -> None:
    """Folded and unfolded passes up to the last layer, the default platform against the CPU's plain pass."""
    import jax
    import numpy as np

    from nbjax.models import forward
    from nbjax.models.fold import fold, run_folded

    cpu, device = devices()
    network, trees = network_of(name)
    size, last = SIZE.value or network.input_size, network.stages[-1].name
    images = np.random.default_rng(1).standard_normal((IMAGES, size, size, 3), np.float32)

    def plain(params: Any, batch_stats: Any, images: Any) -> Any:
        return forward(network, params, batch_stats, images, stop=last)[0]

    with jax.default_device(cpu):
        expected = np.asarray(plain(*jax.device_put((*trees, images), cpu)))
    folded = fold(network, *trees, False)
    ways: dict[str, tuple[Callable[..., Any], Any]] = {
        "unfolded": (plain, trees),
        "folded": (lambda *of: run_folded(network, *of, last), folded),
    }
    for way, (function, of) in ways.items():
        begin = time.monotonic()
        found = np.asarray(jax.jit(function)(*jax.device_put((*of, images), device)))
        report(way, float(np.abs(found - expected).max() / expected.std()), OUTPUT_TOLERANCE, begin)


def train(name: str) -> None:
    """Gradients of one step: random crops, batch norm by the batch, dropout; sessions side by side and one by one."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from nbjax.models import Mode, forward

    cpu, device = devices()
    network, (params, batch_stats) = network_of(name)
    size = SIZE.value or network.input_size
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (BATCH, size + 26, size + 26, 3), np.uint8)
    labels = rng.integers(0, 1000, BATCH)

    def loss(params: Any, seed: Any, batch_stats: Any, pixels: Any, labels: Any) -> Any:
        crop_key, dropout_key = jax.random.split(jax.random.key(seed))
        corners = jax.random.randint(crop_key, (BATCH, 2), 0, 27)
        cut = jax.vmap(lambda one, at: jax.lax.dynamic_slice(one, (at[0], at[1], 0), (size, size, 3)))(pixels, corners)
        mode = Mode(train=True, batch_statistics=bool(jax.tree.leaves(batch_stats)))
        images = cut.astype(jnp.float32) / 64 - 2
        logits = forward(network, params, batch_stats, images, mode=mode, dropout_key=dropout_key)[0]
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(BATCH), labels])

    gradient, shared = jax.grad(loss), (batch_stats, pixels, labels)
    seeds = np.arange(SESSIONS, dtype=np.uint32)
    many = jax.tree.map(lambda leaf: np.stack([leaf * np.float32(1 + 0.01 * seed) for seed in seeds]), params)
    begin = time.monotonic()
    with jax.default_device(cpu):
        once, on_cpu = jax.jit(gradient), jax.device_put(shared, cpu)
        expected = [
            once(*jax.device_put((jax.tree.map(lambda leaf, i=i: leaf[i], many), seeds[i]), cpu), *on_cpu)
            for i in seeds
        ]
        expected = jax.tree.map(lambda *leaves: np.stack(leaves), *expected)
    print(f"{JOB.value} on the CPU: {time.monotonic() - begin:.0f} s", flush=True)

    def together(many: Any, seeds: Any, *shared: Any) -> Any:
        return jax.vmap(lambda params, seed: gradient(params, seed, *shared))(many, seeds)

    def in_turn(many: Any, seeds: Any, *shared: Any) -> Any:
        return jax.lax.map(lambda one: gradient(*one, *shared), (many, seeds))

    on_device = jax.device_put((many, seeds, *shared), device)
    for way, function in (("vmap", together), ("lax.map", in_turn)):
        begin = time.monotonic()
        found = jax.tree.map(np.asarray, jax.jit(function)(*on_device))
        squares = jax.tree.map(lambda a, b: (float(np.square(a - b).sum()), float(np.square(b).sum())), found, expected)
        pairs = np.asarray(jax.tree.leaves(squares)).reshape(-1, 2).sum(axis=0)
        report(way, float(np.sqrt(pairs[0] / pairs[1])), GRADIENT_TOLERANCE, begin)


def time_layers(name: str) -> None:
    """Unstrided 1×1 convolutions and depthwise ones: as products, and as XLA's convolution, at default precision."""
    del name
    import jax
    import jax.numpy as jnp
    import numpy as np

    from nbjax.models import layers

    print(f"time: {jax.devices()[0].device_kind}, jax {jax.__version__}, milliseconds a call", flush=True)
    rng = np.random.default_rng(3)

    def as_product(x: Any, kernel: Any, stride: int, padding: Any) -> Any:
        del stride, padding
        return x @ kernel[0, 0]

    none, around = ((0, 0), (0, 0)), ((1, 1), (1, 1))
    # Name, input, kernel, padding, the form that a CPU gets.
    cases = [
        (f"1x1 {edge} {channels}->{width}", (32, edge, edge, channels), (1, 1, channels, width), none, as_product)
        for edge, channels, width in ((56, 64, 256), (28, 512, 128), (14, 1024, 256), (7, 2048, 512))
    ]
    cases += [
        (
            f"depthwise {edge} {channels}",
            (32, edge, edge, channels),
            (3, 3, 1, channels),
            around,
            layers._shifted_products,
        )
        for edge, channels in ((112, 96), (28, 240), (14, 672))
    ]
    for label, of_x, of_kernel, padding, product in cases:
        line = []
        for sessions in (1, 8):
            x, kernel = (
                jnp.asarray(rng.standard_normal((sessions, *shape), np.float32)) for shape in (of_x, of_kernel)
            )
            for way, function in (("product", product), ("convolution", layers._forward)):

                def total(x: Any, kernel: Any, function: Any = function, padding: Any = padding) -> Any:
                    return jnp.sum(jnp.square(function(x, kernel, 1, padding)))

                for part, one in (("forward", total), ("gradient", jax.grad(total, argnums=(0, 1)))):
                    line.append(f"{sessions} {part} {way} {_milliseconds(jax.jit(jax.vmap(one)), x, kernel):.2f}")
        print(f"time {label}: {'; '.join(line)}", flush=True)


def _milliseconds(function: Callable[..., Any], *arguments: Any) -> float:
    import jax

    jax.block_until_ready(function(*arguments))
    begin = time.perf_counter()
    results = [function(*arguments) for _ in range(REPEATS)]
    jax.block_until_ready(results)
    return 1000 * (time.perf_counter() - begin) / REPEATS


if __name__ == "__main__":
    app.run(main)
