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
from permgrad.pages.drawn_inputs import texts_of
from permgrad.pages.part_colours import part_colour
from permgrad.pages.pictures import (
    Drawn,
    drawn_input,
    drawn_text,
    pictures_of,
    scale,
    signed,
)
from permgrad.pages.steps import ends_of, names_with_values, stacks, steps_of
from permgrad.pages.summaries import (
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
_BARS = 15
_PICTURES = 3

# Text and lines take the colour of the notebook, so that the output fits light and dark
# ones. The colours of bars are in between. The rules on tables undo those of notebooks.
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
    """A row of bars: pieces as (from, to, colour), the number after them, and the
    interval (NaN: none).
    """

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
    if not explanation.scope.by_row:
        if row is not None:
            choices.check_local(explanation, "to_html(row=…)")
        blocks = _global(explanation, target)
    else:
        blocks = _row(explanation, row, choices.pick_output(explanation, target))
    view_html = Markup('<div class="pg-view">{}{}</div>').format(
        _STYLE, Markup("").join(blocks)
    )
    return NotebookHtml(in_reading_order(view_html))


# ---- all rows ------------------------------------------------------------------------
def _global(explanation: Explanation, target: str | int | None) -> Iterator[Markup]:
    column = explanation.output_index(target)
    clear = clear_names(explanation, column)
    if unskilled := no_better(explanation):
        yield _paragraph(unskilled, "pg-quiet")
    yield _paragraph(headline(explanation, column), "pg-title")
    yield _paragraph(circumstances(explanation), "pg-quiet")
    for title, player_indices in lists_of(explanation):
        if title:
            yield _paragraph(title, "pg-part")
        order = player_indices[
            choices.largest(sizes_of(explanation, column)[player_indices], _BARS)
        ]
        lines = list(_bar_lines(explanation, column, order, clear))
        if len(order) < len(player_indices):
            lines.append(
                _Line(f"{len(player_indices) - len(order)} more not shown", (), "")
            )
        yield _bars(lines, marks=(0.0,))
    if clear is not None:
        split = (
            shares_level(modalities_tested(explanation, column))
            and explanation.order.max() == 1
        )
        if split:
            which = "within each modality and for their number"
        else:
            which = "for all of them"
        if (explanation.order == 1).any():
            positive = "the importance is above 0, and "
        else:
            positive = ""
        yield _paragraph(
            f"{clearly_words(explanation, len(clear))} (bold): {positive}the p-value, "
            f"adjusted {which} (Holm), is below 0.05. "
            f"{claim_of(explanation).note}".rstrip(),
            "pg-quiet",
        )
    if paths := choices.adding_parts(explanation, column):
        path_keys = (
            Markup('<i class="pg-key" style="background:{}"></i>{}').format(
                _colour(n), clean(n)
            )
            for n in paths
        )
        yield Markup('<p class="pg-quiet">Parts of each bar:{}</p>').format(
            Markup("").join(path_keys)
        )
    if len(explanation.outputs) > 1:
        yield _other_outputs(explanation, column)


def _bar_lines(
    explanation: Explanation,
    column: int,
    order: npt.NDArray[np.intp],
    clear: Sequence[str] | None,
) -> Iterator[_Line]:
    """Yield the ranked features with the pieces of their bars: one for each path whose
    parts add up.
    """
    values = explanation.values[:, column]
    paths = choices.adding_parts(explanation, column)
    for ranked_line in ranked_lines(explanation, column, order, clear):
        pieces = []
        bar_ends = [0.0, 0.0]
        for path_name, path_values in (paths or {"": values}).items():
            amount = float(np.nan_to_num(path_values[ranked_line.place]))
            side_index = int(amount >= 0)
            if path_name:
                colour = _colour(path_name)
            else:
                colour = signed(amount)
            pieces.append(
                (
                    bar_ends[side_index],
                    bar_ends[side_index] + amount,
                    colour if clear is None or ranked_line.clear else style.NEUTRAL,
                )
            )
            bar_ends[side_index] += amount
        yield _Line(
            ranked_line.name,
            pieces,
            ranked_line.text,
            ranked_line.low,
            ranked_line.high,
            ranked_line.interval,
            ranked_line.clear,
        )


# ---- one row -------------------------------------------------------------------------
def _row(explanation: Explanation, row: int | None, column: int) -> Iterator[Markup]:
    row_index = choices.check_row(explanation, 0 if row is None else row)
    row_count = len(explanation.values)
    output_name = clean(explanation.outputs[column])
    if output_name == "all":
        towards = ""
    else:
        towards = f", towards {output_name}"
    yield _paragraph(
        f"{clean(explanation.method)}: row {row_index} of {row_count}{towards}",
        "pg-title",
    )
    yield _paragraph(circumstances(explanation), "pg-quiet")
    for title, player_indices in lists_of(explanation):
        if title:
            yield _paragraph(title, "pg-part")
        yield from _inputs_and_bars(
            explanation, (row_index, column), player_indices, stacked=not title
        )
    if row_count > 1 and row is None:
        yield _paragraph(
            f"explanation.to_html(row=1) shows another of the {row_count} rows, "
            "explanation.to_global() all of them.",
            "pg-quiet",
        )
    if len(explanation.outputs) > 1:
        yield _other_outputs(explanation, column)


def _inputs_and_bars(
    explanation: Explanation,
    selection: tuple[int, int],
    player_indices: npt.NDArray[np.intp],
    *,
    stacked: bool,
) -> Iterator[Markup]:
    """Yield some players of a row on one scale: drawn inputs, and steps or bars of the
    others.
    """
    row_index, column = selection
    values = np.asarray(explanation.values[row_index, :, column], dtype=np.float64)
    # The picture of a hybrid network's row has no player.
    pictures = pictures_of(explanation, row_index, column)
    pictures = [
        picture
        for picture in pictures
        if not len(picture.players) or np.isin(picture.players, player_indices).any()
    ]
    heats = [picture.heat for picture in pictures if picture.signed]
    bound = _bound([values[player_indices], *heats])
    drawn_pictures = []
    for picture in pictures[:_PICTURES]:
        drawn_pictures.append(drawn_input(picture, bound or 1.0))
    modality = np.asarray(explanation.modality, dtype=object)
    texts = []
    for input_name, (token_players, words) in texts_of(explanation, row_index).items():
        if np.isin(np.flatnonzero(modality == input_name), player_indices).any():
            texts.append(
                drawn_text(
                    input_name,
                    np.flatnonzero(modality == input_name),
                    words,
                    values[token_players],
                    bound or 1.0,
                )
            )
    if drawn_pictures:
        yield Markup('<div class="pg-pictures">{}</div>').format(
            Markup("").join(drawn_picture.markup for drawn_picture in drawn_pictures)
        )
    yield from (drawn_words.markup for drawn_words in texts)
    drawn = [*drawn_pictures, *texts]
    shown = np.concatenate(
        [drawn_view.players for drawn_view in drawn] or [np.arange(0)]
    )
    places_left = player_indices[~np.isin(player_indices, shown)]
    if stacks(explanation) and stacked:
        yield _waterfall(explanation, (row_index, column), places_left, drawn)
    elif len(places_left):
        yield _signed_bars(explanation, row_index, values, places_left)
    if heats or texts:
        yield scale(
            bound or 1.0,
            quantity_of(explanation),
            " The scale is the same for all inputs of this row.",
        )


def _bound(numbers: Sequence[Floats]) -> float:
    """Return the largest size of some numbers."""
    return max(
        (
            float(np.nanmax(np.abs(number_array), initial=0.0))
            for number_array in numbers
        ),
        default=0.0,
    )


def _waterfall(
    explanation: Explanation,
    selection: tuple[int, int],
    other_players: npt.NDArray[np.intp],
    drawn: Sequence[Drawn],
) -> Markup:
    """Return the steps from the baseline's output (top) to that of the row (bottom).

    A drawn input is one step.
    """
    values = np.asarray(
        explanation.values[selection[0], :, selection[1]], dtype=np.float64
    )
    drawn_steps = []
    for drawn_view in drawn:
        drawn_steps.append(
            (
                f"{clean(drawn_view.name)}, all of it",
                float(np.nansum(values[drawn_view.players])),
            )
        )
    names, steps = steps_of(
        explanation, selection, other_players, _BARS, 40, drawn_steps
    )
    start, final = ends_of(explanation, *selection)
    step_ends = start + np.cumsum(np.nan_to_num(steps))
    lines = [_Line("baseline", (), number(start))]
    for step_name, step_size, step_end, step_text in zip(
        names, steps, step_ends.tolist(), numbers(np.asarray(steps)), strict=True
    ):
        moved = float(np.nan_to_num(step_size))
        lines.append(
            _Line(
                step_name,
                [(step_end - moved, step_end, signed(moved))],
                f"+{step_text}" if step_size > 0 else step_text,
            )
        )
    lines.append(_Line("this row", (), number(final), clear=True))
    return _bars(lines, marks=(start, final))


def _signed_bars(
    explanation: Explanation,
    row_index: int,
    values: Floats,
    other_players: npt.NDArray[np.intp],
) -> Markup:
    order = other_players[choices.largest(np.abs(values[other_players]), _BARS)]
    named = names_with_values(explanation, row_index, order, 40)
    bar_entries = zip(
        named, values[order].tolist(), numbers(values[order]), strict=True
    )
    lines = []
    for bar_name, value, bar_text in bar_entries:
        lines.append(
            _Line(
                bar_name, [(0.0, float(np.nan_to_num(value)), signed(value))], bar_text
            )
        )
    if hidden := len(other_players) - len(order):
        lines.append(_Line(f"{hidden} more not shown", (), ""))
    return _bars(lines, marks=(0.0,))


# ---- pieces --------------------------------------------------------------------------
def _bars(lines: Sequence[_Line], marks: Sequence[float]) -> Markup:
    """Return a table of names, bars on one axis, and numbers.

    Thin lines through all rows are at ``marks``.
    """
    reach = [
        *marks,
        *(
            piece_end
            for bar_line in lines
            for piece in bar_line.pieces
            for piece_end in piece[:2]
        ),
    ]
    lower_limit, upper_limit = padded(
        [
            *reach,
            *(
                line_end
                for limit_line in lines
                for line_end in (limit_line.low, limit_line.high)
            ),
        ],
        0.01,
    )

    def at(value: float) -> float:
        return round(
            min(
                max(100 * (value - lower_limit) / (upper_limit - lower_limit), 0.0),
                100.0,
            ),
            2,
        )

    def line_of(css: str, start: float, end: float, more: str = "") -> Markup:
        left_percent, right = sorted((at(start), at(end)))
        return Markup('<i class="{}" style="left:{}%;width:{}%{}"></i>').format(
            css, left_percent, round(right - left_percent, 2), more
        )

    table_rows = []
    for table_line in lines:
        name_markup = escape(table_line.name).replace("_", Markup("_<wbr>"))
        inside = []
        for mark_value in marks:
            inside.append(
                Markup('<i class="pg-mark" style="left:{}%"></i>').format(
                    at(mark_value)
                )
            )
        inside += [
            line_of("pg-bar", start, piece_end, f";background:{colour}")
            for start, piece_end, colour in table_line.pieces
        ]
        inside += [line_of("pg-whisker", table_line.low, table_line.high)] * bool(
            table_line.interval
        )
        table_rows.append(
            Markup(
                '<tr><th scope="row" class="{}">{}</th><td><div '
                'class="pg-track">{}</div></td><td class="pg-number">{} '
                '<span class="pg-interval">{}</span></td></tr>'
            ).format(
                "pg-clear" * table_line.clear,
                name_markup,
                Markup("").join(inside),
                table_line.text,
                table_line.interval,
            )
        )
    return Markup('<table class="pg-bars"><tbody>{}</tbody></table>').format(
        Markup("").join(table_rows)
    )


def _paragraph(text: str, css: str) -> Markup:
    return Markup('<p class="{}">{}</p>').format(css, text)


def _other_outputs(explanation: Explanation, column: int) -> Markup:
    names = []
    for output_index, output_name in enumerate(explanation.outputs):
        if output_index != column:
            names.append(repr(clean(output_name)))
    return _paragraph(
        f"Other outputs: {listed(names, 8)}. Choose one with "
        "explanation.to_html(target=…).",
        "pg-quiet",
    )


def _colour(path: str) -> str:
    return style.TOKENS[part_colour(path, "neutral")][0]
