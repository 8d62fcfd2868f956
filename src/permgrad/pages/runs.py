"""The page of several runs: models on the same test rows, or what changed between two samples of rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from permgrad.pages.changes import case_words, since_words, what_changed
from permgrad.pages.html import render_page
from permgrad.pages.side_by_side import agreement_words, measured, reliance, standing_words
from permgrad.pages.views import Builder, Fact, SectionView, built
from permgrad.pages.words import clean

if TYPE_CHECKING:
    from permgrad.evaluation.changes import Changes
    from permgrad.evaluation.side_by_side import SideBySide


_SAMPLES = ("old test rows", "new test rows")


def runs_page(
    models: SideBySide | None,
    changes: Changes | None = None,
    *,
    title: str,
    target: str,
    commands: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
    theme: str = "auto",
) -> str:
    """Return one page of several runs: their models side by side, what changed between two, and their commands."""

    def run(section: SectionView) -> None:
        for label, command in commands:
            section.add("heading", clean(label))
            section.add("code", command)

    builders: list[Builder] = [("run", "What was run", run)]
    facts, headline, second = [Fact(clean(target), "is predicted")], "", ""
    if changes is not None:
        builders.insert(0, ("what-changed", "What changed", partial(what_changed, changes=changes)))
        headline, second = since_words(changes), case_words(changes)
        if models is None:
            facts[:0] = [Fact(f"{rows:,}", what) for rows, what in zip(changes.meta["rows"], _SAMPLES, strict=True)]
    if models is not None:
        builders[:0] = [
            ("standing", "Which is best", partial(measured, models=models)),
            ("reliance", "Do they rely on the same features?", partial(reliance, models=models)),
        ]
        headline, second = standing_words(models), agreement_words(models)
        same = "test rows, the same for every model"
        facts[:0] = [Fact(str(len(models.names)), "models"), Fact(f"{models.rows:,}", same)]
    return render_page(
        title=clean(title),
        kind="permgrad report",
        headline=headline,
        second=second,
        facts=facts,
        warnings=list(notes),
        sections=built(builders),
        theme=theme,
    )
