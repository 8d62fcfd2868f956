"""When a training ends before its patience does: its validation loss rises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median

#: A loss rises that is above the best of so many epochs ago by this share, in each of
#: so many epochs.
SINCE = 6
_RECENT = 3
_RISE = 0.003


def rises(losses: Sequence[float]) -> bool:
    """Whether a validation loss has clearly been rising since its best epoch: beyond
    its changes from epoch to epoch.

    A rate that stays high does not bring such a loss back within the patience
    (docs/speed.md). One that only pauses may fall again once the rate does.
    """
    best_loss = min(losses)
    if math.isnan(best_loss) or len(losses) - 1 - losses.index(best_loss) < SINCE:
        return False
    late_losses = losses[-8:]
    noise = median(abs(after - before) for before, after in pairwise(late_losses))
    is_above = min(late_losses[-_RECENT:]) - best_loss > max(
        _RISE * abs(best_loss), 3 * noise
    )
    return (
        is_above
        and fmean(late_losses[-_RECENT:]) - fmean(late_losses[-2 * _RECENT : -_RECENT])
        > 2 * noise
    )
