"""How words and numbers are written, in plots, on pages and in the terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


#: Spaces, control signs, ends of lines and halves of signs.
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


# ---- names -----------------------------------------------------------------------------------------------------------
def clean(text: object) -> str:
    """Make any value printable on one line: control signs and line ends become spaces."""
    return _BLANKS.sub(" ", str(text)).strip() or "(blank)"


def shorten(text: object, width: int = 26) -> str:
    """Cut the middle out of a long name, because both ends tell names apart."""
    label = clean(text)
    if len(label) <= width:
        return label
    head = math.ceil((width - 1) * 0.55)
    return f"{label[:head]}…{label[len(label) - (width - 1 - head) :]}"


def labels_of(names: Sequence[object], width: int = 26) -> list[str]:
    """Shorten names so that different names stay different: a number is added where two would look the same."""
    short = [shorten(name, width) for name in names]
    result = []
    for position, label in enumerate(short):
        mark = f"·{short[: position + 1].count(label)}" if short.count(label) > 1 else ""
        result.append(f"{label[: width - len(mark)]}{mark}" if mark else label)
    return result


def listed(words: Iterable[str], most: int | None = None) -> str:
    """Join words as in a sentence, ``a, b and c``; beyond ``most`` of them only their number is written."""
    names = list(words)
    if most is not None and len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


# ---- numbers ---------------------------------------------------------------------------------------------------------
def number(value: float | None, digits: int = 3) -> str:
    """Write a number with significant digits, a real minus sign, thousands apart, and a dash where undefined."""
    if value is None or not math.isfinite(value) or value == 0:
        return "0" if value == 0 else "–"
    size = abs(value)
    if size >= 1e7 or size < 1e-4:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    return fixed(value, max(0, digits - 1 - math.floor(math.log10(size))))


def numbers(values: Sequence[float] | npt.NDArray[np.float64], digits: int = 3) -> list[str]:
    """Write numbers of one column alike: as many decimals as give the largest of them its significant digits."""
    array = np.asarray(values, dtype=np.float64)
    size = float(np.max(np.abs(array[np.isfinite(array)]), initial=0.0))
    if size == 0 or not 1e-5 <= size < 1e7:
        return [number(value, digits) for value in array.tolist()]
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    return ["0" if value == 0 else fixed(value, decimals) for value in array.tolist()]


def fixed(value: float, decimals: int = 3) -> str:
    """Write a number with so many decimals; a tiny negative number is not ``−0.000``."""
    return f"{value:z,.{decimals}f}".replace("-", "−") if math.isfinite(value) else "–"


def valued(names: Iterable[object], values: Iterable[float], write: Callable[[float], str] = number) -> str:
    """Write names with their values: ``a 0.100, b 0.200``."""
    return ", ".join(f"{clean(name)} {write(float(value))}" for name, value in zip(names, values, strict=True))


def compact(value: float, digits: int = 3) -> str:
    """Write a number with at most so many digits, without zeros at its end."""
    return f"{value:.{digits}g}".replace("-", "−")


def percent(share: float | None) -> str:
    """Write a share as a percentage that does not break over lines."""
    if share is None or not math.isfinite(share):
        return "–"
    return f"{share * 100:.1f}\u00a0%" if 0 < abs(share) < 0.01 else f"{share * 100:.0f}\u00a0%"


def p_text(p_value: float) -> str:
    """Write a p-value."""
    return "< 0.001" if p_value < 0.001 else fixed(p_value)


def duration(seconds: float | None) -> str:
    """Write a time: ``0.04 s``, ``12 s``, ``3 min 4 s``, ``2 h 1 min``."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.2g} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left} s" if minutes else f"{left} s"
    return f"{minutes // 60} h {minutes % 60} min"


# ---- values ----------------------------------------------------------------------------------------------------------
def value_text(value: Any, width: int = 16) -> str:
    """Write a cell of the user's table."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return f"{int(value)}".replace("-", "−") if abs(int(value)) < 10**width else number(float(value))
    if isinstance(value, (float, np.floating)):
        single = float(value)
        if not math.isfinite(single):
            return "missing" if math.isnan(single) else str(value)
        return f"{int(single)}".replace("-", "−") if single.is_integer() and abs(single) < 1e7 else number(single, 4)
    missing = value is None or (pd.api.types.is_scalar(value) and pd.isna(value))
    return "missing" if missing else shorten(value, width)


def plain_text(value: Any) -> str:
    """Write any value of a configuration."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        value = [f"{key}: {plain_text(item)}" for key, item in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return clean(", ".join(plain_text(item) for item in value)) if value else "–"
    if isinstance(value, (float, np.floating)):
        return "–" if math.isnan(value) else compact(float(value), 6)
    return "–" if value is None else clean(value)


def quantity_of(explanation: Explanation) -> str:
    """Say what the numbers are, with their unit if known."""
    quantity = explanation.meta.get("quantity") or ("attribution" if explanation.scope == "local" else "importance")
    quantity, unit = clean(quantity).replace("_", " "), explanation.meta.get("unit")
    return f"{quantity} ({clean(unit)})" if unit and clean(unit) not in quantity else quantity
