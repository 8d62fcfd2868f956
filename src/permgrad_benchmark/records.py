"""The results of a benchmark: one number per suite, function, seed, method, estimand and metric, stored by cell.

A *cell* is one (suite, function, seed). Its records are written in one step when it is finished, so that an interrupted
run resumes with the next cell and never holds part of one.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError
from permgrad.base.files import write_json_atomic
from permgrad.base.stored import parse_json

#: The columns of ``results.csv``, in order.
COLUMNS = ("suite", "function", "seed", "method", "estimand", "metric", "value")
#: The estimand of figures that do not depend on one: run time, accuracy, a method's own shares.
ANY = "any"
RESULTS_TABLE, RESULTS_JSON, CELLS = "results.csv", "results.json", "cells"
SCHEMA_VERSION = 1


@dataclass(frozen=True, order=True)
class Record:
    """One number of the benchmark, compared with the truth ``estimand``, or ``"any"``. NaN: undefined.

    ``method`` is ``"truth"`` for the truth itself, ``"network"`` for facts about the network.
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


class CellRecords:
    """Records in the order of their cells."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records: list[Record] = list(records)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def add(
        self, suite: str, function: str, seed: int, method: str, estimand: str, metric: str, value: float | None
    ) -> None:
        """Add one number. None is undefined and becomes NaN."""
        number = math.nan if value is None else float(value)
        self._records.append(Record(suite, function, int(seed), method, estimand, metric, number))

    def extend(self, records: Iterable[Record]) -> None:
        """Add several."""
        self._records.extend(records)

    def to_frame(self) -> pd.DataFrame:
        """Return a frame with exactly the columns of ``results.csv``."""
        frame = pd.DataFrame([record.row for record in self._records], columns=list(COLUMNS))
        return frame.astype({"seed": "int64", "value": "float64"}) if len(frame) else frame

    def write(self, folder: str | os.PathLike[str], facts: Mapping[str, Any] | None = None) -> None:
        """Write ``results.csv`` and ``results.json`` into a folder, each in one step."""
        write_csv(self.to_frame(), Path(folder, RESULTS_TABLE))
        stored = {"columns": COLUMNS, "records": [record.row for record in self._records]}
        write_json_atomic(Path(folder, RESULTS_JSON), {"schema_version": SCHEMA_VERSION, **(facts or {}), **stored})

    # ---- one cell at a time ------------------------------------------------------------------------------------------
    @staticmethod
    def cell_path(folder: str | os.PathLike[str], suite: str, function: str, seed: int) -> Path:
        """Return the file in which a cell's records are kept."""
        for name in (suite, function):
            if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or name.startswith("."):
                raise InputError(
                    f"{name!r} cannot be the name of a suite or function, because files have these names",
                    hint="Use letters, digits, '_', '-' and '.'.",
                    code="PG008",
                )
        return Path(folder) / CELLS / suite / f"{function}-{int(seed)}.json"

    @classmethod
    def write_cell(
        cls, folder: str | os.PathLike[str], suite: str, function: str, seed: int, records: Iterable[Record]
    ) -> None:
        """Keep a finished cell, in one step."""
        listed = list(records)
        cell = (suite, function, int(seed))
        if strange := [record for record in listed if record.cell != cell]:
            raise InputError(
                f"The records of cell {cell} include one of {strange[0].cell}",
                hint="Correct the suite's run().",
                code="PG006",
            )
        content = {**dict(zip(COLUMNS, cell, strict=False)), "records": [record.row[3:] for record in listed]}
        write_json_atomic(cls.cell_path(folder, *cell), content)

    @classmethod
    def read_cell(cls, folder: str | os.PathLike[str], suite: str, function: str, seed: int) -> list[Record] | None:
        """Return the records of a finished cell, or None if it is not finished, or its file is damaged."""
        path = cls.cell_path(folder, suite, function, seed)
        try:
            found = cls()
            for method, estimand, metric, value in parse_json(path.read_bytes())["records"]:
                found.add(suite, function, seed, str(method), str(estimand), str(metric), value)
            return list(found)
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError, IndexError):
            return None
