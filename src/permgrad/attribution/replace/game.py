"""The replacement game: plays over rows and donors, measures of the answers, and tables of the effects' sums.

A *game* is ``predictions(coalition)``, then ``value(predictions)``. Predictions come from a *back end*: the replacement
engine of hybrid networks (``engine``), or the network itself on blended rows (``Blend``), whose branches run once.
Donors are counter-based, so that nothing depends on how the work is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from operator import call
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.ranks import shared_errors
from permgrad.attribution.replace.coalitions import Blend
from permgrad.attribution.replace.engine import Replacement
from permgrad.attribution.replace.moments import Estimable, PairMoments, estimated, scores_of
from permgrad.attribution.replace.plays import Effects, Play, Plays, Value
from permgrad.attribution.request import Request
from permgrad.attribution.request.related import tell_of_dependence
from permgrad.attribution.request.result import build, by_quantity, loss_unit, shown_outputs
from permgrad.base.arrays import Floats, Integers
from permgrad.base.progress import Progress
from permgrad.models.losses import FITS, OtherLoss, find_loss, of_output

#: Takes the effects of one player's pairs: player, rows and donors ``(b,)``, effects ``(b, quantities, V)``.
Collector = Callable[[str, Integers, Integers, Floats], None]


# ---- what is measured ------------------------------------------------------------------------------------------------
def loss_value(request: Request) -> Value:
    """Return a measure of each row's loss ``(rows, 1)``, or without y of divergence from the model's own prediction."""
    subject, y = request.subject, request.y
    if y is None:
        return lambda outputs, _rows, base: subject.divergence_rows(outputs, base)[:, None]
    return lambda outputs, rows, _base: subject.loss_rows(outputs, y[rows], request.loss)[:, None]


def receiver_classes(request: Request, outputs: Tensor) -> tuple[Integers | None, int]:
    """Return each row's class: true if y is passed, else predicted from raw outputs. None for regression."""
    subject = request.subject
    if not subject.class_names:
        return None, 1
    if request.y is not None:
        classes = request.y if request.classes is None else request.classes
        return np.asarray(classes, dtype=np.int64), len(subject.class_names)
    readout = subject.readout(outputs.float().cpu(), "logit").numpy()
    # A single column stands for the second of two classes.
    predicted = readout[:, 0] > 0 if readout.shape[1] == 1 else readout.argmax(axis=1)
    return predicted.astype(np.int64), len(subject.class_names)


def loss_scale(request: Request) -> float:
    """Return the mean loss of the constant predictor, the natural size of an importance, or NaN if it is not known.

    This is the entropy of the classes for cross entropy, and the variance of y for squared error (the mean over the
    outputs whose losses are averaged). For other losses it is that of the model's own mean prediction.
    """
    y, weights, loss = request.y, request.sample_weight, request.loss
    if y is None or (isinstance(loss, OtherLoss) and loss.returned):
        return float("nan")
    if request.subject.task == "classification":
        counts = np.bincount(np.asarray(y, dtype=np.int64), weights=weights)
        return scale_of_shares(counts / counts.sum(), str(loss))
    columns = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
    chosen = list(request.subject.loss_columns or range(columns.shape[1]))
    columns = columns[:, chosen]
    if loss not in ("squared_error", "absolute_error"):
        pairs = zip(columns.T, chosen, strict=True)
        errors = np.stack([_of_constant(column, weights, of_output(loss, place)) for column, place in pairs], axis=1)
    elif loss == "squared_error":
        errors = (columns - np.average(columns, axis=0, weights=weights)) ** 2
    else:
        errors = np.abs(columns - [weighted_median(column, weights) for column in columns.T])
    return float(np.average(errors, axis=0, weights=weights).mean())


def _of_constant(column: Floats, weights: Floats | None, loss: str | OtherLoss) -> Floats:
    """Return each row's loss of the best constant for one column of y."""
    tiny = float(np.finfo(np.float64).tiny)
    mean = float(np.average(column, weights=weights))
    if loss in FITS["multilabel"]:
        constant = np.log(max(mean, tiny)) - np.log(max(1 - mean, tiny))
    elif loss in ("poisson", "poisson_log"):
        constant = max(mean, tiny) if loss == "poisson" else np.log(max(mean, tiny))
    else:
        level = 0.5 if isinstance(loss, str) else float(loss.name.split()[-1])
        constant = np.quantile(column, level, weights=weights, method="inverted_cdf")
    outputs = torch.full((len(column), 1), float(constant), dtype=torch.float64)
    return find_loss(loss)(outputs, torch.from_numpy(np.array(column))).numpy()


def weighted_median(values: Floats, weights: Floats | None) -> float:
    """Return the number of least weighted absolute distance to ``(rows,)`` values, or the middle of several."""
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
    """A replacement game over the rows of one call. ``fixed`` replaces instead of donors, ``(1, *)`` per input.

    A back end answers plays (``answers``) for blocks of rows. It has the number of ``donors``, whether they are the
    rows explained (``shared``), and how far rounding moves its outputs (``noise``). ``joint``: plays replace several
    players, which the engine does not answer. ``measure``: what is collected.
    """

    measure: type[Effects] = Effects

    def __init__(
        self, request: Request, value: Value, fixed: Sequence[Tensor] | None = None, *, joint: bool = False
    ) -> None:
        self.request, self.value = request, value
        self.engine = Replacement(request, fixed) if request.subject.paths and not joint else None
        self.back_end: Replacement | Blend = self.engine or Blend(request, fixed)
        self.pairs = 0  # that were predicted so far

    def play(
        self,
        plays: Iterable[Play],
        repeats: Sequence[int],
        collect: Collector,
        progress: Progress,
        span: slice | None = None,
    ) -> None:
        """Play repeats over all rows, or those of a span, with one player after the other or in a few threads."""
        plays, workers = list(plays), self.back_end.workers
        with self.request.subject.open():
            for rows in self.back_end.blocks(span):
                with self.back_end.mode():
                    unchanged = self.back_end.unchanged(rows)
                    base = self.value(unchanged, rows, unchanged)

                def some(pack: Sequence[Play], rows: slice = rows, base: Floats = base) -> None:
                    with self.back_end.mode():
                        noise = self.back_end.noise
                        measures = [self.measure(play, self.value, base, rows.start, noise) for play in pack]
                        for play, numbers, donors, effects in self.back_end.answers(measures, repeats, rows):
                            for name, name_effects in zip(play.names, effects, strict=True):
                                collect(name, numbers, donors, name_effects)
                            progress.advance(len(numbers))

                packs = self.back_end.packs(plays, len(repeats), rows)
                if workers <= 1:
                    for pack in packs:
                        some(pack)
                else:
                    with ThreadPoolExecutor(workers) as pool:
                        # Threads do not repeat warnings of the caller. A context is entered once, so each gets a copy.
                        for _ in pool.map(call, [partial(copy_context().run, some, pack) for pack in packs]):
                            pass
                self.pairs += len(repeats) * (rows.stop - rows.start) * sum(len(play.mask) for play in plays)


@dataclass
class Played:
    """The sums over the pairs of a game, player by player, and what is needed to read them.

    ``classes``: those of all rows explained, of ``class_count`` classes.
    """

    game: Game
    quantities: int
    classes: Integers | None = None
    class_count: int = 1
    loss_scale: float = float("nan")
    model_loss: float = float("nan")  # mean loss of the rows as they are
    moments: dict[str, PairMoments] = field(default_factory=dict)
    repeats: dict[str, int] = field(default_factory=dict)
    model_rows: int = 0

    @property
    def outputs(self) -> tuple[str, ...]:
        """All rows, then the rows of each class."""
        return ("all", *self.game.request.subject.class_names)

    def add(self, player: str, rows: Integers, donors: Integers, effects: Floats) -> None:
        """Add the pairs of one batch."""
        request, back_end = self.game.request, self.game.back_end
        if player not in self.moments:
            sizes = (request.count, back_end.donors, back_end.shared, self.class_count, self.quantities)
            self.moments[player] = PairMoments(*sizes, request.units)
        classes = None if self.classes is None else self.classes[rows]
        weights = None if request.sample_weight is None else request.sample_weight[rows]
        self.moments[player].add(rows, donors, effects[:, :, 0], classes=classes, weights=weights)


def play_losses(request: Request, plays: Plays, label: str) -> Played:
    """Play the loss game (without y: the divergence) for all players and keep the sums over its pairs.

    With a tolerance repeats are played in rounds 0–1, 2–3, 4–7, 8–15 … until every interval is narrow enough. Only
    widths decide, never the size or the sign of an effect, so that intervals keep their coverage.
    """
    if request.engine is not None:
        elsewhere: Played = request.engine(request, plays, label)
        return elsewhere
    tolerance: Any = request.options.get("tolerance")
    scale = loss_scale(request)
    game = Game(request, loss_value(request), plays.fixed, joint=plays.joint)
    outputs = game.back_end.outputs()
    played = Played(game, len(plays.names), *receiver_classes(request, outputs), loss_scale=scale)

    def is_narrow(play: Play) -> bool:
        tables = [estimated(played.moments[name], request.confidence) for name in play.names]
        return all((high[0] - low[0]) / 2 <= float(tolerance) * scale for _, _, low, high, _ in tables)

    rounds = (request.n_repeats,) if tolerance is None else doubled(request.n_repeats)
    repeats = played.repeats = dict.fromkeys(request.space.names, 0)
    waiting = list(plays.plays)
    with Progress(len(waiting) * rounds[-1] * request.count, label, request.progress) as progress:
        progress.rows = request.count
        for stop in rounds:
            for done in sorted({repeats[play.names[0]] for play in waiting}):
                some = [play for play in waiting if repeats[play.names[0]] == done]
                game.play(some, range(done, stop), played.add, progress)
            repeats |= {name: stop for play in waiting for name in play.names}
            if tolerance is not None:
                waiting = [play for play in waiting if not is_narrow(play)]
            if not waiting:
                break
    played.model_rows = game.pairs if game.back_end.evaluations is None else game.back_end.evaluations
    if np.isfinite(scale):
        losses = game.value(outputs, slice(0, request.count), outputs)[:, 0]
        played.model_loss = float(np.average(losses, weights=request.sample_weight))
    received = [_effects(one) for one in played.moments.values()]
    tell_of_dependence(request, outputs, np.stack(received) if received else None)
    return played


def doubled(most: int) -> tuple[int, ...]:
    """Return 2, 4, 8, … up to ``most``."""
    return (*(2**power for power in range(1, most.bit_length()) if 2**power < most), most)


def _effects(moments: PairMoments) -> Floats:
    """Return the effect in each row, whatever its weight, and 0 in rows without one."""
    weight = moments.receiver_weight
    return np.divide(moments.receiver_sum[0], weight, out=np.zeros_like(weight), where=weight > 0)


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

    Return the mean and the standard error over repeats ``(rows, players, targets, quantities)``, predictions
    ``(rows, targets)`` and facts.
    """
    repeats, names = request.n_repeats, request.space.names
    shape = (request.count, len(names), len(request.targets), len(plays.names))
    sums, squares = np.zeros(shape), np.zeros(shape)
    place = {name: index for index, name in enumerate(names)}

    def minus(outputs: Tensor, rows: slice | Integers, base: Tensor) -> Floats:  # noqa: ARG001 — as for any value
        """Return minus the outputs: an effect is then what the row's own value adds to them."""
        read = request.subject.readout(outputs, request.scale)[:, list(request.targets)]
        return -read.double().cpu().numpy()

    def collect(player: str, rows: Integers, donors: Integers, effects: Floats) -> None:  # noqa: ARG001 — the collector's form
        turned = effects.swapaxes(1, 2)
        sums[rows, place[player]] += turned
        squares[rows, place[player]] += turned**2

    game = Game(request, minus, plays.fixed, joint=plays.joint)
    outputs = game.back_end.outputs()
    with Progress(len(plays.plays) * repeats * request.count, label, request.progress) as progress:
        progress.rows = request.count
        game.play(plays.plays, range(repeats), collect, progress)
    mean, std = sums / repeats, np.zeros(shape)
    played = [place[name] for play in plays.plays for name in play.names]
    spread = np.maximum(squares[:, played] / repeats - mean[:, played] ** 2, 0)
    std[:, played] = np.sqrt(spread / (repeats - 1)) if repeats > 1 else np.nan
    predictions = -minus(outputs, slice(0, request.count), outputs)
    evaluations = game.back_end.evaluations
    facts = {} if evaluations is None else {"model_rows": evaluations}
    return mean, std, predictions, facts | plays.facts


# ---- explanations ----------------------------------------------------------------------------------------------------
def explain_plays(method: str, request: Request, plays: Plays) -> Explanation:
    """Play a method's plays and explain the loss over all rows (global) or each row's output (local)."""
    if request.scope == "global":
        return global_explanation(method, request, plays, play_losses(request, plays, method))
    mean, std, predictions, facts = play_rows(request, plays, method)
    facts = {"quantity": "output minus the mean output with the feature replaced", **facts}
    return build(request, method, facts=facts, predictions=predictions, **by_quantity(plays.names, mean, std))


def global_explanation(
    method: str, request: Request, plays: Plays, played: Played, numbers: Floats | None = None, **fields: Any
) -> Explanation:
    """Build the result of a loss game: the first quantity is the importance, the others are parts.

    ``numbers`` replaces the numbers of the game, and ``fields`` adds fields of ``Explanation``.
    """
    shown = shown_outputs(request)
    loss = "divergence" if request.y is None else str(request.loss)
    sampler = played.game.back_end.sampler
    drawn: dict[str, Any] = {"not_identifiable": []} if request.subject.paths else {}
    facts = {
        "quantity": "increase of the loss" if request.y is not None else "divergence from the model's own prediction",
        "unit": loss_unit(request, loss),
        "loss": loss,
        "loss_scale": played.loss_scale,
        **({"model_loss": played.model_loss} if np.isfinite(played.model_loss) else {}),
        "repeats": played.repeats,
        "model_rows": played.model_rows,
        "classes_by": "y" if request.y is not None else "predicted class",
        **(drawn if sampler is None else sampler.facts()),
        **plays.facts,
    }
    if numbers is None:
        names, quantities = request.space.names, len(plays.names)
        numbers = tabulate(names, played.moments, played.outputs, played.repeats, quantities, request.confidence)
        fields["correlation"] = shared_errors(len(names), shown, partial(scores_of, names, played.moments))
    outputs = tuple(played.outputs[index] for index in shown)
    return build(
        request, method, facts=facts, outputs=outputs, **by_quantity(plays.names, *numbers[:, :, shown]), **fields
    )
