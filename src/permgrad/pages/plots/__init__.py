"""Plots: functions of an explanation or of plain arrays that return a figure with ``save``.

None of them uses pyplot or changes the user's matplotlib settings and open figures.
"""

from permgrad.base.figures import PlotFigure
from permgrad.pages.plots.along import along_order
from permgrad.pages.plots.bar import bar, classes, features, signed_bars
from permgrad.pages.plots.classified import (
    MOST_CALIBRATION_PANELS,
    MOST_ROC_CURVES,
    calibration,
    confusion_matrix,
    roc_curves,
)
from permgrad.pages.plots.image import activation, image, overlay
from permgrad.pages.plots.interactions import effect_words, interactions, pair_effect
from permgrad.pages.plots.modality import branches, modality
from permgrad.pages.plots.models import agreement_matrix, differences, reliance, scores, tradeoff
from permgrad.pages.plots.residuals import over_time, residuals, residuals_by_feature
from permgrad.pages.plots.rows import beeswarm, waterfall
from permgrad.pages.plots.series import series
from permgrad.pages.plots.text import text
from permgrad.pages.plots.training import learning_curves
from permgrad.pages.plots.values import direction
from permgrad.pages.plots.volume import volume

__all__ = [
    "MOST_CALIBRATION_PANELS",
    "MOST_ROC_CURVES",
    "PlotFigure",
    "activation",
    "agreement_matrix",
    "along_order",
    "bar",
    "beeswarm",
    "branches",
    "calibration",
    "classes",
    "confusion_matrix",
    "differences",
    "direction",
    "effect_words",
    "features",
    "image",
    "interactions",
    "learning_curves",
    "modality",
    "over_time",
    "overlay",
    "pair_effect",
    "reliance",
    "residuals",
    "residuals_by_feature",
    "roc_curves",
    "scores",
    "series",
    "signed_bars",
    "text",
    "tradeoff",
    "volume",
    "waterfall",
]
