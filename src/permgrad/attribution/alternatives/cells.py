"""The cells of a table as numbers: what each may become, which change together, and how far rows are apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from permgrad.attribution.subject.frames import FrameForm
from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.checks import check_choice, check_kind, check_names, is_number
from permgrad.base.errors import InputError, shown, unknown
from permgrad.base.late import pd

#: Values of a column, or of columns that change together, that are tried one by one.
_TRIED = 16
_PAIR = "Pass a pair such as (18, 70), with None for an open end."


class Cells:
    """One row, the rows of a table, and what may change in that row.

    Args:
        form: the table's form, which has read ``rows`` and ``row``.
        rows: the table's rows as the form's numbers, ``(rows, columns)``.
        row: the row, ``(columns,)``.
        groups, fixed, ranges, direction: the arguments of ``pg.counterfactuals``.

    Attributes:
        units: columns that change together, and each other column.
    """

    def __init__(
        self, form: FrameForm, rows: Floats, row: Floats, *, groups: Any, fixed: Any, ranges: Any, direction: Any
    ) -> None:
        self.form, self.row, self.names = form, row, form.names
        self._scales = [_scale(form, place) for place in range(len(form.names))]
        #: Which cells of each pool are missing.
        self._missing = [None if column.numeric else self._cells(place).isna().to_numpy() for place, column in enumerate(form.columns)]
        self.measured_row = self.measured(row[None])
        measured = self.measured(rows)
        self._spreads = [
            _spread(column) if scale is not None else None
            for scale, column in zip(self._scales, measured.T, strict=True)
        ]
        self.units = self._units(groups)
        for name, value in (("ranges", ranges), ("direction", direction)):
            check_kind(name, value, Mapping, "a mapping of columns", f"Pass {name}={{'column': …}}.")
        kept = {self._place(name, "fixed") for name in check_names("fixed", fixed, "Pass a list of columns.")}
        limits = {self._place(name, "ranges"): limit for name, limit in ranges.items()}
        ways = {self._place(name, "direction"): way for name, way in direction.items()}
        #: The values that a column may be changed to: in rising order on a scale, else any order.
        self.values: list[Floats] = []
        for place, known in enumerate(self._scales):
            own = measured[:, place]
            values = np.unique(rows[~np.isnan(own), place])
            if known is not None:
                values = self._on_scale(place, values, limits.get(place), ways.get(place))
            elif place in ways:
                raise InputError(
                    f"direction needs a column with an order, and {self.names[place]!r} has none",
                    hint="List the values that it may take in ranges=.",
                    code="PG006",
                )
            elif place in limits:
                values = np.intersect1d(values, self._listed(place, limits[place]))
            self.values.append(values[:0] if place in kept else values)

    # ---- arguments ---------------------------------------------------------------------------------------------------
    def _place(self, name: Any, argument: str) -> int:
        if name not in self.names:
            raise unknown(f"A column in {argument}=", name, self.names)
        return self.names.index(name)

    def _units(self, groups: Any) -> list[Integers]:
        check_kind("groups", groups, Mapping, "a mapping of names to lists of columns", "Pass {'name': ['column', …]}.")
        units = [
            np.array([self._place(name, "groups") for name in check_names("groups", members, "Pass lists of columns.")])
            for members in groups.values()
        ]
        grouped = [place for unit in units for place in unit.tolist()]
        if len(set(grouped)) < len(grouped) or not all(map(len, units)):
            problem = "Each group needs columns, and a column can be in one group only"
            raise InputError(problem, hint="Change groups=.", code="PG008")
        return [*units, *(np.array([place]) for place in range(len(self.names)) if place not in grouped)]

    def _on_scale(self, place: int, values: Floats, limit: Any, way: Any) -> Floats:
        """Return the values of a column on a scale within its range and direction, with the ends of the range."""
        scale = self._scales[place]
        low, high = self._limits(place, limit)
        own = float(self.measured_row[0, place])
        if scale is None or not len(scale):  # numbers: the ends of a range are values, too
            whole = bool((values == np.rint(values)).all())
            low, high = (np.ceil(low), np.floor(high)) if whole else (low, high)
            values = np.unique([*values, *(end for end in (low, high) if low <= end <= high and np.isfinite(end))])
            measured = values
        else:
            measured = scale[values.astype(np.int64)]
        inside = (measured >= low) & (measured <= high)
        if way is not None:
            check_choice("direction", way, ("up", "down"))
            inside &= (measured > own) if way == "up" else (measured < own)
        values, measured = values[inside], measured[inside]
        return np.asarray(values[np.argsort(measured)])

    def _limits(self, place: int, limit: Any) -> tuple[float, float]:
        if limit is None:
            return -np.inf, np.inf
        name, cells = self.names[place], self._cells(place)
        if not isinstance(limit, (tuple, list)) or len(limit) != 2:
            raise InputError(f"ranges[{name!r}] must be a pair, got {shown(limit)}", hint=_PAIR, code="PG001")
        ends = []
        for end, otherwise in zip(limit, (-np.inf, np.inf), strict=True):
            if end is None:
                ends.append(otherwise)
            elif self.form.columns[place].numeric:
                if not is_number(end):
                    problem = f"ranges[{name!r}] must hold numbers, got {shown(end)}"
                    raise InputError(problem, hint=_PAIR, code="PG001")
                ends.append(float(end))
            elif isinstance(cells.dtype, pd.CategoricalDtype):
                if end not in cells.cat.categories:
                    raise unknown(f"ranges[{name!r}]", end, map(str, cells.cat.categories))
                ends.append(float(cells.cat.categories.get_loc(end)))
            else:
                try:
                    ends.append(float(_seconds([end])[0]))
                except (TypeError, ValueError):
                    problem = f"ranges[{name!r}] must hold dates, got {shown(end)}"
                    raise InputError(problem, hint="Pass ('2026-01-01', None).", code="PG001") from None
        if not ends[0] <= ends[1]:
            raise InputError(f"ranges[{name!r}] must rise, got {shown(limit)}", hint=_PAIR, code="PG002")
        return ends[0], ends[1]

    def _listed(self, place: int, values: Any) -> Integers:
        """Return the places of values in the pool of a column without an order."""
        name, cells = self.names[place], self._cells(place)
        if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
            problem = f"ranges[{name!r}] must list values, got {shown(values)}"
            raise InputError(problem, hint=f"Pass ranges={{{name!r}: ['…', '…']}}.", code="PG001")
        values = list(values)
        for value in values:
            if not cells.isin([value]).any():
                raise unknown(f"ranges[{name!r}]", value, map(str, cells.dropna()))
        return np.flatnonzero(cells.isin(values))

    def _cells(self, place: int) -> pd.Series[Any]:
        """Return the different cells of a column that is not of numbers."""
        return self.form.library.series(self.form.columns[place].cells)

    # ---- rows --------------------------------------------------------------------------------------------------------
    def measured(self, rows: Floats) -> Floats:
        """Return cells on the scale of their column (dates in seconds, others as their code), NaN where missing."""
        measured = rows.copy()
        for place, scale in enumerate(self._scales):
            missing = self._missing[place]
            if missing is not None:
                codes = rows[:, place].astype(np.int64)
                measured[:, place] = np.where(missing[codes], np.nan, codes if scale is None else scale[codes])
        return measured

    def distances(self, rows: Floats, others: Floats) -> Floats:
        """Return how far measured rows are apart, ``(rows, others)``, summed over columns.

        Numbers and dates count in median absolute deviations. Different categories, and a missing cell beside one that
        is not, count 1.
        """
        return np.asarray(
            sum(self._apart(place, rows[:, None, place], others[None, :, place]) for place in range(len(self.names)))
        )

    def _apart(self, place: int, one: Floats, other: Floats) -> Floats:
        spread, missing = self._spreads[place], np.isnan(one) | np.isnan(other)
        apart = (one != other).astype(np.float64) if spread is None else np.abs(one - other) / spread
        return np.where(missing, np.isnan(one) != np.isnan(other), apart)

    def moved(self, rows: Floats) -> Floats:
        """Return how far each unit of rows is from the row, ``(rows, units)``. Unchanged units have 0."""
        measured = self.measured(rows)
        apart = [self._apart(k, measured[:, k], self.measured_row[:, k]) for k in range(len(self.names))]
        return np.stack([sum(apart[place] for place in unit) for unit in self.units], axis=1)

    def offered(self, donors: Floats) -> Floats:
        """Return the row with the cells of donors where they may be taken, on a scale the nearest allowed value."""
        rows = np.repeat(self.row[None], len(donors), axis=0)
        measured = self.measured(donors)
        for place, values in enumerate(self.values):
            if not len(values):
                continue
            if self.is_on_scale(place):
                known = self.measured_values(place)
                found = np.searchsorted(known, np.nan_to_num(measured[:, place]).clip(known[0], known[-1]))
                taken = values[found]
                allowed = ~np.isnan(measured[:, place])
            else:
                taken, allowed = donors[:, place], np.isin(donors[:, place], values)
            rows[:, place] = np.where(allowed, taken, self.row[place])
        for unit in self.units:
            if len(unit) > 1:  # the cells of a group are those of one donor, or stay
                whole = same(rows[:, unit], donors[:, unit]).all(axis=1)
                rows[np.ix_(~whole, unit)] = self.row[unit]
        return rows

    def is_on_scale(self, place: int) -> bool:
        """Return whether a column holds numbers, dates or ordered categories."""
        return self._scales[place] is not None

    def measured_values(self, place: int) -> Floats:
        """Return the allowed values of a column on its scale, in rising order."""
        scale, values = self._scales[place], self.values[place]
        return values if scale is None or not len(scale) else scale[values.astype(np.int64)]

    def options(self, donors: Floats, most: int = _TRIED) -> list[Floats]:
        """Return for each unit the cells to try, ``(options, columns of the unit)``, those of first donors first."""
        offered, options = self.offered(donors), []
        for unit in self.units:
            if len(unit) == 1 and self.is_on_scale(unit[0]):
                values = self.values[unit[0]]
                each = values[np.unique(np.linspace(0, len(values) - 1, most).astype(np.int64))[: len(values)]][:, None]
            else:
                _, first = np.unique(_comparable(offered[:, unit]), axis=0, return_index=True)
                each = offered[np.sort(first)[: most + 1]][:, unit]
            options.append(each[~same(each, self.row[unit]).all(axis=1)][:most])
        return options


def same(rows: Floats, others: Floats) -> Booleans:
    """Return where cells are equal. Missing cells are."""
    return np.asarray((rows == others) | (np.isnan(rows) & np.isnan(others)))


def distinct(rows: Floats) -> Floats:
    """Return different rows once, in their order."""
    return rows[np.sort(np.unique(_comparable(rows), axis=0, return_index=True)[1])]


def _comparable(rows: Floats) -> Floats:
    return np.where(np.isnan(rows), np.inf, rows)


def _scale(form: FrameForm, place: int) -> Floats | None:
    """Return the scale of a column by the codes of its cells. Of numbers: empty. None: it has no order."""
    if form.columns[place].numeric:
        return np.empty(0)
    cells = form.library.series(form.columns[place].cells)
    if isinstance(cells.dtype, pd.CategoricalDtype):
        codes = cells.cat.codes.to_numpy().astype(np.float64)
        return codes if cells.cat.ordered else None
    kind = pd.api.types.infer_dtype(cells, skipna=True)
    return _seconds(cells) if kind in ("datetime64", "datetime", "date") and cells.notna().any() else None


def _seconds(dates: Sequence[Any] | pd.Series[Any]) -> Floats:
    stamps = pd.to_datetime(pd.Series(dates), utc=True)
    return (stamps - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy(dtype=np.float64)


def _spread(values: Array) -> float:
    """Return the unit of distances: the median absolute deviation, that of the mean where it is 0, else 1.

    Of two values it is their difference, as of two categories.
    """
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return 1.0
    levels = np.unique(known)
    if len(levels) == 2:
        return float(levels[1] - levels[0])
    apart = np.abs(known - np.median(known))
    return float(np.median(apart) or apart.mean() or 1.0)
