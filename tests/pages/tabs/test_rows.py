"""The tab Rows in a real browser: search, filters, parts that add up, similar rows,
images, words, hostile strings.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from browsing import needs_axe, needs_browser, visit
from tests.pages.conftest import NAMES, local_explanation, report_content, with_answers
from tests.pages.tabs.test_features import page_of

from permgrad.assess.sections.rows import LocalRows
from permgrad.pages.content import PageContent
from permgrad.pages.html import render_report
from permgrad.pages.rows_data import columns_data, numbers_data, rows_data

pytestmark = pytest.mark.usefixtures("undrawn_file")
DRIVE = """
const all = (query) => [...document.querySelectorAll(query)];
const words = (query) => all(query).map((one) => one.textContent);
Page.data("rows").whatIf = { form: "{}", rows: [0, 3, 9999] };
const rows = Rows.read(Page.data("rows"));
delete Page.data("rows").whatIf; // no network is in this page
const numbers = (wish) => Rows.search(rows, wish).map((row) => rows.numbers[row]);
const seen = {
  all: numbers({}), wrong: numbers({ show: "wrong" }), unsure: numbers({ show: "unsure" }),
  eighteen: numbers({ words: "18" }), above: numbers({ words: "MSinceOldestTradeOpen > 70" }),
  text: numbers({ words: "never" }), customer: numbers({ words: "customer = c7" }),
  truth: numbers({ truth: "1" }), order: numbers({ sort: "error" }).slice(0, 3),
  segment: numbers({ column: rows.columns[0], group: 0 }), changeable: numbers({ show: "changeable" }),
  lost: numbers({ column: rows.columns[1], group: 2 }),
};
Page.go("rows");
seen.first = words(".row-page h4")[0];
seen.marked = words("#single-rows tr.chosen td:first-child")[0];
Page.go("rows", "30");
seen.title = words(".row-page h4")[0];
seen.said = words(".row-page p")[0];
seen.figure = words(".row-page figcaption")[0];
seen.steps = Rows.stored(rows, 10, 1);
seen.similar = words(".row-page table")[0];
const [slider] = all(".stack input[type=range]");
if (slider) { slider.value = "20"; slider.dispatchEvent(new Event("input")); }
seen.opacity = all(".stack .over").map((one) => one.style.opacity);
seen.images = all(".stack img").map((one) => one.src.slice(0, 22));
seen.shaded = all(".shaded span").map((one) => [one.textContent, one.style.background]);
Page.go("rows", "177");
seen.unexplained = words(".row-page .quiet")[0];
Rows.explainBy((box, row) => { box.append(`computed for ${rows.numbers[row]}`); return rows.numbers[row] !== 177; });
seen.own = words(".row-page > div")[0];
Page.go("rows", "30");
seen.computed = [words(".row-page > div")[0], words(".row-page > details summary")[0]];
seen.cells = all(".row-page details tbody td.whole").map((one) => [one.textContent, getComputedStyle(one).whiteSpace]);
seen.hints = ["nothing", "foo > 3", "customer > 3"].map((wish) => Rows.hint(rows, wish));
const some = [{ name: "a", value: 1 }, { name: "b", value: 1e-12 }, { name: "c", value: -2 }];
seen.strongest = Rows.strongest(some, { count: 2, value: 0.5 });
seen.file = Rows.file(rows, [0]);
const day = (row) => `2024-01-${String(1 + (row >> 1)).padStart(2, "0")}${row % 2 ? " 12:00:00" : ""}`;
const dated = { ...rows, columns: [], identifiers: [{ name: "day", levels: rows.all.map(day), text: day }] };
seen.dates = ["day = 2024-01-07", "day >= 2024-01-20", "day < 2024-01-03 12:00", "2024-01-07", "day = 2024-01"].map((words) => Rows.search(dated, { words }).length);
const times = [];
for (const row of rows.all) {
  const start = performance.now();
  Page.go("rows", String(rows.numbers[row]));
  times.push(performance.now() - start);
}
seen.last = words(".row-page h4")[0];
const choose = (select, text) => {
  select.value = [...select.options].find((one) => one.text === text).value;
  select.dispatchEvent(new Event("change"));
};
const selects = all("#rows .controls select");
choose(selects.find((one) => one.closest("label").textContent.startsWith("Segment")), rows.columns[1].name);
const value = selects.find((one) => one.closest("label").textContent.startsWith("Value"));
seen.groups = [...value.options].map((one) => one.text);
choose(value, "missing");
seen.listed = words("#rows .chooser tbody td:first-child").map(Number);
seen.wrongExplained = numbers({ show: "wrong", explained: true });
choose(selects.find((one) => one.closest("label").textContent.startsWith("Segment")), "all");
choose(selects[0], "wrong");
all("#rows .controls .check input").find((one) => one.closest("label").textContent === "only explained").click();
seen.counted = words("#rows .chooser .count")[0];
seen.kinds = [...all("#rows .controls select")[0].options].map((one) => one.text);
return seen;
"""


#: Groups of the second column: every tenth row is missing.
GROUPS = np.where(np.arange(60) % 10 == 0, 2, np.arange(60) % 2)
INTERVALS = {
    "coverage": 0.9,
    "covered": 0.88,
    "low": 0.8,
    "high": 0.93,
    "rows": 60,
    "size": 1.2,
    "empty": 0.0,
}


@pytest.fixture(scope="module")
def content():
    content = with_answers(report_content())
    rng = np.random.default_rng(0)
    scans = rng.uniform(size=(12, 8, 8))
    owners = np.arange(64).reshape(8, 8) % len(NAMES)
    explained = content.listed.local[0]
    local = dataclasses.replace(
        explained.explanation,
        maps={"images:scan": np.resize(scans, (30, 8, 8)), "segments:scan": owners},
    )
    frame = pd.DataFrame(
        {
            name: [f"word{word_number}"] * 30
            for word_number, name in enumerate(NAMES[:3])
        }
    )
    texts = dataclasses.replace(
        local_explanation(rows=30),
        feature_values=frame,
        maps={},
        meta={"tokens": {"input": "table"}},
        base_values=None,
    )
    content.listed.local = [LocalRows(explanation=local, numbers=explained.numbers)]
    content.listed.local += [LocalRows(explanation=texts, numbers=explained.numbers)]
    content.listed.groups = {
        str(content.listed.table.columns[1]): (
            GROUPS,
            ["up to <b>7", "above <b>7", "missing"],
        )
    }
    content.listed.inside = content.listed.predicted > 0.3
    content.metrics = {**(content.metrics or {}), "intervals": INTERVALS}
    return dataclasses.replace(content, rows=content.rows[:1])


@pytest.fixture(scope="module")
def seen(content, tmp_path_factory):
    return visit(page_of(content), tmp_path_factory.mktemp("rows"), DRIVE).quiet()


@needs_browser
def test_rows_are_found_by_number_value_class_segment_and_kind(seen, content):
    listed = content.listed
    best = listed.predicted.argmax(axis=1)
    number = listed.numbers
    ordered = np.sort(listed.predicted, axis=1)
    assert seen["all"] == number.tolist()
    assert seen["wrong"] == number[best != listed.truth].tolist() != []
    assert (
        seen["unsure"] == number[ordered[:, -1] - ordered[:, -2] < 0.2].tolist() != []
    )
    assert seen["eighteen"] == [18, 54], "its number, and customer c18"
    assert (
        seen["above"]
        == number[listed.table["MSinceOldestTradeOpen"] > 70].tolist()
        != []
    )
    assert (
        seen["text"]
        == number[listed.table["NumSatisfactoryTrades"] == "never"].tolist()
        != []
    )
    assert seen["customer"] == [21]
    assert seen["truth"] == number[listed.truth == 1].tolist()
    of_truth = listed.predicted[np.arange(60), listed.truth]
    assert seen["order"] == number[np.argsort(of_truth)[:3]].tolist()
    third = listed.table.iloc[:, 0].sort_values().iloc[15]
    assert seen["segment"] == number[listed.table.iloc[:, 0] < third].tolist()


@needs_browser
def test_numbers_in_cells_are_not_broken(seen):
    assert len(seen["cells"]) > 5
    assert all(
        re.fullmatch(r"−?[\d.]+", text) and space == "nowrap"
        for text, space in seen["cells"]
    )


@needs_browser
def test_wrong_rows_that_are_explained_are_found_together(seen):
    wrong_explained = [
        number for number in seen["wrong"] if number < 90
    ]  # the first thirty rows are explained
    assert seen["wrongExplained"] == wrong_explained
    assert 0 < len(wrong_explained) < len(seen["wrong"])
    assert f" of {len(wrong_explained)} rows." in seen["counted"]


@needs_browser
def test_rows_are_found_by_dates(seen):
    assert seen["dates"] == [2, 22, 5, 2, 60]


@needs_browser
def test_rows_that_can_be_changed_are_found(seen):
    assert seen["changeable"] == [0, 3]
    assert seen["kinds"][-1] == "can be changed"


@needs_browser
def test_segments_are_the_groups_of_the_tab_trust_with_missing_ones_apart(
    seen, content
):
    assert seen["groups"] == ["up to <b>7", "above <b>7", "missing"]
    assert (
        seen["lost"] == seen["listed"] == content.listed.numbers[GROUPS == 2].tolist()
    )


@needs_browser
def test_the_parts_of_a_row_add_up_to_its_output(seen, content):
    explanation = content.listed.local[0].explanation
    steps = seen["steps"]
    assert steps["start"] == pytest.approx(explanation.base_values[1], abs=1e-6)
    assert steps["end"] == pytest.approx(explanation.predictions[10, 1], abs=1e-5)
    assert sum(step["value"] for step in steps["steps"]) == pytest.approx(
        steps["end"] - steps["start"], abs=1e-5
    )
    assert len(steps["steps"]) == 13, "twelve and the others"
    assert " = " in steps["steps"][0]["name"]
    assert seen["title"] == "Row 30 (customer c10)"
    assert seen["first"].startswith(f"Row {seen['marked']} "), (
        "the list shows the row that is open"
    )
    assert (
        f"The bars are integrated gradients of the {steps['label']}." in seen["figure"]
    )
    assert "They add up from the baseline" in seen["figure"]
    assert (
        "What drives this prediction is not stored. It is for 30 of the listed rows"
        in seen["unexplained"]
    )


@needs_browser
def test_a_row_says_what_happened_and_what_similar_rows_were(seen, content):
    listed = content.listed
    truth, best = (
        ["Bad", "Good"][int(k)]
        for k in (listed.truth[10], listed.predicted[10].argmax())
    )
    assert seen["said"].startswith(
        f"RiskPerformance: {truth}. The model predicts {best} ("
    )
    members = [
        name
        for name, inside in zip(["Bad", "Good"], listed.inside[10], strict=True)
        if inside
    ]
    assert seen["said"].endswith(
        f" Set of classes for 90\u00a0%: {', '.join(members)}."
    )
    near = listed.similar.numbers[listed.similar.near[10]]
    assert all(f"training row {number}" in seen["similar"] for number in near)
    assert "8 of 4,000 training rows were compared." in seen["similar"]
    assert "test row 33" in seen["similar"]


@needs_browser
def test_images_have_an_overlay_of_a_chosen_strength_and_words_a_shade(seen):
    assert seen["images"] == ["data:image/png;base64,"] * 2
    assert seen["opacity"] == ["0.2"]
    assert [word for word, _ in seen["shaded"]] == ["word0", "word1", "word2"]
    assert all("color-mix" in shade or "color(" in shade for _, shade in seen["shaded"])


@needs_browser
def test_other_scripts_add_to_the_page_of_a_row(seen):
    assert seen["own"].startswith("computed for 177"), (
        "it could not be computed: what is stored is shown"
    )
    assert seen["own"].endswith("above.")
    assert seen["computed"][0] == "computed for 30"
    assert not any("Divided" in words for words in seen["computed"]), (
        "a row has one division"
    )
    assert seen["hints"][0].startswith("Search for a row number")
    assert seen["hints"][1:] == ["There is no column “foo”.", seen["hints"][0]]
    strongest = [
        {"name": "c", "value": -2},
        {"name": "a", "value": 1},
        {"name": "3 others", "value": pytest.approx(0.5)},
    ]
    assert seen["strongest"] == strongest
    assert seen["last"].startswith("Row 177 ")
    assert seen["file"][0][:4] == [
        "row",
        "RiskPerformance",
        "probability of Bad",
        "probability of Good",
    ]


ACCESS = """
  const found = [];
  for (const [tab, place] of [["features", "2"], ["rows", "30"]]) {
    Page.go(tab, place);
    const { violations } = await axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] });
    found.push(...violations.map((one) => `${tab}: ${one.id} ${one.nodes[0].target}`));
  }
  const size = (one) => {
    const svg = one.ownerSVGElement;
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    return parseFloat(getComputedStyle(one).fontSize) * scale;
  };
  const shown = [...document.querySelectorAll(".lively *")].filter((one) =>
    one.getBoundingClientRect().width && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  const root = document.documentElement;
  const beyond = root.scrollWidth - root.clientWidth;
  return { found, texts: shown.length, smallest: Math.min(...shown.map(size)), beyond };
"""


@pytest.mark.slow
@needs_axe
@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(390, False), (1400, True)])
def test_both_tabs_can_be_read_by_everybody(content, tmp_path, width, dark):
    visit_facts = visit(
        page_of(content), tmp_path, ACCESS, axe=True, width=width, dark=dark
    ).answer
    assert visit_facts["found"] == []
    assert visit_facts["texts"] > 100, "the tabs were drawn"
    assert visit_facts["smallest"] >= 11
    assert visit_facts["beyond"] == 0


# ---- data ----------------------------------------------------------------------------
def test_dates_are_written_without_the_time_of_day_at_midnight():
    days = pd.DataFrame({"day": pd.to_datetime(["2024-01-04", "2024-01-05"])})
    assert columns_data(days)[0]["levels"] == ["2024-01-04", "2024-01-05"]


def test_numbers_are_packed_exactly():
    kinds = [
        numbers_data(np.array(values, dtype=float))
        for values in ([1, 255], [1, 256], [-1, 5], [0.5, 1], [np.nan])
    ]
    assert [packed["type"] for packed in kinds] == ["u1", "u2", "i4", "f4", "f4"]
    assert numbers_data(np.array([2.0**40, 1])) == [2**40, 1]


def test_long_texts_are_shortened_and_missing_ones_named_apart():
    texts = pd.DataFrame(
        {"note": [f"{k}" + "x" * 400 for k in range(1000)] + [None]}, dtype=object
    )
    (column,) = columns_data(texts)
    assert max(map(len, column["levels"])) <= 80
    assert all(level.endswith("…") for level in column["levels"])
    assert sum(map(len, column["levels"])) <= 300_000
    assert column["codes"]["shape"] == [1001]


def test_of_many_classes_the_predicted_and_the_true_one_are_explained():
    content = with_answers(report_content(NAMES[:5], tuple("abcdefghijkl")))
    data = rows_data(PageContent.of(content))
    assert data["positive"] is None
    (row_parts,) = data["parts"]
    wrong = (
        content.listed.predicted[:30].argmax(axis=1) != content.listed.truth[:30]
    ).sum()
    assert row_parts["row"]["shape"] == [30 + wrong]
    assert wrong > 5, "the case is not trivial"


@needs_browser
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_prediction_outside_its_own_interval_or_set_gets_a_word(task, tmp_path):
    content = with_answers(report_content(NAMES[:6], task=task))
    predicted = np.asarray(content.listed.predicted)
    words = ["", " The predicted class is not in it.", "", ""]
    inside = predicted > -1
    inside[1, predicted[1].argmax()] = False
    if task == "regression":
        inside = np.column_stack([predicted[:, 0] - 1, predicted[:, 0] + 1])
        inside[1] = predicted[1] + [0.5, 1]
        inside[2] = predicted[2] - [2, 0.5]
        words = [
            "",
            " The prediction lies below it, ",
            " The prediction lies above it, ",
            "",
        ]
    content.listed.inside = inside
    content.metrics = {**content.metrics, "intervals": INTERVALS}
    script = """
      const said = [];
      for (const row of [0, 3, 6, 9]) {
        location.hash = `#rows/${row}`; await new Promise((done) => setTimeout(done, 60));
        said.push(document.querySelector(".row-page p").textContent);
      }
      return said;
    """
    warning_words = visit(
        render_report(content), tmp_path, script, hash_="#rows"
    ).answer
    for text, word in zip(warning_words, words, strict=True):
        assert " for 90\u00a0%: " in text or "The 90\u00a0% interval is" in text
        assert word in text
        assert word or not re.search("lies (above|below) it|is not in it", text)
