"""Interactions of more players than can be enumerated: the package shapiq estimates
them from some of the coalitions.

It plays the same value function, draws with a seed of its own, and gives no standard
errors.
"""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.attribution.method.shapley.indices import InteractionIndex
from permgrad.attribution.method.shapley.sampled import RowValues, row_bytes
from permgrad.attribution.method.shapley.shapley_game import ShapleyGame, slices
from permgrad.attribution.typed_options import as_typed
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.base.random import content_keys, uniform_integers
from permgrad.base.sequences import values_at

#: Most names that are estimated: a regression of shapiq holds twice as many coalitions
#: as names, squared.
_MOST_NAMES = 5_000
#: Rows times players whose coalitions are prepared at once.
_BLOCK_NUMBERS = 5592


class RowInteractions(RowValues):
    """Interactions of all rows of an output game ``(rows, numbers, V)``, enumerated, or
    estimated by shapiq.
    """

    interactions: InteractionIndex

    def fill(self) -> None:
        """Compute the numbers of all rows.

        What shapiq draws for a row depends on nothing but its contents.
        """
        request = self.game.request
        references = self.references
        row_slices = list(
            slices(request.count, max(1, _BLOCK_NUMBERS // self.game.players))
        )
        all_rows = np.arange(request.count, dtype=np.int64)
        active = np.concatenate(
            [
                self.game.differs(
                    all_rows[block_slice],
                    np.broadcast_to(
                        references, (len(all_rows[block_slice]), len(references))
                    ),
                )
                for block_slice in row_slices
            ]
        )
        is_enumerated = active.sum(axis=1) <= self.exact
        if not is_enumerated.all():
            self._check(int(active.sum(axis=1).max()))
        with request.bar(request.count, "shapley", by_player=True) as progress:
            for row_slice in row_slices:
                enumerated = all_rows[row_slice][is_enumerated[row_slice]]
                self._enumerate(enumerated, active[enumerated])
                progress.advance(len(enumerated))
                row_keys = content_keys(
                    [row_bytes(tensor[row_slice]) for tensor in request.inputs]
                )
                seeds = uniform_integers(request.seed, ("shapiq",), row_keys, 2**31)
                for row_index in all_rows[row_slice][
                    ~is_enumerated[row_slice]
                ].tolist():
                    self._estimate(
                        row_index,
                        active[row_index],
                        int(seeds[row_index - row_slice.start]),
                    )
                    progress.advance(1)

    def _check(self, players: int) -> None:
        """Refuse more names than are estimated, and interactions without shapiq."""
        comparison = f"more than the {self.exact} whose coalitions are all played"
        names = len(
            InteractionIndex(
                self.interactions.index, self.interactions.order, players
            ).members
        )
        if names > _MOST_NAMES:
            problem = (
                f"{players} players differ in a row and its background, {comparison}, "
                f"and at most {_MOST_NAMES:,} features "
                f"and interactions are estimated, got {names:,}"
            )
            raise InputError(
                problem,
                hint="Join players with groups=, or pass "
                f"{as_typed('Shapley', order=2)}.",
                code="PG002",
            )
        try:
            import shapiq  # noqa: F401 — imported in the first row otherwise
        except ImportError as error:
            problem = (
                f"{players} players differ in a row and its background, "
                f"{comparison}: interactions then need shapiq"
            )
            hint = "Run pip install 'permgrad[peers]', or join players with groups=."
            raise EnvironmentProblem(problem, hint=hint, code="PG060") from error

    def _estimate(self, row: int, active: Booleans, seed: int) -> None:
        """Estimate the numbers of a row with many active players."""
        active_index, numbers = self.interactions.among(active)
        coalitions = self.rule.most * active_index.players // len(self.references)
        played = _Played(self.game, row, self.references, active)
        for output in range(self.game.width):
            estimator, budget = _estimator(active_index, coalitions, seed)
            approximated = estimator.approximate(
                budget, lambda sets, output=output: played(sets)[:, output]
            )
            of_index = np.array(values_at(approximated, active_index.members))
            # What an index gives to a set, divided among its players, makes their
            # Shapley values, where all values add up to the worth of everybody. Those
            # of SII do not, and its values of single players are Shapley's.
            shapley = np.zeros(active_index.players)
            for player_set, value in zip(active_index.members, of_index, strict=True):
                if active_index.index != "SII" or len(player_set) == 1:
                    shapley[list(player_set)] += value / len(player_set)
            self.values[row, numbers, output] = [
                *shapley,
                *of_index[active_index.players :],
                *of_index[: active_index.players],
            ]
        self.std[row, numbers] = np.nan
        self.ways.add(f"{type(estimator).__name__} of shapiq")
        self.orders[row] = -(
            -played.count * len(self.references) // active_index.players
        )


class _Played:
    """The worth of a row's coalitions ``(coalitions, V)``, each of which is played
    once.
    """

    def __init__(
        self, game: ShapleyGame, row: int, references: Integers, active: Booleans
    ) -> None:
        self.game = game
        self.active = active
        self.row = np.array([row])
        self.donors = references[None]
        self._known: dict[bytes, Floats] = {}

    @property
    def count(self) -> int:
        """How many coalitions were played."""
        return len(self._known)

    def __call__(self, coalitions: npt.NDArray[Any]) -> Floats:
        """Return the worth of coalitions of the active players ``(coalitions,
        players)``, or of a single one.
        """
        coalition_rows = np.atleast_2d(coalitions).astype(bool)
        codes = [coalition.tobytes() for coalition in coalition_rows]
        new_coalitions = {}
        for coalition_code, coalition in zip(codes, coalition_rows, strict=True):
            if coalition_code not in self._known:
                new_coalitions[coalition_code] = coalition
        if new_coalitions:
            self._known.update(
                zip(
                    new_coalitions,
                    self._play(np.stack(list(new_coalitions.values()))),
                    strict=True,
                )
            )
        return np.stack(values_at(self._known, codes))

    def _play(self, sets: Booleans) -> Floats:
        keeps = np.ones((1, len(sets), len(self.active)), dtype=bool)
        keeps[0][:, self.active] = sets
        worth = np.empty((len(sets), self.game.width))
        sizes = sets.sum(axis=1)
        between = (sizes > 0) & (sizes < sets.shape[1])
        if between.any():
            worth[between] = self.game.values(self.row, self.donors, keeps[:, between])[
                0
            ]
        worth[sizes == 0] = self.game.empty(self.row, self.donors)
        worth[sizes == sets.shape[1]] = self.game.full(self.row)
        return worth


def _estimator(
    interaction_index: InteractionIndex, coalitions: int, seed: int
) -> tuple[Any, int]:
    """Return the estimator of an index, and the budget with which it plays about so
    many different coalitions.

    STII is estimated from orders of the players, the others by regressions on
    coalitions and their complements.
    """
    from shapiq.approximator import (
        KernelSHAPIQ,
        PermutationSamplingSTII,
        RegressionFSII,
    )

    players = interaction_index.players
    order = interaction_index.order
    names = len(interaction_index.members)
    settings: dict[str, Any] = {"n": players, "max_order": order, "random_state": seed}
    if interaction_index.index == "STII":
        # An order has as many different coalitions as there are names, and nobody. They
        # are counted more than once.
        smaller = sum(comb(players, set_size) for set_size in range(order))
        orders = max(1, (coalitions - smaller) // (names + 1))
        return PermutationSamplingSTII(
            **settings
        ), smaller + 1 + orders * 2**order * comb(players, order)
    # With more than half of all coalitions, drawing those that are still missing takes
    # long.
    half_coalitions = 2 ** (players - 1)
    fewest = 2 * names
    budget = max(coalitions, fewest)
    if budget > half_coalitions:
        if coalitions >= 2 * half_coalitions or fewest > half_coalitions:
            budget = 2 * half_coalitions
        else:
            budget = half_coalitions
    if interaction_index.index == "FSII":
        return RegressionFSII(pairing_trick=True, **settings), budget
    index: Any = interaction_index.index  # its type names the indices, ours is any text
    return KernelSHAPIQ(index=index, pairing_trick=True, **settings), budget
