"""What every script shares: how it starts and how bad input ends it."""

import atexit
import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging

from nbjax.compiled import watch_compiled
from nbjax.errors import InputError
from nbjax.memory import keep_freed_memory
from nbjax.weights.folders import home

HELP = {"help", "helpshort", "helpfull", "h", "?"}


def run(main: Callable[[], None], refused: Collection[str] = ()) -> None:
    """Parses flags and runs `main`; bad input prints one sentence and exits with status 1.

    `--help` prints what the script does and the flags it takes, with their defaults, and exits with status 0; `refused`
    names flags of scripts it is built on that it does not take.

    Only `InputError` and the operating system's own refusals are bad input: anything else is a defect and keeps its
    traceback.
    """
    keep_freed_memory()
    # What a closed standard output or error would have shown is nobody's.
    sys.stdout, sys.stderr = (
        stream or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 open as long as the process is
        for stream in (sys.stdout, sys.stderr)
    )
    # A terminal that lacks a letter shows a question mark; files are UTF-8 whatever the terminal is.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    # What Pillow warns of, odd remarks in a picture's header, changes no pixel.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # Compiled programs are kept from one run to the next; a script that needs the folder itself says where it is
    # missing.
    note = None
    with contextlib.suppress(InputError, OSError):
        own = home() / "compiled"
        folder = Path(os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(own)))
        note = atexit.register(watch_compiled(folder, folder == own))

    def guarded(arguments: list[str]) -> None:
        from nbjax.errors import disk_is_full, memory_ran_out

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
            print("stopped; the same command goes on from what is finished.", file=sys.stderr)
            _end_at_once(note)
        except Exception as error:
            if disk_is_full(error) or memory_ran_out(error):
                sys.exit(f"error: {_exhausted(error)}")
            raise

    def parse(arguments: Sequence[str]) -> list[str]:
        if any(word.startswith("-") and word.lstrip("-").split("=")[0] in HELP for word in arguments[1:]):
            print(_help(refused))
            sys.exit(0)
        try:
            rest = flags.FLAGS(arguments)
        except flags.Error as error:
            sys.exit(f"error: {_said_of_flags(' '.join(str(error).split()).removesuffix('.'))}; see --help.")
        for name, flag in _own_flags(refused).items():
            if flag.present and flag.value == "":
                sys.exit(f"error: --{name}= is empty; give it a value, or leave it out.")
        return rest

    app.run(guarded, flags_parser=parse)


def _said_of_flags(message: str) -> str:
    """What absl says of a flag's value that is not of its type, in words instead of Python's."""
    words = {"int": "a whole number, such as 250", "float": "a number, such as 0.25", "bool": "true or false"}
    parts = re.match(r"flag (--(?P<name>\w+)=.*?): .*(invalid literal|could not convert|Non-boolean)", message)
    if parts is None:
        return message
    return f"{parts[1]}: expected {words[flags.FLAGS[parts['name']].flag_type()]}"


def _end_at_once(note: Callable[[], None] | None) -> NoReturn:
    """Ends the process with status 1, without Python's own end: a compiler at work in a thread would crash in it."""
    if note:
        note()
    for stream in (sys.stdout, sys.stderr):
        # Whoever read it may be gone.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(1)


def _own_flags(refused: Collection[str]) -> dict[str, Any]:
    """The flags of the script and of scripts it is built on, by name."""
    return {
        name: flag
        for module, defined in flags.FLAGS.flags_by_module_dict().items()
        if module == sys.argv[0] or module.startswith("experiments.")
        for flag in defined
        if (name := flag.name) not in refused
    }


def _help(refused: Collection[str]) -> str:
    """What the script says of itself, and its flags."""
    lines = [(sys.modules["__main__"].__doc__ or "").strip(), "", "Flags:"]
    for name, flag in sorted(_own_flags(refused).items()):
        text = ",".join(map(str, flag.value)) if isinstance(flag.value, list) else flag.value
        default = f" (default: {text})" if text not in (None, "", False) else ""
        typed = f"--[no]{name}" if flag.boolean else f"--{name}=…"
        lines.append(f"  {typed:<28} {' '.join(flag.help.split())}{default}")
    return "\n".join(lines)


def _exhausted(error: BaseException) -> str:
    """What is said of a full disk or memory: other libraries say it in hundreds of lines."""
    from nbjax.errors import disk_is_full, first_line

    if disk_is_full(error):
        name = getattr(error, "filename", None)
        return (
            f"{f'{name}: ' if name else ''}the disk is full ({first_line(error)[:200]}); make room there, or write to "
            "another disk; the same command goes on from what is finished."
        )
    return (
        f"memory ran out ({first_line(error)[:200]}); close other programs or take a machine with more; the same "
        "command goes on from what is finished."
    )
