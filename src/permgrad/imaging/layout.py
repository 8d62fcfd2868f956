"""Which pixel each encoded column has: the protocol, the registry, and layouts read
back from a file.

See docs/extending.md.
"""

from __future__ import annotations

import copy
import inspect
import math
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Protocol, Self, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

from permgrad.base import checks
from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.checks import check_names
from permgrad.base.errors import (
    Fault,
    InputError,
    by_count,
    did_you_mean,
    refusing,
    shown,
)
from permgrad.base.random import resolve_seed
from permgrad.base.registry import Registry
from permgrad.base.sequences import values_at

Overlap = Literal["last", "mean", "maximum"]
"""What a pixel shows where several columns meet: the last column, their mean, or their
maximum."""

Positions = Integers

MAXIMUM_PIXELS = 4096
"""Wider pictures than this are a slip of the keyboard, not a wish: one row would take
64 MiB."""

MOST_PLACES = 2**16
"""Of a side of a grid that is no square."""


@dataclass(frozen=True)
class Blur:
    """TINTO's blur: around its pixel a column paints discs that fade with their radius.

    The disc of step ``s`` (1 … ``steps``) has the radius ``r = distance · s`` and the
    intensity ``min(amplification / (π r²), 1)``. A pixel takes the smallest disc that
    holds it, the centre is 1 (Castillo-Cara et al. 2023, SoftwareX 22, 101391, as
    TINTOlib 1.3.1 computes it).

    Examples:
        >>> Blur(distance=1, steps=1).kernel().round(2)
        array([[0., 1., 0.],
               [1., 1., 1.],
               [0., 1., 0.]])
    """

    amplification: float = math.pi
    distance: int = 2
    steps: int = 4

    def __post_init__(self) -> None:
        """Refuse what paints nothing."""
        blur_hint = "pass blur=False for pictures without a blur"
        checks.check_number(
            "amplification", self.amplification, blur_hint, above_zero=True
        )
        for field_name in ("distance", "steps"):
            checks.check_whole(field_name, getattr(self, field_name), blur_hint)
        if self.radius > MAXIMUM_PIXELS:
            problem = (
                f"A blur must reach at most {MAXIMUM_PIXELS} pixels, but "
                f"distance={self.distance} times steps={self.steps} is {self.radius}"
            )
            raise InputError(problem, hint=blur_hint, code="PG002")

    @property
    def radius(self) -> int:
        """The reach of a column from its pixel, in pixels."""
        return int(self.distance) * int(self.steps)

    def kernel(self) -> Floats:
        """Return the weights around a column's pixel, ``(2·radius + 1, 2·radius + 1)``,
        0 outside the largest disc.
        """
        offsets = np.arange(-self.radius, self.radius + 1)
        squared = offsets[:, None] ** 2 + offsets[None, :] ** 2
        weights = np.zeros(squared.shape)
        for disc_index in range(self.steps, 0, -1):
            radius = self.distance * disc_index
            weights[squared <= radius**2] = min(
                self.amplification / (math.pi * radius**2), 1.0
            )
        weights[self.radius, self.radius] = 1.0
        return weights


@runtime_checkable
class Layout(Protocol):
    """What the renderer needs to know, and how it is learned: any object with these
    members can be ``layout=``.

    ``positions (encoded columns, 2)``: row and column of each encoded column's pixel,
    (−1, −1) of a column that has none. ``pixels``: side of the square grid.
    ``overlap``: what a pixel shows where columns meet. ``blur`` (a `Blur` or None) and
    ``shape``, height and width of a grid that is no square, may be left out. Where the
    shape has a third number, that of channels, positions have a third, too.
    """

    positions: Positions
    pixels: int
    overlap: Overlap

    def fit(
        self,
        encoded: Array,
        names: Sequence[str] | None = None,
        random_state: Any = None,
    ) -> Self:
        """Learn positions from encoded training rows ``(rows, encoded columns)``.

        Return the layout itself.
        """
        ...


layouts: Registry[Callable[..., Layout]] = Registry("layout")


class PlacedLayout:
    """Base of the layouts here: checks its input, counts collisions, goes to and from a
    dictionary.

    A subclass implements ``_place(encoded, seed) -> positions (encoded columns, 2 or
    3)`` and says through ``shares`` whether columns may meet on a pixel. If they may
    not, the grid grows when there are more columns than pixels, and ``grown`` tells.

    Args:
        pixels: Width and height of the image, at least.
        random_state: Seed of what is drawn. None: another each time.
    """

    name: ClassVar[str] = ""
    shares: ClassVar[bool] = False
    #: whether neighbours on the grid belong together, as along a curve
    ordered: bool = False

    def __init__(self, pixels: int = 20, *, random_state: Any = None) -> None:
        if not checks.is_whole(pixels) or not 1 <= pixels <= MAXIMUM_PIXELS:
            problem = (
                f"pixels must be an integer from 1 to {MAXIMUM_PIXELS}, got "
                f"{shown(pixels)}"
            )
            raise InputError(problem, hint="Pass for example pixels=20.", code="PG002")
        self.pixels = int(pixels)
        self.random_state = random_state
        self.overlap: Overlap = "last"
        self.blur: Blur | None = None
        self.grown = False
        #: height and width of the grid, and the number of channels where it is not 1
        self.shape: tuple[int, ...] = self.pixels, self.pixels
        self.positions: Positions = np.zeros((0, 2), dtype=np.int64)

    def fit(
        self,
        encoded: Array,
        names: Sequence[str] | None = None,
        random_state: Any = None,
    ) -> Self:
        """Place the encoded columns of training rows.

        Args:
            encoded: Training rows, ``(rows, encoded columns)``. NaN counts as the
                column's mean.
            names: Names of the encoded columns. None: they have none.
            random_state: Seed. None: the one given when the layout was made.
        """
        table = checks.as_numbers("encoded", encoded, "pass the encoded training rows")
        _check_rows(table, names)
        columns = table.shape[1]
        empty = np.isnan(table)
        table = np.where(
            empty,
            np.where(empty, 0.0, table).sum(axis=0)
            / np.maximum((~empty).sum(axis=0), 1),
            table,
        )
        layout_seed = resolve_seed(
            self.random_state if random_state is None else random_state
        )
        if not self.shares:
            needed = self._pixels_needed(columns)
            self.grown = needed > self.pixels
            self.pixels = max(self.pixels, needed)
            self.shape = self.pixels, self.pixels
        if names is None:
            self.names = None
        else:
            self.names = list(names)
        self.positions = check_positions(
            self._place(table, layout_seed), self.shape, columns
        )
        return self

    def _pixels_needed(self, columns: int) -> int:
        """Return the smallest side of a grid with a pixel for each column."""
        return math.isqrt(columns - 1) + 1

    @abstractmethod
    def _place(self, encoded: Floats, seed: int) -> Positions:
        """Return the position of each encoded column."""

    @property
    def collisions(self) -> int:
        """The number of columns that share their pixel with another column."""
        _, counts = np.unique(
            self.positions[has_pixel(self.positions)], axis=0, return_counts=True
        )
        return int(counts[counts > 1].sum())

    def to_dict(self) -> dict[str, Any]:
        """Return what `StoredLayout.from_dict` reads: plain numbers and lists, fit for
        JSON.
        """
        return layout_to_dict(self)

    def __repr__(self) -> str:
        if len(self.positions):
            placed = f"{len(self.positions)} columns"
        else:
            placed = "not fitted"
        return f"{type(self).__name__}(pixels={self.pixels}, {placed})"


class StoredLayout(PlacedLayout):
    """A layout that is known already: read from a file, or written down by hand.

    ``name`` of what made the positions.

    Examples:
        >>> layout = StoredLayout([[0, 0], [0, 1]], pixels=2)
        >>> StoredLayout.from_dict(layout.to_dict()).positions.tolist()
        [[0, 0], [0, 1]]
    """

    shares: ClassVar[bool] = True

    def __init__(
        self,
        positions: npt.ArrayLike,
        pixels: int = 20,
        overlap: Overlap = "last",
        blur: Blur | None = None,
        name: str = "stored",
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__(pixels)
        if shape is not None:
            self.shape = check_shape(shape)
            self.pixels = max(self.shape[:2])
        checks.check_choice("overlap", overlap, get_args(Overlap))
        checks.check_kind(
            "blur",
            blur,
            Blur | None,
            "None or a permgrad.imaging.Blur",
            "Leave it out.",
        )
        checks.check_kind("name", name, str, "text", "Pass for example name='stored'.")
        self.overlap = overlap
        self.blur = blur
        self.name = name  # type: ignore[misc]  # the name of the layout that was stored, so not the class's
        of_name: Any = GridLayout
        if name != GridLayout.name:
            of_name = layouts.get(name, None)
        self.ordered = getattr(of_name, "ordered", False)
        self.positions = check_positions(positions, self.shape)

    def _place(self, encoded: Floats, seed: int) -> Positions:  # noqa: ARG002 — nothing is drawn
        if encoded.shape[1] != len(self.positions):
            problem = (
                f"The stored layout has {len(self.positions)} positions for "
                f"{encoded.shape[1]} encoded columns"
            )
            raise InputError(
                problem,
                hint="Use layout='assignment' to place these columns anew.",
                code="PG007",
            )
        return self.positions

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> StoredLayout:
        """Read what `to_dict` wrote. Nothing in it is executed."""
        blur_settings = content.get("blur")
        shape = content.get("shape")
        positions = np.asarray(content["positions"], dtype=np.int64).reshape(
            -1, len(shape or (0, 0))
        )
        rules = content["overlap"], Blur(**blur_settings) if blur_settings else None
        layout = cls(
            positions,
            content["pixels"],
            *rules,
            name=content.get("name", "stored"),
            shape=shape,
        )
        layout.grown = bool(content.get("grown", False))
        return layout


class GridLayout(PlacedLayout):
    """Puts the columns as they stand on a grid of known height and width, row by row:
    ``layout=(8, 8)``.

    With a third number, the grid has channels: ``(8, 8, 3)`` are 192 columns of a
    picture in colour, ``(1, 50, 3)`` three curves side by side. The channels of a pixel
    are neighbours, as in ``images.reshape(rows, -1)``. With ``channels_first`` all
    pixels of a channel are. Names that tell row, column and channel decide, as for
    ``"given"``.

    Examples:
        >>> GridLayout((2, 3)).fit(np.eye(6)).positions.tolist()[:4]
        [[0, 0], [0, 1], [0, 2], [1, 0]]
        >>> GridLayout((1, 3, 2)).fit(np.eye(6)).positions.tolist()[:3]
        [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    """

    name: ClassVar[str] = "grid"
    ordered = True
    shares: ClassVar[bool] = (
        True  # it never grows, and refuses more columns than it has places
    )

    def __init__(self, size: Sequence[int], *, channels_first: bool = False) -> None:
        super().__init__(1)
        self.shape = check_shape(size)
        self.pixels = max(self.shape[:2])
        self.channels_first = checks.check_flag("channels_first", channels_first)

    def _place(self, encoded: Floats, seed: int) -> Positions:  # noqa: ARG002 — nothing is drawn
        shape = self.shape
        columns = encoded.shape[1]
        pixel_count = math.prod(self.shape)
        if columns > pixel_count or (len(shape) > 2 and columns < pixel_count):
            problem = (
                f"A grid of {' × '.join(map(str, shape))} has {pixel_count} "
                f"places, but there are {columns} encoded columns"
            )
            raise InputError(
                problem, hint="Pass another grid, or layout='given'.", code="PG007"
            )
        if (
            len(shape) > 2
            and (named := named_places(self.names or ()))
            and named[1] == shape
        ):
            return named[0]
        if self.channels_first and len(shape) > 2:
            channel, *grid_coordinates = np.unravel_index(
                np.arange(columns), (*shape[2:], *shape[:2])
            )
            return np.stack([*grid_coordinates, channel], axis=1)
        return np.stack(np.unravel_index(np.arange(columns), shape), axis=1)


def make_layout(
    name_or_object: Any, pixels: int = 20, random_state: Any = None, **options: Any
) -> Layout:
    """Make an unfitted layout from a registered name and its options, or copy one that
    the user made.

    An object brings its own ``pixels``. ``random_state`` is used by ``fit`` unless it
    is given one.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(50, 4))
        >>> make_layout("assignment", 20, 0).fit(rows).positions.shape
        (4, 2)
    """
    if isinstance(name_or_object, (tuple, list)):
        return GridLayout(name_or_object)
    if isinstance(name_or_object, str):
        maker = layouts.get(name_or_object)
        accepted_options = []
        for parameter_name in inspect.signature(maker).parameters:
            if parameter_name not in ("pixels", "random_state"):
                accepted_options.append(parameter_name)
        for option in options:
            if option not in accepted_options:
                problem = f"Layout {name_or_object!r} has no option {option!r}"
                raise InputError(
                    problem,
                    hint=did_you_mean(option, accepted_options, "Leave it out."),
                    code="PG004",
                )
        return maker(pixels=pixels, random_state=random_state, **options)
    if isinstance(name_or_object, type) or not callable(
        getattr(name_or_object, "fit", None)
    ):
        problem = (
            f"layout must be one of {', '.join(map(repr, list(layouts)))}, or an "
            "object with fit(encoded, names, random_state) that sets positions, pixels "
            f"and overlap, got {shown(name_or_object)}"
        )
        raise InputError(
            problem, hint="The protocol is in docs/extending.md.", code="PG001"
        )
    return copy.deepcopy(name_or_object)


def fit_layout(
    layout: Layout,
    encoded: Array,
    names: Sequence[str] | None,
    random_state: Any,
    *,
    placed: Booleans | None = None,
) -> Layout:
    """Fit a layout and check what came out, so that somebody else's mistake is named
    here and not in the network.

    ``placed (encoded columns,)``: which columns get a pixel. None: all. A layout that
    is known already says itself.
    """
    layout_seed = resolve_seed(random_state)
    if placed is not None and not placed.all() and not isinstance(layout, StoredLayout):
        positions = np.full((len(placed), 2), -1)
        if placed.any():
            if names is None:
                placed_names = None
            else:
                placed_names = []
                for column_name, is_placed in zip(names, placed, strict=True):
                    if is_placed:
                        placed_names.append(column_name)
            layout = fit_layout(
                layout, np.asarray(encoded)[:, placed], placed_names, layout_seed
            )
            positions = np.full((len(placed), layout.positions.shape[1]), -1)
            positions[placed] = layout.positions
        layout_copy = check_layout(layout)
        layout_copy.positions = positions
        return layout_copy
    if names is not None:
        names = list(check_names("names", names, "pass the encoder's encoded_names_"))
    returned = layout.fit(encoded, names, layout_seed)
    if returned is None:
        fitted = layout
    else:
        fitted = returned
    checked = check_layout(fitted)
    check_positions(checked.positions, checked.shape, np.shape(encoded)[1])
    return fitted


def is_foreign(candidate: Any) -> bool:
    """Return whether an object draws pictures itself: a plain callable, or a fitted
    TINTOlib method, not a layout.
    """
    if isinstance(candidate, type):
        return False
    if callable(getattr(candidate, "transform", None)) and hasattr(
        candidate, "problem"
    ):
        return True
    return callable(candidate) and not hasattr(candidate, "fit")


def check_layout(layout: Any) -> StoredLayout:
    """Return a checked copy of what a fitted layout says."""
    missing = []
    for attribute_name in ("positions", "pixels", "overlap"):
        if not hasattr(layout, attribute_name):
            missing.append(attribute_name)
    if missing:
        problem = f"{type(layout).__name__} has no {', '.join(missing)} after fit"
        raise InputError(
            problem, hint="Set positions, pixels and overlap in its fit.", code="PG001"
        )
    rules = (
        layout.overlap,
        getattr(layout, "blur", None),
        str(getattr(layout, "name", "stored")),
    )
    copied = StoredLayout(
        layout.positions, layout.pixels, *rules, shape=getattr(layout, "shape", None)
    )
    copied.grown = bool(getattr(layout, "grown", False))
    return copied


def layout_to_dict(layout: Layout) -> dict[str, Any]:
    """Return any fitted layout as plain numbers and lists: positions, pixels, overlap,
    blur, name, grown, shape.
    """
    checked = check_layout(layout)
    square = checked.shape == (checked.pixels, checked.pixels)
    return {
        "name": str(getattr(layout, "name", "") or type(layout).__name__),
        "pixels": checked.pixels,
        "overlap": checked.overlap,
        "blur": asdict(checked.blur) if checked.blur else None,
        "grown": checked.grown,
        "positions": checked.positions.tolist(),
        **({} if square else {"shape": list(checked.shape)}),
    }


def check_shape(shape: Any) -> tuple[int, ...]:
    """Return height and width of a grid, and behind them the number of channels where
    it is not 1.
    """
    if isinstance(shape, (tuple, list)):
        numbers = list(shape)
    else:
        numbers = []
    if len(numbers) not in (2, 3) or not all(
        checks.is_whole(axis_length) and 1 <= axis_length <= MOST_PLACES
        for axis_length in numbers
    ):
        problem = (
            "A grid must have a height and a width (and channels) from 1 to "
            f"{MOST_PLACES}, got {shown(shape)}"
        )
        raise InputError(
            problem, hint="Pass for example layout=(8, 8) or (8, 8, 3).", code="PG002"
        )
    return tuple(map(int, numbers[: 2 if numbers[2:] == [1] else 3]))


def extent(shape: Sequence[int]) -> str:
    """Return the size of a grid in words."""
    return f"{shape[0]} × {shape[1]} pixels" + (
        f" in {shape[2]} channels" if len(shape) > 2 else ""
    )


def has_pixel(positions: Positions) -> Booleans:
    """Return for each encoded column whether it has a pixel ``(encoded columns,)``."""
    return np.asarray((positions != -1).any(axis=1))


def check_positions(
    positions: Any, shape: Sequence[int], columns: int | None = None
) -> Positions:
    """Return positions as int64 (columns, 2) inside the grid, or (columns, 3) if it has
    channels.
    """
    try:
        array = np.asarray(positions)
        integers = array.astype(np.int64)
        exact = bool(np.all(integers == array))
    except (TypeError, ValueError, OverflowError):
        array = np.zeros(0)
        integers = np.zeros(0, dtype=np.int64)
        exact = False
    is_list = exact and array.ndim == 2 and array.shape[1:] == (len(shape),)
    _check_places(
        integers if is_list else None,
        f"{type(positions).__name__} of shape {np.shape(array)}",
        shape,
        columns,
    )
    return integers


@refusing
def _check_rows(table: Floats, names: Sequence[str] | None) -> Iterator[Fault]:
    """Refuse encoded rows that a layout cannot place, or other names than theirs."""
    if table.ndim != 2 or 0 in table.shape:
        problem = (
            "A layout needs encoded rows of shape (rows, columns), at least one "
            f"of each, got shape {table.shape}"
        )
        yield problem, "Pass the encoded training rows.", "PG007"
    columns = table.shape[1]
    if (
        names is not None
        and len(check_names("names", names, "pass the encoder's encoded_names_"))
        != columns
    ):
        problem = (
            f"A layout needs one name for each encoded column, got {len(names)} "
            f"names for {columns} columns"
        )
        yield problem, "Pass the encoder's encoded_names_.", "PG007"
    if infinite := int(np.isinf(table).any(axis=0).sum()):
        holds = by_count(infinite, "holds", "hold")
        pronoun = by_count(infinite, "it", "them")
        problem = (
            f"Encoded values must be finite, but {infinite} of {columns} columns "
            f"{holds} infinity"
        )
        yield problem, f"Clean {pronoun} first.", "PG014"


@refusing
def _check_places(
    integers: Integers | None, got: str, shape: Sequence[int], columns: int | None
) -> Iterator[Fault]:
    """Refuse positions that are no list of whole numbers (None), of other columns, or
    outside the grid.
    """
    if integers is None:
        if len(shape) == 2:
            expected_numbers = "a row and a column"
        else:
            expected_numbers = "a row, a column and a channel"
        problem = (
            "positions of a layout must be integers of shape (encoded columns, "
            f"{len(shape)}), {expected_numbers} for each, got {got}"
        )
        yield problem, "Round them to whole pixels.", "PG007"
        return
    if columns is not None and len(integers) != columns:
        problem = (
            "A layout needs one position for each encoded column, got "
            f"{len(integers)} positions for {columns} columns"
        )
        yield problem, "Fit it on these columns.", "PG007"
    inside = integers[has_pixel(integers)]
    if inside.size and (inside.min() < 0 or bool((inside >= list(shape)).any())):
        largest_position = max(shape) - 1
        problem = (
            f"positions must be from 0 to pixels − 1 = {largest_position}, got "
            f"{inside.min()} to {inside.max()}"
        )
        yield problem, "Give the layout more pixels.", "PG002"


_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def named_places(names: Sequence[str]) -> tuple[Integers, tuple[int, ...]] | None:
    """Return the places ``(columns, 2)`` that names tell, and the height and width.

    None: they tell none.

    One number in each name is a place on a curve, two are a row and a column. Where
    several names have the same numbers, the rest of the name is the channel, the third
    of places and shape: all channels must have the same places.

    Examples:
        >>> names = ["x_t1", "x_t2", "y_t1", "y_t2", "z_t1", "z_t2"]
        >>> places, shape = named_places(names)
        >>> shape, places[4].tolist()
        ((1, 2, 3), [0, 0, 2])
    """
    numbers = [tuple(map(float, _NUMBER.findall(column_name))) for column_name in names]
    sides = set(map(len, numbers))
    different = len(set(numbers))
    if sides not in ({1}, {2}):
        return None
    grid_points = [(0.0, *name_numbers)[-2:] for name_numbers in numbers]
    (grid_rows, grid_height), (grid_columns, grid_width) = (
        _ranks([grid_point[axis_index] for grid_point in grid_points])
        for axis_index in range(2)
    )
    if grid_height * grid_width > 2 * different:  # they are no grid
        return None
    if different == len(names):
        return np.stack([grid_rows, grid_columns], axis=1), (grid_height, grid_width)
    rests = [_NUMBER.sub("", column_name) for column_name in names]
    channels = {}
    for channel, name_stem in enumerate(dict.fromkeys(rests)):
        channels[name_stem] = channel
    column_positions = np.stack(
        [grid_rows, grid_columns, values_at(channels, rests)], axis=1
    )
    complete = different > 1 and different * len(channels) == len(names) == len(
        set(map(tuple, column_positions.tolist()))
    )
    if complete:
        return (column_positions, (grid_height, grid_width, len(channels)))
    return None


def _ranks(numbers: Sequence[float]) -> tuple[Integers, int]:
    values, ranks = np.unique(numbers, return_inverse=True)
    return ranks.astype(np.int64), len(values)
