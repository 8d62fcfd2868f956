"""Numbers as they are written in different countries: decimal commas, signs between
thousands, currencies, per cent.
"""

from __future__ import annotations

import re
from functools import lru_cache

from permgrad.base.errors import warn_user
from permgrad.base.late import pa, pc

#: What may stand between thousands beside a point or a comma.
_SPACES = " \u00a0\u2009\u202f'’"
#: A sign of money, also with the letters of its country (US$, R$), or a code.
CURRENCY = (
    r"(?:[A-Z]{0,3}[$¢£¤¥฿₡₦₩₪₫€₱₴₹₺₽]|Rs\.?"
    r"|EUR|USD|GBP|CHF|JPY|CNY|INR|CAD|AUD|SEK|NOK|DKK|PLN)"
)
#: Units, such as kg, mg/dL, °C, or g after a blank, and thousands: letters alone, as in
#: 12A, are often parts of codes.
MEASURE = r"(?<=\s)[^\W\d_kKmMbB]|(?<![.,])(?:[^\W\d_]|°)[^\s\d.,;()]{1,9}|[kKM]"
#: A number as text, and an amount of money or per cent around one.
_BODY = rf"[\d.,{_SPACES}eE+\-−]"
_AMOUNT = re.compile(
    rf"[+\-−]?\s*(?P<before>{CURRENCY})?\s*{_BODY}*\d{_BODY}*?\s*(?P<after>%|{CURRENCY})?"
)
_NUMBER_BEGINS = re.compile(r"\s*[+\-−]?[.,]?\d")


def _pattern(point: str, between: str, indian: str = "") -> str:
    plain = rf"(?:\d+{point}?\d*|{point}\d+)(?:[eE][+-]?\d+)?"
    thousands = (
        rf"(?:[1-9]\d{{0,2}}(?:[{between}{_SPACES}]\d{{3}})+{indian})(?:{point}\d*)?"
    )
    return rf"[+\-−]?(?:{plain}|{thousands})"


#: How a number is written, by its decimal sign. Beside groups of three there are those
#: of India: 1,23,456.
NUMBERS = {
    ".": _pattern(r"\.", ",", r"|[1-9]\d?(?:,\d{2})+,\d{3}"),
    ",": _pattern(",", r"\."),
}


def may_be_number(text: str) -> bool:
    """Return whether a text begins as a number does, or is an amount."""
    return bool(_NUMBER_BEGINS.match(text)) or unit_of(text) is not None


def signs_of(texts: pa.ChunkedArray) -> set[str]:
    """Return the decimal signs with which all texts that are not null are numbers."""
    return {
        decimal_sign
        for decimal_sign, pattern in NUMBERS.items()
        if _all(texts, rf"^{pattern}$")
    }


def standard(texts: pa.ChunkedArray, sign: str) -> pa.ChunkedArray:
    """Return numbers with a decimal ``sign`` as any reader takes them: 1.234,5 as
    1234.5.
    """
    between = f"[{'.' if sign == ',' else ','}{_SPACES}]|^\\+"
    plain = pc.replace_substring_regex(texts, between, "")
    return pc.replace_substring(pc.replace_substring(plain, ",", "."), "−", "-")


def standard_text(text: str, sign: str) -> str:
    """Return one number with a decimal ``sign`` as ``standard`` does."""
    between = f"[{'.' if sign == ',' else ','}{_SPACES}]|^\\+"
    return re.sub(between, "", text).replace(",", ".").replace("−", "-")


def is_sign(unit: str) -> bool:
    """Whether numbers are read without a unit: the per cent sign, or a currency."""
    return unit == "%" or re.fullmatch(CURRENCY, unit) is not None


def bare_text(text: str, unit: str | None) -> str:
    """Return one text without a currency or a per cent sign, as ``without_unit``
    does.
    """
    if unit is None:
        return text.strip()
    match = _around(unit).fullmatch(text.strip())
    if match is None:
        return text.strip()
    return "".join(filter(None, match.groups()))


@lru_cache(maxsize=64)
def _around(unit: str) -> re.Pattern[str]:
    unit_pattern = re.escape(unit)
    return re.compile(
        rf"([+\-−]?)[{_SPACES}]*{unit_pattern}[{_SPACES}]*({_BODY}+)|({_BODY}+?)[{_SPACES}]*{unit_pattern}"
    )


def unit_of(text: str) -> str | None:
    """Return the currency or the per cent sign of an amount, or None.

    Examples:
        >>> unit_of("$64,000"), unit_of("7,4 %"), unit_of("71 kg"), unit_of("$5$")
        ('$', '%', None, None)
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or (match["before"] and match["after"]):
        return None
    return match["before"] or match["after"]


def without_unit(texts: pa.ChunkedArray, unit: str) -> tuple[pa.ChunkedArray, bool]:
    """Return texts without a currency or a per cent sign, and whether all had it."""
    unit_pattern = re.escape(unit)
    pattern = (
        rf"^([+\-−]?)[{_SPACES}]*{unit_pattern}[{_SPACES}]*({_BODY}+)$"
        rf"|^({_BODY}+?)[{_SPACES}]*{unit_pattern}$"
    )
    return pc.replace_substring_regex(texts, pattern, r"\1\2\3"), _all(texts, pattern)


def _all(texts: pa.ChunkedArray, pattern: str) -> bool:
    # The first rows tell most columns.
    text_slices = (texts.slice(0, 100), texts)
    return all(
        pc.all(pc.match_substring_regex(text_slice, pattern), min_count=0).as_py()
        for text_slice in text_slices
    )


def warn_of_sign(name: str, example: str, sign: str, why: str) -> None:
    """Warn of a column whose sign may stand between thousands or before decimals."""
    value = float(standard(pa.chunked_array([[example]]), sign)[0].as_py())
    warn_user(
        f"Column {name!r} may hold thousands or decimals: {example!r} is read as "
        f"{value:g}, {why}",
        "Write decimals with a point and thousands without a sign, or name the decimal "
        "sign in Python: permgrad.read_table(…, decimal=',').",
    )


def is_dot(text: str) -> bool:
    """Whether a text is how Stata and SAS write a missing number: a full stop, or one
    with a letter.
    """
    return re.fullmatch(r"\.[A-Za-z_]?", text.strip()) is not None


def unit_said(unit: str | None) -> str:
    """Return how the numbers of a column are written, for the table of columns."""
    if unit == "%":
        return "numbers with a per cent sign, as written: 7.4 % is 7.4"
    if unit is None:
        return "numbers"
    return f"numbers in {unit}"
