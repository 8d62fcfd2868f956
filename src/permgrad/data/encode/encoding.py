"""From a table to the numbers a network sees, one feature at a time, fitted on training
rows only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import KW_ONLY, asdict, astuple, dataclass, field
from itertools import compress
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Booleans, Floats, Floats32, Integers
from permgrad.base.checks import check_choice, check_whole
from permgrad.base.errors import InputError, by_count, counted, warn_user
from permgrad.base.files import plain
from permgrad.base.sequences import values_at
from permgrad.data.encode.designs import Cells, ImageVectors, TextVectors
from permgrad.data.encode.groups import check_groups
from permgrad.data.encode.planning import plan_slots
from permgrad.data.encode.scaling import Scaling, ScalingMode
from permgrad.data.encode.scores import Scores, Target
from permgrad.data.encode.slots import OTHER, PartKind, Slot, where
from permgrad.data.encode.table_statistics import TableStatistics, numeric_cells
from permgrad.data.kinds.column import ColumnKind, Kind, Schema, kinds
from permgrad.data.read.cells import (
    BLANK,
    PRESENT,
    CodesArgument,
    Distinct,
    Kinds,
    MissingCodes,
    as_frame,
)
from permgrad.data.read.header import columns_missing, some_names
from permgrad.data.types.column_types import infer_schema, read_numbers

Level: TypeAlias = Literal["column", "feature"]
Places: TypeAlias = Integers

_FORMAT = 1
#: The detail of an encoded column with what a number is read less, as scores have their
#: output's.
_LESS = -1
#: How many columns one warning names.
_MOST_NAMED = 5
#: Rows whose encoded columns are written while they are in the processor's cache.
_ROWS_IN_CACHE = 8_192
#: Columns whose unseen categories were reported. None: they are reported each time.
_told: ContextVar[set[str] | None] = ContextVar(
    "permgrad_told_of_surprises", default=None
)


class _Surprise(NamedTuple):
    """What is said of cells that training did not have, and what they count as."""

    singular: str
    several: str
    treatment: str


_NEW_LEVELS = _Surprise("is an unseen category", "are unseen categories", "unknown")
_ODD_WORDS = _Surprise(
    "is neither of the two training values",
    "are neither of the two training values",
    "missing",
)


class DatePart(NamedTuple):
    """A feature that a date is: its raw column, what it says (``"weekday"``), and its
    encoded columns.
    """

    column: str
    part: str
    places: Places


@contextmanager
def surprises_told_once(known_columns: Iterable[str] = ()) -> Iterator[None]:
    """Within the body warn once for each column of levels and words that training did
    not have, but ``known_columns`` ones.
    """
    token = _told.set(set(known_columns))
    try:
        yield
    finally:
        _told.reset(token)


@dataclass(eq=False, repr=False)
class TableEncoder:
    """Encode a table feature by feature: numbers scaled, categories one-hot, dates in
    parts, missing in own columns.

    The encoding is *per column*: what a raw cell becomes depends on that cell alone, so
    replacing a raw value and encoding again equals copying encoded columns.

    - Numbers are scaled (see ``scaling.Scaling``). A missing one is imputed with the
      training median, and one 0/1 column per kind of missing seen in training (blank,
      and each declared code) says so.
    - Categories are one-hot, the most frequent first. Each kind of missing seen in
      training is a level. Beyond ``max_levels`` the rare ones share a level "other",
      which also takes unseen ones. Without it an unseen level is all zeros.
    - Booleans are one column of 0 and 1, whatever the capitals of yes and no. A third
      word counts as missing.
    - Dates give time, year, month, day of the year and of the month, weekday, hour and
      weekend, as far as they vary in training: months, weekdays, days and hours as a
      cycle (sine and cosine) and, with 20 training rows and 8 days for each value, as a
      category; minutes where they return. What they say are features of their own
      (``date_parts_``). As text they may come in any form that leaves no doubt. Other
      text is refused where the training rows had none.
    - Free text, images, and categories beyond ``max_levels``, get scores where
      ``learn`` is told the target: what a penalised linear model of all columns says of
      the cell, one per output. See ``scores.Scores``. Images are turned into vectors by
      ``images_``, which the estimators set.
    - Constants and identifiers are features with no encoded column.

    Args:
        numeric: ``"robust"``, ``"standard"``, ``"minmax"`` or ``"quantile"``.
        max_levels: levels of a categorical column before the rest becomes "other".
        na: values that stand for missing: one, a list, or a mapping from column to
            list.
        groups: columns that act as *one* feature, such as those of a variable that
            arrived one-hot encoded, ``{"Soil": ["Soil1", "Soil2"]}``.
        kinds: columns whose kind is known, ``{"postcode": "categorical"}``.
            ``"calendar"`` is a date for rows later than those of training: without the
            year, and its time is at most that of the latest training row.

    Attributes:
        feature_names_in_: raw columns, ``x0, x1, …`` for arrays. ``schema_`` has their
            types.
        encoded_names_, feature_of_, kinds_: of each encoded column the name, the index
            of its raw column, and ``"numeric"``, ``"boolean"``, ``"level"`` (of a
            category or a date), ``"missing"``, ``"date_part"``, ``"part"`` (of other
            kinds) or ``"score"``.
        numeric_columns_: indexes of the encoded columns that are continuous.
        slopes_: encoded columns that hold slopes of levels, each with the column that
            they are on. With a third column the product is added to that one: it is a
            number less its mean within a level.
        minimum_, maximum_: extremes of each encoded column over training rows, float32.
        groups_: the raw columns of each declared group, by name.
        date_parts_: the features that dates are, by name, such as ``"sold: weekday"``:
            see ``DatePart``.
        scores_: what ``learn`` fitted, of the columns that have scores. ``scoreless_``:
            wide columns for which it found no score that helps. Not stored.
        images_: what turns images into vectors. None: images are left out.
        texts_: what turns texts into vectors beside their words. None: words alone are
            read.

    Examples:
        >>> towns = ["Bonn", "Ulm", "Bonn", "Bonn"]
        >>> table = pd.DataFrame({"age": [31.0, 40.0, None, 60.0], "town": towns})
        >>> encoder = TableEncoder(numeric="minmax").fit(table)
        >>> encoder.encoded_names_
        ['age', 'age=<missing>', 'town=Bonn', 'town=Ulm']
        >>> encoder.transform(table[:1]).tolist()
        [[0.0, 0.0, 1.0, 0.0]]
    """

    numeric: ScalingMode = "robust"
    max_levels: int = 50
    na: CodesArgument = None
    groups: Mapping[str, Sequence[str]] | None = None
    _: KW_ONLY
    kinds: Mapping[str, Kind] | None = None
    images_: ImageVectors | None = field(default=None, init=False)
    texts_: TextVectors | None = field(default=None, init=False)

    # ---- fitting ---------------------------------------------------------------------
    def fit(
        self, X: Any, y: Any = None, *, schema: Schema | None = None
    ) -> TableEncoder:
        """Learn types, scales and levels from training rows.

        ``y`` is for pipelines, ``schema`` types known.
        """
        del y
        frame = as_frame(X)
        codes = MissingCodes.of(self.na)
        if schema is None:
            schema = infer_schema(frame, na=codes, kinds=self.kinds)
        self.update(TableStatistics(schema, na=codes).update(frame))
        # As scikit-learn has it: names that are all text are kept.
        columns = getattr(X, "columns", None)
        self.named_ = columns is not None and all(
            isinstance(column_name, str) for column_name in columns
        )
        return self

    def fit_transform(self, X: Any, y: Any = None) -> npt.NDArray[np.float32]:
        """Fit on rows and encode them."""
        return self.fit(X, y).transform(X)

    def update(self, statistics: TableStatistics) -> TableEncoder:
        """Fit from statistics of all training rows, gathered in chunks or by several
        workers.
        """
        check_whole("max_levels", self.max_levels, "the default is 50")
        self.codes_ = statistics.codes
        self.named_ = True
        self.scores_ = Scores(0)
        self.scoreless_ = list[str]()
        self.scaling_ = Scaling.fit(self.numeric, statistics.numeric)
        returning = []
        for column_name, declared_kind in (self.kinds or {}).items():
            if kinds.get(declared_kind).returns:
                returning.append(column_name)
        self.schema_, slots, self.years_ = plan_slots(
            statistics, self.scaling_, int(self.max_levels), returning=returning
        )
        self.groups_ = check_groups(self.groups, self.schema_.names)
        self._set_slots(slots)
        return self

    def learn(
        self, X: Any, target: Target, *, levels: bool = True
    ) -> npt.NDArray[np.float32]:
        """Learn scores of wide columns from training rows, and return these rows
        encoded.

        Their scores come from models of other rows, see ``scores.Scores``:
        ``transform`` of the same rows gives others. Columns without a score that helps
        are encoded as before. So are all categories if not ``levels``.
        """
        frame = self._checked(X)
        wide_columns, also_levels = self._scored_columns(levels=levels)
        if not wide_columns and not also_levels:
            return self._encode(frame)
        narrow = ~np.isin(list(map(self._name, self.slots_)), list(wide_columns))
        wide_columns |= also_levels
        with surprises_told_once():
            other_columns = self._encode(frame)[:, narrow]
        columns = {
            column_name: self._cells(frame, column_name, target)
            for column_name in wide_columns
        }
        written = dict[str, Any]()
        for text_name in self.schema_.of_modality("text"):
            if text_name in columns and columns[text_name][0]:
                written[text_name] = columns[text_name][0]
        # What text and images say is read by parts, which have no slopes.
        numbers = np.flatnonzero(np.isin(np.flatnonzero(narrow), self.numeric_columns_))
        sloped = {
            wide_name: numbers
            for wide_name, column_kind in wide_columns.items()
            if column_kind.content is None and wide_name not in also_levels
        }
        texts = self.texts_
        vectors = dict[str, Floats32]()
        if texts is not None and texts.encoder is not None:
            vectors = {
                text_name: texts.vectors(cells) for text_name, cells in written.items()
            }
        self.scores_, crossed = Scores.fit(
            columns, other_columns, target, vectors, sloped
        )
        self.read_texts_with(self.texts_)
        self.scoreless_ = [
            scored_name
            for scored_name in wide_columns
            if scored_name not in {*crossed, *also_levels}
        ]
        numbered = [
            self.slots_[slot_index].name for slot_index in np.flatnonzero(narrow)
        ]
        self._set_slots(self._slots_with_scores(crossed, numbered))
        return self._encode(frame, crossed)

    def _slots_with_scores(
        self, crossed: Mapping[str, Floats32], numbered: list[str]
    ) -> list[Slot]:
        """Return the slots with scores in the place of levels, and beside numbers."""
        slots = [
            slot
            for slot in self.slots_
            if not slot.of.is_level or self._name(slot) not in crossed
        ]
        for name, scores in crossed.items():
            slots += self._score_slots(name, scores, numbered)
        return sorted(slots, key=lambda slot: slot.column)

    def _scored_columns(
        self, *, levels: bool
    ) -> tuple[dict[str, type[ColumnKind]], dict[str, type[ColumnKind]]]:
        """Return the kinds of the columns that scores replace, and of numbers that are
        levels, too, beside theirs.
        """
        pooled = set()
        for column_name, level_slots in self._levels.items():
            if levels and OTHER in level_slots:
                pooled.add(column_name)
        wide_columns = {}
        also_levels = {}
        for column_type in self.schema_:
            is_read = column_type.of.content is not None
            if column_type.of.modality == "photo":
                is_read = self.images_ is not None
            if is_read or column_type.name in pooled:
                wide_columns[column_type.name] = column_type.of
            if "also_levels" in column_type.flags:
                also_levels[column_type.name] = column_type.of
        return wide_columns, also_levels

    def _score_slots(self, name: str, scores: Floats32, names: list[str]) -> list[Slot]:
        """Return the slots of a column's scores, of its slopes on numbers, and of
        numbers that are centred in it.

        ``names``: of the encoded columns without scores, which numbers are counted by.
        """
        outputs = self.scores_.outputs
        number_lists = self.scores_.slopes, self.scores_.centred
        numbers, centred = (
            values_at(names, numbers_by_name.get(name, ()))
            for numbers_by_name in number_lists
        )
        slot_details: list[tuple[str, str | int]] = []
        for k in range(outputs):
            slot_details.append((f"score {k}" if outputs > 1 else "score", k))
        for number in numbers:
            slot_details += [
                (f"slope on {number} at 0", len(slot_details)),
                (f"slope on {number}", number),
            ]
        for number in centred:
            slot_details += [
                (f"less the mean of {number}", _LESS),
                (f"unit of {number}", number),
            ]
        slot_ranges = zip(
            slot_details,
            scores.min(axis=0).tolist(),
            scores.max(axis=0).tolist(),
            strict=True,
        )
        column = self.feature_names_in_.index(name)
        score_slots: list[Slot] = []
        for (label, detail), lower_bound, upper_bound in slot_ranges:
            score_slots.append(
                Slot(
                    column,
                    f"{name}=<{label}>",
                    "score",
                    detail,
                    min(lower_bound, 0.0),
                    max(upper_bound, 0.0),
                )
            )
        return score_slots

    def read_texts_with(self, texts: TextVectors | None) -> None:
        """Set what turns texts into vectors."""
        self.texts_ = texts
        if texts is None:
            self.scores_.vectors = None
        else:
            self.scores_.vectors = texts.vectors

    def where(self, holds: Callable[[PartKind], bool]) -> Booleans:
        """Return of which encoded columns ``(encoded,)`` something holds."""
        return where(self.kinds_, holds)

    def _name(self, slot: Slot) -> str:
        return self.feature_names_in_[slot.column]

    def texts_of(self, frame: pd.DataFrame, name: str) -> tuple[list[str], Integers]:
        """Return a column's different texts, and which of them each row has.

        Blank cells and codes: −1.
        """
        distinct = Distinct.of(frame[name], name)
        is_text = np.array(
            [
                self.codes_.kind_of(cell_text, name) == PRESENT
                for cell_text in distinct.texts
            ],
            dtype=bool,
        )
        texts = list(compress(distinct.texts, is_text))
        return texts, distinct.spread(np.where(is_text, np.cumsum(is_text) - 1, -1), -1)

    def _cells(
        self, frame: pd.DataFrame, name: str, target: Target | None = None
    ) -> tuple[Cells, Integers]:
        """Return a column's different texts, or the vectors of its images, and which of
        them each row has.
        """
        texts, index = self.texts_of(frame, name)
        if self.schema_[name].of.modality != "photo" or not texts:
            return texts, index
        if self.images_ is None:
            raise InputError(
                "This encoder has nothing that reads images",
                hint="Use its model.",
                code="PG030",
            )
        if target is not None:
            return self.images_.learn(name, texts, index, target), index
        return self.images_.vectors(name, texts), index

    def _set_slots(self, slots: list[Slot]) -> None:
        """Set what follows from the slots, and turn them into index arrays: encoding
        assigns whole matrices.
        """
        self.slots_ = slots
        self.feature_names_in_ = self.schema_.names
        self.n_features_in_ = len(self.feature_names_in_)
        self.encoded_names_ = [slot_entry.name for slot_entry in slots]
        self.kinds_ = [slot_entry.kind for slot_entry in slots]
        self.feature_of_ = np.array(
            [slot_entry.column for slot_entry in slots], dtype=np.int64
        )
        self.numeric_columns_ = np.flatnonzero(
            self.where(lambda part_kind: part_kind.is_number)
        ).astype(np.int64)
        self.minimum_ = np.array(
            [slot_entry.minimum for slot_entry in slots], dtype=np.float32
        )
        self.maximum_ = np.array(
            [slot_entry.maximum for slot_entry in slots], dtype=np.float32
        )
        self._stored = self.schema_.stored
        # Their cells may hold a third word.
        pairs_of_words = {}
        for j, stored_column in enumerate(self._stored):
            if not stored_column.reader.refuses_odd:
                pairs_of_words[j] = stored_column.name
        self._pairs_of_words = pairs_of_words
        pairs = self._sort_slots()
        # Places of times that later rows keep at their end.
        self._held = np.flatnonzero([slot.is_held for slot in slots])
        self._set_date_parts()
        self._pairs = {
            pair_kind: np.array(pair_rows, dtype=np.int64).reshape(-1, 3).T
            for pair_kind, pair_rows in pairs.items()
        }

    def _sort_slots(self) -> dict[str, list[tuple[int, int, int]]]:
        """Sort the slots by how they are encoded, and return those of stored numbers.

        Of these it gives the source in the matrix of stored numbers, the target among
        the encoded columns, and the kind of missingness.
        """
        sources = {column.name: number for number, column in enumerate(self._stored)}
        values: list[tuple[int, int, int]] = []
        switches: list[tuple[int, int, int]] = []
        missing: list[tuple[int, int, int]] = []
        self._parts: dict[int, list[tuple[int, str]]] = {}
        self._levels: dict[str, dict[str | int, int]] = {}
        self._scored: dict[str, list[int]] = {}
        self.slopes_: list[tuple[int, ...]] = []
        for target, slot in enumerate(self.slots_):
            name = self.feature_names_in_[slot.column]
            source = sources.get(name)
            if slot.of.is_score:
                self._scored.setdefault(name, []).append(target)
                self.slopes_ += self._slope_at(target)
            elif source is None:
                self._levels.setdefault(name, {})[
                    OTHER if slot.detail is None else slot.detail
                ] = target
            elif slot.of.is_missing:
                missing.append((source, target, int(slot.detail or 0)))
            elif slot.of.is_switch:
                switches.append((source, target, 0))
            elif slot.is_scaled:
                values.append((source, target, 0))
            else:
                self._parts.setdefault(source, []).append((target, str(slot.detail)))
        return {"value": values, "switch": switches, "missing": missing}

    def _set_date_parts(self) -> None:
        """Name what each date says as a feature of its own, unless it says one thing
        alone or a name is taken.
        """
        self.date_parts_ = dict[str, DatePart]()
        taken_names = {*self.feature_names_in_, *self.groups_}
        for column in self.schema_.where(lambda column_kind: column_kind.is_divided):
            column_kind = self.schema_[column].of
            part_columns: dict[str, list[int]] = {}
            for encoded_column in np.flatnonzero(
                self.feature_of_ == self.feature_names_in_.index(column)
            ).tolist():
                encoded_slot = self.slots_[encoded_column]
                if encoded_slot.of.is_missing:
                    feature_name = "missing"
                else:
                    feature_name = column_kind.feature_of(str(encoded_slot.detail))
                part_columns.setdefault(feature_name, []).append(encoded_column)
            named = {}
            for feature_part, column_indices in part_columns.items():
                named[f"{column}: {feature_part}"] = DatePart(
                    column, feature_part, np.array(column_indices)
                )
            if len(part_columns.keys() - {"missing"}) > 1 and taken_names.isdisjoint(
                named
            ):
                self.date_parts_ |= named

    def _slope_at(self, target: int) -> list[tuple[int, ...]]:
        """Return a slope, the number it is on, and where the number less its mean
        stands, if a score is a slope.
        """
        number = self.slots_[
            target
        ].detail  # of a slope the encoded column that it is on
        if not isinstance(number, str):
            return []
        centred_column = (
            (target - 1,) if self.slots_[target - 1].detail == _LESS else ()
        )
        return [(target, self.encoded_names_.index(number), *centred_column)]

    # ---- encoding --------------------------------------------------------------------
    def transform(self, X: Any) -> npt.NDArray[np.float32]:
        """Encode rows as float32 ``(rows, encoded)`` without NaN.

        Unseen categories give a warning.
        """
        return self._encode(self._checked(X))

    def _encode(
        self, frame: pd.DataFrame, crossed: Mapping[str, Floats32] | None = None
    ) -> Floats32:
        """Encode rows.

        ``crossed``: the scores of training rows, which come from models of other rows.
        """
        values, kinds = numeric_cells(frame, self._stored, self.codes_)
        encoded_rows = np.zeros((len(frame), len(self.slots_)), dtype=np.float32)
        for start in range(0, len(frame), _ROWS_IN_CACHE):
            rows = slice(start, start + _ROWS_IN_CACHE)
            self._write_numbers(values[rows], kinds[rows], encoded_rows[rows])
            self._write_parts(values[rows], encoded_rows[rows])
        surprises = self._unread_pairs(frame, values)
        self._write_scores(frame, encoded_rows, crossed)
        surprises |= self._write_levels(frame, encoded_rows)
        if any(surprises.values()):
            _tell(
                {
                    surprised_name: surprises[surprised_name]
                    for surprised_name in self.feature_names_in_
                    if surprises.get(surprised_name)
                }
            )
        return encoded_rows

    def _write_numbers(
        self, values: Floats, kinds: npt.NDArray[Any], out: Floats32
    ) -> None:
        """Write numbers, flags and which cells are missing into the encoded rows."""
        source, target, _ = self._pairs["value"]
        if len(source):
            out[:, target] = self.scaling_.apply(values)[:, source]
        out[:, self._held] = np.clip(
            out[:, self._held], self.minimum_[self._held], self.maximum_[self._held]
        )
        source, target, _ = self._pairs["switch"]
        raw = values[:, source]
        # A number other than 0 and 1 at prediction time takes the nearer end.
        out[:, target] = np.clip(
            np.where(np.isnan(raw), np.round(self.scaling_.fill[source]), raw), 0.0, 1.0
        )
        source, target, kind = self._pairs["missing"]
        out[:, target] = kinds[:, source] == kind

    def _write_parts(self, values: Floats, out: Floats32) -> None:
        """Write what kinds of columns compute, such as the parts of dates, each
        different cell once.
        """
        for column_index, part_slots in self._parts.items():
            cells = np.where(
                np.isnan(values[:, column_index]),
                self.scaling_.fill[column_index],
                values[:, column_index],
            )
            column = self._stored[column_index]
            years = self.years_.get(column.name, (0, 1))
            targets = [target for target, _ in part_slots]
            details = [detail for _, detail in part_slots]
            codes, distinct = pd.factorize(cells)
            encoded_cells = np.empty((len(distinct), len(targets)), dtype=np.float32)
            encoded_columns = column.of.encode(distinct, details, years)
            for position, encoded in enumerate(encoded_columns):
                encoded_cells[:, position] = encoded
            if targets == list(range(targets[0], targets[-1] + 1)):
                out[:, targets[0] : targets[-1] + 1] = encoded_cells[codes]
            else:
                out[:, targets] = encoded_cells[codes]

    def _unread_pairs(self, frame: pd.DataFrame, values: Floats) -> dict[str, str]:
        """Return what is said of a third word in columns of two words."""
        surprises: dict[str, str] = {}
        for column_index, name in self._pairs_of_words.items():
            unread = np.isnan(values[:, column_index])
            if unread.any():
                distinct = Distinct.of(frame[name], name)
                bad = np.zeros(len(distinct.texts), dtype=bool)
                bad[distinct.index[unread & (distinct.index >= 0)]] = True
                surprises[name] = self._surprise(distinct, name, bad, _ODD_WORDS)
        return surprises

    def _write_levels(self, frame: pd.DataFrame, out: Floats32) -> dict[str, str]:
        """Write levels into the encoded rows, and return what is said of new ones."""
        surprises: dict[str, str] = {}
        for name, targets in self._levels.items():
            distinct = Distinct.of(frame[name], name)
            other_target = targets.get(OTHER, -1)
            text_targets = np.empty(len(distinct.texts), dtype=np.int64)
            for i, text in enumerate(distinct.texts):
                code = self.codes_.kind_of(text, name)
                if code == PRESENT:
                    text_targets[i] = targets.get(text, other_target)
                else:
                    text_targets[i] = targets.get(code, -1)
            row_targets = distinct.spread(text_targets, targets.get(BLANK, -1))
            rows = np.flatnonzero(row_targets >= 0)
            out[rows, row_targets[rows]] = 1.0
            # Of scored columns only codes for missing have a place here, and no text is
            # a surprise.
            if (text_targets < 0).any() and any(
                isinstance(key, str) for key in targets
            ):
                surprises[name] = self._surprise(distinct, name, text_targets < 0)
        return surprises

    def _write_scores(
        self, frame: pd.DataFrame, out: Floats32, crossed: Mapping[str, Floats32] | None
    ) -> None:
        for column_name, columns in self._scored.items():
            if crossed is None:
                cells, index = self._cells(frame, column_name)
                if len(cells):
                    scores = self.scores_.of(column_name, cells)
                else:
                    scores = out[:0, columns]
                out[:, columns] = np.append(
                    scores, np.zeros((1, len(columns))), axis=0
                )[index]
            else:
                out[:, columns] = crossed[column_name]

    def check_cells(self, X: Any) -> None:
        """Refuse rows with a cell that ``transform`` would refuse."""
        self.numbers_of(X)

    def numbers_of(self, X: Any) -> tuple[Floats, Kinds]:
        """Return ``numeric_cells`` of rows. Refuse what ``transform`` would refuse."""
        return numeric_cells(self._checked(X), self._stored, self.codes_)

    def _surprise(
        self,
        distinct: Distinct,
        name: str,
        bad: Booleans,
        words: _Surprise = _NEW_LEVELS,
    ) -> str:
        """Say how many cells hold a text marked in ``bad``, with examples.

        Empty when all of these are codes.
        """
        counts = distinct.counts()
        odd_indices = []
        for i in np.flatnonzero(bad).tolist():
            if self.codes_.kind_of(distinct.texts[i], name) == PRESENT:
                odd_indices.append(i)
        n_odd = int(counts[odd_indices].sum())
        if n_odd == 0:
            return ""
        return (
            f"{n_odd} of {int(counts.sum())} values of {name!r} "
            f"{by_count(n_odd, words.singular, words.several)}"
            f" ({some_names(values_at(distinct.texts, odd_indices), 3)}), treated as "
            f"{words.treatment}"
        )

    def _checked(self, X: Any) -> pd.DataFrame:
        if not hasattr(self, "slots_"):
            raise InputError(
                "This TableTransformer is not fitted",
                hint="Call fit first.",
                code="PG030",
            )
        frame = as_frame(X, allow_empty=True)
        if not hasattr(X, "columns") and not isinstance(X, Mapping):
            if frame.shape[1] != self.n_features_in_:
                problem = (
                    f"X has {frame.shape[1]} features, but TableTransformer is "
                    f"expecting {self.n_features_in_} features as input"
                )
                raise InputError(
                    problem,
                    hint="Pass the columns of training in their order.",
                    code="PG017",
                )
            frame.columns = pd.Index(self.feature_names_in_, dtype=object)
        if list(frame.columns) != self.feature_names_in_:
            raise _other_columns(list(frame.columns), self.feature_names_in_)
        return frame

    # ---- features --------------------------------------------------------------------
    def features(self, level: Level = "feature") -> dict[str, Places]:
        """Return the players of a level in order: name to encoded columns, none for
        constants and identifiers.
        """
        check_choice("level", level, ("column", "feature"))
        if level == "column":
            groups = {}
        else:
            groups = self.groups_
        block_of = {}
        for group_name, columns in groups.items():
            for column in columns:
                block_of[column] = group_name
        # Dates are whole at level "column" and in groups.
        if level == "column":
            undivided_columns = set(self.feature_names_in_)
        else:
            undivided_columns = set(block_of)
        bounds = np.searchsorted(self.feature_of_, np.arange(self.n_features_in_ + 1))
        players: dict[str, list[Places]] = {}
        for i, column_name in enumerate(self.feature_names_in_):
            if column_name in undivided_columns:
                date_features = {}
            else:
                date_features = self.parts_by_name(column_name)
            column_feature = {
                block_of.get(column_name, column_name): np.arange(
                    bounds[i], bounds[i + 1], dtype=np.int64
                )
            }
            for player, encoded_columns in (date_features or column_feature).items():
                players.setdefault(player, []).append(encoded_columns)
        return {
            player_name: np.concatenate(column_blocks)
            for player_name, column_blocks in players.items()
        }

    def parts_by_name(self, column: str) -> dict[str, Places]:
        """Return the features that a date is, with their encoded columns.

        Empty: the column is one feature.
        """
        return {
            feature_name: feature_part.places
            for feature_name, feature_part in self.date_parts_.items()
            if feature_part.column == column
        }

    def cells_of_parts(self, X: Any) -> pd.DataFrame:
        """Return what is shown of the features of dates: words in their order, and the
        date itself of its trend.
        """
        frame = as_frame(X, allow_empty=True)
        dates = {}
        for date_feature in self.date_parts_.values():
            dates[date_feature.column] = self.schema_[date_feature.column]
        seconds = {
            date_name: read_numbers(frame[date_name], column, self.codes_)[0]
            for date_name, column in dates.items()
        }
        shown: dict[str, Any] = {}
        for feature_name, (column, feature_part, _) in self.date_parts_.items():
            if feature_part == "missing":
                codes = np.isnan(seconds[column]).astype(np.int64)
                shown[feature_name] = pd.Categorical.from_codes(
                    codes, pd.Index(["present", "missing"]), ordered=True
                )
                continue
            cells = dates[column].of.cells_of(feature_part, seconds[column])
            if cells is None:
                cells = frame[column].array
            shown[feature_name] = cells
        return pd.DataFrame(shown, index=frame.index)

    def raw_columns_of(self, feature: str) -> list[str]:
        """Return the raw columns behind a column or group, or a feature of a date."""
        if feature in self.date_parts_:
            return [self.date_parts_[feature].column]
        if feature in self.groups_:
            return list(self.groups_[feature])
        check_choice(
            "feature",
            feature,
            [*self.feature_names_in_, *self.date_parts_, *self.groups_],
        )
        return [feature]

    def parts_of(self, column: str) -> list[str]:
        """Return which parts of a date are encoded, such as "weekday" and "day of the
        year".
        """
        column_kind = self.schema_[column].of
        labels = []
        for slot_index in self.columns_of(column):
            slot = self.slots_[slot_index]
            if not slot.of.is_missing:
                labels.append(column_kind.part_of(str(slot.detail)))
        return list(dict.fromkeys(labels))

    def columns_of(self, feature: str) -> Places:
        """Return the encoded column indexes of a raw column or group, or a feature of a
        date.
        """
        if feature in self.date_parts_:
            return self.date_parts_[feature].places
        raw_indices = []
        for raw_name in self.raw_columns_of(feature):
            raw_indices.append(self.feature_names_in_.index(raw_name))
        return np.flatnonzero(np.isin(self.feature_of_, raw_indices)).astype(np.int64)

    # ---- storage ---------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form from which ``from_dict`` makes an encoder that gives
        the same numbers, bit by bit.
        """
        return {
            "format": _FORMAT,
            "numeric": self.numeric,
            "max_levels": int(self.max_levels),
            "na": self.codes_.to_json(),
            "kinds": dict(self.kinds or {}),
            **{
                attribute_name: getattr(self, f"{attribute_name}_")
                for attribute_name in ("groups", "named")
            },
            "schema": asdict(self.schema_),
            "scaling": plain(asdict(self.scaling_)),
            "slots": [list(astuple(encoded_slot)) for encoded_slot in self.slots_],
            **({"scores": self.scores_.to_dict()} if self._scored else {}),
            "years": {
                date_name: list(year_range)
                for date_name, year_range in self.years_.items()
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TableEncoder:
        """Read back what ``to_dict`` wrote.

        ``InputError``: written by a newer version, or damaged.
        """
        version = content.get("format")
        if version != _FORMAT:
            problem = (
                f"The stored encoder has format {version!r}, but this permgrad "
                f"reads format {_FORMAT}"
            )
            raise InputError(problem, hint="Update permgrad.", code="PG053")
        try:
            restored_encoder = cls(
                content["numeric"],
                content["max_levels"],
                content["na"] or None,
                content["groups"] or None,
                kinds=content["kinds"] or None,
            )
            restored_encoder.codes_ = MissingCodes.of(content["na"])
            restored_encoder.named_ = content["named"]
            restored_encoder.schema_ = Schema.from_dict(content["schema"])
            restored_encoder.scaling_ = Scaling.from_dict(content["scaling"])
            groups_ = {}
            for group_name, columns in content["groups"].items():
                groups_[group_name] = list(columns)
            restored_encoder.groups_ = groups_
            years_ = {}
            for date_name, year_range in content["years"].items():
                years_[date_name] = (int(year_range[0]), int(year_range[1]))
            restored_encoder.years_ = years_
            restored_encoder.scores_ = Scores.from_dict(
                content.get("scores", {"outputs": 0, "columns": {}})
            )
            restored_encoder._set_slots(
                [Slot(*slot_fields) for slot_fields in content["slots"]]
            )
            restored_encoder.scores_.check_columns(
                {
                    scored_name: len(columns)
                    for scored_name, columns in restored_encoder._scored.items()
                }
            )
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            problem = f"Part of a stored encoder is missing or damaged ({error!r})"
            raise InputError(
                problem, hint="Save the model again.", code="PG052"
            ) from error
        return restored_encoder


def _tell(surprises: Mapping[str, str]) -> None:
    """Warn of what training did not have, in one sentence for all columns."""
    told_before = _told.get()
    sentences = []
    for column_name, sentence in surprises.items():
        if told_before is None or column_name not in told_before:
            sentences.append(sentence)
    if told_before is not None:
        told_before.update(surprises)
    if sentences:
        further_count = len(sentences) - _MOST_NAMED
        if further_count > 0:
            further = f"; likewise in {counted(further_count, 'more column')}"
        else:
            further = ""
        warn_user("; ".join(sentences[:_MOST_NAMED]) + further)


def _other_columns(columns: Sequence[str], expected: Sequence[str]) -> InputError:
    """Return the error for other columns than those of training in their order, as
    scikit-learn has it.
    """
    expected_names = set(expected)
    names = set(columns)
    odd_columns = {
        "unseen in training": [
            unseen_name for unseen_name in columns if unseen_name not in expected_names
        ],
        "missing": [
            missing_name for missing_name in expected if missing_name not in names
        ],
    }
    sentence_parts = []
    for problem_kind, odd_names in odd_columns.items():
        if odd_names:
            sentence_parts.append(
                f"{len(odd_names)} {problem_kind} ({some_names(odd_names)})"
            )
    if not sentence_parts:
        problem = (
            "The feature names should match those that were passed during fit: "
            "they must be in the same order"
        )
        return InputError(
            problem, hint="Pass X[encoder.feature_names_in_].", code="PG017"
        )
    problem = (
        "The feature names should match those that were passed during fit: "
        f"{' and '.join(sentence_parts)}"
    )
    return InputError(problem, hint="Pass the columns of training.", code="PG017")


def tell_of_unused(extra: Sequence[str]) -> None:
    """Warn of columns that training did not have, if there are any."""
    if not extra:
        return
    verb_form = by_count(len(extra), "is", "are")
    pronoun = by_count(len(extra), "it", "them")
    warn_user(
        f"{counted(len(extra), 'column')} {verb_form} not used, because training did "
        f"not have {pronoun}: {some_names(extra)}"
    )


def align_columns(X: Any, names: Sequence[str]) -> pd.DataFrame:
    """Bring a table's columns into the order of training, by name.

    Others are dropped with a warning.
    """
    frame = as_frame(X, allow_empty=True)
    columns = set(frame.columns)
    expected_names = set(names)
    extra = []
    for extra_name in frame.columns:
        if extra_name not in expected_names:
            extra.append(extra_name)
    if missing := [
        missing_name for missing_name in names if missing_name not in columns
    ]:
        raise columns_missing(missing, extra)
    tell_of_unused(extra)
    return frame[list(names)]
