"""The report of all of the paper's experiments: one HTML page that needs nothing else, of what is finished so far."""

import base64
import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nbjax.analysis.selection import CELL
from nbjax.english import counted
from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.report import published, words
from nbjax.report.answer import answer, cautions
from nbjax.report.findings import Findings, find
from nbjax.report.grid import Entry, Grid, Head, percent, word
from nbjax.report.html import render
from nbjax.report.leakage_tables import comparison_grid, experiment_grid, read_experiments
from nbjax.report.limits import limits
from nbjax.report.paper import FIGURES, add_figure, make, write
from nbjax.report.paper_tables import other_methods
from nbjax.report.reading import read_record
from nbjax.report.studies import StudyFolder, pool, read_study
from nbjax.report.table_text import Table
from nbjax.spreadsheet import read_csv

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
    "Limits",
)
STUDIES = ("straightforward", "extension", "unfreezing", "distribution", "best")
# Its thousand seeds would make the best of any search look better: it takes no part in what compares best values.
APART = "distribution"
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
    """A section that studies fill: its title, the study it tells of (None: of all), names of its figures and its table."""

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
    Part("Distributions", APART, ("figure_18", "figure_19", "figure_20")),
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
        InputError: nothing of it is finished, a file is damaged, or studies are of different datasets.
    """
    out = Path(out)
    studies = {name: read_study(out / name) for name in STUDIES if _has_programs(out / name)}
    # Each finished study's numbers are computed once.
    found = {name: find(out / name) for name in studies if _is_finished(out / name)}
    told = next((found[name] for name in ("best", *found) if name in found), None)
    sections = [*_of_experiments(out), *(_of_studies(out, studies, found) if studies else [])]
    if told is not None:
        sections.append(Section("Limits", limits(told)))
    sections.sort(key=lambda section: ORDER.index(section.title))
    if not sections:
        raise InputError(f"{out}: no experiment of the paper has finished here; run python -m experiments.paper first.")
    context = {
        "answer": _answer(out, studies, told),
        "cautions": _cautions(studies, told),
        "sections": sections,
        "image": lambda path: base64.b64encode(Path(path).read_bytes()).decode(),
        "commands": _commands(out),
        "fingerprints": _fingerprints(studies),
    }
    page = render("paper.html", context)
    with replacing(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "report.html"


def is_paper(folder: str | Path) -> bool:
    """Whether a folder is of `experiments.paper`, and not a study's."""
    folder = Path(folder)
    return not (folder / "study.json").is_file() and (folder / "answers").is_dir()


def _has_programs(folder: Path) -> bool:
    """Whether any of a study's own programs is finished; those of an earlier config do not count."""
    if not (folder / "study.json").is_file():
        return False
    names = read_record(folder / "study.json").get("programs") or []
    return any((folder / "programs" / str(name) / "history.parquet").is_file() for name in names)


def _of_studies(out: Path, studies: Mapping[str, StudyFolder], found: Mapping[str, Findings]) -> list[Section]:
    """What studies show, in the paper's order: each section of its own study, where it has one."""
    everything = pool(list(studies.values()))
    compared = [study for name, study in studies.items() if name != APART]
    made = make(pool(compared) if compared else everything)
    for part in PARTS:
        for name in part.figures:
            if name in FIGURES:
                own = part.study in studies and part.study != APART
                add_figure(made, name, pool([studies[str(part.study)]]) if own else everything)
    write(made, out / "figures")
    sections = []
    for part in PARTS:
        if part.study not in (None, APART, *studies):
            continue
        lines = _lines_of_part(part, studies, found)
        pictures = [_picture(out, name, made.figures[name].sessions) for name in part.figures if name in made.figures]
        grids = [_grid(made.tables[part.table])] if part.table in made.tables else []
        absent = [
            f"{CAPTIONS[name].split(':')[0]}: {made.missing[name]}." for name in part.figures if name in made.missing
        ]
        more = f"{part.study}/report.html"
        there = part.study is not None and (out / more).is_file()
        sections.append(Section(part.title, lines, pictures, grids, absent, more if there else None))
    return [section for section in sections if section.lines or section.pictures]


def _picture(out: Path, name: str, sessions: int) -> Picture:
    number = f" {sessions:,} sessions." if sessions else ""
    return Picture(out / "figures" / f"{name}.png", CAPTIONS[name] + number)


def _lines_of_part(part: Part, studies: Mapping[str, StudyFolder], found: Mapping[str, Findings]) -> list[str]:
    """What a section begins with. The test split is looked at for the paper's choice alone: it would choose among the others."""
    if part.study is None:
        first = next(iter(studies.values())).record
        patches = sum(row["patches"] for labels in first["dataset"]["counts"].values() for row in labels.values())
        return [f"Slides: {words.slides_source(first['dataset'])}.", words.audit(first["dataset"], patches)]
    if part.study == APART or part.study not in found:
        return []
    of_study = found[part.study]
    if part.study != "best":
        return [f"{words.progress(of_study)} By training and validation data the best is {words.best(of_study)}"]
    paper = (
        f"The paper, of one partition of other slides: on its test split a loss of {published.BEST_TEST.loss:.3f} and "
        f"{percent(published.BEST_TEST.accuracy)} of the samples; on its validation split {published.BEST_MEAN.loss:.3f} and "
        f"{percent(published.BEST_MEAN.accuracy)} in the mean of ten sessions."
    )
    return [*answer(of_study), *words.uncertainty(of_study), paper]


def _is_finished(folder: Path) -> bool:
    return (folder / "study.json").is_file() and (folder / "test_predictions.parquet").is_file()


def _of_experiments(out: Path) -> list[Section]:
    """What the other experiments wrote."""
    sections = []
    maps = sorted((out / "partition").glob("heat_map_*.png"))
    if maps:
        caption = "Figure 4, label {}: the discrepancy over filing's two parameters; the star is its least."
        shown = [Picture(path, caption.format(path.stem.removeprefix("heat_map_"))) for path in maps]
        with _written_by("partition", out / "partition"):
            grid = _csv_grid("Ways to partition", out / "partition" / "partition.csv")
        sections.append(Section("The partition", [], shown, [grid]))
    for name, title in (("leakage", "Leakage, the small network"), ("leakage_frozen", "Leakage, a frozen backbone")):
        figure = out / name / "figures" / "figure8.png"
        if figure.is_file():
            caption = "Figure 8: training dotted, validation solid; shaded ± one standard deviation over seeds."
            with _written_by(name, out / name):
                sections.append(_leakage(out / name, title, _lines(out, name), Picture(figure, caption)))
    over = out / "partitions" / "figures"
    captions = {
        "distribution": "Mean test accuracy under partitions that are all near the optimum.",
        "variance": "Where the variance of the test accuracy comes from; whiskers are 95 % bootstrap intervals.",
        "leak_curve": "Reported and true accuracy against the share of families that leak; bands are 95 % intervals over draws.",
    }
    pictures = [Picture(over / f"{name}.png", caption) for name, caption in captions.items()]
    if over.is_dir():
        shown = [one for one in pictures if one.path.is_file()]
        sections.append(Section("How much is the partition", _lines(out, "partitions"), shown))
    if (out / "best" / "baselines.csv").is_file():
        with _written_by("baselines", out / "best"):
            sections.append(_baselines(out / "best"))
    return sections


@contextlib.contextmanager
def _written_by(job: str, folder: Path) -> Iterator[None]:
    """Says which files cannot be read, and what to do."""
    try:
        yield
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder}: what {job} wrote is damaged or incomplete ({type(error).__name__}: {error}); run that job again."
        ) from error


def _leakage(folder: Path, title: str, lines: list[str], figure: Picture) -> Section:
    summary, gaps = read_experiments(folder)
    grids = [
        Shown("The experiments", experiment_grid(summary, folder.name)),
        Shown("The gaps compared", comparison_grid(gaps, f"{folder.name}-gaps")),
    ]
    return Section(title, lines[:-1], [figure], grids, lines[-1:])


def _baselines(folder: Path) -> Section:
    text = (folder / "baselines.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("|", "#", "**"))]
    table = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line] for line in table]
    grid = _shown("On this dataset", header, [index == 0 for index in range(len(header))], rows)
    figure = Picture(
        folder / "figures" / "baselines.png",
        "Accuracy by sample on the test split, and with every family held out once; 95 % intervals by family.",
    )
    return Section("Older kinds of methods", lines, [figure], [grid, _grid(other_methods())])


def _csv_grid(title: str, path: Path) -> Shown:
    """A CSV file as it is; columns of numbers alone stand on the right."""
    read = read_csv(path)
    header, rows = list(read[0]) if read else [], [list(row.values()) for row in read]
    of_words = [not all(re.fullmatch(r"-?[\d.]*", row[place]) for row in rows) for place in range(len(header))]
    return _shown(title, header, of_words, rows)


def _grid(table: Table) -> Shown:
    rows = [[column.text(row) for column in table.columns] for row in table.rows]
    columns = table.columns
    return _shown(table.title, [one.header for one in columns], [not one.right for one in columns], rows, table.notes)


def _shown(
    title: str, header: Sequence[str], words: Sequence[bool], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> Shown:
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    heads = [Head(text, is_words) for text, is_words in zip(header, words, strict=True)]
    entries = [
        [word(cell) if head.words else _number(cell) for head, cell in zip(heads, row, strict=True)] for row in rows
    ]
    return Shown(title, Grid(name, heads, entries, sortable=True, title=title), notes)


def _number(text: str) -> Entry:
    """A printed number, which sorts by what it begins with."""
    found = re.match(r"-?[\d,]+\.?\d*", text)
    return Entry(text, value=float(found[0].replace(",", "")) if found else None)


def _lines(out: Path, job: str) -> list[str]:
    path = out / "answers" / f"{job}.txt"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line] if path.is_file() else []
    # As the rest of the page has it.
    return [re.sub(r"(?<=\d)%", " %", line) for line in lines]


def _answer(out: Path, studies: Mapping[str, StudyFolder], told: Findings | None) -> list[str]:
    """The page's first paragraph: the best cell's test score, and what of a score is chance."""
    sentences = []
    if studies:
        sessions = len({key for study in studies.values() for key in _sessions(study)})
        many = counted(len(studies), "study", "studies")
        sentences.append(f"{sessions:,} training sessions in {many} of one dataset.")
    if told is not None:
        sentences += answer(told)
    return [*sentences, *_lines(out, "partitions")[:1]]


def _sessions(study: StudyFolder) -> set[tuple[Any, ...]]:
    names = [*CELL, "seed"]
    epochs = study.record["config"]["epochs"]
    return {(*row, epochs) for row in zip(*(study.history[name].to_pylist() for name in names), strict=True)}


def _cautions(studies: Mapping[str, StudyFolder], told: Findings | None) -> list[str]:
    """Of the study that the answer is about; while none is finished, of the first."""
    if told is None and studies:
        told = find(next(iter(studies.values())).folder)
    found = [] if told is None else cautions(told)
    progress = {name: study.progress for name, study in studies.items() if study.progress}
    return found + [f"{name} is unfinished: {of[0]} of {of[1]} programs." for name, of in progress.items()]


def _commands(out: Path) -> list[tuple[str, str]]:
    """The command of each experiment, as its record has it."""
    found: dict[str, list[str]] = {}
    for path in sorted([*out.glob("*/study.json"), *out.glob("*/record.json"), *out.glob("*/*/study.json")]):
        try:
            command = str(json.loads(path.read_text(encoding="utf-8"))["command"]) or words.NO_COMMAND
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not an experiment's record ({error}); run the experiment again.") from error
        found.setdefault(command, []).append(str(path.parent.relative_to(out)))
    return [(", ".join(names), command) for command, names in found.items()]


def _fingerprints(studies: Mapping[str, StudyFolder]) -> list[tuple[str, str]]:
    """Of the first study all, of each the seconds that its steps took."""
    if not studies:
        return []
    first = words.fingerprints(next(iter(studies.values())).record)
    seconds = [
        (f"seconds of {name}", value)
        for name, study in studies.items()
        for field, value in words.fingerprints(study.record)
        if field == "seconds"
    ]
    return [*(row for row in first if row[0] != "seconds"), *seconds]
