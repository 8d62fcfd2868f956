"""How much a further branch counts beside what a network says without it.

The share follows from held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import log_softmax, xlogy

from permgrad.base.arrays import Array, Floats
from permgrad.base.dependence import Dependence, mean_widening
from permgrad.base.numerals import fixed
from permgrad.base.random import generator
from permgrad.models.branches import title_of
from permgrad.models.estimators.calibration import class_logits

#: Shares that are tried, and the fewest held-out rows for it.
_SHARES = np.linspace(0, 1, 101)
FEWEST = 5
#: Resamples of the held-out rows for the share's interval, and stretches of time that
#: are drawn whole.
_RESAMPLES = 200
_STRETCHES = 50
#: Probabilities below it count as this, so that a branch that is sure and wrong does
#: not decide alone.
_LEAST = 1e-7
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
        count = len(outputs)
        if count < FEWEST:
            return cls(rows=count)
        if weights is None:
            row_weights = np.ones(count)
        else:
            row_weights = weights / weights.mean()
        units = np.arange(count)
        if dependence is not None:
            units = np.unique(dependence.codes, return_inverse=True)[1]
            if dependence.timed:
                units = units * _STRETCHES // (units.max() + 1)
        unit_count = int(units.max()) + 1
        tried = (
            losses(cls(share)(outputs, branch_outputs)) * row_weights
            for share in _SHARES.tolist()
        )
        unit_losses = np.column_stack(
            [
                np.bincount(units, share_losses, minlength=unit_count)
                for share_losses in tried
            ]
        )
        draws = generator(seed, "share of a branch").multinomial(
            unit_count, np.full(unit_count, 1 / unit_count), _RESAMPLES
        )
        lower_share, upper_share = np.quantile(
            _SHARES[(draws @ unit_losses).argmin(axis=1)], [0.025, 0.975]
        ).tolist()
        plain = float(unit_losses[:, 0].sum())
        alone = float(unit_losses[:, -1].sum())
        if squared and plain + alone > 0:
            middle = plain / (plain + alone)
        else:
            middle = 0.5
        share = min(max(middle, lower_share), upper_share)
        before = losses(outputs) * row_weights
        gains = before - losses(cls(share)(outputs, branch_outputs)) * row_weights
        error = (
            float(gains.std(ddof=1)) / np.sqrt(count) * mean_widening(dependence, gains)
        )
        return cls(
            share,
            lower_share,
            upper_share,
            float(before.mean()),
            float(gains.mean()),
            float(error),
            count,
        )


def row_losses(y: Array, *, classes: bool, rates: bool = False) -> RowLosses:
    """Return the loss of outputs by row: cross entropy of logits, squared error, or
    half the deviance of ``rates``.

    ``y``: positions of the classes, or numbers ``(rows,)``.
    """

    def of_classes(outputs: Floats) -> Floats:
        log_likelihoods = log_softmax(class_logits(outputs), axis=1)[
            np.arange(len(y)), y
        ]
        return np.asarray(-np.maximum(log_likelihoods, np.log(_LEAST)))

    def of_rates(outputs: Floats) -> Floats:
        predicted = np.maximum(outputs[:, 0], _LEAST)
        return np.asarray(predicted - y + xlogy(y, y / predicted))

    def of_numbers(outputs: Floats) -> Floats:
        return np.asarray((outputs[:, 0] - y) ** 2)

    if classes:
        return of_classes
    if rates:
        return of_rates
    return of_numbers


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
