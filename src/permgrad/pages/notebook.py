"""An explanation for notebooks, as HTML without scripts."""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape
from matplotlib.colors import to_rgb

from permgrad.attribution.explanation.orders import sizes_of
from permgrad.base.arrays import Floats
from permgrad.base.errors import listed
from permgrad.base.numerals import number, numbers
from permgrad.base.significance import shares_level
from permgrad.pages import choices, style
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._inputs import KINDS, Shown, outline, shown_channels, shown_input, shown_inputs, strongest
from permgrad.pages.plots.image import displayable
from permgrad.pages.plots.rows import ends_of, names_with_values, stacks
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
_STYLE = Markup(
    """<style>
.pg-view{max-width:56rem;font:14px/1.45 system-ui,-apple-system,"Segoe UI",sans-serif;color:inherit;text-align:left}
.pg-view p{margin:.35em 0}.pg-view .pg-quiet{opacity:.72;font-size:12.5px}
.pg-view .pg-title{font-weight:600;font-size:15px}.pg-view .pg-part{font-weight:600;margin-top:1em}
.pg-view table.pg-bars{border-collapse:collapse;border:0;width:100%;margin:.4em 0;table-layout:fixed;font-size:13px}
.pg-view table.pg-bars tr:nth-child(n){background:none;border:0;text-align:left}
.pg-view table.pg-bars :is(td,th){border:0;padding:2px 6px 2px 0;text-align:left;vertical-align:middle;font-weight:400;
max-width:none;white-space:normal;overflow-wrap:anywhere;background:none}
.pg-view table.pg-bars th{width:32%}.pg-view table.pg-bars th.pg-clear{font-weight:650}
.pg-view table.pg-bars td.pg-number{width:27%;padding-left:6px;font-variant-numeric:tabular-nums}
.pg-view .pg-interval{opacity:.72;font-size:12px;white-space:nowrap}
.pg-view .pg-track{position:relative;height:16px}.pg-view .pg-track i{position:absolute;display:block}
.pg-view .pg-bar{top:2px;height:12px}.pg-view .pg-whisker{top:7.5px;height:1px;background:currentColor}
.pg-view .pg-whisker::before,.pg-view .pg-whisker::after{content:"";position:absolute;top:-3px;height:7px;width:1px;
background:currentColor}.pg-view .pg-whisker::after{right:0}
.pg-view .pg-mark{top:-3px;bottom:-3px;width:1px;background:currentColor;opacity:.4}
.pg-view .pg-key{display:inline-block;width:11px;height:11px;margin:0 4px 0 10px;vertical-align:-1px}
.pg-view .pg-key-line{font-size:12.5px}.pg-view .pg-pictures{display:flex;flex-wrap:wrap;gap:12px;margin:.4em 0}
.pg-view figure{margin:0;width:min(224px,50% - 6px)}
.pg-view figure.pg-third{width:min(224px,33.3% - 8px)}.pg-view figure.pg-line{width:100%}
.pg-view .pg-line svg{display:block;width:100%;height:72px}
.pg-view .pg-line polyline{fill:none;stroke:currentColor;stroke-width:1.1;vector-effect:non-scaling-stroke}
.pg-view polyline.pg-band{fill:currentColor;stroke-width:.4}.pg-view figcaption{font-size:12px;opacity:.72}
.pg-view figure img{width:100%;max-width:none;display:block;margin:0;image-rendering:auto}
.pg-view figure img.pg-coarse{image-rendering:pixelated}
.pg-view .pg-text{line-height:1.9;overflow-wrap:anywhere}.pg-view .pg-text span{padding:2px 1px;border-radius:3px}
.pg-view .pg-scale{display:inline-block;width:150px;height:10px;margin:0 6px;vertical-align:-1px}
@media(max-width:600px){.pg-view .pg-interval{display:block}.pg-view table.pg-bars td.pg-number{width:30%}}
</style>"""
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


def to_html(explanation: Explanation, *, row: int | None = None, output: str | int | None = None) -> NotebookHtml:
    """Return an explanation as one piece of HTML, see ``Explanation.to_html``."""
    if explanation.scope == "global":
        if row is not None:
            choices.check_local(explanation, "to_html(row=…)")
        blocks = _global(explanation, output)
    else:
        blocks = _row(explanation, row, choices.pick_output(explanation, output))
    return NotebookHtml(Markup('<div class="pg-view">{}{}</div>').format(_STYLE, Markup("").join(blocks)))


# ---- all rows --------------------------------------------------------------------------------------------------------
def _global(explanation: Explanation, output: str | int | None) -> Iterator[Markup]:
    column = explanation.output_index(output)
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
            colour = _signed(amount) if clear is None or line.clear else style.NEUTRAL
            pieces.append((ends[side], ends[side] + amount, _colour(path) if path else colour))
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
    pictures = [each for each in _pictures(explanation, place, column) if _is_of(each.players, places)]
    heats = [each.heat for each in pictures if each.signed]
    bound = max((float(np.nanmax(np.abs(each), initial=0.0)) for each in (values[places], *heats)), default=0.0)
    seen = [_drawn(each, bound or 1.0) for each in pictures[:_PICTURES]]
    modality = np.asarray(explanation.modality, dtype=object)
    texts = [
        _text(name, np.flatnonzero(modality == name), words, values[at], bound or 1.0)
        for name, (at, words) in texts_of(explanation, place).items()
        if np.isin(np.flatnonzero(modality == name), places).any()
    ]
    yield from _in_a_row(each.markup for each in seen)
    yield from (each.markup for each in texts)
    drawn = [*seen, *texts]
    shown = np.concatenate([each.players for each in drawn] or [np.arange(0)])
    others = places[~np.isin(places, shown)]
    if stacks(explanation) and stacked:
        yield _waterfall(explanation, (place, column), others, drawn)
    elif len(others):
        yield _signed_bars(explanation, place, values, others)
    if heats or texts:
        yield _scale(bound or 1.0, quantity_of(explanation))


def _waterfall(
    explanation: Explanation, at: tuple[int, int], others: npt.NDArray[np.intp], drawn: Sequence[_Drawn]
) -> Markup:
    """Return the steps from the baseline's output (top) to that of the row (bottom). A drawn input is one step."""
    values = np.asarray(explanation.values[at[0], :, at[1]], dtype=np.float64)
    start, final = ends_of(explanation, *at)
    order = others[choices.largest(np.abs(values[others]), _BARS)]
    names, steps = names_with_values(explanation, at[0], order, 40), values[order].tolist()
    if hidden := len(others) - len(order):
        names.append(f"{hidden} other {'feature' if hidden == 1 else 'features'}")
        steps.append(float(np.nansum(values[others])) - float(np.nansum(values[order])))
    for each in drawn:
        names.append(f"{clean(each.name)}, all of it")
        steps.append(float(np.nansum(values[each.players])))
    gap = final - start - float(np.nansum(steps))
    if abs(gap) > 0.005 * max(abs(final - start), float(np.nanmax(np.abs(values), initial=0.0)), 1e-12):
        names.append("not attributed")
        steps.append(gap)
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


def _is_of(players: npt.NDArray[np.intp], places: npt.NDArray[np.intp]) -> bool:
    """Whether some of the players are among these. The picture of a hybrid network's row has no player."""
    return not len(players) or bool(np.isin(players, places).any())


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


def _in_a_row(pieces: Iterable[Markup]) -> Iterator[Markup]:
    if inside := Markup("").join(pieces):
        yield Markup('<div class="pg-pictures">{}</div>').format(inside)


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
    return _paragraph(f"Other outputs: {listed(names, 8)}. Choose one with explanation.to_html(output=…).", "pg-quiet")


def _colour(path: str) -> str:
    return style.PATH_COLOURS.get(path, style.NEUTRAL)


def _signed(value: float) -> str:
    return style.NEGATIVE if value < 0 else style.POSITIVE


def _shade(value: float, opacity: float) -> str:
    red, green, blue = (round(255 * part) for part in to_rgb(_signed(value)))
    return f"rgba({red},{green},{blue},{opacity:.3f})"
