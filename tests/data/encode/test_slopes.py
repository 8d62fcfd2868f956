"""Slopes of levels, and numbers less their mean within a level: slow twins, and one
network from fit to page.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import permgrad as pg
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.level_slopes import find_centred, find_slopes
from permgrad.data.encode.scores import Target
from permgrad.models.fast.replacement import ReplacementEngine

LEVELS = 60


def made(spread, n=900, seed=0):
    """Sixty shops with effects, and slopes on x of a deviation, around x of their own.

    ``z`` varies likewise.
    """
    rng = np.random.default_rng(seed)
    level = rng.integers(0, LEVELS, n)
    slopes = 1 + spread * rng.normal(size=LEVELS)
    x = 2 * rng.normal(size=LEVELS)[level] + rng.normal(size=n)
    z = rng.normal(size=n)
    y = (
        rng.normal(size=LEVELS)[level]
        + slopes[level] * x
        + z
        + 0.5 * rng.normal(size=n)
    )
    return (
        pd.DataFrame({"x": x, "z": z, "shop": [f"s{k:02d}" for k in level]}),
        y,
        slopes,
        level,
    )


def learned(frame, y, **options):
    encoder = TableEncoder("standard", max_levels=20).fit(frame)
    return encoder, encoder.learn(
        frame, Target.of(np.asarray(y), "regression", 0, **options)
    )


def test_slopes_that_differ_are_found_by_a_slow_twin_and_others_are_not():
    rng = np.random.default_rng(0)
    n = 800
    level = rng.integers(0, 40, n)
    weights = rng.uniform(0.5, 2.0, n)
    x = rng.normal(size=(n, 3)) + 5 * rng.normal(size=(40, 3))[level]
    left = (
        rng.normal(size=n)
        + (rng.normal(size=40)[level] - 0.3) * x[:, 1]
        + 0.7 * x[:, 0]
    )
    cells = sparse.csr_matrix(
        (np.ones(n, dtype=np.float32), (np.arange(n), level)), shape=(n, 40)
    )
    (level_slopes,) = find_slopes(cells, x, [0, 1, 2], left, weights)
    assert level_slopes.number == 1
    inside = x[:, 1].copy()
    for k in range(40):
        rows = level == k
        assert level_slopes.means[k] == pytest.approx(
            np.average(x[rows, 1], weights=weights[rows])
        )
        inside[rows] -= level_slopes.means[k]
    np.testing.assert_allclose(
        level_slopes.inside * level_slopes.scale, inside, atol=1e-5
    )
    assert np.average(level_slopes.inside**2, weights=weights) == pytest.approx(
        1, abs=1e-5
    )
    assert (
        find_slopes(cells, x, [0, 2], left, weights) == []
    )  # one slope for all levels is none of theirs
    assert find_slopes(cells, np.zeros((n, 1)), [0], left, weights) == []


def test_by_chance_few_slopes_differ():
    rng = np.random.default_rng(1)
    n = 600
    level = rng.integers(0, 50, n)
    cells = sparse.csr_matrix(
        (np.ones(n, dtype=np.float32), (np.arange(n), level)), shape=(n, 50)
    )
    tries = [
        bool(
            find_slopes(
                cells, rng.normal(size=(n, 1)), [0], rng.normal(size=n), np.ones(n)
            )
        )
        for _ in range(300)
    ]
    assert (
        sum(tries) <= 8
    )  # three standard errors, with a skewed sum of squares: about 1 %


def test_slopes_are_those_of_the_levels_and_pulled_towards_their_mean():
    frame, y, slopes, level = made(1.0)
    encoder, encoded = learned(frame, y)
    names = [
        "score",
        "slope on x at 0",
        "slope on x",
        "less the mean of x",
        "unit of x",
    ]
    assert encoder.encoded_names_ == ["x", "z", *(f"shop=<{name}>" for name in names)]
    assert encoder.slopes_ == [(4, 0), (6, 0, 5)]
    of_level = encoder.scores_.of("shop", [f"s{k:02d}" for k in range(LEVELS)])
    assert np.corrcoef(of_level[:, 2], slopes)[0, 1] > 0.97
    # In y's units, beside the common slope, they spread less than the true ones and by
    # about as much.
    unit = (
        np.polyfit(of_level[:, 2], slopes, 1)[0] * of_level[:, 2].std() / slopes.std()
    )
    assert 0.9 < unit <= 1
    # No row's own target is in its slope: rows of one shop have up to ten.
    assert len(np.unique(encoded[level == 0][:, 4])) > 1
    assert not encoder.scores_.of("shop", ["never seen"]).any()
    again = TableEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    np.testing.assert_array_equal(again.transform(frame), encoder.transform(frame))
    assert again.slopes_ == encoder.slopes_


@pytest.mark.slow
def test_levels_with_equal_slopes_classes_and_groups_have_none():
    frame, y, _, _ = made(0.0)
    assert learned(frame, y)[0].scores_.slopes == {}
    frame, y, _, level = made(1.0)
    assert learned(frame, y)[0].slopes_
    assert not learned(frame, y, units=level)[
        0
    ].slopes_  # nobody is on both sides, also where pieces of names help
    labels = np.where(y > np.median(y), "high", "low")
    encoder = TableEncoder("standard", max_levels=20).fit(frame)
    encoder.learn(frame, Target.of(labels, "classification", 0))
    assert not encoder.slopes_


def test_more_classes_than_outputs_have_no_slopes_though_signs_stand_for_them():
    rng = np.random.default_rng(4)
    levels = np.repeat(np.arange(120), 10)
    x = rng.normal(size=levels.size)
    y = (levels // 4 + 10 * (x * (-1.0) ** levels > 0)) % 40
    frame = pd.DataFrame({"x": x, "shop": [f"s{k:03d}" for k in levels]})
    encoder = TableEncoder("standard", max_levels=20).fit(frame)
    encoder.learn(frame, Target.of(y, "classification", 0))
    assert encoder.kinds_.count("score") == 32
    assert len(encoder.slopes_) == 0


def test_numbers_are_centred_within_the_finest_levels_as_by_a_slow_twin():
    rng = np.random.default_rng(2)
    n = 900
    level = {"person": rng.integers(0, 60, n), "town": rng.integers(0, 20, n)}
    weights = rng.uniform(0.5, 2.0, n)
    x = rng.normal(size=(n, 4))
    x[:, 0] += rng.normal(size=60)[level["person"]] + rng.normal(size=20)[level["town"]]
    x[:, 1] += rng.normal(size=20)[level["town"]]
    x[:, 2] = rng.normal(size=60)[level["person"]]
    cells = {
        name: sparse.csr_matrix((np.ones(n, dtype=np.float32), (np.arange(n), of)))
        for name, of in level.items()
    }
    centred_numbers = find_centred(cells, x, dict.fromkeys(cells, range(4)), weights)
    # The third says no more than the person, the last nothing of either. The first
    # differs between people and towns.
    assert {
        name: [centred_number.number for centred_number in level_numbers]
        for name, level_numbers in centred_numbers.items()
    } == {
        "person": [0],
        "town": [1],
    }
    for name, number in (("person", 0), ("town", 1)):
        (single_number,), inside = centred_numbers[name], x[:, number].copy()
        for k in range(len(single_number.means)):
            rows = level[name] == k
            inside[rows] -= np.average(inside[rows], weights=weights[rows])
        np.testing.assert_allclose(
            single_number.inside * single_number.scale, inside, atol=1e-5
        )
        assert single_number.scale == pytest.approx(
            np.sqrt(np.average(inside**2, weights=weights))
        )
    several = np.repeat(x[:, [0]], 12, axis=1) + 0.1 * rng.normal(size=(n, 12))
    assert (
        len(
            find_centred(cells, several, dict.fromkeys(cells, range(12)), weights)[
                "person"
            ]
        )
        == 10
    )
    row_cells = {"row": sparse.identity(n, dtype=np.float32, format="csr")}
    assert find_centred(row_cells, x, {"row": range(4)}, weights) == {"row": []}


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
)
def test_what_a_level_moves_all_its_numbers_by_is_not_seen_within_it(seed):
    rng = np.random.default_rng(seed)
    frame, y, _, level = made(1.0, seed=seed)
    moved = frame.assign(x=frame["x"] + 5 * rng.normal(size=LEVELS)[level])
    assert (
        moved["x"].groupby(level).mean().std()
        > 1.5 * frame["x"].groupby(level).mean().std()
    )  # not as before
    within_values = []
    for rows in (frame, moved):
        encoder, encoded = learned(rows, y)
        ((unit, number, into),) = (
            slope_entry for slope_entry in encoder.slopes_ if len(slope_entry) > 2
        )
        within = encoded[:, into] + encoded[:, unit] * encoded[:, number]
        again = encoder.transform(rows)
        np.testing.assert_allclose(
            again[:, into] + again[:, unit] * again[:, number], within, atol=1e-4
        )
        within_values.append(within)
        unknown = encoder.transform(rows.assign(shop="never seen"))
        assert not unknown[:, [unit, into]].any()
    np.testing.assert_allclose(*within_values, atol=1e-3)
    assert within_values[0].std() == pytest.approx(1, abs=0.01)


@pytest.fixture(scope="module")
def fitted():
    frame, y, _, _ = made(1.0, n=1200)
    model = pg.HyNNRegressor(
        preset={"base": "fast", "max_levels": 20},
        max_epochs=8,
        random_state=0,
        progress=False,
    )
    return (
        model.fit(frame[:1000], y[:1000]),
        frame[1000:].reset_index(drop=True),
        y[1000:],
    )


def test_a_network_multiplies_slopes_and_saves_them(fitted, tmp_path):
    model, X, y = fitted
    (slope, number), (unit, same, into) = model.module_.table_branch.products
    encoded = torch.from_numpy(model.encode_rows(X).encoded)
    multiplied_rows = model.module_.table_branch.multiplied(encoded)
    torch.testing.assert_close(
        multiplied_rows[:, slope], encoded[:, slope] * encoded[:, number]
    )
    torch.testing.assert_close(
        multiplied_rows[:, into], encoded[:, into] + encoded[:, unit] * encoded[:, same]
    )
    assert not multiplied_rows[:, unit].any()
    other_columns = [
        column
        for column in range(encoded.shape[1])
        if column not in (slope, unit, into)
    ]
    assert torch.equal(multiplied_rows[:, other_columns], encoded[:, other_columns])
    assert model.module_.numeric_columns == [0, 1, into]
    assert np.mean((model.predict(X) - y) ** 2) < 0.3 * y.var()
    model.save(tmp_path / "model")
    again = pg.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_explanations_go_through_the_products(fitted):
    model, X, _ = fitted
    gradients = pg.explain(
        model, X[:40], method=pg.methods.IntegratedGradients(baseline="mean")
    )
    assert gradients.meta["rule"] == "secants of each function"
    np.testing.assert_allclose(
        gradients.base_values + gradients.values[..., 0].sum(axis=1),
        model.predict(X[:40]),
        rtol=1e-4,
        atol=1e-4,
    )
    assert np.abs(gradients.values).mean(axis=0).min() > 0.01
    # What is recomputed after a replacement is what the whole network says of the
    # edited row.
    rows, other_rows = (
        torch.from_numpy(model.encode_rows(table_rows).encoded)
        for table_rows in (X[:30], X[30:60])
    )
    fast, whole_engine = (
        ReplacementEngine(model.module_, incremental=is_incremental)
        for is_incremental in (True, False)
    )
    for columns in ([0], [1], [2, 3, 4, 5, 6], [0, 2, 3, 4, 5, 6]):
        with torch.inference_mode():
            engine_replies = [
                engine.replace(
                    engine.prepare(rows),
                    0,
                    30,
                    columns,
                    other_rows[:, columns],
                    [frozenset({"tabular"})],
                )
                for engine in (fast, whole_engine)
            ]
        edited = rows.clone()
        edited[:, columns] = other_rows[:, columns]
        expected = torch.from_numpy(model.predict_encoded(edited.numpy()))
        for (outputs,) in (engine_reply.values() for engine_reply in engine_replies):
            torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)


def test_an_onnx_file_multiplies_slopes(fitted, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model, X, _ = fitted
    session = runtime.InferenceSession(
        pg.integrations.export_onnx(model, tmp_path / "model.onnx")
    )
    (session_predictions,) = session.run(
        None, {"encoded": model.encode_rows(X).encoded}
    )
    np.testing.assert_allclose(
        session_predictions, model.predict(X), rtol=1e-5, atol=1e-5
    )


def test_trees_and_a_model_of_rows_in_files_read_slopes(tmp_path):
    frame, y, _, _ = made(1.0)
    frame.assign(y=y).to_parquet(tmp_path / "rows.parquet")
    model = pg.HyNNRegressor(
        preset={"base": "fast", "max_levels": 20},
        max_epochs=2,
        random_state=0,
        progress=False,
    )
    assert model.fit_stream(tmp_path / "rows.parquet", "y").preprocessor_.slopes_
    low, high = (
        model.predict_interval(frame[:50]).T[:2]
        if hasattr(model, "predict_interval")
        else (0, 1)
    )
    assert np.all(low < high)
