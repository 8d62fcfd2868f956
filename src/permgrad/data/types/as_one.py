"""Columns that are one feature though nobody said so: dummies of one variable, and
columns that repeat another.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.errors import keeping_warnings
from permgrad.base.late import pd
from permgrad.base.sequences import positions_of, values_at
from permgrad.data.kinds.column import Schema
from permgrad.data.read.cells import Distinct, as_frame, is_native_number, text_numbers
from permgrad.data.read.dates import is_moment, series_seconds
from permgrad.data.read.whole_numbers import different_and_left

#: What is found could be chance with at most this probability.
_CHANCE = 1e-3
#: Rows, spread over the table, that are looked at first: whether a column is 0 or 1,
#: and whether two differ.
_LOOKED_AT = 1000
#: So many levels may have a column of dummies each.
_MOST_LEVELS = 60
#: How many times as wide as there are levels the range of whole numbers may be that are
#: their codes.
_OF_CODES = 10


def columns_as_one(
    frame: pd.DataFrame, but_for: Collection[str] = ()
) -> dict[str, list[str]]:
    """Find the columns of a table that are one feature: its name to its columns, in the
    order of the table.

    - **Dummies**: columns of 0 and 1, or of True and False, with one stem before a
      separator or final digits (``edlevel1``, ``soil_type_3``, ``color=red``). In every
      row exactly one of them is set; or at most one, of three columns or more. If the
      columns were independent, with the shares that they have, so many rows would do so
      with a probability below 1 in 1,000: flags that are rare say nothing. The stem is
      the name.
    - **Copies**: columns that determine each other one to one in every row, as
      ``same_columns`` says, if they are numbers in the same or the opposite order (a
      number less a constant, its logarithm), or a category and its codes or dummies. Of
      all pairs of columns, fewer than 1 in 1,000 would agree so by chance. The name is
      that of the dummies, else of the first column.

    Columns of ``but_for`` are left out. Columns whose names are no text are not looked
    at.

    Examples:
        >>> color = pd.get_dummies(
        ...     pd.Series(["red", "blue", "green"] * 10), prefix="color", prefix_sep="="
        ... )
        >>> columns_as_one(color.assign(size=range(30), cm=range(100, 130)))
        {'color': ['color=blue', 'color=green', 'color=red'], 'size': ['size', 'cm']}
    """
    if (
        not frame.columns.is_unique
        or not all(isinstance(frame_name, str) for frame_name in frame.columns)
        or len(frame) < 2
    ):
        return {}
    names = []
    for column_name in frame.columns:
        if column_name not in set(but_for):
            names.append(column_name)
    with keeping_warnings():
        blocks = _dummies(frame, names)
        members = {
            columns[0]: (block_stem, columns) for block_stem, columns in blocks.items()
        }
        inside = set(chain.from_iterable(blocks.values()))
        # A block takes part in the search for copies as the category that it encodes.
        searched = frame[
            [
                searched_name
                for searched_name in names
                if searched_name in members or searched_name not in inside
            ]
        ].copy(deep=False)
        for first, (_, columns) in members.items():
            searched[first] = _category(frame, columns)
        groups = _copies(searched, list(members))
    return _named(
        groups,
        members,
        positions_of(frame.columns),
    )


def _named(
    groups: Sequence[Sequence[str]],
    members: Mapping[str, tuple[str, list[str]]],
    column_order: Mapping[str, int],
) -> dict[str, list[str]]:
    """Return the columns of each feature by its name, in the order of the table.

    ``groups``: copies, a block by its first column. ``members``: the stem and the
    columns of each block.
    """
    found_groups: dict[str, list[str]] = {}
    for group in [
        *groups,
        *([first] for first in members if not any(first in group for group in groups)),
    ]:
        every = [
            column
            for group_member in group
            for column in (
                members[group_member][1] if group_member in members else [group_member]
            )
        ]
        columns = sorted(every, key=column_order.__getitem__)
        stems = [
            members[stem_member][0] for stem_member in group if stem_member in members
        ]
        feature_name = stems[0] if stems else columns[0]
        taken_names = {*found_groups, *(set(column_order) - set(columns))}
        found_groups[
            feature_name
            if feature_name not in taken_names
            else f"{feature_name} ({columns[0]} … {columns[-1]})"
        ] = columns
    return dict(sorted(found_groups.items(), key=lambda item: column_order[item[1][0]]))


def as_features(
    frame: pd.DataFrame, members: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Return a table with one column for each feature: without columns that repeat
    another, dummies as their category.

    Other columns that are one feature stay as they are.

    Examples:
        >>> columns = {"c=red": [1, 0, 0], "c=blue": [0, 1, 0]}
        >>> frame = pd.DataFrame(columns | {"x": [1, 2, 3], "y": [2, 4, 6]})
        >>> features = {"c": ["c=red", "c=blue"], "x": ["x", "y"]}
        >>> as_features(frame, features).values.tolist()
        [['red', 1], ['blue', 2], ['none', 3]]
    """
    for feature_name, columns in members.items():
        if not set(columns) <= set(frame.columns):
            continue
        if feature_name in columns:
            frame = frame.drop(
                columns=[column for column in columns if column != feature_name]
            )
            continue
        flags = [
            dummy_flag
            for column in columns
            if (dummy_flag := _flags(frame[column])) is not None
        ]
        if len(flags) < len(columns) or np.sum(flags, axis=0).max(initial=0) > 1:
            continue
        words = np.array(
            [
                *(
                    column.removeprefix(feature_name).lstrip("_=.:- ")
                    for column in columns
                ),
                "none",
            ],
            dtype=object,
        )
        level_index = np.where(
            np.any(flags, axis=0), np.argmax(flags, axis=0), len(columns)
        )
        column_position = int(frame.columns.get_loc(columns[0]))  # type: ignore[arg-type]
        frame = frame.drop(columns=list(columns))
        frame.insert(
            column_position,
            feature_name,
            pd.Series(words[level_index], index=frame.index),
        )
    return frame


# ---- dummies -------------------------------------------------------------------------
def _dummies(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns of each stem that are dummies of one variable."""
    flags = {
        column_name: cells
        for column_name in names
        if (cells := _flags(frame[column_name])) is not None
    }
    families: dict[tuple[str, bool], list[str]] = {}
    for flag_name in flags:
        for family in _stems(flag_name):
            families.setdefault(family, []).append(flag_name)
    found_blocks: dict[str, list[str]] = {}
    taken_columns: set[str] = set()
    levels = [
        codes
        for level_name in names
        if level_name not in flags
        and (codes := _few_levels(frame[level_name])) is not None
    ]
    # The largest family first, then the longest stem: "soil_type" before "soil".
    for (block_stem, _), members in sorted(
        families.items(), key=lambda item: (-len(item[1]), -len(item[0][0]))
    ):
        if (
            len(members) < 2
            or taken_columns.intersection(members)
            or block_stem in found_blocks
        ):
            continue
        member_flags = values_at(flags, members)
        if _are_exclusive(member_flags) or _are_levels_of(member_flags, levels):
            taken_columns.update(members)
            found_blocks[block_stem] = members
    return found_blocks


def adjacent_dummies(
    frame: pd.DataFrame, but_for: Collection[str] = ()
) -> list[list[str]]:
    """Find neighbouring columns of 0 and 1 that are dummies of one variable, whatever
    their names are.

    Columns of ``but_for`` are left out. As for ``columns_as_one``, exactly one of the
    columns is set in every row, or at most one of three or more, and that is no chance.

    Examples:
        >>> rows = [[1, 0, 0, 5], [0, 1, 0, 4], [0, 0, 1, 3]] * 6
        >>> adjacent_dummies(pd.DataFrame(rows, columns=["old", "new", "used", "size"]))
        [['old', 'new', 'used']]
    """
    blocks = list[list[str]]()
    block = list[str]()
    flags = list[Array]()
    for column_name in [*map(str, frame.columns), None]:
        if column_name is None or column_name in but_for:
            column = None
        else:
            column = _flags(frame[column_name])
        is_exclusive = column is not None and not any(
            (column & other_flag).any() for other_flag in flags
        )
        complete = bool(flags) and bool(np.any(flags, axis=0).all())
        if not is_exclusive or complete:
            if len(block) > 1 and _are_exclusive(flags):
                blocks.append(block)
            block = []
            flags = []
        if column is not None and column_name is not None:
            block.append(column_name)
            flags.append(column)
    return blocks


def _flags(column: pd.Series[Any]) -> Array | None:
    """Return a column of 0 and 1, or of True and False, as booleans, or None for any
    other.
    """
    is_bool = pd.api.types.is_bool_dtype(column.dtype)
    if not is_bool and not is_native_number(column.dtype):
        return None
    if (
        not is_bool
        and len(column) > _LOOKED_AT
        and not column.iloc[:: len(column) // _LOOKED_AT].isin((0, 1)).all()
    ):
        return None
    numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isin(numbers, (0, 1)).all():
        return numbers == 1
    return None


def _are_exclusive(flags: Sequence[Array]) -> bool:
    """Return whether one flag is set in each row, or at most one of three or more, and
    that is no chance.
    """
    per_row = np.sum(flags, axis=0, dtype=np.int64)
    if per_row.max() > 1:
        return False
    shares = np.array([dummy_flag.mean() for dummy_flag in flags])
    shares = shares[
        shares > 0
    ]  # a level that none of these rows has is of the block, but shows nothing
    complete = bool(per_row.all())
    if len(shares) < (2 if complete else 3):
        return False
    none_chance = float(np.prod(1 - shares))
    exactly_one_chance = none_chance * float((shares / (1 - shares)).sum())
    return len(flags[0]) * math.log(
        exactly_one_chance if complete else none_chance + exactly_one_chance
    ) < math.log(_CHANCE)


def _few_levels(column: pd.Series[Any]) -> Integers | None:
    """Return which cells of a column are equal ``(rows,)``, from 0 on, or None if there
    are too many different ones.
    """
    sampled_cells = column.iloc[:: max(len(column) // _LOOKED_AT, 1)]
    try:
        if sampled_cells.nunique() > _MOST_LEVELS:
            return None
        codes, _ = pd.factorize(column, use_na_sentinel=False)
    except (TypeError, NotImplementedError):  # lists, also as Arrow types
        return None
    return np.asarray(codes, dtype=np.int64)


def _are_levels_of(flags: Sequence[Array], columns: Sequence[Integers]) -> bool:
    """Return whether flags, of which each row sets at most one, tell the levels of
    another column but for a base level.
    """
    if np.sum(flags, axis=0, dtype=np.int64).max() > 1:
        return False
    set_at = np.where(np.any(flags, axis=0), np.argmax(flags, axis=0) + 1, 0)
    count = len(np.unique(set_at))
    if count != len(flags) + 1:
        return False
    return any(
        codes.max() + 1 == count and len(np.unique(codes * count + set_at)) == count
        for codes in columns
    )


def _stems(name: str) -> list[tuple[str, bool]]:
    """Return what stands before a separator, and before final digits (True)."""
    separators = re.finditer(r"[_=.:\- ]+", name)
    stems = []
    for match in separators:
        if match.start() > 0 and match.end() < len(name):
            stems.append((name[: match.start()], False))
    if digits := re.fullmatch(r"(.*\D)\d+", name):
        stems.append((digits[1].rstrip("_=.:- ") or digits[1], True))
    return list(dict.fromkeys(stems))


def _category(frame: pd.DataFrame, columns: Sequence[str]) -> Floats:
    """Return which of its dummies each row sets: the place of one, or −1 for none,
    which is a level, too.
    """
    matrix = frame[list(columns)].to_numpy(dtype=np.float64)
    return np.where(matrix.any(axis=1), matrix.argmax(axis=1), -1.0)


# ---- copies --------------------------------------------------------------------------
def _copies(frame: pd.DataFrame, blocks: Collection[str]) -> list[list[str]]:
    """Return groups of columns that repeat each other, where so many columns would not
    by chance.
    """
    names = []
    for column_name, column in frame.items():
        if _can_repeat(column):
            names.append(str(column_name))
    least = math.log(max(len(names) * (len(names) - 1) / 2, 1) / _CHANCE)
    alike = []
    for group in _alike_columns(frame, names):
        if _ways(frame[group[0]]) > least:
            alike.append(group)
    return [
        copies for group in alike for copies in _of_one_meaning(frame, group, blocks)
    ]


def _of_one_meaning(
    frame: pd.DataFrame, group: Sequence[str], blocks: Collection[str]
) -> list[list[str]]:
    """Divide columns with the same rows alike: numbers in one order, and a category
    with its codes.

    What was measured once for each of a few farms differs between the same rows as
    anything else of farms.
    """
    category = list[str]()
    orders = dict[bytes, list[str]]()
    coded: set[bytes] = set()
    for column_name in group:
        _, levels = column_levels(frame[column_name], column_name)
        if column_name in blocks or not isinstance(levels, np.ndarray):
            category.append(column_name)
            continue
        order = _order(levels)
        orders.setdefault(order, []).append(column_name)
        if (levels == np.round(levels)).all() and np.ptp(levels) < _OF_CODES * len(
            levels
        ):
            coded.add(order)
    found_copies = [
        names for order, names in orders.items() if not (category and order in coded)
    ]
    found_copies.append(
        category
        + [coded_name for order in coded if category for coded_name in orders[order]]
    )
    return [names for names in found_copies if len(names) > 1]


#: Cells of a column of objects that can be compared, as pandas calls them.
_COMPARABLE = ("string", "boolean", "date")


def _can_repeat(column: pd.Series[Any]) -> bool:
    """Return whether a column has different cells that can be compared: numbers, dates,
    text, categories.
    """
    if column.dtype == object:
        cells_are = pd.api.types.infer_dtype(column, skipna=True)
        if cells_are not in _COMPARABLE:
            return False
    if getattr(column.dtype, "type", None) in (list, dict):  # nested cells of pyarrow
        return False
    if isinstance(column.dtype, np.dtype) and column.dtype != object:
        cells = column.to_numpy()
        return not bool((cells == cells[0]).all())
    return not bool((column == column.iloc[0]).all())


def _ways(column: pd.Series[Any]) -> float:
    """Return the logarithm of the number of orders that a column's cells can be in."""
    codes, _ = column_levels(column, str(column.name))
    return math.lgamma(len(codes) + 1) - float(
        sum(math.lgamma(count + 1) for count in np.bincount(codes + 1).tolist())
    )


#: Shares of levels in the cells above which values count: in rows that are few, and in
#: all of them.
_ALL_DIFFERENT = 1 - 0.5 / _LOOKED_AT
_OFTEN_ALIKE = 0.5
#: So many different numbers are in the same order in two columns only if one follows
#: from the other.
_FEWEST_IN_ORDER = 12


def same_columns(
    frame: pd.DataFrame, schema: Schema, together: Iterable[Sequence[str]] = ()
) -> list[tuple[str, ...]]:
    """Find columns that determine each other one to one: equal in every row, one a code
    or a function of the other.

    If nearly each row has a different value, all columns are codes of each other: there
    numbers must rise, or fall, strictly together, and texts be equal. Constants,
    identifiers and groups that act ``together`` are passed over.
    """
    # Names in a schema are text, whatever they are in the frame, and as_frame makes
    # them so.
    names = []
    for column in schema:
        if column.of.is_encoded:
            names.append(column.name)
    blocks = list(map(set, together))
    order = {}
    for schema_index, schema_name in enumerate(schema.names):
        order[schema_name] = schema_index
    groups = [
        tuple(sorted(group, key=order.__getitem__))
        for group in _alike_columns(as_frame(frame), names)
    ]
    apart = [
        group
        for group in groups
        if not any(block.issuperset(group) for block in blocks)
    ]
    return sorted(apart, key=lambda group: order[group[0]])


def _alike_columns(frame: pd.DataFrame, names: Sequence[str]) -> list[list[str]]:
    """Return groups of columns that determine each other, as ``same_columns`` says."""
    if len(frame) > _LOOKED_AT:
        sampled_rows = frame.iloc[
            np.linspace(0, len(frame) - 1, _LOOKED_AT).astype(np.int64)
        ]
        names = list(chain.from_iterable(_alike(sampled_rows, names, _ALL_DIFFERENT)))
    return _alike(frame, names, _OFTEN_ALIKE)


def _alike(frame: pd.DataFrame, names: Sequence[str], most: float) -> list[list[str]]:
    """Return names whose columns have the same rows alike.

    Where levels are more than this share, values count too.
    """
    alike: dict[bytes, list[str]] = {}
    for column_name in names:
        codes, values = column_levels(frame[column_name], column_name)
        digest = hashlib.blake2b(
            np.ascontiguousarray(codes, dtype=np.int64).tobytes(), digest_size=16
        )
        if len(values) > most * np.count_nonzero(codes >= 0):
            if not isinstance(values, np.ndarray):
                digest.update("\0".join(values).encode())
            elif len(values) < _FEWEST_IN_ORDER:
                digest.update(values.tobytes())
            else:
                digest.update(_order(values))
        alike.setdefault(digest.digest(), []).append(column_name)
    return [group for group in alike.values() if len(group) > 1]


def _order(levels: Floats) -> bytes:
    """Return the order of numbers, which is what they share with all that rise or fall
    strictly with them.

    A column that falls where another rises says the same, so the smallest value comes
    before the largest.
    """
    if np.argmin(levels) < np.argmax(levels):
        rising = levels
    else:
        rising = -levels
    return np.argsort(rising, kind="stable").tobytes()


def column_levels(
    series: pd.Series[Any], name: str
) -> tuple[Array, Floats | list[str]]:
    """Return each row's level, −1 where it is missing, numbered as they first occur,
    and the levels in this order.
    """
    is_number = is_native_number(series.dtype)
    if is_number or is_moment(series):
        # Integers that are equal as float64 are distinguished.
        different, distinct_floats = (
            different_and_left(series)
            if is_number and series.dtype.kind in "iu"
            else (0, 0)
        )
        if is_number and different == distinct_floats:
            cells: Any = (
                series.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0
            )  # a minus zero is a zero
        elif is_number:
            cells = series
        else:
            cells = series_seconds(series)
        codes, levels = pd.factorize(cells)
        return codes, np.asarray(levels, dtype=np.float64)
    distinct = Distinct.of(series, name)
    numbers = text_numbers(distinct.texts)
    return distinct.index, distinct.texts if np.isnan(numbers).any() else numbers
