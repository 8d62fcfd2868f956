"""What an encoder must know about a table, gathered chunk by chunk and merged across workers.

Everything is a sum, an extreme, a count or a *bottom-k sample*: the k rows whose hash of the row number is smallest.
The result
is therefore the same whatever the chunks and their order (means and squares to rounding), and can be stored and
merged again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import InputError
from permgrad.base.random import uniform
from permgrad.data.read.cells import (
    BLANK,
    PRESENT,
    CodesArgument,
    Distinct,
    Floats,
    Kinds,
    MissingCodes,
    as_frame,
    is_native_number,
    native_matrix,
)
from permgrad.data.types.column_types import ColumnType, Kind, Schema, infer_schema, missing_kinds, read_numbers

_MOST_SAMPLED_VALUES = 2**24
_MOST_SAMPLED_ROWS = 100_000
_FEWEST_SAMPLED_ROWS = 1_000
_MOST_LEVELS = 65_536
_PARTS = {"month": 12, "weekday": 7, "hour": 24}


def sample_size(n_columns: int) -> int:
    """Return how many rows are kept for quantiles: all of them up to 100,000, fewer for very wide tables."""
    return int(np.clip(_MOST_SAMPLED_VALUES // max(n_columns, 1), _FEWEST_SAMPLED_ROWS, _MOST_SAMPLED_ROWS))


# ---- numbers --------------------------------------------------------------------------------------------------------
class NumericStatistics:
    """Moments, extremes, missing counts and a sample of many numeric columns at once.

    Means and sums of squared deviations are merged by Chan, Golub & LeVeque (1979), eq. 2.1; all in float64.
    ``n_kinds`` are the kinds of missing: blank and one for each declared code; ``size`` rows are kept as a sample.

    Shape:
        ``count, mean, squares, minimum, maximum``: ``(columns,)``; ``missing``: ``(kinds, columns)``;
        ``sample``: ``(at most size, columns)``.
    """

    def __init__(self, n_columns: int, n_kinds: int = 1, size: int | None = None) -> None:
        self.size = sample_size(n_columns) if size is None else size
        self.count = np.zeros(n_columns, dtype=np.int64)
        self.mean = np.zeros(n_columns)
        self.squares = np.zeros(n_columns)
        self.minimum = np.full(n_columns, np.nan)
        self.maximum = np.full(n_columns, np.nan)
        self.missing = np.zeros((n_kinds, n_columns), dtype=np.int64)
        self.sample_rows = np.empty(0, dtype=np.int64)
        self.sample = np.empty((0, n_columns))

    def update(self, values: Floats, kinds: Kinds, first_row: int) -> None:
        """Add a chunk: ``values`` with NaN where missing, ``kinds`` of missingness, number of its first row."""
        if len(values) == 0:
            return
        part = NumericStatistics(values.shape[1], len(self.missing), self.size)
        present = kinds == PRESENT
        part.count = present.sum(axis=0)
        filled = np.where(present, values, 0.0)
        divisor = np.maximum(part.count, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            # Divided first: the sum stays finite near the largest float.
            part.mean = (filled / divisor).sum(axis=0)
            deviations = np.where(present, values - part.mean, 0.0)
            # Corrected two-pass algorithm (Chan, Golub & LeVeque 1983, eq. 1.7): takes out the rounding of the mean.
            left_over = deviations.sum(axis=0) / divisor
            part.mean = part.mean + np.where(np.isfinite(left_over), left_over, 0.0)
            part.squares = (deviations**2).sum(axis=0) - part.count * left_over**2
        part.minimum = np.fmin.reduce(values, axis=0)
        part.maximum = np.fmax.reduce(values, axis=0)
        part.missing = np.stack([(kinds == kind).sum(axis=0) for kind in range(BLANK, BLANK + len(self.missing))])
        rows = np.arange(first_row, first_row + len(values), dtype=np.int64)
        places = _bottom(rows, self.size)
        part.sample_rows, part.sample = rows[places], values[places]
        self.merge(part)

    def merge(self, other: NumericStatistics) -> None:
        """Add another part of the same table."""
        total = self.count + other.count
        share = other.count / np.maximum(total, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            delta = other.mean - self.mean
            # Chan, Golub & LeVeque 1979: M2 = M2a + M2b + δ²·na·nb/n.
            self.squares = self.squares + other.squares + delta**2 * self.count * share
            self.mean = self.mean + delta * share
        self.count = total
        self.minimum = np.fmin(self.minimum, other.minimum)
        self.maximum = np.fmax(self.maximum, other.maximum)
        self.missing = self.missing + other.missing
        rows = np.concatenate([self.sample_rows, other.sample_rows])
        places = _bottom(rows, self.size)
        self.sample_rows, self.sample = rows[places], np.concatenate([self.sample, other.sample])[places]

    @property
    def deviation(self) -> Floats:
        """Standard deviation with the divisor n, as ``StandardScaler`` has it."""
        return np.asarray(np.sqrt(self.squares / np.maximum(self.count, 1)))

    def quantiles(self, levels: Sequence[float] | Floats) -> Floats:
        """Return quantiles of the sample, shape ``(levels, columns)``; NaN for a column without a value."""
        if len(self.sample) == 0:
            return np.full((len(levels), len(self.count)), np.nan)
        return column_quantiles(self.sample, np.asarray(levels, dtype=np.float64))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form; floats survive exactly, NaN is None."""
        names = ("count", "mean", "squares", "minimum", "maximum", "missing", "sample_rows", "sample")
        return {"size": self.size, **{name: exact_list(getattr(self, name)) for name in names}}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> NumericStatistics:
        """Read back what ``to_dict`` wrote."""
        made = cls(len(content["count"]), len(content["missing"]), content["size"])
        for name in ("mean", "squares", "minimum", "maximum"):
            setattr(made, name, exact_array(content[name]))
        for name in ("count", "sample_rows"):
            setattr(made, name, np.array(content[name], dtype=np.int64))
        made.missing = np.array(content["missing"], dtype=np.int64).reshape(made.missing.shape)
        made.sample = exact_array(content["sample"]).reshape(len(made.sample_rows), len(made.count))
        return made


def _bottom(rows: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.intp]:
    """Places of the ``size`` rows with the smallest hash, in order of row number."""
    if len(rows) > size:
        keys = uniform(0, ("bottom-k",), rows)
        # The hash of a row number is never equal to another's in practice; the stable sort settles it anyway.
        places = np.lexsort((rows, keys))[:size]
    else:
        places = np.arange(len(rows))
    return places[np.argsort(rows[places], kind="stable")]


def column_quantiles(sample: Floats, levels: Floats) -> Floats:
    """Return linear quantiles ``(levels, columns)`` of each column, NaN cells left out, one sort for all columns."""
    ordered = np.sort(sample, axis=0)  # NaN goes last
    count = len(sample) - np.isnan(sample).sum(axis=0)
    place = levels[:, None] * np.maximum(count - 1, 0)[None, :]
    low = np.floor(place).astype(np.intp)
    high = np.minimum(low + 1, np.maximum(count - 1, 0)[None, :])
    below = np.take_along_axis(ordered, low, axis=0)
    above = np.take_along_axis(ordered, high, axis=0)
    weight = place - low
    # Weighted this way the result is exact at both ends and does not overflow between huge values.
    return np.asarray(np.where(below == above, below, below * (1 - weight) + above * weight))


def exact_list(array: npt.NDArray[Any]) -> list[Any]:
    """Nested lists for JSON, NaN and infinity as None."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return list(array.tolist())
    boxed = array.astype(object)
    boxed[~np.isfinite(array)] = None
    return list(boxed.tolist())


def exact_array(values: Sequence[Any]) -> Floats:
    """Float64 array of what ``exact_list`` wrote."""
    return np.array(values, dtype=np.float64)


# ---- text -----------------------------------------------------------------------------------------------------------
class LevelCounts:
    """How often each level of a text column occurs.

    At most 65,536 levels are kept, those with the smallest hash of their text: a level kept at the end was kept in
    every part, so its count is exact, whatever the chunks and their order.
    """

    def __init__(self, n_kinds: int = 1, most: int = _MOST_LEVELS) -> None:
        self.most = most
        self.levels: dict[str, int] = {}
        self.missing = np.zeros(n_kinds, dtype=np.int64)
        self.complete = True

    def update(self, distinct: Distinct, name: str, codes: MissingCodes) -> None:
        """Add a chunk."""
        for text, count in zip(distinct.texts, distinct.counts().tolist(), strict=True):
            kind = codes.kind_of(text, name)
            if kind == PRESENT and count:
                self.levels[text] = self.levels.get(text, 0) + count
            elif count:
                self.missing[kind - BLANK] += count
        self.missing[0] += int((distinct.index < 0).sum())
        self._bound()

    def merge(self, other: LevelCounts) -> None:
        """Add another part of the same column."""
        for text, count in other.levels.items():
            self.levels[text] = self.levels.get(text, 0) + count
        self.missing = self.missing + other.missing
        self.complete = self.complete and other.complete
        self._bound()

    def _bound(self) -> None:
        if len(self.levels) > self.most:
            hashed = sorted(
                self.levels,
                key=lambda text: hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(),
            )
            self.levels = {text: self.levels[text] for text in hashed[: self.most]}
            self.complete = False

    def by_frequency(self) -> list[tuple[str, int]]:
        """Return levels, the most frequent first, equals by text: the same whatever the order of rows."""
        return sorted(self.levels.items(), key=lambda item: (-item[1], item[0]))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return {"most": self.most, "levels": self.levels, "missing": self.missing.tolist(), "complete": self.complete}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LevelCounts:
        """Read back what ``to_dict`` wrote."""
        made = cls(len(content["missing"]), content["most"])
        made.levels = dict(content["levels"])
        made.missing = np.array(content["missing"], dtype=np.int64)
        made.complete = content["complete"]
        return made


# ---- calendar -------------------------------------------------------------------------------------------------------
def calendar_parts(seconds: Floats) -> dict[str, npt.NDArray[np.int64]]:
    """Split finite seconds since 1970 into year, month (0–11), weekday (Monday 0) and hour."""
    at_second = np.floor(seconds).astype(np.int64)
    days = at_second // 86_400
    dates = days.astype("datetime64[D]")
    return {
        "year": dates.astype("datetime64[Y]").astype(np.int64) + 1970,
        "month": dates.astype("datetime64[M]").astype(np.int64) % 12,
        "weekday": (days + 3) % 7,
        "hour": (at_second % 86_400) // 3_600,
    }


# ---- the table ------------------------------------------------------------------------------------------------------
class TableStatistics:
    """Statistics of all columns of a table, gathered in chunks.

    Without a ``schema`` it is inferred from the first chunk, with the ``kinds`` that are declared. Workers that will be
    merged need the same schema.

    Examples:
        >>> table = pd.DataFrame({"age": [31, 40, 25, 60], "town": ["Bonn", "Ulm", "Bonn", None]})
        >>> schema = infer_schema(table)
        >>> first, second = TableStatistics(schema), TableStatistics(schema)
        >>> _ = first.update(table[:2]); _ = second.update(table[2:], first_row=2)
        >>> first.merge(second).numeric.mean.tolist(), first.text["town"].levels
        ([39.0], {'Bonn': 2, 'Ulm': 1})
    """

    def __init__(
        self,
        schema: Schema | None = None,
        *,
        na_codes: CodesArgument | MissingCodes = None,
        kinds: Mapping[str, Kind] | None = None,
    ) -> None:
        self.codes = MissingCodes.of(na_codes)
        self.kinds = dict(kinds or {})
        self.rows = 0
        self.schema: Schema = schema if schema is not None else Schema(())
        if schema is not None:
            self._start(schema)

    def _start(self, schema: Schema) -> None:
        self.schema = schema
        self.numeric_names = [
            column.name for column in schema if column.kind != "identifier" and column.storage != "text"
        ]
        self.text_names = [column.name for column in schema if column.kind != "identifier" and column.storage == "text"]
        self.date_names = [column.name for column in schema if column.kind != "identifier" and column.storage == "date"]
        n_kinds = 1 + len(self.codes.labels)
        self.numeric = NumericStatistics(len(self.numeric_names), n_kinds)
        self.text = {name: LevelCounts(n_kinds) for name in self.text_names}
        self.calendar = {
            name: {part: np.zeros(n, dtype=np.int64) for part, n in _PARTS.items()} for name in self.date_names
        }

    def update(self, X: Any, first_row: int | None = None) -> TableStatistics:
        """Add a chunk of rows, whose first has this number in the whole table; None: the next one."""
        frame = as_frame(X, allow_empty=bool(len(self.schema)))
        if not len(self.schema):
            self._start(infer_schema(frame, na_codes=self.codes, kinds=self.kinds))
        if list(frame.columns) != self.schema.names:
            raise InputError(
                f"all chunks must have the same columns in the same order, however expected {self.schema.names} and got"
                f" {list(frame.columns)}; reorder the columns"
            )
        start = self.rows if first_row is None else first_row
        values, kinds = numeric_cells(
            frame, [self.schema.columns[i] for i in self._places(self.numeric_names)], self.codes
        )
        self.numeric.update(values, kinds, start)
        for name, place in zip(self.numeric_names, range(len(self.numeric_names)), strict=True):
            if name in self.calendar:
                parts = calendar_parts(values[~np.isnan(values[:, place]), place])
                for part, size in _PARTS.items():
                    self.calendar[name][part] += np.bincount(parts[part], minlength=size)
        for name, levels in self.text.items():
            levels.update(Distinct.of(frame[name], name), name, self.codes)
        self.rows += len(frame)
        return self

    def _places(self, names: Sequence[str]) -> list[int]:
        place = {name: i for i, name in enumerate(self.schema.names)}
        return [place[name] for name in names]

    def merge(self, other: TableStatistics) -> TableStatistics:
        """Add another part of the same table; its row numbers must be others, its schema and codes the same."""
        same = [(c.name, c.kind, c.storage) for c in self.schema] == [(c.name, c.kind, c.storage) for c in other.schema]
        if not same or self.codes != other.codes:
            raise InputError(
                "statistics can be merged only when they share schema and codes, however these differ; "
                "infer one schema first and pass it to every part"
            )
        self.numeric.merge(other.numeric)
        for name, levels in self.text.items():
            levels.merge(other.text[name])
        for name, parts in self.calendar.items():
            for part in parts:
                parts[part] = parts[part] + other.calendar[name][part]
        self.rows += other.rows
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return {
            "rows": self.rows,
            "schema": self.schema.to_dict(),
            "na_codes": self.codes.to_json(),
            "numeric": self.numeric.to_dict(),
            "text": {name: levels.to_dict() for name, levels in self.text.items()},
            "calendar": {
                name: {part: counts.tolist() for part, counts in parts.items()} for name, parts in self.calendar.items()
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TableStatistics:
        """Read back what ``to_dict`` wrote."""
        made = cls(Schema.from_dict(content["schema"]), na_codes=content["na_codes"])
        made.rows = content["rows"]
        made.numeric = NumericStatistics.from_dict(content["numeric"])
        made.text = {name: LevelCounts.from_dict(levels) for name, levels in content["text"].items()}
        made.calendar = {
            name: {part: np.array(counts, dtype=np.int64) for part, counts in parts.items()}
            for name, parts in content["calendar"].items()
        }
        return made


def numeric_cells(frame: pd.DataFrame, columns: Sequence[ColumnType], codes: MissingCodes) -> tuple[Floats, Kinds]:
    """Return columns of numbers, dates and pairs as a matrix, NaN where missing, and the kinds of missingness."""
    names = [column.name for column in columns]
    values = np.full((len(frame), len(columns)), np.nan)
    kinds = np.full(values.shape, PRESENT, dtype=np.int16)
    dtypes = dict(zip(frame.columns, frame.dtypes, strict=True))
    native = [
        j for j, column in enumerate(columns) if column.storage == "number" and is_native_number(dtypes[column.name])
    ]
    if native:
        native_names = [names[j] for j in native]
        matrix = native_matrix(frame, native_names)
        own_kinds = missing_kinds(matrix, native_names, codes)
        if len(native) == len(columns):
            return matrix, own_kinds
        values[:, native], kinds[:, native] = matrix, own_kinds
    fast = set(native)
    for j, column in enumerate(columns):
        if j not in fast:
            values[:, j], kinds[:, j] = read_numbers(frame[column.name], column, codes)
    return values, kinds
