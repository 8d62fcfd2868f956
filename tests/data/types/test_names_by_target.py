"""Whole numbers are names where equal ones are alike in the target and neighbours are
not. Amounts never are.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from browsing import data_of

import permgrad as pg
from permgrad.data.types.column_types import infer_schema, with_categories
from permgrad.data.types.identifiers import flag_by_target, shared_by_equal
from permgrad.evaluation.drift import compare_parts
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run_inputs import load_inputs

ROWS = 2000


def table(
    seed: int, levels: int = 60, first: int = 1
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows with a number ``v`` that is a name, and a target that half hangs on
    it.
    """
    rng = np.random.default_rng(seed)
    v = rng.integers(first, first + levels, ROWS)
    effects = rng.normal(size=levels)
    x = rng.normal(size=ROWS)
    return pd.DataFrame({"v": v, "x": x}), effects[v - first] + 0.3 * x + rng.normal(
        size=ROWS
    )


def kind(
    frame: pd.DataFrame, y: np.ndarray, classes: int = 0, **kinds: str
) -> tuple[str, bool]:
    schema = infer_schema(frame, kinds=kinds, target=(y, classes))
    return schema["v"].kind, "names" in schema["v"].flags


def slow_limit(v: np.ndarray, y: np.ndarray) -> float:
    """Return the covariance of adjacent levels' means over the variance between levels,
    level by level, with two standard errors.
    """
    groups = {level: y[v == level] for level in sorted(set(v))}
    rows = len(y)
    levels = len(groups)
    mean = y.mean()
    within = sum(
        ((group_values - group_values.mean()) ** 2).sum()
        for group_values in groups.values()
    ) / (rows - levels)
    between = sum(
        len(group_values) * (group_values.mean() - mean) ** 2
        for group_values in groups.values()
    ) / (levels - 1)
    between_variance = (between - within) / (
        (rows - sum(len(group_values) ** 2 for group_values in groups.values()) / rows)
        / (levels - 1)
    )
    pairs = list(groups.values())
    total = 0.0
    weight = 0.0
    noise = 0.0
    for left_group, right_group in pairwise(pairs):
        w = 1 / np.sqrt(
            (between_variance + within / len(left_group))
            * (between_variance + within / len(right_group))
        )
        total = total + w * (left_group.mean() - mean) * (right_group.mean() - mean)
        weight = weight + w
        noise = noise + 1.0
    return (total + 2 * np.sqrt(noise)) / weight / between_variance


def test_what_neighbours_share_is_added_up_level_by_level():
    decided = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        v = rng.integers(0, 40, 800).astype(float)
        smooth = np.cumsum(rng.normal(size=40))
        y = (smooth - smooth.mean() if seed % 2 else rng.normal(size=40))[
            v.astype(int)
        ] + rng.normal(size=800)
        own_share, neighbours = shared_by_equal(v, y)
        assert neighbours == pytest.approx(slow_limit(v, y))
        assert own_share > 0.02
        decided.add(neighbours < 0.5)
    assert decided == {True, False}


def crowded(seed: int, *, unlike: float) -> tuple[np.ndarray, np.ndarray]:
    """Return amounts of two rows each on average, and a target that follows a curve of
    theirs, beside an effect of each amount as large as ``unlike``.
    """
    rng = np.random.default_rng(seed)
    amounts = np.sort(rng.choice(4000, 500, replace=False))
    rows = np.repeat(np.arange(500), 1 + rng.poisson(1.5, 500))
    curve = 0.6 * np.cos(amounts / 900) + unlike * rng.normal(size=500)
    return amounts[rows].astype(float), curve[rows] + rng.normal(size=len(rows))


def test_two_rows_of_each_amount_do_not_show_that_amounts_are_levels_too():
    curved = [flag_by_target("v", *crowded(seed, unlike=0.0), 0) for seed in range(60)]
    assert curved.count(None) >= 59
    own = [flag_by_target("v", *crowded(seed, unlike=0.7), 0) for seed in range(20)]
    assert own.count("also_levels") >= 19, "where they are, few rows of each show it"


@pytest.mark.parametrize("seed", range(3))
def test_names_in_every_storage_and_task(seed):
    frame, y = table(seed)
    assert infer_schema(frame)["v"].kind == "numeric", "neither name nor order tell"
    missing = frame.assign(v=frame["v"].where(np.arange(ROWS) % 9 > 0))
    for name_column in (
        frame,
        missing,
        frame.astype({"v": str}),
        frame.astype({"v": "Int32"}),
        frame.astype({"v": float}),
    ):
        assert kind(name_column, y) == ("categorical", True)
    for classes in (2, 5):
        cuts = np.quantile(y, np.linspace(0, 1, classes + 1)[1:-1])
        assert kind(frame, np.searchsorted(cuts, y), classes) == ("categorical", True)
    assert kind(frame, y, v="numeric") == ("numeric", False)
    assert (
        kind(
            frame.rename(columns={"v": "year", "x": "v"}).assign(v=frame["v"] + 1900), y
        )[0]
        == "numeric"
    )


@pytest.mark.parametrize("seed", range(3))
def test_amounts_noise_few_levels_and_sparse_numbers_stay_numbers(seed):
    frame, y = table(seed)
    rng = np.random.default_rng(100 + seed)
    shapes = {
        "line": lambda v: v / 20,
        "curve": lambda v: np.sin(v / 5),
        "step": lambda v: 2.0 * (v > 30),
    }
    for shape in shapes.values():
        assert (
            kind(frame, shape(frame["v"].to_numpy()) + 0.3 * rng.normal(size=ROWS))[0]
            == "numeric"
        )
    assert kind(frame, rng.normal(size=ROWS))[0] == "numeric", "noise"
    few, few_targets = table(seed, levels=12)
    assert kind(few, few_targets)[0] == "numeric", "few levels"
    assert kind(frame.assign(v=frame["v"] ** 2), y)[0] == "numeric", "amounts with gaps"
    assert kind(frame.assign(v=frame["v"] - 30), y)[0] == "numeric", "negative numbers"


@pytest.mark.slow
def test_a_network_learns_names_and_says_so_once():
    frame, y = table(0)
    quick = {"random_state": 0, "max_epochs": 6, "preset": "fast"}
    with pytest.warns(
        pg.PermgradWarning,
        match=r"read as names of things, .*: v\. .*kinds=\{'v': 'numeric'\}",
    ):
        model = pg.HyNNRegressor(**quick).fit(frame[:1500], y[:1500])
    plain = pg.HyNNRegressor(**quick, kinds={"v": "numeric"}).fit(
        frame[:1500], y[:1500]
    )
    assert plain.preprocessor_.schema_["v"].kind == "numeric"
    assert (
        model.score(frame[1500:], y[1500:]) > plain.score(frame[1500:], y[1500:]) + 0.1
    )
    later = frame[1500:].astype({"v": float})
    np.testing.assert_allclose(
        model.predict(later), model.predict(frame[1500:]), rtol=1e-6
    )


def test_the_command_decides_alike_and_says_so(tmp_path):
    frame, y = table(0)
    frame.assign(y=y).to_csv(tmp_path / "t.csv", index=False)
    run_options = {
        "table": str(tmp_path / "t.csv"),
        "target": "y",
        "out": tmp_path / "run",
    }
    inputs = load_inputs(RunRequest(**run_options))
    assert inputs.schema["v"].kind == inputs.feature_types["v"].kind == "categorical"
    assert "whose neighbours are not alike in the target" in inputs.schema.to_text()
    note = (
        "Whole numbers are read as names of things, not as amounts: v. If they are "
        "amounts, pass --kind v=numeric"
    )
    assert note in inputs.notes
    assert (
        load_inputs(RunRequest(**run_options, kind=("v=numeric",))).schema["v"].kind
        == "numeric"
    )
    assert load_inputs(RunRequest(**run_options), undivided=True).kinds == {}, (
        "compare's test rows have no say"
    )
    assert (
        load_inputs(RunRequest(**run_options, preset="paper")).schema["v"].kind
        == "numeric"
    ), "as published"


def routes(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows whose length of a route tells the price, and tells which route it is,
    too.
    """
    rng = np.random.default_rng(seed)
    lengths = np.sort(rng.choice(np.arange(100, 3000), 80, replace=False))
    route_codes = rng.integers(0, 80, ROWS)
    x = rng.normal(size=ROWS)
    y = (
        lengths[route_codes] / 1000
        + rng.normal(size=80)[route_codes]
        + 0.3 * x
        + 0.3 * rng.normal(size=ROWS)
    )
    return pd.DataFrame({"length": lengths[route_codes], "x": x}), y


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_amounts_that_say_what_they_belong_to_stay_numbers_and_have_scores(
    seed, tmp_path
):
    frame, y = routes(seed)
    model = pg.HyNNRegressor(random_state=0, max_epochs=6, preset="fast").fit(
        frame[:1500], y[:1500]
    )
    encoder = model.preprocessor_
    assert encoder.schema_["length"].kind == "numeric"
    assert "also_levels" in encoder.schema_["length"].flags
    assert encoder.encoded_names_ == ["length", "length=<score>", "x"]
    plain = pg.HyNNRegressor(
        random_state=0, max_epochs=6, preset="fast", kinds={"length": "numeric"}
    )
    plain.fit(frame[:1500], y[:1500])
    assert plain.preprocessor_.encoded_names_ == ["length", "x"]
    assert (
        model.score(frame[1500:], y[1500:]) > plain.score(frame[1500:], y[1500:]) + 0.1
    )
    # A length that no route has has no score, and is a number like any other.
    unknown = frame[:1].assign(length=100_000)
    assert encoder.transform(unknown)[0, 1] == 0
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(
        pg.load(tmp_path / "model").predict(frame[1500:]), model.predict(frame[1500:])
    )
    ranking = pg.explain(model, frame[1500:], y[1500:]).to_frame()
    assert set(ranking["feature"]) == {"length", "x"}, "one feature, number and score"


def test_the_command_says_which_amounts_are_levels_too(tmp_path):
    frame, y = routes(0)
    frame.assign(y=y).to_csv(tmp_path / "t.csv", index=False)
    notes = load_inputs(
        RunRequest(table=str(tmp_path / "t.csv"), target="y", out=tmp_path / "run")
    ).notes
    (note,) = (note for note in notes if "as a level, too" in note)
    assert (
        ": length. If rows with one value belong together, pass --row-group length and "
        "for amounts alone --kind length=numeric" in note
    )


@pytest.mark.slow
def test_a_page_speaks_of_levels_whatever_says_that_numbers_are_names():
    frame, y = table(0)
    declared = pg.HyNNRegressor(
        random_state=0, max_epochs=2, preset="fast", kinds={"v": "categorical"}
    )
    rows = declared.fit(frame[:1500], y[:1500]).encode_rows(frame[1500:])
    assert rows.table["v"].cat.categories.tolist() == sorted(
        frame["v"][1500:].unique().astype(str), key=int
    )
    assert frame["v"].dtype == np.int64, "the user's frame stays as it is"
    page = pg.report(declared, frame[1500:], y[1500:], train=(frame[:1500], y[:1500]))
    assert sorted(
        column_data["kind"] for column_data in data_of(page.html)["data"]["columns"]
    ) == [
        "levels",
        "number",
        "number",
    ]
    drawn = with_categories(frame, declared.preprocessor_.schema_)
    compared = compare_parts(drawn[:1500], drawn[1500:])
    assert [column_data["kind"] for column_data in compared["columns"]] == [
        "levels",
        "number",
    ]


def test_amounts_under_a_skewed_target_are_no_names():
    """A few large values decide an F test that supposes normal errors."""
    for seed in range(40):
        draw = np.random.default_rng(seed)
        amounts = draw.integers(20, 90, 800).astype(float)
        y = draw.lognormal(0, 2.5, 800)
        assert flag_by_target("amount", amounts, y, 0) is None


def test_what_is_constant_within_a_customer_is_tested_by_customers():
    draw = np.random.default_rng(11)
    customer = np.repeat(np.arange(250), 6)
    rooms = draw.integers(30, 120, 250)[customer].astype(float)
    y = draw.normal(0, 2, 250)[customer] + draw.normal(size=1500)
    assert flag_by_target("rooms", rooms, y, 0) is not None, "the case is not trivial"
    assert flag_by_target("rooms", rooms, y, 0, [customer]) is None
    labels = (y > 0).astype(int)
    assert flag_by_target("rooms", rooms, labels, 2, [customer]) is None
    # What names shops does so by the customers of each, too.
    shop = draw.integers(0, 40, 250)[customer].astype(float)
    y = draw.normal(0, 2, 40)[shop.astype(int)] + draw.normal(size=1500)
    assert flag_by_target("place", shop, y, 0, [customer]) == "names"
