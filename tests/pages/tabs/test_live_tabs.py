"""The tabs Decisions, Trust and Data: what stands in the page, and what their scripts
show in a real browser.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from browsing import needs_browser, visit
from tests.pages.conftest import HOSTILE

from permgrad.assess.assessment import Assessment
from permgrad.assess.predictions import Predictions
from permgrad.assess.sections.data import DataSection
from permgrad.evaluation.calibration import (
    covering,
    error_bands,
    holds,
    score_intervals,
)
from permgrad.evaluation.drift import compare_parts
from permgrad.evaluation.segments import find_segments, worse_groups
from permgrad.evaluation.skill import Predicted
from permgrad.evaluation.thresholds import (
    choose_threshold,
    metrics_at,
    operating_points,
)
from permgrad.models.decision import Decision
from permgrad.pages.content import PageContent
from permgrad.pages.html import render_report
from permgrad.pages.tabs import data, decisions, trust
from permgrad.pages.tabs.data import related_columns
from permgrad.pages.views import SectionView, page_data

EVIL = [name for name in dict.fromkeys(HOSTILE) if name.strip()]
ROWS = 400
CUTS = {"held_out_rows": 9, "share_positive": 0.5, "test": []}


def table(rows: int, seed: int) -> pd.DataFrame:
    """Features whose names and levels are markup and scripts."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(size=rows) for name in EVIL[2:]})
    frame[EVIL[0]] = rng.choice(EVIL[:4], rows)
    return frame.assign(
        **{EVIL[1]: np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows))}
    )


def content_of(task: str, classes: tuple[str, ...] = (EVIL[1], EVIL[2])) -> Assessment:
    """A report of a model that is worse for one level, on test rows of which one column
    has shifted.
    """
    rng = np.random.default_rng(0)
    train = table(600, 1)
    test = table(ROWS, 2)
    test[EVIL[3]] += 1
    bad = (test[EVIL[0]] == EVIL[2]).to_numpy()
    if task == "regression":
        truth = rng.normal(1000, 200, ROWS)
        guess = truth + rng.normal(0, 20, ROWS) * np.where(bad, 4, 1)
        scored = Predictions(truth=truth, guess=guess)
        predicted = Predicted(truth, guess)
    else:
        codes = rng.integers(0, len(classes), ROWS)
        logits = (
            rng.normal(size=(ROWS, len(classes)))
            + np.eye(len(classes))[codes] * np.where(bad, 0, 4)[:, None]
        )
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        truth = np.array(classes, dtype=object)[codes]
        predicted = Predicted(codes, chances)
        scored = Predictions(truth=truth, classes=classes, guess=chances)
    described = compare_parts(train, test)
    drift = described.pop("drift")
    return Assessment(
        title="t",
        target=EVIL[1],
        task=task,
        positive=classes[1] if len(classes) == 2 else None,
        predictions=scored,
        data=DataSection(
            rows={"train": 600, "test": ROWS}, drift=drift, described=described
        ),
        segments=find_segments(test, predicted),
        matrix={
            "names": EVIL[:3],
            "strengths": [[1.0, 0.2, -0.9], [0.2, 1.0, 0.0], [-0.9, 0.0, 1.0]],
        },
    )


def test_the_share_inside_intervals_stands_on_paper_with_its_lowest_groups(undrawn):
    content = content_of("regression")
    truth = content.predictions.truth
    guess = content.predictions.predictions
    X = table(ROWS, 2)
    inside = np.column_stack([guess - 50, guess + 50])
    covered = holds(truth, inside)
    assert 0.8 < covered.mean() < 0.99
    content.metrics = {"intervals": score_intervals(truth, inside, 0.9)}
    content.segments = find_segments(X, Predicted(truth, guess), covered=covered)
    page = html.unescape(
        re.sub(r"<script.*?</script>", "", render_report(content), flags=re.DOTALL)
    )
    share = f"{covered.mean() * 100:.0f}\u00a0%"
    assert (
        f"made to hold the truth of 90\u00a0% of new rows. They hold it for {share} of "
        "the 400 test rows" in page
    )
    assert "Their mean width is 100." in page
    groups = [
        group
        for feature_group in content.segments["features"]
        for group in feature_group["groups"]
    ]
    below = [group["group"] for group in groups if group["covered_high"] < 0.9]
    assert EVIL[2] in below
    assert 1 < len(below) < len(groups)
    words = (
        f"In {len(below)} of the {len(groups)} groups, the 95\u00a0% interval of "
        "this share is below 90\u00a0%"
    )
    assert words in page


def test_the_share_inside_sets_stands_on_paper_for_each_class_and_one_that_misses_it_is_named(
    undrawn,
):
    content = content_of("classification", ("usual", "rare"))
    few = 12
    truth = np.repeat([1, 0], [few, ROWS - few])
    inside = np.column_stack([np.ones(ROWS, dtype=bool), np.arange(ROWS) < few // 3])
    content.metrics = {
        "intervals": score_intervals(truth, inside, 0.9, classes=("usual", "rare"))
    }
    page = html.unescape(
        re.sub(r"<script.*?</script>", "", render_report(content), flags=re.DOTALL)
    )
    assert "They hold it for 98\u00a0% of the 400 test rows" in page
    assert "Among the rows of rare they hold it less often." in page
    cells = re.sub(
        r"<[^>]*>", " ", page.partition("How often the sets hold")[2]
    ).split()
    rare_position = cells.index("rare")
    then = cells.index("usual")
    assert (cells[rare_position : rare_position + 3], cells[then : then + 3]) == (
        ["rare", "12", "33"],
        ["usual", "388", "100"],
    )


@pytest.mark.parametrize(
    ("leak", "said", "unsaid"),
    [
        (
            {"formula": "'a' + 'b'", "columns": ["a", "b"], "metric": "equal"},
            "A formula gives y from",
            "alone predicts",
        ),
        (
            {"class": "ill", "metric": "balanced_accuracy"},
            "tells rows of this class from all",
            "alone predicts",
        ),
        (
            {"metric": "r2"},
            "Each of these columns alone predicts y nearly perfectly",
            "formula gives",
        ),
    ],
)
def test_what_is_said_of_columns_that_give_the_target_away_is_true_of_those_listed(
    leak, said, unsaid
):
    stored = DataSection(
        rows={}, leaks=[{"column": "a", "score": 1.0, "rows": 90, **leak}]
    )
    section = SectionView("leaks", "")
    data.leaks(section, Assessment(title="t", target="y", task="regression"), stored)
    assert said in section.blocks[0][1]
    assert unsaid not in section.blocks[0][1]


def doubts_of(content) -> list[str]:
    """The list of caveats."""
    section = SectionView("caveats", "All caveats")
    trust.caveats(section, PageContent.of(content))
    (found, _) = section.blocks[0][1]
    return [words for kind, block in found if kind == "items" for words in block]


def test_the_worse_group_and_the_shifted_column_are_named(undrawn):
    content = content_of("classification")
    (worse,) = worse_groups(content.segments)
    assert worse["group"] == EVIL[2]
    page = html.unescape(
        re.sub(r"<script.*?</script>", "", render_report(content), flags=re.DOTALL)
    )
    assert (
        f"of {content.segments['tests']} tested groups is clearly worse than the other "
        "rows." in page
    )
    assert "Do its intervals hold?" not in page
    (shifted,) = (
        drift_facts for drift_facts in content.data.drift if drift_facts["clear"]
    )
    assert shifted["column"] == EVIL[3]
    assert "has clearly different values in the training and the test rows" in page
    doubts = doubts_of(content)
    assert any("clearly worse" in doubt for doubt in doubts)
    assert any("clearly different values" in doubt for doubt in doubts)


def test_a_model_without_faults_gets_no_alarm(undrawn):
    content = content_of("regression")
    truth = content.predictions.truth
    test = table(ROWS, 2)
    content.segments = find_segments(
        test, Predicted(truth, truth + np.random.default_rng(3).normal(size=ROWS))
    )
    content.data = DataSection(
        rows={"train": 600, "test": ROWS},
        drift=compare_parts(table(600, 1), test)["drift"],
    )
    assert content.segments["tests"] > 20, (
        "the precondition: many groups could be named"
    )
    assert doubts_of(content) == []
    assert "None of the checks for caveats found a reason for doubt." in html.unescape(
        render_report(content)
    )


def test_points_of_a_threshold_are_those_of_all_thresholds():
    rng = np.random.default_rng(0)
    truth = rng.random(5000) < 0.03
    scores = np.round(np.clip(rng.normal(0.1 + 0.2 * truth, 0.1), 0, 1), 3)
    points = operating_points(truth, scores, 100)
    assert len(points["value"]) <= 204 < len(np.unique(scores))
    for value, called, hits in list(
        zip(points["value"], points["called"], points["hits"], strict=True)
    )[1:-1]:
        assert (called, hits) == (
            np.sum(scores >= value),
            np.sum(truth & (scores >= value)),
        )
    assert points["called"][points["start"]] == np.sum(scores >= 0.5)
    assert (points["called"][0], points["called"][-1], points["hits"][-1]) == (
        0,
        5000,
        truth.sum(),
    )
    hit_shares = np.array(points["hits"]) / truth.sum()
    assert np.diff(hit_shares).max() < 0.05, "also where positives are rare"
    for threshold in np.arange(1, 100) / 100:
        assert np.sum(scores >= threshold) in points["called"], (
            "a threshold that people type is exact"
        )
    f1 = [
        2 * hits / (truth.sum() + called)
        for called, hits in zip(points["called"], points["hits"], strict=True)
    ]
    every = [
        2 * np.sum(truth & (scores >= cut)) / (truth.sum() + np.sum(scores >= cut))
        for cut in np.unique(scores)
    ]
    assert max(f1) == pytest.approx(max(every))


def test_bands_of_errors():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=1000)
    guess = truth + rng.normal(size=1000)
    guess[0] = np.nan
    result = error_bands(truth, guess)
    assert result["rows"] == 999 == sum(band["rows"] for band in result["bands"])
    assert result["exact"]
    assert covering(result["sizes"], 0.5) == pytest.approx(
        np.nanmedian(np.abs(truth - guess))
    )
    band = result["bands"][3]
    inside = (guess >= band["low"]) & (guess <= band["high"])
    assert inside.sum() == band["rows"]
    assert band["errors"][2] == pytest.approx(np.median((truth - guess)[inside]))
    assert (
        max(error_band["rows"] for error_band in result["bands"])
        - min(error_band["rows"] for error_band in result["bands"])
        <= 1
    )
    limit = 0.7
    for tested_band in result["bands"]:
        members = (guess >= tested_band["low"]) & (guess <= tested_band["high"])
        assert (tested_band["sizes"] <= limit).sum() == (
            np.abs(truth - guess)[members] <= limit
        ).sum()
    assert error_bands([], [])["bands"] == []


def test_equal_predictions_are_in_one_band():
    truth = np.arange(400.0)
    assert [
        error_band["rows"]
        for error_band in error_bands(truth, np.full(400, 5.0))["bands"]
    ] == [400]
    few = error_bands(truth, np.repeat([1.0, 2.0, 3.0, 4.0], 100))["bands"]
    assert [
        (error_band["low"], error_band["high"], error_band["rows"])
        for error_band in few
    ] == [(k, k, 100) for k in (1.0, 2.0, 3.0, 4.0)]


def test_many_rows_are_told_about():
    truth = np.random.default_rng(0).normal(size=30_000)
    result = error_bands(truth, truth + np.random.default_rng(1).normal(size=30_000))
    assert not result["exact"]
    assert all(len(error_band["sizes"]) == 400 for error_band in result["bands"])


def test_the_costs_of_a_run_are_where_the_fields_start(undrawn):
    content = content_of("classification", ("no", "yes"))
    content.metrics = {"cuts": {**CUTS, "positive": "yes", "cost": [1.0, 5.0]}}
    decision = Decision(positive=1, threshold=0.2, cost=(1.0, 5.0), rows=90)
    content.predictions = replace(content.predictions, decision=decision)
    assert decisions.live_data(PageContent.of(content))["threshold"] == 0.2
    assert decisions.live_data(PageContent.of(content))["cost"] == [1.0, 5.0]
    assert "The loss in training was weighted" not in render_report(content)
    content.positive = "no"
    assert decisions.live_data(PageContent.of(content))["cost"] == [5.0, 1.0], (
        "the other class is the positive one"
    )
    assert decisions.live_data(PageContent.of(content))["threshold"] == 0.8
    page = render_report(content)
    assert (
        "at least the threshold, which is 0.8 in this model: the cheapest on 90 rows "
        "held out of training where a false alarm costs 5 and a miss 1."
    ) in page
    line = dict.fromkeys(
        ("threshold", "accuracy", "balanced_accuracy", "precision", "recall", "f1"), 0.5
    )
    line["cut"] = "corrected for the class weight"
    content.metrics["cuts"]["test"] = [line]
    assert "The loss in training was weighted, so both" in render_report(content)
    assert (
        decisions.live_data(PageContent.of(content_of("classification")))["cost"]
        is None
    )


def test_many_classes_and_wide_tables_stay_small():
    content = content_of("classification", tuple(f"class {k}" for k in range(40)))
    shown = decisions.live_data(PageContent.of(content))
    assert len(shown["classes"]) == decisions.MOST_CLASSES < shown["all"] == 40
    rng = np.random.default_rng(0)
    wide = [pd.DataFrame(rng.normal(size=(300, 400))).add_prefix("x") for _ in range(2)]
    described = compare_parts(*wide)
    content.data = DataSection(
        rows={}, drift=described.pop("drift"), described=described
    )
    content.segments = find_segments(
        wide[1], Predicted(np.arange(300) % 2, np.tile([0.4, 0.6], (300, 1)))
    )
    page_content = PageContent.of(content)
    texts = [page_data(tab.live_data(page_content)) for tab in (decisions, trust, data)]
    assert all(1000 < len(text) < 250_000 for text in texts), list(map(len, texts))
    assert json.loads(texts[1])["all"] == json.loads(texts[2])["all"] == 400


# ---- in a browser --------------------------------------------------------------------
#: Does what a reader does, and writes what is then shown into the page.
_PROBE = """
  const seen = { wide: document.documentElement.scrollWidth, hacked: typeof hacked };
  const all = (query) => [...document.querySelectorAll(query)];
  const set = (box, value) => {
    box.value = value;
    box.dispatchEvent(new Event(box.tagName === "SELECT" ? "change" : "input"));
  };
  const words = (root) => all(`#${root} p[role=status]`).map((one) => one.textContent);
  {
    Page.select("decisions");
    const [value, ...costs] = all("#decisions input[type=number]");
    set(value, "TYPED");
    seen.typed = words("decisions");
    seen.cells = all("#decisions .lively table td").map((one) => one.textContent);
    if (costs.length) {
      seen.costs = costs.map((one) => one.value);
      set(costs[0], 1);
      set(costs[1], 7);
      all("#decisions .controls button")[0].click();
      seen.cheapest = words("decisions");
      all("#decisions .controls button")[1].click();
      seen.largest = value.value;
    }
    Page.select("trust");
    seen.worst = words("trust");
    const list = document.querySelector("#trust select");
    seen.features = list.options.length;
    set(list, "1");
    seen.next = words("trust");
    seen.groups = all("#trust .lively tbody tr").length;
    Page.select("data");
    seen.column = words("data");
    set(document.querySelector("#data select"), "1");
    seen.other = words("data");
    seen.heat = all("#related-1 rect").length;
    const caption = (one) => one.querySelector("figcaption").textContent;
    seen.figures = all(".lively figure").map((one) => [one.id, one.querySelectorAll("svg").length, caption(one)]);
    const size = (one) => parseFloat(getComputedStyle(one).fontSize);
    seen.small = all(".lively svg text").filter((one) => size(one) < 11).length;
  }
  return seen;
"""


def seen_in_browser(content: Assessment, typed: str, folder) -> dict:
    """Open the page, use it, and return what it showed."""
    came = visit(render_report(content), folder, _PROBE.replace("TYPED", typed))
    browser_facts = came.quiet()
    assert browser_facts["hacked"] == "undefined"
    assert browser_facts["small"] == 0
    assert '<img src="x"' not in came.page
    return browser_facts


@needs_browser
def test_classes_in_a_browser(tmp_path):
    content = content_of("classification")
    content.metrics = {
        "cuts": {**CUTS, "positive": content.positive, "cost": [2.0, 3.5]}
    }
    decision = Decision(positive=1, threshold=0.5, cost=(2.0, 3.5))
    content.predictions = replace(content.predictions, decision=decision)
    browser_facts = seen_in_browser(content, "0.3", tmp_path)
    assert browser_facts["costs"] == ["2", "3.5"], "those of the run"
    scored = content.predictions
    member = scored.truth == EVIL[2]
    scores = scored.probabilities[:, 1]
    expected = metrics_at(member, scores, 0.3, positive=True)
    (passed, alarms), (missed, hits) = expected["confusion_matrix"]
    assert browser_facts["cells"][:4] == [
        str(hits),
        str(missed),
        str(alarms),
        str(passed),
    ]
    assert (
        f"finds {100 * expected['recall']:.0f}\u00a0% of the {EVIL[2]} rows"
        in browser_facts["typed"][0]
    )
    cheapest = choose_threshold(
        member,
        scores,
        "cost",
        {"false_positive": 1, "false_negative": 7},
        positive=True,
    )
    assert f"test rows cost {cheapest.score:g} (" in browser_facts["cheapest"][0]
    best = choose_threshold(member, scores, positive=True)
    assert float(browser_facts["largest"]) == pytest.approx(best.value, rel=0.01)
    assert browser_facts["worst"][0].startswith("Clearly worse: ")
    assert browser_facts["next"][0].startswith("No group of ")
    assert (
        "Lower, but not clearly: "
        in f"{browser_facts['worst'][0]} {browser_facts['next'][0]}"
    )
    assert browser_facts["features"] == len(content.segments["features"])
    assert browser_facts["groups"] >= 2
    assert "The difference is clear." in browser_facts["column"][0]
    assert "The difference is small, or can be chance." in browser_facts["other"][0]
    assert browser_facts["heat"] == 9
    drawn = {
        name: pictures
        for name, pictures, caption in browser_facts["figures"]
        if caption
    }
    expected_figures = {
        f"decisions-{name}" for name in ("precision", "gain", "cost")
    } | {
        "trust-segments",
        "data-column",
    }
    assert expected_figures == set(drawn)
    assert set(drawn.values()) == {1}


@needs_browser
def test_numbers_in_a_browser(tmp_path):
    content = content_of("regression")
    browser_facts = seen_in_browser(content, "25", tmp_path)
    error = np.abs(content.predictions.truth - content.predictions.predictions)
    share = float(re.match(r"(\d+)", browser_facts["typed"][0])[1]) / 100
    assert 0.2 < share < 0.95, "the precondition: some rows are within, others not"
    assert share == pytest.approx((error <= 25).mean(), abs=0.00501), (
        "counted, not interpolated"
    )
    assert "test rows are predicted to within 25." in browser_facts["typed"][0]
    assert browser_facts["worst"][0].startswith("Clearly worse: ")
    assert {"decisions-errors", "decisions-within"} <= {
        name for name, *_ in browser_facts["figures"]
    }


def test_one_group_is_spoken_of_as_one(undrawn):
    content = content_of("regression")
    guess = content.predictions.predictions
    truth = content.predictions.truth
    inside = np.column_stack([guess - 50, guess + 50])
    content.metrics = {"intervals": score_intervals(truth, inside, 0.9)}
    segments = find_segments(
        table(ROWS, 2), Predicted(truth, guess), covered=holds(truth, inside)
    )
    feature_groups = segments["features"][0]
    for covered, end in ((0.9, " not below"), (0.1, " below")):
        group = feature_groups["groups"][0] | {"covered": covered, "rows": 50}
        group |= {"covered_low": covered - 0.05, "covered_high": covered + 0.05}
        content.segments = {
            **segments,
            "features": [{**feature_groups, "groups": [group]}],
        }
        page = html.unescape(render_report(content))
        assert (
            "In the one group of 20 or more rows, the 95\u00a0% interval of this share "
            f"is{end} 90\u00a0%." in page
        )


def test_columns_without_any_relation_are_not_called_close():
    matrix = {"names": ["a", "b"], "strengths": [[1.0, 0.0], [0.0, 1.0]]}
    chart, caption = related_columns(matrix)
    assert caption == "The 2 most important columns. No two of these are related."
    assert chart.words == "Strengths of 2 columns. No two of these are related."
    matrix["strengths"] = [[1.0, -0.5], [-0.5, 1.0]]
    assert "the closest are a and b (−0.50)." in related_columns(matrix)[1]
