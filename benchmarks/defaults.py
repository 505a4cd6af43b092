"""The default study beside a regularised logistic regression on the same features, every family held out once.

    python -m benchmarks.defaults --slides=FOLDER --sets=breakhis100x,crc7k,scanners --out=results/defaults

Runs `experiments.study` with the quickstart's config on each set: real slides in FOLDER/<set>, or a phantom recoloured
as by several scanners. The head of the chosen cell and scikit-learn's logistic regression are then trained on the same
folds of whole families, cut several times anew, and scored by patch. It keeps the rows of sets that it does not measure
and writes benchmarks/defaults.md, or with --set=dataset.standardisation=train benchmarks/defaults_train.md.
"""

import dataclasses
import datetime
import functools
import io
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import scipy.stats
from absl import app, flags
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from experiments.study import OUT, SET, SLIDES, study
from nbjax.config import StudyConfig, load_config
from nbjax.memory import keep_freed_memory
from nbjax.models import load_headless
from nbjax.samples.reading import open_dataset
from nbjax.slides.phantom import PhantomConfig, write_phantom
from nbjax.training.bank import Bank
from nbjax.training.crossvalidation import (
    SPLITS,
    Candidate,
    choose_inside,
    cross_validate,
    family_folds,
    held_out_folds,
    patch_numbers,
    pool,
)
from nbjax.training.plan import Task
from nbjax.training.record import hardware
from nbjax.training.study import Study, bank_of, plan_study

NAMES = flags.DEFINE_list("sets", None, "which of them; else all")
REPEATS = flags.DEFINE_integer("repeats", 3, "times that the families are cut into folds anew")
CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.py"
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
# By column: C, or None where inner folds of the training families choose it.
REFERENCES: dict[str, float | None] = {"C = 0.01": 0.01, "C = 0.1": 0.1, "C by inner folds": None}
FOLDS, INNER_FOLDS = 5, 3


class Phantom(NamedTuple):
    """A phantom recoloured as by scanners.

    Attributes:
        slides: of PD and of D.
        overlap: of the two labels, as in `PhantomConfig`.
        seed: of its slides.
        scanners: how many, drawn for each slide whatever its label; 0 is one a slide.
        strength: of what scanners change, 1 as `draw_scanner` has it.
    """

    slides: tuple[int, int]
    overlap: float
    seed: int
    scanners: int
    strength: float = 1.0


REAL = {"breakhis100x": (), "crc7k": ("dataset.tiling.patch_size=224",)}
PHANTOMS = {
    "scanners": Phantom((12, 12), 0.25, 11, 3),
    "scanner a slide": Phantom((12, 12), 0.6, 12, 0),
    "few families": Phantom((6, 6), 0.6, 13, 0),
    "imbalance": Phantom((18, 6), 0.5, 14, 2, 1.3),
    "aside, scanner a slide": Phantom((12, 12), 0.7, 21, 0, 1.2),
    "aside, two scanners": Phantom((10, 7), 0.45, 22, 2),
}


class Scanner(NamedTuple):
    """What a scanner makes of a slide's light: hues of the stains, contrast, colour of the light, gamma, JPEG's
    quality.
    """

    mixing: np.ndarray
    contrast: float
    light: np.ndarray
    gamma: float
    quality: int


def draw_scanner(rng: np.random.Generator, strength: float) -> Scanner:
    """One of the kind that slides of two hospitals differ by."""
    return Scanner(
        mixing=(np.eye(3) + strength * 0.12 * rng.standard_normal((3, 3))).astype(np.float32),
        contrast=float(np.exp(strength * rng.uniform(-0.4, 0.4))),
        light=(1 - strength * rng.uniform(0, 0.14, 3)).astype(np.float32),
        gamma=float(np.exp(strength * rng.uniform(-0.3, 0.3))),
        quality=int(rng.integers(55, 95)),
    )


def scan(slide: np.ndarray, scanner: Scanner) -> np.ndarray:
    """A slide as a scanner shows it, uint8 `[H, W, 3]`: optical densities mixed and scaled, then light, gamma and
    JPEG.
    """
    density = -np.log10((np.arange(256) + 1) / 256).astype(np.float32)[slide]
    density = np.maximum(density @ scanner.mixing * np.float32(scanner.contrast), 0)
    seen = (scanner.light * 10**-density) ** np.float32(scanner.gamma)
    file = io.BytesIO()
    PIL.Image.fromarray(np.clip(255 * seen, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=scanner.quality)
    return np.asarray(PIL.Image.open(file))


def draw(phantom: Phantom, folder: Path) -> Path:
    """Writes a phantom's slides as its scanners show them and returns their folder."""
    shown = folder / "scanned"
    if shown.is_dir():
        return shown
    shares = tuple((0.18, 0.15, 0.11) if count >= 8 else (0.3, 0.22) for count in phantom.slides)
    config = PhantomConfig(
        slides=(("PD", phantom.slides[0]), ("D", phantom.slides[1])),
        shares=shares,
        smallest=(500, 500),
        largest=(1000, 1250),
        overlap=phantom.overlap,
        seed=phantom.seed,
    )
    rng = np.random.default_rng(phantom.seed)
    scanners = [draw_scanner(rng, phantom.strength) for _ in range(phantom.scanners)]
    for path in sorted(write_phantom(config, folder / "drawn")):
        scanner = scanners[rng.integers(len(scanners))] if scanners else draw_scanner(rng, phantom.strength)
        (shown / path.parent.name).mkdir(parents=True, exist_ok=True)
        image = scan(np.asarray(PIL.Image.open(path)), scanner)
        PIL.Image.fromarray(image).save(shown / path.parent.name / path.name, compress_level=1)
    return shown


class Held(NamedTuple):
    """Every patch predicted by something that saw nothing of its family, for each cut into folds.

    Attributes:
        hits: by method, float `[patches]`: mean over sessions and cuts.
        by_cut: by method, the accuracy of each cut.
        losses: by method, mean cross-entropy in nats.
        families: of each patch.
    """

    hits: dict[str, np.ndarray]
    by_cut: dict[str, list[float]]
    losses: dict[str, float]
    families: np.ndarray


def open_bank(config: StudyConfig, out: Path) -> tuple[Task, Bank]:
    """The first task of a finished study, and its bank."""
    record = json.loads((out / "study.json").read_text(encoding="utf-8"))
    load = functools.lru_cache(maxsize=1)(lambda name: load_headless(name, config.weights, config.input_size))
    this = Study(config, open_dataset(out / record["dataset"]["folder"]), out, out / "banks", load)
    task = next(iter(plan_study(this).values()))[0]
    return task, bank_of(this, load(task.backbone), task)


def hold_out(config: StudyConfig, out: Path, repeats: int) -> Held:
    """Trains the chosen cell and every reference on the same folds of a finished study's bank."""
    task, bank = open_bank(config, out)
    candidate, pooled = Candidate(task.program, task.batching, len(task.hypers.seed)), pool(bank)
    features = np.concatenate([bank.inputs[split] for split in SPLITS]).astype(np.float64)
    columns = pooled.columns
    patch = patch_numbers(columns)
    first = np.unique(patch, return_index=True)[1]
    labels, families = columns["label"][first], columns["family"][first]
    classes = len(np.unique(labels))
    hits: dict[str, list[np.ndarray]] = {"study": [], **{name: [] for name in REFERENCES}}
    losses: dict[str, list[float]] = {name: [] for name in hits}

    def note(name: str, probabilities: np.ndarray) -> None:
        hits[name].append((probabilities.argmax(axis=-1) == labels).mean(axis=0))
        losses[name].append(float(np.mean([log_loss(labels, one, labels=np.arange(classes)) for one in probabilities])))

    # The patch itself, without its transforms: what a user would give scikit-learn.
    plain = np.flatnonzero(columns["transform"] == 0)
    plain = plain[np.argsort(patch[plain])]
    for seed in range(repeats):
        fold = held_out_folds(columns, FOLDS, seed)
        choices = choose_inside(pooled, [candidate], config.learning_rates, config.epochs, fold, seed)
        table = cross_validate(pooled, [candidate], choices, range(config.seeds), fold)
        note("study", by_patch(table, patch, config.seeds, classes))
        for name, penalty in REFERENCES.items():
            note(name, reference(features[plain], labels, families, fold[plain], penalty, seed)[None])
    means = {name: np.mean(cuts, axis=0) for name, cuts in hits.items()}
    by_cut = {name: [float(cut.mean()) for cut in cuts] for name, cuts in hits.items()}
    return Held(means, by_cut, {name: float(np.mean(cuts)) for name, cuts in losses.items()}, families)


def by_patch(table: Any, patch: np.ndarray, seeds: int, classes: int) -> np.ndarray:
    """Probabilities `[seeds, patches, classes]` of held-out predictions: means over a patch's samples."""
    if classes == 2:
        one = table["probability"].to_numpy().astype(np.float64)
        found = np.stack([1 - one, one], axis=1)
    else:
        found = np.stack(table["probabilities"].to_numpy())
    seed, sample = table["seed"].to_numpy(), table["sample"].to_numpy()
    sums = np.zeros((seeds, patch.max() + 1, classes))
    np.add.at(sums, (seed, patch[sample]), found)
    return sums / sums.sum(axis=2, keepdims=True)


def reference(
    features: np.ndarray, labels: np.ndarray, families: np.ndarray, fold: np.ndarray, penalty: float | None, seed: int
) -> np.ndarray:
    """Probabilities `[patches, classes]` of logistic regressions on standardised features, each without its fold."""
    found = np.zeros((len(labels), labels.max() + 1))
    for one in np.unique(fold):
        train = fold != one
        best = penalty
        if best is None:
            inner = family_folds(families[train], labels[train], INNER_FOLDS, seed)
            within = {
                each: reference(features[train], labels[train], families[train], inner, each, seed)
                for each in PENALTIES
            }
            best = min(within, key=lambda each: log_loss(labels[train], within[each], labels=np.unique(labels)))
        scaler = StandardScaler().fit(features[train])
        model = LogisticRegression(C=best, max_iter=5000).fit(scaler.transform(features[train]), labels[train])
        found[np.ix_(~train, model.classes_)] = model.predict_proba(scaler.transform(features[~train]))
    return found


def difference(held: Held, name: str) -> tuple[float, float, float]:
    """Study less reference: mean over patches, and the ends of its 95 % interval for other families.

    The jackknife of the mean, one family left out at a time, with Student's t on the families' effective number less
    one.
    """
    values = held.hits["study"] - held.hits[name]
    _, member = np.unique(held.families, return_inverse=True)
    sums, sizes = np.bincount(member, weights=values), np.bincount(member)
    left = (sums.sum() - sums) / (sizes.sum() - sizes)
    spread = ((len(sizes) - 1) / len(sizes) * ((left - left.mean()) ** 2).sum()) ** 0.5
    effective = sizes.sum() ** 2 / (sizes**2).sum()
    reach = float(scipy.stats.t.ppf(0.975, max(effective - 1, 1))) * spread
    return float(values.mean()), float(values.mean()) - reach, float(values.mean()) + reach


def measure(name: str) -> str:
    """One row of the table."""
    out = Path(OUT.value or "results/defaults") / name.replace(",", "").replace(" ", "-")
    folder = Path(SLIDES.value or "../shared/slides") / name if name in REAL else draw(PHANTOMS[name], out)
    config = load_config(CONFIG, [*REAL.get(name, ()), *SET.value], kind=StudyConfig)
    config = dataclasses.replace(config, name=name)
    study(config, str(folder), out / "study")
    record = json.loads((out / "study" / "study.json").read_text(encoding="utf-8"))
    chosen, spent = record["chosen"], sum(record["seconds"].values())
    held = hold_out(config, out / "study", REPEATS.value)
    cells = [
        name,
        f"{len(held.families)}, {len(np.unique(held.families))}",
        f"{chosen['learning_rate']:g}, {chosen['epochs'] or '0: nothing learned'}",
        score(held, "study"),
    ]
    for other in REFERENCES:
        mean, low, high = difference(held, other)
        cells.append(f"{score(held, other)}; {100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})")
    return f"| {' | '.join([*cells, f'{spent:.0f}'])} |"


def score(held: Held, name: str) -> str:
    """Accuracy in per cent ± its standard deviation over cuts, and the loss."""
    cuts = 100 * np.asarray(held.by_cut[name])
    return f"{cuts.mean():.1f} ± {cuts.std(ddof=1) if len(cuts) > 1 else 0:.1f}, {held.losses[name]:.2f}"


def main(_: list[str]) -> None:
    """Measures the sets and writes the table."""
    keep_freed_memory()
    # Other settings have a table of their own, as defaults_train.md has dataset.standardisation=train.
    settings = "".join(f"_{one.rpartition('=')[2]}" for one in SET.value)
    path = Path(__file__).with_name(f"defaults{settings}.md")
    # Words below the table are written by hand and stay.
    text, _, words = (path.read_text(encoding="utf-8") if path.is_file() else "").partition("\n## ")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    rows = {name: row for name, row in rows.items() if name in (*REAL, *PHANTOMS)}
    for name in NAMES.value or (*REAL, *PHANTOMS):
        rows[name] = measure(name)
        print(rows[name], flush=True)
    heads = ["set", "patches, families", "rate, epochs that the study chose", "held-out score of the study"]
    heads += [f"logistic regression, {name}; study less it" for name in REFERENCES] + ["seconds"]
    table = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    table += [rows[name] for name in (*REAL, *PHANTOMS) if name in rows]
    path.write_text("\n".join([*introduction(), *table]) + "\n" + (f"\n## {words}" if words else ""), encoding="utf-8")


def introduction() -> list[str]:
    """What the table is of."""
    found = hardware()
    packages = ", ".join(f"{one} {version(one)}" for one in ("jax", "scikit-learn", "numpy"))
    settings = "".join(f" --set={one}" for one in SET.value)
    return [
        "# The default study beside logistic regression",
        "",
        f"{found['cpu']}, {os.cpu_count()} cores; Python {platform.python_version()}, {packages}; "
        f"{datetime.datetime.now(datetime.UTC).date()}. Written by `python -m benchmarks.defaults{settings}`, which "
        "keeps rows of sets that it does not measure.",
        "",
        "Every family held out once, in five folds of whole families. Accuracy by patch in per cent ± standard "
        f"deviation over {REPEATS.value} ways to cut the folds, and cross-entropy in nats. `study less it`: the "
        "difference in points with its 95 % interval for other families (jackknife over families, Student's t). "
        "Seconds: the whole default study, slides to report.",
        "",
    ]


if __name__ == "__main__":
    app.run(main)
