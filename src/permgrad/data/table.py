"""Reading a table from a file: CSV with any common delimiter, gzip, Parquet; known by content, not by name."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from permgrad._errors import EnvironmentProblem, InputError
from permgrad._files import free_memory
from permgrad.data.cells import BLANK, PRESENT, CodesArgument, Distinct, MissingCodes, is_native_number

#: How often a table that is read into memory is held there while a model is trained on it.
_COPIES = 3
DELIMITERS = (",", ";", "\t", "|")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_UNCOMMON = (":", "^", "~", "\x01", " ")
_SAMPLE_RECORDS = 200
#: What gzip unpacks to, whatever it was before, and beyond that how many times its size.
_MOST_UNPACKED, _MOST_TIMES = 2**26, 100
_ZIP, _GZIP, _PARQUET, _OLD_EXCEL = b"PK\x03\x04", b"\x1f\x8b", b"PAR1", b"\xd0\xcf\x11\xe0"


def read_table(
    path: str | os.PathLike[str], *, na: CodesArgument = (), text: Iterable[str] | None = None
) -> pd.DataFrame:
    r"""Read a table from a CSV file (comma, semicolon, tab or pipe; gzip too), a Parquet file or a folder of them.

    Args:
        path: the file. What it is, is told by its content. Or a folder with Parquet files, which are read in the order
            of their names, as far as memory suffices.
        na: values that stand for missing, compared as numbers and as text; their cells become NaN. To keep each code
            as its own kind of missing leave this empty and give the codes to ``TableEncoder(na_codes=…)``.
        text: columns that are kept as text, for example codes with leading zeros.

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
    file = Path(path)
    if is_parquet_folder(file):
        from permgrad.data.partitions import open_partitioned

        return blank_codes(open_partitioned(file).read_all(), na)
    content = _content(file)
    if content[:4] == _PARQUET or file.suffix.lower() in (".parquet", ".pq"):
        frame = _parse_parquet(content, file)
    else:
        frame = _parse_csv(_decode(content, file), file, list(text or ()))
    if frame.shape[0] == 0:
        raise InputError(
            f"a table must have at least one row, however {str(file)!r} has a header only ({frame.shape[1]} columns);"
            " check how it was written"
        )
    return blank_codes(frame, na)


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
            own = [
                float(label) for label in codes.holds_for(str(name)) if not np.isnan(MissingCodes((label,)).numbers[0])
            ]
            hit = series.isin(own).to_numpy(dtype=bool) if own else np.zeros(len(series), dtype=bool)
        else:
            distinct = Distinct.of(series, str(name))
            kinds = np.array([codes.kind_of(value, str(name)) for value in distinct.texts], dtype=np.int16)
            hit = distinct.spread(kinds, PRESENT) >= BLANK
        if hit.any():
            masked = series.mask(hit)
            # "?" kept a column of numbers from being read as numbers.
            changed[name] = masked if is_native_number(series.dtype) else _numbers_if_all(masked)
    return X.assign(**changed) if changed else X


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
    if not file.exists():
        raise InputError(
            f"a table must be an existing file, however {str(file)!r} does not exist{_near(file)}; check the path"
        )
    try:
        content = file.read_bytes()
    except OSError as error:
        raise EnvironmentProblem(
            f"a table must be readable, however {str(file)!r}: {error.strerror}; check its rights"
        ) from error
    if content[:2] == _GZIP:
        content = _unpacked(content, file)
    if not content.strip():
        raise InputError(
            f"a table must have a header and rows, however {str(file)!r} is empty; check how it was written"
        )
    return content


def _unpacked(content: bytes, file: Path) -> bytes:
    """Unpack gzip; a small file that becomes a huge table is left to whoever made it."""
    most = max(_MOST_UNPACKED, _MOST_TIMES * len(content))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            unpacked = stream.read(most + 1)
    except (EOFError, OSError, zlib.error):
        raise InputError(
            f"a gzip file must be complete, however {str(file)!r} is cut off or damaged; copy it again"
        ) from None
    if len(unpacked) > most:
        raise InputError(
            f"a gzip file must not unpack to more than {most:,} bytes, however {str(file)!r} of {len(content):,} bytes "
            "does; if you know whose it is, unpack it with gunzip and name the unpacked file"
        )
    return unpacked


def _near(file: Path) -> str:
    try:
        names = [entry.name for entry in islice(file.parent.iterdir(), 1000)]
    except OSError:
        return ""
    near = difflib.get_close_matches(file.name, names, n=1, cutoff=0.75)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _decode(content: bytes, file: Path) -> str:
    if content[:4] in (_ZIP, _OLD_EXCEL):
        raise InputError(
            f"a table must be CSV or Parquet, however {str(file)!r} is a zip or Excel file; unpack it or save it as CSV"
        )
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings: tuple[str, ...] = ("utf-16",)
    elif b"\x00" in content[:65_536]:
        raise _binary(file)
    else:
        encodings = ("utf-8-sig", "latin-1")
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        # Latin-1 reads any byte: control characters give a picture or an archive away.
        head = text[:65_536]
        if len(re.findall(r"[\x02-\x08\x0e-\x1f\x7f]", head)) > 0.005 * len(head):
            raise _binary(file)
        return text
    raise _binary(file)


def _binary(file: Path) -> InputError:
    return InputError(
        f"a table must be CSV or Parquet, however {str(file)!r} is a binary file of another kind; export it as CSV"
    )


# ---- CSV ------------------------------------------------------------------------------------------------------------
def sniff_delimiter(text: str) -> str:
    r"""Find the delimiter: the one that gives the most lines as many fields as the header has, at least two.

    Returns:
        One of comma, semicolon, tab, pipe; a comma for a table with one column.

    Examples:
        >>> sniff_delimiter("a;b\\n1,5;2\\n2,5;3\\n")
        ';'
    """
    best, best_score = ",", (0.0, 0)
    for delimiter in DELIMITERS:
        records = _records(text, delimiter)
        if not records or len(records[0]) < 2:
            continue
        width = len(records[0])
        agree = sum(len(record) == width for record in records[1:]) / max(len(records) - 1, 1)
        if len(records) == 1:
            agree = 1.0
        if (agree, width) > best_score:
            best, best_score = delimiter, (agree, width)
    return best


def _records(text: str, delimiter: str, most: int = _SAMPLE_RECORDS) -> list[list[str]]:
    """First records, quoted line breaks respected."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        return [record for record in islice(reader, most) if record]
    except csv.Error:
        return []


def _parse_csv(text: str, file: Path, as_text: Sequence[str]) -> pd.DataFrame:
    delimiter = sniff_delimiter(text)
    records = _records(text, delimiter)
    if not records:
        raise InputError(
            f"a table must have a header and rows, however {str(file)!r} cannot be split into fields; check its quotes"
        )
    header = [name.strip() for name in records[0]]
    _check_header(header, records, file)
    unknown_text = [name for name in as_text if name not in header]
    if unknown_text:
        raise InputError(
            f"columns kept as text must be in the table, however {unknown_text[0]!r} is not in {str(file)!r}; check the"
            " name"
        )
    _check_widths(text, delimiter, len(header), file)
    frame = _parse_with_pandas(text, delimiter, header, file, as_text, ".")
    commas = [name for name in header if name not in as_text and delimiter != "," and _has_decimal_commas(frame[name])]
    return _parse_with_pandas(text, delimiter, header, file, as_text, ",") if commas else frame


def _parse_with_pandas(
    text: str, delimiter: str, header: list[str], file: Path, as_text: Sequence[str], decimal: str
) -> pd.DataFrame:
    try:
        return pd.read_csv(
            io.StringIO(text),
            sep=delimiter,
            header=0,
            names=header,
            index_col=False,
            skipinitialspace=True,
            decimal=decimal,
            low_memory=False,
            dtype=dict.fromkeys(as_text, str) or None,
        )
    except (pd.errors.ParserError, ValueError) as error:
        raise InputError(
            f"a table must be well-formed CSV, however {str(file)!r}: {str(error).strip()}; correct the line"
        ) from None


def _has_decimal_commas(series: pd.Series[Any]) -> bool:
    if is_native_number(series.dtype):
        return False
    texts = series.dropna().astype(str).iloc[:1000]
    return (
        bool(len(texts))
        and bool(texts.str.fullmatch(r"\s*[+-]?\d+(?:,\d+)?(?:[eE][+-]?\d+)?\s*").all())
        and bool(texts.str.contains(",").any())
    )


def _check_header(header: list[str], records: list[list[str]], file: Path) -> None:
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
    if empty:
        raise InputError(
            f"every column must have a name, however column {empty[0]} of {str(file)!r} has none ({len(empty)} in all);"
            " name it, or write the file without row numbers (to_csv(index=False))"
        )
    repeated = sorted(name for name, count in Counter(header).items() if count > 1)
    if repeated:
        shown = ", ".join(repr(name) for name in repeated[:5])
        raise InputError(
            f"column names must be unique, however {shown} stand more than once in {str(file)!r}; rename the copies"
        )


def _check_widths(text: str, delimiter: str, width: int, file: Path) -> None:
    """Refuse lines with another number of fields: pandas would fill or cut them in silence."""
    line, found = 0, width
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
        try:
            for record in reader:
                if record and len(record) != width:
                    line, found = reader.line_num, len(record)
                    break
        except csv.Error as error:
            raise InputError(
                f"a table must be well-formed CSV, however {str(file)!r}, line {reader.line_num}: {error}; correct the"
                " line"
            ) from None
    if line:
        raise InputError(
            f"every line must have as many fields as the header, however line {line} of {str(file)!r} has {found} where"
            f" the header has {width} (delimiter: {_NAMES[delimiter]}); correct the line or quote its text"
        )


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

    damaged = InputError(
        f"a Parquet file must be complete, however {str(file)!r} is cut off, damaged or no Parquet; write it again"
    )
    try:
        footer = pq.read_metadata(io.BytesIO(content))
    except (pa.ArrowException, OSError, ValueError):
        raise damaged from None
    check_fits(footer.num_rows * footer.num_columns * 8, str(file))
    try:
        frame = pd.read_parquet(io.BytesIO(content))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise damaged from None
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    frame.columns = pd.Index([str(name) for name in frame.columns], dtype=object)
    if frame.shape[1] == 0:
        raise InputError(f"a table must have at least one column, however {str(file)!r} has none; write it again")
    repeated = frame.columns[frame.columns.duplicated()].unique().tolist()
    if repeated:
        raise InputError(
            f"column names must be unique, however {repeated[0]!r} stands more than once in {str(file)!r}; rename the"
            " copies"
        )
    return frame.reset_index(drop=True)
