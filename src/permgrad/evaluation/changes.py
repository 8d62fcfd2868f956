"""``pg.changes``: what changed between two samples of rows, for one model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.ranks import freedoms_of
from permgrad.attribution.explanation.statistics import FEWEST_UNITS, interval, mean_over_rows, two_parts
from permgrad.attribution.request import Request
from permgrad.attribution.request.arguments import Arguments, NoMethod
from permgrad.attribution.request.reading import PREDICTOR_OPTIONS, build_request
from permgrad.attribution.request.result import loss_unit
from permgrad.attribution.subject.row_target import outputs_of
from permgrad.base.arrays import Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, counted, shown
from permgrad.base.frames import Library, as_library
from permgrad.base.random import derive_seed, generator, resolve_seed
from permgrad.base.shown import in_words, show
from permgrad.base.significance import holm
from permgrad.evaluation.drift import compare_parts
from permgrad.evaluation.levels import cells_of
from permgrad.evaluation.skill import Predicted, metric_by_rows
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32

#: Rows of each sample that are needed.
FEWEST = 30
#: Degrees of freedom in place of infinitely many.
_MANY = 1e9
#: Mean, standard error, and effective number of rows at both ends of the interval.
Estimate = tuple[Floats, Floats, Floats]


@dataclass(frozen=True, eq=False)
class Changes:
    """What changed between two samples of rows, for one model.

    Args:
        lines: one line per change, as ``to_frame`` returns them.
        meta: ``same_rows`` (two models on the same rows), the ``loss`` and its ``unit``, ``rows`` of both samples,
            ``drift`` (how columns moved, as in ``columns.json``), ``overlap`` (the share of old rows that are like the
            new ones), ``confidence``, ``seed``.
    """

    lines: pd.DataFrame
    meta: dict[str, Any] = field(default_factory=dict)

    def to_frame(self, library: Library = "pandas") -> Any:
        """Return one line per change: ``kind, name, old, new, change, std, ci_low, ci_high, p_value, p_holm``.

        ``kind`` is ``"score"`` (the mean loss and metrics), ``"part"`` (of the change of the loss, to which parts add
        up; they have no ``old`` and ``new``) or ``"importance"``. ``p_holm`` is adjusted for all lines of a kind.
        Undefined numbers are NaN.
        """
        return as_library(self.lines.copy(), library)

    def summary(self) -> str:
        """Return a few lines of plain text: how the loss changed and why, and which other changes are clear."""
        return show("Changes.summary", self)

    _repr_html_ = in_words

    def __repr__(self) -> str:
        return f"<Changes: {counted(len(self.lines), 'line')}>"


def changes(
    model: Any,
    X_old: Any,
    y_old: Any = None,
    X_new: Any = None,
    y_new: Any = None,
    *,
    groups: Mapping[str, Iterable[str]] | None = None,
    loss: Any = "auto",
    row_groups: Any = None,
    row_time: Any = None,
    sample_weight: Any = None,
    confidence: float = 0.95,
    random_state: Any = None,
    **options: Any,
) -> Changes:
    """Compare two periods or groups of rows for one fitted model: scores, importances, and why the loss changed.

    The change of the mean loss is split into parts that add up to it: one for each column whose values are clearly
    distributed differently (at most 6, the most different ones), one for all other columns, and the rest, which is that
    rows with the same columns now end otherwise. A column's part is what its new values change in the loss, with all
    columns that did not move as they were among old rows like it. What columns change only together is shared evenly
    between them (Shapley values). So columns that move together share their part: join them with ``groups``. The model
    is never fitted again. Parts are estimated with 3-fold fits of weights and of the loss, and are uncertain where the
    new rows are unlike all old ones (``meta["overlap"]``).

    Rows of the two samples count as independent of each other. Two models on the same rows are compared by
    ``permgrad report RUN RUN``, which pairs the rows of scores, and by ``pg.compare``.

    Args:
        model: a fitted estimator or any predictor of a table, as for ``pg.explain``. Or an ``Explanation`` of the old
            rows, and of the new rows in place of ``X_old``: then only importances are compared.
        X_old: rows of the first period or group, at least 30. Not those that the model was trained on, whose loss is
            too low.
        y_old: their targets.
        X_new: rows of the second.
        y_new: their targets.
        groups: columns that are one feature: name to columns.
        loss: loss computed for each row, as for ``pg.explain``. ``"auto"`` is the log loss or squared error.
        row_groups: rows that depend on each other: a pair of labels for old and new rows, or a column's name.
        row_time: the time of each row, in the same form.
        sample_weight: how much rows count: a pair of weights for old and new rows. Metrics are then left out, and which
            columns moved is decided without weights.
        confidence: confidence level of the intervals.
        random_state: seed.
        **options: further arguments of ``pg.explain``, such as ``method``, ``n_repeats``, ``task``, ``output_kind``.

    Returns:
        ``Changes``, with ``to_frame()`` and ``summary()``.

    Raises:
        InputError: an argument cannot be used, the samples have different columns, or one has less than 30 rows or, if
            rows depend on each other, 4 groups or times.

    Examples:
        >>> import permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> old, new = rng.normal(size=(400, 2)), rng.normal(size=(400, 2)) + [1, 0]
        >>> model = lambda table: table[:, 1]
        >>> found = pg.changes(model, old, old @ [1, 1], new, new @ [1, 1], task="regression", random_state=0)
        >>> frame = found.to_frame()
        >>> parts = frame[frame["kind"] == "part"]
        >>> parts["name"].tolist()
        ['x0', 'other columns', 'relation to the target']
        >>> float(frame["change"][0].round(1)), float(parts["change"].sum().round(1))
        (1.0, 1.0)
    """
    if isinstance(model, Explanation):
        return Changes(_frame(_importances(model, X_old, confidence)), {"confidence": confidence})
    for name in ("scope", "level", "scoring"):
        if name in options:
            raise InputError(f"changes does not take {name}=", hint="Leave it out.", code="PG004")
    seed = resolve_seed(random_state)
    shared = {"loss": loss, "groups": groups, "level": "group" if groups else "column", "confidence": confidence}
    pairs = {"row_groups": row_groups, "row_time": row_time, "sample_weight": sample_weight}
    sides = zip(*(_pair(name, value) for name, value in pairs.items()), strict=True)
    related = [dict(zip(pairs, side, strict=True)) for side in sides]
    samples = [(X_old, y_old, related[0]), (X_new, y_new, related[1])]
    named = {name: value for name, value in options.items() if name in ("target", "batch_size", "positive")}
    named["options"] = {name: value for name, value in options.items() if name in PREDICTOR_OPTIONS}
    with sparing(), full_float32():
        requests = [
            _request(Arguments(model, X, y, **shared, **own, random_state=seed, **named)) for X, y, own in samples
        ]
        losses, guesses = zip(*map(_predicted, requests), strict=True)
    explained = [
        explain(model, X, y, scope="global", random_state=seed, **shared, **own, **options) for X, y, own in samples
    ]
    importances = _importances(explained[0], explained[1], confidence)
    lines, about = _scores_and_parts(requests, losses, guesses)
    name = str(requests[0].loss)
    about |= {"loss": name, "unit": loss_unit(requests[0], name), "confidence": confidence, "seed": seed}
    return Changes(_frame(lines + importances), about)


def changes_of_models(
    guesses: tuple[Predicted, Predicted],
    explanations: tuple[Explanation, Explanation] | None,
    units: Dependence | None = None,
) -> Changes:
    """Compare an old and a new model on the same rows: scores row by row, and importances, if both explain the same.

    The two importances of a feature count as independent, though they are of the same rows.
    """
    losses = guesses[0].losses[0], guesses[1].losses[0]
    lines = _scores(losses, guesses, (units, units), 0.95, paired=True)
    if explanations is not None and _kind(explanations[0]) == _kind(explanations[1]):
        lines += _importances(*explanations, 0.95)
    loss, unit = ("cross_entropy", "nats") if guesses[0].classes else ("squared_error", "y²")
    rows = [len(losses[0])] * 2
    about = {"same_rows": True, "loss": loss, "unit": unit, "rows": rows, "confidence": 0.95}
    return Changes(_frame(lines), about)


def _pair(name: str, value: Any) -> tuple[Any, Any]:
    """Return what an argument says of the old and of the new rows."""
    if value is None or (isinstance(value, str) and name != "sample_weight"):
        return value, value
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        problem = f"{name} must be a column's name or a pair for old and new rows, got {shown(value)}"
        raise InputError(problem, hint=f"Pass {name}=(old, new).", code="PG001")
    return value[0], value[1]


def _request(arguments: Arguments) -> Request:
    """Read the model and one sample of rows."""
    if isinstance(arguments.model, nn.Module):
        hint = "Pass a function that takes a table and returns the network's outputs."
        raise InputError("changes needs a predictor of a table, got a torch network", hint=hint, code="PG031")
    if arguments.y is None:
        hint = "Pass X_old, y_old, X_new and y_new."
        raise InputError("changes needs the targets of both samples", hint=hint, code="PG005")
    request = build_request(arguments, NoMethod(), "changes")
    units = request.units
    if request.count < FEWEST or (units is not None and units.count < FEWEST_UNITS):
        least = f"{FEWEST} rows, and {FEWEST_UNITS} groups or times where rows depend on each other"
        among = "" if units is None else f" of {units.count} groups or times"
        problem = f"changes needs samples of at least {least}, got {counted(request.count, 'row')}{among}"
        raise InputError(problem, hint="Pass more rows.", code="PG013")
    return request


def _predicted(request: Request) -> tuple[Floats, Predicted | None]:
    """Return the loss of each row, and predictions for metrics, None of several outputs."""
    subject, y = request.subject, request.y
    outputs = outputs_of(subject, request.inputs)
    losses = np.asarray(subject.loss_rows(outputs, y, request.loss), dtype=np.float64)
    guess = np.asarray(subject.predicted(outputs), dtype=np.float64)
    if subject.task == "classification":
        decided = subject.deciding()
        called = decided.predicted(outputs_of(decided, request.inputs)).argmax(axis=1)
        codes = np.asarray(y if request.classes is None else request.classes, dtype=np.int64)
        return losses, Predicted(codes, guess, called)
    truth = np.asarray(y)
    if subject.task != "regression" or subject.count > 1 or truth.size != len(losses):
        return losses, None
    return losses, Predicted(truth.reshape(-1).astype(np.float64), guess.reshape(-1))


# ---- lines of the table ----------------------------------------------------------------------------------------------
def _scores_and_parts(
    requests: list[Request], losses: tuple[Floats, ...], guesses: tuple[Predicted | None, ...]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the lines of scores and of parts of the change of the loss, and facts."""
    first = requests[0]
    units = requests[0].units, requests[1].units
    tables = [pd.DataFrame(request.raw).rename(columns=str) for request in requests]
    drift = compare_parts(tables[0], tables[1], dependence=Dependence.of_both(*units))["drift"]
    of_group = {str(name): group for group, names in first.space.groups.items() for name in names}
    members: dict[str, list[str]] = {}
    for name in tables[0].columns:
        members.setdefault(of_group.get(name, name), []).append(name)
    clear = dict.fromkeys(of_group.get(one["column"], one["column"]) for one in drift if one["clear"])
    moved = {name: members[name] for name in list(clear)[:MOST_MOVED]}
    weights: list[Floats | None] = [request.sample_weight for request in requests]
    if any(each is not None for each in weights):  # on one scale: each sample has a mean weight of 1
        pairs = zip(requests, weights, strict=True)
        weights = [np.ones(one.count) if each is None else each / each.mean() for one, each in pairs]
    parts, scores, overlap = split_change(
        (tables[0], tables[1]), (losses[0], losses[1]), moved, units, first.seed, weights
    )
    lines = _scores(losses, guesses, units, first.confidence, weights=weights)
    old, new = map(_means, (-scores[0], scores[1]), units, weights)
    lines += [line | {"old": np.nan, "new": np.nan} for line in _lines("part", parts, old, new, first.confidence)]
    rows = [request.count for request in requests]
    return lines, {"same_rows": False, "rows": rows, "drift": drift, "overlap": overlap}


def _scores(
    losses: tuple[Floats, ...],
    guesses: tuple[Predicted | None, ...],
    units: tuple[Dependence | None, Dependence | None],
    confidence: float,
    *,
    paired: bool = False,
    weights: Sequence[Floats | None] = (None, None),
) -> list[dict[str, Any]]:
    """Return the lines of the mean loss and of metrics. ``paired``: both are of the same rows."""
    both = {"loss": [(float(np.average(loss, weights=own)), loss) for loss, own in zip(losses, weights, strict=True)]}
    known = [guess for guess in guesses if guess is not None and weights[0] is None]
    for name in () if len(known) < 2 else ("accuracy", "roc_auc") if known[0].classes else ("rmse",):
        both[name] = [metric_by_rows(name, guess) for guess in known]
    lines = []
    for name, sides in both.items():
        old, new = (
            (np.array([value]), *_means(rows[None], unit, own)[1:])
            for (value, rows), unit, own in zip(sides, units, weights, strict=True)
        )
        apart = _means((sides[1][1] - sides[0][1])[None], units[0])[1:] if paired else ()
        lines += _lines("score", [name], old, new, confidence, apart)
    return lines


def _means(scores: Floats, units: Dependence | None, weights: Floats | None = None) -> Estimate:
    return mean_over_rows(scores.T, weights, units)


def _lines(
    kind: str, names: Iterable[str], old: Estimate, new: Estimate, confidence: float, apart: Sequence[Floats] = ()
) -> list[dict[str, Any]]:
    """Return lines of the differences of two estimates, independent unless the error of the differences is given."""
    change = new[0] - old[0]
    if not apart:
        with np.errstate(divide="ignore", invalid="ignore"):
            # The new estimate's low end and the old one's high end make the low end of the difference.
            variance, size = two_parts(new[1] ** 2, new[2], old[1] ** 2, old[2][::-1])
        apart = np.sqrt(variance), size
    std, size = apart
    numbers = (old[0], new[0], change, std, *interval(change, std, size, confidence))
    keys = ("old", "new", "change", "std", "ci_low", "ci_high", "p_value")
    return [
        {"kind": kind, "name": name, **dict(zip(keys, map(float, values), strict=True))}
        for name, *values in zip(names, *numbers, strict=True)
    ]


def _kind(explanation: Explanation) -> tuple[Any, ...]:
    """Return what two explanations must have in common."""
    about = explanation.scope, explanation.names, explanation.outputs, explanation.method
    return (*about, explanation.meta.get("unit"))


def _importances(old: Explanation, new: Any, confidence: float) -> list[dict[str, Any]]:
    """Return the lines of differences of importance."""
    pair = [each.of_order(1) for each in (old, new) if isinstance(each, Explanation)]
    if len(pair) < 2 or len(set(map(_kind, pair))) > 1 or old.scope != "global":
        raise InputError(
            "Both samples need a global explanation of the same features by the same method",
            hint="Pass changes(model, X_old, y_old, X_new, y_new) with the same columns, or two such explanations: an "
            "explanation does not hold its model.",
            code="PG006",
        )
    estimates = []
    for each in pair:
        values, low, high = (array[:, 0] for array in (each.values, *each.ci()))
        std = np.full(len(values), np.nan) if each.std is None else each.std[:, 0]
        widths = np.stack([values - low, high - values])
        freedom = freedoms_of(widths, np.stack([std, std]), float(each.meta.get("confidence", 0.95)))
        estimates.append((values, std, np.minimum(freedom, _MANY) + 1))
    return _lines("importance", pair[0].names, estimates[0], estimates[1], confidence)


def _frame(lines: list[dict[str, Any]]) -> pd.DataFrame:
    """Return lines as a table, with p-values adjusted within each kind."""
    frame = pd.DataFrame(lines)
    frame["p_holm"] = frame.groupby("kind")["p_value"].transform(lambda p_values: holm(p_values.to_numpy()))
    return frame


# ---- why the loss changed --------------------------------------------------------------------------------------------
#: Most moved columns, or groups of them, that get a share of their own: each more doubles the time.
MOST_MOVED = 6
#: Rows of each sample that models are fitted to, at most, levels of a column with a weight of their own, and folds.
_FITTED, _LEVELS, _FOLDS = 6000, 10, 3
#: The largest standardised number, and the largest ratio of densities.
_FARTHEST, _LARGEST = 5.0, 50.0
#: Up to so many columns get products of every two.
_CROSSED = 12
#: Names of what is not a column.
OTHERS, RELATION = "other columns", "relation to the target"


def split_change(
    tables: tuple[pd.DataFrame, pd.DataFrame],
    losses: tuple[Floats, Floats],
    moved: Mapping[str, Sequence[str]],
    units: tuple[Dependence | None, Dependence | None],
    seed: int,
    weights: Sequence[Floats | None] = (None, None),
) -> tuple[tuple[str, ...], tuple[Floats, Floats], float]:
    """Split the change of the mean loss from the old to the new rows into parts that add up to it.

    The loss that the old rows would have with the new rows' columns, ``E_new[E_old[loss | x]]``, is estimated from the
    old rows, weighted by how much more frequent rows like them are in the new sample, and from a regression of the old
    loss on the columns, so that the errors of weights and regression cancel to first order (Cai, Namkoong & Yadlowsky
    2023). Both are fitted to other rows than those they are used for. What is beyond is the relation of target and
    columns. For the share of each moved column, the same is estimated for every subset of them (the new distribution of
    the subset, and the old one of all others given it), and shared by Shapley values (Zhang, Singh, Ghassemi & Joshi
    2023).

    Args:
        tables: the columns of the old and of the new rows.
        losses: their losses ``(rows,)``.
        moved: names of moved columns or groups, up to ``MOST_MOVED``, and the columns of each.
        units: which rows depend on each other. They are in one fold.
        seed: seed of folds and fits.
        weights: weights of the rows of both, with a mean of 1, or None for both.

    Returns:
        The names of the parts: moved columns or groups, ``OTHERS`` and ``RELATION``. Scores of the old and of the new
        rows ``(parts, rows)``: a part is the sum of its (weighted) mean in both. And the overlap, the share of the old
        rows that says as much, evenly weighted, as all of them do with their weights.
    """
    both = pd.concat(tables, ignore_index=True)
    columns = {str(name): _numbers(both[name], str(name)) for name in both.columns}
    changed = [[columns[name] for name in members] for members in moved.values()]
    taken = {name for members in moved.values() for name in members}
    others = [values for name, values in columns.items() if name not in taken]
    folds = np.concatenate([_folds(len(loss), unit, seed) for loss, unit in zip(losses, units, strict=True)])
    count, full = len(changed), 2 ** len(changed) - 1
    chosen = [[changed[place] for place in range(count) if subset >> place & 1] for subset in range(1, full + 1)]
    subsets = [_crossed(list(chain.from_iterable(each))) for each in chosen]
    fitted = [*subsets]
    if others:
        subsets.append(np.hstack([*subsets[-1:], *others]))
        # The loss can depend on any two columns together. Weights by so many products would be noisy.
        every = [*chain.from_iterable(changed), *others]
        fitted.append(_crossed(every) if len(every) <= _CROSSED else subsets[-1])
    given = None if weights[0] is None else np.concatenate([each for each in weights if each is not None])
    pairs = zip(subsets, fitted, strict=True)
    scores = [_with_new(subset, smooth, losses[0], folds, given, seed) for subset, smooth in pairs]
    old = np.stack([losses[0], *(each[0] for each in scores)])
    new = np.stack([np.zeros(len(losses[1])), *(each[1] for each in scores)])
    shares = np.zeros((count + len(others[:1]) + 1, len(scores) + 1))
    shares[:count, : full + 1] = _shapley(count)
    if others:
        shares[count, [full, full + 1]] = -1, 1
    shares[-1, -1] = -1
    of_new = shares @ new
    of_new[-1] += losses[1]
    names = (*moved, *([OTHERS] if others else []), RELATION)
    return names, (shares @ old, of_new), scores[-1][2]


def _shapley(count: int) -> Floats:
    """Return how much each subset, a number with a bit for each player, counts for each of ``count`` players."""
    shares = np.zeros((count, 2**count))
    for subset in range(2**count):
        for place in range(count):
            inside = subset >> place & 1
            before = subset.bit_count() - inside
            weight = 1 / (count * math.comb(count - 1, before))
            shares[place, subset] = weight if inside else -weight
    return shares


def _numbers(series: pd.Series, name: str) -> Floats:
    """Return a column of both samples as numbers ``(rows, *)`` whose weighted sum can be the log ratio of densities."""
    cells = cells_of(series, name)
    if cells.names is not None or cells.values is None:
        often = np.unique(cells.codes, return_counts=True)
        levels = often[0][np.argsort(-often[1], kind="stable")][: min(_LEVELS, len(often[0]) - 1)]
        return (cells.codes[:, None] == levels).astype(np.float64)
    missing = np.isnan(cells.values)
    finite = cells.values[np.isfinite(cells.values)]
    finite = finite if len(finite) else np.zeros(1)  # infinite cells are as far as cells can be
    centred = (cells.values - finite.mean()) / (float(finite.std()) or 1.0)
    value = np.clip(np.where(missing, 0.0, centred), -_FARTHEST, _FARTHEST)
    return np.column_stack([value, value**2, *([missing] if missing.any() else [])]).astype(np.float64)


def _crossed(columns: Sequence[Floats]) -> Floats:
    """Return columns ``(rows, *)`` side by side, with the products of the first number of every two."""
    pairs = combinations([each[:, :1] for each in columns if each.shape[1]], 2)
    return np.hstack([*columns, *(one * other for one, other in pairs if len(columns) <= _CROSSED)])


def _folds(rows: int, units: Dependence | None, seed: int) -> Integers:
    """Deal rows, whole groups or stretches of time to folds ``(rows,)``."""
    if units is not None and units.timed:
        return np.asarray(units.codes * _FOLDS // (units.codes.max() + 1))
    codes = np.arange(rows) if units is None else units.codes
    dealt = generator(seed, "folds", rows).permutation(int(codes.max()) + 1) % _FOLDS
    return np.asarray(dealt[codes])


def _with_new(
    inputs: Floats, of_loss: Floats, loss: Floats, folds: Integers, given: Floats | None, seed: int
) -> tuple[Floats, Floats, float]:
    """Return scores of old and new rows whose means add up to the old loss with new ``inputs``, and the overlap.

    ``of_loss`` are the inputs of the regression of the loss.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor  # as it takes seconds to import
    from sklearn.linear_model import LogisticRegression, Ridge

    rows, count = len(folds), len(loss)
    if not inputs.shape[1]:
        return loss, np.zeros(rows - count), 1.0
    is_new = np.arange(rows) >= count
    order = generator(seed, "rows fitted", rows).permutation(rows)
    fitted = np.zeros(rows, dtype=bool)
    for side in (order[~is_new[order]], order[is_new[order]]):
        fitted[side[:_FITTED]] = True
    ratio, expected, counts = np.empty(rows), np.empty(rows), np.ones(rows) if given is None else given
    for fold in range(_FOLDS):
        used, asked = fitted & (folds != fold), folds == fold
        own = None if given is None else given[used]
        odds = LogisticRegression(max_iter=1000).fit(inputs[used], is_new[used], own).decision_function(inputs[asked])
        odds = odds - math.log(counts[used & is_new].sum() / counts[used & ~is_new].sum())
        ratio[asked] = np.exp(np.minimum(odds, math.log(_LARGEST)))
        old = np.flatnonzero(used[:count])
        own = None if given is None else given[old]
        # Trees are flat where old rows are few, so that they only say what is beyond a polynomial.
        smooth = Ridge().fit(of_loss[old], loss[old], own)
        trees = HistGradientBoostingRegressor(
            max_iter=40, max_leaf_nodes=6, early_stopping=False, random_state=derive_seed(seed, "trees") % 2**32
        ).fit(of_loss[old], loss[old] - smooth.predict(of_loss[old]), own)
        expected[asked] = smooth.predict(of_loss[asked]) + trees.predict(of_loss[asked])
    weight = ratio[:count] / np.average(ratio[:count], weights=counts[:count])
    overlap = float(1 / np.average(weight**2, weights=counts[:count]))
    return weight * (loss - expected[:count]), expected[count:], overlap
