"""The report of all of the paper's experiments: one HTML page that needs nothing else, of what is finished so far."""

import base64
import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nbjax.analysis.leakage import Mean
from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.report import words
from nbjax.report.findings import find
from nbjax.report.grid import Grid, Head, word
from nbjax.report.html import render
from nbjax.report.leakage_words import comparison_grid, experiment_grid
from nbjax.report.paper import best_session, make, write
from nbjax.report.paper_tables import other_methods
from nbjax.report.studies import Pooled, pool, read_study
from nbjax.report.table_text import Table

# Of the sections, which is the paper's; what it has not stands at the end.
ORDER = (
    "The dataset",
    "The partition",
    "Leakage, the small network",
    "Leakage, a frozen backbone",
    "Frozen backbones",
    "More layers in the head",
    "Unfreezing",
    "The paper's choice",
    "Distributions",
    "How much is the partition",
    "Older kinds of methods",
)
STUDIES = ("straightforward", "extension", "unfreezing", "distribution", "best")
# Those whose own report's answer stands in their section.
ANSWERED = ("straightforward", "extension", "unfreezing", "best")
CAPTIONS = {
    "dataset_samples": "Patches of each label and split, of as many families as fit.",
    "dataset_families": "Patches of each family, by label and split.",
    "figure_11": "Figure 11: frozen backbones with a new last layer.",
    "figure_13": "Figure 13: loss against the number of non-linearities.",
    "figure_15": "Figure 15: loss against the number of unfrozen layers.",
    "figure_16": "Figure 16: loss of the best session of the paper's choice, and of its cell.",
    "figure_17": "Figure 17: accuracy of the best session of the paper's choice, and of its cell.",
    "figure_18": "Figure 18: losses before training.",
    "figure_19": "Figure 19: accuracies before training.",
    "figure_20": "Figure 20: loss and accuracy of every epoch of every session, counted on a logarithmic scale.",
}


class Part(NamedTuple):
    """A section that pooled studies fill: its title, the study it tells of, names of its figures and its table."""

    title: str
    study: str | None
    figures: tuple[str, ...]
    table: str | None = None


PARTS = (
    Part("The dataset", None, ("dataset_samples", "dataset_families"), "table_2"),
    Part("Frozen backbones", "straightforward", ("figure_11",), "table_3"),
    Part("More layers in the head", "extension", ("figure_13",)),
    Part("Unfreezing", "unfreezing", ("figure_15",)),
    Part("The paper's choice", "best", ("figure_16", "figure_17"), "table_4"),
    Part("Distributions", "distribution", ("figure_18", "figure_19", "figure_20")),
)


class Picture(NamedTuple):
    """A figure of the page: the PNG's path and what stands below it."""

    path: Path
    caption: str


class Shown(NamedTuple):
    """A table of the page with its title above and its notes below it."""

    title: str
    grid: Grid
    notes: Sequence[str] = ()


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        title: above it.
        lines: the answer in plain words, a paragraph each.
        pictures: figures.
        grids: tables.
        notes: in small print below.
        more: a page of its own beside this one, by its path; None where there is none.
    """

    title: str
    lines: Sequence[str]
    pictures: Sequence[Picture] = ()
    grids: Sequence[Shown] = ()
    notes: Sequence[str] = ()
    more: str | None = None


def write_paper(out: str | Path) -> Path:
    """Writes `report.html` into the folder of `experiments.paper`, and the paper's figures and tables into `figures`.

    Returns:
        The page's path.

    Raises:
        InputError: nothing of it is finished, or a file is damaged.
    """
    out = Path(out)
    found = [read_study(out / name) for name in STUDIES if _has_programs(out / name)]
    pooled = pool(found) if found else None
    sections = [*_of_experiments(out), *(_of_studies(out, pooled) if pooled else [])]
    sections.sort(key=lambda section: ORDER.index(section.title))
    if not sections:
        raise InputError(f"{out}: no experiment of the paper has finished here; run python -m experiments.paper first.")
    context = {
        "answer": _answer(out, pooled),
        "cautions": _cautions(pooled),
        "sections": sections,
        "image": lambda path: base64.b64encode(Path(path).read_bytes()).decode(),
        "commands": _commands(out),
        "fingerprints": words.fingerprints(pooled.studies[0].record) if pooled else [],
    }
    page = render("paper.html", context)
    with replacing(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "report.html"


def _has_programs(folder: Path) -> bool:
    return (folder / "study.json").is_file() and any(folder.glob("programs/*/history.parquet"))


def _of_studies(out: Path, pooled: Pooled) -> list[Section]:
    """What the pooled studies show, in the paper's order."""
    made = make(pooled)
    chosen = [study for study in pooled.studies if study.folder.name == "best"]
    if chosen:
        # The paper's are of the cell that it chose, whether or not another study here has a better session.
        for name, metric in (("figure_16", "loss"), ("figure_17", "accuracy")):
            found = best_session(pool(chosen), metric)
            made.figures.pop(name, None)
            made.missing.pop(name, None)
            if isinstance(found, str):
                made.missing[name] = found
            else:
                made.figures[name] = found
    write(made, out / "figures")
    sections = []
    for part in PARTS:
        lines = _answer_of(out / part.study) if part.study in ANSWERED else []
        if part.title == "The dataset":
            lines = [f"Slides: {words.nature(pooled.studies[0].record)[0][1]}."]
        pictures = [_picture(out, name, made.figures[name].sessions) for name in part.figures if name in made.figures]
        grids = [_grid(made.tables[part.table])] if part.table in made.tables else []
        absent = [
            f"{CAPTIONS[name].split(':')[0]}: {made.missing[name]}." for name in part.figures if name in made.missing
        ]
        more = f"{part.study}/report.html"
        more_there = part.study is not None and (out / more).is_file()
        sections.append(Section(part.title, lines, pictures, grids, absent, more if more_there else None))
    return [section for section in sections if section.lines or section.pictures]


def _picture(out: Path, name: str, sessions: int) -> Picture:
    counted = f" {sessions:,} sessions." if sessions else ""
    return Picture(out / "figures" / f"{name}.png", CAPTIONS[name] + counted)


def _answer_of(folder: Path) -> list[str]:
    """The sentences that begin a study's own report; none where it is not finished."""
    if not (folder / "test_predictions.parquet").is_file():
        return []
    return words.answer(find(folder))


def _of_experiments(out: Path) -> list[Section]:
    """What the other experiments wrote."""
    sections = []
    maps = sorted((out / "partition").glob("heat_map_*.png"))
    if maps:
        caption = "Figure 4, label {}: the discrepancy over filing's two parameters; the star is its least."
        shown = [Picture(path, caption.format(path.stem.removeprefix("heat_map_"))) for path in maps]
        sections.append(
            Section("The partition", [], shown, [_csv_grid("Ways to partition", out / "partition" / "partition.csv")])
        )
    for name, title in (("leakage", "Leakage, the small network"), ("leakage_frozen", "Leakage, a frozen backbone")):
        figure = out / name / "figures" / "figure8.png"
        if figure.is_file():
            caption = "Figure 8: training dotted, validation solid; shaded ± one standard deviation over seeds."
            sections.append(_leakage(out / name, title, _lines(out, name), Picture(figure, caption)))
    over = out / "partitions" / "figures"
    captions = {
        "distribution": "Mean test accuracy under partitions that are all near the optimum.",
        "variance": "Where the variance of the test accuracy comes from.",
        "leak_curve": "Reported and true accuracy against the share of families that leak.",
    }
    pictures = [Picture(over / f"{name}.png", caption) for name, caption in captions.items()]
    if over.is_dir():
        shown = [one for one in pictures if one.path.is_file()]
        sections.append(Section("How much is the partition", _lines(out, "partitions"), shown))
    if (out / "best" / "baselines.csv").is_file():
        sections.append(_baselines(out / "best"))
    return sections


def _leakage(folder: Path, title: str, lines: list[str], figure: Picture) -> Section:
    summary: dict[str, dict[str, Mean]] = {}
    for row in _csv_rows(folder / "summary.csv"):
        summary.setdefault(row["leak"], {})[row["measure"]] = _mean(row)
    gaps = {(row["leak"], row["less"]): _mean(row) for row in _csv_rows(folder / "comparisons.csv")}
    grids = [
        Shown("The experiments", experiment_grid(summary, folder.name)),
        Shown("The gaps compared", comparison_grid(gaps, f"{folder.name}-gaps")),
    ]
    return Section(title, lines[:-1], [figure], grids, lines[-1:])


def _csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _mean(row: Mapping[str, str]) -> Mean:
    return Mean(int(row["sessions"]), *(float(row[name]) for name in Mean._fields[1:]))


def _baselines(folder: Path) -> Section:
    text = (folder / "baselines.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("|", "#", "**"))]
    table = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line] for line in table]
    grid = _shown("On this dataset", header, [index == 0 for index in range(len(header))], rows)
    figure = Picture(
        folder / "figures" / "baselines.png", "Test split, and every family held out once, with intervals."
    )
    return Section("Older kinds of methods", lines, [figure], [grid, _grid(other_methods())])


def _csv_grid(title: str, path: Path) -> Shown:
    """A CSV file as it is."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return _shown(title, header, [True] * len(header), rows)


def _grid(table: Table) -> Shown:
    rows = [[column.text(row) for column in table.columns] for row in table.rows]
    columns = table.columns
    return _shown(table.title, [one.header for one in columns], [not one.right for one in columns], rows, table.notes)


def _shown(
    title: str, header: Sequence[str], words: Sequence[bool], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> Shown:
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    heads = [Head(text, is_words) for text, is_words in zip(header, words, strict=True)]
    return Shown(title, Grid(name, heads, [[word(cell) for cell in row] for row in rows], title=title), notes)


def _lines(out: Path, job: str) -> list[str]:
    path = out / "answers" / f"{job}.txt"
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line] if path.is_file() else []


def _answer(out: Path, pooled: Pooled | None) -> list[str]:
    """The page's first paragraph: the best cell's test score, and what of a score is chance."""
    sentences = _answer_of(out / "best") or _answer_of(out / "straightforward")
    if pooled:
        counted = len({tuple(row.values()) for row in pooled.history.select(_SESSION).to_pylist()})
        studies = f"{len(pooled.studies)} {'study' if len(pooled.studies) == 1 else 'studies'}"
        sentences = [f"{counted:,} training sessions in {studies} of one dataset.", *sentences]
    return [*sentences, *_lines(out, "partitions")[:1]]


_SESSION = ["backbone", "strategy", "nonlinearities", "unfrozen", "learning_rate", "batch_size", "seed"]


def _cautions(pooled: Pooled | None) -> list[str]:
    found = words.cautions(find(pooled.studies[0].folder)) if pooled else []
    progress = {study.folder.name: study.progress for study in pooled.studies if study.progress} if pooled else {}
    return found + [f"{name} is unfinished: {of[0]} of {of[1]} programs." for name, of in progress.items()]


def _commands(out: Path) -> list[tuple[str, str]]:
    """The command of each experiment, as its record has it."""
    found: dict[str, list[str]] = {}
    for path in sorted([*out.glob("*/study.json"), *out.glob("*/record.json"), *out.glob("*/*/study.json")]):
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(str(record["command"]), []).append(str(path.parent.relative_to(out)))
    return [(", ".join(names), command) for command, names in found.items()]
