"""``--cases N``: the quick run of the tests leaves out cases, never tests."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from conftest import spread


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_every_test_keeps_cases_from_both_ends(most):
    names = [f"a.py::long[{k}]" for k in range(7)] + [
        "a.py::single",
        "b.py::long[x]",
        "b.py::long[y]",
    ]
    items = [SimpleNamespace(nodeid=name) for name in names]
    run, left_out = spread(items, most)
    assert [item for item in items if item in run or item in left_out] == items
    assert len(run) + len(left_out) == len(items)
    kept_cases = [item.nodeid for item in run]
    assert {name.partition("[")[0] for name in kept_cases} == {
        "a.py::long",
        "a.py::single",
        "b.py::long",
    }
    assert sum(name.startswith("a.py::long") for name in kept_cases) == min(most, 7)
    assert "a.py::long[0]" in kept_cases
    assert ("a.py::long[6]" in kept_cases) == (most > 1)
