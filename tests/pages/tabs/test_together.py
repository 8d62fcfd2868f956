"""The tab Together: its sentences, what stands without JavaScript, and what its script
shows in a real browser.
"""

from __future__ import annotations

import dataclasses
import html

import numpy as np
import pytest
from browsing import data_of, needs_browser, visit
from tests.pages.conftest import (
    HOSTILE,
    NAMES,
    pairs_explanation,
    report_content,
    with_together,
)

from permgrad.assess.sections.together import TogetherSection
from permgrad.base.numerals import percent
from permgrad.evaluation.cards import beyond_each
from permgrad.pages.content import PageContent
from permgrad.pages.html import render_page
from permgrad.pages.plots.interactions import effect_words
from permgrad.pages.tabs import features, together
from permgrad.pages.views import page_data, tab_view

DRIVE = """
const all = (query) => [...document.querySelectorAll(query)];
const words = (query) => all(query).map((one) => one.textContent);
const change = (box, value) => { box.value = value; box.dispatchEvent(new Event("change")); };
Page.go("together");
const seen = { pairs: words("#pair-list .lively tbody th"), bold: words("#pair-list .lively tbody th.best") };
seen.matrix = all("#pairs-1 rect").length;
seen.captions = words("#together .lively figcaption");
seen.cells = all("#together-effect rect").length;
seen.dots = all("#together-effect circle").length;
const [pair, kind] = all("#pair-effects .controls select");
change(kind, "1");
seen.more = words("#together-effect figcaption")[0];
Page.go("together", "2");
seen.second = words("#together-effect figcaption")[0];
seen.beyond = Together.beyond([[1, 2], [3, 7]]);
const times = [];
for (let step = 0; step < 10; step += 1) {
  const start = performance.now();
  change(kind, String(step % 2));
  times.push(performance.now() - start);
}
seen.slowest = Math.max(...times);
seen.hacked = typeof hacked;
return seen;
"""


@pytest.fixture(scope="module")
def content():
    return with_together(report_content())


def page_of(content) -> str:
    return render_page(
        title="t", kind="test", headline="h", tabs=[tab_view(together.TAB, content)]
    )


def test_words_and_the_matrix_of_pairs(content):
    page = html.unescape(page_of(content))
    first, second = NAMES[:2]
    assert (
        f"2 pairs of 15 clearly interact. Strongest: {first} and {second} (−0.0200, "
        "−0.0210 to −0.0190): " in page
    )
    assert "All 15 pairs of 6 features were looked at." in page
    assert "This loss also bends by itself" in page
    (matrix,) = data_of(page)["figures"].values()
    assert matrix["words"].startswith("2 of 15 pairs clearly interact.")
    assert (
        "2 pairs of 3 clearly interact. Strongest: image and table (−0.0200, −0.0210 "
        "to −0.0190): each " in page
    )
    assert "Alone: only this input comes from other rows." in page
    assert page.count("0.0600") == 1, "what the image does alone"
    assert len(page) < 700_000


def test_nothing_clear_is_one_sentence_in_features_and_no_tab(content, undrawn):
    pairs = dataclasses.replace(pairs_explanation(), p_values=np.full((21, 1), 0.3))
    nothing = dataclasses.replace(content, together=TogetherSection(pairs=pairs))
    assert together.nothing_together(content) == ""
    sentence = (
        "No pair of features clearly works together. All 15 pairs of 6 features were "
        "looked at."
    )
    assert together.nothing_together(nothing) == sentence
    views = [tab_view(tab, nothing) for tab in (features.TAB, together.TAB)]
    assert [view.name for view in views if view.sections] == ["features"]
    assert ("text", sentence) in views[0].sections[0].blocks
    assert views[1].data is None
    assert tab_view(features.TAB, content).sections


def test_what_was_left_out_is_said(content):
    pairs = content.together.pairs
    about = {
        **pairs.meta["interactions"],
        "candidates": 300,
        "left_out": 285,
        "bound": 0.0042,
    }
    words = together.looked_at(
        dataclasses.replace(pairs, meta={**pairs.meta, "interactions": about})
    )
    assert words == (
        "15 of 300 pairs (5\u00a0%) were measured, chosen by a pilot on fewer rows. "
        "With 95\u00a0% certainty no other pair is further from 0 than 0.00420."
    )


def test_meanings_follow_the_sign():
    assert "costs less than the sum" in together.meaning(-1.0, "loss")
    assert "costs more than the sum" in together.meaning(1.0, "loss")
    assert "on the output" in together.meaning(1.0, "output")


def test_modalities_that_add_up_get_a_sentence(content):
    explanation = dataclasses.replace(
        content.together.modalities, p_values=np.full((6, 1), 0.4)
    )
    view = tab_view(
        together.TAB,
        dataclasses.replace(content, together=TogetherSection(modalities=explanation)),
    )
    assert [section.anchor for section in view.sections if section.blocks] == [
        "modalities"
    ]
    assert view.sections[0].blocks[0] == (
        "text",
        "No pair of inputs clearly works together.",
    )


def test_data_of_the_script_are_small(content):
    assert 3000 < len(page_data(together.live_data(PageContent.of(content)))) < 20_000


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    names = [name for name in HOSTILE if name.strip()]
    hostile = with_together(report_content(names, target=HOSTILE[1]))
    visited = visit(page_of(hostile), tmp_path_factory.mktemp("together"), DRIVE)
    assert '<img src="x"' not in visited.page
    return hostile, visited.quiet()


@needs_browser
def test_pairs_and_effects_in_a_browser(seen):
    content, shown = seen
    names = [name for name in content.local.names if name.strip()][:6]
    assert len(shown["pairs"]) == 10
    assert len(shown["bold"]) == 2
    assert shown["matrix"] == 15
    effect = content.together.effects[0]
    mean = np.array(effect["mean"])[:, :, 0]
    assert shown["cells"] == mean.size
    assert (
        shown["dots"]
        == np.isfinite(np.array(effect["dots"], dtype=float)).all(axis=0).sum()
        > 20
    )
    assert shown["hacked"] == "undefined"
    assert shown["captions"][0].startswith("From ")
    assert "what the pair adds to both single effects" in shown["more"]
    assert names[2].split()[0] in shown["second"]
    np.testing.assert_allclose(
        shown["beyond"],
        beyond_each(np.array([[[1.0], [2.0]], [[3.0], [7.0]]]))[:, :, 0],
    )


@needs_browser
def test_sentences_are_those_of_python(seen):
    content, shown = seen

    def points(change: float) -> str:
        return (
            percent(change).replace("\u00a0%", " percentage points").replace("-", "−")
        )

    words = effect_words(content.together.effects[0], say=points)
    assert "percentage points where" in words
    assert shown["captions"][0].startswith(words)
