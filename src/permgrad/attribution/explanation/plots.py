"""The plots of an explanation as methods: ``explanation.plot.bar()``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from permgrad.attribution.explanation.numbers import Numbers
from permgrad.base.shown import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from permgrad.base.figures import PlotFigure


class PlotAccessor:
    """The plots of an explanation, such as ``explanation.plot.bar()``. ``explanation.plot()`` draws the usual one.

    Every method returns a figure with ``save(path)`` for PNG, SVG and PDF. Common options: ``top_n`` is the number of
    features (None: all). ``output`` is a name or position (None: the first, for single rows the positive one of two
    classes). ``title`` replaces the default (empty: no title). ``ax`` are axes of
    matplotlib to draw into: the result is then their figure, and several panels share their space.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(60, 3))
        >>> model = pg.HyNNRegressor(preset="fast", image="always", max_epochs=1, random_state=0).fit(X, X[:, 0])
        >>> plot = pg.explain(model, X, X[:, 0], random_state=0).plot
        >>> pictures = [plot(), plot.bar(top_n=2), plot.classes(), plot.direction(), plot.features(), plot.modality()]
        >>> plot = pg.explain(model, X, method="deeplift").plot
        >>> pictures += [plot.beeswarm(), plot.waterfall(row=3)]
        >>> pictures += [pg.explain(model, X, method="gradcam").plot.image(row=3)]
        >>> pictures += [pg.explain(model, X, X[:, 0], interactions=2, n_repeats=2).plot.interactions()]
        >>> all("<svg" in picture.to_svg() for picture in pictures)
        True
    """

    def __init__(self, explanation: Numbers) -> None:
        self._explanation = explanation

    def __call__(self, *, ax: Axes | None = None) -> PlotFigure:
        """Draw a beeswarm of many rows, a waterfall of one, or bars, with an axis for each of several methods."""
        if self._explanation.meta.get("methods"):
            return self.features(ax=ax)
        if self._explanation.scope == "global":
            return self.bar(ax=ax)
        return self.waterfall(ax=ax) if len(self._explanation.values) == 1 else self.beeswarm(ax=ax)

    def _draw(self, name: str, **options: Any) -> PlotFigure:
        return show("Explanation.plot", self._explanation, name, **options)

    def along_order(
        self, *, row: int = 0, output: str | int | None = None, title: str | None = None, ax: Axes | None = None
    ) -> PlotFigure:
        """Draw the values of columns in the order that the model reads them in, which ``meta["order"]`` holds.

        Columns in a row: the importance with its confidence interval as a band, or for a local explanation the row's
        own curve on the colours of its attributions (blue raises the output, orange lowers it). Columns of a group
        share their value. Columns on a grid are drawn as a picture. Several curves have a panel each (up to eight,
        those of the largest values), and of a picture's channels the sum is drawn.

        Needs an explanation of a hybrid network that found an order, or has layout ``"path"``, ``"given"`` or a grid.

        Args:
            row: the row's position, of a local explanation.
            output: its name or position (None: the first, of two classes the positive one).
            title: the title (None: a default, empty: none).
            ax: axes of matplotlib to draw into.

        Raises:
            InputError: If the columns have no order, or there is no such row.

        Examples:
            >>> import numpy as np, permgrad as pg
            >>> X = np.cumsum(np.random.default_rng(0).normal(size=(60, 12)), axis=1)
            >>> model = pg.HyNNRegressor(layout="path", preset="fast", max_epochs=1, random_state=0).fit(X, X[:, 3])
            >>> pg.explain(model, X, X[:, 3], random_state=0).plot.along_order().description[:28]
            'Importance along 12 columns.'
        """
        return self._draw("along_order", row=row, output=output, title=title, ax=ax)

    def bar(
        self,
        *,
        top_n: int | None = 15,
        output: str | int | None = None,
        title: str | None = None,
        ax: Axes | None = None,
    ) -> PlotFigure:
        """Draw the features by falling importance.

        If the explanation has a part per path (``parts["tabular"]``, ``parts["image"]``), a bar is split into them:
        parts above 0 to the right, parts below 0 to the left, and the dot is their sum. The whisker is the confidence
        interval of the sum. Bars are grey unless the feature clearly matters, if that was tested. A local
        explanation is shown as its mean absolute attribution. On the right are the values, and the ranks that are
        certain (``Explanation.ranking``), such as 2–4, or “undecided”.

        Examples:
            >>> import numpy as np, permgrad as pg
            >>> values, names = np.array([[2.0], [1.0]]), ("a", "b")
            >>> explanation = pg.Explanation(values, names, ("table",) * 2, ("all",), "permutation", "global")
            >>> len(explanation.plot.bar().axes)
            1
        """
        return self._draw("bar", top_n=top_n, output=output, title=title, ax=ax)

    def beeswarm(
        self,
        *,
        top_n: int | None = 12,
        output: str | int | None = None,
        title: str | None = None,
        label: str | None = None,
        ax: Axes | None = None,
    ) -> PlotFigure:
        """Draw one point per row and feature. The position is the attribution, the colour is the feature's value.

        Colours follow the rank of numbers, dates (also ISO dates as text) and ordered categories: low values are blue,
        high ones orange. Values without an order, and missing ones, are grey. ``label`` is the label of the axis (None:
        the quantity with its unit, and the output).

        Raises:
            InputError: If the explanation is global.
        """
        return self._draw("beeswarm", top_n=top_n, output=output, title=title, label=label, ax=ax)

    def classes(self, *, top_n: int | None = 15, title: str | None = None, ax: Axes | None = None) -> PlotFigure:
        """Draw features (rows) by classes (columns). Colour and number are the importance for the rows of that class.

        Features are ordered by their largest absolute importance over the columns. If the explanation has a column for
        all rows, that column gives the order and is drawn apart on the left. A local explanation is shown as its mean
        absolute attribution per output.
        """
        return self._draw("classes", top_n=top_n, title=title, ax=ax)

    def curve(
        self,
        *,
        row: int | None = None,
        top_n: int | None = 4,
        simultaneous: bool = True,
        title: str | None = None,
        ax: Axes | None = None,
    ) -> PlotFigure:
        """Draw values along outputs that are numbers: times of a survival function, quantiles, horizons.

        Of all rows the mean absolute value of each feature, of one row its values. The dark band is the pointwise
        interval. The light one holds the complete curve at once: of all rows by the largest deviation along the curve
        of a normal law with the rows' correlations, of one row by Bonferroni's correction.

        Needs a local explanation whose outputs are numbers, in rising order.

        Args:
            row: the row's position (None: all rows).
            top_n: the number of features, those of the largest values (None: all).
            simultaneous: whether the band of the complete curve is drawn.
            title: the title (None: a default, empty: none).
            ax: axes of matplotlib to draw into.

        Raises:
            InputError: If outputs are not numbers in rising order, or there is no such row.

        Examples:
            >>> import numpy as np, pandas as pd, permgrad as pg
            >>> X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["age", "dose"])
            >>> def survival(rows):
            ...     return pd.DataFrame({t: np.exp(-t * np.exp(rows["age"])) for t in (0.5, 1.0, 2.0)})
            >>> explanation = pg.explain(survival, X, method="shapley", random_state=0)
            >>> explanation.outputs, explanation.plot.curve().description[:33]
            (('0.5', '1.0', '2.0'), 'Values along 3 outputs. Largest: ')
        """
        return self._draw("curve", row=row, top_n=top_n, simultaneous=simultaneous, title=title, ax=ax)

    def direction(self, *, top_n: int | None = 9, title: str | None = None, ax: Axes | None = None) -> PlotFigure:
        """Draw one small panel per feature: the mean prediction when every row takes one quantile or level of it.

        Of ``method="ale"`` it is the accumulated local effect, with its interval.

        All panels share the vertical axis, so that slopes can be compared. Of two classes only the positive one is
        drawn, of more than six only the first six.

        Raises:
            InputError: If the explanation has no direction.
        """
        return self._draw("direction", top_n=top_n, title=title, ax=ax)

    def features(
        self,
        *,
        top_n: int | None = 8,
        output: str | int | None = None,
        title: str | None = None,
        ax: Axes | None = None,
    ) -> PlotFigure:
        """Draw each modality's features by falling importance, in a separate panel.

        Panels do not share an axis. Modalities explained by different methods have different units, and a modality of
        many small players would be invisible next to one of few large players. A local explanation is shown as its mean
        absolute attribution. ``top_n`` applies to each modality.

        Examples:
            >>> import numpy as np, permgrad as pg
            >>> values, modality = np.array([[2.0], [1.0], [0.1]]), ("table", "table", "image")
            >>> explanation = pg.Explanation(values, ("a", "b", "[0,0]"), modality, ("all",), "shapley", "global")
            >>> len(explanation.plot.features().axes)
            2
        """
        return self._draw("features", top_n=top_n, output=output, title=title, ax=ax)

    def image(
        self,
        *,
        row: int = 0,
        input: str | None = None,  # noqa: A002 — the word for it everywhere else
        output: str | int | None = None,
        title: str | None = None,
        ax: Axes | None = None,
    ) -> PlotFigure:
        """Draw an image, and its explanation over it.

        Activation maps (``maps["maps:<input>"]``, for a hybrid network ``maps["cam"]``) are drawn unchanged.
        Attributions of pixels or segments (``maps["segments:<input>"]``) are signed: blue pushes the output up, orange
        down. In a global explanation of a loss, blue parts are needed: the loss rises without them.

        For a local explanation, ``row`` is the position of the row. A global one with segments is drawn over the mean
        image. ``input`` is the image input (None: the only one).

        Raises:
            InputError: If the explanation has nothing to draw over an image, or several image inputs and none is named.
        """
        return self._draw("image", row=row, input=input, output=output, title=title, ax=ax)

    def interactions(
        self,
        kind: Literal["matrix", "effect"] = "matrix",
        *,
        pair: tuple[str, str] | None = None,
        model: Any = None,
        X: Any = None,
        top_n: int | None = 12,
        output: str | int | None = None,
        title: str | None = None,
        ax: Axes | None = None,
    ) -> PlotFigure:
        """Draw how pairs of features work together. Needs an explanation with ``interactions=2``.

        Pairs of a local explanation are means of absolute values.

        Args:
            kind: ``"matrix"``: one cell per pair, clear ones framed (adjusted p below 0.05). ``"effect"``: the mean
                prediction by the values of two features, with the rows' own values, and next to it what the pair adds
                to both single effects.
            pair: the two features of an effect. Default: the strongest pair.
            model: the model, for an effect: a fitted estimator, or a function of a table that returns ``(rows,)`` or
                ``(rows, outputs)``.
            X: rows of the table, for an effect, as the model takes them.
            top_n: number of features, those of the strongest pairs. None: all.
            output: output of the model. None: the first, of an effect of two classes the positive one.
            title: the title. None: a default. ``""``: none.
            ax: axes of matplotlib to draw into.

        Raises:
            InputError: If the explanation has no pairs, or an argument of an effect is missing.
        """
        return self._draw(
            "interactions", kind=kind, pair=pair, model=model, X=X, top_n=top_n, output=output, title=title, ax=ax
        )

    def modality(
        self, *, output: str | int | None = None, title: str | None = None, ax: Axes | None = None
    ) -> PlotFigure:
        """Draw the importance of complete branches or modalities.

        Uses ``explanation.branches`` if there are any. Otherwise, for additive methods, uses the signed sum over the
        features of each path or modality.

        Raises:
            InputError: If the values cannot be summed (the message names the call to make), or if the modalities were
                explained by different methods.
        """
        return self._draw("modality", output=output, title=title, ax=ax)

    def series(
        self,
        *,
        row: int = 0,
        input: str | None = None,  # noqa: A002 — the word for it everywhere else
        output: str | int | None = None,
        top_n: int | None = 8,
        title: str | None = None,
        ax: Axes | None = None,
    ) -> PlotFigure:
        """Draw a series or a wave, a line for each channel, on the colours of the values of its windows.

        Blue pushes the output up, orange down. The strongest window has the full colour. If channels are players, each
        has its own colours. Places without a player are grey. Activation maps (``method="gradcam"``) start at 0. In a
        long series each pixel shows the smallest and the largest number and the strongest value.

        Of a local explanation a row is drawn, of a global one with windows the mean of all rows.

        Args:
            row: the row's position.
            input: the series (None: the only one).
            output: its name or position (None: the first, of two classes the positive one).
            top_n: the number of channels, those of the largest values, else the first (None: all).
            title: the title (None: a default, empty: none).
            ax: axes of matplotlib to draw into.

        Raises:
            InputError: If the explanation has no series, or several and none is named, or there is no such row.

        Examples:
            >>> import torch, permgrad as pg
            >>> net = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 5), torch.nn.Flatten(), torch.nn.Linear(288, 1))
            >>> explanation = pg.explain(net, torch.randn(30, 2, 100), method="gradient", output_kind="values")
            >>> len(explanation.plot.series(row=1).axes)  # two channels and the scale
            3
        """
        return self._draw("series", row=row, input=input, output=output, top_n=top_n, title=title, ax=ax)

    def text(
        self, *, row: int = 0, output: str | int | None = None, title: str | None = None, ax: Axes | None = None
    ) -> PlotFigure:
        """Draw the words of one row, each on the colour of its value: blue pushes the output up, orange down.

        Words are those of the tokenizer, else the ids of tokens, without padding and special tokens. The strongest word
        has the full colour. ``.to_html()`` of the figure returns HTML that shows the values under the pointer.

        Needs a local explanation whose features are tokens or words.

        Args:
            row: the row's position.
            output: its name or position (None: the first, of two classes the positive one).
            title: the title (None: a default, empty: none).
            ax: axes of matplotlib to draw into.

        Raises:
            InputError: The explanation is global, or has no tokens, or there is no such row.

        Examples:
            >>> import torch, permgrad as pg
            >>> net = torch.nn.Sequential(torch.nn.Embedding(9, 1), torch.nn.Flatten(), torch.nn.Linear(3, 1))
            >>> ids = torch.randint(0, 9, (20, 3))
            >>> figure = pg.explain(net, ids, method="shapley", task="regression", progress=False).plot.text(row=1)
            >>> figure.to_html()[:4]
            '<div'
        """
        return self._draw("text", row=row, output=output, title=title, ax=ax)

    def volume(
        self,
        *,
        row: int = 0,
        input: str | None = None,  # noqa: A002 — the word for it everywhere else
        output: str | int | None = None,
        at: Sequence[int] | None = None,
        title: str | None = None,
        ax: Axes | None = None,
    ) -> PlotFigure:
        """Draw three slices through a volume, along each of its sides, and the values of its blocks over them.

        Blue pushes the output up, orange down. Thin lines show where the other two slices are. Channels are averaged,
        their values added up.

        Of a local explanation a row is drawn, of a global one with segments the mean of all rows.

        Args:
            row: the row's position.
            input: the volume (None: the only one).
            output: its name or position (None: the first, of two classes the positive one).
            at: depth, row and column of the slices (None: the middle of the block with the strongest value).
            title: the title (None: a default, empty: none).
            ax: axes of matplotlib to draw into.

        Raises:
            InputError: If the explanation has no volume, or several and none is named, or there is no such row or
            place.

        Examples:
            >>> import torch, permgrad as pg
            >>> net = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(432, 1))
            >>> explanation = pg.explain(net, torch.rand(20, 1, 8, 8, 8), method="gradient", output_kind="values")
            >>> len(explanation.plot.volume(row=1, at=(4, 4, 4)).axes)  # three slices, twice, and the scale
            7
        """
        return self._draw("volume", row=row, input=input, output=output, at=at, title=title, ax=ax)

    def waterfall(
        self,
        *,
        row: int = 0,
        top_n: int | None = 10,
        output: str | int | None = None,
        title: str | None = None,
        label: str | None = None,
        ax: Axes | None = None,
    ) -> PlotFigure:
        """Draw one row's attributions as steps from the baseline's output (bottom) to the row's output (top).

        Blue steps raise the output, orange ones lower it. Features beyond ``top_n`` make one step together. If the
        attributions do not add up to the difference, the gap is a separate step, called "not attributed". ``row`` is
        the row's position. ``label`` is the label of the axis (None: "output" with its unit if known).

        Raises:
            InputError: If the explanation is global or does not add up, or there is no such row.
        """
        return self._draw("waterfall", row=row, top_n=top_n, output=output, title=title, label=label, ax=ax)
