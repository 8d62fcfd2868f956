"""Where a feature is set to see which way it pushes, and the mean prediction there,
computed again from raw tables.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.parts.folder import EXPLAINED
from permgrad.attribution.replace.direction import _points
from permgrad.data.encode.encoding import TableEncoder

NETWORK = {"dense_units": [8], "conv_filters": [3], "fusion_units": [8]}


def table(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "number": rng.normal(size=rows) * 3,
        "count": rng.integers(0, 4, rows),
        "flag": rng.random(rows) < 0.3,
        "kind": rng.choice(list("uvwxyzabcdefg"), rows, p=np.arange(13, 0, -1) / 91),
        "some": rng.normal(size=rows),
        "alone": 1.0,
    })  # fmt: skip
    frame.loc[rng.random(rows) < 0.2, "some"] = np.nan
    return frame


@pytest.fixture(scope="module")
def models():
    X = table(400)
    y = X["number"] + 2 * (X["kind"] == "u") + X["count"] - X["some"].fillna(3)
    regressor = pg.HyNNRegressor(
        preset="fast",
        image="always",
        pixels=8,
        network=NETWORK,
        max_epochs=5,
        random_state=0,
        progress=False,
    )
    classifier = pg.HyNNClassifier(
        preset="fast",
        image="always",
        pixels=8,
        network=NETWORK,
        max_epochs=5,
        random_state=0,
        progress=False,
    )
    return X, regressor.fit(X, y), classifier.fit(X, np.digitize(y, [0.0, 3.0]))


def direction_of(model, X, **options):
    call_options = {
        "method": "permgrad",
        "n_repeats": 1,
        "random_state": 0,
        "progress": False,
    } | options
    return explain_with(model, X, **call_options).direction


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_each_mean_is_that_of_predictions_with_the_feature_set(models, task):
    X, regressor, classifier = models
    model = regressor if task == "regression" else classifier
    selected_rows = X[:90]
    directions = direction_of(model, selected_rows)
    assert set(directions) == {"number", "count", "flag", "kind", "some"}, (
        "a constant pushes nowhere"
    )
    for name, direction in directions.items():
        assert (
            len(direction["at"])
            == len(direction["label"])
            == len(direction["mean"])
            >= 2
        )
        assert len({tuple(np.round(mean, 9)) for mean in direction["mean"]}) > 1
        cells = {str(cell): cell for cell in selected_rows[name].dropna()} | {
            "missing": np.nan
        }
        for set_value, label, mean in zip(
            direction["at"], direction["label"], direction["mean"], strict=True
        ):
            edited = selected_rows.copy()
            edited[name] = set_value if direction["kind"] == "numeric" else cells[label]
            if name == "flag":
                edited[name] = edited[name].astype(bool)
            expected = (
                model.predict(edited)[:, None]
                if task == "regression"
                else model.predict_proba(edited)
            )
            np.testing.assert_allclose(mean, expected.mean(axis=0), rtol=0, atol=2e-4)


def test_numbers_are_set_at_quantiles_and_few_numbers_at_each(models):
    X, regressor, _ = models
    directions = direction_of(regressor, X)
    numeric = directions["number"]
    assert numeric["kind"] == "numeric"
    set_values = np.array(numeric["at"])
    assert set_values[0] == X["number"].min()
    assert set_values[-1] == X["number"].max()
    ranks = np.searchsorted(np.sort(X["number"]), set_values)
    assert np.ptp(np.diff(ranks)) <= 1, "as many rows between every two"
    assert numeric["label"] == [f"{value:.4g}" for value in set_values]
    counted = directions["count"]
    assert (counted["kind"], counted["label"], counted["at"]) == (
        "levels",
        ["0", "1", "2", "3"],
        [0, 1, 2, 3],
    )
    gaps = directions["some"]
    assert gaps["kind"] == "numeric"
    assert np.isfinite(gaps["at"]).all()
    assert (gaps["at"][0], gaps["at"][-1]) == (X["some"].min(), X["some"].max())


def test_levels_are_the_most_frequent_first(models):
    X, regressor, _ = models
    kind_direction = direction_of(regressor, X)["kind"]
    counts = X["kind"].value_counts()
    shown = [counts[label] for label in kind_direction["label"]]
    assert shown == sorted(counts, reverse=True)[: len(shown)]
    assert len(shown) == 10 < kind_direction["levels"] == len(counts)
    assert direction_of(regressor, X)["flag"]["label"] == ["False", "True"]


def test_a_long_table_is_seen_from_end_to_end(models):
    """Of sorted rows some stand for all: the means are near those over every row."""
    X, regressor, _ = models
    ordered = X.sort_values("count", ignore_index=True)
    number_direction = direction_of(regressor, ordered)["number"]
    expected = [
        regressor.predict(ordered.assign(number=set_value)).mean()
        for set_value in number_direction["at"]
    ]
    first = [
        regressor.predict(ordered[:200].assign(number=set_value)).mean()
        for set_value in number_direction["at"]
    ]
    assert np.abs(np.subtract(first, expected)).max() > 0.1
    np.testing.assert_allclose(
        np.array(number_direction["mean"])[:, 0], expected, rtol=0, atol=0.05
    )


@pytest.mark.slow
def test_rows_count_as_much_as_their_weight(models):
    X, regressor, _ = models
    selected_rows = X[:90].reset_index(drop=True)
    kept_mask = (
        selected_rows["kind"].isin(["u", "v"]).to_numpy()
        & (selected_rows["number"] < 1).to_numpy()
    )
    background = X[200:]
    left_out = direction_of(
        regressor,
        selected_rows,
        sample_weight=kept_mask.astype(float),
        background=background,
    )
    alone = direction_of(regressor, selected_rows[kept_mask], background=background)
    assert (
        alone
        == left_out
        != direction_of(regressor, selected_rows, background=background)
    )

    times = np.random.default_rng(0).integers(1, 4, len(selected_rows))
    repeated = selected_rows.loc[
        np.repeat(np.arange(len(selected_rows)), times)
    ].reset_index(drop=True)
    assert len(repeated) > 100, "some rows stand for all of these"
    weighted = direction_of(
        regressor,
        selected_rows,
        sample_weight=times.astype(float),
        background=background,
    )
    for name, direction in weighted.items():
        edited = selected_rows.copy()
        for set_value, label, mean in zip(
            direction["at"], direction["label"], direction["mean"], strict=True
        ):
            if direction["kind"] == "numeric":
                edited[name] = set_value
                expected = np.average(regressor.predict(edited), weights=times)
                np.testing.assert_allclose(mean[0], expected, rtol=0, atol=2e-4)
            else:
                assert (
                    label
                    in direction_of(regressor, repeated, background=background)[name][
                        "label"
                    ]
                )
    ranks = np.searchsorted(np.sort(repeated["number"]), weighted["number"]["at"])
    assert np.ptp(np.diff(ranks)) <= 4, (
        "as much weight between every two, up to one row at both ends"
    )


def test_batches_and_groups(models):
    X, regressor, _ = models
    full_directions = direction_of(regressor, X[:150])
    cut = direction_of(regressor, X[:150], batch_size=7)
    for name, direction in full_directions.items():
        np.testing.assert_allclose(
            cut[name]["mean"], direction["mean"], rtol=0, atol=1e-5
        )
    grouped = direction_of(regressor, X[:150], groups={"pair": ["number", "kind"]})
    assert set(grouped) == set(full_directions) - {"number", "kind"}, (
        "several columns have no one way"
    )


# ---- what a folder says of itself ----------------------------------------------------


def test_a_record_is_read_where_its_parts_are_what_they_should_be(tmp_path):
    summary_record = {
        "schema_version": 1,
        "kind": "explanation",
        "key": "abc",
        "facts": {"rows": 3},
        "finished": True,
    }
    summary_record["files"] = ["part-0.parquet"]

    def read(record) -> dict | None:
        (tmp_path / "_stream.json").write_text(json.dumps(record), encoding="utf-8")
        return EXPLAINED.read(tmp_path)

    assert EXPLAINED.read(tmp_path / "nowhere") is None
    assert read(summary_record) == summary_record
    assert read({"kind": "explanation"}) is None
    wrong = {
        "kind": "prediction",
        "key": 3,
        "facts": ["rows"],
        "finished": "yes",
        "files": "part-0.parquet",
    }
    for name, value in wrong.items():
        assert read(summary_record | {name: value}) is None, name
    for unreadable in ([], "text", 3, None):
        assert read(unreadable) is None
    (tmp_path / "_stream.json").write_text("{", encoding="utf-8")
    assert EXPLAINED.read(tmp_path) is None


def test_dates_are_shown_at_a_few_moments_from_the_first_to_the_last():
    days = pd.date_range("2020-01-01", periods=60)
    frame = pd.DataFrame({"day": days, "x": np.arange(60.0)})
    encoder = TableEncoder().fit(frame)
    subject = SimpleNamespace(preprocessor=encoder)
    request = SimpleNamespace(
        raw=frame, shown=frame, subject=subject, encoded=encoder.transform(frame)
    )
    points = _points(request, "day", np.ones(60))
    assert (points["label"][0], points["label"][-1]) == ("2020-01-01", "2020-02-29")
    assert [str(days[row].date()) for row in points["rows"]] == points["label"]
    assert (
        points["at"]
        == list(range(points["levels"]))
        == list(range(len(points["label"])))
    )
    assert 2 < points["levels"] < 60
