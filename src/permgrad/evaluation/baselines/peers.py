"""TabM and RealMLP, those of ``pytabkit``, which print nothing and leave the process unchanged."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array
from permgrad.evaluation.baselines.fitting import BaselineRows, Job
from permgrad.models.train.guard import sheltered


def fit_peer(job: Job, family: str) -> Quiet:
    """Fit a model of ``pytabkit``."""
    held = {}
    if job.validation is not None:
        held = {"X_val": _table(job.validation), "y_val": job.validation.y}
    # The library takes the thread count for fits and predictions from this argument.
    choices = {"device": "cpu", "random_state": job.seed, "n_threads": job.threads, "verbosity": 0, **job.options}
    with _silent(job.seed):
        import pytabkit

        model = getattr(pytabkit, f"{family}_{'Classifier' if job.classify else 'Regressor'}")(**choices)
        return Quiet(model.fit(_table(job.train), job.train.y, **held))


class Quiet:
    """A fitted model of ``pytabkit`` whose predictions print nothing and leave the process unchanged."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, rows: Any) -> Array:
        """Return predicted values."""
        with _silent(0):
            return np.asarray(self.model.predict(_named(rows)))

    def predict_proba(self, rows: Any) -> Array:
        """Return probabilities ``(rows, classes)``."""
        with _silent(0):
            return np.asarray(self.model.predict_proba(_named(rows)))


@contextmanager
def _silent(seed: int) -> Iterator[None]:
    """Protect the process from the body, and silence the messages of the training library."""
    with sheltered(seed):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        yield


def _table(rows: BaselineRows) -> pd.DataFrame:
    return _named(rows.encoded if rows.natural is None else rows.natural)


def _named(rows: Any) -> pd.DataFrame:
    return rows if hasattr(rows, "columns") else pd.DataFrame(rows, columns=[f"x{j}" for j in range(np.shape(rows)[1])])
