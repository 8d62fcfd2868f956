"""What a predictor answered: equal rows are asked once, and a folder keeps the answers.

A folder holds one file of JSON lines, a row's digest and its numbers in each. It is
only added to, so that a stopped call leaves what was answered.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from permgrad.base.arrays import Floats, Integers
from permgrad.base.errors import InputError, error_in_words, warn_user
from permgrad.base.late import pd
from permgrad.base.locks import exclusive
from permgrad.base.progress import Progress
from permgrad.base.sequences import values_at

#: Rows after which it is known whether rows repeat, and the least share that must.
_SEEN = 2**16
_REPEATED = 0.1
#: Bytes of rows and answers that are held.
_HELD = 2**26
#: Rows of more bytes are known by their digest.
_LONG = 512
_FILE = "answers.jsonl"


class Answers:
    """The answers of one predictor for rows, float64 ``(rows, K)``.

    Attributes:
        asked: rows that the predictor was asked for.
        bar: shows how many rows are answered, where they are all that is done.
    """

    def __init__(self, kept_answers: KeptAnswers | None = None) -> None:
        self.kept = kept_answers
        self.asked = 0
        self.bar: Progress | None = None
        self._place: dict[bytes, int] = {}
        self._numbers = np.empty((0, 0))
        self._seen = self._repeated = 0
        self._holds = True

    def fresh(self) -> Answers:
        """Return the same without what this predictor answered in memory."""
        return Answers(self.kept)

    def __getstate__(self) -> dict[str, Any]:
        """Leave what is held out of copies in other processes."""
        return vars(Answers(self.kept))

    @property
    def width(self) -> int:
        """Numbers of each answer that is held, 0 while there is none."""
        return self._numbers.shape[1]

    def of(
        self,
        rows: Floats,
        ask: Callable[[Integers], Floats],
        cells: Callable[[Integers], pd.DataFrame],
    ) -> Floats:
        """Return the numbers of rows, of which ``ask`` answers some by their places.

        ``cells`` are rows as the user has them, by which a folder knows them.
        """
        if not self._holds:
            return self._asked(np.arange(len(rows)), ask)
        row_keys = _keys(rows)
        first: dict[bytes, int] = {}
        for row_index, row_key in enumerate(row_keys):
            if row_key not in self._place:
                first.setdefault(row_key, row_index)
        self._seen += len(row_keys)
        self._repeated += len(row_keys) - len(first)
        new_rows = np.array(list(first.values()), dtype=np.int64)
        numbers = self._numbers[:0]
        if len(new_rows):
            numbers = self._answered(new_rows, ask, cells)
        stored_count = len(self._numbers)
        number = {}
        for answer_index, new_key in enumerate(first):
            number[new_key] = stored_count + answer_index
        if not stored_count:
            all_numbers = numbers
        else:
            all_numbers = np.concatenate([self._numbers, numbers])
        number_positions = []
        for asked_key in row_keys:
            number_positions.append(
                self._place.get(asked_key, number.get(asked_key, 0))
            )
        self._hold(number, all_numbers, len(row_keys[0]) if row_keys else 0)
        return all_numbers[number_positions]

    def _hold(self, number: dict[bytes, int], all_numbers: Floats, size: int) -> None:
        """Keep new answers, unless rows hardly repeat or there are too many."""
        hardly_repeat = self._repeated < _REPEATED * self._seen
        if self._seen > _SEEN and hardly_repeat and self.kept is None:
            self._holds = False
            self._place = {}
            self._numbers = np.empty((0, 0))
        elif len(all_numbers) * (size + 8 * all_numbers.shape[1]) <= _HELD:
            self._place |= number
            self._numbers = all_numbers

    def _answered(
        self,
        new: Integers,
        ask: Callable[[Integers], Floats],
        cells: Callable[[Integers], pd.DataFrame],
    ) -> Floats:
        """Return the numbers of new rows: those that a folder has, then the others."""
        if self.kept is None:
            return self._asked(new, ask)
        digests = digests_of(cells(new))
        row_answers = list(map(self.kept.numbers.get, digests))
        unanswered = [
            missing_index
            for missing_index, answer in enumerate(row_answers)
            if answer is None
        ]
        if unanswered:
            new_answers = self._asked(new[unanswered], ask)
            self.kept.add(values_at(digests, unanswered), new_answers)
            for row_index, answer in zip(unanswered, new_answers, strict=True):
                row_answers[row_index] = answer
        return np.array(row_answers, dtype=np.float64).reshape(len(new), -1)

    def _asked(
        self, row_positions: Integers, ask: Callable[[Integers], Floats]
    ) -> Floats:
        numbers = ask(row_positions)
        self.asked += len(row_positions)
        if self.bar is not None:
            self.bar.advance(len(row_positions))
        return numbers


def _keys(rows: Floats) -> list[bytes]:
    """Return the bytes of each row, or their digest where they are many."""
    contiguous_rows = np.ascontiguousarray(rows)
    row_bytes = contiguous_rows.shape[1] * contiguous_rows.itemsize
    row_keys: list[bytes] = contiguous_rows.view(f"V{row_bytes}").ravel().tolist()
    if row_bytes <= _LONG:
        return row_keys
    return [hashlib.blake2b(row_key, digest_size=16).digest() for row_key in row_keys]


def most_asked(rows: Floats, plays: int) -> int:
    """Return for how many rows a predictor is asked at most.

    Args:
        rows: the rows explained, ``(rows, columns)``.
        plays: how many edited rows there are of each.
    """
    planned = len(rows) * (1 + plays)
    possible = 1
    for column in rows.T:
        possible *= len(np.unique(column))
        if possible > planned:
            return planned
    return possible


def different_rows(rows: Floats) -> int:
    """Return how many different rows there are."""
    return len(set(_keys(rows)))


# ---- a folder ------------------------------------------------------------------------
def digests_of(cells: pd.DataFrame) -> list[str]:
    """Return a digest of each row: of the names of its columns and of its cells."""
    names = list(map(str, cells.columns))
    texts = zip(
        *(map(_text, cells[column_name].tolist()) for column_name in cells), strict=True
    )
    return [
        hashlib.blake2b(
            json.dumps([names, list(row_texts)]).encode(), digest_size=16
        ).hexdigest()
        for row_texts in texts
    ]


def _text(cell: Any) -> str:
    """Return a cell as text. A whole number is the same in every type."""
    if pd.api.types.is_scalar(cell) and pd.isna(cell):
        return ""
    if isinstance(cell, (bool, str)):
        return f"{type(cell).__name__} {cell}"
    if isinstance(cell, (int, float)):
        if abs(cell) < 2**53:
            return repr(float(cell))
        return repr(cell)
    return f"{type(cell).__name__} {cell}"


class KeptAnswers:
    """The answers in a folder, by the digests of their rows. ``who``: the predictor."""

    def __init__(self, folder: str | os.PathLike[str], who: str) -> None:
        self._file = Path(folder) / _FILE
        self._who = who
        self.numbers: dict[str, list[float]] = {}
        self.columns: tuple[str, ...] = ()
        self._begun = False
        if self._file.exists() or self._file.is_symlink():
            self._read()

    def _read(self) -> None:
        if not self._file.is_file() or self._file.is_symlink():
            problem = f"{self._file} is no file of answers"
            raise InputError(problem, "Pass another folder to cache=", "PG010")
        width = None
        for file_line in self._file.read_text(
            encoding="utf-8", errors="replace"
        ).splitlines():
            record = _record(file_line)
            if "who" in record:
                self._begun = True
                self.columns = tuple(map(str, record.get("columns", ())))
                if record["who"] != self._who:
                    warn_user(
                        f"The answers in {str(self._file.parent)!r} were given by "
                        "another model or function. If it predicts otherwise, pass "
                        "another folder to cache=."
                    )
                    self._who = record["who"]
            answer = _numbers(record.get("answer"))
            if answer is None or not isinstance(record.get("row"), str):
                continue  # a line that a stopped process left
            if width not in (None, len(answer)):
                problem = (
                    f"{self._file} has answers of {width} and of {len(answer)} numbers"
                )
                raise InputError(problem, "Pass another folder to cache=", "PG010")
            width = len(answer)
            self.numbers[record["row"]] = answer

    def add(self, digests: Sequence[str], numbers: Floats) -> None:
        """Add answers, which are on the disk afterwards."""
        lines = list[str]()
        if not self._begun:
            lines.append(json.dumps({"who": self._who, "columns": list(self.columns)}))
        for digest, answer in zip(digests, numbers.tolist(), strict=True):
            lines.append(json.dumps({"row": digest, "answer": answer}))
            self.numbers[digest] = answer
        self._begun = True
        try:
            with (
                exclusive(self._file.with_suffix(".lock")),
                self._file.open("a", encoding="utf-8") as answer_file,
            ):
                # Behind what a stopped process left of a line.
                answer_file.write("\n" + "\n".join(lines) + "\n")
                answer_file.flush()
                os.fsync(answer_file.fileno())
        except OSError as error:
            problem = f"{self._file} cannot be written: {error_in_words(error)}"
            raise InputError(
                problem, "Pass another folder to cache=", "PG010"
            ) from error


def _record(line: str) -> dict[str, Any]:
    try:
        if line:
            record = json.loads(line)
        else:
            record = {}
    except ValueError:
        return {}
    if isinstance(record, dict):
        return record
    return {}


def _numbers(answer: Any) -> list[float] | None:
    """Return a list of numbers, or None for anything else."""
    if not isinstance(answer, list):
        return None
    right = all(isinstance(number, (int, float)) for number in answer)
    if right:
        return answer
    return None


def who(predictor: Any) -> str:
    """Return what tells a function or a model from others in a folder of answers."""
    if hasattr(predictor, "__qualname__"):
        named = predictor
    else:
        named = type(predictor)
    qualified_name = f"{named.__module__}.{named.__qualname__}"
    function_code = getattr(predictor, "__code__", None)
    if function_code is None:
        return qualified_name
    code_text = repr((function_code.co_code, function_code.co_names)).encode()
    return f"{qualified_name} {hashlib.blake2b(code_text, digest_size=8).hexdigest()}"
