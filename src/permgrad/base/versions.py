"""The versions that a result depends on."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from permgrad.base import __version__

#: Libraries that affect what a run computes.
_OF_RUNS = (
    "numpy",
    "pandas",
    "scikit-learn",
    "torch",
    "matplotlib",
    "lightgbm",
    "xgboost",
    "catboost",
)


def versions(packages: Sequence[str] = _OF_RUNS) -> dict[str, str]:
    """Return the versions of permgrad, of Python, and of those of the packages that are
    installed.
    """
    numbers = {"permgrad": __version__, "python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            numbers[package] = version(package)
    return numbers
