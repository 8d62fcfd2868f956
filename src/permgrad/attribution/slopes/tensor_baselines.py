"""What rows are compared with, as tensors: baselines for any network, and for hybrid ones as before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.slopes.baselines import BASELINES, baseline_rows
from permgrad.base.errors import InputError, unknown
from permgrad.base.random import generator

#: Rows and numbers that a mean or a median is taken over, at most: enough for either, and bounded in memory.
_SUMMARISED_ROWS, _SUMMARISED_NUMBERS = 10_000, 20_000_000


@dataclass(frozen=True)
class TensorBaseline:
    """What the explained rows are compared with, on average over its rows.

    Attributes:
        rows: one tensor per input, ``(baselines, *shape)``.
        name: as it was asked for.
        words: what it is, fit to be shown beside a plot.
    """

    rows: tuple[Tensor, ...]
    name: str
    words: str

    def __len__(self) -> int:
        """Return the number of baseline rows."""
        return len(self.rows[0])


def tensor_baseline(request: Request, given: Any, references: int, reference_class: Any = None) -> TensorBaseline:
    """Return the rows that the explained rows are compared with.

    Args:
        request: the call.
        given: ``"auto"``: the median of the background, or zeros where no background was given, so that a row's values
            do not depend on which others are explained with it; ``"zeros"``; ``"mean"``; ``"median"``: at each position
            the median, of whole numbers the most frequent one; ``"background"``: up to ``references`` background rows
            (expected gradients); or rows in the form of the inputs.
        references: how many background rows.
        reference_class: for hybrid networks, see ``baselines``.

    Raises:
        InputError: an unknown name, or rows of another form.
    """
    if request.subject.kind == "hybrid":
        name = "median" if isinstance(given, str) and given == "auto" else given
        found = baseline_rows(request, name, references, reference_class)
        return TensorBaseline((torch.as_tensor(found.rows),), found.name, found.words)
    if reference_class is not None or (isinstance(given, str) and given.startswith("class:")):
        raise InputError(
            "a reference class is chosen among the training rows that a permgrad estimator keeps, however: model is a "
            "torch network; pass baseline= with rows of that class instead"
        )
    if isinstance(given, str) and given == "auto":
        given = "zeros" if request.shared else "median"
    if not isinstance(given, str):
        return _given(request, given)
    if given not in BASELINES:
        raise unknown("baseline", given, ("auto", *BASELINES, "rows in the form of the inputs"))
    if given == "zeros":
        rows = tuple(torch.zeros_like(tensor[:1]) for tensor in request.inputs)
        return TensorBaseline(rows, given, "every input at 0")
    where = "rows explained" if request.shared else "background rows"
    known = len(request.donors[0])
    if given == "background":
        chosen = _some(request, references)
        few = f"{len(chosen):,} of {known:,}" if len(chosen) < known else f"{known:,}"
        rows = tuple(tensor[chosen.to(tensor.device)].clone() for tensor in request.donors)
        return TensorBaseline(rows, given, f"average over {few} {where} (expected gradients)")
    widest = max(tensor[:1].numel() for tensor in request.donors)
    chosen = _some(request, max(50, min(_SUMMARISED_ROWS, _SUMMARISED_NUMBERS // max(widest, 1))))
    summarise = _mean if given == "mean" else typical_row
    rows = tuple(summarise(tensor[chosen.to(tensor.device)]) for tensor in request.donors)
    return TensorBaseline(rows, given, f"{given} of each input over {len(chosen):,} {where}")


def _given(request: Request, given: Any) -> TensorBaseline:
    rows = request.subject.read(given)
    words = "a row given by the user" if len(rows[0]) == 1 else f"average over {len(rows[0]):,} rows given by the user"
    return TensorBaseline(rows, "given", words)


def _some(request: Request, most: int) -> Tensor:
    """Return the numbers of at most ``most`` background rows, in order."""
    known = len(request.donors[0])
    if known <= most:
        return torch.arange(known)
    return torch.as_tensor(generator(request.seed, "baseline references").permutation(known)[:most]).sort().values


def _mean(rows: Tensor) -> Tensor:
    """Return the mean of real numbers; half a level or half a word is none, so of whole numbers the most frequent."""
    if not rows.is_floating_point():
        return _most_frequent(rows)[None]
    return rows.double().mean(dim=0, keepdim=True).to(rows.dtype)


def typical_row(rows: Tensor) -> Tensor:
    """Return the median of real numbers, the most frequent value of whole ones, position by position.

    Of an even number of rows the median is the mean of the two in the middle; where one is no number, neither is it.

    Shape:
        rows ``(n, *)``; result ``(1, *)`` of the same type.

    Examples:
        >>> typical_row(torch.tensor([[1, 5], [1, 7], [2, 7]])).tolist()
        [[1, 7]]
        >>> typical_row(torch.tensor([1.0, 9.0, 4.0, 2.0])).tolist()
        [3.0]
    """
    if not rows.is_floating_point():
        return _most_frequent(rows)[None]
    ordered = rows.double().sort(dim=0).values  # what is no number comes last
    low, high, last = ordered[(len(rows) - 1) // 2], ordered[len(rows) // 2], ordered[-1]
    middle = torch.where(low == high, low, low / 2 + high / 2)
    return torch.where(last.isnan(), last, middle).to(rows.dtype)[None]


def _most_frequent(rows: Tensor) -> Tensor:
    if rows.dtype is torch.bool:
        return rows.byte().mode(dim=0).values.bool()
    return rows.mode(dim=0).values
