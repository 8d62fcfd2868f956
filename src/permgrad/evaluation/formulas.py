"""Find out whether a target is made of up to three columns: a sum, difference, product or ratio.

All formulas are tried on a few rows, and those that agree there on all rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array, Booleans, Floats
from permgrad.base.numerals import compact

#: A column by its place, or an operation on two formulas.
Formula: TypeAlias = "int | tuple[str, Formula, Formula]"
#: A formula is reported if it holds in this share of the rows, or has this R². In a row, the error allowed is a unit of
#: the target's last digit, and this share of its spread at most. Units above the last share are not rounded down to.
_HOLDS, _NEARLY, _ERROR, _COARSE = 0.9, 0.999, 0.02, 0.15
#: Rows that are needed in which a formula says something, which 0 + 0 = 0 does not. Rows that all formulas are tried
#: on, share of them that has to agree, formulas that are then compared, columns of which pairs, and three, are tried.
_FEWEST, _TRIED, _AGREE, _COMPARED, _PAIRS, _THREES = 20, 12, 0.6, 50, 150, 30
#: Lengths of time in seconds.
_TIMES = {86_400.0: "days", 3600.0: "hours", 60.0: "minutes", 604_800.0: "weeks", 31_557_600.0: "years"}
_STEPS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "+": lambda a, b: np.nan_to_num(a) + np.nan_to_num(b),  # a missing addend counts as 0
    "−": lambda a, b: np.nan_to_num(a) - np.nan_to_num(b),
    "×": np.multiply,
    "/": np.divide,
}


@np.errstate(all="ignore")
def made_of(names: Sequence[str], x: Floats, y: Floats, dates: Booleans) -> dict[str, Any] | None:
    """Return the best formula of a target ``(rows,)`` from columns ``(rows, columns)``, if one holds.

    ``x`` has NaN where a cell is missing, and ``dates`` in seconds. The result is ``{columns, formula, metric, score,
    rows}``: the share of rows in which the formula holds (``"equal"``) or R² (``"r2"``), of rows that are not all 0.

    Examples:
        >>> x = np.random.default_rng(0).integers(1, 99, (60, 3)) + 0.0
        >>> made_of(["a", "b", "c"], x, x[:, 0] - x[:, 2], np.zeros(3, bool))["formula"]
        "'a' − 'c'"
    """
    rows = np.flatnonzero(y)
    spread = float(np.subtract(*np.quantile(y, [0.75, 0.25]))) or float(y.std())
    if len(rows) < _FEWEST or spread == 0:
        return None
    units = (10.0**-at for at in range(7) if np.mean(np.isclose(np.round(y, at), y, rtol=0, atol=1e-9)) >= _HOLDS)
    unit = next((unit for unit in units if unit <= _COARSE * spread), 0.0)
    tried = rows[np.argsort(y[rows], kind="stable")][np.linspace(0, len(rows) - 1, _TRIED).astype(np.int64)]
    for agreeing in _agreeing(x[tried], y[tried], _associated(x, y), max(3 * _ERROR * spread, unit)):
        first = [formula for _, formula in sorted(agreeing, key=lambda one: one[0])[:_COMPARED]]
        found = [one for formula in first if (one := _compared(formula, x, y, spread, unit)) is not None]
        if found:
            # Rather a + b than −1 × (−a − b).
            formula, scale, facts = max(found, key=lambda one: (round(one[2]["score"], 3), one[1] == 1, one[1] > 0))
            columns = [names[place] for place in dict.fromkeys(_columns(formula))]
            return {"columns": columns, "formula": _written(formula, scale, names, dates), **facts}
    return None


def _associated(x: Floats, y: Array) -> list[int]:
    """Return the places of columns, those first that go along with the target alone (ranks), or given the others."""
    frame = pd.DataFrame(x)
    strengths = frame.rank().corrwith(pd.Series(y).rank()).abs().fillna(0).to_numpy()
    if x.shape[1] < len(y):
        scaled = ((frame - frame.mean()) / frame.std()).fillna(0).to_numpy()
        slopes = np.abs(np.linalg.lstsq(scaled, y - y.mean(), rcond=None)[0])
        strengths = np.maximum(strengths, slopes / (slopes.max() or 1))
    places: list[int] = np.argsort(-strengths, kind="stable").tolist()
    return places


def _agreeing(x: Floats, y: Floats, order: list[int], allowed: float) -> Iterator[list[tuple[float, Formula]]]:
    """Yield the formulas of one column that agree on a few rows, with their median errors, then of two and of three."""

    def joined(left: Floats, right: Floats, step: str) -> Floats:
        return _STEPS[step](left[:, None], right[None]).reshape(-1, len(y))

    def agreeing(values: Floats, formula: Callable[[int], Formula]) -> list[tuple[float, Formula]]:
        errors = np.abs(y - _scales(values, y)[:, None] * values)
        enough = np.flatnonzero(np.mean(errors <= allowed, axis=1) >= _AGREE)
        typical = np.median(errors[enough], axis=1)
        return [(float(typical[at]), formula(int(enough[at]))) for at in np.argsort(typical, kind="stable")[:_COMPARED]]

    some, first = sorted(order[:_PAIRS]), sorted(order[:_THREES])
    yield agreeing(x.T[some], lambda at: some[at])
    formulas: list[tuple[float, Formula]] = []
    for step in _STEPS:
        formulas += agreeing(joined(x.T[some], x.T[some], step), partial(_pair, step, some, some))
    yield formulas
    pairs: list[Formula] = [(step, one, two) for step in _STEPS for one in first for two in first]
    values, formulas = np.concatenate([joined(x.T[first], x.T[first], step) for step in _STEPS]), []
    for place in first:
        for step in _STEPS:
            formulas += agreeing(joined(values, x.T[[place]], step), partial(_pair, step, pairs, [place]))
            if step in ("−", "/"):
                formulas += agreeing(joined(x.T[[place]], values, step), partial(_pair, step, [place], pairs))
    yield formulas


def _pair(step: str, left: Sequence[Formula], right: Sequence[Formula], at: int) -> Formula:
    return step, left[at // len(right)], right[at % len(right)]


def _scales(values: Floats, y: Floats) -> Floats:
    """Return the median of the target divided by each formula ``(formulas, rows)``."""
    ratios = y / values
    ratios = np.sort(np.where(np.isfinite(ratios) & (ratios != 0), ratios, np.nan), axis=1)
    middle = np.maximum(np.isfinite(ratios).sum(axis=1) - 1, 0) // 2
    return np.asarray(ratios[np.arange(len(ratios)), middle])


def _compared(
    formula: Formula, x: Floats, y: Floats, spread: float, unit: float
) -> tuple[Formula, float, dict[str, Any]] | None:
    """Return a formula with its factor, and how well it holds on all rows, or None if it does not."""
    values, columns = _value(formula, x), list(_columns(formula))
    scale = float(_scales(values[None], y)[0])
    # The factor of a formula is rather 1 or 100 than 0.99998, and whole days are often rounded down.
    scales = [scale, *(float(f"{scale:.{digits}g}") for digits in (3, 2, 1))]
    scales += [1 / size for size in _TIMES if abs(scale * size - 1) < 0.2]
    allowed, fits = min(1.0001 * unit, _ERROR * spread) + 1e-9 * np.abs(y), [one * values for one in scales]
    down = [np.floor(fit / (unit or np.nan) + 1e-6) * unit for fit in fits]
    holds = [(np.abs(y - fit) <= allowed) | (np.abs(y - low) < 1e-9) for fit, low in zip(fits, down, strict=True)]
    best = max(range(len(scales)), key=lambda at: (int(holds[at].sum()), at))
    known = np.isfinite(values) & (np.isfinite(x[:, columns]).all(axis=1) | holds[best])
    says = known & ((y != 0) | (np.abs(fits[best]) >= unit))
    # A formula that is right where the target hardly differs from row to row is none.
    varied, rows = says & (np.abs(y - np.median(y)) > allowed), int(says.sum())
    if varied.sum() < _FEWEST or rows < np.count_nonzero(y) / 2:
        return None
    score = float(holds[best][says].mean())
    if min(score, holds[best][varied].mean()) >= _HOLDS:
        return formula, scales[best], {"metric": "equal", "score": score, "rows": rows}
    # Parts that were rounded before they are columns give nearly the target, and a factor of nearly 1, 10 or 100.
    own, fitted = y[says], values[says]
    scale = float(own @ fitted / (fitted @ fitted))
    errors, power = np.abs(own - scale * fitted), math.log10(abs(scale) or 2)
    score = 1 - float(np.sum(errors**2) / np.sum((own - own.mean()) ** 2))
    nearly = score >= _NEARLY and np.mean(errors <= 3 * _ERROR * spread) >= _HOLDS and abs(power - round(power)) < 0.005
    return (formula, scale, {"metric": "r2", "score": score, "rows": rows}) if nearly else None


def _value(formula: Formula, x: Floats) -> Floats:
    if isinstance(formula, int):
        return x[:, formula]
    return _STEPS[formula[0]](_value(formula[1], x), _value(formula[2], x))


def _columns(formula: Formula) -> list[int]:
    return [formula] if isinstance(formula, int) else [*_columns(formula[1]), *_columns(formula[2])]


def _written(formula: Formula, scale: float, names: Sequence[str], dates: Booleans) -> str:
    """Write a formula with the names of its columns and its factor. A difference of dates has a unit of time."""
    words, factor = _words(formula, names), compact(scale)
    times = [name for size, name in _TIMES.items() if abs(scale * size - 1) < 1e-3]
    if times and not isinstance(formula, int) and all(dates[place] for place in _columns(formula)):
        return f"{words} in {times[0]}"
    words = words if factor == "1" or isinstance(formula, int) else f"({words})"
    return words if factor == "1" else f"{factor} × {words}"


def _words(formula: Formula, names: Sequence[str]) -> str:
    if isinstance(formula, int):
        return repr(names[formula])
    step, left, right = formula
    sums = step in ("+", "−") and not isinstance(left, int) and left[0] in ("+", "−")
    words = [_words(one, names) if isinstance(one, int) else f"({_words(one, names)})" for one in (left, right)]
    return f" {step} ".join([_words(left, names) if sums else words[0], words[1]])
