"""Where downloaded and converted weights live: below the folder in the environment variable `NBJAX_HOME`."""

import os
from pathlib import Path

from nbjax.errors import InputError

VARIABLE = "NBJAX_HOME"


def home() -> Path:
    """The cache folder: `NBJAX_HOME` where it is set, else `~/.cache/nbjax`. Not created here.

    Raises:
        InputError: neither is known, as for a user without an entry in the system's table of users.
    """
    if folder := os.environ.get(VARIABLE):
        return Path(folder)
    try:
        return Path.home() / ".cache" / "nbjax"
    except RuntimeError:
        raise InputError(
            "this user has no home folder to keep weights and compiled programs in; name a folder with "
            f"{VARIABLE}=FOLDER."
        ) from None


def downloads() -> Path:
    """Where published files are downloaded to, and where a user without a network may put them by hand."""
    return home() / "downloads"
