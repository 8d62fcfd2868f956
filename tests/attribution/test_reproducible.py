"""The same seed gives the same model, and a model's explanation does not depend on how
the work is cut.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.replace import game
from permgrad.attribution.replace.engine import Replacement

TOLERANCE = 1e-5
ROWS = 230


def make_data(rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(rows, 4)), columns=list("abcd"))
    X["colour"] = rng.choice(["red", "green", "blue"], rows)
    X.loc[rng.random(rows) < 0.1, "b"] = np.nan
    return X, (
        X["a"] * X["c"]
        + (X["colour"] == "red")
        + X["b"].fillna(0)
        + 0.2 * rng.normal(size=rows)
    ).to_numpy()


X, NUMBERS = make_data(2 * ROWS)
LABELS = np.digitize(NUMBERS, [-0.5, 1.0])
TEST = X[ROWS:].reset_index(drop=True)


@pytest.fixture(scope="module", params=["classification", "regression"])
def fitted(request):
    estimator, y = (
        (pg.HyNNClassifier, LABELS)
        if request.param == "classification"
        else (pg.HyNNRegressor, NUMBERS)
    )
    model = estimator(
        preset="fast", image="always", max_epochs=4, random_state=0, progress=False
    ).fit(X[:ROWS], y[:ROWS])
    return model, y[ROWS:]


def explain(model, y, rows=TEST, **options) -> pg.Explanation:
    call_options = {"random_state": 7, "n_repeats": 3, "progress": False, **options}
    return explain_with(model, rows, y, **call_options)


def assert_same(
    expected_explanation: pg.Explanation,
    explanation: pg.Explanation,
    *,
    exact: bool = False,
) -> None:
    """Compare values, parts, errors and branch weights; 1e-5 of the loss scale."""
    scale = 0.0 if exact else expected_explanation.meta["loss_scale"]
    order = [explanation.names.index(name) for name in expected_explanation.names]
    assert (
        np.abs(expected_explanation.values).max()
        > 0.01 * expected_explanation.meta["loss_scale"]
    )
    pairs = [
        (expected_explanation.values, explanation.values),
        (expected_explanation.std_error, explanation.std_error),
        (expected_explanation.low, explanation.low),
        (expected_explanation.high, explanation.high),
    ]
    pairs += [
        (expected_explanation.parts[name], explanation.parts[name])
        for name in expected_explanation.parts
    ]
    for array, their in pairs:
        np.testing.assert_allclose(array, their[order], rtol=0, atol=TOLERANCE * scale)
    if expected_explanation.branches is not None:
        for path in ("tabular", "image"):
            for key in ("importance", "alone", "last", "ci_low", "ci_high"):
                assert expected_explanation.branches[path][key] == pytest.approx(
                    explanation.branches[path][key], abs=TOLERANCE * scale, rel=0
                )


# ---- the model -----------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["fast", "default", "paper"])
def test_the_same_seed_gives_the_same_model(preset):
    def weights(seed: int) -> dict[str, bytes]:
        torch.manual_seed(
            seed + 99
        )  # what the user does with torch's generator is of no account
        np.random.seed(seed)
        model = pg.HyNNClassifier(
            preset=preset, max_epochs=2, random_state=seed, progress=False
        )
        model.fit(X[:200], LABELS[:200])
        return {
            name: tensor.numpy().tobytes()
            for name, tensor in model.module_.state_dict().items()
        }

    first = weights(0)
    torch.rand(3)
    assert first == weights(0)
    assert first != weights(1)


def test_a_generator_as_seed_advances():
    def one(random_state) -> np.ndarray:
        model = pg.HyNNRegressor(
            preset="fast",
            image="always",
            max_epochs=1,
            random_state=random_state,
            progress=False,
        )
        return model.fit(X[:100], NUMBERS[:100]).predict(X[:50])

    generator = np.random.default_rng(3)
    twin = np.random.default_rng(3)
    first = one(generator)
    second = one(generator)
    np.testing.assert_array_equal(first, one(twin))
    np.testing.assert_array_equal(second, one(twin))
    assert not np.array_equal(first, second)
    assert not np.array_equal(one(None), one(None))


# ---- the explanation of one model ----------------------------------------------------


def test_whatever_the_batch_size(fitted):
    model, y = fitted
    full_explanation = explain(model, y)
    for batch_size in (7, 229, 10_000):
        assert_same(full_explanation, explain(model, y, batch_size=batch_size))


def test_whatever_the_number_of_threads(fitted):
    model, y = fitted
    before = torch.get_num_threads()
    full_explanation = explain(model, y)
    try:
        for threads in {1, 2} - {before}:
            torch.set_num_threads(threads)
            assert_same(full_explanation, explain(model, y))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_whatever_the_memory(fitted, monkeypatch):
    """Receivers are taken in blocks whose caches fit: small blocks, one after the
    other, give the same.
    """
    model, y = fitted
    full_explanation = explain(model, y)

    def small_blocks(self: Replacement, span: slice | None = None) -> list[slice]:
        assert span is None
        return [
            slice(start, min(start + 37, len(self.encoded)))
            for start in range(0, len(self.encoded), 37)
        ]

    monkeypatch.setattr(Replacement, "_spans", small_blocks)
    assert_same(full_explanation, explain(model, y))


def test_memory_that_does_not_suffice_is_met_with_smaller_batches(fitted, monkeypatch):
    from permgrad.models.fast.replacement import ReplacementEngine

    model, y = fitted
    full_explanation = explain(model, y, branches=False)
    sizes = []
    plain = ReplacementEngine.replace

    def too_large(self, block, start, stop, *arguments):
        sizes.append(stop - start)
        if stop - start > 20:
            raise torch.OutOfMemoryError
        return plain(self, block, start, stop, *arguments)

    monkeypatch.setattr(ReplacementEngine, "replace", too_large)
    assert_same(full_explanation, explain(model, y, branches=False))
    assert max(sizes) > 20
    # It does not try the large batch again and again.
    assert sum(size > 20 for size in sizes) < 6


@pytest.mark.slow
def test_whatever_the_order_of_features(fitted, monkeypatch):
    model, y = fitted
    names = list(TEST.columns)
    full_explanation = explain(model, y)
    for order in (names[::-1], names[2:] + names[:2]):
        reordered = explain(model, y, groups={name: [name] for name in order})
        assert list(reordered.names) == order
        assert_same(full_explanation, reordered)
    # Nor does it matter where and when tasks are run.
    plain = game.Game.play
    monkeypatch.setattr(
        game.Game,
        "play",
        lambda self, plays, *rest: plain(self, list(plays)[::-1], *rest),
    )
    assert_same(full_explanation, explain(model, y), exact=True)


@pytest.mark.parametrize("sampling", ["marginal", "conditional"])
def test_whatever_the_partition_of_rows(fitted, sampling):
    """With one background for all, the mean over the parts, weighted by rows, is the
    mean over all rows.
    """
    model, y = fitted
    options = {
        "background": X[:100],
        "sampling": sampling,
        "direction": False,
        "n_repeats": 2,
    }
    count = 60
    full_explanation = explain(model, y[:count], TEST[:count], **options)
    total = np.zeros_like(full_explanation.values[:, 0])
    part_sums = {name: np.zeros_like(total) for name in full_explanation.parts}
    importance = dict.fromkeys(("tabular", "image"), 0.0)
    for start, stop in ((0, 1), (1, 25), (25, count)):
        piece = explain(
            model, y[start:stop], TEST[start:stop], row_offset=start, **options
        )
        total += piece.values[:, 0] * (stop - start) / count
        for name in part_sums:
            part_sums[name] += piece.parts[name][:, 0] * (stop - start) / count
        for path in importance:
            importance[path] += (
                piece.branches[path]["importance"] * (stop - start) / count
            )
    scale = full_explanation.meta["loss_scale"]
    np.testing.assert_allclose(
        total, full_explanation.values[:, 0], rtol=0, atol=TOLERANCE * scale
    )
    for name, values in part_sums.items():
        np.testing.assert_allclose(
            values, full_explanation.parts[name][:, 0], rtol=0, atol=TOLERANCE * scale
        )
    for path, value in importance.items():
        assert value == pytest.approx(
            full_explanation.branches[path]["importance"], abs=TOLERANCE * scale
        )
    # Precondition: without the offset other donors are drawn.
    later_explanation = explain(model, y[25:count], TEST[25:count], **options)
    assert not np.allclose(
        later_explanation.values,
        explain(model, y[25:count], TEST[25:count], row_offset=25, **options).values,
    )


@pytest.mark.parametrize(
    ("method", "sampling"),
    [
        ("permgrad", "marginal"),
        ("permgrad", "conditional"),
        ("permutation", "marginal"),
        ("ablation", None),
    ],
)
def test_one_row_alone_is_that_row_of_all(fitted, method, sampling):
    model, _ = fitted
    options = {
        "method": method, "scope": "local", "background": X[:100], "random_state": 7, "n_repeats": 3,
        "progress": False, **({} if sampling is None else {"sampling": sampling}),
    }  # fmt: skip
    rows = TEST[:12]
    full_explanation = explain_with(model, rows, **options)
    spread = np.ptp(full_explanation.predictions)
    assert np.abs(full_explanation.values).max() > 0.01 * spread
    for row in (0, 11):
        alone = explain_with(model, rows.iloc[[row]], row_offset=row, **options)
        np.testing.assert_allclose(
            alone.values[0],
            full_explanation.values[row],
            rtol=0,
            atol=TOLERANCE * spread,
        )
        for name, part_values in alone.parts.items():
            np.testing.assert_allclose(
                part_values[0],
                full_explanation.parts[name][row],
                rtol=0,
                atol=TOLERANCE * spread,
            )


def test_a_feature_draws_its_donors_whatever_else_is_asked_for(fitted):
    """Declaring a group of two features leaves the others' numbers as they are."""
    model, y = fitted
    full_explanation = explain(model, y)
    grouped = explain(model, y, groups={"pair": ["a", "b"]})
    for name in ("c", "d", "colour"):
        feature_values = full_explanation.values[full_explanation.names.index(name)]
        their = grouped.values[grouped.names.index(name)]
        np.testing.assert_allclose(
            feature_values,
            their,
            rtol=0,
            atol=TOLERANCE * full_explanation.meta["loss_scale"],
        )


def test_more_repeats_begin_with_the_same_pairs(fitted):
    """Repeat r has the same donors however many follow, and in whatever rounds they are
    played.
    """
    model, y = fitted
    single_repeat = explain(model, y, n_repeats=1)
    two = explain(model, y, n_repeats=2)
    again = explain(model, y, n_repeats=2, tolerance=1e-12)
    np.testing.assert_allclose(two.values, again.values, rtol=0, atol=1e-12)
    assert not np.allclose(single_repeat.values, two.values)
