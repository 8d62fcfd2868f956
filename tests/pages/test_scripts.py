"""The page in a real browser: its scripts' functions, tabs, keyboard, files to take
away, phones, and accessibility.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
from itertools import pairwise

import numpy as np
import pytest
from browsing import data_of, needs_axe, needs_browser, visit
from tests.pages.conftest import HOSTILE, NAMES, report_content, with_together

from permgrad.base.csv_files import quoted
from permgrad.base.numerals import number, numbers, percent
from permgrad.pages.html import render_page, render_report
from permgrad.pages.views import SectionView, TabView, packed
from permgrad.pages.words import labels_of

pytestmark = needs_browser
NUMBERS = [
    0.0123456,
    1.5,
    12.0,
    123.4,
    1639.4,
    12345.6,
    123456.0,
    1.37e10,
    -4.2e6,
    2.3e-9,
    0.0,
    999.96,
    999_960.0,
]
NUMBERS += [0.0000461, 2.5e7, 5e6, 1e15, 3e17, -0.00125, 0.125, 1234.5]
COLUMNS = [[7.78, -0.61, 6.5, 0.0], [51.0, 73.8], [0.00267, -0.0019], [1639.4, 2.0]]
SHARES = [1 / 8, 0.665, 57 / 200, -0.125, 0.0025, 0.00999, 12.345, 0.0]


@pytest.fixture(name="page", scope="module")
def _page() -> str:
    return render_report(with_together(report_content(NAMES[:6])))


def _trimmed(text: str) -> str:
    """Leave out zeros at the end of decimals, which Python writes and the script does
    not.
    """
    return (
        re.sub(r"(\.\d*?)0+(?!\d)", r"\1", text.replace("\u00a0", " "))
        .replace(". ", " ")
        .rstrip(".")
    )


def test_functions_of_the_scripts(tmp_path):
    """One visit for all: numbers as in Python, CSV as in Python, arrays as packed,
    scales, ticks and charts.
    """
    section = SectionView("first", "First")
    section.live("drawn")
    section.live("broken")
    array = np.arange(6, dtype=np.float32).reshape(2, 3) / 3
    data = {
        "array": packed(array),
        "names": HOSTILE,
        "numbers": NUMBERS,
        "columns": COLUMNS,
        "shares": SHARES,
    }
    tabs = [
        TabView("one", "One", [section], data),
        TabView("two", "Two", [SectionView("b", "B", [("text", "words")])]),
    ]
    script = """
    Page.tab("one", { live: {
      drawn(box, data) { box.append(Page.element("b", { id: "drawn" }, ...data.names)); },
      broken() { throw new Error("as a test"); } } });
    console.error = () => {};
      const data = Page.data("one");
      const scale = Charts.linear([0, 10], [100, 200]);
      const band = Charts.band(["a", "b"], [0, 100], 0.5);
      const fall = Charts.waterfall({ start: 1, end: 2.5, startName: "s", endName: "e",
        steps: [{ name: data.names[1], value: 2 }, { name: "b", value: -0.5 }] });
      const sure = Charts.waterfall({ start: 1, end: 3, startName: "s", endName: "e", steps: [{ name: "b", value: 2, error: 0.5 }] });
      const [ends, bar] = [[...sure.querySelectorAll("line[stroke-width='1.2']")].map((one) => [one.getAttribute("x1"), one.getAttribute("x2")].map(Number)), sure.querySelector("rect")];
      const heat = Figures.draw({ kind: "cells", words: "", rows: ["a"], columns: [data.names[1], "d"], values: [[0, 1]], texts: [["1", "2"]], most: 1 });
      Page.select("one");
      return {
        numbers: data.numbers.map((value) => Charts.write(value)), measured: data.numbers.map((value) => Charts.measured(value)),
        columns: data.columns.map((values) => Charts.column(values)),
        numerals: ["-48.68", "4.741e+04", "2019", "May", ""].map(Charts.numeral), shares: data.shares.map((value) => Charts.percent(value)),
        narrow: [...Charts.axis({ width: 640, height: 300, left: 52, right: 12, top: 10, bottom: 40 }, Charts.linear([0.5, 0.5004], [0, 600]), { side: "x", write: Charts.percent }).querySelectorAll("text")].map((one) => one.textContent), array: [...Page.unpack(data.array)],
        csv: Page.csv([["name", "value"], ...data.names.map((name) => [name, 0.5])]), scale: scale(5), back: scale.invert(150),
        band: [band("a"), band("b"), band.size], ticks: [Charts.ticks([0, 1]), Charts.ticks([-3, 17]), Charts.ticks([5, 5])],
        extent: [Charts.extent([3, NaN, -1]), Charts.extent([2, 2]), Charts.extent([])],
        path: Charts.path([0, 1, 2], [0, NaN, 1]), short: Charts.shorten("x".repeat(60)).length,
        fall: fall.querySelectorAll("rect").length, unsure: fall.querySelectorAll("line[stroke-width='1.2']").length,
        ends: ends.flat(), bar: ["x", "width"].map((name) => Number(bar.getAttribute(name))), elements: heat.querySelectorAll("script,img").length,
        drawn: document.getElementById("drawn").textContent, children: document.getElementById("drawn").children.length,
        failed: document.querySelector("[data-live=broken]").textContent };
    """
    # Registered after the page has started: views are drawn when their tab is shown.
    script_results = visit(
        render_page(title="t", kind="test", headline="h", tabs=tabs), tmp_path, script
    ).answer
    assert [
        _trimmed(written_number) for written_number in script_results["numbers"]
    ] == [_trimmed(number(value)) for value in NUMBERS]
    assert script_results["measured"] == [
        number(value).replace("\N{NO-BREAK SPACE}", " ") for value in NUMBERS
    ]
    assert script_results["columns"] == [numbers(column) for column in COLUMNS]
    assert script_results["numerals"] == ["−48.68", "47,410", "2019", "May", ""]
    assert script_results["shares"] == [percent(value) for value in SHARES]
    assert len(set(script_results["narrow"])) == len(script_results["narrow"]) > 1, (
        "the marks of an axis differ"
    )
    assert np.allclose(script_results["array"], array.ravel())
    assert [
        line.partition(",")[0] for line in script_results["csv"].splitlines()[1:2]
    ] == [quoted(HOSTILE[0])]
    assert script_results["scale"] == 150
    assert script_results["back"] == 5
    assert script_results["band"] == [12.5, 62.5, 25]
    assert script_results["ticks"] == [[0, 0.2, 0.4, 0.6, 0.8, 1], [0, 5, 10, 15], [5]]
    assert script_results["extent"] == [[-1, 3], [1, 3], [0, 1]]
    assert script_results["path"] == "M0.0 0.0M2.0 1.0"
    assert script_results["short"] == 26
    assert script_results["fall"] == 2
    assert script_results["unsure"] == 0, "a step without an error has no whisker"
    (low, high), (left, width) = script_results["ends"], script_results["bar"]
    assert np.allclose([low, high], [left + 0.75 * width, left + 1.25 * width]), (
        "half of a bar of 2, around its end"
    )
    assert script_results["elements"] == 0
    assert script_results["children"] == 0, "names are text"
    assert HOSTILE[1] in script_results["drawn"]
    assert script_results["failed"].endswith("This browser cannot draw this part.")


def test_an_axis_has_two_numbers_at_least(tmp_path):
    script = """
      const frame = { width: 300, height: 100, left: 130, right: 90, top: 10, bottom: 40 };
      const texts = (domain, side, range, write) => [...Charts.axis(frame, Charts.linear(domain, range),
        { side, count: 4, write }).querySelectorAll("text")].map((one) => one.textContent);
      return { shares: texts([0.004, 0.94], "x", [130, 210], Charts.percent), upright: texts([-24, 17], "y", [60, 10], Charts.write),
        errors: texts([-0.4, 0.9], "y", [60, 10], Charts.write) };
    """
    content = with_together(report_content(NAMES[:6]))
    texts_of_axes = visit(render_report(content), tmp_path, script).answer
    for texts in texts_of_axes.values():
        assert len(set(texts)) == len(texts) > 1


def test_points_without_an_order_need_no_key_of_colours(tmp_path):
    script = """
      const keyed = (shades) => [...Figures.draw({ kind: "swarm", words: "", names: ["a"], label: "x", values: [[1, 2]],
        shades: [shades] }).querySelectorAll("text")].map((one) => one.textContent).filter((words) => /value|middle|order/.test(words));
      return { none: keyed([5, 5]), some: keyed([0, 5]), all: keyed([0, 4]) };
    """
    content = with_together(report_content(NAMES[:6]))
    keys = visit(render_report(content), tmp_path, script).answer
    assert keys["none"] == []
    assert keys["some"] == ["low value", "middle", "high value", "no order"]
    assert keys["all"] == ["low value", "middle", "high value"]


LONG = [
    "average_monthly_spending_of_household_in_summer_2023_on_food",
    "average_monthly_spending_of_household_in_winter_2023_on_food",
    "average_monthly_spending_of_household_in_winter_2023_on_food_all",
    "age",
]


def test_long_names_stay_different_where_they_stand_together(tmp_path):
    script = f"""
      const names = {json.dumps(LONG)};
      const steps = names.map((name, at) => ({{ name: `${{name}} = ${{at}}`, value: at + 1 }}));
      const texts = (svg) => {{ document.body.append(svg); return [...svg.querySelectorAll("text")].map((one) => one.textContent); }};
      const row = (name) => ({{ name, value: 1, low: 0, high: 2 }});
      const frame = {{ width: 640, height: 300, left: 190, right: 12, top: 10, bottom: 40 }};
      return {{ alone: names.map((name) => Charts.shorten(name)), labels: [18, 26, 40].map((width) => Charts.labels(names, width)),
        equal: Charts.labels(["a", "a"]),
        steps: texts(Rows.drawSteps({{ start: 0, end: 10, steps, label: "x" }})),
        fall: texts(Charts.waterfall({{ start: 0, end: 10, startName: "s", endName: "e", steps: steps.map((one, at) => ({{ ...one, name: names[at] }})) }})),
        heat: texts(Figures.draw({{ kind: "cells", words: "", rows: names, columns: names, values: names.map(() => [0, 0, 0, 0]), most: 1 }})),
        axis: texts(Charts.axis(frame, Charts.band(names, [10, 260]), {{ side: "y", letters: 18 }})),
        intervals: texts(Panels.intervals(names.map(row), {{ description: "", label: "x", write: Charts.write }})),
        options: [...Panels.choice([...names.map((name) => "x".repeat(40) + name)], () => {{}}).options].map((one) => one.text) }};
    """
    content = with_together(report_content(NAMES[:6]))
    script_results = visit(render_report(content), tmp_path, script).answer
    assert len(set(script_results["alone"])) < len(LONG), (
        "cut alone, two of them look alike"
    )
    assert script_results["labels"] == [
        labels_of(LONG, width) for width in (18, 26, 40)
    ]
    assert script_results["equal"] == ["a", "a"]
    for result_name, count in (
        ("steps", 4),
        ("fall", 4),
        ("heat", 8),
        ("axis", 4),
        ("intervals", 4),
    ):
        cut = [
            text.split(" = ")[0]
            for text in script_results[result_name]
            if text.startswith(("ave", "age"))
        ]
        assert len(cut) == count, (result_name, script_results[result_name])
        assert all(len(set(half)) == 4 for half in (cut[:4], cut[-4:])), (
            result_name,
            cut,
        )
    assert len(set(script_results["options"])) == 4


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0.52, 0.78),
        (0.701, 0.7031),
        (-1234567.0, 1234567.0),
        pytest.param(3.0, 3.0, marks=pytest.mark.slow),
    ],
)
def test_the_texts_of_a_narrow_waterfall_have_room(tmp_path, start, end):
    steps = [
        {"name": "MaxDelq2PublicRecLast12M", "value": end - start},
        {"name": "W" * 40, "value": 0},
    ]
    fall = {
        "start": start,
        "end": end,
        "startName": "s",
        "endName": "e",
        "steps": steps,
    }
    script = f"""
      const fall = Charts.waterfall({json.dumps(fall)}, {{ width: 330, left: 150 }});
      fall.style.fontFamily = "var(--sans)";
      document.body.append(fall);
      const boxes = (query) => [...fall.querySelectorAll(query)].map((one) => one.getBBox());
      return {{ names: boxes("text[text-anchor=end]").map((box) => box.x),
        ticks: boxes(".axis text").filter((box) => box.width).map((box) => [box.x, box.x + box.width]) }};
    """
    script_results = visit(
        render_page(
            title="t", kind="test", headline="h", tabs=[TabView("one", "One", [], None)]
        ),
        tmp_path,
        script,
    ).answer
    assert len(script_results["names"]) == 4
    assert min(script_results["names"]) >= 0, "no name is cut at the left"
    ticks = script_results["ticks"]
    assert ticks, "an axis has a number"
    assert all(left[1] + 4 < right[0] for left, right in pairwise(ticks)), (
        "the texts of ticks stand apart"
    )


def test_tabs_links_and_files(page, tmp_path):
    script = """
      const shown = () => [...document.querySelectorAll("[data-tab]:not([hidden])")].map((one) => one.id).join();
      const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      const out = { start: shown(), roles: document.querySelectorAll("[role=tab]").length };
      document.querySelector("[role=tab][tabindex='0']").focus();
      out.keys = ["ArrowRight", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home"].map((key) => (press(key), shown()));
      out.hash = location.hash;
      location.hash = "#training-1"; await new Promise((done) => setTimeout(done, 50));
      out.figure = shown();
      location.hash = "#rows/17"; await new Promise((done) => setTimeout(done, 50));
      out.path = shown();
      location.hash = "#nothing%"; await new Promise((done) => setTimeout(done, 50));
      out.unknown = shown();
      document.querySelector("#tab-trust").click(); document.querySelector("#tab-rows").click();
      const back = async () => { history.back(); await new Promise((done) => setTimeout(done, 200)); return [location.hash, shown()]; };
      out.back = [await back()];
      history.replaceState(null, "", location.href.split("#")[0]);
      document.querySelector("#tab-rows").click();
      out.back.push(await back());
      location.hash = "#features"; await new Promise((done) => setTimeout(done, 50));
      const figure = document.querySelector("#features figure:has(svg)");
      out.tools = [...figure.querySelectorAll(".tools button")].map((one) => one.textContent);
      const drawn = Page.standalone(figure.querySelector("svg"));
      out.variables = drawn.markup.includes("var(--");
      const blob = await Page.png("data:image/svg+xml;charset=utf-8," + encodeURIComponent(drawn.markup), drawn.width, drawn.height);
      out.png = await new Promise((done) => { const reader = new FileReader(); reader.onload = () => done(reader.result); reader.readAsDataURL(blob); });
      out.csv = Page.csv(Figures.rows(Page.data("figures")[figure.id]));
      document.querySelector(".tools button").click(); await new Promise((done) => setTimeout(done, 50));
      out.link = location.hash;
      return out;
    """
    script_results = visit(page, tmp_path, script, hash_="#data").answer
    assert script_results["start"] == "data", "a link opens its tab"
    assert script_results["roles"] == 8
    assert script_results["keys"] == [
        "details",
        "summary",
        "details",
        "summary",
        "details",
        "summary",
    ]
    assert script_results["hash"] == "#summary"
    assert script_results["figure"] == "details"
    assert script_results["path"] == "rows"
    assert script_results["unknown"] == "rows", "an unknown address changes nothing"
    assert script_results["back"] == [["#trust", "trust"], ["", "summary"]], (
        "the reader can go back"
    )
    assert script_results["tools"] == ["Link", "PNG", "SVG", "CSV"]
    assert not script_results["variables"]
    assert (
        script_results["csv"].splitlines()[0]
        == "name,increase of the loss (nats per row),interval from,interval to,table "
        "branch,image branch"
    )
    assert script_results["link"].lstrip("#") in page
    picture = base64.b64decode(script_results["png"].partition(",")[2])
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(picture)).convert("RGB")
    assert image.width > 1000
    assert len(set(image.resize((200, 200)).getdata())) > 10, "the picture is not empty"


@needs_browser
def test_a_figure_in_half_of_the_page_is_drawn_for_it(page, tmp_path):
    script = """
      Page.go("details");
      const plot = document.querySelector("#training-1 .plot");
      return [plot.querySelector("svg").viewBox.baseVal.width, plot.clientWidth];
    """
    drawn, room = visit(page, tmp_path, script).quiet()
    assert drawn == room
    assert 300 < room < 640
    drawn, room = visit(page, tmp_path, script, width=1000).quiet()
    assert drawn == 640 <= room


def test_everything_stands_without_javascript(page):
    assert "hidden" not in re.findall(r"<div class=\"tab\"[^>]*>", page)[0]
    assert page.count("<figure") >= 5
    assert all(
        html.escape(figure_data["words"]) in page
        for figure_data in data_of(page)["figures"].values()
    )
    assert page.count("<table") >= 3
    assert page.count("This part needs JavaScript.") == page.count('data-live="')


_SMALL = """
  const out = [];
  for (const panel of document.querySelectorAll("[data-tab]")) {
    Page.select(panel.dataset.tab);
    const wide = document.documentElement.scrollWidth - innerWidth;
    if (wide > 0) out.push([panel.id, "wider than the window", wide]);
    for (const one of panel.querySelectorAll("*")) {
      const box = one.getBoundingClientRect();
      const texts = [...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
      if (!texts || !box.width) continue;
      const svg = one.closest("svg");
      const scale = svg && svg.viewBox.baseVal.width ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
      const size = parseFloat(getComputedStyle(one).fontSize) * scale;
      if (size < 10.9) out.push([panel.id, one.tagName, one.textContent.slice(0, 30), size]);
      if (!one.closest(".plot, .table, pre") && box.right > innerWidth + 1) out.push([panel.id, "cut", one.textContent.slice(0, 30)]);
    }
  }
  return { width: innerWidth, out };
"""


def test_a_phone_shows_all_of_it_in_legible_letters(page, tmp_path):
    small_screen = visit(page, tmp_path, _SMALL, width=390).answer
    assert small_screen["width"] <= 390
    assert small_screen["out"] == []


def test_an_axis_has_two_numbers_where_there_is_room(page, tmp_path):
    script = """
      const frame = { width: 300, height: 100, left: 10, right: 10, top: 10, bottom: 20 };
      const drawn = (domain) => [...Charts.axis(frame, Charts.linear(domain, [10, 290]), { side: "x", count: 2 })
        .querySelectorAll("text")].map((one) => one.textContent);
      return [drawn([2, 190]), drawn([0, 1]), drawn([111, 189])];
    """
    wide, share, far = visit(page, tmp_path, script).answer
    assert wide == ["50", "100", "150"]
    assert share == ["0", "0.5", "1"]
    assert len(far) > 1


def test_a_long_text_beside_others_makes_no_tower_on_a_phone(page, tmp_path):
    script = """
      const cell = Page.element("td", { class: "long" }, "a word of a review ".repeat(6));
      const box = Page.element("div", { class: "detail" }, Page.element("div", { class: "table" },
        Page.element("table", {}, Page.element("tr", {}, Page.element("td", { class: "text" }, "row"), cell))));
      document.querySelector("[data-tab]").append(box);
      return cell.getBoundingClientRect().height;
    """
    assert visit(page, tmp_path, script, width=390).answer < 100


def test_a_link_to_a_tab_cuts_no_name_of_a_tab_on_a_phone(page, tmp_path):
    script = """
      const names = document.querySelector('[role="tablist"]').getBoundingClientRect();
      return { top: names.top, height: names.height, moved: scrollY };
    """
    seen = visit(page, tmp_path, script, width=390, hash_="#data").answer
    assert seen["moved"] > 0
    assert seen["height"] > 64, "the names take more than one line"
    assert seen["top"] >= 0


@pytest.mark.slow
@needs_axe
@pytest.mark.parametrize(("dark", "width"), [(False, 1400), (True, 390)])
def test_no_barrier_in_any_tab(page, tmp_path, dark, width):
    """WCAG 2 A and AA, and the checker's own good practice."""
    script = """
      const out = [];
      let looked = 0;
      for (const panel of document.querySelectorAll("[data-tab]")) {
        Page.select(panel.dataset.tab);
        // What Chromium calls a mixed colour is a text that the checker does not know: it then looks at no colour at all.
        for (const one of document.querySelectorAll("*")) {
          const mixed = getComputedStyle(one).backgroundColor.match(/^color\\(srgb ([^ ]+) ([^ ]+) ([^ )]+)(?: \\/ ([^)]+))?\\)$/);
          if (mixed) one.style.backgroundColor = `rgba(${mixed.slice(1, 4).map((part) => Math.round(255 * part))}, ${mixed[4] ?? 1})`;
        }
        const result = await axe.run(document, { resultTypes: ["violations"] });
        looked += result.passes.filter((one) => one.id === "color-contrast").length;
        for (const one of result.violations) out.push([panel.id, one.id, one.nodes.length, one.nodes[0].html.slice(0, 120)]);
      }
      return { dark: matchMedia("(prefers-color-scheme: dark)").matches, out, looked };
    """
    barrier_facts = visit(
        page, tmp_path, script, axe=True, width=width, dark=dark
    ).answer
    assert barrier_facts["looked"] >= 5, "tabs whose colours were looked at"
    assert barrier_facts["dark"] == dark
    assert barrier_facts["out"] == []
