"""Reading a table from a file: CSV with any common delimiter, gzip, Parquet; known by content, not by name."""

from __future__ import annotations

import csv
import difflib
import io
import math
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad._checks import check_names, check_path
from permgrad._csv import exact_numbers
from permgrad._errors import EnvironmentProblem, InputError, counted, listed, shown, warn_user
from permgrad._files import free_memory, why_missing
from permgrad.data.cells import (
    BLANK,
    PRESENT,
    CodesArgument,
    Distinct,
    MissingCodes,
    as_float32,
    canonical,
    is_native_number,
)
from permgrad.data.missing_texts import MISSING_ANYWAY, SPREADSHEET_ERRORS
from permgrad.data.padded_codes import kept_as_written, padded_codes, written_alike
from permgrad.data.text_files import PARQUET, read_text, unzipped
from permgrad.data.whole_numbers import masked, may_be_rounded, with_exact
from permgrad.data.written_numbers import Written, with_numbers

#: How often a table that is read into memory is held there while a model is trained on it.
_COPIES = 3
DELIMITERS = (",", ";", "\t", "|")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_UNCOMMON = (":", "^", "~", "\x01", "/", "!", "#", "@", "*", "&", "%", "=", "§", "¢", "¦", "¬", " ")
_SAMPLE_RECORDS = 200
#: How lines begin that say something about a file and belong to no table.
_COMMENTS = ("#", "%", "//", "--")
#: What a Parquet file leads to whose notes are not as pandas writes them.
DAMAGE = (
    ValueError, KeyError, TypeError, IndexError, AttributeError, NotImplementedError, OverflowError,
    SyntaxError, RecursionError,  # names of columns that are said to be tuples are parsed, not run
)  # fmt: skip


def read_table(
    path: str | os.PathLike[str],
    *,
    na: CodesArgument = (),
    text: Iterable[str] | None = None,
    decimal: str | None = None,
) -> pd.DataFrame:
    r"""Read a table from a CSV file (comma, semicolon, tab or pipe; gzip too), a Parquet file or a folder of them.

    Args:
        path: the file. What it is, is told by its content. Or a folder with Parquet files, which are read in the order
            of their names, as far as memory suffices.
        na: values that stand for missing, compared as numbers and as text; their cells become NaN. To keep each code
            as its own kind of missing leave this empty and give the codes to ``TableEncoder(na_codes=…)``. A column
            with decimal commas and texts such as ``k.A.`` needs them here.
        text: columns that are kept as text, for example codes with leading zeros.
        decimal: the decimal sign of a CSV file, ``","`` or ``"."``, where its cells do not tell (``1.575`` may be a
            thousand).

    Returns:
        A new frame with text column names and rows numbered from 0.

    Raises:
        InputError: no such file, a folder, a binary file, an empty table, a header only, duplicate or empty column
        names, a wrong
            delimiter, lines of different length.
        EnvironmentProblem: the file cannot be read.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "people.csv")
        ...     _ = file.write_text("age;town\n31;Bonn\n40;Ulm\n")
        ...     read_table(file).shape
        (2, 2)
    """
    return read_written(path, na=na, text=text, decimal=decimal).frame


def read_written(
    path: str | os.PathLike[str],
    *,
    na: CodesArgument = (),
    text: Iterable[str] | None = None,
    decimal: str | None = None,
    like: Mapping[str, str] | None = None,
    texts: Iterable[str] = (),
    codes: CodesArgument = (),
    classes: Iterable[str] = (),
    categories: Iterable[str] = (),
    identifiers: Iterable[str] = (),
) -> Written:
    """Return what ``read_table`` does, and how numbers were written.

    Later tables are read ``like`` the decimals, and ``texts`` are the columns that were text: of them, unlike of
    ``text``, a later table may lack some. The cells with one of the ``codes`` keep it, unlike those of ``na``, and do
    not keep their column from being read as numbers. The ``classes`` are columns in which 01 and 1 may differ; the
    ``categories`` and ``identifiers`` are kept as text where they do.
    """
    if decimal is not None and not (isinstance(decimal, str) and decimal in (",", ".")):
        raise InputError(f"decimal must be ',' or '.', however: {shown(decimal)}; pass one of them, or None")
    file = check_path("path", path, "pass the name of a file")
    as_text = [] if text is None else list(check_names("text", text, "pass for example text=['postcode']"))
    if is_parquet_folder(file):
        from permgrad.data.partitions import open_partitioned

        return Written.typed(blank_codes(open_partitioned(file).read_all(), na), codes)
    content = _content(file)
    if content[:4] == PARQUET or file.suffix.lower() in (".parquet", ".pq"):
        frame, source = _parse_parquet(content, file), None
    else:
        frame, source = _parse_csv(read_text(content, file), file, as_text, set(texts))
    if frame.shape[0] == 0:
        raise InputError(
            f"a table must have at least one row, however {str(file)!r} has a header only "
            f"({counted(frame.shape[1], 'column')}); check how it was written"
        )
    if source is not None:
        frame = with_exact(frame, source.as_written)
    frame = blank_codes(frame, na)
    if source is None:
        return Written.typed(frame, codes)
    written = with_numbers(
        frame,
        source.as_written,
        comma_parts=source.delimiter == ",",
        as_text={*as_text, *texts},
        decimal=decimal,
        like=like or {},
        codes=codes,
    )
    _warn_of_none(written, source)
    written = kept_as_written(written, source.text, source.as_written, categories, identifiers, codes)
    padded = padded_codes(written.frame, source.text, source.as_written)
    alike = written_alike(written.frame, source.text, source.as_written, classes, codes)
    return written._replace(padded=padded, alike=alike)


def is_parquet_folder(path: Path) -> bool:
    """Whether a path is a folder with Parquet files, in it or in folders within it."""
    return path.is_dir() and any(file.suffix.lower() in (".parquet", ".pq") for file in path.rglob("*"))


def blank_codes(X: pd.DataFrame, na: CodesArgument) -> pd.DataFrame:
    """Return a frame in which the cells with a declared code are missing; the given frame stays as it is.

    Examples:
        >>> blank_codes(pd.DataFrame({"a": [1, -9], "b": ["?", "x"]}), [-9, "?"]).isna().sum().tolist()
        [1, 1]
    """
    codes = MissingCodes.of(na)
    if not codes.labels:
        return X
    changed: dict[str, Any] = {}
    for name in X.columns:
        series = X[name]
        if is_native_number(series.dtype):
            own = _as_stored(MissingCodes(codes.holds_for(str(name))).numbers)
            hit = series.isin(own).to_numpy(dtype=bool) if own else np.zeros(len(series), dtype=bool)
        else:
            distinct = Distinct.of(series, str(name))
            kinds = np.array([codes.kind_of(value, str(name)) for value in distinct.texts], dtype=np.int16)
            hit = distinct.spread(kinds, PRESENT) >= BLANK
        if hit.any():
            left = masked(series, hit)
            # "?" kept a column of numbers from being read as numbers.
            changed[name] = left if is_native_number(series.dtype) else _numbers_if_all(left)
    return X.assign(**changed) if changed else X


def unused_codes(X: pd.DataFrame, na: CodesArgument) -> list[str]:
    """Return the declared codes that no cell holds, but for those that are missing without being declared.

    Examples:
        >>> unused_codes(pd.DataFrame({"a": [1, -9], "b": ["?", "x"]}), [-9, "?", "foo", 7])
        ['foo', '7']
    """
    codes = MissingCodes.of(na)
    used: set[int] = set()
    for name in X.columns if codes.labels else ():
        if is_native_number(X[name].dtype):
            held = X[name].isin(_as_stored(codes.numbers)).to_numpy(dtype=bool)
            values = X[name][held].unique() if held.any() else ()
            used |= {codes.kind_of(canonical(value), str(name)) for value in values}
        else:
            used |= {codes.kind_of(text, str(name)) for text in Distinct.of(X[name], str(name)).texts}
    labels = [label for place, label in enumerate(codes.labels) if place + 2 not in used]
    return [label for label in labels if label not in MISSING_ANYWAY]


def _as_stored(numbers: npt.NDArray[np.float64]) -> list[float]:
    """Return codes that are numbers, as columns of float64 and of float32 hold them."""
    known = numbers[~np.isnan(numbers)].tolist()
    return list(dict.fromkeys([*known, *map(as_float32, known)]))


def _numbers_if_all(series: pd.Series[Any]) -> pd.Series[Any]:
    if series.dtype.kind in "mM" or isinstance(series.dtype, pd.CategoricalDtype) or series.isna().all():
        return series
    numbers = pd.to_numeric(series, errors="coerce")
    return numbers if bool((numbers.isna() == series.isna()).all()) else series


# ---- bytes ----------------------------------------------------------------------------------------------------------
def _content(file: Path) -> bytes:
    if file.is_dir():
        raise InputError(
            f"a table must be a file, however {str(file)!r} is a folder; name the CSV or Parquet file in it"
        )
    if file.is_char_device() or file.is_block_device() or file.is_socket():
        raise InputError(f"a table must be a file, however {str(file)!r} is a device; name the CSV or Parquet file")
    if not file.exists():
        raise InputError(
            f"a table must be an existing file, however {str(file)!r} {why_missing(file)}{_near(file)}; check the path"
        )
    try:
        content = file.read_bytes()
    except OSError as error:
        raise EnvironmentProblem(
            f"a table must be readable, however {str(file)!r}: {error.strerror}; check its rights"
        ) from error
    free = free_memory()
    content = unzipped(content, file, room=None if free is None else free // _COPIES)
    if not content.strip():
        raise InputError(
            f"a table must have a header and rows, however {str(file)!r} is empty; check how it was written"
        )
    return content


def _near(file: Path) -> str:
    try:
        names = [entry.name for entry in islice(file.parent.iterdir(), 1000) if entry.name != file.name]
    except OSError:
        return ""
    near = difflib.get_close_matches(file.name, names, n=1, cutoff=0.75)
    return f" (did you mean {near[0]!r}?)" if near else ""


# ---- CSV ------------------------------------------------------------------------------------------------------------
def sniff_delimiter(text: str) -> str:
    r"""Find the delimiter: the one that gives the most lines as many fields as the header has, at least two.

    One after which quotes stand where they belong, at both ends of a field, goes before all others.

    Returns:
        One of comma, semicolon, tab, pipe; a comma for a table with one column.

    Examples:
        >>> sniff_delimiter("a;b\\n1,5;2\\n2,5;3\\n")
        ';'
    """
    best, best_score = ",", (False, 0.0, 0)
    for delimiter in DELIMITERS:
        records = _records(text, delimiter)
        if not records or len(records[0]) < 2:
            continue
        width = len(records[0])
        agree = sum(len(record) == width for record in records[1:]) / max(len(records) - 1, 1)
        if len(records) == 1:
            agree = 1.0
        score = (bool(_records(text, delimiter, strict=True)), agree, width)
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _records(text: str, delimiter: str, *, strict: bool = False, most: int = _SAMPLE_RECORDS) -> list[list[str]]:
    """Return the first records, quoted line breaks respected; none where they cannot be read."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=strict)
        return [record for record in islice(reader, most) if record]
    except csv.Error:
        return []


@dataclass(frozen=True)
class _Source:
    """Where the cells of a table stand as they are written."""

    text: str
    delimiter: str
    header: list[str]
    file: Path

    def as_written(self, names: list[str], *, plain: bool = False, rows: int | None = None) -> pd.DataFrame:
        """Return columns as text, or the first rows of them; with ``plain`` no text means missing."""
        return _parse_with_pandas(
            self.text, self.delimiter, self.header, self.file, names, only=names, plain=plain, rows=rows
        )


def _parse_csv(
    text: str, file: Path, as_text: Sequence[str], if_there: Collection[str]
) -> tuple[pd.DataFrame, _Source]:
    """Return the table and what it was read from; columns are kept as text, of the last ones those that are there."""
    text, said = _without_separator_line(text)
    delimiter = said or sniff_delimiter(text)
    records = _records(text, delimiter)
    if not records:
        raise InputError(
            f"a table must be split into fields of at most {csv.field_size_limit():,} characters, however a field of "
            f"{str(file)!r} is longer; check its quotes (one may not be closed), or shorten it"
        )
    header = [name.strip() for name in records[0]]
    _check_header(header, records, delimiter, file)
    unknown_text = [name for name in as_text if name not in header]
    if unknown_text:
        raise InputError(
            f"columns kept as text must be in the table, however: {shown(unknown_text[0])} is not in {str(file)!r}; "
            "check the name"
        )
    _check_widths(text, delimiter, len(header), file)
    kept = [*as_text, *(name for name in header if name in if_there)]
    frame = _parse_with_pandas(text, delimiter, header, file, kept)
    _warn_of_no_header(header, file)
    return frame, _Source(text, delimiter, header, file)


def _without_separator_line(text: str) -> tuple[str, str | None]:
    """Return the text without the line ``sep=;`` that Excel understands, and the delimiter that it names."""
    first, _, rest = text.partition("\n")
    named = first.strip('\r"')
    if named.lower().startswith("sep=") and len(named) == len("sep=;") and named[-1] in DELIMITERS:
        return rest, named[-1]
    return text, None


def _warn_of_no_header(header: list[str], file: Path) -> None:
    """Say so where names look like numbers of a row; years, pixels and wavelengths rise from column to column."""
    numbers = [float(name) for name in header if _is_number(name)]
    alike = len({"." in name for name in header if _is_number(name)}) == 1
    rising = alike and len(numbers) > 1 and all(one < two for one, two in pairwise(numbers))
    if len(header) > 1 and numbers and 2 * len(numbers) >= len(header) and not rising:
        shown = ", ".join(repr(name) for name in header[:4])
        warn_user(
            f"the first line should hold the names of the columns, however that of {str(file)!r} looks like a row ("
            f"{shown}{', …' if len(header) > 4 else ''}) and is taken for names; add a line with names"
        )


def _warn_of_none(written: Written, source: _Source) -> None:
    """Say where the word None is a missing cell among texts: it may be a level like these."""
    names = [name for name in written.texts if written.frame[name].isna().any()] if "None" in source.text else []
    if not names:
        return
    cells = source.as_written(names, plain=True)
    counts = {name: int((cells[name].str.strip() == "None").sum()) for name in names}
    found = [f"{name!r} ({count:,} of {len(cells):,})" for name, count in counts.items() if count]
    if found:
        warn_user(
            f"the word None means a missing cell, however among the texts of {listed(found)} it may be a level; if so "
            "write it in another way, such as 'no'"
        )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _parse_with_pandas(
    text: str,
    delimiter: str,
    header: list[str],
    file: Path,
    as_text: Sequence[str],
    *,
    only: list[str] | None = None,
    plain: bool = False,
    rows: int | None = None,
) -> pd.DataFrame:
    """Return the columns that are asked for, or the first rows of them; with ``plain`` no text means missing."""
    try:
        frame: pd.DataFrame = pd.read_csv(
            io.StringIO(text),
            sep=delimiter,
            header=0,
            names=header,
            index_col=False,
            usecols=only,
            nrows=rows,
            skipinitialspace=True,
            low_memory=False,
            dtype=dict.fromkeys(as_text, str) or None,
            keep_default_na=not plain,
            na_values=None if plain else list(SPREADSHEET_ERRORS),
            **exact_numbers(),
        )
    except (pd.errors.ParserError, ValueError) as error:
        fix = "close the quote that begins there" if "EOF inside string" in str(error) else "correct the line"
        raise InputError(
            f"a table must be well-formed CSV, however {str(file)!r}: {str(error).strip()}; {fix}"
        ) from None
    return frame


def _check_header(header: list[str], records: list[list[str]], delimiter: str, file: Path) -> None:
    if header[0].startswith(_COMMENTS) and (len(header) == 1 or len(header) < len(records[-1])):
        raise InputError(
            f"a table must begin with the names of its columns, however {str(file)!r} begins with the comment "
            f"{header[0][:40]!r}; take such lines out"
        )
    if len(header) == 1:
        for sign in _UNCOMMON:
            counts = {record[0].count(sign) for record in records}
            # A space is common inside a name: it must stand in every line, as often as in the header.
            if len(records) > 1 and len(counts) == 1 and counts.pop() > 0:
                name = {" ": "a space", "\x01": "Ctrl-A"}.get(sign, repr(sign))
                raise InputError(
                    f"the delimiter must be comma, semicolon, tab or pipe, however {str(file)!r} seems to use {name}"
                    f" and gives the single column {header[0]!r}; save it again with commas"
                )
        if any(sign in header[0] for sign in DELIMITERS):
            raise InputError(
                f"a table must be split by one delimiter, however {str(file)!r} gives the single column {header[0]!r};"
                " check its quotes and save it with commas"
            )
    empty = [i + 1 for i, name in enumerate(header) if not name]
    ends = [record[len(header) - 1 :] for record in records]
    if len(header) > 1 and empty == [len(header)] and all(end in ([], [""]) for end in ends):
        raise InputError(
            f"a line must end with its last field, however every line of {str(file)!r} ends with a "
            f"{_NAMES[delimiter]}; take it off"
        )
    if empty:
        # A title, padded with delimiters by a spreadsheet: text in the first cell, hardly any behind it.
        titled = bool(header[0]) and 2 * len(empty) >= len(header)
        fix = (
            "delete the lines above the header, such as a title"
            if titled
            else "write the file without row numbers (to_csv(index=False))"
        )
        raise InputError(
            f"every column must have a name, however column {empty[0]} of {str(file)!r} has none ({len(empty)} in all);"
            f" name it, or {fix}"
        )
    repeated = sorted(name for name, count in Counter(header).items() if count > 1)
    if repeated:
        raise InputError(
            f"column names must be unique, however {listed(repeated, 5, repr)} stand{'s' * (len(repeated) == 1)} more "
            f"than once in {str(file)!r}; rename the copies"
        )


def _check_widths(text: str, delimiter: str, width: int, file: Path) -> None:
    """Refuse lines with another number of fields: pandas would fill or cut them in silence."""
    line, found = 0, width
    if '\\"' in text:
        _check_escapes(text, delimiter, file)
    if '"' not in text and "\r" not in text.replace("\r\n", ""):
        signs = np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
        ends = np.flatnonzero(signs == ord("\n"))
        ends = np.append(ends, len(signs)) if len(ends) == 0 or ends[-1] != len(signs) - 1 else ends
        starts = np.append(0, ends[:-1] + 1)
        places = np.flatnonzero(signs == ord(delimiter))
        fields = np.searchsorted(places, ends) - np.searchsorted(places, starts) + 1
        # Blank lines are skipped; a line may end with a carriage return.
        bad = np.flatnonzero((fields != width) & (ends - starts > 1))
        if len(bad):
            line, found = int(bad[0]) + 1, int(fields[bad[0]])
    else:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        first = 1
        try:
            for record in reader:
                if record and len(record) != width:
                    _check_quotes(record, first, reader.line_num, width, delimiter, file)
                    line, found = reader.line_num, len(record)
                    break
                first = reader.line_num + 1
        except csv.Error as error:
            raise InputError(
                f"a table must be well-formed CSV, however {str(file)!r}, from line {first} on: {error}; check its "
                "quotes (one may not be closed), or correct the line"
            ) from None
    if line:
        titled = "delete the lines above the header, such as a title, or " if width == 1 else ""
        raise InputError(
            f"every line must have as many fields as the header, however line {line} of {str(file)!r} has {found} where"
            f" the header has {width} (delimiter: {_NAMES[delimiter]}); {titled}correct the line or quote its text"
        )


def _check_quotes(record: list[str], first: int, last: int, width: int, delimiter: str, file: Path) -> None:
    """Refuse a record of too few or many fields one of which goes on over whole lines: its quote is hardly closed."""
    for place, field in enumerate(record):
        # Only quotes let a field go on in the next line, and a text of several lines hardly looks like fields.
        if delimiter in field.partition("\n")[2]:
            line = first + sum(before.count("\n") for before in record[:place])
            raise InputError(
                f"every quote must be closed, however one that a field of line {line} of {str(file)!r} begins with is "
                f"probably not: the field goes on to line {last}, and makes {counted(len(record), 'field')} where the "
                f"header has {width} (delimiter: {_NAMES[delimiter]}); close the quote, or take it out"
            )


def _looks_like_text(content: bytes) -> bool:
    head = content[:4096]
    return b"\n" in head and not any(sign < 9 or 13 < sign < 32 for sign in head)


def _check_escapes(text: str, delimiter: str, file: Path) -> None:
    """Refuse quotes that a backslash is meant to escape: CSV doubles them, and would give other cells in silence."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for _ in reader:
            pass
    except csv.Error:
        raise InputError(
            f"a quote within quotes must be doubled, however line {reader.line_num} of {str(file)!r} escapes it with a "
            'backslash; write "" in its place'
        ) from None


def check_fits(needed: int, path: str) -> None:
    """Refuse a table that is too large for the memory that is free to be read as a whole, and trained on.

    Args:
        needed: bytes that its cells take.
        path: of the table, for the message.

    Raises:
        InputError: it is.
    """
    free = free_memory()
    if free is not None and _COPIES * needed > free:
        raise InputError(
            f"a table that is read into memory must fit there about {_COPIES} times, however: {path!r} takes about "
            f"{needed / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are free; train from its files in Python, "
            "HyNNClassifier().fit_stream(folder, target), or give a part of its rows"
        )


# ---- Parquet --------------------------------------------------------------------------------------------------------
def _parse_parquet(content: bytes, file: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from permgrad.data.parquet_columns import check_texts, exact_columns
    from permgrad.data.parquet_footer import read_whole

    if content[:4] != PARQUET and _looks_like_text(content):
        raise InputError(
            f"a file must be what its name says, however {str(file)!r} is named as Parquet and holds text; rename it "
            "to '.csv'"
        )
    damaged = InputError(
        f"a Parquet file must be complete, however {str(file)!r} is cut off, damaged or no Parquet; write it again"
    )
    try:
        footer = pq.read_metadata(io.BytesIO(content))
    except (pa.ArrowException, OSError, ValueError):
        raise damaged from None
    # Before the table is read: what reads it refuses names that stand twice with an error like that of a damaged file.
    names = pd.Index(footer.schema.to_arrow_schema().names)
    if names.has_duplicates:
        raise InputError(
            f"column names must be unique, however {names[names.duplicated()][0]!r} stands more than once in "
            f"{str(file)!r}; rename the copies"
        )
    check_fits(footer.num_rows * footer.num_columns * 8, str(file))
    try:
        stored = read_whole(content)
        check_texts(stored)
        frame: pd.DataFrame = stored.to_pandas()
        if any(name is not None for name in frame.index.names):
            frame = frame.reset_index()
        rounded = [name for name in names if name in frame and may_be_rounded(frame[name])]
        if rounded:
            frame = frame.assign(**exact_columns(stored.select(rounded)))
    except (pa.ArrowException, OSError, *DAMAGE) as error:
        raise damaged from error
    frame.columns = pd.Index([str(name) for name in frame.columns], dtype=object)
    if frame.shape[1] == 0:
        raise InputError(f"a table must have at least one column, however {str(file)!r} has none; write it again")
    return frame.reset_index(drop=True)
