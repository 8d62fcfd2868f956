"""Bringing numbers to a network's scale: robust, standard, min–max or normal scores,
many columns at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from permgrad.base.arrays import Floats
from permgrad.base.checks import check_choice
from permgrad.data.encode.table_statistics import NumericStatistics

ScalingMode: TypeAlias = Literal["robust", "standard", "minmax", "quantile"]

_MOST_KNOTS = 1_000
#: Bound of the unbounded modes, so that float32 and products of a few values stay
#: finite.
_LARGEST = 1e30
_LOWEST_SHARE = 1e-7


@dataclass(frozen=True)
class Scaling:
    """A fitted scaling of numeric columns.

    Every mode is monotone and finite for every finite number.

    - ``"robust"``: z = (x − median) / interquartile range (twice the inverse range
      where that is 0), then z / √(1 + (z/3)²): Holzmüller, Grinsztajn & Steinwart 2024
      (RealMLP, arXiv 2407.04491), "robust scaling and smooth clipping".
    - ``"standard"``: (x − mean) / standard deviation.
    - ``"minmax"``: (x − minimum) / (maximum − minimum).
    - ``"quantile"``: normal scores through up to 1,000 quantiles, ties in the middle,
      as scikit-learn's ``QuantileTransformer``. NOTE[DIFF]: there a tie at either end
      goes to ±5.2, here to its middle too, so that the commonest value of a count is no
      outlier.

    ``center``, ``factor`` and ``fill``, the median that a missing cell gets, are
    ``(columns,)``. ``knots`` are the quantiles ``(knots, columns)``, without rows
    unless the mode is ``"quantile"``.
    """

    mode: ScalingMode
    center: Floats
    factor: Floats
    fill: Floats
    knots: Floats

    @classmethod
    def fit(cls, mode: ScalingMode, statistics: NumericStatistics) -> Scaling:
        """Compute centre and factor from statistics.

        A column without values is 0 everywhere.
        """
        check_choice("numeric", mode, get_args(ScalingMode))
        lower_quartile, median, upper_quartile = statistics.quantiles([0.25, 0.5, 0.75])
        minimum = np.nan_to_num(statistics.minimum)
        maximum = np.nan_to_num(statistics.maximum)
        # A very sparse column may have no value in the sample: the mean stands in,
        # which may round past the ends.
        median = np.nan_to_num(np.where(np.isnan(median), statistics.mean, median))
        fill_values = np.clip(median, minimum, maximum)
        # Quarters: the difference of the two largest floats must not overflow.
        quarter_span = maximum * 0.25 - minimum * 0.25
        center = minimum
        factor = _inverse(quarter_span)
        knots = np.empty((0, len(fill_values)))
        if mode in ("robust", "standard"):
            is_robust = mode == "robust"
            if is_robust:
                center = fill_values
            else:
                center = np.clip(np.nan_to_num(statistics.mean), minimum, maximum)
            if is_robust:
                width = np.nan_to_num(upper_quartile * 0.25 - lower_quartile * 0.25)
            else:
                width = statistics.deviation * 0.25
            factor = _inverse(width, otherwise=_inverse(quarter_span * 0.5))
        elif mode == "quantile":
            n_knots = int(np.clip(len(statistics.sample), 2, _MOST_KNOTS))
            knots = np.nan_to_num(statistics.quantiles(np.linspace(0.0, 1.0, n_knots)))
            # The sample may lack the extremes, the statistics have them.
            knots[0], knots[-1] = (
                np.fmin(knots[0], minimum),
                np.fmax(knots[-1], maximum),
            )
            knots = np.asarray(np.maximum.accumulate(knots, axis=0))
        return cls(mode, center, factor, fill_values, knots)

    def apply(self, values: Floats) -> Floats:
        """Scale values ``(rows, columns)``. Missing cells get the value of ``fill``."""
        filled = np.where(np.isnan(values), self.fill, values)
        if self.mode == "quantile":
            return self._normal_scores(filled)
        with np.errstate(over="ignore"):
            scaled = (filled * 0.25 - self.center * 0.25) * self.factor
        np.clip(scaled, -_LARGEST, _LARGEST, out=scaled)
        if self.mode == "robust":
            scaled /= np.hypot(1.0, scaled / 3.0)
        return np.asarray(scaled)

    def undone(self, scaled: Floats) -> Floats:
        """Return the values behind scaled training values ``(rows, columns)``.

        Of quantiles the first and last knot.
        """
        if self.mode == "quantile":
            return np.where(scaled > 0, self.knots[-1], self.knots[0])
        if self.mode == "robust":
            scaled = scaled / np.sqrt(
                np.maximum(1.0 - (scaled / 3.0) ** 2, np.finfo(np.float64).tiny)
            )
        with np.errstate(divide="ignore", invalid="ignore"):
            return 4.0 * np.nan_to_num(scaled / self.factor) + self.center

    def _normal_scores(self, values: Floats) -> Floats:
        from scipy.special import ndtri

        levels = np.linspace(0.0, 1.0, len(self.knots))
        shares = np.empty_like(values)
        values = _without_tiny(values)
        all_knots = _without_tiny(self.knots)
        for j in range(values.shape[1]):
            knots = all_knots[:, j]
            # Up and down averaged: a value that fills several quantiles gets the middle
            # of them.
            ascending_shares = np.interp(values[:, j], knots, levels)
            descending_shares = np.interp(-values[:, j], -knots[::-1], -levels[::-1])
            shares[:, j] = 0.5 * (ascending_shares - descending_shares)
        return np.asarray(ndtri(np.clip(shares, _LOWEST_SHARE, 1.0 - _LOWEST_SHARE)))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Scaling:
        """Read back the fields as lists."""
        check_choice("numeric", content["mode"], get_args(ScalingMode))
        names = ("center", "factor", "fill", "knots")
        center, factor, fill_values, knots = (
            np.array(content[field_name], dtype=np.float64) for field_name in names
        )
        # A table of categories alone has no column to scale, and its knots no width
        # that NumPy could tell rows by.
        if len(fill_values):
            knots = knots.reshape(-1, len(fill_values))
        else:
            knots = knots.reshape(len(knots), 0)
        return cls(content["mode"], center, factor, fill_values, knots)


def _without_tiny(values: Floats) -> Floats:
    """Take numbers for 0 whose differences are too small to divide by."""
    return np.where(np.abs(values) < 1e-290, 0.0, values)


def _inverse(width: Floats, otherwise: Floats | float = 0.0) -> Floats:
    usable = np.isfinite(width) & (width > 1e-300)
    return np.where(usable, 1.0 / np.where(usable, width, 1.0), otherwise)
