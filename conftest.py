"""What holds for all tests: how many threads they compute with, and which examples in docstrings are skipped."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec

import pytest

# Before torch is imported: on small tables threads take longer to meet than to compute, the more so where two processes
# share two cores. Who sets the variable is heard.
os.environ.setdefault("OMP_NUM_THREADS", "1")

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
