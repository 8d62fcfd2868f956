"""Charts of the page: their arrays, and that the page's script draws every kind of
content without an error.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from browsing import data_of, needs_browser, visit
from tests.pages.conftest import HOSTILE, NAMES, global_explanation, local_explanation

from permgrad.assess.assessment import Assessment
from permgrad.assess.predictions import Predictions
from permgrad.attribution.explanation import Explanation
from permgrad.base.numerals import number, percent
from permgrad.pages.charts import error_charts as errors
from permgrad.pages.charts import explained
from permgrad.pages.charts import model_charts as models
from permgrad.pages.charts.chart import MOST_POINTS, Chart, padded
from permgrad.pages.content import PageContent
from permgrad.pages.facts.calibration_facts import curves_of
from permgrad.pages.html import render_page
from permgrad.pages.standing import Standing
from permgrad.pages.tabs.details import blocks
from permgrad.pages.units import Loss
from permgrad.pages.views import SectionView

MANY = [f"class {k}" for k in range(30)]
RNG = np.random.default_rng(0)


def marks(chart: Chart, form: str, panel: int = 0) -> list[dict]:
    return [mark for mark in chart.data["panels"][panel]["marks"] if mark["as"] == form]


def everything(names=NAMES, classes=("Bad", "Good")) -> dict[str, Chart]:
    """Every chart of an explanation and of predictions, by name."""
    whole_explanation = global_explanation(names, classes)
    local = local_explanation(names, classes, rows=40)
    truth = np.array(classes, dtype=object)[RNG.integers(len(classes), size=60)]
    class_chances = RNG.dirichlet(np.ones(len(classes)), 60)
    numbers = RNG.normal(size=200)
    guess = RNG.normal(size=200)
    history = pd.DataFrame(
        {"epoch": [1, 2], "train_loss": [2.0, 1.0], "validation_loss": [2.0, 1.5]}
    )
    frame = pd.DataFrame({name: RNG.normal(size=200) for name in names[:3]})
    layers = pd.DataFrame(
        [("tabular", "input", "3", 0), ("tabular", "Linear", "8", 32), ("tabular", "ReLU", "8", 0),
         ("image", "input", "1 × 8 × 8", 0), ("image", "Conv2d", "4 × 8 × 8", 40), ("image", "Flatten", "256", 0),
         ("head", "input", "264", 0), ("head", "Linear", "2", 530)]
    )  # fmt: skip
    runs = {name: RNG.uniform(size=3) for name in classes}
    return {
        "ranking": explained.ranking(Standing(whole_explanation), top_n=4),
        "leading": explained.leading(
            Standing(whole_explanation),
            Loss("rmse", 3.0, 5.0, lambda importance: 3.0 + importance),
        ),
        "classes": explained.classes(whole_explanation),
        "network": blocks(layers),
        "steps": explained.steps(local, row=1, output=0, label="output"),
        "swarm": explained.swarm(local, output=0, label="part"),
        "signed": explained.signed_bars(names, RNG.normal(size=len(names))),
        "differences": explained.differences(
            names, RNG.normal(size=(len(names), 3)), label="change"
        ),
        "branches": explained.branches(
            whole_explanation.branches or {"table": {"importance": 1.0}}
        ),
        "confusion": errors.confusion_matrix(
            np.arange(len(classes) ** 2).reshape(len(classes), -1), classes
        ),
        "found": errors.found_by_class(
            np.arange(len(classes) ** 2).reshape(len(classes), -1), classes
        ),
        "roc": errors.roc_curves(truth, class_chances, classes),
        "calibration": calibrated(
            truth, class_chances, classes, before=class_chances[:, ::-1]
        ),
        "predictions": errors.predictions(numbers, guess),
        "residuals": errors.residuals(numbers, guess),
        "by feature": errors.residuals_by_feature(frame, numbers),
        "time": errors.over_time(
            np.datetime64("2024-01-01") + np.arange(200),
            {"y": (numbers, {"truth": numbers, "prediction": guess})},
        ),
        "learning": errors.learning_curves(history, best_epoch=2),
        "scores": models.scores(runs),
        "reliance": models.reliance(
            {name: RNG.uniform(size=(2, len(names))) for name in classes}, names
        ),
        "agreement": models.agreement_matrix(np.eye(len(classes)), classes),
        "tradeoff": models.tradeoff(
            {name: (run_value, run_value) for name, run_value in runs.items()},
            x_label="x",
            y_label="y",
        ),
    }


@needs_browser
@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (NAMES, ("Bad", "Good")),
        (["only"], ("a", "b")),
        (HOSTILE, HOSTILE[:5]),
        (NAMES, MANY),
    ],
    ids=["ordinary", "one feature", "hostile names", "many classes"],
)
def test_every_chart_is_drawn_with_its_words_and_numbers(names, classes, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        charts = everything(names, classes)
    section = SectionView("a", "A")
    for chart in charts.values():
        section.figure(chart, "A caption.")
    page = render_page(title="t", kind="test", headline="h", sections=[section])
    assert all(chart.words for chart in charts.values())
    page_visit = visit(
        page,
        tmp_path,
        """
        const all = [...document.querySelectorAll("figure")];
        const specs = Object.values(Page.data("figures"));
        return [all.map((one) => one.querySelector(".plot > svg")?.getAttribute("aria-label")),
          specs.map((one) => Figures.rows(one).length > 1),
          [...document.querySelectorAll("figure svg *")].map((part) => part.outerHTML.split(">")[0])
            .filter((head) => /NaN|undefined/.test(head)).length];
        """,
    )
    page_visit.quiet()
    words, rows, broken = page_visit.answer
    assert len(words) == len(charts)
    assert all(words), "each has a description"
    assert all(rows)
    assert not broken, "no place is undefined"


LONG = [
    "a name of a class that no small chart has room for at all",
    "mid-sized name of a class",
    "x",
    "yes",
]
#: Texts of figures that leave their drawing, and pairs that cover each other.
UNREADABLE = """
    const found = [];
    for (const svg of document.querySelectorAll("figure svg")) {
      const box = svg.getBoundingClientRect();
      const texts = [...svg.querySelectorAll("text")].filter((one) => one.textContent.trim());
      const all = texts.map((one) => [one.textContent, one.getBoundingClientRect(), /rotate/.test(one.getAttribute("transform") ?? "")]);
      for (const [words, at] of all) {
        if (at.left < box.left - 1.5 || at.right > box.right + 1.5 || at.top < box.top - 2 || at.bottom > box.bottom + 2) found.push(["cut", words]);
      }
      all.forEach(([words, a, turned], k) => all.slice(k + 1).forEach(([others, b, alsoTurned]) => {
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left), tall = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (!turned && !alsoTurned && wide > 2 && tall > 4) found.push(["covered", words, others]);
      }));
    }
    return [found, document.querySelectorAll("figure svg text").length];
"""


@needs_browser
@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize(
    ("names", "classes"),
    [([f"{LONG[0]} {k}" for k in range(8)], LONG), (HOSTILE, HOSTILE[:5])],
    ids=["long names", "hostile names"],
)
def test_no_text_of_a_chart_is_cut_or_covers_another(names, classes, width, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        charts = everything(names, classes)
    section = SectionView("a", "A")
    for chart in charts.values():
        section.figure(chart, "A caption.")
    page = render_page(title="t", kind="test", headline="h", sections=[section])
    unreadable, texts = visit(page, tmp_path, UNREADABLE, width=width).answer
    assert texts > 300
    assert unreadable == []


def test_a_chart_that_fails_leaves_its_words_and_all_others(tmp_path):
    section = SectionView("a", "A")
    section.figure(Chart("bars", "What it would show.", {}), "A caption.")
    page = render_page(title="t", kind="test", headline="h", sections=[section])
    assert "<p>What it would show.</p>" in page
    assert data_of(page)["figures"]["a-1"]["words"] == "What it would show."


def test_a_chart_of_times_is_in_its_figure_alone():
    section = SectionView("a", "A")
    section.figure(Chart("bars", "Times.", {"names": ["</script>"]}), timed=True)
    page = render_page(title="t", kind="test", headline="h", sections=[section])
    assert data_of(page)["figures"] == {}
    assert (
        '"names":["\\u003c/script\\u003e"]'
        in page.partition("<figure data-clock")[2].partition("</figure>")[0]
    )


# ---- numbers -------------------------------------------------------------------------
def test_bars_have_the_numbers():
    explanation = global_explanation(NAMES)
    data = explained.ranking(Standing(explanation), top_n=5).data
    order = [explanation.names.index(name) for name in explanation.ranking()[:5]]
    np.testing.assert_allclose(data["values"], explanation.values[order, 0])
    np.testing.assert_allclose(
        np.sum([path_part["values"] for path_part in data["parts"]], axis=0),
        data["values"],
    )
    low, high = explanation.ci()
    np.testing.assert_allclose(
        [data["low"], data["high"]], [low[order, 0], high[order, 0]]
    )
    assert data["hidden"] == len(NAMES) - 5
    others = np.delete(explanation.values[:, 0], order)
    assert data["rest"] == f"within ±{number(float(np.abs(others).max()), 2)}"


def test_what_is_left_out_far_below_0_is_not_said_to_be_around_it():
    columns = ["a", "b", "c", "d"]
    explanation = Explanation(
        method="permutation",
        values=np.array([[0.5], [0.2], [0.1], [-0.9]]),
        names=columns,
        modality=["table"] * 4,
        outputs=["all"],
        scope="global",
    )
    data = explained.ranking(Standing(explanation), top_n=2).data
    assert data["names"] == ["a", "b"]
    assert data["rest"] == "from −0.90 to 0.10"


def test_steps_end_at_the_prediction():
    local = local_explanation()
    data = explained.steps(local, row=4, output=1, label="x").data
    assert data["start"] == pytest.approx(local.base_values[1])
    assert data["start"] + sum(
        step["value"] for step in data["steps"]
    ) == pytest.approx(local.predictions[4, 1])


def calibrated(truth, chances, classes, before=None):
    """The chart of the probabilities of a model."""
    scored = Predictions(
        truth=np.asarray(truth),
        classes=tuple(classes),
        guess=np.asarray(chances),
        before_calibration=before,
    )
    task = "classification"
    content = Assessment(title="t", target="y", task=task, predictions=scored)
    return errors.calibration(PageContent.of(content).ask(curves_of))


def test_the_curve_shows_the_shares():
    truth = np.repeat(["no", "yes", "no", "yes"], [90, 10, 20, 80])
    second = np.repeat([0.1, 0.1, 0.8, 0.8], [90, 10, 20, 80])
    (curve,) = marks(
        calibrated(truth, np.c_[1 - second, second], ["no", "yes"]), "dots"
    )
    np.testing.assert_allclose([curve["x"], curve["y"]], [[0.1, 0.8], [0.1, 0.8]])


def test_the_curve_of_a_rare_class_fills_its_square():
    rng = np.random.default_rng(0)
    chance = np.append(rng.uniform(0, 0.05, 3000), [0.9, 0.8])
    truth = np.where(rng.random(len(chance)) < chance, "yes", "no")
    chart = calibrated(truth, np.c_[1 - chance, chance], ["no", "yes"])
    (shown,) = chart.data["panels"]
    end = shown["x"]["domain"][1]
    (curve,) = marks(chart, "dots")
    assert shown["x"]["domain"] == shown["y"]["domain"] == (0, end)
    assert 0.04 < max(curve["x"]) < end < 0.2
    (area,) = marks(chart, "area")
    assert np.max(area["high"]) <= end
    (bars,) = marks(chart, "bars")
    assert np.max(bars["edges"]) == pytest.approx(end)
    assert shown["note"].endswith(f"; 2 rows beyond {percent(end)}"), "not in silence"
    even = rng.uniform(0, 1, 3000)
    truth = np.where(rng.random(3000) < even, "yes", "no")
    chart = calibrated(truth, np.c_[1 - even, even], ["no", "yes"])
    assert chart.data["panels"][0]["x"]["domain"] == (0, 1)
    assert "beyond" not in chart.data["panels"][0]["note"]


def test_roc_of_absent_classes_and_of_many():
    chart = errors.roc_curves(["a", "a", "b"], np.full((3, 3), 1 / 3), ["a", "b", "c"])
    assert marks(chart, "line")[-1]["name"] == "c: undefined"
    many_classes = [f"class {k}" for k in range(12)]
    chart = errors.roc_curves(
        RNG.choice(many_classes, 200), RNG.dirichlet(np.ones(12), 200), many_classes
    )
    shown = [mark for mark in marks(chart, "line") if "area" in mark.get("name", "")]
    assert len(shown) == errors.MOST_ROC_CURVES == 5, (
        "twelve curves could not be told apart"
    )


@pytest.mark.parametrize(
    "kind", ["numbers", "few numbers", "text", "booleans", "missing", "one value"]
)
def test_errors_by_every_kind_of_feature(kind):
    values = {
        "numbers": RNG.normal(size=80),
        "few numbers": np.arange(80) % 4,
        "text": RNG.choice(HOSTILE, 80),
        "booleans": np.arange(80) % 2 == 0,
        "missing": np.full(80, np.nan),
        "one value": np.ones(80),
    }[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chart = errors.residuals_by_feature(
            pd.DataFrame({"x": values}), RNG.normal(size=80)
        )
    assert ("names" in chart.data["panels"][0]["x"]) == (kind != "numbers")


def test_weekdays_stand_in_their_order_and_other_texts_by_their_number_of_rows():
    days = ["Sunday", "Friday", "Monday", "Monday", "Tuesday"] * 6
    for texts, expected in (
        (days, ["Monday", "Tuesday", "Friday", "Sunday"]),
        (["b", "a", "b"] * 5, ["b", "a"]),
    ):
        chart = errors.residuals_by_feature(
            pd.DataFrame({"x": texts}), np.arange(float(len(texts)))
        )
        assert chart.data["panels"][0]["x"]["names"] == expected


def test_the_running_median_follows_the_errors():
    x = np.linspace(0, 1, 600)
    (median,) = marks(
        errors.residuals_by_feature(pd.DataFrame({"x": x}), x - 0.5), "line"
    )
    np.testing.assert_allclose(median["y"], median["x"] - 0.5, atol=0.02)


def test_nothing_and_undefined_errors():
    for truth, guess in (([], []), ([1.0, np.nan], [2.0, 1.0])):
        assert "Predictions against true values" in errors.residuals(truth, guess).words
    many_values = RNG.normal(size=4 * MOST_POINTS)
    assert (
        len(marks(errors.residuals(many_values, many_values), "dots")[0]["x"])
        == MOST_POINTS
    )


def test_one_wild_epoch_does_not_flatten_the_others():
    losses = [1e6, *np.linspace(1, 0.5, 28)]
    wild = pd.DataFrame(
        {"epoch": range(1, 30), "train_loss": losses, "validation_loss": np.nan}
    )
    assert (
        errors.learning_curves(wild, best_epoch=3).data["panels"][0]["y"]["domain"][1]
        < 10
    )


def test_a_model_far_from_all_others_has_only_its_number():
    rows = {"a": [3.2, 3.3], "b": [3.25, 3.3], "c": [3.3, 3.4], "d": [9.0, 9.2]}
    data = models.scores(rows).data
    assert np.isnan(data["values"]).tolist() == [False, False, False, True]
    assert data["texts"][3] == "off the scale: 9.100"


def test_a_tradeoff_with_an_error_of_0_has_no_logarithm_of_it_and_names_what_is_asked_for():
    points = {"exact": ([10.0, 12.0], [0.0, 0.0]), "quick": ([0.1, 0.2], [0.3, 0.4])}
    zero = models.tradeoff(
        points, x_label="seconds", y_label="error", quiet=("quick",), name_quiet=False
    )
    above = models.tradeoff(
        {"quick": points["quick"]}, x_label="seconds", y_label="error"
    )
    assert [chart.data["panels"][0]["y"]["log"] for chart in (zero, above)] == [
        False,
        True,
    ]
    mark_texts = [
        [mark["texts"] for mark in marks(chart, "dots") if mark.get("texts")]
        for chart in (zero, above)
    ]
    assert mark_texts == [[["exact"]], [["quick"]]]


def test_limits_of_nothing_are_those_of_a_share():
    assert padded([np.nan, np.inf]) == padded([]) == (0.0, 1.0)
    assert padded([0.0, 10.0, np.nan]) == (-0.5, 10.5)


def test_layers_without_blocks_join_those_before_them():
    lanes = everything()["network"].data["lanes"]
    assert [[block["title"] for block in lane["blocks"]] for lane in lanes] == [
        ["Dense"],
        ["Renderer", "Convolution"],
        ["Output"],
    ]
    assert lanes[1]["blocks"][1]["more"] == ["flattened to 256"]
    assert lanes[1]["blocks"][1]["shape"] == "4 × 8 × 8"
    assert sum(block["count"] for lane in lanes for block in lane["blocks"]) == 602
