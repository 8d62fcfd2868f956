"""Which features the page and the terminal name: those that pass Holm's steps, in rank order, and nobody else."""

import dataclasses

import numpy as np
import pytest
from browsing import data_of
from tests.pages.conftest import global_explanation
from tests.pages.test_html import light_content

from permgrad.assess.assessment import Assessment
from permgrad.base.numerals import number
from permgrad.base.significance import holm
from permgrad.pages.headline import facts, reliance_sentence
from permgrad.pages.html import render_report
from permgrad.pages.tabs.trust import methods
from permgrad.pages.units import in_shares
from permgrad.pages.verdict import verdict
from permgrad.pages.views import SectionView
from permgrad.runs.run.summary import _feature_lines

NAMES = tuple(f"feature{place}" for place in range(8))


def told(p_values, values=None):
    """Content whose eight features have these p-values; intervals lie above 0, as p below 0.05 has it."""
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
    return dataclasses.replace(light_content(), explanation=explanation)


def test_small_p_values_that_do_not_pass_are_nowhere_named():
    p_values = [0.03, 0.01, 0.04, 0.02, 0.045, 0.6, 0.7, 0.8]
    assert np.sum(np.array(p_values) < 0.05) == 5, "one by one, five features would seem to matter"
    assert holm(p_values).min() > 0.05
    content = told(p_values)
    said = reliance_sentence(content)
    assert "No feature clearly matters: no p-value is below 5\u00a0% after Holm's correction for 8 features" in said
    assert "feature0" not in said
    modalities = ("image",) * 5 + ("table",) * 3
    split = dataclasses.replace(content, explanation=dataclasses.replace(content.explanation, modality=modalities))
    assert "after Holm's correction for 8 features within 2 modalities." in reliance_sentence(split)
    assert ("0 of 8", "features that clearly matter") in [(fact.value, fact.label) for fact in facts(content)]


def test_ranks_that_are_left_out_are_told():
    found = told([1e-6, 0.03, 1e-5, 0.5, 1e-4, 1e-9, 0.9, 0.9])
    said = reliance_sentence(found)
    assert "It relies most on feature0, feature2 and feature4. " in said
    assert said.endswith("Ranks 2 and 4 are left out, because their effects may be chance.")
    assert "feature1" not in said
    assert "feature3" not in said
    one = reliance_sentence(told([1e-7, 0.03, 1e-6, 1e-5, 1e-5, 1e-4, 0.2, 0.9]))
    assert one.endswith("Rank 2 is left out, because its effect may be chance.")
    assert "left out" not in reliance_sentence(told([1e-6, 1e-6, 1e-5, 0.5, 1e-4, 0.2, 0.9, 0.9]))


def test_a_larger_estimate_that_may_be_chance_is_named_beside_what_is_certain():
    found = told([0.2, 1e-6, 0.3, 1e-5, 0.9, 0.9, 0.9, 0.9], [0.61, *np.linspace(0.06, 0.01, 7)])
    said = reliance_sentence(found)
    assert found.explanation.ranking()[0] == "feature0"
    assert "most" not in said
    assert said.startswith("It clearly relies on feature1 and feature3. ")
    ends = [number(float(end[0, 0])) for end in found.explanation.ci()]
    largest = f"The largest estimate is that of feature0 (0.610, 95\u00a0% interval {ends[0]} to {ends[1]})"
    assert f"{largest}, but it may be chance." in said
    assert said.endswith("Rank 3 is left out, because its effect may be chance.")


def test_what_is_shown_as_nothing_does_not_clearly_matter():
    values = [0.2, 0.05, 0.00004, 0.00003, 0.00002, 0.00001, 0.00001, 0.00001]
    content = told([1e-9] * 8, values)
    assert holm([1e-9] * 8).max() < 0.05, "each effect is beyond chance"
    about = {"loss_scale": 0.69, "model_loss": 0.49, "loss": "cross_entropy", "quantity": "increase of the loss"}
    explanation = dataclasses.replace(content.explanation, meta={**content.explanation.meta, **about})
    assert explanation.clearly_matter() == ["feature0", "feature1"]
    assert in_shares(explanation, 0.2).clearly_matter() == ["feature0", "feature1"]
    assert content.explanation.clearly_matter() == ["feature0", "feature1"], "also where losses are unknown"
    content = dataclasses.replace(content, explanation=explanation)
    assert ("2 of 8", "features that clearly matter") in [(fact.value, fact.label) for fact in facts(content)]
    frame = explanation.to_frame()
    lines = _feature_lines(frame[frame["class"] == "all"], whole=0.2)
    starred = [line for line in lines if line.startswith("* ")]
    assert len(starred) == 2
    assert not [line for line in starred if " 0.0 % " in line]
    assert [line for line in lines if " 0.0 % " in line], "some are shown as nothing"


def test_harm_beyond_doubt_is_no_reliance():
    found = told([1e-9] + [0.9] * 7, [-0.3, *np.linspace(0.2, 0.01, 7)])
    assert "No feature clearly matters" in reliance_sentence(found)


def test_undefined_p_values_are_no_tests():
    content = told([0.02, 0.02, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan])
    assert "It relies most on feature0 and feature1" in reliance_sentence(content)
    half = told([0.9] * 4 + [np.nan] * 4)
    assert "unknown which features clearly matter, because 4 of 8 have no p-value" in reliance_sentence(half)
    frame = half.explanation.to_frame()
    assert "None clearly" not in "".join(_feature_lines(frame[frame["class"] == "all"]))
    nothing = told([np.nan] * 8)
    assert "has no p-values" in reliance_sentence(nothing)
    assert not [fact for fact in facts(nothing) if "clearly" in fact.label]


def test_the_list_has_adjusted_p_values_and_who_passes(undrawn):
    p_values = [1e-6, 0.03, 1e-5, 0.5, 1e-4, 1e-9, 0.9, 0.9]
    shown = data_of(render_report(told(p_values)))["features"]["list"]
    assert sorted(shown["adjusted"]) == pytest.approx(sorted(holm(p_values)), rel=1e-5)
    assert sum(shown["clear"]) == (holm(p_values) < 0.05).sum() > 2


@pytest.mark.parametrize("passing", [True, False])
def test_the_terminal_lists_the_highest_estimates_and_marks_who_passes(passing):
    p_values = [1e-6, 0.03, 1e-5, 0.5, 1e-4, 1e-9, 0.9, 0.9] if passing else [0.03, 0.02, 0.01, 0.5, 0.5, 0.4, 0.9, 0.9]
    frame = told(p_values).explanation.to_frame()
    lines = _feature_lines(frame[frame["class"] == "all"])
    assert lines[0].startswith("Most important of 8 features")
    starred = [line.startswith("* ") for line in lines[1:9]]
    assert starred == (holm(p_values) < 0.05).tolist()
    assert ("None clearly matters" in lines[-1]) != passing
    assert passing == ("clearly matters: p-value below 5 % after Holm's correction for 8 features" in lines[-1])


def test_features_that_move_with_a_named_one_are_told_to_share_its_importance():
    pairs = [
        {"feature": f"feature{at}", "other": f"other{at}", "strength": -0.9, "kind": "correlation"} for at in (0, 1)
    ]
    content = dataclasses.replace(told([1e-6, 0.5, *[0.9] * 6]), related=pairs)
    (said,) = (one["sentence"] for one in verdict(content) if one["facts"]["kind"] == "related")
    assert "feature0 moves with other0 (correlation −0.9), so importance may be shared between them." in said
    assert "other1" not in said, "feature1 is not named"


def order_of(other, main) -> list[str]:
    """The order of the features by another method, from the ranks that the page shows."""
    other = dataclasses.replace(other, method="permgrad-paper")
    content = Assessment(title="t", target="y", task="classification", explanation=main, paper=other)
    section = SectionView("methods", "Other methods on the same model")
    methods(section, content, main)
    ((_, table),) = (block for kind, block in section.blocks if kind == "fold")
    return [name.text for name, _, _ in sorted(table.rows, key=lambda row: row[2].sort)]


def test_other_methods_are_ranked_by_what_compares():
    """A method with numbers for each class alone is not ranked by the first class where the others are for all rows."""
    main = global_explanation(names=("a", "b", "c"))
    values = np.array([[0.1, -0.1, 5.0], [3.0, 3.0, 0.0], [-4.0, 4.0, 4.0]])
    other = dataclasses.replace(
        main,
        values=values,
        outputs=("low", "middle", "high"),
        std_error=None,
        low=None,
        high=None,
        p_values=None,
        parts={},
    )
    assert other.ranking() == ["b", "a", "c"], "the first class alone"
    assert order_of(other, main) == ["c", "b", "a"]
    same = dataclasses.replace(main, values=main.values[::-1].copy())
    assert order_of(same, main) == same.ranking("all")
