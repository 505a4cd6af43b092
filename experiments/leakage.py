"""The paper's leakage experiments: the same sessions on datasets that differ only in what leaks.

    python -m experiments.leakage --slides=FOLDER --out=results/leakage
    python -m experiments.leakage --size=small
    python -m experiments.leakage --config=configs/leakage_frozen.py --slides=FOLDER --out=results/leakage_frozen

Experiment 1 is the leak `none`, 2 is `exchange`, and 3, of which the paper says that samples are assigned at random, is
`random_samples`; `random` assigns patches instead. Each is a study of its own in <out>/<leak>, from the same slides and
manifest. The test split shares nothing with the others in any of them; its losses are shown and choose nothing.
"""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
from absl import flags

from experiments import study as studies
from experiments.cli import run
from nbjax.config import LEAKS, StudyConfig, load_config
from nbjax.errors import InputError
from nbjax.files import check_folder, make_folder, replacing
from nbjax.report.sections import SECTION, Section, store_section
from nbjax.spreadsheet import write_csv

WHICH = flags.DEFINE_list("leaks", ["none", "exchange", "random_samples"], "which experiments, in their order")
flags.adopt_module_key_flags(studies)


def main() -> None:
    """Runs the experiments that the flags describe."""
    config = load_config(studies.CONFIG.value, studies.SET.value, studies.SIZE.value, kind=StudyConfig)
    unknown = [leak for leak in WHICH.value if leak not in LEAKS]
    if unknown or len(set(WHICH.value)) < max(2, len(WHICH.value)):
        raise InputError(f"--leaks={','.join(WHICH.value)}: expected two or more of {', '.join(LEAKS)}, each once.")
    out = Path(studies.OUT.value or f"results/{config.name}")
    banks = Path(studies.BANKS.value or out / "banks")
    section = leakage(config, studies.SLIDES.value, out, banks, WHICH.value)
    for line in (*section.lines, *section.notes):
        print(f"\n{line}")
    print(f"\nfigure: {out / 'figures/figure8.png'}; tables: {out / 'summary.csv'}, {out / 'comparisons.csv'}")


def leakage(config: StudyConfig, slides: str | None, out: Path, banks: Path, leaks: list[str]) -> Section:
    """Runs each experiment in `<out>/<leak>`, writes tables, figure and the part of a page that shows them into
    `out`.
    """
    from nbjax.analysis.leakage import compare, measure, read_curves, summarise
    from nbjax.analysis.uncertainty import flat
    from nbjax.report.figures.leakage import loss_curves, loss_numbers
    from nbjax.report.leakage import leakage_section
    from nbjax.training.folder import StudyFolder
    from nbjax.training.store import read_table, write_table

    _check(config)
    check_folder(out)
    make_folder(out)
    folder = studies.slides_folder(config, slides, out)
    manifest = studies.tile(config, folder, out)
    for leak in leaks:
        print(f"\nexperiment: {leak}")
        dataset = dataclasses.replace(config.dataset, leak=leak)
        of_one = dataclasses.replace(config, name=f"{config.name} {leak}", dataset=dataset)
        studies.study(of_one, str(folder), out / leak, banks, manifest)
    tables = {leak: read_table(StudyFolder(out / leak).sessions) for leak in leaks}
    joined = [table.add_column(0, "leak", pa.array([leak] * len(table))) for leak, table in tables.items()]
    write_table(pa.concat_tables(joined), out / "leakage.parquet")
    curves = {leak: read_curves(table) for leak, table in tables.items()}
    measures = {leak: measure(of_one) for leak, of_one in curves.items()}
    summary, gaps = summarise(measures), compare(measures)
    rows = [{"leak": leak, "measure": name, **flat(mean)} for leak, of in summary.items() for name, mean in of.items()]
    write_csv(rows, out / "summary.csv")
    write_csv(
        [{"measure": "gap", "leak": a, "less": b, **flat(mean)} for (a, b), mean in gaps.items()],
        out / "comparisons.csv",
    )
    write_csv(loss_numbers(curves), out / "figures/figure8.csv")
    with replacing(out / "figures/figure8.png") as temporary:
        title = f"{config.backbones[0]}, {config.strategies[0]}"
        loss_curves(curves, title).savefig(temporary, format="png", facecolor="white")
    section = leakage_section(summary, gaps, out / "figures/figure8.png")
    store_section(section, out / SECTION)
    return section


def _check(config: StudyConfig) -> None:
    """Finds before anything runs what would be refused after it."""
    for field in ("backbones", "strategies", "learning_rates", "batch_sizes"):
        if len(getattr(config, field)) > 1:
            raise InputError(f"config field {field}: found {getattr(config, field)}; a leakage experiment has one.")
    for field, value, holds, expected in (
        ("seeds", config.seeds, config.seeds >= 2, "2 or more"),
        ("test_curve", config.test_curve, config.test_curve, "True"),
        ("dataset.leak", config.dataset.leak, config.dataset.leak == "none", "none; --leaks says which to compare"),
    ):
        if not holds:
            raise InputError(f"config field {field}: found {value}; a leakage experiment needs {expected}.")


if __name__ == "__main__":
    flags.set_default(studies.CONFIG, "configs/leakage.py")
    run(main)
