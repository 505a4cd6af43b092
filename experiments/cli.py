"""What every script shares: how it starts and how bad input ends it."""

import os
import sys
from collections.abc import Callable

from absl import app, flags, logging

from nbjax.memory import keep_freed_memory
from nbjax.weights.folders import home


def run(main: Callable[[], None]) -> None:
    """Parses flags and runs `main`; bad input prints one sentence and exits with status 1.

    Only `InputError` and the operating system's own refusals are bad input: anything else is a defect and keeps its
    traceback.
    """
    keep_freed_memory()
    # Compiled programs are kept from one run to the next.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(home() / "compiled"))

    def guarded(arguments: list[str]) -> None:
        from nbjax.errors import InputError, disk_is_full, memory_ran_out

        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)
        if len(arguments) > 1:
            sys.exit(f"error: {arguments[1]!r} was not understood; every option is a flag, see --help.")
        try:
            main()
        except (InputError, OSError) as error:
            sys.exit(
                f"error: {error if isinstance(error, InputError) or not disk_is_full(error) else _exhausted(error)}"
            )
        except KeyboardInterrupt:
            sys.exit("stopped; the same command goes on from what is finished.")
        except Exception as error:
            if disk_is_full(error) or memory_ran_out(error):
                sys.exit(f"error: {_exhausted(error)}")
            raise

    app.run(guarded)


def _exhausted(error: BaseException) -> str:
    """What is said of a full disk or memory: other libraries say it in hundreds of lines."""
    from nbjax.errors import disk_is_full, first_line

    if disk_is_full(error):
        name = getattr(error, "filename", None)
        return (
            f"{f'{name}: ' if name else ''}the disk is full ({first_line(error)[:200]}); make room there, or write to another "
            "disk; the same command goes on from what is finished."
        )
    return (
        f"memory ran out ({first_line(error)[:200]}); close other programs or take a machine with more; the same command "
        "goes on from what is finished."
    )
