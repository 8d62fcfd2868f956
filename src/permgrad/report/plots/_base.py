"""What all plots share: a figure that keeps the house style, short labels, number formats and the choice of rows."""

from __future__ import annotations

import functools
import io
import math
import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from permgrad.base.checks import check_whole, is_whole
from permgrad.base.errors import InputError, shown
from permgrad.base.files import atomic_path, writing
from permgrad.report import style

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

P = ParamSpec("P")
R = TypeVar("R")
Floats = npt.NDArray[np.float64]

FORMATS = (".png", ".svg", ".pdf")


class PlotFigure(Figure):
    """A matplotlib figure that is drawn in the house style whenever that happens, and that never meets pyplot.

    The style must also hold while drawing, because matplotlib makes ticks only then and would take the user's settings
    (and read ``$`` in names as mathematics).
    """

    description: str = ""
    """What the figure shows, in words; the report uses it as alternative text."""

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
        """Return SVG markup without a background.

        The same as ``savefig(..., transparent=True)`` writes, which draws everything twice: once to arrange it.
        """
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        buffer = io.StringIO()
        canvas, dots = self.canvas, self.dpi
        patches = [self.patch, *(axes.patch for axes in self.axes)]
        colours = [(patch.get_facecolor(), patch.get_edgecolor()) for patch in patches]
        try:
            with style.house_style():
                for patch in patches:
                    patch.set_facecolor("none")
                    patch.set_edgecolor("none")
                # What pictures inside the drawing are scaled to; the drawing itself has no dots.
                self.dpi = mpl.rcParams["savefig.dpi"]
                FigureCanvasSVG(self).print_svg(buffer, metadata={"Date": None, "Creator": None})
        finally:
            for patch, (face, edge) in zip(patches, colours, strict=True):
                patch.set_facecolor(face)
                patch.set_edgecolor(edge)
            self.set_canvas(canvas)
            self.dpi = dots
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        """Show the figure in a notebook."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run a plotting function in the house style."""

    @functools.wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with style.house_style():
            return function(*args, **kwargs)

    return inside


def new_figure(width: float, height: float) -> PlotFigure:
    """Return an empty figure of a size in inches that arranges itself."""
    figure = PlotFigure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)  # type: ignore[union-attr, call-arg]
    return figure


# --------------------------------------------------------------------------------------------------------- words


def clean(text: object) -> str:
    r"""Make any value printable on one line: control signs and line ends become spaces.

    Examples:
        >>> clean("a\nb")
        'a b'
    """
    signs = "".join(" " if unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"} else sign for sign in str(text))
    return " ".join(signs.split()) or "(blank)"


def shorten(text: object, width: int = 26) -> str:
    """Cut the middle out of a long name, because both ends tell names apart.

    Examples:
        >>> shorten("MSinceMostRecentDelq", 26)
        'MSinceMostRecentDelq'
        >>> shorten("NumTrades60Ever2DerogPubRecOfTheLastYear", 20)
        'NumTrades60…LastYear'
    """
    whole = clean(text)
    if len(whole) <= width:
        return whole
    head = math.ceil((width - 1) * 0.55)
    return f"{whole[:head]}…{whole[len(whole) - (width - 1 - head) :]}"


def labels_of(names: Sequence[object], width: int = 26) -> list[str]:
    """Shorten names so that different names stay different: a number is added where two would look the same.

    Examples:
        >>> labels_of(["x" * 40 + "1" + "x" * 40, "x" * 40 + "2" + "x" * 40], 10)
        ['xxxxx…xx·1', 'xxxxx…xx·2']
    """
    short = [shorten(name, width) for name in names]
    result = []
    for position, label in enumerate(short):
        if short.count(label) > 1:
            number = f"·{short[: position + 1].count(label)}"
            result.append(f"{label[: width - len(number)]}{number}")
        else:
            result.append(label)
    return result


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with significant digits, a real minus sign, thousands apart, and a dash where undefined.

    Examples:
        >>> number(-0.01234), number(12345.6), number(math.nan), number(2.3e-9)
        ('−0.0123', '12,346', '–', '2.3e−9')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e7 or size < 1e-4:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    return f"{value:,.{decimals}f}".replace("-", "−")


def numbers(values: Sequence[float] | Floats, digits: int = 3) -> list[str]:
    """Write numbers of one column alike: as many decimals as give the largest of them its significant digits.

    Examples:
        >>> numbers([0.0505, 0.000784, float("nan"), 0.0])
        ['0.0505', '0.0008', '–', '0']
    """
    array = np.asarray(values, dtype=np.float64)
    size = float(np.max(np.abs(array[np.isfinite(array)]), initial=0.0))
    if size == 0 or not 1e-5 <= size < 1e7:
        return [number(float(value), digits) for value in array]
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    texts = []
    for value in array:
        text = f"{value:,.{decimals}f}".replace("-", "−") if np.isfinite(value) else "–"
        if value == 0:
            text = "0"
        elif not text.strip("−0."):
            text = text.removeprefix("−")  # a tiny negative number is not "−0.000"
        texts.append(text)
    return texts


def value_text(value: Any, width: int = 16) -> str:
    """Write a cell of the user's table.

    Examples:
        >>> value_text(100.0), value_text(0.123456), value_text(None), value_text("within 30 days of it", 12)
        ('100', '0.1235', 'missing', 'within …f it')
    """
    if isinstance(value, (bool, np.bool_, str)):
        return shorten(value, width)
    if isinstance(value, (int, np.integer)):
        return f"{int(value)}".replace("-", "−") if abs(int(value)) < 10**width else number(float(value))
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            return "missing" if math.isnan(value) else str(value)
        single = float(value)
        return f"{int(single)}".replace("-", "−") if single.is_integer() and abs(single) < 1e7 else number(single, 4)
    missing = value is None or (pd.api.types.is_scalar(value) and pd.isna(value))
    return "missing" if missing else shorten(value, width)


def quantity_of(explanation: Explanation) -> str:
    """Say what the numbers are, with their unit if known."""
    quantity = clean(
        explanation.meta.get("quantity") or ("attribution" if explanation.scope == "local" else "importance")
    )
    unit = explanation.meta.get("unit")
    quantity = quantity.replace("_", " ")
    return f"{quantity} ({clean(unit)})" if unit and clean(unit) not in quantity else quantity


# ------------------------------------------------------------------------------------------------------- choices


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
    if output is None and len(explanation.outputs) == 2 and explanation.outputs[0] != "all":
        from permgrad.attribution.explanation import positive_output

        return positive_output(explanation)
    return int(explanation.output_index(output))


def need_one_unit(explanation: Explanation, plot: str) -> None:
    """Refuse to put numbers of different methods on one axis: they have different units."""
    if explanation.meta.get("methods"):
        raise InputError(
            f"{plot} puts all features on one axis, however: the modalities were explained by different methods, each "
            "in its own unit; call explanation.plot.features(), which gives each its own axis"
        )


def need_local(explanation: Explanation, plot: str) -> None:
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


def series_style(position: int) -> dict[str, Any]:
    """Return colour and line style of the n-th class or line."""
    count = len(style.SERIES)
    return {
        "color": style.SERIES[position % count],
        "linestyle": style.LINE_STYLES[(position // count) % len(style.LINE_STYLES)],
    }


def heading(default: str, title: str | None) -> str:
    """Return a title: None takes the default, an empty text leaves it out."""
    if title is not None and not isinstance(title, str):
        raise InputError(f"title must be text or None, however: title={shown(title)}; pass '' for none")
    return default if title is None else title


def finish_title(axes: Any, default: str, title: str | None) -> None:
    """Set a title: None takes the default, an empty text leaves it out."""
    text = heading(default, title)
    if text:
        axes.figure.suptitle(clean(text), x=0.012, ha="left", fontsize=style.SIZE_TITLE, fontweight="bold")


def plain_axis(axes: Any, which: str = "x") -> None:
    """Write few, plain numbers along an axis."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(_tick_text))


def _tick_text(value: float, _position: Any = None) -> str:
    if value == 0 or abs(value) < 1e-15:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        return f"{value:,.6g}".replace("-", "−") if abs(value) < 1000 else f"{value:,.0f}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−").replace("e+0", "e").replace("e−0", "e−").replace("e+", "e")


def thinned(count: int, most: int) -> npt.NDArray[np.intp]:
    """Return at most ``most`` positions out of ``count``, evenly spread."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).astype(np.intp))


_WIDEST = 1e300


def padded(low: float, high: float, share: float = 0.05) -> tuple[float, float]:
    """Return limits with some air; a range of nothing becomes a small one around it.

    Examples:
        >>> padded(0, 10), padded(3, 3, 0.1)
        ((-0.5, 10.5), (2.7, 3.3))
        >>> padded(-1.5e308, 1.5e308)
        (-1e+300, 1e+300)
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.0, 1.0
    # The width of a wider range is no number of float64, and what lies beyond is drawn at the edge.
    low, high = (min(max(end, -_WIDEST), _WIDEST) for end in (low, high))
    if abs(low) == _WIDEST or abs(high) == _WIDEST:
        return low, high
    if high <= low:
        room = abs(high) * 0.1 or 1.0
        return low - room, high + room
    return low - share * (high - low), high + share * (high - low)
