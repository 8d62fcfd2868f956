"""The bars beside the page's first sentences as a file of their own, for
``report.md``.
"""

from __future__ import annotations

from html import escape

import numpy as np

from permgrad.base.errors import in_reading_order
from permgrad.base.numerals import number
from permgrad.base.style import TOKENS
from permgrad.pages.charts.chart import WIDTH, Chart
from permgrad.pages.words import shorten

#: Height of a bar with its margin, width of a letter, room for the number behind the
#: bars, and most letters of a name.
_ROW = 26
_LETTER = 7.2
_NUMBER = 84
_LETTERS = 28
_FONT = 'font-family="system-ui, sans-serif" font-size="13"'


def bars_svg(chart: Chart) -> str:
    """Return a chart of ``bars`` as SVG: a bar for each name from ``start`` (or 0), its
    interval and its number.

    Bars of what does not clearly matter are pale.
    """
    chart_data = chart.data
    names = [shorten(bar_name, _LETTERS) for bar_name in chart.data["names"]]
    values = np.asarray(chart_data["values"], dtype=np.float64)
    lower_ends = np.asarray(chart_data["low"], dtype=np.float64)
    upper_ends = np.asarray(chart_data["high"], dtype=np.float64)
    start = float(chart_data.get("start", 0.0))
    every = np.concatenate([[start], values, lower_ends, upper_ends])
    least = float(np.nanmin(every))
    largest_value = float(np.nanmax(every))
    left_margin = 12 + _LETTER * max(map(len, names), default=0)
    scale = (WIDTH - left_margin - _NUMBER) / ((largest_value - least) or 1.0)

    def across(value: float) -> float:
        return round(left_margin + (value - least) * scale, 1)

    ink_colour = TOKENS["ink"][0]
    bar_colour = TOKENS["tabular"][0]
    pale_colour = TOKENS["series-7"][0]
    height = _ROW * len(names) + 30
    if "start" in chart_data:
        base_words = f" (with all: {number(start)})"
    else:
        base_words = ""
    svg_size = f'width="{WIDTH}" height="{height}"'
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" {svg_size} viewBox="0 0 {WIDTH} '
            f'{height}" role="img" {_FONT}>'
        ),
        f"<title>{escape(chart.words)}</title>",
        f'<rect {svg_size} fill="{TOKENS["paper"][0]}"/>',
        (
            f'<text x="{left_margin:.0f}" y="18" '
            f'fill="{ink_colour}">{escape(chart_data["label"] + base_words)}</text>'
        ),
    ]
    for bar_index, row_name in enumerate(names):
        middle = 30 + _ROW * bar_index + _ROW / 2
        bar_ends = sorted([across(start), across(values[bar_index])])
        if chart_data["quiet"][bar_index]:
            colour = pale_colour
        else:
            colour = bar_colour
        lines.append(
            f'<text x="{left_margin - 8:.0f}" y="{middle + 4}" text-anchor="end" '
            f'fill="{ink_colour}">{escape(row_name)}</text>'
            f'<rect x="{bar_ends[0]}" y="{middle - 8}" '
            f'width="{bar_ends[1] - bar_ends[0]:.1f}" height="16" fill="{colour}"/>'
        )
        if np.isfinite(lower_ends[bar_index]) and np.isfinite(upper_ends[bar_index]):
            whisker = (
                f'x1="{across(lower_ends[bar_index])}" '
                f'x2="{across(upper_ends[bar_index])}" y1="{middle}" y2="{middle}"'
            )
            lines.append(f'<line {whisker} stroke="{ink_colour}" stroke-width="1.5"/>')
        behind = (
            across(np.nanmax([values[bar_index], upper_ends[bar_index], start])) + 6
        )
        lines.append(
            f'<text x="{behind}" y="{middle + 4}" '
            f'fill="{ink_colour}">{escape(chart_data["texts"][bar_index])}</text>'
        )
    return in_reading_order("\n".join([*lines, "</svg>", ""]))
