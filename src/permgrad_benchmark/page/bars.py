"""Bars of every method beside the truth, function by function, as SVG whose elements carry their numbers.

Each bar is a ``rect.bar`` (a ``rect.cell`` where parts are many) with ``data-suite, data-function, data-method,
data-part, data-value`` (the mean over seeds), each dot a ``circle.seed`` with ``data-seed`` and its own ``data-value``.
Values are written in full precision, so that they can be compared with ``results.csv``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from permgrad.report import style
from permgrad.report.page.views import FigureView
from permgrad.report.words import clean, shorten
from permgrad_benchmark.page.data import ORACLE, TRUTH, SuiteResults, modalities_of
from permgrad_benchmark.records import ANY

_NAMES, _COLUMN, _BAR, _ROW, _TOP = 190, 128, 84, 18, 40
#: Parts that have room for a bar each; more are drawn as cells, and beyond the second number not at all.
_MOST_BARS, _MOST_CELLS = 5, 40

CSS = """
.bars text { font: 400 11px/1 var(--sans); fill: var(--ink); font-variant-numeric: lining-nums tabular-nums; }
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
    """Return name, title and figure of each function with shares: rows are methods, columns are modalities.

    The first rows are the truths, whose shares also go down through all rows as lines; dots are seeds; a diamond is the
    same method on the true function.
    """
    panels = []
    for function in suite.functions:
        records = suite.frame[suite.frame["function"] == function]
        shares = [name for name in records["metric"] if name.startswith(("share:", "truth_share:"))]
        parts = modalities_of(shares)
        if parts and len(parts) <= _MOST_CELLS:
            titles = suite.facts.get("function_titles", {})
            title = f"{function}: {titles[function]}" if function in titles else function
            draw = _panel if len(parts) <= _MOST_BARS else _cells
            panels.append((function, clean(title), draw(suite, function, parts)))
    return panels


def _rows(suite: SuiteResults, function: str) -> list[_Row]:
    records = suite.frame[suite.frame["function"] == function]
    shares = records[records["metric"].str.startswith(("share:", "truth_share:"))]
    truths = list(dict.fromkeys(shares.loc[shares["method"] == TRUTH, "estimand"]))
    rows = [_Row(TRUTH, estimand, "truth_share", f"truth, {str(estimand).replace('_', ' ')}") for estimand in truths]
    present = set(shares["method"])
    return rows + [_Row(name, None, "share", suite.label(name)) for name in suite.methods if name in present]


def _panel(suite: SuiteResults, function: str, parts: Sequence[str]) -> FigureView:
    rows = _rows(suite, function)
    width, height = _NAMES + _COLUMN * len(parts), _TOP + _ROW * len(rows) + 8
    pieces: list[Markup] = []
    for column, part in enumerate(parts):
        left = _NAMES + _COLUMN * column
        colour = f"var(--series-{column % len(style.SERIES)})"
        pieces.append(_text(left, 14, shorten(part, 18), "head"))
        pieces += [_text(left, 30, "0", "quiet"), _text(left + _BAR, 30, "1", "quiet", "middle")]
        for edge in (left, left + _BAR):
            pieces.append(_line(edge, _TOP - 6, height - 8, "axis"))
        for place, row in enumerate(rows):
            pieces += _bar(suite, function, part, row, left, _TOP + _ROW * place, colour)
        pieces += _truth_lines(suite, function, part, left, height - 8)
    for place, row in enumerate(rows):
        kind = "head" if row.method == TRUTH else ""
        pieces.append(_text(_NAMES - 10, _TOP + _ROW * place + 11, shorten(row.label, 30), kind, "end"))
    words = f"Shares of {', '.join(map(clean, parts))} for {clean(function)}, by method"
    svg = Markup(
        '<svg class="bars" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    )
    return FigureView(svg.format(width, height, words, Markup("").join(pieces)), "", width)


def _bar(suite: SuiteResults, function: str, part: str, row: _Row, left: int, top: int, colour: str) -> list[Markup]:
    fixed = {"function": function, "method": row.method}
    fixed |= {} if row.estimand is None else {"estimand": row.estimand}
    lines_of_part = suite.select(f"{row.metric}:{part}", **fixed).dropna(subset="value")
    if lines_of_part.empty:
        return [_text(left + 2, top + 11, "–", "quiet")]
    mean = float(lines_of_part["value"].mean())
    facts = Markup(' data-suite="{}" data-function="{}" data-method="{}" data-part="{}"').format(
        suite.name, function, row.method, part
    )
    facts += Markup(' data-estimand="{}"').format(row.estimand) if row.estimand else Markup("")
    fill = "var(--neutral)" if row.method == TRUTH else colour
    shapes = [
        Markup('<rect class="bar"{} data-value="{!r}" x="{}" y="{}" width="{:.2f}" height="11" fill="{}"/>').format(
            facts, mean, left, top + 2, _length(mean), fill
        )
    ]
    for seed, value in zip(lines_of_part["seed"], lines_of_part["value"], strict=True):
        shapes.append(
            Markup('<circle class="seed"{} data-seed="{}" data-value="{!r}" cx="{:.2f}" cy="{}" r="1.8"/>').format(
                facts, int(seed), float(value), left + _length(float(value)), top + 7.5
            )
        )
    oracle = suite.select(f"share:{part}", function=function, method=f"{ORACLE}{row.method}").dropna(subset="value")
    if len(oracle):
        value = float(oracle["value"].mean())
        x, y = left + _length(value), top + 7.5
        points = f"{x:.2f},{y - 4} {x + 4:.2f},{y} {x:.2f},{y + 4} {x - 4:.2f},{y}"
        shapes.append(
            Markup('<polygon class="oracle" data-method="{}" data-part="{}" data-value="{!r}" points="{}"/>').format(
                f"{ORACLE}{row.method}", part, value, points
            )
        )
    return [*shapes, _text(left + _BAR + 34, top + 11, f"{mean:.3f}".replace("-", "−"), "quiet", "end")]


def _cells(suite: SuiteResults, function: str, parts: Sequence[str]) -> FigureView:
    """Draw many parts as cells whose colour is the share: dark is much; the truths are the first rows."""
    rows = _rows(suite, function)
    side = min(26, 520 // len(parts))
    top = 12 + 6 * min(max(len(part) for part in parts), 16)
    width, height = _NAMES + side * len(parts) + 40, top + _ROW * len(rows) + 8
    cells = suite.frame[
        (suite.frame["function"] == function) & suite.frame["metric"].str.contains("share:", regex=False)
    ]
    means = cells.groupby(["method", "estimand", "metric"])["value"].mean().to_dict()
    largest = max([value for value in means.values() if math.isfinite(value)], default=0.0) or 1.0
    pieces: list[Markup] = []
    for column, part in enumerate(parts):
        x = _NAMES + side * column + side / 2 + 4
        pieces.append(
            Markup('<text transform="translate({} {}) rotate(-50)">{}</text>').format(x, top - 6, shorten(part, 16))
        )
    for place, row in enumerate(rows):
        y = top + _ROW * place
        pieces.append(_text(_NAMES - 10, y + 11, shorten(row.label, 30), "head" if row.method == TRUTH else "", "end"))
        for column, part in enumerate(parts):
            value = float(means.get((row.method, row.estimand or ANY, f"{row.metric}:{part}"), math.nan))
            facts = Markup(' data-suite="{}" data-function="{}" data-method="{}" data-part="{}"').format(
                suite.name, function, row.method, part
            )
            facts += Markup(' data-estimand="{}"').format(row.estimand) if row.estimand else Markup("")
            finite = math.isfinite(value)
            pieces.append(
                Markup(
                    '<rect class="cell"{} data-value="{!r}" x="{}" y="{}" width="{}" height="{}" fill="{}" '
                    'fill-opacity="{:.3f}"><title>{}</title></rect>'
                ).format(
                    facts, value, _NAMES + side * column, y, side - 1, _ROW - 2,
                    "var(--neutral)" if row.method == TRUTH else "var(--series-0)",
                    max(value, 0.0) / largest if finite else 0.0,
                    f"{clean(row.label)}, {clean(part)}: {value:.3f}" if finite else "undefined",
                )
            )  # fmt: skip
    words = f"Shares of {len(parts)} features for {clean(function)}, by method; dark is much, at most {largest:.2f}"
    svg = Markup(
        '<svg class="bars" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    )
    caption = f"Colour is the share, mean over seeds; the darkest is {largest:.2f}."
    return FigureView(svg.format(width, height, words, Markup("").join(pieces)), caption, width)


def _truth_lines(suite: SuiteResults, function: str, part: str, left: int, bottom: int) -> list[Markup]:
    truth = suite.select(f"truth_share:{part}", function=function, method=TRUTH)
    lines = []
    for place, (_, records) in enumerate(truth.groupby("estimand", sort=False)):
        mean = float(records["value"].mean())
        if math.isfinite(mean):
            lines.append(_line(left + _length(mean), _TOP - 6, bottom, "effect" if place else "published"))
    return lines


def _length(value: float) -> float:
    return _BAR * min(max(value, 0.0), 1.0)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> Markup:
    return Markup('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>').format(x, y, kind, anchor, clean(words))


def _line(x: float, top: float, bottom: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{:.2f}" x2="{:.2f}" y1="{}" y2="{}"/>').format(kind, x, x, top, bottom)
