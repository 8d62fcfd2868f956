"""Two numbers in one cell: 120/80, (39.2, -119.5), 3-1. They are two columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from permgrad.base.arrays import Floats
from permgrad.data.read.pair_names import pair_names

_DECIMAL = r"[+\-−]?\d+(?:\.\d+)?"
_WHOLE = r"\d{1,4}(?:\.\d+)?"
#: How two numbers are written. Behind a hyphen or a slash they have no zeros in front,
#: as months and codes have.
_FORMS = {
    "point": re.compile(
        rf"POINT ?\(\s*({_DECIMAL})\s+({_DECIMAL})\s*\)", re.IGNORECASE
    ),
    "brackets": re.compile(rf"[(\[]\s*({_DECIMAL})\s*[,;]\s*({_DECIMAL})\s*[)\]]"),
    "comma": re.compile(rf"({_DECIMAL})\s*[,;]\s+({_DECIMAL})"),
    "slash": re.compile(rf"((?!0\d){_WHOLE})\s*/\s*((?!0\d){_WHOLE})"),
    "hyphen": re.compile(r"((?!0\d)\d{1,3})\s*[-–:]\s*((?!0\d)\d{1,3})"),
    "times": re.compile(rf"({_WHOLE})\s*[xX×]\s*({_WHOLE})"),
}
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
                numbers[row_index] = [
                    float(number_text.replace("−", "-"))
                    for number_text in match.groups()
                ]
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
