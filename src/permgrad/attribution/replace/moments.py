"""Mergeable sums over (receiver, donor) pairs, and the mean, standard error and
interval they give.

An importance is a two-sample U-statistic: the mean over receivers i and donors d(i, r)
of an effect h(i, d). A row is a receiver and, unless the background is a separate
sample, also a donor. Let S_i be the sum of h − θ over all pairs in which row i has
either role. Then (Hoeffding 1948, and Cameron, Gelbach & Miller 2011: the two-way
clustered variance)

    variance of the mean = (Σ_i S_i² − Σ_pairs (h − θ)²) / (number of pairs)²:

Σ S_i² holds each pair's own noise twice, and the second term takes it off once. The
bias that pairs drawn twice leave is never negative. A separate background is an
independent sample: both parts are estimated alone and added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from permgrad.attribution.explanation.statistics import (
    Estimate,
    independent,
    interval,
    spread,
    too_few,
    with_donors,
)
from permgrad.attribution.request.arguments import REPEATS
from permgrad.base.arrays import Array, Floats
from permgrad.base.dependence import Dependence

NO_DONOR = -1
#: With more classes, sums of donors are held for the classes that they lent to alone.
_FEW_CLASSES = 16


@dataclass
class PairMoments:
    """Sums over pairs for one player, float64 and additive: partitions of the pairs
    merge in any order.
    """

    receivers: int  # number of rows explained
    donors: int  # number of background rows
    shared: bool  # whether donor k and receiver k are the same row
    classes: int  # number of classes of receivers (1 where there are none)
    # number of effects kept side by side (for example total, tabular, image,
    # interaction)
    quantities: int
    units: Dependence | None = None  # which receivers depend on each other (None: none)

    def __post_init__(self) -> None:
        self.receiver_sum = np.zeros((self.quantities, self.receivers))
        self.receiver_weight = np.zeros(self.receivers)
        self.receiver_class = np.zeros(self.receivers, dtype=np.int64)
        # Sums of a donor for one class. The number of such a cell is class · donors +
        # donor.
        self.sparse = self.classes > _FEW_CLASSES
        self.donor_cells = np.arange(0 if self.sparse else self.classes * self.donors)
        self.donor_sum = np.zeros((self.quantities, len(self.donor_cells)))
        self.donor_weight = np.zeros(len(self.donor_cells))
        self.square_sum = np.zeros((self.classes, self.quantities))
        self.square_cross = np.zeros((self.classes, self.quantities))
        self.weight_squares = np.zeros(self.classes)
        self.squares = np.zeros((self.classes, self.quantities))
        self.pairs = 0

    def add(
        self,
        rows: npt.NDArray[np.integer],
        donors: npt.NDArray[np.integer],
        effects: Floats,
        *,
        classes: npt.NDArray[np.integer] | None = None,
        weights: Floats | None = None,
    ) -> None:
        """Add pairs."""
        if weights is None:
            weight = np.ones(len(rows))
        else:
            weight = np.asarray(weights, dtype=np.float64)
        if classes is None:
            group = np.zeros(len(rows), dtype=np.int64)
        else:
            group = np.asarray(classes, dtype=np.int64)
        # Only pairs with a donor are counted twice in S, so only their noise is taken
        # off again.
        lent_pairs: Any
        if (donors >= 0).all():
            lent_pairs = slice(None)
        else:
            lent_pairs = donors >= 0
        group_lent = group[lent_pairs]
        cells = group_lent * self.donors + donors[lent_pairs]
        if self.sparse:
            donor_positions = self._places(cells)
        else:
            donor_positions = cells
        cell_count = len(self.donor_cells)
        self.pairs += len(rows)
        self.receiver_class[rows] = group
        self.receiver_weight += np.bincount(rows, weight, self.receivers)
        self.donor_weight += np.bincount(
            donor_positions, weight[lent_pairs], cell_count
        )
        self.weight_squares += np.bincount(
            group_lent, weight[lent_pairs] ** 2, self.classes
        )
        for quantity, effect in enumerate(effects.T):
            weighted = effect * weight
            borrowed = weighted[lent_pairs]
            self.receiver_sum[quantity] += np.bincount(rows, weighted, self.receivers)
            self.donor_sum[quantity] += np.bincount(
                donor_positions, borrowed, cell_count
            )
            self.square_sum[:, quantity] += np.bincount(
                group_lent, borrowed**2, self.classes
            )
            self.square_cross[:, quantity] += np.bincount(
                group_lent, borrowed * weight[lent_pairs], self.classes
            )
            self.squares[:, quantity] += np.bincount(group, weighted**2, self.classes)

    def _places(self, cells: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        """Return the places of cells in the sums of donors that lent, which get those
        that they lack.
        """
        before = self.donor_cells
        self.donor_cells = np.union1d(self.donor_cells, cells)
        if len(before) < len(self.donor_cells):
            for sum_name in ("donor_sum", "donor_weight"):
                widened_sums = np.zeros(
                    (*getattr(self, sum_name).shape[:-1], len(self.donor_cells))
                )
                widened_sums[..., np.searchsorted(self.donor_cells, before)] = getattr(
                    self, sum_name
                )
                setattr(self, sum_name, widened_sums)
        return np.searchsorted(self.donor_cells, cells)

    def of_donors(self, group: int | None = None) -> tuple[Floats, Floats]:
        """Return each donor's sums ``(quantities, donors)`` and weight ``(donors,)``,
        for all rows or one class.
        """
        if group is None:
            class_range = (0, self.classes)
        else:
            class_range = (group, group + 1)
        cell_slice = slice(
            *np.searchsorted(self.donor_cells, np.array(class_range) * self.donors)
        )
        donor_indices = self.donor_cells[cell_slice] % self.donors
        donor_sums = []
        for sum_row in (*self.donor_sum, self.donor_weight):
            donor_sums.append(
                np.bincount(donor_indices, sum_row[cell_slice], self.donors)
            )
        return np.array(donor_sums[:-1], dtype=np.float64), np.asarray(
            donor_sums[-1], dtype=np.float64
        )

    def merge(self, other_sums: PairMoments) -> PairMoments:
        """Add another partition's sums to these, in place, and return self."""
        newly_seen = (self.receiver_weight == 0) & (other_sums.receiver_weight > 0)
        self.receiver_class[newly_seen] = other_sums.receiver_class[newly_seen]
        cell_positions = (
            self._places(other_sums.donor_cells) if self.sparse else slice(None)
        )
        for sum_name in _SUMS:
            own_positions: Any = (
                cell_positions if sum_name.startswith("donor") else slice(None)
            )
            getattr(self, sum_name)[..., own_positions] += getattr(other_sums, sum_name)
        self.pairs += other_sums.pairs
        return self

    def to_arrays(self) -> dict[str, Array]:
        """Return everything as named arrays, to be stored or sent."""
        sizes = np.array(
            [
                self.receivers,
                self.donors,
                int(self.shared),
                self.classes,
                self.quantities,
                self.pairs,
            ]
        )
        names = ("receiver_class", "donor_cells", *_SUMS)
        return {
            "sizes": sizes,
            **{array_name: getattr(self, array_name) for array_name in names},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> PairMoments:
        """Build from what ``to_arrays`` gave."""
        receivers, donors, shared, classes, quantities, pairs = map(
            int, arrays["sizes"]
        )
        moments = cls(receivers, donors, bool(shared), classes, quantities)
        moments.pairs = pairs
        for array_name in ("receiver_class", "donor_cells", *_SUMS):
            setattr(moments, array_name, np.array(arrays[array_name]))
        return moments

    def estimate(self, group: int | None = None) -> Estimate:
        """Return mean, standard error and effective number of rows ``(2, *)``, of all
        rows or of a class.

        The effective number is 1 more than the degrees of freedom of the low and the
        high end of intervals: those of rows of equal weight (Kish 1965), or of
        ``units``, fewer where few of them carry the sum (``spread``). If a separate
        background is small, it falls towards the number of donors (Satterthwaite 1946).
        A background of one row is a fixed reference: the standard error is then over
        receivers alone. Fewer than four rows or units have none.
        """
        member = (self.receiver_weight > 0) & (
            True if group is None else self.receiver_class == group
        )
        weight = np.where(member, self.receiver_weight, 0.0)
        total = float(weight.sum())
        if total <= 0:
            missing = np.full(self.quantities, np.nan)
            return Estimate(missing, missing.copy(), np.ones((2, self.quantities)))
        if group is None:
            class_slice = slice(None)
        else:
            class_slice = slice(group, group + 1)
        received = np.where(member, self.receiver_sum, 0.0)
        mean_effects = received.sum(axis=1) / total
        square_sum = self.square_sum[class_slice].sum(axis=0)
        if too_few(weight, self.units):
            quiet = (square_sum == 0) & (received == 0).all(axis=1)
            return Estimate(
                mean_effects,
                np.where(quiet, 0.0, np.nan),
                np.ones((2, self.quantities)),
            )
        by_receiver = received - mean_effects[:, None] * weight
        lent_sums, of_lenders = self.of_donors(group)
        by_donor = lent_sums - mean_effects[:, None] * of_lenders
        cross = self.square_cross[class_slice].sum(axis=0)
        squares = self.weight_squares[class_slice].sum()
        # Σ w² (h − θ)² over the pairs with a donor. Rounding may leave a trace below 0
        # where all effects are equal.
        noise = np.maximum(
            square_sum - 2 * mean_effects * cross + mean_effects**2 * squares, 0.0
        )
        if self.shared:
            score, correction, freedom = spread(
                by_receiver + by_donor, weight, self.units, lends=True
            )
            # The difference can be too small, even negative, in small samples. A tenth
            # of the pair noise is the floor.
            variance = np.maximum(score - noise, 0.1 * noise) * correction
            effective = freedom + 1
        else:
            of_receivers, correction, freedom = spread(by_receiver, weight, self.units)
            variance, effective = with_donors(
                of_receivers * correction, freedom + 1, by_donor, noise
            )
        return Estimate(mean_effects, np.sqrt(variance) / total, effective)

    def noise_of_draws(self, repeats: int) -> Floats:
        """Return the part of each mean's variance that further donors make smaller,
        ``(quantities,)``.

        It is that of the choice of ``repeats`` donors for each row, whose effects vary
        about the row's own mean.
        """
        received = (self.receiver_sum**2).sum(axis=1)
        total = float(self.receiver_weight.sum())
        return within_rows(self.squares.sum(axis=0), received, total, repeats)


def within_rows(
    squares: Floats, received: Floats, total: float, repeats: int
) -> Floats:
    """Return the variance of means over rows that the choice of donors for each row
    has, ``(quantities,)``.

    Args:
        squares: Σ (w h)² over pairs, ``(quantities,)``.
        received: The sum of squares of each row's Σ w h, ``(quantities,)``.
        total: Σ w.
        repeats: The donors of a row.
    """
    within = np.maximum(squares - received / repeats, 0.0) / max(repeats - 1, 1)
    if total > 0:
        return within * repeats / total**2
    return np.zeros_like(within)


def row_scores(
    moments: PairMoments, group: int | None, *, by_unit: bool = False
) -> Floats:
    """Return each row's part in the errors, the S_i above, ``(quantities, rows)``.

    Separate donors follow the rows.

    Args:
        moments: Sums over pairs.
        group: The class of the receivers. None: all.
        by_unit: Whether parts are returned that are independent of each other: of rows,
            groups or waves along time.
    """
    member = (moments.receiver_weight > 0) & (
        True if group is None else moments.receiver_class == group
    )
    weight = np.where(member, moments.receiver_weight, 0.0)
    received = np.where(member, moments.receiver_sum, 0.0)
    mean_effects = received.sum(axis=1, keepdims=True) / max(
        float(weight.sum()), np.finfo(np.float64).tiny
    )
    donor_sums, weights = moments.of_donors(group)
    lent_scores = donor_sums - mean_effects * weights
    of_receivers = received - mean_effects * weight
    if moments.shared:
        scores = of_receivers + lent_scores
    else:
        scores = np.concatenate([of_receivers, lent_scores], axis=1)
    if by_unit and moments.units is not None:
        return independent(scores, moments.units)
    return scores


def scores_of(
    names: Sequence[str], moments: Mapping[str, Any], group: int | None
) -> Floats | None:
    """Return the players' rows of scores.

    A player that nothing was drawn for is certain.
    """
    if not all(isinstance(entry, PairMoments) for entry in moments.values()):
        return None
    player_scores = {}
    for player_name, entry in moments.items():
        player_scores[player_name] = row_scores(entry, group, by_unit=True)[0]
    nothing = np.zeros(len(next(iter(player_scores.values()), ())))
    return np.stack([player_scores.get(player_name, nothing) for player_name in names])


class Estimable(Protocol):
    """Sums over pairs that give an estimate: ``PairMoments``, or what is left of them
    after summing over receivers.
    """

    def estimate(self, group: int | None = None) -> Estimate:
        """Return mean, standard error and effective number of rows, each
        ``(quantities,)``.

        Args:
            group: The class of the receivers. None: all.
        """
        ...

    def noise_of_draws(self, repeats: int) -> Floats:
        """Return the part of each mean's variance that further donors make smaller,
        ``(quantities,)``.

        Args:
            repeats: The donors that each row and feature have had.
        """
        ...


def estimated(
    moments: Estimable, confidence: float, group: int | None = None
) -> Floats:
    """Return mean, standard error, both ends of the interval and p-value of each
    quantity, ``(5, quantities)``.

    Args:
        moments: Sums over pairs.
        confidence: The level of the intervals.
        group: The class of the receivers. None: all.
    """
    mean_effects, std_errors, count = moments.estimate(group)
    return np.stack(
        [
            mean_effects,
            std_errors,
            *interval(mean_effects, std_errors, count, confidence),
        ]
    )


#: Further donors are drawn where their noise is more than this share of an importance's
#: variance, and its interval wider than this share of the largest importance.
_NOISE = 0.25
_WIDTH = 0.05
#: Donors a row that every feature has. Few rows have more, so that there are so many
#: pairs: a loss of few rows can have a long tail, which fewer pairs do not show.
FEWEST_REPEATS = 2
_FEWEST_PAIRS = 1000
#: Rows up to which most features are likely to have as many donors as they may.
_FEW_ROWS = 1000


def first_repeats(rows: int) -> int:
    """Return how many donors each of some rows has at first."""
    return int(np.clip(-(-_FEWEST_PAIRS // max(rows, 1)), FEWEST_REPEATS, REPEATS))


def expected_repeats(rows: int) -> int:
    """Return about how many donors each of some rows will have: intervals of few rows
    are wide, so that more pay.
    """
    if rows > _FEW_ROWS:
        return FEWEST_REPEATS + 1
    return REPEATS


def further_repeats(
    played: Mapping[str, tuple[int, Estimable]], most: int, confidence: float
) -> dict[str, int]:
    """Return to how many donors a row it pays to go on, by the players for which it
    pays.

    Only noise and widths decide, never a p-value, so that intervals keep their
    coverage. NaN as a width, of too few rows, is wide.

    Args:
        played: The donors so far and the sums of each player.
        most: Donors of a row, at most.
        confidence: The level of the intervals.
    """
    estimates = {
        feature_name: estimated(feature_sums, confidence)[:, 0]
        for feature_name, (_, feature_sums) in played.items()
    }
    largest = max(
        (abs(float(mean_effect)) for mean_effect, *_ in estimates.values()), default=0.0
    )
    further_goals = {}
    for player_name, (repeats, player_sums) in played.items():
        _, std_error, lower_bound, upper_bound, _ = estimates[player_name]
        variance = float(std_error) ** 2
        noise = float(player_sums.noise_of_draws(repeats)[0])
        width = float(upper_bound - lower_bound)
        if repeats >= most or noise <= _NOISE * variance or width <= _WIDTH * largest:
            continue
        lasting = max(variance - noise, 0.0)
        narrow = variance * (_WIDTH * largest / width) ** 2
        # What is left of the variance is then _NOISE of it, or the interval is narrow,
        # whichever comes first.
        allowed = np.fmax(_NOISE / (1 - _NOISE) * lasting, narrow - lasting)
        if allowed > 0:
            needed_repeats = noise * repeats / allowed
        else:
            needed_repeats = float(most)
        further_goals[player_name] = int(
            np.clip(np.ceil(needed_repeats - 1e-9), repeats + 1, most)
        )
    return further_goals


_SUMS = (
    "receiver_sum",
    "receiver_weight",
    "donor_sum",
    "donor_weight",
    "square_sum",
    "square_cross",
    "weight_squares",
    "squares",
)
