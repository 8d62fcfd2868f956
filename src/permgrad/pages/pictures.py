"""Inputs of rows as HTML without scripts: series, images, volumes and texts, each on
the colours of its values.
"""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from permgrad.base import style
from permgrad.base.arrays import Floats
from permgrad.base.numerals import number
from permgrad.pages.charts.chart import padded
from permgrad.pages.drawn_inputs import (
    KINDS,
    SIDES,
    Shown,
    displayable,
    grey_volume,
    outline,
    shown_channels,
    shown_input,
    shown_inputs,
    strongest,
    strongest_place,
    texts_of,
)
from permgrad.pages.words import clean, quantity_of

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Most channels of a series, intervals of time in which it is drawn, and words of a
#: text.
_CHANNELS = 4
_STRETCHES = 240
_WORDS = 300
#: Bytes of a picture, pixels of its longer side, and opacity of the strongest colour,
#: on which text must be readable.
_BYTES = 18_000
_SIDE = 448
_OPACITY = 0.65


@dataclass(frozen=True)
class Drawn:
    """An input that is drawn, with the positions of its players."""

    name: str
    players: npt.NDArray[np.intp]
    markup: Markup


# ---- pictures ------------------------------------------------------------------------
def pictures_of(explanation: Explanation, row_index: int, column: int) -> list[Shown]:
    """Return the explained series, images and volumes: those with segments or
    activation maps.

    Images of another form, such as those of a hybrid network's channels, are left out.
    """
    shown = []
    for input_name in shown_inputs(explanation):
        shown.append(shown_input(explanation, input_name, row_index, column))
    return [
        shown_picture
        for shown_picture in shown
        if shown_picture.heat.size
        and (
            shown_picture.sides != 2
            or shown_picture.picture is None
            or shown_picture.picture.ndim in (2, 3)
        )
    ]


def drawn_input(shown: Shown, bound: float) -> Drawn:
    """Return an input under the colours of a scale from −``bound`` to ``bound``."""
    if not shown.signed:  # an activation map has no unit
        bound = float(np.nanmax(shown.heat, initial=0.0)) or 1.0
    if shown.signed:
        caption = "attribution over it"
    else:
        caption = "activation map over it"
    plot_kind = KINDS[shown.sides]
    if shown.signed and float(np.nanmax(np.abs(shown.heat), initial=0.0)) < 0.1 * bound:
        caption += f" (pale on this scale, see explanation.plot.{plot_kind}())"
    draw_input = {1: _lines, 2: _image, 3: _slices}[shown.sides]
    return Drawn(
        shown.name or "image",
        shown.players,
        Markup("").join(draw_input(shown, bound, caption)),
    )


def _image(shown: Shown, bound: float, caption: str) -> Iterator[Markup]:
    """Yield the image, and the same in grey under the colours."""
    input_name = clean(shown.name or "image")
    if shown.picture is None:
        image = None
    else:
        image = displayable(shown.picture)
    if image is None:
        yield _figure(
            _coloured(np.full(shown.heat.shape, 0.9), shown.heat, bound),
            f"{input_name}: {caption}",
        )
        return
    yield _figure(image, input_name)
    yield _figure(
        _coloured(image.mean(axis=2) if image.ndim == 3 else image, shown.heat, bound),
        caption,
    )


def _slices(shown: Shown, bound: float, caption: str) -> Iterator[Markup]:
    """Yield slices through the strongest block along the three sides, in grey under the
    colours.
    """
    grey_pixels = grey_volume(shown)
    heat_map = shown.heat
    if grey_pixels is None:
        grey_pixels = np.full(heat_map.shape, 0.9)
    for side_index, slice_index in enumerate(
        strongest_place(heat_map, grey_pixels.shape)
    ):
        values = np.take(
            heat_map,
            slice_index * heat_map.shape[side_index] // grey_pixels.shape[side_index],
            axis=side_index,
        )
        words = f"{clean(shown.name)} at {SIDES[side_index]} {slice_index}, {caption}"
        yield _figure(
            _coloured(
                np.take(grey_pixels, slice_index, axis=side_index), values, bound
            ),
            words,
            "pg-third",
        )


def shades(name: str, shares: Floats) -> Floats:
    """Return the colours ``(..., 3)`` of one of ``style.MAPS`` at shares from 0
    to 1.
    """
    end_colours = np.array(list(map(style.rgb, style.MAPS[name]))).T
    colour_positions = np.linspace(0, 1, end_colours.shape[1])
    return np.stack(
        [np.interp(shares, colour_positions, channel) for channel in end_colours],
        axis=-1,
    )


def _coloured(grey: Floats, heat: Floats, bound: float) -> Floats:
    """Return a grey picture in 0 … 1 under the colours of values, whose cells may be
    coarser.
    """
    row_cells, columns = (
        np.arange(pixel_count) * cells // pixel_count
        for pixel_count, cells in zip(grey.shape, heat.shape, strict=True)
    )
    heat = np.nan_to_num(heat)[row_cells][:, columns]
    strength = _OPACITY * np.clip(np.abs(heat) / bound, 0, 1)[..., None]
    colours = np.where(
        heat[..., None] < 0, style.rgb(style.NEGATIVE), style.rgb(style.POSITIVE)
    )
    return np.asarray(
        (1 - strength) * (0.25 + 0.75 * grey[..., None]) + strength * colours
    )


def _lines(shown: Shown, bound: float, caption: str) -> Iterator[Markup]:
    """Yield a drawing of each channel: a line in the text colour, on the colours of its
    windows.
    """
    count, length = shown.size
    caption = caption.replace("over it", "in colours")
    channels = shown_channels(shown, _CHANNELS)
    for channel in channels:
        stretch_heat = strongest(
            shown.heat[channel if len(shown.heat) > 1 else 0], _STRETCHES
        )
        edges = (
            np.flatnonzero(np.diff(stretch_heat, prepend=np.nan, append=np.nan) != 0)
            / len(stretch_heat)
            * 1000
        )
        values = stretch_heat[
            np.flatnonzero(np.diff(stretch_heat, prepend=np.nan) != 0)
        ].tolist()
        inside = []
        for value, (start, stretch_end) in zip(
            values, itertools.pairwise(edges.tolist()), strict=True
        ):
            if math.isfinite(value) and value != 0:
                inside.append(
                    Markup(
                        '<rect x="{}" width="{}" height="100" '
                        'fill="{}"><title>{}</title></rect>'
                    ).format(
                        round(start, 1),
                        round(stretch_end - start, 1),
                        _shade(value, _OPACITY * min(abs(value) / bound, 1)),
                        number(value),
                    )
                )
        words = clean(shown.name) + (f", channel {channel}" if count > 1 else "")
        if shown.picture is not None:
            channel_values = shown.picture[channel]
            inside.append(_outlined(channel_values, length))
            words += (
                f", from {number(float(np.fmin.reduce(channel_values)))} to "
                f"{number(float(np.fmax.reduce(channel_values)))}"
            )
        if channel == channels[-1]:
            words += f", {length:,} positions, {caption}"
            if count > len(channels):
                words += f", {count - len(channels)} more channels not shown"
        yield Markup(
            '<figure class="pg-line"><svg viewBox="0 0 1000 100" '
            'preserveAspectRatio="none" role="img" '
            'aria-label="{}">{}</svg><figcaption>{}</figcaption></figure>'
        ).format(words, Markup("").join(inside), words)


def _outlined(line: Floats, length: int) -> Markup:
    """Return the line of a channel, of a long series the band between its ends."""
    low, high = padded(line, 0.1)
    point_positions, lowest, highest = outline(line, 2 * _STRETCHES)
    band = highest is not lowest  # of a long series: along the top and back
    across = np.concatenate(
        [point_positions, point_positions[::-1]] if band else [point_positions]
    )
    down = high - np.concatenate([highest, lowest[::-1]] if band else [line])
    x = (across + 0.5) / length * 1000
    y = np.nan_to_num(100 * down / (high - low), nan=50.0)
    points = " ".join(
        f"{right:.0f},{below:.1f}" for right, below in zip(x, y, strict=True)
    )
    return Markup('<polyline class="{}" points="{}"/>').format("pg-band" * band, points)


def _figure(pixels: Floats, caption: str, css: str = "") -> Markup:
    """Return a picture as data inside the page, coarser if it would be too large."""
    from PIL import Image  # installed with matplotlib

    step_size = max(1, math.ceil(max(pixels.shape[:2]) / _SIDE))
    while True:
        shrunk = Image.fromarray(
            (255 * np.clip(pixels[::step_size, ::step_size], 0, 1))
            .round()
            .astype(np.uint8)
        )
        for image_format, options in (
            ("png", {"optimize": True}),
            ("jpeg", {"quality": 85}),
        ):
            shrunk.save(buffer := io.BytesIO(), image_format, **options)
            if buffer.tell() <= _BYTES:
                if max(pixels.shape[:2]) < 224:
                    coarse = "pg-coarse"
                else:
                    coarse = ""
                image_data = base64.b64encode(buffer.getvalue()).decode("ascii")
                return Markup(
                    '<figure class="{}"><img class="{}" alt="{}" '
                    'src="data:image/{};base64,{}">'
                    "<figcaption>{}</figcaption></figure>"
                ).format(css, coarse, caption, image_format, image_data, caption)
        step_size *= 2


# ---- texts ---------------------------------------------------------------------------
def drawn_text(
    name: str,
    players: npt.NDArray[np.intp],
    words: Sequence[str],
    values: Floats,
    bound: float,
) -> Drawn:
    """Return the words of an input on the colours of a scale from −``bound`` to
    ``bound``.
    """
    spans = []
    for word_text, value in zip(words[:_WORDS], values.tolist(), strict=False):
        shade = _shade(
            value, _OPACITY * min(abs(float(np.nan_to_num(value))) / bound, 1.0)
        )
        spans.append(
            Markup('<span style="background:{}" title="{}">{}</span> ').format(
                shade, number(value), word_text
            )
        )
    if hidden := len(words) - len(spans):
        spans.append(Markup("… and {} more words").format(hidden))
    text_markup = Markup('<p class="pg-text"><b>{}</b> {}</p>').format(
        clean(name), Markup("").join(spans)
    )
    return Drawn(name, players, text_markup)


def scale(bound: float, unit: str, more: str = "") -> Markup:
    """Return the key of colours."""
    end_shades = [_shade(value, _OPACITY) for value in (-1.0, 1.0)]
    return Markup(
        '<p class="pg-key-line">Colours: −{0}<i class="pg-scale" '
        'style="background:linear-gradient(to right,'
        '{1},transparent,{2})"></i>+{0}, {3}.{4}</p>'
    ).format(number(bound), *end_shades, unit, more)


def signed(value: float) -> str:
    """Return the colour of a value by its sign."""
    if value < 0:
        return style.NEGATIVE
    return style.POSITIVE


def _shade(value: float, opacity: float) -> str:
    red_part, green, blue_part = (
        round(255 * colour_part) for colour_part in style.rgb(signed(value))
    )
    return f"rgba({red_part},{green},{blue_part},{opacity:.3f})"


# ---- for pages -----------------------------------------------------------------------
def picture(shown: Shown, quantity: str) -> Markup:
    """Return an input on its own scale of colours."""
    bound = float(np.nanmax(np.abs(shown.heat), initial=0.0)) or 1.0
    colour_key = scale(bound, quantity) if shown.signed else ""
    return Markup(
        '<div class="pg-view"><div class="pg-pictures">{}</div>{}</div>'
    ).format(drawn_input(shown, bound).markup, colour_key)


def activation(image: npt.ArrayLike | None, heat: npt.ArrayLike) -> Markup:
    """Return an image (None: not known) under an activation map ``(height, width)``."""
    if image is None:
        pixels = None
    else:
        pixels = np.asarray(image, dtype=np.float64)
    shown = Shown(
        "", 2, np.arange(0), pixels, np.asarray(heat, dtype=np.float64), signed=False
    )
    return picture(shown, "activation")


def words(explanation: Explanation, row_index: int, column: int) -> Markup:
    """Return the words of a row's texts on one scale of colours."""
    values = np.asarray(explanation.values[row_index, :, column], dtype=np.float64)
    texts = texts_of(explanation, row_index)
    bound = (
        max(
            (
                float(np.nanmax(np.abs(values[player_indices]), initial=0.0))
                for player_indices, _ in texts.values()
            ),
            default=0.0,
        )
        or 1.0
    )
    shown = []
    for input_name, (player_indices, word_texts) in texts.items():
        shown.append(
            drawn_text(
                input_name,
                np.array(player_indices),
                word_texts,
                values[player_indices],
                bound,
            ).markup
        )
    return Markup('<div class="pg-view">{}{}</div>').format(
        Markup("").join(shown), scale(bound, quantity_of(explanation))
    )
