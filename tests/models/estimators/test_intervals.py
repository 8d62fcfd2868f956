"""Intervals and sets hold the truth as often as asked, by counting; the scale is that
of a slow twin; bad input.
"""

import copy
import math
import warnings

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad import HyNNClassifier, HyNNRegressor, InputError
from permgrad.base.dependence import Dependence
from permgrad.models.estimators.intervals import HeldOut, Scale, fit_scale

SMALL = {
    "preset": "fast", "branches": ("tabular",), "network": {"dense_units": [16], "fusion_units": []},
    "max_epochs": 5, "random_state": 0, "progress": False,
}  # fmt: skip
FLAT = Scale(np.zeros((1, 0)), np.zeros((1, 1)))
NO_GROUP = np.zeros(0, dtype=np.int64)


def noisy(rows, seed=0):
    """The noise depends on ``a`` alone, and is twice as large in the north."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.uniform(-1, 1, (rows, 3)), columns=["a", "b", "c"])
    X["town"] = rng.choice(["north", "south"], rows)
    return X, (
        X["b"] + np.exp(X["a"]) * (1 + (X["town"] == "north")) * rng.normal(size=rows)
    ).to_numpy()


@pytest.fixture(scope="module", name="regressor")
def _regressor():
    return HyNNRegressor(**SMALL).fit(*noisy(3000))


@pytest.fixture(scope="module", name="classifier")
def _classifier():
    X, y = noisy(2000)
    return HyNNClassifier(**SMALL).fit(X, np.digitize(y, [-0.7, 0.7]))


# ---- how often -----------------------------------------------------------------------
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("rows", [20, 37, 100])
def test_of_exchangeable_rows_exactly_the_share_asked_for_is_inside(rows, coverage):
    errors = np.random.default_rng(rows).standard_t(
        2, size=rows
    )  # each is new once, and the others held out
    inside = []
    for row_index in range(rows):
        x = np.zeros((rows - 1, 1), np.float32)
        other_errors = np.delete(errors, row_index)
        low, high = HeldOut(x, other_errors, FLAT).ends(
            x[:1], np.zeros(1), coverage, NO_GROUP
        )[0]
        inside.append(low < errors[row_index] < high)
        p = (errors - errors.min()) / np.ptp(errors)
        members = HeldOut(x, np.delete(p, row_index)).members(
            x[:1], 1 - p[[row_index], None], coverage, NO_GROUP
        )
        inside[-1] = inside[-1], bool(members[0, 0])
    share = math.ceil(coverage * rows - 1e-9) / rows
    assert np.mean(inside, axis=0).tolist() == pytest.approx([share, share])
    assert coverage <= share < coverage + 1 / rows


@pytest.mark.parametrize("timed", [False, True])
def test_held_out_rows_that_depend_on_each_other_count_as_fewer(timed):
    """New rows of other groups, or of another time, are inside as often as asked: 8
    groups of 20 or 160 times.
    """
    plainly = []
    aware = []
    for seed in range(300):
        draw = np.random.default_rng(seed)
        if timed:
            errors = np.convolve(
                draw.normal(size=3000), 0.85 ** np.arange(60), mode="valid"
            )
            held_out_errors = errors[:160]
            new = errors[1000:]
            codes = np.arange(160)
        else:
            held_out_errors, new = (
                0.85 * np.repeat(draw.normal(size=count), 20)
                + 0.5 * draw.normal(size=20 * count)
                for count in (8, 200)
            )
            codes = np.repeat(np.arange(8), 20)
        x = np.zeros((160, 1), np.float32)
        for known_dependence, inside in (
            (None, plainly),
            (Dependence(codes, timed), aware),
        ):
            low, high = HeldOut(
                x, held_out_errors, FLAT, dependence=known_dependence
            ).ends(x[:1], np.zeros(1), 0.9, NO_GROUP)[0]
            inside.append(np.mean((low < new) & (new < high)))
    assert np.mean(plainly) < 0.87
    assert 0.88 < np.mean(aware) < 0.93


def test_too_few_groups_for_a_share_are_said():
    x = np.zeros((60, 1), np.float32)
    errors = np.repeat(np.random.default_rng(0).normal(size=6), 10)
    held_out = HeldOut(
        x, errors, FLAT, dependence=Dependence(np.repeat(np.arange(6), 10))
    )
    with pytest.warns(
        pg.PermgradWarning, match="say as much as 6 independent ones, fewer than the 19"
    ):
        ends = held_out.ends(x[:1], np.zeros(1), 0.9, NO_GROUP)[0]
    assert ends.tolist() == [errors.min(), errors.max()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held_out.ends(x[:1], np.zeros(1), 0.7, NO_GROUP)


def test_groups_have_their_own_scores():
    x = np.repeat([[0.0], [1.0]], 50, axis=0).astype(np.float32)
    scores = np.concatenate([np.linspace(-1, 1, 50), np.linspace(-5, 5, 50)])
    held_out = HeldOut(x, scores, FLAT)
    new = np.array([[0.0], [1.0]])
    column = np.array([0])
    both_ends = held_out.ends(new, np.zeros(2), 0.8, NO_GROUP)
    assert (both_ends[0] == both_ends[1]).all()
    widths = np.ptp(held_out.ends(new, np.zeros(2), 0.8, column), axis=1)
    assert widths[1] == pytest.approx(5 * widths[0])
    rare = HeldOut(
        np.concatenate([x, [[7.0]]]).astype(np.float32), np.append(scores, 0.0), FLAT
    )
    alone = rare.ends(np.array([[7.0]]), np.zeros(1), 0.8, column)
    assert (alone == rare.ends(np.array([[7.0]]), np.zeros(1), 0.8, NO_GROUP)).all(), (
        "too few: those of all rows"
    )


def test_groups_of_many_values_are_quarters():
    x = np.arange(400, dtype=np.float32)[:, None]
    held_out = HeldOut(
        x, np.repeat([1.0, 2.0, 3.0, 4.0], 100) * np.tile([-1, 1], 200), FLAT
    )
    high = held_out.ends(x, np.zeros(400), 0.5, np.array([0]))[:, 1]
    assert high.tolist() == [1.0] * 100 + [2.0] * 100 + [3.0] * 100 + [4.0] * 100


# ---- the scale -----------------------------------------------------------------------
def slow_scale(columns, errors, held_out, held_errors, *, rate=0.1, pull=20.0):
    """Component-wise gradient boosting of stumps for the Gamma deviance with a log
    link, each step written out.
    """
    edges = [np.quantile(column, np.arange(1, 16) / 16) for column in columns.T]
    fitted = [math.log(np.mean(errors))] * len(errors)
    held_out_scale = [0.0] * len(held_out)
    sums = np.zeros(len(held_out))
    best = np.zeros(len(held_out))
    least = math.log(np.mean(held_errors))
    waited = 0
    for _ in range(300):
        slopes = [
            error * math.exp(-value) - 1
            for error, value in zip(errors, fitted, strict=True)
        ]
        cuts = []
        for k, column in enumerate(columns.T):
            for edge in edges[k]:
                left = [s for s, v in zip(slopes, column, strict=True) if v <= edge]
                right = [s for s, v in zip(slopes, column, strict=True) if v > edge]
                if left and right:
                    ends = [sum(side) / (len(side) + pull) for side in (left, right)]
                    gain = sum(
                        sum(side) ** 2 / (len(side) + pull) for side in (left, right)
                    )
                    cuts.append((gain, k, edge, *ends))
        _, k, edge, low, high = max(cuts, key=lambda cut: cut[0])
        fitted = [
            v + rate * (low if c <= edge else high)
            for v, c in zip(fitted, columns[:, k], strict=True)
        ]
        held_out_scale = [
            v + rate * (low if c <= edge else high)
            for v, c in zip(held_out_scale, held_out[:, k], strict=True)
        ]
        sums = np.array(held_out_scale)
        deviance = sums.mean() + math.log(np.mean(held_errors * np.exp(-sums)))
        waited += 1
        if deviance < least - 1e-4:
            least = deviance
            best = sums
            waited = 0
        if waited == 25:
            break
    return np.exp(best)


def test_the_scale_is_that_of_a_slow_twin():
    rng = np.random.default_rng(3)
    columns = rng.integers(0, 5, (120, 2)).astype(float)
    held_out = rng.integers(0, 5, (60, 2)).astype(float)
    errors, held_errors = (
        np.exp(0.5 * x[:, 1]) * rng.exponential(size=len(x))
        for x in (columns, held_out)
    )
    expected = slow_scale(columns, errors, held_out, held_errors)
    assert np.ptp(expected) > 1, "the case is not trivial"
    np.testing.assert_allclose(
        fit_scale(columns, errors, held_out, held_errors)(held_out),
        expected,
        rtol=1e-10,
    )


def test_errors_of_zero_give_intervals_without_width():
    x = np.zeros((40, 1), np.float32)
    y = np.linspace(0, 1, 40)
    held_out = HeldOut.of_numbers((x, y, y), (x, y, y))
    assert (held_out.ends(x, y, 0.9, NO_GROUP) == y[:, None]).all()


# ---- estimators ----------------------------------------------------------------------
def test_intervals_hold_and_are_wide_where_errors_are_large(regressor):
    X, y = noisy(4000, seed=1)
    low, high = regressor.predict_interval(X, 0.9).T
    assert 0.86 < ((low < y) & (y < high)).mean() < 0.94
    loud = (X["a"] > 0.5) & (X["town"] == "north")
    assert np.median((high - low)[loud]) > 3 * np.median((high - low)[X["a"] < -0.5])
    widths = [
        np.ptp(regressor.predict_interval(X[:5], share), axis=1)
        for share in (0.5, 0.8, 0.95)
    ]
    assert (np.diff(widths, axis=0) > 0).all()
    for town in ("north", "south"):
        rows = (X["town"] == town).to_numpy()
        inside = ((low < y) & (y < high))[rows]
        by_group = regressor.predict_interval(X[rows], by="town")
        assert inside.mean() > 0.82
        assert ((by_group[:, 0] < y[rows]) & (y[rows] < by_group[:, 1])).mean() > 0.84
    assert (
        regressor.predict_interval(X[:9]) == regressor.predict_interval(X)[:9]
    ).all()


def test_sets_hold_the_class(classifier):
    X, y = noisy(2000, seed=1)
    codes = np.digitize(y, [-0.7, 0.7])
    sets = classifier.predict_set(X, 0.8)
    assert sets.dtype == np.bool_
    assert 0.74 < sets[np.arange(2000), codes].mean() < 0.86
    assert classifier.score(X, codes) < 0.75, "so that one class would not do"
    assert sets.sum(axis=1).max() > 1
    assert (sets <= classifier.predict_set(X, 0.9)).all()


def test_the_width_is_an_output_that_methods_explain(regressor):
    def width(rows):
        return np.ptp(regressor.predict_interval(rows), axis=1)

    for method in ("permgrad", "shapley"):
        explanation = pg.explain(
            width,
            noisy(200, seed=2)[0],
            method=method,
            scope="global",
            random_state=0,
            progress=False,
        )
        assert explanation.ranking()[:2] == ["a", "town"]


def test_held_out_rows_are_saved(regressor, classifier, tmp_path):
    X = noisy(50, seed=3)[0]
    for name, model in {"numbers": regressor, "classes": classifier}.items():
        model.save(tmp_path / name)
        again = pg.load(tmp_path / name)
        call = "predict_interval" if name == "numbers" else "predict_set"
        assert (
            getattr(again, call)(X, by="town") == getattr(model, call)(X, by="town")
        ).all()


@pytest.mark.parametrize(
    "change",
    [
        {"held_out.scores": np.zeros(3)},
        {"held_out.scores": np.full(300, np.nan)},
        {"held_out.x": np.zeros((300, 2), np.float32)},
        {"held_out.steps": np.zeros((99, 16))},
        {"held_out.edges": np.zeros((5, 3))},
        {"held_out.row_groups": np.zeros(3, np.int64)},
        {"held_out.row_time": np.full(300, -1)},
    ],
)
def test_parts_that_do_not_fit_are_refused(regressor, change):
    arrays = regressor.held_out_.arrays()
    encoded = regressor.module_.encoded
    assert HeldOut.from_arrays(arrays, encoded) is not None
    with pytest.raises(ValueError, match=r"scores|scale"):
        HeldOut.from_arrays(arrays | change, encoded)


def test_rows_of_files_calibrate_as_well(tmp_path):
    X, y = noisy(600)
    X.assign(y=y).to_parquet(tmp_path / "rows.parquet")
    model = HyNNRegressor(**SMALL).fit_stream(
        tmp_path / "rows.parquet", "y", block_rows=200
    )
    assert model.predict_interval(X).shape == (600, 2)


# ---- by class ------------------------------------------------------------------------
def rare(rows, seed):
    """One row in twelve is of a class that is hard to see."""
    rng = np.random.default_rng(seed)
    ill = rng.random(rows) < 1 / 12
    return pd.DataFrame(
        {"a": rng.normal(size=rows) + 1.2 * ill, "b": rng.normal(size=rows)}
    ), np.where(ill, "ill", "well")


def test_sets_by_class_hold_a_rare_class(tmp_path):
    (X, y), (new, truth) = rare(3000, 0), rare(4000, 1)
    model = HyNNClassifier(**SMALL, validation_fraction=0.4).fit(X, y)
    ill = truth == "ill"
    usual = model.predict_set(new)
    by_class = model.predict_set(new, by_class=True)
    assert usual[ill, 0].mean() < 0.5  # what is asked for holds over all rows alone
    assert by_class[ill, 0].mean() == pytest.approx(0.9, abs=0.07)
    assert by_class[~ill, 1].mean() == pytest.approx(0.9, abs=0.04)
    loaded = pg.load(model.save(tmp_path / "model") or tmp_path / "model")
    assert (loaded.predict_set(new, by_class=True) == by_class).all()
    with pytest.raises(ValueError, match="without their classes"):
        HeldOut.from_arrays(
            {
                name: stored_array
                for name, stored_array in model.held_out_.arrays().items()
                if "codes" not in name
            },
            2,
        )


def test_too_few_held_out_rows_warn(classifier):
    X, _ = noisy(50)
    with pytest.warns(
        pg.PermgradWarning,
        match=r"fewer than 199 held-out rows, too few .* in every set",
    ):
        assert classifier.predict_set(X, 0.995, by_class=True).any(axis=1).all()
    with pytest.warns(
        pg.PermgradWarning,
        match=r"50 of 50 rows are in groups of fewer than 99 held-out rows",
    ):
        classifier.predict_set(X, 0.99, by=["town", "a"])


# ---- bad input -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coverage": 1.0}, "coverage must be between 0 and 1, got 1.0"),
        ({"coverage": True}, "coverage must be between 0 and 1, got True"),
        (
            {"coverage": 0.999},
            (
                "coverage=0.999 needs at least 1,999 rows held out of training, but "
                "there are 300"
            ),
        ),
        ({"by": "towm"}, "'towm'"),
        ({"by": 3}, "by must list names, got 3"),
    ],
)
def test_bad_arguments_are_refused(regressor, arguments, message):
    with pytest.raises(InputError, match=message):
        regressor.predict_interval(noisy(5)[0], **arguments)


def test_a_model_without_held_out_rows_is_refused(regressor):
    model = copy.copy(regressor)
    model.held_out_ = None
    with pytest.raises(
        InputError, match=r"need rows held out of training.*validation_fraction=0.1"
    ):
        model.predict_interval(noisy(5)[0])
    assert (
        HyNNRegressor(**SMALL, validation_fraction=0.0).fit(*noisy(50)).held_out_
        is None
    )
