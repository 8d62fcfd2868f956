"""How numbers are written, in names of groups, sentences, plots and pages.

``charts.js`` writes them alike.

A number has three or four significant digits. Halves are rounded away from 0, by the
first twelve digits: 12.5 is 13, and so is 12.499999999999998, which is 12.5 with the
rounding of a computation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context, Decimal

import numpy as np

from permgrad.base.arrays import Floats

#: Units of large numbers.
_LARGE = ((1e12, "tn"), (1e9, "bn"), (1e6, "M"))
#: Numbers from the last unit on, and numbers below the second, have an exponent.
_TOO_LARGE = 1e16
_TOO_SMALL = 1e-4
#: A number is 0 beside one that is so many times larger.
_NOTHING = 1e-9
#: Digits of the largest double.
_EXACT = Context(prec=400)


def fixed(value: float, decimals: int = 3) -> str:
    """Write a number with fixed decimals.

    A tiny negative number does not become ``−0.000``.

    Examples:
        >>> fixed(0.125, 2), fixed(-1234.5, 0), fixed(-1e-9)
        ('0.13', '−1,235', '0.000')
    """
    if not math.isfinite(value):
        return "–"
    rounded = Decimal(f"{value:.12g}").quantize(
        Decimal(1).scaleb(-decimals), ROUND_HALF_UP, _EXACT
    )
    return f"{rounded:z,.{max(decimals, 0)}f}".replace("-", "−")


def number(value: float | None, digits: int = 3) -> str:
    r"""Write a number with significant digits, a minus sign, separated thousands, or a
    dash if undefined.

    Above 1,000 it has four significant digits. Above a million its unit is a million
    (M), a billion or a trillion.

    Examples:
        >>> number(0.012345), number(1639.4), number(123456.0), number(1.37e10)
        ('0.0123', '1,639', '123,500', '13.7\xa0bn')
    """
    if value is None or not math.isfinite(value) or value == 0:
        if value == 0:
            return "0"
        return "–"
    rounded_size = float(f"{abs(value):.{max(digits, 4)}g}")
    for least, unit in _LARGE:
        if least <= rounded_size < _TOO_LARGE:
            magnitude = math.floor(math.log10(rounded_size / least))
            return f"{fixed(value / least, digits - 1 - magnitude)}\u00a0{unit}"
    if rounded_size >= _TOO_LARGE or rounded_size < _TOO_SMALL:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        if "." in mantissa:
            mantissa = mantissa.rstrip("0").rstrip(".")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    power = math.floor(math.log10(rounded_size))
    return fixed(
        value, max(digits - 1 - power, 0 if power < 4 else max(digits, 4) - 1 - power)
    )


def numbers(values: Sequence[float] | Floats, digits: int = 3) -> list[str]:
    """Write the numbers of a column with equally many decimals: enough for the
    significant digits of the largest.

    Small numbers beside large ones get one decimal, so that they do not look like 0.
    Those below a billionth of the largest are 0.
    """
    array = np.asarray(values, dtype=np.float64)
    largest_size = float(np.max(np.abs(array[np.isfinite(array)]), initial=0.0))
    array = np.where(np.abs(array) < _NOTHING * largest_size, 0.0, array)
    if largest_size == 0 or not 1e-5 <= largest_size < 1e4:
        return [number(value, digits) for value in array.tolist()]
    some_small = bool(np.any((array != 0) & (np.abs(array) < 0.5)))
    decimals = max(int(some_small), digits - 1 - math.floor(math.log10(largest_size)))
    return ["0" if value == 0 else fixed(value, decimals) for value in array.tolist()]


def compact(value: float, digits: int = 3) -> str:
    r"""Write a number as ``number`` does, without zeros at its end.

    Examples:
        >>> compact(0.5), compact(-2.5e7), compact(1200.0)
        ('0.5', '−25\xa0M', '1,200')
    """
    number_text, unit_gap, unit_text = number(value, digits).partition("\u00a0")
    return (
        (
            number_text.rstrip("0").rstrip(".")
            if "." in number_text and "e" not in number_text
            else number_text
        )
        + unit_gap
        + unit_text
    )


def distinct(values: Sequence[float], digits: int = 4) -> list[str]:
    r"""Write different numbers so that they differ: with more ``digits`` where that is
    needed. Whole ones are exact.

    Examples:
        >>> (
        ...     distinct([50720.55, 1e6, 33.5]),
        ...     distinct([2019.0, 12345.0]),
        ...     distinct([0.12341, 0.12344]),
        ... )
        (['50,720', '1\xa0M', '33.5'], ['2019', '12,345'], ['0.12341', '0.12344'])
    """
    if all(float(value).is_integer() and abs(value) < 1e6 for value in values):
        return [
            f"{value:{',' if abs(value) >= 1e4 else ''}.0f}".replace("-", "−")
            for value in values
        ]
    for enough in range(digits, 16):
        texts = [compact(value, enough) for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


def percent(share: float | None, decimals: int | None = None) -> str:
    r"""Write a share as a percentage that does not break over lines, with a decimal
    below 1 % and just below 100 %.

    Examples:
        >>> percent(0.5), percent(0.004), percent(0.9982), percent(1.0)
        ('50\xa0%', '0.4\xa0%', '99.8\xa0%', '100\xa0%')
    """
    if share is None or not math.isfinite(share):
        return "–"
    if decimals is None:
        decimals = int(0 < abs(share) < 0.01 or 0.995 <= abs(share) < 1)
    return f"{fixed(100 * share, decimals)}\u00a0%"
