"""Sentences on outputs that are a curve, of both page and verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from permgrad.base.errors import by_count, counted
from permgrad.base.significance import LEVEL
from permgrad.pages.words import clean, listed

if TYPE_CHECKING:
    from permgrad.assess.sections.curve import CurveSection


def shown_words(along: CurveSection) -> str:
    """Say which point the page shows, and why."""
    why = "as target= asks" if along.chosen else "one in the middle (target= chooses another)"
    return f"The model predicts a curve of {along.points} points. The other sections are about {along.shown}, {why}."


def left_out_words(along: CurveSection) -> str:
    """Say which rows the other sections leave out, as their outcome is not known."""
    facts = along.left_out or {}
    if not facts.get("censored"):
        return ""
    return (
        f"{facts['censored']:,} of {counted(facts['rows'], 'test row')} {by_count(facts['censored'], 'is', 'are')} "
        f"censored before {along.shown}: they are left out there, with {facts['thinned']:,} of the "
        f"{facts['ended']:,} that ended by then, drawn so that outcomes stay as frequent as they are."
    )


def leader_words(along: CurveSection) -> str:
    """Name the features that clearly lead at the first, the middle and the last point."""
    clear = [one for one in along.leaders if one["clear"]]
    if not clear:
        return "No feature clearly leads at the first, the middle or the last point."
    points: dict[str, list[str]] = {}
    for one in clear:
        points.setdefault(one["feature"], []).append(one["point"])
    words = listed([f"{clean(name)} at {listed(some)}" for name, some in points.items()])
    tests = f"p below 0.05 for all {len(along.leaders)} points together"
    open_at = [one["point"] for one in along.leaders if not one["clear"]]
    more = f" No feature clearly leads at {listed(open_at)}." if open_at else ""
    return f"Clearly of the largest influence on the prediction: {words} ({tests}).{more}"


def score_words(along: CurveSection) -> str:
    """Say at how many points the model is clearly better than a constant."""
    score, p_values = (along.scores[name].to_numpy(dtype=np.float64) for name in ("score", "p_value"))
    known = np.isfinite(p_values)
    better, worse = (int((known & (p_values < LEVEL) & (sign * score > 0)).sum()) for sign in (1, -1))
    words = f"It is clearly better than a constant at {better} of {counted(int(known.sum()), 'point')}"
    return f"{words}{f', and clearly worse at {worse}' * bool(worse)} (after Holm's correction)."
