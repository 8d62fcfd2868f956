"""All tabs of one page in a real browser: the fifty injection strings stay texts."""

from __future__ import annotations

import dataclasses
import html

import numpy as np
import pandas as pd
import pytest
from browsing import needs_browser, visit
from tests.hostile.test_hostile_report import MARK, PAYLOADS
from tests.pages.conftest import report_content, with_answers, with_together
from tests.pages.tabs.test_live_tabs import content_of

import permgrad as pg
from permgrad.assess.sections.network import NetworkSection
from permgrad.assess.sections.what_if import rows_of
from permgrad.evaluation.changes import Changes
from permgrad.pages import whatif
from permgrad.pages.html import render_report
from permgrad.pages.tabs import TABS

STRINGS = [text.replace("PORT", "9") for text in PAYLOADS]
NAMES = STRINGS[:20]
LABELS = STRINGS[20:22]

#: What a reader could do in every tab: choose, tick, press, type, open, and sort.
DRIVE = """
const all = (query) => [...document.querySelectorAll(query)];
const seen = { tabs: [], used: 0 };
const use = () => {
  for (const control of all("[data-tab]:not([hidden]) .lively :is(select, input, button)")) {
    if (control.tagName === "SELECT") control.selectedIndex = Math.min(1, control.options.length - 1);
    else if (control.type === "checkbox") control.checked = !control.checked;
    else if (control.type === "number") control.value = "0.4";
    for (const kind of ["input", "change"]) control.dispatchEvent(new Event(kind, { bubbles: true }));
    if (control.tagName === "BUTTON" && !control.closest(".tools")) control.click();
    seen.used += 1;
  }
};
for (const panel of all("[data-tab]")) {
  Page.go(panel.id);
  for (const fold of all(`#${panel.id} details`)) fold.open = true;
  await new Promise((done) => setTimeout(done, 20));
  use();
  seen.tabs.push(panel.id);
}
for (const card of Page.data("features").cards) Page.go("features", String(card.place + 1));
for (const number of Page.data("rows").numbers) Page.go("rows", String(number));
const { numbers } = Page.data("rows");
Page.go("rows", String(numbers[1]));
all(".what-if-fold")[0].open = true;
await new Promise((done) => setTimeout(done, 20));
seen.whatIf = all(".what-if label").map((one) => one.textContent);
use();
return seen;
"""


def changed_strings():
    """Return changes from one run to another whose names are strings of an attack."""
    numbers = {
        "old": 0.2,
        "new": 0.3,
        "change": 0.1,
        "std_error": 0.02,
        "ci_low": 0.06,
        "ci_high": 0.14,
    }
    named = [("score", "loss"), ("part", STRINGS[10]), ("importance", STRINGS[11])]
    lines = [
        {"kind": kind, "name": name, **numbers, "p_value": 1e-6, "p_holm": 1e-6}
        for kind, name in named
    ]
    about = {
        "same_rows": False,
        "unit": "nats",
        "rows": [400, 300],
        "overlap": 0.05,
        "confidence": 0.95,
        "copies": 3,
    }
    return Changes(pd.DataFrame(lines), about | {"runs": [STRINGS[12], STRINGS[13]]})


def page_of_strings():
    """Return a page of all tabs whose names, classes, levels, models and texts are
    strings of an attack.
    """
    rng = np.random.default_rng(0)
    content = with_together(
        with_answers(report_content(NAMES, LABELS, title=STRINGS[0], target=STRINGS[1]))
    )
    levels = np.resize(np.array(STRINGS[32:44], dtype=object), 60)
    content.listed.table = content.listed.table.assign(**{NAMES[3]: levels})
    content.listed.identifiers = pd.DataFrame(
        {STRINGS[44]: np.resize(np.array(STRINGS, dtype=object), 60)}
    )
    other_content = content_of("classification")
    table = pd.DataFrame(
        {STRINGS[4]: rng.normal(size=60), STRINGS[8]: rng.choice(STRINGS[:3], 60)}
    )
    y = np.where(rng.random(60) < 0.5, *LABELS)
    model = pg.HyNNClassifier(
        preset="fast", max_epochs=1, random_state=0, progress=False
    ).fit(table, y)
    names = list(content.listed.numbers)
    return dataclasses.replace(
        content,
        data=other_content.data,
        segments=other_content.segments,
        matrix=other_content.matrix,
        what_if=whatif.what_if(model, rows_of(model, model.encode_rows(table), names)),
        changes=changed_strings(),
        network=NetworkSection(preset=STRINGS[6], options={STRINGS[7]: STRINGS[9]}),
        warnings=STRINGS,
        provenance=dataclasses.replace(content.provenance, command=STRINGS[3]),
    )


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return visit(
        render_report(page_of_strings()), tmp_path_factory.mktemp("every"), DRIVE
    )


@needs_browser
def test_strings_of_a_table_stay_texts_in_every_tab(seen):
    answer = seen.quiet()
    assert answer["tabs"] == [tab.name for tab in TABS]
    assert answer["used"] > 60, "the precondition: the views were drawn and used"
    assert MARK.split("=")[0].split(".")[-1] == "broken", (
        "the strings would leave this mark"
    )
    assert 'data-broken="1"' not in seen.page
    text = html.unescape(seen.page)
    assert all(name in text for name in (NAMES[4], LABELS[0], STRINGS[44]))
    assert {STRINGS[4], STRINGS[8]} <= set(answer["whatIf"])
