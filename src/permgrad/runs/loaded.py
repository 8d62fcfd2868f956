"""``pg.load_run``: a finished run in Python, with its model, test rows and
explanation.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from permgrad.attribution.explanation import Explanation
from permgrad.base.arrays import Array, Integers
from permgrad.base.checks import check_path
from permgrad.base.csv_files import read_csv
from permgrad.base.errors import InputError
from permgrad.models.save.saving import load
from permgrad.runs.commands.explain_command import (
    ReadRows,
    dependence_columns,
    located,
    read_rows_of,
    truth_of,
)
from permgrad.runs.requests import ExplainRequest
from permgrad.runs.run_documents import saved_explanation
from permgrad.runs.run_folder import EFFECTS, finished_record


class RunRows(NamedTuple):
    """The features of test rows, a frame, and their targets ``(rows,)``."""

    X: pd.DataFrame
    y: Array


class _TestRows(NamedTuple):
    """The test rows of a run.

    Attributes:
        read_rows: As read.
        targets: Of all, ``(rows,)``.
        measurable: Those that have one.
    """

    read_rows: ReadRows
    targets: Array
    measurable: Integers


@dataclass(frozen=True)
class Run:
    """A finished run. What it holds is read when it is first asked for.

    Attributes:
        folder: the run's folder.
    """

    folder: Path

    @cached_property
    def model(self) -> Any:
        """The run's model, as ``pg.load`` reads it."""
        return load(self.folder)

    @property
    def test(self) -> RunRows:
        """The test rows ``X, y``, without those of classes that no training row has.

        Raises:
            InputError: The table of the run is elsewhere, or has changed.
        """
        read_rows, targets, rows = self._read
        features = read_rows.rows.take(rows).reset_index(drop=True)
        return RunRows(features, targets[rows])

    @property
    def groups(self) -> dict[str, list[str]] | None:
        """Columns that act as one, for ``groups=``. None without any."""
        return dict(self._read[0].data.get("groups") or {}) or None

    @property
    def row_groups(self) -> Array | None:
        """What ``--row-group`` says of each test row, for ``row_groups=``. None without
        it.
        """
        return self._related("row_groups")

    @property
    def row_time(self) -> Array | None:
        """What ``--time`` says of each test row, for ``row_time=``. None without it."""
        return self._related("row_time")

    @cached_property
    def explanation(self) -> Explanation:
        """The importances of the run's page."""
        explanation = saved_explanation(self.folder, "permgrad")
        assert explanation is not None, "a finished run has one"
        return explanation

    @cached_property
    def effects(self) -> pd.DataFrame:
        """How far predictions change with each feature, by local effects (ALE), as the
        page and ``effects.csv`` have it, with the columns of ``Explanation.effects``.

        Raises:
            InputError: The run has none.
        """
        path = self.folder / EFFECTS
        if not path.is_file():
            problem = f"{self.folder} has no {EFFECTS}"
            hint = "Explain run.model with method='ale'."
            raise InputError(problem, hint=hint, code="PG005")
        return read_csv(path)

    def _related(self, argument: str) -> Array | None:
        read_rows, _, rows = self._read
        column = dependence_columns(self._request, read_rows).get(argument)
        if column is None:
            return None
        cells = read_rows.table[column].iloc[rows]
        return np.asarray(cells.astype(object).where(cells.notna(), ""))

    @cached_property
    def _request(self) -> ExplainRequest:
        return located(ExplainRequest(model_folder=self.folder))

    @cached_property
    def _read(self) -> _TestRows:
        """The test rows as read, the targets of all, and those that have one."""
        try:
            read_rows = read_rows_of(self._request)
        except InputError as error:
            if error.code != "PG010":
                raise
            # The command has another remedy: to name a table.
            hint = "Put the file back, or take rows of your own: pg.read_table(path)."
            raise InputError(error.problem, hint=hint, code=error.code) from None
        targets, measurable = truth_of(read_rows, self._request)
        assert targets is not None, "test rows have targets"
        return _TestRows(read_rows, targets, measurable)


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Read a finished run of ``permgrad run``: its model, test rows and explanation.

    ``run.model`` is the model, ``run.test`` its test rows ``X, y``, ``run.groups`` the
    columns that act as one, ``run.row_groups`` which rows belong together,
    ``run.explanation`` the importances of the page, and ``run.effects`` how far
    predictions change with each feature.

    Args:
        folder: the run's folder.

    Raises:
        InputError: The folder is not a run, or it is unfinished or damaged.

    Examples:
        >>> import permgrad as pg
        >>> run = pg.load_run("permgrad-runs/patients-0")  # doctest: +SKIP
        >>> X, y = run.test  # doctest: +SKIP
        >>> pg.explain(run.model, X, y, groups=run.groups)  # doctest: +SKIP
    """
    path = check_path("folder", folder)
    finished_record(path)
    return Run(path)
