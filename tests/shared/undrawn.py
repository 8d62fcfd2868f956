"""Pages with the words of their pictures alone: to draw each of them takes a third to two thirds of a page's time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from markupsafe import escape
from matplotlib.text import Text

from permgrad.base.figures import PlotFigure


def _words(figure: PlotFigure) -> str:
    lines = [line for text in figure.findobj(Text) for line in text.get_text().split("\n")]
    words = "".join(f'<text x="0" y="0">{escape(line)}</text>' for line in lines if line)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 300">{words}</svg>'


@contextmanager
def words_alone() -> Iterator[None]:
    """Make the figures of pages, and write their words without drawing them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlotFigure, "to_svg", _words)
        yield
