"""*What would have to differ?* in the page: its results beside Python's model and
beside ``pg.counterfactuals``.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
from browsing import needs_browser, page_of_rows, visit
from verification import verify_what_if as what_if_check

import permgrad as pg
from permgrad.assess.encoder_form import encoder_form
from permgrad.assess.sections.what_if import rows_of
from permgrad.pages import whatif

pytestmark = [needs_browser, pytest.mark.usefixtures("undrawn_file")]
LISTED = 60
ASKED = 3

SEARCH = """
const model = WhatIf.loaded(Page.data("rows").whatIf);
const columns = Alternatives.columnsOf(model, WhatIf.cellOf, WhatIf.OTHER);
const run = (place, margin, some = columns) => {
  const steps = Alternatives.search(model, some, place, WhatIf.cellOf, margin);
  let step = steps.next(), pauses = 0;
  for (; !step.done; pauses += 1) step = steps.next();
  return step.value.map(({ changes, distance }) => ({ changes, distance, pauses,
    predicted: Array.from(model.network.predicted(model.network.outputs(model.encode(place, changes)))) }));
};
const classes = model.result.classes;
const found = [];
for (let place = 0; place < ASKED; place += 1) {
  const own = Array.from(model.network.predicted(model.network.outputs(model.encode(place, {}))));
  const wish = classes ? (own.indexOf(Math.max(...own)) + 1) % classes.length : own[0] + 0.1 * model.range[0];
  const margin = (outputs) => {
    const said = model.network.predicted(outputs);
    return classes ? said[wish] - Math.max(...said.filter((_, k) => k !== wish)) - 1e-9 : said[0] - wish;
  };
  const first = run(place, margin), gone = first.length ? Object.keys(first[0].changes)[0] : "";
  found.push({ own, wish, first, gone, without: place ? [] : run(place, margin, columns.filter((one) => one.column.name !== gone)) });
}
return { found, impossible: run(0, () => -1), names: columns.map((one) => one.column.name), units: columns.map((one) => one.unit) };
"""
PANEL = """
const box = document.createElement("div");
document.body.append(box);
WhatIf.show(box, 0);
const answer = () => box.querySelector(".what-if-ways [role=status]");
const words = (query) => [...box.querySelectorAll(query)].map((one) => one.textContent);
const ask = async () => {
  box.querySelector("button.differ").click();
  while (answer().textContent.startsWith("Searching")) await new Promise((done) => setTimeout(done));
};
const seen = { before: words(".what-if-result"), button: words("button.differ"), choices: words(".what-if-ways select option") };
await ask();
seen.found = words(".what-if-ways li");
seen.said = answer().textContent;
box.querySelector(".what-if-ways li button").click();
seen.after = words(".what-if-result");
seen.changed = words(".what-if-line.changed label");
seen.open = box.querySelector(".what-if-fold").open;
const boxes = [...box.querySelectorAll(".what-if-ways input[type=checkbox]")];
boxes.forEach((one) => one.click());
await ask();
seen.none = answer().textContent;
WhatIf.show(box, 1);
seen.kept = [...box.querySelectorAll(".what-if-ways input[type=checkbox]")].every((one) => one.checked);
const limit = box.querySelector(".what-if-ways input[type=number]");
if (limit) {
  limit.value = "";
  await ask();
  seen.empty = answer().textContent;
  limit.value = "-1e9";
  await ask();
  seen.already = answer().textContent;
}
return seen;
"""


@cache
def case_of(name: str):
    """Return a model, listed rows, and a page with them."""
    case = what_if_check.CASES[name](1)
    allowed_rows = (
        case.rows if case.model.na else case.rows[case.rows["n3"] != -9]
    )  # else it is a value
    listed = allowed_rows[:LISTED].reset_index(drop=True)
    content = whatif.what_if(
        case.model,
        rows_of(case.model, case.model.encode_rows(listed), np.arange(LISTED)),
    )
    return case.model, listed, page_of_rows(content)


def changed_row(model, row: pd.DataFrame, changes) -> pd.DataFrame:
    """Return a row as a table with the cells that the page sets."""
    forms = {
        form["name"]: form for form in encoder_form(model.preprocessor_)["columns"]
    }
    row = row.reset_index(drop=True)
    for name, cell in changes.items():
        kind = forms[name]["kind"]
        words = forms[name].get("words")
        value = pd.Timestamp(cell, unit="s") if kind == "date" else cell
        if kind == "boolean":
            value = words[int(cell)] if words else bool(cell)
        row[name] = pd.Series([value]).astype(row[name].dtype)
    return row


def number(cell) -> float:
    """Return a number or a date in seconds as a number, NaN for all else and for
    missing cells.
    """
    if isinstance(cell, pd.Timestamp):
        return (cell - pd.Timestamp(0)) / pd.Timedelta("1s")
    return (
        float(cell)
        if isinstance(cell, (int, float)) and not isinstance(cell, bool) and cell != -9
        else np.nan
    )


def spreads(listed: pd.DataFrame) -> dict[str, float]:
    """Return the unit of distances of numbers and dates: the median absolute deviation,
    or what stands for it.
    """
    units = {}
    for name in listed:
        numbers = listed[name].map(number).dropna()
        if len(numbers):
            apart = (numbers - numbers.median()).abs()
            units[name] = float(apart.median() or apart.mean())
    return units


@pytest.mark.parametrize(
    "name", ["mixed", pytest.param("levels", marks=pytest.mark.slow)]
)
def test_results_are_those_of_the_model_in_python_few_and_near(name, tmp_path):
    model, listed, page = case_of(name)
    search_facts = visit(page, tmp_path, SEARCH.replace("ASKED", str(ASKED))).quiet()
    classes = hasattr(model, "classes_")
    units = spreads(listed)
    results = 0
    fewest = []
    ratios = []
    assert {"n0", "member"} <= set(search_facts["names"])
    assert "note" not in search_facts["names"], "texts cannot be set"
    fixed = [column for column in listed if column not in search_facts["names"]]
    for row_index, search_result in enumerate(search_facts["found"]):
        row = listed.iloc[[row_index]]
        for result in [*search_result["first"], *search_result["without"]]:
            results += 1
            new = changed_row(model, row, result["changes"])
            there = model.predict_proba(new)[0] if classes else model.predict(new)
            scale = 1.0 if classes else np.abs(there).max()
            np.testing.assert_allclose(
                result["predicted"], there, atol=1e-5 * scale, rtol=0
            )
            if classes:
                assert model.predict(new)[0] == model.classes_[search_result["wish"]]
            else:
                assert there[0] >= search_result["wish"] - 1e-5 * scale
            apart = 0.0
            for column in result["changes"]:
                before = row[column].iloc[0]
                after = new[column].iloc[0]
                far = abs(number(after) - number(before))
                apart += 1.0 if np.isnan(far) else far / units[column]
                known_cells = (
                    listed[column].map(number) if column in units else listed[column]
                )
                assert (
                    np.isclose(known_cells, number(after), rtol=1e-6).any()
                    if column in units
                    else after in set(known_cells)
                )
            assert result["distance"] == pytest.approx(apart, rel=1e-4)
            assert 1 <= len(result["changes"]) <= 3
        sets = [frozenset(result["changes"]) for result in search_result["first"]]
        assert not any(
            smaller_set <= larger_set
            for smaller_set in sets
            for larger_set in sets
            if smaller_set is not larger_set
        )
        assert search_result["gone"] not in {
            column
            for result in search_result["without"]
            for column in result["changes"]
        }
        want = (
            model.classes_[search_result["wish"]]
            if classes
            else (search_result["wish"], None)
        )
        python = pg.counterfactuals(
            model, row, listed, want=want, max_changes=3, fixed=fixed
        )
        assert bool(len(python)) == bool(search_result["first"])
        if search_result["first"]:
            best = python.to_frame().sort_values(["changes", "distance"]).iloc[0]
            fewest.append(len(search_result["first"][0]["changes"]) - best["changes"])
            if not fewest[-1]:
                ratios.append(search_result["first"][0]["distance"] / best["distance"])
    assert results >= ASKED
    assert max(fewest) <= 0, "as few changes as pg.counterfactuals makes"
    assert np.median(ratios) <= 1.1, "as near"
    assert search_facts["impossible"] == []


def test_the_button_fills_an_alternative_in_and_columns_can_stay(tmp_path):
    _, _, page = case_of("mixed")
    panel_facts = visit(page, tmp_path, PANEL).quiet()
    assert panel_facts["button"] == ["What would have to differ?"]
    assert len(panel_facts["choices"]) == 2, "one of three classes is predicted already"
    wished_class = panel_facts["choices"][0]
    assert panel_facts["said"].startswith(
        f"With one of these changes the model predicts {wished_class}:"
    )
    assert 1 <= len(panel_facts["found"]) <= 4
    assert all(
        f". {wished_class}: " in line and " → " in line and line.endswith("Fill in")
        for line in panel_facts["found"]
    )
    assert f"Now predicted: {wished_class}, was " in panel_facts["after"][0]
    assert "Now predicted" not in panel_facts["before"][0]
    assert panel_facts["open"]
    assert sorted(
        change_text.split(":")[0]
        for change_text in panel_facts["found"][0].split(". ")[0].split("; ")
    ) == sorted(panel_facts["changed"])
    assert panel_facts["none"].startswith(
        "No change of up to three columns was found with which the model predicts "
        f"{wished_class}."
    )
    assert panel_facts["kept"], "columns that stay do so in the next row"


def test_a_number_is_typed_by_the_reader(tmp_path):
    table = pd.DataFrame(
        np.random.default_rng(0).normal(size=(400, 5)).round(3)
    ).add_prefix("n")
    model = pg.HyNNRegressor(
        preset="fast",
        branches=("tabular",),
        max_epochs=3,
        random_state=0,
        progress=False,
    )
    rows = model.fit(table, 5000 * table["n0"] + 1e5).encode_rows(table[:LISTED])
    page = page_of_rows(whatif.what_if(model, rows_of(model, rows, np.arange(LISTED))))
    panel_facts = visit(page, tmp_path, PANEL).quiet()
    assert panel_facts["choices"] == ["at least", "at most"]
    assert panel_facts["said"].startswith(
        "With one of these changes the model predicts at least "
    )
    assert panel_facts["empty"] == "Type the prediction that is wanted."
    assert panel_facts["already"] == "The model predicts so already."
    limit = float(
        re.search(r"at least ([\d,]+)", panel_facts["said"])[1].replace(",", "")
    )
    for line in panel_facts["found"]:
        assert (
            float(re.search(r"Prediction: ([\d,]+)", line)[1].replace(",", ""))
            >= limit - 1
        )


@cache
def dummies():
    """Return a model of the dummies of a category, with its rows and a page."""
    rng = np.random.default_rng(4)
    kind = rng.integers(0, 4, 300)
    frame = pd.DataFrame({"size": rng.normal(size=300).round(3)})
    for place, name in enumerate(("house", "flat", "boat", "tent")):
        frame[f"home_{name}"] = (kind == place).astype(int)
    y = np.where(frame["size"] + 2.0 * (kind == 2) - 1.5 * (kind == 0) > 0.4, "a", "b")
    model = pg.HyNNClassifier(
        preset="fast", image="never", max_epochs=15, random_state=0, progress=False
    ).fit(frame, y)
    listed = frame[:LISTED].reset_index(drop=True)
    rows = rows_of(model, model.encode_rows(listed), np.arange(LISTED))
    return listed, rows, page_of_rows(whatif.what_if(model, rows))


def test_dummies_of_a_category_change_together(tmp_path):
    listed, rows, page = dummies()
    homes = [name for name in listed if name.startswith("home_")]
    assert [sorted(block) for block in rows.together] == [sorted(homes)]
    seen = visit(page, tmp_path, SEARCH.replace("ASKED", "12")).quiet()
    changed = [
        (place, each["changes"])
        for place, found in enumerate(seen["found"])
        for each in found["first"]
    ]
    of_homes = [pair for pair in changed if set(pair[1]) & set(homes)]
    assert len(of_homes) > 3, "the precondition: homes are changed"
    for place, changes in of_homes:
        row = listed.loc[place, homes].to_dict() | {
            name: int(cell) for name, cell in changes.items() if name in homes
        }
        assert sum(row.values()) == 1, (place, changes)
