"""Common parts of all plots: a figure in the house style, and pieces of axes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import Any, NamedTuple, ParamSpec

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import Formatter, MaxNLocator

from permgrad.base import style
from permgrad.base.arrays import Floats
from permgrad.base.checks import check_kind
from permgrad.base.errors import InputError
from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import compact, fixed
from permgrad.pages.words import clean

P = ParamSpec("P")


# ---- axes of the user ----------------------------------------------------------------
def styled(plot: Callable[P, PlotFigure]) -> Callable[P, PlotFigure]:
    """Draw a plot in the house style, into the axes ``ax`` if it is given any: then
    these are returned, so that a notebook, which shows their figure, draws it once.
    """

    @wraps(plot)
    def drawn(*args: P.args, **options: P.kwargs) -> PlotFigure:
        ax = options.pop("ax", None)
        if ax is not None and not isinstance(ax, Axes):
            problem_hint = "Pass one of them, such as plt.subplots()[1]."
            raise InputError(
                f"ax must be the axes of one plot, got {type(ax).__name__}",
                hint=problem_hint,
                code="PG001",
            )
        with style.house_style():
            if ax is None:
                return plot(*args, **options)
            token = _place.set(_Place(ax))
            try:
                plot(*args, **options)
            finally:
                _place.reset(token)
        return ax  # type: ignore[return-value] # the user's axes stand for a figure

    return drawn


class _Place:
    """What stands for the figure where the axes are the user's; several panels share
    the room of the axes.
    """

    description = html = heading = ""

    def __init__(self, ax: Axes) -> None:
        self.ax, self.axes = ax, [ax]

    def add_subplot(self) -> Axes:
        return self.ax

    def title(self, text: str, pad: float = 22) -> None:
        """Set the title, by default above a legend."""
        title_look: dict[str, Any] = {
            "loc": "left",
            "fontsize": style.SIZE_TITLE,
            "fontweight": "bold",
            "color": style.INK,
        }
        if text:
            self.heading = clean(text)
        else:
            self.heading = ""
        self.ax.set_title(self.heading, pad=pad, **title_look)

    def subplots(
        self,
        rows: int = 1,
        columns: int = 1,
        *,
        squeeze: bool = True,
        gridspec_kw: Any = None,
        **options: Any,
    ) -> Any:
        figure: Any = self.ax.figure
        ratios: dict[str, Any] = {}
        for ratio_name in ("width_ratios", "height_ratios"):
            if ratio_name in options:
                ratios[ratio_name] = options.pop(ratio_name)
        sizes: dict[str, Any] = {**ratios, **(gridspec_kw or {})}
        if figure.get_layout_engine() is None:
            sizes = {"wspace": 0.4, "hspace": 0.5, **sizes}
        self.ax.set_axis_off()
        self.title(self.heading, pad=4)
        subplot_spec = self.ax.get_subplotspec()
        axes_position = self.ax.get_position()
        if subplot_spec is not None and self.heading:  # room below the title
            subplot_spec = subplot_spec.subgridspec(
                2, 1, height_ratios=(1, 9), hspace=0
            )[1]
        if subplot_spec is None:
            sides = {
                "left": axes_position.x0,
                "right": axes_position.x1,
                "bottom": axes_position.y0,
                "top": axes_position.y1,
            }
            panel_grid: Any = figure.add_gridspec(rows, columns, **sides, **sizes)
        else:
            panel_grid = subplot_spec.subgridspec(rows, columns, **sizes)
        panels = panel_grid.subplots(squeeze=squeeze, **options)
        if isinstance(panels, Axes):
            self.axes = [self.ax]
        else:
            self.axes = list(np.ravel(panels))
        return panels

    def legend(self, handles: Any, labels: Any, *, ncols: int, **_: Any) -> None:
        self.ax.legend(
            handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=ncols
        )

    def align_ylabels(self, panels: Any) -> None:
        self.ax.figure.align_ylabels(panels)


#: Letters in a line of a label that stands upright.
_UPRIGHT = 45
#: Where the plot is drawn that this thread is drawing; None: into a figure of its own.
_place: ContextVar[_Place | None] = ContextVar("place", default=None)


def into_axes() -> bool:
    """Whether the plot is drawn into axes of the user."""
    return _place.get() is not None


def checked_text(name: str, text: str | None, default: str) -> str:
    """Return a text of a figure on one line, or its default for None.

    Refuse what is no text.
    """
    check_kind(name, text, str | None, "text or None", "Pass '' for none.")
    if text is None:
        text = default
    if text:
        return clean(text)
    return ""


def new_figure(
    width: float, height: float, title: str | None = "", default: str = ""
) -> PlotFigure:
    """Return an empty figure of a size in inches.

    A title (None: the default) adds to its height.
    """
    title = checked_text("title", title, default)
    if (own_place := _place.get()) is not None:
        own_place.title(title)
        return own_place  # type: ignore[return-value] # what plots need of a figure
    figure = PlotFigure(
        figsize=(width, height + (0.3 if title else 0)), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)  # type: ignore[union-attr, call-arg]
    if title:
        figure.suptitle(
            title, x=0.012, ha="left", fontsize=style.SIZE_TITLE, fontweight="bold"
        )
    return figure


def one_panel(
    width: float, height: float, title: str | None = "", default: str = ""
) -> tuple[PlotFigure, Any]:
    """Return a figure and its only axes."""
    figure = new_figure(width, height, title, default)
    return figure, figure.add_subplot()


def small_panels(
    count: int,
    size: tuple[float, float],
    title: str | None = "",
    *,
    room: float = 0.0,
    **shared: Any,
) -> tuple[PlotFigure, list[Any]]:
    """Return a figure of panels of equal size, at most three in a row, and their axes
    with a shared y axis.
    """
    columns = min(3, count)
    row_count = math.ceil(count / columns)
    figure = new_figure(size[0] * columns, size[1] * row_count + room, title)
    panel_grid = (
        figure.subplots(row_count, columns, squeeze=False, sharey=True, **shared)
        .ravel()
        .tolist()
    )
    for hidden_axes in panel_grid[count:]:
        hidden_axes.set_visible(False)
    return figure, panel_grid[:count]


# ---- looks ---------------------------------------------------------------------------
def signed_bars(
    axes: Any,
    values: Floats,
    height: float = 0.62,
    quiet: Sequence[bool] | None = None,
    **options: Any,
) -> None:
    """Draw horizontal bars, the first on top, coloured by sign.

    Those that are ``quiet`` are grey.
    """
    signs = []
    for value in np.nan_to_num(values):
        if value < 0:
            signs.append(style.NEGATIVE)
        else:
            signs.append(style.POSITIVE)
    colours = []
    for sign_colour, is_grey in zip(signs, quiet or [False] * len(signs), strict=True):
        if is_grey:
            colours.append(style.NEUTRAL)
        else:
            colours.append(sign_colour)
    axes.barh(
        np.arange(len(values)),
        np.nan_to_num(values),
        height=height,
        color=colours,
        linewidth=0,
        **options,
    )


def intervals(axes: Any, low: Floats, high: Floats, **look: Any) -> None:
    """Draw a whisker in each row with defined ends."""
    row_indices = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    axes.hlines(
        row_indices,
        low[row_indices],
        high[row_indices],
        **{"color": style.INK, "linewidth": 1.1, **look},
    )


# ---- pieces of axes ------------------------------------------------------------------
#: Coordinates: a share of the width, and the position of a row.
BESIDE_ROW = ("axes fraction", "data")


def note(
    axes: Any,
    text: str,
    position: Sequence[Any],
    offset: Sequence[Any] = (0, 0),
    *,
    of: Any = "data",
    **look: Any,
) -> None:
    """Write small grey words at a place, moved by an offset in points.

    ``look`` are other options of annotate.
    """
    look = {"va": "center", "fontsize": style.SIZE_SMALL, "color": style.MUTED, **look}
    axes.annotate(
        text, position, xycoords=of, xytext=offset, textcoords="offset points", **look
    )


def beside_rows(axes: Any, texts: Sequence[str], room: float, **look: Any) -> None:
    """Write a text to the right of each row, ``room`` points from the axes."""
    for row_index, row_text in enumerate(texts):
        note(axes, row_text, (1.0, row_index), (room, 0), of=BESIDE_ROW, **look)


def note_hidden(axes: Any, count: int, hidden_text: str | None = None) -> None:
    """Write below the names of rows how many are not shown, and how large they are."""
    words = f"{count} more not shown"
    if hidden_text is not None:
        words = f"{count} more {hidden_text}"
    if count:
        note(
            axes,
            words,
            (0, 0),
            (-20, -5),
            of="axes fraction",
            ha="right",
            va="top",
        )


def name_rows(axes: Any, names: Sequence[str]) -> None:
    """Name the rows of a plot of horizontal bars or dots, the first on top, with a
    plain axis below.
    """
    axes.set_yticks(np.arange(len(names)), names)
    axes.tick_params(
        axis="y", length=0, labelcolor=style.INK, labelsize=style.SIZE_LABEL
    )
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    plain_axis(axes)


def name_columns(
    axes: Any,
    words: Sequence[str],
    *,
    slanted: bool,
    degrees: float = 40,
    side: str = "right",
    positions: Sequence[int] | None = None,
) -> None:
    """Write words along the horizontal axis, slanted if they are many or long.

    ``positions``: where they stand (None: at 0, 1, …).
    """
    if slanted:
        text_look = {"rotation": degrees, "ha": side}
    else:
        text_look = {"rotation": 0, "ha": "center"}
    if positions is None:
        positions = range(len(words))
    axes.set_xticks(positions, words, rotation_mode="anchor", **text_look)


def heat_table(
    axes: Any,
    shades: npt.ArrayLike,
    texts: npt.ArrayLike | None,
    names: tuple[Sequence[str], Sequence[str]],
    *,
    most: float = 1.0,
    signed: bool = False,
    size: float = style.SIZE_LABEL,
    aspect: str = "equal",
) -> Any:
    """Draw a table of shades from 0 (signed: −``most``) to ``most`` with a text in each
    cell, and return the image.
    """
    table = np.ma.masked_invalid(shades)
    colours = style.colour_map("diverging" if signed else "sequential").with_extremes(
        bad=(0.5, 0.5, 0.5, 0.12)
    )
    image = axes.imshow(
        table, cmap=colours, vmin=-most if signed else 0.0, vmax=most, aspect=aspect
    )
    for (row_index, column), cell_text in (
        np.ndenumerate(np.asarray(texts)) if texts is not None else ()
    ):
        shade = abs(float(table.data[row_index, column])) / most
        if shade > 0.55:
            colour = style.FIXED_LIGHT
        elif np.isfinite(shade):
            colour = style.FIXED_DARK
        else:
            colour = style.MUTED
        axes.text(
            column,
            row_index,
            cell_text,
            ha="center",
            va="center",
            fontsize=size,
            color=colour,
            # the text is inside the axes. To measure hundreds of texts takes seconds
            in_layout=False,
        )
    row_names, columns = names
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(row_names)), row_names)
    # Lines at both ends, too, so that all cells have one size.
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(row_names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=style.PAPER, linewidth=2)
    axes.tick_params(which="both", length=0, labelcolor=style.INK)
    axes.spines[:].set_visible(False)
    return image


def upright(label: str) -> str:
    """Return a label that stands beside a plot of usual height, in as many lines as it
    needs.
    """
    lines = []
    for line in label.splitlines():
        # About equally long, so that no word stands alone.
        count = math.ceil(len(line) / _UPRIGHT)
        letters = math.ceil(len(line) / max(count, 1)) + 6
        lines.append(textwrap.fill(line, min(_UPRIGHT, letters)))
    return "\n".join(lines)


def colour_bar(axes: Any, scale: Any, colours: Any, label: str, **size: Any) -> Any:
    """Draw a colour bar next to axes, or a list of them, and return it."""
    figure = (axes[0] if isinstance(axes, list) else axes).figure
    colour_scale = figure.colorbar(ScalarMappable(scale, colours), ax=axes, **size)
    colour_scale.outline.set_visible(False)
    if size.get("orientation") == "horizontal":
        colour_scale.set_label(textwrap.fill(label, 95))
    else:
        colour_scale.set_label(upright(label))
    plain_axis(colour_scale.ax, "y")
    return colour_scale


def lying(bar: Any, low: float, high: float) -> None:
    """Show a horizontal colour bar from ``low`` to ``high``."""
    bar.solids.set_edgecolor("face")
    bar.ax.yaxis.set_ticks([])
    bar.ax.set_xlim(low, high)
    plain_axis(bar.ax)


def bare(axes: Any, **limits: Any) -> None:
    """Leave nothing of axes but what is drawn in them."""
    axes.set(xticks=[], yticks=[], **limits)
    axes.spines[:].set_visible(False)


# ---- values over an input ------------------------------------------------------------
#: Contrast of a picture below colours.
_CONTRAST = 0.75


class Shades:
    """The colours of values over an input, alike for words, series, images and volumes.

    NaN is nobody's, and clear.

    Signed values have 0 in the middle of the scale and the largest size at its end:
    blue raises the output, orange lowers it. Others, such as activation, start at 0.

    Attributes:
        top: the largest size, at the end of the scale.
        low: its other end.
    """

    def __init__(
        self, values: npt.ArrayLike, *, signed: bool = True, colours: str = ""
    ) -> None:
        self.top = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
        if signed:
            self.low = -self.top
        else:
            self.low = 0.0
        self.colours = style.colour_map(colours or ("diverging" if signed else "heat"))
        self.scale = Normalize(-self.top if signed or colours else 0.0, self.top)

    def of(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the colours ``(..., 4)`` of values."""
        colours: npt.NDArray[np.float64] = self.colours(
            self.scale(np.nan_to_num(values))
        )
        colours[~np.isfinite(values), 3] = 0.0
        return colours

    def over(
        self, axes: Any, grey: Floats | None, values: Floats, extent: tuple[float, ...]
    ) -> None:
        """Draw values over a grey picture in 0 … 1, or without one: the larger, the
        less of it shows through.
        """
        colours = self.of(values)
        strength = np.abs(np.nan_to_num(values)) / self.top
        if grey is not None:
            # A pale picture shows shapes, and leaves dark and bright to the colours.
            axes.imshow(
                1 - _CONTRAST + _CONTRAST * grey,
                cmap="gray",
                vmin=0,
                vmax=1,
                extent=extent,
            )
            colours[..., 3] = np.where(strength > 0, 0.15 + 0.7 * strength, 0.0)
        axes.imshow(colours, extent=extent)


class InputFigure(NamedTuple):
    """A figure for values over an input.

    Attributes:
        figure:
        panels: An array of its axes.
        shades: The colours of values.
    """

    figure: PlotFigure
    panels: npt.NDArray[Any]
    shades: Shades


def over_input(
    values: npt.ArrayLike,
    size: tuple[float, float],
    words: tuple[str | None, str],
    *,
    default: str = "",
    grid: tuple[int, int] = (1, 1),
    signed: bool = True,
    colours: str = "",
    vertical_bar: bool = False,
    **shared: Any,
) -> InputFigure:
    """Return a figure of a size in inches for values over an input, its panels
    ``grid``, and the colours of the values.

    ``words`` are the title (None: ``default``) and the unit of the scale, which is
    below all panels or ``vertical_bar`` the last. Every kind of input draws into the
    panels what is its own. ``shared`` are options of ``subplots``.
    """
    title, unit_text = words
    figure = new_figure(*size, title, default)
    single = grid == (1, 1)  # into axes of the user as they are
    if single:
        panels = np.array([[figure.add_subplot()]])
    else:
        panels = figure.subplots(*grid, squeeze=False, **shared)
    shades = Shades(values, signed=signed, colours=colours)
    if vertical_bar:
        colour_bar(
            panels[-1, -1],
            shades.scale,
            shades.colours,
            unit_text,
            fraction=0.045,
            pad=0.03,
        )
        return InputFigure(figure, panels, shades)
    bar_look: dict[str, Any] = {
        "orientation": "horizontal",
        "fraction": 0.05,
        "aspect": 45,
        "pad": 0.02,
        "panchor": False,
    }
    scale_bar = colour_bar(
        list(panels.ravel()), shades.scale, shades.colours, unit_text, **bar_look
    )
    scale_bar.solids.set_edgecolor("face")
    scale_bar.ax.yaxis.set_ticks([])
    scale_bar.ax.set_xlim(shades.low, shades.top)
    plain_axis(scale_bar.ax)
    return InputFigure(figure, panels, shades)


def plain_axis(axes: Any, which: str = "x", *, counts: bool = False) -> None:
    """Write few, plain numbers along one axis, or both: ``"xy"``.

    ``counts``: two or three whole numbers.
    """
    ticks: dict[str, Any]
    if counts:
        ticks = {"nbins": 2, "integer": True}
    else:
        ticks = {"nbins": 5, "steps": [1, 2, 2.5, 5, 10]}
    for axis_name in which:
        axis = getattr(axes, f"{axis_name}axis")
        axis.set_major_locator(MaxNLocator(**ticks))
        if counts:
            axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        else:
            axis.set_major_formatter(_PlainNumbers())


class _PlainNumbers(Formatter):
    """Writes the ticks of an axis so that no two read alike: those of a narrow range
    far from 0 have more digits.
    """

    def __call__(self, value: float, pos: int | None = None) -> str:  # noqa: ARG002 — matplotlib passes it
        return _tick_text(value)

    def format_ticks(self, values: list[float]) -> list[str]:
        texts = [_tick_text(value) for value in values]
        apart = np.diff(np.unique(values))
        if len(set(texts)) < len(set(values)):
            decimals = -math.floor(math.log10(float(apart.min())) + 1e-9)
            return [fixed(value, decimals) for value in values]
        return texts


@lru_cache(
    maxsize=4096
)  # matplotlib asks for the same few ticks again whenever it measures an axis
def _tick_text(value: float) -> str:
    if abs(value) < 1e-15:
        return "0"
    if 1000 <= abs(value) < 1e6:
        return fixed(value, 0)
    return compact(value, 6)
