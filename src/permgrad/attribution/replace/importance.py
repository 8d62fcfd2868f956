"""Importance by loss: what ``permgrad``, ``permutation`` and their kin share once the game is set up."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from permgrad.attribution.method import Request
from permgrad.attribution.replace.conditional import ConditionalSampler
from permgrad.attribution.replace.donors import FixedSampler, MarginalSampler, Sampler
from permgrad.attribution.replace.executor import LocalExecutor
from permgrad.attribution.replace.finite import finite_rows
from permgrad.attribution.replace.game import (
    DivergenceValue,
    Floats,
    Game,
    LossValue,
    MomentCollector,
    Quantities,
    ReadoutValue,
    RowCollector,
    Value,
    doubling_rounds,
)
from permgrad.attribution.replace.moments import interval
from permgrad.base.errors import warn_user
from permgrad.base.progress import Progress

#: Options of every game; ``tolerance`` is a half-width of the interval, as a share of the loss scale.
GAME_OPTIONS: dict[str, Any] = {"tolerance": None, "incremental": True, "workers": 1}


@dataclass(frozen=True)
class Table:
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


def sampler_facts(sampler: Sampler) -> dict[str, Any]:
    """Return what a sampler found out about features, for ``meta``, and warn of what makes their numbers unreliable."""
    determined = list(getattr(sampler, "not_identifiable", ()))
    if determined:
        warn_user(
            "these features are determined by the others, so that their own effect is not identifiable with "
            f"sampling='conditional': {', '.join(determined[:10])}; declare them as one group with groups="
        )
    if not isinstance(sampler, ConditionalSampler):
        return {"not_identifiable": determined}
    dependent = list(sampler.residuals_dependent)
    if dependent:
        warn_user(
            "The values drawn for these features do not fit the other columns, so that their importances and p-values "
            f"under sampling='conditional' are not reliable: {', '.join(dependent[:10])}. Pass more rows, or declare "
            "them and the features they depend on as one group with groups=."
        )
    return {"not_identifiable": determined, "residuals_dependent": dependent}


def make_sampler(request: Request) -> Sampler:
    """Return where replacement values come from, as asked for by ``sampling`` and ``background``."""
    if request.options.get("fixed") is not None:
        return FixedSampler(request.options["fixed"], len(request.encoded))
    shared = request.background is None
    background = request.encoded if request.background is None else request.background
    if request.sampling == "conditional":
        earlier = None if request.kept is None or shared else request.kept.get("sampler")
        if earlier is not None:
            moved: ConditionalSampler = earlier.moved_to(request.encoded, request.row_offset)
            return moved
        sampler = ConditionalSampler(
            request.subject.preprocessor,
            request.encoded,
            background,
            seed=request.seed,
            shared=shared,
            row_offset=request.row_offset,
        )
        if request.kept is not None:
            request.kept["sampler"] = sampler
        return sampler
    return MarginalSampler(background, request.seed, shared=shared, row_offset=request.row_offset)


def make_value(request: Request) -> Value:
    """Return the loss where the target is known, else the divergence from the model's own prediction."""
    if request.y is None:
        return DivergenceValue(request.subject)
    return LossValue(request.subject, request.y, request.subject.resolve_loss(request.loss))


def make_game(request: Request, quantities: Quantities, value: Value, sampler: Sampler) -> Game:
    """Set up the game of one request."""
    return Game(
        request.subject,
        request.encoded,
        sampler,
        value,
        quantities,
        batch_size=request.batch_size,
        incremental=bool(request.options.get("incremental", True)),
        executor=LocalExecutor(int(request.options.get("workers", 1))),
    )


def base_outputs(request: Request, game: Game) -> npt.NDArray[np.float32]:
    """Return the network's own outputs for the rows explained, ``(rows, K)``."""
    with torch.inference_mode(), request.subject.open():
        return game.outputs()


def receiver_classes(request: Request, outputs: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64] | None, int]:
    """Return each row's class, true where y is given, else predicted; None for regression."""
    subject = request.subject
    if subject.task == "regression":
        return None, 1
    if request.y is not None:
        return np.asarray(request.y, dtype=np.int64), len(subject.class_names)
    readout = subject.readout(torch.as_tensor(outputs), "logit").numpy()
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
    """Return the number of least weighted absolute distance to ``(rows,)`` values; the mean of the ends of several.

    Examples:
        >>> values = np.array([3.0, 1.0, 2.0, 10.0])
        >>> weighted_median(values, None), weighted_median(values, np.array([1.0, 1.0, 1.0, 9.0]))
        (2.5, 10.0)
    """
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
    sampler: Sampler
    outputs: tuple[str, ...]
    repeats: dict[str, int]
    seconds: float
    model_rows: int


def collect_losses(request: Request, quantities: Quantities, label: str) -> Played:
    """Play the loss game for all players and keep the sums over its pairs."""
    if request.engine is not None:
        from permgrad.attribution.parts.engines.frames import play_parts

        return play_parts(request, quantities, label)
    started = time.perf_counter()
    sampler = make_sampler(request)
    game = make_game(request, quantities, make_value(request), sampler)
    outputs = base_outputs(request, game)
    finite_rows(torch.as_tensor(outputs))
    classes, class_count = receiver_classes(request, outputs)
    collector = MomentCollector(
        receivers=len(request.encoded),
        donors=sampler.donors,
        shared=sampler.shared,
        classes=classes,
        class_count=class_count,
        quantities=len(quantities.names),
        weights=request.sample_weight,
    )
    repeats = _play_until_settled(request, game, collector, label)
    names = ("all", *request.subject.class_names) if classes is not None else ("all",)
    played = sum(repeats.values()) * len(request.encoded) * len(quantities.coalitions)
    return Played(collector, game, sampler, names, repeats, time.perf_counter() - started, played)


def play_loss_game(request: Request, quantities: Quantities, label: str) -> tuple[Table, Game, Sampler]:
    """Play the loss game for all players and return means, standard errors and intervals, per class and overall."""
    played = collect_losses(request, quantities, label)
    numbers = tabulate(
        tuple(request.players),
        played.collector.moments,
        played.outputs,
        played.repeats,
        len(quantities.names),
        request.confidence,
    )
    table = Table(
        *numbers,
        outputs=played.outputs,
        repeats=played.repeats,
        seconds=played.seconds,
        model_rows=played.model_rows,
    )
    return table, played.game, played.sampler


def _play_until_settled(request: Request, game: Game, collector: MomentCollector, label: str) -> dict[str, int]:
    """Play ``n_repeats``, or, with a tolerance, in rounds until every interval of a player is narrow enough.

    Only widths decide, never the size or the sign of an effect, so that intervals keep their coverage.
    """
    tolerance = request.options.get("tolerance")
    players = {name: columns for name, columns in request.players.items() if len(columns)}
    repeats = dict.fromkeys(request.players, 0)
    rounds = [range(request.n_repeats)] if tolerance is None else list(doubling_rounds(request.n_repeats))
    wanted = None if tolerance is None else float(tolerance) * loss_scale(request)
    total = len(players) * request.n_repeats * len(request.encoded)
    with Progress(total, label, request.progress) as progress:
        for block in rounds:
            if not players:
                break
            game.play(players, block, collector, progress)
            for name in players:
                repeats[name] = block.stop
            if wanted is not None:
                players = {
                    name: columns
                    for name, columns in players.items()
                    if not _settled(collector, name, wanted, request.confidence)
                }
    return repeats


def _settled(collector: MomentCollector, name: str, wanted: float, confidence: float) -> bool:
    mean, std, count = collector.moments[name].estimate()
    low, high, _ = interval(mean[:1], std[:1], count[:1], confidence)
    return bool((high - low)[0] / 2 <= wanted)


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


def play_row_game(
    request: Request, quantities: Quantities, label: str
) -> tuple[Floats, Floats, npt.NDArray[np.float32], Game, float]:
    """Play the output game for every row: what the row's own values add to its output, against donors.

    Returns:
        Mean and standard error over repeats ``(rows, players, targets, quantities)``, base outputs, the game, seconds.
    """
    started = time.perf_counter()
    value = ReadoutValue(request.subject, request.output, request.targets)
    game = make_game(request, quantities, value, make_sampler(request))
    collector = RowCollector(len(request.encoded), len(quantities.names), len(request.targets))
    players = {name: columns for name, columns in request.players.items() if len(columns)}
    with Progress(len(players) * request.n_repeats * len(request.encoded), label, request.progress) as progress:
        game.play(players, range(request.n_repeats), collector, progress)
    shape = (len(request.encoded), len(request.players), len(request.targets), len(quantities.names))
    mean, std = np.zeros(shape), np.zeros(shape)
    for position, name in enumerate(request.players):
        if name in players:
            own_mean, own_std = collector.estimate(name, request.n_repeats)
            mean[:, position], std[:, position] = own_mean.swapaxes(1, 2), own_std.swapaxes(1, 2)
    return mean, std, base_outputs(request, game), game, time.perf_counter() - started
