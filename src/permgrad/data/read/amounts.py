"""How a column writes its numbers: with signs ($1,234.50, 27.5 %) or units (71 kg, 14
yrs 11 mons, 5'8").
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from permgrad.base.arrays import Floats
from permgrad.base.sequences import values_at
from permgrad.data.read.written_numbers import (
    NUMBERS,
    bare_text,
    is_sign,
    may_be_number,
    standard_text,
    unit_of,
)

#: What units measure, and for each unit its size and the ways in which it is written.
#: The first way is its name, which no two units share.
_FAMILIES: dict[str, dict[str, tuple[float, tuple[str, ...]]]] = {
    "time": {
        "ms": (0.001, ("msec", "millisecond", "milliseconds")),
        "s": (1, ("sec", "secs", "second", "seconds")),
        "min": (60, ("m", "mins", "minute", "minutes")),
        "h": (3600, ("hr", "hrs", "hour", "hours", "std")),
        "days": (86_400, ("d", "day")),
        "weeks": (604_800, ("w", "wk", "wks", "week")),
        "months": (2_629_800, ("mo", "mos", "mon", "mons", "mth", "mths", "month")),
        "years": (31_557_600, ("y", "yr", "yrs", "year")),
    },
    "bytes": {
        "B": (1, ("byte", "bytes")),
        "KB": (1e3, ("kB", "kb")),
        "MB": (1e6, ("mb",)),
        "GB": (1e9, ("gb",)),
        "TB": (1e12, ("tb",)),
        "KiB": (2**10, ()),
        "MiB": (2**20, ()),
        "GiB": (2**30, ()),
        "TiB": (2**40, ()),
    },
    "length": {
        "mm": (0.001, ()),
        "cm": (0.01, ()),
        "metres": (1, ("m", "metre", "meter", "meters")),
        "km": (1000, ("kms", "kilometer", "kilometers", "kilometre", "kilometres")),
        "in": (0.0254, ('"', "″", "”", "''", "inch", "inches")),
        "ft": (0.3048, ("'", "′", "’", "foot", "feet")),
        "yd": (0.9144, ("yard", "yards")),
        "mi": (1609.344, ("mile", "miles")),
    },
    "mass": {
        "mg": (1e-6, ()),
        "g": (0.001, ("gram", "grams")),
        "kg": (1, ("kgs", "kilo", "kilos")),
        "t": (1000, ("tonne", "tonnes")),
        "oz": (0.028349523125, ("ounce", "ounces")),
        "lb": (0.45359237, ("lbs", "pound", "pounds")),
        "st": (6.35029318, ("stone",)),
    },
    "volume": {
        "ml": (0.001, ("mL",)),
        "cl": (0.01, ("cL",)),
        "l": (1, ("L", "litre", "litres", "liter", "liters")),
    },
}
#: A unit may be any word, also one that has no family, such as mg/dL, or up to three of
#: them (sq ft, miles per hour). Behind letters there may be a power (m2).
_WORD = r"[^\s\d.,;()+\-−%]{1,12}(?:(?<=[^\W\d_])[23](?=[\s,]|$))?\.?"
_UNIT = rf"{_WORD}(?:\s+{_WORD}){{0,2}}"
_NUMBER = r"\d(?:[\d.,\u00a0\u202f]*\d)?|[.,]\d+"
_PIECE = re.compile(rf"(?P<number>{_NUMBER})\s*(?P<unit>{_UNIT})(?:\s+|,\s*|$|(?=\d))")
_AND = re.compile(r"\s+(?:and|und|et)\s+")
_ZERO = re.compile(r"[+\-−]?0+(?:[.,]0*)?")
#: Fewer different cells may well be categories.
FEWEST = 10
#: So many pieces a cell has at most.
_MOST_PIECES = 4


class _Piece(NamedTuple):
    """A number of a cell with the unit behind it, as they are written."""

    number: str
    unit: str


def _sizes(family: str) -> dict[str, tuple[str, float]]:
    """Return for each way in which a family's units are written the name and the
    size.
    """
    unit_sizes = dict[str, tuple[str, float]]()
    for unit_name, (unit_size, other_spellings) in _FAMILIES[family].items():
        for spelling in (unit_name, *other_spellings):
            unit_sizes[spelling] = unit_name, unit_size
    return unit_sizes


_SIZES = {family: _sizes(family) for family in _FAMILIES}


def _pieces(text: str) -> list[_Piece]:
    """Return what a cell is made of, nothing if it is no amount."""
    bare_amount = _AND.sub(" ", text.strip().lstrip("+-−").strip())
    pieces = list[_Piece]()
    position = 0
    while position < len(bare_amount) and len(pieces) < _MOST_PIECES:
        match = _PIECE.match(bare_amount, position)
        if match is None:
            return []
        pieces.append(_Piece(match["number"], match["unit"].rstrip(".")))
        position = match.end()
    if position == len(bare_amount):
        return pieces
    return []


def _way(unit: str, ways: Iterable[str]) -> str:
    """Return how a family writes a unit: capitals of words mean nothing."""
    if unit in ways or len(unit) < 3:
        return unit
    return unit.lower()


def _singular(unit: str) -> str:
    """Return a unit with no plural, to compare it: rooms and room, days ago and day
    ago.
    """
    return re.sub(r"(?<=\w{3})s\b", "", unit)


@dataclass(frozen=True)
class Notation:
    """How a column's numbers are written: the unit that they are read in, and their
    decimal sign.

    The unit is a currency or the per cent sign, which numbers are read without, or a
    unit. None: bare numbers.
    """

    unit: str | None = None
    decimal: str = "."

    @property
    def family(self) -> str | None:
        """What the unit measures. None: it is of no family, and all cells have it."""
        return next(
            (
                unit_family
                for unit_family in _FAMILIES
                if self.unit in _FAMILIES[unit_family]
            ),
            None,
        )

    def has_unit(self, text: str) -> bool:
        """Whether a text has a sign where numbers are read without it."""
        if self.unit is None or not is_sign(self.unit):
            return True
        return bare_text(text, self.unit) != text.strip()

    def read(self, texts: Sequence[str]) -> Floats:
        """Return numbers in the unit, NaN for a text that is none.

        Bare numbers have the unit.
        """
        return np.array(list(map(self._value, texts)), dtype=np.float64)

    def _value(self, text: str) -> float:
        if self.unit is None or is_sign(self.unit):
            return _number(bare_text(text, self.unit), self.decimal)
        if text.strip()[:1] in ("-", "−"):
            sign_factor = -1.0
        else:
            sign_factor = 1.0
        pieces = _pieces(text)
        if not pieces:
            return _number(text, self.decimal)
        units = {_singular(piece.unit) for piece in pieces}
        if self.family is None or units == {_singular(self.unit)}:
            if len(pieces) == 1 and units == {_singular(self.unit)}:
                return sign_factor * _number(pieces[0].number, self.decimal)
            return np.nan
        unit_sizes = _SIZES[self.family]
        sizes = [
            unit_sizes.get(_way(piece.unit, unit_sizes), ("", np.nan))[1]
            for piece in pieces
        ]
        if self.family == "time":
            sizes = _minutes_or_months(pieces, sizes)
        if sizes != sorted(set(sizes), reverse=True):
            return np.nan
        total = 0.0
        for piece, unit_size in zip(pieces, sizes, strict=True):
            total += unit_size * _number(piece.number, self.decimal)
        # As 12 months are a year in whole numbers.
        return sign_factor * float(f"{total / unit_sizes[self.unit][1]:.12g}")


def _minutes_or_months(pieces: Sequence[_Piece], sizes: list[float]) -> list[float]:
    """Return the sizes of units of time: in ``1y 3m``, m are months."""
    months = _SIZES["time"]["months"][1]
    are_long = max(sizes) > months
    minutes_or_months: list[float] = []
    for piece, unit_size in zip(pieces, sizes, strict=True):
        if are_long and piece.unit == "m":
            minutes_or_months.append(months)
        else:
            minutes_or_months.append(unit_size)
    return minutes_or_months


def _number(text: str, decimal: str) -> float:
    """Return a number that is written with a decimal sign, NaN if it is none."""
    text = text.strip()
    if re.fullmatch(NUMBERS[decimal], text) is None:
        return np.nan
    return float(standard_text(text, decimal))


def find_notation(texts: Sequence[str], counts: Sequence[int]) -> Notation | None:
    """Return how the different texts of a column are written if all are numbers with
    signs or units, else None.

    Examples:
        >>> dollars = ["$1,234.50", "$12"]
        >>> find_notation(dollars, [1, 1]), find_notation(["1.234,5", "a"], [1, 1])
        (Notation(unit='$', decimal='.'), None)
    """
    if texts:
        first = texts[0].strip()
    else:
        first = ""
    common_unit = unit_of(first)
    for decimal_sign in NUMBERS:
        notation = Notation(common_unit, decimal_sign)
        if all(
            (
                common_unit is None
                or bare_text(cell_text, common_unit) != cell_text.strip()
            )
            and not np.isnan(notation.read([cell_text])[0])
            for cell_text in texts
        ):
            if texts:
                return notation
            return None
    return find_amounts(texts, counts)


def notations_of_most(texts: Sequence[str], counts: Sequence[int]) -> list[Notation]:
    """Return how those of a column's different texts may be written that look like
    numbers.

    Examples:
        >>> notations_of_most(["$1,234.50", "$12", "soon"], [1, 1, 1])[0]
        Notation(unit='$', decimal='.')
    """
    by_text = dict(zip(texts, counts, strict=True))
    begin = [text for text in texts if may_be_number(text)]
    if 2 * len(begin) < len(texts):
        return []
    signs = Counter(map(unit_of, begin))
    usual = signs.most_common(1)[0][0]
    notations = [Notation(usual, sign) for sign in NUMBERS]
    if usual is not None:
        return notations
    alike = _of_one_family(begin)
    amounts = find_amounts(alike, values_at(by_text, alike))
    if amounts is None:
        return notations
    return [*notations, amounts]


def _of_one_family(texts: Sequence[str]) -> list[str]:
    """Return the amounts whose units are the commonest one, or of its family, and
    zeros.
    """
    units = {text: {piece.unit for piece in _pieces(text)} for text in texts}
    counts = Counter(chain.from_iterable(units.values()))
    if not counts:
        return []
    usual = counts.most_common(1)[0][0]
    ways = next((ways for ways in _SIZES.values() if _way(usual, ways) in ways), None)
    alike = list[str]()
    for text, used in units.items():
        is_of_family = ways is not None and all(
            _way(unit, ways) in ways for unit in used
        )
        if (used and is_of_family) or used == {usual} or _ZERO.fullmatch(text.strip()):
            alike.append(text)
    return alike


def find_amounts(texts: Sequence[str], counts: Sequence[int]) -> Notation | None:
    """Return how the different texts of a column are written if all are amounts with
    units, else None.

    All have one unit, or the units of a family, of which that of most cells is taken.
    Zeros need none.

    Examples:
        >>> ages = [f"{m // 12} yrs {m % 12} mons" for m in range(40)]
        >>> find_amounts(ages, [1] * 40).unit
        'months'
        >>> find_amounts([f"{gb} GB" for gb in range(20)] + ["512 MB"], [1] * 21).unit
        'GB'
        >>> (
        ...     find_amounts([f"{n}A" for n in range(40)], [1] * 40),
        ...     find_amounts(["5 kg", "7 kg"], [9, 9]),
        ... )
        (None, None)
    """
    if len(texts) < FEWEST or not any(map(_pieces, texts[:2])):
        return None
    unit_counts = Counter[str]()
    pieces = list[_Piece]()
    for cell_text, count in zip(texts, counts, strict=True):
        cell_pieces = _pieces(cell_text)
        if not cell_pieces and not _ZERO.fullmatch(cell_text.strip()):
            return None
        pieces += cell_pieces
        unit_counts.update(dict.fromkeys((piece.unit for piece in cell_pieces), count))
    common_unit = _common_unit(texts, unit_counts)
    if common_unit is None:
        return None
    signs = []
    for decimal_sign in NUMBERS:
        if all(re.fullmatch(NUMBERS[decimal_sign], piece.number) for piece in pieces):
            signs.append(decimal_sign)
    notations = [Notation(common_unit, decimal_sign) for decimal_sign in signs]
    return next(
        (
            notation
            for notation in notations
            if not np.isnan(notation.read(texts)).any()
        ),
        None,
    )


def _common_unit(texts: Sequence[str], used: Counter[str]) -> str | None:
    """Return the unit in which all amounts can be said.

    ``used``: the cells that have each unit.
    """
    families = []
    for family, family_units in _SIZES.items():
        if all(_way(u, family_units) in family_units for u in used):
            families.append(family)
    if len(set(map(_singular, used))) == 1:
        single_unit = max(used, key=lambda unit: (used[unit], unit))
        is_letter = len(single_unit) == 1 and single_unit.isupper()
        if (not families or is_letter) and not _is_unit(single_unit, texts):
            return None
        if len(families) != 1:
            return single_unit
        unit_sizes = _SIZES[families[0]]
        return unit_sizes[_way(single_unit, unit_sizes)][0]
    if not families:
        return None
    unit_sizes = _SIZES[families[0]]
    cells = Counter[str]()
    for single_unit, count in used.items():
        unit_name = unit_sizes[_way(single_unit, unit_sizes)][0]
        if (
            families[0] == "time"
            and single_unit == "m"
            and "years" in _names(used, unit_sizes)
        ):
            unit_name = "months"
        cells[unit_name] += count
    sizes = dict(unit_sizes.values())
    return max(cells, key=lambda name: (cells[name], -sizes[name]))


def _names(used: Iterable[str], ways: dict[str, tuple[str, float]]) -> set[str]:
    return {ways[_way(unit_text, ways)][0] for unit_text in used}


def _is_unit(unit: str, texts: Sequence[str]) -> bool:
    """Whether what stands behind all numbers may be a unit nobody knows: 12A and 12th
    have none, 12M may be millions.
    """
    if len(unit) == 1 and unit in "kKmMbB":
        return False
    with_blank = re.compile(rf"\d\s+{re.escape(unit)}\.?")
    if all(
        with_blank.search(cell_text) or _ZERO.fullmatch(cell_text.strip())
        for cell_text in texts
    ):
        return True
    return (
        len(unit) > 1 and unit != unit.upper() and unit not in ("st", "nd", "rd", "th")
    )
