"""The paper's figures and tables from the folders of studies, also of unfinished ones.

    python -m experiments.figures --studies=results/straightforward-small,results/extension-small --out=results/figures

Studies on one dataset are put together: where several have a cell's session of one seed, the first one's counts.
Figures are PNG with their numbers as CSV beside them; tables are Markdown, CSV and LaTeX. What the studies have no data
for is named with the reason. One that fails is named too, and the others are made; the status then is 1.
"""

import sys
from pathlib import Path

from absl import flags, logging

from experiments.cli import run
from nbjax.errors import InputError
from nbjax.files import check_folder

STUDIES = flags.DEFINE_list("studies", None, "folders of studies, finished or not")
OUT = flags.DEFINE_string("out", "results/figures", "where figures and tables go")


def main() -> None:
    """Makes what the studies have data for and says what they do not."""
    if not STUDIES.value:
        raise InputError("--studies is missing; give the folders of one or more studies, with commas between them.")
    check_folder(OUT.value)
    from nbjax.report.paper.results import make, write
    from nbjax.report.studies import pool, read_study

    pooled = pool([read_study(folder) for folder in STUDIES.value])
    for study in pooled.studies:
        state = "finished" if study.progress is None else "{} of {} programs finished".format(*study.progress)
        print(f"study: {study.folder}, {state}")
    if pooled.doubled:
        print(
            f"left out: {pooled.doubled} sessions of cells that an earlier study has, as they are or with other epochs"
        )
    made = make(pooled)
    out = Path(OUT.value)
    write(made, out)
    for name, drawn in made.figures.items():
        counted = f", {drawn.sessions:,} sessions" if drawn.sessions else ""
        print(f"{name}: {out / name}.png{counted}")
    for name in made.tables:
        print(f"{name}: {out / name}.md, .csv, .tex")
    for name, reason in made.missing.items():
        print(f"{name}: not made, {reason}")
    print(f"\nfigures and tables: {out}")
    for name, error in made.failed.items():
        logging.info("%s", name, exc_info=error)
    if made.failed:
        names = ", ".join(made.failed)
        sys.exit(f"error: {names}: failed by a defect of nbjax, the others are made; --verbosity=0 shows where.")


if __name__ == "__main__":
    run(main)
