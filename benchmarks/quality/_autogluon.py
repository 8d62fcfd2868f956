"""AutoGluon as a contestant: trees, forests and networks, weighted by held-out rows
(Erickson et al. 2020).

It needs an environment of its own (``pip install
"autogluon.tabular[lightgbm,catboost,xgboost,fastai]==1.6.3"``), because it asks for
older libraries than permgrad's. Its cells are computed there and then kept in the
record.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

TARGET = "the target of the table"
"""Name of the column that it predicts, which no table has."""


@dataclass
class AutoGluon:
    """The preset ``medium_quality``: every model of its default list trained once, no
    bags, on one core.

    Args:
        task: ``"classification"`` or ``"regression"``.
    """

    task: str

    def fit(
        self, X: pd.DataFrame, y: np.ndarray, held_out: tuple[pd.DataFrame, np.ndarray]
    ) -> AutoGluon:
        """Train on the rows; the held-out ones stop each model and weigh them."""
        from autogluon.tabular import TabularPredictor

        kind = (
            "regression"
            if self.task == "regression"
            else "binary"
            if len(np.unique(y)) == 2
            else "multiclass"
        )
        metric = "root_mean_squared_error" if kind == "regression" else "log_loss"
        self.predictor_: Any = TabularPredictor(
            label=TARGET,
            problem_type=kind,
            eval_metric=metric,
            path=tempfile.mkdtemp(),
            verbosity=0,
        ).fit(
            _joined(X, y),
            tuning_data=_joined(*held_out),
            presets="medium_quality",
            num_cpus=1,
            num_gpus=0,
        )
        return self

    @property
    def classes_(self) -> np.ndarray:
        return np.asarray(self.predictor_.class_labels)

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return np.asarray(self.predictor_.predict(X))

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        return self.predictor_.predict_proba(X)[
            list(self.predictor_.class_labels)
        ].to_numpy()


def _joined(X: pd.DataFrame, y: np.ndarray) -> pd.DataFrame:
    return X.assign(**{TARGET: y}).reset_index(drop=True)
