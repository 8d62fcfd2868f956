"""The figure that every plot returns."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from permgrad.base import style
from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.base.files import atomic_path, writing

FORMATS = (".png", ".svg", ".pdf")


class PlotFigure(Figure):
    """A matplotlib figure that is always drawn in the house style and does not use
    pyplot.

    The style must also apply while drawing, because matplotlib makes ticks only then.
    It would use the user's settings and read ``$`` in names as mathematics.

    Examples:
        >>> import tempfile
        >>> figure = PlotFigure()
        >>> line = figure.subplots().plot([1, 2])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     figure.save(f"{folder}/line.png").name
        'line.png'
        >>> figure.to_html() == figure.to_svg()
        True
    """

    description: str = ""
    """A description of the figure, such as for alternative text."""

    html: str = ""
    """The same as HTML, if the plot has such a form."""

    def to_html(self) -> str:
        """Return HTML of the figure: for a text its coloured words, else the SVG
        markup.
        """
        return self.html or self.to_svg()

    def draw(self, renderer: Any) -> None:
        """Draw in the house style."""
        with style.house_style():
            super().draw(renderer)

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save in the house style, see ``matplotlib.figure.Figure.savefig``."""
        with style.house_style():
            super().savefig(fname, **options)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a PNG, SVG or PDF by the ending of ``path``, in one step, and return
        the path.
        """
        target = Path(path)
        if target.suffix.lower() not in FORMATS:
            problem = f"A plot is saved as {', '.join(FORMATS)}, got {str(path)!r}"
            raise InputError(problem, hint="Choose one of these endings.", code="PG003")
        with writing(target, "choose another folder"), atomic_path(target) as temporary:
            self.savefig(temporary, format=target.suffix.lower()[1:])
        return target

    def to_svg(self) -> str:
        """Return SVG markup without a background.

        ``savefig`` draws twice, first to arrange the figure.
        """
        buffer = io.StringIO()
        canvas = self.canvas
        resolution = self.dpi
        try:
            with style.house_style():
                FigureCanvasSVG(self).print_svg(
                    buffer, metadata={"Date": None, "Creator": None}
                )
        finally:
            self.set_canvas(canvas)
            self.dpi = resolution
        return buffer.getvalue()

    def show(self, warn: bool = True) -> None:  # noqa: ARG002 — as of any figure of matplotlib
        """Show the figure: below the cell of a notebook, elsewhere in the browser, as a
        PNG file.

        Neither pyplot nor matplotlib's settings are touched.

        Raises:
            EnvironmentProblem: There is no browser.
        """
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if hasattr(shell, "kernel"):
            from IPython.display import display

            display(self)  # type: ignore[no-untyped-call]
            return
        figure_path = self.save(
            Path(tempfile.mkdtemp(prefix="permgrad-")) / "figure.png"
        )
        if not webbrowser.open(figure_path.as_uri()):
            raise EnvironmentProblem(
                "No browser could be opened",
                f"Open {figure_path}, or call figure.save(path).",
                "PG062",
            )

    def _repr_png_(self) -> bytes:
        """Show the figure in a notebook."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()
