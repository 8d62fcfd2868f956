"""No test of runs looks at the pictures of a page; ``tests/pages`` and ``tests/hostile`` draw them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from undrawn import words_alone


@pytest.fixture(autouse=True, scope="module")
def _undrawn() -> Iterator[None]:
    with words_alone():
        yield
