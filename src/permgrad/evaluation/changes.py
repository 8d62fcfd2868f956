"""``pg.changes``: what changed between two samples of rows, for one model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import nn

from permgrad.attribution.explain import answer
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.numbers import of_order
from permgrad.attribution.explanation.ranks import freedoms_of
from permgrad.attribution.explanation.statistics import (
    FEWEST_UNITS,
    interval,
    two_parts,
)
from permgrad.attribution.request import Request
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.reading import build_request
from permgrad.attribution.subject.row_target import outputs_of
from permgrad.base.arrays import Array, Floats
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, counted, shown
from permgrad.base.frames import Library, as_library
from permgrad.base.near_names import with_near_names
from permgrad.base.progress import ProgressMode
from permgrad.base.random import resolve_seed
from permgrad.base.shown import in_words, show
from permgrad.base.significance import LEVEL, holm
from permgrad.data.tasks import CLASSIFICATION, REGRESSION
from permgrad.evaluation.drift import compare_parts
from permgrad.evaluation.skill import Predicted, ScoreError, metric_by_rows
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32
from permgrad.models.losses import usual_loss

#: Rows of each sample that are needed.
FEWEST = 30
#: Degrees of freedom in place of infinitely many.
_MANY = 1e9


@dataclass(frozen=True, eq=False)
class Changes:
    """What changed between two samples of rows, for one model.

    Args:
        lines: one line per change, as ``to_frame`` returns them.
        meta: ``same_rows`` (two models on the same rows), the ``loss`` and its ``unit``
            (None: no targets), ``rows`` of both samples, ``drift`` (how columns moved,
            as in ``columns.json``), ``confidence``, ``seed``.
    """

    lines: pd.DataFrame
    meta: dict[str, Any] = field(default_factory=dict)

    def to_frame(self, library: Library = "pandas") -> Any:
        """Return one line per change: ``kind, name, old, new, change, std_error,
        ci_low, ci_high, p_value, p_holm``.

        ``kind`` is ``"score"`` (the mean loss and metrics), ``"importance"`` or,
        without targets, ``"output"`` (the mean of each output). ``p_holm`` is adjusted
        for all lines of a kind. Undefined numbers are NaN.
        """
        return as_library(self.lines.copy(), library)

    def summary(self) -> str:
        """Return a few lines of text: which columns differ, how the loss changed, and
        which other changes are clear.
        """
        return show("Changes.summary", self)

    _repr_html_ = in_words

    def __repr__(self) -> str:
        return f"<Changes: {counted(len(self.lines), 'line')}>"


@with_near_names
def changes(
    model: Any,
    X_old: Any,
    y_old: Any,
    X_new: Any,
    y_new: Any,
    *,
    groups: Mapping[str, Iterable[str]] | None = None,
    loss: Any = "auto",
    method: Any = "permgrad",
    row_groups: Any = None,
    n_repeats: int | Literal["auto"] = "auto",
    random_state: Any = 0,
    progress: ProgressMode = "auto",
) -> Changes:
    """Compare two periods or groups of rows for one fitted model: columns, scores and
    importances.

    Without targets (``y_old=None, y_new=None``), columns and the model's outputs are
    compared. The model is never fitted again. Rows of the two samples count as
    independent of each other. Two models on the same rows are compared by ``permgrad
    report RUN --against OTHER``, which pairs the rows of scores, and by ``pg.compare``.

    Args:
        model: a fitted estimator or any predictor of a table, as for ``pg.explain``, or
            a ``pg.Model`` of one.
        X_old: rows of the first period or group, at least 30. Not those that the model
            was trained on, whose loss is too low.
        y_old: their targets. None, as ``y_new``: they are not known.
        X_new: rows of the second.
        y_new: their targets.
        groups: columns that are one feature: name to columns, as for ``pg.explain``.
        loss: loss computed for each row, as for ``pg.explain``. ``"auto"`` is the log
            loss or squared error.
        method: a method whose importance is global.
        row_groups: rows that depend on each other: a pair of labels for old and new
            rows, or a column's name.
        n_repeats: donors per row and feature, ``"auto"`` as in ``pg.explain``.
        random_state: seed.
        progress: a bar on stderr.

    Returns:
        ``Changes``, with ``to_frame()`` and ``summary()``.

    Raises:
        InputError: an argument cannot be used, the samples have different columns, or
            one has less than 30 rows or, if rows depend on each other, 4 groups.

    Examples:
        >>> import permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> old, new = rng.normal(size=(400, 2)), rng.normal(size=(400, 2)) + [1, 0]
        >>> model = pg.Model(lambda table: table[:, 1], task="regression")
        >>> found = pg.changes(model, old, old @ [1, 1], new, new @ [1, 1])
        >>> frame = found.to_frame()
        >>> frame["name"].tolist()
        ['loss', 'rmse', 'x0', 'x1']
        >>> float(frame["change"][0].round(1))
        1.0
    """
    shared = Arguments(
        model,
        groups=groups,
        loss=loss,
        method=method,
        scope="global",
        n_repeats=n_repeats,
        random_state=resolve_seed(random_state),
        progress=progress,
    )
    sides = _pair("row_groups", row_groups)
    samples = []
    for X, y, side_groups in zip((X_old, X_new), (y_old, y_new), sides, strict=True):
        samples.append(replace(shared, X=X, y=y, row_groups=side_groups))
    return changes_between(*samples)


def changes_between(old: Arguments, new: Arguments) -> Changes:
    """Compare two samples of rows, which may have times, for one model.

    Args:
        old: A call with the earlier rows.
        new: The same with the later ones.
    """
    missing = []
    for name, sample_arguments in (("old", old), ("new", new)):
        if sample_arguments.y is None:
            missing.append(name)
    if len(missing) == 2:
        return _without_targets(old, new)
    if missing:
        problem = (
            "changes needs the targets of both samples or of none, and the "
            f"{missing[0]} one has none"
        )
        hint = "Pass both y_old and y_new, or None for both."
        raise InputError(problem, hint=hint, code="PG005")
    with sparing(), full_float32():
        requests = []
        for sample, sample_name in ((old, "old"), (new, "new")):
            requests.append(_request(sample, sample_name))
        losses, guesses = zip(*map(_predicted, requests), strict=True)
    explained = list(map(answer, (old, new)))
    confidence = old.confidence
    importances = _importances(explained[0], explained[1], confidence)
    lines, about = _scores_and_drift(requests, losses, guesses)
    loss = requests[0].loss
    about |= {
        "loss": loss.name,
        "unit": loss.unit,
        "confidence": confidence,
        "seed": old.random_state,
    }
    return Changes(_frame(lines + importances), about)


def _without_targets(old: Arguments, new: Arguments) -> Changes:
    """Compare columns and outputs of two samples of rows whose targets are not
    known.
    """
    with sparing(), full_float32():
        requests = []
        for sample, name in ((old, "old"), (new, "new")):
            requests.append(_request(replace(sample, scope="local"), name))
        outputs = list(map(_outputs_by_name, requests))
    units = requests[0].units, requests[1].units
    lines = lines_of_outputs(outputs[0], outputs[1], units, old.confidence)
    about = {
        **_of_both(requests),
        "loss": None,
        "unit": None,
        "confidence": old.confidence,
        "seed": old.random_state,
    }
    return Changes(_frame(lines), about)


def _outputs_by_name(request: Request) -> dict[str, Floats]:
    """Return what the model says of each row ``(rows,)``, by the name of the output."""
    subject = request.subject
    predicted = subject.outputs.predicted(outputs_of(subject, request.inputs))
    table = np.asarray(predicted, dtype=np.float64)
    if table.ndim == 1 or table.shape[1] == 1:
        return {"prediction": table.reshape(-1)}
    names = list(map(str, subject.outputs.class_names))
    if subject.task.has_classes:
        if request.positive is None:
            positive = 1
        else:
            positive = names.index(request.positive)
        return of_classes(names, table, positive)
    return dict(zip(names, table.T, strict=True))


def of_classes(
    names: Sequence[str], probabilities: Floats, positive: int = 1
) -> dict[str, Floats]:
    """Return probabilities ``(rows,)`` by their names: of two classes that of the
    positive one alone.

    Args:
        names: Of the classes.
        probabilities: ``(rows, classes)``.
        positive: The position of the positive one of two.
    """
    class_indices = [positive] if len(names) == 2 else range(len(names))
    return {f"probability of {names[k]}": probabilities[:, k] for k in class_indices}


def lines_of_outputs(
    old: Mapping[str, Floats],
    new: Mapping[str, Floats],
    units: tuple[Dependence | None, Dependence | None] = (None, None),
    confidence: float = 1 - LEVEL,
) -> list[dict[str, Any]]:
    """Return the lines of the means of outputs ``(rows,)``, by their names, in two
    samples.

    ``units``: which rows of each depend on each other.

    Examples:
        >>> values = np.arange(100.0)
        >>> old = {"prediction": values}
        >>> (line,) = lines_of_outputs(old, {"prediction": values + 50})
        >>> line["old"], line["new"], line["p_value"] < 1e-6
        (49.5, 99.5, True)
    """
    lines = []
    for name in old:
        values = [side[name] for side in (old, new)]
        means = [np.array([value.mean()]) for value in values]
        row_deviations = [value - value.mean() for value in values]
        apart, nothing = _of_means(row_deviations, means, units)
        lines += _lines("output", [name], means, apart, confidence, nothing)
    return lines


def adjusted_lines(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return lines with ``p_holm``, adjusted within each kind."""
    records = _frame(lines).to_dict("records")
    return [{str(name): value for name, value in line.items()} for line in records]


def _of_means(
    row_deviations: Sequence[Floats],
    means: Sequence[Floats],
    units: tuple[Dependence | None, Dependence | None],
) -> tuple[tuple[Floats, Floats], tuple[float, float]]:
    """Return the errors of a difference of means from rows' parts in them, and those if
    nothing changed.
    """
    old, new = (
        ScoreError.of_rows("mean", rows, np.zeros(len(rows)), unit)
        for rows, unit in zip(row_deviations, units, strict=True)
    )
    totals = old.total(), new.total()
    apart = _apart(
        [error_variance for error_variance, _ in totals],
        [effective_size for _, effective_size in totals],
    )
    return apart, new.pooled(old, float(means[1][0] - means[0][0]))


def changes_of_models(
    guesses: tuple[Predicted, Predicted],
    explanations: tuple[Explanation, Explanation] | None,
    units: Dependence | None = None,
) -> Changes:
    """Compare an old and a new model on the same rows: scores row by row, and
    importances, if both explain the same.

    The two importances of a feature count as independent, though they are of the same
    rows.

    Args:
        guesses: The predictions of the old and of the new model, of the same rows.
        explanations: Of both models, or None.
        units: Which rows depend on each other. None: none do.
    """
    losses = guesses[0].losses[0], guesses[1].losses[0]
    lines = _scores(losses, guesses, (units, units), 0.95, paired=True)
    if explanations is not None and _kind(explanations[0]) == _kind(explanations[1]):
        lines += _importances(*explanations, 0.95)
    loss = usual_loss(CLASSIFICATION if guesses[0].classes else REGRESSION)
    row_counts = [len(losses[0])] * 2
    about = {
        "same_rows": True,
        "loss": loss.name,
        "unit": loss.unit,
        "rows": row_counts,
        "confidence": 0.95,
    }
    return Changes(_frame(lines), about)


def _pair(name: str, value: Any) -> tuple[Any, Any]:
    """Return what an argument says of the old and of the new rows."""
    if value is None or isinstance(value, str):
        return value, value
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        problem = (
            f"{name} must be a column's name or a pair for old and new rows, got "
            f"{shown(value)}"
        )
        raise InputError(problem, hint=f"Pass {name}=(old, new).", code="PG001")
    return value[0], value[1]


def _request(arguments: Arguments, sample: str) -> Request:
    """Read the model and one sample of rows."""
    if isinstance(arguments.model.model, nn.Module):
        advice = "Pass a function that takes a table and returns the network's outputs."
        raise InputError(
            "changes needs a predictor of a table, got a torch network",
            hint=advice,
            code="PG031",
        )
    request = build_request(arguments, None, "changes")
    units = request.units
    has_few_rows = request.count < FEWEST
    if has_few_rows or (units is not None and units.count < FEWEST_UNITS):
        least = counted(*((FEWEST, "row") if has_few_rows else (FEWEST_UNITS, "group")))
        if has_few_rows or units is None:
            available_count = request.count
        else:
            available_count = units.count
        problem = (
            f"changes needs {least} in each sample, and the {sample} one has "
            f"{available_count}"
        )
        raise InputError(problem, hint="Pass more rows.", code="PG013")
    return request


def _predicted(request: Request) -> tuple[Floats, Predicted | None]:
    """Return the loss of each row, and predictions for metrics, None of several
    outputs.
    """
    subject = request.subject
    y = request.y
    outputs = outputs_of(subject, request.inputs)
    losses = np.asarray(
        subject.outputs.loss_rows(outputs, y, request.loss), dtype=np.float64
    )
    guess = np.asarray(subject.outputs.predicted(outputs), dtype=np.float64)
    if subject.task.has_classes:
        decided = subject.deciding()
        called = decided.decided(outputs_of(decided, request.inputs))
        codes = np.asarray(
            y if request.classes is None else request.classes, dtype=np.int64
        )
        return losses, Predicted(codes, guess, called)
    truth = np.asarray(y)
    if (
        not subject.task.numeric
        or subject.outputs.count > 1
        or truth.size != len(losses)
    ):
        return losses, None
    return losses, Predicted(truth.reshape(-1).astype(np.float64), guess.reshape(-1))


# ---- lines of the table --------------------------------------------------------------
def _scores_and_drift(
    requests: list[Request],
    losses: tuple[Floats, ...],
    guesses: tuple[Predicted | None, ...],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the lines of scores, and facts, with the columns that moved."""
    units = requests[0].units, requests[1].units
    lines = _scores(losses, guesses, units, requests[0].confidence)
    return lines, _of_both(requests)


def _of_both(requests: Sequence[Request]) -> dict[str, Any]:
    """Return facts of two samples: their numbers of rows, and the columns that
    moved.
    """
    related = Dependence.of_both(requests[0].units, requests[1].units)
    tables = [pd.DataFrame(request.raw).rename(columns=str) for request in requests]
    compared = compare_parts(tables[0], tables[1], dependence=related)
    return {
        "same_rows": False,
        "rows": [request.count for request in requests],
        "drift": compared["drift"],
    }


def _scores(
    losses: tuple[Floats, ...],
    guesses: tuple[Predicted | None, ...],
    units: tuple[Dependence | None, Dependence | None],
    confidence: float,
    *,
    paired: bool = False,
) -> list[dict[str, Any]]:
    """Return the lines of the mean loss and of metrics.

    ``paired``: both are of the same rows.
    """
    score_sides = {
        "loss": [
            _Side(
                float(row_losses.mean()),
                row_losses - row_losses.mean(),
                np.zeros(len(row_losses)),
            )
            for row_losses in losses
        ]
    }
    predicted = [guess for guess in guesses if guess is not None]
    names: tuple[str, ...] = ()
    if len(predicted) == 2:
        names = ("accuracy", "roc_auc") if predicted[0].classes else ("rmse",)
    for metric_name in names:
        score_sides[metric_name] = [
            _Side(*metric_by_rows(metric_name, guess), guess.strata)
            for guess in predicted
        ]
    lines = []
    for score_name, sides in score_sides.items():
        nothing: tuple[Any, Any] | None = None
        if paired:
            apart = _of_same_rows(score_name, sides, units[0])
        else:
            apart, nothing = _of_two_samples(score_name, sides, units)
        values = [np.array([side.value]) for side in sides]
        lines += _lines("score", [score_name], values, apart, confidence, nothing)
    return lines


class _Side(NamedTuple):
    """A score before or after.

    Attributes:
        value: The score.
        by_row: How far each row moves it, ``(rows,)``.
        strata: The truth of each row, ``(rows,)``.
    """

    value: float
    by_row: Floats
    strata: Array


def _of_same_rows(
    name: str,
    sides: Sequence[_Side],
    units: Dependence | None,
) -> tuple[Floats, Floats]:
    """Return the standard error of the difference of two scores of the same rows, and
    its effective number of rows.
    """
    old, new = sides
    error = ScoreError.of_rows(name, new.by_row - old.by_row, old.strata, units)
    variance, effective_size = error.total()
    return np.sqrt(variance), effective_size


def _of_two_samples(
    name: str,
    sides: Sequence[_Side],
    units: Sequence[Dependence | None],
) -> tuple[tuple[Floats, Floats], tuple[Any, Any]]:
    """Return the same of two samples, and the variance and the number of rows if
    nothing changed.
    """
    old_error, new_error = (
        ScoreError.of_rows(name, side.by_row, side.strata, dependence)
        for side, dependence in zip(sides, units, strict=True)
    )
    variances, sizes = zip(old_error.total(), new_error.total(), strict=True)
    nothing: tuple[Any, Any] = math.nan, 1.0
    if np.array_equal(old_error.strata, new_error.strata):
        change = sides[1].value - sides[0].value
        nothing = new_error.pooled(old_error, change)
    return _apart(variances, sizes), nothing


def _apart(
    variances: Sequence[Floats], sizes: Sequence[Floats]
) -> tuple[Floats, Floats]:
    """Return the standard error of new less old, which are independent, and its
    effective number of rows.
    """
    # The new estimate's low end and the old one's high end make the low end of the
    # difference.
    with np.errstate(divide="ignore", invalid="ignore"):
        variance, effective_size = two_parts(
            variances[1], sizes[1], variances[0], sizes[0][::-1]
        )
    return np.sqrt(variance), effective_size


def _lines(
    kind: str,
    names: Iterable[str],
    values: Sequence[Floats],
    apart: tuple[Floats, Floats],
    confidence: float,
    nothing: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> list[dict[str, Any]]:
    """Return lines of differences, whose standard errors and effective numbers of rows
    are ``apart``.

    ``nothing``: their variance and numbers of rows if nothing changed, which p-values
    are of. None: those of ``apart``.
    """
    change = values[1] - values[0]
    lower_ends, upper_ends, p_values = interval(change, *apart, confidence)
    if nothing is not None:
        variance, sizes = (
            np.asarray(numbers_if_nothing, dtype=np.float64)
            for numbers_if_nothing in nothing
        )
        p_values = interval(change, np.sqrt(variance), sizes, confidence)[2]
    numbers = (
        *values,
        change,
        apart[0],
        lower_ends,
        upper_ends,
        np.broadcast_to(p_values, lower_ends.shape),
    )
    number_names = ("old", "new", "change", "std_error", "ci_low", "ci_high", "p_value")
    lines: list[dict[str, Any]] = []
    for line_name, *line_numbers in zip(names, *numbers, strict=True):
        lines.append(
            {
                "kind": kind,
                "name": line_name,
                **dict(zip(number_names, map(float, line_numbers), strict=True)),
            }
        )
    return lines


def _kind(explanation: Explanation) -> tuple[Any, ...]:
    """Return what two explanations must have in common."""
    about = (
        explanation.scope,
        explanation.names,
        explanation.outputs,
        explanation.method,
    )
    return (*about, explanation.meta.get("unit"))


def _importances(
    old: Explanation, new: Explanation, confidence: float
) -> list[dict[str, Any]]:
    """Return the lines of differences of importance."""
    explanations = [of_order(old, 1), of_order(new, 1)]
    if len(set(map(_kind, explanations))) > 1 or old.scope.by_row:
        problem = (
            "Both samples need a global explanation of the same features by the "
            "same method"
        )
        raise InputError(
            problem, hint="Pass samples with the same columns.", code="PG006"
        )
    estimates = []
    for explanation in explanations:
        values, lower_ends, upper_ends = (
            array[:, 0] for array in (explanation.values, *explanation.ci())
        )
        if explanation.std_error is None:
            std_errors = np.full(len(values), np.nan)
        else:
            std_errors = explanation.std_error[:, 0]
        widths = np.stack([values - lower_ends, upper_ends - values])
        freedom = freedoms_of(
            widths,
            np.stack([std_errors, std_errors]),
            float(explanation.meta.get("confidence", 0.95)),
        )
        estimates.append((values, std_errors, np.minimum(freedom, _MANY) + 1))
    (old_values, old_std, old_sizes), (values, std_errors, sizes) = estimates
    explained_rows = []
    for compared_explanation in (old, new):
        explained_rows.append(
            float(compared_explanation.meta.get("rows_explained") or math.nan)
        )
    nothing = _if_nothing_changed(
        old_std, std_errors, explained_rows, values - old_values
    )
    return _lines(
        "importance",
        explanations[0].names,
        (old_values, values),
        _apart((old_std**2, std_errors**2), (old_sizes, sizes)),
        confidence,
        None
        if nothing is None
        else (nothing, np.maximum(sum(explained_rows) - 1, 2.0)),
    )


def _if_nothing_changed(
    old: Floats, new: Floats, rows: Sequence[float], change: Floats
) -> Floats | None:
    """Return the variance of changes of means from their standard errors, if rows of
    both samples are alike.
    """
    first, second = rows
    if not math.isfinite(first + second):
        return None
    total_rows = first + second
    spread = (old**2 * first**2 + new**2 * second**2) / total_rows
    spread = spread + change**2 * first * second / total_rows**2
    return np.asarray(spread * (1 / first + 1 / second))


def _frame(lines: list[dict[str, Any]]) -> pd.DataFrame:
    """Return lines as a table, with p-values adjusted within each kind."""
    frame = pd.DataFrame(lines)
    frame["p_holm"] = frame.groupby("kind")["p_value"].transform(
        lambda p_values: holm(p_values.to_numpy())
    )
    return frame


def claims_of_scores(old: Predicted, new: Predicted) -> list[str]:
    """Return the scores that changed clearly from one sample of rows to another, by the
    rule of ``changes``.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> sides = []
        >>> for shift in (0.0, 3.0):
        ...     sides.append(Predicted(rng.normal(size=200), np.full(200, shift)))
        >>> claims_of_scores(*sides)
        ['loss', 'rmse']
    """
    losses = old.losses[0], new.losses[0]
    frame = _frame(_scores(losses, (old, new), (None, None), 1 - LEVEL))
    return frame["name"][frame["p_holm"] < LEVEL].tolist()
