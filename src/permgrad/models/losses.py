"""Losses of rows ``(rows,)`` in float64, of ``outputs (rows, outputs)`` and ``y
(rows,)``, indexes or numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.base.arrays import Floats
from permgrad.base.checks import as_numbers, check_confidence
from permgrad.base.errors import Fault, InputError, error_in_words, refusing, turned
from permgrad.base.late import is_pandas
from permgrad.base.registry import Registry

RowLoss = Callable[[Tensor, Tensor], Tensor]

#: Every entry: ``(outputs (rows, outputs), y (rows,)) -> (rows,)`` float64, one loss
#: per row.
losses: Registry[RowLoss] = Registry("loss")


@losses.register("cross_entropy")
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


@losses.register("squared_error")
def squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """Return (outputs − y)² per row, of one output."""
    return (outputs[:, 0].double() - y.double()).square()


@losses.register("absolute_error")
def absolute_error(outputs: Tensor, y: Tensor) -> Tensor:
    """Return |outputs − y| per row, of one output."""
    return squared_error(outputs, y).sqrt()


def _probabilities(outputs: Tensor) -> Tensor:
    logits = outputs.double()
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return torch.softmax(logits, dim=1)


@losses.register("brier")
def brier(outputs: Tensor, y: Tensor) -> Tensor:
    """Return Σ_k (p_k − [y = k])² per row (Brier 1950), between 0 and 2."""
    probabilities = _probabilities(outputs)
    truth = torch.nn.functional.one_hot(y.long(), probabilities.shape[1])
    return (probabilities - truth).square().sum(dim=1)


@losses.register("zero_one")
def zero_one(outputs: Tensor, y: Tensor) -> Tensor:
    """Return 1 where the most probable class is not y, else 0."""
    return (_probabilities(outputs).argmax(dim=1) != y.long()).double()


# ---- one column at a time: of several outputs the mean is taken ----------------------
@losses.register("multilabel_cross_entropy")
def multilabel_cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the logistic loss of one label's logit against y in {0, 1}.

    Of several labels the mean counts.
    """
    logits = outputs[:, 0].double()
    return torch.nn.functional.binary_cross_entropy_with_logits(
        logits, y.double(), reduction="none"
    )


def _quantile(outputs: Tensor, y: Tensor, level: float) -> Tensor:
    """Return the pinball loss max(q (y − f), (q − 1)(y − f)) per row (Koenker & Bassett
    1978).
    """
    residual = y.double() - outputs[:, 0].double()
    return torch.maximum(level * residual, (level - 1) * residual)


@losses.register("quantile")
def quantile(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the pinball loss of the median, half the absolute error.

    Other levels: ``loss=("quantile", 0.9)``.
    """
    return _quantile(outputs, y, 0.5)


@losses.register("poisson")
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


@losses.register("poisson_log")
def poisson_log(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the Poisson deviance per row, of the logarithm of the mean."""
    return poisson(outputs.double().exp(), y)


# ---- which loss was asked for --------------------------------------------------------
#: The losses of each task, the usual one first.
FITS: dict[str, tuple[str, ...]] = {
    "classification": ("cross_entropy", "brier", "zero_one"),
    "regression": (
        "squared_error",
        "absolute_error",
        "quantile",
        "poisson",
        "poisson_log",
    ),
    "multilabel": ("multilabel_cross_entropy", "brier", "zero_one"),
}
#: Losses that say themselves what the task is.
TELLING = {
    loss_name: task_name
    for task_name, names in FITS.items()
    for loss_name in names
    if loss_name not in FITS["classification"]
}
del TELLING["squared_error"], TELLING["absolute_error"]


@dataclass(frozen=True, eq=False)
class OtherLoss:
    """A loss without a registered name."""

    name: str
    function: Callable[..., Any]
    # whether it takes what the model returns, as NumPy, and y as the user gave it
    returned: bool = False
    levels: tuple[
        float, ...
    ] = ()  # of the quantiles that the outputs are, if there are several

    def __str__(self) -> str:
        return self.name

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
        if isinstance(returned_losses, Tensor):
            returned_losses = returned_losses.detach().cpu().double().numpy()
        numbers = as_numbers(
            "What the loss returns", returned_losses, "Return (rows,).", "PG036"
        ).copy()
        _check_losses(numbers, len(outputs))
        return numbers


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


def find_loss(loss: str | OtherLoss) -> Callable[..., Any]:
    """Return the function of a loss."""
    if isinstance(loss, str):
        return losses[loss]
    return loss.function


def of_output(loss: str | OtherLoss, output_index: int) -> str | OtherLoss:
    """Return the loss of one output: its own quantile where outputs are several of
    them.
    """
    several = not isinstance(loss, str) and loss.levels
    if several:
        return read_loss(("quantile", several[output_index]))
    return loss


def read_loss(loss: Any) -> str | OtherLoss:
    """Return the loss that the user asked for: a name, a callable, or ``("quantile",
    level)`` with one or more.
    """
    if isinstance(loss, (tuple, list)) and len(loss) == 2 and loss[0] == "quantile":
        if isinstance(loss[1], (tuple, list)):
            levels = tuple(loss[1])
        else:
            levels = (loss[1],)
        for level in levels or (None,):
            check_confidence(level, "The level of a quantile")
        level_text = ", ".join(f"{level:g}" for level in levels)
        if len(levels) > 1:
            several = levels
        else:
            several = ()
        return OtherLoss(
            f"quantile {level_text}",
            lambda outputs, y: _quantile(outputs, y, levels[0]),
            levels=several,
        )
    if callable(loss):
        return OtherLoss(
            str(getattr(loss, "__name__", type(loss).__name__)), loss, returned=True
        )
    if not isinstance(loss, str):
        problem = (
            "loss must be a name, ('quantile', level) or a callable (outputs, "
            f"y) -> (rows,), got {type(loss).__name__}"
        )
        raise InputError(problem, hint="Pass for example 'auto'.", code="PG001")
    return loss


class TargetRows:
    """The rows of y as the user gave them: an array, tensor, list, series or frame.

    Parts of them are copies.
    """

    def __init__(self, y: Any, rows: int) -> None:
        self.y = y if isinstance(y, Tensor) or is_pandas(y) else np.asarray(y)
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
