"""In which line of its file each row of a table begins: how a cell that cannot be read is named to who has the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from permgrad.data.read.cells import CellError


@dataclass(frozen=True)
class RowLines:
    """The lines of a text file that rows begin in.

    Attributes:
        file: the file.
        lines: for each row its line, counted from 1; None: not known, or the file has no lines.
    """

    file: Path | None = None
    lines: npt.NDArray[np.int64] | None = None

    @contextmanager
    def named(self) -> Iterator[None]:
        """Let an error about a cell name the line of the file, if it is known.

        Raises:
            InputError: the body raised a ``CellError`` of a frame whose rows are numbered as in the file.

        Examples:
            >>> import pandas as pd
            >>> lines = RowLines(Path("x.csv"), np.array([2, 3, 7]))
            >>> with lines.named():
            ...     raise CellError.at(0, pd.Index([2]), "a must be b, however ", " is c; correct it")
            Traceback (most recent call last):
            permgrad.InputError: a must be b, however line 7 of 'x.csv' is c; correct it
        """
        try:
            yield
        except CellError as error:
            if self.lines is None or error.number is None:
                raise
            raise error.placed(f"line {self.lines[error.number]} of {str(self.file)!r}") from None
