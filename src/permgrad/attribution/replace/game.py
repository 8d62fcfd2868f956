"""The replacement game: plays over rows and donors, what is measured of the answers, and tables of the effects' sums.

A *game* is ``predictions(coalition)``, then ``value(predictions)``. Predictions come from a *back end*: the replacement
engine of hybrid networks (``engine``), or the network itself on blended rows (``Blend``), whose branches run once.
Donors are counter-based, so that nothing depends on how the work is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.replace.coalitions import Blend
from permgrad.attribution.replace.engine import Replacement
from permgrad.attribution.replace.moments import Estimable, PairMoments, estimated
from permgrad.attribution.replace.plays import Effects, Floats, Integers, Play, Plays, Value
from permgrad.base.progress import Progress

#: Options of every game; ``tolerance`` is a half-width of the interval, as a share of the loss scale.
GAME_OPTIONS: dict[str, Any] = {"tolerance": None, "incremental": True, "workers": 1}

#: Takes the effects of one player's pairs: player, rows and donors ``(b,)``, effects ``(b, quantities, V)``.
Collector = Callable[[str, Integers, Integers, Floats], None]


# ---- what is measured ------------------------------------------------------------------------------------------------


def loss_value(request: Request) -> Value:
    """Return what measures each row's loss ``(rows, 1)``; without y the divergence from the model's own prediction."""
    subject, y = request.subject, request.y
    if y is None:
        return lambda outputs, _rows, base: subject.divergence_rows(outputs, base)[:, None]
    return lambda outputs, rows, _base: subject.loss_rows(outputs, y[rows], request.loss)[:, None]


def receiver_classes(request: Request, outputs: Tensor) -> tuple[npt.NDArray[np.int64] | None, int]:
    """Return each row's class, true where y is given, else predicted from raw outputs; None for regression."""
    subject = request.subject
    if subject.task == "regression":
        return None, 1
    if request.y is not None:
        return np.asarray(request.y, dtype=np.int64), len(subject.class_names)
    readout = subject.readout(outputs.float().cpu(), "logit").numpy()
    # A single column stands for the second of two classes.
    predicted = readout[:, 0] > 0 if readout.shape[1] == 1 else readout.argmax(axis=1)
    return predicted.astype(np.int64), len(subject.class_names)


def loss_scale(request: Request) -> float:
    """Return the mean loss of the constant predictor, the natural size of an importance; NaN without y.

    The entropy of the classes for cross entropy, the variance of y for squared error (the mean over the outputs whose
    losses are averaged); for other losses that of the best constant among the model's own mean prediction.
    """
    y, weights = request.y, request.sample_weight
    if y is None:
        return float("nan")
    loss = request.loss
    if loss not in ("squared_error", "absolute_error"):
        counts = np.bincount(np.asarray(y, dtype=np.int64), weights=weights)
        return scale_of_shares(counts / counts.sum(), loss)
    columns = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
    columns = columns[:, list(request.subject.loss_columns) or slice(None)]
    if loss == "squared_error":
        errors = (columns - np.average(columns, axis=0, weights=weights)) ** 2
    else:
        errors = np.abs(columns - [weighted_median(column, weights) for column in columns.T])
    return float(np.average(errors, axis=0, weights=weights).mean())


def weighted_median(values: Floats, weights: Floats | None) -> float:
    """Return the number of least weighted absolute distance to ``(rows,)`` values; the mean of the ends of several."""
    if weights is None:
        return float(np.median(values))
    low, high = (sign * np.quantile(sign * values, 0.5, weights=weights, method="inverted_cdf") for sign in (1, -1))
    return float((low + high) / 2)


def scale_of_shares(shares: Floats, loss: str) -> float:
    """Return the mean loss of the constant predictor for classes of these shares, ``(classes,)``."""
    shares = shares[shares > 0]
    if loss == "cross_entropy":
        return float(-(shares * np.log(shares)).sum())
    return float(1 - (shares**2).sum()) if loss == "brier" else float(1 - shares.max())


# ---- playing ---------------------------------------------------------------------------------------------------------


class Game:
    """A replacement game over the rows of one call; ``fixed`` replaces in the place of donors, ``(1, *)`` per input.

    A back end answers plays (``answers``) for blocks of rows, says how many ``donors`` there are and whether they are
    the rows explained (``shared``), and how far rounding moves its outputs (``noise``). ``joint``: plays replace
    several players, which the engine does not answer.
    """

    def __init__(
        self, request: Request, value: Value, fixed: Sequence[Tensor] | None = None, *, joint: bool = False
    ) -> None:
        self.request, self.value = request, value
        self.engine = Replacement(request, fixed) if request.subject.paths and not joint else None
        self.back_end: Replacement | Blend = self.engine or Blend(request, fixed)
        self.pairs = 0  # that were predicted so far

    def outputs(self, span: slice | None = None) -> Tensor:
        """Return the network's own outputs for the rows explained, or those of a span, ``(rows, K)``."""
        with self.request.subject.open(), self.back_end.mode():
            return self.back_end.checked(span)

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
                        measure = Effects(play, self.value, base, rows.start, self.back_end.noise)
                        for numbers, donors, effects in self.back_end.answers(play, repeats, rows, measure):
                            for name, name_effects in zip(play.names, effects, strict=True):
                                collect(name, numbers, donors, name_effects)
                            progress.advance(len(numbers))

                run_all([partial(one, play) for play in plays], self.back_end.workers)
                self.pairs += len(repeats) * (rows.stop - rows.start) * sum(len(play.mask) for play in plays)


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


class MomentCollector:
    """Keeps ``PairMoments`` per player of a game, for global importance; ``classes`` are those of all rows."""

    def __init__(self, game: Game, classes: Integers | None, class_count: int, quantities: int) -> None:
        back_end, request = game.back_end, game.request
        self.sizes = (request.count, back_end.donors, back_end.shared, class_count, quantities)
        self.classes, self.weights = classes, request.sample_weight
        self.moments: dict[str, PairMoments] = {}

    def __call__(self, player: str, rows: Integers, donors: Integers, effects: Floats) -> None:
        """Add the pairs of one batch."""
        if player not in self.moments:
            self.moments[player] = PairMoments(*self.sizes)
        classes = None if self.classes is None else self.classes[rows]
        weights = None if self.weights is None else self.weights[rows]
        self.moments[player].add(rows, donors, effects[:, :, 0], classes=classes, weights=weights)


@dataclass(frozen=True)
class Played:
    """A loss game that was played: the sums it left, and what is needed to read them."""

    moments: dict[str, PairMoments]
    game: Game
    outputs: tuple[str, ...]  # all rows, then the rows of each class
    repeats: dict[str, int]
    model_rows: int


def play_losses(request: Request, plays: Plays, label: str) -> Played:
    """Play the loss game (without y: the divergence) for all players and keep the sums over its pairs.

    With a tolerance repeats are played in rounds 0–1, 2–3, 4–7, 8–15 … until every interval is narrow enough. Only
    widths decide, never the size or the sign of an effect, so that intervals keep their coverage.
    """
    if request.engine is not None:
        played: Played = request.engine(request, plays, label)
        return played
    tolerance = request.options.get("tolerance")
    game = Game(request, loss_value(request), plays.fixed)
    collector = MomentCollector(game, *receiver_classes(request, game.outputs()), len(plays.names))
    wanted = None if tolerance is None else float(tolerance) * loss_scale(request)

    def is_narrow(play: Play) -> bool:
        tables = [estimated(collector.moments[name], request.confidence) for name in play.names]
        return all((high[0] - low[0]) / 2 <= wanted for _, _, low, high, _ in tables)

    repeats = dict.fromkeys(request.space.names, 0)
    waiting, done = list(plays.plays), 0
    with Progress(len(waiting) * request.n_repeats * request.count, label, request.progress) as progress:
        while waiting and done < request.n_repeats:
            stop = request.n_repeats if wanted is None else min(request.n_repeats, max(2, 2 * done))
            game.play(waiting, range(done, stop), collector, progress)
            done = stop
            repeats |= {name: done for play in waiting for name in play.names}
            waiting = waiting if wanted is None else [play for play in waiting if not is_narrow(play)]
    model_rows = game.pairs if game.back_end.evaluations is None else game.back_end.evaluations
    outputs = ("all", *request.subject.class_names)
    return Played(collector.moments, game, outputs, repeats, model_rows)


def tabulate(
    players: Sequence[str],
    moments: Mapping[str, Estimable],
    outputs: tuple[str, ...],
    repeats: Mapping[str, int],
    quantities: int,
    confidence: float,
) -> Floats:
    """Return means, standard errors, ends of the intervals and p-values, ``(5, players, outputs, quantities)``."""
    numbers = np.zeros((5, len(players), len(outputs), quantities))
    # A player without encoded columns (a constant column) cannot change anything: exactly 0, and certain.
    numbers[4] = 1.0
    for position, name in enumerate(players):
        for column in range(len(outputs) if repeats[name] else 0):
            numbers[:, position, column] = estimated(moments[name], confidence, column - 1 if column else None)
    return numbers


def play_rows(request: Request, plays: Plays, label: str) -> tuple[Floats, Floats, Floats, dict[str, Any]]:
    """Play the output game for every row: what the row's own values add to its output, against donors.

    Mean, standard error over repeats ``(rows, players, targets, quantities)``; predictions ``(rows, targets)``; facts.
    """
    repeats = request.n_repeats
    shape = (request.count, len(request.space), len(request.targets), len(plays.names))
    sums, squares = np.zeros(shape), np.zeros(shape)
    place = {name: index for index, name in enumerate(request.space.names)}

    def minus(outputs: Tensor, rows: slice | Integers, base: Tensor) -> Floats:  # noqa: ARG001 — as for any value
        """Return minus the outputs: an effect is then what the row's own value adds to them."""
        read = request.subject.readout(outputs, request.output)[:, list(request.targets)]
        numbers: Floats = -read.double().cpu().numpy()
        return numbers

    def collect(player: str, rows: Integers, donors: Integers, effects: Floats) -> None:  # noqa: ARG001 — the collector's form
        turned = effects.swapaxes(1, 2)
        sums[rows, place[player]] += turned
        squares[rows, place[player]] += turned**2

    game = Game(request, minus, plays.fixed)
    outputs = game.outputs()
    with Progress(len(plays.plays) * repeats * request.count, label, request.progress) as progress:
        game.play(plays.plays, range(repeats), collect, progress)
    mean, std = sums / repeats, np.zeros(shape)
    played = [place[name] for play in plays.plays for name in play.names]
    spread = np.maximum(squares[:, played] / repeats - mean[:, played] ** 2, 0)
    std[:, played] = np.sqrt(spread / (repeats - 1)) if repeats > 1 else np.nan
    predictions = -minus(outputs, slice(0, request.count), outputs)
    evaluations = game.back_end.evaluations
    facts = {} if evaluations is None else {"model_rows": evaluations}
    return mean, std, predictions, facts | plays.facts
