"""Random kernels beside a trained network: the ridge that reads them, and the share
that they get.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import Ridge

import permgrad as pg
from permgrad.models.estimators.learned import ridge
from permgrad.models.fast.kernels import FoldedKernels

_FEW: dict[str, Any] = {
    "max_epochs": 3,
    "random_state": 0,
    "progress": False,
    "layout": "given",
}


def _curves(
    rows: int = 500, columns: int = 30, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return noise with a bump somewhere, and whether it goes up or down: what kernels
    see and no column says.
    """
    rng = np.random.default_rng(seed)
    column_positions = np.arange(columns)
    up = rng.integers(0, 2, rows)
    centre = rng.uniform(4, columns - 4, rows)
    bumps = (
        np.exp(-0.5 * ((column_positions - centre[:, None]) / 1.5) ** 2)
        * np.where(up, 3, -3)[:, None]
    )
    return bumps + rng.normal(size=(rows, columns)), up


@pytest.mark.parametrize("columns", [4, 40])
def test_left_out_rows_are_predicted_as_by_a_ridge_of_all_others(columns: int) -> None:
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.2, 2, 25)
    weights /= weights.mean()
    features = rng.normal(size=(25, columns))
    truth = rng.normal(size=(25, 2))
    features -= np.average(features, axis=0, weights=weights)
    truth += 2 * features[:, :1]
    truth -= np.average(truth, axis=0, weights=weights)
    matrix, left_out_outputs = ridge(features, truth, np.array([3.0]), weights)
    whole_ridge = Ridge(alpha=3.0, fit_intercept=False).fit(features, truth, weights)
    np.testing.assert_allclose(matrix.T, whole_ridge.coef_, atol=1e-8)
    for row in range(0, 25, 5):
        remaining_rows = np.arange(25) != row
        # The penalised slopes of the others, whose mean is free.
        model = Ridge(alpha=3.0, tol=1e-10).fit(
            features[remaining_rows], truth[remaining_rows], weights[remaining_rows]
        )
        np.testing.assert_allclose(
            left_out_outputs[row], model.predict(features[[row]])[0], atol=1e-6
        )
    several = np.array([1e-6, 3.0, 1e3])
    alone = [
        ridge(features, truth, np.array([penalty]), weights) for penalty in several
    ]
    errors = [
        (weights[:, None] * (truth - ridge_result[1]) ** 2).mean()
        for ridge_result in alone
    ]
    assert np.ptp(errors) > 0.01
    np.testing.assert_allclose(
        ridge(features, truth, several, weights)[0], alone[int(np.argmin(errors))][0]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset", ["default", pytest.param({"single_logit": True}, marks=pytest.mark.slow)]
)
def test_kernels_get_a_share_that_is_right_for_held_out_rows(
    preset: Any, tmp_path: Path
) -> None:
    X, y = _curves(500)
    network = preset if isinstance(preset, dict) else None
    without = pg.HyNNClassifier(
        network={"random_kernels": 0, **(network or {})}, **_FEW
    ).fit(X[:200], y[:200])
    model = pg.HyNNClassifier(network=network, **_FEW).fit(X[:200], y[:200])
    assert without.module_.kernels is None
    assert model.module_.kernels is not None
    assert (
        model.network_options_["random_kernels"] == model.module_.kernels.count >= 512
    )
    losses = [
        -np.log(
            fitted_model.predict_proba(X[200:])[np.arange(300), y[200:]].clip(1e-6)
        ).mean()
        for fitted_model in (without, model)
    ]
    assert losses[1] < losses[0], "a short training: kernels know more"
    again = pg.HyNNClassifier(network=network, **_FEW).fit(X[:200], y[:200])
    np.testing.assert_array_equal(
        again.predict_proba(X[200:]), model.predict_proba(X[200:])
    )
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(
        pg.load(tmp_path / "model").predict_proba(X), model.predict_proba(X)
    )
    assert "RandomKernels" in model.summary()


@pytest.mark.slow
def test_the_readout_says_logits_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = _curves(700)
    model = pg.HyNNClassifier(**_FEW).fit(X[:500], y[:500])
    kernels = model.module_.kernels
    module = model.module_
    assert kernels is not None
    import torch

    kernel_logits = (
        FoldedKernels(kernels)(
            module.renderer(torch.from_numpy(model.encode_rows(X[500:]).encoded))
        )
        .detach()
        .numpy()
    )
    right = (softmax(kernel_logits, axis=1).argmax(axis=1) == y[500:]).mean()
    assert right > 0.9, "also alone"


@pytest.mark.slow
def test_numbers_and_few_held_out_rows() -> None:
    X, up = _curves(600)
    y = 100 + 10 * up + 0.1 * np.random.default_rng(1).normal(size=600)
    model = pg.HyNNRegressor(**_FEW).fit(X[:400], y[:400])
    assert model.module_.kernels is not None
    assert ((model.predict(X[400:]) - y[400:]) ** 2).mean() < 0.5 * y.var()
    bare = pg.HyNNRegressor(validation_fraction=0.0, **_FEW).fit(X[:400], y[:400])
    assert bare.module_.kernels is None, "no rows to choose a share by"


@pytest.mark.slow
def test_kernels_that_say_nothing_are_left_out() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 12))
    model = pg.HyNNRegressor(**{**_FEW, "max_epochs": 8}).fit(
        X, X[:, 0] + X[:, 5] * X[:, 7]
    )
    assert model.module_.kernels is None
    assert model.network_options_["random_kernels"] == 0
