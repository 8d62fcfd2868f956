"""An explanation for notebooks, as HTML without scripts."""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape
from matplotlib.colors import to_rgb

from permgrad.attribution.explanation.orders import sizes_of
from permgrad.base import style
from permgrad.base.arrays import Floats
from permgrad.base.errors import listed
from permgrad.base.numerals import number, numbers
from permgrad.base.significance import shares_level
from permgrad.pages import choices
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._inputs import KINDS, Shown, outline, shown_channels, shown_input, shown_inputs, strongest
from permgrad.pages.plots.image import displayable
from permgrad.pages.plots.rows import ends_of, names_with_values, stacks, steps_of
from permgrad.pages.plots.text import texts_of
from permgrad.pages.plots.volume import SIDES, grey_volume, strongest_place
from permgrad.pages.summary import circumstances, clear_names, clearly_words, headline, lists_of, ranked_lines
from permgrad.pages.words import clean, modalities_tested, quantity_of

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Most bars of a list, images of a row and words of a text: the output should stay short in a notebook.
_BARS, _PICTURES, _WORDS = 15, 3, 300
#: Most channels of a series, and intervals of time in which it is drawn.
_CHANNELS, _STRETCHES = 4, 240
#: Bytes of a picture, pixels of its longer side, and opacity of the strongest colour, on which text must be readable.
_BYTES, _SIDE, _OPACITY = 18_000, 448, 0.65

# Text and lines take the colour of the notebook, so that the output fits light and dark ones. The colours of bars are
# in between. The rules on tables undo those of notebooks.
_RULES = resources.files("permgrad.pages") / "templates" / "notebook.css"
_STYLE = Markup("<style>\n{}</style>").format(Markup(_RULES.read_text(encoding="utf-8")))  # noqa: S704 — a file of ours


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


def to_html(explanation: Explanation, *, row: int | None = None, target: str | int | None = None) -> NotebookHtml:
    """Return an explanation as one piece of HTML, see ``Explanation.to_html``."""
    if explanation.scope == "global":
        if row is not None:
            choices.check_local(explanation, "to_html(row=…)")
        blocks = _global(explanation, target)
    else:
        blocks = _row(explanation, row, choices.pick_output(explanation, target))
    return NotebookHtml(Markup('<div class="pg-view">{}{}</div>').format(_STYLE, Markup("").join(blocks)))


# ---- all rows --------------------------------------------------------------------------------------------------------
def _global(explanation: Explanation, target: str | int | None) -> Iterator[Markup]:
    column = explanation.output_index(target)
    clear = clear_names(explanation, column)
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
        split = shares_level(modalities_tested(explanation, column)) and explanation.order.max() == 1
        which = "within each modality and for their number" if split else "for all of them"
        positive = "the importance is above 0, and " if (explanation.order == 1).any() else ""
        yield _paragraph(
            f"{clearly_words(explanation, len(clear))} (bold): {positive}the p-value, "
            f"adjusted {which} (Holm), is below 0.05.",
            "pg-quiet",
        )
    if paths := choices.adding_parts(explanation, column):
        keys = (Markup('<i class="pg-key" style="background:{}"></i>{}').format(_colour(n), clean(n)) for n in paths)
        yield Markup('<p class="pg-quiet">Parts of each bar:{}</p>').format(Markup("").join(keys))
    if len(explanation.outputs) > 1:
        yield _other_outputs(explanation, column)


def _bar_lines(
    explanation: Explanation, column: int, order: npt.NDArray[np.intp], clear: Sequence[str] | None
) -> Iterator[_Line]:
    """Yield the ranked features with the pieces of their bars: one for each path whose parts add up."""
    values, paths = explanation.values[:, column], choices.adding_parts(explanation, column)
    for line in ranked_lines(explanation, column, order, clear):
        pieces, ends = [], [0.0, 0.0]
        for path, part in (paths or {"": values}).items():
            amount = float(np.nan_to_num(part[line.place]))
            side = int(amount >= 0)
            colour = _colour(path) if path else _signed(amount)
            pieces.append((ends[side], ends[side] + amount, colour if clear is None or line.clear else style.NEUTRAL))
            ends[side] += amount
        yield _Line(line.name, pieces, line.text, line.low, line.high, line.interval, line.clear)


# ---- one row ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Drawn:
    """An input that is drawn, with the positions of its players."""

    name: str
    players: npt.NDArray[np.intp]
    markup: Markup


def _row(explanation: Explanation, row: int | None, column: int) -> Iterator[Markup]:
    place, rows = choices.check_row(explanation, 0 if row is None else row), len(explanation.values)
    name = clean(explanation.outputs[column])
    towards = "" if name == "all" else f", towards {name}"
    yield _paragraph(f"{clean(explanation.method)}: row {place} of {rows}{towards}", "pg-title")
    yield _paragraph(circumstances(explanation), "pg-quiet")
    for title, places in lists_of(explanation):
        if title:
            yield _paragraph(title, "pg-part")
        yield from _inputs_and_bars(explanation, (place, column), places, stacked=not title)
    if rows > 1 and row is None:
        yield _paragraph(
            f"explanation.to_html(row=1) shows another of the {rows} rows, explanation.to_global() all of them.",
            "pg-quiet",
        )
    if len(explanation.outputs) > 1:
        yield _other_outputs(explanation, column)


def _inputs_and_bars(
    explanation: Explanation, at: tuple[int, int], places: npt.NDArray[np.intp], *, stacked: bool
) -> Iterator[Markup]:
    """Yield some players of a row on one scale: drawn inputs, and steps or bars of the others."""
    place, column = at
    values = np.asarray(explanation.values[place, :, column], dtype=np.float64)
    # The picture of a hybrid network's row has no player.
    pictures = _pictures(explanation, place, column)
    pictures = [each for each in pictures if not len(each.players) or np.isin(each.players, places).any()]
    heats = [each.heat for each in pictures if each.signed]
    bound = max((float(np.nanmax(np.abs(each), initial=0.0)) for each in (values[places], *heats)), default=0.0)
    seen = [_drawn(each, bound or 1.0) for each in pictures[:_PICTURES]]
    modality = np.asarray(explanation.modality, dtype=object)
    texts = [
        _text(name, np.flatnonzero(modality == name), words, values[at], bound or 1.0)
        for name, (at, words) in texts_of(explanation, place).items()
        if np.isin(np.flatnonzero(modality == name), places).any()
    ]
    if seen:
        yield Markup('<div class="pg-pictures">{}</div>').format(Markup("").join(each.markup for each in seen))
    yield from (each.markup for each in texts)
    drawn = [*seen, *texts]
    shown = np.concatenate([each.players for each in drawn] or [np.arange(0)])
    places_left = places[~np.isin(places, shown)]
    if stacks(explanation) and stacked:
        yield _waterfall(explanation, (place, column), places_left, drawn)
    elif len(places_left):
        yield _signed_bars(explanation, place, values, places_left)
    if heats or texts:
        yield _scale(bound or 1.0, quantity_of(explanation))


def _waterfall(
    explanation: Explanation, at: tuple[int, int], others: npt.NDArray[np.intp], drawn: Sequence[_Drawn]
) -> Markup:
    """Return the steps from the baseline's output (top) to that of the row (bottom). A drawn input is one step."""
    values = np.asarray(explanation.values[at[0], :, at[1]], dtype=np.float64)
    whole = [(f"{clean(each.name)}, all of it", float(np.nansum(values[each.players]))) for each in drawn]
    names, steps = steps_of(explanation, at, others, _BARS, 40, whole)
    start, final = ends_of(explanation, *at)
    ends = start + np.cumsum(np.nan_to_num(steps))
    lines = [_Line("baseline", (), number(start))]
    for name, step, end, text in zip(names, steps, ends.tolist(), numbers(np.asarray(steps)), strict=True):
        moved = float(np.nan_to_num(step))
        lines.append(_Line(name, [(end - moved, end, _signed(moved))], f"+{text}" if step > 0 else text))
    lines.append(_Line("this row", (), number(final), clear=True))
    return _bars(lines, marks=(start, final))


def _signed_bars(explanation: Explanation, place: int, values: Floats, others: npt.NDArray[np.intp]) -> Markup:
    order = others[choices.largest(np.abs(values[others]), _BARS)]
    named = names_with_values(explanation, place, order, 40)
    each = zip(named, values[order].tolist(), numbers(values[order]), strict=True)
    lines = [_Line(name, [(0.0, float(np.nan_to_num(value)), _signed(value))], text) for name, value, text in each]
    if hidden := len(others) - len(order):
        lines.append(_Line(f"{hidden} more not shown", (), ""))
    return _bars(lines, marks=(0.0,))


# ---- pictures --------------------------------------------------------------------------------------------------------
def _pictures(explanation: Explanation, place: int, column: int) -> list[Shown]:
    """Return the explained series, images and volumes: those with segments or activation maps.

    Images of another form, such as those of a hybrid network's channels, are left out.
    """
    shown = [shown_input(explanation, name, place, column) for name in shown_inputs(explanation)]
    return [
        each
        for each in shown
        if each.heat.size and (each.sides != 2 or each.picture is None or each.picture.ndim in (2, 3))
    ]


def _drawn(shown: Shown, bound: float) -> _Drawn:
    """Return an input under the colours of a scale from −``bound`` to ``bound``."""
    if not shown.signed:  # an activation map has no unit
        bound = float(np.nanmax(shown.heat, initial=0.0)) or 1.0
    caption, kind = "attribution over it" if shown.signed else "activation map over it", KINDS[shown.sides]
    if shown.signed and float(np.nanmax(np.abs(shown.heat), initial=0.0)) < 0.1 * bound:
        caption += f" (pale on this scale, see explanation.plot.{kind}())"
    draw = {1: _lines, 2: _image, 3: _slices}[shown.sides]
    return _Drawn(shown.name or "image", shown.players, Markup("").join(draw(shown, bound, caption)))


def _image(shown: Shown, bound: float, caption: str) -> Iterator[Markup]:
    """Yield the image, and the same in grey under the colours."""
    name, image = clean(shown.name or "image"), None if shown.picture is None else displayable(shown.picture)
    if image is None:
        yield _figure(_coloured(np.full(shown.heat.shape, 0.9), shown.heat, bound), f"{name}: {caption}")
        return
    yield _figure(image, name)
    yield _figure(_coloured(image.mean(axis=2) if image.ndim == 3 else image, shown.heat, bound), caption)


def _slices(shown: Shown, bound: float, caption: str) -> Iterator[Markup]:
    """Yield slices through the strongest block along the three sides, in grey under the colours."""
    grey, heat = grey_volume(shown), shown.heat
    grey = np.full(heat.shape, 0.9) if grey is None else grey
    for side, cut in enumerate(strongest_place(heat, grey.shape)):
        values = np.take(heat, cut * heat.shape[side] // grey.shape[side], axis=side)
        words = f"{clean(shown.name)} at {SIDES[side]} {cut}, {caption}"
        yield _figure(_coloured(np.take(grey, cut, axis=side), values, bound), words, "pg-third")


def _coloured(grey: Floats, heat: Floats, bound: float) -> Floats:
    """Return a grey picture in 0 … 1 under the colours of values, whose cells may be coarser."""
    rows, columns = (np.arange(size) * cells // size for size, cells in zip(grey.shape, heat.shape, strict=True))
    heat = np.nan_to_num(heat)[rows][:, columns]
    strength = _OPACITY * np.clip(np.abs(heat) / bound, 0, 1)[..., None]
    colours = np.where(heat[..., None] < 0, to_rgb(style.NEGATIVE), to_rgb(style.POSITIVE))
    return np.asarray((1 - strength) * (0.25 + 0.75 * grey[..., None]) + strength * colours)


def _lines(shown: Shown, bound: float, caption: str) -> Iterator[Markup]:
    """Yield a drawing of each channel: a line in the text colour, on the colours of its windows."""
    count, length = shown.size
    caption = caption.replace("over it", "in colours")
    channels = shown_channels(shown, _CHANNELS)
    for channel in channels:
        heat = strongest(shown.heat[channel if len(shown.heat) > 1 else 0], _STRETCHES)
        edges = np.flatnonzero(np.diff(heat, prepend=np.nan, append=np.nan) != 0) / len(heat) * 1000
        values = heat[np.flatnonzero(np.diff(heat, prepend=np.nan) != 0)].tolist()
        inside = [
            Markup('<rect x="{}" width="{}" height="100" fill="{}"><title>{}</title></rect>').format(
                round(start, 1),
                round(end - start, 1),
                _shade(value, _OPACITY * min(abs(value) / bound, 1)),
                number(value),
            )
            for value, (start, end) in zip(values, itertools.pairwise(edges.tolist()), strict=True)
            if math.isfinite(value) and value != 0
        ]
        words = clean(shown.name) + (f", channel {channel}" if count > 1 else "")
        if shown.picture is not None:
            line = shown.picture[channel]
            low, high = base.padded(line, 0.1)
            places, lowest, highest = outline(line, 2 * _STRETCHES)
            band = highest is not lowest  # of a long series: along the top and back
            across = np.concatenate([places, places[::-1]] if band else [places])
            down = high - np.concatenate([highest, lowest[::-1]] if band else [line])
            x, y = (across + 0.5) / length * 1000, np.nan_to_num(100 * down / (high - low), nan=50.0)
            points = " ".join(f"{one:.0f},{other:.1f}" for one, other in zip(x, y, strict=True))
            inside.append(Markup('<polyline class="{}" points="{}"/>').format("pg-band" * band, points))
            words += f", from {number(float(np.fmin.reduce(line)))} to {number(float(np.fmax.reduce(line)))}"
        if channel == channels[-1]:
            words += f", {length:,} positions, {caption}"
            words += f", {count - len(channels)} more channels not shown" if count > len(channels) else ""
        yield Markup(
            '<figure class="pg-line"><svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" '
            'aria-label="{}">{}</svg><figcaption>{}</figcaption></figure>'
        ).format(words, Markup("").join(inside), words)


def _figure(pixels: Floats, caption: str, css: str = "") -> Markup:
    """Return a picture as data inside the page, coarser if it would be too large."""
    from PIL import Image  # installed with matplotlib

    step = max(1, math.ceil(max(pixels.shape[:2]) / _SIDE))
    while True:
        shrunk = Image.fromarray((255 * np.clip(pixels[::step, ::step], 0, 1)).round().astype(np.uint8))
        for form, options in (("png", {"optimize": True}), ("jpeg", {"quality": 85})):
            shrunk.save(buffer := io.BytesIO(), form, **options)
            if buffer.tell() <= _BYTES:
                coarse = "pg-coarse" if max(pixels.shape[:2]) < 224 else ""
                data = base64.b64encode(buffer.getvalue()).decode("ascii")
                return Markup(
                    '<figure class="{}"><img class="{}" alt="{}" src="data:image/{};base64,{}">'
                    "<figcaption>{}</figcaption></figure>"
                ).format(css, coarse, caption, form, data, caption)
        step *= 2


# ---- texts -----------------------------------------------------------------------------------------------------------
def _text(name: str, players: npt.NDArray[np.intp], words: Sequence[str], values: Floats, bound: float) -> _Drawn:
    """Return the words of an input on the colours of a scale from −``bound`` to ``bound``."""
    spans = []
    for word, value in zip(words[:_WORDS], values.tolist(), strict=False):
        shade = _shade(value, _OPACITY * min(abs(float(np.nan_to_num(value))) / bound, 1.0))
        spans.append(Markup('<span style="background:{}" title="{}">{}</span> ').format(shade, number(value), word))
    if hidden := len(words) - len(spans):
        spans.append(Markup("… and {} more words").format(hidden))
    text = Markup('<p class="pg-text"><b>{}</b> {}</p>').format(clean(name), Markup("").join(spans))
    return _Drawn(name, players, text)


def _scale(bound: float, unit: str) -> Markup:
    """Return the key of the colours of one row."""
    ends = [_shade(value, _OPACITY) for value in (-1.0, 1.0)]
    return Markup(
        '<p class="pg-key-line">Colours: −{0}<i class="pg-scale" style="background:linear-gradient(to right,'
        '{1},transparent,{2})"></i>+{0}, {3}. The scale is the same for all inputs of this row.</p>'
    ).format(number(bound), *ends, unit)


# ---- pieces ----------------------------------------------------------------------------------------------------------
def _bars(lines: Sequence[_Line], marks: Sequence[float]) -> Markup:
    """Return a table of names, bars on one axis, and numbers. Thin lines through all rows are at ``marks``."""
    reach = [*marks, *(end for line in lines for piece in line.pieces for end in piece[:2])]
    low, high = base.padded([*reach, *(end for line in lines for end in (line.low, line.high))], 0.01)

    def at(value: float) -> float:
        return round(min(max(100 * (value - low) / (high - low), 0.0), 100.0), 2)

    def line_of(css: str, start: float, end: float, more: str = "") -> Markup:
        left, right = sorted((at(start), at(end)))
        return Markup('<i class="{}" style="left:{}%;width:{}%{}"></i>').format(css, left, round(right - left, 2), more)

    rows = []
    for line in lines:
        name = escape(line.name).replace("_", Markup("_<wbr>"))
        inside = [Markup('<i class="pg-mark" style="left:{}%"></i>').format(at(mark)) for mark in marks]
        inside += [line_of("pg-bar", start, end, f";background:{colour}") for start, end, colour in line.pieces]
        inside += [line_of("pg-whisker", line.low, line.high)] * bool(line.interval)
        rows.append(
            Markup(
                '<tr><th scope="row" class="{}">{}</th><td><div class="pg-track">{}</div></td><td class="pg-number">{} '
                '<span class="pg-interval">{}</span></td></tr>'
            ).format("pg-clear" * line.clear, name, Markup("").join(inside), line.text, line.interval)
        )
    return Markup('<table class="pg-bars"><tbody>{}</tbody></table>').format(Markup("").join(rows))


def _paragraph(text: str, css: str) -> Markup:
    return Markup('<p class="{}">{}</p>').format(css, text)


def _other_outputs(explanation: Explanation, column: int) -> Markup:
    names = [repr(clean(name)) for place, name in enumerate(explanation.outputs) if place != column]
    return _paragraph(f"Other outputs: {listed(names, 8)}. Choose one with explanation.to_html(target=…).", "pg-quiet")


def _colour(path: str) -> str:
    return style.PATH_COLOURS.get(path, style.NEUTRAL)


def _signed(value: float) -> str:
    return style.NEGATIVE if value < 0 else style.POSITIVE


def _shade(value: float, opacity: float) -> str:
    red, green, blue = (round(255 * part) for part in to_rgb(_signed(value)))
    return f"rgba({red},{green},{blue},{opacity:.3f})"
