"""The report of all of the paper's experiments: one HTML page that needs nothing else, of what is finished so far."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbjax.analysis.selection import keys_of_rows
from nbjax.english import counted
from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.report import words
from nbjax.report.answer import answer, cautions
from nbjax.report.findings import Findings, find
from nbjax.report.html import as_text, render
from nbjax.report.limits import limits
from nbjax.report.paper import published
from nbjax.report.paper.results import FIGURES, OVERVIEW, Made, make, write
from nbjax.report.reading import read_record
from nbjax.report.sections import BASELINES_SECTION, SECTION, Picture, Section, read_section
from nbjax.report.studies import StudyRows, pool, read_study
from nbjax.report.table import percent
from nbjax.training.folder import StudyFolder

# Of the sections, by what fills them, in the paper's order; what it has not stands at the end.
TITLES = {
    "dataset": "The dataset",
    "partition": "The partition",
    "leakage": "Leakage, the small network",
    "leakage_frozen": "Leakage, a frozen backbone",
    "straightforward": "Frozen backbones",
    "extension": "More layers in the head",
    "unfreezing": "Unfreezing",
    "best": "The paper's choice",
    "distribution": "Distributions",
    "partitions": "How much is the partition",
    "baselines": "Older kinds of methods",
    "limits": "Limits",
}
# Where the jobs that are no studies store their sections.
EXPERIMENTS = {
    **{job: f"{job}/{SECTION}" for job in ("partition", "leakage", "leakage_frozen", "partitions")},
    "baselines": f"best/{BASELINES_SECTION}",
}
STUDIES = ("straightforward", "extension", "unfreezing", "distribution", "best")
# Its thousand seeds would make the best of any search look better: it takes no part in what compares best values.
APART = "distribution"
# Tables in the parts of studies; the dataset is that of all.
TABLE_OF = {"dataset": "table_2", "straightforward": "table_3", "best": "table_4"}


def write_paper(out: str | Path) -> Path:
    """Writes `report.html` into the folder of `experiments.paper`, and the paper's figures and tables into `figures`.

    Returns:
        The page's path.

    Raises:
        InputError: nothing of it is finished, a file is damaged, or studies are of different datasets.
    """
    out = Path(out)
    studies = {name: read_study(out / name) for name in STUDIES if _has_programs(StudyFolder(out / name))}
    # Each finished study's numbers are computed once.
    findings = {name: find(out / name) for name in studies if _is_finished(StudyFolder(out / name))}
    told = next((findings[name] for name in ("best", *findings) if name in findings), None)
    stored = {job: out / place for job, place in EXPERIMENTS.items()}
    sections = {job: read_section(path) for job, path in stored.items() if path.is_file()}
    sections |= _of_studies(out, studies, findings) if studies else {}
    if told is not None:
        sections["limits"] = Section("", limits(told))
    if not sections:
        raise InputError(f"{out}: no experiment of the paper has finished here; run python -m experiments.paper first.")
    context = {
        "answer": [*_answer(studies, told), *(sections["partitions"].lines[:1] if "partitions" in sections else [])],
        "cautions": _cautions(studies, told),
        "sections": [_placed(sections[name], name) for name in TITLES if name in sections],
        "image": as_text,
        "commands": _commands(out),
        "fingerprints": _fingerprints(studies),
    }
    page = render("paper.html", context)
    with replacing(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "report.html"


def _placed(section: Section, name: str) -> Section:
    """A section under its title, its tables with ids of their own."""
    tables = [table._replace(name=f"{name}-{table.name}") for table in section.tables]
    return section._replace(title=TITLES[name], tables=tables)


def is_paper(folder: str | Path) -> bool:
    """Whether a folder is of `experiments.paper`, and not a study's."""
    folder = Path(folder)
    of_jobs = [
        *(StudyFolder(folder / name).record for name in STUDIES),
        *(folder / place for place in EXPERIMENTS.values()),
    ]
    return not StudyFolder(folder).record.is_file() and any(path.is_file() for path in of_jobs)


def _has_programs(files: StudyFolder) -> bool:
    """Whether any of a study's own programs is finished; those of an earlier config do not count."""
    return files.record.is_file() and bool(files.finished(read_record(files.record).get("programs") or []))


def _of_studies(out: Path, studies: Mapping[str, StudyRows], findings: Mapping[str, Findings]) -> dict[str, Section]:
    """What studies show, by name: each section of its own study, where it has one."""
    everything = pool(list(studies.values()))
    compared = [study for name, study in studies.items() if name != APART]
    own = {
        name: pool([studies[figure.study]]) if figure.study in studies and figure.study != APART else everything
        for name, figure in FIGURES.items()
    }
    made = make(pool(compared) if compared else everything, own)
    write(made, out / "figures")
    sections = {study: _of_study(out, study, made, studies, findings) for study in ("dataset", APART, *studies)}
    return {name: section for name, section in sections.items() if section.lines or section.pictures}


def _of_study(
    out: Path, study: str, made: Made, studies: Mapping[str, StudyRows], findings: Mapping[str, Findings]
) -> Section:
    captions = (
        OVERVIEW
        if study == "dataset"
        else {name: figure.caption for name, figure in FIGURES.items() if figure.study == study}
    )
    table, more = TABLE_OF.get(study), f"{study}/report.html"
    return Section(
        title="",
        lines=_lines_of_part(study, studies, findings),
        pictures=[
            _picture(out, name, caption, made.figures[name].sessions)
            for name, caption in captions.items()
            if name in made.figures
        ],
        tables=[made.tables[table]] if table in made.tables else [],
        notes=[
            f"{caption.split(':')[0]}: {made.missing[name]}."
            for name, caption in captions.items()
            if name in made.missing
        ],
        more=more if (out / more).is_file() else None,
    )


def _picture(out: Path, name: str, caption: str, sessions: int) -> Picture:
    number = f" {sessions:,} sessions." if sessions else ""
    return Picture(out / "figures" / f"{name}.png", caption + number)


def _lines_of_part(name: str, studies: Mapping[str, StudyRows], findings: Mapping[str, Findings]) -> list[str]:
    """What a section begins with. The test split is looked at for the paper's choice alone: it would choose among the
    others.
    """
    if name == "dataset":
        first = next(iter(studies.values())).record
        patches = sum(row["patches"] for labels in first["dataset"]["counts"].values() for row in labels.values())
        return [f"Slides: {words.slides_source(first['dataset'])}.", words.audit(first["dataset"], patches)]
    if name == APART or name not in findings:
        return []
    of_study = findings[name]
    if name != "best":
        return [f"{words.progress(of_study)} By training and validation data the best is {words.best(of_study)}"]
    paper = (
        f"The paper, of one partition of other slides: on its test split a loss of {published.BEST_TEST.loss:.3f} and "
        f"{percent(published.BEST_TEST.accuracy)} of the samples; on its validation split "
        f"{published.BEST_MEAN.loss:.3f} and {percent(published.BEST_MEAN.accuracy)} in the mean of ten sessions."
    )
    return [*answer(of_study), *words.uncertainty(of_study), paper]


def _is_finished(files: StudyFolder) -> bool:
    return files.record.is_file() and files.predictions("test").is_file()


def _answer(studies: Mapping[str, StudyRows], told: Findings | None) -> list[str]:
    """The page's first paragraph: how much was run, and the best cell's score."""
    sentences = []
    if studies:
        sessions = len({key for study in studies.values() for key in _sessions(study)})
        many = counted(len(studies), "study", "studies")
        sentences.append(f"{sessions:,} training sessions in {many} of one dataset.")
    if told is not None:
        sentences += answer(told)
    return sentences


def _sessions(study: StudyRows) -> set[tuple[Any, ...]]:
    epochs, seeds = study.record["config"]["epochs"], study.history["seed"].to_pylist()
    return {(cell, seed, epochs) for cell, seed in zip(keys_of_rows(study.history), seeds, strict=True)}


def _cautions(studies: Mapping[str, StudyRows], told: Findings | None) -> list[str]:
    """Of the study that the answer is about; while none is finished, of the first."""
    if told is None and studies:
        told = find(next(iter(studies.values())).folder)
    said = [] if told is None else cautions(told)
    progress = {name: study.progress for name, study in studies.items() if study.progress}
    return said + [f"{name} is unfinished: {of[0]} of {of[1]} programs." for name, of in progress.items()]


def _commands(out: Path) -> list[tuple[str, str]]:
    """The command of each experiment, as its record has it."""
    folders_of: dict[str, list[str]] = {}
    for path in sorted([*out.glob("*/study.json"), *out.glob("*/record.json"), *out.glob("*/*/study.json")]):
        try:
            command = str(json.loads(path.read_text(encoding="utf-8"))["command"]) or words.NO_COMMAND
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not an experiment's record ({error}); run the experiment again.") from error
        folders_of.setdefault(command, []).append(str(path.parent.relative_to(out)))
    return [(", ".join(names), command) for command, names in folders_of.items()]


def _fingerprints(studies: Mapping[str, StudyRows]) -> list[tuple[str, str]]:
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
