"""What page, ``report.md`` and terminal ask of an assessment is answered once."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.pages.conftest import NAMES, report_content
from tests.pages.tabs.test_live_tabs import content_of

from permgrad.assess.assessment import Assessment
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.attribution.explanation.explanation_frames import file_frame
from permgrad.attribution.explanation.ranks import certain_ranks
from permgrad.evaluation.sensitive import audit
from permgrad.evaluation.skill import Predicted
from permgrad.pages import verdict as verdicts
from permgrad.pages.charts.explained import leading
from permgrad.pages.content import PageContent
from permgrad.pages.effects import effect_lines
from permgrad.pages.facts import (
    calibration_facts,
    column_facts,
    feature_facts,
    group_facts,
)
from permgrad.pages.html import in_short, render_report
from permgrad.pages.sentences import level_words, main_metric
from permgrad.pages.units import loss_without
from permgrad.pages.verdict import FINDINGS, verdict
from permgrad.runs.run.run_summary import summarise

pytestmark = pytest.mark.usefixtures("undrawn")
#: Two findings ask them, each for one of two answers.
ASKED_TWICE = {column_facts.together}


def full_content() -> Assessment:
    """An assessment with groups, levels, drift and features that move together."""
    content = report_content(NAMES[:5])
    beside = content_of("classification", ("Bad", "Good"))
    first, second, *_ = clearly_matter(content.explanation)
    pair = {"feature": first, "other": second, "kind": "correlation", "strength": 0.95}
    scored = content.predictions
    sex = pd.DataFrame({"sex": np.tile(["f", "m"], len(scored.truth) // 2)})
    levels = audit(sex, Predicted(scored.codes, scored.guess))
    for column in levels:
        column |= {"is_feature": False, "told_by": None}
    hint = {"feature": first, "share": 0.5, "notes": []}
    return replace(
        content,
        data=beside.data,
        segments=beside.segments,
        related=[pair],
        matrix=beside.matrix,
        reading={"features": (), "leakage": hint, "alone": None},
        sensitive={"positive": "Good", "columns": levels},
    )


def calls_of(questions: set[Callable[..., Any]], work: Callable[[], Any]) -> Counter:
    """Count the calls of functions while work is done, under whatever name they are
    known where they are called.
    """
    names = {question.__code__: question for question in questions}
    calls = Counter[Callable[..., Any]]()

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code in names:
            calls[names[frame.f_code]] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def test_each_question_is_answered_once_for_page_report_and_terminal(tmp_path):
    finders = set()
    for finding in FINDINGS:
        finder = finding.find
        finders.add(finder.func if isinstance(finder, partial) else finder)
    once = finders | {
        verdicts._verdict,
        certain_ranks,
        clearly_matter,
        loss_without,
        main_metric,
        leading,
        effect_lines,
        level_words,
        feature_facts.leading,
        group_facts.never_of_two,
        calibration_facts.curves_of,
        calibration_facts.calibration_facts,
        group_facts.worst_groups,
    }
    content = full_content()
    ranking = file_frame(content.explanation)

    def told() -> None:
        page = PageContent.of(content)
        render_report(page)
        in_short(page)
        summarise(
            tmp_path, page, verdict(page), ranking, times={}, time=None, grouped=False
        )

    calls = calls_of(once, told)
    expected = dict.fromkeys(once, 1) | dict.fromkeys(ASKED_TWICE, 2)
    assert {question.__name__ for question in once - calls.keys()} == set()
    too_often = {}
    for question, count in calls.items():
        if count != expected[question]:
            too_often[question.__name__] = count
    assert too_often == {}


def test_content_does_not_change_and_another_one_has_answers_of_its_own():
    page = PageContent.of(full_content())
    assert PageContent.of(page) is page
    first = page.clear_names[0]
    with pytest.raises(FrozenInstanceError):
        page.explanation = None
    nobody = replace(page.explanation, p_values=np.ones_like(page.explanation.values))
    other = replace(page, explanation=nobody)
    assert other.clear_names == []
    assert page.clear_names[0] == first
    assert page.moving, "the precondition"
    assert other.moving == []


def test_columns_of_a_group_have_its_rank():
    explanation = replace(
        report_content(NAMES[:4]).explanation, groups={NAMES[0]: ["left", "right"]}
    )
    page = PageContent.of(replace(report_content(NAMES[:4]), explanation=explanation))
    ranking = page.ranking
    order = page.by_rank(["nobody", "right", *reversed(ranking)])
    place = len(ranking) + 1 - ranking.index(NAMES[0])
    assert (
        order.index(1) < order.index(place) or order.index(1) == order.index(place) - 1
    )
    assert order[-1] == 0, "what has no rank comes last"
