"""Scripts, one a job: parse flags, call nbjax, say where the results are."""

import sys
from types import TracebackType


def _stopped(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ctrl-C while a script still imports, which takes seconds, is one sentence; later `experiments.cli` says it."""
    if issubclass(kind, KeyboardInterrupt):
        print("stopped; nothing was begun.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.excepthook is sys.__excepthook__:
    sys.excepthook = _stopped
