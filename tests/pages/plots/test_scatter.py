"""Values of a feature against their attributions: what is drawn is what is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import permgrad as pg

ROWS = 240


def local_of(columns, values, **meta):
    frame = pd.DataFrame(columns)
    names = tuple(frame.columns)
    return pg.Explanation(
        np.asarray(values)[:, :, None],
        names,
        ("table",) * len(names),
        ("y",),
        "shapley",
        "local",
        additive=True,
        feature_values=frame,
        meta=meta,
    )


@pytest.fixture(scope="module")
def draw():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def local(draw):
    age = draw.normal(size=ROWS)
    sex = draw.choice(["f", "m"], ROWS)
    grade = pd.Categorical(
        draw.choice(list("abcdefghij"), ROWS), list("jihgfedcba"), ordered=True
    )
    day = pd.to_datetime("2024-01-01") + pd.to_timedelta(
        draw.integers(0, 90, ROWS), "D"
    )
    town = draw.choice([f"town {i}" for i in range(30)], ROWS).astype(object)
    town[:7] = None
    columns = {"age": age, "sex": sex, "grade": grade, "day": day, "town": town}
    values = np.stack([3 * age, *draw.normal(size=(4, ROWS))], axis=1)
    return local_of(columns, values)


def points(axes):
    parts = [c.get_offsets() for c in axes.collections if len(c.get_offsets()) > 1]
    return np.concatenate([np.asarray(part) for part in parts])


def test_numbers_stand_where_they_are_with_their_trend(local):
    axes = local.plot.scatter("age").axes[0]
    age = local.feature_values["age"].to_numpy()
    drawn = points(axes)
    assert len(drawn) == ROWS
    order = np.argsort(drawn[:, 0])
    expected = np.argsort(age)
    assert np.allclose(drawn[order, 0], age[expected])
    assert np.allclose(drawn[order, 1], 3 * age[expected])
    trend = axes.lines[0].get_xydata()
    assert len(trend) == 12
    assert np.allclose(trend[:, 1], 3 * trend[:, 0]), "a straight line"
    assert axes.get_xlabel() == "age"


def test_a_band_is_that_of_a_mean(draw):
    number = np.repeat(np.arange(10.0), 12)
    values = draw.normal(size=(120, 1))
    axes = local_of({"n": number}, values).plot.scatter("n").axes[0]
    trend = axes.lines[0].get_xydata()
    band = axes.collections[-1].get_paths()[0].vertices
    first = values[number == trend[0, 0], 0]
    assert trend[0, 1] == pytest.approx(first.mean())
    half = stats.sem(first) * stats.t.ppf(0.975, len(first) - 1)
    assert band[:, 1].min() <= trend[:, 1].min()
    ends = band[np.isclose(band[:, 0], trend[0, 0]), 1]
    assert ends.max() == pytest.approx(first.mean() + half, rel=0.2)


def test_levels_stand_in_strips_in_their_order(local):
    axes = local.plot.scatter("grade").axes[0]
    words = [tick.get_text() for tick in axes.get_xticklabels()]
    assert words == list("jihgfedcba"), "ten ordered levels, none cut"
    drawn = points(axes)
    codes = local.feature_values["grade"].cat.codes.to_numpy()
    assert np.array_equal(np.sort(np.round(drawn[:, 0])), np.sort(codes))
    assert np.array_equal(points(local.plot.scatter("grade").axes[0]), drawn)
    means = axes.lines[0].get_xydata()
    values = local.values[:, 2, 0]
    assert means[3, 1] == pytest.approx(values[codes == 3].mean())


def test_what_is_left_out_is_said(local):
    axes = local.plot.scatter("town").axes[0]
    words = [tick.get_text() for tick in axes.get_xticklabels()]
    assert words[-1] == "missing"
    assert len(words) == 13
    hidden = ROWS - len(points(axes))
    notes = [text.get_text() for text in axes.texts]
    assert notes == [f"18 more levels ({hidden} rows) not shown"]
    frame = local.feature_values.assign(
        age=local.feature_values["age"].where(local.feature_values["age"] > -1)
    )
    gaps = int(frame["age"].isna().sum())
    lacking = local_of(frame, local.values[..., 0])
    notes = lacking.plot.scatter("age").axes[0].texts
    assert [text.get_text() for text in notes] == [
        f"{gaps} rows without a value not shown"
    ]


def test_dates_are_an_axis_of_dates(local):
    axes = local.plot.scatter("day").axes[0]
    days = local.feature_values["day"]
    expected = np.sort((days - pd.Timestamp(0)) / pd.Timedelta(days=1))
    assert np.allclose(np.sort(points(axes)[:, 0]), expected)
    figure = axes.figure
    figure.canvas.draw()
    assert "Feb" in {tick.get_text() for tick in axes.get_xticklabels()}


def test_another_feature_colours_the_points(local):
    figure = local.plot.scatter("age", colour="sex")
    legend = figure.axes[0].get_legend()
    assert legend.get_title().get_text() == "sex"
    assert {text.get_text() for text in legend.get_texts()} == {"f", "m"}
    figure = local.plot.scatter("age", colour="grade")
    assert figure.axes[1].get_ylabel() == "grade"
    assert len(figure.axes) == 2
    legend = local.plot.scatter("age", colour="town").axes[0].get_legend()
    assert legend.get_title().get_text() == "town (grey: 23 more)"


def test_what_cannot_be_drawn_is_refused(local):
    with pytest.raises(pg.InputError, match=r"No feature 'aeg'\. Did you mean 'age'"):
        local.plot.scatter("aeg")
    for number in (True, 9):
        with pytest.raises(pg.InputError, match="colour must be one of 'age', 'sex'"):
            local.plot.scatter("age", colour=number)
    with pytest.raises(pg.InputError, match="this explanation is global"):
        local.to_global().plot.scatter("age")
    bare = local_of({"a": np.zeros(5)}, np.zeros((5, 1)))
    import dataclasses

    bare = dataclasses.replace(bare, feature_values=None)
    with pytest.raises(pg.InputError, match="scatter needs the values of 'a'"):
        bare.plot.scatter("a")


def test_dates_that_are_texts_stand_where_their_days_are(draw):
    days = pd.to_datetime("2024-01-01") + pd.to_timedelta(
        [0, 1, 40, *range(50, 90)], "D"
    )
    texts = days.strftime("%Y-%m-%d").astype(object)
    values = draw.normal(size=(len(days), 2))
    dated = local_of({"day": texts, "moment": days}, values)
    drawn = points(dated.plot.scatter("day").axes[0])
    apart = drawn[:, 0] - drawn[0, 0]
    assert apart == pytest.approx([0, 1, 40, *range(50, 90)])
    no_days = local_of({"day": [*texts[:-1], "2024-99-99"]}, values[:, :1])
    axes = no_days.plot.scatter("day").axes[0]
    assert len(axes.get_xticklabels()) == len(days), "levels in their order"


def test_a_long_label_stands_beside_the_plot_and_not_over_its_title():
    dose = np.arange(20.0)
    explanation = local_of(
        {"dose": dose},
        dose[:, None] / 7 - 1,
        quantity="output minus the mean output over the background",
        unit="probability of all classes",
    )
    figure = explanation.plot.scatter("dose")
    axes = figure.axes[0]
    figure.canvas.draw()
    label = axes.yaxis.label.get_window_extent()
    assert "\n" in axes.get_ylabel()
    assert label.y0 >= axes.bbox.y0 - 30
    assert label.y1 <= axes.bbox.y1 + 10
