"""Rows and features of ``pg.report``: every part belongs to its row, and dates are
dates.
"""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd
import pytest
import torch
from assessing import assessed, words
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

import permgrad as pg
from permgrad.pages.content import PageContent
from permgrad.pages.html import render_report
from permgrad.pages.report import Report
from permgrad.pages.rows_data import rows_data
from permgrad.pages.units import in_plain_units


def unpacked(stored) -> np.ndarray:
    """Read what ``page_data.packed`` wrote."""
    kind = np.dtype({"f4": "<f4", "u2": "<u2"}[stored["type"]])
    planes = np.frombuffer(base64.b64decode(stored["base64"]), dtype=np.uint8).reshape(
        kind.itemsize, -1
    )
    return (
        np.ascontiguousarray(planes.T)
        .view(kind)
        .reshape(stored["shape"])
        .astype(np.float64)
    )


def content(model, X, y):
    return assessed(model, X, y, interactions=0)


@pytest.mark.parametrize("rows", [20, 230])
def test_the_parts_of_a_row_are_its_own(rows):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(rows + 200, 4)), columns=list("abcd"))
    y = 3 * X["a"] - 2 * X["b"] + X["c"] + rng.normal(0, 0.1, len(X))
    model = Ridge(0.1).fit(X[rows:], y[rows:])
    X = X[:rows]
    y = y[:rows]
    report_content = content(model, X, y)
    local = report_content.listed.local[0]
    numbers = np.asarray(local.numbers)
    assert sorted(numbers) != numbers.tolist(), (
        "the rows shown first are not the first ones"
    )
    values = local.explanation.values[:, :, 0]
    base = np.broadcast_to(local.explanation.base_values, (len(numbers), 1))[:, 0]
    assert values.sum(axis=1) + base == pytest.approx(model.predict(X.iloc[numbers]))
    if rows <= 200:
        expected = model.coef_ * (X - X.mean()).iloc[numbers]
        assert values == pytest.approx(expected.to_numpy(), abs=1e-6)
    for row in report_content.rows:
        assert row.title.startswith(f"Row {numbers[row.row]}:")
    data = rows_data(PageContent.of(report_content))
    feature_positions = {
        name: feature_position
        for feature_position, name in enumerate(data["parts"][0]["features"])
    }
    assert set(feature_positions) == set("abcd")


class Sum(nn.Module):
    """Adds up an image."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.sum(dim=(1, 2, 3))[:, None]


def test_the_picture_of_a_row_is_its_own():
    images = torch.randn(12, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    report_content = content(
        pg.Model(Sum(), segments={"image": ("grid", 2)}),
        images,
        images.sum(dim=(1, 2, 3)).numpy(),
    )
    assert report_content.rows
    for row in report_content.rows:
        number = int(row.title.partition(":")[0].removeprefix("Row "))
        assert row.explanation.maps["images:image"][row.row].reshape(
            4, 4
        ) == pytest.approx(images[number, 0].numpy())


@pytest.mark.parametrize("form", ["text", "moments"])
def test_a_card_of_dates_is_in_their_order(form):
    rng = np.random.default_rng(0)
    opened = pd.Series(
        pd.Timestamp("2015-01-01")
        + pd.to_timedelta(rng.integers(0, 3000, 120), unit="D")
    )
    X = pd.DataFrame(
        {"opened": opened if form == "moments" else opened.dt.strftime("%d.%m.%Y")}
    )

    def model(table):
        return (
            pd.to_datetime(table["opened"], dayfirst=True) - pd.Timestamp("2015-01-01")
        ).dt.days.to_numpy() / 365

    report_content = content(model, X, model(X))
    (card,) = report_content.cards.cards
    assert card["numeric"]
    assert card["dates"]
    assert card["at"] == sorted(card["at"])
    assert np.diff(np.ravel(card["mean"])).min() > 0, (
        "later dates have larger predictions"
    )
    assert len(card["outcome"]) == 6, "ranges of dates, not levels"


class Scores(nn.Module):
    """A score for each of two classes, or one for both.

    Two ``mirrored`` scores differ only in sign.
    """

    def __init__(self, columns: int, *, mirrored: bool = False) -> None:
        super().__init__()
        self.columns = columns
        self.mirrored = mirrored

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = x[:, :1] + 0.5 * x[:, 1:2] ** 2 - 1
        if self.columns == 1:
            return score
        return torch.cat(
            [-score if self.mirrored else 0.3 * x[:, 2:3] - score, score], dim=1
        )


def _two_classes(kind, X):
    """A model of two classes with its inputs, and the probabilities of the second
    class.
    """
    tensor = torch.tensor(X.to_numpy(), dtype=torch.float32)
    y = (X["a"] + X["b"] > 0).astype(int)
    if kind == "own":
        model = pg.HyNNClassifier(
            preset="fast", max_epochs=3, random_state=0, progress=False
        ).fit(X, y)
        return model, X, model.predict_proba(X)[:, 1]
    if kind == "predictor":
        fitted = LogisticRegression().fit(X, y)
        return fitted, X, fitted.predict_proba(X)[:, 1]
    net = Scores(1 if kind == "one" else 2, mirrored=kind == "mirrored")
    scores = net(tensor).double()
    odds = scores[:, -1] - (scores[:, 0] if scores.shape[1] == 2 else 0)
    return net, tensor, torch.sigmoid(odds).numpy()


@pytest.mark.parametrize("kind", ["own", "predictor", "two", "mirrored", "one"])
def test_the_parts_of_two_classes_add_up_to_the_probability(kind):
    X = pd.DataFrame(
        np.random.default_rng(0).normal(size=(60, 4)), columns=list("abcd")
    )
    model, inputs, chance = _two_classes(kind, X)
    y = np.where(X["a"] > 0, 1, 0)
    report_content = in_plain_units(content(pg.Model(model, positive=1), inputs, y))
    data = rows_data(PageContent.of(report_content))
    for class_parts in data["parts"]:
        assert class_parts["unit"] == "probability"
        rows, value, remaining_sum, base = (
            unpacked(class_parts[name]) for name in ("row", "value", "rest", "base")
        )
        assert base + value.sum(axis=1) + remaining_sum == pytest.approx(
            chance[rows.astype(int)], abs=0.01
        )
        assert {
            class_parts["outputs"][int(output_position)]
            for output_position in unpacked(class_parts["output"])
        } == {"1"}
    second = report_content.listed.local[0].explanation.outputs.index("1")
    for row in report_content.rows:
        # The same class on paper, or as on the page of a run the predicted one.
        predicted = int(row.title.partition("predicted ")[2][0])
        assert row.output == (predicted if kind == "own" else second)
    text = words(Report(render_report(report_content)))
    assert "probability of 1" in text
    assert "Each point is one of the 60 test rows." in text


@pytest.mark.parametrize(
    ("index", "names"),
    [
        (pd.RangeIndex(60), []),
        (
            pd.Index([f"patient-{number}" for number in range(60)], name="patient"),
            ["patient"],
        ),
        (pd.RangeIndex(100, 160), ["index"]),
        (
            pd.MultiIndex.from_arrays([range(60), range(60, 120)], names=["ward", "a"]),
            ["ward"],
        ),
    ],
)
def test_rows_are_found_by_their_index(index, names):
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"])
    model = Ridge().fit(X, X["a"])
    X.index = index
    report_content = content(model, X, X["a"].to_numpy())
    shown = report_content.listed.identifiers
    assert list(shown if shown is not None else ()) == names
    for name in names:
        assert (
            shown[name].tolist()
            == index.get_level_values(0)[report_content.listed.numbers]
            .astype(str)
            .tolist()
        )
    assert [
        column["name"]
        for column in rows_data(PageContent.of(report_content))["identifiers"]
    ] == names
