"""The delete-a-group jackknife: the error of any statistic of rows, from its values with each group of rows left out.

Groups are of equal size and drawn at random, as the rows themselves are thought to be (Quenouille 1956; Efron & Stein
1981). They are not stratified by class: how many rows each class has is chance too, and an error that leaves it out is
too small for every score whose level differs between classes. Only a class that chance has put into one group alone is
spread over two, since most scores are undefined without it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from permgrad.attribution.replace.moments import Floats
from permgrad.base.random import generator

Integers = npt.NDArray[np.int64]

#: Most groups: the t-quantile is then within 7 % of the normal one.
MOST_GROUPS = 20


def deal_groups(rows: int, seed: int, purpose: str, classes: npt.NDArray[np.integer] | None = None) -> Integers:
    """Return the group of each row, ``(rows,)``: ``min(20, rows)`` groups whose sizes differ by 1 at most."""
    order = generator(seed, "jackknife", purpose).permutation(rows)
    groups = np.empty(rows, dtype=np.int64)
    groups[order] = np.arange(rows) % max(min(MOST_GROUPS, rows), 1)
    if classes is not None:
        _spread_classes(groups, np.asarray(classes), order)
    return groups


def _spread_classes(groups: Integers, classes: npt.NDArray[np.integer], order: Integers) -> None:
    """Exchange a row of each class that lies in one group alone with one of another group, in place."""

    def alone(label: int) -> bool:
        groups_of_class = groups[classes == label]
        return len(groups_of_class) > 1 and bool((groups_of_class == groups_of_class[0]).all())

    for label in np.unique(classes).tolist():
        if not alone(label):
            continue
        row = int(np.flatnonzero(classes == label)[0])
        for other in order[groups[order] != groups[row]].tolist():
            groups[[row, other]] = groups[[other, row]]
            if not alone(int(classes[other])):
                break
            groups[[row, other]] = groups[[other, row]]


def jackknife_variance(left_out: Floats) -> Floats:
    """Return the variance of a statistic, ``(*)``, from its values without each group, ``(groups, *)``.

    NaN where one of them is undefined.
    """
    count = len(left_out)
    variance: Floats = (count - 1) / count * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)
    return variance
