"""TabM and RealMLP as ``pytabkit`` brings them: its default parameters, its preprocessing, categories as categories.

Sources: Gorishniy, Kotelnikov & Babenko 2025, "TabM" (arXiv 2410.24210); Holzmüller, Grinsztajn & Steinwart 2024,
"Better by Default" (arXiv 2407.04491). Both choose their best epoch by accuracy; for ROC-AUC the library recommends
``options={"val_metric_name": "cross_entropy"}``, and for RealMLP ``"use_ls": False`` besides.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.evaluation.competitors.fitting import Array, CompetitorRows, Job, register

if TYPE_CHECKING:
    from permgrad.data.encode.encoding import TableEncoder

_EXTRA = {"extra": "tabular-peers", "costly": True, "takes_natural": True}


def natural_table(encoder: TableEncoder, encoded: Array) -> pd.DataFrame:
    """Turn encoded rows back into one column per number and one per category, as models with categories want them.

    The columns of a feature that are 0 or 1 (levels, kinds of missing, booleans) become one category, with whole
    numbers from 0 for "none of these"; so a number with missing values becomes two columns. Use an encoder with
    ``numeric="standard"``: the numbers are then those of the table but for a shift and a scale.
    """
    features = {name: np.asarray(columns) for name, columns in encoder.features("feature").items()}
    continuous = np.zeros(np.shape(encoded)[1], dtype=bool)
    continuous[encoder.numeric_columns_] = True
    made: dict[str, Any] = {}
    for name, columns in features.items():
        numbers, flags = columns[continuous[columns]], columns[~continuous[columns]]
        for column in numbers:
            made[encoder.encoded_names_[column]] = np.asarray(encoded)[:, column]
        if len(flags):
            raised = np.asarray(encoded)[:, flags] > 0.5
            level = np.where(raised.any(axis=1), raised.argmax(axis=1) + 1, 0)
            # All levels are declared, so that rows without some of them still give the same categories.
            made[f"{name}=?"] = pd.Categorical(level, categories=range(len(flags) + 1))
    return pd.DataFrame(made)


@register("tabm", "TabM", "pytabkit", **_EXTRA)
def _tabm(job: Job) -> Any:
    return _fit(job, "TabM_D")


@register("realmlp", "RealMLP", "pytabkit", **_EXTRA)
def _realmlp(job: Job) -> Any:
    return _fit(job, "RealMLP_TD")


def _fit(job: Job, family: str) -> Any:
    held = {}
    if job.validation is not None:
        held = {"X_val": _table(job.validation), "y_val": job.validation.y}
    # The library takes its thread count for the fit and for every prediction from its own argument.
    choices = {"device": "cpu", "random_state": job.seed, "n_threads": job.threads, "verbosity": 0, **job.options}
    with _silent(job.seed):
        import pytabkit

        model = getattr(pytabkit, f"{family}_{'Classifier' if job.classify else 'Regressor'}")(**choices)
        return Quiet(model.fit(_table(job.train), job.train.y, **held))


class Quiet:
    """A fitted model of ``pytabkit`` whose predictions print nothing and leave the process as it was."""

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
    """Shelter the process from the body: the engine below the library tells about devices and itself."""
    from permgrad.models.train.guard import sheltered

    with sheltered(seed):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        yield


def _table(rows: CompetitorRows) -> pd.DataFrame:
    return _named(rows.encoded if rows.natural is None else rows.natural)


def _named(rows: Any) -> pd.DataFrame:
    return rows if hasattr(rows, "columns") else pd.DataFrame(rows, columns=[f"x{j}" for j in range(np.shape(rows)[1])])
