"""Which property of the slides makes each of the leakage experiments' effects, and how much one exchanged patch is
worth.

    python -m benchmarks.leak_dose --out=results/leak_dose

Phantoms of the paper's size that differ in how much their labels overlap; heads on a frozen backbone's features under
iterative filing's partition. Patches change place between train and validation in rising numbers: none is the paper's
experiment 1, one a family its experiment 2, at random its experiment 3. Prints tables and writes them to
benchmarks/leak_dose.md.
"""

import dataclasses
import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags
from sklearn.neighbors import NearestNeighbors

from experiments import study as studies
from experiments.partitions import features
from nbjax.analysis.leakage import Mean, mean_of
from nbjax.config import PartitionStudyConfig, load_config
from nbjax.partition import exchange, random
from nbjax.training.partition_study import Cohort, arrange_partitions, program_of, sample_rows
from nbjax.training.sessions import grid, on_rows, rows_of_splits, run_sessions

flags.adopt_module_key_flags(studies)
OVERLAPS = flags.DEFINE_list(
    "overlaps", ["0", "0.25", "0.5", "1"], "of the phantoms' labels; 0.25 is the default phantom"
)
DRAWS = flags.DEFINE_integer("draws", 10, "random draws of the patches that change place")
SETTINGS = ("dataset.transforms=0", "learning_rates=1e-2", "epochs=40", "seeds=5")
TRAIN, VALIDATION, TEST = 0, 1, 2
# Of the epochs, the last ones, whose mean is the end (as in nbjax.analysis.leakage).
LAST = 4
# More sessions beside each other are slower on two cores.
DRAWS_AT_ONCE = 5
MEANING = (
    "Gap: validation less training loss at the end, mean over the draws of leaking patches (each the mean over seeds), "
    "with its 95 % interval over draws. Less: by how much it is below that without a leak. Guests: share of the "
    "validation samples whose family is one of training's. Into train only: the validation families' patches go to "
    "train and none come back; into validation only the other way round."
)


class Found(NamedTuple):
    """Losses at the end under one leak, each `[draws, seeds]`, and the share of guests `[draws]`."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    guests: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """Validation less training loss `[draws]`."""
        return (self.validation - self.train).mean(axis=1)


def leaks(cohort: Cohort, home: np.ndarray, draws: int) -> dict[str, list[np.ndarray]]:
    """The split of each patch by leak and draw; the first is that without a leak."""
    columns = (cohort.family, home, cohort.label)
    drawn = {count: [exchange(*columns, seed, count) for seed in range(draws)] for count in (1, 2, 4, 8, 16)}
    into = {"train": VALIDATION, "validation": TRAIN}
    one_way = {
        f"{count} a family, into {name} only": [np.where(home == left, split, home) for split in drawn[count]]
        for count in (1, 4)
        for name, left in into.items()
    }
    return {
        "none (experiment 1)": [home],
        **{f"{count} a family{' (experiment 2)' if count == 1 else ''}": splits for count, splits in drawn.items()},
        "all at random (experiment 3)": [random(*columns, seed) for seed in range(draws)],
        **one_way,
    }


def run(cohort: Cohort, config: PartitionStudyConfig, home: np.ndarray, splits: list[np.ndarray]) -> Found:
    """Trains under each draw with each seed."""
    program = program_of(cohort, config)
    rows = [sample_rows(cohort, split, config) for split in splits]
    train, validation, test = (rows_of_splits([one[split] for one in rows]) for split in (TRAIN, VALIDATION, TEST))
    # What is in validation's place is looked at after every epoch and changes no step.
    ends = []
    for shown in (validation, test):
        losses = []
        for start in range(0, len(splits), DRAWS_AT_ONCE):
            chosen = np.arange(start, min(start + DRAWS_AT_ONCE, len(splits)))
            hypers = on_rows(grid(config.learning_rates, range(config.seeds)), train, shown, chosen)
            metrics = run_sessions(program, config.epochs, hypers, cohort.bank, cohort.bank).metrics
            both = np.stack([metrics.train_loss, metrics.validation_loss], axis=2)
            losses.append(both[:, -LAST:].mean(axis=1, dtype=np.float64).reshape(len(chosen), config.seeds, 2))
        ends.append(np.concatenate(losses))
    guests = [np.mean(home[split == VALIDATION] == TRAIN) for split in splits]
    return Found(ends[0][..., 0], ends[0][..., 1], ends[1][..., 1], np.asarray(guests))


def alike(cohort: Cohort) -> tuple[float, float, float]:
    """Shares of patches: the nearest in features is of the same family; the nearest of another has its label; by
    chance.
    """
    inputs = np.asarray(cohort.bank.inputs)[cohort.rows[:, 0]].astype(np.float64)
    inputs = (inputs - inputs.mean(axis=0)) / (inputs.std(axis=0) + 1e-9)
    order = NearestNeighbors(n_neighbors=len(inputs) - 1).fit(inputs).kneighbors(return_distance=False)
    same_family = cohort.family[order] == cohort.family[:, None]
    same_label = cohort.label[order] == cohort.label[:, None]
    nearest_other = same_label[np.arange(len(order)), np.argmin(same_family, axis=1)]
    return float(same_family[:, 0].mean()), float(nearest_other.mean()), float(same_label[~same_family].mean())


def said(one: Mean) -> str:
    """A mean with its interval."""
    return f"{one.mean:.3f} [{one.interval.low:.3f}, {one.interval.high:.3f}]"


def dose_rows(found: dict[str, Found]) -> list[str]:
    """The table's lines."""
    without = found["none (experiment 1)"].gap[0]
    lines = []
    for name, one in found.items():
        if len(one.gap) == 1:
            gap, less = f"{without:.3f}", ""
        else:
            gap, less = said(mean_of(one.gap)), said(mean_of(without - one.gap))
        test = f"{one.test.mean():.3f}"
        lines.append(f"| {name} | {one.guests.mean():.1%} | {gap} | {less} | {test} |")
    return lines


def overlap_row(overlap: str, cohort: Cohort, found: dict[str, Found]) -> str:
    """A phantom's line: what its patches share, then gap and test loss of the three experiments."""
    same, label, chance = alike(cohort)
    three = [found[name] for name in found if "experiment" in name]
    gaps = " | ".join(f"{one.gap.mean():.3f}" for one in three)
    tests = " | ".join(f"{one.test.mean():.3f}" for one in three)
    return f"| {overlap} | {same:.0%} | {label:.0%} ({chance:.0%}) | {gaps} | {tests} |"


def study(overlap: str) -> tuple[Cohort, dict[str, Found], PartitionStudyConfig]:
    """One phantom from its slides to the losses."""
    config = load_config("configs/partitions.py", [*SETTINGS, f"phantom.overlap={float(overlap)}"])
    assert isinstance(config, PartitionStudyConfig)
    out = Path(studies.OUT.value or "results/leak_dose") / f"overlap-{overlap}"
    cohort, *_ = features(config, None, out, out / "banks")
    home = arrange_partitions(cohort, dataclasses.replace(config, partitions=2, leak_draws=2))[0].split
    found = {}
    for name, splits in leaks(cohort, home, DRAWS.value).items():
        found[name] = run(cohort, config, home, splits)
        print(f"overlap {overlap}, {name}: gap {found[name].gap.mean():.3f}")
    return cohort, found, config


def main(_: list[str]) -> None:
    """Writes the tables."""
    about, doses, config = [], dict[str, list[str]](), None
    for overlap in OVERLAPS.value:
        cohort, found, config = study(overlap)
        about.append(overlap_row(overlap, cohort, found))
        doses[overlap] = dose_rows(found)
    write(config, about, doses)


def write(config: Any, about: list[str], doses: dict[str, list[str]]) -> None:
    """Prints and stores what was found."""
    lines = [
        "# Leaks by number of patches, and by what slides share",
        "",
        f"Heads on {config.backbones[0]}'s features of phantoms of the paper's size, each patch once; learning rate "
        f"{config.learning_rates[0]:g}, batch {config.batch_sizes[0]}, {config.epochs} epochs, {config.seeds} seeds x "
        f"{DRAWS.value} draws; jax {jax.__version__}, {datetime.datetime.now(datetime.UTC).date()}. Written by `python "
        "-m benchmarks.leak_dose`.",
        "",
        "Overlap: 0 draws textbook examples of each label, 1 draws both labels from the same distribution. Same slide: "
        "patches whose nearest neighbour by features is of their own slide. Label: patches whose nearest neighbour on "
        "another slide has their label (in brackets: were that neighbour drawn at random).",
        "",
        "| overlap | same slide | label | gap, exp. 1 | exp. 2 | exp. 3 | test loss, exp. 1 | exp. 2 | exp. 3 |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *about,
        "",
        MEANING,
    ]
    for overlap, rows in doses.items():
        lines += ["", f"## Overlap {overlap}", "", "| patches exchanged | guests | gap | less | test loss |"]
        lines += ["| --- | ---: | --- | --- | ---: |", *rows]
    print("\n".join(lines))
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
