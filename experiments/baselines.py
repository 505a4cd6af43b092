"""Older kinds of methods on a study's own splits, beside the study's result (those of the paper's Table 1 had each its
own data).

    python -m experiments.baselines --study=results/mine

Logistic regression and a linear support vector machine on the backbone's frozen features; a radial one on local binary
patterns, and one on SIFT visual words. They are fitted on the training split, chosen on the validation split and scored
once on the test split, then with every family held out once, chosen by families outside each fold. The study's dataset
must be built; its sessions may be unfinished. Adds a part to the study's report, and writes `baselines.csv`,
`baselines.md`, `baselines.parquet` (test predictions), `baseline_folds.parquet` (those of held-out families) and
`figures/baselines.png` into the study's folder. Needs `pip install -e '.[baselines]'`.
"""

from pathlib import Path

from absl import flags

from experiments.cli import run
from nbjax.errors import InputError

STUDY = flags.DEFINE_string("study", None, "folder of the study")
BANKS = flags.DEFINE_string("banks", None, "folder of feature banks; else banks in the study's folder")


def main() -> None:
    """Runs the baselines on the study that the flags name."""
    from nbjax.report.baselines import write_baselines
    from nbjax.report.study_page import write_report

    if STUDY.value is None:
        raise InputError("give the study's folder: --study=results/mine.")
    folder = Path(STUDY.value)
    write_baselines(folder, Path(BANKS.value) if BANKS.value else folder / "banks")
    print(f"\n{(folder / 'baselines.md').read_text(encoding='utf-8')}")
    print(f"figure: {folder / 'figures/baselines.png'}")
    print(f"report: {write_report(folder)}")


if __name__ == "__main__":
    run(main)
