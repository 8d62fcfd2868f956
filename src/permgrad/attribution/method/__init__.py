"""The protocol of an attribution method, and the registry in which methods are found.

A new method is one file: a class with the attributes below, decorated with ``@methods.register("name")``, and one
import in ``permgrad/attribution/__init__.py``. The shared tests pick it up from the registry.
"""

from __future__ import annotations

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

Scope = Literal["global", "local"]


@dataclass(frozen=True)
class Request:
    """One call of ``pg.explain`` after every argument has been checked and resolved.

    Attributes:
        subject: the model being explained.
        inputs: the rows explained, one tensor per input of the network, rows first; never to be changed.
        donors: background rows in the same form; ``inputs`` itself where the rows explained are their own background: a
            row in both roles counts once in a standard error.
        space: who may be replaced.
        background_kind: what ``meta["background"]["kind"]`` says.
        raw: the rows as the user gave them, for reading values; None where there is no table with an encoder.
        y: the target as class index, or in float64 and its own units (regression), ``(rows,)``; None if not given.
        targets: indexes of the outputs asked for.
        shapes: how each input of a network is read as an image or a volume; None: it is neither.
        scoring: scorers as the user gave them; None: a loss is explained.
        row_offset: number of the first row where the rows are a part of a longer table.
        engine: plays a loss game in parts, as ``play_losses`` does; None: it is played here, in one piece.
        positive: name of the positive one of two classes; None where there are not two.
        kept: where what is fitted on the background waits for the next rows of a longer table; None: nothing is kept.
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
    kept: dict[str, Any] | None = None

    @property
    def count(self) -> int:
        """Number of rows explained."""
        return len(self.inputs[0])

    @property
    def shared(self) -> bool:
        """Whether the background is the rows explained."""
        return self.donors is self.inputs

    @property
    def groups(self) -> dict[str, list[str]]:
        """The members of each declared group."""
        return self.space.groups

    # ---- where the network's only input is one table -----------------------------------------------------------------

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


def refuse_conditional(request: Request, name: str) -> None:
    """Refuse ``sampling="conditional"`` for a method that draws no replacement values.

    Raises:
        InputError: It was asked for.
    """
    if request.sampling != "marginal":
        raise InputError(
            f"{name} draws no values that could fit the rest of a row, however: sampling={request.sampling!r}; leave "
            "sampling out, or choose method='permgrad' or 'permutation'"
        )


class Method(Protocol):
    """What a registered method offers.

    ``options`` are the method's own keyword arguments with their defaults; ``scopes`` the scopes it can give, its
    default first.
    """

    scopes: ClassVar[tuple[Scope, ...]]
    options: ClassVar[Mapping[str, Any]]

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        ...


methods: Registry[type[Method]] = Registry("method")


@runtime_checkable
class LossGame(Protocol):
    """What a method offers beside, if its global importance is one game over (row, donor) pairs.

    Its sums then merge, so that it explains tables in parts (``streaming``).
    """

    @staticmethod
    def game(request: Request) -> tuple[Request, Plays]:
        """Return the request as it is played, and what is played."""
        ...


def loss_games() -> list[str]:
    """Return the names of the methods whose global importance is a loss game."""
    return [name for name in methods if loss_game(name) is not None]


def loss_game(name: str) -> LossGame | None:
    """Return the method as the loss game that it plays; None where its global importance is none."""
    found = methods.get(name)
    return found if isinstance(found, LossGame) else None
