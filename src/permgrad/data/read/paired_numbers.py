"""Two numbers in one cell: 120/80, (39.2, -119.5), 3-1. They are two columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from permgrad.base.arrays import Floats
from permgrad.data.read.pair_names import pair_names


def _numbers(first: str, second: str = "") -> tuple[str, str]:
    """Return the patterns of two numbers, which their values are read from."""
    return f"(?P<first>{first})", f"(?P<second>{second or first})"


_DECIMAL = _numbers(r"[+\-−]?\d+(?:\.\d+)?")
_ABSOLUTE = _numbers(r"\d+(?:\.\d+)?")
_WHOLE = r"\d{1,4}(?:\.\d+)?"
_SMALL = _numbers(_WHOLE)
#: Behind a hyphen or a slash numbers have no zeros in front, as months and codes have.
_NO_CODE = _numbers(rf"(?!0\d){_WHOLE}")
_NO_YEAR = _numbers(r"(?!0\d)\d{1,3}")
#: How two numbers are written. South and west are below 0.
_FORMS = {
    form: re.compile(pattern, re.IGNORECASE)
    for form, pattern in {
        "point": r"POINT ?\(\s*{}\s+{}\s*\)".format(*_DECIMAL),
        "brackets": r"[(\[]\s*{}\s*[,;]\s*{}\s*[)\]]".format(*_DECIMAL),
        "comma": r"{}\s*[,;]\s+{}".format(*_DECIMAL),
        "slash": r"{}\s*/\s*{}".format(*_NO_CODE),
        "hyphen": r"{}\s*[-–:]\s*{}".format(*_NO_YEAR),
        "times": r"{}\s*[x×]\s*{}".format(*_SMALL),
        "of": r"{}\s+(?:out\s+)?of\s+{}".format(*_SMALL),
        "compass": (
            r"{}\s*°?\s*(?:N|(?P<south>S))[\s,;]*{}\s*°?\s*(?:E|(?P<west>W))"
        ).format(*_ABSOLUTE),
    }.items()
}
_THREE = re.compile(rf"{_WHOLE}(?:\s*[x×]\s*{_WHOLE}){{2}}", re.IGNORECASE)
#: Fewer different cells may well be categories.
_FEWEST = 10
#: Of ranges that follow each other, such as 18-24 and 25-34, so few levels have the
#: same begin.
_MOST_LEVELS_OF_RANGES = 1.2


class Pair(NamedTuple):
    """How the two numbers of a column's cells are written, and what they are called."""

    form: str
    first: str
    second: str

    def read(self, texts: Sequence[str]) -> Floats:
        """Return the two numbers of each text ``(texts, 2)``, NaN where it has none."""
        numbers = np.full((len(texts), 2), np.nan)
        for row_index, cell_text in enumerate(texts):
            match = _FORMS[self.form].fullmatch(cell_text.strip())
            if match is not None:
                found = match.groupdict()
                for column_index, (number, below_0) in enumerate(
                    (("first", "south"), ("second", "west"))
                ):
                    value = float(found[number].replace("−", "-"))
                    numbers[row_index, column_index] = (
                        -value if found.get(below_0) else value
                    )
        return numbers

    def names(self, column: str) -> tuple[str, str]:
        """Return the names of the two columns."""
        return pair_names(column, self.first, self.second)


def find_pair(texts: Sequence[str]) -> Pair | None:
    """Return how all different texts of a column write two numbers, or None.

    Ranges that follow each other (18-24, 25-34) are categories in an order, and no two
    numbers.

    Examples:
        >>> find_pair([f"{100 + 7 * k % 30}/{60 + k % 30}" for k in range(40)])
        Pair(form='slash', first='first', second='second')
        >>> find_pair([f"({40 + k / 10}, {-70 - k % 7})" for k in range(40)])
        Pair(form='brackets', first='latitude', second='longitude')
        >>> find_pair([f"{k}-{k + 4}" for k in range(0, 100, 5)])
    """
    if len(texts) < _FEWEST:
        return None
    for pair_form, pattern in _FORMS.items():
        if pattern.fullmatch(texts[0].strip()) is None:
            continue
        numbers = Pair(pair_form, "first", "second").read(texts)
        if np.isnan(numbers).any():
            continue
        if pair_form in ("slash", "hyphen") and _are_ranges(numbers):
            return None
        return Pair(pair_form, *_called(pair_form, numbers))
    return None


def _are_ranges(numbers: Floats) -> bool:
    """Whether these are no two numbers: ranges, seasons, codes in two parts, months of
    a year.
    """
    months = numbers[:, 0]
    years = numbers[:, 1]
    if (
        1 <= months.min() <= months.max() <= 12
        and 1900 <= years.min() <= years.max() < 2100
    ):
        return True
    first = len(np.unique(numbers[:, 0]))
    apart = np.unique(numbers[:, 1] - numbers[:, 0])
    return len(numbers) < _MOST_LEVELS_OF_RANGES * first or len(apart) < _FEWEST / 3


def _called(form: str, numbers: Floats) -> tuple[str, str]:
    """Return what the two numbers are called: latitude and longitude where they can be,
    and have decimals.
    """
    largest_sizes = np.abs(numbers).max(axis=0)
    has_decimals = bool((numbers != np.round(numbers)).any())
    if form == "compass":
        return "latitude", "longitude"
    if form == "point" and largest_sizes[1] <= 90 and largest_sizes[0] <= 180:
        return "longitude", "latitude"
    if form in ("brackets", "comma") and has_decimals and largest_sizes.max() <= 180:
        if largest_sizes[0] <= 90:
            return "latitude", "longitude"
        if largest_sizes[1] <= 90:
            return "longitude", "latitude"
    return "first", "second"


def is_pair(text: str) -> bool:
    """Whether a text may be two numbers."""
    return any(pattern.fullmatch(text.strip()) for pattern in _FORMS.values())


def is_triple(text: str) -> bool:
    """Whether a text is three numbers, such as length, width and height."""
    return _THREE.fullmatch(text.strip()) is not None
