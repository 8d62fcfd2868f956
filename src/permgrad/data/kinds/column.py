"""One column of a table with its type, and what a kind of column is.

A kind is a class in a file of this folder, registered with ``@kinds.register``. All
that others ask of a kind is one of its class attributes or methods, whose defaults are
those of a column that is one feature and is drawn, compared and changed by its texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, TypeAlias

from permgrad.base.arrays import Floats
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, counted, must, printable
from permgrad.base.registry import Registry
from permgrad.data.encode.slots import Slot
from permgrad.data.kinds.training import TrainingCells
from permgrad.data.read.amounts import Notation
from permgrad.data.read.written_numbers import unit_said
from permgrad.data.types.flags import FLAGS, Flag, reason_of

Kind: TypeAlias = str
"""What a column is, or is declared to be: a name in ``kinds``."""
Storage: TypeAlias = str
"""How the cells of a column are read: the ``storage`` of a kind in ``kinds``."""


class PageForm(NamedTuple):
    """The form of a column in the page: an entry of ``FORMS`` in ``network.js``, and as
    what numbers cells are packed.
    """

    name: str
    packing: str = "f4"


class ColumnKind:
    """What a column can be.

    A kind with a ``storage`` of its own reads cells: ``read`` makes a number of each
    text, from which ``slots`` plans encoded columns and ``encode`` fills them. Other
    kinds share the storage of one that does.
    """

    #: The name that it is registered with.
    name: ClassVar[str] = ""
    #: How cells are read that this kind reads. None: another kind reads them.
    storage: ClassVar[Storage | None] = None
    #: The kind that a column has which was declared to be of this one, if another.
    final: ClassVar[Kind | None] = None

    # ---- what its cells are ----------------------------------------------------------
    #: Numbers whose size means something.
    is_amount: ClassVar[bool] = False
    #: Moments, in seconds since 1970.
    is_moment: ClassVar[bool] = False
    #: One of two things, of which the true one counts as 1.
    is_truth: ClassVar[bool] = False
    #: One of several things that have no order.
    is_levels: ClassVar[bool] = False
    #: Texts that are read whole, and are not numbers: the storage is "text".
    keeps_text: ClassVar[bool] = False
    #: Cells that are the row's own, such as names and sentences: a counterfactual
    #: leaves them alone.
    is_own: ClassVar[bool] = False
    #: Which part of a network reads it: ``"table"``, ``"text"`` or ``"photo"``.
    modality: ClassVar[str] = "table"
    #: What the column is, and what a model reads of it, in words. None: its cells.
    content: ClassVar[tuple[str, str] | None] = None

    # ---- what is done with it --------------------------------------------------------
    #: Whether its cells are read, and whether they become encoded columns.
    is_read: ClassVar[bool] = True
    is_encoded: ClassVar[bool] = True
    #: Whether rows may differ in it.
    varies: ClassVar[bool] = True
    #: Whether more rows may show that it is of another kind.
    is_provisional: ClassVar[bool] = False
    #: Whether cells of a file stay as they are written: 007 is not 7.
    as_written: ClassVar[bool] = True
    #: Whether a cell that cannot be read is refused. It counts as missing otherwise.
    refuses_odd: ClassVar[bool] = True
    #: What its cells are, in the plural. A few cells of a column that are something
    #: else then count as missing. None: such a column is of another kind.
    plural: ClassVar[str | None] = None
    #: How a cell that cannot be read is mended.
    correction: ClassVar[str] = "Correct the cell"
    #: Whether it is several features, each with encoded columns of its own.
    is_divided: ClassVar[bool] = False
    #: The task of a target of this kind. None: it can be no target.
    task: ClassVar[str | None] = None
    #: Whether times of later rows return, so that the trend ends with training.
    returns: ClassVar[bool] = False
    #: How a script of the page encodes and asks for its cells. None: the page has no
    #: such form, and shows curves instead of *What if*.
    form: ClassVar[PageForm | None] = None

    # ---- reading ---------------------------------------------------------------------
    @classmethod
    def find(cls, column: ColumnType, texts: Sequence[str]) -> ColumnType | None:
        """Return the type of a column with these different texts.

        None: the kind refuses the column.

        Args:
            column: The column, with what is known of it.
            texts: Its different texts.
        """
        del column, texts
        return None

    @classmethod
    def declared(
        cls, column: ColumnType, guess: ColumnType, texts: Callable[[], list[str]]
    ) -> ColumnType:
        """Return the type of a column that is declared to be of this kind.

        Args:
            column: the column as declared, with the storage of the guess.
            guess: what it would be otherwise.
            texts: its different texts.

        Raises:
            InputError: Its cells are something else.
        """
        del guess
        found_type = cls.find(column, texts())
        if found_type is not None:
            return found_type.flagged(*column.flags)
        odd_text = next(
            (text for text in texts() if cls.find(column, [text]) is None), ""
        )
        raise InputError(
            f"Column {column.name!r} is declared {cls.name} but has {odd_text!r:.60}",
            hint="Declare another kind, or this text as a code for missing values.",
            code="PG014",
        )

    @classmethod
    def read(cls, texts: Sequence[str], column: ColumnType) -> Floats:
        """Return the number of each text ``(texts,)``, NaN where it cannot be read.

        Args:
            texts: Cells of the column, as they are written.
            column: The column.
        """
        raise NotImplementedError(f"columns of kind {cls.name} are read by another")

    @classmethod
    def required(cls, column: ColumnType) -> str:
        """Return what cells must do, behind "Column 'x' must"."""
        del column
        return f"be {cls.name}"

    @classmethod
    def settled(cls, column: ColumnType, lowest: float, highest: float) -> Kind:
        """Return what a provisional column is whose cells this kind reads.

        Args:
            column: The provisional column.
            lowest: The smallest number of all rows.
            highest: The largest.
        """
        del column, lowest, highest
        return cls.name

    # ---- encoding --------------------------------------------------------------------
    @classmethod
    def slots(cls, cells: TrainingCells) -> Iterator[Slot]:
        """Yield the encoded columns of training cells, but for missing ones."""
        yield Slot(cells.column, cells.name, "numeric", None, *cells.ends)

    @classmethod
    def encode(
        cls, values: Floats, details: Sequence[str], years: tuple[int, int]
    ) -> Iterator[Floats]:
        """Yield the numbers of the parts that ``slots`` named ``details``.

        Args:
            values: what was read ``(rows,)``, the median of training where missing.
            details: the ``detail`` of each encoded column.
            years: of dates, the first and the last of training.
        """
        raise NotImplementedError(f"columns of kind {cls.name} have no parts")

    @classmethod
    def part_of(cls, detail: str) -> str:
        """Return what people call a part that ``slots`` named."""
        return detail

    @classmethod
    def feature_of(cls, detail: str) -> str:
        """Return the feature that a part belongs to, where the kind is divided."""
        return detail

    @classmethod
    def cells_of(cls, feature: str, values: Floats) -> Any:
        """Return what is shown of a feature of a divided column.

        None: the cells of the column.

        Args:
            feature: Name of the feature.
            values: Its encoded values, ``(rows,)``.
        """
        raise NotImplementedError(f"columns of kind {cls.name} are one feature")

    # ---- words and pages -------------------------------------------------------------
    @classmethod
    def write(cls, value: float) -> str:
        """Write a number that was read, as people do."""
        return f"{value:.10g}"

    @classmethod
    def compared(cls, texts: Sequence[str]) -> list[str] | None:
        """Return the level by which each different text is compared: one for each of
        ``texts``, equal where they are alike.

        None: the kind refuses such texts, or they are compared as they are.
        """
        del texts
        return None

    @classmethod
    def form_facts(cls, column: ColumnType) -> dict[str, Any]:
        """Return what the form of a column in the page has beside its encoding."""
        del column
        return {}


class _Kinds(Registry[type[ColumnKind]]):
    """Kinds by name, and those that read cells by how these are stored."""

    def __init__(self) -> None:
        super().__init__("kind")
        self.readers: dict[Storage, type[ColumnKind]] = {}

    def __setitem__(self, name: str, column_kind: type[ColumnKind]) -> None:
        storage = column_kind.storage
        if storage in self.readers:
            raise KeyError(f"cells stored as {storage!r} are read by another kind")
        super().__setitem__(name, column_kind)
        column_kind.name = name
        if storage is not None:
            self.readers[storage] = column_kind

    def __delitem__(self, name: str) -> None:
        self.readers.pop(self[name].storage or "", None)
        super().__delitem__(name)


kinds = _Kinds()


def modalities() -> list[str]:
    """Return the parts of a network that read kinds of columns, the table first."""
    return list(dict.fromkeys(column_kind.modality for column_kind in kinds.values()))


def reader_of(storage: Storage) -> type[ColumnKind]:
    """Return the kind that reads cells which are stored in this way."""
    if storage not in kinds.readers:
        raise InputError(
            f"No kind of column reads cells that are stored as {storage!r}",
            hint="Import the module that registers it.",
            code="PG053",
        )
    return kinds.readers[storage]


@dataclass(frozen=True)
class ColumnType:
    """One column: its type, the ``flags`` that say why, with their ``facts``, and its
    statistics.

    ``storage`` says how its cells are read: as numbers, dates (seconds), a pair such as
    yes/no, or text. Of a date that is stored as text or as whole numbers there is the
    format and how many different texts no format read: they count as missing, and where
    there were none, a text that cannot be read is refused later on. Numbers with a
    format are times of day or durations, those with a ``decimal`` sign are text with
    signs or a ``unit``. Of a pair the ``true_level`` counts as 1.
    """

    name: str
    kind: Kind
    storage: Storage
    flags: tuple[Flag, ...]
    n_rows: int
    n_missing: int
    n_levels: int
    date_format: str | None = None
    true_level: str | None = None
    false_level: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    unit: str | None = None
    decimal: str | None = None

    @property
    def of(self) -> type[ColumnKind]:
        """Its kind."""
        return kinds.get(self.kind)

    @property
    def reader(self) -> type[ColumnKind]:
        """The kind that reads its cells."""
        return reader_of(self.storage)

    @property
    def is_stored(self) -> bool:
        """Whether its cells become numbers: also dates and pairs, but no texts."""
        return self.of.is_read and not self.reader.keeps_text

    @property
    def is_number(self) -> bool:
        """Whether its cells are numbers, and no durations."""
        return self.of.is_amount and self.date_format is None

    @property
    def notation(self) -> Notation | None:
        """How numbers are written that are stored as text, if not in the usual way."""
        if self.decimal is None:
            return None
        return Notation(self.unit, self.decimal)

    @property
    def n_known(self) -> int:
        """Number of cells that are not missing."""
        return self.n_rows - self.n_missing

    @property
    def reason(self) -> str:
        """Why the column is what it is, in one clause for people.

        Nothing reads it back.
        """
        return reason_of(
            self.flags,
            {
                **vars(self),
                "n_known": self.n_known,
                "unit_said": unit_said(self.unit),
                **self.facts,
            },
        )

    def flagged(self, *flags: Flag, **changes: Any) -> ColumnType:
        """Return the column with other flags and their facts, and other fields."""
        return replace(self, **{"flags": flags, "facts": {}, **changes})


@dataclass(frozen=True)
class Schema:
    """The types of all columns of a table, in the table's order."""

    columns: tuple[ColumnType, ...]

    @property
    def names(self) -> list[str]:
        """Names of the columns in order."""
        return [column.name for column in self.columns]

    @property
    def stored(self) -> list[ColumnType]:
        """The columns that are read as numbers, dates or pairs, but for identifiers."""
        return [column for column in self.columns if column.is_stored]

    def __iter__(self) -> Iterator[ColumnType]:
        return iter(self.columns)

    def __getitem__(self, name: str) -> ColumnType:
        check_choice("column", name, self.names)
        return next(column for column in self.columns if column.name == name)

    def of_kind(self, kind: Kind) -> list[str]:
        """Return the names of all columns of one kind."""
        return self.where(lambda column_kind: column_kind.name == kind)

    def of_modality(self, modality: str) -> list[str]:
        """Return the names of the columns that a part of a network reads."""
        return self.where(lambda column_kind: column_kind.modality == modality)

    def where(self, holds: Callable[[type[ColumnKind]], bool]) -> list[str]:
        """Return the names of the columns of whose kinds something holds."""
        return [column.name for column in self.columns if holds(column.of)]

    def to_text(self, most: int = 60, reasons: Mapping[str, str] | None = None) -> str:
        """Return a table for the terminal, at most ``most`` columns long.

        ``reasons``: those that differ.
        """
        table_rows = [("column", "kind", "levels", "missing", "reason")]
        for c in self.columns[:most]:
            if c.n_missing:
                missing = f"{c.n_missing} ({c.n_missing / max(c.n_rows, 1):.1%})"
            else:
                missing = "0"
            table_rows.append(
                (
                    c.name,
                    c.kind,
                    str(c.n_levels),
                    missing,
                    (reasons or {}).get(c.name, c.reason),
                )
            )
        shown = [tuple(map(printable, table_row)) for table_row in table_rows]
        widths = []
        for column_cells in zip(*shown, strict=True):
            widths.append(max(map(len, column_cells)))
        lines = []
        for shown_row in shown:
            lines.append("  ".join(map(str.ljust, shown_row, widths)).rstrip())
        if len(self.columns) > most:
            lines.append(f"… and {counted(len(self.columns) - most, 'more column')}")
        return "\n".join(lines)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Schema:
        """Read back what ``dataclasses.asdict`` made."""
        columns = tuple(
            ColumnType(**{**column, "flags": tuple(column["flags"])})
            for column in content["columns"]
        )
        for column in columns:
            must(set(column.flags) <= set(FLAGS), f"unknown flags {column.flags}")
            _ = column.reason  # that no fact is missing
            if column.kind not in kinds:
                raise InputError(
                    f"Column {column.name!r} is of kind {column.kind!r}, which is not "
                    "registered",
                    hint="Import the module that registers it, or update permgrad.",
                    code="PG053",
                )
            _ = column.reader
        return cls(columns)
