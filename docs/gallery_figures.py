"""Shows in the gallery the figures that permgrad's plots return, which pyplot does not
know.
"""

from __future__ import annotations

from typing import Any

from sphinx_gallery.scrapers import figure_rst

from permgrad.pages.plots import PlotFigure


def scrape(
    _block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]
) -> str:
    """Save the figure that is the last value of a block, and return its directive."""
    figure = block_vars["example_globals"].get("___")
    if not isinstance(figure, PlotFigure) or figure is block_vars.get("shown"):
        return ""
    block_vars["shown"] = figure
    path = next(block_vars["image_path_iterator"])
    figure.save(path)
    return figure_rst([path], gallery_conf["src_dir"])
