"""Numbers as they are written in different countries: decimal commas, signs between thousands, units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from permgrad.base.errors import warn_user
from permgrad.data.read.dates import are_durations

#: How the name of a unit ends whose cells may have k, M or B behind the number.
SCALED = "k"

_SIGN, _POWER, _GROUP = r"[+\-−]?", r"(?:[eE][+-]?\d+)?", r"[1-9]\d{0,2}"
#: Beside groups of three, as in India: 1,23,456.
_INDIAN = r"|[1-9]\d?(?:,\d{2})+,\d{3}"
_SPACES = " \u00a0\u2009\u202f'’"
#: A sign that may stand between thousands, or before decimals.
_MARKED = re.compile(r"[.,]")
_NUMBER_BEGINS = re.compile(r"\s*[+\-−]?[.,]?\d")
#: A sign, also with the letters of its country (US$, R$), or a code.
CURRENCY = r"(?:[A-Z]{0,3}[$¢£¤¥฿₡₦₩₪₫€₱₴₹₺₽]|Rs\.?|EUR|USD|GBP|CHF|JPY|CNY|INR|CAD|AUD|SEK|NOK|DKK|PLN)"
#: Other units, such as kg, mg/dL, °C, or g after a blank: letters alone, as in 12A, are often parts of codes.
MEASURE = r"(?<=\s)[^\W\d_kKmMbB]|(?<![.,])(?:[^\W\d_]|°)[^\s\d.,;()]{1,9}"
_CELL = re.compile(
    rf"(?P<minus>[+\-−]?)\s*(?P<before>{CURRENCY})?\s*(?P<inner>[+\-−]?)"
    rf"(?P<number>\d[\d.,{_SPACES}]*(?:[eE][+-]?\d+)?|[.,]\d+)"
    rf"\s*(?:(?P<scale>[kKmMbB])?\s*(?P<after>%|{CURRENCY})?|(?P<measure>{MEASURE}))"
)
_POWERS = {"": "", "k": "E+3", "m": "E+6", "b": "E+9"}


# ---- ways -----------------------------------------------------------------------------------------------------------
class Way(NamedTuple):
    """A way to write a number: its cells, what stands between thousands, and the decimal sign."""

    cells: re.Pattern[str]
    between: str
    point: str


WAYS = tuple(
    Way(
        re.compile(
            rf"{_SIGN}(?:(?:\d+{sign}?\d*|{sign}\d+){_POWER}|"
            rf"(?:{_GROUP}(?:[{between}]\d{{3}})+{_INDIAN if between == ',' else ''})(?:{sign}\d*)?(?:E\+\d)?)"
        ),
        between,
        point,
    )
    for sign, between, point in ((r"\.", ",", "."), (",", r"\.", ","), (r"\.", _SPACES, "."), (",", _SPACES, ","))
)


def ways_of(texts: Sequence[str]) -> tuple[list[Way], set[str]]:
    """Return the notations that fit all texts of a column of numbers, and the decimal signs that prove themselves.

    That is the sign of these notations or, where the numbers are written in no one way, those of single cells.
    """
    # Most columns of text are recognised by their first cell.
    if not texts or not _NUMBER_BEGINS.match(texts[0]):
        return [], set()
    common, proven = list(WAYS), set[str]()
    for text in map(str.strip, texts):
        fitting = [way for way in WAYS if way.cells.fullmatch(text)]
        if not fitting:
            return [], set()
        common = [way for way in common if way in fitting]
        proven |= _sole_sign(fitting)
    return common, _sole_sign(common) if common else proven


def _sole_sign(ways: Sequence[Way]) -> set[str]:
    signs = {way.point for way in ways}
    return signs if len(signs) == 1 else set()


def may_be_number(text: str) -> bool:
    """Return whether a text begins as a number does, or is an amount."""
    return bool(_NUMBER_BEGINS.match(text)) or _amount_in(text) is not None


def number_in(text: str, way: Way) -> float:
    """Return the number that a text is in a way."""
    for sign in way.between.removeprefix("\\"):
        text = text.replace(sign, "")
    return float(text.replace(way.point, ".").replace("−", "-"))


def choose_way(
    name: str,
    texts: Sequence[str],
    ways: Sequence[Way],
    signs: tuple[str | None, str | None],
    unit: str | None,
    *,
    comma_parts: bool,
) -> tuple[Way, str | None]:
    """Return the notation of a column, and its decimal sign, or None if no cell shows it.

    ``texts`` are its cells without ``unit``, which may all be written in ``ways``. ``signs`` that of the file, and that
    of the same column in the table that was learned from. ``comma_parts`` whether commas part the fields of the file.
    """
    if len({way.point for way in ways}) == 1:
        return ways[0], ways[0].point
    texts = [text.strip() for text in texts]
    if all(len({number_in(text, way) for way in ways}) == 1 for text in texts):
        return ways[0], None
    points_only = not any("," in text for text in texts)
    # Of money three digits behind a sign are thousands, unless all cells have them, as the prices of fuel do.
    is_money = unit is not None and re.fullmatch(CURRENCY, unit.removesuffix(SCALED)) is not None
    is_clear = is_money and not all(map(_MARKED.search, texts))
    is_comma = points_only if is_clear else not (comma_parts or points_only)
    sign = signs[0] or signs[1] or ("," if is_comma else ".")
    way = next(way for way in ways if way.point == sign)
    if signs[0] is None and not is_clear:
        example = next(filter(_MARKED.search, texts))
        why = "as in the table that was learned from" if signs[1] else "as is usual with such delimiters"
        warn_of_sign(name, example, number_in(example, way), why)
    return way, sign


def warn_of_sign(name: str, example: str, value: float, why: str) -> None:
    """Warn of a column whose sign may stand between thousands or before decimals."""
    warn_user(
        f"Column {name!r} may hold thousands or decimals: {example!r} is read as {value:g}, {why}",
        "Write decimals with a point and thousands without a sign, or name the decimal sign in Python: "
        "permgrad.read_table(…, decimal=',').",
    )


# ---- units ----------------------------------------------------------------------------------------------------------
class _Amount(NamedTuple):
    """A number with a unit: its sign, the letter behind the number, and the number without either."""

    sign: str
    scale: str
    number: str


def _amount_in(text: str) -> _Amount | None:
    match = _CELL.fullmatch(text.strip())
    if match is None:
        return None
    before, after = match["before"] or "", match["after"] or match["measure"] or ""
    if (before and after) or (match["minus"] and match["inner"]):
        return None
    number = f"{match['minus']}{match['inner']}{match['number'].strip()}"
    return _Amount(before or after, match["scale"] or "", number)


def without_unit(texts: Sequence[str], learned: str | None = None) -> tuple[dict[str, str], str | None]:
    """Return the number in each text (``"1.2E+3"`` for 1.2k, or the text) and the unit, such as ``"$k"``, or None."""
    plain = {text: text for text in texts}
    # Most columns of text are recognised by their first cell.
    if not texts or _amount_in(texts[0]) is None:
        return plain, None
    amounts = {text: _amount_in(text) for text in texts}
    unit = _unit(list(amounts.values())) if learned is None else learned
    # 0.05 beside 5 % may be the same share.
    if not unit or (unit == "%" and any(amount is not None and not amount.sign for amount in amounts.values())):
        return plain, None
    sign, has_scale = unit.removesuffix(SCALED), unit.endswith(SCALED)
    signs = {sign} if learned is None else {sign, ""}
    numbers = {
        text: amount.number + _POWERS[amount.scale.lower()]
        for text, amount in amounts.items()
        if amount is not None and amount.sign in signs and (has_scale or not amount.scale)
    }
    is_read = bool(numbers) if learned is not None else len(numbers) == len(texts) and not are_durations(texts)
    return (plain | numbers, unit) if is_read else (plain, None)


def _unit(amounts: Sequence[_Amount | None]) -> str | None:
    """Return the unit of all cells of a column, or None if they have none or it is in doubt."""
    cells = [amount for amount in amounts if amount is not None]
    if len(cells) < len(amounts) or len({cell.sign for cell in cells}) > 1:
        return None
    sign, letters = cells[0].sign, {cell.scale for cell in cells} - {""}
    if not letters:
        return sign
    scales = {letter.lower() for letter in letters}
    written_out = sign not in ("", "%") or "k" in scales
    # 2B may be a flat and 10M a size, 1.5 m metres: a decimal sign tells M and B, not m and b, from such codes.
    is_scale = letters <= {"M", "B"} and (len(scales) > 1 or any(_MARKED.search(cell.number) for cell in cells))
    return sign + SCALED if sign != "%" and (written_out or is_scale) else None


def unit_said(unit: str) -> str:
    """Return how the numbers of a column are written, for the table of columns."""
    if unit == "%":
        return "numbers with a per cent sign, as written: 7.4 % is 7.4"
    sign = unit.removesuffix(SCALED)
    words = f"numbers in {sign}" if sign else "numbers"
    return f"{words}, k, M or B behind them: 1.2k is 1200" if unit.endswith(SCALED) else words


def unit_marks(unit: str) -> str:
    """Return a unit in a few signs: ``$``, ``$, 1.2k is 1200``."""
    marks = [unit.removesuffix(SCALED), "1.2k is 1200" if unit.endswith(SCALED) else ""]
    return ", ".join(filter(None, marks))
