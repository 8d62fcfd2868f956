"""Rows of a fold that stop a network teach the fits of its branches that leave out
others, as validation rows of a run do.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.models.estimators.hynn import HyNNRegressor

ROWS = 240


@pytest.mark.parametrize("grouped", [False, True])
def test_a_network_of_a_comparison_has_the_folds_of_its_own_rows(monkeypatch, grouped):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(ROWS, 3)), columns=list("abc"))
    seen = []
    train = HyNNRegressor.train

    def watched(model, prepared, **options):
        seen.append(prepared)
        return train(model, prepared, **options)

    monkeypatch.setattr(HyNNRegressor, "train", watched)
    groups = np.arange(ROWS) // 4
    options = {"row_groups": groups} if grouped else {}
    fast = ["fast:tabular", "linear"]
    pg.compare(fast, X, X["a"] ** 2, cv=2, explain=False, progress=False, **options)
    assert len(seen) == 2
    for prepared in seen:
        both = len(prepared.job.train_rows) + len(prepared.job.validation_rows)
        assert len(prepared.units) == both
        most = np.unique(prepared.units, return_counts=True)[1].max()
        assert most == (4 if grouped else 1)
