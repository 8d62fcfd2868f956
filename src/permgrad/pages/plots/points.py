"""The numbers of a figure as a table, read from what was drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from permgrad.data.read.dates import date_text

#: Figures with more numbers than this have none to take away: they would make the page heavy.
MOST_NUMBERS = 3000
#: The ``gid`` of an axis whose numbers are dates, in seconds since 1970 (UTC).
DATES = "dates"
HEADINGS = ["panel", "kind", "series", "x", "y", "x end", "y end"]
_Line = list[Any]


def points(figure: Figure) -> list[_Line]:
    """Return headings and one line for each mark of a figure, or nothing of a figure without numbers or with too many.

    Lines are points of lines and dots (``x, y``), and bars from ``x, y`` to ``x end, y end``. Where an axis has names,
    such as those of features, the name is given. Cells of a drawn table have their value as ``series``. Pictures and
    decoration are left out.

    Examples:
        >>> figure = Figure()
        >>> _ = figure.subplots().plot([1, 2], [3, 5], label="loss")
        >>> points(figure)[1:]
        [['1', 'line', 'loss', 1.0, 3.0, None, None], ['1', 'line', 'loss', 2.0, 5.0, None, None]]
    """
    lines: list[_Line] = []
    for place, axes in enumerate(figure.axes, start=1):
        if not axes.get_visible() or not axes.axison:
            continue
        panel = axes.get_title() or axes.get_title(loc="left") or str(place)
        named = [_names(axis) for axis in (axes.xaxis, axes.yaxis)]
        write = [_date if axis.get_gid() == DATES else _named for axis in (axes.xaxis, axes.yaxis)]
        for kind, series, *ends in _marks(axes):
            for at, names in enumerate(named):
                middle = (ends[at] + ends[at + 2]) / 2 if ends[at + 2] is not None else None
                if middle is not None and _named(middle, names) in names.values():
                    ends[at], ends[at + 2] = middle, None  # a bar beside a name
            label = "" if str(series).startswith("_") else str(series)
            lines.append([panel, kind, label, *(write[at % 2](end, named[at % 2]) for at, end in enumerate(ends))])
            if 4 * len(lines) > MOST_NUMBERS:
                return []
    return [HEADINGS, *lines] if lines else []


def _marks(axes: Any) -> Iterator[tuple[Any, ...]]:
    """Yield kind, label and places of every mark that is drawn in the units of the axes."""
    for line in axes.get_lines():
        if line.get_transform().contains_branch(axes.transData) and line.get_visible():
            x, y = (np.asarray(values, dtype=object) for values in (line.get_xdata(), line.get_ydata()))
            yield from (("line", line.get_label(), *at, None, None) for at in zip(x, y, strict=True))
    for drawn in axes.collections:
        if isinstance(drawn, PathCollection):
            yield from (("dot", drawn.get_label(), *at, None, None) for at in np.asarray(drawn.get_offsets()))
        elif isinstance(drawn, PolyCollection):
            places = (at for path in drawn.get_paths() for at in np.asarray(path.vertices))
            yield from (("area", drawn.get_label(), *at, None, None) for at in places)
    for image in axes.images:
        table = np.ma.filled(np.ma.asarray(image.get_array(), dtype=np.float64), np.nan)
        for (row, column), shown in np.ndenumerate(table) if table.ndim == 2 else ():  # no picture in colour
            yield "cell", f"{shown:.6g}", column, row, None, None
    for bar in axes.patches:
        if isinstance(bar, Rectangle) and bar.get_data_transform().contains_branch(axes.transData):
            (left, bottom), width, height = bar.get_xy(), bar.get_width(), bar.get_height()
            yield "bar", bar.get_label(), left, bottom, left + width, bottom + height


def _names(axis: Any) -> dict[float, str]:
    """Return the labels of an axis whose ticks are named, by their place."""
    places = axis.get_ticklocs()
    texts = axis.get_major_formatter().format_ticks(places)
    if all(text.replace("−", "").replace(".", "").replace(",", "").isdigit() for text in texts if text):
        return {}  # numbers: their ticks need not be made
    texts = [text.get_text() for text in axis.get_ticklabels()]
    return {float(at): text for at, text in zip(places, texts, strict=False) if text}


def _date(value: Any, _names: dict[float, str]) -> str | None:
    """Return seconds as a date, None where there is none."""
    return None if value is None or not np.isfinite(float(value)) else date_text(float(value))


def _named(value: Any, names: dict[float, str]) -> Any:
    """Return the name at a place, else the number with six significant digits."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None if value is None else str(value)
    near = min(names, key=lambda at: abs(at - number), default=None)
    if near is not None and abs(near - number) < 1e-6:
        return names[near]
    return float(f"{number:.6g}") if np.isfinite(number) else None
