"""Every measured figure of README and docs is the one in the record that it comes
from.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import figures  # noqa: E402

sys.path.pop(0)
#: Folders that the build of the site writes.
BUILT = {"_build", "auto_gallery", "records", "reference"}
WRITTEN = [
    page
    for page in (ROOT / "docs").rglob("*.md")
    if not BUILT & set(page.relative_to(ROOT).parts)
]
PAGES = sorted(str(page.relative_to(ROOT)) for page in [ROOT / "README.md", *WRITTEN])


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", figures.pages())
def test_a_page_has_the_figures_of_its_records(page):
    assert figures.write(page, text_of(page)) == text_of(page), "run: make figures"


@pytest.mark.parametrize("page", figures.pages())
def test_a_figure_that_went_stale_is_written_again(page):
    sentences = [
        page_sentences
        for page_sentences in figures.SENTENCES
        if page_sentences.page == page
    ]
    tables = [page_tables for page_tables in figures.TABLES if page_tables.page == page]
    text = text_of(page)
    for page_sentence in sentences:
        match = page_sentence.find(text)
        stale = text[: match.start(1)] + "77.7" + text[match.end(1) :]
        assert figures.write(page, stale) == text
    for page_table in tables:
        rows = page_table.find(text).group(2)
        assert rows.count("\n") > 1, "a table without rows compares nothing"
        assert figures.write(page, text.replace(rows, rows.replace("0", "7"))) == text
    assert sentences or tables


@pytest.mark.parametrize("page", PAGES)
def test_every_number_that_looks_measured_is_in_a_list(page):
    assert list(figures.unlisted(page, text_of(page))) == []


def test_new_numbers_are_noticed():
    page = "docs/tuning.md"
    text = (
        text_of(page) + "\nIt is 2.5 times as fast, takes 7 s, and 31 % less memory.\n"
    )
    assert list(figures.unlisted(page, text)) == ["2.5 times", "7 s", "31 %"]


@pytest.mark.parametrize("page", PAGES)
def test_settings_are_on_their_page(page):
    pieces = set(figures.SETTINGS.get(page, ()))
    assert pieces <= {number for number in pieces if number in text_of(page)}, (
        "a setting that is gone leaves the list"
    )


def test_pages_say_which_commit_was_measured():
    for page in {
        figures.BENCHMARK if page == figures.README else page
        for page in figures.pages()
    }:
        assert figures.origin(page) in text_of(page)
        assert "()" not in figures.origin(page)
    readme = {
        stored_figure.record
        for stored_figure in (*figures.SENTENCES, *figures.TABLES)
        if stored_figure.page == figures.README
    }
    assert [
        name for name in readme if f"[{name}](" not in figures.origin(figures.BENCHMARK)
    ] == []
