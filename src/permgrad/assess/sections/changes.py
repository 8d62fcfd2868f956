"""What changed since an earlier run."""

from __future__ import annotations

from permgrad.assess.store import storable
from permgrad.assess.work import Work
from permgrad.evaluation.changes import Changes


def changes(work: Work) -> None:
    """Fill ``changes``."""
    assert work.against is not None
    clock = work.budget.clock
    if clock.left() < 2 * work.ranked[1]:
        clock.cut.append("comparison with the earlier run: it was not made")
        return
    work.put(changes=work.against())


storable(Changes)
