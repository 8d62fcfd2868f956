"""What a run of a named data set says of its published readings: it is printed, shown,
and true to its record.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from tests.shared.invoking import working_in
from typer.testing import CliRunner

from permgrad.cli import app
from permgrad.data.datasets import DataCard, cards, get_card

ROOT = Path(__file__).resolve().parents[3]
STORY = "A published reading says that size decides. It recurs. See docs/comparing.md."


def test_the_story_of_bank_says_what_its_record_says():
    story = get_card("bank").story
    record = json.loads(
        (ROOT / "benchmarks/results/ig_message.json").read_text(encoding="utf-8")
    )
    job, april, education = record["results"]["client, zeros"]
    assert [sentence_facts["recurs"] for sentence_facts in (job, april, education)] == [
        False,
        True,
        False,
    ]
    figures = [
        april["mean bar"],
        *(
            sentence_facts[end]
            for sentence_facts in (april, job, education)
            for end in ("ci_low", "ci_high")
        ),
    ]
    story_numbers = [
        float(number.replace("−", "-")) for number in re.findall(r"−?\d\.\d\d", story)
    ]
    assert story_numbers == [round(figure, 2) for figure in figures]
    assert f"Over {len(record['seeds'])} trainings" in story
    assert f"negative in {april['seeds with the published sign']}" in story
    assert "blue-collar work" in story
    [page] = re.findall(r"See (docs/\S+\.md)\.$", story)
    assert "## Do the published readings recur?" in (ROOT / page).read_text(
        encoding="utf-8"
    )


@pytest.fixture
def widgets(tmp_path, monkeypatch):
    frame = pd.DataFrame(
        {"size": [float(row % 7) for row in range(80)], "kind": ["a", "b"] * 40}
    )
    frame["price"] = frame["size"] ** 2
    card_fields = {
        "title": "Widgets",
        "home": "https://example.org",
        "licence": "CC0",
        "description": "Widgets.",
    }
    card = DataCard(
        name="widgets",
        target="kind",
        task="classification",
        rows=80,
        columns=3,
        story=STORY,
        build=frame.copy,
        **card_fields,
    )
    cards.register("widgets")(card)
    with working_in(tmp_path):
        yield tmp_path
    del cards["widgets"]


def progress(*words):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    return result.stderr


@pytest.mark.slow
def test_a_run_prints_the_story_and_its_page_shows_it(widgets):
    assert f"note: {STORY}" in progress(
        "run", "widgets", "--preset", "preset.json", "--out", "own"
    )
    assert STORY in (widgets / "own" / "report.html").read_text(encoding="utf-8")
    other_output = progress(
        "run",
        "widgets",
        "--target",
        "size",
        "--preset",
        "preset.json",
        "--out",
        "other",
    )
    assert STORY not in other_output, "another target has another story"
