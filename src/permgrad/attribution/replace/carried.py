"""Which few rows make an importance: as rows whose loss grows, or as donors whose
values others get.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from permgrad.attribution.replace.moments import PairMoments
from permgrad.base.arrays import Floats

#: A row carries an importance with this share of it, among so many rows. Of fewer rows
#: each has much of it.
_SHARE = 0.1
_FEWEST = 100
#: Most rows, as a share of all, that are few, and the least importance as a share of
#: the loss of a constant.
_FEW = 0.02
_LEAST = 0.05
#: Rows that change an importance by less than this share of the row that changes it
#: most are left: some of them only met that row.
_BESIDE = 0.4


def rows_that_carry(
    moments: PairMoments, loss_scale: float, *, shared: bool
) -> dict[str, Any] | None:
    """Return the few rows that make an importance, or None where there are none.

    They add or take a tenth of it each, and without them it is another by more than its
    standard error then is: under normal errors no row does that. A row is taken out as
    one that is explained and as one that lends.

    Args:
        moments: of the first quantity, the importance.
        loss_scale: the loss of a constant.
        shared: whether the donors are the rows explained.

    Returns:
        ``places`` of the rows, those that change most first, among the rows explained,
        or, where these do not lend and it is by what donors ``lend``, among the donors.
        How many ``rows`` they are, ``of`` how many, the ``value`` of the importance,
        and what it is ``without`` them.
    """
    received = moments.receiver_sum[0]
    weight = moments.receiver_weight
    sums, of_lenders = moments.of_donors()
    lent = sums[0]
    count = float(weight.sum())
    present = int((weight > 0).sum())
    total = float(received.sum())
    scale = loss_scale if np.isfinite(loss_scale) else 0.0
    share = _SHARE * max(abs(total), _LEAST * scale * count)
    if present < _FEWEST or share <= 0:
        return None
    if shared:
        row_influence = np.maximum(np.abs(lent), np.abs(received))
    else:
        row_influence = np.abs(lent)
    lend = shared or bool(row_influence.max() >= np.abs(received).max())
    if not lend:
        row_influence = np.abs(received)
    if shared:
        size = np.abs(lent) + np.abs(received)
    else:
        size = row_influence
    # Whoever meets such a row has a large part, too, but meets it once.
    carrying_rows = np.flatnonzero(
        (row_influence >= share) & (size >= _BESIDE * size.max())
    )
    carrying_rows = carrying_rows[np.argsort(-size[carrying_rows], kind="stable")]
    if not 0 < len(carrying_rows) <= max(_FEW * present, 1):
        return None
    gone = carried_weight = 0.0
    if lend or shared:
        gone = float(lent[carrying_rows].sum())
        carried_weight = float(of_lenders[carrying_rows].sum())
    if shared or not lend:
        gone += float(received[carrying_rows].sum())
        carried_weight += float(weight[carrying_rows].sum())
    if carried_weight >= count:
        return None
    without = (total - gone) / (count - carried_weight)
    usual = np.abs(received) < share
    usual &= weight > 0
    if abs(total / count - without) <= _error(received[usual], weight[usual]):
        return None
    return {
        "places": carrying_rows.tolist(),
        "lend": lend and not shared,
        "rows": len(carrying_rows),
        "of": present,
        "value": total / count,
        "without": without,
    }


def _error(received: Floats, weight: Floats) -> float:
    """Return the standard error of an importance over rows."""
    if len(weight) < 2:
        return 0.0
    return float((received / weight).std(ddof=1) / np.sqrt(len(weight)))
