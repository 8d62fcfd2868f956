"""What is asked of the reading of a table, and what it gives: the frame, and how its
numbers were written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from permgrad.base.checks import check_names
from permgrad.base.errors import InputError, listed, option_of, shown
from permgrad.data.read.cells import CodesArgument, MissingCodes, RowLines
from permgrad.data.read.written_numbers import is_dot, signs_of

#: What a spreadsheet shows in the place of a value that it could not compute or look
#: up: in English, then as German, French, Spanish, Italian, Dutch and Portuguese ones
#: show it where that is another word.
SPREADSHEET_ERRORS = (
    "#N/A",
    "#VALUE!",
    "#REF!",
    "#DIV/0!",
    "#NAME?",
    "#NUM!",
    "#NULL!",
    "#SPILL!",
    "#CALC!",
    "#FIELD!",
    "#BLOCKED!",
    "#CONNECT!",
    "#UNKNOWN!",
    "#BUSY!",
    "#GETTING_DATA",
    "#NV",
    "#WERT!",
    "#BEZUG!",
    "#ZAHL!",
    "#ÜBERLAUF!",
    "#KALK!",
    "#FELD!",
    "#BLOCKIERT!",
    "#VERBINDEN!",
    "#VALEUR!",
    "#NOM?",
    "#NOMBRE!",
    "#NUL!",
    "#PROPAGATION!",
    "#¡VALOR!",
    "#¡REF!",
    "#¡DIV/0!",
    "#¿NOMBRE?",
    "#¡NUM!",
    "#¡NULO!",
    "#N/D",
    "#VALORE!",
    "#RIF!",
    "#NOME?",
    "#NULLO!",
    "#N/B",
    "#WAARDE!",
    "#VERW!",
    "#DEEL/0!",
    "#NAAM?",
    "#GETAL!",
    "#LEEG!",
    "#VALOR!",
    "#NÚM!",
    "#NULO!",
)

_OF_PANDAS = (
    "#N/A N/A",
    "#NA",
    "-1.#IND",
    "-1.#QNAN",
    "-NaN",
    "-nan",
    "1.#IND",
    "1.#QNAN",
    "<NA>",
    "N/A",
    "NA",
    "NULL",
    "NaN",
    "None",
    "n/a",
    "nan",
    "null",
)

#: A code that is declared for nothing, but is no mistake: its cells are missing before
#: anybody looks for it.
MISSING_ANYWAY = frozenset((*SPREADSHEET_ERRORS, *_OF_PANDAS))


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the columns of a table are to be read.

    Cells with ``na`` codes become missing. ``codes`` stay, and keep no column from
    being read as numbers. ``not_na`` are texts that are kept, though they usually mean
    missing. Columns in ``text`` are kept as they are written, as are those that were
    ``texts`` in the table learned from. ``decimal`` is the sign that the user named. A
    ``later`` table is read ``like`` the one that was learned from: by its decimal sign
    and its ``units``, and what is no number in a column of numbers is left to be
    refused. In ``classes`` 01 and 1 may differ, and no name stands twice. ``images``
    hold names of files. Of columns without a name those ``named`` by their place are
    not left out. ``sheet`` is that of an Excel file. None: the first. Of Parquet files
    those ``dropped`` are not read if their cells are lists or records. Columns of
    ``pairs`` had two numbers in a cell.
    """

    na: MissingCodes = field(default_factory=MissingCodes)
    codes: MissingCodes = field(default_factory=MissingCodes)
    not_na: Collection[str] = ()
    text: Collection[str] = ()
    texts: Collection[str] = ()
    decimal: str | None = None
    later: bool = False
    like: str | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    classes: Collection[str] = ()
    images: Collection[str] = ()
    named: Collection[str] = ()
    sheet: str | None = None
    dropped: Collection[str] = ()
    pairs: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Written(NamedTuple):
    """A table whose columns of numbers are numbers, and how they were written.

    ``decimal`` is the decimal sign, where it is known, ``units`` the currency or per
    cent sign of columns: ``7,4 %`` is 7.4. ``texts`` are columns of text, also in later
    tables in which they hold numbers alone, ``padded`` columns of numbers that are
    written like codes. Of the classes ``alike`` has two cells that are one number (001
    and 1). ``missing`` is the share of cells with each text that was taken as missing,
    by column. ``lines`` where each row begins in the file. ``notes`` what a user should
    know of the columns' names. ``unread`` are columns that were left out before their
    cells were read. ``cautions`` are the notes that a page has, too. ``pairs`` are
    columns of two numbers in a cell, which are two columns, with what ``Pair`` holds.
    ``labels`` are what a file says that columns hold, as those of statistics programs
    do.
    """

    frame: pd.DataFrame
    decimal: str | None = None
    units: Mapping[str, str] = MappingProxyType({})
    texts: tuple[str, ...] = ()
    padded: tuple[str, ...] = ()
    alike: Mapping[str, tuple[str, str]] = MappingProxyType({})
    missing: Mapping[str, Mapping[str, float]] = MappingProxyType({})
    lines: RowLines = RowLines()
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    pairs: Mapping[str, Sequence[str]] = MappingProxyType({})
    labels: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def typed(
        cls, frame: pd.DataFrame, codes: CodesArgument | MissingCodes = ()
    ) -> Written:
        """Return a table whose file says itself which columns are numbers."""
        texts = list[str]()
        missing = MissingCodes.of(codes)
        for column_name in (
            str(text_column)
            for text_column, column in frame.items()
            if holds_text(column)
        ):
            words = code_words(missing, column_name)
            cells = []
            for cell_value in pd.unique(frame[column_name].dropna()):
                cells.append(str(cell_value).strip())
            if not signs_of(
                pa.chunked_array(
                    [[cell_text for cell_text in cells if cell_text not in words]],
                    pa.string(),
                )
            ):
                texts.append(column_name)
        return cls(frame, texts=tuple(texts))


def holds_text(column: pd.Series[Any]) -> bool:
    """Whether a column has cells of text."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return any(isinstance(level, str) for level in column.cat.categories)
    is_text = column.dtype == object or isinstance(column.dtype, pd.StringDtype)
    return is_text and any(
        isinstance(column_cell, str) for column_cell in column.dropna().head(1)
    )


def code_words(codes: MissingCodes, name: str) -> set[str]:
    """Return the codes of a column that are no numbers."""
    return {
        label
        for label in codes.holds_for(name)
        if np.isnan(codes.numbers[codes.labels.index(label)])
    }


# ---- texts that mean missing ---------------------------------------------------------
def missing_said(missing: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a sentence, or none, on the texts taken as missing, from the share of
    cells with each, by column.
    """
    columns: dict[str, list[tuple[float, str]]] = {}
    for column_name, words in missing.items():
        for missing_word, share in words.items():
            columns.setdefault(missing_word, []).append((share, column_name))
    if not columns:
        return []
    usual = sorted(columns, key=lambda word: -max(columns[word])[0])
    phrases = []
    for usual_word in usual:
        shares = sorted(columns[usual_word], key=lambda pair: -pair[0])
        cells = [
            f"{column_label} "
            f"({f'{100 * share:.3g}' if share >= 0.001 else 'under 0.1'} %)"
            for share, column_label in shares
        ]
        phrases.append(f'"{usual_word}" in {listed(cells, 3)}')
    keep_hint = (
        f"keep it with {option_of('--not-na', usual[0])} (in Python: "
        f'not_na=["{usual[0]}"])'
    )
    return [f"taken as missing: {listed(phrases)}; if a text is a level, {keep_hint}"]


def check_not_na(texts: Iterable[str], na: MissingCodes) -> list[str]:
    """Return texts that are kept although they usually mean missing.

    Others, or declared ones, are refused.
    """
    names = list(check_names("not_na", texts, "pass for example not_na=['None']"))
    for kept_text in names:
        if kept_text not in MISSING_ANYWAY and not is_dot(kept_text):
            problem = (
                f"Text {shown(kept_text)} is not read as missing, so there is "
                "nothing to keep"
            )
            texts_hint = (
                f"The texts read as missing are {', '.join(sorted(_OF_PANDAS))} and "
                "the errors of spreadsheets."
            )
            raise InputError(problem, hint=texts_hint, code="PG004")
        if kept_text in na.labels:
            problem = (
                f"Text {shown(kept_text)} is declared both as missing and as not "
                "missing"
            )
            raise InputError(problem, hint="Leave one out.", code="PG006")
    return names
