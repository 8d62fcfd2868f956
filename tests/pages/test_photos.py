"""The page of a model that reads images: small ones, their patches, places over the
mean, and examples.
"""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from browsing import data_of, needs_browser, visit
from explaining import with_settings
from PIL import Image

import permgrad as pg
from permgrad.assess.sections import photos
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.wide import divide

pytestmark = pytest.mark.usefixtures("undrawn_file")
BRIGHT = 6  # the patch that matters: row 2, column 3


def _fitted(sizes):
    rng = np.random.default_rng(0)
    bright = rng.random(240)
    scans = [
        rng.integers(0, 60, (16, sizes[row % len(sizes)]), np.uint8)
        for row in range(240)
    ]
    for scan, level in zip(scans, bright, strict=True):
        quarter = scan.shape[1] // 4
        scan[4:8, 2 * quarter : 3 * quarter] = int(250 * level)
    table = pd.DataFrame(
        {"<b>scan": pd.Series(scans, dtype=object), "x": rng.normal(size=240)}
    )
    table.loc[230, "<b>scan"] = None
    y = (4 * bright + table["x"] + 0.2 * rng.normal(size=240)).rename("rent")
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=11, random_state=0, progress=False
    ).fit(table[:160], y[:160])
    assert list(model.preprocessor_.scores_.columns) == ["<b>scan"]
    return model, table[160:], y[160:]


@pytest.fixture(name="fitted", scope="module")
def _one_size():
    return _fitted([16])


@pytest.fixture(name="page", scope="module")
def _page(fitted):
    return str(pg.report(*fitted, progress=False).html)


def test_listed_rows_have_their_images_small(page, fitted):
    rows = data_of(page)["rows"]
    (column,) = (
        column_entry for column_entry in rows["columns"] if "photos" in column_entry
    )
    assert column["name"] == "<b>scan"
    assert len(column["photos"]) == len(column["levels"]) == 79  # one row has none
    sizes = {
        Image.open(io.BytesIO(base64.b64decode(photo))).size
        for photo in column["photos"]
    }
    assert sizes == {(16, 16)}
    assert sum(map(len, column["photos"])) < 200_000
    static = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "<b>scan" not in static
    assert "&lt;b&gt;scan" in static
    plain = data_of(pg.report(*fitted, progress=False, keep_rows=False).html)
    assert not any(photo in str(plain) for photo in column["photos"])


def test_patches_of_explained_rows_add_up_and_the_bright_one_leads(page, fitted):
    rows = data_of(page)["rows"]
    model, table, _ = fitted
    method = with_settings("shapley", exact=0, tolerance=0, max_permutations=192)
    assert 3 <= len(rows["patches"]) <= 4  # one row has no image
    for patch_entry in rows["patches"]:
        assert len(patch_entry["values"]) == 16
        row = table.iloc[[rows["numbers"][patch_entry["row"]]]]
        divided_row = divide(
            Arguments(model, row, scale="probability", progress=False), method
        )
        scan_players = [
            player_index
            for player_index, whose in enumerate(divided_row.modality)
            if whose == "<b>scan"
        ]
        np.testing.assert_allclose(
            patch_entry["values"],
            divided_row.values[0, scan_players, 0],
            rtol=1e-4,
            atol=1e-5,
        )
    largest = [
        int(np.argmax(np.abs(listed_patch["values"])))
        for listed_patch in rows["patches"]
    ]
    assert largest.count(BRIGHT) >= 2


def test_the_places_of_images_of_one_size_are_drawn_over_their_mean(page):
    (card,) = (
        card_entry
        for card_entry in data_of(page)["features"]["cards"]
        if card_entry["name"] == "<b>scan"
    )
    mean = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(card["picture"]))), dtype=float
    )
    assert mean[4:8, 8:12].mean() > 1.5 * mean.mean()
    effects = {
        int(patch_effect["level"]): patch_effect["effect"][0]
        for patch_effect in card["effects"]
    }
    assert sorted(effects) == list(range(16))
    assert max(effects, key=lambda at: abs(effects[at])) == BRIGHT


@pytest.mark.slow
def test_of_images_of_several_sizes_examples_are_shown():
    page = pg.report(*_fitted([16, 24]), progress=False).html
    (card,) = (
        card_entry
        for card_entry in data_of(page)["features"]["cards"]
        if card_entry["name"] == "<b>scan"
    )
    assert "picture" not in card
    ((name, low, high),) = (
        (example_entry["name"], example_entry["low"], example_entry["high"])
        for example_entry in card["examples"]
    )
    assert name == "a high rent"
    means = [
        np.mean(
            [
                np.asarray(
                    Image.open(io.BytesIO(base64.b64decode(encoded_image)))
                ).max()
                for encoded_image in end
            ]
        )
        for end in (low, high)
    ]
    assert len(low) == len(high) == 3
    assert means[0] + 100 < means[1]


def test_images_beyond_the_room_and_patches_beyond_the_time_are_left_out(
    fitted, monkeypatch
):
    monkeypatch.setattr(photos, "_SIGNS", 3000)
    monkeypatch.setattr(photos, "_in_time", lambda work: False)
    rows = data_of(pg.report(*fitted, progress=False).html)["rows"]
    (column,) = (
        column_entry for column_entry in rows["columns"] if "photos" in column_entry
    )
    shown = [photo for photo in column["photos"] if photo]
    assert 0 < len(shown) < 20
    assert rows["patches"] == []
    assert rows["whatIf"]["photos"]["<b>scan"]["rows"] == []


STEPS = """
const rows = Page.data("rows"), found = [], wait = () => new Promise((done) => setTimeout(done, 200));
Page.go("rows", String(rows.numbers[rows.patches[0].row]));
await wait();
const detail = document.querySelector(".detail"), result = () => detail.querySelector(".what-if-result").textContent;
const count = (selector) => document.querySelectorAll(selector).length;
found.push(count(".chooser .thumb img"), count(".detail .tinted span[title]"));
found.push(result());
const patches = detail.querySelectorAll(".what-if .patched button");
patches[6].click();
found.push(result(), detail.querySelector(".what-if-line.changed .quiet").textContent);
patches[0].click();
found.push([...patches].filter((one) => one.getAttribute("aria-pressed") === "true").length);
detail.querySelector(".what-if-fold p button").click();
found.push(result(), detail.querySelectorAll("[aria-pressed=true]").length);
const content = rows.whatIf, listed = Rows.read(rows), seen = listed.columns.find((one) => one.photo);
const covered = content.photos["<b>scan"].rows;
const other = content.rows.findIndex((number, at) => !covered.includes(at) && seen.photo(rows.numbers.indexOf(number)));
Page.go("rows", String(content.rows[other]));
await wait();
found.push(document.querySelector(".detail .what-if-line.wide p").textContent);
found.push(Rows.search(listed, { words: seen.text(3) }).length);
Page.go("features", String(Page.data("features").list.name.indexOf("<b>scan") + 1));
await wait();
found.push(document.querySelector(".card .photo figcaption").textContent, count(".card .tinted span[title]"));
return found;
"""


@needs_browser
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_shows_them(page, fitted, tmp_path, width):
    model, table, _ = fitted
    (
        thumbs,
        tinted,
        first,
        covered,
        note,
        pressed,
        reset,
        still,
        other_rows_text,
        hits,
        caption,
        patch_count,
    ) = visit(page, tmp_path, STEPS, width=width).quiet()
    assert (tinted, patch_count, pressed, still, hits) == (16, 16, 1, 0, 1)
    assert thumbs >= 5
    assert note == "Now row 2, column 3 covered."
    rows = data_of(page)["rows"]
    number = rows["numbers"][rows["patches"][0]["row"]]
    encoded = model.encode_rows(table.iloc[[number]])
    encoder = model.preprocessor_
    before = model.predict(encoded)[0]
    score_columns = [
        encoded_column
        for encoded_column in encoder.columns_of("<b>scan")
        if encoder.kinds_[encoded_column] == "score"
    ]
    cell = encoder.texts_of(encoded.table, "<b>scan")[0][0]
    encoded.encoded[:, score_columns] = photos.covered_scores(encoder, "<b>scan", cell)[
        BRIGHT
    ]
    after = model.predict(encoded)[0]
    assert abs(before - after) > 0.05
    assert first.startswith(f"Prediction: {before:.4g}".replace("-", "−"))
    assert covered.startswith(f"Prediction: {after:.4g}".replace("-", "−"))
    assert reset == first
    assert re.fullmatch(
        r"Its patches can be covered in (39|40) other rows\.", other_rows_text
    )
    assert "The mean image of <b>scan." in caption
    assert "Strongest: row 2, column 3" in caption


@pytest.mark.slow
@needs_browser
def test_examples_are_those_of_the_class_chosen(tmp_path):
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 240)
    scans = [
        rng.integers(0, 80, (16, 16 + 8 * (row % 2), 3), np.uint8) for row in range(240)
    ]
    for scan, colour in zip(scans, kind, strict=True):
        scan[4:8, 8:12, colour] = 240
    table = pd.DataFrame(
        {"scan": pd.Series(scans, dtype=object), "x": rng.normal(size=240)}
    )
    y = np.array(["red", "green", "blue"])[kind]
    model = pg.HyNNClassifier(
        preset="fast", max_epochs=11, random_state=0, progress=False
    ).fit(table[:160], y[:160])
    page = str(pg.report(model, table[160:], y[160:], progress=False).html)
    steps = """
    location.hash = "#features/1";
    await new Promise((done) => setTimeout(done, 300));
    const { list, classes } = Page.data("features"), said = [classes];
    Page.go("features", String(list.name.indexOf("scan") + 1));
    await new Promise((done) => setTimeout(done, 300));
    const say = () => said.push(document.querySelector(".card .photo figcaption").textContent);
    say();
    const choice = [...document.querySelectorAll("select")].find((one) => one.options[2]?.textContent === classes[2]);
    choice.value = "2";
    choice.dispatchEvent(new Event("change"));
    say();
    said.push(document.querySelectorAll(".card .photo img").length);
    return said;
    """
    classes, first, third, count = visit(page, tmp_path, steps).quiet()
    assert classes == ["blue", "green", "red"]
    assert first == "The images of scan that speak most for blue, among test rows."
    assert third == "The images of scan that speak most for red, among test rows."
    assert count == 6
    (card,) = (
        card_entry
        for card_entry in data_of(page)["features"]["cards"]
        if card_entry["name"] == "scan"
    )
    for class_index, name in enumerate(classes):
        pixels = [
            np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded_image))))
            for encoded_image in card["examples"][class_index]["high"]
        ]
        assert [
            example_pixels.mean(axis=(0, 1)).argmax() for example_pixels in pixels
        ] == [["red", "green", "blue"].index(name)] * 3
