"""Everything once on the phantom: slides, dataset, features, sessions, report.

    python -m experiments.quickstart

It is `experiments.study` with its defaults: configs/quickstart.py, no slides given, so a phantom is drawn.
"""

from experiments.cli import run
from experiments.study import main

if __name__ == "__main__":
    run(main)
