"""Rows that depend on each other: groups and times of ``pg.explain``, who lends to
whom, what is said of few rows.
"""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with
from scipy import stats

import permgrad as pg
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.attribution.explanation.statistics import mean_over_rows, spread
from permgrad.attribution.replace.donors import Lenders
from permgrad.base.dependence import Dependence

SAMPLES = 60


def probabilities(rows):
    score = np.asarray(rows, float) @ [1.0, 0.4]
    high = 1 / (1 + np.exp(-score))
    return np.column_stack([1 - high, high])


def shops(seed: int, sizes):
    """A column of each shop without any effect on y, which shops share for another
    reason.
    """
    draw = np.random.default_rng(seed)
    shop = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.column_stack(
        [draw.normal(size=len(shop)), draw.normal(size=len(sizes))[shop]]
    )
    score = rows[:, 0] + 1.5 * draw.normal(size=len(sizes))[shop]
    return (
        rows,
        (draw.uniform(size=len(shop)) < 1 / (1 + np.exp(-score))).astype(int),
        shop,
    )


def series(seed: int, times: int, rows_per_time: int):
    """Two series that wander slowly, unrelated, with several rows at each time."""
    draw = np.random.default_rng(seed)
    walks = np.zeros((2, times))
    for now in range(1, times):
        walks[:, now] = 0.9 * walks[:, now - 1] + draw.normal(size=2) * np.sqrt(
            1 - 0.9**2
        )
    when = np.repeat(np.arange(times), rows_per_time)
    rows = np.column_stack([draw.normal(size=len(when)), walks[0][when]])
    return rows, rows[:, 0] + walks[1][when] + 0.5 * draw.normal(size=len(when)), when


def p_of_nothing(make, model, samples=SAMPLES, **options):
    p_values = []
    for seed in range(samples):
        rows, y, code = make(seed)
        group_options = {
            name: code for name in ("row_groups", "row_time") if options.get(name)
        }
        other_options = {
            name: value for name, value in options.items() if name not in group_options
        }
        explained = explain_with(
            model,
            rows,
            y,
            n_repeats=3,
            random_state=seed,
            progress=False,
            **group_options,
            **other_options,
        )
        p_values.append(explained.p_values[:, 0])
    return np.array(p_values)


@pytest.mark.slow
@pytest.mark.parametrize("scoring", [None, "neg_log_loss"])
@pytest.mark.parametrize(
    "sizes", [[12] * 25, [4] * 20 + [20] * 10], ids=["equal", "unequal"]
)
def test_a_column_of_groups_without_effect_keeps_its_level(sizes, scoring):
    if scoring and len(set(sizes)) > 1:
        pytest.skip("scores are looked at once")
    # Of so few tests of 5 %, more than 5 (scores) or 8 are hardly ever below it.
    samples = 30 if scoring else SAMPLES
    options = {"returns": "probabilities", "scoring": scoring}
    alone = p_of_nothing(
        lambda seed: shops(seed, sizes), probabilities, samples=20, **options
    )
    assert (alone[:, 1] < 0.05).mean() > (0.1 if scoring else 0.2), (
        "rows taken as independent: the case is not trivial"
    )
    p_values = p_of_nothing(
        lambda seed: shops(seed, sizes),
        probabilities,
        samples,
        row_groups=True,
        **options,
    )
    assert (p_values[:, 1] < 0.05).mean() <= (0.17 if scoring else 0.14)
    assert (p_values[:, 0] < 0.05).mean() > 0.9, (
        "the column with an effect is still found"
    )


@pytest.mark.slow
def test_a_column_along_time_without_effect_keeps_its_level():
    def model(rows):
        return np.asarray(rows, float) @ [1.0, 0.3]

    alone = p_of_nothing(
        lambda seed: series(seed, 150, 3), model, samples=20, task="regression"
    )
    assert (alone[:, 1] < 0.05).mean() > 0.3
    p_values = p_of_nothing(
        lambda seed: series(seed, 150, 3), model, task="regression", row_time=True
    )
    assert (p_values[:, 1] < 0.05).mean() <= 0.16
    assert (p_values[:, 0] < 0.05).mean() > 0.9


def test_waves_of_independent_times_share_their_variance():
    scores = np.random.default_rng(0).normal(size=(1, 60))
    scores -= scores.mean()
    variance, correction, freedom = spread(
        scores, np.ones(60), Dependence(np.arange(60), timed=True)
    )
    slow = [
        np.sqrt(2) * np.cos(np.pi * k * (np.arange(60) + 0.5) / 60) @ scores[0]
        for k in range(1, 60)
    ]
    waves = int(freedom[0, 0])
    assert 4 <= waves < 12
    assert variance[0] * correction == pytest.approx(np.mean(np.square(slow[:waves])))
    assert np.mean(np.square(slow)) == pytest.approx(60 * scores.var(ddof=1)), (
        "all of them are the usual variance"
    )


def test_groups_of_one_row_are_rows():
    rows, y, _ = shops(0, [1] * 120)
    options = {
        "returns": "probabilities",
        "n_repeats": 10,
        "random_state": 0,
        "progress": False,
    }
    explanation = explain_with(
        probabilities, rows, y, row_groups=[f"row {k}" for k in range(120)], **options
    )
    plain = explain_with(probabilities, rows, y, **options)
    np.testing.assert_array_equal(explanation.values, plain.values)
    np.testing.assert_allclose(explanation.std_error, plain.std_error, rtol=0.025)
    assert explanation.meta["independent"] == {"by": "row_groups", "count": 120}
    assert "independent" not in plain.meta


def request_of(weights=None, units=None, count=60):
    donors = (np.zeros((count, 1)),)
    return SimpleNamespace(
        donors=donors,
        shared=True,
        sample_weight=weights,
        units=units,
        compared=None,
    )


def test_donors_come_from_other_groups_and_times_and_by_weight():
    codes = np.random.default_rng(0).integers(0, 6, 60)
    rows = np.arange(60)
    weights = np.random.default_rng(1).exponential(size=60) * (codes != 2)
    lenders = Lenders.of(request_of(weights, Dependence(codes)))
    drawn = np.stack([lenders.draw(3, "x", repeat, rows) for repeat in range(3000)])
    assert (codes[drawn] != codes[rows]).all()
    assert (weights[drawn] > 0).all(), "rows without weight lend nothing"
    donor_weights = np.where(codes != codes[7], weights, 0.0)
    shares = np.bincount(drawn[:, 7], minlength=60) / len(drawn)
    np.testing.assert_allclose(shares, donor_weights / donor_weights.sum(), atol=0.02)
    timed = Lenders.of(request_of(None, Dependence(rows, timed=True)))
    apart = np.abs(
        np.stack([timed.draw(3, "x", repeat, rows) for repeat in range(50)]) - rows
    )
    assert apart.min() == 7, "a tenth of the times lies between"
    even = Lenders.of(request_of(np.full(60, 2.0)))
    np.testing.assert_array_equal(
        even.draw(3, "x", 0, rows), Lenders(60, shared=True).draw(3, "x", 0, rows)
    )
    with pytest.raises(pg.InputError, match="another group or time"):
        Lenders.of(request_of(None, Dependence(np.zeros(60, dtype=np.int64))))


class Named:
    """A predictor that names its columns, as scikit-learn's do."""

    feature_names_in_ = np.array(["dose", "age"])

    def fit(self, X, y):
        return self

    def predict(self, X):
        assert list(X.columns) == list(self.feature_names_in_)
        return X.to_numpy() @ [1.0, 0.3]


def ward(seed: int = 0):
    rows, y, shop = series(seed, 40, 4)
    table = pd.DataFrame(rows, columns=["dose", "age"])
    return table, y, shop


@pytest.mark.parametrize(
    "model",
    [Named(), lambda table: np.asarray(table, float) @ [1.0, 0.3]],
    ids=["named", "any"],
)
@pytest.mark.parametrize("argument", ["row_groups", "row_time"])
def test_a_named_column_leaves_the_inputs(model, argument):
    table, y, code = ward()
    options = {"task": "regression", "random_state": 0, "progress": False}
    by_values = explain_with(model, table, y, **{argument: code}, **options)
    wide = table.assign(visit=code)
    by_name = explain_with(model, wide, y, **{argument: "visit"}, **options)
    pd.testing.assert_frame_equal(by_name.to_frame(), by_values.to_frame())
    assert by_name.names == ("dose", "age")
    visit_explanation = explain_with(
        lambda frame: frame["visit"] * 1.0 + frame["dose"],
        wide,
        y,
        **{argument: "visit"},
        **options,
    )
    assert visit_explanation.names == ("dose", "age", "visit"), (
        "the model fails without it"
    )
    with pytest.raises(
        pg.InputError, match=f"{argument} cannot be 'vist'. Did you mean 'visit'"
    ):
        explain_with(model, wide, y, **{argument: "vist"}, **options)


def test_what_is_wrong_is_said():
    table, y, code = ward()

    def explain(**given):
        return explain_with(Named(), table, y, progress=False, **given)

    with pytest.raises(pg.InputError, match="row_groups= does not take row_time="):
        explain(row_groups=code, row_time=code)
    with pytest.raises(
        pg.InputError,
        match=r"row_groups must have one value for each of the 160 rows, got the shape "
        r"\(5,\)",
    ):
        explain(row_groups=code[:5])
    with pytest.raises(pg.InputError, match="no value for row 3 "):
        explain(row_groups=np.where(np.arange(160) == 3, np.nan, code))
    with pytest.raises(
        pg.InputError, match="row_time must hold numbers or dates, got 'soon'"
    ):
        explain(row_time=["soon"] * 160)
    dates = (
        pd.Series(pd.date_range("2024-01-01", periods=40))
        .repeat(4)
        .astype(str)
        .to_numpy()
    )
    assert explain(row_time=dates).meta["independent"]["count"] == 40


def test_single_rows_keep_their_groups(tmp_path):
    table, _, code = ward()
    local = pg.explain(
        Named(), table, scope="local", row_groups=code, random_state=0, progress=False
    )
    again = pg.Explanation.load(local.save(tmp_path / "why")).to_global()
    off = np.abs(local.values[:, :, 0]).reshape(40, 4, 2).mean(axis=1)
    np.testing.assert_allclose(
        again.std_error[:, 0], off.std(axis=0, ddof=1) / np.sqrt(40)
    )
    assert "40 independent groups of rows" in again.summary()
    plain = pg.explain(
        Named(), table, scope="local", random_state=0, progress=False
    ).to_global()
    assert plain.std_error[1, 0] < 0.8 * again.std_error[1, 0], (
        "the case is not trivial"
    )


def test_all_subsets_of_modalities_know_groups():
    table, y, code = ward()
    options = {"groups": {"one": ["dose"]}, "random_state": 0, "progress": False}
    subset_frame = pg.missing_modalities(
        Named(), table, y, row_groups=code, **options
    ).to_frame()
    plain = pg.missing_modalities(Named(), table, y, **options).to_frame()
    assert subset_frame["std_error"][0] > 1.5 * plain["std_error"][0]
    assert subset_frame["loss"][0] == plain["loss"][0]


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_there_is_no_interval_below_four(rows):
    _, y, _ = ward()
    table = pd.DataFrame(
        np.random.default_rng(0).normal(size=(rows, 2)), columns=["dose", "age"]
    )
    options = {
        "random_state": 0,
        "progress": False,
        "background": ward()[0] if rows == 1 else None,
    }
    explanation = explain_with(Named(), table, y[:rows], **options)
    assert np.isnan(explanation.std_error).all()
    assert np.isnan(explanation.p_values).all()
    assert clearly_matter(explanation) == []
    words = "A single row has" if rows == 1 else "Fewer than 4 rows have"
    assert f"{words} no intervals" in explanation.summary()
    table, y, code = ward()
    three = pg.explain(
        Named(), table, y, row_groups=code % 3, random_state=0, progress=False
    )
    assert np.isnan(three.low).all()
    assert "Fewer than 4 groups of rows have no intervals" in three.summary()


@pytest.mark.slow
def test_whole_weights_give_what_repeated_rows_give():
    draw = np.random.default_rng(0)
    kind = draw.integers(0, 3, 200)
    rows = np.column_stack([kind * 2.0 + draw.normal(size=200), draw.normal(size=200)])
    weights = np.array([1, 2, 12])[kind]
    y = (rows[:, 0] > 2.5).astype(int)

    def model(table):
        return np.eye(2)[(np.asarray(table)[:, 0] > 2.5).astype(int)]

    def mean(rows, y, **given):
        call_options = {
            "loss": "zero_one",
            "n_repeats": 4,
            "progress": False,
            "returns": "probabilities",
            **given,
        }
        attributions = [
            explain_with(model, rows, y, random_state=seed, **call_options).values[0, 0]
            for seed in range(8)
        ]
        return np.mean(attributions)

    again = np.repeat(np.arange(200), weights)
    repeated = mean(rows[again], y[again])
    assert mean(rows, y) > 1.3 * repeated, "weights change the effect"
    assert mean(rows, y, sample_weight=weights) == pytest.approx(repeated, rel=0.06)
    linear = pg.Model(lambda table: np.asarray(table) @ [1.0, 0.0], task="regression")
    shapley_options = {"scope": "global", "n_repeats": 8, "progress": False}
    shapley = [
        explain_with(linear, *arguments, method="shapley", game=game, **shapley_options, **weighted).values[0, 0]
        for game in ("prediction", "expected")
        for arguments, weighted in (((rows, rows[:, 0]), {"sample_weight": weights}), ((rows[again], rows[again, 0]), {}))
    ]  # fmt: skip
    assert shapley[0] == pytest.approx(shapley[1], rel=0.1)
    assert shapley[2] == pytest.approx(shapley[3], rel=0.1)


def heavy(seed: int, count: int):
    draw = np.random.default_rng(seed)
    rows = np.column_stack([draw.standard_t(3, size=count), draw.normal(size=count)])
    return rows, rows[:, 0] + rows[:, 1] + draw.normal(size=count)


@pytest.mark.slow
def test_ends_on_the_side_of_a_long_tail_are_wider_and_called_inexact():
    def model(rows):
        return np.asarray(rows, float) @ [1.0, 1.0]

    rows, _ = heavy(10_000, 300_000)
    permuted = np.random.default_rng(1).permutation(len(rows))
    # Of squared errors around a true sum, replacing x by x' costs (x − x')².
    truth = np.mean((rows[:, 0] - rows[permuted, 0]) ** 2)
    inside = 0
    usual = 0
    inexact = 0
    for seed in range(90):
        explanation = pg.explain(
            pg.Model(model, task="regression"),
            *heavy(seed, 100),
            n_repeats=3,
            random_state=seed,
            progress=False,
        )
        inside += explanation.low[0, 0] <= truth <= explanation.high[0, 0]
        usual += (
            abs(explanation.values[0, 0] - truth)
            <= stats.t(99).ppf(0.975) * explanation.std_error[0, 0]
        )
        inexact += "inexact for" in explanation.summary()
        assert explanation.low[0, 0] == pytest.approx(
            explanation.values[0, 0]
            - stats.t(99).ppf(0.975) * explanation.std_error[0, 0]
        )
    assert usual < 0.82 * 90, "the case is not trivial"
    assert inside > usual + 5
    assert inexact > 50
    even = pg.explain(
        pg.Model(model, task="regression"),
        *shops(0, [1] * 400)[:2],
        random_state=0,
        progress=False,
    )
    assert "inexact" not in even.summary()


def test_unequal_groups_have_as_many_degrees_as_their_share_leaves():
    values = np.random.default_rng(0).normal(size=(400, 1))
    codes = np.repeat(np.arange(21), [200, *[10] * 20])
    mean, std, count = mean_over_rows(values, None, Dependence(codes))
    assert count.max() == pytest.approx(1 / (0.5**2 + 20 * 0.025**2))
    sums = np.bincount(codes, values[:, 0] - mean[0])
    shares = np.bincount(codes) / 400
    assert std[0] == pytest.approx(np.sqrt((sums**2 / (1 - shares)).sum()) / 400)


def _told(rows, y, **group_options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        options = {
            "task": "regression",
            "random_state": 0,
            "progress": False,
            "n_repeats": 3,
        }
        explain_with(lambda t: t @ [1.0, 0.3], rows, y, **options, **group_options)
    return [
        str(warning.message)
        for warning in caught
        if "depend on each other" in str(warning.message)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_rows_of_patients_in_any_order_are_seen_by_what_was_measured_once_for_each(
    seed,
):
    draw = np.random.default_rng(seed)
    patient = draw.permutation(np.repeat(np.arange(40), 10))
    rows = np.column_stack([draw.normal(size=400), draw.normal(size=40)[patient]])
    noise = draw.normal(size=400) / 2
    messages = _told(rows, rows[:, 0] + draw.normal(size=40)[patient] + noise)
    assert len(messages) == 1
    assert "rows with one value of a column are alike" in messages[0]
    # A model that does not fit along a column errs in neighbouring levels, too.
    rounded = np.round(rows[:, 0], 1)
    assert not _told(np.column_stack([rounded, noise]), np.sin(2 * rounded) * 3 + noise)


@pytest.mark.parametrize(
    "weights",
    [
        np.repeat([1.0, 0.0], 100),
        np.geomspace(1, 1e4, 200),
        np.repeat([1.0, 0.0], [10, 190]),
    ],
)
def test_weights_in_the_order_of_rows_are_no_sign_of_dependence(weights):
    for seed in range(3):
        draw = np.random.default_rng(seed)
        rows = draw.normal(size=(200, 2))
        assert not _told(
            rows, rows[:, 0] + draw.normal(size=200), sample_weight=weights
        )
