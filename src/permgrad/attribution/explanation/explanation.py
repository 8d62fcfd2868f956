"""``Explanation``: the one result class of every attribution method."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from permgrad.attribution.explanation.by_word import words_frame
from permgrad.attribution.explanation.explanation_files import (
    OF_ROWS,
    read_explanation,
    write_explanation,
)
from permgrad.attribution.explanation.explanation_frames import (
    changes_frame,
    effects_frame,
    tidy_frame,
)
from permgrad.attribution.explanation.numbers import Numbers, of_order
from permgrad.attribution.explanation.orders import (
    not_installed,
    sizes_of,
    to_shapiq,
    without_common_unit,
)
from permgrad.attribution.explanation.ranks import certain_ranks
from permgrad.attribution.explanation.statistics import (
    MOST_TOGETHER,
    error_correlation,
    interval,
    mean_over_rows,
)
from permgrad.attribution.scopes import GLOBAL, MODALITY
from permgrad.base.arrays import Floats
from permgrad.base.checks import check_choice, check_confidence, check_flag, check_path
from permgrad.base.dependence import Dependence
from permgrad.base.errors import Fault, InputError, counted, refusing
from permgrad.base.frames import Library, as_library
from permgrad.base.late import pd
from permgrad.base.sequences import values_at
from permgrad.base.shown import show
from permgrad.base.significance import clearly

if TYPE_CHECKING:
    from permgrad.pages.plots.plot_methods import (
        PlotAccessor,
    )  # a type for users' editors alone

#: The method's name where each modality was explained by a different method.
MIXED = "mixed"


@dataclass(frozen=True, eq=False)
class Explanation(Numbers):
    """The result of a method: one number per feature and output, its uncertainty, and
    how it was computed.

    Args:
        values: importance or attribution, ``(features, outputs)`` if ``scope`` is
            global, ``(rows, features, outputs)`` if local. ``meta["quantity"]`` names
            the quantity and ``meta["unit"]`` its unit.
        names: the players (features, groups or modalities), in the order of ``values``.
        modality: of each name a network's input, or the kind of an estimator's columns
            (table, text or photo).
        outputs: ``("all", *classes)`` for loss methods on classifiers (class k: rows
            with y = k), ``("all",)`` for regression, the classes for methods that
            explain the output.
        method: the method's registered name.
        scope: ``"global"`` or ``"local"``.
        std_error: standard errors, shaped like ``values``, or None where the method has
            none.
        low, high: ends of the confidence interval at ``meta["confidence"]``, shaped
            like ``values``. In a local explanation, it is of the error of sampling.
        p_values: two-sided p-values of "the importance is 0": below 0.05 exactly when
            the 95 % interval excludes 0. ``p_adjusted`` has them adjusted for the
            number of features. None for a local explanation.
        correlation: how the errors of the names correlate, ``(outputs, names, names)``,
            for intervals of ranks. None: not stored (local values, or many names). Of
            interactions there is none.
        parts: named parts of the values, each shaped like ``values``. In the path game
            ``tabular``, ``image``, ``linear`` and ``trees``, those that there are, add
            up to ``values``, and ``interaction`` is already shared between them.
        part_std: standard errors of ``parts``.
        level: ``"column"``, ``"feature"``, ``"group"`` or ``"modality"``.
        additive: whether values of different players may be summed.
        groups: the features of each declared group.
        branches: the weight of each branch of a hybrid network, or of each input of any
            other network with several, as in ``branches.json``:
            ``branches["image"]["share"]`` is its share of the total. None for methods
            without.
        direction: for each name the mean prediction by quantile or level:
            ``{"kind": "numeric" | "levels", "at": [...], "label": [...], "mean":
            (points, outputs) nested list}``. Of ``ale`` the accumulated local effect,
            also of pairs, with errors. ``effects()`` has what they say.
        feature_values: the explained rows' raw values (rows × names), for plots of
            local results.
        base_values: output at the baseline, ``(outputs,)`` or ``(rows, outputs)``, for
            local methods only.
        predictions: the model's output for the explained rows, ``(rows, outputs)``, for
            local methods only.
        maps: named image-space arrays, for display.
        members: with interactions, the positions of each name's players: ``(3,)`` for a
            player, ``(0, 3)`` for a pair. Players come first. Empty: every name is a
            player.
        meta: seed, repeats, background, baseline, quantity, completeness gap, run time,
            versions.

    Examples:
        >>> # of (rows, features, outputs)
        >>> values = np.array([[[2.0], [-1.0]], [[1.0], [3.0]]])
        >>> facts = {"additive": True, "base_values": np.zeros(1)}
        >>> names = ("a", "b")
        >>> kinds = ("table", "image")
        >>> local = Explanation(
        ...     values, names, kinds, ("yes",), method="shapley", scope="local", **facts
        ... )
        >>> local.ranking(), local.output_index("yes")
        (['b', 'a'], 0)
        >>> explanation = local.to_global()
        >>> explanation.to_frame()[["feature", "importance"]].values.tolist()
        [['a', 1.5], ['b', 2.0]]
        >>> low, high = explanation.ci()
        >>> explanation.p_adjusted.shape
        (2, 1)
        >>> local.by_modality().names
        ('table', 'image')
        >>> picture = explanation.plot.bar()
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Explanation.load(explanation.save(f"{folder}/why")).names
        ('a', 'b')
    """

    def __repr__(self) -> str:
        if self.scope.by_row:
            row_words = f", {counted(self.values.shape[0], 'row')}"
        else:
            row_words = ""
        single = int((self.order == 1).sum())
        if single == 1:
            players = self.level.name
        else:
            players = self.level.plural
        interactions = counted(len(self.names) - single, "interaction")
        if single == len(self.names):
            names = f"{single} {players}"
        else:
            names = f"{single} {players} and {interactions}"
        if not (single or not self.members):
            names = interactions
        # The rows of all classes together are no further output.
        outputs = self.outputs[len(self.outputs) > 1 and self.outputs[0] == "all" :]
        size_words = f"{names} × {counted(len(outputs), 'output')}"
        return f"<Explanation: {self.method}, {self.scope}{row_words}, {size_words}>"

    @property
    def plot(self) -> PlotAccessor:
        """Plots of this explanation, such as ``.plot.bar()`` and ``.plot.beeswarm()``.

        Each returns a figure.
        """
        return show("Explanation.plot", self)

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_html(
        self, row: int | None = None, *, target: str | int | None = None
    ) -> str:
        """Return the explanation as HTML for a notebook, without scripts, for light and
        dark themes.

        A global explanation is shown as ranked bars with intervals, and names that
        clearly matter are bold. A local one shows one row: its images with their
        attributions, its words, and the steps of its table from the baseline's output
        to the row's output, all on one scale.

        Args:
            row: position of the row in a local explanation. None: the first.
            target: name or position of the output. None: the first (for a row of two
                classes: the positive one).

        Returns:
            HTML that a notebook shows. Saved to a file, it opens in any browser.

        Raises:
            InputError: there is no such row or output, or ``row`` is passed for a
                global explanation.

        Examples:
            >>> values = np.array([[2.0], [1.0]])
            >>> explanation = Explanation(
            ...     values, ("a", "b"), ("t",) * 2, ("all",), "permutation", "global"
            ... )
            >>> "<script" in explanation.to_html()
            False
        """
        return show("Explanation.html", of_order(self, 1), row=row, target=target)

    def evaluate(
        self,
        model: Any,
        X: Any,
        y: Any = None,
        *,
        metrics: str | Iterable[str] | None = None,
        target: str | int | None = None,
        background: Any = None,
        n_repeats: int | Literal["auto"] = "auto",
        random_state: Any = 0,
        progress: bool | Literal["auto"] = "auto",
    ) -> Any:
        """Measure the quality of the explanation, for any model and modality.

        ============= ====== ===========================================================
        metric        better definition
        ============= ====== ===========================================================
        deletion      lower  area under the output while the most important features are
                             replaced first. For a global explanation: the loss, where
                             higher is better (Petsiuk et al. 2018, arXiv 1806.07421)
        insertion     higher the same with only the most important features kept. For a
                             loss lower is better
        infidelity    lower  E (Σ φ of a random subset − change of the output when it is
                             replaced)² (Yeh et al. 2019, arXiv 1901.09392, definition
                             2.1). Values that do not add up to an output are scaled by
                             the best constant first. Local explanations only
        sensitivity   lower  largest relative change of the explanation when inputs
                             change slightly (equation 3 there), by a tenth of their
                             standard deviations
        randomisation lower  Spearman's correlation of sizes with the explanations of 3
                             copies of the network with new random weights (Adebayo et
                             al. 2018, arXiv 1810.03292). Torch networks only
        sparsity      higher Gini index of sizes (Chalasani et al. 2020, arXiv
                             1810.06583)
        complexity    lower  entropy of shares (Bhatt et al. 2020, arXiv 2005.00631), in
                             nats
        ============= ====== ===========================================================

        Curves take replacement values from background rows, the same ones for every
        order. Deletion, insertion and infidelity are also computed for random
        explanations, 95 % of which are between ``random_low`` and ``random_high``.
        Curves show whether a ranking fits this model. None of these measures shows
        whether an importance is true.

        In a local explanation, each row is judged by the output that the model predicts
        for it.

        Args:
            model: the model that was explained, as it was passed. Sensitivity and
                randomisation explain it, and copies of it, again.
            X: the rows that were explained.
            y: their targets, needed for explanations of the loss.
            metrics: one or several names. None: all that can be computed.
                ``Evaluation.left_out`` names the others.
            target: judge this output, by name or position, for all rows.
            background: rows that replacement values are drawn from, the same as for
                ``explain``.
            n_repeats: donors of each row, random orders, and changed inputs.
            random_state: seed of donors, orders and noise.
            progress: a bar on stderr, one step per metric.

        Returns:
            An ``Evaluation``, with ``to_frame()`` and ``plot()``.

        Raises:
            InputError: the explanation is of other rows or features, an argument cannot
                be used, or a requested metric cannot be computed.

        Examples:
            >>> import permgrad as pg
            >>> X = np.random.default_rng(0).normal(size=(60, 3))
            >>> weights = [3.0, 1.0, 0.0]
            >>> model = pg.Model(lambda table: table @ weights, task="regression")
            >>> explanation = pg.explain(model, X, method="shapley")
            >>> metrics = ["deletion", "sparsity"]
            >>> frame = explanation.evaluate(model, X, metrics=metrics).to_frame()
            >>> frame[["metric", "direction"]].values.tolist()
            [['deletion', 'lower'], ['sparsity', 'higher']]
            >>> bool(frame["value"][0] < frame["random_low"][0])
            True
        """
        return show(
            "Explanation.evaluate",
            self,
            model,
            X,
            y,
            metrics=metrics,
            target=target,
            background=background,
            n_repeats=n_repeats,
            random_state=random_state,
            progress=progress,
        )

    def summary(self, *, target: str | int | None = None, top_n: int = 5) -> str:
        """Return a few lines of plain text: what was explained, and leading features
        and pairs with their intervals.

        A feature clearly matters where its ``p_adjusted`` is below 0.05 and it has at
        least 0.1 % of what the model has learned. A local explanation is summarised by
        its mean absolute attributions.

        Args:
            target: name or position of the output. None: the first (for a row of two
                classes: the positive one).
            top_n: how many features to list (per input, where each was explained by a
                different method).

        Raises:
            InputError: there is no such output, or ``top_n`` is not a whole number
                above 0.

        Examples:
            >>> values = np.array([[2.0], [1.0]])
            >>> explanation = Explanation(
            ...     values, ("a", "b"), ("t",) * 2, ("all",), "permutation", "global"
            ... )
            >>> print(explanation.summary())
            permutation measures the importance.
            Largest:
              a  2.00
              b  1.00
        """
        return show("Explanation.summary", self, target=target, top_n=top_n)

    @overload
    def to_frame(self, library: Literal["pandas"] = "pandas") -> pd.DataFrame: ...

    @overload
    def to_frame(self, library: Library) -> Any: ...

    def to_frame(self, library: Library = "pandas") -> Any:
        """Return the tidy frame, one line per (row,) feature and output, of pandas,
        polars or pyarrow.

        Columns: ``(row,) feature, modality, class, importance, std_error, ci_low,
        ci_high, p_value, p_adjusted`` and then the parts (for the path game the
        network's paths, such as ``tabular, image``, and ``interaction``). With
        interactions the last column is ``order`` (1: features, 2: pairs). In a local
        explanation, standard errors and intervals are of the error of sampling alone,
        so that there are no p-values. Undefined numbers are NaN, never 0.
        """
        return as_library(tidy_frame(self), library)

    def effects(self, library: Library = "pandas", *, curves: bool = False) -> Any:
        """Return how far the prediction changes with each feature, as a frame.

        Columns: ``feature, class, from, to, change, std_error, ci_low, ci_high, unit,
        rows``, and ``groups`` where rows belong together. A number changes from its
        lower to its upper quartile, and any other feature from its most frequent level
        to each other one. ``rows`` have a value from one to the other, or one of both
        levels, and belong to so many ``groups``. For ``method="ale"``, the change is
        the accumulated local effect. For ``permgrad`` of networks of permgrad, it is
        that of the mean prediction if only this feature is set, in all rows.

        Args:
            library: pandas, polars or pyarrow.
            curves: whether to return all points of the curves instead: ``feature,
                class, value, effect, std_error, ci_low, ci_high, rows``, and for pairs
                ``value_2``. Mean predictions have no errors.

        Raises:
            InputError: the method has no curves of this model.

        Examples:
            >>> import permgrad as pg
            >>> X = np.array([[0.0], [1.0]] * 9)
            >>> explanation = pg.explain(lambda rows: 3 * rows, X, method="ale")
            >>> explanation.effects()[["from", "to", "change"]].values.tolist()
            [[0.0, 1.0, 3.0]]
            >>> explanation.effects(curves=True)["effect"].tolist()
            [-1.5, 1.5]
        """
        if check_flag("curves", curves):
            return as_library(effects_frame(self), library)
        return as_library(changes_frame(self), library)

    def by_word(self, library: Library = "pandas") -> Any:
        """Return what each word or piece does on average, wherever it stands.

        Needs a local explanation of a network of tokens. ``effect`` is the mean, over
        the rows that hold the word, of how much its values exceed those of ordinary
        words: of the others in its row, after what each place adds. Ordinary are the
        words that are not shown to differ. Values of a word that a row holds twice are
        added up. Words of fewer than 10 rows are left out.

        Returns:
            Columns ``word, output, effect, std_error, ci_low, ci_high, p_value,
            p_adjusted, rows``, by output and falling size of the effect.
            ``p_adjusted`` is Holm's for all words, each output separately.

        Raises:
            InputError: the explanation is global, or its features are no words.

        Examples:
            >>> values = np.zeros((18, 3, 1))
            >>> values[::2, 0] = values[1::2, 1] = 3
            >>> names = ("ids[0]", "ids[1]", "ids[2]")
            >>> words = [["good", "film", "it"], ["film", "good", "it"]] * 9
            >>> facts = {"method": "shapley", "scope": "local"}
            >>> facts["meta"] = {"tokens": {"input": "ids"}}
            >>> facts["feature_values"] = pd.DataFrame(words, columns=names)
            >>> local = Explanation(values, names, ("ids",) * 3, ("y",), **facts)
            >>> local.by_word()[["word", "effect", "rows"]].values.tolist()
            [['good', 3.0, 18], ['film', 0.0, 18], ['it', 0.0, 18]]
        """
        return as_library(words_frame(of_order(self, 1)), library)

    @overload
    def ranking(
        self, target: str | int | None = None, *, certain: None = None, order: int = 1
    ) -> list[str]: ...

    @overload
    def ranking(
        self, target: str | int | None = None, *, certain: float, order: int = 1
    ) -> pd.DataFrame: ...

    def ranking(
        self,
        target: str | int | None = None,
        *,
        certain: float | None = None,
        order: int = 1,
    ) -> list[str] | pd.DataFrame:
        """Return the names by falling importance.

        A local explanation is ranked as by ``to_global()``.

        Args:
            target: name or position of the output. None: the first.
            certain: with for example 0.95, return a frame ``feature, rank, rank_low,
                rank_high, set``. The intervals of the ranks hold for all names at once
                with this certainty. Names of one set cannot be told apart from all of
                their neighbours, and every name of a set clearly stands above every
                name of later sets. The method's standard errors decide, and how they
                are related (Mogstad, Romano, Shaikh & Wilhelm 2024).
            order: 2 ranks pairs instead, by falling absolute value, where the
                explanation has interactions.

        Raises:
            InputError: each modality was explained by a different method, so their
                values have no common unit, or ``certain`` is not a number between 0 and
                1.

        Examples:
            >>> values = np.array([[5.0], [1.2], [1.0]])
            >>> names = ("a", "b", "c")
            >>> facts = {"method": "permutation", "scope": "global"}
            >>> facts["std_error"] = np.array([[0.1], [0.2], [0.2]])
            >>> result = Explanation(values, names, ("t",) * 3, ("all",), **facts)
            >>> result.ranking()
            ['a', 'b', 'c']
            >>> ranking = result.ranking(certain=0.95)
            >>> ranking[["rank_low", "rank_high", "set"]].values.tolist()
            [[1, 1, 1], [2, 3, 2], [2, 3, 2]]
        """
        if self.method == MIXED:
            raise without_common_unit("ranking")
        column = self.output_index(target)
        order_explanation = of_order(self, order)
        if self.scope.by_row:
            scores = mean_over_rows(
                np.abs(order_explanation.values[..., column]),
                self.meta.get("sample_weight"),
            )[0]
        else:
            scores = sizes_of(order_explanation, column)
        player_order = np.argsort(
            -np.nan_to_num(scores, nan=-np.inf), kind="stable"
        ).tolist()
        if certain is None:
            return values_at(order_explanation.names, player_order)
        certain = check_confidence(certain, "certain")
        if self.scope.by_row:
            summary = order_explanation.to_global()
        else:
            summary = order_explanation
        return certain_ranks(summary, player_order, column, certain).to_frame()

    def to_global(
        self, how: Literal["mean_abs", "mean", "sum_l1"] = "mean_abs"
    ) -> Explanation:
        """Summarise a local explanation over its rows.

        Args:
            how: ``"mean_abs"``: mean of absolute values. ``"mean"``: signed mean.
                ``"sum_l1"``: sum over rows divided by the sum's L1 norm over features
                (the form of published integrated-gradients bars).

        Rows are weighted by the ``sample_weight`` of the explanation. The standard
        error is that of a mean over rows (NaN for ``sum_l1``).
        """
        if not self.scope.by_row:
            problem = (
                "to_global needs a local explanation, and this one is already global"
            )
            raise InputError(problem, hint="Use it directly.", code="PG004")
        check_choice("how", how, ("mean_abs", "mean", "sum_l1"))
        # Features come first. Of pairs alone there are no features.
        row_count = self.values.shape[0]
        players = int((self.order == min(self.order, default=1)).sum())
        per_row = np.abs(self.values) if how == "mean_abs" else self.values
        weights = self.meta.get("sample_weight")
        units = Dependence.of_rows(self.meta)
        values, std_errors, effective_sizes = mean_over_rows(per_row, weights, units)
        if how == "sum_l1":
            score_norms = np.abs(values[:players]).sum(axis=0, keepdims=True)
            values = np.divide(
                values, score_norms, out=np.zeros_like(values), where=score_norms > 0
            )
            std_errors = np.full(values.shape, np.nan)
        lower_ends, upper_ends, p_values = interval(
            values,
            std_errors,
            effective_sizes,
            float(self.meta.get("confidence", 0.95)),
        )
        if how == "mean_abs":  # which is never below 0
            lower_ends = np.maximum(lower_ends, np.minimum(values, 0.0))
        mean_parts = {}
        if how == "mean":
            for part_name, part_values in self.parts.items():
                mean_parts[part_name] = mean_over_rows(part_values, weights)[0]
        correlation = None
        if players <= MOST_TOGETHER:
            correlation = _correlation_of_means(
                (per_row - values)[:, :players], weights, units
            )
        meta = {
            fact_name: fact_value
            for fact_name, fact_value in self.meta.items()
            if fact_name not in OF_ROWS
        }
        return replace(
            self,
            values=values,
            scope=GLOBAL,
            std_error=std_errors,
            low=lower_ends,
            high=upper_ends,
            p_values=p_values,
            correlation=correlation,
            parts=mean_parts,
            part_std={},
            additive=self.additive and how == "mean",
            feature_values=None,
            base_values=None,
            predictions=None,
            maps=self._maps_of_all_rows(),
            meta=meta | {"summary": how, "rows_summarised": row_count},
        )

    def _maps_of_all_rows(self) -> dict[str, Any]:
        """Return what plots of a summary need: the player of each pixel, and the mean
        image.
        """
        summary_maps = {}
        for map_name, array in self.maps.items():
            if map_name.startswith("segments:"):
                summary_maps[map_name] = array
            elif map_name.startswith("images:") and len(array):
                summary_maps[map_name] = array.mean(axis=0, keepdims=True)
        return summary_maps

    @refusing
    def _check_sums(self) -> Iterator[Fault]:
        """Refuse values that no sum over a modality's features means something for."""
        if self.method == MIXED:
            problem = (
                "by_modality cannot sum these values: each modality was "
                "explained by a different method"
            )
            yield problem, "Call pg.explain(model, X, y, groups='modality').", "PG004"
        if not self.additive:
            problem = (
                "by_modality needs an additive method, and "
                f"method={self.method!r} is not additive"
            )
            call_hint = (
                f"Call pg.explain(model, X, y, method={self.method!r}, "
                "groups='modality')."
            )
            yield (
                problem,
                call_hint
                if len(set(self.modality)) > 1
                else "Its features are of one modality.",
                "PG004",
            )
        if self.members and (self.order > 1).all():
            problem = "by_modality sums features, and these are interactions of several"
            yield (
                problem,
                "Call it on the explanation that these were chosen from.",
                "PG004",
            )

    def by_modality(self) -> Explanation:
        """Sum an additive explanation over each modality's players.

        For others the error names the call to make.
        """
        self._check_sums()
        if self.members:
            return of_order(self, 1).by_modality()
        modalities = tuple(dict.fromkeys(self.modality))
        member = np.array(
            [
                [
                    player_modality == summed_modality
                    for player_modality in self.modality
                ]
                for summed_modality in modalities
            ],
            dtype=np.float64,
        )
        return replace(
            self,
            values=np.einsum("mf,...fo->...mo", member, self.values),
            names=modalities,
            modality=modalities,
            parts={
                part_name: np.einsum("mf,...fo->...mo", member, part_values)
                for part_name, part_values in self.parts.items()
            },
            part_std={},
            level=MODALITY,
            maps={
                map_name: array
                for map_name, array in self.maps.items()
                if not map_name.startswith("segments:")
            },
            **dict.fromkeys(
                (
                    "std_error",
                    "low",
                    "high",
                    "p_values",
                    "correlation",
                    "direction",
                    "feature_values",
                )
            ),  # type: ignore[arg-type]
        )

    def to_shap(self) -> Any:
        """Return a ``shap.Explanation`` with the same numbers, for shap's plots.

        Needs the package shap.

        Examples:
            >>> import shap
            >>> values = np.ones((3, 2, 1))
            >>> facts = {"method": "shapley", "scope": "local"}
            >>> local = Explanation(values, ("a", "b"), ("t",) * 2, ("y",), **facts)
            >>> local.to_shap().shape
            (3, 2)
        """
        if self.method == MIXED:
            raise without_common_unit("to_shap")
        try:
            import shap
        except ImportError as error:
            raise not_installed("shap") from error
        if self.members and (self.order == 1).any():
            return of_order(self, 1).to_shap()
        if self.scope.by_row:
            values = self.values
        else:
            values = self.values[None]
        if self.base_values is not None:
            base_outputs = self.base_values
        else:
            base_outputs = np.zeros(len(self.outputs))
        base_outputs = np.broadcast_to(base_outputs, (len(values), len(self.outputs)))
        single = len(self.outputs) == 1
        feature_data = self.feature_values
        return shap.Explanation(
            values=values[..., 0] if single else values,
            base_values=base_outputs[:, 0] if single else base_outputs,
            # Players such as segments of an image have no raw value, nor have pairs.
            data=None
            if feature_data is None or self.members
            else feature_data.reindex(columns=list(self.names)).to_numpy(),
            feature_names=list(self.names),
            output_names=None if single else list(self.outputs),
        )

    def to_shapiq(
        self, order: int = 1, *, row: int = 0, target: str | int | None = None
    ) -> Any:
        """Return one ``shapiq.InteractionValues`` with the same numbers.

        Needs the package shapiq.

        Args:
            order: 1 for the features alone, or the computed one (``order=2`` of the
                method), with all orders below.
            row: position of the row in a local explanation.
            target: name or position of the output. None: the first.

        Raises:
            InputError: there is no such order, row or output.
            EnvironmentProblem: shapiq is not installed.

        Examples:
            >>> import shapiq
            >>> values = np.ones((3, 2, 1))
            >>> facts = {"method": "shapley", "scope": "local"}
            >>> local = Explanation(values, ("a", "b"), ("t",) * 2, ("y",), **facts)
            >>> local.to_shapiq().values.tolist()
            [0.0, 1.0, 1.0]
        """
        return to_shapiq(self, order, row, self.output_index(target))

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write ``explanation.json``, ``values.npz`` and ``times.json`` into
        ``folder``, in one step.

        ``times.json`` holds the seconds that it took, so that the other two are the
        same for equal calls.

        Args:
            folder: Where to write. It is made if it does not exist.
            overwrite: Whether a folder is replaced that holds an explanation.
        """
        target = check_path("folder", folder)
        check_flag("overwrite", overwrite)
        if os.path.lexists(target):
            is_ours = (target / "explanation.json").is_file()
            is_empty = target.is_dir() and not any(target.iterdir())
            if not (is_empty or (is_ours and overwrite)):
                if is_ours:
                    hint = "Pass overwrite=True."
                else:
                    hint = "Choose another folder."
                raise InputError(f"{target} already exists", hint=hint, code="PG050")
        write_explanation(self, target)
        return target

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Explanation:
        """Read an explanation that ``save`` wrote.

        No code runs. A damaged file or a newer format is refused.
        """
        return read_explanation(check_path("folder", folder), cls)


def positive_output(explanation: Explanation) -> int:
    """Return which of two outputs is the positive class: the second where the
    explanation does not name it.
    """
    named = explanation.meta.get("positive")
    if named in explanation.outputs:
        return explanation.outputs.index(named)
    return 1


def clearly_matter(
    explanation: Explanation, target: str | int | None = None
) -> list[str]:
    """Return the names that clearly matter to an output of a global explanation, by
    falling importance.

    Their p-values pass Holm's steps (``p_adjusted``) at 5 %, and they have at least 0.1
    % of what the model has learned (or of all importances). Without p-values there are
    none. Of pairs, sizes count.

    Examples:
        >>> values = np.array([[2.0], [1.0], [0.5]])
        >>> facts = {"p_values": np.array([[0.001], [0.3], [0.02]])}
        >>> names = ("a", "b", "c")
        >>> result = Explanation(
        ...     values, names, ("t",) * 3, ("all",), "permutation", "global", **facts
        ... )
        >>> clearly_matter(result)
        ['a', 'c']
    """
    column = explanation.output_index(target)
    p_adjusted = explanation.p_adjusted
    if p_adjusted is None:
        return []
    # What a model has learned is a constant's loss less its own.
    learned = 0.0
    if (
        "loss" in str(explanation.meta.get("quantity"))
        or explanation.meta.get("unit") == "%"
    ):
        # Neither is known of a loss whose best constant is not: None in files.
        of_constant = explanation.meta.get("loss_scale")
        of_model = explanation.meta.get("model_loss")
        if of_constant is not None and of_model is not None:
            learned = float(of_constant) - float(of_model)
    clear = clearly(
        sizes_of(explanation, column),
        p_adjusted[:, column],
        learned if learned > 0 else None,
    )
    passed = dict(zip(explanation.names, clear, strict=True))
    return [
        player_name
        for player_name in explanation.ranking(target)
        if passed[player_name]
    ]


def _correlation_of_means(
    deviations: Floats, weights: Any, units: Dependence | None
) -> Floats:
    """Return how the errors of weighted means over rows correlate by output,
    ``(outputs, players, players)``, by the rows' ``deviations (rows, players,
    outputs)``.
    """
    if weights is not None:
        deviations = deviations * np.asarray(weights, dtype=np.float64)[:, None, None]
    return np.stack(
        [
            error_correlation(output_deviations.T, units)
            for output_deviations in np.moveaxis(deviations, -1, 0)
        ]
    )
