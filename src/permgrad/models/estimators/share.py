"""How much each branch counts beside a network.

The shares follow from held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy.special import log_softmax, xlogy

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.dependence import Dependence, mean_widening
from permgrad.base.numerals import fixed
from permgrad.base.random import generator
from permgrad.base.sequences import values_at
from permgrad.models.branches import title_of
from permgrad.models.estimators.calibration import class_logits
from permgrad.models.losses import Loss
from permgrad.models.train.learner import TargetUnits

#: Shares that are tried, and the fewest held-out rows for it.
_SHARES = np.linspace(0, 1, 101)
FEWEST = 5
#: Resamples of the held-out rows for the share's interval, and stretches of time that
#: are drawn whole.
_RESAMPLES = 200
_STRETCHES = 50
#: Held-out rows that expected shares count as.
EXPECTED_ROWS = 30
#: Log loss of the mistakes that held-out rows happen not to show, over all of them: of
#: one row, whose class has a probability of exp(−2). See benchmarks/decisions.md.
UNSEEN_LOSS = 2.0
#: Probabilities below it count as this, so that a branch that is sure and wrong does
#: not decide alone.
_LEAST = 1e-7
#: What a number counts as that a loss cannot judge.
_MOST = 1e12
#: Takes outputs ``(rows, outputs)`` and returns the loss of each row ``(rows,)``.
RowLosses = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Share:
    """How much a branch counts beside the others, which err on other rows.

    The others count for the rest.

    Attributes:
        share: of the outputs (logits or numbers), from 0 to 1.
        ci_low, ci_high: the 95 % interval of the share with the least loss, over
            resamples of the held-out rows.
        loss: the mean loss of held-out rows without the branch.
        gain, std_error: by how much the branch makes it smaller, and the standard error
            of that.
        rows: the held-out rows that it was learned from.
    """

    share: float = 0.0
    ci_low: float = 0.0
    ci_high: float = 1.0
    loss: float = 0.0
    gain: float = 0.0
    std_error: float = 0.0
    rows: int = 0

    @property
    def pays(self) -> bool:
        """Whether the loss of held-out rows is smaller with the branch.

        Not by more than its standard error: few held-out rows would leave out much that
        helps, see benchmarks/decisions.md.
        """
        return self.gain > 0

    def __call__(self, outputs: Floats, branch_outputs: Floats) -> Floats:
        """Return what the branch, which says ``branch_outputs``, and what was there
        before say together.
        """
        return (1 - self.share) * outputs + self.share * branch_outputs

    @classmethod
    def learn(
        cls,
        outputs: Floats,
        branch_outputs: Floats,
        losses: RowLosses,
        *,
        seed: int,
        weights: Floats | None = None,
        dependence: Dependence | None = None,
        squared: bool = False,
    ) -> Self:
        """Return the share nearest to 1/2 in the interval of the best one.

        Equal shares are hard to beat by shares that are estimated from few rows
        (Claeskens et al. 2016). Where one is far better they are not, and of squared
        errors the inverse says how much each counts, as if they were independent (Bates
        & Granger 1969). Those of two that are about as good are nearly equal.

        Args:
            outputs: what is said without the branch, ``(rows, outputs)``.
            branch_outputs: what the branch says.
            losses: the loss of each row by its outputs.
            seed: of the resamples.
            weights: of the rows.
            dependence: of these rows.
            squared: whether losses are squared errors, or deviances. A logarithm of
                probabilities says less of how far off they are.
        """
        if len(outputs) < FEWEST:
            return cls(rows=len(outputs))
        judged = _Judged.of(outputs, branch_outputs, losses, weights, dependence)
        lower_share, upper_share = judged.interval(seed)
        plain = float(judged.unit_losses[:, 0].sum())
        alone = float(judged.unit_losses[:, -1].sum())
        if squared and plain + alone > 0:
            middle = plain / (plain + alone)
        else:
            middle = 0.5
        share = min(max(middle, lower_share), upper_share)
        return cls(share, lower_share, upper_share, *judged.gains(share))

    @classmethod
    def measured(
        cls,
        share: float,
        outputs: Floats,
        branch_outputs: Floats,
        losses: RowLosses,
        *,
        seed: int,
        weights: Floats | None = None,
        dependence: Dependence | None = None,
    ) -> Self:
        """Return what held-out rows say of a share that is known.

        Args:
            share: of the branch.
            outputs: what is said without the branch, ``(rows, outputs)``.
            branch_outputs: what the branch says.
            losses: the loss of each row by its outputs.
            seed: of the resamples.
            weights: of the rows.
            dependence: of these rows.
        """
        if len(outputs) < FEWEST:
            return cls(share, rows=len(outputs))
        judged = _Judged.of(outputs, branch_outputs, losses, weights, dependence)
        lower_share, upper_share = judged.interval(seed)
        return cls(
            share,
            min(lower_share, share),
            max(upper_share, share),
            *judged.gains(share),
        )


class _Gains(NamedTuple):
    """The last four fields of a share."""

    loss: float
    gain: float
    std_error: float
    rows: int


class _Judged(NamedTuple):
    """Held-out rows, as they judge a branch beside what is said without it.

    ``unit_losses``: sums of losses within each unit of rows that depend on each other,
    by share ``(units, shares)``.
    """

    outputs: Floats
    branch_outputs: Floats
    losses: RowLosses
    row_weights: Floats
    dependence: Dependence | None
    unit_losses: Floats

    @classmethod
    def of(
        cls,
        outputs: Floats,
        branch_outputs: Floats,
        losses: RowLosses,
        weights: Floats | None,
        dependence: Dependence | None,
    ) -> Self:
        """Take the losses of all shares."""
        row_weights = _row_weights(len(outputs), weights)
        units = units_of(len(outputs), dependence)
        sums = []
        for share in _SHARES.tolist():
            share_losses = losses(Share(share)(outputs, branch_outputs)) * row_weights
            sums.append(np.bincount(units, share_losses))
        return cls(
            outputs,
            branch_outputs,
            losses,
            row_weights,
            dependence,
            np.column_stack(sums),
        )

    def interval(self, seed: int) -> tuple[float, float]:
        """Return the 95 % interval of the share with the least loss."""
        unit_count = len(self.unit_losses)
        draws = generator(seed, "share of a branch").multinomial(
            unit_count, np.full(unit_count, 1 / unit_count), _RESAMPLES
        )
        best_shares = _SHARES[(draws @ self.unit_losses).argmin(axis=1)]
        lower_share, upper_share = np.quantile(best_shares, [0.025, 0.975]).tolist()
        return lower_share, upper_share

    def gains(self, share: float) -> _Gains:
        """Return by how much a share makes the loss smaller, and how sure that is."""
        count = len(self.outputs)
        before = self.losses(self.outputs) * self.row_weights
        mixed = Share(share)(self.outputs, self.branch_outputs)
        gains = before - self.losses(mixed) * self.row_weights
        widening = mean_widening(self.dependence, gains)
        error = float(gains.std(ddof=1)) / np.sqrt(count) * widening
        return _Gains(float(before.mean()), float(gains.mean()), float(error), count)


def _row_weights(rows: int, weights: Floats | None) -> Floats:
    """Return how much each row counts, with a mean of 1."""
    if weights is None:
        return np.ones(rows)
    return np.asarray(weights / weights.mean())


def units_of(rows: int, dependence: Dependence | None) -> Integers:
    """Return which rows are drawn together ``(rows,)``: those of a group, or of a
    stretch of time.
    """
    if dependence is None:
        return np.arange(rows)
    units = np.unique(dependence.codes, return_inverse=True)[1]
    if dependence.timed:
        return np.asarray(units * _STRETCHES // (units.max() + 1))
    return np.asarray(units)


def mixture(shares: Mapping[str, float], outputs: Mapping[str, Floats]) -> Floats:
    """Return the outputs ``(rows, outputs)`` of several in these shares."""
    total: Floats = np.zeros_like(next(iter(outputs.values())))
    for name, share in shares.items():
        total = total + share * outputs[name]
    return total


def learn_shares(
    outputs: Mapping[str, Floats],
    losses: RowLosses,
    *,
    least: Mapping[str, float],
    unseen: float = 0.0,
    weights: Floats | None = None,
    dependence: Dependence | None = None,
) -> dict[str, float]:
    """Return the shares, of sum 1, that held-out rows choose for several together.

    The mean loss is least, with a penalty for leaving the shares that are expected:
    their squared distance counts as much as ``EXPECTED_ROWS`` of the rows. Expected are
    shares by the inverse squares of the losses, as one that is far better than the
    others is nearly alone. Shares that few rows choose freely are worse (Claeskens et
    al. 2016), and those of each branch in turn worse than all at once. See
    benchmarks/decisions.md.

    Args:
        outputs: what each says of the rows, ``(rows, outputs)``.
        losses: the loss of each row by its outputs.
        least: the least share of each.
        unseen: what each may lose by mistakes that these rows happen not to show, over
            all of them. Where classes are nearly separable nobody makes one in a few
            rows, and of two losses near 0 one is many times the other by chance.
        weights: of the rows.
        dependence: of these rows.
    """
    names = list(outputs)
    stacked = np.stack(values_at(outputs, names))
    row_count = stacked.shape[1]
    row_weights = _row_weights(row_count, weights)
    unit_count = int(units_of(row_count, dependence).max()) + 1

    def mean_loss(shares: Floats) -> float:
        seen = (losses(np.tensordot(shares, stacked, 1)) * row_weights).mean()
        return float(seen) + unseen / unit_count

    alone = np.array([mean_loss(single) for single in np.eye(len(names))])
    relative = np.maximum(alone, _LEAST) / max(alone.min(), _LEAST)
    expected = 1 / relative**2
    expected /= expected.sum()
    scale = max(mean_loss(expected), _LEAST)

    def penalised(shares: Floats) -> float:
        distance = float(((shares - expected) ** 2).sum())
        return mean_loss(shares) / scale + EXPECTED_ROWS / unit_count * distance

    bounds = [(float(least[name]), 1.0) for name in names]
    sums_to_one = {"type": "eq", "fun": lambda shares: shares.sum() - 1.0}
    start = np.maximum(expected, [low for low, _ in bounds])
    from scipy.optimize import minimize  # which predicting does not take

    solution = minimize(
        penalised,
        start / start.sum(),
        method="SLSQP",
        bounds=bounds,
        constraints=[sums_to_one],
    )
    # Where no step is an improvement the solver stops, at the best so far.
    shares = np.clip(solution.x, [low for low, _ in bounds], 1.0)
    shares /= shares.sum()
    return dict(zip(names, shares.tolist(), strict=True))


def row_losses(y: Array, loss: Loss, units: TargetUnits) -> RowLosses:
    """Return the loss of outputs by row: cross entropy of logits, squared error, half
    the deviance of counts, or what the user's loss says, in the units of y.

    Args:
        y: Positions of the classes, or numbers as the network sees them ``(rows,)``.
        loss: What the network is trained with.
        units: Of these numbers.
    """

    def of_classes(outputs: Floats) -> Floats:
        log_likelihoods = log_softmax(class_logits(outputs), axis=1)[
            np.arange(len(y)), y
        ]
        return np.asarray(-np.maximum(log_likelihoods, np.log(_LEAST)))

    def of_counts(outputs: Floats) -> Floats:
        predicted = np.maximum(outputs[:, 0], _LEAST)
        return np.asarray(predicted - y + xlogy(y, y / predicted))

    def of_numbers(outputs: Floats) -> Floats:
        return np.asarray((outputs[:, 0] - y) ** 2)

    def of_loss(outputs: Floats) -> Floats:
        truth = units.of(torch.from_numpy(y))
        measured = loss(units.of(torch.from_numpy(outputs)), truth).double().numpy()
        # Where it cannot judge a number that a branch says, the branch does not pay.
        return np.nan_to_num(measured, nan=_MOST, posinf=_MOST)

    if loss.standardised is None:
        return of_loss
    return {
        "cross_entropy": of_classes,
        "poisson": of_counts,
        "squared_error": of_numbers,
    }[loss.fitted_by]


def branch_words(name: str, facts: Mapping[str, Any]) -> str:
    """Say whether a branch was kept, and why.

    Examples:
        >>> facts = {"kept": True, "label": "CatBoost", "share": 0.4, "rows": 500}
        >>> facts |= {"loss": 0.62, "gain": 0.031, "std_error": 0.008}
        >>> branch_words("trees", facts)[:66]
        'tree branch (CatBoost) counts for 0.40 of the outputs: with it the'
    """
    base_loss = max(facts["loss"], 1e-12)
    if facts["gain"] > 0:
        change = "smaller"
    else:
        change = "larger"
    change_size = f"{fixed(100 * abs(facts['gain']) / base_loss, 1)} %"
    error = f"{fixed(100 * abs(facts['std_error']) / base_loss, 1)} %"
    held_out_sentence = (
        f"the loss of {facts['rows']:,} held-out rows is {change_size} {change} "
        f"(standard error {error})"
    )
    subject = f"{title_of(name)} ({facts['label']})"
    if facts["kept"]:
        decision = f"counts for {facts['share']:.2f} of the outputs"
    else:
        decision = "is left out"
    return f"{subject} {decision}: with it {held_out_sentence}"
