"""What is asked of the reading of a table, and what it gives: the frame, and how its numbers were written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from permgrad.data.read.cells import CodesArgument, MissingCodes, RowLines
from permgrad.data.read.missing_texts import MISSING_ANYWAY
from permgrad.data.read.written_numbers import ways_of


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the columns of a table are to be read.

    Attributes:
        na: codes whose cells become missing.
        codes: codes that cells keep, and that do not keep a column from being read as numbers.
        not_na: texts that are kept, though they usually mean missing.
        text: columns that are kept as text, and must be there.
        texts: columns that were text in the table that was learned from; this one may lack some.
        decimal: the decimal sign, where the user named it.
        like, units: decimal signs and units of columns in the table that was learned from.
        classes: columns in which 01 and 1 may differ, and which must not stand twice.
        categories, identifiers: columns that are kept as text where numbers would lose something.
        named: columns without a name that are not left out, by their place.
    """

    na: MissingCodes = field(default_factory=MissingCodes)
    codes: MissingCodes = field(default_factory=MissingCodes)
    not_na: Collection[str] = ()
    text: Collection[str] = ()
    texts: Collection[str] = ()
    decimal: str | None = None
    like: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    classes: Collection[str] = ()
    categories: Collection[str] = ()
    identifiers: Collection[str] = ()
    named: Collection[str] = ()

    @property
    def missing(self) -> frozenset[str]:
        """Texts that mean missing."""
        return MISSING_ANYWAY.difference(self.not_na)


class Written(NamedTuple):
    """A table whose columns of numbers are numbers, and how they were written.

    Attributes:
        frame: the table.
        decimals: the decimal sign of columns of numbers, where it is known: ``{"price": ","}``.
        units: what stands beside digits, ``{"rate": "%", "price": "$", "views": "k"}``: ``7,4 %`` is 7.4, 1.2k is 1200.
        texts: columns of text, also in later tables in which they happen to hold numbers alone.
        coded: columns of text that hold nothing but numbers and codes, as they are written.
        padded: columns of numbers that are written like codes: digits of one length, some with zeros in front.
        alike: two cells that are one number, though zeros in front differ, ``{"y": ("001", "1")}``, of the classes.
        missing: the share of cells with each text that was taken as missing, by column: ``{"pool": {"None": 0.6}}``.
        lines: the line of the file that each row begins in.
        notes: what a user should know of the columns' names.
    """

    frame: pd.DataFrame
    decimals: Mapping[str, str] = MappingProxyType({})
    units: Mapping[str, str] = MappingProxyType({})
    texts: tuple[str, ...] = ()
    coded: tuple[str, ...] = ()
    padded: tuple[str, ...] = ()
    alike: Mapping[str, tuple[str, str]] = MappingProxyType({})
    missing: Mapping[str, Mapping[str, float]] = MappingProxyType({})
    lines: RowLines = RowLines()
    notes: tuple[str, ...] = ()

    @classmethod
    def typed(cls, frame: pd.DataFrame, codes: CodesArgument | MissingCodes = ()) -> Written:
        """Return a table whose file says itself which columns are numbers."""
        names, missing = [str(name) for name, column in frame.items() if _holds_text(column)], MissingCodes.of(codes)
        coded = []
        for name in names:
            cells = [str(cell) for cell in pd.unique(frame[name].dropna())]
            if ways_of([cell for cell in cells if cell.strip() not in code_words(missing, name)]):
                coded.append(name)
        return cls(frame, texts=tuple(name for name in names if name not in coded), coded=tuple(coded))


def _holds_text(column: pd.Series[Any]) -> bool:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return any(isinstance(level, str) for level in column.cat.categories)
    is_text = column.dtype == object or isinstance(column.dtype, pd.StringDtype)
    return is_text and any(isinstance(cell, str) for cell in column.dropna().head(1))


def code_words(codes: MissingCodes, name: str) -> set[str]:
    """Return the codes of a column that are no numbers."""
    words = {label for label, number in zip(codes.labels, codes.numbers, strict=True) if np.isnan(number)}
    return words.intersection(codes.holds_for(name))
