"""Inputs that can be drawn (series, images, volumes, texts), and the values of an
explanation at each place of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from permgrad.attribution.explanation.by_word import token_players
from permgrad.base.arrays import Array, Floats
from permgrad.base.errors import InputError, unknown
from permgrad.pages import choices
from permgrad.pages.words import clean, quantity_of, shorten, towards

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: The kind of an input by the number of its sides. The plot that draws it has the same
#: name.
KINDS = {1: "series", 2: "image", 3: "volume"}
#: The sides of a volume, in their order, and most letters of a word.
SIDES = ("depth", "row", "column")
_LETTERS = 40
#: The map and the images of a hybrid network, which has no input of that name.
_CAM = "cam"
_IMAGES = "images"


@dataclass(frozen=True)
class Shown:
    """An input of one row, or its mean over all rows, and the values of the explanation
    at each place.

    Attributes:
        name: the input. Empty: the image of a hybrid network.
        sides: 1, 2 or 3, see ``KINDS``.
        players: positions of the players that are drawn.
        picture: the input, channels first for a series or a volume. None: it was not
            stored.
        heat: ``(height, width)`` or ``(depth, height, width)``, over all channels. For
            a series ``(channels, time)``, or ``(1, time)`` if the channels are equal.
            NaN: no player. Maps may be coarser than the input.
        signed: whether 0 is the middle of the scale. If not, it is a map of activation
            from 0.
    """

    name: str
    sides: int
    players: npt.NDArray[np.intp]
    picture: Floats | None
    heat: Floats
    signed: bool

    @property
    def size(self) -> tuple[int, ...]:
        """The shape of the input if it was stored, else of its values."""
        return (self.heat if self.picture is None else self.picture).shape


def shown_inputs(explanation: Explanation) -> dict[str, int]:
    """Return the inputs that can be drawn, with their numbers of sides."""
    named = []
    for map_name, array in explanation.maps.items():
        if map_name.startswith("maps:") or (
            map_name.startswith("segments:") and bool((np.asarray(array) >= 0).any())
        ):
            named.append(map_name.partition(":")[2])
    return {
        input_name: _sides(explanation, input_name)[0]
        for input_name in [*[""] * (_CAM in explanation.maps), *named]
    }


def _read_as(explanation: Explanation, name: str) -> Mapping[str, Any]:
    """Return how an input was read. Empty: that is unknown."""
    metas = [explanation.meta, *(explanation.meta.get("by_input") or {}).values()]
    for input_meta in metas:
        if isinstance(input_meta, Mapping):
            read_as = input_meta.get("read_as")
            if isinstance(read_as, Mapping) and name in read_as:
                return dict(read_as[name])
    return {}


def noun_of(explanation: Explanation, name: str) -> str:
    """Return what an input that can be drawn is called in captions."""
    if _sides(explanation, name)[0] == 2:
        usual = "image"
    else:
        usual = "input"
    return str(_read_as(explanation, name).get("noun", usual))


def _sides(explanation: Explanation, name: str) -> tuple[int, int | None]:
    """Return an input's number of sides and the position of its channels (None:
    unknown).
    """
    reading = _read_as(explanation, name)
    if reading:
        return len(reading["size"]), reading["channels"]
    segments = explanation.maps.get(f"segments:{name}")
    if segments is None:
        return (2, None)
    return ({1: 1, 4: 3}.get(np.ndim(segments), 2), None)


def shown_input(
    explanation: Explanation, name: str, row_index: int | None, column: int
) -> Shown:
    """Return an input of the row at ``row_index`` (None: its mean over all rows) with
    its values.
    """
    sides, channels = _sides(explanation, name)
    picture = explanation.maps.get(f"images:{name}" if name else _IMAGES)
    if picture is not None:
        row_pictures = np.asarray(
            picture if row_index is None else picture[row_index], dtype=np.float64
        )
        if row_index is None:
            picture = row_pictures.mean(axis=0)
        else:
            picture = row_pictures
        if sides != 2:
            picture = _channels_first(picture, sides, channels)
    segments = explanation.maps.get(f"segments:{name}")
    if segments is not None:
        values = np.asarray(explanation.values[..., column], dtype=np.float64)
        owners = _channels_first(np.asarray(segments), sides, channels)
        heat_map = on_segments(
            values if row_index is None else values[row_index], owners
        )
        if sides > 1:  # the sum over channels, NaN if no channel has a player
            heat_map = np.asarray(
                np.where(
                    np.isnan(heat_map).all(axis=0), np.nan, np.nansum(heat_map, axis=0)
                )
            )
        return Shown(
            name, sides, np.unique(owners[owners >= 0]), picture, heat_map, signed=True
        )
    heat_map = np.asarray(
        explanation.maps[f"maps:{name}" if name else _CAM][row_index], dtype=np.float64
    )
    if heat_map.ndim > sides:
        heat_map = heat_map[min(column, len(heat_map) - 1)]
    heat_map = heat_map.reshape(*[1] * (max(sides, 2) - heat_map.ndim), *heat_map.shape)
    players = np.flatnonzero(np.asarray(explanation.modality, dtype=object) == name)
    return Shown(
        name,
        sides,
        players,
        picture,
        heat_map,
        signed=float(np.nanmin(heat_map, initial=0.0)) < 0,
    )


def _channels_first(array: Array, sides: int, channels: int | None) -> Array:
    if array.ndim <= sides:
        return array[None]
    if channels is None:
        if (
            sides == 2
            and array.shape[2] in (1, 3, 4)
            and array.shape[0] not in (1, 3, 4)
        ):
            channels = 2
        else:
            channels = 0
    return np.moveaxis(array, channels, 0)


def on_segments(values: Floats, owners: Array) -> Floats:
    """Return the value of each place, that of its player: ``(channels, *size)``, one
    channel if all have equal players.

    ``owners`` are positions among the players. −1: no player, with value NaN.
    """
    if (owners == owners[:1]).all():
        owners = owners[:1]
    return np.asarray(np.where(owners >= 0, np.append(values, np.nan)[owners], np.nan))


class DrawnInput(NamedTuple):
    """What a plot of an input draws.

    Attributes:
        shown: The values of its places.
        title:
        unit: Of the values.
    """

    shown: Shown
    title: str
    unit: str


def drawn_input(
    explanation: Explanation,
    sides: int,
    selection: tuple[int, str | None, str | int | None],
    title: str | None,
) -> DrawnInput:
    """Return what a plot draws for ``selection`` (a row, an input, None: the only one,
    and an output), its title and unit.

    Raises:
        InputError: If there is no such input, or several and none is named, or it is of
            another kind.
    """
    row_choice, input_choice, output = selection
    column = choices.pick_output(explanation, output)
    input_name = _chosen(explanation, input_choice, sides)
    if f"segments:{input_name}" not in explanation.maps:
        choices.check_local(explanation, KINDS[sides])
    if explanation.scope.by_row:
        row_index = choices.check_row(explanation, row_choice)
    else:
        row_index = None
    where = [clean(input_name)] * bool(input_name) + [
        "all rows" if row_index is None else f"row {row_index}"
    ]
    default = ", ".join(
        where + [towards(explanation, column)] * bool(towards(explanation, column))
    )
    shown = shown_input(explanation, input_name, row_index, column)
    units = explanation.meta.get("units")
    if isinstance(units, Mapping) and input_name in units:
        unit_name = clean(units[input_name])
    else:
        unit_name = quantity_of(explanation)
    if title is None:
        title_text = f"{explanation.method}: {default}"
    else:
        title_text = title
    return DrawnInput(shown, title_text, unit_name if shown.signed else "activation")


def _chosen(explanation: Explanation, wanted_input: str | None, sides: int) -> str:
    """Return the input to draw, of those of a kind."""
    every = shown_inputs(explanation)
    plot_name = KINDS[sides]
    inputs = [input_name for input_name, count in every.items() if count == sides]
    if wanted_input is not None and (
        not isinstance(wanted_input, str) or wanted_input not in every
    ):
        raise unknown(
            "input", wanted_input, [input_name for input_name in every if input_name]
        )
    other_input = wanted_input
    if wanted_input is None and not inputs:
        other_input = next(iter(every), None)
    if other_input is not None and every[other_input] != sides:
        plot_kind = KINDS[every[other_input]]
        problem = f"plot.{plot_name}() does not draw the {plot_kind} {other_input!r}"
        raise InputError(
            problem, hint=f"Call explanation.plot.{plot_kind}().", code="PG004"
        )
    if not inputs:
        problem = (
            f"plot.{plot_name}() needs activation maps or segments, but "
            f"method={explanation.method!r} made none"
        )
        problem_hint = (
            "Explain with method='gradcam', or explain a network with an image input."
        )
        raise InputError(problem, hint=problem_hint, code="PG004")
    if wanted_input is None and len(inputs) > 1:
        problem = (
            f"plot.{plot_name}() draws one input, but the explanation has "
            f"{', '.join(map(repr, inputs))}"
        )
        raise InputError(
            problem, hint=f"For example: input={inputs[0]!r}.", code="PG005"
        )
    return inputs[0] if wanted_input is None else wanted_input


# ---- series --------------------------------------------------------------------------
def shown_channels(shown: Shown, most: int | None) -> list[int]:
    """Return the channels of a series to draw: those of the largest values if channels
    have separate values.
    """
    count = shown.size[0]
    if len(shown.heat) < count:
        return list(range(choices.check_top_n(most, count)))
    sizes = np.nan_to_num(np.abs(shown.heat)).max(axis=1, initial=0.0)
    return sorted(choices.largest(sizes, most).tolist())


def extremes(values: Floats, most: int) -> tuple[Floats, Floats]:
    """Return the smallest and the largest value in at most ``most`` equal intervals of
    a series ``(time,)``.
    """
    count = min(most, len(values))
    starts = np.arange(count) * len(values) // count
    return np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)


def strongest(values: Floats, most: int) -> Floats:
    """Return the value of the largest size in each of at most ``most`` intervals."""
    lower_values, upper_values = extremes(values, most)
    return np.where(
        np.abs(lower_values) > np.abs(upper_values), lower_values, upper_values
    )


class Outline(NamedTuple):
    """A line, drawn between its extremes.

    Attributes:
        positions: ``(points,)``.
        lowest: ``(points,)``, equal to the highest for a short series.
        highest: ``(points,)``.
    """

    positions: Floats
    lowest: Floats
    highest: Floats


def outline(values: Floats, most: int) -> Outline:
    """Return positions, the lowest and the highest line.

    They are equal for a short series.
    """
    count = len(values)
    if count <= 2 * most:
        return Outline(np.arange(count, dtype=np.float64), values, values)
    return Outline(
        (np.arange(most) + 0.5) * count / most - 0.5, *extremes(values, most)
    )


# ---- pictures, volumes and texts -----------------------------------------------------
def displayable(picture: npt.ArrayLike) -> Floats:
    """Return an image as matplotlib draws it, in 0 … 1: ``(height, width)``, or
    ``(height, width, 3)``.

    Pixels within 0 … 1 or 0 … 255 keep their scale, others are scaled to their range.
    Unless there are one or three channels (the smaller outer dimension), they are
    averaged.
    """
    raw_pixels = np.asarray(picture)
    pixels: Any = np.nan_to_num(raw_pixels.astype(np.float64))
    if pixels.ndim == 3:
        outer = (pixels.shape[0], pixels.shape[2])
        if outer[0] in (1, 3) or (outer[1] not in (1, 3) and outer[0] < outer[1]):
            pixels = np.moveaxis(pixels, 0, -1)
        if pixels.shape[2] != 3:
            pixels = pixels.mean(axis=2)
    if pixels.size == 0 or pixels.ndim not in (2, 3):
        problem = (
            "An image must have shape (height, width), with or without "
            f"channels, got {raw_pixels.shape}"
        )
        raise InputError(problem, hint="Pass one image.", code="PG007")
    return in_unit_range(pixels, raw_pixels.dtype.kind)


def in_unit_range(pixels: Floats, kind: str) -> Floats:
    """Return finite pixels in 0 … 1: those in 0 … 255 of whole numbers (``kind``, of
    the dtype), others by range.
    """
    smallest = float(pixels.min())
    largest = float(pixels.max())
    if smallest >= 0 and largest <= 1:
        return np.asarray(pixels)
    if smallest >= 0 and largest <= 255 and kind in "ui":
        return np.asarray(pixels / 255)
    if largest > smallest:
        return np.asarray((pixels - smallest) / (largest - smallest))
    return np.zeros_like(pixels)


def grey_volume(drawn: Shown) -> Floats | None:
    """Return the volume ``(depth, height, width)`` in 0 … 1, the mean of its channels,
    or None if it was not stored.
    """
    if drawn.picture is None:
        return None
    return in_unit_range(drawn.picture.mean(axis=0), drawn.picture.dtype.kind)


def strongest_place(heat: Floats, size: Sequence[int]) -> tuple[int, ...]:
    """Return the place nearest to the middle of the block with the largest size, or the
    middle if all are zero.
    """
    sizes = np.abs(np.nan_to_num(heat))
    if sizes.any():
        strongest_cells = np.argwhere(sizes == sizes.max())
    else:
        strongest_cells = np.array([heat.shape]) // 2
    nearest = strongest_cells[
        np.argmin(((strongest_cells - strongest_cells.mean(axis=0)) ** 2).sum(axis=1))
    ]
    # A map may be coarser than the volume: the middle of its cell.
    return tuple(
        (2 * int(cell_index) + 1) * side_length // (2 * cells)
        for cell_index, side_length, cells in zip(
            nearest, size, heat.shape, strict=True
        )
    )


def words_of(
    explanation: Explanation, row: int, column: int
) -> tuple[list[str], Floats]:
    """Return the words of a row and their values."""
    texts = list(texts_of(explanation, row).values())
    if not texts:
        problem = "plot.text() shows tokens, but this explanation has none"
        raise InputError(
            problem,
            hint="Explain a network of token ids or texts without groups=.",
            code="PG004",
        )
    player_indices, words = (
        list(itertools.chain.from_iterable(text_parts))
        for text_parts in zip(*texts, strict=True)
    )
    return words, np.asarray(
        explanation.values[row, player_indices, column], dtype=np.float64
    )


def texts_of(
    explanation: Explanation, row: int
) -> dict[str, tuple[list[int], list[str]]]:
    """Return the positions and the words of the tokens that a row has, by input.

    Those of padding are missing.
    """
    frame = explanation.feature_values
    texts = {}
    for input_name, players in token_players(explanation).items():
        assert frame is not None
        shown_players = []
        words = []
        for player in players:
            cell = frame[explanation.names[player]].iloc[row]
            if isinstance(cell, str):
                shown_players.append(player)
                words.append(shorten(cell, _LETTERS))
        texts[input_name] = (shown_players, words)
    return texts


# ---- columns in their order ----------------------------------------------------------
def _as_input(
    explanation: Explanation, names: Array, owners: Array, channels: int
) -> Explanation:
    """Return an explanation of columns as one of an input with places, which other
    plots draw.

    ``channels``: the axis of channels in names and owners.
    """
    input_maps: dict[str, Any] = {"segments:columns": owners}
    values = explanation.feature_values
    input_size = np.delete(names.shape, channels).tolist()
    if values is not None and explanation.scope.by_row:
        curves = values.select_dtypes("number").reindex(columns=names.ravel())
        numbers = curves.to_numpy(np.float64, na_value=np.nan).reshape(-1, *names.shape)
        # Only three channels are colours.
        if channels == 2 and names.shape[2] != 3:
            input_maps["images:columns"] = numbers.mean(axis=3)
        else:
            input_maps["images:columns"] = numbers
    reading_meta = {"read_as": {"columns": {"size": input_size, "channels": channels}}}
    return replace(
        explanation, maps=input_maps, meta={**explanation.meta, **reading_meta}
    )


def in_order(explanation: Explanation) -> tuple[Explanation, Array]:
    """Return an explanation of columns that have an order as one of the input
    ``"columns"``, and who owns each place.

    ``meta["order"]`` has the names. Columns of a group share their value.
    """
    name_grid = np.atleast_3d(np.array(explanation.meta["order"], dtype=object))
    place_of = dict[str, int]()
    for feature_index, feature_name in enumerate(explanation.names):
        place_of |= dict.fromkeys(
            (feature_name, *(explanation.groups or {}).get(feature_name, ())),
            feature_index,
        )
    owners = np.vectorize(lambda name: place_of.get(name, -1), otypes=[np.intp])(
        name_grid
    )
    if len(name_grid) > 1:
        return _as_input(explanation, name_grid, owners, 2), owners
    return _as_input(explanation, name_grid[0].T, owners[0].T, 0), owners[0].T
