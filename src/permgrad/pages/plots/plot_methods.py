"""The plots that an explanation offers: ``explanation.plot.bar()``.

A new one is a line of ``PlotAccessor``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from permgrad.attribution.explanation.numbers import of_order
from permgrad.pages import plots
from permgrad.pages.plots import PlotFigure
from permgrad.pages.words import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from permgrad.attribution.explanation import Explanation

P = ParamSpec("P")


def _offered(
    plot: Callable[Concatenate[Explanation, P], PlotFigure],
) -> Callable[Concatenate[PlotAccessor, P], PlotFigure]:
    """Return a plot as a method, which names the baseline under the axis where the
    picture depends on it.
    """

    @wraps(plot)
    def method(self: PlotAccessor, /, *args: P.args, **options: P.kwargs) -> PlotFigure:
        explanation = self._explanation
        shows_pairs = plot is plots.interactions  # all others show single players
        figure = plot(
            explanation if shows_pairs else of_order(explanation, 1), *args, **options
        )
        baseline = explanation.meta.get("baseline")
        if (
            isinstance(baseline, str)
            and plot in (plots.bar, plots.beeswarm, plots.waterfall)
            and (options.get("ax") is not None or figure.axes)
        ):
            first_axes: Any = options.get("ax") or figure.axes[0]
            baseline_text = textwrap.fill(f"baseline: {clean(baseline)}", 90)
            first_axes.set_xlabel(f"{first_axes.get_xlabel()}\n{baseline_text}")
        return figure

    return method


class PlotAccessor:
    """The plots of an explanation, such as ``explanation.plot.bar()``.

    ``explanation.plot()`` draws the usual one.

    Every method returns a figure with ``save(path)`` for PNG, SVG and PDF. Common
    options: ``top_n`` is the number of features (None: all). ``output`` is a name or
    position (None: the first, for single rows the positive one of two classes).
    ``title`` replaces the default (empty: no title). ``ax`` are axes of matplotlib to
    draw into: they are then returned, and several panels share their space.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(60, 3))
        >>> model = pg.HyNNRegressor(
        ...     preset="fast", image="always", max_epochs=1, random_state=0
        ... ).fit(X, X[:, 0])
        >>> plot = pg.explain(model, X, X[:, 0]).plot
        >>> pictures = [
        ...     plot(),
        ...     plot.bar(top_n=2),
        ...     plot.classes(),
        ...     plot.direction(),
        ...     plot.features(),
        ...     plot.modality(),
        ... ]
        >>> plot = pg.explain(model, X, method="deeplift").plot
        >>> pictures += [plot.beeswarm(), plot.waterfall(row=3)]
        >>> pictures += [pg.explain(model, X, method="gradcam").plot.image(row=3)]
        >>> pictures += [
        ...     pg.explain(
        ...         model, X, X[:, 0], method=pg.methods.PermGrad(order=2), n_repeats=2
        ...     ).plot.interactions()
        ... ]
        >>> all("<svg" in picture.to_svg() for picture in pictures)
        True
    """

    def __init__(self, explanation: Explanation) -> None:
        self._explanation = explanation

    def __call__(self, *, ax: Axes | None = None) -> PlotFigure:
        """Draw a beeswarm of many rows, a waterfall of one, or bars, with an axis for
        each of several methods.
        """
        if self._explanation.meta.get("methods"):
            return self.features(ax=ax)
        if not self._explanation.scope.by_row:
            return self.bar(ax=ax)
        if len(self._explanation.values) == 1:
            return self.waterfall(ax=ax)
        return self.beeswarm(ax=ax)

    along_order = _offered(plots.along_order)
    bar = _offered(plots.bar)
    beeswarm = _offered(plots.beeswarm)
    classes = _offered(plots.classes)
    direction = _offered(plots.direction)
    features = _offered(plots.features)
    image = _offered(plots.image)
    interactions = _offered(plots.interactions)
    modality = _offered(plots.modality)
    scatter = _offered(plots.scatter)
    series = _offered(plots.series)
    text = _offered(plots.text)
    volume = _offered(plots.volume)
    waterfall = _offered(plots.waterfall)
    words = _offered(plots.words)
