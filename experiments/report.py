"""The report of a study from its folder, at any time: of a running, a stopped or a finished one.

    python -m experiments.report --study=results/mine
    python -m experiments.report --study=results/mine --out=results/mine-report

A finished study writes its report by itself; this writes it anew, after an update of nbjax or while a study still runs.
"""

from pathlib import Path

from absl import flags

from experiments.cli import run
from nbjax.errors import InputError

STUDY = flags.DEFINE_string("study", None, "the study's folder")
OUT = flags.DEFINE_string("out", None, "folder for report.html and its figures; else the study's")


def main() -> None:
    """Writes the report and prints its path."""
    if STUDY.value is None:
        raise InputError("--study is missing; give the folder of a study.")
    from nbjax.report.page import write_report

    report = write_report(Path(STUDY.value), OUT.value)
    print(f"report: {report}, {report.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
