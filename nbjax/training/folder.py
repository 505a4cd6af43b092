"""A study's folder: what its files are called, and which of its programs are finished."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nbjax.training.store import PROGRAMS, is_finished

# Ways to hold samples out: families, and patches at random.
FOLDS = ("fold", "random_fold")


class StudyFolder(NamedTuple):
    """Where a study's files lie, whether they are there or not."""

    path: Path

    @property
    def record(self) -> Path:
        """What the study is, what it chose, and where it ran."""
        return self.path / "study.json"

    @property
    def sessions(self) -> Path:
        """A row a session and epoch, of a finished study."""
        return self.path / "sessions.parquet"

    def predictions(self, of: str) -> Path:
        """What the chosen cell's sessions say of samples: `test`, `validation`, `fold` or `random_fold`."""
        return self.path / f"{of}_predictions.parquet"

    @property
    def fold_choices(self) -> Path:
        """A row a fold of held-out families: what its sessions were trained with."""
        return self.path / "fold_choices.parquet"

    @property
    def programs(self) -> Path:
        """A folder a program."""
        return self.path / PROGRAMS

    def finished(self, programs: Iterable[str]) -> list[Path]:
        """The folders of those programs that are finished."""
        return [self.programs / name for name in programs if is_finished(self.programs / name)]
