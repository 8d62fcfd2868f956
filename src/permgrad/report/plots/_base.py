"""What all plots share: a figure that keeps the house style, choices of what is shown, and pieces of axes."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from permgrad.base.checks import check_whole, is_whole
from permgrad.base.errors import InputError, shown
from permgrad.base.files import atomic_path, writing
from permgrad.report import style
from permgrad.report.words import clean, compact, fixed

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

Floats = npt.NDArray[np.float64]

FORMATS = (".png", ".svg", ".pdf")
#: Runs a plotting function in the house style.
styled = style.house_style()


class PlotFigure(Figure):
    """A matplotlib figure that is drawn in the house style whenever that happens, and that never meets pyplot.

    The style must also hold while drawing, because matplotlib makes ticks only then and would take the user's settings
    (and read ``$`` in names as mathematics).
    """

    description: str = ""
    """What the figure shows, in words; the report uses it as alternative text."""

    html: str = ""
    """The same as HTML, where a plot has such a form."""

    def to_html(self) -> str:
        """Return HTML of the figure: words in colours of a text, else the picture's SVG markup."""
        return self.html or self.to_svg()

    def draw(self, renderer: Any) -> None:
        """Draw in the house style."""
        with style.house_style():
            super().draw(renderer)

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save in the house style; see ``matplotlib.figure.Figure.savefig``."""
        with style.house_style():
            super().savefig(fname, **options)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a PNG, SVG or PDF by the ending of ``path``, in one step, and return the path."""
        target = Path(path)
        if target.suffix.lower() not in FORMATS:
            raise InputError(
                f"save writes {', '.join(FORMATS)}, however: path={str(path)!r}; choose one of these endings"
            )
        with writing("a plot must be written", target, "choose another folder"), atomic_path(target) as temporary:
            self.savefig(temporary, format=target.suffix.lower()[1:])
        return target

    def to_svg(self) -> str:
        """Return SVG markup without a background: what ``savefig`` writes, which draws twice, to arrange it first."""
        buffer, canvas, dots = io.StringIO(), self.canvas, self.dpi
        try:
            with style.house_style():
                FigureCanvasSVG(self).print_svg(buffer, metadata={"Date": None, "Creator": None})
        finally:
            self.set_canvas(canvas)
            self.dpi = dots
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        """Show the figure in a notebook."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def new_figure(width: float, height: float, title: str | None = "", default: str = "") -> PlotFigure:
    """Return an empty figure of a size in inches, to which a title (None: the default) adds, that arranges itself."""
    if title is not None and not isinstance(title, str):
        raise InputError(f"title must be text or None, however: title={shown(title)}; pass '' for none")
    title = default if title is None else title
    figure = PlotFigure(figsize=(width, height + (0.3 if title else 0)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)  # type: ignore[union-attr, call-arg]
    if title:
        figure.suptitle(clean(title), x=0.012, ha="left", fontsize=style.SIZE_TITLE, fontweight="bold")
    return figure


def one_panel(width: float, height: float, title: str | None = "", default: str = "") -> tuple[PlotFigure, Any]:
    """Return a figure and its only axes."""
    figure = new_figure(width, height, title, default)
    return figure, figure.add_subplot()


def small_panels(
    count: int, size: tuple[float, float], title: str | None = "", *, room: float = 0.0, **shared: Any
) -> tuple[PlotFigure, list[Any]]:
    """Return a figure of panels of one size, at most three beside each other, and their axes with one y axis."""
    columns = min(3, count)
    rows = math.ceil(count / columns)
    figure = new_figure(size[0] * columns, size[1] * rows + room, title)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True, **shared).ravel().tolist()
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, grid[:count]


# ---- choices ---------------------------------------------------------------------------------------------------------
def check_top_n(top_n: int | None, available: int) -> int:
    """Return how many to show; None shows all."""
    if top_n is None:
        return available
    return min(check_whole("top_n", top_n, "pass for example 10, or None for all"), available)


def largest(scores: Floats, top_n: int | None) -> npt.NDArray[np.intp]:
    """Return positions of the largest scores, largest first, undefined last, ties in their order."""
    order: npt.NDArray[np.intp] = np.argsort(-np.nan_to_num(scores, nan=-np.inf, posinf=np.inf), kind="stable")
    return order[: check_top_n(top_n, len(scores))]


def pick_output(explanation: Explanation, output: str | int | None) -> int:
    """Return an output's position; None is the first, or of two classes the positive one."""
    outputs = explanation.outputs
    if output is None and len(outputs) == 2 and outputs[0] != "all":
        positive = explanation.meta.get("positive")
        return outputs.index(positive) if positive in outputs else 1
    return int(explanation.output_index(output))


def check_one_unit(explanation: Explanation, plot: str) -> None:
    """Refuse to put numbers of different methods on one axis: they have different units."""
    if explanation.meta.get("methods"):
        raise InputError(
            f"{plot} puts all features on one axis, however: the modalities were explained by different methods, each "
            "in its own unit; call explanation.plot.features(), which gives each its own axis"
        )


def check_local(explanation: Explanation, plot: str) -> None:
    """Refuse a global explanation where single rows are needed."""
    if explanation.scope != "local":
        raise InputError(
            f"{plot} shows single rows and needs a local explanation, however: this one is global; "
            "explain with scope='local', for example method='integrated_gradients'"
        )


def check_row(explanation: Explanation, row: int) -> int:
    """Return a row's position if it exists; negative positions count from the end."""
    rows = int(explanation.values.shape[0])
    if not is_whole(row) or not -rows <= row < rows:
        raise InputError(
            f"row must be a position from 0 to {rows - 1}, however: row={shown(row)}; pass for example "
            "row=0, or row=-1 for the last"
        )
    return int(row) % rows


def as_global(explanation: Explanation) -> Explanation:
    """Return a local explanation as its mean absolute attribution, a global one as it is."""
    return explanation.to_global("mean_abs") if explanation.scope == "local" else explanation


def adding_parts(explanation: Explanation, column: int) -> dict[str, Floats]:
    """Return the parts of an output's values that add up to them, by path; others stand beside them: nothing."""
    parts = {name: np.asarray(part[:, column]) for name, part in explanation.parts.items() if name != "interaction"}
    values = explanation.values[:, column]
    gap, scale = (np.nanmax(np.abs(one), initial=1e-300) for one in (sum(parts.values()) - values, values))
    return {} if len(parts) < 2 or gap > 1e-6 * scale else parts


def class_table(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[Any]
) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return each row's position among the classes, −1 for others, and its probabilities."""
    table, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(truth)
    if table.shape != (len(labels), len(classes)):
        raise InputError(
            "probabilities must have one row per row of truth and one column per class, however: "
            f"the shape is {table.shape} and ({len(labels)}, {len(classes)}) is needed"
        )
    return pd.Index(np.asarray(classes)).get_indexer(pd.Index(labels)), table


def thinned(count: int, most: int) -> npt.NDArray[np.intp]:
    """Return at most ``most`` positions out of ``count``, evenly spread."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).astype(np.intp))


# ---- looks -----------------------------------------------------------------------------------------------------------
def series_style(position: int) -> dict[str, Any]:
    """Return colour and line style of the n-th class or line."""
    round_number, place = divmod(position, len(style.SERIES))
    return {"color": style.SERIES[place], "linestyle": style.LINE_STYLES[round_number % len(style.LINE_STYLES)]}


def signed_bars(axes: Any, values: Floats, height: float = 0.62, **options: Any) -> None:
    """Draw horizontal bars, the first on top of the list, whose colours tell their sign."""
    colours = [style.NEGATIVE if value < 0 else style.POSITIVE for value in np.nan_to_num(values)]
    axes.barh(np.arange(len(values)), np.nan_to_num(values), height=height, color=colours, linewidth=0, **options)


def intervals(axes: Any, low: Floats, high: Floats, **look: Any) -> None:
    """Draw a whisker in each row whose ends are defined."""
    rows = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    axes.hlines(rows, low[rows], high[rows], **{"color": style.INK, "linewidth": 1.1, **look})


# ---- pieces of axes --------------------------------------------------------------------------------------------------
#: Coordinates of what stands at a share of the width, beside a row.
BESIDE_ROW = ("axes fraction", "data")


def note(
    axes: Any,
    text: str,
    at: Sequence[Any],
    offset: Sequence[Any] = (0, 0),
    *,
    of: Any = "data",
    **look: Any,
) -> None:
    """Write small grey words at a place, moved by an offset in points; ``look`` are other options of annotate."""
    look = {"va": "center", "fontsize": style.SIZE_SMALL, "color": style.MUTED, **look}
    axes.annotate(text, at, xycoords=of, xytext=offset, textcoords="offset points", **look)


def beside_rows(axes: Any, texts: Sequence[str], room: float, **look: Any) -> None:
    """Write a text to the right of each row, ``room`` points from the axes."""
    for place, text in enumerate(texts):
        note(axes, text, (1.0, place), (room, 0), of=BESIDE_ROW, **look)


def note_hidden(axes: Any, count: int) -> None:
    """Say beneath the names of rows how many are not shown."""
    if count:
        note(axes, f"{count} more not shown", (0, 0), (-8, -5), of="axes fraction", ha="right", va="top")


def name_rows(axes: Any, names: Sequence[str]) -> None:
    """Name the rows of a plot of horizontal bars or dots, the first on top, with a plain axis below."""
    axes.set_yticks(np.arange(len(names)), names)
    axes.tick_params(axis="y", length=0, labelcolor=style.INK, labelsize=style.SIZE_LABEL)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    plain_axis(axes)


def name_columns(axes: Any, words: Sequence[str], *, slanted: bool, degrees: float = 40, side: str = "right") -> None:
    """Write words along the horizontal axis, slanted where they are many or long."""
    look = {"rotation": degrees, "ha": side} if slanted else {"rotation": 0, "ha": "center"}
    axes.set_xticks(range(len(words)), words, rotation_mode="anchor", **look)


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
    """Draw a table of shades from 0 (signed: −``most``) to ``most`` with a text in each cell, and return the image."""
    table = np.ma.masked_invalid(shades)
    colours = style.colour_map("diverging" if signed else "sequential").with_extremes(bad=(0.5, 0.5, 0.5, 0.12))
    image = axes.imshow(table, cmap=colours, vmin=-most if signed else 0.0, vmax=most, aspect=aspect)
    for (row, column), text in np.ndenumerate(np.asarray(texts)) if texts is not None else ():
        shade = abs(float(table.data[row, column])) / most
        colour = style.FIXED_LIGHT if shade > 0.55 else style.FIXED_DARK if np.isfinite(shade) else style.MUTED
        axes.text(
            column, row, text, ha="center", va="center", fontsize=size, color=colour,
            in_layout=False,  # it lies inside the axes; measuring hundreds of texts takes seconds
        )  # fmt: skip
    rows, columns = names
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(np.arange(1, len(columns)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(rows)) - 0.5, minor=True)
    axes.grid(which="minor", color=style.PAPER, linewidth=2)
    axes.tick_params(which="both", length=0, labelcolor=style.INK)
    axes.spines[:].set_visible(False)
    return image


def colour_bar(axes: Any, scale: Any, colours: Any, label: str, **size: Any) -> Any:
    """Draw a colour bar beside axes and return it."""
    bar = axes.figure.colorbar(ScalarMappable(scale, colours), ax=axes, **size)
    bar.outline.set_visible(False)
    bar.set_label(label)
    plain_axis(bar.ax, "y")
    return bar


def unit_square(axes: Any) -> None:
    """Give both axes the range 0 to 1."""
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "0.25", "0.5", "0.75", "1"])
    axes.grid(visible=True)


def plain_axis(axes: Any, which: str = "x") -> None:
    """Write few, plain numbers along one axis, or both: ``"xy"``."""
    for name in which:
        axis = getattr(axes, f"{name}axis")
        axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(_tick_text)


@lru_cache(maxsize=4096)  # matplotlib asks for the same few ticks again whenever it measures an axis
def _tick_text(value: float, _position: Any = None) -> str:
    if abs(value) < 1e-15:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        return compact(value, 6) if abs(value) < 1000 else fixed(value, 0)
    return compact(value).replace("e+0", "e").replace("e−0", "e−").replace("e+", "e")


def count_axis(axis: Any) -> None:
    """Write two or three whole numbers along an axis of counts."""
    axis.set_major_locator(MaxNLocator(nbins=2, integer=True))
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def padded(values: npt.ArrayLike, share: float = 0.05) -> tuple[float, float]:
    """Return limits with some air around the finite values: 0 to 1 around none, a small range around a single one."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    room = share * (high - low) if high > low else abs(high) * 0.1 or 1.0
    return low - room, high + room
