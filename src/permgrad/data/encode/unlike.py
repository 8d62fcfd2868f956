"""Rows that have what no training row had: levels, words, missing cells, and numbers and dates outside the range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from permgrad.base.arrays import Booleans, Floats
from permgrad.base.errors import by_count, counted, printable
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.planning import OTHER, Slot
from permgrad.data.encode.statistics import numeric_cells
from permgrad.data.read.cells import PRESENT, Distinct, as_frame
from permgrad.data.read.dates import date_text
from permgrad.data.read.header import some_names

#: Shares of its range, and of its size, by which the end of a column is not known: it is kept as float32.
_OF_RANGE, _OF_SIZE = 1e-5, 1e-6
#: Rows that show another unit, how many times smaller that is, and how far below the median all of them are.
_FEWEST_SMALLER, _TIMES, _FAR_BELOW = 10, 100, 20


@dataclass(frozen=True)
class Unlike:
    """Which ``rows`` ``(rows,)`` have a cell of a ``column`` that no training row had. The first one is an ``example``.

    ``kind``: a level, one of those that training had rarely or never, which share an encoded column, a word beside the
    two of training, a number or date outside the ``range`` of training, whose ends are ``ends``, numbers of another
    ``scale``, or a missing cell.
    """

    column: str
    kind: Literal["level", "rare", "word", "range", "scale", "missing"]
    rows: Booleans
    example: str = ""
    ends: tuple[str, str] | None = None

    @classmethod
    def of_texts(
        cls,
        name: str,
        kind: Literal["level", "rare", "word"],
        rows: Booleans,
        distinct: Distinct,
    ) -> Self:
        """Return which rows of a column have texts that are unlike those of training."""
        first = distinct.index[rows][:1].tolist()
        return cls(name, kind, rows, distinct.texts[first[0]] if first else "")


def unlike_training(encoder: TableEncoder, X: Any) -> list[Unlike]:
    """Return what rows ``(rows, features)`` have that training did not have, in the order of the columns.

    Examples:
        >>> import pandas as pd
        >>> town, dose = ["Ulm", "Bonn"] * 9, np.arange(18.0)
        >>> encoder = TableEncoder().fit(pd.DataFrame({"town": town, "dose": dose}))
        >>> new = pd.DataFrame({"town": ["Ulm", "Kiel"], "dose": [-3.0, 17.0]})
        >>> [(one.column, one.kind, one.rows.tolist(), one.example) for one in unlike_training(encoder, new)]
        [('town', 'level', [False, True], 'Kiel'), ('dose', 'range', [True, False], '-3')]
    """
    encoder.check_cells(X)
    frame, found = as_frame(X, allow_empty=True), list[Unlike]()
    values, _ = numeric_cells(frame, encoder.schema_.stored, encoder.codes_)
    numbers = {
        one.name: values[:, place] for place, one in enumerate(encoder.schema_.stored)
    }
    for one in encoder.schema_:
        if one.kind == "constant":
            continue
        distinct = Distinct.of(frame[one.name], one.name)
        # Codes for missing are no levels.
        kinds = [encoder.codes_.kind_of(text, one.name) for text in distinct.texts]
        there = np.array([kind == PRESENT for kind in kinds], dtype=bool)
        present = distinct.spread(there, False)
        if one.kind == "categorical":
            kind, new = _new_levels(encoder, one.name, distinct.texts)
            found.append(
                Unlike.of_texts(
                    one.name, kind, distinct.spread(new & there, False), distinct
                )
            )
        if one.storage == "pair":
            found.append(
                Unlike.of_texts(
                    one.name, "word", present & np.isnan(numbers[one.name]), distinct
                )
            )
        if one.n_missing == 0:
            found.append(Unlike(one.name, "missing", ~present))
    place = {name: position for position, name in enumerate(encoder.feature_names_in_)}
    found += _outside(encoder, values)
    return sorted(
        (one for one in found if one.rows.any()), key=lambda one: place[one.column]
    )


def _new_levels(
    encoder: TableEncoder, name: str, texts: list[str]
) -> tuple[Literal["level", "rare"], Booleans]:
    """Return which texts of a column are levels that training did not have, or that share an encoded column."""
    slots = [
        slot
        for slot in encoder.slots_
        if encoder.feature_names_in_[slot.column] == name
    ]
    if any(slot.kind == "score" for slot in slots):
        return "level", ~encoder.scores_.knows(name, texts) if texts else np.zeros(
            0, dtype=bool
        )
    known = {OTHER if slot.detail is None else slot.detail for slot in slots}
    return "rare" if OTHER in known else "level", np.array(
        [text not in known for text in texts], dtype=bool
    )


def _outside(encoder: TableEncoder, values: Floats) -> Iterator[Unlike]:
    """Yield which numbers and dates ``(rows, stored columns)`` are outside those of training."""
    names, ends = (
        [one.name for one in encoder.schema_.stored],
        np.zeros((2, values.shape[1])),
    )
    slots = {
        encoder.feature_names_in_[one.column]: one
        for one in encoder.slots_
        if _is_amount(one)
    }
    for name, slot in slots.items():
        ends[:, names.index(name)] = slot.minimum, slot.maximum
    low, high = encoder.scaling_.undone(ends)
    for name, slot in slots.items():
        at = names.index(name)
        first, last, cells = float(low[at]), float(high[at]), values[:, at]
        near = _OF_RANGE * (last - first) + _OF_SIZE * max(abs(first), abs(last))
        rows = (cells > last + near) | (cells < first - near)
        if last > first and rows.any():
            unit = 10.0 ** np.floor(np.log10(last - first) - 4)
            outside, shown = (
                float(cells[rows][0]),
                [f"{round(end / unit) * unit:.6g}" for end in (first, last)],
            )
            example = f"{outside:.10g}"
            if slot.kind == "date_part":
                example, *shown = map(date_text, (outside, first, last))
            yield Unlike(name, "range", rows, example, (shown[0], shown[1]))
        elif slot.kind == "numeric" and _are_hundredths(
            cells, float(encoder.scaling_.fill[at]), first, last
        ):
            rows = ~np.isnan(cells) & (cells != 0)
            shown = [f"{end:.6g}" for end in (first, last)]
            example = f"{float(cells[rows][0]):.10g}"
            yield Unlike(name, "scale", rows, example, (shown[0], shown[1]))


def _are_hundredths(cells: Floats, median: float, low: float, high: float) -> bool:
    """Whether numbers are as small as if another unit was meant, such as shares instead of per cent.

    A row is below the training ``median`` by chance half of the time: ten rows in a row are not. A hundred times as
    large they are numbers ``low`` to ``high`` of training.
    """
    present = np.abs(cells[~np.isnan(cells)])
    if len(present) < _FEWEST_SMALLER or not present.any():
        return False
    usual = _TIMES * float(np.median(present))
    is_small = bool((present < abs(median) / _FAR_BELOW).all())
    ends = sorted((abs(low), abs(high)))
    return is_small and low * high >= 0 and ends[0] <= usual <= ends[1]


def _is_amount(slot: Slot) -> bool:
    return slot.kind == "numeric" or (slot.kind, slot.detail) == ("date_part", "time")


# ---- counted over parts of a table -----------------------------------------------------------------------------------
#: Columns that are named.
_NAMED = 5
#: What is said of each kind, behind "3 of 5 rows have".
_WORDS = {
    "level": "a level of {column} that training did not have, such as {example}",
    "rare": "a level of {column} that training had rarely or never, such as {example}",
    "word": "a word in {column} beside the two of training, such as {example}, which counts as missing",
    "range": "{column} outside the training range of {low} to {high}, such as {example}",
    "scale": (
        "{column} about a hundred times smaller than in training ({low} to {high}), such as {example}: another unit, or "
        "a share instead of per cent?"
    ),
    "missing": "no {column}, which every training row had",
}


@dataclass
class UnlikeRows:
    """Rows with cells that no training row had, counted over parts of a table.

    ``rows``: all of them. ``unlike``: those with such a cell, of which ``first`` is the first one's number.
    """

    rows: int = 0
    unlike: int = 0
    first: int | None = None
    columns: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def add(self, found: Sequence[Unlike], rows: int) -> None:
        """Add the next rows of the table."""
        member: Booleans = np.zeros(rows, dtype=bool)
        for one in found:
            member |= one.rows
            facts: dict[str, Any] = {
                "column": one.column,
                "kind": one.kind,
                "rows": int(one.rows.sum()),
            }
            facts |= {"example": one.example} if one.example else {}
            facts |= (
                {}
                if one.ends is None
                else dict(zip(("low", "high"), one.ends, strict=True))
            )
            self._count(facts)
        if self.first is None and member.any():
            self.first = self.rows + int(np.argmax(member))
        self.rows, self.unlike = self.rows + rows, self.unlike + int(member.sum())

    def _count(self, facts: Mapping[str, Any]) -> None:
        known = self.columns.setdefault(
            (facts["column"], facts["kind"]), {**facts, "rows": 0}
        )
        known["rows"] += facts["rows"]

    @classmethod
    def of_parts(cls, parts: Sequence[UnlikeRows]) -> UnlikeRows:
        """Return the counts of parts of a table together."""
        whole = cls()
        for part in parts:
            for facts in part.columns.values():
                whole._count(facts)
            if whole.first is None and part.first is not None:
                whole.first = whole.rows + part.first
            whole.rows, whole.unlike = (
                whole.rows + part.rows,
                whole.unlike + part.unlike,
            )
        return whole

    @property
    def facts(self) -> dict[str, Any]:
        """The counts as JSON."""
        return {
            "rows": self.unlike,
            "first": self.first,
            "columns": list(self.columns.values()),
        }

    @property
    def lines(self) -> list[str]:
        """The counts as sentences. None where all rows are like those of training."""
        whole, lines = counted(self.rows, "row"), list[str]()
        for facts in list(self.columns.values())[:_NAMED]:
            told = {name: printable(str(value)) for name, value in facts.items()}
            told |= (
                {"example": some_names([told["example"]])}
                if facts["kind"] in ("level", "rare", "word")
                else {}
            )
            have = by_count(facts["rows"], "has", "have")
            lines.append(
                f"{facts['rows']:,} of {whole} {have} {_WORDS[facts['kind']].format_map(told)}."
            )
        if len(self.columns) > _NAMED:
            lines.append(
                f"Likewise in {counted(len(self.columns) - _NAMED, 'more column')}."
            )
        if len(self.columns) > 1:
            have = by_count(self.unlike, "has", "have")
            lines.append(
                f"{self.unlike:,} of {whole} {have} such a cell. The first is row {self.first}."
            )
        return lines
