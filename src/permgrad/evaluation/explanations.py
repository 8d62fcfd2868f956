"""``Explanation.evaluate``: curves, infidelity, sensitivity, randomised weights,
sparsity and complexity.

A measure is a function of a ``Tested``, registered with the direction that is better.
It raises ``InputError`` where it cannot be computed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from permgrad.attribution.explain import answer, find_method
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.explanation import MIXED
from permgrad.attribution.explanation.numbers import of_order
from permgrad.attribution.explanation.statistics import mean_over_rows
from permgrad.attribution.model import Model, as_model
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.replace.coalitions import Blend
from permgrad.attribution.replace.donors import Lenders
from permgrad.attribution.replace.game import loss_value
from permgrad.attribution.request import Request, changed, configured, methods
from permgrad.attribution.request.arguments import REPEATS, Arguments
from permgrad.attribution.request.reading import build_request
from permgrad.attribution.request.result import digests_of
from permgrad.attribution.request.takes import is_estimator, without_unread
from permgrad.attribution.scopes import MODALITY
from permgrad.attribution.subject.examples import MOST, gathered
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.checks import check_choice, check_names, check_whole
from permgrad.base.errors import (
    Fault,
    InputError,
    counted,
    error_in_words,
    keeping_warnings,
    listed,
    refusing,
    turned,
    two_sentences,
)
from permgrad.base.frames import Library, as_library
from permgrad.base.progress import Progress, ProgressMode
from permgrad.base.random import derive_seed, generator, resolve_seed
from permgrad.base.registry import Registry
from permgrad.base.shown import show
from permgrad.base.significance import t_quantile
from permgrad.data.tasks import task_of
from permgrad.evaluation import measures
from permgrad.evaluation.measures import RemovalCurves
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32
from permgrad.models.estimators.kept_rows import PASSED_ROWS
from permgrad.models.losses import DIVERGENCE, named_loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from permgrad.base.figures import PlotFigure

Better = Literal["higher", "lower"]

#: Largest number of steps of a curve, subsets of each row for each repeat, and networks
#: with other weights.
_POINTS = 32
_SUBSETS = 10
_NETWORKS = 3
#: Largest change of inputs for sensitivity, in standard deviations. Share of random
#: explanations within their interval.
_RADIUS = 0.1
_CONFIDENCE = 0.95


# ---- the result ----------------------------------------------------------------------
@dataclass(frozen=True)
class Estimate:
    """One measure of an explanation, and its value for random explanations where that
    is meaningful.
    """

    value: float
    std_error: float = float("nan")
    random: float = float("nan")
    random_low: float = float("nan")
    random_high: float = float("nan")
    direction: Better | None = (
        None  # where it depends on the explained quantity, else the measure's
    )
    #: shares of the players, the mean curve, and those of random orders: mean, low,
    #: high, ``(5, points)``
    curve: Floats | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The quality of an explanation by several measures.

    Args:
        estimates: the estimate of each measure.
        directions: whether ``"higher"`` or ``"lower"`` is better, for each measure.
        left_out: measures that could not be computed, and why.
        meta: method, rows, seed, repeats, the quantity of the curves.

    Examples:
        >>> estimates = {"sparsity": Estimate(0.4, 0.1)}
        >>> evaluation = Evaluation(estimates, {"sparsity": "higher"})
        >>> evaluation.to_frame()[["metric", "value", "direction"]].values.tolist()
        [['sparsity', 0.4, 'higher']]
    """

    estimates: dict[str, Estimate]
    directions: dict[str, Better]
    left_out: dict[str, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    def to_frame(self, library: Library = "pandas") -> Any:
        """Return one line per measure: ``metric, value, std_error, direction, random,
        random_low, random_high``.

        ``std_error`` is the standard error over rows. ``random`` is the mean for random
        explanations, and the share ``confidence`` of them is between ``random_low`` and
        ``random_high``. Undefined numbers are NaN.
        """
        lines = []
        for metric_name, estimate in self.estimates.items():
            lines.append(
                (
                    metric_name,
                    estimate.value,
                    estimate.std_error,
                    self.directions[metric_name],
                    estimate.random,
                    estimate.random_low,
                    estimate.random_high,
                )
            )
        columns = [
            "metric",
            "value",
            "std_error",
            "direction",
            "random",
            "random_low",
            "random_high",
        ]
        return as_library(pd.DataFrame(lines, columns=columns), library)

    def plot(self, *, title: str | None = None, ax: Axes | None = None) -> PlotFigure:
        """Draw the deletion and insertion curves with those of random orders.

        With ``ax``, the curves are drawn into these matplotlib axes, and their figure
        is returned.

        Raises:
            InputError: neither curve was computed.
        """
        return show("Evaluation.plot", self, title=title, ax=ax)

    def __repr__(self) -> str:
        values = []
        for metric, estimate in self.estimates.items():
            values.append(f"{metric} {estimate.value:.3g}")
        return f"<Evaluation: {', '.join(values)}>"


class _Spread(NamedTuple):
    """The mean of random draws, and an interval for a further one."""

    mean: float
    low: float
    high: float


# ---- measures ------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Tested:
    """An explanation with its ``Model``, the input of measures.

    ``values`` are ``(rows, players)``, one row if global.

    In a local explanation with several outputs, each row is judged by the output that
    the model predicts for it.
    """

    explanation: Explanation
    model: Any
    inputs: Any
    request: Request
    explain: Callable[[Any, Any], Explanation]
    output: int | None
    n_repeats: int
    seed: int

    @property
    def local(self) -> bool:
        """Whether each row has a separate explanation."""
        return self.explanation.scope.by_row

    @cached_property
    def game(self) -> Blend:
        """Predicts rows in which players are replaced."""
        return Blend(self.request)

    @cached_property
    def columns(self) -> npt.NDArray[np.intp]:
        """The output that each row is judged by, ``(rows,)``."""
        count = self.request.count
        if (
            self.output is not None
            or not self.local
            or self.request.subject.task.numeric
        ):
            return np.full(count, self.output or 0)
        return np.asarray(self._readout(self.game.base()).argmax(axis=1))

    def pick(self, explanation: Explanation) -> Floats:
        """Return an explanation's numbers for the outputs that rows are judged by,
        ``(rows, players)``.
        """
        values = explanation.values
        if (
            explanation.names != self.explanation.names
            or values.shape != self.explanation.values.shape
        ):
            advice = (
                "Pass the model as it was explained, such as pg.Model(net, "
                "segments=...)."
            )
            raise InputError(
                "The repeated explanation has other features, rows or outputs",
                hint=advice,
                code="PG006",
            )
        if self.local:
            return values[np.arange(len(values)), :, self.columns]
        return values[:, self.output or 0][None]

    @cached_property
    def values(self) -> Floats:
        """The numbers that are judged, ``(rows, players)``."""
        return self.pick(self.explanation)

    @cached_property
    def _lenders(self) -> Lenders:
        return Lenders.of(self.request)

    def donors(self, purpose: str, repeat: int) -> Integers:
        """Return a background row for each row."""
        return self._lenders.draw(
            self.seed, f"evaluate {purpose}", repeat, np.arange(self.request.count)
        )

    def measured(self, replaced: Booleans, donors: Integers) -> Floats:
        """Return the output (local) or the loss (global) of each row with players
        replaced, ``(rows,)``.
        """
        request = self.request
        row_indices = np.arange(self.request.count)
        with request.subject.open():
            base_outputs = self.game.base()
            outputs = self.game.predict(row_indices, donors, replaced)
        if self.local:
            return self._readout(outputs)[row_indices, self.columns]
        return loss_value(request)(outputs, row_indices, base_outputs)[:, 0]

    @cached_property
    def curves(self) -> dict[str, tuple[Floats, Floats, Floats]]:
        """Shares, curves of rows ``(rows, points)`` and mean curves of random orders
        ``(repeats, points)``, by kind.

        Random orders use the same donors, one each.
        """
        row_count = self.request.count
        players = self.values.shape[1]
        order = np.broadcast_to(
            np.argsort(-self.values, axis=1, kind="stable"), (row_count, players)
        )
        ranked: list[RemovalCurves] = []
        at_random: list[RemovalCurves] = []
        for repeat in range(self.n_repeats):
            sort_keys = generator(self.seed, "evaluate order", repeat).random(
                (row_count if self.local else 1, players)
            )
            mixed = np.broadcast_to(np.argsort(sort_keys, axis=1), (row_count, players))
            donors = self.donors("curves", repeat)
            for removal_order, curve_list in ((order, ranked), (mixed, at_random)):
                curve_list.append(
                    measures.removal_curves(
                        lambda replaced: self.measured(replaced, donors),  # noqa: B023 — taken at once
                        removal_order,
                        _POINTS,
                    )
                )
        return {
            curve_kind: (
                ranked[0].shares,
                np.mean(
                    [getattr(removal_curve, curve_kind) for removal_curve in ranked],
                    axis=0,
                ),
                np.array(
                    [
                        [
                            self.mean(point)[0]
                            for point in getattr(random_curve, curve_kind).T
                        ]
                        for random_curve in at_random
                    ]
                ),
            )
            for curve_kind in ("deletion", "insertion")
        }

    def explained(self, model: Any, inputs: Any) -> Floats:
        """Return the values of another explanation, without its warnings, which repeat
        those of the first.
        """
        method = self.explanation.method
        lost_options = self.explanation.meta.get("options_not_kept", ())
        if method not in methods or lost_options:
            if lost_options:
                missing_part = f"the options {listed(lost_options)}"
            else:
                missing_part = f"how {method!r} was called"
            problem = (
                f"An explanation does not store {missing_part}, so it cannot be "
                "made again"
            )
            raise InputError(problem, hint="Leave this metric out.", code="PG005")
        with keeping_warnings():
            return self.pick(self.explain(model, inputs))

    def _readout(self, outputs: Tensor) -> Floats:
        scaled_outputs = self.request.scale.read(self.request.subject.outputs, outputs)[
            :, list(self.request.targets)
        ]
        numbers: Floats = scaled_outputs.double().cpu().numpy()
        return numbers

    def mean(self, rows: Floats) -> tuple[float, float]:
        """Return the mean over rows for which a number is defined, and its standard
        error.
        """
        defined = np.isfinite(rows)
        if not defined.any():
            return float("nan"), float("nan")
        weights = self.explanation.meta.get("sample_weight")
        units = self.request.units
        if len(rows) != self.request.count:
            weights = units = None
        mean_value, std_error, _ = mean_over_rows(
            rows[defined],
            None if weights is None else np.asarray(weights)[defined],
            None if units is None else units.take(np.flatnonzero(defined)),
        )
        return float(mean_value), float(std_error)

    def spread(self, draws: Floats) -> _Spread:
        """Return the mean of random draws and Student's t interval for a further
        one.
        """
        count = len(draws)
        width = float("nan")
        if count > 1:
            quantile = t_quantile(0.5 + _CONFIDENCE / 2, count - 1)
            width = float(quantile * draws.std(ddof=1) * np.sqrt(1 + 1 / count))
        mean_draw = float(draws.mean())
        return _Spread(mean_draw, mean_draw - width, mean_draw + width)


@dataclass(frozen=True)
class Measure:
    """A registered measure."""

    take: Callable[[Tested], Estimate]
    direction: Better


explanation_measures: Registry[Measure] = Registry("metric")


def measure(
    name: str, direction: Better
) -> Callable[[Callable[[Tested], Estimate]], Callable[[Tested], Estimate]]:
    """Return a decorator that registers a measure of explanations with the direction
    that is better.
    """

    def enter(take: Callable[[Tested], Estimate]) -> Callable[[Tested], Estimate]:
        explanation_measures.register(name)(Measure(take, direction))
        return take

    return enter


def _curve(kind: Literal["deletion", "insertion"], case: Tested) -> Estimate:
    """Return the area under a curve, and those of random orders."""
    shares, of_rows, at_random = case.curves[kind]
    value, std_error = case.mean(measures.area(shares, of_rows))
    ranked = [case.mean(point)[0] for point in of_rows.T]
    bands = list(map(case.spread, at_random.T))
    better: Better = (
        "lower" if (kind == "deletion") is case.local else "higher"
    )  # a loss rises when an output falls
    curve = np.stack([shares, ranked, *np.array(bands).T])
    return Estimate(
        value,
        std_error,
        *case.spread(measures.area(shares, at_random)),
        direction=better,
        curve=curve,
    )


measure("deletion", "lower")(partial(_curve, "deletion"))
measure("insertion", "higher")(partial(_curve, "insertion"))


@measure("infidelity", "lower")
def _infidelity(case: Tested) -> Estimate:
    """Replace random subsets of every size by background rows.

    Random explanations permute values among players.
    """
    if not case.local:
        raise InputError(
            "infidelity needs a local explanation",
            hint="Pass scope='local' to explain.",
            code="PG004",
        )
    row_count, players = case.values.shape
    before = case.measured(
        np.zeros((row_count, players), dtype=bool), np.zeros(row_count, dtype=np.int64)
    )
    subsets = []
    changes = []
    for draw_index in range(_SUBSETS * case.n_repeats):
        random_stream = generator(case.seed, "evaluate subsets", draw_index)
        random_ranks = np.argsort(random_stream.random((row_count, players)), axis=1)
        subsets.append(
            random_ranks < random_stream.integers(1, players + 1, size=(row_count, 1))
        )
        changes.append(
            before - case.measured(subsets[-1], case.donors("subsets", draw_index))
        )
    scaled = (
        case.explanation.base_values is None
    )  # values that add up to an output are in its units
    replaced = np.stack(subsets)
    moved = np.stack(changes)
    value, std_error = case.mean(
        measures.infidelity(case.values, replaced, moved, scaled=scaled)
    )
    random_stream = generator(case.seed, "evaluate values")
    permuted = []
    for _ in range(case.n_repeats):
        permuted.append(random_stream.permuted(case.values, axis=1))
    at_random = np.array(
        [
            case.mean(
                measures.infidelity(permuted_values, replaced, moved, scaled=scaled)
            )[0]
            for permuted_values in permuted
        ]
    )
    return Estimate(value, std_error, *case.spread(at_random))


@measure("sensitivity", "lower")
def _sensitivity(case: Tested) -> Estimate:
    """Move the real numbers of the inputs by up to a tenth of their standard
    deviations.
    """
    moved = []
    for draw_index in range(case.n_repeats):
        inputs, count = measures.moved_inputs(
            case.inputs, generator(case.seed, "evaluate noise", draw_index), _RADIUS
        )
        if not count:
            problem = (
                "sensitivity needs inputs with real numbers, but they hold only "
                "whole numbers, text or dates"
            )
            raise InputError(problem, hint="Leave it out.", code="PG004")
        moved.append(case.explained(case.model, inputs))
    return Estimate(*case.mean(measures.max_sensitivity(case.values, np.stack(moved))))


@measure("randomisation", "lower")
def _randomisation(case: Tested) -> Estimate:
    """Compare with explanations of networks with new random weights.

    A good explanation does not agree with them.
    """
    model = case.model.model
    of_model = isinstance(model, nn.Module)
    if not of_model and not isinstance(getattr(model, "module_", None), nn.Module):
        problem = (
            "randomisation needs a torch network to draw new weights for, got "
            f"{type(model).__name__}"
        )
        raise InputError(problem, hint="Leave it out.", code="PG034")
    agreements = []
    for draw_index in range(_NETWORKS):
        copy_problem = "randomisation cannot copy the network"
        with turned(
            lambda error: InputError(
                f"{copy_problem}: {error_in_words(error)}",  # noqa: B023
                "Leave it out.",
                "PG031",
            )
        ):
            redrawn_model = copy.deepcopy(model)
        measures.draw_weights_anew(
            redrawn_model if of_model else redrawn_model.module_,
            derive_seed(case.seed, "evaluate weights", draw_index),
        )
        agreement = measures.rank_agreement(
            case.values,
            case.explained(replace(case.model, model=redrawn_model), case.inputs),
        )
        agreements.append(case.mean(agreement)[0])
    defined = np.array(agreements)[np.isfinite(agreements)]
    if not len(defined):
        return Estimate(float("nan"))
    if len(defined) > 1:
        std_error = float(defined.std(ddof=1) / np.sqrt(len(defined)))
    else:
        std_error = float("nan")
    return Estimate(float(defined.mean()), std_error)


def _of_sizes(of_rows: Callable[[Floats], Floats], case: Tested) -> Estimate:
    return Estimate(*case.mean(of_rows(case.values)))


measure("sparsity", "higher")(partial(_of_sizes, measures.gini))
measure("complexity", "lower")(partial(_of_sizes, measures.entropy))


# ---- the call ------------------------------------------------------------------------
def evaluate(
    explanation: Explanation,
    model: Any,
    X: Any,
    y: Any = None,
    *,
    metrics: str | Iterable[str] | None = None,
    target: str | int | None = None,
    background: Any = None,
    n_repeats: int | Literal["auto"] = "auto",
    random_state: Any = 0,
    progress: ProgressMode = "auto",
) -> Evaluation:
    """Measure the quality of an explanation. ``Explanation.evaluate`` describes it."""
    metric_names = (
        list(explanation_measures)
        if metrics is None
        else check_names("metrics", metrics, "pass metric names")
    )
    for metric_name in metric_names:
        check_choice("metric", metric_name, list(explanation_measures))
    repeats = (
        REPEATS if isinstance(n_repeats, str) and n_repeats == "auto" else n_repeats
    )
    check_whole("n_repeats", repeats, "pass for example 10")
    wrapped_model = as_model(model)
    X, y = _explained_rows(explanation, wrapped_model, X, y)
    arguments = _call(explanation, wrapped_model, X, y, background)
    explanation = of_order(explanation, 1)
    with sparing(), full_float32():
        request = _request(explanation, arguments)
        tested_case = Tested(
            explanation=explanation,
            model=wrapped_model,
            inputs=X,
            request=request,
            explain=lambda model, X: answer(replace(arguments, model=model, X=X)),
            output=None if target is None else explanation.output_index(target),
            n_repeats=repeats,
            seed=resolve_seed(random_state),
        )
        estimates, left_out = _estimates(
            metric_names, tested_case, progress, named=metrics is not None
        )
    directions = {
        measured_name: estimate.direction
        or explanation_measures.get(measured_name).direction
        for measured_name, estimate in estimates.items()
    }
    measured = "divergence" if y is None else "loss"
    if tested_case.local:
        measured = "output"
    about = {
        "method": explanation.method,
        "rows": request.count,
        "measured": measured,
        "seed": tested_case.seed,
    }
    return Evaluation(
        estimates,
        directions,
        left_out,
        {**about, "n_repeats": repeats, "confidence": _CONFIDENCE},
    )


def _estimates(
    names: Sequence[str], case: Tested, progress: ProgressMode, *, named: bool
) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Return each measure, and why others were left out, where none is named."""
    estimates: dict[str, Estimate] = {}
    left_out: dict[str, str] = {}
    with Progress(len(names), "evaluate", progress) as bar:
        for name in names:
            try:
                estimates[name] = explanation_measures.get(name).take(case)
            except InputError as error:
                if named:
                    raise
                left_out[name] = two_sentences(error.problem)
            bar.advance()
    return estimates, left_out


def _explained_rows(
    explanation: Explanation, model: Model, X: Any, y: Any
) -> tuple[Any, Any]:
    """Return the rows that were drawn of a DataLoader, a Dataset or a list."""
    explanation_meta = explanation.meta
    max_rows_drawn = explanation_meta.get("rows_drawn", {}).get("rows", MOST)
    gather_options = {
        "seed": explanation_meta.get("seed", 0),
        "tokenizer": model.tokenizer,
    }
    gathered_rows = gathered(model.model, X, y, most=max_rows_drawn, **gather_options)
    if gathered_rows is None:
        return (X, y)
    return (gathered_rows.X, gathered_rows.y)


@refusing
def _check_given(explanation: Explanation, y: Any, background: Any) -> Iterator[Fault]:
    """Refuse explanations that do not store all of the call of ``explain``, where the
    rest is not given.
    """
    explanation_meta = explanation.meta
    if explanation.method == MIXED:
        reason = "each modality was explained by a different method"
        yield (
            f"evaluate needs one method, but {reason}",
            "Evaluate one at a time.",
            "PG004",
        )
    loss_name = explanation_meta.get("loss", DIVERGENCE.name)
    by_y = loss_name != DIVERGENCE.name
    if not explanation.scope.by_row and y is None and by_y:
        yield (
            "The explanation measures the loss and needs y",
            "Pass its targets.",
            "PG005",
        )
    by_loss = not explanation.scope.by_row and "scores" not in explanation_meta
    if by_loss and named_loss(loss_name) is None:
        problem = (
            f"The explanation was made with loss={loss_name!r}, which is not "
            "registered here"
        )
        yield problem, "Evaluate a local explanation.", "PG005"
    unit_source = explanation_meta.get("independent", {}).get("by")
    if unit_source is not None and unit_source not in explanation_meta:
        problem = (
            f"The explanation was made with {unit_source}=, which it does not store"
        )
        yield problem, "Evaluate a local explanation.", "PG005"
    if (
        background is None
        and explanation_meta.get("background", {}).get("kind") == PASSED_ROWS
    ):
        background_used = (
            f"a background of {counted(explanation_meta['background']['rows'], 'row')}"
        )
        yield (
            f"The explanation was made with {background_used}",
            "Pass the same background=.",
            "PG005",
        )


def _asked_loss(name: str) -> Any:
    """Return what ``loss=`` takes for the name of a loss that was stored."""
    loss = named_loss(name)
    if loss is None or loss.level is None or loss.registered:
        return name
    levels = tuple(of_output.level for of_output in loss.by_output) or (loss.level,)
    return name.partition(" ")[0], levels


def _call(
    explanation: Explanation, model: Model, X: Any, y: Any, background: Any
) -> Arguments:
    """Return the arguments of the call of ``explain``."""
    _check_given(explanation, y, background)
    explanation_meta = explanation.meta
    local = explanation.scope.by_row
    task = task_of(explanation_meta)
    is_numeric = task is not None and task.numeric
    loss_name = explanation_meta.get("loss", "auto")
    if local or loss_name == DIVERGENCE.name:
        loss: Any = "auto"
    else:
        loss = _asked_loss(loss_name)
    level = explanation.level
    by_row = explanation_meta.get("row_target")
    # Where none were found none are searched for: changed rows could have others.
    network = isinstance(model.model, nn.Module) or is_estimator(model.model)
    groups: Any = explanation.groups or (None if network else {})
    if level.of_modalities:
        groups = MODALITY
    elif level.of_columns:
        groups = {}
    target: Any = None
    if local and by_row is None:
        target = list(explanation.outputs)
    elif local:
        target = np.array(by_row, dtype=object)
    method = _method(explanation)
    arguments = Arguments(
        model,
        X,
        y,
        method=method,
        scope=explanation.scope,
        target=target,
        # Numbers have no scale, and one that is asked for speaks of classes.
        scale="auto" if is_numeric else explanation_meta.get("scale", "auto"),
        groups=None
        if isinstance(explanation_meta.get("options", {}).get("blocks"), Mapping)
        else groups,
        background=background,
        loss=loss,
        scoring=list(explanation_meta["scores"])
        if "scores" in explanation_meta
        else None,
        n_repeats=explanation_meta.get("n_repeats", 10),
        random_state=explanation_meta.get("seed", 0),
        progress=False,
        **{
            option_name: explanation_meta[option_name]
            for option_name in ("row_groups", "row_time")
            if option_name in explanation_meta
        },
    )
    return without_unread(arguments, find_method(method)[0])


def _method(explanation: Explanation) -> Any:
    """Return the method with the options that the explanation stores, without
    interactions, or its name alone.
    """
    stored_options = {}
    for option_name, option_value in explanation.meta.get("options", {}).items():
        if isinstance(option_value, list):
            stored_options[option_name] = tuple(option_value)
        else:
            stored_options[option_name] = option_value
    if explanation.method not in methods:
        return explanation.method
    return configured(
        explanation.method,
        stored_options
        | ({"order": 1, "pairs": "auto"} if "order" in stored_options else {}),
    )


def _request(explanation: Explanation, arguments: Arguments) -> Request:
    """Return the request of the explanation, with the explanation's players.

    Curves replace by marginal donors.
    """
    chosen_method = None
    if explanation.method in methods:
        chosen_method = arguments.method
        if "sampling" in chosen_method.options:
            chosen_method = changed(chosen_method, sampling="marginal")
    request = build_request(arguments, chosen_method, explanation.method)
    _check_same(explanation, request)
    return replace(request, space=_space(explanation, request.space))


@refusing
def _check_same(explanation: Explanation, request: Request) -> Iterator[Fault]:
    """Refuse other rows, or another background, than those of the explanation."""
    explained_rows = (
        len(explanation.values)
        if explanation.scope.by_row
        else explanation.meta.get("rows_explained")
    )
    if explained_rows not in (None, request.count):
        problem = (
            f"The explanation is of {counted(explained_rows, 'row')}, got "
            f"{request.count}"
        )
        yield problem, "Pass the rows that were explained.", "PG007"
    stored_digests = explanation.meta.get("digests") or {}
    for digest_name, digest in digests_of(request).items() if stored_digests else ():
        if digest != stored_digests.get(digest_name):
            words = "other rows" if digest_name == "rows" else "another background"
            problem = f"The explanation was made with {words}"
            yield (
                problem,
                f"Pass the {digest_name} of the call of explain, in the same order.",
                "PG007",
            )


def _space(explanation: Explanation, space: PlayerSpace) -> PlayerSpace:
    """Return the explanation's players: its segments where it stores them, else those
    with its names.
    """
    if space.names == explanation.names and not any(
        f"segments:{input_name}" in explanation.maps for input_name in space.inputs
    ):
        return space
    player_index = {}
    for index, player_name in enumerate(explanation.names):
        player_index[player_name] = index
    table = torch.tensor(
        [
            *(player_index.get(player_name, NOBODY) for player_name in space.names),
            NOBODY,
        ]
    )
    segments = []
    for segment_input, owners in zip(space.inputs, space.segments, strict=True):
        stored_segments = explanation.maps.get(f"segments:{segment_input}")
        has_same_shape = stored_segments is not None and stored_segments.shape == tuple(
            owners.shape
        )
        segments.append(
            torch.as_tensor(np.array(stored_segments), dtype=torch.int64)
            if has_same_shape
            else table[owners.cpu()]
        )
    explained_space = PlayerSpace(
        explanation.names,
        explanation.modality,
        space.inputs,
        tuple(segments),
        explanation.groups,
    )
    lost_players = []
    for player_name, player_size in zip(
        explained_space.names, explained_space.sizes(), strict=True
    ):
        if not player_size:
            lost_players.append(player_name)
    if lost_players and len(lost_players) > len(
        set(space.names) & set(explained_space.names)
    ):
        problem = (
            "The inputs lack features of the explanation: "
            f"{listed(lost_players, 3, show=repr)}"
        )
        raise InputError(
            problem,
            hint="Pass the model and the rows that were explained.",
            code="PG007",
        )
    return explained_space
