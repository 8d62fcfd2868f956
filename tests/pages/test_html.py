"""The report: complete, self-contained, quiet in a browser, and safe with hostile
data.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from browsing import needs_browser, visit
from tests.pages.conftest import HOSTILE, NAMES, global_explanation, report_content

from permgrad.assess.assessment import Assessment
from permgrad.assess.sections.network import LayoutSection, NetworkSection
from permgrad.pages.html import render_page, render_report, unbroken
from permgrad.pages.report import Report
from permgrad.pages.tabs import TABS
from permgrad.pages.tabs.trust import P_VALUE
from permgrad.pages.words import p_text

VOID = {"meta", "link", "img", "br", "hr", "input", "wbr"}


class Page(HTMLParser):
    """Collects elements, checks that they nest, and keeps text apart from script and
    style.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.stack: list[str] = []
        self.feed(text)
        assert self.stack == [], "every element must be closed"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.stack):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(name="ordinary", scope="module")
def _ordinary() -> str:
    return render_report(report_content())


@pytest.fixture(name="page", scope="module")
def _page(ordinary) -> Page:
    return Page(ordinary)


def light_content(**changes) -> Assessment:
    """Return every section, each of them small."""
    content = report_content(NAMES[:3], **changes)
    return dataclasses.replace(content, rows=content.rows[:1])


@pytest.fixture(name="hostile", scope="module")
def _hostile() -> str:
    content = report_content(HOSTILE, HOSTILE[:3], title=HOSTILE[1], target=HOSTILE[2])
    network = NetworkSection(preset=HOSTILE[1], options={HOSTILE[1]: HOSTILE[2]})
    return render_report(
        dataclasses.replace(content, network=network, warnings=HOSTILE)
    )


def test_names_of_scores_do_not_break_and_stay_escaped():
    assert unbroken("with <b>ROC-AUC</b> 0.9, a-b, X-1") == (
        'with &lt;b&gt;<span class="whole">ROC-AUC</span>&lt;/b&gt; 0.9, a-b, X-1'
    )


def test_the_answer_stands_first(page):
    heading = page.text.split("It relies most on")[0]
    assert "The network predicts RiskPerformance with ROC-AUC 0." in heading
    assert "on 2,092 test rows." in heading
    assert (
        "It relies most on ExternalRiskEstimate, MSinceMostRecentInqexcl7days and"
        in page.text
    )


def test_every_section_is_there(page):
    anchors = [
        attributes["id"] for tag, attributes in page.elements if tag == "section"
    ]
    first = [
        "scores",
        "drivers",
        "paths",
        "classes",
        "single-rows",
        "all-rows",
        "threshold",
        "errors",
    ]
    trust = ["caveats", "calibration", "order", "methods", "reading"]
    details = ["table", "network", "training", "layout", "how", "run"]
    assert anchors == [*first, *trust, *details]
    links = [
        attributes["href"]
        for tag, attributes in page.elements
        if tag == "a" and attributes["href"] != "#main"
    ]
    tabs = [f"#{tab.name}" for tab in TABS if tab.name not in ("changes", "together")]
    assert links == [
        *tabs,
        "#drivers",
        "#caveats",
        "#table",
        "#single-rows",
        "#threshold",
    ]
    for words in (
        "permgrad run heloc --baselines --seed 0",
        "117 test rows are equal to a training row",
        "184,322 trainable parameters",
        "The weights are those of epoch 25",
        "Not a cause",
        "LightGBM",
        "the published method: rank correlation",
    ):
        assert words in page.text, words


def test_pictures_have_words_tables_have_captions_and_names_are_unique(page):
    assert sum(tag == "figure" for tag, _ in page.elements) >= 10
    assert all(attributes["alt"] for tag, attributes in page.elements if tag == "img")
    assert (
        sum(tag == "table" for tag, _ in page.elements)
        == sum(tag == "caption" for tag, _ in page.elements)
        >= 5
    )
    assert sum(tag == "h1" for tag, _ in page.elements) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    known_anchors = {f"#{name}" for name in ids}
    used = {
        value
        for _, attributes in page.elements
        for key, value in attributes.items()
        if key.endswith("href")
    }
    assert {value for value in used if value and value.startswith("#")} <= known_anchors


def test_nothing_points_outside(page, ordinary):
    assert "default-src 'none'" in ordinary
    for _, attributes in page.elements:
        for key in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), value
    assert not re.search(r"@import|url\((?!#)", ordinary)
    assert len(ordinary.encode()) < 2_000_000


def test_figures_follow_light_and_dark(ordinary):
    assert "var(--tabular)" in ordinary
    assert "var(--ink)" in ordinary
    assert "@media screen and (prefers-color-scheme:dark)" in ordinary


def test_hostile_names_stay_text(hostile):
    page = Page(hostile)
    kinds = [
        attributes.get("type") for tag, attributes in page.elements if tag == "script"
    ]
    assert kinds == ["text/plain", None], "the data and the script"
    allowed = {"html", "head", "meta", "link", "title", "style", "body", "script"}
    assert not {tag for tag, _ in page.elements} & {
        "iframe",
        "object",
        "embed",
        "foreignobject",
        "form",
        "base",
    }
    assert allowed <= {tag for tag, _ in page.elements}
    for tag, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")], (
            tag,
            attributes,
        )
        assert not str(attributes.get("src", "")).startswith("x")
    for name in HOSTILE:
        assert " ".join(re.sub(r"[\x00-\x1f]", " ", name).split()) in page.text
    assert "{{ 7 * 7 }}" in page.text


def test_minimal_and_partial_content(undrawn):
    text = render_report(Assessment(title="t", target="y", task="regression"))
    assert "The network predicts y." in Page(text).text
    content = light_content(task="regression", target="values")
    assert "with RMSE " in Page(render_report(content)).text
    leanings = [
        ["metrics"],
        ["explanation"],
        ["network", "training"],
        ["predictions", "local", "rows", "data", "provenance"],
    ]
    for names in leanings:
        left_out = {name: () if name == "rows" else None for name in names}
        assert "<h1>" in render_report(dataclasses.replace(content, **left_out)), names


@pytest.mark.parametrize(
    ("factor", "difference", "p", "words"),
    [
        (
            0.9,
            0.09,
            0.001,
            (
                "The model does better than the best baseline, forest: ROC-AUC 0.899 "
                "against 0.809 ("
            ),
        ),
        (
            1.1,
            -0.09,
            0.001,
            (
                "The best baseline, forest, does better: ROC-AUC 0.989 against 0.899 "
                "(difference 0.0900, "
            ),
        ),
        (
            0.9,
            0.09,
            0.06,
            (
                "There is no significant difference from the best baseline, forest: "
                "ROC-AUC 0.899 against"
            ),
        ),
        (
            1.1,
            -0.09,
            0.06,
            (
                "There is no significant difference from the best baseline, forest: "
                "ROC-AUC 0.899 against"
            ),
        ),
        (
            1.1,
            None,
            None,
            "ROC-AUC is 0.899, that of the best baseline, forest, 0.989.",
        ),
    ],
)
def test_only_a_paired_interval_says_who_is_ahead(
    factor, difference, p, words, undrawn
):
    content = light_content()
    test = dict(content.metrics["test"])
    baselines = {
        "forest": {**test, "roc_auc": test["roc_auc"] * factor, "fit_seconds": 1.0}
    }
    if p is not None:
        ends = (
            (difference - 0.02, difference + 0.02)
            if p < 0.05
            else (difference - 0.1, difference + 0.1)
        )
        ahead = {
            "metric": "roc_auc",
            "difference": difference,
            "ci_low": ends[0],
            "ci_high": ends[1],
            "p_holm": p,
        }
        baselines["forest"]["ahead"] = ahead
    stored = {**content.metrics, "baselines": baselines}
    text = Page(render_report(dataclasses.replace(content, metrics=stored))).text
    assert words in text
    assert ("better" in words) == ("does better" in text), (
        "nobody else is said to be ahead"
    )


def test_importances_without_intervals_and_p_explain_neither(undrawn):
    full = light_content()
    bare = dataclasses.replace(
        full,
        explanation=dataclasses.replace(
            full.explanation, low=None, high=None, p_values=None
        ),
    )
    texts = [Page(render_report(content)).text for content in (full, bare)]
    assert P_VALUE.split(".")[0] in texts[0]
    assert P_VALUE.split(".")[0] not in texts[1]
    unknown = np.full_like(full.explanation.p_values, np.nan)
    silent = dataclasses.replace(
        full, explanation=dataclasses.replace(full.explanation, p_values=unknown)
    )
    assert p_text(0.0004) == "< 0.001"
    assert p_text(0.02) == "0.020"
    assert p_text(math.nan) == "–"
    assert "nan" not in Page(render_report(silent)).text.lower().split()


def test_numbers_that_are_no_loss_are_named(undrawn):
    content = light_content()
    meta = {**content.explanation.meta, "quantity": "decrease of the score"}
    changed_content = dataclasses.replace(
        content, explanation=dataclasses.replace(content.explanation, meta=meta)
    )
    assert "how much the model's loss grows" in Page(render_report(content)).text
    text = Page(render_report(changed_content)).text
    assert "how much the model's loss grows" not in text
    assert "The numbers are: decrease of the score" in text


@pytest.mark.parametrize(
    ("interaction", "low", "high", "words"),
    [
        (
            -0.038,
            -0.05,
            -0.02,
            (
                "(interval −0.05 to −0.02), 16 % of the total: each makes up for the "
                "other in part"
            ),
        ),
        (0.02, 0.01, 0.03, "8 % of the total: they need each other"),
        (0.02, -0.01, 0.05, None),
        (0.01, 0.009, 0.011, None),
        (-0.011, -0.012, -0.01, None),
        (0.0, 0.0, 0.0, None),
        (math.nan, math.nan, math.nan, None),
    ],
)
def test_the_interaction_of_the_paths_is_told_where_it_is_shown_and_not_small(
    interaction, low, high, words, undrawn
):
    content = light_content()
    total = {"importance": 0.241, "interaction_low": low, "interaction_high": high}
    branches = {
        **content.explanation.branches,
        "interaction": interaction,
        "total": total,
    }
    branch_content = dataclasses.replace(
        content, explanation=dataclasses.replace(content.explanation, branches=branches)
    )
    text = Page(render_report(branch_content)).text
    assert ("Interaction of the branches: " in text) == (words is not None)
    assert words is None or words in text
    if words:
        older = dataclasses.replace(
            branch_content.explanation,
            branches={**branches, "total": {"importance": 0.241}},
        )
        assert (
            "Interaction of the branches: "
            not in Page(
                render_report(dataclasses.replace(branch_content, explanation=older))
            ).text
        )


def test_the_tab_of_all_caveats_says_how_many_it_lists(undrawn):
    for warnings, expected in ((("a doubt", "another"), 2), ((), 0)):
        text = render_report(dataclasses.replace(light_content(), warnings=warnings))
        listed = re.search(r'id="caveats-title">.*?</section>', text, re.DOTALL)
        assert listed is not None
        count = listed[0].count("<li>")
        assert count >= expected
        alerts = re.findall(
            r'href="#(\w+)">[^<]*<span class="alerts"[^>]*>(.*?)<', text
        )
        assert alerts == ([("trust", f"({count})")] if count else [])


def test_a_training_without_its_network(undrawn):
    full = light_content()
    texts = [
        Page(render_report(training_content)).text
        for training_content in (full, dataclasses.replace(full, network=None))
    ]
    assert ["trainable parameters" in text for text in texts] == [True, False]
    assert all("The weights are those of epoch 25" in text for text in texts)


def test_advice_links_to_the_tab_that_helps(undrawn, monkeypatch):
    facts = {"kind": "next", "part": "next", "reason": "use"}
    sentences = [{"sentence": "Look.", "facts": facts}]
    monkeypatch.setattr("permgrad.pages.html.verdict", lambda _: sentences)
    page_of_advice = Page(render_report(report_content())).text
    assert "Look. Rows: Row by row" in page_of_advice


def test_undefined_metrics_and_importance_without_anything_that_stands_out(undrawn):
    explanation = global_explanation()
    silent = dataclasses.replace(
        explanation, p_values=np.full_like(explanation.values, 0.01)
    )
    content = dataclasses.replace(
        light_content(), explanation=silent, metrics=None, predictions=None
    )
    assert "None of 23 features clearly matters" in Page(render_report(content)).text
    stored = json.loads(json.dumps(report_content().metrics))
    stored["test"]["roc_auc"] = None
    assert "The network predicts" in render_report(
        dataclasses.replace(content, metrics=stored)
    )


def drawn(drawing: str) -> LayoutSection:
    return LayoutSection(drawing=drawing, name="tinto", pixels=8, text="")


def test_foreign_drawings_are_images():
    drawing = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    content = Assessment(
        title="t", target="y", task="regression", layout=drawn(drawing)
    )
    text = render_report(content)
    assert "alert(1)" not in text
    assert 'src="data:image/svg+xml;base64,' in text


def test_writing_is_atomic(tmp_path, monkeypatch, undrawn):
    path = tmp_path / "report.html"
    content = Assessment(title="t", target="y", task="regression")
    assert Report(render_report(content)).save(path).path == path
    before = path.read_text(encoding="utf-8")
    bad = dataclasses.replace(content, layout=drawn(3))  # no drawing
    with pytest.raises(TypeError):
        Report(render_report(bad)).save(path)
    assert path.read_text(encoding="utf-8") == before
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


@needs_browser
@pytest.mark.parametrize(
    "which", ["hostile", pytest.param("ordinary", marks=pytest.mark.slow)]
)
def test_a_browser_opens_it_without_an_error_or_a_request(
    which, ordinary, hostile, tmp_path
):
    text = ordinary if which == "ordinary" else hostile
    # If the page's own script runs, a click on the first heading of a table leaves a
    # mark.
    page_visit = visit(
        text, tmp_path, "document.querySelector('table.sortable button').click();"
    )
    assert 'aria-sort="' in page_visit.page, (
        "the page's script must have sorted a table"
    )
    page_visit.quiet()


def test_what_is_printed_is_light():
    page = render_page(title="t", kind="test", headline="h")
    assert "color-scheme: only light" in page.partition("@media print")[2]
    assert "@media screen and (prefers-color-scheme:dark){:root{" in page, (
        "dark colours are those of screens"
    )


@needs_browser
def test_what_a_page_says_and_asks_for_would_be_seen(tmp_path):
    """Of the one browser that opens pages with a script, and without what the page
    before it left.
    """
    loud = (
        "<img src=http://127.0.0.1:9/img><script>console.log('said'); "
        "localStorage.setItem('own', 1)</script>"
    )
    page_visit = visit(f"<!doctype html><body>{loud}</body>", tmp_path, "return 1;")
    assert page_visit.requests == ["http://127.0.0.1:9/img"]
    assert any("said" in line for line in page_visit.said)
    assert (
        visit(
            "<!doctype html><body></body>",
            tmp_path,
            "return localStorage.getItem('own');",
        ).quiet()
        is None
    )
    with pytest.raises(AssertionError, match="nowhere is not defined"):
        visit("<!doctype html><body></body>", tmp_path, "return nowhere.at;")
