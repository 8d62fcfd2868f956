"""The bars beside the page's first sentences as a file of their own, for ``report.md``."""

from __future__ import annotations

from html import escape

import numpy as np

from permgrad.base.errors import in_reading_order
from permgrad.base.numerals import number
from permgrad.base.style import TOKENS
from permgrad.pages.charts.chart import WIDTH, Chart
from permgrad.pages.words import shorten

#: Height of a bar with its margin, width of a letter, room for the number behind the bars, and most letters of a name.
_ROW, _LETTER, _NUMBER, _LETTERS = 26, 7.2, 84, 28
_FONT = 'font-family="system-ui, sans-serif" font-size="13"'


def bars_svg(chart: Chart) -> str:
    """Return a chart of ``bars`` as SVG: a bar for each name from ``start`` (or 0), its interval and its number.

    Bars of what does not clearly matter are pale.
    """
    data, names = chart.data, [shorten(name, _LETTERS) for name in chart.data["names"]]
    values, low, high = (
        np.asarray(data[end], dtype=np.float64) for end in ("values", "low", "high")
    )
    start = float(data.get("start", 0.0))
    every = np.concatenate([[start], values, low, high])
    least, most = float(np.nanmin(every)), float(np.nanmax(every))
    left = 12 + _LETTER * max(map(len, names), default=0)
    scale = (WIDTH - left - _NUMBER) / ((most - least) or 1.0)

    def across(value: float) -> float:
        return round(left + (value - least) * scale, 1)

    ink, bar, pale = (TOKENS[name][0] for name in ("ink", "tabular", "series-7"))
    height, base = (
        _ROW * len(names) + 30,
        f" (with all: {number(start)})" if "start" in data else "",
    )
    size = f'width="{WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {WIDTH} {height}" role="img" {_FONT}>',
        f"<title>{escape(chart.words)}</title>",
        f'<rect {size} fill="{TOKENS["paper"][0]}"/>',
        f'<text x="{left:.0f}" y="18" fill="{ink}">{escape(data["label"] + base)}</text>',
    ]
    for at, name in enumerate(names):
        middle = 30 + _ROW * at + _ROW / 2
        ends = sorted([across(start), across(values[at])])
        colour = pale if data["quiet"][at] else bar
        lines.append(
            f'<text x="{left - 8:.0f}" y="{middle + 4}" text-anchor="end" fill="{ink}">{escape(name)}</text>'
            f'<rect x="{ends[0]}" y="{middle - 8}" width="{ends[1] - ends[0]:.1f}" height="16" fill="{colour}"/>'
        )
        if np.isfinite(low[at]) and np.isfinite(high[at]):
            whisker = f'x1="{across(low[at])}" x2="{across(high[at])}" y1="{middle}" y2="{middle}"'
            lines.append(f'<line {whisker} stroke="{ink}" stroke-width="1.5"/>')
        behind = across(np.nanmax([values[at], high[at], start])) + 6
        lines.append(
            f'<text x="{behind}" y="{middle + 4}" fill="{ink}">{escape(data["texts"][at])}</text>'
        )
    return in_reading_order("\n".join([*lines, "</svg>", ""]))
