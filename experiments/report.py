"""The report of a study from its folder, at any time: of a running, a stopped or a finished one.

    python -m experiments.report --study=results/mine
    python -m experiments.report --study=results/paper
    python -m experiments.report --study=results/mine --out=results/mine-report

A finished study writes its report by itself; this writes it anew, after an update of nbjax or while a study still runs.
A folder of `experiments.paper` gets the page of all its experiments.
"""

from pathlib import Path

from absl import flags

from experiments.cli import run
from nbjax.errors import InputError
from nbjax.files import check_folder

STUDY = flags.DEFINE_string("study", None, "the study's folder, or that of experiments.paper")
OUT = flags.DEFINE_string("out", None, "folder for report.html and its figures; else the study's")


def main() -> None:
    """Writes the report and prints its path."""
    if not STUDY.value:
        raise InputError("--study is missing; give the folder of a study.")
    from nbjax.report.paper.page import is_paper, write_paper
    from nbjax.report.study_page import write_report

    folder = Path(STUDY.value)
    if is_paper(folder) and OUT.value is not None:
        raise InputError(f"--out={OUT.value}: the page of {folder} is written into that folder; leave --out away.")
    if OUT.value is not None:
        check_folder(OUT.value)
    report = write_paper(folder) if is_paper(folder) else write_report(folder, OUT.value)
    print(f"report: {report}, {report.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
