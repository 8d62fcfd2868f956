"""What a model of another library is fitted with: encoded rows, their target and
settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from permgrad.base.arrays import Array
from permgrad.data.tasks import tasks

#: Largest number of boosting rounds with early stopping, and their number without
#: validation rows.
ROUNDS = 1000
ROUNDS_WITHOUT_VALIDATION = 200
#: Boosting stops after this number of rounds without a better validation loss.
PATIENCE = 50
#: The same of each of several fits whose mean is taken: fewer rounds of larger steps
#: are as good there, and take half of the time.
ROUNDS_OF_SEVERAL = 300
PATIENCE_OF_SEVERAL = 25


@dataclass(frozen=True)
class Rows:
    """Encoded rows ``(rows, encoded)`` and target.

    ``weights``: how much each row counts.
    """

    encoded: Any
    y: Array
    weights: Any = None

    def take(self, rows: Array) -> Rows:
        """Return the rows that a mask or row numbers choose."""
        row_indices = np.arange(len(self.y))[rows]
        if self.weights is None:
            weights = None
        else:
            weights = np.asarray(self.weights)[row_indices]
        return Rows(
            _safe_indexing(self.encoded, row_indices),
            np.asarray(self.y)[row_indices],
            weights,
        )


@dataclass(frozen=True)
class Job:
    """Rows and settings for a fit.

    ``counts``: by the Poisson loss, where its library has it. ``is_of_several``:
    whether it is one of several fits whose mean is taken.
    """

    task: str
    train: Rows
    validation: Rows | None
    n_classes: int
    seed: int
    threads: int
    options: Mapping[str, Any] = field(default_factory=dict)
    counts: bool = False
    estimator: str = ""
    is_of_several: bool = False

    @property
    def classify(self) -> bool:
        """True for classification."""
        return tasks.get(self.task).has_classes

    @property
    def kind(self) -> Any:
        """The library's class of estimators. ``estimator``: its place."""
        return estimator_class(self.estimator, self.task)

    @property
    def rounds(self) -> int:
        """Largest number of boosting rounds."""
        if not self.validation:
            return ROUNDS_WITHOUT_VALIDATION
        if self.is_of_several:
            return ROUNDS_OF_SEVERAL
        return ROUNDS

    @property
    def patience(self) -> int:
        """Rounds without a better validation loss after which boosting stops."""
        if self.is_of_several:
            return PATIENCE_OF_SEVERAL
        return PATIENCE


def estimator_class(class_path: str, task: str) -> Any:
    """Return the class at a place such as ``"xgboost:XGB"``: the module, and its name
    without ``Classifier``.
    """
    module, _, class_stem = class_path.partition(":")
    return getattr(
        import_module(module),
        f"{class_stem}{tasks.get(task).estimator.capitalize()}",
    )
