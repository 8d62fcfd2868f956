"""Baselines that are fitted in less time, for tests that ask not how well they do.

``tests/evaluation/baselines`` has them as users do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from permgrad.evaluation.baselines import models
from permgrad.models.libraries import linear

_common = models.common


def _few_trees(job: Any, **choices: Any) -> dict[str, Any]:
    forest = set(choices) <= {"n_estimators", "max_features"}
    return _common(job, **(choices | {"n_estimators": 15} if forest else choices))


@contextmanager
def small_baselines() -> Iterator[None]:
    """Give forests fewer trees, and choose the penalty of a line by two folds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "common", _few_trees)
        patch.setattr(linear, "_FOLDS", 2)
        yield
