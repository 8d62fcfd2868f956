"""The pictures beside the first sentences: what they hold, and how they stand on a
screen and on a phone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from browsing import data_of, needs_browser, visit
from tests.pages.conftest import HOSTILE, NAMES, report_content

from permgrad.assess.assessment import Assessment
from permgrad.pages.content import PageContent
from permgrad.pages.html import render_report
from permgrad.pages.tabs import summary
from permgrad.pages.views import FigureView, SectionView

CLASSES = tuple(f"class {k}" for k in range(7))


def content_of(
    task: str = "classification", names=NAMES, classes=("Bad", "Good"), **changes
) -> Assessment:
    """A report whose importances are increases of the metric's loss."""
    content = report_content(names, classes, task=task)
    loss = {"classification": "cross_entropy", "regression": "squared_error"}[task]
    p = np.full((len(names), 1), 0.5)
    p[:3] = 1e-9
    p_values = np.broadcast_to(p, content.explanation.values.shape)
    explanation = replace(
        content.explanation,
        meta=content.explanation.meta | {"loss": loss},
        p_values=p_values,
    )
    return replace(content, **{"explanation": explanation, "warnings": (), **changes})


def pictures(content: Assessment) -> list[FigureView]:
    summary.glance(
        section := SectionView("glance", "At a glance"), PageContent.of(content)
    )
    return section.pictures


@pytest.mark.parametrize(
    ("task", "metric"), [("classification", "log_loss"), ("regression", "rmse")]
)
def test_the_bars_are_the_losses_that_the_sentences_say(task, metric):
    content = content_of(task)
    data = pictures(content)[0].chart.data
    values = np.sort(content.explanation.values[:, 0])[::-1][:8]
    model = content.test[metric]
    without = model + values if task == "classification" else np.sqrt(model**2 + values)
    assert data["values"] == pytest.approx(without, rel=1e-9)
    assert data["start"] == pytest.approx(model, rel=1e-9), (
        "bars start at the loss with all features"
    )
    assert np.all(data["low"] <= data["values"])
    assert np.all(data["values"] <= data["high"])
    assert data["quiet"] == [False] * 3 + [True] * 5
    assert data["hidden"] == len(NAMES) - 8
    assert (
        data["label"]
        == {"log_loss": "log loss", "rmse": "RMSE"}[metric] + " without the feature"
    )


def test_bars_of_another_loss_say_their_unit():
    content = content_of()
    content = replace(
        content,
        explanation=replace(
            content.explanation, meta={"quantity": "increase of the loss", "unit": "x"}
        ),
    )
    view = pictures(content)[0]
    assert "start" not in view.chart.data
    assert view.chart.data["values"][0] == content.explanation.values[:, 0].max()
    assert view.chart.data["label"] in view.caption.casefold()


def test_a_model_that_has_learned_nothing_has_no_ranking():
    content = content_of()
    content.metrics["constant"]["learnt"] = False
    assert [view.chart.kind for view in pictures(content)] == ["cells"]


def test_how_good_it_is_as_dots_cells_or_bars():
    assert pictures(content_of("regression"))[1].chart.kind == "plot"
    assert len(pictures(content_of("regression", keep_rows=False))) == 1, (
        "each dot is a row"
    )
    assert pictures(content_of())[1].chart.kind == "cells"
    content = content_of(classes=CLASSES)
    bars = pictures(content)[1].chart
    table = np.array(content.test["confusion_matrix"])
    assert bars.kind == "bars"
    assert sorted(bars.data["values"]) == pytest.approx(
        sorted(np.diag(table) / table.sum(axis=1)), abs=1e-12
    )
    assert bars.data["texts"][0].endswith(f" of {table.sum(axis=1).max()}")


def test_the_page_holds_their_arrays():
    figures = data_of(render_report(content_of()))["figures"]
    assert figures["glance-1"]["words"].startswith(
        f"Bars of the 8 most important of {len(NAMES)} features"
    )
    assert "With all features it is" in figures["glance-1"]["words"]
    assert "Confusion matrix" in figures["glance-2"]["words"]


PLACES = """
const box = (one) => one.getBoundingClientRect().toJSON();
const edge = document.documentElement.clientWidth;
return {
  told: box(document.querySelector(".told")),
  figures: [...document.querySelectorAll(".pictures figure")].map(box),
  cut: [...document.querySelectorAll(".pictures :is(text, rect, line, figcaption, button)")].map(box)
    .filter((one) => one.left < -0.5 || one.right > edge + 0.5).length,
  drawn: document.querySelectorAll(".pictures svg[role=img][aria-label]").length,
  wide: document.documentElement.scrollWidth, scrolls: document.querySelectorAll(".pictures .wider").length,
};
"""
KINDS = [
    content_of(),
    content_of("regression"),
    content_of(classes=CLASSES[:5]),
    content_of(
        names=[f"{name} of the household, as the applicant said" for name in NAMES],
        classes=CLASSES,
    ),
    content_of(names=HOSTILE, classes=HOSTILE[:4]),
]


def seen(content, tmp_path, **size):
    """Return where the sentences and both pictures of the first page stand, of which
    nothing is cut.
    """
    visit_facts = visit(render_report(content), tmp_path, PLACES, **size).quiet()
    assert visit_facts["drawn"] == 2
    assert visit_facts["cut"] == visit_facts["scrolls"] == 0
    return visit_facts


@needs_browser
@pytest.mark.parametrize(
    "content",
    KINDS,
    ids=["binary", "numbers", "five classes", "long names", "hostile names"],
)
def test_sentences_and_pictures_are_seen_without_scrolling(content, tmp_path):
    summary_layout = seen(content, tmp_path, width=1400, height=900)
    assert summary_layout["told"]["bottom"] <= 900
    assert all(
        figure_box["left"] >= summary_layout["told"]["right"]
        and figure_box["bottom"] <= 900
        for figure_box in summary_layout["figures"]
    )
    assert summary_layout["figures"][0]["bottom"] <= summary_layout["figures"][1]["top"]


@needs_browser
@pytest.mark.parametrize(
    "content",
    KINDS,
    ids=["binary", "numbers", "five classes", "long names", "hostile names"],
)
def test_on_a_phone_they_stand_one_below_the_other(content, tmp_path):
    summary_layout = seen(content, tmp_path, width=390, height=844)
    assert summary_layout["wide"] <= 390
    first, second = summary_layout["figures"]
    assert (
        summary_layout["told"]["bottom"]
        <= first["top"]
        < first["bottom"]
        <= second["top"]
    )
