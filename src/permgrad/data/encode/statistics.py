"""What an encoder must know about a table: sums, extremes, counts and a bottom-k sample, whatever the chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from permgrad.base.arrays import Floats, Integers
from permgrad.base.checks import check_choice
from permgrad.base.random import uniform
from permgrad.data.encode.calendar import HELD, PERIODS, calendar_parts, part_name, public_holidays, returning_parts
from permgrad.data.read import cells
from permgrad.data.read.cells import BLANK, PRESENT, CodesArgument, Distinct, Kinds, MissingCodes
from permgrad.data.types.column_types import ColumnType, Schema, read_numbers

_MOST_SAMPLED_VALUES = 2**24
_MOST_SAMPLED_ROWS = 100_000
_FEWEST_SAMPLED_ROWS = 1_000
_MOST_LEVELS = 65_536


def sample_size(n_columns: int) -> int:
    """Return how many rows are kept for quantiles: all of them up to 100,000, fewer for very wide tables."""
    return int(np.clip(_MOST_SAMPLED_VALUES // max(n_columns, 1), _FEWEST_SAMPLED_ROWS, _MOST_SAMPLED_ROWS))


# ---- numbers --------------------------------------------------------------------------------------------------------
class NumericStatistics:
    """Moments, extremes, missing counts and a sample of many numeric columns at once.

    Means and sums of squared deviations are merged by Chan, Golub & LeVeque (1979), eq. 2.1. All in float64.
    ``count, mean, squares, minimum, maximum`` are ``(columns,)``. ``missing`` is ``(kinds, columns)``, of which the
    first kind is blank. ``sample`` is ``(at most size, columns)``.
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
        present = kinds == PRESENT
        count = present.sum(axis=0)
        total, divisor = self.count + count, np.maximum(count, 1)
        share = count / np.maximum(total, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            # Divided first: the sum stays finite near the largest float.
            mean = (np.where(present, values, 0.0) / divisor).sum(axis=0)
            deviations = np.where(present, values - mean, 0.0)
            # Corrected two-pass algorithm (Chan, Golub & LeVeque 1983, eq. 1.7): takes out the rounding of the mean.
            left_over = deviations.sum(axis=0) / divisor
            squares = (deviations**2).sum(axis=0) - count * left_over**2
            delta = mean + np.where(np.isfinite(left_over), left_over, 0.0) - self.mean
            # Chan, Golub & LeVeque 1979: M2 = M2a + M2b + δ²·na·nb/n.
            self.squares = self.squares + squares + delta**2 * self.count * share
            self.mean = self.mean + delta * share
        self.count = total
        self.minimum = np.fmin(self.minimum, np.fmin.reduce(values, axis=0))
        self.maximum = np.fmax(self.maximum, np.fmax.reduce(values, axis=0))
        self.missing += np.stack([(kinds == kind).sum(axis=0) for kind in range(BLANK, BLANK + len(self.missing))])
        rows = np.concatenate([self.sample_rows, np.arange(first_row, first_row + len(values), dtype=np.int64)])
        places = np.arange(len(rows))
        if len(rows) > self.size:
            # The hash of a row number is never equal to another's in practice. The stable sort settles it anyway.
            places = np.lexsort((rows, uniform(0, ("bottom-k",), rows)))[: self.size]
        places = places[np.argsort(rows[places], kind="stable")]
        held = len(self.sample_rows)
        is_new, sample = places >= held, np.empty((len(places), values.shape[1]))
        sample[~is_new], sample[is_new] = self.sample[places[~is_new]], values[places[is_new] - held]
        self.sample_rows, self.sample = rows[places], sample

    @property
    def deviation(self) -> Floats:
        """Standard deviation with the divisor n, as ``StandardScaler`` has it."""
        return np.asarray(np.sqrt(self.squares / np.maximum(self.count, 1)))

    def quantiles(self, levels: Sequence[float] | Floats) -> Floats:
        """Return linear quantiles ``(levels, columns)`` of the sample, missing cells left out. NaN without a value."""
        share = np.asarray(levels, dtype=np.float64)
        if len(self.sample) == 0:
            return np.full((len(share), len(self.count)), np.nan)
        ordered = np.sort(self.sample, axis=0)  # NaN goes last
        last = np.maximum(len(ordered) - np.isnan(ordered).sum(axis=0) - 1, 0)
        place = share[:, None] * last
        low = np.floor(place).astype(np.intp)
        below = np.take_along_axis(ordered, low, axis=0)
        above = np.take_along_axis(ordered, np.minimum(low + 1, last), axis=0)
        weight = place - low
        # Weighted this way the result is exact at both ends and does not overflow between huge values.
        return np.asarray(np.where(below == above, below, below * (1 - weight) + above * weight))


# ---- text -----------------------------------------------------------------------------------------------------------
class LevelCounts:
    """How often each level of a text column occurs, for the 65,536 with the smallest hash, which makes counts exact."""

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
        if len(self.levels) > self.most:
            hashed = sorted(self.levels, key=lambda text: hashlib.blake2b(text.encode(), digest_size=8).digest())
            self.levels = {text: self.levels[text] for text in hashed[: self.most]}
            self.complete = False

    def by_frequency(self) -> list[tuple[str, int]]:
        """Return levels, the most frequent first, equals by text: the same whatever the order of rows."""
        return sorted(self.levels.items(), key=lambda item: (-item[1], item[0]))


# ---- the table ------------------------------------------------------------------------------------------------------
class TableStatistics:
    """Statistics of all columns of a table with a schema, gathered in chunks."""

    def __init__(self, schema: Schema, *, na_codes: CodesArgument | MissingCodes = None) -> None:
        self.codes = MissingCodes.of(na_codes)
        self.rows = 0
        self.schema = schema
        self.stored = schema.stored
        self.numeric_names = [column.name for column in self.stored]
        n_kinds = 1 + len(self.codes.labels)
        self.numeric = NumericStatistics(len(self.stored), n_kinds)
        texts = [column.name for column in schema if column.kind != "identifier" and column.storage == "text"]
        self.text = {name: LevelCounts(n_kinds) for name in texts}
        dates = [column.name for column in self.stored if column.storage == "date"]
        self.calendar = {name: {part: np.zeros(n, dtype=np.int64) for part, n in PERIODS.items()} for name in dates}
        self.days = {name: np.zeros(0, dtype=np.int64) for name in dates}

    def update(self, X: Any, first_row: int | None = None) -> TableStatistics:
        """Add a chunk of rows, whose first has this number in the whole table. None: the next one."""
        frame = cells.as_frame(X, allow_empty=True)
        values, kinds = numeric_cells(frame, self.stored, self.codes)
        self.numeric.update(values, kinds, self.rows if first_row is None else first_row)
        for name, counts in self.calendar.items():
            seconds = values[:, self.numeric_names.index(name)]
            parts = calendar_parts(seconds[~np.isnan(seconds)])
            for part, size in PERIODS.items():
                counts[part] += np.bincount(parts[part], minlength=size)
            self.days[name] = np.union1d(self.days[name], parts["date"])
        for name, levels in self.text.items():
            levels.update(Distinct.of(frame[name], name), name, self.codes)
        self.rows += len(frame)
        return self


def numeric_cells(frame: pd.DataFrame, columns: Sequence[ColumnType], codes: MissingCodes) -> tuple[Floats, Kinds]:
    """Return columns of numbers, dates and pairs as a matrix, NaN where missing, and the kinds of missingness."""
    values = np.full((len(frame), len(columns)), np.nan)
    kinds = np.full(values.shape, PRESENT, dtype=np.int16)
    numbers = set(cells.native_names(frame))
    native = [j for j, one in enumerate(columns) if one.storage == "number" and one.name in numbers]
    if native:
        matrix, kinds_of_native = cells.native_cells(frame, [columns[j].name for j in native], codes)
        if len(native) == len(columns):
            return matrix, kinds_of_native
        values[:, native], kinds[:, native] = matrix, kinds_of_native
    for j in sorted(set(range(len(columns))).difference(native)):
        values[:, j], kinds[:, j] = read_numbers(frame[columns[j].name], columns[j], codes)
    return values, kinds


# ---- scaling ---------------------------------------------------------------------------------------------------------
ScalingMode: TypeAlias = Literal["robust", "standard", "minmax", "quantile"]

_MOST_KNOTS = 1_000
#: Bound of the unbounded modes, so that float32 and products of a few values stay finite.
_LARGEST = 1e30
_LOWEST_SHARE = 1e-7


@dataclass(frozen=True)
class Scaling:
    """A fitted scaling of numeric columns. Every mode is monotone and finite for every finite number.

    - ``"robust"``: z = (x − median) / interquartile range (twice the inverse range where that is 0), then
      z / √(1 + (z/3)²): Holzmüller, Grinsztajn & Steinwart 2024 (RealMLP, arXiv 2407.04491), "robust scaling and
      smooth clipping".
    - ``"standard"``: (x − mean) / standard deviation.
    - ``"minmax"``: (x − minimum) / (maximum − minimum).
    - ``"quantile"``: normal scores through up to 1,000 quantiles, ties in the middle, as scikit-learn's
      ``QuantileTransformer``. NOTE[DIFF]: there a tie at either end goes to ±5.2, here to its middle too, so that the
      commonest value of a count is no outlier.

    ``center``, ``factor`` and ``fill``, the median that a missing cell gets, are ``(columns,)``. ``knots`` are the
    quantiles ``(knots, columns)``, without rows unless the mode is ``"quantile"``.
    """

    mode: ScalingMode
    center: Floats
    factor: Floats
    fill: Floats
    knots: Floats

    @classmethod
    def fit(cls, mode: ScalingMode, statistics: NumericStatistics) -> Scaling:
        """Compute centre and factor from statistics. A column without values is 0 everywhere."""
        check_choice("numeric", mode, get_args(ScalingMode))
        low, median, high = statistics.quantiles([0.25, 0.5, 0.75])
        minimum, maximum = np.nan_to_num(statistics.minimum), np.nan_to_num(statistics.maximum)
        # A very sparse column may have no value in the sample: the mean stands in, which may round past the ends.
        median = np.nan_to_num(np.where(np.isnan(median), statistics.mean, median))
        fill = np.clip(median, minimum, maximum)
        # Quarters: the difference of the two largest floats must not overflow.
        span = maximum * 0.25 - minimum * 0.25
        center, factor, knots = minimum, _inverse(span), np.empty((0, len(fill)))
        if mode in ("robust", "standard"):
            is_robust = mode == "robust"
            center = fill if is_robust else np.clip(np.nan_to_num(statistics.mean), minimum, maximum)
            width = np.nan_to_num(high * 0.25 - low * 0.25) if is_robust else statistics.deviation * 0.25
            factor = _inverse(width, otherwise=_inverse(span * 0.5))
        elif mode == "quantile":
            n_knots = int(np.clip(len(statistics.sample), 2, _MOST_KNOTS))
            knots = np.nan_to_num(statistics.quantiles(np.linspace(0.0, 1.0, n_knots)))
            # The sample may lack the extremes, the statistics have them.
            knots[0], knots[-1] = np.fmin(knots[0], minimum), np.fmax(knots[-1], maximum)
            knots = np.asarray(np.maximum.accumulate(knots, axis=0))
        return cls(mode, center, factor, fill, knots)

    def apply(self, values: Floats) -> Floats:
        """Scale values ``(rows, columns)``. Missing cells get the value of ``fill``."""
        filled = np.where(np.isnan(values), self.fill, values)
        if self.mode == "quantile":
            return self._normal_scores(filled)
        with np.errstate(over="ignore"):
            scaled = (filled * 0.25 - self.center * 0.25) * self.factor
        np.clip(scaled, -_LARGEST, _LARGEST, out=scaled)
        if self.mode == "robust":
            scaled /= np.hypot(1.0, scaled / 3.0)
        return np.asarray(scaled)

    def _normal_scores(self, values: Floats) -> Floats:
        from scipy.special import ndtri

        levels = np.linspace(0.0, 1.0, len(self.knots))
        shares = np.empty_like(values)
        # Numbers whose differences are too small to divide by are taken for 0.
        values, all_knots = (np.where(np.abs(one) < 1e-290, 0.0, one) for one in (values, self.knots))
        for j in range(values.shape[1]):
            knots = all_knots[:, j]
            # Up and down averaged: a value that fills several quantiles gets the middle of them.
            up = np.interp(values[:, j], knots, levels)
            down = np.interp(-values[:, j], -knots[::-1], -levels[::-1])
            shares[:, j] = 0.5 * (up - down)
        return np.asarray(ndtri(np.clip(shares, _LOWEST_SHARE, 1.0 - _LOWEST_SHARE)))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Scaling:
        """Read back the fields as lists."""
        check_choice("numeric", content["mode"], get_args(ScalingMode))
        names = ("center", "factor", "fill", "knots")
        center, factor, fill, knots = (np.array(content[name], dtype=np.float64) for name in names)
        # A table of categories alone has no column to scale, and its knots no width that NumPy could tell rows by.
        knots = knots.reshape(-1, len(fill)) if len(fill) else knots.reshape(len(knots), 0)
        return cls(content["mode"], center, factor, fill, knots)


def _inverse(width: Floats, otherwise: Floats | float = 0.0) -> Floats:
    usable = np.isfinite(width) & (width > 1e-300)
    return np.where(usable, 1.0 / np.where(usable, width, 1.0), otherwise)


# ---- which encoded columns each raw column gets, decided from statistics of the training rows ------------------------
OTHER = -1
"""Key of the level that takes rare and unseen texts."""


@dataclass(frozen=True)
class Slot:
    """One encoded column: index of its raw column, its name, and its extremes over training rows.

    Its ``kind`` is ``"numeric", "boolean", "level", "missing", "date_part"`` or ``"score"``. ``detail`` the level's
    text, the kind of missingness, the output of a score, or the part of the date, such as ``"month sin"`` or, of kind
    "level", ``"month 0"``.
    """

    column: int
    name: str
    kind: str
    detail: str | int | None = None
    minimum: float = 0.0
    maximum: float = 1.0


@dataclass(frozen=True)
class Dates:
    """What the parts of dates are computed with: ``years`` of each column in training, and public ``holidays``."""

    years: dict[str, tuple[int, int]]
    holidays: Integers


def plan_slots(
    statistics: TableStatistics, scaling: Scaling, max_levels: int, *, returning: Collection[str], country: str | None
) -> tuple[Schema, list[Slot], Dates]:
    """Return the schema as all training rows have it, the encoded columns in order, and what dates need.

    ``returning``: columns of dates without time and year. ``country``: whose public holidays are a part of dates.
    """
    numeric = statistics.numeric
    place = {name: j for j, name in enumerate(statistics.numeric_names)}
    # What the smallest training value becomes, and the largest.
    lowest, highest = scaling.apply(np.stack([numeric.minimum, numeric.maximum]))
    columns: list[ColumnType] = []
    slots: list[Slot] = []
    years = {name: _years(days) for name, days in statistics.days.items() if len(days)}
    holidays = public_holidays(country, [year for ends in years.values() for year in ends])
    for i, first in enumerate(statistics.schema):
        column = _settled(first, statistics)
        name = column.name
        columns.append(column)
        if column.kind in ("constant", "identifier"):
            continue
        if column.storage == "text":
            counts = statistics.text[name]
            ordered = [] if column.kind in ("text", "image") else [text for text, _ in counts.by_frequency()]
            slots += [Slot(i, f"{name}={text}", "level", text) for text in ordered[:max_levels]]
            if ordered and (len(ordered) > max_levels or not counts.complete):
                slots.append(Slot(i, f"{name}=<other>", "level"))
            missing = counts.missing
        else:
            j = place[name]
            low, high, missing = float(lowest[j]), float(highest[j]), numeric.missing[:, j]
            if numeric.minimum[j] < numeric.maximum[j]:
                if column.kind == "boolean":
                    slots.append(Slot(i, name, "boolean"))
                elif column.kind == "date":
                    held, parts = name in returning, (statistics.calendar[name], statistics.days[name], holidays)
                    slots.append(Slot(i, f"{name}=time", "date_part", HELD if held else "time", low, high))
                    if not held and years[name][0] < years[name][1]:
                        slots.append(Slot(i, f"{name}=year", "date_part", "year"))
                    for part, *ends in returning_parts(*parts, whole=held):
                        kind = "date_part" if part.endswith((" sin", " cos")) else "level"
                        slots.append(Slot(i, f"{name}={part_name(part)}", kind, part, *ends))
                else:
                    slots.append(Slot(i, name, "numeric", None, low, high))
        labels = ("", *(f" {label}" for label in statistics.codes.labels))
        kinds = np.flatnonzero(missing).tolist()
        slots += [Slot(i, f"{name}=<missing{labels[kind]}>", "missing", BLANK + kind) for kind in kinds]
    return Schema(tuple(columns)), slots, Dates(years, holidays)


def _years(days: Integers) -> tuple[int, int]:
    first, last = calendar_parts(np.asarray(days[[0, -1]] * 86_400.0, dtype=np.float64))["year"].tolist()
    return first, last


def _settled(column: ColumnType, statistics: TableStatistics) -> ColumnType:
    """Give a column its final kind and counts, now that all rows were seen."""
    if column.kind == "identifier" or (column.kind == "constant" and column.reason == "declared"):
        return column
    general: Any = "categorical"
    if column.storage == "text":
        counts = statistics.text[column.name]
        n_levels, n_missing = len(counts.levels), int(counts.missing.sum())
    else:
        j = statistics.numeric_names.index(column.name)
        numeric = statistics.numeric
        low, high = numeric.minimum[j], numeric.maximum[j]
        n_missing = int(numeric.missing[:, j].sum())
        n_levels = max(column.n_levels, 2) if low < high else int(numeric.count[j] > 0)
        is_truth = column.storage == "pair" or (column.kind == "boolean" and low >= 0 and high <= 1)
        general = "date" if column.storage == "date" else "boolean" if is_truth else "numeric"
    kind, reason = column.kind, column.reason
    if n_levels == 0 or (n_levels == 1 and n_missing == 0):
        reason = reason if kind == "constant" else "one value only" if n_levels else "no value at all"
        kind = "constant"
    elif kind in ("constant", "boolean"):
        kind = general
    return replace(column, kind=kind, reason=reason, n_rows=statistics.rows, n_missing=n_missing, n_levels=n_levels)
