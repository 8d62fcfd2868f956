"""Several models on the same rows: their metrics, the difference of every two of them, and where they disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Array, Floats
from permgrad.base.dependence import Dependence
from permgrad.base.significance import adjusted
from permgrad.evaluation.metrics import Metric, Task, primary_metric, scores_of
from permgrad.evaluation.skill import Predicted, every_pair

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Columns of the frame of pairs. ``difference`` is above 0 if the first is better.
PAIR_COLUMNS = (
    *("first", "second", "difference", "ci_low", "ci_high", "p_value", "p_holm"),
    *("alike", "only_first", "only_second"),
)


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Several models on the same test rows.

    Attributes:
        task: ``"classification"`` or ``"regression"``.
        rows: number of rows.
        measured: the metrics of each model by name, the best model first.
        pairs: one line per two models, the better one first: ``first, second, difference, ci_low, ci_high, p_value,
            p_holm, alike, only_first, only_second``. ``alike`` is the share of rows with the same predicted class, or
            the correlation of the predictions. ``only_first`` counts rows whose class only the first predicts right.
            ``p_holm`` is adjusted among the pairs with the reference, and among the others.
        reference: the model that the others are compared with.
        seconds: seconds that fitting took, where that is known.
        shown: names for people.
        explanations: importances of features, of the models that were explained.
    """

    task: Task
    rows: int
    measured: Mapping[str, Mapping[str, Any]]
    pairs: pd.DataFrame
    reference: str
    seconds: Mapping[str, float | None] = field(default_factory=dict)
    shown: Mapping[str, str] = field(default_factory=dict)
    explanations: Mapping[str, Explanation] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The models, the best first."""
        return list(self.measured)

    @property
    def metric(self) -> Metric:
        """The metric that decides."""
        first = next(iter(self.measured.values()))
        return primary_metric(self.task, len(first.get("labels") or ()) - len(first.get("unseen") or ()))

    def label(self, name: str) -> str:
        """Return a model's name for people."""
        return self.shown.get(name, name)

    def against(self) -> pd.DataFrame:
        """Return one line for each other model: ``model`` and the columns of pairs, above 0 if the reference is better.

        ``p_holm`` is that of the pairs: with the reference of the comparison, adjusted for the number of other models.
        """
        columns = ["model", *PAIR_COLUMNS[2:-2]]
        lines = []
        for pair in self.pairs.itertuples(index=False):
            if pair.first == self.reference:
                lines.append([pair.second, *pair[2:-2]])
            elif pair.second == self.reference:
                turned = [-float(end) for end in (pair[2], pair[4], pair[3])]
                lines.append([pair.first, *turned, *pair[5:-2]])
        frame = pd.DataFrame(lines, columns=columns)
        place = {name: at for at, name in enumerate(self.names)}
        return frame.sort_values("model", key=lambda names: names.map(place), ignore_index=True)


def side_by_side(
    task: Task,
    truth: npt.ArrayLike,
    guesses: Mapping[str, Floats],
    *,
    classes: Sequence[Any] | Array = (),
    positive: Any = None,
    reference: str | None = None,
    seed: int,
    called: Mapping[str, Array] | None = None,
    dependence: Dependence | None = None,
    weights: Floats | None = None,
    **facts: Any,
) -> SideBySide:
    """Measure several models on the same rows and compare every two.

    Args:
        task: ``"classification"`` or ``"regression"``.
        truth: the truth ``(rows,)``.
        guesses: the predictions of each model ``(rows,)``, or probabilities ``(rows, classes)``.
        classes: classes in the order of the probabilities.
        positive: the class of two that average precision and lift describe. None: the second.
        reference: the model that the others are compared with. None: the best one.
        seed: seed of the drawn rows.
        called: positions of the classes that models decide for, where these are not the most probable ones.
        dependence: which rows depend on each other.
        weights: how much each row counts ``(rows,)``, above 0. None: all alike.
        **facts: further fields of the result: ``seconds``, ``shown``, ``explanations``.

    Examples:
        >>> truth = np.arange(40.0)
        >>> result = side_by_side("regression", truth, {"far": truth + 2, "near": truth + 1}, seed=0)
        >>> result.names, result.pairs["difference"].tolist()
        (['near', 'far'], [1.0])
    """
    known = np.asarray(truth)
    decided = {name: np.asarray(classes)[codes] for name, codes in (called or {}).items()}
    options: dict[str, Any] = {"classes": classes, "positive": positive, "weights": weights}
    measured = {
        name: scores_of(task, known, guess, called=decided.get(name), **options) for name, guess in guesses.items()
    }
    index = pd.Index(np.asarray(classes))
    codes = known.astype(np.float64) if task == "regression" else index.get_indexer(pd.Index(known))
    metric = primary_metric(task, len(classes))
    sign = -1.0 if metric.direction == "higher" else 1.0
    undefined = float("inf")
    order = sorted(measured, key=lambda name: undefined if (v := measured[name][metric.name]) is None else sign * v)
    tables = {name: np.asarray(guess, dtype=np.float64) for name, guess in guesses.items()}
    models = [Predicted(codes, tables[name], (called or {}).get(name), weights) for name in order]
    lines = []
    for (one, other), paired in every_pair(metric.name, models, seed=seed, dependence=dependence).items():
        numbers = [np.nan] * 4
        if paired is not None:
            numbers = [paired[name] for name in ("difference", "ci_low", "ci_high", "p_value")]
        lines.append([order[one], order[other], *numbers, np.nan, *_agreement(models[one], models[other])])
    pairs = pd.DataFrame(lines, columns=list(PAIR_COLUMNS))
    reference = order[0] if reference is None else reference
    # A pair has one adjusted p, wherever the page speaks of it.
    with_it = (pairs[["first", "second"]] == reference).any(axis=1)
    for family in (with_it, ~with_it):
        pairs.loc[family, "p_holm"] = adjusted(pairs.loc[family, ["p_value"]])[:, 0]
    return SideBySide(
        task=task,
        rows=len(known),
        measured={name: measured[name] for name in order},
        pairs=pairs,
        reference=reference,
        **facts,
    )


def _agreement(one: Predicted, other: Predicted) -> tuple[float, int | None, int | None]:
    """Return how alike predictions are, and in how many rows only the first and only the second class is right."""
    if one.classes:
        first, second = one.decided, other.decided
        right, also = first == one.truth, second == one.truth
        alike = float(np.average(first == second, weights=one.weights))
        return alike, int((right & ~also).sum()), int((also & ~right).sum())
    if len(one.guess) < 2 or not (np.ptp(one.guess) and np.ptp(other.guess)):
        return float("nan"), None, None
    return float(np.corrcoef(one.guess, other.guess)[0, 1]), None, None
