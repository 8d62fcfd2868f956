"""The suites of ``benchmarks.quality.orders``: what they hold, and that the order test
is asked once.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from benchmarks.quality import _cells, orders
from benchmarks.quality._cells import Cells, Contender


def test_columns_are_shuffled_with_their_names() -> None:
    frame, y = orders.shuffled(np.arange(60.0).reshape(3, 20), ["a", "b", "c"])
    assert list(frame) != [f"c{column_number}" for column_number in range(20)]
    assert (frame.iloc[1] == [20 + int(name[1:]) for name in frame]).all()
    assert y.tolist() == ["a", "b", "c"]
    layout = orders.Shuffled().fit(frame.to_numpy(), list(frame))
    assert layout.positions[:, 1].tolist() == list(range(20)), "names are not read"
    pixels, _ = orders.pixels(np.arange(12).reshape(1, 3, 4), [0])
    assert pixels.loc[0, "px_2_1"] == 9


@pytest.mark.slow
def test_the_order_test_is_asked_once_for_each_set_and_split(tmp_path, capsys) -> None:
    for _ in range(2):
        cells = Cells(tmp_path, file="orders.jsonl")
        orders.test_orders(cells, ["made-1", "digits_shuffled"], [42, 43])
    assert capsys.readouterr().err.count("no order among these") == 3, (
        "made tables have one split"
    )
    rows = orders.found_orders(cells, ["made-1", "digits_shuffled", "heloc"], [42, 43])
    assert [(row["set"], row["order found"]) for row in rows] == [
        ("made-1", "0 of 1"),
        ("digits_shuffled", "0 of 2"),
    ]


def test_rows_of_one_group_stay_in_one_part(monkeypatch) -> None:
    people = np.repeat(np.arange(20), 5)
    table = pd.DataFrame(
        np.random.default_rng(0).normal(size=(100, 3)), columns=["c0", "c1", "c2"]
    )
    orders.register("people", lambda: (table, pd.Series(people % 2)))
    monkeypatch.setitem(_cells.GROUPS, "people", lambda: people)
    rows = _cells.load_split("people", 42)["rows"]
    part_people = [set(people[part_rows]) for part_rows in rows.values()]
    assert all(part_people)
    assert sum(map(len, part_people)) == 20, "nobody is in two parts"


def test_the_bound_reads_the_true_order(tmp_path, monkeypatch) -> None:
    pytest.importorskip("aeon.transformations.collection.convolution_based")
    times = np.arange(24)
    starts = np.random.default_rng(0).integers(0, 12, 90)
    # A step up or down at any time: only who knows the order can tell them.
    values = (
        np.sign(times - 6 - starts[:, None])
        * np.where(np.arange(90) % 2, 1, -1)[:, None]
    )
    orders.register("steps", lambda: orders.shuffled(values, np.arange(90) % 2))
    monkeypatch.setitem(
        orders.FORMS, orders.BOUND, Contender(orders.BOUND, "", sets=("steps",))
    )
    cells = Cells(tmp_path, file="orders.jsonl")
    orders.bound(cells, ["steps", "mnist1d"], [42])
    assert list(cells.found) == [(orders.BOUND, "steps", 42)]
    assert cells.value(orders.BOUND, "steps", 42) == 1.0


def test_every_contestant_has_its_sets() -> None:
    assert len(orders.SUITES["made"]) == 50
    assert set(orders.FORMS["orders_always"].sets or ()) == set(
        orders.SUITES["ordinary"]
    )
    trained = {name for form in orders.FORMS.values() for name in form.sets or ()}
    assert trained == {*orders.SUITES["ordered"], *orders.SUITES["ordinary"]}
    fingerprints = [form.fingerprint() for form in orders.FORMS.values() if form.ours]
    assert len(set(fingerprints)) == len(fingerprints)
