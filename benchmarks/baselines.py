"""Older kinds of methods beside the toolkit's own on real slides, from a study's folder.

    python -m experiments.study --slides=FOLDER --out=results/mine
    python -m experiments.baselines --study=results/mine
    python -m benchmarks.baselines --study=results/mine

Prints the study's `baselines.md` with what it is of, and writes it to benchmarks/baselines.md.
"""

import json
from pathlib import Path

from absl import app, flags

STUDY = flags.DEFINE_string("study", "results/mine", "folder of a study whose baselines are finished")


def main(_: list[str]) -> None:
    """Writes the table."""
    folder = Path(STUDY.value)
    record = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    dataset, hardware = record["dataset"], record["hardware"]
    families = " + ".join(str(sum(row["families"] for row in split.values())) for split in dataset["counts"].values())
    lines = [
        "# Older kinds of methods on one dataset",
        "",
        f"{Path(dataset['source']).name}: {sum(dataset['slides'].values())} slides of {families} families in the "
        f"splits {', '.join(dataset['counts'])}; the partition is the same for all. {hardware['cpu']}, "
        f"{hardware['cores']} cores. Seconds are of descriptors, choosing, fitting and holding out; the frozen "
        "features, which the study has already, are not among them. Written by `python -m benchmarks.baselines` from "
        "the folder of",
        "",
        f"    {record['command']}",
        f"    python -m experiments.baselines --study={folder}",
        "",
        (folder / "baselines.md").read_text(encoding="utf-8").strip(),
    ]
    print("\n".join(lines))
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
