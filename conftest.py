"""Examples in docstrings that need an extra are skipped, and say so, where it is not installed."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest

#: What examples import from the extras.
EXTRAS = ("captum", "shap", "shapiq", "optuna", "ray", "lightgbm", "xgboost", "pytabkit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.dtest is not None:
            source = "".join(example.source for example in item.dtest.examples)
            imported = re.findall(r"^(?:import|from) (\w+)", source, re.MULTILINE)
            missing = [name for name in EXTRAS if name in imported and find_spec(name) is None]
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"the example needs {' and '.join(missing)}, of an extra"))
