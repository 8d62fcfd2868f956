"""What the template shows: figures and tables as plain, escaped pieces."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal
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

    def add(self, kind: Literal["heading", "code", "terms"], block: Any) -> None:
        """Add a heading of the next level, a command or call, or pairs of words and what they mean."""
        if block:
            self.blocks.append((kind, block))

    def text(self, *paragraphs: str) -> None:
        """Add paragraphs."""
        self.blocks += [("text", paragraph) for paragraph in paragraphs if paragraph]

    def figure(self, drawing: Figure | str | None, caption: str = "", alt: str = "", *, timed: bool = False) -> None:
        """Add a picture; ``timed``: of how long something took."""
        if drawing is not None:
            self.blocks.append(("figure", figure_view(drawing, caption, alt or caption or self.title, timed=timed)))

    def figures(self, pairs: Sequence[tuple[Figure, str]], *, beside: bool) -> None:
        """Add pictures with their captions, side by side where there is room, or one below the other."""
        views = [figure_view(drawing, caption, caption) for drawing, caption in pairs]
        self.blocks += [("figures", views)] if beside else [("figure", view) for view in views]

    def table(self, table: TableView | None, fold: str = "") -> None:
        """Add a table; with ``fold`` it is folded away under that word."""
        if table is not None and table.rows:
            self.blocks.append(("fold", (fold, table)) if fold else ("table", table))

    def items(self, lines: Sequence[str]) -> None:
        """Add a list."""
        if lines:
            self.blocks.append(("items", [clean(line) for line in lines]))

    def pairs(self, content: Mapping[str, Any], fold: str = "") -> None:
        """Add a list of names and values."""
        if content:
            self.blocks.append(("pairs", (fold, [(clean(key), plain_text(value)) for key, value in content.items()])))


#: Anchor and title of a section, and what adds its blocks, given the section and what the page is about.
Builder = tuple[str, str, Callable[..., None]]


def built(builders: Iterable[Builder], *about: Any) -> list[SectionView]:
    """Return sections with their blocks."""
    sections = []
    for anchor, title, fill in builders:
        sections.append(section := SectionView(anchor, title))
        fill(section, *about)
    return sections


# ---- figures ---------------------------------------------------------------------------------------------------------
def figure_view(drawing: Figure | str, caption: str = "", alt: str = "", *, timed: bool = False) -> FigureView:
    """Turn a figure into markup.

    Figures in the house style become inline SVG whose colours follow light and dark; anything else is shown as an
    image, in which nothing can run or ask the network.
    """
    width = round(drawing.get_size_inches()[0] * 96) if isinstance(drawing, Figure) else FigureView.width  # CSS pixels
    if isinstance(drawing, PlotFigure):
        return FigureView(_inline(drawing, drawing.description or alt), caption, width, timed)
    if isinstance(drawing, Figure):
        buffer = io.StringIO()
        # The same drawing gives the same bytes: without a date, its parts named by their content.
        with rc_context({"svg.hashsalt": "permgrad"}):
            drawing.savefig(buffer, format="svg", metadata={"Date": None})
        drawing = buffer.getvalue()
    if not isinstance(drawing, str) or "<svg" not in drawing[:4000]:
        raise InputError(
            f"a drawing must be a matplotlib Figure or SVG markup, however: it is {type(drawing).__name__} "
            f"{shorten(repr(drawing), 40)}"
        )
    data = base64.b64encode(drawing.encode("utf-8", "replace")).decode("ascii")
    image = Markup('<img class="plate" alt="{}" src="data:image/svg+xml;base64,{}">').format(clean(alt), data)
    return FigureView(image, caption, width, timed)


_LOOKS = re.compile(
    rf"font:\s*([^;']*?)([\d.]+px)[^;]*|font-family:[^;]*;?|({'|'.join(style.VARIABLES)})", re.IGNORECASE
)


def _look(match: re.Match[str]) -> str:
    """Return what a part of a style becomes: fonts the page's, colours of the house their variables."""
    weight, size, colour = match.groups()
    if colour:
        return f"var(--{style.VARIABLES[colour.lower()]})"
    return f"{'font-weight: 600; ' * bool(re.search('bold|[67]00', weight))}font-size: {size}" if size else ""


_restyled = lru_cache(maxsize=4096)(partial(_LOOKS.sub, _look))  # most elements look like others


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
        for key, value in list(element.items()):
            name, new = key.rpartition("}")[2], value.replace("url(#", f"url(#{prefix}")
            if name.startswith("on") or (name == "href" and not value.startswith(("#", "data:image/png;base64,"))):
                del element.attrib[key]
                continue
            if name == "id":
                new = prefix + value
            elif name == "href":
                new = f"#{prefix}{value[1:]}" if value.startswith("#") else value
            elif name in ("style", "fill", "stroke"):
                new = _restyled(new)
            element.set(key, new)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", clean(alt))
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 — serialised from the cleaned tree


# ---- tables ----------------------------------------------------------------------------------------------------------
def table_of(caption: str, columns: Sequence[Column], *, sortable: bool = True) -> TableView:
    """Put columns beside each other."""
    rows = list(zip(*(column.cells for column in columns), strict=True))
    heads = [(column.heading, column.kind) for column in columns]
    return TableView(caption, heads, rows, sortable=sortable, tall=len(rows) > _TALL)


def figures_of(
    heading: str,
    values: Iterable[Any],
    write: Callable[[float], str] | Sequence[str] = number,
    marks: Mark | Sequence[Mark] = "",
) -> Column:
    """Return a column of numbers, None where undefined, written by a function or as the texts given."""
    array = np.asarray(list(values), dtype=np.float64).tolist()
    texts = map(write, array) if callable(write) else write
    marked = [marks] * len(array) if isinstance(marks, str) else marks
    numbers = [value if math.isfinite(value) else None for value in array]
    return Column(heading, list(map(Cell, texts, numbers, marked)))


#: Writes a count.
as_count = partial(fixed, decimals=0)


def names(values: Iterable[object], heading: str, marks: Sequence[Mark] | None = None) -> Column:
    """Return a column of words, a dash for None."""
    words = [None if value is None else clean(value) for value in values]
    marked: Sequence[Mark] = marks or [""] * len(words)
    cells = [
        Cell("–", None, mark) if word is None else Cell(word, word.casefold(), mark)
        for word, mark in zip(words, marked, strict=True)
    ]
    return Column(heading, cells, "text")


def metric_heading(metric: Metric) -> str:
    """Write a metric's name and direction so that neither the arrow nor half a word stands alone on a line."""
    arrow = "↑" if metric.direction == "higher" else "↓"
    return f"{metric.label}\u00a0{arrow}".replace("-", "\u2011").replace(" %", "\u00a0%")


def frame_table(frame: pd.DataFrame, caption: str, *, index: str = "", sortable: bool = False) -> TableView:
    """Show a frame; ``index`` is the heading of its row names, left out where empty."""
    columns = [names(frame.index, index)] if index else []
    for place, name in enumerate(frame.columns):
        # Column by column: row by row pandas would turn integers beside floats into floats.
        column, heading = frame.iloc[:, place], clean(name)
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            write = as_count if pd.api.types.is_integer_dtype(column) else number
            columns.append(figures_of(heading, column.to_numpy(dtype=np.float64, na_value=np.nan), write))
        else:
            present = zip(column, column.notna(), strict=True)
            columns.append(names([plain_text(value) if there else None for value, there in present], heading))
    return table_of(caption, columns, sortable=sortable)
