"""The pytest plugin of the measured run: how long each test takes, and coverage of the
processes that tests start.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

_DURATIONS: dict[str, dict[str, Any]] = {}


def pytest_configure() -> None:
    # Set here and not by the caller: this process is measured by pytest-cov. coverage
    # reads the file anew in each process that a test starts, where PYTEST_CURRENT_TEST
    # says which test that was.
    os.environ["COVERAGE_PROCESS_START"] = os.environ["MUTATION_COVERAGERC"]


def pytest_runtest_logreport(report: Any) -> None:
    own = _DURATIONS.setdefault(report.nodeid, {"outcome": "passed"})
    own[report.when] = report.duration
    if report.outcome != "passed":
        own["outcome"] = report.outcome


def pytest_sessionfinish() -> None:
    Path(os.environ["MUTATION_DURATIONS"]).write_text(json.dumps(_DURATIONS))
