"""What is known about a named data set, and the data set itself once loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from permgrad.base.registry import Registry
from permgrad.data.splitting import Task


@dataclass(frozen=True)
class Download:
    """Where a file can be fetched, and how its bytes become those of the card's file. None: they are the same."""

    url: str
    convert: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True)
class DataCard:
    """A data card: what a named data set is, where it lives, and what a program must know to use it."""

    name: str  # on the command line
    title: str  # for people
    home: str  # page of the original
    licence: str  # or what is known of it
    target: str
    task: Task
    description: str  # what a row is, one or two sentences
    rows: int
    columns: int  # of the file, target included
    file_name: str | None = None  # the file looked up. None: it ships inside a dependency
    sha256: str | None = None
    na_codes: tuple[str | int | float, ...] = ()  # values that stand for missing
    variables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # one-hot columns that are one variable each
    not_features: tuple[str, ...] = ()  # columns that must not be used to predict
    positive: str | int | None = None  # the class that counts as positive when there are two
    notes: tuple[str, ...] = ()  # what a reader should know, and why a download is not possible
    story: str | None = None  # which published readings of the set recur: a sentence that a run of it prints
    download: Download | None = None  # None: only by hand
    build: Callable[[], pd.DataFrame] | None = None  # makes the frame when the set ships inside a dependency

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form for reports."""
        facts = {name: value for name, value in vars(self).items() if name != "build"}
        variables = {name: list(columns) for name, columns in self.variables.items()}
        return {**facts, "variables": variables, "download": self.download.url if self.download else None}


@dataclass(frozen=True)
class Dataset:
    """A loaded data set: features and target in one frame, codes for missing untouched, and its card."""

    frame: pd.DataFrame
    card: DataCard

    @property
    def target(self) -> str:
        """The target's column."""
        return self.card.target

    @property
    def task(self) -> Task:
        """``"classification"`` or ``"regression"``."""
        return self.card.task

    @property
    def na_codes(self) -> tuple[str | int | float, ...]:
        """Values that stand for missing."""
        return self.card.na_codes

    @property
    def variables(self) -> dict[str, list[str]]:
        """One-hot columns that are one variable each: ``TableEncoder(variables=…)``."""
        return {name: list(columns) for name, columns in self.card.variables.items()}

    #: The same under another name: the blocks of columns that act as one.
    groups = variables

    @property
    def not_features(self) -> tuple[str, ...]:
        """Columns that must not be used to predict."""
        return self.card.not_features

    @property
    def feature_names(self) -> list[str]:
        """Columns to predict from."""
        return [name for name in self.frame.columns if name != self.target and name not in self.not_features]

    @property
    def X(self) -> pd.DataFrame:  # noqa: N802 — X is the field's name for a table
        """Feature columns."""
        return self.frame[self.feature_names]

    @property
    def y(self) -> pd.Series[Any]:
        """Target column."""
        return self.frame[self.target]


cards: Registry[DataCard] = Registry("data set")
"""All named data sets; a new one is a card in ``sets``."""
