"""The leakage experiments in plain words, each with its figures."""

from collections.abc import Mapping

from nbjax.analysis.leakage import LEVEL, Mean
from nbjax.report.leakage_figures import STYLES

NOTE = (
    "Intervals and tests are over the sessions' seeds, on one set of slides and one partition: they do not say how other "
    "slides would behave. p is of the two-sided paired t-test, Wilcoxon's in brackets, neither corrected for their "
    "number; d is the mean difference over its standard deviation. The end is the mean of the last tenth of the epochs."
)


def answer(summary: Mapping[str, Mapping[str, Mean]], gaps: Mapping[tuple[str, str], Mean]) -> list[str]:
    """A sentence or two an experiment, then the comparisons, then what they hold for.

    Args:
        summary: as `nbjax.analysis.leakage.summarise` gives it.
        gaps: as `nbjax.analysis.leakage.compare` gives it, of the gaps.
    """
    lines = [_experiment(STYLES[leak][1], measures) for leak, measures in summary.items()]
    for (one, other), difference in gaps.items():
        verdict = _verdict(difference, "larger", "smaller", "no difference is shown")
        lines.append(
            f"The gap of experiment {STYLES[one][1]} less that of {STYLES[other][1]}: {_mean(difference)}, "
            f"{_test(difference)}: {verdict}."
        )
    return [*lines, NOTE]


def _experiment(name: str, measures: Mapping[str, Mean]) -> str:
    rise, hidden, learned = measures["rise"], measures["hidden"], measures["learned"]
    return (
        f"Experiment {name}: training loss ends at {measures['train'].mean:.3f}, validation loss at "
        f"{measures['validation'].mean:.3f}, a gap of {_mean(measures['gap'])}; from its least the validation loss "
        f"{_verdict(rise, 'rose', 'went on falling', 'was not shown to rise')}, by {_mean(rise)}, {_test(rise)}. The test "
        f"loss ends at {_mean(measures['test'])}: {_verdict(hidden, 'above', 'below', 'not shown to differ from')} the "
        f"validation loss, by {_mean(hidden)}, {_test(hidden)}, and "
        f"{_verdict(learned, 'above', 'below', 'not shown to differ from')} the untrained network's, by {_mean(learned)}."
    )


def _verdict(value: Mean, above: str, below: str, neither: str) -> str:
    """What the interval says of the sign."""
    return above if value.low > 0 else below if value.high < 0 else neither


def _mean(value: Mean) -> str:
    return f"{value.mean:.3f} ({LEVEL:.0%} interval {value.low:.3f} to {value.high:.3f}, {value.sessions} sessions)"


def _test(value: Mean) -> str:
    p = "< 0.001" if value.p < 0.001 else f"= {value.p:.3f}"
    return f"p {p} [{value.p_ranks:.3f}], d = {value.effect:.1f}"
