"""The tab Features in a real browser: the list, the cards, and what can be taken
away.
"""

from __future__ import annotations

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from browsing import needs_browser, visit
from tests.pages.conftest import NAMES, report_content, with_answers

from permgrad.attribution.explanation.explanation import Explanation, clearly_matter
from permgrad.pages.content import PageContent
from permgrad.pages.effects import effect_lines
from permgrad.pages.html import render_page
from permgrad.pages.tabs import features, rows, trust
from permgrad.pages.tabs.features import changes
from permgrad.pages.verdict import markdown, verdict
from permgrad.pages.views import SectionView, tab_view

DRIVE = """
const all = (query) => [...document.querySelectorAll(query)];
const words = (query) => all(query).map((one) => one.textContent);
const change = (box, value, kind = "input") => { box.value = value; box.dispatchEvent(new Event(kind)); };
const names = () => words("#drivers tbody tr td:nth-child(2)").slice(-words("#drivers .lively tbody tr").length);
Page.go("features");
const seen = { all: names() };
const [search] = all("#drivers .lively input[type=search]");
change(search, "num trades");
seen.searched = names();
change(search, "");
all("#drivers .lively th[data-key=name] button")[0].click();
seen.sorted = names();
all("#drivers .lively input[type=checkbox]")[0].click();
seen.clear = names();
all("#drivers .lively input[type=checkbox]")[0].click();
const list = Page.data("features");
seen.file = Features.table(list);
const times = [];
Page.go("features", "4");
seen.card = words(".card h4");
seen.figures = all(".card figure").map((one) => one.id);
seen.captions = words(".card figcaption");
const card = list.cards.find((one) => one.place === 3);
seen.curve = Features.curvesOf(card.curves).at(2, 1, 0);
const controls = all("#one-by-one .controls select");
for (let step = 0; step < 10; step += 1) {
  const start = performance.now();
  change(controls[1], String(step % 3), "change");
  times.push(performance.now() - start);
}
seen.legends = words(".card .legend").length;
seen.split = words(".card figcaption");
change(controls[1], "", "change");
Page.go("features", "2/outcome");
seen.linked = words(".card h4");
seen.number = words(".card figcaption")[0];
seen.local = [all(".card polygon").length, all(".card path[stroke-dasharray]").length, words(".card .warned")];
seen.rows = Locals.rows(list.cards.find((one) => one.place === 1), 0);
seen.interval = Features.interval([1, 0, 1, 1, 0], true);
seen.csv = Page.csv([["=1+1", 2]]);
return seen;
"""


def page_of(content, *more_tabs) -> str:
    """Return a page of both tabs, and more."""
    tabs = [tab_view(tab, content) for tab in (features.TAB, rows.TAB, *more_tabs)]
    return render_page(title="t", kind="test", headline="h", tabs=tabs)


@pytest.fixture(scope="module")
def content():
    content = with_answers(report_content())
    card = next(
        card
        for card in content.cards.cards
        if card["feature"] == content.explanation.ranking()[1]
    )
    (low, high), shown = (
        (card["at"][0], card["at"][-1]),
        {"mean": [[0.2], [0.4]], "low": [[0.1], [0.3]]},
    )
    card["ale"] = {"at": [low, high], **shown, "high": [[0.3], [0.5]]}
    card["leaves"] = {
        "from": card["label"][-1],
        "other": NAMES[0],
        "share": 0.62,
        "near": 50,
    }
    card["leaves"] |= {"apart": [0.123], "clear": [True]}
    return dataclasses.replace(content, rows=content.rows[:1])


@pytest.fixture(scope="module")
def page(content):
    return page_of(content)


@pytest.fixture(scope="module")
def seen(page, tmp_path_factory):
    return visit(page, tmp_path_factory.mktemp("features"), DRIVE).quiet()


@needs_browser
def test_the_list_is_searched_sorted_and_filtered(seen, content):
    assert seen["all"] == content.explanation.ranking()
    assert (
        seen["searched"]
        == [
            name
            for name in seen["all"]
            if "num" in name.lower() and "trades" in name.lower()
        ]
        != []
    )
    assert seen["sorted"][0] == min(NAMES, key=str.lower)
    clear = clearly_matter(content.explanation)
    assert sorted(seen["clear"]) == sorted(clear)
    assert 0 < len(clear) < len(NAMES), "the case is not trivial"


@needs_browser
def test_the_file_of_the_list_has_intervals_p_values_and_classes(seen, content):
    heads = seen["file"][0]
    first = seen["file"][1]
    assert heads[:8] == ["rank", "feature", "increase of the loss (nats per row)", "interval from", "interval to", "p",
                         "adjusted p", "clearly matters"]  # fmt: skip
    assert heads[8:] == ["importance on rows of Bad", "importance on rows of Good"]
    explanation = content.explanation
    name = content.explanation.ranking()[0]
    feature_index = explanation.names.index(name)
    low, high = (ends[feature_index, 0] for ends in explanation.ci())
    assert first[:2] == [1, name]
    assert first[2:5] == pytest.approx(
        [explanation.values[feature_index, 0], low, high], rel=1e-5
    )
    assert first[8:] == pytest.approx(explanation.values[feature_index, 1:], rel=1e-5)


@needs_browser
def test_a_card_has_curves_outcomes_and_a_sentence_for_each(seen, content):
    name = content.explanation.ranking()[3]
    assert seen["card"] == [name]
    assert seen["figures"] == ["features/4/effect", "features/4/outcome"]
    assert (
        f"If only {name} changes, the mean probability of Good stays at 49"
        in seen["captions"][0]
    )
    assert re.search(
        r"nothing else changes, the mean probability of Good (goes from|is) \d",
        seen["number"],
    )
    assert f"The share of Good is highest where {name} is" in seen["captions"][1]
    assert "From 60 test rows." in seen["captions"][1]
    assert seen["curve"] == pytest.approx(content.cards.curves[name][2, 1, 0], abs=1e-4)


@needs_browser
def test_the_local_effect_is_drawn_with_its_band_and_said_to_stay_inside_the_data(
    seen, content
):
    name = content.explanation.ranking()[1]
    other_feature = NAMES[0]
    (card,) = (card for card in content.cards.cards if card["feature"] == name)
    assert seen["local"][:2] == [1, 1]
    (words,) = seen["local"][2]
    assert words.startswith(
        f"The mean curve of {name} leaves the data from {card['label'][-1]} on: there, "
        "62\u00a0% of"
    )
    assert words.endswith(
        "ALE) stays inside the data, and is up to 12 percentage points away from it "
        "there."
    )
    assert (
        f"have a value of {other_feature} that none of the 50 or more test rows"
        in words
    )
    assert "Dashed line: the accumulated local effect (ALE)" in seen["number"]
    assert "Dashed line" not in seen["captions"][0]
    assert seen["rows"][0] == [name, "ALE", "interval from", "interval to"]
    lines = [[card["at"][0], 0.2, 0.1, 0.3], [card["at"][-1], 0.4, 0.3, 0.5]]
    assert seen["rows"][1:] == [pytest.approx(line, rel=1e-5) for line in lines]


def test_report_md_and_the_page_have_the_changes(content):
    first, second = clearly_matter(content.explanation)[:2]
    lines = {
        "feature": [second, first, first, "NumTotalTrades"],
        "class": ["Good"] * 4,
        "from": [1.5, "low", "low", 0.0],
        "to": [12.25, "high", "middle", 1.0],
        "change": [-0.031, 0.2049, 0.0, 0.4],
        "ci_low": [-0.05, 0.1, np.nan, 0.3],
        "ci_high": [0.001, 0.3, np.nan, 0.5],
        "rows": [1200, 80, 61, 5],
    }
    cards = dataclasses.replace(
        content.cards, changes=pd.DataFrame(lines), classes=["Good"]
    )
    told = PageContent.of(dataclasses.replace(content, cards=cards))
    heads, *texts = effect_lines(told)
    assert heads == [
        *("Feature", "From", "To"),
        "Change of the probability of Good (95 % interval)",
        "Rows",
    ]
    assert texts[0] == [first, "low", "high", "+20.5 points (+10.0 to +30.0)", "80"]
    assert texts[1] == [first, "low", "middle", "0.0 points", "61"]
    assert texts[2] == [second, "1.5", "12.25", "−3.1 points (−5.0 to +0.1)", "1,200"]
    text = markdown("t", verdict(told), [heads, *texts])
    line = f"| {first} | low | high | +20.5 points (+10.0 to +30.0) | 80 |"
    assert line in text
    assert (
        text.index("## What it relies on")
        < text.index(line)
        < text.index("## What to be wary of")
    )
    page = SectionView("effects", "")
    changes(page, told, cards.changes)
    ((_, table),) = page.blocks
    assert len(table.rows) == 4, "also of those that do not clearly matter"
    shown = [cell.text for cell in table.rows[0]]
    assert shown[3] == "+20.5 points (+10.0\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}+30.0)"
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in shown] == texts[0]
    without = PageContent.of(dataclasses.replace(content, cards=None))
    assert not effect_lines(without)


def test_of_several_classes_the_one_that_moves_most_is_shown(content):
    feature = clearly_matter(content.explanation)[0]
    lines = {
        "feature": [feature] * 2,
        "class": ["Bad", "Good"],
        "from": [0.0] * 2,
        "to": [1.0] * 2,
        "change": [0.1, -0.3],
        "ci_low": [0.0, -0.4],
        "ci_high": [0.2, -0.2],
        "rows": [10] * 2,
    }
    cards = dataclasses.replace(
        content.cards, changes=pd.DataFrame(lines), classes=["Bad", "Good", "Ugly"]
    )
    told = PageContent.of(dataclasses.replace(content, cards=cards))
    _, line = effect_lines(told)
    assert line[0] == f"{feature} (class Good)"
    assert line[3] == "−30.0 points (−40.0 to −20.0)"


@needs_browser
def test_a_card_is_split_by_another_feature_and_linked(seen, content):
    assert seen["legends"] == 2, "curves and outcomes"
    assert "means of the rows by" in seen["split"][0]
    assert "From 45 test rows drawn at random, by" in seen["split"][1]
    assert seen["linked"] == [content.explanation.ranking()[1]]


@needs_browser
def test_intervals_and_files_are_as_in_python(seen):
    from permgrad.evaluation.calibration import wilson

    low, high = wilson(0.6, 5)
    assert seen["interval"] == pytest.approx(
        {"mean": 0.6, "low": float(low), "high": float(high)}, abs=1e-6
    )
    assert seen["csv"] == "'=1+1,2\r\n"


PHONE = """
Page.go("features");
const svg = document.querySelector("#drivers-1 svg");
const names = [...svg.querySelectorAll("text")].map((one) => one.getBoundingClientRect());
const edge = document.documentElement.clientWidth;
const parts = Page.breakable("NumTrades60Ever2 age_group");
const broken = parts.map((part) => (part.nodeName === "WBR" ? "|" : part)).join("");
return {
  cut: names.filter((box) => box.left < 0 || box.right > edge).length, texts: names.length, broken,
  hints: [...document.querySelectorAll("#features .wider")].map((one) => getComputedStyle(one, "::before").content),
};
"""


WIDE = """
const used = [];
for (const tab of ["features", "trust"]) {
  Page.go(tab);
  const third = document.querySelector("main").getBoundingClientRect();
  const edge = third.left + (2 * third.width) / 3;
  const shown = [...document.querySelectorAll(`#${tab} :is(p, figure, td, dd)`)];
  const boxes = shown.map((one) => one.getBoundingClientRect()).filter((box) => box.height);
  const right = boxes.filter((box) => box.right > edge + 60);
  const ends = (some) => Math.max(...some.map((box) => box.bottom)) - Math.min(...some.map((box) => box.top));
  used.push(ends(right) / ends(boxes));
}
return { used, over: document.documentElement.scrollWidth - document.documentElement.clientWidth };
"""


@needs_browser
def test_the_right_third_of_a_wide_screen_is_used(content, tmp_path):
    wide_page = page_of(content, trust.TAB)
    seen = visit(wide_page, tmp_path, WIDE, width=1400).quiet()
    assert min(seen["used"]) > 0.8
    assert seen["over"] == 0


@pytest.mark.parametrize(
    ("values", "clear", "bars"),
    [
        ([1.0, 0.5, 0.02, 0.01, 0.0, -0.02], (), 2),
        ([1.0, 0.5, 0.02, 0.01, 0.0, -0.2], (), None),
        ([1.0, 0.5, 0.02, 0.01, 0.0], (), None),
        ([1.0, 0.02, 0.02, 0.01, 0.01, 0.0, 0.0], ("c",), 3),
        ([0.0, 0.0, 0.0, 0.0, 0.0], (), None),
        (np.linspace(2, 1, 26), (), 15),
        ([*np.linspace(2, 1, 20), *[0.0] * 60], (), 20),
    ],
)
def test_a_tail_of_bars_near_zero_is_one_line(values, clear, bars):
    letters = list("abcdefghijklmnopqrstuvwxyz")
    names = [*letters, *(f"z{number}" for number in range(60))][: len(values)]
    explanation = Explanation(
        method="permutation",
        values=np.asarray(values, dtype=float)[:, None],
        names=names,
        modality=["table"] * len(names),
        outputs=["all"],
        scope="global",
    )
    standing = SimpleNamespace(explanation=explanation, column=0, tested=set(clear))
    assert features.bars_shown(standing) == bars


@needs_browser
def test_on_a_phone_the_bars_fit_and_what_is_wider_says_so_above(page, tmp_path):
    visit_facts = visit(page, tmp_path, PHONE, width=390).quiet()
    assert visit_facts["cut"] == 0
    assert visit_facts["texts"] > len(NAMES)
    assert visit_facts["broken"] == "Num|Trades60|Ever2 age_|group"
    assert set(visit_facts["hints"]) <= {'"Scroll sideways for more →"'}
