"""A kind of column in one file, as a user might add one: IPv4 addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from permgrad.base.arrays import Floats
from permgrad.data.encode.slots import Slot
from permgrad.data.kinds.column import ColumnKind, ColumnType
from permgrad.data.kinds.training import TrainingCells

_ADDRESS = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})")


class Address(ColumnKind):
    """IPv4 addresses, read as one number and encoded as four."""

    storage: ClassVar[str] = "ipv4"
    plural = "addresses"
    correction = "Write it like 10.0.0.1"

    @classmethod
    def find(cls, column: ColumnType, texts: Sequence[str]) -> ColumnType | None:
        """Find addresses alone."""
        if np.isnan(cls.read(texts, column)).any():
            return None
        return column.flagged(
            "recognised",
            kind=cls.name,
            storage=cls.storage,
            facts={"what": "IPv4 addresses"},
        )

    @classmethod
    def read(cls, texts: Sequence[str], column: ColumnType) -> Floats:
        """Read each address as a number."""
        del column
        numbers = []
        for text in texts:
            match = _ADDRESS.fullmatch(text.strip())
            number = np.nan
            if match is not None and max(map(int, match.groups())) < 256:
                number = float(int.from_bytes(map(int, match.groups())))
            numbers.append(number)
        return np.array(numbers)

    @classmethod
    def required(cls, column: ColumnType) -> str:
        """Say what cells are."""
        del column
        return "hold IPv4 addresses"

    @classmethod
    def slots(cls, cells: TrainingCells) -> Iterator[Slot]:
        """Yield a column for each of the four numbers."""
        for octet in range(1, 5):
            detail = f"octet {octet}"
            yield Slot(cells.column, f"{cells.name}={detail}", "part", detail)

    @classmethod
    def encode(
        cls, values: Floats, details: Sequence[str], years: tuple[int, int]
    ) -> Iterator[Floats]:
        """Yield the four numbers, 0 to 1."""
        del years
        for detail in details:
            shift = 256 ** (4 - int(detail.split()[1]))
            yield values // shift % 256 / 255

    @classmethod
    def write(cls, value: float) -> str:
        """Write an address."""
        return ".".join(map(str, int(value).to_bytes(4)))

    @classmethod
    def compared(cls, texts: Sequence[str]) -> list[str] | None:
        """Compare networks."""
        matches = [_ADDRESS.fullmatch(text.strip()) for text in texts]
        if None in matches:
            return None
        return [f"{text.strip().split('.')[0]}.0.0.0/8" for text in texts]
