"""Pictures with their words alone: to draw those of a page takes a third to two thirds
of its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from markupsafe import escape
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.text import Text

from permgrad.base.figures import PlotFigure


def _texts(artist: Artist) -> Iterator[Text]:
    """Yield the texts of an artist, as ``findobj`` does, which would make the ticks
    that have no words yet.
    """
    if isinstance(artist, Text):
        yield artist
    if isinstance(artist, Axis):
        major_ticks = vars(artist).get("majorTicks", ())
        children = [
            artist.label,
            *(major_ticks and major_ticks[: len(artist.get_majorticklocs())]),
        ]
    else:
        children = artist.get_children()
    for child in children:
        yield from _texts(child)


def _words(figure: PlotFigure) -> str:
    lines = [line for text in _texts(figure) for line in text.get_text().split("\n")]
    words = "".join(
        f'<text x="0" y="0">{escape(line)}</text>' for line in lines if line
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 300">{words}</svg>'
    )


@contextmanager
def words_alone() -> Iterator[None]:
    """Make the figures of pages and files, and write their words without drawing
    them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlotFigure, "to_svg", _words)
        patch.setattr(
            PlotFigure,
            "savefig",
            lambda figure, file_path, **_: Path(file_path).write_text(_words(figure)),
        )
        yield
