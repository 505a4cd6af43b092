"""Times of partitioning: the authors' grid, the exact search over the continuum, the mixed-integer program.

    python -m benchmarks.partition

prints a table and writes it to benchmarks/partition.md.
"""

import datetime
import functools
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy

from nbjax.partition import Partition, partition_families

PROPORTIONS = (0.7, 0.15, 0.15)


def lognormal(families: int) -> np.ndarray:
    """Patches a family, as whole numbers with a few hundred different values at most."""
    return np.maximum(1, np.random.default_rng(0).lognormal(2.5, 1.0, families)).astype(int)


def like_the_paper(families: int) -> np.ndarray:
    """Four large families with the shares of the paper's second pie chart, the others small."""
    large = np.array([0.171, 0.168, 0.068, 0.068]) * 23 * families
    small = np.random.default_rng(0).lognormal(2.3, 1.0, families - 4)
    small *= (23 * families - large.sum()) / small.sum()
    return np.maximum(1, np.concatenate([large, small])).astype(int)


def all_different(families: int) -> np.ndarray:
    """The hardest kind for the search: no two families are equal."""
    return np.random.default_rng(0).permutation(families) + 1


def grid_search(sizes: np.ndarray, mus: int = 1000, epsilons: int = 100) -> float:
    """The least discrepancy on the authors' grid, one run of their rule a point, with nothing shared between points."""
    shares = sorted((sizes / sizes.sum()).tolist(), reverse=True)
    return min(
        grid_point(shares, mu, epsilon)
        for mu in np.linspace(0, 1, mus).tolist()
        for epsilon in np.linspace(0, 0.1, epsilons).tolist()
    )


def grid_point(shares: list[float], mu: float, epsilon: float) -> float:
    """The discrepancy of iterative filing for one mu and epsilon."""
    room, counts, left = list(PROPORTIONS), [0, 0, 0], list(shares)

    def receives(split: int) -> bool:
        for place, share in enumerate(left):
            if share <= room[split]:
                del left[place]
                room[split] -= share
                counts[split] += 1
                return True
        return False

    threshold = mu * min(PROPORTIONS[1:])
    while left and room[0] > threshold and left[0] > threshold:
        room[0] -= left.pop(0)
        counts[0] += 1
    initial, active = counts[0], [1, 2]
    while active:
        active = [split for split in active if counts[split] < initial and receives(split)]
    room[1] += epsilon
    room[2] += epsilon
    active = [0, 1, 2]
    while active:
        active = [split for split in active if receives(split)]
    room[0] -= sum(left)
    counts[0] += len(left)
    excess = (room[0], room[1] - epsilon, room[2] - epsilon)
    return (sum(map(abs, excess)) + sum(abs(1 / 3 - count / len(shares)) for count in counts)) / 6


def seconds_of(action: Callable[[], object], runs: int) -> float:
    """Median time of some runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def describe(seconds: float) -> str:
    """A time with three digits."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def processor() -> str:
    """The model's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def row(name: str, kind: str, sizes: np.ndarray, runs: int, action: Callable[[], Partition]) -> str:
    """One line of the table."""
    result = action()
    took = describe(seconds_of(action, runs))
    gap = "" if result.gap is None else f"{result.gap:.1e}"
    counts = f"{len(sizes):,} | {len(set(sizes.tolist())):,}"
    line = f"| {name} | {kind} | {counts} | {took} | {runs} | {result.discrepancy:.6f} | {gap} |"
    print(line, flush=True)
    return line


def main() -> None:
    """Measures and writes."""
    cohort = like_the_paper(44)
    least = grid_search(cohort)
    took = describe(seconds_of(lambda: grid_search(cohort), 3))
    lines = [
        f"| authors' grid, 1000 × 100 points | like the paper | 44 | {len(set(cohort.tolist()))} | {took} | 3 | "
        f"{least:.6f} | |"
    ]
    print(lines[0], flush=True)
    kinds = {"like the paper": like_the_paper, "lognormal": lognormal, "all different": all_different}
    for families in (44, 61, 1_000, 10_000):
        for kind, make in kinds.items():
            sizes = make(families)
            runs = 21 if families < 1_000 else 5
            lines.append(row("filing", kind, sizes, runs, functools.partial(partition_families, sizes)))
    # Unequal targets of validation and test leave the search more to tell apart.
    for kind, make in kinds.items():
        sizes = make(10_000)
        uneven = functools.partial(partition_families, sizes, (0.7, 0.2, 0.1))
        lines.append(row("filing, targets 0.7, 0.2, 0.1", kind, sizes, 1, uneven))
    for kind, make in kinds.items():
        sizes = make(61)
        lines.append(row("exact", kind, sizes, 3, functools.partial(partition_families, sizes, method="exact")))
    write(lines)


def write(lines: list[str]) -> None:
    """Writes the table and what it was measured on."""
    text = [
        "# Partition: times",
        "",
        f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}; {datetime.datetime.now(datetime.UTC).date()}. Median of the runs; targets "
        f"{PROPORTIONS}, diversities of 1/3. Written by `python -m benchmarks.partition`.",
        "",
        "The grid is the authors' search, written again plainly; filing finds the least discrepancy over all mu and "
        "epsilon in [0, 1], which can only be less or equal; exact is the least of any assignment, with its proven "
        "gap.",
        "",
        "| method | cohort | families | different sizes | time | runs | discrepancy | gap |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *lines,
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
