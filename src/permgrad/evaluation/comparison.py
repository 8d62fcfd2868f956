"""Results of several models on the same folds: which is best, by how much, and whether
they rely on the same features.

A ``Comparison`` holds two frames: one line per model and fold, and one line per model,
fold and feature. All else (means, ranks, tests, agreement) is computed from them, and
can be computed again.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Booleans, Floats
from permgrad.base.checks import check_choice
from permgrad.base.csv_files import Formulas, write_csv
from permgrad.base.csv_files import csv_formulas as formulas_in_csv
from permgrad.base.files import plain, write_json_atomic, write_text_atomic
from permgrad.base.shown import show
from permgrad.base.significance import (
    LEVEL,
    adjusted,
    clearly,
    over_splits,
    t_quantile,
    t_two_sided,
)
from permgrad.evaluation.metrics import Metric, metrics
from permgrad.evaluation.ranking import agreement_table, importance_shares, usual_k
from permgrad.evaluation.ranking import strongest as strongest_of

#: Results of a test of two models.
_TEST = ["difference", "ci_low", "ci_high", "p_value"]
#: Least share of a model's importance for a feature to be one of its strongest.
MATTERS = 0.01
SCORES = "scores.csv"
IMPORTANCES = "importances.csv"
AGREEMENT = "agreement.csv"
RECORD = "comparison.json"
PAGE = "comparison.html"


@dataclass(frozen=True)
class ComparedModel:
    """A model that takes part."""

    name: str
    label: str
    kind: Literal["network", "baseline"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several models on the same folds of one table.

    Attributes:
        table: Name of the table.
        target: Name of the target.
        task: ``"classification"`` or ``"regression"``.
        metric: Name of the metric that decides.
        contestants: The models, in the order in which they were asked for.
        scores: One line per model and fold: ``model, fold``, every metric of the task,
            ``fit_seconds, processor_seconds, explain_seconds, train_rows,
            validation_rows, test_rows, problem`` (why it failed, empty if it did not).
        importances: One line per model, fold, method and feature: ``model, fold,
            method, feature, importance, std, ci_low, ci_high, p_value``, and ``tabular,
            image, interaction`` where the path game was played. Empty where nothing was
            explained.
        facts: Further facts: how rows were divided, settings, versions, notes.

    Examples:
        >>> frame = pd.DataFrame(
        ...     {
        ...         "model": ["a", "b"] * 3,
        ...         "fold": [1, 1, 2, 2, 3, 3],
        ...         "rmse": [1, 2, 1, 2.1, 1, 1.9],
        ...     }
        ... )
        >>> comparison = Comparison(
        ...     "t",
        ...     "y",
        ...     "regression",
        ...     "rmse",
        ...     (
        ...         ComparedModel("a", "A", "baseline"),
        ...         ComparedModel("b", "B", "baseline"),
        ...     ),
        ...     frame.assign(train_rows=80, test_rows=20),
        ... )
        >>> standing = comparison.standing.set_index("model")
        >>> comparison.best, standing.loc["b", "difference"].item()
        ('a', 1.0)
    """

    table: str
    target: str
    task: str
    metric: str
    contestants: tuple[ComparedModel, ...]
    scores: pd.DataFrame
    importances: pd.DataFrame = field(default_factory=pd.DataFrame)
    facts: Mapping[str, Any] = field(default_factory=dict)

    # ---- which is best ---------------------------------------------------------------
    @property
    def measure(self) -> Metric:
        """The metric that decides."""
        return metrics.get(self.metric)

    def label(self, name: str) -> str:
        """Return a model's name for people."""
        return next(
            (
                contestant.label
                for contestant in self.contestants
                if contestant.name == name
            ),
            name,
        )

    @property
    def names(self) -> list[str]:
        """Names of all models."""
        return [contestant.name for contestant in self.contestants]

    @cached_property
    def folds(self) -> list[Any]:
        """The folds, in order."""
        return list(dict.fromkeys(self.scores["fold"].tolist()))

    def table_of(self, metric: str) -> pd.DataFrame:
        """Return a metric's values, folds by models, NaN if undefined.

        Models without any value are left out.
        """
        check_choice(
            "metric",
            metric,
            [str(score_name) for score_name in self.scores if score_name in metrics],
        )
        fold_scores = self.scores.pivot_table(
            index="fold", columns="model", values=metric, aggfunc="first", dropna=False
        )
        fold_scores = fold_scores.reindex(
            index=self.folds,
            columns=[
                model_name for model_name in self.names if model_name in fold_scores
            ],
        )
        return fold_scores.astype(np.float64).dropna(axis="columns", how="all")

    @cached_property
    def best(self) -> str | None:
        """The model with the best mean among those with the most folds, or None if
        every model failed.
        """
        fold_scores = self.table_of(self.metric)
        if fold_scores.empty:
            return None
        counts = fold_scores.notna().sum()
        means = fold_scores.loc[:, counts == counts.max()].mean()
        return str(
            means.idxmax() if self.measure.direction == "higher" else means.idxmin()
        )

    @cached_property
    def standing(self) -> pd.DataFrame:
        """One line per model, best first.

        Columns: ``model, label, kind, mean, std`` (over folds), ``lowest, highest,
        rank`` (mean over folds, NaN for a model that lacks some), ``difference``
        (distance from the best), ``ci_low, ci_high, p_value`` (corrected for
        overlapping training rows), ``p_holm`` (corrected for several comparisons with
        the best), ``fit_seconds`` (median), ``folds, failed``, ``level`` (the best, or
        not significantly different from it).
        """
        fold_scores = self.table_of(self.metric).reindex(columns=self.names)
        higher = self.measure.direction == "higher"
        behind = []
        for model_name in fold_scores.columns[fold_scores.notna().any()]:
            if model_name != self.best:
                behind.append(model_name)
        tests = {}
        for model_name in behind:
            tests[model_name] = self._test(fold_scores, str(self.best), model_name)
        frame = pd.DataFrame(
            {
                "model": self.names,
                "label": [contestant.label for contestant in self.contestants],
                "kind": [contestant.kind for contestant in self.contestants],
                "mean": fold_scores.mean(),
                "std": fold_scores.std(),
                "lowest": fold_scores.min(),
                "highest": fold_scores.max(),
                "rank": fold_scores.dropna(axis="columns")
                .rank(axis="columns", ascending=not higher)
                .mean(),
            },
            index=self.names,
        ).join(_adjusted(pd.DataFrame.from_dict(tests, orient="index", columns=_TEST)))
        if self.best is not None:
            frame.loc[self.best, "difference"] = 0.0
        by_model = self.scores["model"]
        # The median, because other work on the machine may slow down a fold.
        frame["fit_seconds"] = (
            self._column("fit_seconds", math.nan)
            .astype(np.float64)
            .groupby(by_model)
            .median()
        )
        frame["folds"] = fold_scores.notna().sum()
        frame["failed"] = (self._column("problem", "") != "").groupby(by_model).sum()
        frame["level"] = (frame["model"] == self.best) | (frame["p_holm"] >= LEVEL)
        # A model that failed on some folds was not measured on the same rows, and is
        # listed after the others.
        if higher:
            sort_key = -frame["mean"]
        else:
            sort_key = frame["mean"]
        return frame.iloc[
            np.lexsort((sort_key.to_numpy(), -frame["folds"].to_numpy()))
        ].reset_index(drop=True)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """A test of every pair of models.

        Columns: ``first, second, difference`` (above 0 if the first is better),
        ``ci_low, ci_high, p_value, p_holm``.
        """
        fold_scores = self.table_of(self.metric)
        tests = {}
        for model_pair in itertools.combinations(fold_scores.columns, 2):
            tests[model_pair] = self._test(fold_scores, *model_pair)
        lines = []
        for model_pair, test_numbers in tests.items():
            if not math.isnan(test_numbers[0]):
                lines.append([*model_pair, *test_numbers])
        return _adjusted(pd.DataFrame(lines, columns=["first", "second", *_TEST]))

    def _test(self, wide: pd.DataFrame, first: str, second: str) -> tuple[float, ...]:
        """Return the test (``_TEST``) of whether ``first`` is better than ``second``,
        NaN for fewer than two folds.
        """
        both_scores = wide[[first, second]].dropna()
        if len(both_scores) < 2:
            return (math.nan,) * len(_TEST)
        if self.measure.direction == "higher":
            direction_sign = 1.0
        else:
            direction_sign = -1.0
        train, test_rows = self._sizes
        paired_test = corrected_paired_test(
            direction_sign * (both_scores[first] - both_scores[second]).to_numpy(),
            train_rows=train,
            test_rows=test_rows,
        )
        return (
            paired_test.difference,
            paired_test.low,
            paired_test.high,
            paired_test.p_value,
        )

    @cached_property
    def _sizes(self) -> tuple[int, int]:
        """Mean numbers of training and of test rows of a fold, at least 1 each."""
        sizes = self.scores[["train_rows", "test_rows"]].astype(np.float64).mean()
        return max(1, round(sizes["train_rows"])), max(1, round(sizes["test_rows"]))

    def _column(self, name: str, missing: Any) -> pd.Series[Any]:
        """Return a column of the scores, which frames made by hand may lack."""
        empty = pd.Series(missing, index=self.scores.index)
        if name in self.scores:
            return self.scores[name].fillna(missing)
        return empty

    @property
    def failures(self) -> list[tuple[str, Any, str]]:
        """Model, fold and reason of every failure."""
        problems = self._column("problem", "")
        failed_folds = self.scores[["model", "fold"]].assign(problem=problems)[
            problems != ""
        ]
        return [
            (str(model_name), fold_label, str(reason))
            for model_name, fold_label, reason in failed_folds.to_numpy().tolist()
        ]

    # ---- features they rely on -------------------------------------------------------
    @cached_property
    def features(self) -> list[str]:
        """All features, in the table's order."""
        if len(self.importances):
            return list(dict.fromkeys(self.importances["feature"]))
        return []

    @cached_property
    def reliance(self) -> dict[str, Floats]:
        """Permutation importances ``(folds, features)`` of each explained model, on the
        folds that all of them have.

        Models that failed on more than half of the folds are left out, because few
        common folds would remain.
        """
        return self._on_common_folds("importance")

    def _on_common_folds(self, column: str) -> dict[str, Floats]:
        if not len(self.importances):
            return {}
        frame = self.importances[self.importances["method"] == "permutation"]
        fold_values = frame.pivot_table(
            index=["model", "fold"],
            columns="feature",
            values=column,
            aggfunc="first",
            dropna=False,
        ).reindex(columns=self.features)
        explained = set(zip(frame["model"], frame["fold"], strict=True))
        model_folds = {}
        for model_name in self.names:
            model_folds[model_name] = [
                fold_label
                for fold_label in self.folds
                if (model_name, fold_label) in explained
            ]
        model_folds = {
            model_name: folds
            for model_name, folds in model_folds.items()
            if 2 * len(folds) >= len(self.folds) and folds
        }
        common = []
        for fold_label in self.folds:
            if all(fold_label in folds for folds in model_folds.values()):
                common.append(fold_label)
        if not common:
            return {}
        on_common_folds: dict[str, Floats] = {}
        for model_name in model_folds:
            on_common_folds[model_name] = fold_values.loc[
                [(model_name, fold_label) for fold_label in common]
            ].to_numpy(dtype=np.float64)
        return on_common_folds

    @cached_property
    def clear(self) -> dict[str, Booleans]:
        """The features that clearly matter to each explained model: p-values over folds
        pass Holm's steps at 5 %.

        Without p-values, every feature above 0 counts.
        """
        if "p_value" in self.importances:
            p_values = self._on_common_folds("p_value")
        else:
            p_values = {}
        clear = {}
        for model_name, values in self.reliance.items():
            if p_values:
                p = over_splits(p_values[model_name])
            else:
                p = np.full(values.shape[1], math.nan)
            if np.isnan(p).all():
                tested = np.zeros_like(p)
            else:
                tested = adjusted(p[:, None])[:, 0]
            clear[model_name] = clearly(values.mean(axis=0), tested)
        return clear

    @cached_property
    def k(self) -> int:
        """Number of features that count as the strongest."""
        if self.features:
            return usual_k(len(self.features))
        return 0

    @cached_property
    def agreement(self) -> pd.DataFrame:
        """Agreement of every pair of explained models, see
        ``permgrad.evaluation.ranking``.
        """
        train, test_rows = self._sizes
        return agreement_table(
            self.reliance, k=self.k or None, train_rows=train, test_rows=test_rows
        )

    def shares(self) -> pd.DataFrame:
        """Return each model's mean share of importance, features by models
        (permutation, folds averaged).

        Importances below 0 count as 0, because shares compare the features that models
        rely on, not their losses.
        """
        columns = {}
        for model_name, values in self.reliance.items():
            columns[model_name] = np.mean(list(map(importance_shares, values)), axis=0)
        return pd.DataFrame(columns, index=self.features)

    @cached_property
    def strongest(self) -> dict[str, Floats]:
        """Whether each feature is one of the strongest of each explained model: 1, 0,
        or a fraction for ties.

        At most ``k`` features with the largest mean shares, all of which clearly matter
        and have at least 1 %.
        """
        return {
            str(model_name): strongest_of(
                np.where((share >= MATTERS) & self.clear[str(model_name)], share, 0.0),
                self.k,
            )
            for model_name, share in self.shares().items()
        }

    # ---- export ----------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Return everything except the frames of scores and importances, for JSON."""
        measured = []
        for metric_name in self.scores:
            if metric_name in metrics:
                measured.append(metric_name)
        by_model = (
            self.scores[measured]
            .astype(float)
            .groupby(self.scores["model"], sort=False)
        )
        means = by_model.mean()
        spreads = by_model.std()
        shares = self.shares()
        facts: dict[str, Any] = plain(
            {
                **{
                    attribute_name: getattr(self, attribute_name)
                    for attribute_name in ("table", "target", "task", "metric")
                },
                "direction": self.measure.direction,
                "best": self.best,
                "models": self.standing.to_dict(orient="records"),
                "metrics": {
                    model: {
                        metric_name: {
                            "mean": means[metric_name][model],
                            "std": spreads[metric_name][model],
                        }
                        for metric_name in measured
                    }
                    for model in means.index
                },
                "pairs": self.pairs.to_dict(orient="records"),
                "agreement": self.agreement.to_dict(orient="records"),
                "compared": {"features": len(self.features), "strongest": self.k},
                "strongest_features": {
                    model_name: shares[model_name][member > 0]
                    .sort_values(ascending=False, kind="stable")
                    .index.tolist()
                    for model_name, member in self.strongest.items()
                },
                "failures": [
                    dict(zip(("model", "fold", "reason"), entry, strict=True))
                    for entry in self.failures
                ],
                "sentences": show("Comparison.sentences", self),
                **self.facts,
            }
        )
        return facts

    def to_html(self) -> str:
        """Return the page: one HTML file that works offline."""
        return show("Comparison.html", self)

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        record: Mapping[str, Any] | None = None,
        csv_formulas: Formulas | None = None,
    ) -> Path:
        """Write ``scores.csv, importances.csv, agreement.csv, comparison.json`` and
        ``comparison.html`` into a folder.

        Args:
            folder: Created if needed. Files of these names are replaced.
            record: Further entries of ``comparison.json``, before the others.
            csv_formulas: ``"quote"`` puts a single quote before texts that a
                spreadsheet would take for formulas, ``"keep"`` leaves them unchanged.
                None: the setting of the running command, else ``"quote"``.

        Returns:
            The folder.
        """
        target = Path(folder)
        for file_name, frame in (
            (SCORES, self.scores),
            (IMPORTANCES, self.importances),
            (AGREEMENT, self.agreement),
        ):
            with formulas_in_csv(csv_formulas):
                write_csv(frame, target / file_name)
        write_text_atomic(target / PAGE, self.to_html())
        # Last, because its entry "finished" means that the others exist.
        write_json_atomic(target / RECORD, {**(record or {}), **self.to_dict()})
        return target

    def __repr__(self) -> str:
        return (
            f"<Comparison of {len(self.contestants)} models on {self.table}: "
            f"{len(self.folds)} folds, best by {self.measure.label}: {self.best}>"
        )


def _adjusted(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the p-values of tests, adjusted for their number."""
    frame = frame.astype(dict.fromkeys(_TEST, np.float64))
    frame["p_holm"] = adjusted(frame[["p_value"]])[:, 0]
    return frame


#: Differences that agree up to this share are equal.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PairedTest:
    """Mean difference in the unit of the score, its 95 % interval, two-sided p-value,
    number of splits.
    """

    difference: float
    low: float
    high: float
    p_value: float
    splits: int


def corrected_paired_test(
    differences: npt.ArrayLike, *, train_rows: int, test_rows: int
) -> PairedTest:
    """Test whether the mean difference of two models' scores ``(splits,)`` is 0. p <
    0.05 iff the interval excludes 0.

    With J splits, differences d_1 … d_J and their sample variance s², the standard
    error of the mean is √((1/J + test_rows / train_rows) · s²), with J − 1 degrees of
    freedom (Nadeau & Bengio 2003, equation 12 ff.). If all differences are equal, their
    spread is unknown. The p-value is then that of their signs, 2 · 2^−J, with the
    interval that belongs to it. If they are all 0, the p-value is 1 and the interval is
    0.
    """
    values = np.asarray(differences, dtype=np.float64)
    splits = len(values)
    # Scores near 1 are rounded at 1e-16, and so are their differences, even very small
    # ones.
    largest = _ROUNDING * float(np.abs(values).max())
    mean_difference = float(values.mean())
    if abs(mean_difference) <= largest:
        mean_difference = 0.0
    error = math.sqrt(float(values.var(ddof=1)) * (1 / splits + test_rows / train_rows))
    if error <= largest:
        # NOTE[DIFF]: the paper's variance is 0 here, which makes any difference
        # certain.
        if mean_difference == 0:
            return PairedTest(0.0, 0.0, 0.0, 1.0, splits)
        error = -abs(mean_difference) / float(t_quantile(0.5**splits, splits - 1))
    half_width = float(t_quantile(0.975, splits - 1)) * error
    p_value = float(t_two_sided(mean_difference / error, splits - 1))
    return PairedTest(
        mean_difference,
        mean_difference - half_width,
        mean_difference + half_width,
        p_value,
        splits,
    )
