"""Columns of numbers, also of times of day and durations, in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError
from permgrad.data.kinds.column import ColumnKind, ColumnType, Kind, PageForm, kinds
from permgrad.data.read import cells, dates
from permgrad.data.read.written_numbers import unit_said

#: What the words of yes and no mean, whichever of them a column had in training.
TRUTH = {
    **dict.fromkeys(("true", "yes", "t", "y", "on", "1"), 1.0),
    **dict.fromkeys(("false", "no", "f", "n", "off", "0"), 0.0),
}


@kinds.register("numeric")
class Numeric(ColumnKind):
    """Numbers whose size means something."""

    storage = "number"
    is_amount = True
    as_written = False
    task = "regression"
    form = PageForm("number")

    @classmethod
    def declared(
        cls, column: ColumnType, guess: ColumnType, texts: Callable[[], list[str]]
    ) -> ColumnType:
        """Return the type of numbers. Others are refused."""
        del texts
        if guess.reader is cls:
            return column
        raise InputError(
            f"Column {column.name!r} is declared numeric but is {guess.kind} "
            f"({guess.reason})",
            hint="Declare it categorical, or declare the texts that mean missing as "
            "codes.",
            code="PG014",
        )

    @classmethod
    def read(cls, texts: Sequence[str], column: ColumnType) -> Floats:
        """Read numbers as the column writes them, also true as 1 and false as 0."""
        if column.date_format:
            return dates.duration_seconds(texts)
        if column.notation is not None:
            return column.notation.read(texts)
        if column.of.is_truth:
            words = TRUTH
        else:
            words = {"true": 1.0, "false": 0.0}
        return cells.text_numbers(
            [str(words.get(text.strip().lower(), text)) for text in texts]
        )

    @classmethod
    def required(cls, column: ColumnType) -> str:
        """Say how the column writes its numbers."""
        if column.date_format:
            return "hold times such as 10:30, or durations"
        if column.notation is not None:
            return f"be {unit_said(column.unit)}"
        if column.of.is_truth:
            return "be 0 or 1, or true or false"
        return "be numeric"

    @classmethod
    def settled(cls, column: ColumnType, lowest: float, highest: float) -> Kind:
        """Say that numbers are yes or no if all are 0 or 1, or between."""
        if column.of.is_truth and lowest >= 0 and highest <= 1:
            return column.kind
        return cls.name
