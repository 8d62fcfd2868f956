"""From what users hold (frames, arrays, lists) to plain cells: numbers, text, and the
kind of missingness.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.errors import (
    Fault,
    InputError,
    by_count,
    listed,
    refusing,
    shown,
    turned,
)
from permgrad.base.late import is_frame, is_series, pd
from permgrad.data.read.image_cells import ImageCell, stamp_of, with_image_cells

Code: TypeAlias = str | int | float
CodesOfColumns: TypeAlias = Mapping[str, Sequence[Code] | Code]
CodesArgument: TypeAlias = (
    Code | Sequence[Code | CodesOfColumns] | CodesOfColumns | None
)
Kinds: TypeAlias = npt.NDArray[np.int16]

#: Kinds of cells: with a value. NaN, None, NaT or an empty text. The declared codes
#: follow as 2, 3, …
PRESENT = 0
BLANK = 1
#: As Python's own number: beside one of NumPy's a larger code would be cast first, with
#: a warning.
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_CONTAINERS = (dict, list, tuple, set, frozenset, np.ndarray)


# ---- tables --------------------------------------------------------------------------
def as_frame(X: Any, *, allow_empty: bool = False) -> pd.DataFrame:
    """Bring a frame, array or list of rows to a data frame with unique text names.

    Arrays get ``x0, x1, …``.
    """
    if is_frame(X):
        frame = X.copy(deep=False)
    else:
        frame = _bare_frame(X)
    frame.columns = pd.Index(list(map(str, frame.columns)), dtype=object)
    check_characters(frame.columns, "column names")
    repeated = frame.columns[frame.columns.duplicated()].unique().tolist()
    if repeated:
        problem = (
            f"Column names must be unique, but {listed(repeated, 5, repr)} "
            f"{by_count(len(repeated), 'is', 'are')} repeated"
        )
        raise InputError(problem, hint="Rename or drop the copies.", code="PG008")
    for lacks, missing_item, count_unit in (
        (frame.shape[1] == 0, "column", "feature(s)"),
        (len(frame) == 0 and not allow_empty, "row", "sample(s)"),
    ):
        if lacks:
            problem = (
                f"The table has 0 {count_unit} (shape={frame.shape}) while a "
                "minimum of 1 is required"
            )
            raise InputError(
                problem, hint=f"Pass at least one {missing_item}.", code="PG013"
            )
    return with_image_cells(frame)


def without_blank_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose texts of nothing but blanks are missing, as those of a CSV
    file are.
    """
    changed: dict[str, pd.Series[Any]] = {}
    for column_name, column in frame.items():
        levels = column
        if isinstance(column.dtype, pd.CategoricalDtype):
            levels = column.cat.categories.to_series()
        if not isinstance(levels.dtype, pd.StringDtype):
            continue
        blanks = levels[levels.str.strip().eq("").fillna(value=False).astype(bool)]
        if blanks.empty:
            continue
        if levels is column:
            changed[str(column_name)] = column.mask(column.isin(blanks))
        else:
            changed[str(column_name)] = column.cat.remove_categories(blanks.tolist())
    return frame.assign(**changed)


def is_written(text: str) -> bool:
    """Return whether UTF-8 can hold a text, which half a character is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_characters(texts: Iterable[object], what: str) -> None:
    """Refuse text with half a character: no file in UTF-8 holds it, nor does pandas
    since its version 3.
    """
    for text in texts:
        if isinstance(text, str) and not is_written(text):
            raise InputError(*_half_a_character(text, what), code="PG014")


def _half_a_character(text: str, what: str) -> tuple[str, str]:
    """Return the problem of a text with half a character, and what helps."""
    problem = f"{text[:40]!r} in {what} holds half a character (a lone surrogate)"
    encoding_hint = (
        "Read the table in its own encoding, or replace it: "
        "text.encode('utf-8', 'replace').decode()."
    )
    return problem, encoding_hint


@refusing
def _check_array(array: Array) -> Iterator[Fault]:
    if array.ndim != 2:
        problem = (
            f"Expected 2D array, got {array.ndim}D array instead (shape {array.shape})"
        )
        yield (
            problem,
            (
                "Reshape your data: X.reshape(-1, 1) for one feature, X.reshape(1, -1) "
                "for one row."
            ),
            "PG007",
        )
    if array.dtype.kind == "c":
        yield (
            "Complex data not supported: X must hold real numbers",
            "Pass X.real and X.imag as columns.",
            "PG001",
        )


def _bare_frame(X: Any) -> pd.DataFrame:
    if hasattr(X, "to_pandas") and not is_series(X):
        frame: pd.DataFrame = X.to_pandas()
        return frame.copy(deep=False)
    if isinstance(X, Mapping):
        mapping_rule = "X must map each column to its cells, all of one length"
        mapping_hint = "Pass for example {'age': [31, 40]}."
        with turned(
            lambda error: InputError(f"{mapping_rule}: {error}", mapping_hint, "PG007"),
            ValueError,
        ):
            return pd.DataFrame(dict(X))
    if hasattr(X, "toarray") and hasattr(X, "nnz"):
        raise InputError(
            "X is a sparse matrix, but sparse input is not supported",
            "Pass X.toarray().",
            "PG001",
        )
    if (
        isinstance(X, (list, tuple))
        and X
        and all(isinstance(first_row, (list, tuple)) for first_row in X)
    ):
        widths = set(map(len, X))
        if len(widths) > 1:
            problem = (
                f"All rows must have the same number of cells, got {sorted(widths)}"
            )
            raise InputError(problem, hint="Fill the gaps with None.", code="PG007")
        # Not through an array: that would turn a mixed row into text.
        frame = pd.DataFrame(list(map(list, X)))
    else:
        array = np.asarray(X)
        _check_array(array)
        frame = pd.DataFrame(array)
        if array.dtype == object:
            frame = frame.infer_objects()
    frame.columns = pd.Index([f"x{i}" for i in range(frame.shape[1])], dtype=object)
    return frame


# ---- declared codes ------------------------------------------------------------------
def canonical(value: Any) -> str:
    """Return the one text form of a cell: ``4``, ``4.0`` and ``"4"`` are the same
    level, dates are ISO text.
    """
    if isinstance(value, (Decimal, Fraction)) and -(2**63) < value < 2**63:
        value = float(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if number.is_integer() and abs(number) < 2**63:
            return str(int(number))
        return repr(number)
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, ImageCell):
        return value
    return str(value)


def as_float32(code: float) -> float:
    """Return a code for missing as a column of float32 holds it: its −99.9 is
    −99.90000152587890625.
    """
    if abs(code) <= _LARGEST_FLOAT32:
        return float(np.float32(code))
    return code


def _number_or_nan(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


@dataclass(frozen=True)
class MissingCodes:
    """Values that stand for "missing", each its own kind: HELOC's −9, −8 and −7 say
    different things.

    The kind of a code is the place of its text among the ``labels`` plus 2. ``columns``
    says which codes hold for which column, and ``everywhere`` which hold for all
    others. None: all codes hold everywhere.
    """

    labels: tuple[str, ...] = ()
    columns: Mapping[str, tuple[str, ...]] | None = None
    everywhere: tuple[str, ...] = ()

    @classmethod
    def of(cls, codes: CodesArgument | MissingCodes) -> MissingCodes:
        """Build from nothing, one code, a list of codes, or a mapping from column to
        its codes.
        """
        if codes is None or (isinstance(codes, (list, tuple)) and not codes):
            return cls()
        if isinstance(codes, MissingCodes):
            return codes
        if isinstance(codes, Mapping):
            by_column = {}
            for column_name, entry in codes.items():
                by_column[str(column_name)] = _labels(entry)
            return cls(
                tuple(dict.fromkeys(chain.from_iterable(by_column.values()))),
                by_column,
            )
        if isinstance(codes, (list, tuple)):
            column_codes = [entry for entry in codes if isinstance(entry, Mapping)]
            if column_codes:
                return cls._of_both(codes, column_codes)
        return cls(_labels(codes))

    @classmethod
    def _of_both(
        cls, codes: Sequence[Any], column_codes: Sequence[CodesOfColumns]
    ) -> MissingCodes:
        """Build from a list of codes, and of mappings from column to codes that hold
        for it alone.
        """
        everywhere = _labels(
            [
                single_code
                for single_code in codes
                if not isinstance(single_code, Mapping)
            ]
        )
        columns = dict[str, tuple[str, ...]]()
        for mapping in column_codes:
            for column_name, entry in mapping.items():
                known_codes = columns.get(str(column_name), everywhere)
                columns[str(column_name)] = tuple(
                    dict.fromkeys((*known_codes, *_labels(entry)))
                )
        every = list(chain.from_iterable(columns.values()))
        return cls(tuple(dict.fromkeys((*everywhere, *every))), columns, everywhere)

    @cached_property
    def numbers(self) -> Floats:
        """Each code as a number, NaN where it is text."""
        return np.array(list(map(_number_or_nan, self.labels)), dtype=np.float64)

    def holds_for(self, name: str) -> tuple[str, ...]:
        """Return the codes of one column."""
        if self.columns is None:
            return self.labels
        return self.columns.get(name, self.everywhere)

    def kind_of(self, text: str, name: str) -> int:
        """Return the kind of missingness that ``text`` stands for in column ``name``,
        or ``PRESENT``.
        """
        labels = self.holds_for(name)
        if text.strip() in labels:
            return 2 + self.labels.index(text.strip())
        if labels:
            number = _number_or_nan(text)
        else:
            number = math.nan
        for label in labels:
            code_number = _number_or_nan(label)
            # NaN, which texts are, equals nothing.
            if number == code_number or number == as_float32(code_number):
                return 2 + self.labels.index(label)
        return PRESENT

    def to_json(self) -> Any:
        """Return a form that ``MissingCodes.of`` reads back."""
        if self.columns is None:
            return list(self.labels)
        columns = {}
        for column_name, labels in self.columns.items():
            columns[column_name] = list(labels)
        if self.everywhere:
            return [*self.everywhere, columns]
        return columns


def _labels(codes: Sequence[Any] | Code) -> tuple[str, ...]:
    single = (str, int, float, np.integer, np.floating)
    if not isinstance(codes, single) and (
        isinstance(codes, (bytes, AbstractSet, Mapping, Iterator))
        or not isinstance(codes, Iterable)
    ):
        # The codes of a set have no order, and each is a separate kind by its position.
        # An iterator gives them once.
        problem = (
            "Codes for missing values must be one code, a list of codes, or a mapping "
            "from column to its codes, "
            f"got {shown(codes)} of type {type(codes).__name__}"
        )
        raise InputError(problem, hint="Pass for example [-9, '?'].", code="PG001")
    labels = []
    for missing_code in [codes] if isinstance(codes, single) else codes:
        if not isinstance(missing_code, single) or isinstance(missing_code, bool):
            problem = (
                "A code for missing values must be a number or text, got "
                f"{shown(missing_code)}"
            )
            raise InputError(problem, hint="Pass for example -9 or '?'.", code="PG001")
        code_text = canonical(missing_code).strip()
        number = _number_or_nan(code_text)
        labels.append(canonical(number) if math.isfinite(number) else code_text)
    # NaN is missing without being declared.
    return tuple(
        dict.fromkeys(label for label in labels if label.lower() not in ("", "nan"))
    )


# ---- distinct values -----------------------------------------------------------------
@dataclass(frozen=True)
class Distinct:
    """A column as distinct texts and, for each row, which one (−1 is blank),
    ``(rows,)``.
    """

    index: Integers
    texts: list[str]

    @classmethod
    def of(cls, series: pd.Series[Any], name: str) -> Distinct:
        """Read any column as text. Blank text counts as missing."""
        try:
            codes, uniques = pd.factorize(series, use_na_sentinel=True)
        except (TypeError, NotImplementedError):  # lists, also as Arrow types
            raise _container_error(series, name) from None
        values: list[Hashable] = list(uniques)
        if any(isinstance(value, _CONTAINERS) for value in values):
            raise _container_error(series, name)
        if series.dtype == object and not all(
            isinstance(value, str) for value in values
        ):
            # True equals 1 in Python, and would become whichever of the two stands
            # first.
            codes, uniques = pd.factorize(
                series.map(canonical, na_action="ignore"), use_na_sentinel=True
            )
            values = list(uniques)
        texts: dict[str, int] = {}
        target = np.empty(len(values) + 1, dtype=np.int64)
        target[-1] = -1
        for i, value in enumerate(values):
            cell_text = canonical(value)
            if cell_text.strip():
                target[i] = texts.setdefault(cell_text, len(texts))
            else:
                target[i] = -1
        distinct = cls(target[np.asarray(codes, dtype=np.int64)], list(texts))
        for text, text_index in texts.items():
            if not is_written(text):
                error = CellError(
                    *_half_a_character(text, f"cells of column {name!r}"), "PG014"
                )
                error.row = int(np.argmax(distinct.index == text_index))
                raise error
        return distinct

    def counts(self) -> Integers:
        """Return how often each text occurs."""
        return np.bincount(
            self.index[self.index >= 0], minlength=len(self.texts)
        ).astype(np.int64)

    def spread(self, values: Array, blank: Any) -> Array:
        """Give each row the value of its text, and ``blank`` to blank rows."""
        return np.append(values, np.asarray([blank], dtype=values.dtype))[self.index]


#: Of so many cells one may be a mistake, and at most so many different ones are.
_CELLS_FOR_ONE = 50
_MOST_MISTAKES = 20


def are_mistakes(odd: int, different: int, cells: int) -> bool:
    """Whether a column's odd cells are so few that the others say what it holds.

    Args:
        odd: Cells that cannot be read as the others are.
        different: How many different ones they are.
        cells: All cells that are not missing.

    Examples:
        >>> are_mistakes(1, 1, 60), are_mistakes(3, 3, 60), are_mistakes(0, 0, 60)
        (True, False, False)
    """
    return 0 < odd <= cells // _CELLS_FOR_ONE and different <= _MOST_MISTAKES


class CellError(InputError):
    """A cell that cannot be read, with its row's position in the frame and its number
    in the index, if it has one.
    """

    row: int = 0
    number: int | None = None
    fact: str = ""

    @classmethod
    def at(
        cls,
        row: int,
        index: pd.Index[Any],
        fact: str,
        hint: str,
        *,
        alone: str = "",
        code: str = "PG014",
    ) -> CellError:
        """Return the error ``"{fact} in row {row}"`` with a hint.

        ``alone`` is the fact about this row only.
        """
        if index.dtype.kind in "iu":
            number = int(index[row])
        else:
            number = None
        error = cls(f"{fact} in row {row if number is None else number}", hint, code)
        error.row = row
        error.number = number
        error.fact = alone or fact
        return error

    def placed(self, where: str) -> InputError:
        """Return the error with another name for its row."""
        return InputError(f"{self.fact} in {where}", self.hint, self.code)


class InfiniteCellError(CellError):
    """An infinite number, which can be read, and is no value."""


@dataclass(frozen=True)
class RowLines:
    """The line, counted from 1, of a text file that each row begins in.

    None: not known, or the file has no lines.
    """

    file: Path | None = None
    lines: Integers | None = None

    @contextmanager
    def named(self) -> Iterator[None]:
        """Let an error about a cell of a frame whose rows are numbered as in the file
        name the line, if it is known.
        """
        try:
            yield
        except CellError as error:
            raise self.placed(error) from None

    def placed(self, error: CellError) -> InputError:
        """Return an error about a cell that names its line, if that is known."""
        if self.lines is None or error.number is None:
            return error
        return error.placed(self.where(error.number))

    def where(self, number: int) -> str:
        """Name a row by its line in the file, or by its number where that is not
        known.
        """
        if self.lines is None:
            return f"row {number}"
        return f"line {self.lines[number]} of {str(self.file)!r}"


def _container_error(series: pd.Series[Any], name: str) -> InputError:
    container = next(
        (type(value).__name__ for value in series if isinstance(value, _CONTAINERS)),
        "object",
    )
    problem = (
        f"Cells must be numbers, text, booleans or dates, but column {name!r} "
        f"holds a {container}"
    )
    return InputError(
        problem, hint="Turn it into separate columns or drop the column.", code="PG014"
    )


def is_native_number(dtype: Any) -> bool:
    """Whether a column's dtype is numeric or boolean, nullable dtypes included."""
    is_number = pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(
        dtype
    )
    return bool(is_number) and not isinstance(dtype, pd.CategoricalDtype)


def native_names(frame: pd.DataFrame) -> list[str]:
    """Return the names of the columns whose dtype is numeric or boolean."""
    kinds = frame.dtypes
    native = {dtype: is_native_number(dtype) for dtype in set(kinds)}
    return [str(column_name) for column_name, dtype in kinds.items() if native[dtype]]


def text_numbers(texts: Sequence[str]) -> Floats:
    """Parse texts as numbers, NaN where a text is none."""
    if not texts:
        return np.empty(0, dtype=np.float64)
    # A copy: pandas hands out arrays that may not be written to.
    return np.array(
        pd.to_numeric(pd.Series(list(texts), dtype=object), errors="coerce"),
        dtype=np.float64,
    )


def first_no_number(cells: Sequence[Any]) -> Any:
    """Return the first cell that is no number, also as text, for an error: the first
    one if all are.
    """
    return next(
        (
            cell_value
            for cell_value, is_odd in zip(
                cells, np.isnan(text_numbers(cells)), strict=True
            )
            if is_odd
        ),
        cells[0],
    )


# ---- whole matrices ------------------------------------------------------------------
def native_cells(
    frame: pd.DataFrame, names: Sequence[str], codes: MissingCodes
) -> tuple[Floats, Kinds]:
    """Take numeric and boolean columns as one float64 matrix, NaN where missing or a
    code, and the kinds of missing.

    Complex values are refused, and infinite ones that are no code.
    """
    if list(names) == list(frame.columns):
        picked = frame
    else:
        picked = frame[list(names)]
    if complex_name := next(
        (
            column_name
            for column_name, dtype in zip(names, picked.dtypes, strict=True)
            if dtype.kind == "c"
        ),
        None,
    ):
        problem = f"Complex data not supported: column {complex_name!r} is complex"
        raise InputError(
            problem, hint="Split it into its real and imaginary part.", code="PG014"
        )
    matrix = np.array(picked.to_numpy(dtype=np.float64, na_value=np.nan))
    kinds = np.where(np.isnan(matrix), np.int16(BLANK), np.int16(PRESENT)).astype(
        np.int16
    )
    for i, label in enumerate(codes.labels):
        number = codes.numbers[i]
        if not np.isnan(number):
            holds = [label in codes.holds_for(column_name) for column_name in names]
            is_code = ((matrix == number) | (matrix == as_float32(number))) & np.array(
                holds, dtype=bool
            )
            kinds[is_code] = 2 + i
            matrix[is_code] = np.nan
    refuse_infinite(matrix, names, frame.index)
    return matrix, kinds


def refuse_infinite(
    matrix: Floats,
    names: Sequence[str],
    index: pd.Index[Any],
    row_values: Integers | None = None,
) -> None:
    """Raise a ``CellError`` for an infinite value.

    Of distinct values ``row_values`` says which one each row has.
    """
    infinite = np.isinf(matrix)
    if infinite.any():
        count = int(infinite.sum())
        infinite_columns = []
        for j in np.flatnonzero(infinite.any(axis=0)).tolist():
            infinite_columns.append(names[j])
        infinite_row = int(np.argmax(infinite.any(axis=1)))
        column = int(np.argmax(infinite[infinite_row]))
        first = names[column]
        if matrix[infinite_row, column] < 0:
            sign = "-"
        else:
            sign = ""
        code_list = ",".join(
            code_text
            for code_text, value in (("inf", np.inf), ("-inf", -np.inf))
            if (matrix == value).any()
        )
        raise InfiniteCellError.at(
            infinite_row
            if row_values is None
            else int(np.argmax(row_values == infinite_row)),
            index,
            f"{by_count(len(infinite_columns), 'Column', 'Columns')} "
            f"{listed(infinite_columns, 5, repr)} "
            f"{by_count(len(infinite_columns), 'holds', 'hold')} {count} infinite "
            f"{by_count(count, 'value (inf)', 'values (inf), the first')}",
            "Replace inf by NaN (missing) or by a large number, or declare it as a "
            f"code for missing: --na={code_list}, or "
            f"na={code_list.split(',')} in Python.",
            alone=f"Column {first!r} holds an infinite value ({sign}inf)",
        )


def rows_hash(X: pd.DataFrame, y: npt.NDArray[Any] | None = None) -> str:
    """Return the SHA-256 of a table's column names and values in order, without row
    labels, and of targets.
    """
    total = hashlib.sha256()
    for column_name, column in [
        *X.items(),
        *([] if y is None else [("\0target", pd.Series(np.asarray(y)))]),
    ]:
        total.update(
            f"{column_name}\0{column.dtype}\0".encode("utf-8", "surrogatepass")
        )
        values = column
        if column.dtype == object and any(
            isinstance(cell_value, ImageCell) for cell_value in column
        ):  # a file may change
            values = column.map(
                lambda cell: (
                    f"{cell} {stamp_of(cell)}" if isinstance(cell, ImageCell) else cell
                )
            )
        try:
            codes = pd.util.hash_pandas_object(values, index=False)
        except (TypeError, NotImplementedError):  # objects of mixed kinds, lists
            codes = pd.util.hash_pandas_object(values.map(repr), index=False)
        total.update(np.ascontiguousarray(codes.to_numpy(dtype=np.uint64)).tobytes())
    return total.hexdigest()
