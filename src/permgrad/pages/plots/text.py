"""The words of a row, each on the colour of its value."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from permgrad.base import style
from permgrad.base.arrays import Floats
from permgrad.base.errors import in_reading_order
from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import number
from permgrad.base.sequences import values_at
from permgrad.pages import choices
from permgrad.pages.drawn_inputs import words_of
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled
from permgrad.pages.words import clean, quantity_of, towards, valued

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Height of a line of words and space between words, in points.
_LINE = 21.0
_SPACE = 9.0
#: Room below the words for the legend, in inches.
_LEGEND = 0.75


@styled
def text(
    explanation: Explanation,
    *,
    row: int = 0,
    target: str | int | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw the words of one row, each on the colour of its value: blue pushes the
    output up, orange down.

    Words are those of the tokenizer, else the ids of tokens, without padding and
    special tokens. The strongest word has the full colour. ``.to_html()`` of the figure
    returns HTML that shows the values under the pointer.

    Needs a local explanation whose features are tokens or words.

    Args:
        row: the row's position.
        target: its name or position (None: the first, of two classes the positive one).
        title: the title (None: a default, empty: none).
        ax: axes of matplotlib to draw into.

    Raises:
        InputError: The explanation is global, or has no tokens, or there is no such
            row.

    Examples:
        >>> import torch, permgrad as pg
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Embedding(9, 1), torch.nn.Flatten(), torch.nn.Linear(3, 1)
        ... )
        >>> ids = torch.randint(0, 9, (20, 3))
        >>> figure = pg.explain(
        ...     pg.Model(net, task="regression"), ids, method="shapley", progress=False
        ... ).plot.text(row=1)
        >>> figure.to_html()[:4]
        '<div'
    """
    choices.check_local(explanation, "text")
    row_index = choices.check_row(explanation, row)
    column = choices.pick_output(explanation, target)
    words, values = words_of(explanation, row_index, column)
    default = (
        f"{explanation.method}: "
        f"{', '.join(filter(None, [f'row {row_index}', towards(explanation, column)]))}"
    )
    boxes, lines = _laid_out(words)
    figure_size = (style.WIDTH, lines * _LINE / 72 + _LEGEND)
    unit_text = quantity_of(explanation)
    figure, panels, shades = base.over_input(
        values, figure_size, (title, unit_text), default=default
    )
    panel_axes = panels[0, 0]
    colours = shades.of(np.nan_to_num(values))
    base.bare(panel_axes, xlim=(0, style.WIDTH * 72), ylim=(lines * _LINE, 0))
    letters = style.SIZE_LABEL
    if base.into_axes():  # as wide as the axes are
        panel_axes.set_aspect("equal", anchor="NW")
        letters *= (
            panel_axes.get_window_extent().width / panel_axes.figure.dpi / style.WIDTH
        )
    for (left_edge, line_number, width), word_text, colour in zip(
        boxes, words, colours, strict=True
    ):
        corner = (left_edge - 2.5, line_number * _LINE + 2.5)
        height = _LINE - 5
        box_look = {
            "boxstyle": "round,pad=0,rounding_size=2.5",
            "facecolor": colour,
            "linewidth": 0,
        }
        panel_axes.add_patch(FancyBboxPatch(corner, width + 5, height, **box_look))
        panel_axes.text(
            left_edge,
            (line_number + 0.5) * _LINE,
            word_text,
            va="center_baseline",
            fontsize=letters,
            color=_ink(colour),
        )
    order = choices.largest(np.abs(values), 5)
    figure.description = (
        f"{len(words)} words. Strongest: "
        f"{valued(values_at(words, order), values[order])}."
    )
    figure.html = _html(
        words, values, colours, default if title is None else title, unit_text
    )
    return figure


def _laid_out(words: list[str]) -> tuple[list[tuple[float, int, float]], int]:
    """Return for each word its start, line and width, in points, and the number of
    lines.
    """
    figure = Figure()
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = []
    left_edge = _SPACE / 2
    line_number = 0
    for word_text in words:
        label = figure.text(0, 0, word_text, fontsize=style.SIZE_LABEL)
        width = label.get_window_extent(renderer).width * 72 / figure.dpi
        if left_edge + width > style.WIDTH * 72 - 3 * _SPACE and left_edge > _SPACE:
            left_edge = _SPACE / 2
            line_number = line_number + 1
        boxes.append((left_edge, line_number, width))
        left_edge += width + _SPACE
    return boxes, line_number + 1


def _ink(colour: Any) -> str:
    """Return a colour of letters that is readable on another colour."""
    if np.dot(colour[:3], (0.299, 0.587, 0.114)) > 0.5:
        return style.FIXED_DARK
    return style.FIXED_LIGHT


def _html(
    words: list[str], values: Floats, colours: Any, title: str, quantity: str
) -> str:
    """Return the words as self-contained HTML. Every text is escaped."""
    spans = " ".join(
        f'<span style="background:{to_hex(colour)};color:{_ink(colour)};padding:.1em '
        '.25em;border-radius:.2em" '
        f'title="{escape(number(float(value)))}">{escape(word_text)}</span>'
        for word_text, value, colour in zip(words, values, colours, strict=True)
    )
    largest_value = float(np.nanmax(np.abs(values), initial=0.0))
    end_colours = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        end_colours.append(to_hex(style.colour_map("diverging")(share)))
    shades = f"linear-gradient(90deg,{','.join(end_colours)})"
    bar_html = (
        '<span style="display:inline-block;width:8em;height:.6em;'
        f'background:{shades}"></span>'
    )
    if title:
        heading = (
            '<div style="font-weight:bold;margin-bottom:.4em">'
            f"{escape(clean(title))}</div>"
        )
    else:
        heading = ""
    legend = (
        f"{escape(number(-largest_value))} {bar_html} "
        f"{escape(number(largest_value))} &nbsp; {escape(quantity)}"
    )
    return in_reading_order(
        '<div style="font-family:sans-serif;line-height:2;max-width:50em">'
        f"{heading}<div>{spans}</div>"
        f'<div style="font-size:.8em;margin-top:.4em">{legend}</div></div>'
    )
