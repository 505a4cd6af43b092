"""The leakage experiments in plain words."""

from collections.abc import Mapping

from nbjax.analysis.leakage import LEVEL, Mean
from nbjax.report.leakage_figures import STYLES

NOTE = (
    "Intervals and tests are over the sessions' seeds, on one set of slides and one partition: they do not say how other "
    "slides would behave. p is of the two-sided (paired) t-test that the mean is 0, p of ranks Wilcoxon's, neither corrected "
    "for their number. The end is the mean of the last tenth of the epochs."
)


def answer(summary: Mapping[str, Mapping[str, Mean]], gaps: Mapping[tuple[str, str], Mean]) -> list[str]:
    """A sentence or two an experiment, then the comparisons, then what they hold for.

    Args:
        summary: as `nbjax.analysis.leakage.summarise` gives it.
        gaps: as `nbjax.analysis.leakage.compare` gives it, of the gaps.
    """
    lines = [_experiment(STYLES[leak][1], measures) for leak, measures in summary.items()]
    compared = [
        f"that of {STYLES[one][1][0]} less that of {STYLES[other][1][0]} is {_mean(difference)}, "
        f"{_verdict(difference, 'larger', 'smaller', 'no difference is shown')}"
        for (one, other), difference in gaps.items()
    ]
    return [*lines, f"The gap between validation and training loss: {'; '.join(compared)}.", NOTE]


def _experiment(name: str, measures: Mapping[str, Mean]) -> str:
    rise, hidden = measures["rise"], measures["hidden"]
    return (
        f"Experiment {name}, {rise.sessions} sessions: validation loss ends at {measures['validation'].mean:.3f}, training loss at "
        f"{measures['train'].mean:.3f}; since its least the validation loss "
        f"{_verdict(rise, 'rose', 'went on falling', 'was not shown to rise')}. The test loss ends at "
        f"{_mean(measures['test'])}, {_verdict(hidden, 'above', 'below', 'not shown to differ from')} the validation loss."
    )


def _verdict(value: Mean, above: str, below: str, neither: str) -> str:
    """What the interval says of the sign."""
    return above if value.low > 0 else below if value.high < 0 else neither


def _mean(value: Mean) -> str:
    return f"{value.mean:.3f} ({LEVEL:.0%} interval {value.low:.3f} to {value.high:.3f})"
