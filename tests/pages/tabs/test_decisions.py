"""What the report says of errors: reliability, single classes, residuals; sentences
that hold and plots that draw.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from browsing import data_of
from tests.pages.conftest import HOSTILE

from permgrad.assess.assessment import Assessment
from permgrad.assess.predictions import Predictions
from permgrad.base.dependence import Dependence
from permgrad.evaluation.metrics import evaluate
from permgrad.pages.html import render_report


def classified(classes=("no", "yes"), rows=600, sharper=1.0, seed=0):
    """Rows drawn from probabilities, and these probabilities made sharper: of factor 1
    they are calibrated.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (rows, len(classes)))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array(
        [classes[rng.choice(len(classes), p=row)] for row in true], dtype=object
    )
    class_chances = np.exp(sharper * logits) / np.exp(sharper * logits).sum(
        axis=1, keepdims=True
    )
    return truth, class_chances


def page(residual_features=None, **fields) -> str:
    task = "classification" if "classes" in fields else "regression"
    content = Assessment(
        title="t", target="y", task=task, predictions=Predictions(**fields)
    )
    return render_report(replace(content, residual_features=residual_features))


def test_calibrated_and_overconfident_models_are_told_apart():
    truth, honest = classified(rows=2000)
    _, bold = classified(rows=2000, sharper=3)
    good = page(truth=truth, classes=("no", "yes"), guess=honest)
    assert "No clear error in 2,000 rows. The expected calibration error is" in good
    bad = page(truth=truth, classes=("no", "yes"), guess=bold)
    assert "No clear error" not in bad
    assert "rows with a prediction of about" in bad
    assert "% have the class yes." in bad


def test_before_and_after_calibration():
    truth, honest = classified(rows=1500)
    _, bold = classified(rows=1500, sharper=3)
    text = page(
        truth=truth, classes=("no", "yes"), guess=honest, before_calibration=bold
    )
    assert "Calibration on the validation rows changed the error from 0.1" in text
    (chart,) = (
        figure_data
        for figure_data in data_of(text)["figures"].values()
        if figure_data["words"].startswith("Reliability")
    )
    assert any(
        "before calibration, error" in mark.get("name", "")
        for mark in chart["panels"][0]["marks"]
    )


def test_every_class_has_a_line():
    classes = ("a", "b", "c", HOSTILE[1])
    truth, class_chances = classified(classes)
    text = page(truth=truth, classes=classes, guess=class_chances)
    assert "Each class" in text
    assert "<script>alert" not in text
    assert "would be chance (means over classes)." in text
    for word in ("precision", "recall", "F1", "average precision", "calibration error"):
        assert word in text


def test_many_classes_out_of_calibration_are_not_described_one_by_one():
    classes = ("a", "b", "c")
    truth, bold = classified(classes, rows=1500, sharper=4)
    text = page(truth=truth, classes=classes, guess=bold)
    assert "No, they are off. The expected calibration error is" in text
    assert "rows with a prediction of about" not in text


@pytest.mark.parametrize("count", [3, 8, 9])
def test_pictures_of_many_classes_stand_one_below_the_other(count):
    classes = tuple("abcdefghi")[:count]
    truth, class_chances = classified(classes)
    test = evaluate(
        "classification", truth, probabilities=class_chances, classes=classes
    )
    text = render_report(
        Assessment(
            title="t",
            target="y",
            task="classification",
            metrics={
                "task": "classification",
                "test": test,
                "rows": {"test": len(truth)},
            },
            predictions=Predictions(truth=truth, classes=classes, guess=class_chances),
        )
    )
    assert "Confusion matrix: rows are the true classes" in text
    between = text[
        text.index("Where it errs") : text.index(
            "Confusion matrix: rows are the true classes"
        )
    ]
    assert ('<div class="beside">' in between) == (count < 9)


def test_one_row_says_nothing_of_the_errors():
    single_row_page, many_rows_page = (
        page(truth=np.arange(float(rows)), guess=np.zeros(rows)) for rows in (1, 40)
    )
    assert "of the test rows are predicted to within" in many_rows_page
    assert "of the test rows are predicted to within" not in single_row_page


def test_residuals_by_the_strongest_features():
    rng = np.random.default_rng(0)
    values = pd.DataFrame(
        {
            "age": rng.normal(size=300),
            HOSTILE[1]: rng.choice(["x", "y", HOSTILE[2]], 300),
        }
    )
    truth = values["age"].to_numpy() ** 2
    text = page(truth=truth, guess=np.full(300, 0.3), residual_features=values)
    assert "2 strongest features" in text
    assert "Half of the test rows are predicted to within" in text
    assert "On average predictions are too low by" in text
    assert "<img src=x" not in text
    plain = page(truth=truth, guess=truth + rng.normal(0, 0.1, 300))
    assert "strongest features" not in plain
    assert "On average errors cancel" in plain


def test_precision_and_recall_of_the_top_rows_are_listed_with_their_rows():
    truth, class_chances = classified(rows=600)
    fields = {"truth": truth, "classes": ("no", "yes"), "guess": class_chances}
    text = page(**fields)
    rows = re.findall(
        r"<tr><td[^>]*>(\d+) %</td><td[^>]*>([\d,]+)</td><td[^>]*>(\d+) %</td>"
        r"<td[^>]*>(\d+) % to (\d+) %</td><td[^>]*>(\d+) %</td></tr>",
        text.replace("\u00a0", " "),
    )
    # One per cent are six rows, too few to judge.
    assert [(row[0], row[1]) for row in rows] == [
        *(("5", "30"), ("10", "60"), ("20", "120"), ("30", "180"), ("50", "300"))
    ]
    top = np.argsort(-class_chances[:, 1], kind="stable")[:60]
    hits = np.sum(truth[top] == "yes")
    _, _, precision, low, high, recall = map(int, rows[1])
    assert precision == round(100 * hits / 60)
    assert low < precision < high
    assert recall == round(100 * hits / np.sum(truth == "yes"))
    groups = Dependence(np.repeat(np.arange(12), 50))
    ordered = np.argsort(class_chances[:, 1] - (truth == "yes"), kind="stable")
    alike = {**fields, "truth": truth[ordered], "guess": class_chances[ordered]}
    content = Assessment(
        title="t",
        target="y",
        task="classification",
        predictions=Predictions(**alike),
        dependence=groups,
    )
    wider = render_report(content).replace("\u00a0", " ")
    [interval] = re.findall(
        r">10 %</td><td[^>]*>60</td><td[^>]*>\d+ %</td><td[^>]*>([\d.]+) % to ([\d.]+) %",
        wider,
    )
    assert float(interval[1]) - float(interval[0]) > high - low
    assert "If only so many rows" not in page(
        truth=np.repeat(["a", "b", "c"], 40),
        classes=("a", "b", "c"),
        guess=np.full((120, 3), 1 / 3),
    )
