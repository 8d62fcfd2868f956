"""What changed between two runs, in words and in tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.errors import by_count, counted
from permgrad.base.files import plain
from permgrad.base.numerals import numbers
from permgrad.base.significance import LEVEL
from permgrad.evaluation.metrics import metrics
from permgrad.pages.charts.explained import differences
from permgrad.pages.choices import largest
from permgrad.pages.summary import changes_words
from permgrad.pages.views import Mark, SectionView, figures_of, intervals_of, names, table_of
from permgrad.pages.words import clean, listed, names_apart, p_text, shorten

if TYPE_CHECKING:
    from permgrad.evaluation.changes import Changes

#: Features that a sentence names, and that are drawn.
_NAMED, _DRAWN = 3, 12
#: A reader's headings, by the kind of line.
_HEADINGS = {"score": "Scores", "importance": "What the model relies on"}


def since_words(changes: Changes) -> str:
    """Say how the loss changed from one run to the other, and which importances changed."""
    (old, new), words = (shorten(name, 40) for name in changes.meta["runs"]), changes_words(changes)
    lines = changes.lines[changes.lines["kind"] == "importance"]
    show, clear = names_apart(lines["name"]), []
    for way, sign in (("more", 1.0), ("less", -1.0)):
        some = lines[(lines["p_holm"] < LEVEL) & (sign * lines["change"] > 0)]
        some = some.iloc[np.argsort(-sign * some["change"].to_numpy(), kind="stable")]
        if count := len(some):
            clear.append(
                f"{listed(map(show, some['name']), _NAMED)} clearly {by_count(count, 'matters', 'matter')} {way}"
            )
    unchanged = "No importance changed clearly." if len(lines) else ""
    return f"From {old} to {new}, {words[0].lower()}{words[1:]} {f'{listed(clear)}.' if clear else unchanged}".rstrip()


def case_words(changes: Changes) -> str:
    """Say what was compared: two models on the same rows, or one model on two samples."""
    (old, new), (first, second) = (map(shorten, changes.meta["runs"], (60, 60)), changes.meta["rows"])
    if changes.meta["same_rows"]:
        words = f"The model of {old} and that of {new} predict the same {first:,} test rows, and scores are compared "
        if (changes.lines["kind"] == "importance").any():
            return f"{words}row by row. Importances count as independent, so their intervals are rather too wide."
        return f"{words}row by row. Importances are not compared: those of both differ in method or features."
    words = f"The test rows of both runs differ. The model of {old} predicts {first:,} of its own and {second:,} of "
    words += f"{new}, whose own model is not used. Rows of the two count as independent of each other."
    if copies := changes.meta.get("copies"):
        words += f" {counted(copies, 'new row')} {by_count(copies, 'equals', 'equal')} rows that it may have been "
        words += "trained on: its loss there can be too small."
    return words


def changes_facts(changes: Changes) -> dict[str, Any]:
    """Return the changes as JSON: the sentence, the facts and the lines."""
    facts: dict[str, Any] = plain({**changes.meta, "lines": changes.lines.to_dict("records")})
    return {"sentence": since_words(changes), **facts}


def what_changed(section: SectionView, changes: Changes) -> None:
    """How the loss changed, the scores, and the importances."""
    section.text(since_words(changes), case_words(changes))
    for kind, heading in _HEADINGS.items():
        lines = changes.lines[changes.lines["kind"] == kind]
        if not len(lines):
            continue
        section.add("heading", heading)
        unit = clean(changes.meta["unit"])
        if kind != "score":
            some = lines.iloc[largest(lines["change"].abs().to_numpy(), _DRAWN)]
            what = f"change of the importance ({unit})"
            intervals = some[["change", "ci_low", "ci_high"]].to_numpy(dtype=np.float64)
            section.figure(
                differences(list(map(_called, some["name"])), intervals, label=what),
                f"{what.capitalize()}, with 95\u00a0% intervals. Right of 0: it rose. Grey: the interval contains 0.",
            )
        caption = f"{heading}. p is adjusted for all lines (Holm). Bold: it changed clearly."
        marks: list[Mark] = np.where(lines["p_holm"] < LEVEL, "best", "").tolist()
        known = [name for name in ("old", "new", "change") if lines[name].notna().any()]
        columns = [names(map(_called, lines["name"]), "what", marks)]
        columns += [figures_of(name, lines[name], numbers(lines[name].to_numpy(dtype=np.float64))) for name in known]
        columns += [intervals_of(lines["ci_low"], lines["ci_high"]), figures_of("p, adjusted", lines["p_holm"], p_text)]
        section.table(table_of(caption, columns))


def _called(name: str) -> str:
    return metrics.get(name).label if name in metrics else name
