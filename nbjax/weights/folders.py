"""Where downloaded and converted weights live: below the folder in the environment variable `NBJAX_HOME`."""

import os
from pathlib import Path

from nbjax.errors import InputError

VARIABLE = "NBJAX_HOME"


def home() -> Path:
    """The cache folder: `NBJAX_HOME` where it is set, else `~/.cache/nbjax`. Not created here.

    Raises:
        InputError: it is not set, and the system knows no home folder of the user.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named)
    try:
        return Path.home() / ".cache" / "nbjax"
    except RuntimeError:
        raise InputError(
            f"this user has no home folder; name one for weights and compiled programs, as in {VARIABLE}=/path/to/folder before "
            f"the command"
        ) from None


def downloads() -> Path:
    """Where published files are downloaded to, and where a user without a network may put them by hand."""
    return home() / "downloads"
