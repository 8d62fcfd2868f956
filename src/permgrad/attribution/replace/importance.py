"""Playing the games of a method: the loss game over all rows, and the output game of each row; and their tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.replace.game import (
    Floats,
    Game,
    Integers,
    LossValue,
    MomentCollector,
    ReadoutValue,
    doubling_rounds,
)
from permgrad.attribution.replace.moments import interval
from permgrad.attribution.replace.plays import Play, Plays
from permgrad.base.progress import Progress

#: Options of every game; ``tolerance`` is a half-width of the interval, as a share of the loss scale.
GAME_OPTIONS: dict[str, Any] = {"tolerance": None, "incremental": True, "workers": 1}


@dataclass(frozen=True)
class LossTable:
    """Numbers per player, output and quantity, with errors; arrays are ``(players, outputs, quantities)``."""

    mean: Floats
    std: Floats
    low: Floats
    high: Floats
    p_values: Floats
    outputs: tuple[str, ...]
    repeats: dict[str, int]
    seconds: float
    model_rows: int
    facts: dict[str, Any] = field(default_factory=dict)


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
    """Return the mean loss of the constant predictor, the natural size of an importance.

    The entropy of the classes for cross entropy, the variance of y for squared error (the mean over the outputs whose
    losses are averaged); for other losses that of the best constant among the model's own mean prediction.
    """
    y, weights = request.y, request.sample_weight
    if y is None:
        return float("nan")
    loss = request.subject.resolve_loss(request.loss)
    if loss in ("squared_error", "absolute_error"):
        columns = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        chosen = list(request.subject.outputs_form.columns) or slice(None)
        return float(np.mean([_spread(column, weights, loss) for column in columns[:, chosen].T]))
    shares = np.bincount(np.asarray(y, dtype=np.int64), weights=weights) / (
        len(y) if weights is None else weights.sum()
    )
    return scale_of_shares(shares, loss)


def _spread(y: Floats, weights: Floats | None, loss: str) -> float:
    """Return the mean loss of the best constant."""
    if loss == "squared_error":
        return float(np.average((y - np.average(y, weights=weights)) ** 2, weights=weights))
    return float(np.average(np.abs(y - weighted_median(y, weights)), weights=weights))


def weighted_median(values: Floats, weights: Floats | None) -> float:
    """Return the number of least weighted absolute distance to ``(rows,)`` values; the mean of the ends of several."""
    if weights is None:
        return float(np.median(values))
    order = np.argsort(values, kind="stable")
    order = order[weights[order] > 0]
    below = np.cumsum(weights[order])
    # The first values up to which half of the weight has come, and more than half.
    first, last = (int(np.searchsorted(below, below[-1] / 2, side=side)) for side in ("left", "right"))
    ends = values[order][[first, min(last, len(order) - 1)]]
    return float(ends.mean())


def scale_of_shares(shares: Floats, loss: str) -> float:
    """Return the mean loss of the constant predictor for classes of these shares, ``(classes,)``."""
    shares = shares[shares > 0]
    if loss == "cross_entropy":
        return float(-(shares * np.log(shares)).sum())
    if loss == "brier":
        return float(1 - (shares**2).sum())
    return float(1 - shares.max())


@dataclass(frozen=True)
class Played:
    """A loss game that was played: the sums it left, and what is needed to read them."""

    collector: MomentCollector
    game: Game
    outputs: tuple[str, ...]
    repeats: dict[str, int]
    seconds: float
    model_rows: int

    def table(self, request: Request, plays: Plays) -> LossTable:
        """Return means, errors and intervals of all players, per class and overall."""
        numbers = tabulate(
            request.space.names,
            self.collector.moments,
            self.outputs,
            self.repeats,
            len(plays.names),
            request.confidence,
        )
        facts = {**self.game.back_end.facts, **plays.facts}
        return LossTable(*numbers, self.outputs, self.repeats, self.seconds, self.model_rows, facts)


def class_outputs(request: Request) -> tuple[str, ...]:
    """Return the names of a loss game's outputs: all rows, then the rows of each class."""
    return ("all", *request.subject.class_names) if request.subject.task == "classification" else ("all",)


def play_losses(request: Request, plays: Plays, label: str) -> Played:
    """Play the loss game (without y: the divergence) for all players and keep the sums over its pairs."""
    if request.engine is not None:
        played: Played = request.engine(request, plays, label)
        return played
    started = time.perf_counter()
    game = Game(request, LossValue(request), plays.fixed)
    classes, class_count = receiver_classes(request, game.outputs())
    collector = MomentCollector(
        receivers=request.count,
        donors=game.back_end.donors,
        shared=game.back_end.shared,
        classes=classes,
        class_count=class_count,
        quantities=len(plays.names),
        weights=request.sample_weight,
    )
    repeats = _play_until_settled(request, game, plays, collector, label)
    seconds = time.perf_counter() - started
    return Played(collector, game, class_outputs(request), repeats, seconds, game.model_rows)


def _play_until_settled(
    request: Request, game: Game, plays: Plays, collector: MomentCollector, label: str
) -> dict[str, int]:
    """Play ``n_repeats``, or, with a tolerance, in rounds until every interval of a play is narrow enough.

    Only widths decide, never the size or the sign of an effect, so that intervals keep their coverage.
    """
    tolerance = request.options.get("tolerance")
    rounds = [range(request.n_repeats)] if tolerance is None else list(doubling_rounds(request.n_repeats))
    wanted = None if tolerance is None else float(tolerance) * loss_scale(request)
    repeats = dict.fromkeys(request.space.names, 0)
    waiting: Sequence[Play] = plays.plays
    with Progress(len(waiting) * request.n_repeats * request.count, label, request.progress) as progress:
        for block in rounds:
            if not waiting:
                break
            game.play(waiting, block, collector, progress)
            for play in waiting:
                repeats |= dict.fromkeys(play.names, block.stop)
            if wanted is not None:
                waiting = [play for play in waiting if not _is_narrow(collector, play, wanted, request.confidence)]
    return repeats


def _is_narrow(collector: MomentCollector, play: Play, wanted: float, confidence: float) -> bool:
    for name in play.names:
        mean, std, count = collector.moments[name].estimate()
        low, high, _ = interval(mean[:1], std[:1], count[:1], confidence)
        if not (high - low)[0] / 2 <= wanted:
            return False
    return True


class Estimable(Protocol):
    """Sums over pairs that give an estimate: ``PairMoments``, or what is left of them after summing over receivers."""

    def estimate(self, group: int | None = None) -> tuple[Floats, Floats, Floats]:
        """Return mean, standard error and effective number of rows, of all receivers or of one class."""
        ...


def tabulate(
    players: Sequence[str],
    moments: Mapping[str, Estimable],
    outputs: tuple[str, ...],
    repeats: Mapping[str, int],
    quantities: int,
    confidence: float,
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Return means, standard errors, both ends of the intervals and p-values, ``(players, outputs, quantities)``."""
    shape = (len(players), len(outputs), quantities)
    arrays = [np.full(shape, np.nan) for _ in range(5)]
    for position, name in enumerate(players):
        if repeats[name] == 0:
            # A player without encoded columns (a constant column) cannot change anything: exactly 0, and certain.
            for array, number in zip(arrays, (0.0, 0.0, 0.0, 0.0, 1.0), strict=True):
                array[position] = number
            continue
        for column in range(len(outputs)):
            mean, std, count = moments[name].estimate(None if column == 0 else column - 1)
            low, high, p_values = interval(mean, std, count, confidence)
            for array, numbers in zip(arrays, (mean, std, low, high, p_values), strict=True):
                array[position, column] = numbers
    return arrays[0], arrays[1], arrays[2], arrays[3], arrays[4]


@dataclass(frozen=True)
class RowEffects:
    """Effects on every row's output: ``mean`` and ``std`` over repeats, ``(rows, players, targets, quantities)``."""

    mean: Floats
    std: Floats
    predictions: Floats
    seconds: float
    model_rows: int | None


def play_rows(request: Request, plays: Plays, label: str) -> RowEffects:
    """Play the output game for every row: what the row's own values add to its output, against donors."""
    started = time.perf_counter()
    shape = (request.count, len(request.space), len(request.targets), len(plays.names))
    sums, squares = np.zeros(shape), np.zeros(shape)
    place = {name: index for index, name in enumerate(request.space.names)}

    def collect(player: str, rows: Integers, donors: Integers, effects: Floats) -> None:  # noqa: ARG001 — the collector's form
        turned = effects.swapaxes(1, 2)
        sums[rows, place[player]] += turned
        squares[rows, place[player]] += turned**2

    value = ReadoutValue(request.subject, request.output, request.targets)
    game = Game(request, value, plays.fixed)
    outputs = game.outputs()
    with Progress(len(plays.plays) * request.n_repeats * request.count, label, request.progress) as progress:
        game.play(plays.plays, range(request.n_repeats), collect, progress)
    repeats = request.n_repeats
    mean, std = sums / repeats, np.zeros(shape)
    for name in {name for play in plays.plays for name in play.names}:
        spread = np.maximum(squares[:, place[name]] / repeats - mean[:, place[name]] ** 2, 0)
        std[:, place[name]] = np.sqrt(spread / (repeats - 1)) if repeats > 1 else np.nan
    predictions = -value(outputs, slice(0, request.count), outputs)
    return RowEffects(mean, std, predictions, time.perf_counter() - started, game.back_end.evaluations)
