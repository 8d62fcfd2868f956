r"""Numbers as they are written in different countries: decimal commas, and signs between thousands.

A column is read as numbers only where all of its cells are written in one way. Where that leaves two readings (1,234
may be a thousand or a little more than one), the delimiter of the file decides, with a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from permgrad._errors import warn_user

_SIGN, _POWER, _GROUP = r"[+\-−]?", r"(?:[eE][+-]?\d+)?", r"[1-9]\d{0,2}"
_SPACES = " \u00a0\u2009\u202f'’"
#: Ways to write a number: its cells, what stands between thousands, and the decimal sign.
_WAYS: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (
        re.compile(rf"{_SIGN}(?:(?:\d+{own}?\d*|{own}\d+){_POWER}|{_GROUP}(?:[{between}]\d{{3}})+(?:{own}\d*)?)"),
        between,
        point,
    )
    for own, between, point in ((r"\.", ",", "."), (",", r"\.", ","), (r"\.", _SPACES, "."), (",", _SPACES, ","))
)


def read_numbers(series: pd.Series[Any], name: str, *, comma_parts: bool) -> pd.Series[Any] | None:
    """Return a column of text as float64, None where its cells are not all numbers that are written in one way.

    Args:
        series: text; missing cells stay missing.
        name: of the column, for warnings.
        comma_parts: whether commas part the fields of the file: decimals are then usually written with a point.

    Examples:
        >>> read_numbers(pd.Series(["1.234,5", "7"]), "a", comma_parts=False).tolist()
        [1234.5, 7.0]
        >>> read_numbers(pd.Series(["1,5", "2.5"]), "a", comma_parts=False) is None
        True
    """
    known = series.dropna()
    # Most columns of text are told by their first cell.
    if not len(known) or not isinstance(known.iloc[0], str) or not re.match(r"\s*[+\-−]?[.,]?\d", known.iloc[0]):
        return None
    distinct = {text: text.strip() for text in pd.unique(known) if isinstance(text, str)}
    fitting = [way for way in _WAYS if all(way[0].fullmatch(text) for text in distinct.values())]
    if not fitting:
        return None
    _, between, point = fitting[0]
    if {way[2] for way in fitting} == {".", ","} and _differ(distinct.values(), fitting):
        _, between, point = next(way for way in fitting if (way[2] == ".") == comma_parts)
        _warn(name, next(text for text in distinct.values() if "," in text or "." in text), between, point)
    numbers = {text: _value(stripped, between, point) for text, stripped in distinct.items()}
    found = pd.Series(np.nan, index=series.index, name=series.name, dtype=np.float64)
    found[known.index] = known.map(numbers).to_numpy(np.float64)
    return found


def _differ(texts: Iterable[str], ways: list[tuple[re.Pattern[str], str, str]]) -> bool:
    """Return whether cells are other numbers if they are read in another way."""
    return any(len({_value(text, between, point) for _, between, point in ways}) > 1 for text in texts)


def _value(text: str, between: str, point: str) -> float:
    for sign in between.removeprefix("\\"):
        text = text.replace(sign, "")
    return float(text.replace(point, ".").replace("−", "-"))


def _warn(name: str, example: str, between: str, point: str) -> None:
    warn_user(
        f"numbers should be written in one way, however column {name!r} may hold thousands or decimals ({example!r}), "
        f"and is read as {_value(example, between, point):g}, as is usual with such delimiters; write decimals with a "
        "point and thousands with nothing"
    )
