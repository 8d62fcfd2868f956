"""The pairs of an explanation, the strongest first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from permgrad.attribution.explanation.explanation import Explanation
from permgrad.attribution.explanation.numbers import of_order
from permgrad.base.arrays import Booleans, Floats
from permgrad.base.sequences import values_at
from permgrad.base.significance import LEVEL


class RankedPairs(NamedTuple):
    """The pairs of an explanation, clear ones first, each by falling absolute value.

    ``clear``: the adjusted p is below 0.05.
    """

    names: tuple[tuple[str, str], ...]
    values: Floats
    low: Floats
    high: Floats
    p_adjusted: Floats
    clear: Booleans


def pairs_of(explanation: Explanation, target: str | int | None = None) -> RankedPairs:
    """Return the pairs of an explanation with interactions: clear ones first, each by
    falling size.

    Those of a local one are means of absolute values.

    Such a mean is always above 0, so that none of them is clear.
    """
    signed = not explanation.scope.by_row
    if not signed:
        explanation = explanation.to_global("mean_abs")
    pairs = of_order(explanation, 2)
    column = explanation.output_index(target)
    undefined = np.full(pairs.values.shape, np.nan)
    if pairs.p_adjusted is None:
        adjusted = undefined
    else:
        adjusted = pairs.p_adjusted
    is_clear = (adjusted[:, column] < LEVEL) & signed
    sizes = np.nan_to_num(np.abs(pairs.values[:, column]), nan=-np.inf)
    order = np.lexsort((-sizes, ~is_clear))
    values, lower_ends, upper_ends, p_adjusted = (
        pair_numbers[order, column]
        for pair_numbers in (pairs.values, *pairs.ci(), adjusted)
    )
    members = values_at(pairs.members, order)
    names = tuple(
        (explanation.names[first], explanation.names[second])
        for first, second in members
    )
    return RankedPairs(
        names, values, lower_ends, upper_ends, p_adjusted, is_clear[order]
    )
