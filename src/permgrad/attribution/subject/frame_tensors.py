"""Convert a table of any library to a tensor of numbers and back, with every cell
exactly as it was.

Replacing a cell writes another row's cell into it. The tensor holds numbers unchanged.
Any other cell (a level, a word, a date, also a missing one) is its place in the pool of
its column's cells. No encoder is fitted, so that the predictor always gets the same
types, categories and time zones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.errors import InputError, listed
from permgrad.base.late import is_frame, pa, pd

#: Whole numbers from here on are not all float64 numbers.
_NO_FRACTIONS = 2.0**53


class Library:
    """How a library's tables are split into columns and put together: here NumPy's
    arrays, lists of lists and tensors.

    Columns have the library's own type.
    """

    def columns(self, table: Any) -> list[Any]:
        """Return the columns in their order."""
        return list(np.ascontiguousarray(np.asarray(table).T))

    def names(self, table: Any) -> list[str]:
        """Return the columns' names."""
        return [
            f"x{column_index}" for column_index in range(np.asarray(table).shape[1])
        ]

    def series(self, column: Any) -> pd.Series[Any]:
        """Return a column as a pandas series."""
        return pd.Series(column, copy=False)

    def join(self, first: Any, second_column: Any) -> Any:
        """Return one column below another, in the type of the first, with the levels of
        both.
        """
        return np.concatenate([first, second_column])

    def take(self, column: Any, positions: Integers) -> Any:
        """Return some cells of a column."""
        return column[positions]

    def write(self, numbers: Floats, like: Any, *, nulls: bool) -> Any:  # noqa: ARG002 — arrays have no missing cells
        """Return numbers as a column like another. ``nulls``: NaN is a missing cell."""
        return numbers.astype(like.dtype)

    def build(self, columns: Sequence[Any], like: Any) -> Any:
        """Return a table of columns."""
        return self.table(np.stack(columns, axis=1), like)

    def table(self, cells: Array, like: Any) -> Any:
        """Return a table of one matrix."""
        row_array = np.ascontiguousarray(cells)
        if isinstance(like, Tensor):
            return torch.as_tensor(row_array).to(like.device)
        return row_array

    def rename(self, table: Any, names: Sequence[str]) -> Any:  # noqa: ARG002 — arrays have no names
        """Return a table with other names of its columns."""
        return table


class _Pandas(Library):
    def columns(self, table: pd.DataFrame) -> list[Any]:
        return [column for _, column in table.reset_index(drop=True).items()]

    def names(self, table: pd.DataFrame) -> list[str]:
        return list(map(str, table.columns))

    def join(self, first: Any, second_column: Any) -> Any:
        column_type = first.dtype
        if isinstance(column_type, pd.CategoricalDtype):
            if isinstance(second_column.dtype, pd.CategoricalDtype):
                second_levels = second_column.cat.categories
            else:
                second_levels = second_column.dropna().unique()
            levels = _all_levels(
                list(column_type.categories),
                list(second_levels),
                ordered=bool(column_type.ordered),
            )
            column_type = pd.CategoricalDtype(pd.Index(levels), column_type.ordered)
        return pd.concat(
            [first.astype(column_type), second_column.astype(column_type)],
            ignore_index=True,
        )

    def take(self, column: Any, positions: Integers) -> Any:
        return pd.Series(column.array.take(positions), dtype=column.dtype, copy=False)

    def write(self, numbers: Floats, like: Any, *, nulls: bool) -> Any:  # noqa: ARG002 — the type says it
        if isinstance(like.dtype, np.dtype):
            return pd.Series(numbers.astype(like.dtype))
        return pd.Series(numbers, dtype="Float64").astype(like.dtype)

    def build(self, columns: Sequence[Any], like: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame(pd.concat(columns, axis=1, ignore_index=True)).set_axis(
            like.columns, axis=1
        )

    def rename(self, table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
        return table.set_axis(list(names), axis=1)


class _Polars(Library):
    def columns(self, table: Any) -> list[Any]:
        return list(table.get_columns())

    def names(self, table: Any) -> list[str]:
        return list(table.columns)

    def series(self, column: Any) -> pd.Series[Any]:
        return pd.Series(
            column.to_numpy() if column.dtype.is_numeric() else column.to_list()
        )

    def join(self, first: Any, second_column: Any) -> Any:
        column_type = first.dtype
        levels = getattr(first.dtype, "categories", None)
        if isinstance(
            levels, type(first)
        ):  # an enum: those of other types are any text
            if type(second_column.dtype) is type(column_type):
                second_levels = second_column.dtype.categories
            else:
                second_levels = second_column.drop_nulls().unique()
            column_type = type(column_type)(
                _all_levels(levels.to_list(), second_levels.to_list(), ordered=False)
            )
        return first.cast(column_type).append(second_column.cast(column_type))

    def take(self, column: Any, positions: Integers) -> Any:
        return column.gather(positions)

    def write(self, numbers: Floats, like: Any, *, nulls: bool) -> Any:
        written = type(like)(like.name, numbers)
        return (written.fill_nan(None) if nulls else written).cast(like.dtype)

    def build(self, columns: Sequence[Any], like: Any) -> Any:
        return type(like)(columns)

    def rename(self, table: Any, names: Sequence[str]) -> Any:
        return table.rename(dict(zip(table.columns, names, strict=True)))


class _Arrow(Library):
    def columns(self, table: pa.Table) -> list[Any]:
        return [column.combine_chunks() for column in table.itercolumns()]

    def names(self, table: pa.Table) -> list[str]:
        return list(table.column_names)

    def series(self, column: Any) -> pd.Series[Any]:
        return pd.Series(column.to_pandas())

    def join(self, first: Any, second_column: Any) -> Any:
        return pa.chunked_array(
            [first, second_column.cast(first.type)]
        ).combine_chunks()

    def take(self, column: Any, positions: Integers) -> Any:
        return column.take(pa.array(positions))

    def write(self, numbers: Floats, like: Any, *, nulls: bool) -> Any:
        return pa.array(numbers, from_pandas=nulls).cast(like.type)

    def build(self, columns: Sequence[Any], like: pa.Table) -> pa.Table:
        return pa.table(columns, schema=like.schema)

    def rename(self, table: pa.Table, names: Sequence[str]) -> pa.Table:
        return table.rename_columns(list(names))


def _all_levels(
    first_levels: list[Any], ours: list[Any], *, ordered: bool
) -> list[Any]:
    """Return the levels of both lists: the longer one if it holds the other, so that
    codes are those of all levels.
    """
    if set(first_levels) <= set(ours):
        first_levels, ours = ours, first_levels
    new_levels = [level for level in ours if level not in set(first_levels)]
    if ordered and (
        new_levels or [level for level in first_levels if level in set(ours)] != ours
    ):
        problem = (
            f"ordered categories that differ ({listed(first_levels, show=repr)} "
            f"and {listed(ours, show=repr)})"
        )
        hint = (
            "Give it all levels in one order in both tables: "
            "astype(pd.CategoricalDtype(levels, ordered=True))"
        )
        raise InputError(problem, hint=hint, code="PG038")
    return first_levels + new_levels


def _library(table: Any) -> Library:
    if is_frame(table):
        return _Pandas()
    if isinstance(table, pa.Table):
        return _Arrow()
    if type(table).__module__.partition(".")[0] == "polars" and hasattr(
        table, "get_columns"
    ):
        return _Polars()
    if hasattr(table, "tocsr"):
        array = None
    else:
        array = np.asarray(table)
    if array is None or array.ndim != 2 or array.dtype.names:
        if array is None:
            table_words = "a sparse matrix"
        else:
            table_words = f"{type(table).__name__} of shape {array.shape}"
        problem = (
            "The inputs of a predictor must be a table, got "
            f"{table_words.removesuffix(' of shape ()')}"
        )
        hint = (
            "Pass a data frame or an array (rows, columns), and a pipeline that "
            "makes other forms of it"
        )
        raise InputError(problem, hint=hint, code="PG001")
    return Library()


def _as_numbers(cells: pd.Series[Any]) -> Floats | None:
    """Return cells as numbers, NaN where missing, or None if they are not numbers or
    are more exact than float64.
    """
    if pd.api.types.is_bool_dtype(cells.dtype) or not pd.api.types.is_numeric_dtype(
        cells.dtype
    ):
        return None
    if cells.dtype.kind not in "fiu":
        return None
    numbers = cells.to_numpy(dtype=np.float64, na_value=np.nan)
    exact = cells.dtype.kind == "f" or not (np.abs(numbers) >= _NO_FRACTIONS).any()
    if exact:
        return numbers
    return None


def _same_cells(cells: pd.Series[Any]) -> Integers:
    """Return one number for each different cell, in order of appearance.

    The cells 1, 1.0 and True are different.
    """
    if (
        cells.dtype == object
        and pd.api.types.infer_dtype(cells, skipna=False) != "string"
    ):
        cell_keys = np.empty(len(cells), dtype=object)
        cell_keys[:] = [
            (
                type(cell_value),
                None
                if pd.api.types.is_scalar(cell_value) and pd.isna(cell_value)
                else cell_value,
            )
            for cell_value in cells
        ]
        cells = pd.Series(cell_keys)
    try:
        codes, _ = pd.factorize(cells, use_na_sentinel=False)
    except (
        TypeError,
        NotImplementedError,
    ):  # lists, also as Arrow types, which nothing can look up
        return np.arange(len(cells), dtype=np.int64)
    return codes.astype(np.int64)


@dataclass
class _Column:
    """One column: a few cells of its type where they are numbers, else every different
    cell that was seen.
    """

    name: str
    cells: Any
    numeric: bool
    nulls: bool  # whether a missing number was seen

    def read(self, library: Library, column: Any) -> Floats:
        """Return further cells as numbers. New cells join the pool."""
        series = library.series(column)
        if self.numeric:
            numbers = _as_numbers(series)
            if numbers is None:
                problem = (
                    f"Column {self.name!r} must hold numbers as in the inputs, "
                    f"got {series.dtype}"
                )
                raise InputError(problem, hint="Convert it", code="PG038")
            are_integers = library.series(self.cells).dtype.kind in "iu"
            if (
                are_integers
                and not (np.isnan(numbers) | (numbers == np.rint(numbers))).all()
            ):
                problem = (
                    f"Column {self.name!r} must hold whole numbers as in the inputs"
                )
                raise InputError(
                    problem, hint="Pass it as floats in both", code="PG038"
                )
            self.nulls |= bool(np.isnan(numbers).any())
            return numbers
        before = len(self.cells)
        try:
            joined = library.join(self.cells, column)
        except InputError as error:
            raise InputError(
                f"Column {self.name!r} has {error.problem}",
                hint=error.hint,
                code=error.code,
            ) from None
        except (
            Exception
        ) as error:  # whatever a library raises that cannot convert its cells
            problem = (
                f"Column {self.name!r} must hold cells of the type of the "
                f"inputs, got {series.dtype}"
            )
            raise InputError(problem, hint="Convert it", code="PG038") from error
        codes = _same_cells(library.series(joined))
        # Each different cell once, as it came first: those that were in the pool keep
        # their places.
        _, first = np.unique(codes, return_index=True)
        self.cells = library.take(joined, first.astype(np.int64))
        return codes[before:].astype(np.float64)

    def write(self, library: Library, numbers: Floats) -> Any:
        """Return numbers as cells of the column's own type."""
        if not self.numeric:
            return library.take(self.cells, numbers.astype(np.int64))
        if library.series(self.cells).dtype.kind in "iu":
            numbers = np.rint(numbers)
        return library.write(numbers, self.cells, nulls=self.nulls)


class FrameForm:
    """The encoding of a table's cells as numbers, the same for all rows of one
    explanation.
    """

    def __init__(self, table: Any) -> None:
        self.library = _library(table)
        needs_array = isinstance(table, (list, tuple)) or not hasattr(
            table, "__getitem__"
        )
        self.like: Any = np.asarray(table)[:0] if needs_array else table[:0]
        self.names = tuple(self.library.names(table))
        self.named = (
            type(self.library) is not Library
        )  # whether these are the user's own names
        doubled = []
        for column_name, count in Counter(self.names).items():
            if count > 1:
                doubled.append(column_name)
        if doubled:
            problem = f"Columns must have different names, got {doubled[0]!r} twice"
            raise InputError(problem, hint="Rename one of them", code="PG008")
        if self.named:
            array_dtype = None
        else:
            array_dtype = np.asarray(self.like).dtype
        if (
            array_dtype is not None and array_dtype.kind == "f"
        ):  # without a look at each of thousands of columns
            self.columns = [
                _Column(
                    column_name, np.empty(0, array_dtype), numeric=True, nulls=False
                )
                for column_name in self.names
            ]
        else:
            self.columns = [
                _Column(
                    column_name,
                    self.library.take(column, np.arange(0)),
                    numeric=numbers is not None,
                    nulls=False,
                )
                for column_name, column in zip(
                    self.names, self.library.columns(table), strict=True
                )
                for numbers in [_as_numbers(self.library.series(column))]
            ]
        self._frame = is_frame(table)
        #: places of the columns of numbers of each type of NumPy's, which are written
        #: together
        self._together: dict[Any, list[int]] = {}
        for column_index, column in enumerate(
            self.columns if type(self.library) in (Library, _Pandas) else ()
        ):
            if column.numeric and isinstance(column.cells.dtype, np.dtype):
                self._together.setdefault(column.cells.dtype, []).append(column_index)

    @property
    def kinds(self) -> tuple[Any, ...]:
        """What tables have in common that a model reads alike: library, names, and
        which columns hold numbers.
        """
        return (
            type(self.library),
            self.names,
            tuple(column.numeric for column in self.columns),
        )

    def read(self, table: Any) -> Tensor:
        """Return rows as numbers, float64 ``(rows, columns)``."""
        library = _library(table)
        if type(library) is not type(self.library):
            problem = "Further rows must be a table like the inputs"
            raise InputError(problem, hint="Pass both as the same kind", code="PG038")
        names = tuple(library.names(table))
        if names != self.names:
            problem = (
                "Further rows must have the columns of the inputs in their order "
                f"({listed(self.names, show=repr)}), got {listed(names, show=repr)}"
            )
            raise InputError(problem, hint="Reorder or add columns", code="PG038")
        if type(library) is Library:
            array = np.asarray(table)
        else:
            array = None
        if (
            array is not None
            and array.dtype.kind == "f"
            and array.dtype == np.asarray(self.like).dtype
        ):
            return torch.from_numpy(
                array.astype(np.float64)
            )  # without a look at each of thousands of columns
        cells = []
        for column, column_cells in zip(
            self.columns, library.columns(table), strict=True
        ):
            cells.append(column.read(library, column_cells))
        return torch.from_numpy(
            np.stack(cells, axis=1) if cells else np.empty((len(table), 0))
        )

    def write(self, rows: Tensor) -> Any:
        """Return rows as a table of the user's kind, as a copy."""
        numbers = rows.detach().cpu().numpy()
        typed_parts: list[Any] = []
        for dtype, column_indices in self._together.items():
            typed_part = (
                numbers
                if len(column_indices) == numbers.shape[1]
                else numbers[:, column_indices]
            )
            if dtype.kind in "iu":
                typed_part = np.rint(typed_part)
            typed_parts.append(typed_part.astype(dtype))
        if not self._frame and typed_parts:
            return self.library.table(typed_parts[0], self.like)
        order = []
        for typed_columns in self._together.values():
            order.extend(typed_columns)
        alone = sorted(set(range(len(self.columns))) - set(order))
        cells = []
        for column_index in alone:
            cells.append(
                self.columns[column_index].write(self.library, numbers[:, column_index])
            )
        if not typed_parts:
            return self.library.build(cells, self.like)
        joined_frame = pd.DataFrame(typed_parts[0], copy=False)
        if len(typed_parts) + len(cells) == 1:
            return joined_frame.set_axis(self.like.columns, axis=1)
        joined_frame = pd.concat(
            [joined_frame, *map(pd.DataFrame, typed_parts[1:]), *cells],
            axis=1,
            ignore_index=True,
        )
        return joined_frame.iloc[:, np.argsort([*order, *alone])].set_axis(
            self.like.columns, axis=1
        )

    @property
    def on_a_scale(self) -> Booleans:
        """Whether each column holds numbers that may be moved a little."""
        return np.array([column.numeric for column in self.columns], dtype=bool)

    def frame(self, rows: Tensor) -> pd.DataFrame:
        """Return rows as a pandas frame, for display."""
        table = self.write(rows)
        if type(self.library) is Library and np.asarray(table).dtype.kind in "fiu":
            return pd.DataFrame(np.asarray(table), columns=list(self.names))
        if type(self.library) is _Pandas:
            return self.library.rename(table, self.names)
        columns = []
        for column in self.library.columns(table):
            columns.append(self.library.series(column))
        return pd.concat(columns, axis=1, ignore_index=True).set_axis(
            list(self.names), axis=1
        )
