"""What a study over partitions gave and took, from its folder.

    python -m experiments.partitions --slides=FOLDER --out=results/partitions
    python -m benchmarks.partition_study --study=results/partitions

With `--features` a second folder's record gives the seconds from slides to features, where the first found its bank
made. It prints tables of variance, leak curve and seconds, and writes them to benchmarks/partition_study.md.
"""

import json
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
from absl import app, flags

STUDY = flags.DEFINE_string("study", "results/partitions", "folder of a finished study over partitions")
FEATURES = flags.DEFINE_string("features", None, "folder of another run, which made the bank anew")


def main(_: list[str]) -> None:
    """Writes the tables."""
    folder = Path(STUDY.value)
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    config, hardware = record["config"], record["hardware"]
    source = Path(record["source"]).name
    lines = [
        "# A study over partitions",
        "",
        f"{config['strategies'][0]} of {config['backbones'][0]} on {source}, learning rate "
        f"{config['learning_rates'][0]:g}, batch {config['batch_sizes'][0]}, {config['epochs']} epochs; "
        f"{hardware['cpu']}, {hardware['cores']} cores. Written by `python -m benchmarks.partition_study` from the "
        "folder of",
        "",
        f"    {record['command']}",
        "",
        *_seconds(record, folder),
        *_variance(folder),
        *_leak(folder),
    ]
    print("\n".join(lines))
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _seconds(record: dict, folder: Path) -> list[str]:
    seconds = dict(record["seconds"])
    if FEATURES.value is not None:
        other = json.loads((Path(FEATURES.value) / "record.json").read_text(encoding="utf-8"))
        if other["features"] != record["features"]:
            raise SystemExit(f"error: {FEATURES.value} has other features than {folder}; run it on the same slides.")
        del seconds["slides to features"]
        seconds = {"slides to features (a run of its own)": other["seconds"]["slides to features"], **seconds}
    sessions = {
        name: pyarrow.parquet.read_metadata(folder / f"{name}.parquet").num_rows for name in ("partitions", "leak")
    }
    counts = {f"{name}, sessions": str(count) for name, count in sessions.items()}
    rows = [f"| {step} | {counts.get(step, '')} | {value:.0f} |" for step, value in seconds.items()]
    whole = f"| all | {sum(sessions.values())} | {sum(seconds.values()):.0f} |"
    return ["| step | sessions | seconds |", "| --- | ---: | ---: |", *rows, whole, ""]


def _variance(folder: Path) -> list[str]:
    found = json.loads((folder / "variance.json").read_text(encoding="utf-8"))
    placed = found.pop("placed")
    first = next(iter(found.values()))
    lines = [
        f"Variance of the test accuracy over {first['partitions']} resampled partitions x {first['seeds']} seeds: "
        "share, and standard deviation in points, each with its 95 % bootstrap interval.",
        "",
        "| accuracy over | mean | partition | seed | both together |",
        "| --- | ---: | --- | --- | --- |",
    ]
    for level, parts in found.items():
        cells = [_part(parts[name]) for name in ("partition", "seed", "interaction")]
        lines.append(f"| {level} | {parts['mean']:.1%} | {' | '.join(cells)} |")
    least, low, middle, high, most = (f"{one:.1%}" for one in placed["resampled_quantiles"])
    return [
        *lines,
        "",
        f"Partitions' mean test accuracies over samples: {least} to {most}, median {middle}, 95 % in {low} to {high}. "
        f"Iterative filing's own: {placed['filing']:.1%}, above {placed['filing_percentile']:.0%} of them.",
        "",
    ]


def _part(part: dict) -> str:
    points = [100 * part[name] ** 0.5 for name in ("variance", "low", "high")]
    shares = [part[name] for name in ("share", "share_low", "share_high")]
    cell = f"{shares[0]:.0%} ({shares[1]:.0%} to {shares[2]:.0%}); {points[0]:.1f} ({points[1]:.1f} to {points[2]:.1f})"
    return cell + (", negative, given as 0" if part["truncated"] else "")


def _leak(folder: Path) -> list[str]:
    rows = pyarrow.csv.read_csv(folder / "figures/leak_curve.csv").to_pylist()
    names = list(dict.fromkeys(row["curve"] for row in rows))
    lines = [
        "Accuracy by share of leaking families: mean (95 % interval over draws), ± deviation over draws.",
        "",
        f"| families leaking | {' | '.join(names)} |",
        f"| ---: |{' --- |' * len(names)}",
    ]
    for fraction in dict.fromkeys(row["fraction"] for row in rows):
        cells = [
            f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f}) ± {row['std']:.3f}, {row['draws']} draws"
            for row in rows
            if row["fraction"] == fraction
        ]
        lines.append(f"| {fraction:.0%} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    app.run(main)
