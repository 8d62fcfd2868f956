"""``pg.explain_refits``: fit an estimator several times, explain each fit on rows it
has not seen, and combine.

An estimator is fitted K times on parts of n rows. Each fit is explained on rows that it
has not seen. The estimand is the mean importance over trainings on new samples of n
rows. There are two kinds of parts:

- *folds*: each row is left out of one fit, and each fit sees most of the rows;
- *halves*: random halves. Their fits differ about as much as those of new samples (Shao
  & Wu 1989: a jackknife that leaves out half of the rows).

Sums over rows e_ki, the part of row i in the importance by fit k, are divided into r_i
+ t_k by least squares over the pairs that there are (row i is not in the training of
fit k). t_k is how far fit k is from the others *on the same rows*. The importance is
extrapolated from the means of folds and halves to n rows, as a line in 1/n. Its
variance is

    Var(r)/n + Var(t, halves) + 2·ρ·√(both),

the error of measuring, that of the training, and their covariance: noise of a row moves
the model and the measurement together. ρ is the correlation of t with the mean of r
over the rows of each half, pooled over features. Var(t), known from few halves, is
moderated by that of the other features. The variance between refits alone misses what
all refits share, their rows, and no estimate from it is unbiased (Nadeau & Bengio 2003;
for importances Molnar et al. 2023, section 5).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import clone, is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.utils import _safe_indexing

from permgrad.attribution.explain import find_method
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.statistics import (
    MOST_TOGETHER,
    error_correlation,
    interval,
    root_of_covariance,
    two_parts,
)
from permgrad.attribution.replace.game import global_explanation, play_losses
from permgrad.attribution.replace.moments import row_scores
from permgrad.attribution.request import Request, name_of
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.reading import build_request
from permgrad.attribution.request.related_rows import read_units, with_columns
from permgrad.attribution.request.takes import is_estimator
from permgrad.attribution.subject.remedies import remedy_of
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.checks import check_rows, check_whole
from permgrad.base.errors import (
    Fault,
    InputError,
    error_in_words,
    keeping_warnings,
    refusing,
    shown,
    turned,
    warn_first,
)
from permgrad.base.near_names import with_near_names
from permgrad.base.progress import Progress, ProgressMode
from permgrad.base.random import derive_seed, generator, resolve_seed
from permgrad.data.read.cells import as_frame
from permgrad.data.types.as_one import columns_as_one
from permgrad.data.types.column_types import infer_schema
from permgrad.data.types.findings import tell_of_other_order
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32

#: Fewest refits: three folds and two halves.
LEAST = 5
#: Fewest rows of each class, so that every half of the rows has two of them.
_OF_A_CLASS = 4


@with_near_names
def explain_refits(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    refits: int = 10,
    method: Literal["permgrad", "permutation", "ablation"] | Any = "permgrad",
    target: int | str | Iterable[int | str] | None = None,
    groups: Mapping[str, Iterable[str]] | None = None,
    loss: str | tuple[str, float] | Any = "auto",
    row_groups: Any = None,
    max_rows: int = 2000,
    n_repeats: int | Literal["auto"] = "auto",
    random_state: Any = 0,
    progress: ProgressMode = "auto",
) -> Explanation:
    """Explain a training procedure: importances with intervals that include training
    again on other rows.

    ``pg.explain`` explains one fit. Its intervals include the chance of the rows
    explained and of the donors. Here the estimator is fitted ``refits`` times, each
    time with another seed on other rows, and each fit is explained on rows that it has
    not seen. The importance is the mean over trainings on new samples with as many rows
    as ``X``. Half of the refits leave one fold of the rows out, the others half of the
    rows (docs/how-sure-is-an-importance.md).

    Args:
        estimator: an estimator of scikit-learn's kind (``HyNNRegressor``, a pipeline, a
            booster, or any object with ``fit`` and ``predict``), or a ``pg.Model`` of
            one. It stays unchanged: copies are fitted. Parameters called
            ``random_state`` get another seed in each copy.
        X: table ``(rows, features)``, in any form that the estimator is fitted on.
        y: target ``(rows,)``.
        refits: number of fits, at least 5. More make the intervals narrower.
        method: ``"permgrad"``, ``"permutation"`` or ``"ablation"``, or one of them with
            options.
        target: outputs to explain, as for ``pg.explain``.
        groups: columns that act as one, as for ``pg.explain``.
        loss: loss computed for each row.
        row_groups: labels ``(rows,)``, or the name of a column of ``X``, which is then
            no feature. Rows of a group are never divided between training and
            explanation, and intervals count groups.
        max_rows: explain at most this many of the rows, drawn at random. All rows are
            trained on.
        n_repeats: donors per row and feature, ``"auto"`` as in ``pg.explain``.
        random_state: seed of parts, fits and donors.
        progress: a bar on stderr.

    Returns:
        An ``Explanation``. ``std_error``, intervals and p-values include training
        again. Its frame also has the columns ``within``, the standard error of
        measuring one fit on these rows, and ``between``, how much the importance
        differs between trainings (a standard deviation). ``meta["another_training"]``
        has, for each feature, the estimated probability that it is among the first
        three in another training.

    Raises:
        InputError: an argument cannot be used. Nothing was fitted. Or the estimator
            fails on a part of the rows.

    Examples:
        >>> import permgrad as pg
        >>> from sklearn.linear_model import Ridge
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(200, 3))
        >>> y = X @ [2.0, 1.0, 0.0] + rng.normal(size=200)
        >>> options = {"refits": 6, "n_repeats": 2, "progress": False}
        >>> result = pg.explain_refits(Ridge(), X, y, **options)
        >>> result.ranking()[:2], result.meta["refits"]["fits"]
        (['x0', 'x1'], 6)
    """
    if isinstance(estimator, type):
        _check_estimator(estimator)
    arguments = Arguments(
        estimator,
        X,
        y,
        method=method,
        target=target,
        groups=groups,
        loss=loss,
        row_groups=row_groups,
        n_repeats=n_repeats,
        random_state=random_state,
        progress=progress,
    )
    return refit(arguments, refits=refits, max_rows=max_rows)


def refit(arguments: Arguments, *, refits: int, max_rows: int = 2000) -> Explanation:
    """Explain a training procedure, as ``explain_refits``, a report and a run do.

    Args:
        arguments: The user's. The model is what is trained.
        refits: How often it is trained.
        max_rows: How many rows are explained by each fit, at most.

    Raises:
        InputError: The rows are too few, or arguments do not go together.
    """
    count = check_whole("refits", refits, "pass for example 10", least=LEAST)
    check_whole("max_rows", max_rows, "pass for example 2000", least=100)
    seed = resolve_seed(arguments.random_state)
    tell_of_other_order(arguments.X, y=arguments.y, row_groups=arguments.row_groups)
    timed = arguments.row_time is not None
    X = arguments.X
    y = np.asarray(arguments.y)
    together = None
    if arguments.row_groups is not None or timed:
        X, together = _related(arguments, count)
    progress = arguments.progress
    arguments = replace(
        arguments, X=None, y=None, row_groups=None, row_time=None, progress=False
    )
    arguments, fixed = _fixed_features(arguments, X)
    refit_work = _Work(arguments, X, y, seed, together, fixed)
    refit_work.check()
    unit_words = "times" if timed else "groups"
    if together is None:
        unit_words = "rows"
    units = (
        len(refit_work.y)
        if refit_work.groups is None
        else len(np.unique(np.asarray(refit_work.groups)))
    )
    check_enough(count, units, refit_work.classes, unit_words)
    design = draw_design(
        len(refit_work.y), count, refit_work.seed, refit_work.classes, refit_work.groups
    )
    measured = np.arange(design.rows)
    if design.rows > max_rows:
        measured = np.sort(
            generator(seed, "rows measured").permutation(design.rows)[:max_rows]
        )
    started = time.perf_counter()
    fit_explanations = _explained_by_each(refit_work, design, measured, progress)
    facts = {
        "estimator": type(refit_work.estimator).__name__,
        "seconds": time.perf_counter() - started,
    }
    return combine(fit_explanations, design, seed, facts)


def _fixed_features(arguments: Arguments, X: Any) -> tuple[Arguments, dict[str, Any]]:
    """Return the arguments, and the parameters of the estimator, with the columns that
    are one feature in all refits.

    Parts of the rows may say other things of the columns.
    """
    estimator = arguments.model.model
    if arguments.groups is not None or not hasattr(X, "columns"):
        return arguments, {}
    frame = as_frame(X)
    if not is_estimator(estimator):
        return replace(arguments, groups=columns_as_one(frame)), {}
    if estimator.groups is not None:
        return arguments, {}
    schema = infer_schema(frame, na=estimator.na, kinds=estimator.kinds)
    unread = schema.where(lambda kind: not kind.is_read)
    return arguments, {"groups": columns_as_one(frame, unread)}


def _explained_by_each(
    refit_work: _Work, design: RefitDesign, measured: Integers, progress: ProgressMode
) -> list[Explanation]:
    """Fit copies, and explain each on the rows ``measured`` that it has not seen."""
    fit_explanations = list[Explanation]()
    notes = list[str]()
    with Progress(len(design.trained), "refits", progress) as progress_bar:
        for number, trained in enumerate(design.trained):
            refit_explanation, warned = refit_work.explained(
                number, trained, np.setdiff1d(measured, trained, assume_unique=True)
            )
            fit_explanations.append(refit_explanation)
            notes += warned
            progress_bar.advance()
    warn_first(notes, "In a refit: ")
    forms = set()
    for fit_explanation in fit_explanations:
        forms.add((fit_explanation.names, fit_explanation.outputs))
    if len(forms) > 1:
        problem = (
            "The refits have different features or outputs, because parts of the rows "
            "lack levels or classes"
        )
        raise InputError(
            problem,
            hint="Leave rare classes out, or pass groups={} for raw columns.",
            code="PG040",
        )
    return fit_explanations


def _check_estimator(estimator: Any) -> None:
    """Refuse what cannot be fitted."""
    if isinstance(estimator, type) or not all(
        hasattr(estimator, method_name) for method_name in ("fit", "predict")
    ):
        problem = (
            "estimator must be an estimator of scikit-learn's kind, got "
            f"{shown(estimator)}"
        )
        hint = (
            "Copies of it are fitted, so it needs fit and predict. A fitted model "
            "is explained by pg.explain."
        )
        raise InputError(problem, hint=hint, code="PG031")


# ---- one refit -----------------------------------------------------------------------
@dataclass
class _Work:
    """What every refit has in common."""

    arguments: Arguments
    X: Any
    y: npt.NDArray[Any]
    seed: int
    groups: Any = None
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def estimator(self) -> Any:
        """The estimator, of which copies are fitted."""
        return self.arguments.model.model

    @property
    def classes(self) -> npt.NDArray[Any] | None:
        """The classes of the rows, or None for regression."""
        try:
            classifies = bool(is_classifier(self.estimator))
        except (AttributeError, TypeError):  # one without scikit-learn's tags
            classifies = hasattr(self.estimator, "predict_proba")
        if classifies and self.y.ndim == 1:
            return self.y
        return None

    @refusing
    def check(self) -> Iterator[Fault]:
        """Refuse arguments that cannot be used.

        A constant stands in for the fits: it shows what the table allows.
        """
        _check_estimator(self.estimator)
        frame = as_frame(self.X)
        if pd.isna(self.y).any():
            yield "y has missing values", "Leave their rows out.", "PG015"
        if len(frame) != len(self.y):
            problem = f"X has {len(frame)} rows and y has {len(self.y)}"
            yield problem, "Pass one target for each row.", "PG007"
        if self.groups is not None:
            check_rows(
                "row_groups",
                self.groups,
                len(self.y),
                "Pass for example a column of ids.",
            )
        if self.classes is None:
            constant = DummyRegressor()
        else:
            constant = DummyClassifier()
        sample_rows = np.arange(min(len(frame), 50))
        # What a network of permgrad calls features is known once it is fitted.
        if is_estimator(self.estimator):
            named = {"groups": None}
        else:
            named = {}
        self._request(
            constant.fit(np.zeros((len(self.y), 1)), self.y), sample_rows, 0, **named
        )

    def _request(
        self, model: Any, rows: Integers, number: int, **changed: Any
    ) -> tuple[Request, Any]:
        """Return the request that explains a fit on some rows, and its method."""
        arguments = replace(
            self.arguments,
            model=replace(self.arguments.model, model=model),
            X=_safe_indexing(self.X, rows),
            y=self.y[rows],
            row_groups=None
            if self.groups is None or changed
            else np.asarray(self.groups)[rows],
            random_state=derive_seed(self.seed, "donors", number),
            **changed,
        )
        chosen_method: Any
        chosen_method, method_name = find_method(arguments.method)
        return build_request(
            arguments, chosen_method, method_name, caller_name="refits"
        ), chosen_method

    def explained(
        self, number: int, trained: Integers, rows: Integers
    ) -> tuple[Explanation, list[str]]:
        """Return the explanation of a refit, and the warnings to be passed on."""
        with keeping_warnings() as notes, sparing(), full_float32():
            return explain_refit(
                *self._request(self._fitted(number, trained), rows, number), rows
            ), notes

    def _fitted(self, number: int, trained: Integers) -> Any:
        # One without parameters is copied as it is.
        if hasattr(self.estimator, "get_params"):
            copied = clone
        else:
            copied = deepcopy
        model = copied(self.estimator)
        names = _params(self.estimator)
        seeds = {}
        for parameter_name in names:
            if parameter_name.endswith("random_state"):
                seeds[parameter_name] = (
                    derive_seed(self.seed, "fit", number, parameter_name) % 2**31
                )
        if hasattr(model, "set_params"):
            model.set_params(
                **seeds,
                **({"progress": False, **self.fixed} if is_estimator(model) else {}),
            )
        else:
            vars(model).update(seeds)
        which = (
            f"{type(model).__name__} cannot be fitted on {len(trained)} of the "
            f"{len(self.y)} rows"
        )
        hint = "It must be fitted on a part of the rows."
        with turned(
            lambda error: InputError(
                f"{which}: {error_in_words(error)}", remedy_of(error, hint), "PG032"
            )
        ):
            model.fit(_safe_indexing(self.X, trained), self.y[trained])
        # not what fit returns, which an object of the user's own may leave out
        return model


def _params(estimator: Any) -> dict[str, Any]:
    """Return the parameters of an estimator, or the attributes of one that does not
    list any.
    """
    if hasattr(estimator, "get_params"):
        return estimator.get_params()
    return getattr(estimator, "__dict__", {})


@refusing
def check_enough(
    refits: int, units: int, classes: npt.NDArray[Any] | None, what: str = "rows"
) -> Iterator[Fault]:
    """Yield the faults of too few rows for so many refits, in all or of a class.

    Args:
        refits: How often the model is trained.
        units: How many rows, or groups of them, there are.
        classes: Of each row, ``(rows,)``. None: there are none.
        what: What messages call the units.
    """
    if classes is not None:
        levels, counts = np.unique(classes, return_counts=True)
        if counts.min() < _OF_A_CLASS:
            problem = (
                f"Class {levels.tolist()[counts.argmin()]!r} has {counts.min()} rows, "
                f"and refits need at least {_OF_A_CLASS} of each class"
            )
            yield problem, "Leave its rows out, or join it with another class.", "PG018"
    if units < 4 * refits:
        problem = f"{refits} refits need at least {4 * refits} {what}, got {units}"
        yield problem, "Use fewer refits, or more rows.", "PG013"


def _related(arguments: Arguments, refits: int) -> tuple[Any, Integers]:
    """Return the table without a column that ``row_groups`` or ``row_time`` names, and
    the group of each row.
    """
    arguments = with_columns(replace(arguments, model=None))
    units = read_units(arguments, len(arguments.y))
    return arguments.X, units.codes * min(
        4 * refits, units.count
    ) // units.count if units.timed else units.codes


#: Places at the top that ``another_training`` is about, and how many trainings are
#: drawn for it.
FIRST = 3
_DRAWS = 10_000
#: The fewest features whose variances are moderated, and the most degrees of freedom
#: that the others add.
_FEWEST = 3
_MOST_PRIOR = 50.0
#: What a refit's ``Explanation.maps`` hold: the rows explained, and each one's part in
#: the values.
_ROWS = "rows"
_SCORES = "row_scores"


# ---- the rows of each refit ----------------------------------------------------------
@dataclass(frozen=True)
class RefitDesign:
    """The rows that each refit is trained on, of ``rows`` in all: ``folds`` first, then
    halves.

    ``groups``: the group of each row ``(rows,)``, where rows of one group depend on
    each other.
    """

    trained: tuple[Integers, ...]
    folds: int
    rows: int
    groups: Integers | None = None

    @property
    def weights(self) -> Floats:
        """The weight of each refit, ``(refits,)``, by which both sizes are extrapolated
        to all rows.
        """
        trained_parts = self.trained[: self.folds], self.trained[self.folds :]
        fold_ratio, half_ratio = (
            self.rows / float(np.mean(list(map(len, trained_part))))
            for trained_part in trained_parts
        )
        slope = (fold_ratio - 1) / (half_ratio - fold_ratio)
        return np.repeat(
            [(1 + slope) / len(trained_parts[0]), -slope / len(trained_parts[1])],
            list(map(len, trained_parts)),
        )


def draw_design(
    rows: int, refits: int, seed: int, classes: Array | None, groups: Any = None
) -> RefitDesign:
    """Draw the rows of each refit.

    Classes ``(rows,)`` are divided evenly. Rows of one group stay together.
    """
    row_units = (
        np.arange(rows)
        if groups is None
        else np.unique(np.asarray(groups), return_inverse=True)[1]
    )
    count = int(row_units.max()) + 1
    folds = refits - refits // 2
    strata = (
        np.zeros(count)
        if classes is None or groups is not None
        else np.unique(classes, return_inverse=True)[1]
    )

    def shuffled(*purpose: object) -> Integers:
        order = generator(seed, "refits", *purpose).permutation(count)
        return order[np.argsort(strata[order], kind="stable")]

    unit_folds = np.empty(count, dtype=np.int64)
    unit_folds[shuffled("folds")] = np.arange(count) % folds
    trained_masks = [unit_folds != number for number in range(folds)]
    for number in range(refits - folds):
        # One of each two neighbours, so that every class is halved.
        drawn_sides = generator(seed, "sides", number).integers(0, 2, -(-count // 2))
        half_mask = np.zeros(count, dtype=bool)
        half_mask[shuffled("half", number)] = (
            np.arange(count) % 2 == np.repeat(drawn_sides, 2)[:count]
        )
        trained_masks.append(half_mask)
    trained = tuple(
        np.flatnonzero(trained_mask[row_units]) for trained_mask in trained_masks
    )
    return RefitDesign(trained, folds, rows, None if groups is None else row_units)


def explain_refit(request: Request, chosen_method: Any, rows: Integers) -> Explanation:
    """Explain a fit on rows that it has not seen, which lend to each other.

    The result holds each row's part.
    """
    request = replace(request, donors=request.inputs, background_kind="rows explained")
    request, plays = chosen_method.game(request)
    played = play_losses(request, plays, name_of(chosen_method))
    explanation = global_explanation(name_of(chosen_method), request, plays, played)
    scores = np.zeros(
        (len(explanation.outputs), len(explanation.names), len(rows)), dtype=np.float32
    )
    for player_index, player_name in enumerate(explanation.names):
        for output, title in enumerate(
            explanation.outputs if player_name in played.moments else ()
        ):
            if output:
                group = request.subject.outputs.class_names.index(title)
            else:
                group = None
            moments = played.moments[player_name]
            member = moments.receiver_weight * (
                group is None or moments.receiver_class == group
            )
            scores[output, player_index] = (
                row_scores(moments, group)[0]
                * len(rows)
                / max(float(member.sum()), 1.0)
            )
    return replace(
        explanation,
        maps={_ROWS: rows, _SCORES: scores},
        correlation=None,
        feature_values=None,
    )


class _PartSums(NamedTuple):
    """The parts of rows, summed.

    Attributes:
        seen_mask: Which rows each fit has seen, ``(refits, rows)``.
        over_fits: ``(features, rows)``.
        over_rows: ``(refits, features)``.
    """

    seen_mask: Floats
    over_fits: Floats
    over_rows: Floats


def _sums_of_parts(fits: Sequence[Explanation], rows: int, output: int) -> _PartSums:
    """Return which rows each fit has seen, and the rows' parts summed over fits and
    over rows.
    """
    features = len(fits[0].names)
    seen_mask = np.zeros((len(fits), rows))
    sums = np.zeros((features, rows))
    totals = np.zeros((len(fits), features))
    for number, fit in enumerate(fits):
        row_indices = fit.maps[_ROWS]
        row_scores = (
            fit.maps[_SCORES][output].astype(np.float64) + fit.values[:, [output]]
        )
        seen_mask[number, row_indices] = 1.0
        sums[:, row_indices] += row_scores
        totals[number] = row_scores.sum(axis=1)
    return _PartSums(seen_mask, sums, totals)


class _Divided(NamedTuple):
    """The importances of an output, divided into effects of rows and of fits.

    Attributes:
        of_rows: Effects of rows or groups of them, ``(features, rows)``, centred.
        of_fits: Effects of fits, ``(refits, features)``.
        shares: The means of effects over the rows that each fit is trained on,
            ``(refits, features)``.
    """

    of_rows: Floats
    of_fits: Floats
    shares: Floats


def _divided(fits: Sequence[Explanation], design: RefitDesign, output: int) -> _Divided:
    """Divide the rows' parts in the importances of one output into effects of rows and
    of fits, by least squares.

    Effects of rows, or groups of them, are ``r (features, rows)``, centred, those of
    fits ``t (refits, features)``. The last are the means of r over the rows that each
    fit is trained on, ``(refits, features)``.
    """
    seen_mask, sums, totals = _sums_of_parts(fits, design.rows, output)
    measured = np.flatnonzero(seen_mask.any(axis=0))
    seen_mask = seen_mask[:, measured]
    sums = sums[:, measured]
    count = seen_mask.sum(axis=0)
    matrix = np.diag(seen_mask.sum(axis=1)) - (seen_mask / count) @ seen_mask.T
    of_fits = np.linalg.lstsq(
        matrix, totals - seen_mask @ (sums / count).T, rcond=None
    )[0]
    of_rows = (sums - of_fits.T @ seen_mask) / count
    of_rows -= of_rows.mean(axis=1, keepdims=True)
    trained = np.stack(
        [np.isin(measured, trained_rows) for trained_rows in design.trained]
    ).astype(np.float64)
    shares = trained @ of_rows.T / trained.sum(axis=1, keepdims=True)
    if design.groups is not None:
        # Sums within groups take the place of rows, in the unit of a mean over groups.
        member = np.unique(design.groups[measured], return_inverse=True)[1]
        sums = np.stack([np.bincount(member, row_effects) for row_effects in of_rows])
        of_rows = sums * (sums.shape[1] / len(measured))
    return _Divided(of_rows, of_fits, shares)


class _Spread(NamedTuple):
    """How the importances of an output spread.

    Attributes:
        within: The squared error of measuring one fit, ``(features,)``.
        between: The variance between trainings, ``(features,)``.
        training: What training again adds to ``within``, ``(features,)``.
        freedom: Degrees of freedom of ``between``.
        trainings: How far each half is from the mean, as large as ``between``,
            ``(halves, features)``.
    """

    within: Floats
    between: Floats
    training: Floats
    freedom: float
    trainings: Floats


def _spread(effects: _Divided, design: RefitDesign) -> _Spread:
    """Return how the importances of an output spread, within a fit and between fits."""
    halves, shares = (
        fit_effects[design.folds :] - fit_effects[design.folds :].mean(axis=0)
        for fit_effects in (effects.of_fits, effects.shares)
    )
    row_count = effects.of_rows.shape[1]
    half_freedom = len(halves) - 1
    squares = (halves**2).sum(axis=0)
    within = (effects.of_rows**2).sum(axis=1) / (row_count * (row_count - 1))
    variance = squares / half_freedom
    moves = (variance > 0) & ((shares**2).sum(axis=0) > 0)
    related = (halves * shares).sum(axis=0)[moves] / np.sqrt(
        squares * (shares**2).sum(axis=0)
    )[moves]
    shared = 0.0
    if len(related):
        shared = float(np.clip(related.mean(), 0, 1))
    between, freedom = moderated(variance, within, half_freedom)
    training = between + 2 * shared * np.sqrt(within * between)
    trainings = halves * np.sqrt(
        np.divide(between, squares, out=np.zeros_like(between), where=moves)
    )
    return _Spread(within, between, training, freedom, trainings)


def _estimate(
    value: Floats, effects: _Divided, design: RefitDesign, seed: int
) -> tuple[Floats, Floats | None]:
    """Return numbers of the features for one output ``(5, features)``, and how errors
    correlate.

    They are the standard error, the effective number, the error within a fit, the
    spread between fits, and the share of new trainings in which a feature is among the
    first.
    """
    spread = _spread(effects, design)
    row_count = effects.of_rows.shape[1]
    half_count = len(spread.trainings)
    _, count = two_parts(spread.within, row_count, spread.training, spread.freedom + 1)
    std_errors = np.sqrt(spread.within + spread.training)
    correlation = None
    if len(std_errors) <= MOST_TOGETHER:
        correlation = error_correlation(
            np.hstack([effects.of_rows / row_count, spread.trainings.T])
        )
    # A new training is drawn: the mean over trainings, with its error, and how one
    # training differs from the mean.
    covariance_root = np.diag(std_errors)
    random_generator = generator(seed, "another training")
    if correlation is not None:
        covariance_root = root_of_covariance(correlation, std_errors)
    size = np.sqrt(
        random_generator.chisquare(spread.freedom, (_DRAWS, 1)) / spread.freedom
    )
    moved = (
        random_generator.standard_normal((_DRAWS, len(std_errors))) @ covariance_root
        + random_generator.standard_normal((_DRAWS, half_count)) @ spread.trainings
    )
    order = np.argsort(-(value + moved / size), axis=1, kind="stable")[
        :, : first_places(len(value))
    ]
    first = np.bincount(order.ravel(), minlength=len(value)) / _DRAWS
    deviations = np.sqrt([spread.within, spread.between])
    return np.stack([std_errors, count, *deviations, first]), correlation


def moderated(variance: Floats, scale: Floats, freedom: float) -> tuple[Floats, float]:
    """Return variances moved towards their usual ratio to a ``scale``, and their
    degrees of freedom (Smyth 2004).

    The less the ratios of the features differ beyond chance, the further they are
    moved, and the surer they are.
    """
    from scipy import optimize, special

    usable = (variance > 0) & (scale > 0)
    if usable.sum() < _FEWEST:
        return variance, freedom
    # Section 6.2 of the paper: log variances have the mean and the variance of a log F
    # distribution.
    ratios = (
        np.log(variance[usable] / scale[usable])
        - special.digamma(freedom / 2)
        + np.log(freedom / 2)
    )
    beyond = float(ratios.var(ddof=1)) - float(special.polygamma(1, freedom / 2))
    prior = _MOST_PRIOR
    if beyond > special.polygamma(1, _MOST_PRIOR / 2):
        prior = 2 * optimize.brentq(
            lambda half: special.polygamma(1, half) - beyond, 1e-3, _MOST_PRIOR / 2
        )
    usual = np.exp(ratios.mean() + special.digamma(prior / 2) - np.log(prior / 2))
    return (prior * usual * scale + freedom * variance) / (
        prior + freedom
    ), freedom + prior


def first_places(features: int) -> int:
    """Return how many places at the top are spoken of."""
    return min(FIRST, max(1, features - 1))


def _facts_of_fits(
    fits: Sequence[Explanation], design: RefitDesign, seed: int
) -> dict[str, Any]:
    """Return what was fitted and measured, with the facts of the first refit that hold
    for all.
    """
    meta = {}
    for name, fact in fits[0].meta.items():
        if name not in ("repeats", "digests", "background"):
            meta[name] = fact
    rows = np.unique(np.concatenate([fit.maps[_ROWS] for fit in fits]))
    if design.groups is not None:
        counted = len(np.unique(design.groups[rows]))
        meta["independent"] = {"by": "row_groups", "count": counted}
    sizes = list(map(len, design.trained))
    return meta | {
        "seed": seed,
        "rows_explained": len(rows),
        "loss_scale": float(np.mean([fit.meta["loss_scale"] for fit in fits])),
        "model_rows": sum(int(fit.meta["model_rows"]) for fit in fits),
        "refits": {
            "fits": len(fits),
            "folds": design.folds,
            "rows": design.rows,
            "trained": [min(sizes), max(sizes)],
        },
    }


def combine(
    fits: Sequence[Explanation],
    design: RefitDesign,
    seed: int,
    facts: Mapping[str, Any],
) -> Explanation:
    """Return the explanation of the procedure from those of its refits, in the order of
    the design.
    """
    first = fits[0]
    confidence = float(fits[0].meta["confidence"])
    value = np.tensordot(
        design.weights,
        np.stack([fit_explanation.values for fit_explanation in fits]),
        axes=1,
    )
    # Some refit could not measure an output: a class without rows.
    undefined = np.full((5, len(value)), np.nan), None
    estimates = []
    for output, column in enumerate(value.T):
        if np.isfinite(column).all():
            estimates.append(
                _estimate(column, _divided(fits, design, output), design, seed)
            )
        else:
            estimates.append(undefined)
    std_errors, count, within, between, among_first = np.stack(
        [numbers for numbers, _ in estimates], axis=2
    )
    lower_ends, upper_ends, p_values = interval(value, std_errors, count, confidence)
    together = [correlation for _, correlation in estimates if correlation is not None]
    meta = _facts_of_fits(fits, design, seed)
    meta |= {
        "another_training": {
            "first": first_places(len(first.names)),
            "shares": dict(zip(first.names, among_first[:, 0].tolist(), strict=True)),
        },
        **facts,
    }
    return replace(
        first,
        values=value,
        std_error=std_errors,
        low=lower_ends,
        high=upper_ends,
        p_values=p_values,
        correlation=np.stack(together) if len(together) == len(estimates) else None,
        parts={
            part_name: np.tensordot(
                design.weights,
                np.stack(
                    [fit_explanation.parts[part_name] for fit_explanation in fits]
                ),
                axes=1,
            )
            for part_name in first.parts
        },
        part_std={"within": within, "between": between},
        branches=None,
        direction=None,
        maps={},
        meta=meta,
    )
