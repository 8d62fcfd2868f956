"""Rows with a target: some of them, in any order and form."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import torch

from permgrad.assess.assessed_model import predictions_of_row
from permgrad.assess.assessed_rows import Rows, taken
from permgrad.assess.budget import Budget
from permgrad.assess.read_model import ReadModel
from permgrad.data.encode.encoding import TableEncoder
from permgrad.models.estimators.prepared import EncodedRows

PLACES = np.array([3, 1, 1])
NUMBERS = np.arange(10.0).reshape(5, 2)
Pair = namedtuple("Pair", "left right")  # noqa: PYI024 — as a user may write it


def rows_of(**changes) -> Rows:
    """Five rows whose every part says which one it is."""
    table = pd.DataFrame({"a": NUMBERS[:, 0]}, index=[9, 8, 7, 6, 5])
    fields = {
        "inputs": table,
        "y": np.arange(5),
        "numbers": np.arange(5) * 100,
        "table": table,
    }
    return Rows(**{**fields, **changes})


@pytest.mark.parametrize(
    ("inputs", "listed"),
    [
        (NUMBERS, lambda some: some.tolist()),
        (
            pd.DataFrame(NUMBERS, index=[5, 5, 5, 2, 1]),
            lambda some: some.to_numpy().tolist(),
        ),
        (torch.from_numpy(NUMBERS), lambda some: some.tolist()),
        (NUMBERS.tolist(), lambda some: some),
    ],
    ids=["array", "frame", "tensor", "lists"],
)
def test_rows_of_every_container_are_taken_by_position(inputs, listed):
    selected_inputs = taken(inputs, PLACES, 5)
    assert type(selected_inputs) is type(inputs)
    assert listed(selected_inputs) == [[6.0, 7.0], [2.0, 3.0], [2.0, 3.0]]


def test_every_input_of_a_network_is_taken():
    image = torch.arange(5)[:, None, None] * torch.ones(1, 2, 2)
    selected_inputs = taken(
        {"image": image, "table": pd.DataFrame(NUMBERS), "none": None}, PLACES, 5
    )
    assert list(selected_inputs) == ["image", "table", "none"]
    assert selected_inputs["image"].shape == (3, 2, 2)
    assert selected_inputs["image"][:, 0, 0].tolist() == [3, 1, 1]
    assert selected_inputs["table"].to_numpy().tolist() == NUMBERS[PLACES].tolist()
    assert selected_inputs["none"] is None
    for inputs in (
        (image, NUMBERS),
        [image, NUMBERS],
        Pair(image, NUMBERS),
        {"deep": (image, [NUMBERS])},
    ):
        selected_inputs = taken(inputs, PLACES, 5)
        assert type(selected_inputs) is type(inputs)
    assert selected_inputs["deep"][1][0].tolist() == NUMBERS[PLACES].tolist()
    assert (
        taken(Pair(image, NUMBERS), PLACES, 5).right.tolist()
        == NUMBERS[PLACES].tolist()
    )


def test_as_many_inputs_as_rows_are_no_list_of_rows():
    five = [NUMBERS + offset for offset in range(5)]
    assert [selected_input.tolist() for selected_input in taken(five, PLACES, 5)] == [
        (NUMBERS + offset)[PLACES].tolist() for offset in range(5)
    ]


def test_lists_of_texts_are_rows():
    texts = ["none", "one", "two", "three", "four"]
    assert taken(texts, PLACES, 5) == ["three", "one", "one"]
    assert taken(tuple(texts), PLACES, 5) == ["three", "one", "one"]
    assert taken({"text": texts, "number": NUMBERS}, PLACES, 5)["text"] == [
        "three",
        "one",
        "one",
    ]


def test_encoded_rows_take_their_own():
    table = pd.DataFrame({"a": NUMBERS[:, 0]})
    encoder = TableEncoder("minmax").fit(table)
    encoded = EncodedRows(table, encoder, encoder.transform(table))
    selected_inputs = rows_of(inputs=encoded).take(PLACES).inputs
    assert selected_inputs.table["a"].tolist() == [6.0, 2.0, 2.0]
    assert selected_inputs.encoded.tolist() == encoded.encoded[PLACES].tolist()
    assert selected_inputs.encoder is encoded.encoder, "they are not encoded again"


def test_all_parts_of_rows_are_taken():
    names = pd.DataFrame({"who": list("vwxyz")})
    rows = rows_of(identifiers=names, truth=np.array(list("abcde"), dtype=object))
    selected_rows = rows.take(PLACES)
    assert len(selected_rows) == 3
    assert (
        selected_rows.inputs["a"].tolist()
        == selected_rows.frame["a"].tolist()
        == [6.0, 2.0, 2.0]
    )
    assert selected_rows.frame.index.tolist() == [6, 8, 8]
    assert selected_rows.y.tolist() == [3, 1, 1]
    assert selected_rows.numbers.tolist() == [300, 100, 100]
    assert selected_rows.identifiers["who"].tolist() == ["y", "w", "w"]
    assert selected_rows.truth.tolist() == ["d", "b", "b"]
    assert rows.take(np.arange(5)) is rows, "nothing is copied"
    assert len(rows.take(np.zeros(0, dtype=np.int64))) == 0
    without = rows_of(table=None).take(PLACES)
    assert (without.table, without.identifiers, without.truth, without.cut) == (
        None,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    "y",
    [
        pd.Series([0, 10, 20, 30, 40], index=[4, 3, 2, 1, 0]),
        np.arange(5) * 10,
        [0, 10, 20, 30, 40],
        (0, 10, 20, 30, 40),
        torch.arange(5) * 10,
        pd.DataFrame({"y": [0, 10, 20, 30, 40]}),
    ],
    ids=lambda y: type(y).__module__.partition(".")[0] + "." + type(y).__name__,
)
def test_targets_of_every_kind_are_taken_by_position(y):
    assert np.asarray(rows_of(y=y).take(PLACES).y).ravel().tolist() == [30, 10, 10]


def test_targets_of_several_outputs_are_taken():
    assert rows_of(y=NUMBERS).take(PLACES).y.tolist() == NUMBERS[PLACES].tolist()


def test_some_rows_are_taken_in_the_order_asked_for():
    X = pd.DataFrame({"a": np.arange(6.0), "b": 1.0})
    read = ReadModel(
        lambda table: table["a"].to_numpy(), X, X["a"], n_repeats=2, progress=False
    )
    order = np.array([3, 1, 5, 0, 4, 2])
    rows = read.rows.take(order)
    assert rows.inputs["a"].tolist() == order.tolist() == rows.y.tolist()
    again = rows.take(np.array([2, 0]))
    assert (
        again.inputs["a"].tolist()
        == again.numbers.tolist()
        == again.table["a"].tolist()
        == [5, 3]
    )


@pytest.mark.parametrize(
    ("classes", "features", "rows"),
    [(0, 23, 125), (6, 23, 125), (300, 23, 20), (6, 130, 22), (2, 5000, 20)],
)
def test_a_beeswarm_of_a_model_without_slopes_has_fewer_rows_where_each_takes_many_predictions(
    classes, features, rows
):
    budget = Budget()
    row_predictions = predictions_of_row(features)
    assert budget.swarm_rows(classes, row_predictions) == rows
    assert budget.swarm_rows(classes) >= rows
    assert rows == 20 or rows * row_predictions <= 600_000
