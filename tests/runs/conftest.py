"""Tests of runs look neither at the pictures of a page, which other folders draw, nor
at how well baselines do.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from small_baselines import small_baselines
from undrawn import words_alone

from permgrad.assess.sections import what_if
from permgrad.evaluation import kept_together


@pytest.fixture(autouse=True, scope="module")
def _undrawn() -> Iterator[None]:
    with words_alone():
        yield


@pytest.fixture(autouse=True, scope="module")
def _small_baselines() -> Iterator[None]:
    """Forests and lines as users have them were a tenth of these tests' time."""
    with small_baselines():
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
