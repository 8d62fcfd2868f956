"""TabM and RealMLP as ``pytabkit`` brings them: its default parameters, its preprocessing, categories as categories.

They come with the extra ``permgrad[tabular-peers]`` and take minutes where the others take seconds, so they
are fitted only when they are named. Sources: Gorishniy, Kotelnikov & Babenko 2025, "TabM" (arXiv 2410.24210);
Holzmüller, Grinsztajn & Steinwart 2024, "Better by Default" (arXiv 2407.04491).

By default both choose their best epoch by the validation rows' accuracy (regression: their squared error). For
measures such as ROC-AUC the library recommends ``options={"val_metric_name": "cross_entropy"}``, and for RealMLP
``"use_ls": False`` besides.
"""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.evaluation.competitors.base import Array, EncodedRows, Job, register

if TYPE_CHECKING:
    from permgrad.data.encode.encoding import TableEncoder

_EXTRA = {"extra": "tabular-peers", "costly": True, "takes_natural": True}


def natural_table(encoder: TableEncoder, encoded: Array) -> pd.DataFrame:
    """Turn encoded rows back into one column per number and one per category, as models with categories want them.

    The columns of a feature that are 0 or 1 (levels, kinds of missing, booleans) become one category, so a number
    with missing values becomes two columns: the imputed number, and which kind of missing it was. One-hot columns
    that were declared as one variable become one category. Use an encoder with ``numeric="standard"``: the numbers
    are then those of the table but for a shift and a scale.

    Args:
        encoder: A fitted encoder.
        encoded: ``(rows, encoded)``, what it made of some rows.

    Returns:
        A frame with a row for each encoded row; categories have whole numbers from 0, 0 for "none of these".

    Examples:
        >>> import pandas as pd
        >>> from permgrad.data.encode.encoding import TableEncoder
        >>> table = pd.DataFrame({"age": [31.0, 40.0, None, 60.0], "town": ["Bonn", "Ulm", "Bonn", "Bonn"]})
        >>> encoder = TableEncoder(numeric="standard").fit(table)
        >>> natural_table(encoder, encoder.transform(table)).dtypes.astype(str).to_dict()
        {'age': 'float32', 'age=?': 'category', 'town=?': 'category'}
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
    from permgrad.models.train.guard import sheltered

    held = {}
    if job.validation is not None:
        held = {"X_val": _table(job.validation), "y_val": job.validation.y}
    # The library takes its thread count for the fit and for every prediction from its own argument.
    choices = {"device": "cpu", "random_state": job.seed, "n_threads": job.threads, "verbosity": 0, **job.options}
    with sheltered(job.seed):
        _silence()
        import pytabkit

        model = getattr(pytabkit, f"{family}_{'Classifier' if job.classify else 'Regressor'}")(**choices)
        return Quiet(model.fit(_table(job.train), job.train.y, **held))


class Quiet:
    """A fitted model of ``pytabkit`` whose predictions print nothing and leave the process as it was."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, rows: Any) -> Array:
        """Return predicted values."""
        return self._call(self.model.predict, rows)

    def predict_proba(self, rows: Any) -> Array:
        """Return probabilities ``(rows, classes)``."""
        return self._call(self.model.predict_proba, rows)

    @staticmethod
    def _call(function: Any, rows: Any) -> Array:
        from permgrad.models.train.guard import sheltered

        with sheltered(0):
            _silence()
            return np.asarray(function(rows if hasattr(rows, "columns") else _named(rows)))


def _silence() -> None:
    """Inside ``sheltered``, which puts both back: the engine below the library tells about devices and itself."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def _table(rows: EncodedRows) -> pd.DataFrame:
    return _named(rows.encoded) if rows.natural is None else rows.natural


def _named(encoded: Array) -> pd.DataFrame:
    return pd.DataFrame(np.asarray(encoded), columns=[f"x{j}" for j in range(np.shape(encoded)[1])])
