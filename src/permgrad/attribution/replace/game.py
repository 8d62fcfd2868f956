"""The replacement game: plays over rows and donors, measures of the answers, and tables
of the effects' sums.

A *game* is ``predictions(coalition)``, then ``value(predictions)``. Predictions come
from a *back end*: the replacement engine of hybrid networks (``engine``), or the
network itself on blended rows (``Blend``), whose branches run once. Donors are
counter-based, so that nothing depends on how the work is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.statistics import shared_errors
from permgrad.attribution.replace.carried import rows_that_carry
from permgrad.attribution.replace.coalitions import Blend
from permgrad.attribution.replace.conditional import conditional_sampler
from permgrad.attribution.replace.donors import Lenders
from permgrad.attribution.replace.engine import Replacement
from permgrad.attribution.replace.moments import (
    FEWEST_REPEATS,
    Estimable,
    PairMoments,
    estimated,
    expected_repeats,
    first_repeats,
    further_repeats,
    scores_of,
)
from permgrad.attribution.replace.plays import Play, Plays, Value
from permgrad.attribution.request import Request
from permgrad.attribution.request.related_rows import tell_of_dependence
from permgrad.attribution.request.result import (
    build,
    by_quantity,
    shown_outputs,
)
from permgrad.attribution.subject.answers import most_asked
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.attribution.subject.scales import LOGIT
from permgrad.attribution.subject.soundness import settle
from permgrad.base.arrays import Floats, Integers
from permgrad.base.progress import Progress
from permgrad.base.sequences import positions_of
from permgrad.models.losses import read_loss

#: Takes the effects of one player's pairs: player, rows and donors ``(b,)``, effects
#: ``(b, quantities, V)``.
Collector = Callable[[str, Integers, Integers, Floats], None]


# ---- what is measured ----------------------------------------------------------------
def loss_value(request: Request) -> Value:
    """Return a measure of each row's loss ``(rows, 1)``, or without y of divergence
    from the model's own prediction.
    """
    subject = request.subject
    y = request.y
    if y is None:
        return lambda outputs, _rows, base: subject.outputs.divergence_rows(
            outputs, base, request.spread
        )[:, None]
    return lambda outputs, rows, _base: subject.outputs.loss_rows(
        outputs, y[rows], request.loss
    )[:, None]


def receiver_classes(request: Request, outputs: Tensor) -> tuple[Integers | None, int]:
    """Return each row's class: the true one if y is passed, else the predicted one.

    Args:
        request: The call.
        outputs: Raw outputs of the rows explained, ``(rows, K)``.

    Returns:
        The class of each row, ``(rows,)``, or None of numbers; and the number of
        classes.
    """
    subject = request.subject
    if not subject.outputs.class_names:
        return None, 1
    if request.y is not None:
        if request.classes is None:
            classes = request.y
        else:
            classes = request.classes
        return np.asarray(classes, dtype=np.int64), len(subject.outputs.class_names)
    logits = LOGIT.read(subject.outputs, outputs.float().cpu()).numpy()
    return logits.argmax(axis=1).astype(np.int64), len(subject.outputs.class_names)


def loss_scale(request: Request) -> float:
    """Return the mean loss of the constant predictor, the natural size of an
    importance, or NaN if it is not known.

    This is the entropy of the classes for cross entropy, and the variance of y for
    squared error (the mean over the outputs whose losses are averaged).
    """
    y = request.y
    weights = request.sample_weight
    loss = read_loss(request.loss)
    if y is None or loss.returned:
        return float("nan")
    if request.subject.task.has_classes:
        if loss.of_shares is None:
            return float("nan")
        counts = np.bincount(np.asarray(y, dtype=np.int64), weights=weights)
        return loss.of_shares(counts / counts.sum())
    columns = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
    loss_columns = list(request.subject.outputs.loss_columns or range(columns.shape[1]))
    columns = columns[:, loss_columns]
    errors = loss.of_constants(columns, weights, loss_columns)
    return float(np.average(errors, axis=0, weights=weights).mean())


# ---- playing -------------------------------------------------------------------------
class Game:
    """A replacement game over the rows of one call, with the sums of its effects by
    player.

    ``fixed`` replaces instead of donors, ``(1, *)`` per input. A back end answers plays
    (``answers``) for blocks of rows. ``joint``: plays replace several players, which
    the engine does not answer.
    """

    def __init__(
        self,
        request: Request,
        value: Value,
        fixed: Sequence[Tensor] | None = None,
        *,
        joint: bool = False,
    ) -> None:
        self.request = request
        self.value = value
        donors = len(request.donors[0])
        conditional = request.sampling == "conditional" and fixed is None
        self.sampler = conditional_sampler(request) if conditional else None
        drawn = None if fixed is not None else Lenders.of(request), self.sampler
        #: how many rows lend, and whether they are the rows explained
        self.donors, self.shared = (
            (donors, request.shared) if fixed is None else (request.count, True)
        )
        self.engine = (
            Replacement(request, fixed, *drawn)
            if request.subject.paths and not joint
            else None
        )
        self.back_end: Replacement | Blend = self.engine or Blend(
            request, fixed, *drawn
        )
        self.moments: dict[str, PairMoments] = {}
        self.repeats = dict.fromkeys(request.space.names, 0)
        #: each row's class, of ``class_count`` (None: no classes)
        self.classes: Integers | None = None
        self.class_count = 1
        #: mean losses of the constant predictor, and of the rows as they are
        self.loss_scale = self.model_loss = float("nan")

    def play(
        self,
        plays: Iterable[Play],
        repeats: Sequence[int],
        collect: Collector,
        progress: Progress,
        span: slice | None = None,
    ) -> None:
        """Play repeats over all rows, or those of a span, with one player after the
        other.
        """
        plays = list(plays)
        back_end = self.back_end
        with self.request.subject.open(), back_end.mode():
            for block_rows, unchanged in back_end.blocks(span):
                base_values = self.value(unchanged, block_rows, unchanged)
                effects = partial(self.effects, base_values, block_rows.start)
                width = base_values.shape[1]
                for play_pack in back_end.packs(plays, len(repeats), block_rows):
                    pairs = len(repeats) * (block_rows.stop - block_rows.start)
                    masks = sum(len(play.mask) for play in play_pack)
                    back_end.watch(progress, len(play_pack) * pairs, masks * pairs)
                    for play, numbers, donors, pair_effects in back_end.answers(
                        play_pack, repeats, block_rows, effects, width
                    ):
                        for player_name, of_name in zip(
                            play.names, pair_effects, strict=True
                        ):
                            collect(player_name, numbers, donors, of_name)
                        progress.advance(len(numbers))

    def effects(
        self,
        base: Floats,
        start: int,
        play: Play,
        outputs: Tensor,
        unchanged: Tensor,
        rows: Integers,
    ) -> Floats:
        """Return effects ``(names, b, quantities, V)`` of rows ``(b,)``, from outputs
        ``(coalitions, b, K)``.

        ``base``: what is measured of a block's rows as they are, ``(rows, V)``, of
        which the first is ``start``.
        """
        noise = self.back_end.noise
        # Without what only rounding changes.
        settled = settle(outputs, unchanged, noise)
        for coalition_index, smaller in enumerate(play.within):
            # A path that the head does not read thereby adds exactly 0 to a coalition,
            # as it does alone.
            for smaller_index in smaller:
                settled[coalition_index] = settle(
                    settled[coalition_index], settled[smaller_index], noise
                )
        count = len(settled)
        repeated = unchanged.repeat(len(settled), 1)
        measured = np.asarray(
            self.value(settled.flatten(0, 1), np.tile(rows, count), repeated),
            dtype=np.float64,
        )
        measured = measured.reshape(count, len(rows), -1)
        if play.combine is None:
            return measured.swapaxes(0, 1)[None]
        effects: Floats = np.tensordot(
            play.combine, measured - base[rows - start], axes=1
        ).swapaxes(1, 2)
        # The last ones are the rows as they are.
        if play.steps:
            before = torch.cat([outputs, unchanged[None]])
        else:
            before = outputs
        for of_name, steps in zip(effects, play.steps, strict=False):
            previous_outputs = before[torch.from_numpy(steps[:, 1])]
            still = (
                settle(outputs[torch.from_numpy(steps[:, 0])], previous_outputs, noise)
                == previous_outputs
            )
            of_name[still.all(dim=2).all(dim=0).cpu().numpy()] = 0.0
        return effects

    def add(
        self, player: str, rows: Integers, donors: Integers, effects: Floats
    ) -> None:
        """Add the pairs of one batch to the sums of a player."""
        request = self.request
        if player not in self.moments:
            sizes = (
                request.count,
                self.donors,
                self.shared,
                self.class_count,
                effects.shape[1],
            )
            self.moments[player] = PairMoments(*sizes, request.units)
        if self.classes is None:
            classes = None
        else:
            classes = self.classes[rows]
        if request.sample_weight is None:
            weights = None
        else:
            weights = request.sample_weight[rows]
        self.moments[player].add(
            rows, donors, effects[:, :, 0], classes=classes, weights=weights
        )


def _effects_of_rows(moments: PairMoments) -> Floats:
    """Return the first quantity's effect in each row, whatever its weight, 0 in rows
    without one.
    """
    sums = moments.receiver_sum[0]
    weight = moments.receiver_weight
    return np.divide(sums, weight, out=np.zeros_like(sums), where=weight > 0)


def _with_most_asked(request: Request, plays: Plays, label: str) -> str:
    """Return the label with how many rows a predictor is asked for at most."""
    if not isinstance(request.subject, PredictorSubject):
        return label
    edited = sum(len(play.mask) for play in plays.plays) * request.n_repeats
    most = most_asked(request.inputs[0].numpy(), edited)
    return f"{label}, up to {most:,} rows"


def play_losses(
    request: Request, plays: Plays, label: str, goals: Mapping[str, int] | None = None
) -> Game:
    """Play the loss game for all players, and keep the sums over its pairs of rows and
    donors.

    Args:
        request: The call. Without y, the divergence from the model's own outputs is
            played.
        plays: Which coalitions are played for which players.
        label: What the progress bar says.
        goals: For each player that is played, how many donors a row gets, where that is
            decided already.
    """
    if request.engine is not None:
        elsewhere: Game = request.engine(request, plays, label)
        return elsewhere
    loss_game = Game(request, loss_value(request), plays.fixed, joint=plays.joint)
    pairs = len(plays.plays) * (
        expected_repeats(request.count) if request.automatic else request.n_repeats
    )
    label = _with_most_asked(request, plays, label)
    steps = (1 + pairs) * request.count
    with request.bar(steps, label, by_player=True) as progress:
        loss_game.back_end.watch(progress, request.count, request.count)
        outputs = loss_game.back_end.explained()
        progress.advance(request.count)  # a small part of the work
        loss_game.classes, loss_game.class_count = receiver_classes(request, outputs)
        loss_game.loss_scale = loss_scale(request)
        for number, plays_by_numbers in enumerate(
            rounds(request, plays, loss_game, goals)
        ):
            if request.automatic and number:
                pairs = 0
                for numbers, round_plays in plays_by_numbers.items():
                    pairs += len(round_plays) * len(numbers)
                progress.rest(pairs * request.count)
            for numbers, current_plays in plays_by_numbers.items():
                loss_game.play(current_plays, numbers, loss_game.add, progress)
    if np.isfinite(loss_game.loss_scale):
        losses = loss_game.value(outputs, slice(0, request.count), outputs)[:, 0]
        loss_game.model_loss = float(np.average(losses, weights=request.sample_weight))
    effects = list(map(_effects_of_rows, loss_game.moments.values()))
    tell_of_dependence(request, outputs, np.stack(effects) if effects else None)
    return loss_game


def rounds(
    request: Request,
    plays: Plays,
    game: Game,
    fixed_goals: Mapping[str, int] | None = None,
) -> Iterator[dict[range, list[Play]]]:
    """Yield the plays of a round by their repeats.

    They are played, and their sums in the game, before the next round.

    ``n_repeats="auto"`` begins with ``first_repeats`` and goes on where
    ``further_repeats`` says that it pays. With a tolerance there are 2, 4, 8, … until
    the interval is narrow enough. Noise and widths decide, never a p-value, so that
    intervals keep their coverage.

    Args:
        request: The call.
        plays: Which coalitions are played for which players.
        game: Its sums over pairs, to which each round adds.
        fixed_goals: For each player, how many donors a row gets: there is one round.
    """
    repeats = game.repeats
    most_repeats = request.n_repeats
    tolerance = request.tolerance
    first = most_repeats
    is_single_round = fixed_goals is not None
    if request.automatic:
        first = first_repeats(request.count)
    elif tolerance is not None:
        first = min(FEWEST_REPEATS, most_repeats)
    else:
        is_single_round = True
    goals = (
        {player_name: first for play in plays.plays for player_name in play.names}
        if fixed_goals is None
        else dict(fixed_goals)
    )
    while goals:
        steps: dict[range, list[Play]] = {}
        for play in plays.plays:
            finished_repeats = repeats.get(play.names[0], 0)
            goal_repeats = max(goals.get(player_name, 0) for player_name in play.names)
            if goal_repeats > finished_repeats:
                steps.setdefault(range(finished_repeats, goal_repeats), []).append(play)
        yield steps
        repeats |= {
            player_name: numbers.stop
            for numbers, step_plays in steps.items()
            for play in step_plays
            for player_name in play.names
        }
        if is_single_round:
            return
        if tolerance is None:
            player_sums = {
                player_name: (repeats[player_name], moments)
                for player_name, moments in game.moments.items()
            }
            goals = further_repeats(player_sums, most_repeats, request.confidence)
            continue
        wide_players = [
            player_name
            for player_name in goals
            if repeats[player_name] < most_repeats
            and _width(game, player_name) > 2 * tolerance * game.loss_scale
        ]
        goals = {
            player_name: min(2 * repeats[player_name], most_repeats)
            for player_name in wide_players
        }


def _width(game: Game, name: str) -> float:
    """Return the width of the interval of a player's importance."""
    _, _, lower_bound, upper_bound, _ = estimated(
        game.moments[name], game.request.confidence
    )[:, 0]
    return float(upper_bound - lower_bound)


def tabulate(
    repeats: Mapping[str, int],
    moments: Mapping[str, Estimable],
    outputs: int,
    quantities: int,
    confidence: float,
) -> Floats:
    """Return means, errors, ends of the intervals and p-values, ``(5, players, outputs,
    quantities)``.

    Args:
        repeats: The donors of a row, by the players in their order.
        moments: The sums over pairs of each player.
        outputs: How many there are: all rows, then the rows of each class.
        quantities: How many are measured.
        confidence: The level of the intervals.
    """
    numbers = np.zeros((5, len(repeats), outputs, quantities))
    # A player without encoded columns (a constant column) cannot change anything:
    # exactly 0, and certain.
    numbers[4] = 1.0
    for position, player_name in enumerate(repeats):
        for column in range(outputs if repeats[player_name] else 0):
            numbers[:, position, column] = estimated(
                moments[player_name], confidence, column - 1 if column else None
            )
    return numbers


def _minus_outputs(request: Request) -> Value:
    """Return what reads minus the outputs: an effect is then what the row's own value
    adds to them.
    """

    def minus(outputs: Tensor, rows: slice | Integers, base: Tensor) -> Floats:  # noqa: ARG001 — as for any value
        read = request.scale.read(request.subject.outputs, outputs)
        return -read[:, list(request.targets)].double().cpu().numpy()

    return minus


class RowEffects(NamedTuple):
    """What each row's own values add to its outputs.

    Attributes:
        mean: Mean over repeats ``(rows, players, targets, quantities)``.
        std_error: Standard error over repeats, of the same shape.
        predictions: Outputs of the rows ``(rows, targets)``.
        facts: Facts for ``meta``.
    """

    mean: Floats
    std_error: Floats
    predictions: Floats
    facts: dict[str, Any]


def play_rows(request: Request, plays: Plays, label: str) -> RowEffects:
    """Play the output game for every row: what the row's own values add to its output,
    against donors.
    """
    repeats = request.n_repeats
    names = request.space.names
    shape = (request.count, len(names), len(request.targets), len(plays.names))
    effect_sums = np.zeros(shape)
    squares = np.zeros(shape)
    player_indices = positions_of(names)

    def collect(player: str, rows: Integers, donors: Integers, effects: Floats) -> None:  # noqa: ARG001 — the collector's form
        turned = effects.swapaxes(1, 2)
        effect_sums[rows, player_indices[player]] += turned
        squares[rows, player_indices[player]] += turned**2

    minus = _minus_outputs(request)
    output_game = Game(request, minus, plays.fixed, joint=plays.joint)
    steps = (1 + len(plays.plays) * repeats) * request.count
    with request.bar(steps, label, by_player=True) as progress:
        output_game.back_end.watch(progress, request.count, request.count)
        outputs = output_game.back_end.explained()
        progress.advance(request.count)  # a small part of the work
        output_game.play(plays.plays, range(repeats), collect, progress)
    mean_effects = effect_sums / repeats
    std_errors = np.zeros(shape)
    played = []
    for play in plays.plays:
        for player_name in play.names:
            played.append(player_indices[player_name])
    spread = np.maximum(squares[:, played] / repeats - mean_effects[:, played] ** 2, 0)
    if repeats > 1:
        std_errors[:, played] = np.sqrt(spread / (repeats - 1))
    else:
        std_errors[:, played] = np.nan
    predictions = -minus(outputs, slice(0, request.count), outputs)
    return RowEffects(
        mean_effects,
        std_errors,
        predictions,
        {"model_rows": output_game.back_end.evaluations, **plays.facts},
    )


# ---- explanations --------------------------------------------------------------------
def explain_plays(method: str, request: Request, plays: Plays) -> Explanation:
    """Play a method's plays and explain the loss over all rows (global) or each row's
    output (local).

    Args:
        method: The method's name.
        request: The call.
        plays: Which coalitions are played for which players.
    """
    if not request.scope.by_row:
        return global_explanation(
            method, request, plays, play_losses(request, plays, method)
        )
    mean_effects, std_errors, predictions, facts = play_rows(request, plays, method)
    facts = {
        "quantity": "output minus the mean output with the feature replaced",
        **facts,
    }
    return build(
        request,
        method,
        facts=facts,
        predictions=predictions,
        **by_quantity(plays.names, mean_effects, std_errors),
    )


def _few_rows(request: Request, game: Game) -> dict[str, dict[str, Any]]:
    """Return the few rows that make the importance of a player, of those that
    some do.
    """
    few_rows: dict[str, dict[str, Any]] = {}
    if request.y is None:
        return few_rows
    for name, moments in game.moments.items():
        if name not in request.space.names:
            continue
        rows = rows_that_carry(moments, game.loss_scale, shared=request.shared)
        if rows is not None:
            few_rows[name] = rows
    return few_rows


def global_explanation(
    method: str,
    request: Request,
    plays: Plays,
    game: Game,
    numbers: Floats | None = None,
    **fields: Any,
) -> Explanation:
    """Build the result of a loss game: the first quantity is the importance, the others
    are parts.

    ``numbers`` replaces the numbers of the game, and ``fields`` adds fields of
    ``Explanation``.
    """
    shown = shown_outputs(request)
    drawn: dict[str, Any]
    if request.subject.paths:
        drawn = {"not_identifiable": []}
    else:
        drawn = {}
    facts = {
        "quantity": "increase of the loss"
        if request.y is not None
        else "divergence from the model's own prediction",
        "unit": request.measured.unit,
        "loss": request.measured.name,
        **({"n_repeats": "auto"} if request.automatic else {}),
        "loss_scale": game.loss_scale,
        **({"model_loss": game.model_loss} if np.isfinite(game.model_loss) else {}),
        "repeats": game.repeats,
        "model_rows": game.back_end.evaluations,
        "classes_by": "y" if request.y is not None else "predicted class",
        **(drawn if game.sampler is None else game.sampler.facts()),
        **plays.facts,
    }
    if numbers is None:
        names = request.space.names
        count = 1 + len(request.subject.outputs.class_names)
        repeats = {player_name: game.repeats[player_name] for player_name in names}
        numbers = tabulate(
            repeats, game.moments, count, len(plays.names), request.confidence
        )
        fields["correlation"] = shared_errors(
            len(names), shown, partial(scores_of, names, game.moments)
        )
        few_rows = _few_rows(request, game)
        if few_rows:
            facts |= {"few_rows": few_rows}
    outputs = tuple(
        ("all", *request.subject.outputs.class_names)[index] for index in shown
    )
    return build(
        request,
        method,
        facts=facts,
        outputs=outputs,
        **by_quantity(plays.names, *numbers[:, :, shown]),
        **fields,
    )
