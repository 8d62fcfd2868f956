"""The page of several runs of one table, on the same test rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from permgrad.pages.html import render_page
from permgrad.pages.side_by_side import agreement_words, measured, reliance, standing_words
from permgrad.pages.views import Builder, Fact, SectionView, built
from permgrad.pages.words import clean

if TYPE_CHECKING:
    from permgrad.evaluation.side_by_side import SideBySide


def side_by_side_page(
    models: SideBySide,
    *,
    title: str,
    target: str,
    commands: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
    theme: str = "auto",
) -> str:
    """Return one page of several models: what each is, by name and command, and what speaks against the comparison."""

    def run(section: SectionView, _: SideBySide) -> None:
        for label, command in commands:
            section.add("heading", clean(label))
            section.add("code", command)

    builders: tuple[Builder, ...] = (
        ("standing", "Which is best", measured),
        ("reliance", "Do they rely on the same features?", reliance),
        ("run", "What was run", run),
    )
    return render_page(
        title=clean(title),
        kind="permgrad report",
        headline=standing_words(models),
        second=agreement_words(models),
        facts=[
            Fact(str(len(models.names)), "models"),
            Fact(f"{models.rows:,}", "test rows, the same for every model"),
            Fact(clean(target), "is predicted"),
        ],
        warnings=list(notes),
        sections=built(builders, models),
        theme=theme,
    )
