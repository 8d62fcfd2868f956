"""An explanation for notebooks, as HTML without scripts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

from permgrad.attribution.explanation.orders import sizes_of
from permgrad.base import style
from permgrad.base.arrays import Floats
from permgrad.base.errors import in_reading_order, listed
from permgrad.base.numerals import number, numbers
from permgrad.base.significance import shares_level
from permgrad.pages import choices
from permgrad.pages.charts.chart import padded
from permgrad.pages.claims import claim_of
from permgrad.pages.inputs import texts_of
from permgrad.pages.pictures import (
    Drawn,
    drawn_input,
    drawn_text,
    pictures_of,
    scale,
    signed,
)
from permgrad.pages.steps import ends_of, names_with_values, stacks, steps_of
from permgrad.pages.summary import (
    circumstances,
    clear_names,
    clearly_words,
    headline,
    lists_of,
    no_better,
    ranked_lines,
)
from permgrad.pages.words import clean, modalities_tested, quantity_of

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Most bars of a list, and images of a row: the output should stay short in a notebook.
_BARS, _PICTURES = 15, 3

# Text and lines take the colour of the notebook, so that the output fits light and dark ones. The colours of bars are
# in between. The rules on tables undo those of notebooks.
_RULES = resources.files("permgrad.pages") / "templates" / "notebook.css"
_STYLE = Markup("<style>\n{}</style>").format(
    Markup(_RULES.read_text(encoding="utf-8"))  # noqa: S704 — a file of ours
)


class NotebookHtml(str):
    """HTML text that a notebook renders."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)


@dataclass(frozen=True)
class _Line:
    """A row of bars: pieces as (from, to, colour), the number after them, and the interval (NaN: none)."""

    name: str
    pieces: Sequence[tuple[float, float, str]]
    text: str
    low: float = math.nan
    high: float = math.nan
    interval: str = ""
    clear: bool = False


def to_html(
    explanation: Explanation, *, row: int | None = None, target: str | int | None = None
) -> NotebookHtml:
    """Return an explanation as one piece of HTML, see ``Explanation.to_html``."""
    if explanation.scope == "global":
        if row is not None:
            choices.check_local(explanation, "to_html(row=…)")
        blocks = _global(explanation, target)
    else:
        blocks = _row(explanation, row, choices.pick_output(explanation, target))
    view = Markup('<div class="pg-view">{}{}</div>').format(
        _STYLE, Markup("").join(blocks)
    )
    return NotebookHtml(in_reading_order(view))


# ---- all rows --------------------------------------------------------------------------------------------------------
def _global(explanation: Explanation, target: str | int | None) -> Iterator[Markup]:
    column = explanation.output_index(target)
    clear = clear_names(explanation, column)
    if unskilled := no_better(explanation):
        yield _paragraph(unskilled, "pg-quiet")
    yield _paragraph(headline(explanation, column), "pg-title")
    yield _paragraph(circumstances(explanation), "pg-quiet")
    for title, places in lists_of(explanation):
        if title:
            yield _paragraph(title, "pg-part")
        order = places[choices.largest(sizes_of(explanation, column)[places], _BARS)]
        lines = list(_bar_lines(explanation, column, order, clear))
        if len(order) < len(places):
            lines.append(_Line(f"{len(places) - len(order)} more not shown", (), ""))
        yield _bars(lines, marks=(0.0,))
    if clear is not None:
        split = (
            shares_level(modalities_tested(explanation, column))
            and explanation.order.max() == 1
        )
        which = (
            "within each modality and for their number" if split else "for all of them"
        )
        positive = (
            "the importance is above 0, and " if (explanation.order == 1).any() else ""
        )
        yield _paragraph(
            f"{clearly_words(explanation, len(clear))} (bold): {positive}the p-value, "
            f"adjusted {which} (Holm), is below 0.05. {claim_of(explanation).note}".rstrip(),
            "pg-quiet",
        )
    if paths := choices.adding_parts(explanation, column):
        keys = (
            Markup('<i class="pg-key" style="background:{}"></i>{}').format(
                _colour(n), clean(n)
            )
            for n in paths
        )
        yield Markup('<p class="pg-quiet">Parts of each bar:{}</p>').format(
            Markup("").join(keys)
        )
    if len(explanation.outputs) > 1:
        yield _other_outputs(explanation, column)


def _bar_lines(
    explanation: Explanation,
    column: int,
    order: npt.NDArray[np.intp],
    clear: Sequence[str] | None,
) -> Iterator[_Line]:
    """Yield the ranked features with the pieces of their bars: one for each path whose parts add up."""
    values, paths = (
        explanation.values[:, column],
        choices.adding_parts(explanation, column),
    )
    for line in ranked_lines(explanation, column, order, clear):
        pieces, ends = [], [0.0, 0.0]
        for path, part in (paths or {"": values}).items():
            amount = float(np.nan_to_num(part[line.place]))
            side = int(amount >= 0)
            colour = _colour(path) if path else signed(amount)
            pieces.append(
                (
                    ends[side],
                    ends[side] + amount,
                    colour if clear is None or line.clear else style.NEUTRAL,
                )
            )
            ends[side] += amount
        yield _Line(
            line.name, pieces, line.text, line.low, line.high, line.interval, line.clear
        )


# ---- one row ---------------------------------------------------------------------------------------------------------
def _row(explanation: Explanation, row: int | None, column: int) -> Iterator[Markup]:
    place, rows = (
        choices.check_row(explanation, 0 if row is None else row),
        len(explanation.values),
    )
    name = clean(explanation.outputs[column])
    towards = "" if name == "all" else f", towards {name}"
    yield _paragraph(
        f"{clean(explanation.method)}: row {place} of {rows}{towards}", "pg-title"
    )
    yield _paragraph(circumstances(explanation), "pg-quiet")
    for title, places in lists_of(explanation):
        if title:
            yield _paragraph(title, "pg-part")
        yield from _inputs_and_bars(
            explanation, (place, column), places, stacked=not title
        )
    if rows > 1 and row is None:
        yield _paragraph(
            f"explanation.to_html(row=1) shows another of the {rows} rows, explanation.to_global() all of them.",
            "pg-quiet",
        )
    if len(explanation.outputs) > 1:
        yield _other_outputs(explanation, column)


def _inputs_and_bars(
    explanation: Explanation,
    at: tuple[int, int],
    places: npt.NDArray[np.intp],
    *,
    stacked: bool,
) -> Iterator[Markup]:
    """Yield some players of a row on one scale: drawn inputs, and steps or bars of the others."""
    place, column = at
    values = np.asarray(explanation.values[place, :, column], dtype=np.float64)
    # The picture of a hybrid network's row has no player.
    pictures = pictures_of(explanation, place, column)
    pictures = [
        each
        for each in pictures
        if not len(each.players) or np.isin(each.players, places).any()
    ]
    heats = [each.heat for each in pictures if each.signed]
    bound = _bound([values[places], *heats])
    seen = [drawn_input(each, bound or 1.0) for each in pictures[:_PICTURES]]
    modality = np.asarray(explanation.modality, dtype=object)
    texts = [
        drawn_text(
            name, np.flatnonzero(modality == name), words, values[at], bound or 1.0
        )
        for name, (at, words) in texts_of(explanation, place).items()
        if np.isin(np.flatnonzero(modality == name), places).any()
    ]
    if seen:
        yield Markup('<div class="pg-pictures">{}</div>').format(
            Markup("").join(each.markup for each in seen)
        )
    yield from (each.markup for each in texts)
    drawn = [*seen, *texts]
    shown = np.concatenate([each.players for each in drawn] or [np.arange(0)])
    places_left = places[~np.isin(places, shown)]
    if stacks(explanation) and stacked:
        yield _waterfall(explanation, (place, column), places_left, drawn)
    elif len(places_left):
        yield _signed_bars(explanation, place, values, places_left)
    if heats or texts:
        yield scale(
            bound or 1.0,
            quantity_of(explanation),
            " The scale is the same for all inputs of this row.",
        )


def _bound(numbers: Sequence[Floats]) -> float:
    """Return the largest size of some numbers."""
    return max(
        (float(np.nanmax(np.abs(each), initial=0.0)) for each in numbers),
        default=0.0,
    )


def _waterfall(
    explanation: Explanation,
    at: tuple[int, int],
    others: npt.NDArray[np.intp],
    drawn: Sequence[Drawn],
) -> Markup:
    """Return the steps from the baseline's output (top) to that of the row (bottom). A drawn input is one step."""
    values = np.asarray(explanation.values[at[0], :, at[1]], dtype=np.float64)
    whole = [
        (f"{clean(each.name)}, all of it", float(np.nansum(values[each.players])))
        for each in drawn
    ]
    names, steps = steps_of(explanation, at, others, _BARS, 40, whole)
    start, final = ends_of(explanation, *at)
    ends = start + np.cumsum(np.nan_to_num(steps))
    lines = [_Line("baseline", (), number(start))]
    for name, step, end, text in zip(
        names, steps, ends.tolist(), numbers(np.asarray(steps)), strict=True
    ):
        moved = float(np.nan_to_num(step))
        lines.append(
            _Line(
                name,
                [(end - moved, end, signed(moved))],
                f"+{text}" if step > 0 else text,
            )
        )
    lines.append(_Line("this row", (), number(final), clear=True))
    return _bars(lines, marks=(start, final))


def _signed_bars(
    explanation: Explanation, place: int, values: Floats, others: npt.NDArray[np.intp]
) -> Markup:
    order = others[choices.largest(np.abs(values[others]), _BARS)]
    named = names_with_values(explanation, place, order, 40)
    each = zip(named, values[order].tolist(), numbers(values[order]), strict=True)
    lines = [
        _Line(name, [(0.0, float(np.nan_to_num(value)), signed(value))], text)
        for name, value, text in each
    ]
    if hidden := len(others) - len(order):
        lines.append(_Line(f"{hidden} more not shown", (), ""))
    return _bars(lines, marks=(0.0,))


# ---- pieces ----------------------------------------------------------------------------------------------------------
def _bars(lines: Sequence[_Line], marks: Sequence[float]) -> Markup:
    """Return a table of names, bars on one axis, and numbers. Thin lines through all rows are at ``marks``."""
    reach = [
        *marks,
        *(end for line in lines for piece in line.pieces for end in piece[:2]),
    ]
    low, high = padded(
        [*reach, *(end for line in lines for end in (line.low, line.high))], 0.01
    )

    def at(value: float) -> float:
        return round(min(max(100 * (value - low) / (high - low), 0.0), 100.0), 2)

    def line_of(css: str, start: float, end: float, more: str = "") -> Markup:
        left, right = sorted((at(start), at(end)))
        return Markup('<i class="{}" style="left:{}%;width:{}%{}"></i>').format(
            css, left, round(right - left, 2), more
        )

    rows = []
    for line in lines:
        name = escape(line.name).replace("_", Markup("_<wbr>"))
        inside = [
            Markup('<i class="pg-mark" style="left:{}%"></i>').format(at(mark))
            for mark in marks
        ]
        inside += [
            line_of("pg-bar", start, end, f";background:{colour}")
            for start, end, colour in line.pieces
        ]
        inside += [line_of("pg-whisker", line.low, line.high)] * bool(line.interval)
        rows.append(
            Markup(
                '<tr><th scope="row" class="{}">{}</th><td><div class="pg-track">{}</div></td><td class="pg-number">{} '
                '<span class="pg-interval">{}</span></td></tr>'
            ).format(
                "pg-clear" * line.clear,
                name,
                Markup("").join(inside),
                line.text,
                line.interval,
            )
        )
    return Markup('<table class="pg-bars"><tbody>{}</tbody></table>').format(
        Markup("").join(rows)
    )


def _paragraph(text: str, css: str) -> Markup:
    return Markup('<p class="{}">{}</p>').format(css, text)


def _other_outputs(explanation: Explanation, column: int) -> Markup:
    names = [
        repr(clean(name))
        for place, name in enumerate(explanation.outputs)
        if place != column
    ]
    return _paragraph(
        f"Other outputs: {listed(names, 8)}. Choose one with explanation.to_html(target=…).",
        "pg-quiet",
    )


def _colour(path: str) -> str:
    return style.PATH_COLOURS.get(path, style.NEUTRAL)
