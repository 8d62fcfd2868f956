"""Pages stay short: one that grows takes from another, or the number here is raised on
purpose.
"""

from __future__ import annotations

from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
#: Page → most words, as ``wc -w`` counts them. One line a page, by name.
MOST_WORDS = {
    "../CHANGELOG.md": 1980,
    "a-report-for-your-model.md": 600,
    "any-model.md": 2090,
    "architecture.md": 1890,
    "benchmark.md": 990,
    "choosing-a-method.md": 660,
    "comparing.md": 990,
    "counterfactuals.md": 450,
    "explanation.md": 50,
    "extending.md": 1800,
    "faq.md": 490,
    "for-programs.md": 500,
    "glossary.md": 560,
    "how-sure-is-an-importance.md": 1000,
    "how-to.md": 100,
    "images-and-a-table.md": 770,
    "index.md": 160,
    "integrations.md": 430,
    "interactions.md": 770,
    "intervals.md": 1000,
    "large-tables.md": 2120,
    "methods.md": 3500,
    "other-packages.md": 420,
    "project.md": 20,
    "published-work.md": 1410,
    "reading-the-report.md": 2420,
    "reference.md": 30,
    "reproducibility.md": 440,
    "security.md": 1070,
    "serving.md": 450,
    "speed.md": 770,
    "the-default-network.md": 2530,
    "tuning.md": 560,
    "uneven-classes.md": 550,
    "versions.md": 430,
    "your-own-network.md": 2400,
    "your-own-table.md": 2990,
}


@pytest.mark.parametrize("page", MOST_WORDS)
def test_a_page_has_no_more_words_than_its_budget(page):
    assert len((DOCS / page).read_text(encoding="utf-8").split()) <= MOST_WORDS[page]


def test_every_page_has_a_budget_in_order():
    assert list(MOST_WORDS) == sorted(MOST_WORDS)
    assert {page.name for page in DOCS.glob("*.md")} == {
        page for page in MOST_WORDS if ".." not in page
    }
