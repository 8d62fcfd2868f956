"""Bars of every method beside the truth, function by function, as SVG whose elements
carry their numbers.

Each bar is a ``rect.bar`` (a ``rect.cell`` where parts are many) with ``data-suite,
data-function, data-method, data-part, data-value`` (the mean over seeds), each dot a
``circle.seed`` with ``data-seed`` and its own ``data-value``. Values are written in
full precision, so that they can be compared with ``results.csv``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from permgrad.base import style
from permgrad.pages.views import FigureView
from permgrad.pages.words import clean, shorten
from permgrad_benchmark.page.data import ORACLE, TRUTH, SuiteResults
from permgrad_benchmark.records import ANY

_NAMES, _COLUMN, _BAR, _ROW, _TOP = 190, 128, 84, 18, 40
#: Parts that have room for a bar each. More are drawn as cells, and beyond the second
#: number not at all.
_MOST_BARS, _MOST_CELLS = 5, 40

CSS = """
.bars text { font: 400 11px/1 var(--sans); fill: var(--ink); font-variant-numeric: \
lining-nums tabular-nums; }
.bars .head { font-weight: 600; }
.bars .quiet { fill: var(--muted); }
.bars .cell { stroke: var(--rule); stroke-width: 0.5; }
.bars .axis { stroke: var(--rule); }
.bars .seed { fill: var(--ink); fill-opacity: 0.55; }
.bars .oracle { fill: var(--paper); stroke: var(--ink); stroke-width: 1.2; }
.bars .published { stroke: var(--ink); stroke-width: 1; }
.bars .effect { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 3 2; }
"""


@dataclass(frozen=True)
class _Row:
    """One line of a panel: whose values, against which truth, and how it is called."""

    method: str
    estimand: str | None
    metric: str
    label: str


def share_panels(suite: SuiteResults) -> list[tuple[str, str, FigureView]]:
    """Return name, title and figure of each function with shares: rows are methods,
    columns are modalities.

    The first rows are the truths, whose shares also go down through all rows as lines.
    Dots are seeds. A diamond is the same method on the true function.
    """
    panels = []
    titles = suite.facts.get("function_titles", {})
    for function in suite.functions:
        records = suite.frame[suite.frame["function"] == function]
        shares = records[records["metric"].str.startswith(("share:", "truth_share:"))]
        parts = list(
            dict.fromkeys(str(name).partition(":")[2] for name in shares["metric"])
        )
        if not parts or len(parts) > _MOST_CELLS:
            continue
        of_truth = list(
            dict.fromkeys(shares.loc[shares["method"] == TRUTH, "estimand"])
        )
        rows = [
            _Row(TRUTH, one, "truth_share", f"truth, {str(one).replace('_', ' ')}")
            for one in of_truth
        ]
        present = set(shares["method"])
        rows += [
            _Row(name, None, "share", suite.label(name))
            for name in suite.methods
            if name in present
        ]
        title = f"{function}: {titles[function]}" if function in titles else function
        draw = _panel if len(parts) <= _MOST_BARS else _cells
        panels.append((function, clean(title), draw(suite, function, parts, rows)))
    return panels


def _panel(
    suite: SuiteResults, function: str, parts: Sequence[str], rows: Sequence[_Row]
) -> FigureView:
    width, bottom = _NAMES + _COLUMN * len(parts), _TOP + _ROW * len(rows)
    pieces = _names(rows, _TOP)
    for column, part in enumerate(parts):
        left = _NAMES + _COLUMN * column
        pieces += [
            _text(left, 14, shorten(part, 18), "head"),
            _text(left, 30, "0", "quiet"),
            _text(left + _BAR, 30, "1", "quiet", "middle"),
        ]
        truth = suite.select(f"truth_share:{part}", function=function, method=TRUTH)
        means = [
            float(records["value"].mean())
            for _, records in truth.groupby("estimand", sort=False)
        ]
        lines: list[tuple[float, str]] = [(left, "axis"), (left + _BAR, "axis")]
        lines += [
            (left + _length(mean), "effect" if place else "published")
            for place, mean in enumerate(means)
            if math.isfinite(mean)
        ]
        ends = {"y1": _TOP - 6, "y2": bottom}
        drawn = [
            _element(
                "line", {"class": kind, "x1": f"{x:.2f}", "x2": f"{x:.2f}", **ends}
            )
            for x, kind in lines
        ]
        pieces += drawn[:2]  # axes lie behind the bars, truths in front
        for place, row in enumerate(rows):
            colour = f"var(--series-{column % len(style.SERIES)})"
            pieces += _bar(
                suite, function, part, row, (left, _TOP + _ROW * place), colour
            )
        pieces += drawn[2:]
    words = f"Shares of {', '.join(map(clean, parts))} for {clean(function)}, by method"
    return _drawing(pieces, (width, bottom + 8), words)


def _bar(
    suite: SuiteResults,
    function: str,
    part: str,
    row: _Row,
    corner: tuple[int, int],
    colour: str,
) -> list[Markup]:
    left, top = corner
    truth = {} if row.estimand is None else {"estimand": row.estimand}
    of_part = suite.select(
        f"{row.metric}:{part}", function=function, method=row.method, **truth
    ).dropna(subset="value")
    if of_part.empty:
        return [_text(left + 2, top + 11, "–", "quiet")]
    mean, middle = float(of_part["value"].mean()), top + 7.5
    facts = _facts(suite, function, row, part)
    place = {"x": left, "y": top + 2, "width": f"{_length(mean):.2f}", "height": 11}
    fill = "var(--neutral)" if row.method == TRUTH else colour
    shapes = [
        _element(
            "rect", {"class": "bar", **facts, "data-value": mean, **place, "fill": fill}
        )
    ]
    for seed, value in zip(of_part["seed"], of_part["value"].tolist(), strict=True):
        place = {"cx": f"{left + _length(value):.2f}", "cy": middle, "r": 1.8}
        numbers = {"data-seed": int(seed), "data-value": value}
        shapes.append(
            _element("circle", {"class": "seed", **facts, **numbers, **place})
        )
    name = f"{ORACLE}{row.method}"
    oracle = suite.select(f"share:{part}", function=function, method=name).dropna(
        subset="value"
    )
    if len(oracle):
        value = float(oracle["value"].mean())
        x, y = left + _length(value), middle
        points = f"{x:.2f},{y - 4} {x + 4:.2f},{y} {x:.2f},{y + 4} {x - 4:.2f},{y}"
        look = {
            "class": "oracle",
            "data-method": name,
            "data-part": part,
            "data-value": value,
            "points": points,
        }
        shapes.append(_element("polygon", look))
    return [
        *shapes,
        _text(
            left + _BAR + 34, top + 11, f"{mean:.3f}".replace("-", "−"), "quiet", "end"
        ),
    ]


def _cells(
    suite: SuiteResults, function: str, parts: Sequence[str], rows: Sequence[_Row]
) -> FigureView:
    """Draw many parts as cells whose colour is the share: dark is much.

    The truths are the first rows.
    """
    side = min(26, 520 // len(parts))
    top = 12 + 6 * min(max(len(part) for part in parts), 16)
    size = (_NAMES + side * len(parts) + 40, top + _ROW * len(rows) + 8)
    cells = suite.frame[
        (suite.frame["function"] == function)
        & suite.frame["metric"].str.contains("share:", regex=False)
    ]
    means = cells.groupby(["method", "estimand", "metric"])["value"].mean().to_dict()
    largest = (
        max([value for value in means.values() if math.isfinite(value)], default=0.0)
        or 1.0
    )
    pieces = _names(rows, top)
    for column, part in enumerate(parts):
        left = _NAMES + side * column
        pieces.append(
            _element(
                "text",
                {
                    "transform": f"translate({left + side / 2 + 4} {top - 6}) "
                    "rotate(-50)"
                },
                shorten(part, 16),
            )
        )
        for place, row in enumerate(rows):
            value = float(
                means.get(
                    (row.method, row.estimand or ANY, f"{row.metric}:{part}"), math.nan
                )
            )
            finite = math.isfinite(value)
            look = {
                "x": left,
                "y": top + _ROW * place,
                "width": side - 1,
                "height": _ROW - 2,
                "fill": "var(--neutral)" if row.method == TRUTH else "var(--series-0)",
                "fill-opacity": f"{max(value, 0.0) / largest if finite else 0.0:.3f}",
            }
            title = (
                f"{clean(row.label)}, {clean(part)}: {value:.3f}"
                if finite
                else "undefined"
            )
            facts = {**_facts(suite, function, row, part), "data-value": value}
            pieces.append(
                _element(
                    "rect",
                    {"class": "cell", **facts, **look},
                    _element("title", {}, title),
                )
            )
    words = (
        f"Shares of {len(parts)} features for {clean(function)}, by method; dark "
        f"is much, at most {largest:.2f}"
    )
    return _drawing(
        pieces,
        size,
        words,
        f"Colour is the share, mean over seeds; the darkest is {largest:.2f}.",
    )


# ---- pieces --------------------------------------------------------------------------
def _length(value: float) -> float:
    return _BAR * min(max(value, 0.0), 1.0)


def _facts(suite: SuiteResults, function: str, row: _Row, part: str) -> dict[str, Any]:
    """Return what an element says of its numbers."""
    facts = {
        "data-suite": suite.name,
        "data-function": function,
        "data-method": row.method,
        "data-part": part,
    }
    return facts if row.estimand is None else {**facts, "data-estimand": row.estimand}


def _names(rows: Sequence[_Row], top: int) -> list[Markup]:
    return [
        _text(
            _NAMES - 10,
            top + _ROW * place + 11,
            shorten(row.label, 30),
            "head" * (row.method == TRUTH),
            "end",
        )
        for place, row in enumerate(rows)
    ]


def _text(
    x: float, y: float, words: str, kind: str = "", anchor: str = "start"
) -> Markup:
    return _element(
        "text", {"x": x, "y": y, "class": kind, "text-anchor": anchor}, clean(words)
    )


def _element(
    name: str, attributes: Mapping[str, Any], inside: str | Markup = ""
) -> Markup:
    """Return an element with escaped attributes and content."""
    written = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{written}>{escape(inside)}</{name}>")  # noqa: S704 — everything in it is escaped


def _drawing(
    pieces: Sequence[Markup], size: tuple[int, int], words: str, caption: str = ""
) -> FigureView:
    look = {
        "class": "bars",
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {size[0]} {size[1]}",
    }
    drawn = _element(
        "svg", {**look, "role": "img", "aria-label": words}, Markup("").join(pieces)
    )
    return FigureView(drawn, caption, size[0])
