"""The protocol of an attribution method, what it is called with, and the registry in which methods are found."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.replace.donors import RowNumbers
from permgrad.attribution.subject.subject import Subject
from permgrad.base.errors import InputError
from permgrad.base.registry import Registry

if TYPE_CHECKING:
    from permgrad.attribution.players.segments import ImageShape
    from permgrad.attribution.replace.plays import Plays
    from permgrad.attribution.subject.row_target import RowTarget

Scope = Literal["global", "local"]


@dataclass(frozen=True)
class Request:
    """One call of ``pg.explain`` after every argument has been checked and resolved already.

    ``inputs`` are the rows explained, one tensor per input of the network, rows first, never to be changed; ``donors``
    the background in the same form, ``inputs`` itself where the rows explained are their own background. ``raw`` are
    the rows as the user gave them, None where no table has an encoder; ``y`` class indexes, or float64 in its own
    units. ``shapes`` say how inputs are read as images or volumes. ``engine`` plays a loss game in parts, as
    ``play_losses`` does; ``kept`` is where what is fitted on the background waits for the next rows of a longer table,
    the first of which is ``row_offset``.
    """

    subject: Subject
    inputs: tuple[Tensor, ...]
    donors: tuple[Tensor, ...]
    space: PlayerSpace
    background_kind: str
    scope: Scope
    targets: tuple[int, ...]
    y: npt.NDArray[Any] | None = None
    raw: pd.DataFrame | None = None
    shapes: tuple[ImageShape | None, ...] = ()
    output: Literal["logit", "probability"] = "logit"
    level: str = "feature"
    sampling: Literal["marginal", "conditional"] = "marginal"
    loss: str = "auto"
    scoring: Any = None
    sample_weight: npt.NDArray[np.float64] | None = None
    confidence: float = 0.95
    n_repeats: int = 10
    batch_size: int | Literal["auto"] = "auto"
    seed: int = 0
    progress: Any = "auto"
    row_offset: int | RowNumbers = 0
    options: dict[str, Any] = field(default_factory=dict)
    engine: Any = None
    positive: str | None = None
    row_target: RowTarget | None = None
    kept: dict[str, Any] | None = None
    started: float = field(default_factory=time.perf_counter)

    @property
    def count(self) -> int:
        """Number of rows explained."""
        return len(self.inputs[0])

    @property
    def shared(self) -> bool:
        """Whether the background is the rows explained."""
        return self.donors is self.inputs

    @cached_property
    def encoded(self) -> npt.NDArray[np.float32]:
        """The rows explained as the network sees them, ``(rows, encoded)``."""
        encoded: npt.NDArray[np.float32] = self.inputs[0].detach().cpu().numpy()
        return encoded

    @cached_property
    def background(self) -> npt.NDArray[np.float32] | None:
        """The background's rows alike, ``(donors, encoded)``; None if it is the rows explained."""
        return None if self.shared else self.donors[0].detach().cpu().numpy()

    @cached_property
    def players(self) -> dict[str, npt.NDArray[np.intp]]:
        """The encoded columns of each player."""
        return self.space.columns()


def refuse_conditional(
    request: Request,
    name: str,
    does: str = "draws no values that could fit the rest of a row",
    fix: str = "leave sampling out, or choose method='permgrad' or 'permutation'",
) -> None:
    """Refuse ``sampling="conditional"`` for a method that draws no such values."""
    if request.sampling != "marginal":
        raise InputError(f"{name} {does}, however: sampling={request.sampling!r}; {fix}")


class Method(Protocol):
    """What a registered method offers: its options with their defaults, and its scopes, the default first."""

    scopes: ClassVar[tuple[Scope, ...]]
    options: ClassVar[Mapping[str, Any]]

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        ...


methods: Registry[type[Method]] = Registry("method")


@runtime_checkable
class LossGame(Protocol):
    """What a method offers beside, if its global importance is one game over (row, donor) pairs, whose sums merge."""

    @staticmethod
    def game(request: Request) -> tuple[Request, Plays]:
        """Return the request as it is played, and what is played."""
        ...


def loss_games() -> list[str]:
    """Return the names of the methods whose global importance is a loss game."""
    return [name for name in methods if loss_game(name) is not None]


def loss_game(name: str) -> LossGame | None:
    """Return the method as the loss game that it plays; None where its global importance is none."""
    method = methods.get(name)
    return method if isinstance(method, LossGame) else None
