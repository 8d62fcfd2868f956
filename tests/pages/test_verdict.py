"""The verdict: true in situations of every kind, complete, and the same wherever it is written."""

from __future__ import annotations

import pytest
from tests.pages.conftest import NAMES, report_content
from verification import verify_verdict

from permgrad.assess.assessment import Assessment
from permgrad.assess.sections.data import DataSection
from permgrad.pages.html import render_report
from permgrad.pages.verdict import PARTS, markdown, verdict


@pytest.mark.slow
def test_every_sentence_is_true_in_one_situation_of_each_kind(capsys):
    """The short form of ``verification/verify_verdict.py``."""
    faults = verify_verdict.main(["--quick"])
    printed = capsys.readouterr().out
    assert faults == 0, printed
    assert printed.count(": met") == 2


def test_page_and_markdown_have_the_same_sentences_in_the_same_order(undrawn):
    content = report_content(NAMES[:3])
    sentences = verdict(content)
    parts = [one["facts"]["part"] for one in sentences]
    assert parts == sorted(parts, key=list(PARTS).index)
    assert {"score", "features", "caution", "next"} <= set(parts), "a verdict of several parts"
    page, text = render_report(content), markdown("heloc", sentences)
    places = [page.index(one["sentence"].replace("'", "&#39;")) for one in sentences]
    assert places == sorted(places)
    assert "<dt>What to do next:</dt><dd>" in page, "a heading and its text do not run together"
    unescaped = text.replace("\\", "")
    assert all(one["sentence"].replace("\u00a0", " ") in unescaped for one in sentences)


def test_a_name_cannot_change_the_markdown():
    words = "It relies on <b>*x*</b>\n# [y](z)."
    text = markdown("# a", [{"sentence": words, "facts": {"kind": "features", "part": "features"}}])
    assert "\\<b\\>\\*x\\*" in text
    assert "\n# " not in text[2:]


def test_a_report_without_anything_says_what_it_can():
    content = Assessment(title="t", target="y", task="regression")
    kinds = [one["facts"]["kind"] for one in verdict(content)]
    assert kinds == ["skill", "next"]
    assert verdict(content)[0]["sentence"] == "A network predicts y."
    assert [one["facts"]["part"] for one in verdict(content)[1:]] == ["next"]


@pytest.mark.parametrize("shared", [0, 1, 40])
def test_shared_rows_are_a_caution(shared):
    content = report_content(NAMES[:3])
    content.data = DataSection(rows=content.metrics["rows"], shared_rows=shared)
    said = [one["sentence"] for one in verdict(content) if one["facts"]["kind"] == "duplicates"]
    assert bool(said) == bool(shared)
    assert not said or said[0].startswith("1 test row (" if shared == 1 else "40 test rows (")


@pytest.mark.parametrize(("blank", "advised"), [(0, True), (10, True), (40, False)])
def test_copies_without_a_value_are_said_to_be_none_and_need_no_advice(blank, advised):
    content = report_content(NAMES[:3])
    content.data = DataSection(rows=content.metrics["rows"], shared_rows=40, blank_rows=blank)
    sentences = {one["facts"]["kind"]: one["sentence"] for one in verdict(content)}
    assert ("too good" in sentences["duplicates"]) == advised
    assert ("every feature is missing" in sentences["duplicates"]) == bool(blank)
    assert ("copies of one case" in sentences["next"]) == advised
    assert "--row-group" not in sentences["next"]


@pytest.mark.parametrize("clear", [True, False])
def test_rows_that_may_belong_together_come_first_if_scores_fall_and_advice_is_the_whole_command(clear):
    content = report_content(NAMES[:3])
    facts = {"columns": ["visit"], "each": 2.5, "metric": "accuracy", "apart": 0.9, "together": 0.6, "clear": clear}
    facts["command"] = "permgrad run t.csv --target y --row-group visit --out t-together"
    content.data = DataSection(rows=content.metrics["rows"], together=facts)
    said = verdict(content)
    (one,) = [one for one in said if one["facts"]["kind"] == "together"]
    assert (one is said[0], one["facts"]["part"]) == ((True, "alarm") if clear else (False, "caution"))
    assert ("0.90 on rows left out at random, and 0.60 if such rows are kept together" in one["sentence"]) == clear
    assert "--row-group visit" in one["sentence"]
    assert said[-1]["facts"]["reason"] == "together"
    assert said[-1]["sentence"].endswith(facts["command"])
    content.data = DataSection(rows=content.metrics["rows"], together=facts | {"columns": ["a", "b"], "command": None})
    assert "add a column that holds both" in " ".join(one["sentence"] for one in verdict(content))
