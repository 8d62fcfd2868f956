"""Tests of runs look neither at the pictures of a page, which other folders draw, nor at the trees of a forest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from undrawn import words_alone

from permgrad.evaluation.baselines import models

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
    """Give forests fewer trees, which are a tenth of these tests' time; ``tests/evaluation/baselines`` has all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "common", _few_trees)
        yield
