"""``ReadRows``: what readers of networks, estimators and other predictors return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.request.arguments import RowsToCompare
from permgrad.attribution.request.method_call import MethodCall
from permgrad.attribution.subject.subject_rows import SubjectRows
from permgrad.base.arrays import Integers
from permgrad.base.late import pd
from permgrad.models.estimators.kept_rows import PASSED_ROWS


class PassedBackground(NamedTuple):
    """The user's ``background=``.

    Attributes:
        rows: Its rows as they were passed, or None.
        kind: The value of ``meta["background"]["kind"]``.
        drawn_from: Of how many rows they were chosen, 0 where that is not known.
    """

    rows: Any
    kind: str
    drawn_from: int


class Background(NamedTuple):
    """The rows that those explained are compared with.

    Attributes:
        donors: ``(donors, *)`` for each input, or the rows explained themselves.
        kind: The value of ``meta["background"]["kind"]``.
        drawn_from: Of how many rows they were drawn, 0 where that is not known.
        compared: The positions of rows that the model keeps to compare single rows
            with, ``(donors,)``. None: it keeps none.
    """

    donors: tuple[Tensor, ...]
    kind: str
    drawn_from: int = 0
    compared: Integers | None = None


@dataclass(frozen=True)
class ReadRows:
    """A model, its rows and its features, as a call asks for them.

    Attributes:
        explained: The model with its rows and features.
        background: What the rows are compared with, as it was read.
        as_one: The columns of each feature that stands for several.
        raw: The user's rows. None: no table.
    """

    explained: SubjectRows
    background: Background
    as_one: Mapping[str, list[str]] = field(default_factory=dict)
    raw: pd.DataFrame | None = None


def passed_background(call: MethodCall) -> PassedBackground:
    """Return the background of a call, with what its rows are called."""
    background = call.arguments.background
    if background is None:
        return PassedBackground(None, "rows explained", 0)
    if isinstance(background, RowsToCompare):
        drawn_from = background.drawn_from or 0
        return PassedBackground(background.rows, background.kind, drawn_from)
    return PassedBackground(background, PASSED_ROWS, 0)


def donors_for(
    inputs: tuple[Tensor, ...], donors: tuple[Tensor, ...], call: MethodCall
) -> tuple[Tensor, ...]:
    """Return ``inputs`` itself where the background equals it, else the background.

    One part of a longer table keeps its background: it draws the same donors as in a
    call with all rows.
    """
    is_same = len(inputs[0]) > 1 and all(
        a.shape == b.shape
        and a.dtype == b.dtype
        and bool(torch.equal(a, b.to(a.device)))
        for a, b in zip(donors, inputs, strict=True)
    )
    is_part = call.arguments.row_offset is not None
    if is_same and not call.scope.by_row and not is_part:
        return inputs
    return donors


def at_level(space: PlayerSpace, call: MethodCall) -> PlayerSpace:
    """Return the players of the requested level, in the blocks that a method asks
    for.
    """
    blocks = call.options.get("blocks")
    if isinstance(blocks, Mapping):
        return space.in_blocks(blocks)
    if call.arguments.level.of_modalities:
        return space.modalities()
    if call.arguments.level.of_groups:
        return space.grouped(call.arguments.groups)
    return space
