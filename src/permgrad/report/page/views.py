"""What the template shows: figures and tables as plain, escaped pieces."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from permgrad.base.errors import InputError
from permgrad.report import style
from permgrad.report.plots._base import PlotFigure
from permgrad.report.words import clean, fixed, number, plain_text, shorten

if TYPE_CHECKING:
    from permgrad.evaluation.metrics import Metric

_SVG = "http://www.w3.org/2000/svg"
ET.register_namespace("", _SVG)
ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
_SHAPES = {"path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan", "use", "image"}
_ELEMENTS = _SHAPES | {"svg", "g", "defs", "clipPath", "symbol", "linearGradient", "radialGradient", "stop", "pattern"}
Mark = Literal["", "best", "own", "quiet"]
Kind = Literal["text", "number"]
#: Rows from which on a table scrolls.
_TALL = 14


@dataclass(frozen=True)
class FigureView:
    """A picture ready to be put on the page; ``timed``: of how long things took, which comparisons leave out."""

    markup: Markup
    caption: str = ""
    width: int = 700
    timed: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell: what is written and what it is sorted by."""

    text: str
    sort: float | str | None = None
    mark: Mark = ""


@dataclass(frozen=True)
class Column:
    """A column of a table, from the top."""

    heading: str
    cells: Sequence[Cell]
    kind: Kind = "number"


@dataclass(frozen=True)
class TableView:
    """A table ready to be put on the page; ``timed``: of how long things took."""

    caption: str
    columns: Sequence[tuple[str, Kind]]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = False
    tall: bool = False
    timed: bool = False


@dataclass(frozen=True)
class Fact:
    """A key figure: a number and what it is."""

    value: str
    label: str


@dataclass
class SectionView:
    """A section of the page: blocks in the order in which they are read. What is empty or None is not added."""

    anchor: str
    title: str
    blocks: list[Any] = field(default_factory=list)

    def text(self, *paragraphs: str) -> None:
        """Add paragraphs."""
        self.blocks += [("text", paragraph) for paragraph in paragraphs if paragraph]

    def heading(self, text: str) -> None:
        """Add a heading of the next level."""
        self.blocks.append(("heading", text))

    def figure(self, drawing: Figure | str | None, caption: str = "", alt: str = "", *, timed: bool = False) -> None:
        """Add a picture; ``timed``: of how long something took."""
        if drawing is not None:
            view = figure_view(drawing, caption, alt or caption or self.title)
            self.blocks.append(("figure", replace(view, timed=timed)))

    def figures(self, pairs: Sequence[tuple[Figure, str]], *, beside: bool) -> None:
        """Add pictures with their captions, side by side where there is room, or one below the other."""
        views = [figure_view(drawing, caption, caption) for drawing, caption in pairs]
        self.blocks += [("figures", views)] if beside else [("figure", view) for view in views]

    def table(self, table: TableView | None, fold: str = "") -> None:
        """Add a table; with ``fold`` it is folded away under that word."""
        if table is not None and table.rows:
            self.blocks.append(("fold", (fold, table)) if fold else ("table", table))

    def terms(self, terms: Mapping[str, str]) -> None:
        """Add words and what they mean."""
        self.blocks.append(("terms", list(terms.items())))

    def items(self, lines: Sequence[str]) -> None:
        """Add a list."""
        if lines:
            self.blocks.append(("items", [clean(line) for line in lines]))

    def pairs(self, content: Mapping[str, Any], fold: str = "") -> None:
        """Add a list of names and values."""
        if content:
            self.blocks.append(("pairs", (fold, [(clean(key), plain_text(value)) for key, value in content.items()])))

    def code(self, text: str) -> None:
        """Add a command or call."""
        if text:
            self.blocks.append(("code", text))


#: Anchor and title of a section, and what adds its blocks, given the section and the facts of the page.
Builder = tuple[str, str, Callable[..., None]]


def built(builder: Builder, *facts: Any) -> SectionView:
    """Return a section with its blocks."""
    anchor, title, fill = builder
    section = SectionView(anchor, title)
    fill(section, *facts)
    return section


# ---- figures ---------------------------------------------------------------------------------------------------------
def figure_view(drawing: Figure | str, caption: str = "", alt: str = "") -> FigureView:
    """Turn a figure into markup.

    Figures in the house style become inline SVG whose colours follow light and dark; anything else is shown as an
    image, in which nothing can run or ask the network.
    """
    if isinstance(drawing, str) and "<svg" in drawing[:4000]:
        return FigureView(_as_image(drawing.encode("utf-8", "replace"), alt), caption)
    if not isinstance(drawing, Figure):
        raise InputError(
            f"a drawing must be a matplotlib Figure or SVG markup, however: it is {type(drawing).__name__} "
            f"{shorten(repr(drawing), 40)}"
        )
    width = round(drawing.get_size_inches()[0] * 96)  # CSS pixels
    if isinstance(drawing, PlotFigure):
        return FigureView(_inline(drawing, drawing.description or alt), caption, width)
    buffer = io.BytesIO()
    # The same drawing gives the same bytes: without a date, its parts named by their content.
    with rc_context({"svg.hashsalt": "permgrad"}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None})
    return FigureView(_as_image(buffer.getvalue(), alt), caption, width)


def _as_image(svg: bytes, alt: str) -> Markup:
    data = base64.b64encode(svg).decode("ascii")
    return Markup('<img class="plate" alt="{}" src="data:image/svg+xml;base64,{}">').format(clean(alt), data)


def _inline(figure: PlotFigure, alt: str) -> Markup:
    """Make matplotlib's SVG fit for a page: only what draws, with names of its own, colours by variable."""
    # The markup is our own figure's; names from data are text in it, escaped by matplotlib and again below.
    markup = figure.to_svg()
    root = ET.fromstring(markup)  # noqa: S314 — written by matplotlib a moment ago, not read from outside
    prefix = f"f{hashlib.blake2b(markup.encode(), digest_size=5).hexdigest()}-"
    for element in root.iter():
        for child in list(element):
            if child.tag.removeprefix(f"{{{_SVG}}}") not in _ELEMENTS:
                element.remove(child)
        for name, value in list(element.items()):
            new = _attribute(name.rpartition("}")[2], value, prefix)
            if new is None:
                del element.attrib[name]
            else:
                element.set(name, new)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", clean(alt))
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 — serialised from the cleaned tree


_TOKENS = re.compile("|".join(re.escape(colour) for colour in style.VARIABLES), re.IGNORECASE)


def _attribute(name: str, value: str, prefix: str) -> str | None:
    """Return what an attribute becomes, colours of the house their variables, fonts the page's; None drops it."""
    if name == "id":
        return prefix + value
    if name == "href":
        inside = value.startswith("data:image/png;base64,")
        return f"#{prefix}{value[1:]}" if value.startswith("#") else value if inside else None
    if name.startswith("on"):
        return None
    value = value.replace("url(#", f"url(#{prefix}")
    if name not in ("style", "fill", "stroke"):
        return value
    value = re.sub(r"font:\s*([^;']*?)([\d.]+px)[^;]*", _font, value)
    value = re.sub(r"font-family:[^;]*;?", "", value)
    return _TOKENS.sub(lambda match: f"var(--{style.VARIABLES[match.group().lower()]})", value)


def _font(match: re.Match[str]) -> str:
    weight = "font-weight: 600; " if re.search(r"bold|[67]00", match.group(1)) else ""
    return f"{weight}font-size: {match.group(2)}"


# ---- tables ----------------------------------------------------------------------------------------------------------
def table_of(caption: str, columns: Sequence[Column], *, sortable: bool = True) -> TableView:
    """Put columns beside each other."""
    rows = list(zip(*(column.cells for column in columns), strict=True))
    heads = [(column.heading, column.kind) for column in columns]
    return TableView(caption, heads, rows, sortable=sortable, tall=len(rows) > _TALL)


def cell(value: Any, text: str | None = None, mark: Mark = "") -> Cell:
    """Make a cell of any value: numbers sort as numbers, undefined last."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        missing = value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(cast("Any", value))))
        words = "–" if missing else plain_text(value)
        return Cell(words if text is None else text, None if missing else words.casefold(), mark)
    written = f"{int(value):,}" if isinstance(value, (int, np.integer)) else number(float(value))
    sort = float(value) if math.isfinite(value) else None
    return Cell(written.replace("-", "−") if text is None else text, sort, mark)


def figures_of(
    heading: str, values: Iterable[Any], write: Callable[[float], str] | Sequence[str] = number, mark: Mark = ""
) -> Column:
    """Return a column of numbers, None where undefined, written by a function or as the texts given."""
    array = np.asarray(list(values), dtype=np.float64).tolist()
    texts = map(write, array) if callable(write) else write
    return Column(heading, [cell(value, text, mark) for value, text in zip(array, texts, strict=True)])


def as_count(value: float) -> str:
    """Write a count."""
    return fixed(value, 0)


def names(values: Iterable[object], heading: str) -> Column:
    """Return a column of names."""
    return Column(heading, [cell(clean(value)) for value in values], "text")


def metric_heading(metric: Metric) -> str:
    """Write a metric's name and direction so that neither the arrow nor half a word stands alone on a line."""
    arrow = "↑" if metric.direction == "higher" else "↓"
    return f"{metric.label}\u00a0{arrow}".replace("-", "\u2011").replace(" %", "\u00a0%")


def frame_table(frame: pd.DataFrame, caption: str, *, index: str = "", sortable: bool = False) -> TableView:
    """Show a frame; ``index`` is the heading of its row names, left out where empty."""
    columns = [names(frame.index, index)] if index else []
    for place, name in enumerate(frame.columns):
        # Column by column: row by row pandas would turn integers beside floats into floats.
        column = frame.iloc[:, place]
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        columns.append(Column(clean(name), [cell(value) for value in column], "number" if numeric else "text"))
    return table_of(caption, columns, sortable=sortable)
