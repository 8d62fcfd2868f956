"""Which features the page and the terminal name: those that pass Holm's steps, in rank
order, and nobody else.
"""

import dataclasses

import numpy as np
import pytest
from browsing import data_of
from tests.pages.conftest import global_explanation
from tests.pages.test_html import light_content

from permgrad.assess.assessment import Assessment
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.base.numerals import number
from permgrad.base.significance import holm
from permgrad.pages.content import PageContent
from permgrad.pages.facts.feature_facts import features
from permgrad.pages.findings import say
from permgrad.pages.html import render_report
from permgrad.pages.tabs.trust import methods
from permgrad.pages.views import SectionView
from permgrad.runs.run.run_summary import _feature_lines

NAMES = tuple(f"feature{feature_number}" for feature_number in range(8))


def told(p_values, values=None):
    """Content whose eight features have these p-values; intervals lie above 0, as p
    below 0.05 has it.
    """
    explanation = global_explanation(names=NAMES)
    values = np.linspace(0.2, 0.01, 8) if values is None else np.asarray(values)
    wide = np.tile(values[:, None], (1, 3))
    p = np.tile(np.asarray(p_values)[:, None], (1, 3))
    explanation = dataclasses.replace(
        explanation,
        values=wide,
        low=wide * 0.1,
        high=wide * 1.9,
        std_error=np.abs(wide),
        p_values=p,
        parts={},
        part_std={},
    )
    return PageContent.of(dataclasses.replace(light_content(), explanation=explanation))


def test_small_p_values_that_do_not_pass_are_nowhere_named():
    p_values = [0.03, 0.01, 0.04, 0.02, 0.045, 0.6, 0.7, 0.8]
    assert np.sum(np.array(p_values) < 0.05) == 5, (
        "one by one, five features would seem to matter"
    )
    assert holm(p_values).min() > 0.05
    content = told(p_values)
    sentence = say("features", features(content))
    assert (
        sentence
        == "None of 8 features clearly matters (no p-value is below 5\u00a0% after "
        "Holm's correction)."
    )


def test_only_what_is_certain_is_named_and_larger_estimates_are_called_uncertain():
    feature_facts = features(told([1e-6, 0.03, 1e-5, 0.5, 1e-4, 1e-9, 0.9, 0.9]))
    assert [
        leading_feature["name"] for leading_feature in feature_facts["leading"]
    ] == [
        "feature0",
        "feature2",
        "feature4",
    ]
    assert [
        (uncertain_feature["name"], uncertain_feature["place"])
        for uncertain_feature in feature_facts["uncertain"]
    ] == [
        ("feature1", 2),
        ("feature3", 4),
    ]
    assert feature_facts["relies"] == "relies most"
    larger = features(
        told(
            [0.2, 1e-6, 0.3, 1e-5, 0.9, 0.9, 0.9, 0.9],
            [0.61, *np.linspace(0.06, 0.01, 7)],
        )
    )
    assert [leading_feature["name"] for leading_feature in larger["leading"]] == [
        "feature1",
        "feature3",
    ]
    assert [uncertain_feature["name"] for uncertain_feature in larger["uncertain"]] == [
        "feature0",
        "feature2",
    ]
    assert larger["relies"] == "clearly relies"
    assert (
        features(told([1e-6, 1e-6, 1e-5, 0.5, 1e-4, 0.2, 0.9, 0.9]))["uncertain"] == []
    )
    partly = features(
        told([0.02, 0.02, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan])
    )
    assert [leading_feature["name"] for leading_feature in partly["leading"]] == [
        "feature0",
        "feature1",
    ]


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_importances_are_said_as_the_loss_without_the_feature(loss):
    content = told([1e-6] * 8)
    meta = {
        **content.explanation.meta,
        "loss": loss,
        "quantity": "increase of the loss",
    }
    name = "log_loss" if loss == "cross_entropy" else "mse"
    metrics = {
        **content.metrics,
        "test": {name: 0.5},
        "constant": {name: 0.9, "learnt": True},
    }
    content = dataclasses.replace(
        content,
        explanation=dataclasses.replace(content.explanation, meta=meta),
        metrics=metrics,
    )
    sentence = say("features", features(content))
    power = 1 if loss == "cross_entropy" else 0.5
    label = "log loss" if loss == "cross_entropy" else "RMSE"
    assert sentence.startswith(
        "8 of 8 features clearly matter. It relies most on feature0: without it the "
        f"{label} rises from {number(0.5**power)} to {number(0.7**power)} (without "
        f"any: {number(0.9**power)}). Next, feature1: to "
        f"{number((0.5 + content.explanation.values[1, 0]) ** power)}"
    )


@pytest.mark.parametrize("passing", [True, False])
def test_the_terminal_lists_the_highest_estimates_and_marks_who_passes(passing):
    p_values = (
        [1e-6, 0.03, 1e-5, 0.5, 1e-4, 1e-9, 0.9, 0.9]
        if passing
        else [0.03, 0.02, 0.01, 0.5, 0.5, 0.4, 0.9, 0.9]
    )
    content = told(p_values)
    frame = content.explanation.to_frame()
    top = frame[frame["class"] == "all"]
    lines = _feature_lines(top, clear=content.clear_names)
    assert lines[0].startswith("Most important of 8 features")
    assert [line.startswith("* ") for line in lines[1:9]] == (
        holm(p_values) < 0.05
    ).tolist()
    assert passing == (
        "clearly matters: p-value below 5 % after Holm's correction" in lines[-1]
    )


def test_what_is_shown_as_nothing_does_not_clearly_matter():
    values = [0.2, 0.05, 0.00004, 0.00003, 0.00002, 0.00001, 0.00001, 0.00001]
    content = told([1e-9] * 8, values)
    assert holm([1e-9] * 8).max() < 0.05, "each effect is beyond chance"
    about = {
        "loss_scale": 0.69,
        "model_loss": 0.49,
        "loss": "cross_entropy",
        "quantity": "increase of the loss",
    }
    explanation = dataclasses.replace(
        content.explanation, meta={**content.explanation.meta, **about}
    )
    assert clearly_matter(explanation) == ["feature0", "feature1"]
    assert clearly_matter(content.explanation) == ["feature0", "feature1"], (
        "also where losses are unknown"
    )
    content = dataclasses.replace(content, explanation=explanation)
    frame = explanation.to_frame()
    lines = _feature_lines(
        frame[frame["class"] == "all"], clear=clearly_matter(explanation)
    )
    assert len([line for line in lines if line.startswith("* ")]) == 2


def test_harm_beyond_doubt_is_no_reliance():
    harmful_content = told([1e-9] + [0.9] * 7, [-0.3, *np.linspace(0.2, 0.01, 7)])
    assert features(harmful_content)["clear"] == 0


def test_the_list_has_adjusted_p_values_and_who_passes(undrawn):
    p_values = [1e-6, 0.03, 1e-5, 0.5, 1e-4, 1e-9, 0.9, 0.9]
    shown = data_of(render_report(told(p_values)))["features"]["list"]
    assert sorted(shown["adjusted"]) == pytest.approx(sorted(holm(p_values)), rel=1e-5)
    assert sum(shown["clear"]) == (holm(p_values) < 0.05).sum() > 2


def order_of(paper_explanation, main) -> list[str]:
    """The order of the features by another method, from the ranks that the page
    shows.
    """
    paper_explanation = dataclasses.replace(paper_explanation, method="permgrad_paper")
    content = PageContent.of(
        Assessment(
            title="t",
            target="y",
            task="classification",
            explanation=main,
            paper=paper_explanation,
        )
    )
    section = SectionView("methods", "Other methods on the same model")
    methods(section, content, content.standing)
    ((_, table),) = (block for kind, block in section.blocks if kind == "fold")
    return [name.text for name, _, _ in sorted(table.rows, key=lambda row: row[2].sort)]


def test_other_methods_are_ranked_by_what_compares():
    """A method with numbers for each class alone is not ranked by the first class where
    the others are for all rows.
    """
    main = global_explanation(names=("a", "b", "c"))
    values = np.array([[0.1, -0.1, 5.0], [3.0, 3.0, 0.0], [-4.0, 4.0, 4.0]])
    other_explanation = dataclasses.replace(
        main,
        values=values,
        outputs=("low", "middle", "high"),
        std_error=None,
        low=None,
        high=None,
        p_values=None,
        parts={},
    )
    assert other_explanation.ranking() == ["b", "a", "c"], "the first class alone"
    assert order_of(other_explanation, main) == ["c", "b", "a"]
    same = dataclasses.replace(main, values=main.values[::-1].copy())
    assert order_of(same, main) == same.ranking("all")
