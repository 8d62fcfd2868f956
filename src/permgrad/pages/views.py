"""Sections and tabs as the template reads them: texts, tables and figures, and the data
of a tab's scripts.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from permgrad.base.errors import in_reading_order
from permgrad.base.files import plain
from permgrad.base.numerals import fixed, number
from permgrad.base.numerals import numbers as number_texts
from permgrad.pages.charts.chart import Chart
from permgrad.pages.content import PageContent
from permgrad.pages.words import clean, plain_text

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.evaluation.metrics import Metric

#: What could end the element or be read as markup, and line ends of scripts that JSON
#: allows.
_ESCAPES = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}
_PACKED = {"f4": "<f4", "f8": "<f8", "i4": "<i4", "u1": "|u1", "u2": "<u2"}


def page_data(data: Mapping[str, Any]) -> str:
    r"""Return data as JSON for ``<script type="application/json">``.

    Floats have six significant digits. NaN and infinities become null. NumPy's numbers
    and arrays are allowed.

    Examples:
        >>> values = np.array([1 / 3, np.nan])
        >>> page_data({"rows": {"name": "</script>", "values": values}})
        '{"rows":{"name":"\\u003c/script\\u003e","values":[0.333333,null]}}'
    """
    short = json.loads(json.dumps(plain(data)), parse_float=_short)
    json_text = json.dumps(
        short, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    # Scripts show names as well: a backslash of JSON keeps the sign as text there, too.
    json_text = in_reading_order(json_text, before="\\\\u")
    return json_text.translate(_ESCAPES).encode("utf-8", "replace").decode("utf-8")


def _short(text: str) -> float:
    """Return a number with six significant digits."""
    short = float(f"{float(text):.6g}")
    if short.is_integer() and abs(short) < 2**53:
        return int(short)
    return short


def packed(array: npt.ArrayLike, kind: str = "f4") -> dict[str, Any]:
    """Return a numeric array of any shape as text that ``Page.unpack`` turns into a
    typed array.

    ``kind`` is the type of a number: ``"f4"`` and ``"f8"`` (NaN allowed), ``"i4"``,
    ``"u1"`` or ``"u2"``. The first bytes of all numbers come first, then the second
    ones, so that they can be compressed better.

    Examples:
        >>> packed([[1, 2]], "u1")
        {'type': 'u1', 'shape': [1, 2], 'base64': 'AQI='}
    """
    numbers = np.ascontiguousarray(array, dtype=_PACKED[kind])
    planes = (
        numbers.reshape(-1)
        .view(np.uint8)
        .reshape(numbers.size, numbers.itemsize)
        .T.tobytes()
    )
    return {
        "type": kind,
        "shape": list(np.shape(array)),
        "base64": base64.b64encode(planes).decode("ascii"),
    }


Mark = Literal["", "best", "own", "quiet"]
#: ``short``: words that need little room, such as levels.
Kind = Literal["text", "number", "short"]
#: The space between a number and its per cent sign.
_BEFORE_PERCENT = re.compile(r"(?<=\d) (?=%)")
#: Letters of words that need little room.
_SHORT = 12
#: From this many rows on a table scrolls.
_TALL = 30


@dataclass(frozen=True)
class FigureView:
    """A figure of the page: a ``chart``, or the ``markup`` of a picture, or of
    ``inputs`` on their colours.

    ``timed``: it shows times, which comparisons of pages leave out. ``anchor`` is the
    place that links to it name.
    """

    markup: Markup
    caption: str = ""
    width: int = 700
    timed: bool = False
    anchor: str = ""
    chart: Chart | None = None
    inputs: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell: its text and its sort key."""

    text: str
    sort: float | str | None = None
    mark: Mark = ""


#: A column of a table, from the top: its heading, its kind, and its cells.
Column = tuple[str, Kind, Sequence[Cell]]


@dataclass(frozen=True)
class TableView:
    """A table for the page. ``timed``: it shows times."""

    caption: str
    columns: Sequence[tuple[str, Kind]]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = False
    tall: bool = False
    timed: bool = False


@dataclass(frozen=True)
class Fact:
    """A key figure: a number and its name."""

    value: str
    label: str


@dataclass
class SectionView:
    """A section of the page: blocks in reading order, and its figures.

    Empty blocks and None are not added.
    """

    anchor: str
    title: str
    blocks: list[Any] = field(default_factory=list)
    pictures: list[FigureView] = field(default_factory=list, repr=False)
    #: It needs only half of a wide screen, as the tab's ``halves`` say.
    half: bool = False

    def columns(self) -> tuple[SectionView, SectionView]:
        """Return two columns of this section, which stand side by side if there is
        room.
        """
        left = SectionView(self.anchor, self.title, pictures=self.pictures)
        right = SectionView(self.anchor, self.title, pictures=self.pictures)
        self.blocks.append(("columns", (left.blocks, right.blocks)))
        return left, right

    def live(self, name: str) -> None:
        """Add a place that the tab's script fills with a view of this name."""
        self.blocks.append(("live", name))

    def add(
        self,
        kind: Literal["heading", "code", "paste", "terms", "link", "anchor"],
        block: Any,
    ) -> None:
        """Add a heading of the next level, a command or call, a text to copy, terms
        with their meanings, words with an anchor, or a further anchor.
        """
        if block:
            self.blocks.append((kind, block))

    def text(self, *paragraphs: str) -> None:
        """Add paragraphs.

        A line does not break between a number and its per cent sign.
        """
        for paragraph in paragraphs:
            words = paragraph
            if words and not isinstance(words, Markup):
                words = _BEFORE_PERCENT.sub("\u00a0", words)
            if words:
                self.blocks.append(("text", words))

    def figure(
        self,
        drawing: Chart | Markup | str | None,
        caption: str = "",
        alt: str = "",
        *,
        timed: bool = False,
        side_by_side: bool = False,
    ) -> None:
        """Add a figure with its place on the page.

        ``timed``: it shows times. ``side_by_side``: it stands next to the one before if
        that does too, and if there is room.
        """
        if drawing is None:
            return
        shown_view = figure_view(
            drawing, caption, alt or caption or self.title, timed=timed
        )
        shown_view = replace(
            shown_view, anchor=f"{self.anchor}-{len(self.pictures) + 1}"
        )
        self.pictures.append(shown_view)
        if not side_by_side:
            self.blocks.append(("figure", shown_view))
        elif self.blocks and self.blocks[-1][0] == "figures":
            self.blocks[-1][1].append(shown_view)
        else:
            self.blocks.append(("figures", [shown_view]))

    def table(self, table: TableView | None, fold: str = "") -> None:
        """Add a table. With ``fold`` it is folded under that word."""
        if table is not None and table.rows:
            self.blocks.append(("fold", (fold, table)) if fold else ("table", table))

    def items(self, lines: Sequence[str]) -> None:
        """Add a list."""
        if lines:
            self.blocks.append(("items", list(map(clean, lines))))

    def pairs(self, content: Mapping[str, Any], fold: str = "") -> None:
        """Add a list of names and values."""
        if content:
            self.blocks.append(
                (
                    "pairs",
                    (
                        fold,
                        [
                            (clean(pair_name), plain_text(value))
                            for pair_name, value in content.items()
                        ],
                    ),
                )
            )


#: Anchor and title of a section, and the function that adds its blocks, from the
#: section and the page's subject.
Builder = tuple[str, str, Callable[..., None]]


def built(builders: Iterable[Builder], *about: Any) -> list[SectionView]:
    """Return sections with their blocks."""
    sections = []
    for anchor, title, fill_section in builders:
        sections.append(section := SectionView(anchor, title))
        fill_section(section, *about)
    return sections


# ---- figures -------------------------------------------------------------------------
#: Space between elements.
_BETWEEN = re.compile(r">\s+<")


def figure_view(
    drawing: Chart | Markup | str,
    caption: str = "",
    alt: str = "",
    *,
    timed: bool = False,
) -> FigureView:
    """Return a figure: arrays that the page's script draws, inputs of
    ``pages.pictures``, or a picture (SVG markup).

    A picture is an image, which cannot run scripts or load from the network.
    """
    if isinstance(drawing, Chart):
        chart = replace(drawing, words=clean(drawing.words))
        return FigureView(Markup(), caption, drawing.width, timed, chart=chart)
    if isinstance(drawing, Markup):
        return FigureView(drawing, caption, timed=timed, inputs=True)
    image_data = base64.b64encode(
        _BETWEEN.sub("><", drawing).encode("utf-8", "replace")
    ).decode("ascii")
    image = Markup(
        '<img class="plate" alt="{}" src="data:image/svg+xml;base64,{}">'
    ).format(clean(alt), image_data)
    return FigureView(image, caption, timed=timed)


# ---- tables --------------------------------------------------------------------------
def table_of(
    caption: str, columns: Sequence[Column], *, sortable: bool = True
) -> TableView:
    """Make a table of columns."""
    table_rows = list(zip(*(cells for *_, cells in columns), strict=True))
    heads = [(heading, column_kind) for heading, column_kind, _ in columns]
    return TableView(
        caption, heads, table_rows, sortable=sortable, tall=len(table_rows) > _TALL
    )


def figures_of(
    heading: str,
    values: Iterable[Any],
    write: Callable[[float], str] | Sequence[str] = number,
    marks: Mark | Sequence[Mark] = "",
) -> Column:
    """Return a column of numbers, None where undefined, written by a function or as
    texts.
    """
    array = np.asarray(list(values), dtype=np.float64).tolist()
    texts = map(write, array) if callable(write) else write
    marked = [marks] * len(array) if isinstance(marks, str) else marks
    numbers = [value if math.isfinite(value) else None for value in array]
    return heading, "number", list(map(Cell, texts, numbers, marked))


def intervals_of(
    low: Iterable[Any],
    high: Iterable[Any],
    write: Callable[[float], str] | None = None,
    level: str = "95\u00a0%",
) -> Column:
    """Return a column of intervals, None where undefined.

    ``write``: writes an end (None: as numbers of a column).
    """
    interval_ends = []
    for end_values in (low, high):
        interval_ends.append(np.asarray(list(end_values), dtype=np.float64))
    texts = (
        number_texts(end_values) if write is None else map(write, end_values.tolist())
        for end_values in interval_ends
    )
    written = zip(*texts, np.isfinite(interval_ends[0]), strict=True)
    return figures_of(
        f"{level} interval",
        interval_ends[0],
        [f"{a} to {b}" if is_known else "–" for a, b, is_known in written],
    )


#: Writes a count.
as_count = partial(fixed, decimals=0)


def names(
    values: Iterable[object],
    heading: str,
    marks: Sequence[Mark] | None = None,
    kind: Kind = "text",
) -> Column:
    """Return a column of words, with a dash for None."""
    words = [None if value is None else clean(value) for value in values]
    marked: Sequence[Mark] = marks or [""] * len(words)
    cells = [
        Cell("–", None, cell_mark)
        if cell_word is None
        else Cell(cell_word, cell_word.casefold(), cell_mark)
        for cell_word, cell_mark in zip(words, marked, strict=True)
    ]
    return heading, kind, cells


def metric_heading(metric: Metric) -> str:
    """Write a metric's name and direction without line breaks inside."""
    if metric.direction == "higher":
        arrow = "↑"
    else:
        arrow = "↓"
    return f"{metric.label}\u00a0{arrow}".replace("-", "\u2011").replace(
        " %", "\u00a0%"
    )


def frame_table(
    frame: pd.DataFrame, caption: str, *, index: str = "", sortable: bool = False
) -> TableView:
    """Show a frame.

    ``index`` is the heading of its row names (empty: they are left out).
    """
    if index:
        columns = [names(frame.index, index)]
    else:
        columns = []
    for column_index, column_name in enumerate(frame.columns):
        # By column: by row, pandas would turn integers into floats.
        column = frame.iloc[:, column_index]
        heading = clean(column_name)
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(
            column
        ):
            write = as_count if pd.api.types.is_integer_dtype(column) else number
            columns.append(
                figures_of(
                    heading, column.to_numpy(dtype=np.float64, na_value=np.nan), write
                )
            )
        else:
            present = zip(column, column.notna(), strict=True)
            texts = [plain_text(value) if there else None for value, there in present]
            kind: Kind = "text"
            if columns and all(len(text or "") <= _SHORT for text in texts):
                kind = "short"
            columns.append(names(texts, heading, kind=kind))
    return table_of(caption, columns, sortable=sortable)


#: Anchor and title of a section, and the function that adds its blocks, from the
#: section and the content. A fourth entry is the field of the content, or of one of its
#: fields, without which the section is left out. The function then takes it too.
Section = (
    tuple[str, str, Callable[..., None]] | tuple[str, str, Callable[..., None], str]
)


@dataclass(frozen=True, kw_only=True)
class Tab:
    """A tab: ``name`` is its anchor (``#rows``) and the key of its data in the page.

    ``title`` can depend on the content. ``sections`` make the static page. Their
    anchors are unique in the report, and no section is named like a tab. ``data``
    returns what the tab's script needs, as JSON (pack large arrays with
    ``page_data.packed``), or None for nothing. ``scripts`` are files in
    ``templates/scripts``. They register with ``Page.tab(name, ...)``. ``halves`` are
    sections that need half of a wide screen: neighbours stand side by side.
    ``alerts`` says how many warnings the tab lists, which stands behind its title.

    Examples:
        >>> def words(section, content):
        ...     section.text(f"What predicts {content.target}.")
        ...     section.live("list")  # the script fills it, see page.js
        >>> sections = [("list", "All features", words)]
        >>> tab = Tab(name="features", title="Features", sections=sections)
        >>> from permgrad.assess.assessment import Assessment
        >>> assessment = Assessment(title="t", target="price", task="regression")
        >>> tab_view(tab, assessment).sections[0].blocks
        [('text', 'What predicts price.'), ('live', 'list')]
    """

    name: str
    title: str | Callable[[PageContent], str]
    sections: Sequence[Section]
    data: Callable[[PageContent], Mapping[str, Any] | None] = lambda _: None
    scripts: Sequence[str] = ()
    halves: Sequence[str] = ()
    alerts: Callable[[PageContent], int] = lambda _: 0


@dataclass(frozen=True)
class TabView:
    """A tab with its blocks and its data, and how many warnings it lists."""

    name: str
    title: str
    sections: Sequence[SectionView]
    data: Mapping[str, Any] | None = None
    scripts: Sequence[str] = ()
    alerts: int = 0


def tab_view(tab: Tab, content: Assessment) -> TabView:
    """Build a tab of the sections that have content."""
    content = PageContent.of(content)
    sections: list[SectionView] = []
    for anchor, heading, fill_section, *needs in tab.sections:
        needed: Any = content
        for field_name in (
            path_name for field_path in needs for path_name in field_path.split(".")
        ):
            needed = getattr(needed, field_name, None)
        if needed is not None and (not isinstance(needed, Sized) or len(needed)):
            section = SectionView(anchor, heading, half=anchor in tab.halves)
            sections.append(section)
            fill_section(section, content, *[needed for _ in needs])
    if isinstance(tab.title, str):
        title = tab.title
    else:
        title = tab.title(content)
    shown = [section for section in sections if section.blocks]
    return TabView(
        tab.name, title, shown, tab.data(content), tab.scripts, tab.alerts(content)
    )
