"""The verdict: true in situations of every kind, complete, and the same wherever it is
written.

``verdicts.txt`` has the sentences of eight situations. ``python -m
tests.pages.test_verdict`` writes it again, after a change of sentences that is meant.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tests.pages.conftest import NAMES, report_content
from verification import verify_verdict
from verification._situations import content_of, draw

from permgrad.assess.assessment import Assessment
from permgrad.assess.predictions import Predictions
from permgrad.assess.sections.data import DataSection
from permgrad.assess.sections.provenance import ProvenanceSection
from permgrad.pages.html import render_report, unbroken
from permgrad.pages.verdict import FINDINGS, MOST_CAUTIONS, PARTS, markdown, verdict

STORED = Path(__file__).with_name("verdicts.txt")
SCENARIOS = (
    "good numbers",
    "many classes",
    "no skill",
    "leak",
    "behind",
    "never predicted",
    "harder group",
    "patients",
)


def told() -> str:
    """Return the sentences of the scenarios, with their parts."""
    lines = []
    for scenario in SCENARIOS:
        lines += [
            f"# {scenario}",
            *(
                f"{verdict_entry['facts']['part']}: {verdict_entry['sentence']}"
                for verdict_entry in verdict(content_of(draw(scenario, 0)))
            ),
            "",
        ]
    return "\n".join(lines)


@pytest.mark.slow
def test_sentences_are_those_that_are_stored():
    assert told() == STORED.read_text(encoding="utf-8"), (
        "if it is meant: python -m tests.pages.test_verdict"
    )


@pytest.mark.slow
def test_every_sentence_is_true_in_one_situation_of_each_kind(capsys):
    """The short form of ``verification/verify_verdict.py``."""
    faults = verify_verdict.main(["--quick"])
    printed = capsys.readouterr().out
    assert faults == 0, printed
    assert printed.count(": met") == 2


def test_page_and_markdown_have_the_same_sentences_in_the_same_order(undrawn):
    content = report_content(NAMES[:3])
    sentences = [
        verdict_entry
        for verdict_entry in verdict(content)
        if verdict_entry["facts"]["part"] != "trust"
    ]
    part_names = [verdict_entry["facts"]["part"] for verdict_entry in sentences]
    assert part_names == sorted(part_names, key=list(PARTS).index)
    assert {"score", "features", "caution", "next"} <= set(part_names), (
        "a verdict of several parts"
    )
    page = render_report(content)
    text = markdown("heloc", sentences)
    sentence_positions = [
        page.index(unbroken(verdict_entry["sentence"])) for verdict_entry in sentences
    ]
    assert sentence_positions == sorted(sentence_positions)
    assert "<dt>What to do next:</dt><dd>" in page, (
        "a heading and its text do not run together"
    )
    unescaped = text.replace("\\", "")
    assert all(
        verdict_entry["sentence"].replace("\u00a0", " ") in unescaped
        for verdict_entry in sentences
    )


def test_a_name_cannot_change_the_markdown():
    words = "It relies on <b>*x*</b>\n# [y](z)."
    text = markdown(
        "# a", [{"sentence": words, "facts": {"kind": "features", "part": "features"}}]
    )
    assert "\\<b\\>\\*x\\*" in text
    assert "\n# " not in text[2:]


def test_a_report_without_anything_says_what_it_can():
    verdict_entries = verdict(Assessment(title="t", target="y", task="regression"))
    assert [verdict_entry["facts"]["kind"] for verdict_entry in verdict_entries] == [
        "skill",
        "next",
    ]
    assert verdict_entries[0]["sentence"] == "The network predicts y."


def doubtful(**data) -> Assessment:
    """A run with many reasons for doubt."""
    content = report_content(NAMES[:3])
    content.metrics = {
        **content.metrics,
        "in_order": {"along": None},
        "never_predicted": [],
    }
    content.data = DataSection(rows=content.metrics["rows"], shared_rows=400, **data)
    content.provenance = ProvenanceSection(
        command="permgrad run 'my table.csv' --target y --out runs/old",
        folder="runs/old",
        cut=("training after 1 epoch",),
    )
    return content


def test_three_cautions_at_most_are_on_the_first_page_in_the_order_of_the_table():
    order = [finding.kind for finding in FINDINGS]
    verdict_facts = [verdict_entry["facts"] for verdict_entry in verdict(doubtful())]
    first = [
        facts["kind"]
        for facts in verdict_facts
        if facts["part"] in ("alarm", "caution")
    ]
    assert first == ["duplicates", "in_order", "cut"]
    assert len(first) == MOST_CAUTIONS
    assert [facts["kind"] for facts in verdict_facts if facts["part"] == "trust"], (
        "the others are in the tab Trust"
    )
    assert first == sorted(first, key=order.index)
    assert verdict_facts[-1]["reason"] == "duplicates", (
        "what to do follows from the first"
    )


TOGETHER = {
    "columns": ["visit"],
    "each": 2.5,
    "metric": "accuracy",
    "apart": 0.9,
    "together": 0.6,
    "values": 90,
}
TOGETHER |= {"rows": 225, "tested": 90, "shared": 60}


@pytest.mark.parametrize("clear", [True, False])
def test_rows_that_may_belong_together_come_first_and_advice_is_the_whole_command(
    clear,
):
    verdict_entries = verdict(doubtful(together=TOGETHER | {"clear": clear}))
    (together_entry,) = [
        verdict_entry
        for verdict_entry in verdict_entries
        if verdict_entry["facts"]["kind"] == "together"
    ]
    assert (together_entry is verdict_entries[0], together_entry["facts"]["part"]) == (
        (True, "alarm") if clear else (False, "caution")
    )
    shared = (
        "Rows share 'visit': 90 values in 225 rows, and 60 of 90 test rows have "
        "one of the training rows"
    )
    assert together_entry["sentence"].startswith(shared)
    assert verdict_entries[-1]["facts"]["command"] == (
        "permgrad run 'my table.csv' --target y --row-group visit --out "
        "runs/old-together"
    )
    assert verdict_entries[-1]["sentence"].endswith(
        verdict_entries[-1]["facts"]["command"]
    )
    assert (
        markdown("t", verdict_entries)
        .rstrip()
        .endswith(f"`{verdict_entries[-1]['facts']['command']}`")
    )
    both_columns = verdict(
        doubtful(together=TOGETHER | {"clear": clear, "columns": ["a", "b"]})
    )
    assert both_columns[-1]["sentence"].startswith(
        "If such rows belong together, add a column of both"
    )


@pytest.mark.parametrize("grouped", [False, True])
def test_features_that_move_together_are_explained_as_one_by_the_command(grouped):
    content = content_of(draw("waves of a spectrum", 0))
    command = "permgrad run t.csv --target y" + " --groups g.json" * grouped
    content.provenance = ProvenanceSection(command=command, folder="runs/old")
    verdict_entries = verdict(content)
    (verdict_entry,) = [
        impossible_entry
        for impossible_entry in verdict_entries
        if impossible_entry["facts"]["kind"] == "impossible"
    ]
    assert verdict_entry["sentence"].startswith(
        "x0, x1 and x2 move with each other (correlation up to 1.00). Replacing one "
        "alone"
    )
    expected_command = (
        None
        if grouped
        else "permgrad run t.csv --target y --groups runs/old/explanations/groups.json "
        "--out runs/old-grouped"
    )
    assert verdict_entries[-1]["facts"].get("command") == expected_command
    assert verdict_entries[-1]["sentence"].startswith(
        "Explain features that move together as one"
    )
    content.explanation = dataclasses.replace(
        content.explanation, values=content.explanation.values / 100
    )
    kinds = {kind_entry["facts"]["kind"] for kind_entry in verdict(content)}
    assert ("impossible" in kinds, "related" in kinds) == (False, True), (
        "no loss is above a constant's"
    )


def of_errors(truth, errors) -> Assessment:
    """A regression with some errors."""
    content = Assessment(title="t", target="sales", task="regression")
    content.predictions = Predictions(truth=truth, guess=truth + errors)
    square = float(np.mean(errors**2))
    content.metrics = {
        "test": {"rmse": square**0.5, "mse": square},
        "rows": {"test": len(truth)},
    }
    return content


def test_a_few_large_values_that_make_the_error_are_told():
    rng = np.random.default_rng(0)
    size = np.exp(rng.normal(size=500))
    (skewed_entry,) = [
        verdict_entry
        for verdict_entry in verdict(of_errors(size**2, size**2 * rng.normal(size=500)))
        if "A few rows" in verdict_entry["sentence"]
    ]
    facts = skewed_entry["facts"]
    errors = size**2
    first = np.sort(errors)[-10:]
    assert (facts["rows"], facts["form"], facts["end"]) == (10, "high", first[0])
    assert skewed_entry["sentence"].startswith(
        "A few rows make most of the error: the 10 test rows with sales of "
    )
    assert [
        verdict_entry["facts"]["form"]
        for verdict_entry in verdict(of_errors(-(size**2), size**2 * 1.0))
        if verdict_entry["facts"]["kind"] == "skewed"
    ] == ["low"]
    even = [
        verdict_entry["facts"]["kind"]
        for verdict_entry in verdict(of_errors(size, rng.normal(size=500)))
    ]
    assert "skewed" not in even, "errors that do not grow with the target"


@pytest.mark.parametrize(
    ("shared", "blank", "part"),
    [(0, 0, ""), (1, 0, "trust"), (40, 0, "caution"), (40, 40, "")],
)
def test_copies_are_a_caution_if_they_are_many_and_have_values(shared, blank, part):
    content = report_content(NAMES[:3])
    content.data = DataSection(
        rows=content.metrics["rows"], shared_rows=shared, blank_rows=blank
    )
    assert [
        verdict_entry["facts"]["part"]
        for verdict_entry in verdict(content)
        if verdict_entry["facts"]["kind"] == "duplicates"
    ] == [part] * bool(part)


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.9997, "99.97\u00a0%"), (0.97, "97\u00a0%"), (1.0, "100\u00a0%")],
)
def test_a_score_below_1_is_never_rounded_to_it(value, written):
    test = {"accuracy": value, "balanced_accuracy": value, "labels": ["a", "b", "c"]}
    content = Assessment(
        title="t",
        target="y",
        task="classification",
        metrics={"test": test, "rows": {"test": 9000}},
    )
    words = {
        verdict_entry["facts"]["kind"]: verdict_entry["sentence"]
        for verdict_entry in verdict(content)
    }
    assert (
        words["skill"]
        == f"The network predicts y with accuracy {written} on 9,000 test rows."
    )
    assert ("nearly_perfect" in words) == (value > 0.98)


if __name__ == "__main__":
    STORED.write_text(told(), encoding="utf-8")
