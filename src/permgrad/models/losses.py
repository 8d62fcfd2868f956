"""Losses of rows ``(rows,)`` in float64, of ``outputs (rows, outputs)`` and ``y
(rows,)``, indexes or numbers, and what permgrad must know of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from permgrad.base.arrays import Array, Booleans, Floats
from permgrad.base.checks import as_numbers, check_confidence
from permgrad.base.errors import Fault, InputError, error_in_words, refusing, turned
from permgrad.base.late import is_pandas, torch
from permgrad.base.registry import Registry
from permgrad.data.tasks import CLASSIFICATION, OF_OUTPUTS, REGRESSION

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

_BY_COUNTS = "poisson"
_FITTED_BY_TASK: dict[str, str] = {
    CLASSIFICATION: "cross_entropy",
    REGRESSION: "squared_error",
}
#: The losses that models of other libraries are fitted by.
FITTED_BY = (*_FITTED_BY_TASK.values(), _BY_COUNTS)

#: Of columns of y ``(rows, outputs)`` and weights of the rows, or None, the number for
#: each column that has the least mean loss, ``(outputs,)``.
Constants: TypeAlias = Callable[[Floats, Floats | None], Any]


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss with all that permgrad must know of it.

    What is left out is not known: nothing is said of it, and nothing that needs it is
    done.

    Attributes:
        name: What ``loss=`` takes, and ``meta["loss"]`` of an explanation says.
        function: ``(outputs (rows, outputs), y (rows,)) -> (rows,)``. Outputs are
            scores of classes, the logit of one label, or a number in the units of y.
        tasks: The tasks that it fits.
        tells_task: Whether its name alone says that the task is the first of these.
        unit: Of its numbers, such as ``"nats"``, ``"y"`` or ``"y²"``. Empty: its name.
        label: What sentences call it. Empty: its name in words.
        meaning: What its numbers mean, behind "The loss is the log loss: ".
        metric: The metric that is its mean over rows, as ``metrics.json`` names it.
        by_few_rows: Whether the page tells of few rows that make it. Bounded losses,
            and those that grow slowly, have none.
        constants: Of columns of y the constants of least loss.
        of_shares: Of the shares of classes ``(classes,)`` the least mean loss that the
            same probabilities for each row have.
        of_variance: Whether the least mean loss of a constant is the variance of y.
        of_mean: Whether the mean of y, or the frequency of the classes, has the least
            loss.
        fitted_by: The name of the loss that models of other libraries minimise for it,
            one of ``FITTED_BY``: branches beside a network, which say the mean, too.
            Empty: the usual one of its task if it is ``of_mean`` and not
            ``positive``. Else none are fitted.
        of_quantile: Whether a model of it predicts a quantile that its name says, which
            scores of means do not judge.
        of_middle: Whether its constants are quantiles, which stay so where y is
            transformed.
        of_decision: Whether it judges the class that the model decides for.
        effects_add: Whether effects on the output that add up have no interaction in
            the loss.
        accepts: Of numbers of y, which it can judge. None: all.
        needs: What y must be to be accepted, behind "needs y ".
        takes_one_logit: Whether it takes the logit of the second of two classes as one
            column. Else it gets 0 before it.
        positive: Whether predictions must be above 0: a network then says their
            logarithm.
        counts: Whether y are counts, or rates whose exposures are weights of the rows.
        of_logarithm: The name of the loss for models that return the logarithm.
        objectives: What other libraries call it, or a class of models fitted by it.
        trains: Whether a network can be trained with it. ``function`` must then have a
            slope.
        standardised: The same of standardised outputs and y and a share of label
            smoothing, in the precision of a network. None: a network is trained with
            ``function``, in the units of y.
        training_words: What the page calls it in a training. Empty: its label.
        by_temperature: Whether a temperature of the scores makes it smaller.
        by_output: Of several outputs with a loss each, those.
        at_level: Of a family, the loss of one level.
        level: Of one of a family, its level.
        returned: Whether it takes what the model returns, as NumPy, and y as the user
            gave it.
        by_y: Whether it compares with y. Else with the model's own predictions.
    """

    name: str
    function: Callable[..., Any]
    tasks: tuple[str, ...]
    tells_task: bool = False
    # ---- in words
    unit: str = ""
    label: str = ""
    meaning: str = ""
    metric: str | None = None
    by_few_rows: bool = True
    # ---- the best constant, and what it is
    constants: Constants | None = None
    of_shares: Callable[[Floats], float] | None = None
    of_variance: bool = False
    of_mean: bool = False
    fitted_by: str = ""
    of_quantile: bool = False
    of_middle: bool = False
    of_decision: bool = False
    effects_add: bool = False
    # ---- the numbers that it takes
    accepts: Callable[[Array], Booleans] | None = None
    needs: str = ""
    takes_one_logit: bool = False
    positive: bool = False
    counts: bool = False
    of_logarithm: str = ""
    objectives: tuple[str, ...] = ()
    # ---- training
    trains: bool = True
    standardised: Callable[[Tensor, Tensor, float], Tensor] | None = None
    training_words: str = ""
    by_temperature: bool = False
    # ---- several outputs, levels, and the user's functions
    by_output: tuple[Loss, ...] = ()
    at_level: Callable[[float], Loss] | None = None
    level: float | None = None
    returned: bool = False
    by_y: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit", self.unit or self.name)
        label = self.label or self.name.replace("_", " ")
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "training_words", self.training_words or label)
        if self.of_mean and not self.positive and not self.fitted_by:
            for task in self.tasks:
                usual = _FITTED_BY_TASK.get(task, "")
                object.__setattr__(self, "fitted_by", self.fitted_by or usual)
        _check_record(self)

    def __str__(self) -> str:
        return self.name

    def __call__(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each row ``(rows,)``."""
        is_one_logit = outputs.shape[1] == 1 and CLASSIFICATION in self.tasks
        if REGRESSION in self.tasks and y.is_floating_point():
            is_one_logit = False  # of a loss for both, y says which task it is
        if is_one_logit and not self.takes_one_logit:
            outputs = torch.cat([torch.zeros_like(outputs), outputs], dim=1)
        row_losses = self.function(outputs, y)
        shape = tuple(getattr(row_losses, "shape", ()))
        if not isinstance(row_losses, torch.Tensor) or shape != (len(outputs),):
            problem = (
                f"loss={self.name!r} must return a tensor ({len(outputs)},) with one "
                f"number for each row, got {type(row_losses).__name__} {shape}"
            )
            hint = "Leave out means and sums over the rows, and functions of NumPy."
            raise InputError(problem, hint=hint, code="PG036")
        return row_losses

    @property
    def fits_counts(self) -> bool:
        """Whether models of other libraries are fitted to rates, by Poisson losses."""
        return self.fitted_by == _BY_COUNTS

    @property
    def registered(self) -> bool:
        """Whether it is chosen by its name."""
        return not self.returned and self.name in losses

    def renamed(self, name: str) -> Loss:
        """Return the same by another name."""
        return replace(self, name=name, label="", training_words="")

    def of_output(self, output_index: int) -> Loss:
        """Return the loss of one output."""
        if self.by_output:
            return self.by_output[output_index]
        return self

    def of_levels(self, levels: tuple[float, ...]) -> Loss:
        """Return the loss of one level, or of one for each output."""
        if self.at_level is None:
            problem = f"loss={self.name!r} has no levels"
            raise InputError(problem, hint=f"Pass loss={self.name!r}.", code="PG001")
        for level in levels or (None,):
            check_confidence(level, f"The level of a {self.name}")
        by_output = tuple(map(self.at_level, levels))
        if len(by_output) == 1:
            return by_output[0]
        level_text = ", ".join(f"{level:g}" for level in levels)
        of_all = by_output[0].renamed(f"{self.name} {level_text}")
        return replace(of_all, by_output=by_output)

    def of_constants(
        self, columns: Floats, weights: Floats | None, outputs: Sequence[int]
    ) -> Floats:
        """Return each row's losses of the best constants for the columns of y of some
        outputs, ``(rows, outputs)``, NaN if they are not known.
        """
        if self.by_output:
            output_losses = []
            for column, output_index in zip(columns.T, outputs, strict=True):
                loss = self.of_output(output_index)
                output_losses.append(loss.of_constants(column[:, None], weights, [0]))
            return np.concatenate(output_losses, axis=1)
        if self.constants is None:
            return np.full(columns.shape, np.nan)
        best = np.array(self.constants(columns, weights), dtype=np.float64)
        losses_of_rows = np.empty_like(columns)
        for output_index, constant in enumerate(best.tolist()):
            guess = torch.full((len(columns), 1), constant, dtype=torch.float64)
            truth = torch.from_numpy(np.array(columns[:, output_index]))
            losses_of_rows[:, output_index] = self(guess, truth).numpy()
        return losses_of_rows

    def refused_y(self, y: Any) -> Floats:
        """Return the numbers of y that it cannot judge, ``(refused,)``."""
        numbers: Floats = np.asarray(y, dtype=np.float64).reshape(-1)
        if self.accepts is None:
            return numbers[:0]
        return numbers[~self.accepts(numbers)]

    def of(self, outputs: Floats, y: Any) -> Floats:
        """Return the user's losses ``(rows,)``, checked."""
        call_hint = (
            f"It is called as loss(outputs, y) with {len(outputs)} rows of each: "
            f"outputs as a NumPy array, y as you passed it ({type(y).__name__})."
        )
        with turned(
            lambda error: InputError(
                f"The loss raised {error_in_words(error).rstrip('.')}",
                call_hint,
                "PG036",
            )
        ):
            returned_losses = self.function(outputs, y)
        if isinstance(returned_losses, torch.Tensor):
            returned_losses = returned_losses.detach().cpu().double().numpy()
        numbers = as_numbers(
            "What the loss returns", returned_losses, "Return (rows,).", "PG036"
        ).copy()
        _check_losses(numbers, len(outputs))
        return numbers


@refusing
def _check_record(loss: Loss) -> Iterator[Fault]:
    if not loss.tasks or not set(loss.tasks) <= set(OF_OUTPUTS):
        problem = (
            f"The loss {loss.name!r} must say its tasks, among {', '.join(OF_OUTPUTS)}"
        )
        hint = (
            f"Register it with losses.register({loss.name!r}, "
            "tasks=('regression',), unit='y'), and what else is known of it."
        )
        yield problem, hint, "PG001"
    if loss.accepts is not None and not loss.needs:
        problem = f"The loss {loss.name!r} accepts some y, and does not say which"
        yield problem, "Pass needs='of at least 0', for example.", "PG001"
    if loss.fitted_by and loss.fitted_by not in FITTED_BY:
        problem = (
            f"The loss {loss.name!r} cannot be fitted_by={loss.fitted_by!r}: models of "
            f"other libraries minimise {', '.join(FITTED_BY)}"
        )
        yield problem, "Leave fitted_by out: then none are fitted.", "PG001"
    if loss.fits_counts and not loss.positive:
        problem = (
            f"The loss {loss.name!r} is fitted_by={_BY_COUNTS!r}, whose models say "
            "rates above 0, and it is not positive"
        )
        yield problem, "Pass positive=True, or leave fitted_by out.", "PG001"


@refusing
def _check_losses(numbers: Floats, rows: int) -> Iterator[Fault]:
    if numbers.shape != (rows,):
        problem = (
            f"The loss must return one number for each row, ({rows},), got the "
            f"shape {numbers.shape}"
        )
        yield problem, "Leave out means and sums over the rows.", "PG036"
    if broken := int((~np.isfinite(numbers)).sum()):
        problem = (
            f"The loss must be finite, got NaN or infinity for {broken:,} of "
            f"{len(numbers):,} rows"
        )
        yield problem, "Check those rows, or bound the loss.", "PG036"


class Losses(Registry[Loss]):
    """The losses by name. The first one of a task is its usual one."""

    def register(self, name: str, **facts: Any) -> Callable[[T], T]:
        """Return a decorator that registers a function of outputs and y with facts of
        ``Loss``, or a ``Loss``.

        Raises:
            InputError: Of a function, the facts do not say its ``tasks``.

        Examples:
            >>> tried = Losses("loss")
            >>> @tried.register("cubed", tasks=("regression",), unit="y³")
            ... def cubed(outputs, y):
            ...     return (outputs[:, 0] - y).abs() ** 3
            >>> tried["cubed"].unit, tried["cubed"].label
            ('y³', 'cubed')
        """
        enter = super().register(name)

        def entered(entry: T) -> T:
            if isinstance(entry, Loss):
                named = entry if entry.name == name else entry.renamed(name)
                enter(replace(named, **facts))
                return entry
            if not callable(entry):
                problem = (
                    f"The loss {name!r} must be a function (outputs, y) -> (rows,) or "
                    f"a Loss, got {type(entry).__name__}"
                )
                raise InputError(problem, code="PG001")
            enter(Loss(name, entry, **{"tasks": (), **facts}))
            return entry

        return entered

    def of_task(self, task: str) -> tuple[Loss, ...]:
        """Return the losses that fit a task, the usual one first."""
        return tuple(loss for loss in self.values() if task in loss.tasks)

    def usual(self, task: str) -> Loss:
        """Return the usual loss of a task."""
        return self.of_task(task)[0]

    def of_objective(self, objective: str) -> Loss | None:
        """Return the loss that another library calls so, or None."""
        for loss in self.values():
            if objective in loss.objectives:
                return loss
        return None

    def trained(self, task: str) -> tuple[str, ...]:
        """Return the names of the losses that a network can be trained with."""
        return tuple(loss.name for loss in self.of_task(task) if loss.trains)


losses = Losses("loss")
usual_loss = losses.usual


# ---- of classes ----------------------------------------------------------------------
def _entropy(shares: Floats) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def _gini(shares: Floats) -> float:
    return float(1 - (shares[shares > 0] ** 2).sum())


def _smaller_share(shares: Floats) -> float:
    return float(1 - shares.max())


def _logits_of_means(columns: Floats, weights: Floats | None) -> Floats:
    """Return the logit of the mean of each column of labels."""
    smallest_float = float(np.finfo(np.float64).tiny)
    logits = []
    for column in columns.T:
        mean_label = float(np.average(column, weights=weights))
        logits.append(
            np.log(max(mean_label, smallest_float))
            - np.log(max(1 - mean_label, smallest_float))
        )
    return np.array(logits)


def _smoothed(outputs: Tensor, y: Tensor, smoothing: float) -> Tensor:
    """Return the cross entropy with a share of each label spread over all classes."""
    if outputs.shape[1] > 1:
        return torch.nn.functional.cross_entropy(
            outputs, y, reduction="none", label_smoothing=smoothing
        )
    share = y.to(outputs.dtype)
    if smoothing:
        share = share + smoothing * (0.5 - share)
    return torch.nn.functional.binary_cross_entropy_with_logits(
        outputs[:, 0], share, reduction="none"
    )


#: What both losses of probabilities are called and mean.
_LOG_LOSS: dict[str, Any] = {
    "unit": "nats",
    "label": "log loss",
    "meaning": "0 if the true class always gets a probability of 100\u00a0%, 0.69 if "
    "it gets 50\u00a0%",
    "of_mean": True,
}


@losses.register(
    "cross_entropy",
    tasks=("classification",),
    **_LOG_LOSS,
    metric="log_loss",
    of_shares=_entropy,
    standardised=_smoothed,
    by_temperature=True,
    takes_one_logit=True,
)
def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Return −log softmax(outputs)[y].

    With one output, the logistic loss of the logit against y in {0, 1}.
    """
    logits = outputs.double()
    if logits.shape[1] == 1:
        return torch.nn.functional.binary_cross_entropy_with_logits(
            logits[:, 0], y.double(), reduction="none"
        )
    return torch.nn.functional.cross_entropy(logits, y.long(), reduction="none")


@losses.register(
    "multilabel_cross_entropy",
    tasks=("multilabel",),
    tells_task=True,
    **_LOG_LOSS,
    constants=_logits_of_means,
    by_few_rows=False,
    trains=False,
)
def multilabel_cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the logistic loss of one label's logit against y in {0, 1}.

    Of several labels the mean counts.
    """
    logits = outputs[:, 0].double()
    return torch.nn.functional.binary_cross_entropy_with_logits(
        logits, y.double(), reduction="none"
    )


@losses.register(
    "brier",
    tasks=("classification", "multilabel"),
    label="Brier score",
    of_shares=_gini,
    constants=_logits_of_means,
    of_mean=True,
    by_few_rows=False,
    trains=False,
)
def brier(outputs: Tensor, y: Tensor) -> Tensor:
    """Return Σ_k (p_k − [y = k])² per row (Brier 1950), between 0 and 2."""
    probabilities = torch.softmax(outputs.double(), dim=1)
    truth = torch.nn.functional.one_hot(y.long(), probabilities.shape[1])
    return (probabilities - truth).square().sum(dim=1)


@losses.register(
    "zero_one",
    tasks=("classification", "multilabel"),
    unit="share of errors",
    label="share of errors",
    of_shares=_smaller_share,
    constants=_logits_of_means,
    of_decision=True,
    by_few_rows=False,
    trains=False,
)
def zero_one(outputs: Tensor, y: Tensor) -> Tensor:
    """Return 1 where the most probable class is not y, else 0."""
    return (torch.softmax(outputs.double(), dim=1).argmax(dim=1) != y.long()).double()


# ---- of numbers, one column at a time: of several outputs the mean is taken ----------
def _means(columns: Floats, weights: Floats | None) -> Floats:
    return np.asarray(np.average(columns, axis=0, weights=weights))


def _means_above_0(columns: Floats, weights: Floats | None) -> list[float]:
    smallest_float = float(np.finfo(np.float64).tiny)
    means = []
    for column in columns.T:
        means.append(max(float(np.average(column, weights=weights)), smallest_float))
    return means


def _logarithms_of_means(columns: Floats, weights: Floats | None) -> list[float]:
    return [float(np.log(mean)) for mean in _means_above_0(columns, weights)]


def weighted_median(values: Floats, weights: Floats | None) -> float:
    """Return the number of least weighted absolute distance to ``(rows,)`` values, or
    the middle of several.
    """
    if weights is None:
        return float(np.median(values))
    lower_median = np.quantile(values, 0.5, weights=weights, method="inverted_cdf")
    upper_median = -np.quantile(-values, 0.5, weights=weights, method="inverted_cdf")
    return float((lower_median + upper_median) / 2)


def _medians(columns: Floats, weights: Floats | None) -> list[float]:
    return [weighted_median(column, weights) for column in columns.T]


def _quantiles(columns: Floats, weights: Floats | None, level: float) -> list[float]:
    quantiles: list[float] = []
    for column in columns.T:
        quantiles.append(
            np.quantile(column, level, weights=weights, method="inverted_cdf")
        )
    return quantiles


def _squares(outputs: Tensor, y: Tensor, _smoothing: float) -> Tensor:
    return (outputs[:, 0] - y).square()


@losses.register(
    "squared_error",
    tasks=("regression",),
    unit="y²",
    metric="mse",
    constants=_means,
    of_variance=True,
    of_mean=True,
    objectives=(
        "squared_error",
        "friedman_mse",
        "regression",
        "reg:squarederror",
        "reg:linear",
        "RMSE",
        "MultiRMSE",
        "mse",
        "mean_squared_error",
    ),
    effects_add=True,
    standardised=_squares,
    training_words="squared error of the standardised target",
)
def squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """Return (outputs − y)² per row, of one output."""
    return (outputs[:, 0].double() - y.double()).square()


@losses.register(
    "absolute_error",
    tasks=("regression",),
    unit="y",
    constants=_medians,
    of_middle=True,
    objectives=("absolute_error", "regression_l1", "MAE", "reg:absoluteerror"),
    by_few_rows=False,
    trains=False,
)
def absolute_error(outputs: Tensor, y: Tensor) -> Tensor:
    """Return |outputs − y| per row, of one output."""
    return squared_error(outputs, y).sqrt()


def _quantile(outputs: Tensor, y: Tensor, level: float) -> Tensor:
    """Return the pinball loss max(q (y − f), (q − 1)(y − f)) per row (Koenker & Bassett
    1978).
    """
    residual = y.double() - outputs[:, 0].double()
    return torch.maximum(level * residual, (level - 1) * residual)


def _quantile_at(level: float) -> Loss:
    """Return the pinball loss of a level."""
    return Loss(
        f"quantile {level:g}",
        partial(_quantile, level=level),
        tasks=("regression",),
        tells_task=True,
        unit="y",
        constants=partial(_quantiles, level=level),
        by_few_rows=False,
        of_quantile=True,
        of_middle=True,
        trains=False,
        level=level,
    )


# The median's, half the absolute error. Other levels: ``loss=("quantile", 0.9)``.
losses.register(
    "quantile",
    at_level=_quantile_at,
    objectives=("quantile", "Quantile", "MultiQuantile", "reg:quantileerror"),
)(_quantile_at(0.5))


def _deviance_of_rates(outputs: Tensor, y: Tensor, _smoothing: float) -> Tensor:
    # Not of y / outputs: at 0 its slope is no number.
    return 2 * (torch.xlogy(y, y) - y * outputs[:, 0].log() - y + outputs[:, 0])


def _at_least_0(y: Array) -> Booleans:
    return np.asarray(y >= 0)


#: What both losses of counts are.
_OF_COUNTS: dict[str, Any] = {
    "tasks": ("regression",),
    "tells_task": True,
    "unit": "deviance",
    "label": "Poisson deviance",
    "of_mean": True,
    "accepts": _at_least_0,
    "needs": "of at least 0",
    "by_few_rows": False,
}


@losses.register(
    "poisson",
    **_OF_COUNTS,
    constants=_means_above_0,
    positive=True,
    counts=True,
    fitted_by=_BY_COUNTS,
    of_logarithm="poisson_log",
    objectives=("poisson", "count:poisson", "Poisson", "PoissonRegressor"),
    standardised=_deviance_of_rates,
    training_words="Poisson deviance of the rate over its mean",
)
def poisson(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the Poisson deviance 2 (y log(y / μ) − y + μ) per row, of the mean μ > 0
    (McCullagh & Nelder 1989).
    """
    predicted_mean = outputs[:, 0].double()
    counts = y.double()
    if not bool((predicted_mean > 0).all()):
        problem = (
            "loss='poisson' needs predicted means above 0, got "
            f"{float(predicted_mean.min()):.3g}"
        )
        loss_hint = (
            "Pass loss='poisson_log' if the model returns the logarithm of the mean."
        )
        raise InputError(problem, hint=loss_hint, code="PG036")
    return 2 * (torch.xlogy(counts, counts / predicted_mean) - counts + predicted_mean)


@losses.register(
    "poisson_log", **_OF_COUNTS, constants=_logarithms_of_means, trains=False
)
def poisson_log(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the Poisson deviance per row, of the logarithm of the mean."""
    return poisson(outputs.double().exp(), y)


# ---- which loss was asked for --------------------------------------------------------
def _squared_difference(outputs: Tensor, reference: Tensor) -> Tensor:
    return (outputs.double() - reference.double()).square().mean(dim=1)


#: What is measured without y: how far predictions are from the model's own. That of
#: classes has another unit (``OutputForm.divergence``).
DIVERGENCE = Loss(
    "divergence", _squared_difference, OF_OUTPUTS, unit="y²", by_y=False, trains=False
)


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name in losses


def read_loss(loss: Any) -> Loss:
    """Return the loss that the user asked for: a name, a callable, or ``("quantile",
    level)`` with one or more.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        return losses.get(loss)
    if isinstance(loss, (tuple, list)) and len(loss) == 2 and _is_name(loss[0]):
        levels = loss[1]
        if not isinstance(levels, (tuple, list)):
            levels = (levels,)
        return losses[loss[0]].of_levels(tuple(levels))
    if not callable(loss):
        problem = (
            "loss must be a name, ('quantile', level) or a callable (outputs, "
            f"y) -> (rows,), got {type(loss).__name__}"
        )
        raise InputError(problem, hint="Pass for example 'auto'.", code="PG001")
    name = str(getattr(loss, "__name__", type(loss).__name__))
    return Loss(name, loss, OF_OUTPUTS, returned=True, trains=False)


def named_loss(name: Any) -> Loss | None:
    """Return the loss of a name that was stored, or None for those that only their
    users know.

    Examples:
        >>> named_loss("quantile 0.9").level, named_loss("costly")
        (0.9, None)
    """
    if name == DIVERGENCE.name:
        return DIVERGENCE
    if _is_name(name):
        return losses[name]
    family_name, _, level_text = str(name).partition(" ")
    family = losses.get(family_name, None)
    if family is None or family.at_level is None:
        return None
    try:
        return family.of_levels(tuple(map(float, level_text.split(","))))
    except (ValueError, InputError):  # a name of the user's, or of a damaged file
        return None


def _unregistered(name: str, _outputs: Tensor, _y: Tensor) -> Tensor:
    raise InputError(
        f"The model was trained with loss={name!r}, which is not registered here",
        hint="Import the code that registers it, or pass another loss=.",
        code="PG036",
    )


def trained_loss(name: str) -> Loss:
    """Return the loss that a model was trained with. It refuses to measure where it is
    not registered.
    """
    unregistered = partial(_unregistered, name)
    return named_loss(name) or Loss(name, unregistered, OF_OUTPUTS, trains=False)


class TargetRows:
    """The rows of y as the user gave them: an array, tensor, list, series or frame.

    Parts of them are copies.
    """

    def __init__(self, y: Any, rows: int) -> None:
        self.y = y if isinstance(y, torch.Tensor) or is_pandas(y) else np.asarray(y)
        if self.y.ndim == 0 or len(self.y) != rows:
            problem = (
                f"y must have one entry for each of the {rows} rows, got the "
                f"shape {tuple(self.y.shape)}"
            )
            raise InputError(problem, hint="Pass the y of the same rows.", code="PG007")

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: Any) -> Any:
        row_indices = np.arange(len(self.y))[rows]
        if is_pandas(self.y):
            return self.y.iloc[row_indices]
        return self.y[row_indices]
