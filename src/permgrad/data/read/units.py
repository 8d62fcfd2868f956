"""Numbers with a unit: a currency or per cent sign beside each, or k, M and B for thousands, millions and billions.

A column is read so only if all of its cells are written with the same sign. Letters that may mean something else, as in
the addresses 2B and 14B or the sizes 10M and 11M, leave a column text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from permgrad.base.errors import listed

SCALED = "k"
"""How the name of a unit ends whose cells may have k, M or B behind the number."""

_SPACES = "\u00a0\u2009\u202f"
#: A sign, also with the letters of its country (US$, R$), or a code.
CURRENCY = r"(?:[A-Z]{0,3}[$¢£¤¥฿₡₦₩₪₫€₱₴₹₺₽]|EUR|USD|GBP|CHF|JPY|CNY|INR|CAD|AUD|SEK|NOK|DKK|PLN)"
_CELL = re.compile(
    rf"(?P<minus>[+\-−]?)\s*(?P<before>{CURRENCY})?\s*(?P<own>[+\-−]?)"
    rf"(?P<number>\d[\d.,'’ {_SPACES}]*(?:[eE][+-]?\d+)?|[.,]\d+)"
    rf"\s*(?P<scale>[kKmMbB])?\s*(?P<after>%|{CURRENCY})?"
)
_POWERS = {"k": "E+3", "m": "E+6", "b": "E+9"}


class _Cell(NamedTuple):
    """A number with a unit: its sign, the letter behind the number, and the number without either."""

    sign: str
    scale: str
    number: str


def _cell(text: str) -> _Cell | None:
    found = _CELL.fullmatch(text.strip())
    if found is None or (found["before"] and found["after"]) or (found["minus"] and found["own"]):
        return None
    number = f"{found['minus']}{found['own']}{found['number'].strip()}"
    return _Cell(found["before"] or found["after"] or "", found["scale"] or "", number)


def without_units(
    texts: Mapping[str, pd.Series[Any]], like: Mapping[str, str] | None = None
) -> tuple[dict[str, pd.Series[Any]], dict[str, str]]:
    """Return the columns of text whose cells are numbers with a unit, without it, and the unit of each.

    Args:
        texts: columns of text by name, missing cells missing.
        like: units of another table: a column with one of these is read so wherever its cells have that unit or none.

    Returns:
        The texts of the bare numbers (``"1.2k"`` is ``"1.2E+3"``), and units: a sign, ``"k"`` behind it where numbers
        have k, M or B.

    Examples:
        >>> column = pd.Series(["$64,000", "-$1.5k", None])
        >>> bare, units = without_units({"price": column, "flat": pd.Series(["2B", "14B", "3"])})
        >>> bare["price"].dropna().tolist(), units
        (['64,000', '-1.5E+3'], {'price': '$k'})
        >>> without_units({"price": pd.Series(["7", "$8"])})[1], without_units({"price": column}, {"price": "€"})[1]
        ({}, {})
    """
    bare, units = {}, {}
    for name, series in texts.items():
        known = series.dropna()
        # Most columns of text are told by their first cell.
        if not len(known) or not isinstance(known.iloc[0], str) or _cell(known.iloc[0]) is None:
            continue
        cells = {text: _cell(text) if isinstance(text, str) else None for text in pd.unique(known)}
        learned = (like or {}).get(name)
        unit = _unit(cells.values()) if learned is None else learned
        # 0.05 beside 5 % may be the same share.
        if not unit or (unit == "%" and any(cell is not None and not cell.sign for cell in cells.values())):
            continue
        numbers = {text: own for text, cell in cells.items() if (own := _bare(cell, unit, learned)) is not None}
        if numbers if learned is not None else len(numbers) == len(cells):
            bare[name], units[name] = series.map({text: numbers.get(text, text) for text in cells}), unit
    return bare, units


def _unit(found: Iterable[_Cell | None]) -> str | None:
    """Return the unit that all cells of a column are written with; None where they have none, or it is in doubt."""
    every = list(found)
    cells = [cell for cell in every if cell is not None]
    if len(cells) < len(every) or len({cell.sign for cell in cells}) > 1:
        return None
    sign, letters = cells[0].sign, {cell.scale for cell in cells} - {""}
    if not letters:
        return sign
    scales = {letter.lower() for letter in letters}
    written_out = sign not in ("", "%") or "k" in scales
    # 2B may be a flat and 10M a size, 1.5 m metres: a decimal sign tells M and B, not m and b, from such codes.
    shown = letters <= {"M", "B"} and (len(scales) > 1 or any(re.search(r"[.,]", cell.number) for cell in cells))
    return sign + SCALED if sign != "%" and (written_out or shown) else None


def _bare(cell: _Cell | None, unit: str, learned: str | None) -> str | None:
    """Return the number in a cell; None where the cell has another unit."""
    sign = unit.removesuffix(SCALED)
    is_bare = cell is not None and not cell.sign and learned is not None
    if cell is None or not (cell.sign == sign or is_bare) or (cell.scale and not unit.endswith(SCALED)):
        return None
    return cell.number + _POWERS.get(cell.scale.lower(), "")


def is_money(unit: str | None) -> bool:
    """Whether a unit is a currency, of which nobody writes tenths of a cent.

    Examples:
        >>> is_money("$"), is_money("US$k"), is_money("%"), is_money("k"), is_money(None)
        (True, True, False, False, False)
    """
    return unit is not None and bool(unit.removesuffix(SCALED)) and unit != "%"


def unit_said(unit: str) -> str:
    """Return how the numbers of a column are written, for the table of columns.

    Examples:
        >>> unit_said("%"), unit_said("$k")
        ('numbers with a per cent sign, as written: 7.4 % is 7.4', 'numbers in $, k, M or B behind them: 1.2k is 1200')
    """
    if unit == "%":
        return "numbers with a per cent sign, as written: 7.4 % is 7.4"
    sign, scaled = unit.removesuffix(SCALED), unit.endswith(SCALED)
    words = f"numbers in {sign}" if sign else "numbers"
    return f"{words}, k, M or B behind them: 1.2k is 1200" if scaled else words


def units_said(units: Mapping[str, str], left_out: Mapping[str, str]) -> list[str]:
    """Return the sentence that names columns read as numbers with a unit; none where there are none.

    Examples:
        >>> units_said({"views": "k", "row": "%"}, {"row": "left out"})
        ['read as numbers with a unit: views (1.2k is 1200); for categories say --kind views=categorical']
    """
    shown = {name: unit for name, unit in units.items() if name not in left_out}
    if not shown:
        return []
    words = [f"{name} ({unit.removesuffix(SCALED)}{_scale_said(unit)})" for name, unit in shown.items()]
    fix = f"for categories say --kind {next(iter(shown))}=categorical"
    return [f"read as numbers with a unit: {listed(words)}; {fix}"]


def _scale_said(unit: str) -> str:
    if not unit.endswith(SCALED):
        return ""
    return f"{', ' * (unit != SCALED)}1.2k is 1200"
