"""How words and numbers are written, in plots, on pages and in the terminal."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


def clean(text: object) -> str:
    r"""Make any value printable on one line: control signs and line ends become spaces.

    Examples:
        >>> clean("a\nb")
        'a b'
    """
    signs = "".join(" " if unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"} else sign for sign in str(text))
    return " ".join(signs.split()) or "(blank)"


def shorten(text: object, width: int = 26) -> str:
    """Cut the middle out of a long name, because both ends tell names apart.

    Examples:
        >>> shorten("MSinceMostRecentDelq", 26)
        'MSinceMostRecentDelq'
        >>> shorten("NumTrades60Ever2DerogPubRecOfTheLastYear", 20)
        'NumTrades60…LastYear'
    """
    label = clean(text)
    if len(label) <= width:
        return label
    head = math.ceil((width - 1) * 0.55)
    return f"{label[:head]}…{label[len(label) - (width - 1 - head) :]}"


def labels_of(names: Sequence[object], width: int = 26) -> list[str]:
    """Shorten names so that different names stay different: a number is added where two would look the same.

    Examples:
        >>> labels_of(["x" * 40 + "1" + "x" * 40, "x" * 40 + "2" + "x" * 40], 10)
        ['xxxxx…xx·1', 'xxxxx…xx·2']
    """
    short = [shorten(name, width) for name in names]
    result = []
    for position, label in enumerate(short):
        if short.count(label) > 1:
            number = f"·{short[: position + 1].count(label)}"
            result.append(f"{label[: width - len(number)]}{number}")
        else:
            result.append(label)
    return result


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with significant digits, a real minus sign, thousands apart, and a dash where undefined.

    Examples:
        >>> number(-0.01234), number(12345.6), number(math.nan), number(2.3e-9)
        ('−0.0123', '12,346', '–', '2.3e−9')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e7 or size < 1e-4:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    return f"{value:,.{decimals}f}".replace("-", "−")


def numbers(values: Sequence[float] | npt.NDArray[np.float64], digits: int = 3) -> list[str]:
    """Write numbers of one column alike: as many decimals as give the largest of them its significant digits.

    Examples:
        >>> numbers([0.0505, 0.000784, float("nan"), 0.0])
        ['0.0505', '0.0008', '–', '0']
    """
    array = np.asarray(values, dtype=np.float64)
    size = float(np.max(np.abs(array[np.isfinite(array)]), initial=0.0))
    if size == 0 or not 1e-5 <= size < 1e7:
        return [number(float(value), digits) for value in array]
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    texts = []
    for value in array:
        text = f"{value:,.{decimals}f}".replace("-", "−") if np.isfinite(value) else "–"
        if value == 0:
            text = "0"
        elif not text.strip("−0."):
            text = text.removeprefix("−")  # a tiny negative number is not "−0.000"
        texts.append(text)
    return texts


def value_text(value: Any, width: int = 16) -> str:
    """Write a cell of the user's table.

    Examples:
        >>> value_text(100.0), value_text(0.123456), value_text(None), value_text("within 30 days of it", 12)
        ('100', '0.1235', 'missing', 'within …f it')
    """
    if isinstance(value, (bool, np.bool_, str)):
        return shorten(value, width)
    if isinstance(value, (int, np.integer)):
        return f"{int(value)}".replace("-", "−") if abs(int(value)) < 10**width else number(float(value))
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            return "missing" if math.isnan(value) else str(value)
        single = float(value)
        return f"{int(single)}".replace("-", "−") if single.is_integer() and abs(single) < 1e7 else number(single, 4)
    missing = value is None or (pd.api.types.is_scalar(value) and pd.isna(value))
    return "missing" if missing else shorten(value, width)


def quantity_of(explanation: Explanation) -> str:
    """Say what the numbers are, with their unit if known."""
    quantity = clean(
        explanation.meta.get("quantity") or ("attribution" if explanation.scope == "local" else "importance")
    )
    unit = explanation.meta.get("unit")
    quantity = quantity.replace("_", " ")
    return f"{quantity} ({clean(unit)})" if unit and clean(unit) not in quantity else quantity


def plain_text(value: Any) -> str:
    """Write any value of a configuration.

    Examples:
        >>> plain_text([128, 64]), plain_text(None), plain_text(0.1), plain_text(True)
        ('128, 64', '–', '0.1', 'yes')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return clean(", ".join(f"{key}: {plain_text(item)}" for key, item in value.items())) if value else "–"
    if isinstance(value, (list, tuple, set, frozenset)):
        return clean(", ".join(plain_text(item) for item in value)) if value else "–"
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.6g}".replace("-", "−")
    return clean(value)


def duration(seconds: float | None) -> str:
    """Write a time.

    Examples:
        >>> duration(0.04), duration(12.34), duration(184), duration(7265)
        ('0.04 s', '12 s', '3 min 4 s', '2 h 1 min')
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.2g} s"
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"


def listed(words: Sequence[str]) -> str:
    """Join words as in a sentence.

    Examples:
        >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
        ('a', 'a and b', 'a, b and c')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def percent(share: float | None) -> str:
    r"""Write a share as a percentage that does not break over lines.

    Examples:
        >>> percent(0.714), percent(None), percent(0.004)
        ('71\xa0%', '–', '0.4\xa0%')
    """
    if share is None or not math.isfinite(share):
        return "–"
    return f"{share * 100:.1f}\u00a0%" if 0 < abs(share) < 0.01 else f"{share * 100:.0f}\u00a0%"


def p_text(p_value: float) -> str:
    """Write a p-value."""
    if not math.isfinite(p_value):
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
