"""What the user asked of ``permgrad tune``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from permgrad.base.errors import InputError
from permgrad.runs.run.request import DEFAULT_PARENT, RunRequest, SplitRequest

DATABASE, STUDY_NAME, DEFAULT_SPACE = "study.db", "permgrad", "default"


@dataclass(frozen=True, kw_only=True)
class TuneRequest(SplitRequest):
    """The options of ``permgrad tune``; see ``permgrad tune --help``.

    Attributes:
        trials: The study's total of finished trials; None: as many as the space says for the task.
        storage: URL of the study's database; None: an SQLite file in the folder.
        study: The study's name in the storage.
        space: Name of a space, or path of its file.
        pruning: Whether trials that do badly are ended early.
    """

    trials: int | None = None
    storage: str | None = None
    study: str = STUDY_NAME
    space: str = DEFAULT_SPACE
    pruning: bool = True

    def check(self) -> None:
        """Refuse what can be refused before any file is read.

        Raises:
            InputError: Options that are unknown or do not go together.
        """
        if self.trials is not None and self.trials < 1:
            raise InputError(
                f"a study has at least one trial, however: --trials {self.trials}; give for example --trials 30"
            )
        if not self.study.strip():
            raise InputError("a study must have a name, however: --study is empty; leave the option out")
        self.run_request("default").check()

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.out if self.out is not None else DEFAULT_PARENT / f"{self.name}-tuned-{self.seed}"

    @property
    def url(self) -> str:
        """The storage."""
        return self.storage if self.storage is not None else f"sqlite:///{(self.folder / DATABASE).absolute()}"

    @property
    def shown_storage(self) -> str | None:
        """The storage that was asked for, without a password."""
        from permgrad.tuning.study import without_password

        return None if self.storage is None else without_password(self.storage)

    def run_request(self, preset: str, seed: int | None = None) -> RunRequest:
        """Return the run of one preset and seed on the same rows."""
        shared = {entry.name: getattr(self, entry.name) for entry in fields(SplitRequest)}
        changed = {"out": self.folder, "seed": self.seed if seed is None else seed, "overwrite": False}
        return RunRequest(preset=preset, **(shared | changed))

    @property
    def command(self) -> str:
        """The command line that asks for this, with only the options that differ from their defaults."""
        words = shlex.split(self.run_request("default").command)
        words = [words[0], "tune", *words[2:]]
        own: dict[str, tuple[Any, Any]] = {
            "--trials": (self.trials, None),
            "--storage": (self.shown_storage, None),
            "--study": (self.study, STUDY_NAME),
            "--space": (self.space, DEFAULT_SPACE),
        }
        words += [word for option, (value, usual) in own.items() if value != usual for word in (option, str(value))]
        if self.out is None and "--out" in words:
            place = words.index("--out")
            del words[place : place + 2]
        return shlex.join([*words, *([] if self.pruning else ["--no-pruning"])])
