"""The ranking again on more rows, where its intervals are still wide and there is time."""

from __future__ import annotations

from permgrad.assess.sections.beside_data import beside_data
from permgrad.assess.sections.ranking import draw_rows, rank
from permgrad.assess.work import Work


def refinement(work: Work) -> None:
    """Fill ``explanation``, ``branches`` and what follows from them, from more rows."""
    places, seconds, options = work.first_ranking
    main, budget = work.content.explanation, work.budget
    assert places is not None
    assert main is not None
    wanted = budget.wanted_rows(main, len(places), len(work.explained), seconds)
    if wanted is None:
        return
    with budget.clock.whole.part("refinement"):
        main = rank(work, draw_rows(work, wanted), options)
    if "paper" in (stored := work.content.branches or {}):  # of kinds of columns they stay
        work.put(branches={**(main.branches or {}), "paper": stored["paper"]})
    beside_data(work)
