"""Pages stay short: one that grows takes from another, or the number here is raised on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
#: Page → most words, as ``wc -w`` counts them. One line a page, by name.
MOST_WORDS = {
    "any-model.md": 1800,
    "choosing-a-method.md": 660,
    "counterfactuals.md": 450,
    "faq.md": 490,
    "glossary.md": 560,
    "how-sure-is-an-importance.md": 1000,
    "images-and-a-table.md": 770,
    "interactions.md": 770,
    "intervals.md": 1000,
    "methods.md": 3300,
    "uneven-classes.md": 550,
    "your-own-network.md": 2200,
    "your-own-table.md": 2650,
}


@pytest.mark.parametrize("page", MOST_WORDS)
def test_a_page_has_no_more_words_than_its_budget(page):
    assert len((DOCS / page).read_text(encoding="utf-8").split()) <= MOST_WORDS[page]


def test_budgets_are_of_pages_in_order():
    assert list(MOST_WORDS) == sorted(MOST_WORDS)
