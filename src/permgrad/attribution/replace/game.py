"""The replacement game: plays over rows and donors, what is measured of the answers, and sums of the effects.

A *game* is ``predictions(coalition)``, then ``value(predictions)``. Predictions come from a *back end*: the replacement
engine of hybrid networks (``engine``), or the network itself on blended rows (``blend``), whose branches run once.
Donors are counter-based, so that nothing depends on how the work is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.replace.blend import Blend
from permgrad.attribution.replace.engine import Replacement
from permgrad.attribution.replace.moments import PairMoments
from permgrad.attribution.replace.plays import Play
from permgrad.attribution.replace.rounding import settle
from permgrad.attribution.subject.subject import Subject
from permgrad.base.progress import Progress

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: Numbers of outputs that are measured together.
_MEASURED = 2**22


class Value(Protocol):
    """Measures predictions: ``(outputs (b, K), rows, base outputs (b, K)) -> (b, V)`` float64."""

    @property
    def width(self) -> int:
        """V: how many numbers it gives for each row."""
        ...

    def __call__(self, outputs: Tensor, rows: slice | Integers, base: Tensor) -> Floats:
        """Return V numbers for each row."""
        ...


@dataclass(frozen=True)
class LossValue:
    """The loss of each row against the truth; without y how far the prediction moves from the model's own."""

    request: Request
    width: int = 1

    def __call__(self, outputs: Tensor, rows: slice | Integers, base: Tensor) -> Floats:
        """Return the losses, ``(rows, 1)``."""
        subject, y = self.request.subject, self.request.y
        if y is None:
            return subject.divergence_rows(outputs, base)[:, None]
        return subject.loss_rows(outputs, y[rows], subject.resolve_loss(self.request.loss))[:, None]


@dataclass(frozen=True)
class ReadoutValue:
    """The output itself, with its sign turned: an effect is then what the row's own value adds to the output."""

    subject: Subject
    output: str
    targets: tuple[int, ...]

    @property
    def width(self) -> int:
        """Number of outputs explained."""
        return len(self.targets)

    def __call__(self, outputs: Tensor, rows: slice | Integers, base: Tensor) -> Floats:  # noqa: ARG002 — part of the protocol
        """Return minus the outputs, ``(rows, targets)``."""
        values: Floats = self.subject.readout(outputs, self.output)[:, list(self.targets)].double().cpu().numpy()
        return -values


class BackEnd(Protocol):
    """Answers plays: predicts rows explained in which players come from donors."""

    donors: int  # number of background rows, or of rows explained where nothing is drawn
    shared: bool  # whether a row can be receiver and donor
    workers: int  # threads over plays

    @property
    def evaluations(self) -> int | None:
        """Rows of the network evaluated so far; None: one for each coalition of a pair."""
        ...

    @property
    def noise(self) -> float | None:
        """How far rounding moves outputs; None: as for outputs around 1."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What was found out about the players, for ``meta``."""
        ...

    def mode(self) -> AbstractContextManager[Any]:
        """Return the context in which no gradient is followed."""
        ...

    def outputs(self, span: slice | None = None) -> Tensor:
        """Return the outputs of rows explained ``(rows, K)``, after the background has been looked at."""
        ...

    def blocks(self, span: slice | None = None) -> list[slice]:
        """Return the rows explained, or those of a span, in blocks that fit in memory."""
        ...

    def base(self, rows: slice) -> Tensor:
        """Return the outputs of one block, and get ready for playing it."""
        ...

    def answers(
        self, play: Play, repeats: Sequence[int], rows: slice, measure: Effects
    ) -> Iterator[tuple[Integers, Integers, Floats]]:
        """Yield rows ``(b,)``, their donors and effects ``(names, b, quantities, V)``, repeat by repeat."""
        ...


@dataclass(frozen=True)
class Effects:
    """Turns the outputs of one play into effects."""

    play: Play  # what is played
    value: Value  # what is measured
    base: Floats  # measured of the rows of a block as they are ``(rows, V)``
    start: int  # the block's first row
    noise: float | None  # as in ``BackEnd``

    def __call__(self, outputs: Sequence[Tensor], unchanged: Tensor, rows: Integers) -> Floats:
        """Return effects ``(names, b, quantities, V)``."""
        settled = [settle(one, unchanged, self.noise) for one in outputs]
        for place, smaller in enumerate(self.play.within):
            # A path that the head does not read thereby adds exactly 0 to a coalition, as it does alone.
            for other in smaller:
                settled[place] = settle(settled[place], settled[other], self.noise)
        changes = np.empty((len(rows), len(settled), self.value.width))
        together = max(1, _MEASURED // max(unchanged.numel(), 1))
        for first in range(0, len(settled), together):
            some = settled[first : first + together]
            measured = self.value(torch.cat(some), np.tile(rows, len(some)), unchanged.repeat(len(some), 1))
            changes[:, first : first + together] = measured.reshape(len(some), len(rows), -1).swapaxes(0, 1)
        changes -= self.base[rows - self.start][:, None]
        effects: Floats = np.einsum("jqs,bsv->jbqv", self.play.combine, changes)
        for mine, steps in zip(effects, self.play.steps, strict=False):
            mine[self._unmoved(outputs, unchanged, steps)] = 0.0
        return effects

    def nothing(self, count: int) -> Floats:
        """Return effects of 0, ``(names, count, quantities, V)``."""
        names, quantities, _ = self.play.combine.shape
        return np.zeros((names, count, quantities, self.value.width))

    def _unmoved(self, outputs: Sequence[Tensor], unchanged: Tensor, steps: Integers) -> npt.NDArray[np.bool_]:
        """Return the rows whose output no step changes by more than rounding, ``(b,)``."""
        unmoved = np.ones(len(unchanged), dtype=bool)
        for taken, before in steps.tolist():
            left = unchanged if before < 0 else outputs[before]
            unmoved &= (settle(outputs[taken], left, noise=self.noise) == left).all(dim=1).cpu().numpy()
            if not unmoved.any():
                break
        return unmoved


class Collector(Protocol):
    """Takes the effects of one player's pairs: rows, donors ``(b,)`` and effects ``(b, quantities, V)``."""

    def __call__(self, player: str, rows: Integers, donors: Integers, effects: Floats) -> None:
        """Add the pairs."""
        ...


class Game:
    """A replacement game over the rows of one call."""

    def __init__(self, request: Request, value: Value, fixed: Sequence[Tensor] | None = None) -> None:
        self.request = request
        self.value = value
        self.engine = Replacement(request, fixed) if request.subject.paths else None
        self.back_end: BackEnd = self.engine or Blend(request, fixed)
        self._pairs = 0

    @property
    def model_rows(self) -> int:
        """Rows of the network evaluated so far."""
        return self._pairs if self.back_end.evaluations is None else self.back_end.evaluations

    def outputs(self, span: slice | None = None) -> Tensor:
        """Return the network's own outputs for the rows explained, or those of a span, ``(rows, K)``."""
        with self.request.subject.open(), self.back_end.mode():
            return self.back_end.outputs(span)

    def play(
        self,
        plays: Iterable[Play],
        repeats: Sequence[int],
        collect: Collector,
        progress: Progress,
        span: slice | None = None,
    ) -> None:
        """Play repeats over all rows, or those of a span."""
        plays = list(plays)
        with self.request.subject.open():
            for rows in self.back_end.blocks(span):
                with self.back_end.mode():
                    unchanged = self.back_end.base(rows)
                    base = self.value(unchanged, rows, unchanged)

                def one(play: Play, rows: slice = rows, base: Floats = base) -> None:
                    with self.back_end.mode():
                        measure = Effects(play, self.value, base, rows.start, self.back_end.noise)
                        for numbers, donors, effects in self.back_end.answers(play, repeats, rows, measure):
                            for name, mine in zip(play.names, effects, strict=True):
                                collect(name, numbers, donors, mine)
                            progress.advance(len(numbers))

                run_all([partial(one, play) for play in plays], self.back_end.workers)
                self._pairs += len(repeats) * (rows.stop - rows.start) * sum(len(play.mask) for play in plays)


def run_all(tasks: Sequence[Callable[[], None]], workers: int) -> None:
    """Run tasks, one after the other or in a few threads."""
    if workers <= 1:
        for task in tasks:
            task()
        return
    with ThreadPoolExecutor(workers) as pool:
        # What was said in the caller's work is not said again in a thread; a copy each, since one is entered once.
        for _ in pool.map(lambda task, context: context.run(task), tasks, [copy_context() for _ in tasks]):
            pass


@dataclass
class MomentCollector:
    """Keeps ``PairMoments`` per player, for global importance."""

    receivers: int
    donors: int
    shared: bool
    classes: npt.NDArray[np.int64] | None
    class_count: int
    quantities: int
    weights: Floats | None = None
    moments: dict[str, PairMoments] = field(default_factory=dict)

    def __call__(self, player: str, rows: Integers, donors: Integers, effects: Floats) -> None:
        """Add the pairs of one batch."""
        if player not in self.moments:
            sizes = (self.receivers, self.donors, self.shared, self.class_count, self.quantities)
            self.moments[player] = PairMoments(*sizes)
        self.moments[player].add(
            rows,
            donors,
            effects[:, :, 0],
            classes=None if self.classes is None else self.classes[rows],
            weights=None if self.weights is None else self.weights[rows],
        )


def doubling_rounds(total: int) -> Iterator[range]:
    """Yield repeats in rounds of growing size: 0–1, 2–3, 4–7, 8–15 … up to ``total``."""
    done, size = 0, 2
    while done < total:
        stop = min(total, done + size)
        yield range(done, stop)
        size = max(2, stop)
        done = stop
