"""Pages stay short: one that grows takes from another, or the number here is raised on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
#: Page → most words, as ``wc -w`` counts them. One line a page, by name.
MOST_WORDS = {
    "../CHANGELOG.md": 400,
    "a-report-for-your-model.md": 600,
    "architecture.md": 1650,
    "benchmark.md": 990,
    "comparing.md": 990,
    "explanation.md": 50,
    "extending.md": 990,
    "for-programs.md": 490,
    "how-to.md": 100,
    "index.md": 160,
    "integrations.md": 430,
    "large-tables.md": 2070,
    "other-packages.md": 420,
    "project.md": 20,
    "published-work.md": 1110,
    "reading-the-report.md": 2390,
    "reference.md": 30,
    "reproducibility.md": 440,
    "security.md": 1000,
    "speed.md": 770,
    "the-default-network.md": 2320,
    "tuning.md": 560,
    "versions.md": 430,
}


@pytest.mark.parametrize("page", MOST_WORDS)
def test_a_page_has_no_more_words_than_its_budget(page):
    assert len((DOCS / page).read_text(encoding="utf-8").split()) <= MOST_WORDS[page]


def test_budgets_are_of_pages_in_order():
    assert list(MOST_WORDS) == sorted(MOST_WORDS)
