"""Rows and features of ``pg.report``: every part belongs to its row, and dates are dates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from permgrad.report.page.rows_data import rows_data
from permgrad.runs.report.content import content_of, read_train, take
from permgrad.runs.report.measured import measure_model

QUICK = {"random_state": 0, "n_repeats": 2, "progress": False}


def content(model, X, y, train=None, **options):
    measured = measure_model(model, X, y, **(QUICK | options))
    learned = read_train(measured, train)
    return content_of(
        measured, learned, title="t", method="permgrad", most_rows=1000, seed=0, call="", interactions=0
    )


@pytest.mark.parametrize("rows", [20, 230])
def test_the_parts_of_a_row_are_its_own(rows):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(rows + 200, 4)), columns=list("abcd"))
    y = 3 * X["a"] - 2 * X["b"] + X["c"] + rng.normal(0, 0.1, len(X))
    model = Ridge(0.1).fit(X[rows:], y[rows:])
    X, y = X[:rows], y[:rows]
    made = content(model, X, y)
    local = made.listed.local[0]
    numbers = np.asarray(local.numbers)
    assert sorted(numbers) != numbers.tolist(), "the rows shown first are not the first ones"
    values = local.explanation.values[:, :, 0]
    base = np.broadcast_to(local.explanation.base_values, (len(numbers), 1))[:, 0]
    assert values.sum(axis=1) + base == pytest.approx(model.predict(X.iloc[numbers]))
    if rows <= 200:
        expected = model.coef_ * (X - X.mean()).iloc[numbers]
        assert values == pytest.approx(expected.to_numpy(), abs=1e-6)
    for row in made.rows:
        assert row.title.startswith(f"Row {numbers[row.row]}:")
    data = rows_data(made)
    place = {name: at for at, name in enumerate(data["parts"][0]["features"])}
    assert set(place) == set("abcd")


class Sum(nn.Module):
    """Adds up an image."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.sum(dim=(1, 2, 3))[:, None]


def test_the_picture_of_a_row_is_its_own():
    images = torch.randn(12, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    made = content(Sum(), images, images.sum(dim=(1, 2, 3)).numpy(), segments={"image": ("grid", 2)})
    assert made.rows
    for row in made.rows:
        number = int(row.title.partition(":")[0].removeprefix("Row "))
        assert row.explanation.maps["images:image"][row.row].reshape(4, 4) == pytest.approx(images[number, 0].numpy())


def test_some_rows_are_taken_in_the_order_asked_for():
    X = pd.DataFrame({"a": np.arange(6.0), "b": 1.0})
    measured = measure_model(lambda table: table["a"].to_numpy(), X, X["a"], **QUICK)
    order = np.array([3, 1, 5, 0, 4, 2])
    inputs, y = take(measured, order)
    assert inputs["a"].tolist() == order.tolist() == y.tolist()


@pytest.mark.parametrize("form", ["text", "moments"])
def test_a_card_of_dates_is_in_their_order(form):
    rng = np.random.default_rng(0)
    opened = pd.Series(pd.Timestamp("2015-01-01") + pd.to_timedelta(rng.integers(0, 3000, 120), unit="D"))
    X = pd.DataFrame({"opened": opened if form == "moments" else opened.dt.strftime("%d.%m.%Y")})

    def model(table):
        return (pd.to_datetime(table["opened"], dayfirst=True) - pd.Timestamp("2015-01-01")).dt.days.to_numpy() / 365

    made = content(model, X, model(X))
    (card,) = made.cards.cards
    assert card["numeric"]
    assert card["dates"]
    assert card["at"] == sorted(card["at"])
    assert np.diff(np.ravel(card["mean"])).min() > 0, "later dates have larger predictions"
    assert len(card["outcome"]) == 6, "ranges of dates, not levels"
