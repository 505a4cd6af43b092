"""Where downloaded and converted weights live: below the folder in the environment variable `NBJAX_HOME`."""

import os
from pathlib import Path

VARIABLE = "NBJAX_HOME"


def home() -> Path:
    """The cache folder: `NBJAX_HOME` where it is set, else `~/.cache/nbjax`. Not created here."""
    return Path(os.environ.get(VARIABLE) or Path.home() / ".cache" / "nbjax")


def downloads() -> Path:
    """Where published files are downloaded to, and where a user without a network may put them by hand."""
    return home() / "downloads"
