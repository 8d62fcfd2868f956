"""``ensure_top``: draw until the first players and their order are certain, or more draws no longer help.

All pairs of players are compared after 2, 4, 8, … draws per row, as for ``ranking(certain=)``. The bound on a
difference is that of the largest error at all looks together (Pocock 1977): what chance does with the rows is the same
at each, and what it does with the draws falls with their number. So what the last look states is as certain as asked
for, wherever drawing stops. For many players each look has an equal share of the errors allowed instead. Only players
of pairs still in question are drawn again. A pair is given up if its difference would be unclear with endless draws
too, because the rest of the error comes from the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from permgrad.attribution.explanation.ranks import Looks, compared, ranks_of, shared_errors
from permgrad.attribution.replace.moments import PairMoments, draw_variance, scores_of
from permgrad.base.arrays import Floats
from permgrad.base.errors import listed, warn_user

#: How many errors above its estimate a difference may still be.
_HOPE = 1.645


class Estimates(NamedTuple):
    """Importances ``(players,)`` at a look, their errors, and the part of the variances that comes from the draws."""

    values: Floats
    std: Floats
    draws: Floats
    repeats: Floats
    correlation: Floats | None
    freedom: float


@dataclass
class TopLooks:
    """When to look, who is drawn again, and what the last look says: ``facts``, for an explanation's ``meta``."""

    names: Sequence[str]
    top: int
    confidence: float
    looks: tuple[int, ...]  # draws per row at each
    facts: dict[str, Any] = field(default_factory=dict)

    def in_question(self, now: Estimates) -> list[str]:
        """Return the players whose pairs further draws may tell apart."""
        order = np.argsort(-np.nan_to_num(now.values, nan=-np.inf), kind="stable")
        values, std, draws = now.values[order], now.std[order], now.draws[order]
        share = np.divide(now.draws, now.std**2, out=np.zeros_like(now.std), where=now.std > 0)
        if now.correlation is None:
            certain = 1 - (1 - self.confidence) / len(self.looks)
            result = compared(values, std, None, now.freedom, certain)
        else:
            looks = Looks(share[order], now.repeats[order], self.looks)
            correlation = now.correlation[np.ix_(order, order)]
            result = compared(values, std, correlation, now.freedom, self.confidence, looks)
        first, second = np.triu_indices(len(order), 1)
        unclear = ~result.above[first, second] & (first < self.top)
        drawn = draws[first] + draws[second]
        # The difference that endless draws may show, and the error that they leave.
        hoped = values[first] - values[second] + _HOPE * np.sqrt(drawn)
        left = np.sqrt(np.maximum(result.error**2 - drawn, 0.0))
        helped = unclear & (hoped > np.where(left > 0, result.critical, 0.0) * left)
        ranks, sets = np.arange(1, len(order) + 1), ranks_of(result.above)[2]
        ties = [ranks[sets == number] for number in np.unique(sets[: self.top])]
        self.facts |= {
            "top": self.top,
            "holds": not unclear.any(),
            "ties": [[self.names[order[rank - 1]] for rank in tie] for tie in ties if len(tie) > 1],
            "ranks": [[int(tie[0]), int(tie[-1])] for tie in ties if len(tie) > 1],
            "more_draws_help": bool(helped.any()),
            "max_repeats": self.looks[-1],
            "looks": list(self.looks),
            "repeats": now.repeats.tolist(),
            "draw_share": share.tolist(),
        }
        return [self.names[place] for place in order[np.unique(np.concatenate([first[helped], second[helped]]))]]


def looks_of(options: Mapping[str, Any], names: Sequence[str], confidence: float, *, once: bool = False) -> TopLooks:
    """Return the looks of a call with ``ensure_top``. ``once``: nothing is drawn, so there is one look."""
    looks = doubled(1 if once else options["max_repeats"])
    return TopLooks(names, min(options["ensure_top"], len(names)), confidence, looks)


def doubled(most: int) -> tuple[int, ...]:
    """Return 2, 4, 8, … up to ``most``."""
    return (*(2**power for power in range(1, most.bit_length()) if 2**power < most), most)


def estimates_of(names: Sequence[str], moments: Mapping[str, PairMoments]) -> Estimates:
    """Return the estimates over all rows from sums over pairs. A player that nothing was drawn for is certain."""
    mean, std, draws = np.zeros((3, len(names)))
    repeats = np.ones(len(names))
    freedom = np.inf
    for place, name in enumerate(names):
        if name in moments:
            each, error, count = moments[name].estimate()
            mean[place], std[place] = each[0], error[0]
            draws[place] = draw_variance(moments[name], float(error[0]))
            repeats[place] = moments[name].pairs / max(int((moments[name].receiver_weight > 0).sum()), 1)
            freedom = min(freedom, float(count[:, 0].max()) - 1)
    correlation = shared_errors(len(names), [0], partial(scores_of, names, moments))
    return Estimates(mean, std, draws, repeats, None if correlation is None else correlation[0], freedom)


def top_words(facts: Mapping[str, Any], confidence: float) -> str:
    """Say whether the order of the first players is certain, and who cannot be told apart."""
    top, level = facts["top"], f"{100 * confidence:.12g} %"
    if facts["holds"]:
        return f"The order of the first {top} is certain at {level}"
    groups = [
        f"{listed(names, 5)} (ranks {low}–{high})"
        for names, (low, high) in zip(facts["ties"], facts["ranks"], strict=True)
    ]
    more = "More draws would not help: explain more rows"
    if facts["more_draws_help"]:
        more = f"Raise max_repeats above {facts['max_repeats']}"
    return f"The order of the first {top} is not certain at {level}. Not told apart: {'; '.join(groups)}. {more}"


def tell_of_top(looks: TopLooks) -> dict[str, Any]:
    """Return the facts for an explanation's ``meta``. Warn if the order is not certain."""
    if not looks.facts["holds"]:
        warn_user(f"{top_words(looks.facts, looks.confidence)}.")
    return {"ensure_top": looks.facts}


def stopping_option(options: Mapping[str, Any]) -> str | None:
    """Return the option of a call that makes results decide how often to draw, if there is one."""
    return next((name for name in ("tolerance", "ensure_top") if options.get(name) is not None), None)
