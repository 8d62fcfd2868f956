"""Tests of runs look neither at the pictures of a page, which other folders draw, nor
at how well baselines do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from undrawn import words_alone

from permgrad.assess.sections import what_if
from permgrad.evaluation import kept_together
from permgrad.evaluation.baselines import models
from permgrad.models.libraries import linear

_common = models.common


@pytest.fixture(autouse=True, scope="module")
def _undrawn() -> Iterator[None]:
    with words_alone():
        yield


def _few_trees(job: Any, **choices: Any) -> dict[str, Any]:
    forest = set(choices) <= {"n_estimators", "max_features"}
    return _common(job, **(choices | {"n_estimators": 15} if forest else choices))


@pytest.fixture(autouse=True, scope="module")
def _small_forests() -> Iterator[None]:
    """Give forests fewer trees, which are a tenth of these tests' time;
    ``tests/evaluation/baselines`` has all.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "common", _few_trees)
        patch.setattr(linear, "_FOLDS", 2)
        yield


@pytest.fixture(autouse=True, scope="module")
def _few_trials() -> Iterator[None]:
    """Divide the texts of fewer rows among their words, and ask fewer trees what is
    kept together.

    Both were a tenth of these tests' time. ``tests/pages/test_whatif.py`` and
    ``tests/evaluation`` have all.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(what_if, "MOST_TEXTS", 3)
        patch.setattr(kept_together, "_TREES", 5)
        yield
