"""Measures of explanations, as functions of arrays: removal curves, infidelity,
sensitivity, sparsity, randomisation.

``permgrad.evaluation.explanations`` applies them to a model, and the benchmark uses
them too. Attributions are ``(rows, players)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Booleans, Floats
from permgrad.base.random import forked_torch
from permgrad.evaluation.ranking import spearman


# ---- removal curves ------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class RemovalCurves:
    """Model outputs with the k most important players replaced (deletion) or with only
    these kept (insertion).
    """

    shares: Floats  # k as a share of the players, ``(points,)``, from 0 to 1
    deletion: Floats  # ``(rows, points)``
    insertion: Floats  # ``(rows, points)``


def removal_curves(
    value: Callable[[Booleans], Floats], order: npt.NDArray[np.intp], points: int = 0
) -> RemovalCurves:
    """Compute both curves of an order of the players.

    Source: Petsiuk et al. 2018 (RISE, arXiv 1806.07421). Bach et al. 2015 flip pixels
    in the same way. ``value`` chooses the replacement values.

    Args:
        value: takes the replaced players of each row, bool ``(rows, players)``, and
            returns a number for each row.
        order: players of each row by falling importance, ``(rows, players)``.
        points: largest number of steps. 0: one for each player.
    """
    players = order.shape[1]
    player_ranks = np.argsort(order, axis=1)
    counts = np.arange(players + 1)
    if 0 < points < players:
        counts = np.unique(np.linspace(0, players, points + 1).round().astype(int))
    deletion = np.stack([value(player_ranks < count) for count in counts], axis=1)
    insertion = np.stack([value(player_ranks >= count) for count in counts], axis=1)
    return RemovalCurves(counts / players, deletion, insertion)


def area(shares: Floats, curves: Floats) -> Floats:
    """Return the area under each curve ``(*, points)`` over 0 … 1, by the trapezoidal
    rule.
    """
    return np.asarray(np.trapezoid(curves, shares))


# ---- infidelity and sensitivity ------------------------------------------------------
def infidelity(
    values: Floats, replaced: Booleans, changes: Floats, *, scaled: bool = False
) -> Floats:
    """Return E (Σ_S φ − (f(x) − f(x with S replaced)))² of each row, ``(rows,)``.

    Source: Yeh et al. 2019 (arXiv 1901.09392), definition 2.1, for perturbations that
    replace players S. φ is a player's contribution to the output. For slopes it is the
    slope times the input's difference.

    Args:
        values: attributions ``(rows, players)``, or ``(draws, rows, players)``.
        replaced: the replaced players, ``(draws, rows, players)``.
        changes: f(x) − f(x with S replaced), ``(draws, rows)``.
        scaled: first multiply values by the one number that fits all rows and draws
            best, for values in units other than the output's.
    """
    replaced_sums = (replaced * values).sum(axis=2)
    if scaled:
        squared_size = float((replaced_sums**2).sum())
        replaced_sums = replaced_sums * (
            float((replaced_sums * changes).sum()) / squared_size
            if squared_size > 0
            else 0.0
        )
    errors: Floats = ((replaced_sums - changes) ** 2).mean(axis=0)
    return errors


def max_sensitivity(values: Floats, moved: Floats) -> Floats:
    """Return max over draws of ‖φ(x′) − φ(x)‖ / ‖φ(x)‖ of each row, ``(rows,)``, NaN
    where φ(x) is 0.

    Source: Yeh et al. 2019 (arXiv 1901.09392), equation 3, relative to the size of the
    explanation.

    Args:
        values: ``(rows, players)``.
        moved: attributions of moved rows, ``(draws, rows, players)``.
    """
    value_norms = np.linalg.norm(values, axis=1)
    distance = np.linalg.norm(moved - values, axis=2).max(axis=0)
    return _ratio(distance, value_norms)


# ---- sparsity ------------------------------------------------------------------------
def gini(values: Floats) -> Floats:
    """Return the Gini index of the sizes of each row's attributions, ``(rows,)``: 0 all
    equal, near 1 only one.

    Source: Chalasani et al. 2020 (arXiv 1810.06583), section 3. NaN where all are 0.
    """
    sizes = np.sort(np.abs(values), axis=1)
    count = sizes.shape[1]
    total = sizes.sum(axis=1)
    weighted = ((2 * np.arange(1, count + 1) - count - 1) * sizes).sum(axis=1)
    return _ratio(weighted, count * total)


def entropy(values: Floats) -> Floats:
    """Return the entropy of the shares of each row's attributions, ``(rows,)``, in
    nats: 0 only one.

    Source: Bhatt, Weller & Moura 2020 (arXiv 2005.00631), "complexity". NaN where all
    are 0.
    """
    sizes = np.abs(values)
    total = sizes.sum(axis=1, keepdims=True)
    shares = np.divide(sizes, total, out=np.full(sizes.shape, np.nan), where=total > 0)
    terms = np.where(
        shares > 0, shares * np.log(np.where(shares > 0, shares, 1.0)), shares
    )
    result: Floats = -terms.sum(axis=1)
    return result


def _ratio(above: Floats, below: Floats) -> Floats:
    ratio: Floats = np.divide(
        above, below, out=np.full(below.shape, np.nan), where=below > 0
    )
    return ratio


# ---- randomised weights --------------------------------------------------------------
def draw_weights_anew(module: Any, seed: int) -> None:
    """Draw all weights of a torch module again, in place, as before any training.

    Parameters without a reset function get normal numbers with the parameter's mean and
    spread. Source: Adebayo et al. 2018 (arXiv 1810.03292).
    """
    import torch

    with forked_torch(seed), torch.no_grad():
        untouched = {id(parameter): parameter for parameter in module.parameters()}
        for submodule in module.modules():
            reset = getattr(submodule, "reset_parameters", None)
            if not callable(reset):
                reset = getattr(submodule, "_reset_parameters", None)
            if callable(reset):
                reset()
                for parameter in submodule.parameters(recurse=False):
                    untouched.pop(id(parameter), None)
        for parameter in untouched.values():
            if parameter.is_floating_point() and parameter.numel() > 1:
                parameter.normal_(float(parameter.mean()), float(parameter.std()))


def rank_agreement(first: Floats, second: Floats) -> Floats:
    """Return Spearman's correlation of the sizes of two explanations of each row,
    ``(rows,)``, NaN where constant.
    """
    return np.array(
        [
            spearman(np.abs(first_values), np.abs(second_values))
            for first_values, second_values in zip(first, second, strict=True)
        ]
    )


def moved_inputs(
    inputs: Any, rng: np.random.Generator, radius: float
) -> tuple[Any, int]:
    """Return inputs with real numbers moved by at most ``radius`` of their standard
    deviation, and how many moved.

    For tables it is each column's deviation. Integers, levels and words stay unchanged.
    """
    import torch

    if isinstance(inputs, Mapping):
        moved = {
            input_name: moved_inputs(input_values, rng, radius)
            for input_name, input_values in inputs.items()
        }
        return {
            input_name: input_values for input_name, (input_values, _) in moved.items()
        }, sum(count for _, count in moved.values())
    if isinstance(inputs, (tuple, list)):
        moved_parts = [
            moved_inputs(input_values, rng, radius) for input_values in inputs
        ]
        return type(inputs)(input_values for input_values, _ in moved_parts), sum(
            count for _, count in moved_parts
        )
    if isinstance(inputs, pd.DataFrame):
        table = inputs.copy()
        count = 0
        for column_index, column_dtype in enumerate(inputs.dtypes):
            if pd.api.types.is_float_dtype(column_dtype):
                column: Any = inputs.iloc[:, column_index]
                table.isetitem(
                    column_index,
                    column
                    + rng.uniform(-radius, radius, len(column)) * (column.std() or 0.0),
                )
                count += len(column)
        return table, count
    if isinstance(inputs, torch.Tensor) and inputs.is_floating_point():
        numbers, count = moved_inputs(
            inputs.detach().double().cpu().numpy(), rng, radius
        )
        return torch.as_tensor(numbers, dtype=inputs.dtype, device=inputs.device), count
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind == "f":
        scale = (
            np.nanstd(inputs, axis=0 if inputs.ndim == 2 else None)
            if inputs.size
            else 0.0
        )
        return (inputs + rng.uniform(-radius, radius, inputs.shape) * scale).astype(
            inputs.dtype
        ), inputs.size
    return inputs, 0
