"""The leakage experiments: sentences, tables and their part of the page."""

from collections.abc import Mapping
from pathlib import Path

from nbjax.analysis.leakage import Mean
from nbjax.analysis.uncertainty import LEVEL
from nbjax.report.figures.leakage import STYLES
from nbjax.report.sections import Picture, Section
from nbjax.report.table import Entry, Head, Table, p_text, span, three, word

Summary = Mapping[str, Mapping[str, Mean]]
Gaps = Mapping[tuple[str, str], Mean]
ROWS = {
    "train": "training loss",
    "validation": "validation loss",
    "gap": "gap: validation less training",
    "rise": "validation loss since its least",
    "test": "test loss",
    "hidden": "test less validation",
    "learned": "test less untrained",
}
# Of these the question is whether they differ from 0.
TESTED = ("gap", "rise", "hidden", "learned")
NOTE = (
    "Intervals and tests are over the sessions' seeds, on one set of slides and one partition: they do not say how "
    "other slides would behave. p is of the two-sided (paired) t-test that the mean is 0, p of ranks Wilcoxon's, "
    "neither corrected for their number. The end is the mean of the last tenth of the epochs."
)


def leakage_section(summary: Summary, gaps: Gaps, figure: Path) -> Section:
    """What the experiments showed.

    Args:
        summary: as `nbjax.analysis.leakage.summarise` gives it.
        gaps: as `nbjax.analysis.leakage.compare` gives it, of the gaps.
        figure: the losses' curves.
    """
    caption = "Figure 8: training dotted, validation solid; shaded ± one standard deviation over seeds."
    return Section(
        "Leakage",
        answer(summary, gaps),
        [Picture(figure, caption)],
        [experiment_table(summary), comparison_table(gaps)],
        [NOTE],
    )


def answer(summary: Summary, gaps: Gaps) -> list[str]:
    """A sentence or two an experiment, then the comparisons."""
    lines = [_experiment(STYLES[leak][1], measures) for leak, measures in summary.items()]
    compared = [
        f"that of {STYLES[first][1][0]} less that of {STYLES[second][1][0]} is {_mean(difference)}, "
        f"{_verdict(difference, 'larger', 'smaller', 'no difference is shown')}"
        for (first, second), difference in gaps.items()
    ]
    return [*lines, f"The gap between validation and training loss: {'; '.join(compared)}."]


def _experiment(name: str, measures: Mapping[str, Mean]) -> str:
    rise, hidden = measures["rise"], measures["hidden"]
    return (
        f"Experiment {name}, {rise.sessions} sessions: validation loss ends at {measures['validation'].mean:.3f}, "
        f"training loss at {measures['train'].mean:.3f}; since its least the validation loss "
        f"{_verdict(rise, 'rose', 'went on falling', 'was not shown to rise')}. The test loss ends at "
        f"{_mean(measures['test'])}, {_verdict(hidden, 'above', 'below', 'not shown to differ from')} the validation "
        "loss."
    )


def _verdict(value: Mean, above: str, below: str, neither: str) -> str:
    """What the interval says of the sign."""
    return above if value.interval.low > 0 else below if value.interval.high < 0 else neither


def _mean(value: Mean) -> str:
    return f"{value.mean:.3f} ({100 * LEVEL:.0f} % interval {span(value.interval, three)})"


def experiment_table(summary: Summary) -> Table:
    """A column an experiment: mean ± standard deviation over sessions, the interval below, and a p where 0 means no
    effect.
    """
    heads = [Head("", words=True), *(Head(STYLES[leak][1]) for leak in summary)]
    rows = [
        [word(text), *(_entry(measures[name], name in TESTED) for measures in summary.values())]
        for name, text in ROWS.items()
    ]
    return Table("experiments", heads, rows, title="The experiments")


def comparison_table(gaps: Gaps) -> Table:
    """A row a pair of experiments: the paired difference of their gaps."""
    heads = [
        Head("gap of", words=True),
        Head("less that of", words=True),
        *map(Head, ("difference", "p", "p of ranks")),
    ]
    rows = [
        [
            word(STYLES[first][1]),
            word(STYLES[second][1]),
            _entry(mean, False),
            Entry(p_text(mean.p)),
            Entry(p_text(mean.p_ranks)),
        ]
        for (first, second), mean in gaps.items()
    ]
    return Table("gaps", heads, rows, title="The gaps compared")


def _entry(value: Mean, tested: bool) -> Entry:
    under = f"{span(value.interval, three)}{f'; p {p_text(value.p)}' if tested else ''}"
    return Entry(f"{value.mean:.3f} ± {value.std:.3f}", under, value.mean)
