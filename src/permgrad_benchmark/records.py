"""The results of a benchmark: one number per suite, function, seed, method, estimand
and metric, stored by cell.

A *cell* is one (suite, function, seed). Its records are written in one step when it is
finished, so that an interrupted run resumes with the next cell and never holds part of
one.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from permgrad.base.csv_files import write_csv
from permgrad.base.files import write_json_atomic
from permgrad.base.stored import read_json

#: The columns of ``results.csv``, in order.
COLUMNS = ("suite", "function", "seed", "method", "estimand", "metric", "value")
#: The estimand of figures that do not depend on one: run time, accuracy, a method's own
#: shares.
ANY = "any"
RESULTS_TABLE, RESULTS_JSON, CELLS = "results.csv", "results.json", "cells"
SCHEMA_VERSION = 1


@dataclass(frozen=True, order=True)
class Record:
    """One number of the benchmark, compared with the truth ``estimand``, or ``"any"``.

    NaN: undefined.

    ``method`` is ``"truth"`` for the truth itself, ``"network"`` for facts about the
    network.
    """

    suite: str
    function: str
    seed: int
    method: str
    estimand: str
    metric: str
    value: float

    @property
    def cell(self) -> tuple[str, str, int]:
        """The (suite, function, seed) it belongs to."""
        return (self.suite, self.function, self.seed)

    @property
    def row(self) -> tuple[Any, ...]:
        """Its line in ``results.csv``."""
        return tuple(vars(self).values())

    @classmethod
    def of(
        cls,
        suite: str,
        function: str,
        seed: int,
        method: str,
        estimand: str,
        metric: str,
        value: float | None,
    ) -> Record:
        """Return the record of a number. None is undefined and becomes NaN."""
        return cls(
            suite,
            function,
            int(seed),
            method,
            estimand,
            metric,
            math.nan if value is None else float(value),
        )


def frame_of(records: Iterable[Record]) -> pd.DataFrame:
    """Return a frame with exactly the columns of ``results.csv``."""
    frame = pd.DataFrame([record.row for record in records], columns=list(COLUMNS))
    return frame.astype({"seed": "int64", "value": "float64"}) if len(frame) else frame


def write_records(
    folder: str | os.PathLike[str],
    records: Sequence[Record],
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write ``results.csv`` and ``results.json`` into a folder, each in one step."""
    write_csv(frame_of(records), Path(folder, RESULTS_TABLE))
    stored = {"columns": COLUMNS, "records": [record.row for record in records]}
    write_json_atomic(
        Path(folder, RESULTS_JSON),
        {"schema_version": SCHEMA_VERSION, **(facts or {}), **stored},
    )


# ---- one cell at a time --------------------------------------------------------------
def cell_path(
    folder: str | os.PathLike[str], suite: str, function: str, seed: int
) -> Path:
    """Return the file in which a cell's records are kept."""
    return Path(folder) / CELLS / suite / f"{function}-{int(seed)}.json"


def write_cell(
    folder: str | os.PathLike[str],
    suite: str,
    function: str,
    seed: int,
    records: Sequence[Record],
) -> None:
    """Keep a finished cell, in one step."""
    cell = (suite, function, int(seed))
    content = {
        **dict(zip(COLUMNS, cell, strict=False)),
        "records": [record.row[3:] for record in records],
    }
    write_json_atomic(cell_path(folder, *cell), content)


def read_cell(
    folder: str | os.PathLike[str], suite: str, function: str, seed: int
) -> list[Record] | None:
    """Return the records of a finished cell, or None if it is not finished, or its file
    is damaged.
    """
    path = cell_path(folder, suite, function, seed)
    try:
        return [
            Record.of(
                suite, function, seed, str(method), str(estimand), str(metric), value
            )
            for method, estimand, metric, value in read_json(path)["records"]
        ]
    except (
        FileNotFoundError,
        NotADirectoryError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
    ):
        return None


def read_record(name: str) -> Any:
    """Return the results of a record in ``benchmarks/results``, or None outside the
    repository.

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
