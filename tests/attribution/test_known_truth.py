"""The ranking agrees with the truth where it is known: the short form of
``verification/verify_truth.py``.
"""

from __future__ import annotations

import numpy as np
import pytest
from verification import verify_truth as verify

import permgrad as pg
from permgrad.attribution.request import tuned
from permgrad_benchmark.truth import make_truth


@pytest.mark.slow
def test_a_trained_network_tells_the_truth():
    name = "friedman1"
    model = verify.fit(
        name, seed=0, rows=2000, preset="default", image="always", max_epochs=12
    )
    assert verify.r_squared(model, name, 0, 2000) > 0.97
    judged = verify.judge(model, name, 0, 1000, "permgrad")
    assert judged["top_k"] == 1.0
    assert judged["share_error"] <= verify.MOST_SHARE_ERROR
    # The published method is reported beside it; it gives numbers, and no more is
    # claimed.
    assert np.isfinite(
        verify.judge(model, name, 0, 100, "permgrad_paper")["share_error"]
    )


@pytest.mark.parametrize(
    "name",
    [
        *verify.FUNCTIONS[:-1],
        pytest.param(verify.FUNCTIONS[-1], marks=pytest.mark.slow),
    ],
)
def test_the_game_on_the_true_function(name):
    """With the true function in the network's place (through somebody's subject), only
    sampling error is left.
    """
    truth = make_truth(name, noise=0.0)
    effects, _ = verify.true_effects(name)
    X, y = truth.sample(4000, random_state=3)
    preset = {"base": "fast", "numeric": "standard"}
    model = pg.HyNNRegressor(
        preset=preset, branches=("tabular",), max_epochs=1, random_state=0
    )
    model.set_params(progress=False).fit(X, y)
    scaling = model.preprocessor_.scaling_
    # The network's only branch becomes the function itself, of the decoded row.
    zero, unit_row = (
        model.encode_rows(X.iloc[:1] * 0 + value).encoded.astype(float)[0]
        for value in (0.0, 1.0)
    )
    assert scaling.mode == "standard"

    class Oracle(type(model.module_)):
        def embed(self, path, encoded):
            import torch

            decoded = (encoded.double().numpy() - zero) / (unit_row - zero)
            standard = (
                truth.function(decoded) - model.target_mean_
            ) / model.target_scale_
            return torch.from_numpy(standard).float()[:, None]

        def fuse(self, embeddings):
            return embeddings["tabular"]

    model.module_.__class__ = Oracle
    model.module_.head = model.module_.head[:0]
    np.testing.assert_allclose(model.predict(X), y, atol=1e-4 * np.std(y))
    explained = pg.explain(
        model,
        X,
        y,
        method=tuned(pg.methods.PermGrad(), direction=False),
        random_state=0,
        progress=False,
    )
    low, high = explained.ci()
    error = (explained.values[:, 0] - effects) / np.where(
        explained.std_error[:, 0] > 0, explained.std_error[:, 0], 1
    )
    assert np.abs(error).max() < 4
    assert (
        (low[:, 0] <= effects + 1e-9) & (effects - 1e-9 <= high[:, 0])
    ).mean() >= 0.8
    irrelevant = effects == 0
    assert np.abs(explained.values[irrelevant, 0]).max() < 1e-6 * effects.sum()
