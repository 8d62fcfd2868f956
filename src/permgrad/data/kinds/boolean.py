"""Columns of yes and no."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError
from permgrad.base.sequences import values_at
from permgrad.data.encode.slots import Slot
from permgrad.data.kinds.column import ColumnKind, ColumnType, PageForm, kinds
from permgrad.data.kinds.numeric import TRUTH
from permgrad.data.kinds.training import TrainingCells
from permgrad.data.read import cells

_PAIRS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"), ("on", "off"))
_EVIDENT_PAIRS = (*_PAIRS, ("1", "0"))


@kinds.register("boolean")
class Boolean(ColumnKind):
    """One of two things: 0 and 1, or two words, of which the true one counts as 1."""

    storage: ClassVar[str] = "pair"
    is_truth = True
    is_provisional = True
    as_written = False
    refuses_odd = False
    task = "classification"
    form = PageForm("boolean", "u1")

    @classmethod
    def find(cls, column: ColumnType, texts: Sequence[str]) -> ColumnType | None:
        """Find a yes/no pair, whatever the capitals."""
        by_form = {_plain(cell_text): cell_text for cell_text in texts}
        known_pair = next(
            (word_pair for word_pair in _PAIRS if set(word_pair) == set(by_form)), None
        )
        if known_pair is None:
            return None
        return column.flagged(
            "pair",
            kind=cls.name,
            storage=cls.storage,
            n_levels=2,
            true_level=by_form[known_pair[0]],
            false_level=by_form[known_pair[1]],
        )

    @classmethod
    def declared(
        cls, column: ColumnType, guess: ColumnType, texts: Callable[[], list[str]]
    ) -> ColumnType:
        """Return the type of two values. More of them are refused."""
        # Training rows may lack a rare value. The other alone says as little as in a
        # column that is not declared.
        if guess.n_levels == 1:
            return guess
        if column.reader is cls:
            return column
        values = texts()
        if len(values) != 2:
            raise InputError(
                f"Column {column.name!r} is declared boolean but holds {len(values)} "
                "values",
                hint="Declare it categorical.",
                code="PG014",
            )
        if set(values) == {"0", "1"} and column.reader.is_amount:
            return column
        numbers = cells.text_numbers(values)
        # By their texts, too: two numbers of 19 digits may be one as float64.
        if np.isnan(numbers).any():
            low_text, high_text = sorted(values)
        else:
            order = np.lexsort((np.array(values), numbers))
            low_text, high_text = values_at(values, order)
        return replace(
            column,
            storage=cls.storage,
            true_level=high_text,
            false_level=low_text,
            date_format=None,
        )

    @classmethod
    def read(cls, texts: Sequence[str], column: ColumnType) -> Floats:
        """Read texts as 1 and 0 in any case.

        For pairs such as yes and no, also y, true and 1.
        """
        true_level = column.true_level or ""
        false_level = column.false_level or ""
        forms = _plain(true_level), _plain(false_level)
        # A declared pair may differ by nothing else than its capitals.
        if forms[0] == forms[1]:
            form_of: Callable[[str], str] = str
        else:
            form_of = _plain
        values = dict[str, float]()
        if forms in _EVIDENT_PAIRS:
            values |= TRUTH
        values[form_of(true_level)] = 1.0
        values[form_of(false_level)] = 0.0
        numbers = [values.get(form_of(cell_text), np.nan) for cell_text in texts]
        return np.array(numbers, dtype=np.float64)

    @classmethod
    def slots(cls, cells: TrainingCells) -> Iterator[Slot]:
        """Yield one column of 0 and 1."""
        yield Slot(cells.column, cells.name, "boolean")

    @classmethod
    def form_facts(cls, column: ColumnType) -> dict[str, Any]:
        """Return the two words, the false one first."""
        if column.true_level:
            return {"words": [column.false_level, column.true_level]}
        return {"words": None}


def _plain(text: str) -> str:
    return text.strip().lower()
