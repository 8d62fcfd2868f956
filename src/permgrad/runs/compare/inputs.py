"""From the options of ``permgrad compare``, or from arrays, to one checked table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, by_count, shown
from permgrad.base.files import plain
from permgrad.data.encode.groups import check_blocks
from permgrad.data.read.cells import Code, CodesArgument, MissingCodes
from permgrad.data.types.column_types import Kind, checked_kinds, infer_schema
from permgrad.runs.compare.models import Table
from permgrad.runs.requests import TASKS, CompareRequest


@dataclass(frozen=True, kw_only=True)
class Given:
    """A checked table.

    Attributes:
        name: Of the table.
        target: Name of the target.
        table: Features and target.
        groups: ``(rows,)``, or None.
        notes: Sentences for the user.
    """

    name: str
    target: str
    table: Table
    groups: npt.NDArray[Any] | None = None
    notes: tuple[str, ...] = ()

    def configuration(self) -> dict[str, Any]:
        """Return what decides which rows are compared on: the content in the place of the frame."""
        table = self.table
        digest = hashlib.sha256(pd.util.hash_pandas_object(table.X, index=False).to_numpy().tobytes())
        for array in (table.y, self.groups):
            digest.update(b"" if array is None else repr(np.asarray(array).tolist()).encode())
        return {
            "table": self.name,
            "table content": digest.hexdigest(),
            "columns": [str(name) for name in table.X.columns],
            # The same cells are text here and levels there: what a column is taken for depends on it.
            "types": [str(dtype) for dtype in table.X.dtypes],
            "task": table.task,
            "variables": {name: list(own) for name, own in table.variables.items()},
            "na": _written_codes(table.na_codes),
            **({"kinds": dict(table.kinds)} if table.kinds else {}),
            "positive": plain(table.positive),
        }


def _target_column(y: Any) -> pd.Series:
    """Return the target, one value for each row; a table of one column is one."""
    try:
        if np.ndim(y) == 2 and np.shape(y)[1] == 1:
            return pd.Series(np.asarray(y).ravel())
        return pd.Series(y).reset_index(drop=True)
    except (ValueError, TypeError):
        raise InputError(
            f"y must list one value for each row, however: it is {shown(y)}; pass a list, an array or a column"
        ) from None


def _kept_codes(codes: CodesArgument) -> list[Code] | dict[str, list[Code]]:
    """Return codes for missing as a list, or as a list for each column if they were given by column.

    Raises:
        InputError: Something else than numbers and text.

    Examples:
        >>> _kept_codes("-9"), _kept_codes({"age": -9})
        (['-9'], {'age': [-9]})
    """
    if codes is None:
        return []
    MissingCodes.of(codes)
    if isinstance(codes, Mapping):
        return {str(name): _listed_codes(own) for name, own in codes.items()} or []
    return _listed_codes(codes)


def _listed_codes(codes: Any) -> list[Code]:
    return list(codes) if isinstance(codes, Iterable) and not isinstance(codes, str) else [codes]


def _kept_blocks(variables: Mapping[str, Sequence[str]] | None, names: Sequence[str]) -> dict[str, list[str]]:
    """Return blocks of columns as they were given, in lists.

    Raises:
        InputError: What ``check_blocks`` refuses.
    """
    check_blocks(variables, names, "variable")
    given = (variables or {}).items()
    return {str(name): [own] if isinstance(own, str) else [str(column) for column in own] for name, own in given}


def _written_codes(codes: CodesArgument) -> Any:
    """Return codes for missing as they stand in a configuration: those without columns as they always stood there."""
    if isinstance(codes, Mapping):
        return MissingCodes.of(codes).to_json()
    return [str(code) for code in codes] if isinstance(codes, Sequence) else []


def request_configuration(request: CompareRequest) -> dict[str, Any]:
    """Return what decides which rows are compared on, with the content of files in the place of their names.

    Raises:
        InputError: A file does not exist, or options do not go together.
        EnvironmentProblem: A file cannot be read, or a named data set is not to be had.
    """
    from permgrad.runs.run.inputs import configuration

    run = request.run_request()
    run.check()
    content = configuration(run)
    kept = ("table", "table content", "groups", "target", "task", "drop", "id", "na")
    given: dict[str, Any] = {name: content[name] for name in ("kind", "not_na", "positive") if name in content}
    return {**{name: content[name] for name in kept}, **given, "group": request.group}


def from_request(request: CompareRequest) -> Given:
    """Read and check the table of a request; everything wrong with it is found here.

    Raises:
        InputError: Something is wrong with what the user gave; the message says what and how to mend it.
        EnvironmentProblem: A file cannot be read, or a named data set is not to be had.
    """
    from permgrad.runs.run.inputs import load_inputs

    # Folds divide the rows: what is said of columns, and refused, must hold for all rows, not for a split of a run.
    inputs = load_inputs(request.run_request(), kept_group=request.group, undivided=True)
    rows = inputs.parts["train"]
    groups = None
    if request.group is not None:
        groups = pd.factorize(rows.identifiers[request.group], use_na_sentinel=False)[0].astype(np.int64)
    table = Table(
        X=rows.X.reset_index(drop=True),
        y=rows.y,
        task=inputs.task,
        variables=inputs.variables,
        na_codes=inputs.na_codes,
        kinds=inputs.kinds,
        positive=inputs.positive,
    )
    return Given(name=request.name, target=inputs.target, table=table, groups=groups, notes=tuple(inputs.notes))


def from_arrays(
    X: Any,
    y: Any,
    *,
    task: str,
    groups: Any,
    variables: Mapping[str, Sequence[str]] | None,
    na_codes: CodesArgument,
    kinds: Mapping[str, Kind] | None,
    name: str,
    positive: Any = None,
) -> Given:
    """Check a table given in Python.

    Raises:
        InputError: Lengths that do not fit together, a target that is missing or cannot be used, blocks of columns that
            are not there, or columns that cannot be what they are declared as.
    """
    from permgrad.data.read.cells import as_frame
    from permgrad.data.types.row_order import tell_of_other_order
    from permgrad.runs.run.target import choose_task, doubt_on_task, positive_label, target_values

    check_choice("task", task, TASKS)
    tell_of_other_order(X, y=y, groups=groups)
    frame = as_frame(X).reset_index(drop=True)
    title = str(getattr(y, "name", None) or "y")
    target = _target_column(y)
    if len(target) != len(frame):
        raise InputError(f"X and y must have as many rows, however: {len(frame)} and {len(target)}")
    if missing := int(target.isna().sum()):
        raise InputError(
            f"y must be known in every row, however: {missing} of {len(target)} values "
            f"{by_count(missing, 'is', 'are')} missing; leave {by_count(missing, 'that row', 'those rows')} out"
        )
    chosen, _ = choose_task(target, task, title)
    codes = None
    if groups is not None:
        given = np.asarray(groups)
        if given.shape != (len(frame),):
            raise InputError(
                f"groups must have one value for each of the {len(frame)} rows, however: its shape is {given.shape}; "
                "pass for example groups=frame['patient'], which keeps rows of one patient in one fold"
            )
        codes = pd.factorize(pd.Series(given), use_na_sentinel=False)[0].astype(np.int64)
    declared: dict[str, Any] = {"na_codes": _kept_codes(na_codes), "kinds": checked_kinds(kinds, list(frame.columns))}
    # What the encoders of all folds would refuse is refused here, before anything is computed or written.
    infer_schema(frame, **declared)
    values = target_values(target, chosen, title)
    table = Table(
        X=frame,
        y=values,
        task=chosen,
        positive=positive_label(values, chosen, positive),
        variables=_kept_blocks(variables, list(frame.columns)),
        **declared,
    )
    notes = doubt_on_task(target, chosen, title, "task='classification'") if task == "auto" else []
    return Given(name=name, target=title, table=table, groups=codes, notes=tuple(notes))
