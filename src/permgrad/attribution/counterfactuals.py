"""``pg.counterfactuals``: what would have to differ in a row for a model to predict
something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from permgrad.attribution.alternatives import (
    Goal,
    RowCells,
    Seen,
    near_data,
    same,
    search,
)
from permgrad.attribution.model import as_model
from permgrad.attribution.request.asked_outputs import said_of_outputs
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.base.arrays import Booleans, Floats
from permgrad.base.checks import check_whole
from permgrad.base.errors import InputError, counted, shown
from permgrad.base.frames import Library, as_library
from permgrad.base.late import pd
from permgrad.base.near_names import with_near_names
from permgrad.base.random import generator, resolve_seed
from permgrad.base.shown import in_words, show
from permgrad.data.read.cells import MissingCodes
from permgrad.data.types.as_one import adjacent_dummies, columns_as_one
from permgrad.data.types.column_types import infer_schema
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32

#: Rows of the table that are looked at, drawn if there are more.
_ROWS = 5000
#: Kinds of columns whose cells hardly any two rows share: what stands beside one shows
#: nothing.
#: The reason why there is none for a row that needs no change.
ALREADY = "The model predicts so already."


@dataclass(frozen=True, eq=False)
class Counterfactuals:
    """Rows like one row for which a model predicts what is wanted.

    Args:
        cells: the row and then the counterfactual rows, as a data frame of pandas.
        rows: the counterfactual rows, a table as the model takes it.
        changed: which columns differ from the row, bool ``(count, columns)``.
        measures: ``prediction``, ``probability`` (of classes), ``changes``,
            ``distance``, ``to_data``, ``plausibility``, each ``(count,)``.
        meta: what is wanted in ``words``, the row's own ``prediction``, ``rows`` (how
            many of the table's nearest rows were predicted), ``outcome_rows`` (how many
            of those have that outcome), ``seed``, and the ``reason`` if there is no
            counterfactual.
    """

    cells: Any
    rows: Any
    changed: Booleans
    measures: dict[str, Any]
    meta: dict[str, Any] = field(default_factory=dict)

    def to_frame(self, library: Library = "pandas") -> Any:
        """Return one line per counterfactual: its measures, and the columns that change
        in any of them.

        ``changes`` counts changed columns, of which those that are one feature count
        once. ``distance`` is that from the row, summed over columns: of numbers and
        dates in median absolute deviations, of other cells 1, shared between columns
        that are one feature. ``to_data`` is that to the nearest row with the outcome,
        and ``plausibility`` the share of such rows that are as far from the nearest
        other one.
        """
        changed = []
        for column_name, has_changed in zip(
            self.cells.columns, self.changed.sum(axis=0), strict=True
        ):
            if has_changed:
                changed.append(column_name)
        new_columns = {}
        for column_name in changed:
            new_columns[
                f"{column_name} (new)"
                if column_name in self.measures
                else str(column_name)
            ] = self.cells[column_name].iloc[1:].reset_index(drop=True)
        return as_library(pd.DataFrame({**self.measures, **new_columns}), library)

    def summary(self) -> str:
        """Return a few lines of plain text: what would have to differ, and how typical
        such a row is.
        """
        return show("Counterfactuals.summary", self)

    _repr_html_ = in_words

    def __len__(self) -> int:
        return len(self.changed)

    def __repr__(self) -> str:
        return f"<Counterfactuals: {counted(len(self), 'row')}>"


@with_near_names
def counterfactuals(
    model: Any,
    row: Any,
    X: Any,
    *,
    want: Any = None,
    fixed: Iterable[str] = (),
    ranges: Mapping[str, Any] | None = None,
    direction: Mapping[str, str] | None = None,
    max_changes: int | None = None,
    count: int = 4,
    random_state: Any = 0,
) -> Counterfactuals:
    """Find what would have to differ in a row for a model to predict something else.

    Cells take values that the table has, or the end of a range. They never become
    missing. The search starts from the nearest rows of the table that reach the goal,
    and from single cells changed. Changes that are not needed are undone, the largest
    first, and numbers are brought back towards the row by bisection. Columns that are
    one feature, such as the dummies of a category, change together, to cells that some
    row of ``X`` has in them. A category or flag is only changed to one that some row
    has beside each other category or flag of the result (free text and identifiers are
    not compared). Results change different sets of columns, the fewest first. Each is
    predicted again (one by one, if the model's prediction of a row depends on the other
    rows of its table). The rows of the table nearest to the row are predicted first,
    and the others only if few of those have the outcome. It says what the model would
    predict, not what would happen if someone changed these things.

    Args:
        model: a fitted estimator or pipeline, a function of a table, or a ``pg.Model``
            that says how one is read.
        row: one row, as a table like ``X`` (``X[:1]``), a series or mapping of columns,
            or an array.
        X: rows that show which values occur, such as the training rows. At most 5,000
            of them are drawn.
        want: a class, a range ``(low, high)`` of a predicted number (None: an open
            end), or ``{"class": 0.7}``, the least probability of a class, also
            ``{"class": (low, high)}``. Default: any class but the predicted one.
        fixed: columns that stay.
        ranges: what columns may be changed to: ``(low, high)`` of numbers and dates
            (None: an open end), a list of values of other columns. A cell that stays
            may be outside.
        direction: ``"up"`` or ``"down"`` of numbers and dates.
        max_changes: how many columns may change, of which those that are one feature
            count once. None: all.
        count: how many results to return at most.
        random_state: seed of the rows drawn from ``X``.

    Returns:
        ``Counterfactuals``, with ``to_frame()``, ``summary()`` and ``rows``. It is
        empty if there are none, and the summary says why.

    Raises:
        InputError: an argument cannot be used, or the model is no predictor of a table.

    Examples:
        >>> import permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> X = rng.integers(0, 10, size=(300, 3)).astype(float)
        >>> model = lambda table: 2 * table[:, 0] + table[:, 1]
        >>> row = np.array([1.0, 2, 3])
        >>> found = pg.counterfactuals(model, row, X, want=(14, 16), count=1)
        >>> found.to_frame()[["prediction", "changes", "x0"]].values.tolist()
        [[14.0, 1.0, 6.0]]
    """
    _check_counts(count, max_changes)
    model_reading = as_model(model)
    _refuse_network(model_reading.model)
    seed = resolve_seed(random_state)
    row = _one_row(row)
    with sparing(), full_float32():
        subject = PredictorSubject(
            model_reading.model,
            X,
            alone=False,
            **said_of_outputs(model_reading, classes=not _is_of_numbers(want)),
        )  # see Goal.again
        rules = {"fixed": fixed, "ranges": ranges, "direction": direction}
        cells = _cells_of(model_reading.model, subject, row, seed, rules)
        change_limit = min(max_changes or len(cells.units), len(cells.units))
        search_goal = Goal(subject, cells, want)
        cases, case_predictions = _cases_that_reach(
            cells, search_goal, change_limit, count
        )
        meta = _facts(search_goal, seed)
        if not len(cases):
            meta["reason"] = _reason_of_none(
                search_goal, change_limit, len(cells.units)
            )
        described = search_goal.described(
            np.concatenate([search_goal.own[0], case_predictions[0]]),
            np.concatenate([search_goal.own[1], case_predictions[1]]),
        )
        meta["prediction"] = described["prediction"][0]
        measures = {
            **{measure_name: values[1:] for measure_name, values in described.items()},
            **_measures_of(cells, search_goal, cases),
        }
        frame, rows = _written(subject, cells, cases)
        return Counterfactuals(frame, rows, ~same(cases, cells.row), measures, meta)


def _check_counts(count: Any, max_changes: Any) -> None:
    """Refuse counts that are no whole numbers above 0."""
    check_whole("count", count, "The default is 4.")
    if max_changes is not None:
        check_whole("max_changes", max_changes, "Pass for example 3, or None.")


def _facts(goal: Goal, seed: int) -> dict[str, Any]:
    """Return what is wanted, and how many rows were looked at."""
    return {
        "words": goal.words,
        "rows": goal.looked,
        "outcome_rows": int(goal.valid.sum()),
        "seed": seed,
    }


def _refuse_network(model: Any) -> None:
    """Refuse a torch network, which predicts no table."""
    if isinstance(model, nn.Module):
        hint = "Pass a function that takes a table and returns the network's outputs."
        raise InputError(
            "counterfactuals needs a predictor of a table, got a torch network",
            hint=hint,
            code="PG031",
        )


def _cells_of(
    model: Any,
    subject: PredictorSubject,
    row: Any,
    seed: int,
    rules: Mapping[str, Any],
) -> RowCells:
    """Return what the cells of the row may be changed to, with drawn rows of the table,
    the nearest first.
    """
    form = subject.form
    table = subject.inputs[0].numpy()
    cells_of_row = form.read(row).numpy()[0]
    drawn = table[generator(seed, "rows").permutation(len(table))[:_ROWS]]
    codes = getattr(getattr(model, "preprocessor_", None), "codes_", MissingCodes())
    frame = form.frame(torch.from_numpy(drawn))
    blocks = list(columns_as_one(frame).values())
    blocks += adjacent_dummies(frame, set[str]().union(*blocks))
    cells = RowCells(
        form,
        drawn,
        cells_of_row,
        codes=codes,
        fixed=rules["fixed"],
        ranges=_or_no_rules(rules["ranges"]),
        direction=_or_no_rules(rules["direction"]),
        blocks=blocks,
        wordings=_wordings(frame),
    )
    distances = cells.moved(cells.rows).sum(axis=1)
    cells.rows = cells.rows[np.argsort(distances, kind="stable")]
    return cells


def _or_no_rules(rules: Any) -> Any:
    """Return the rules of an argument that may be left out."""
    if rules is None:
        return {}
    return rules


def _cases_that_reach(
    cells: RowCells, goal: Goal, most: int, count: int
) -> tuple[Floats, Seen]:
    """Return the rows found that reach the goal when predicted again, and what the
    model predicts for them.
    """
    cases = cells.rows[:0]
    if not goal.already:
        cases = search(cells, goal, most, count)
    case_predictions = goal.own[0][:0], goal.own[1][:0]
    if len(cases):
        case_predictions = goal.again(cases)
    reached = np.flatnonzero(goal.judged(*case_predictions))[:count]
    return cases[reached], (case_predictions[0][reached], case_predictions[1][reached])


def _reason_of_none(goal: Goal, most: int, units: int) -> str:
    """Say why there is no such row."""
    if goal.already:
        return ALREADY
    few = ""
    if most < units:
        few = f" with at most {most} changes"
    return f"No such row was found within the limits{few}."


def _written(
    subject: PredictorSubject, cells: RowCells, cases: Floats
) -> tuple[Any, Any]:
    """Return the row and the rows found as a data frame, and these as the model takes
    them.
    """
    written = torch.from_numpy(cells.written(np.concatenate([cells.row[None], cases])))
    return subject.form.frame(written), subject.form.write(written[1:])


def _measures_of(cells: RowCells, goal: Goal, cases: Floats) -> dict[str, Any]:
    """Return how much rows differ from the row, and how near they are to the
    table's.
    """
    distance = cells.moved(cases).sum(axis=1)
    to_data, plausibility = near_data(cells, goal, cases)
    return {
        "changes": (cells.moved_units(cases) > 0).sum(axis=1),
        "distance": distance,
        "to_data": to_data,
        "plausibility": plausibility,
    }


def _wordings(frame: pd.DataFrame) -> list[str]:
    """Return the columns of free text, identifiers of text, and images."""
    other_columns = frame.select_dtypes(exclude=["number", "bool"])
    if not len(other_columns.columns):
        return []
    return infer_schema(other_columns).where(lambda kind: kind.is_own)


def _is_of_numbers(want: Any) -> bool:
    """Return whether an output between two ends is wanted, and no class."""
    return isinstance(want, (Mapping, tuple, list))


def _one_row(row: Any) -> Any:
    """Return a table of one row."""
    if isinstance(row, (Mapping, pd.Series)):
        row = pd.DataFrame([dict(row)])
    elif not hasattr(row, "columns") and np.ndim(row) == 1:
        row = np.asarray(row)[None]
    if not hasattr(row, "columns") and np.ndim(row) == 0:  # such as the row's number
        raise InputError(
            f"row must hold the row's cells, got {shown(row)}",
            hint="Pass for example X[:1].",
            code="PG001",
        )
    if len(row) != 1:
        raise InputError(
            f"row must be one row, got {len(row)}",
            hint="Pass for example X[:1].",
            code="PG013",
        )
    return row
