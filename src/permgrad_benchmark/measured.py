"""Measured results of the repository, for pages that show them beside a short run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_record(name: str) -> Any:
    """Return the results of a record in ``benchmarks/results``, or None outside the repository.

    The folder is looked for in the working directory and in the folders above it.

    Args:
        name: the record's name, for example ``"comparison"``.

    Examples:
        >>> read_record("no such record") is None
        True
    """
    for folder in (Path.cwd(), *Path.cwd().parents):
        path = folder / "benchmarks" / "results" / f"{name}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))["results"]
    return None
