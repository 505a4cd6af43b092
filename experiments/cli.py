"""What every script shares: how it starts and how bad input ends it."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable

from absl import app, flags, logging

from nbjax.errors import InputError
from nbjax.memory import keep_freed_memory
from nbjax.weights.folders import home


def run(main: Callable[[], None]) -> None:
    """Parses flags and runs `main`; bad input prints one sentence and exits with status 1.

    Only `InputError` and the operating system's own refusals are bad input: anything else is a defect and keeps its
    traceback.
    """
    keep_freed_memory()
    # A terminal that lacks a letter shows a question mark; files are UTF-8 whatever the terminal is.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # What Pillow warns of, odd remarks in a picture's header, changes no pixel.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # Compiled programs are kept from one run to the next; a script that needs the folder itself says where it is missing.
    with contextlib.suppress(InputError):
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(home() / "compiled"))

    def guarded(arguments: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)
        if len(arguments) > 1:
            sys.exit(f"error: {arguments[1]!r} was not understood; every option is a flag, see --help.")
        try:
            main()
        except (InputError, OSError) as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            sys.exit("stopped; the same command goes on from what is finished.")

    app.run(guarded)
