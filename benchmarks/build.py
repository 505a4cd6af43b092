"""Time and memory of building the phantom of the paper's size with `tfds build`, and whether a second build is the
same.

    python -m benchmarks.build

prints a table and writes it to benchmarks/build.md. Takes some six minutes and 5 GB below the temporary folder.
"""

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordReader

from benchmarks.partition import processor

ROOT = Path(__file__).parents[1]
BEAM = "--beam_pipeline_options=direct_num_workers=2,direct_running_mode=multi_processing"


def build(data_dir: Path, *more: str) -> tuple[Path, float, float]:
    """Builds from a shell: the dataset's folder, seconds, and the largest resident set in GiB of any process so far."""
    tfds = Path(sys.executable).with_name("tfds")
    command = [tfds, "build", "datasets/neuroblastoma", f"--data_dir={data_dir}", "--config=paper_phantom", *more]
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    seconds = time.perf_counter() - start
    (folder,) = data_dir.glob("neuroblastoma/paper_phantom/*")
    return folder, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def digests(folder: Path) -> dict[str, str]:
    """sha256 of each file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def records(folder: Path) -> dict[str, str]:
    """sha256 of each split's records one after the other, wherever one file ends and the next begins."""
    found = {}
    for split in ("train", "validation", "test"):
        digest = hashlib.sha256()
        for path in sorted(folder.glob(f"*-{split}.array_record*")):
            reader = ArrayRecordReader(str(path))
            for index in range(reader.num_records()):
                digest.update(reader.read([index])[0])
        found[split] = digest.hexdigest()
    return found


def main() -> None:
    """Measures and writes the table."""
    with tempfile.TemporaryDirectory() as temporary:
        data_dir = Path(temporary)
        first, seconds, peak = build(data_dir)
        counts = json.loads((first / "metadata.json").read_text(encoding="utf-8"))["counts"]
        samples = sum(row["samples"] for labels in counts.values() for row in labels.values())
        lines = [row("first, the phantom is drawn", samples, seconds, peak, "", "")]
        before, content = digests(first), records(first)
        shutil.rmtree(first)
        again, seconds, peak = build(data_dir)
        lines.append(
            row(
                "second, the phantom lies there",
                samples,
                seconds,
                peak,
                same(before, digests(again)),
                same(content, records(again)),
            )
        )
        shutil.rmtree(again)
        beam, seconds, peak = build(data_dir, BEAM)
        lines.append(
            row(
                "on Beam, two local workers",
                samples,
                seconds,
                peak,
                same(before, digests(beam)),
                same(content, records(beam)),
            )
        )
    write(lines)


def same(before: dict[str, str], after: dict[str, str]) -> str:
    """How many of the first build's came out the same."""
    return f"{sum(after.get(name) == digest for name, digest in before.items())} of {len(before)}"


def row(what: str, samples: int, seconds: float, peak: float, files: str, splits: str) -> str:
    """One row of the table."""
    line = f"| {what} | {samples:,} | {seconds:.0f} s | {peak:.2f} GiB | {files} | {splits} |"
    print(line, flush=True)
    return line


def write(lines: list[str]) -> None:
    """Writes the table and what it was measured on."""
    text = [
        "# Building the phantom of the paper's size",
        "",
        f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, tensorflow-datasets "
        f"{importlib.metadata.version('tensorflow-datasets')}; {datetime.datetime.now(datetime.UTC).date()}. One run "
        "each of `tfds build datasets/neuroblastoma --config=paper_phantom`, everything included. Memory is the "
        "largest resident set of any process so far. TFDS cuts large splits into files at other places on Beam. "
        "Written by `python -m benchmarks.build`.",
        "",
        "| build | samples | time | memory | same files as the first | splits with the same records in the same order "
        "|",
        "| --- | --- | --- | --- | --- | --- |",
        *lines,
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
