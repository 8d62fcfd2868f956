"""Playing the games of a method: the loss game over all rows, and the output game of each row; and their tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.replace.game import Game, MomentCollector, loss_value, readout_value
from permgrad.attribution.replace.moments import PairMoments, interval
from permgrad.attribution.replace.plays import Floats, Integers, Play, Plays
from permgrad.base.progress import Progress

#: Options of every game; ``tolerance`` is a half-width of the interval, as a share of the loss scale.
GAME_OPTIONS: dict[str, Any] = {"tolerance": None, "incremental": True, "workers": 1}

#: Mean, standard error, both ends of the interval and p-value, ``(players, outputs, quantities)`` each.
Numbers = tuple[Floats, Floats, Floats, Floats, Floats]


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
    if loss in ("squared_error", "absolute_error"):
        columns = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        chosen = list(request.subject.loss_columns) or slice(None)
        return float(np.mean([_spread(column, weights, loss) for column in columns[:, chosen].T]))
    counts = np.bincount(np.asarray(y, dtype=np.int64), weights=weights)
    return scale_of_shares(counts / counts.sum(), loss)


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
    return float(values[order][[first, min(last, len(order) - 1)]].mean())


def scale_of_shares(shares: Floats, loss: str) -> float:
    """Return the mean loss of the constant predictor for classes of these shares, ``(classes,)``."""
    shares = shares[shares > 0]
    if loss == "cross_entropy":
        return float(-(shares * np.log(shares)).sum())
    return float(1 - (shares**2).sum()) if loss == "brier" else float(1 - shares.max())


@dataclass(frozen=True)
class Played:
    """A loss game that was played: the sums it left, and what is needed to read them."""

    moments: dict[str, PairMoments]
    game: Game
    outputs: tuple[str, ...]
    repeats: dict[str, int]
    seconds: float
    model_rows: int

    def numbers(self, request: Request, plays: Plays) -> Numbers:
        """Return means, errors and intervals of all players, per class and overall."""
        names, count = request.space.names, len(plays.names)
        return tabulate(names, self.moments, self.outputs, self.repeats, count, request.confidence)


def class_outputs(request: Request) -> tuple[str, ...]:
    """Return the names of a loss game's outputs: all rows, then the rows of each class."""
    return ("all", *request.subject.class_names) if request.subject.task == "classification" else ("all",)


def play_losses(request: Request, plays: Plays, label: str) -> Played:
    """Play the loss game (without y: the divergence) for all players and keep the sums over its pairs."""
    if request.engine is not None:
        played: Played = request.engine(request, plays, label)
        return played
    started = time.perf_counter()
    game = Game(request, loss_value(request), plays.fixed)
    collector = game.moments(*receiver_classes(request, game.outputs()), len(plays.names))
    repeats = _play_until_settled(request, game, plays, collector, label)
    seconds = time.perf_counter() - started
    return Played(collector.moments, game, class_outputs(request), repeats, seconds, game.model_rows)


def _play_until_settled(
    request: Request, game: Game, plays: Plays, collector: MomentCollector, label: str
) -> dict[str, int]:
    """Play ``n_repeats``; with a tolerance in rounds 0–1, 2–3, 4–7, 8–15 … until every interval is narrow enough.

    Only widths decide, never the size or the sign of an effect, so that intervals keep their coverage.
    """
    tolerance = request.options.get("tolerance")
    wanted = None if tolerance is None else float(tolerance) * loss_scale(request)
    repeats = dict.fromkeys(request.space.names, 0)
    waiting: Sequence[Play] = plays.plays
    done = 0
    with Progress(len(waiting) * request.n_repeats * request.count, label, request.progress) as progress:
        while waiting and done < request.n_repeats:
            stop = request.n_repeats if wanted is None else min(request.n_repeats, max(2, 2 * done))
            game.play(waiting, range(done, stop), collector, progress)
            done = stop
            for play in waiting:
                repeats |= dict.fromkeys(play.names, done)
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
) -> Numbers:
    """Return means, standard errors, both ends of the intervals and p-values, ``(players, outputs, quantities)``."""
    numbers = np.zeros((5, len(players), len(outputs), quantities))
    # A player without encoded columns (a constant column) cannot change anything: exactly 0, and certain.
    numbers[4] = 1.0
    for position, name in enumerate(players):
        for column in range(len(outputs) if repeats[name] else 0):
            mean, std, count = moments[name].estimate(None if column == 0 else column - 1)
            numbers[:, position, column] = mean, std, *interval(mean, std, count, confidence)
    return tuple(numbers)  # type: ignore[return-value]


def play_rows(request: Request, plays: Plays, label: str) -> tuple[Floats, Floats, Floats, dict[str, Any]]:
    """Play the output game for every row: what the row's own values add to its output, against donors.

    Mean, standard error over repeats ``(rows, players, targets, quantities)``; predictions ``(rows, targets)``; facts.
    """
    started, repeats = time.perf_counter(), request.n_repeats
    shape = (request.count, len(request.space), len(request.targets), len(plays.names))
    sums, squares = np.zeros(shape), np.zeros(shape)
    place = {name: index for index, name in enumerate(request.space.names)}

    def collect(player: str, rows: Integers, donors: Integers, effects: Floats) -> None:  # noqa: ARG001 — the collector's form
        turned = effects.swapaxes(1, 2)
        sums[rows, place[player]] += turned
        squares[rows, place[player]] += turned**2

    value = readout_value(request)
    game = Game(request, value, plays.fixed)
    outputs = game.outputs()
    with Progress(len(plays.plays) * repeats * request.count, label, request.progress) as progress:
        game.play(plays.plays, range(repeats), collect, progress)
    mean, std = sums / repeats, np.zeros(shape)
    played = [place[name] for play in plays.plays for name in play.names]
    spread = np.maximum(squares[:, played] / repeats - mean[:, played] ** 2, 0)
    std[:, played] = np.sqrt(spread / (repeats - 1)) if repeats > 1 else np.nan
    predictions = -value(outputs, slice(0, request.count), outputs)
    facts: dict[str, Any] = {"seconds": time.perf_counter() - started}
    if game.back_end.evaluations is not None:
        facts["model_rows"] = game.back_end.evaluations
    return mean, std, predictions, facts | plays.facts
