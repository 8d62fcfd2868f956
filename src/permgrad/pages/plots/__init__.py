"""Plots: functions of an explanation or of plain arrays that return a figure with
``save``, drawn by matplotlib.

None of them uses pyplot or changes the user's matplotlib settings and open figures.
Pages have ``pages.charts``.
"""

from permgrad.base.figures import PlotFigure
from permgrad.pages.plots.along import along_order
from permgrad.pages.plots.bar import bar, classes, features, signed_bars
from permgrad.pages.plots.image import image
from permgrad.pages.plots.interactions import interactions
from permgrad.pages.plots.modality import modality
from permgrad.pages.plots.row_plots import beeswarm, waterfall
from permgrad.pages.plots.scatter import scatter
from permgrad.pages.plots.series import series
from permgrad.pages.plots.text import text
from permgrad.pages.plots.values import direction
from permgrad.pages.plots.volume import volume
from permgrad.pages.plots.words import words

__all__ = [
    "PlotFigure",
    "along_order",
    "bar",
    "beeswarm",
    "classes",
    "direction",
    "features",
    "image",
    "interactions",
    "modality",
    "scatter",
    "series",
    "signed_bars",
    "text",
    "volume",
    "waterfall",
    "words",
]
