"""What bands of neighbours matter, where columns have an order: neighbours stand in for each other."""

from __future__ import annotations

import numpy as np

from permgrad.assess.sections.ranking import explain_model
from permgrad.assess.work import Work

#: Bands at most, and columns of each at least.
_BANDS, _FEWEST = 10, 3


def bands(work: Work) -> None:
    """Fill ``bands``: the ranking with groups of neighbours along the order as features."""
    main = work.content.explanation
    order = [] if main is None or main.groups or main.level != "feature" else main.meta.get("order", [])
    if len(order) != 1 or len(order[0]) < 2 * _FEWEST or "causal_order" in work.budget.options:  # which names columns
        return
    pieces = map(np.ravel, np.array_split(np.array(order[0]), min(_BANDS, len(order[0]) // _FEWEST)))
    groups = {f"{piece[0]} … {piece[-1]}": list(dict.fromkeys(piece.tolist())) for piece in pieces}
    work.put(bands=explain_model(work, groups=groups))
