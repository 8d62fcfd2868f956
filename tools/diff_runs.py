"""What differs between two folders of results, or two files, times and paths aside?

    python tools/diff_runs.py A B [--tolerance SHARE] [--json]

Ends with 0 where nothing differs, with 1 where something does, and with 2 where there
is nothing to compare. Every kind of file is one function of two paths and one
registration, by the ending of its name. A file whose ending is not known is compared
byte for byte.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.csv_files import read_csv
from permgrad.base.errors import EnvironmentProblem, InputError, PermgradError, counted
from permgrad.base.registry import Registry
from permgrad.base.stored import parse_json, read_npz

#: Words in the names of what says when, how long, where, or that it was found again:
#: never compared.
_WHEN_AND_WHERE = re.compile(
    r"(^|[_ .])(seconds|started|finished_at|finished|date|duration|command|seal|storage|folder|path|host|pid|cached)"
    r"($|[_ .])"
)
#: The same in running text: a moment, and a length of time.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_LENGTH_OF_TIME = re.compile(
    r"\b\d+(\.\d+)?(e-?\d+)? ?(ms|s|min|h|seconds?|minutes?|hours?)\b( \d+ (s|min)\b)?"
)
#: What is no result: a database's and a lock's state, the state of a training, what a
#: killed process left.
_NO_RESULT = re.compile(
    r"\.(db|sqlite3?|lock|pid|tmp|log|pt)$|\.db-(wal|shm|journal)$|^\."
)
#: A metric that says how long something took, in a line of a table.
_METRIC_OF_TIME = re.compile(r"^(?:\w+_)?(?:seconds|duration)(?:_\w+)?$")
#: The columns of permgrad's own tables that say the same; others, such as a feature
#: named "duration", are results.
_COLUMNS_OF_TIME = (
    "seconds",
    "fit_seconds",
    "fit_processor_seconds",
    "processor_seconds",
    "explain_seconds",
)
_HASH = re.compile(r"^[0-9a-f]{32,128}$")
_MOST_SHOWN = 40


@dataclass(frozen=True)
class Difference:
    """One thing that differs: the file, the place within it, and what stands there on
    either side.
    """

    file: str
    where: str
    first: str
    second: str

    def __str__(self) -> str:
        place = f"{self.file}: {self.where}" if self.where else self.file
        return f"{place}: {self.first} → {self.second}"


@dataclass(frozen=True)
class Sides:
    """One file on both sides, with the folders that it lies in, whose names are no
    difference.
    """

    first: Path
    second: Path
    folders: tuple[Path, Path]
    tolerance: float

    def same_text(self, one: str, other: str) -> bool:
        """Whether two texts are the same but for moments, lengths of time and the names
        of their folders.
        """
        one, other = (
            _LENGTH_OF_TIME.sub("<time>", _MOMENT.sub("<moment>", text))
            for text in (one, other)
        )
        # A folder's name may be a word, or stand within one: it is looked for only
        # where there is a difference.
        return one == other or self._without_folder(one, 0) == self._without_folder(
            other, 1
        )

    def _without_folder(self, text: str, side: int) -> str:
        for name in sorted(
            {str(self.folders[side]), str(self.folders[side].resolve())},
            key=len,
            reverse=True,
        ):
            if name in (".", "/"):
                continue
            text = re.sub(rf"(?<![\w+=]){re.escape(name)}(?![\w+=])", "<folder>", text)
        return text

    def equal(self, one: float, other: float) -> bool:
        """Whether two numbers are the same, up to the tolerance relative to the
        larger.
        """
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        return one == other or abs(one - other) <= self.tolerance * max(
            abs(one), abs(other)
        )


Comparer = Callable[[Sides], Iterator[tuple[str, Any, Any]]]
comparers: Registry[Comparer] = Registry("kind of file")


def differences(
    first: Path, second: Path, *, tolerance: float = 0.0
) -> tuple[list[Difference], int]:
    """Return what differs between two folders, or two files, of results, and how many
    files were compared.

    Args:
        first: folder that ``run``, ``tune``, ``explain``, ``compare`` or ``benchmark``
            wrote, or a file.
        second: another.
        tolerance: numbers may differ by this share of the larger; 0: not at all.

    Raises:
        InputError: one does not exist, or one is a folder and the other is not; or
            nothing to compare.
        EnvironmentProblem: a file cannot be read.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError(
            f"--tolerance must be at least 0, however: --tolerance {tolerance}; pass "
            "for example 1e-6"
        )
    for path in (first, second):
        if not path.exists():
            raise InputError(
                f"diff needs two folders of results, however: {path} does not exist; "
                "check its name"
            )
    if first.is_dir() != second.is_dir():
        raise InputError(
            f"diff needs two folders or two files, however: of {first} and {second} "
            "one is a folder and one is a file; name two of a kind"
        )
    if first.is_file():
        found = _compare(
            Sides(first, second, (first.parent, second.parent), tolerance), first.name
        )
        return found, 1
    files = _results(first), _results(second)
    if not files[0] and not files[1]:
        raise InputError(
            f"diff needs results, however: neither {first} nor {second} holds any; "
            "name a run's folder"
        )
    found = [
        Difference(name, "", "there", "missing") for name in sorted(files[0] - files[1])
    ]
    found += [
        Difference(name, "", "missing", "there") for name in sorted(files[1] - files[0])
    ]
    both = sorted(files[0] & files[1])
    for name in both:
        found += _compare(
            Sides(first / name, second / name, (first, second), tolerance), name
        )
    return found, len(both)


def in_words(found: list[Difference], compared: int) -> str:
    """Return the differences as text, the first of them one per line.

    Examples:
        >>> in_words([], 29)
        'Nothing differs: 29 files compared, times and paths aside.'
    """
    if not found:
        return (
            f"Nothing differs: {counted(compared, 'file')} compared, times and "
            "paths aside."
        )
    lines = [str(one) for one in found[:_MOST_SHOWN]]
    if len(found) > _MOST_SHOWN:
        lines.append(f"… and {len(found) - _MOST_SHOWN:,} more")
    files = len({one.file for one in found})
    lines.append(
        f"{counted(len(found), 'difference')} in {counted(files, 'file')}; "
        f"{counted(compared, 'file')} compared."
    )
    return "\n".join(lines)


def _results(folder: Path) -> set[str]:
    """Return the names of a folder's results; hidden files and folders, databases and
    locks are none.
    """
    found = set()
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if (
            path.is_file()
            and not any(part.startswith(".") for part in parts)
            and not _NO_RESULT.search(path.name)
        ):
            found.add("/".join(parts))
    return found


def _compare(sides: Sides, name: str) -> list[Difference]:
    ending = sides.first.suffix.lower()
    compare = comparers.get(ending) if ending in list(comparers) else _bytes
    try:
        return [
            Difference(name, where, _short(one), _short(other))
            for where, one, other in compare(sides)
        ]
    except (
        Exception
    ) as error:  # a damaged file is a difference, and is compared as what it is: bytes
        # What the system refuses has a number; pyarrow says of a file that is cut off
        # that reading it failed.
        if isinstance(error, OSError) and error.errno is not None:
            raise EnvironmentProblem(
                f"both files must be readable, however: {name}: {error}; check the "
                "folders' rights"
            ) from error
        return [
            Difference(name, "", "(cannot be read as its name says)", "")
            for _ in _bytes(sides)
        ]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


# ---- kinds of files ------------------------------------------------------------------


def _bytes(sides: Sides) -> Iterator[tuple[str, Any, Any]]:
    one, other = sides.first.read_bytes(), sides.second.read_bytes()
    if one != other:
        yield (
            "",
            f"{len(one):,} bytes",
            f"{'other ' * (len(one) == len(other))}{len(other):,} bytes",
        )


@comparers.register(".json")
def _json(sides: Sides) -> Iterator[tuple[str, Any, Any]]:
    one, other = (parse_json(path.read_bytes()) for path in (sides.first, sides.second))
    yield from _values(sides, one, other, "")


def _values(
    sides: Sides, one: Any, other: Any, where: str
) -> Iterator[tuple[str, Any, Any]]:
    """Compare what JSON can hold, at any depth."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted(one.keys() | other.keys(), key=str):
            if _WHEN_AND_WHERE.search(str(key)) or _is_checksum(key, one, other):
                continue
            place = f"{where}.{key}" if where else str(key)
            yield from _values(
                sides, one.get(key, "(missing)"), other.get(key, "(missing)"), place
            )
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        # A line of a table, such as ["permgrad", "seconds", 1.5]: its numbers are what
        # a name in it says.
        timed = any(
            isinstance(value, str) and _METRIC_OF_TIME.match(value) for value in one
        )
        for number, pair in enumerate(zip(one, other, strict=True)):
            if not (timed and all(map(_is_number, pair))):
                yield from _values(sides, *pair, f"{where}[{number}]")
    elif not _same_value(sides, one, other):
        yield where, one, other


def _same_value(sides: Sides, one: Any, other: Any) -> bool:
    if _is_number(one) and _is_number(other):
        return sides.equal(float(one), float(other))
    if isinstance(one, str) and isinstance(other, str):
        return sides.same_text(
            _SENTENCE_OF_TIME.sub("", one), _SENTENCE_OF_TIME.sub("", other)
        )
    return bool(one == other)


def _is_checksum(key: Any, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether an entry is the checksum of a file, which is compared itself: it may hold
    times.
    """
    values = one.get(key), other.get(key)
    return bool(Path(str(key)).suffix) and all(
        isinstance(value, str) and _HASH.match(value) for value in values
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@comparers.register(".csv")
def _csv(sides: Sides) -> Iterator[tuple[str, Any, Any]]:
    # Text stays text: a level "01" is not the number 1.
    tables = [
        read_csv(path, dtype=str, keep_default_na=False)
        for path in (sides.first, sides.second)
    ]
    yield from _tables(sides, *tables)


@comparers.register(".parquet")
def _parquet(sides: Sides) -> Iterator[tuple[str, Any, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from permgrad.data.read.parquet import cell_notes, read_footer, row_groups

    tables = []
    for content in (sides.first.read_bytes(), sides.second.read_bytes()):
        metadata, _ = read_footer(io.BytesIO(content))
        list(
            row_groups(metadata)
        )  # damage that Arrow would end the process over is an error here
        # Read by this thread alone: others can still hold the bytes when the process
        # ends over an error.
        table = pq.ParquetFile(pa.BufferReader(content), metadata=metadata).read(
            use_threads=False, use_pandas_metadata=True
        )
        tables.append(
            table.replace_schema_metadata(cell_notes(table.schema)).to_pandas()
        )
    yield from _tables(
        sides,
        *(
            table.astype(object).where(table.notna(), "").astype(str)
            for table in tables
        ),
    )


def _tables(
    sides: Sides, one: pd.DataFrame, other: pd.DataFrame
) -> Iterator[tuple[str, Any, Any]]:
    if list(one.columns) != list(other.columns):
        yield "columns", ", ".join(one.columns), ", ".join(other.columns)
        return
    if len(one) != len(other):
        yield "rows", len(one), len(other)
        return
    # Where each line has a metric and its value, lines that say how long something took
    # are not compared.
    metrics = (
        one["metric"].astype(str)
        if {"metric", "value"} <= set(one.columns)
        else pd.Series("", index=one.index)
    )
    timed = metrics.str.contains(_METRIC_OF_TIME).to_numpy(dtype=bool)
    for place, column in enumerate(one.columns):
        if column in _COLUMNS_OF_TIME:
            continue
        cells = one.iloc[:, place].to_numpy(), other.iloc[:, place].to_numpy()
        for row in np.flatnonzero(
            (cells[0] != cells[1]) & ~(timed if column == "value" else np.False_)
        ):
            pair = str(cells[0][row]), str(cells[1][row])
            if not _same_cell(sides, *pair):
                yield f"{column}, row {row}", *pair


#: A number as a table has it; 01 and 1_0 are text, which Python would take for numbers
#: too.
_NUMBER = re.compile(
    r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)(e[+-]?\d+)?|nan|[+-]?inf", re.IGNORECASE
)


def _same_cell(sides: Sides, one: str, other: str) -> bool:
    if _NUMBER.fullmatch(one) and _NUMBER.fullmatch(other):
        return sides.equal(float(one), float(other))
    return sides.same_text(one, other)


@comparers.register(".npz")
def _npz(sides: Sides) -> Iterator[tuple[str, Any, Any]]:
    one, other = (read_npz(path) for path in (sides.first, sides.second))
    yield from _arrays(sides, one, other)


@comparers.register(".safetensors")
def _safetensors(sides: Sides) -> Iterator[tuple[str, Any, Any]]:
    from safetensors.numpy import load_file

    yield from _arrays(sides, load_file(sides.first), load_file(sides.second))


def _arrays(
    sides: Sides, one: Mapping[str, Any], other: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(one.keys() | other.keys()):
        if _WHEN_AND_WHERE.search(name):
            continue
        if name not in one or name not in other:
            yield (
                name,
                "there" if name in one else "missing",
                "there" if name in other else "missing",
            )
            continue
        left, right = np.asarray(one[name]), np.asarray(other[name])
        if left.shape != right.shape or left.dtype != right.dtype:
            yield name, f"{left.dtype} {left.shape}", f"{right.dtype} {right.shape}"
            continue
        left, right = np.atleast_1d(left), np.atleast_1d(right)
        unequal = _unequal(sides, left, right)
        if unequal.any():
            at = tuple(int(place) for place in np.argwhere(unequal)[0])
            place = f"{name}{list(at)}, {int(unequal.sum()):,} of {left.size:,} values"
            yield place, left[at].item(), right[at].item()


def _unequal(
    sides: Sides, one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    if one.dtype.kind in "fc":
        return np.asarray(
            ~np.isclose(one, other, rtol=sides.tolerance, atol=0, equal_nan=True)
        )
    return np.asarray(one != other)


_TABLE, _LINE, _CELL = (
    re.compile(pattern, re.DOTALL)
    for pattern in (r"<table.*?</table>", r"<tr.*?</tr>", r"<t[dh][ >].*?</t[dh]>")
)
#: A figure or table, the stages of a run, and a sentence, of how long something took.
_FIGURE_OF_TIME = re.compile(r"<(figure|table) data-clock\b.*?</\1>", re.DOTALL)
_STAGES_OF_TIME = re.compile(r"<dt>time</dt><dd>.*?</dd>", re.DOTALL)
_SENTENCE_OF_TIME = re.compile(
    r"(Here it took|It was also the fastest)\b[^<>]*\bby the clock\b[^<>]*"
)
#: The exact number behind a cell that shows a length of time.
_SORTED_BY_TIME = re.compile(rf'data-sort="[^"]*">(?={_LENGTH_OF_TIME.pattern})')


def _without_times(page: str) -> str:
    """Return a page without the figures of times and the cells that stand below a head
    such as "seconds".

    Examples:
        >>> _without_times(
        ...     'a<figure data-clock style="">how long</figure>b<figure>how much</figure>'
        ... )
        'ab<figure>how much</figure>'
        >>> _without_times(
        ...     "<table><tr><th>a</th><th>seconds</th></tr><tr><td>1</td><td>2</td></tr></table>"
        ... )
        '<table><tr><th>a</th></tr><tr><td>1</td></tr></table>'
    """

    def without(table: re.Match[str]) -> str:
        head = _LINE.search(table.group())
        heads = (
            [re.sub(r"<[^>]*>", "", cell) for cell in _CELL.findall(head.group())]
            if head
            else []
        )
        timed = {
            place for place, name in enumerate(heads) if _WHEN_AND_WHERE.search(name)
        }
        if not timed:
            return table.group()

        def shorter(line: re.Match[str]) -> str:
            places = count()
            return _CELL.sub(
                lambda cell: "" if next(places) in timed else cell.group(), line.group()
            )

        return _LINE.sub(shorter, table.group())

    page = _TABLE.sub(
        without,
        _SENTENCE_OF_TIME.sub(
            "", _STAGES_OF_TIME.sub("", _FIGURE_OF_TIME.sub("", page))
        ),
    )
    return _SORTED_BY_TIME.sub('data-sort="">', page)


@comparers.register(".svg")
@comparers.register(".md")
@comparers.register(".txt")
@comparers.register(".html")
def _text(sides: Sides) -> Iterator[tuple[str, Any, Any]]:
    """Compare line by line; a command that is shown holds paths."""
    one, other = (
        _without_times(path.read_text(encoding="utf-8")).splitlines()
        for path in (sides.first, sides.second)
    )
    if len(one) != len(other):
        yield "lines", len(one), len(other)
    for number, (left, right) in enumerate(zip(one, other, strict=False), start=1):
        if not sides.same_text(left, right) and not (
            "<code>" in left and "<code>" in right
        ):
            at = next(
                (
                    place
                    for place, pair in enumerate(zip(left, right, strict=False))
                    if pair[0] != pair[1]
                ),
                0,
            )
            yield (
                f"line {number}",
                left[max(at - 20, 0) : at + 50],
                right[max(at - 20, 0) : at + 50],
            )


def main(words: Sequence[str] | None = None) -> int:
    """Compare what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "first", metavar="A", type=Path, help="a folder of results, or a file"
    )
    parser.add_argument(
        "second", metavar="B", type=Path, help="another of the same kind"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="numbers may differ so much",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of text"
    )
    options = parser.parse_args(words)
    try:
        found, compared = differences(
            options.first, options.second, tolerance=options.tolerance
        )
    except PermgradError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    facts = {"files": compared, "differences": [vars(one) for one in found]}
    print(
        json.dumps(facts, ensure_ascii=False)
        if options.json
        else in_words(found, compared)
    )
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
