"""Replacement effects on any torch network: permutation, ablation, and the modality game of ``permgrad``.

For row i and repeat r one donor row d(i, r) is drawn; a coalition of players takes its values from it, and what this
does to the loss (or, locally, to the output) is the effect of that coalition. Every quantity is a fixed linear
combination of such effects, so that means, standard errors and intervals are those of ``moments``.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.replace.coalitions import CoalitionGame
from permgrad.attribution.replace.donors import donor_rows, need_background
from permgrad.attribution.replace.finite import finite_rows
from permgrad.attribution.replace.game import Floats, MomentCollector, ReadoutValue, Value, doubling_rounds, settle
from permgrad.attribution.replace.importance import (
    Table,
    loss_scale,
    make_value,
    receiver_classes,
    sampler_facts,
    tabulate,
)
from permgrad.attribution.replace.moments import NO_DONOR, interval
from permgrad.attribution.replace.network_conditional import TableSampler
from permgrad.base.progress import Progress
from permgrad.base.random import generator

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

#: Most modalities for which all coalitions are played.
EXACT_PLAYERS = 12
#: The whole game among the names of its players; no input can have this name.
_TOTAL = "\0total"
#: So many coalitions are predicted one by one: the same positions are then replaced in all rows.
_ONE_BY_ONE = 8
#: Pairs that are held at once.
_CHUNK = 65_536


@dataclass(frozen=True)
class Play:
    """What is played for one player (or for all of them at once).

    Attributes:
        key: of the donor stream: players with the same key meet the same donors.
        names: of the players that the results belong to.
        coalitions: bool ``(coalitions, players of the space)``.
        combine: ``(names, quantities, coalitions)``: how effects of coalitions become quantities.
        steps: for each name ``(steps, 2)``: the coalitions with and without the player (−1: nobody is replaced). A row
            whose output none of the steps changes has effects of exactly 0, not sums of rounding.
    """

    key: str
    names: tuple[str, ...]
    coalitions: Booleans
    combine: Floats
    steps: tuple[Integers, ...]


def single_plays(request: Request, *, others: bool = False) -> tuple[tuple[str, ...], list[Play]]:
    """Return the plays in which each player is replaced by itself.

    Args:
        request: the call.
        others: also the effect of replacing it while all *other* modalities are replaced as well.

    Returns:
        The quantities' names and one play for each player.
    """
    space = request.space
    eye = np.eye(len(space), dtype=bool)
    modality = np.array(space.modality)
    plays = []
    for index, name in enumerate(space.names):
        if not others:
            plays.append(Play(name, (name,), eye[[index]], np.ones((1, 1, 1)), (np.array([[0, -1]]),)))
            continue
        rest = modality != modality[index]
        coalitions = np.stack([eye[index], rest, rest | eye[index]])
        combine = np.array([[[1.0, 0.0, 0.0], [0.0, -1.0, 1.0]]])
        plays.append(Play(name, (name,), coalitions, combine, (np.array([[0, -1], [2, 1]]),)))
    return (("total", "others_replaced") if others else ("total",)), plays


def shapley_play(request: Request) -> tuple[tuple[str, ...], list[Play]]:
    """Return the game of all players at once: the Shapley value of S ↦ Δ_S, and each player's effect alone and last.

    φ_j = Σ_S |S|! (n − |S| − 1)! / n! (Δ_{S ∪ j} − Δ_S); exact up to ``EXACT_PLAYERS`` players, above them the mean
    over sampled permutations with their reverses.
    """
    count = len(request.space)
    if count <= EXACT_PLAYERS:
        coalitions = np.array(list(itertools.product([False, True], repeat=count)), dtype=bool)[1:]
        position = {tuple(row): index for index, row in enumerate(coalitions.tolist())}
        combine = np.zeros((count, 3, len(coalitions)))
        for row, index in position.items():
            size = sum(row)
            for player in range(count):
                without = list(row)
                without[player] = False
                if not row[player]:
                    continue
                weight = math.factorial(size - 1) * math.factorial(count - size) / math.factorial(count)
                combine[player, 0, index] += weight
                if size > 1:
                    combine[player, 0, position[tuple(without)]] -= weight
    else:
        coalitions, combine = _sampled_coalitions(request, count)
    steps = tuple(_steps(coalitions, player) for player in range(count))
    full = int(np.flatnonzero(coalitions.all(axis=1))[0])
    for player in range(count):
        alone = int(np.flatnonzero(coalitions[:, player] & (coalitions.sum(axis=1) == 1))[0])
        combine[player, 1, alone] += 1.0
        combine[player, 2, full] += 1.0
        if count > 1:
            least = int(np.flatnonzero(~coalitions[:, player] & (coalitions.sum(axis=1) == count - 1))[0])
            combine[player, 2, least] -= 1.0
    return ("total", "alone", "last"), [Play("modalities", request.space.names, coalitions, combine, steps)]


def _steps(coalitions: Booleans, player: int) -> Integers:
    """Return every pair of coalitions that differ in one player alone."""
    position = {row.tobytes(): index for index, row in enumerate(coalitions)}
    found = []
    for index in np.flatnonzero(coalitions[:, player]):
        without = coalitions[index].copy()
        without[player] = False
        before = position.get(without.tobytes(), None if without.any() else -1)
        if before is not None:
            found.append((index, before))
    return np.array(found, dtype=np.int64)


def _sampled_coalitions(request: Request, count: int, permutations: int = 128) -> tuple[Booleans, Floats]:
    """Return the coalitions that sampled permutations and their reverses meet, with their weights; singles too."""
    rng = generator(request.seed, "modality permutations")
    weights: dict[bytes, Floats] = {}

    def add(row: Booleans, player: int, weight: float) -> None:
        if row.any():
            weights.setdefault(row.tobytes(), np.zeros(count))[player] += weight

    for _ in range(permutations):
        order = rng.permutation(count)
        for walk in (order, order[::-1]):
            row = np.zeros(count, dtype=bool)
            for player in walk.tolist():
                add(row, player, -0.5 / permutations)
                row[player] = True
                add(row, player, 0.5 / permutations)
    for player in range(count):
        for edge in (np.arange(count) == player, np.arange(count) != player):
            weights.setdefault(edge.tobytes(), np.zeros(count))
    coalitions = np.stack([np.frombuffer(key, dtype=bool) for key in weights])
    combine = np.zeros((count, 3, len(weights)))
    combine[:, 0, :] = np.stack(list(weights.values()), axis=1)
    return coalitions, combine


class Effects:
    """Plays coalitions over rows, repeats and donors, and hands the effects to a collector.

    Args:
        request: the call.
        value: what is measured.
        fixed: tensors ``(1, *)`` per input that replace in the place of donors; None: donors.
    """

    def __init__(self, request: Request, value: Value, fixed: Sequence[Tensor] | None = None) -> None:
        self.request = request
        self.game = CoalitionGame(request)
        self.value = value
        self.fixed = fixed
        self.sampler = TableSampler(request) if request.sampling == "conditional" and fixed is None else None
        donors = len(request.donors[0])
        if fixed is None:
            need_background(donors, shared=request.shared)
        self.donors = donors if fixed is None else request.count

    @cached_property
    def noise(self) -> float | None:
        """How far rounding moves the outputs."""
        return self.game.noise()

    def outputs(self) -> Tensor:
        """Return the outputs of the rows explained; not finite ones are refused, of the background too."""
        outputs = self.game.base()
        if self.fixed is None:
            self.game.donor_outputs()
        finite_rows(outputs)
        return outputs

    def play(
        self,
        play: Play,
        repeats: Sequence[int],
        collect: Callable[[str, Integers, Integers, Floats], None],
        base: Floats,
    ) -> None:
        """Play repeats over all rows: ``collect(name, rows, donors, effects (b, quantities, V))``, repeat by repeat.

        Where rows are few, several repeats go through the network together.
        """
        count, width = self.request.count, len(play.coalitions)
        together = max(1, _CHUNK // (width * count))
        size = max(1, _CHUNK // width)
        for first in range(0, len(repeats), together):
            some = repeats[first : first + together]
            for start in range(0, count, size):
                rows = np.arange(start, min(start + size, count), dtype=np.int64)
                self._play_pairs(play, some, rows, collect, base)

    def _play_pairs(
        self,
        play: Play,
        repeats: Sequence[int],
        rows: Integers,
        collect: Callable[[str, Integers, Integers, Floats], None],
        base: Floats,
    ) -> None:
        many = np.tile(rows, len(repeats))
        if self.sampler is not None:
            donors, outputs = self._predict_drawn(play.key, many, rows, repeats)
        else:
            donors = np.concatenate([self._donors(play.key, rows, repeat) for repeat in repeats])
            outputs = self._predict(many, donors, play.coalitions)
        own = self.game.base()[torch.as_tensor(many)]
        changes = np.stack(
            [self.value(settle(found, own, noise=self.noise), many, own) - base[many] for found in outputs], axis=1
        )
        effects = np.einsum("jqs,bsv->jbqv", play.combine, changes)
        for name, mine, steps in zip(play.names, effects, play.steps, strict=True):
            mine[_unmoved(outputs, own, steps, self.noise)] = 0.0
            for start in range(0, len(many), len(rows)):
                part = slice(start, start + len(rows))
                collect(name, rows, donors[part], mine[part])

    def _predict_drawn(
        self, player: str, many: Integers, rows: Integers, repeats: Sequence[int]
    ) -> tuple[Integers, Tensor]:
        """Return donors ``(b,)`` and outputs ``(1, b, K)`` of rows in which the player is drawn given the others."""
        assert self.sampler is not None
        drawn = [self.sampler.draw(player, rows, repeat) for repeat in repeats]
        values = torch.cat([values for _, values in drawn])
        outputs = self.game.with_values(many, self.sampler.columns[player], values)
        return np.concatenate([donors for donors, _ in drawn]), outputs[None]

    @property
    def facts(self) -> dict[str, Any]:
        """What the draws say of features, for ``meta``."""
        return {} if self.sampler is None else sampler_facts(self.sampler.drawn)

    def _donors(self, key: str, rows: Integers, repeat: int) -> Integers:
        if self.fixed is not None:
            return np.full(len(rows), NO_DONOR, dtype=np.int64)
        request = self.request
        return donor_rows(request.seed, key, repeat, rows + request.row_offset, self.donors, shared=request.shared)

    def _predict(self, rows: Integers, donors: Integers, coalitions: Booleans) -> Tensor:
        """Return outputs ``(coalitions, b, K)``."""
        if self.fixed is None and (len(coalitions) <= _ONE_BY_ONE and not self.game.has_branches(len(rows))):
            return torch.stack([self.game.predict_one(rows, donors, coalition) for coalition in coalitions])
        count, many = len(rows), len(coalitions)
        replaced = torch.as_tensor(coalitions).repeat_interleave(count, dim=0)
        if self.fixed is not None:
            flat = self.game.replace(np.tile(rows, many), self.fixed, replaced)
        else:
            flat = self.game.predict(np.tile(rows, many), np.tile(donors, many), replaced)
        outputs: Tensor = flat.unflatten(0, (many, count))
        return outputs


@dataclass(frozen=True)
class _Played:
    """A loss game that has been played."""

    collector: MomentCollector
    outputs: tuple[str, ...]
    repeats: dict[str, int]
    seconds: float
    model_rows: int
    facts: dict[str, Any]


def _play_game(
    request: Request, names: tuple[str, ...], plays: Sequence[Play], label: str, fixed: Sequence[Tensor] | None
) -> _Played:
    started = time.perf_counter()
    with request.subject.open():
        effects = Effects(request, make_value(request), fixed)
        outputs = effects.outputs()
        base = effects.value(outputs, slice(0, request.count), outputs)
        classes, class_count = receiver_classes(request, outputs.float().cpu().numpy())
        collector = MomentCollector(
            receivers=request.count,
            donors=effects.donors,
            shared=request.shared or fixed is not None,
            classes=classes,
            class_count=class_count,
            quantities=len(names),
            weights=request.sample_weight,
        )
        wanted = request.options.get("tolerance")
        half_width = None if wanted is None else float(wanted) * loss_scale(request)
        repeats: dict[str, int] = {}
        with Progress(len(plays) * request.n_repeats, label, request.progress) as progress:
            for play in plays:
                done = _play_repeats(request, effects, play, collector, base, half_width)
                progress.advance(request.n_repeats)
                repeats |= dict.fromkeys(play.names, done)
    shown = ("all", *request.subject.class_names) if classes is not None else ("all",)
    return _Played(collector, shown, repeats, time.perf_counter() - started, effects.game.evaluations, effects.facts)


def _play_repeats(
    request: Request, effects: Effects, play: Play, collector: MomentCollector, base: Floats, half_width: float | None
) -> int:
    """Play all repeats, or as many as give intervals of the half-width wanted; return how many."""
    rounds = [range(request.n_repeats)] if half_width is None else list(doubling_rounds(request.n_repeats))
    for some in rounds:
        effects.play(play, some, collector, base)
        # Looked at after 2, 4, 8, … repeats. Only widths decide, so that intervals keep their coverage.
        if half_width is not None and all(
            _narrow(collector, name, half_width, request.confidence) for name in play.names
        ):
            return some.stop
    return request.n_repeats


def _unmoved(outputs: Tensor, own: Tensor, steps: Integers, noise: float | None) -> Booleans:
    """Return the rows whose output no step changes by more than rounding, bool ``(b,)``.

    Shape:
        outputs ``(coalitions, b, K)``, own ``(b, K)``, steps ``(steps, 2)``.
    """
    unmoved = np.ones(len(own), dtype=bool)
    for taken, before in steps.tolist():
        left = own if before < 0 else outputs[before]
        unmoved &= (settle(outputs[taken], left, noise=noise) == left).all(dim=1).cpu().numpy()
        if not unmoved.any():
            break
    return unmoved


def play_loss(
    request: Request, names: tuple[str, ...], plays: Sequence[Play], label: str, fixed: Sequence[Tensor] | None = None
) -> Table:
    """Play the loss game (without y: the divergence) and return means, errors and intervals, per class and overall."""
    return _table(request, _play_game(request, names, plays, label, fixed), len(names))


def _table(request: Request, played: _Played, quantities: int) -> Table:
    arrays = tabulate(
        request.space.names,
        played.collector.moments,
        played.outputs,
        played.repeats,
        quantities,
        request.confidence,
    )
    return Table(
        *arrays,
        outputs=played.outputs,
        repeats=played.repeats,
        seconds=played.seconds,
        model_rows=played.model_rows,
        facts=played.facts,
    )


def _narrow(collector: MomentCollector, name: str, wanted: float, confidence: float) -> bool:
    mean, std, count = collector.moments[name].estimate()
    low, high, _ = interval(mean[:1], std[:1], count[:1], confidence)
    return bool((high - low)[0] / 2 <= wanted)


@dataclass(frozen=True)
class RowEffects:
    """Effects on every row's output: ``mean`` and ``std`` over repeats, ``(rows, players, targets, quantities)``."""

    mean: Floats
    std: Floats
    predictions: Floats
    seconds: float
    model_rows: int


def play_rows(
    request: Request, names: tuple[str, ...], plays: Sequence[Play], label: str, fixed: Sequence[Tensor] | None = None
) -> RowEffects:
    """Play the output game for every row: what the row's own values add to its output, against donors."""
    started = time.perf_counter()
    shape = (request.count, len(request.space), len(request.targets), len(names))
    sums, squares = np.zeros(shape), np.zeros(shape)
    place = {name: index for index, name in enumerate(request.space.names)}

    def collect(name: str, rows: Integers, donors: Integers, found: Floats) -> None:  # noqa: ARG001 — the collector's form
        turned = found.swapaxes(1, 2)
        sums[rows, place[name]] += turned
        squares[rows, place[name]] += turned**2

    with request.subject.open():
        effects = Effects(request, ReadoutValue(request.subject, request.output, request.targets), fixed)
        outputs = effects.outputs()
        base = effects.value(outputs, slice(0, request.count), outputs)
        with Progress(len(plays) * request.n_repeats, label, request.progress) as progress:
            for play in plays:
                effects.play(play, range(request.n_repeats), collect, base)
                progress.advance(request.n_repeats)
    repeats = request.n_repeats
    mean = sums / repeats
    std = np.full(shape, np.nan)
    if repeats > 1:
        std = np.sqrt(np.maximum(squares / repeats - mean**2, 0) / (repeats - 1))
    return RowEffects(mean, std, -base, time.perf_counter() - started, effects.game.evaluations)


def modality_weights(request: Request) -> dict[str, Any] | None:
    """Return the modality game as ``Explanation.branches``; None where there is one modality."""
    whole = request.space.modalities()
    if len(whole) < 2:
        return None
    request = replace(request, space=whole)
    return play_modalities(request, "modalities")[2]


def play_modalities(request: Request, label: str) -> tuple[tuple[str, ...], Table, dict[str, Any]]:
    """Play the loss game of modalities, the players of ``request.space``.

    Returns:
        Names of the quantities; the numbers per class; and the game as ``Explanation.branches``: importance, share,
        alone and last of every modality. ``alone`` is the effect of replacing this modality only, ``last`` that of
        replacing it after all others. Shares are null unless the interval of the total lies above 0.
    """
    names, (play,) = shapley_play(request)
    full = play.coalitions.all(axis=1).astype(np.float64)
    total = np.zeros((1, *play.combine.shape[1:]))
    total[0, 0] = full
    whole = np.array([[int(full.argmax()), -1]])
    play = replace(
        play,
        names=(*play.names, _TOTAL),
        combine=np.concatenate([play.combine, total]),
        steps=(*play.steps, whole),
    )
    played = _play_game(request, names, [play], label, None)

    def entry(name: str) -> dict[str, Any]:
        mean, std, count = played.collector.moments[name].estimate()
        low, high, p_values = interval(mean, std, count, request.confidence)
        return {
            "importance": float(mean[0]),
            "std": float(std[0]),
            "ci_low": float(low[0]),
            "ci_high": float(high[0]),
            "p_value": float(p_values[0]),
            "alone": float(mean[1]),
            "last": float(mean[2]),
        }

    whole_effect = entry(_TOTAL)
    certain = whole_effect["ci_low"] > 0
    result: dict[str, Any] = {}
    for name in request.space.names:
        own = entry(name)
        own["share"] = own["importance"] / whole_effect["importance"] if certain else None
        result[name] = own
    result["total"] = {key: whole_effect[key] for key in ("importance", "std", "ci_low", "ci_high")}
    result["quantity"] = "loss" if request.y is not None else "divergence"
    return names, _table(request, played, len(names)), result
