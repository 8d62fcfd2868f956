"""What comes out of several models on the same folds: who is ahead, by how much, and whether they rely on the same.

A ``Comparison`` is made of two plain frames, one line per model and fold and one line per model, fold and feature;
everything else (means, ranks, tests, agreement) is computed from them, so that it can be computed again.
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

from permgrad.base.csv_files import Formulas, write_csv
from permgrad.base.csv_files import csv_formulas as formulas_in_csv
from permgrad.base.errors import InputError
from permgrad.base.files import atomic_path, plain, write_json_atomic, write_text_atomic
from permgrad.base.significance import adjusted, clearly, over_splits
from permgrad.evaluation.agreement import agreement_table, usual_k
from permgrad.evaluation.agreement import strongest as strongest_of
from permgrad.evaluation.metrics import Metric, metrics
from permgrad.evaluation.paired import corrected_paired_test, holm, mean_ranks
from permgrad.evaluation.ranking import importance_shares

Floats = npt.NDArray[np.float64]

#: Differences with a larger adjusted p-value are not told from chance.
LEVEL = 0.05
#: Share of a model's importance from which on a feature may be one of its strongest.
MATTERS = 0.01
SCORES, IMPORTANCES, AGREEMENT = "scores.csv", "importances.csv", "agreement.csv"
RECORD, PAGE = "comparison.json", "comparison.html"


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
        scores: One line per model and fold: ``model, fold``, every metric of the task, ``fit_seconds,
            processor_seconds, explain_seconds, train_rows, validation_rows, test_rows, problem`` (why it failed, empty
            if it did not).
        importances: One line per model, fold, method and feature: ``model, fold, method, feature, importance, std,
            ci_low, ci_high, p_value``, and ``tabular, image, interaction`` where the path game was played. Empty where
            nothing was explained.
        facts: What else is to be said: how rows were divided, settings, versions, notes.

    Examples:
        >>> frame = pd.DataFrame({"model": ["a", "b"] * 3, "fold": [1, 1, 2, 2, 3, 3], "rmse": [1, 2, 1, 2.1, 1, 1.9]})
        >>> comparison = Comparison("t", "y", "regression", "rmse", (ComparedModel("a", "A", "baseline"),
        ...                         ComparedModel("b", "B", "baseline")), frame.assign(train_rows=80, test_rows=20))
        >>> comparison.best, comparison.standing.set_index("model").loc["b", "difference"].item()
        ('a', 1.0)
    """

    table: str
    target: str
    task: Literal["classification", "regression"]
    metric: str
    contestants: tuple[ComparedModel, ...]
    scores: pd.DataFrame
    importances: pd.DataFrame = field(default_factory=pd.DataFrame)
    facts: Mapping[str, Any] = field(default_factory=dict)

    # ---- who is ahead ------------------------------------------------------------------------------------------------
    @property
    def measure(self) -> Metric:
        """The metric that decides."""
        return metrics.get(self.metric)

    def label(self, name: str) -> str:
        """Return a model's name for people."""
        return next((one.label for one in self.contestants if one.name == name), name)

    @property
    def names(self) -> list[str]:
        """Names of all models."""
        return [one.name for one in self.contestants]

    @cached_property
    def folds(self) -> list[Any]:
        """The folds, in order."""
        return list(dict.fromkeys(self.scores["fold"].tolist()))

    def table_of(self, metric: str) -> pd.DataFrame:
        """Return a metric's values, folds by models; undefined is NaN. Models without any value are left out."""
        if metric not in self.scores:
            measured = [str(name) for name in self.scores if name in metrics]
            raise InputError(f"scores have the metrics {', '.join(measured)}, however: {metric!r} is none of them")
        wide = self.scores.pivot_table(index="fold", columns="model", values=metric, aggfunc="first", dropna=False)
        wide = wide.reindex(index=self.folds, columns=[name for name in self.names if name in wide])
        return wide.astype(np.float64).dropna(axis="columns", how="all")

    @cached_property
    def sizes(self) -> tuple[int, int]:
        """Mean numbers of training and of test rows of a fold, at least 1 each."""
        sizes = self.scores[["train_rows", "test_rows"]].astype(np.float64).mean()
        return max(1, round(sizes["train_rows"])), max(1, round(sizes["test_rows"]))

    @cached_property
    def best(self) -> str | None:
        """The model with the best mean, among those that have the most folds; None if every model failed."""
        wide = self.table_of(self.metric)
        if wide.empty:
            return None
        counts = wide.notna().sum()
        means = wide.loc[:, counts == counts.max()].mean()
        return str(means.idxmax() if self.measure.direction == "higher" else means.idxmin())

    @cached_property
    def standing(self) -> pd.DataFrame:
        """One line per model, best first.

        Columns: ``model, label, kind, mean, std`` (over folds), ``lowest, highest, rank`` (mean over folds; NaN for a
        model that has not all of them), ``difference`` (how far it is behind the best), ``ci_low, ci_high, p_value``
        (corrected for overlapping training rows), ``p_holm`` (corrected for several comparisons with the best),
        ``level`` (the best, or not told from it), ``fit_seconds`` (median), ``folds, failed``.
        """
        wide = self.table_of(self.metric)
        complete = wide.dropna(axis="columns")
        higher = self.measure.direction == "higher"
        ranks = (
            mean_ranks({str(name): complete[name].tolist() for name in complete}, higher_is_better=higher)
            if complete.shape[1]
            else {}
        )
        tests = self._against_best(wide)
        lines = []
        for one in self.contestants:
            rows = self.scores[self.scores["model"] == one.name]
            values = wide[one.name].dropna() if one.name in wide else pd.Series(dtype=np.float64)
            seconds = rows["fit_seconds"] if "fit_seconds" in rows else pd.Series(dtype=np.float64)
            lines.append(
                {
                    "model": one.name,
                    "label": one.label,
                    "kind": one.kind,
                    "mean": values.mean(),
                    "std": values.std(ddof=1),
                    "lowest": values.min(),
                    "highest": values.max(),
                    "rank": ranks.get(one.name, math.nan),
                    **tests.get(one.name, _no_test()),
                    # Other work on the machine may disturb a fold: the median does not mind.
                    "fit_seconds": seconds.astype(np.float64).median(),
                    "folds": len(values),
                    "failed": int((rows["problem"].fillna("") != "").sum()) if "problem" in rows else 0,
                }
            )
        frame = pd.DataFrame(lines)
        frame["level"] = [
            name == self.best or (self.best is not None and math.isfinite(p) and p >= LEVEL)
            for name, p in zip(frame["model"], frame["p_holm"], strict=True)
        ]
        key = -frame["mean"] if higher else frame["mean"]
        # A model that failed on some folds was not measured on the same rows: it stands behind those that were.
        place = np.lexsort((key.to_numpy(), -frame["folds"].to_numpy()))
        return frame.iloc[place].reset_index(drop=True)

    def _against_best(self, wide: pd.DataFrame) -> dict[str, dict[str, float]]:
        """Test every model against the best one on the folds that both have."""
        if self.best is None:
            return {}
        tests = {str(name): self._test(wide, self.best, str(name)) for name in wide if name != self.best}
        defined = {name: test for name, test in tests.items() if test is not None}
        if defined:
            for test, p in zip(defined.values(), holm([one["p_value"] for one in defined.values()]), strict=True):
                test["p_holm"] = float(p)
        return {self.best: {**_no_test(), "difference": 0.0}, **defined}

    def _test(self, wide: pd.DataFrame, first: str, second: str) -> dict[str, float] | None:
        """Return by how much ``first`` is better than ``second``; None for fewer than two common folds."""
        both = wide[[first, second]].dropna()
        if len(both) < 2:
            return None
        sign = 1.0 if self.measure.direction == "higher" else -1.0
        train, test = self.sizes
        pair = corrected_paired_test(sign * (both[first] - both[second]).to_numpy(), train_rows=train, test_rows=test)
        values = (pair.difference, pair.low, pair.high, pair.p_value, math.nan)
        return dict(zip(_no_test(), values, strict=True))

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Every pair of models, tested alike.

        Columns: ``first, second, difference`` (by how much the first is better), ``ci_low, ci_high, p_value, p_holm``.
        """
        wide = self.table_of(self.metric)
        tests = {pair: self._test(wide, *pair) for pair in itertools.combinations([str(name) for name in wide], 2)}
        lines = [{"first": first, "second": second, **test} for (first, second), test in tests.items() if test]
        frame = pd.DataFrame(lines, columns=["first", "second", *_no_test()])
        if len(frame):
            frame["p_holm"] = holm(frame["p_value"].to_numpy())
        return frame

    @property
    def failures(self) -> list[tuple[str, Any, str]]:
        """Model, fold and reason of everything that failed."""
        if "problem" not in self.scores:
            return []
        bad = self.scores[self.scores["problem"].fillna("") != ""]
        return [
            (str(name), fold, str(why)) for name, fold, why in bad[["model", "fold", "problem"]].to_numpy().tolist()
        ]

    # ---- what they rely on -------------------------------------------------------------------------------------------
    @cached_property
    def features(self) -> list[str]:
        """All features, in the table's order."""
        return list(dict.fromkeys(self.importances["feature"])) if len(self.importances) else []

    @cached_property
    def reliance(self) -> dict[str, Floats]:
        """For each explained model its importances by permutation ``(folds, features)``, on the folds all of them have.

        Models that failed on more than half of the folds are left out, because they would leave little to compare.
        """
        return self._on_common_folds("importance")

    def _on_common_folds(self, column: str) -> dict[str, Floats]:
        if not len(self.importances):
            return {}
        frame = self.importances[self.importances["method"] == "permutation"]
        wide = frame.pivot_table(
            index=["model", "fold"], columns="feature", values=column, aggfunc="first", dropna=False
        )
        wide = wide.reindex(columns=self.features)
        explained = set(zip(frame["model"], frame["fold"], strict=True))
        have = {name: [fold for fold in self.folds if (name, fold) in explained] for name in self.names}
        have = {name: folds for name, folds in have.items() if 2 * len(folds) >= len(self.folds) and folds}
        common = [fold for fold in self.folds if all(fold in folds for folds in have.values())]
        if not common:
            return {}
        return {name: wide.loc[[(name, fold) for fold in common]].to_numpy(dtype=np.float64) for name in have}

    @cached_property
    def clear(self) -> dict[str, npt.NDArray[np.bool_]]:
        """For each explained model which features clearly matter: their p-values over folds pass Holm's steps at 5 %.

        Where there are no p-values, as in comparisons of an older permgrad, every feature above 0 counts.
        """
        p_values = self._on_common_folds("p_value") if "p_value" in self.importances else {}
        clear = {}
        for name, values in self.reliance.items():
            p = over_splits(p_values[name]) if p_values else np.full(values.shape[1], math.nan)
            tested = np.zeros_like(p) if np.isnan(p).all() else adjusted(p[:, None])[:, 0]
            clear[name] = clearly(values.mean(axis=0), tested)
        return clear

    @cached_property
    def k(self) -> int:
        """How many features count as the strongest."""
        return usual_k(len(self.features)) if self.features else 0

    @cached_property
    def agreement(self) -> pd.DataFrame:
        """Agreement of every pair of explained models, see ``permgrad.evaluation.agreement``."""
        train, test = self.sizes
        return agreement_table(self.reliance, k=self.k or None, train_rows=train, test_rows=test)

    def shares(self) -> pd.DataFrame:
        """Return each model's mean share of importance, features by models (permutation, folds averaged).

        Importances below 0 count as 0, and those of a fold are divided by their sum: losses of different models have
        different sizes, and what is compared is which features they rely on.
        """
        columns = {
            name: np.mean([importance_shares(row) for row in values], axis=0) for name, values in self.reliance.items()
        }
        return pd.DataFrame(columns, index=self.features)

    @cached_property
    def strongest(self) -> dict[str, Floats]:
        """For each explained model how far each feature is one of its strongest: 1, 0, or a part where ties straddle.

        They are those of the mean shares over folds, at most ``k``, and none that does not clearly matter or has less
        than a hundredth of the importance: the order of such features says nothing. So a model may have fewer than
        ``k``.
        """
        shares = {str(name): column.to_numpy(dtype=np.float64) for name, column in self.shares().items()}
        return {
            name: strongest_of(np.where((share >= MATTERS) & self.clear[name], share, 0.0), self.k)
            for name, share in shares.items()
        }

    # ---- leaving it --------------------------------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Return everything but the frames of scores and importances as JSON-able facts."""
        from permgrad.report.page.comparison import sentences

        facts: dict[str, Any] = plain(
            {
                "table": self.table,
                "target": self.target,
                "task": self.task,
                "metric": self.metric,
                "direction": self.measure.direction,
                "best": self.best,
                "models": self.standing.to_dict(orient="records"),
                "metrics": self._metric_means(),
                "pairs": self.pairs.to_dict(orient="records"),
                "agreement": self.agreement.to_dict(orient="records"),
                "compared": {"features": len(self.features), "strongest": self.k},
                "strongest_features": self._strongest_names(),
                "failures": [dict(zip(("model", "fold", "reason"), entry, strict=True)) for entry in self.failures],
                "sentences": sentences(self),
                **self.facts,
            }
        )
        return facts

    def _strongest_names(self) -> dict[str, list[str]]:
        """Return each model's strongest features, the strongest first."""
        shares = self.shares()
        return {
            name: shares[name][member > 0].sort_values(ascending=False, kind="stable").index.tolist()
            for name, member in self.strongest.items()
        }

    def _metric_means(self) -> dict[str, dict[str, dict[str, float]]]:
        measured = [str(name) for name in self.scores if name in metrics]
        values = self.scores[measured].astype(float).groupby(self.scores["model"], sort=False)
        means, spreads = values.mean(), values.std(ddof=1)
        return {
            str(model): {name: {"mean": means.loc[model, name], "std": spreads.loc[model, name]} for name in measured}
            for model in means.index
        }

    def to_html(self) -> str:
        """Return the page: one HTML file that works offline."""
        # NOTE: goes up the house, as ``Explanation.plot`` does: lazily, for the convenience of the person who types.
        from permgrad.report.page.comparison import comparison_page

        return comparison_page(self)

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        record: Mapping[str, Any] | None = None,
        csv_formulas: Formulas | None = None,
    ) -> Path:
        """Write ``scores.csv, importances.csv, agreement.csv, comparison.json`` and ``comparison.html`` into a folder.

        Args:
            folder: Made if needed; files of these names are replaced.
            record: Further entries of ``comparison.json``, before the others.
            csv_formulas: ``"quote"`` puts a single quote before texts that a spreadsheet would take for formulas,
                ``"keep"`` leaves them; None: as the command asks that saves, else ``"quote"``.

        Returns:
            The folder.
        """
        target = Path(folder)
        for name, frame in ((SCORES, self.scores), (IMPORTANCES, self.importances), (AGREEMENT, self.agreement)):
            with formulas_in_csv(csv_formulas), atomic_path(target / name) as temporary:
                write_csv(frame, temporary)
        write_text_atomic(target / PAGE, self.to_html())
        # Last, because its entry "finished" says that the others are there.
        write_json_atomic(target / RECORD, {**(record or {}), **self.to_dict()})
        return target

    def __repr__(self) -> str:
        return (
            f"<Comparison of {len(self.contestants)} models on {self.table}: {len(self.folds)} folds, "
            f"best by {self.measure.label}: {self.best}>"
        )


def _no_test() -> dict[str, float]:
    return dict.fromkeys(("difference", "ci_low", "ci_high", "p_value", "p_holm"), math.nan)
