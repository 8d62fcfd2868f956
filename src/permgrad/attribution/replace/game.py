"""The replacement game: plays over rows and donors, what is measured of the answers, and sums of the effects.

A *game* is ``predictions(coalition)``, then ``value(predictions)``. Predictions come from a *back end*: the replacement
engine of hybrid networks (``engine``), or the network itself on blended rows (``Blend``), whose branches run once.
Donors are counter-based, so that nothing depends on how the work is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.replace.coalitions import Blend
from permgrad.attribution.replace.engine import Replacement
from permgrad.attribution.replace.moments import PairMoments
from permgrad.attribution.replace.plays import Effects, Floats, Integers, Play, Value
from permgrad.base.progress import Progress

#: Takes the effects of one player's pairs: player, rows and donors ``(b,)``, effects ``(b, quantities, V)``.
Collector = Callable[[str, Integers, Integers, Floats], None]


def loss_value(request: Request) -> Value:
    """Return what measures each row's loss ``(rows, 1)``; without y the divergence from the model's own prediction."""
    subject, y = request.subject, request.y
    if y is None:
        return lambda outputs, _rows, base: subject.divergence_rows(outputs, base)[:, None]
    return lambda outputs, rows, _base: subject.loss_rows(outputs, y[rows], request.loss)[:, None]


def readout_value(request: Request) -> Value:
    """Return what measures minus the outputs: an effect is then what the row's own value adds to them."""

    def minus(outputs: Tensor, rows: slice | Integers, base: Tensor) -> Floats:  # noqa: ARG001 — as for any value
        read = request.subject.readout(outputs, request.output)[:, list(request.targets)]
        numbers: Floats = read.double().cpu().numpy()
        return -numbers

    return minus


class Game:
    """A replacement game over the rows of one call; ``fixed`` replaces in the place of donors, ``(1, *)`` per input.

    A back end answers plays (``answers``) for blocks of rows, says how many ``donors`` there are and whether they are
    the rows explained (``shared``), and how far rounding moves its outputs (``noise``).
    """

    def __init__(self, request: Request, value: Value, fixed: Sequence[Tensor] | None = None) -> None:
        self.request, self.value = request, value
        self.engine = Replacement(request, fixed) if request.subject.paths else None
        self.back_end: Replacement | Blend = self.engine or Blend(request, fixed)
        self._pairs = 0

    @property
    def model_rows(self) -> int:
        """Rows of the network evaluated so far."""
        return self._pairs if self.back_end.evaluations is None else self.back_end.evaluations

    def outputs(self, span: slice | None = None) -> Tensor:
        """Return the network's own outputs for the rows explained, or those of a span, ``(rows, K)``."""
        with self.request.subject.open(), self.back_end.mode():
            return self.back_end.checked(span)

    def moments(self, classes: Integers | None, class_count: int, quantities: int) -> MomentCollector:
        """Return what keeps the sums over the pairs of this game, given the class of each row."""
        sizes = (self.request.count, self.back_end.donors, self.back_end.shared, class_count, quantities)
        return MomentCollector(sizes, classes, self.request.sample_weight)

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
                    unchanged = self.back_end.unchanged(rows)
                    base = self.value(unchanged, rows, unchanged)

                def one(play: Play, rows: slice = rows, base: Floats = base) -> None:
                    with self.back_end.mode():
                        measure = Effects(play, self.value, base, rows.start, self.back_end.noise())
                        for numbers, donors, effects in self.back_end.answers(play, repeats, rows, measure):
                            for name, name_effects in zip(play.names, effects, strict=True):
                                collect(name, numbers, donors, name_effects)
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

    sizes: tuple[int, int, bool, int, int]  # of each ``PairMoments``
    classes: Integers | None = None  # of the rows explained
    weights: Floats | None = None
    moments: dict[str, PairMoments] = field(default_factory=dict)

    def __call__(self, player: str, rows: Integers, donors: Integers, effects: Floats) -> None:
        """Add the pairs of one batch."""
        if player not in self.moments:
            self.moments[player] = PairMoments(*self.sizes)
        classes = None if self.classes is None else self.classes[rows]
        weights = None if self.weights is None else self.weights[rows]
        self.moments[player].add(rows, donors, effects[:, :, 0], classes=classes, weights=weights)
