"""From an estimator's ``layout`` argument to the renderer that draws its images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn


def make_renderer(
    layout: Any,
    encoder: Any,
    encoded: npt.NDArray[np.float32],
    *,
    pixels: int,
    channels: int,
    scale: float,
    seed: int,
) -> nn.Module:
    """Return a renderer for encoded rows: a layout's, fitted on the training rows, or somebody else's image method.

    Args:
        layout: a name, an object with the layout protocol, or a foreign method (a callable, a fitted TINTOlib object).
        encoder: the fitted ``TableEncoder``.
        encoded: encoded training rows ``(rows, encoded)``.
        pixels: side of the grid for layouts given by name.
        channels: equal channels.
        scale: value of a column at its training maximum.
        seed: for layouts that draw.
    """
    from permgrad.imaging import ForeignRenderer, Renderer, fit_layout, make_layout
    from permgrad.imaging.foreign import is_foreign

    if is_foreign(layout):
        return ForeignRenderer(layout, list(encoder.encoded_names_) if not callable(layout) else None)
    fitted = fit_layout(make_layout(layout, pixels, seed), encoded, list(encoder.encoded_names_), seed)
    return Renderer(fitted, encoder.minimum_, encoder.maximum_, channels=channels, scale=scale)
