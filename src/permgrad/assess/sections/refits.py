"""What further trainings on other rows would say."""

from __future__ import annotations

import time

from permgrad.assess.work import Work


def refits(work: Work) -> None:
    """Fill ``refits``."""
    assert work.budget.refits is not None
    assert work.refit is not None
    clock = work.budget.clock
    started = time.monotonic()
    clock.expect(explanation=0.0)
    with clock.whole.part("refits"):
        work.put(refits=work.refit(work.budget.refits))
    # They come on top: what follows them has as much time as without.
    clock.started += time.monotonic() - started
