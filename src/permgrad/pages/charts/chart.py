"""A figure of the page as arrays: ``templates/scripts/figures.js`` draws it, and writes
its numbers as a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Kind = Literal["bars", "plot", "cells", "swarm", "steps", "blocks"]
#: Width of a figure, of one that stands beside another, and of one beside the first
#: sentences, in CSS pixels.
WIDTH = 640
HALF = 330
ASIDE = 368
#: Points that are drawn of many.
MOST_POINTS = 1500


@dataclass(frozen=True)
class Chart:
    """What a figure shows.

    Attributes:
        kind: how it is drawn.

            - ``"bars"``: a bar, or a dot, for each name, with intervals, parts and
              numbers
            - ``"plot"``: panels of lines, dots, areas and vertical bars, see ``plot``
            - ``"cells"``: a table of coloured cells
            - ``"swarm"``: a point for each row and name
            - ``"steps"``: from a start to an end, name by name
            - ``"blocks"``: the layers of a network, a lane for each branch
        words: what it shows, for screen readers, and where no script runs.
        data: its arrays, as JSON. Colours are names of ``base.style.TOKENS``.
        width: in CSS pixels, on a wide screen.
    """

    kind: Kind
    words: str
    data: Mapping[str, Any]
    width: int = WIDTH

    def spec(self) -> dict[str, Any]:
        """Return what the script needs."""
        return {
            "kind": self.kind,
            "words": self.words,
            "width": self.width,
            **self.data,
        }


def thinned(count: int, most: int = MOST_POINTS) -> npt.NDArray[np.intp]:
    """Return at most ``most`` positions out of ``count``, evenly spread."""
    return np.unique(
        np.linspace(0, max(count - 1, 0), min(count, most)).astype(np.intp)
    )


def padded(values: npt.ArrayLike, share: float = 0.05) -> tuple[float, float]:
    """Return limits with a margin around the finite values: 0 to 1 for none, a small
    range for a single one.
    """
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return 0.0, 1.0
    lower_value = float(finite.min())
    upper_value = float(finite.max())
    if upper_value > lower_value:
        margin = share * (upper_value - lower_value)
    else:
        margin = abs(upper_value) * 0.1 or 1.0
    return lower_value - margin, upper_value + margin


def mark(
    form: Literal["line", "steps", "dots", "area", "bars", "rule"], **look: Any
) -> dict[str, Any]:
    """Return what is drawn in a panel.

    ``line``, ``steps`` and ``dots`` have ``x`` and ``y`` (dots also ``low`` and
    ``high``, ends of whiskers), ``area`` has ``x``, ``low`` and ``high``, ``bars`` have
    ``edges`` and ``y`` (from 0), and ``rule`` is a line across at ``x`` or ``y``.
    Looks: ``name`` (in the legend), ``colour``, ``dashed``, ``width``, ``opacity``,
    ``size`` and ``shape`` of dots, ``texts`` beside dots.
    """
    return {
        "as": form,
        **{
            option_name: np.asarray(value) if isinstance(value, pd.Series) else value
            for option_name, value in look.items()
        },
    }


def panel(
    x: Mapping[str, Any], y: Mapping[str, Any], marks: Sequence[Any], **look: Any
) -> dict[str, Any]:
    """Return a panel of a plot.

    Axes have a ``label`` and a ``domain`` (None: that of the marks), and are of
    ``names`` at 0, 1, …, or numbers that are ``dates`` (seconds since 1970), ``shares``
    or drawn by their logarithm (``log``). Looks: ``title``, ``note`` (words in a
    corner).
    """
    return {"x": x, "y": y, "marks": list(marks), **look}


def plot(
    words: str,
    panels: Sequence[Mapping[str, Any]],
    *,
    columns: int = 1,
    height: int = 300,
    width: int = WIDTH,
) -> Chart:
    """Return a chart of panels, at most ``columns`` in a row, each so many pixels
    high.
    """
    return Chart(
        "plot",
        words,
        {"panels": list(panels), "columns": columns, "height": height},
        width,
    )
