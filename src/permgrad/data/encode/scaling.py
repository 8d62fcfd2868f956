"""Bringing numbers to a network's scale: robust, standard, min–max or normal scores, many columns at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from permgrad.base.checks import check_choice
from permgrad.data.encode.statistics import NumericStatistics, column_quantiles, exact_array, exact_list
from permgrad.data.read.cells import Floats

ScalingMode: TypeAlias = Literal["robust", "standard", "minmax", "quantile"]

_MOST_KNOTS = 1_000
_LARGEST = 1e30
"""Bound of the unbounded modes, so that float32 and products of a few values stay finite."""
_LOWEST_SHARE = 1e-7


def check_mode(mode: str) -> None:
    """Raise ``InputError`` for an unknown mode."""
    check_choice("numeric", mode, get_args(ScalingMode))


class Scaling:
    """A fitted scaling of numeric columns; every mode is monotone and finite for every finite number.

    - ``"robust"``: z = (x − median) / interquartile range (twice the inverse range where that is 0), then
      z / √(1 + (z/3)²): Holzmüller, Grinsztajn & Steinwart 2024 (RealMLP, arXiv 2407.04491), "robust scaling and
      smooth clipping".
    - ``"standard"``: (x − mean) / standard deviation.
    - ``"minmax"``: (x − minimum) / (maximum − minimum).
    - ``"quantile"``: normal scores through up to 1,000 quantiles, ties in the middle, as scikit-learn's
      ``QuantileTransformer``. NOTE[DIFF]: there a tie at either end goes to ±5.2, here to its middle too, so that the
      commonest value of a count is no outlier.

    Args:
        mode: one of the four.

    Attributes:
        center, factor: arrays ``(columns,)``.
        fill: what a missing cell is replaced with before scaling, the median, ``(columns,)``.
        knots: quantiles ``(knots, columns)``; without rows unless the mode is ``"quantile"``.

    Examples:
        >>> statistics = NumericStatistics(1)
        >>> statistics.update(np.array([[0.0], [5.0], [10.0]]), np.zeros((3, 1), dtype=np.int16), first_row=0)
        >>> Scaling("minmax").fit(statistics).apply(np.array([[0.0], [10.0]])).ravel().tolist()
        [0.0, 1.0]
    """

    def __init__(self, mode: ScalingMode) -> None:
        check_mode(mode)
        self.mode: ScalingMode = mode
        self.center: Floats = np.empty(0)
        self.factor: Floats = np.empty(0)
        self.fill: Floats = np.empty(0)
        self.knots: Floats = np.empty((0, 0))

    def fit(self, statistics: NumericStatistics) -> Scaling:
        """Take centre and factor from statistics; a column without a value gets 0 everywhere."""
        low, median, high = statistics.quantiles([0.25, 0.5, 0.75])
        # A very sparse column may have no value in the sample: the mean stands in.
        self.fill = np.nan_to_num(np.where(np.isnan(median), statistics.mean, median))
        # The mean of huge numbers may round past the ends.
        self.fill = np.clip(self.fill, np.nan_to_num(statistics.minimum), np.nan_to_num(statistics.maximum))
        minimum, maximum = np.nan_to_num(statistics.minimum), np.nan_to_num(statistics.maximum)
        # Quarters: the difference of the two largest floats must not overflow.
        span = maximum * 0.25 - minimum * 0.25
        if self.mode == "robust":
            self.center = self.fill
            width = np.nan_to_num(high * 0.25 - low * 0.25)
            self.factor = np.where(_invertible(width), _inverse(width), _inverse(span * 0.5))
        elif self.mode == "standard":
            self.center = np.clip(np.nan_to_num(statistics.mean), minimum, maximum)
            width = statistics.deviation * 0.25
            self.factor = np.where(_invertible(width), _inverse(width), _inverse(span * 0.5))
        else:
            self.center, self.factor = minimum, _inverse(span)
        self.knots = self._fit_knots(statistics) if self.mode == "quantile" else np.empty((0, len(self.fill)))
        return self

    @staticmethod
    def _fit_knots(statistics: NumericStatistics) -> Floats:
        n_knots = int(np.clip(len(statistics.sample), 2, _MOST_KNOTS))
        knots = np.nan_to_num(column_quantiles(statistics.sample, np.linspace(0.0, 1.0, n_knots)))
        # The sample may lack the extremes, the statistics have them.
        knots[0] = np.fmin(knots[0], np.nan_to_num(statistics.minimum))
        knots[-1] = np.fmax(knots[-1], np.nan_to_num(statistics.maximum))
        return np.asarray(np.maximum.accumulate(knots, axis=0))

    def apply(self, values: Floats) -> Floats:
        """Scale values; missing cells get the value of ``fill``.

        Shape:
            values ``(rows, columns)``; result the same.
        """
        filled = np.where(np.isnan(values), self.fill, values)
        if self.mode == "quantile":
            return self._normal_scores(filled)
        with np.errstate(over="ignore"):
            scaled = (filled * 0.25 - self.center * 0.25) * self.factor
        np.clip(scaled, -_LARGEST, _LARGEST, out=scaled)
        if self.mode == "robust":
            scaled /= np.hypot(1.0, scaled / 3.0)
        return np.asarray(scaled)

    def _normal_scores(self, values: Floats) -> Floats:
        from scipy.special import ndtri

        levels = np.linspace(0.0, 1.0, len(self.knots))
        shares = np.empty_like(values)
        for j in range(values.shape[1]):
            knots = self.knots[:, j]
            # Up and down averaged: a value that fills several quantiles gets the middle of them.
            up = np.interp(values[:, j], knots, levels)
            down = np.interp(-values[:, j], -knots[::-1], -levels[::-1])
            shares[:, j] = 0.5 * (up - down)
        return np.asarray(ndtri(np.clip(shares, _LOWEST_SHARE, 1.0 - _LOWEST_SHARE)))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form; floats survive exactly."""
        return {
            "mode": self.mode,
            **{name: exact_list(getattr(self, name)) for name in ("center", "factor", "fill", "knots")},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Scaling:
        """Read back what ``to_dict`` wrote."""
        made = cls(content["mode"])
        made.center, made.factor, made.fill = (exact_array(content[name]) for name in ("center", "factor", "fill"))
        knots = exact_array(content["knots"])
        # A table of categories alone has no column to scale, and its knots no width that NumPy could tell rows by.
        made.knots = knots.reshape(-1, len(made.fill)) if len(made.fill) else knots.reshape(len(knots), 0)
        return made


def _invertible(width: Floats) -> npt.NDArray[np.bool_]:
    return np.isfinite(width) & (width > 1e-300)


def _inverse(width: Floats) -> Floats:
    return np.where(_invertible(width), 1.0 / np.where(_invertible(width), width, 1.0), 0.0)
