"""From the options of ``permgrad compare``, or from arrays, to one checked table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, by_count, shown
from permgrad.base.files import plain
from permgrad.data.encode.groups import check_blocks
from permgrad.data.read.cells import Code, CodesArgument, MissingCodes, as_frame
from permgrad.data.types.column_notes import tell_of_other_order
from permgrad.data.types.column_types import Kind, checked_kinds, infer_schema
from permgrad.evaluation.metrics import Task
from permgrad.runs.requests import TASKS, CompareRequest
from permgrad.runs.run.inputs import configuration, load_inputs
from permgrad.runs.run.target import choose_task, doubt_on_task, positive_label, target_values


@dataclass(frozen=True, kw_only=True)
class ComparedTable:
    """A checked table on which models are compared: features, and the target ``(rows,)``, classes or float64.

    ``variables`` are columns that act as one feature; of two classes ``positive`` is the positive one; ``notes`` are
    sentences for the user.
    """

    name: str
    target: str
    X: pd.DataFrame
    y: npt.NDArray[Any]
    task: Task
    groups: npt.NDArray[Any] | None = None
    variables: Mapping[str, Sequence[str]] = field(default_factory=dict)
    na_codes: Sequence[Code] | Mapping[str, Sequence[Code] | Code] = ()
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    positive: Any = None
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> npt.NDArray[Any]:
        """The classes, sorted; empty for regression."""
        return np.unique(self.y) if self.task == "classification" else np.zeros(0)

    @property
    def encoding(self) -> dict[str, Any]:
        """What encoders and networks are told of the columns."""
        return {
            "na_codes": self.na_codes or None,
            "variables": {name: list(columns) for name, columns in self.variables.items()} or None,
            "kinds": dict(self.kinds) or None,
        }

    def configuration(self) -> dict[str, Any]:
        """Return what decides which rows are compared on: the content in the place of the frame."""
        digest = hashlib.sha256(pd.util.hash_pandas_object(self.X, index=False).to_numpy().tobytes())
        for array in (self.y, self.groups):
            digest.update(b"" if array is None else repr(np.asarray(array).tolist()).encode())
        # Codes without columns as they always stood there.
        codes = self.na_codes
        return {
            "table": self.name,
            "table content": digest.hexdigest(),
            "columns": [str(name) for name in self.X.columns],
            # The same cells are text here and levels there: what a column is taken for depends on it.
            "types": [str(dtype) for dtype in self.X.dtypes],
            "task": self.task,
            "variables": {name: list(columns) for name, columns in self.variables.items()},
            "na": MissingCodes.of(codes).to_json() if isinstance(codes, Mapping) else [str(code) for code in codes],
            **({"kinds": dict(self.kinds)} if self.kinds else {}),
            "positive": plain(self.positive),
        }


def request_configuration(request: CompareRequest) -> dict[str, Any]:
    """Return what decides which rows are compared on, with the content of files in the place of their names."""
    run = request.run_request()
    run.check()
    content = configuration(run)
    always = ("table", "table content", "groups", "target", "task", "drop", "id", "na")
    names = [*always, *(name for name in ("kind", "not_na", "positive") if name in content)]
    return {**{name: content[name] for name in names}, "group": request.group}


def from_request(request: CompareRequest) -> ComparedTable:
    """Read and check the table of a request; everything wrong with it is found here."""
    # Folds divide the rows: what is said of columns, and refused, must hold for all rows, not for a split of a run.
    inputs = load_inputs(request.run_request(), kept_group=request.group, undivided=True)
    rows = inputs.parts["train"]
    groups = None
    if request.group is not None:
        groups = pd.factorize(rows.identifiers[request.group], use_na_sentinel=False)[0].astype(np.int64)
    shared = ("target", "task", "variables", "na_codes", "kinds", "positive")
    return ComparedTable(
        name=request.name,
        X=rows.X.reset_index(drop=True),
        y=rows.y,
        groups=groups,
        notes=tuple(inputs.notes),
        **{name: getattr(inputs, name) for name in shared},
    )


def from_arrays(
    X: Any,
    y: Any,
    *,
    task: str = "auto",
    groups: Any = None,
    name: str = "table",
    positive: Any = None,
    **columns: Any,
) -> ComparedTable:
    """Check a table given in Python; ``columns`` are ``variables``, ``na_codes`` and ``kinds``, as in ``compare``."""
    check_choice("task", task, TASKS)
    tell_of_other_order(X, y=y, groups=groups)
    frame = as_frame(X).reset_index(drop=True)
    title = str(getattr(y, "name", None) or "y")
    try:
        column = np.ndim(y) == 2 and np.shape(y)[1] == 1
        target = pd.Series(np.asarray(y).ravel()) if column else pd.Series(y).reset_index(drop=True)
    except (ValueError, TypeError):
        raise InputError(
            f"y must list one value for each row, however: it is {shown(y)}; pass a list, an array or a column"
        ) from None
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
        labels = np.asarray(groups)
        if labels.shape != (len(frame),):
            raise InputError(
                f"groups must have one value for each of the {len(frame)} rows, however: its shape is {labels.shape}; "
                "pass for example groups=frame['patient'], which keeps rows of one patient in one fold"
            )
        codes = pd.factorize(pd.Series(labels), use_na_sentinel=False)[0].astype(np.int64)
    kinds = checked_kinds(columns.get("kinds"), list(frame.columns))
    declared: dict[str, Any] = {"na_codes": _listed_codes(columns.get("na_codes")), "kinds": kinds}
    # What the encoders of all folds would refuse is refused here, before anything is computed or written.
    infer_schema(frame, **declared)
    variables = columns.get("variables")
    check_blocks(variables, list(frame.columns), "variable")
    blocks = {
        str(block): [members] if isinstance(members, str) else [str(column) for column in members]
        for block, members in (variables or {}).items()
    }
    values = target_values(target, chosen, title)
    notes = doubt_on_task(target, chosen, title, "task='classification'") if task == "auto" else []
    return ComparedTable(
        name=name,
        target=title,
        X=frame,
        y=values,
        task=chosen,
        groups=codes,
        positive=positive_label(values, chosen, positive),
        variables=blocks,
        notes=tuple(notes),
        **declared,
    )


def _listed_codes(codes: CodesArgument) -> list[Code] | dict[str, list[Code]]:
    """Return codes for missing as a list, or as a list for each column if they came by column."""

    def as_list(value: Any) -> list[Code]:
        return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]

    if codes is None:
        return []
    MissingCodes.of(codes)
    if isinstance(codes, Mapping):
        return {str(name): as_list(value) for name, value in codes.items()} or []
    return as_list(codes)
