"""The page of a model that reads texts and a category of many levels."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from browsing import data_of, needs_browser, visit

import permgrad as pg

pytestmark = pytest.mark.slow

WORDS = np.array(
    ["alpha", "<b>bold</b>", "<script>", "gamma", "delta", "omega", "sigma"]
)


@pytest.fixture(name="page", scope="module")
def _page(tmp_path_factory):
    rng = np.random.default_rng(0)
    level = rng.choice(80, 900)
    text = [
        " ".join(rng.permutation(WORDS)[:4]) + f" \x1b[31m red {'long_' * 40} {row}"
        for row in range(900)
    ]
    table = pd.DataFrame(
        {
            "<i>text": text,
            "person": [f"<u>p{level_code}" for level_code in level],
            "x": rng.normal(size=900),
        }
    )
    planted = 2 * table["<i>text"].str.contains("alpha") + rng.normal(size=80)[level]
    y = planted + table["x"] + 0.3 * rng.normal(size=900)
    model = pg.HyNNRegressor(preset="fast", random_state=0, progress=False).fit(
        table[:600], y[:600]
    )
    assert set(model.preprocessor_.scores_.columns) == {"<i>text", "person"}
    path = tmp_path_factory.mktemp("page") / "page.html"
    pg.report(model, table[600:], y[600:], path=path, progress=False)
    return path.read_text(encoding="utf-8")


def test_cards_have_words_with_their_effects_and_levels_with_their_training_rows(page):
    cards = {card["name"]: card for card in data_of(page)["features"]["cards"]}
    of_text = cards["<i>text"]
    of_person = cards["person"]
    assert not {"curves", "outcome", "mean"} & set(
        of_text
    )  # texts are no places on an axis
    words = {entry["level"]: entry for entry in of_text["effects"]}
    assert max(words, key=lambda word: words[word]["effect"][0]) == "alpha"
    assert (
        words["alpha"]["low"][0]
        < words["alpha"]["effect"][0]
        < words["alpha"]["high"][0]
    )
    assert words["alpha"]["clear"] == [True]
    assert "b" in words  # <b> is a word to the model, and text to the page
    assert 60 < len(of_person["effects"]) <= of_person["scored"]
    assert sum(entry["rows"] for entry in of_person["effects"]) <= 600
    assert of_person["levels"] > 10  # of the curve of the most frequent ones


def test_words_of_rows_add_up_to_the_texts_part(page):
    rows = data_of(page)["rows"]
    assert len(rows["texts"]) == 20
    assert "words" not in rows["whatIf"]
    for text in rows["texts"]:
        assert text["name"] == "<i>text"
        assert len(text["words"]) == len(text["values"]) <= 60
        assert (
            "alpha" not in text["words"]
            or text["values"][text["words"].index("alpha")] > 0.3
        )


def test_every_text_is_escaped_and_cut(page):
    assert "\x1b" not in page
    static = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"<(i>text|u>p|b>bold)", static)
    assert "&lt;i&gt;text" in static
    levels = [
        level
        for column in data_of(page)["rows"]["columns"]
        for level in column.get("levels", ())
    ]
    assert max(map(len, levels)) <= 80
    assert "long_" * 20 not in static


@needs_browser
def test_the_page_shows_them(page, tmp_path):
    steps = """
    const said = [];
    location.hash = "#features/1/x";
    await new Promise((done) => setTimeout(done, 300));
    const names = Page.data("features").list.name;
    for (const name of ["<i>text", "person"]) {
      Page.go("features", String(names.indexOf(name) + 1));
      await new Promise((done) => setTimeout(done, 300));
      said.push(document.querySelector(".card").textContent);
    }
    const content = Page.data("rows").whatIf, box = document.createElement("div");
    document.body.append(box);
    WhatIf.show(box, content.rows.indexOf(Page.data("rows").numbers[Page.data("rows").texts[0].row]));
    said.push(box.querySelector("figcaption, .what-if-figure").textContent);
    const labels = Object.fromEntries([...box.querySelectorAll(".what-if-line")].map((line) =>
      [line.querySelector("label").textContent, line.querySelector("select, input").textContent]));
    said.push(labels, document.querySelectorAll(".card b, .card u, .card i, .what-if u").length);
    return said;
    """
    of_text, of_person, parts_text, inputs, strange = visit(
        page, tmp_path, steps
    ).quiet()
    assert "What a word does to" in of_text
    assert "It is highest for alpha" in of_text
    assert "that with a level never seen" in of_person
    assert "training rows" in of_person
    assert "another level" not in parts_text
    assert inputs["<i>text"].startswith("its text")
    assert "a level never seen" in inputs["person"]
    assert "<u>p1" in inputs["person"]
    assert strange == 0


@needs_browser
def test_words_are_taken_out_and_put_back(page, tmp_path):
    steps = """
    const rows = Page.data("rows"), box = document.createElement("div"), said = [];
    document.body.append(box);
    const chosen = rows.texts.find((one) => one.words.includes("alpha")).row;
    WhatIf.show(box, rows.whatIf.rows.indexOf(rows.numbers[chosen]));
    const shown = () => box.querySelector(".what-if-result strong").textContent.split(": ")[1];
    const result = () => Number(shown().replace("−", "-"));
    const line = box.querySelector(".what-if-line.wide"), note = () => line.querySelector("[id$=-was]").textContent;
    const words = [...line.querySelectorAll(".what-if-words button")];
    const out = () => words.filter((one) => one.getAttribute("aria-pressed") === "true").length;
    const say = () => said.push([result(), note(), out()]);
    say();
    words.find((one) => one.textContent === "alpha").click();
    say();
    words.find((one) => one.textContent !== "alpha").click();
    say();
    const list = line.querySelector("select");
    list.selectedIndex = list.options.length - 1;
    list.dispatchEvent(new Event("change"));
    say();
    words.find((one) => one.textContent === "alpha").click();
    say();
    line.querySelector("button.back").click();
    say();
    return [said, line.querySelector(".what-if-words").textContent, list.selectedIndex,
      line.querySelectorAll("b, script").length];
    """
    step_results, text, selected_index, strange = visit(page, tmp_path, steps).quiet()
    whole_text, less, both_out, missing, again, back = step_results
    assert whole_text[1:] == ["", 0]
    assert less[0] < whole_text[0] - 0.5  # alpha adds 2
    assert less[1:] == ["Now 1 word out.", 1]
    assert both_out[1:] == ["Now 2 words out.", 2]
    assert missing[1:] == ["was its text. Now missing.", 0]
    assert again == less
    assert back == whole_text
    assert selected_index == 0
    assert strange == 0
    assert "<b>bold</b>" in text or "<script>" in text
