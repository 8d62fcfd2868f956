"""An explanation as a notebook shows it, one piece of HTML without scripts, and as a few lines of plain text."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from permgrad.base.errors import counted
from permgrad.report import style
from permgrad.report.plots import _base as base
from permgrad.report.plots._base import Floats
from permgrad.report.plots.image import _on_segments, displayable
from permgrad.report.plots.rows import ends_of, stacks
from permgrad.report.words import clean, labels_of, number, numbers, percent, quantity_of, shorten, value_text

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Bars of a list, images of a row and words of a text: no more are shown, because the piece is part of a notebook.
_BARS, _PICTURES, _WORDS = 15, 3, 300
#: Bytes of one picture and pixels of its longer side; opacity of the strongest colour, which text must be read on.
_BYTES, _SIDE, _OPACITY = 18_000, 448, 0.65

# Text and lines have the colour of the page around, so that the piece fits light and dark notebooks alike; the colours
# of bars lie between. The rules on tables undo those of notebooks.
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
.pg-view figure{margin:0;width:min(224px,50% - 6px)}.pg-view figcaption{font-size:12px;opacity:.72}
.pg-view figure img{width:100%;max-width:none;display:block;margin:0;image-rendering:auto}
.pg-view figure img.pg-coarse{image-rendering:pixelated}
.pg-view .pg-text{line-height:1.9;overflow-wrap:anywhere}.pg-view .pg-text span{padding:2px 1px;border-radius:3px}
.pg-view .pg-scale{display:inline-block;width:150px;height:10px;margin:0 6px;vertical-align:-1px}
@media(max-width:600px){.pg-view .pg-interval{display:block}.pg-view table.pg-bars td.pg-number{width:30%}}
</style>"""
)


class NotebookHtml(str):
    """HTML as text that a notebook shows as what it describes."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)


@dataclass(frozen=True)
class _Line:
    """A row of bars: pieces as (from, to, colour), the number beside them, and the interval, NaN for none."""

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
            base.check_local(explanation, "to_html(row=…)")
        blocks = _global(explanation, output)
    else:
        blocks = _row(explanation, row, base.pick_output(explanation, output))
    return NotebookHtml(Markup('<div class="pg-view">{}{}</div>').format(_STYLE, Markup("").join(blocks)))


# ---- all rows --------------------------------------------------------------------------------------------------------
def _global(explanation: Explanation, output: str | int | None) -> Iterator[Markup]:
    column = explanation.output_index(output)
    clear = _clear(explanation, column)
    yield _paragraph(_headline(explanation, column), "pg-title")
    yield _paragraph(_circumstances(explanation), "pg-quiet")
    for title, places in _lists(explanation):
        if title:
            yield _paragraph(title, "pg-part")
        values = np.asarray(explanation.values[places, column], dtype=np.float64)
        order = places[base.largest(values, _BARS)]
        lines = list(_ranked(explanation, column, order, clear))
        if len(order) < len(places):
            lines.append(_Line(f"{len(places) - len(order)} more not shown", (), ""))
        yield _bars(lines, marks=(0.0,))
    if clear is not None:
        yield _paragraph(
            f"{_clearly_words(len(clear), len(explanation.names))} (bold): the interval lies above 0 also after "
            "the p-values are adjusted for all of them (Holm).",
            "pg-quiet",
        )
    if paths := base.adding_parts(explanation, column):
        keys = (Markup('<i class="pg-key" style="background:{}"></i>{}').format(_colour(n), clean(n)) for n in paths)
        yield Markup('<p class="pg-quiet">Parts of each bar:{}</p>').format(Markup("").join(keys))
    if len(explanation.outputs) > 1:
        yield _other_outputs(explanation, column)


def _lists(explanation: Explanation) -> list[tuple[str, npt.NDArray[np.intp]]]:
    """Return titles and players of the lists of bars: one for each modality where methods, and so units, differ."""
    methods = explanation.meta.get("methods")
    if not isinstance(methods, Mapping):
        return [("", np.arange(len(explanation.names)))]
    modality, units = np.asarray(explanation.modality, dtype=object), explanation.meta.get("units") or {}
    names = dict.fromkeys(explanation.modality)
    words = {name: ", ".join(clean(each[name]) for each in (methods, units) if name in each) for name in names}
    return [(f"{clean(name)} ({words[name]})", np.flatnonzero(modality == name)) for name in names]


def _ranked(
    explanation: Explanation, column: int, order: npt.NDArray[np.intp], clear: Sequence[str] | None
) -> Iterator[_Line]:
    values, paths = explanation.values[:, column], base.adding_parts(explanation, column)
    low, high = (end[:, column] for end in explanation.ci())
    names, texts = labels_of([explanation.names[place] for place in order], 40), numbers(values[order])
    for name, text, place in zip(names, texts, order, strict=True):
        pieces, ends = [], [0.0, 0.0]
        for path, part in (paths or {"": values}).items():
            amount = float(np.nan_to_num(part[place]))
            side = int(amount >= 0)
            pieces.append((ends[side], ends[side] + amount, _colour(path) if path else _signed(amount)))
            ends[side] += amount
        start, end = float(low[place]), float(high[place])
        interval = f"{number(start)} to {number(end)}" if math.isfinite(start + end) else ""
        yield _Line(name, pieces, text, start, end, interval, bool(clear) and explanation.names[place] in (clear or ()))


# ---- one row ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Drawn:
    """An input that is shown as itself, with the positions of its players."""

    name: str
    players: npt.NDArray[np.intp]
    markup: Markup


def _row(explanation: Explanation, row: int | None, column: int) -> Iterator[Markup]:
    place, rows = base.check_row(explanation, 0 if row is None else row), len(explanation.values)
    name = clean(explanation.outputs[column])
    towards = "" if name == "all" else f", towards {name}"
    yield _paragraph(f"{clean(explanation.method)}: row {place} of {rows}{towards}", "pg-title")
    yield _paragraph(_circumstances(explanation), "pg-quiet")
    for title, places in _lists(explanation):
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
    """Yield some players of a row on one scale: inputs as themselves, and steps or bars of the others."""
    place, column = at
    values = np.asarray(explanation.values[place, :, column], dtype=np.float64)
    pictures = [each for each in _pictures(explanation, place, column) if each.is_of(places)]
    heats = [each.heat for each in pictures if each.signed]
    bound = max((float(np.nanmax(np.abs(each), initial=0.0)) for each in (values[places], *heats)), default=0.0)
    seen = [each.drawn(bound or 1.0) for each in pictures[:_PICTURES]]
    texts = [each.drawn(bound or 1.0) for each in _texts(explanation, place, column) if each.is_of(places)]
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
    """Return the steps from the baseline's output (top) to that of the row (bottom); an input drawn is one step."""
    values = np.asarray(explanation.values[at[0], :, at[1]], dtype=np.float64)
    start, final = ends_of(explanation, *at)
    order = others[base.largest(np.abs(values[others]), _BARS)]
    names, steps = _named(explanation, at[0], order), values[order].tolist()
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
    order = others[base.largest(np.abs(values[others]), _BARS)]
    named = zip(_named(explanation, place, order), values[order].tolist(), numbers(values[order]), strict=True)
    lines = [_Line(name, [(0.0, float(np.nan_to_num(value)), _signed(value))], text) for name, value, text in named]
    if hidden := len(others) - len(order):
        lines.append(_Line(f"{hidden} more not shown", (), ""))
    return _bars(lines, marks=(0.0,))


def _named(explanation: Explanation, place: int, order: npt.NDArray[np.intp]) -> list[str]:
    """Return names with the row's values, where there are any."""
    chosen, frame = [explanation.names[player] for player in order], explanation.feature_values
    return [
        words if frame is None or name not in frame.columns else f"{words} = {value_text(frame[name].iloc[place])}"
        for words, name in zip(labels_of(chosen, 40), chosen, strict=True)
    ]


# ---- pictures --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Picture:
    """An image ``(height, width[, 3])`` in 0 … 1 or None, and what is drawn over it: signed values, or a map from 0."""

    name: str
    players: npt.NDArray[np.intp]
    image: Floats | None
    heat: Floats
    signed: bool

    def is_of(self, places: npt.NDArray[np.intp]) -> bool:
        """Whether players among these are drawn; the picture of a hybrid network's row is of no player alone."""
        return not len(self.players) or bool(np.isin(self.players, places).any())

    def drawn(self, bound: float) -> _Drawn:
        """Return the image and the same in grey under the colours of a scale from −``bound`` to ``bound``."""
        heat = np.nan_to_num(self.heat)
        grey = np.full(heat.shape, 0.9) if self.image is None else self.image
        grey = grey.mean(axis=2) if grey.ndim == 3 else grey
        rows, columns = (np.arange(size) * cells // size for size, cells in zip(grey.shape, heat.shape, strict=True))
        heat = heat[rows][:, columns]
        if not self.signed:  # an activation map has no unit in common with anything
            bound = float(heat.max(initial=0.0)) or 1.0
        strength = _OPACITY * np.clip(np.abs(heat) / bound, 0, 1)[..., None]
        colours = np.where(heat[..., None] < 0, _rgb(style.NEGATIVE), _rgb(style.POSITIVE))
        over = (1 - strength) * (0.25 + 0.75 * grey[..., None]) + strength * colours
        caption, name = "attribution over it" if self.signed else "activation map over it", clean(self.name or "image")
        if self.signed and float(np.abs(heat).max(initial=0.0)) < 0.1 * bound:
            caption += ": pale on this scale; explanation.plot.image() shows it on its own"
        figures = [] if self.image is None else [_figure(self.image, name)]
        markup = Markup("").join([*figures, _figure(over, caption if figures else f"{name}: {caption}")])
        return _Drawn(self.name or "image", self.players, markup)


def _pictures(explanation: Explanation, place: int, column: int) -> Iterator[_Picture]:
    """Yield what the explanation says of images: segments' values over them, or activation maps."""
    values = np.asarray(explanation.values[place, :, column], dtype=np.float64)
    modality = np.asarray(explanation.modality, dtype=object)
    for key, array in explanation.maps.items():
        kind, _, name = key.partition(":")
        if kind == "segments":
            heat, players = _on_segments(values, array), np.unique(array[array >= 0])
        elif (kind == "maps" and f"segments:{name}" not in explanation.maps) or key == "cam":
            heat, players = np.asarray(array[place], dtype=np.float64), np.flatnonzero(modality == name)
            heat = heat[min(column, len(heat) - 1)] if heat.ndim == 3 else heat
        else:
            continue
        if kind == "segments" and not len(players):  # an input that is held
            continue
        images = explanation.maps.get(f"images:{name}" if name else "images")
        if heat.ndim == 2 and heat.size and (images is None or np.ndim(images) in (3, 4)):
            image = None if images is None else displayable(np.asarray(images[place], dtype=np.float64))
            yield _Picture(name, players, image, heat, kind == "segments" or float(np.nanmin(heat)) < 0)


def _figure(pixels: Floats, caption: str) -> Markup:
    """Return a picture as data inside the page, coarser where it would be too large."""
    from PIL import Image  # matplotlib brings it

    step = max(1, math.ceil(max(pixels.shape[:2]) / _SIDE))
    while True:
        shrunk = Image.fromarray((255 * np.clip(pixels[::step, ::step], 0, 1)).round().astype(np.uint8))
        for form, options in (("png", {"optimize": True}), ("jpeg", {"quality": 85})):
            shrunk.save(buffer := io.BytesIO(), form, **options)
            if buffer.tell() <= _BYTES:
                coarse = "pg-coarse" if max(pixels.shape[:2]) < 224 else ""
                data = base64.b64encode(buffer.getvalue()).decode("ascii")
                return Markup(
                    '<figure><img class="{}" alt="{}" src="data:image/{};base64,{}">'
                    "<figcaption>{}</figcaption></figure>"
                ).format(coarse, caption, form, data, caption)
        step *= 2


# ---- texts -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Text:
    """An input of tokens, by their players: the words that a row has, and their values."""

    name: str
    players: npt.NDArray[np.intp]
    words: Sequence[str]
    values: Sequence[float]

    def is_of(self, places: npt.NDArray[np.intp]) -> bool:
        """Whether players among these are its words."""
        return bool(np.isin(self.players, places).any())

    def drawn(self, bound: float) -> _Drawn:
        """Return the words on the colours of a scale from −``bound`` to ``bound``."""
        spans = []
        for word, value in zip(self.words[:_WORDS], self.values, strict=False):
            shade = _shade(value, _OPACITY * min(abs(float(np.nan_to_num(value))) / bound, 1.0))
            spans.append(Markup('<span style="background:{}" title="{}">{}</span> ').format(shade, number(value), word))
        if hidden := len(self.words) - len(spans):
            spans.append(Markup("… and {} more words").format(hidden))
        text = Markup('<p class="pg-text"><b>{}</b> {}</p>').format(clean(self.name), Markup("").join(spans))
        return _Drawn(self.name, self.players, text)


def _texts(explanation: Explanation, place: int, column: int) -> Iterator[_Text]:
    """Yield the inputs of tokens with the words of a row; those that a row does not have are missing there."""
    facts = [explanation.meta, *(explanation.meta.get("by_input") or {}).values()]
    modality, frame = np.asarray(explanation.modality, dtype=object), explanation.feature_values
    for tokens in (each.get("tokens") for each in facts if isinstance(each, Mapping)):
        name = tokens.get("input") if isinstance(tokens, Mapping) else None
        players = np.flatnonzero(modality == name)
        if frame is None or not len(players) or any(explanation.names[each] not in frame for each in players):
            continue
        cells = [(each, frame[explanation.names[each]].iloc[place]) for each in players]
        there = [(each, cell) for each, cell in cells if value_text(cell) != "missing"]
        words = [value_text(cell, 40) for _, cell in there]
        yield _Text(str(name), players, words, [float(explanation.values[place, each, column]) for each, _ in there])


def _in_a_row(pieces: Iterable[Markup]) -> Iterator[Markup]:
    if inside := Markup("").join(pieces):
        yield Markup('<div class="pg-pictures">{}</div>').format(inside)


def _scale(bound: float, unit: str) -> Markup:
    """Return the key of the colours of one row."""
    ends = [_shade(value, _OPACITY) for value in (-1.0, 1.0)]
    return Markup(
        '<p class="pg-key-line">Colours: −{0}<i class="pg-scale" style="background:linear-gradient(to right,'
        '{1},transparent,{2})"></i>+{0}, {3}; the same scale for everything of this row.</p>'
    ).format(number(bound), *ends, unit)


# ---- pieces ----------------------------------------------------------------------------------------------------------
def _bars(lines: Sequence[_Line], marks: Sequence[float]) -> Markup:
    """Return a table of names, bars on one axis, and numbers; thin lines through all rows stand at ``marks``."""
    reach = [*marks, *(end for line in lines for piece in line.pieces for end in piece[:2])]
    low, high = base.padded([*reach, *(end for line in lines for end in (line.low, line.high))], 0.01)

    def at(value: float) -> float:
        return round(min(max(100 * (value - low) / (high - low), 0.0), 100.0), 2)

    def line_of(css: str, start: float, end: float, more: str = "") -> Markup:
        left, right = sorted((at(start), at(end)))
        return Markup('<i class="{}" style="left:{}%;width:{}%{}"></i>').format(css, left, round(right - left, 2), more)

    rows = []
    for line in lines:
        inside = [Markup('<i class="pg-mark" style="left:{}%"></i>').format(at(mark)) for mark in marks]
        inside += [line_of("pg-bar", start, end, f";background:{colour}") for start, end, colour in line.pieces]
        inside += [line_of("pg-whisker", line.low, line.high)] * bool(line.interval)
        rows.append(
            Markup(
                '<tr><th scope="row" class="{}">{}</th><td><div class="pg-track">{}</div></td><td class="pg-number">{} '
                '<span class="pg-interval">{}</span></td></tr>'
            ).format("pg-clear" * line.clear, line.name, Markup("").join(inside), line.text, line.interval)
        )
    return Markup('<table class="pg-bars"><tbody>{}</tbody></table>').format(Markup("").join(rows))


def _paragraph(text: str, css: str) -> Markup:
    return Markup('<p class="{}">{}</p>').format(css, text)


def _other_outputs(explanation: Explanation, column: int) -> Markup:
    names = [repr(clean(name)) for place, name in enumerate(explanation.outputs) if place != column]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return _paragraph(
        f"Other outputs: {', '.join(names[:8])}{more}; choose one with explanation.to_html(output=…).", "pg-quiet"
    )


def _colour(path: str) -> str:
    return style.PATH_COLOURS.get(path, style.NEUTRAL)


def _signed(value: float) -> str:
    return style.NEGATIVE if value < 0 else style.POSITIVE


def _shade(value: float, opacity: float) -> str:
    red, green, blue = (round(255 * part) for part in _rgb(_signed(value)))
    return f"rgba({red},{green},{blue},{opacity:.3f})"


def _rgb(colour: str) -> Floats:
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255


# ---- words -----------------------------------------------------------------------------------------------------------
def _headline(explanation: Explanation, column: int) -> str:
    name = explanation.outputs[column]
    about = "" if len(explanation.outputs) == 1 else ", all rows" if name == "all" else f", {clean(name)}"
    units = isinstance(explanation.meta.get("methods"), Mapping)
    return f"{clean(explanation.method)}: {'a method for each input' if units else quantity_of(explanation)}{about}"


def _circumstances(explanation: Explanation) -> str:
    """Say of how many rows, against what, and with which intervals."""
    meta, parts = explanation.meta, []
    rows = meta.get("rows_summarised", meta.get("rows_explained", len(explanation.values)))
    if explanation.scope == "global" and isinstance(meta.get("rows_summarised", meta.get("rows_explained")), int):
        parts.append(f"{rows:,} {'row' if rows == 1 else 'rows'}")
    if meta.get("summary"):
        parts.append({"mean_abs": "mean of absolute values", "mean": "mean"}.get(meta["summary"], "sum"))
    background = meta.get("background")
    if isinstance(meta.get("baseline"), str):
        parts.append(f"baseline: {shorten(meta['baseline'], 80)}")
    elif isinstance(background, Mapping) and "rows" in background:
        parts.append(f"background: {clean(background.get('kind', 'rows'))}, {clean(background['rows'])}")
    if meta.get("sampling") == "conditional":
        parts.append("conditional sampling")
    if explanation.low is not None and np.isfinite(explanation.low).any():
        parts.append(f"{percent(float(meta.get('confidence', 0.95)))} intervals")
    return " · ".join(parts)


def _clear(explanation: Explanation, column: int) -> list[str] | None:
    """Return the names that clearly matter; None without a test, as of means of sizes, which are above 0 anyway."""
    tests = explanation.p_values
    if tests is None or not np.isfinite(tests[:, column]).any() or explanation.meta.get("methods"):
        return None
    return None if explanation.meta.get("summary") == "mean_abs" else explanation.clearly_matter(column)


def _clearly_words(count: int, total: int) -> str:
    return f"{count} of {counted(total, 'feature')} clearly {'matters' if count == 1 else 'matter'}"


def summary(explanation: Explanation, *, output: str | int | None = None, top_n: int = 5) -> str:
    """Return an explanation as a few lines of text, see ``Explanation.summary``."""
    local = explanation.scope == "local"
    column = base.pick_output(explanation, output) if local else explanation.output_index(output)
    shown = base.as_global(explanation)
    clear = _clear(shown, column)
    lines = [_headline(explanation, column), _circumstances(shown)]
    if local:
        lines[0] += f", {counted(len(explanation.values), 'row')}"
    if clear is not None:
        lines.append(f"{_clearly_words(len(clear), len(shown.names))} (p-values adjusted for all of them, below 0.05).")
    for title, places in _lists(shown):
        values = np.asarray(shown.values[places, column], dtype=np.float64)
        order = places[base.largest(values, top_n)]
        lines.append(f"{title}:" if title else "Largest:")
        ranked = list(_ranked(shown, column, order, clear))
        width = max((len(line.name) for line in ranked), default=0)
        for line in ranked:
            interval = f"  ({line.interval})" if line.interval else ""
            doubt = "" if clear is None or line.clear else "  not clearly above 0"
            lines.append(f"  {line.name:{width}}  {line.text}{interval}{doubt}")
        if len(order) < len(places):
            lines.append(f"  {len(places) - len(order)} more")
    return "\n".join(line for line in lines if line)
