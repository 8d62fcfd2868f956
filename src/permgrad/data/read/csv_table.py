"""From the text of a CSV file to a frame: its delimiter, the names of its columns, and the line of each row."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from permgrad.base.errors import InputError, by_count, counted, listed, shown, warn_user
from permgrad.data.types.identifiers import YEARS

DELIMITERS = (",", ";", "\t", "|")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_UNCOMMON = (":", "^", "~", "\x01", "/", "!", "#", "@", "*", "&", "%", "=", "§", "¢", "¦", "¬", " ")
_SAMPLE_RECORDS = 200
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n|\Z)")
#: How lines begin that say something about a file and belong to no table.
_COMMENTS = ("#", "%", "//", "--")
#: So many years a table may hold; more rows than that are numbered by their column, though the numbers may be years.
_MOST_YEARS = 300
#: Records of a text with quotes that are held as Python's texts.
_CHUNK_ROWS = 16_384


def sniff_delimiter(text: str) -> str:
    r"""Find the delimiter: the one that gives the most lines as many fields as the header has.

    One after which quotes stand where they belong, at both ends of a field, goes before all others.

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
        lines = (match[0] for match in _LINE.finditer(text))
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=strict)
        return [record for record in islice(reader, most) if record]
    except csv.Error:
        return []


@dataclass(frozen=True)
class TextTable:
    """A CSV file as text: its columns, its delimiter, the line of each row, and what to say of the names.

    Cells are as written, without the blanks in front; empty where there is nothing. Lines are counted from 1; None: not
    known.
    """

    columns: dict[str, pa.ChunkedArray]
    delimiter: str
    lines: npt.NDArray[np.int64] | None
    notes: tuple[str, ...]
    has_hexadecimal: bool

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()))) if self.columns else 0


def parse_csv(
    text: str,
    file: Path,
    as_text: Sequence[str] = (),
    *,
    named: Collection[str] = (),
    once: Collection[str] = (),
    missing: Collection[str] = (),
) -> TextTable:
    """Return the cells of a CSV file as text; columns without a name that say nothing are left out.

    Args:
        text: What is in the file.
        file: Its name, for messages.
        as_text: Columns that must be there.
        once: Columns that must not stand twice.
        named: Names, given by their place, of columns without one that are not left out.
        missing: Texts that mean missing.

    Raises:
        InputError: The text is no table.
    """
    text, separator = _without_separator_line(text)
    before = 0 if separator is None else 1
    delimiter = separator or sniff_delimiter(text)
    records = _records(text, delimiter)
    if not records:
        raise InputError(
            f"a table must be split into fields of at most {csv.field_size_limit():,} characters, however a field of "
            f"{str(file)!r} is longer; check its quotes (one may not be closed), or shorten it"
        )
    written = [name.strip() for name in records[0]]
    _check_header(written, records, delimiter, file)
    header, notes = _unique_names(written, file, once)
    absent = [name for name in as_text if name not in header]
    if absent:
        raise InputError(
            f"columns kept as text must be in the table, however: {shown(absent[0])} is not in {str(file)!r}; check "
            "the name"
        )
    is_plain = '"' not in text and "\r" not in text.replace("\r\n", "")
    lines, cells = (_plain_rows if is_plain else _quoted_rows)(text, delimiter, len(header), file, before)
    columns = dict(zip(header, cells, strict=True))
    _warn_of_no_header(written, file)
    unnamed = [name for name, label in zip(header, written, strict=True) if not label]
    in_doubt = [name for name in unnamed if name not in named]
    numbering = [name for name in in_doubt if _only_numbers_rows(columns[name], name == header[0])]
    nothing = pa.array(["", *missing])
    blank = [name for name in in_doubt if pc.all(pc.is_in(columns[name], nothing)).as_py()]
    notes += _unnamed_said(unnamed, numbering, blank)
    left = {name: column for name, column in columns.items() if name not in {*numbering, *blank}}
    return TextTable(left, delimiter, lines, tuple(notes), "0x" in text or "0X" in text)


# ---- rows -----------------------------------------------------------------------------------------------------------
def _plain_rows(
    text: str, delimiter: str, width: int, file: Path, before: int
) -> tuple[npt.NDArray[np.int64] | None, list[pa.ChunkedArray]]:
    """Return the line of each row, counting those ``before`` the text, and the columns of a text without quotes."""
    content = text.encode("utf-8")
    signs = np.frombuffer(content, dtype=np.uint8)
    ends = np.flatnonzero(signs == ord("\n"))
    ends = np.append(ends, len(signs)) if len(ends) == 0 or ends[-1] != len(signs) - 1 else ends
    starts = np.append(0, ends[:-1] + 1)
    places = np.flatnonzero(signs == ord(delimiter))
    fields = np.searchsorted(places, ends) - np.searchsorted(places, starts) + 1
    # Blank lines are skipped; a line may end with a carriage return.
    lengths = ends - starts
    blank_signs = np.array([ord(sign) for sign in "\r \t" if sign != delimiter], dtype=np.uint8)
    blank = (lengths == 0) | ((lengths == 1) & np.isin(signs[np.minimum(starts, len(signs) - 1)], blank_signs))
    bad = np.flatnonzero((fields != width) & ~blank)
    if len(bad):
        raise _other_width(int(bad[0]) + 1 + before, int(fields[bad[0]]), width, delimiter, file)
    rows = np.flatnonzero(~blank)
    names = [str(place) for place in range(width)]
    lines = rows[1:].astype(np.int64) + 1 + before
    if len(rows) < 2:
        return lines, [pa.chunked_array([], pa.string()) for _ in names]
    table = pa.csv.read_csv(
        pa.BufferReader(pa.py_buffer(content).slice(int(starts[rows[1]]))),
        read_options=pa.csv.ReadOptions(
            use_threads=False, column_names=names, block_size=max(2**22, 2 * int(lengths.max()) + 2)
        ),
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, quote_char=False, invalid_row_handler=lambda _: "skip"),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )
    if f"{delimiter} " in text or "\n " in text:
        table = pa.table([pc.utf8_ltrim(column, " ") for column in table.columns], names=names)
    if width == 1:
        # No reader can tell a line of blanks from a cell of blanks.
        table = table.filter(pc.not_equal(pc.utf8_trim_whitespace(table.column(0)), ""))
    # Better no line than a wrong one.
    return lines if len(lines) == len(table) else None, list(table.columns)


def _quoted_rows(
    text: str, delimiter: str, width: int, file: Path, before: int
) -> tuple[npt.NDArray[np.int64] | None, list[pa.ChunkedArray]]:
    """Return the same of a text with quotes, in which a row may go on over several lines."""
    if '\\"' in text:
        _check_escapes(text, delimiter, file, before)
    lines: list[int] = []
    columns: list[list[pa.Array]] = [[] for _ in range(width)]
    records = _whole_records(text, delimiter, width, file, before)
    while True:
        # One flat list: thousands of small ones would keep the garbage collector busy.
        cells: list[str] = []
        for line, record in islice(records, _CHUNK_ROWS):
            lines.append(line)
            cells += record
        if not cells:
            # The first record is the header.
            return np.array(lines[1:], dtype=np.int64), [pa.chunked_array(arrays).slice(1) for arrays in columns]
        for place, arrays in enumerate(columns):
            arrays.append(pa.array(cells[place::width], pa.string()))


def _whole_records(text: str, delimiter: str, width: int, file: Path, before: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not blank, with the line that it begins in."""
    # An open quote at the end of the text swallows this line, which can be no cell.
    end = "\0"
    reader = csv.reader(chain(io.StringIO(text, newline=""), [end]), delimiter=delimiter, skipinitialspace=True)
    first = 1 + before
    try:
        for record in reader:
            last = reader.line_num + before
            # Nearly all records: as wide as the header, in one line, and not the end.
            if len(record) == width and last == first and record[0] != end:
                yield first, record
            elif record == [end]:
                return
            elif record:
                is_open = record[-1].endswith(end)
                if len(record) != width:
                    fields = [field.removesuffix(end) for field in record]
                    _check_quotes(fields, first, last - is_open, width, delimiter, file)
                    raise _other_width(last - is_open, len(record), width, delimiter, file)
                if is_open:
                    raise csv.Error("a quote is never closed")  # noqa: TRY301 — told like what Python's reader finds
                yield first, record
            first = last + 1
    except csv.Error as error:
        raise InputError(
            f"a table must be well-formed CSV, however {str(file)!r}, from line {first} on: {error}; check "
            "its quotes (one may not be closed), or correct the line"
        ) from None


def _unique_names(written: list[str], file: Path, once: Collection[str]) -> tuple[list[str], list[str]]:
    """Return a name for each column, all different, and what is said of those that stand more than once."""
    named = [name or f"column {place}" for place, name in enumerate(written, start=1)]
    repeated = {name: count for name, count in Counter(filter(None, written)).items() if count > 1}
    if repeated and all(map(_is_number, written)):
        raise InputError(
            f"column names must be unique, however {str(file)!r} begins with numbers, some of them more than once; add "
            "a line with names"
        )
    for name in once:
        if name in repeated:
            raise InputError(
                f"Column {name!r} stands {repeated[name]} times in the header of {str(file)!r}, so it is unclear which "
                "one is to be predicted. Rename or delete the others."
            )
    header = numbered(named)
    if not repeated:
        return header, []
    example = next(iter(repeated))
    second = [new for new, old in zip(header, named, strict=True) if old == example][1]
    names = listed(list(repeated), show=repr)
    return header, [f"columns of the same name are numbered: {names} (the second {example!r} is called {second!r})"]


def numbered(names: Sequence[str]) -> list[str]:
    """Return names of which each that occurs again gets a number behind it, as in pandas."""
    taken, times, different = set(names), Counter[str](), []
    for name in names:
        new = name
        while times[name] and new in taken:
            new = f"{name}.{times[name]}"
            times[name] += new in taken
        times[name] += 1
        taken.add(new)
        different.append(new)
    return different


def _only_numbers_rows(cells: pa.ChunkedArray, is_first: bool) -> bool:
    """Return whether a column without a name numbers the rows: as ``to_csv()`` does in front, also of drawn rows."""
    try:
        numbers = pc.cast(cells, pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        return False
    if len(np.unique(numbers)) < len(numbers) or numbers.min(initial=0) < 0:
        return False
    steps = bool((np.diff(numbers) == 1).all())
    are_years = bool(((numbers >= YEARS[0]) & (numbers <= YEARS[1])).all()) and len(numbers) < _MOST_YEARS
    return (steps and numbers[:1].tolist() in ([0], [1])) or (is_first and not are_years)


def _unnamed_said(unnamed: Sequence[str], numbering: Sequence[str], blank: Sequence[str]) -> list[str]:
    sentences = []
    if numbering:
        why = by_count(len(numbering), "it has no name and only numbers", "they have no names and only number")
        sentences.append(f"left out, because {why} the rows: {listed(numbering)}")
    if blank:
        why = by_count(len(blank), "it has no name and", "they have no names and")
        sentences.append(f"left out, because {why} no values: {listed(blank)}")
    if by_place := [name for name in unnamed if name not in {*numbering, *blank}]:
        sentences.append(f"columns without a name are called by their place: {listed(by_place)}")
    return sentences


def _without_separator_line(text: str) -> tuple[str, str | None]:
    """Return the text without the line ``sep=;`` that Excel understands, and the delimiter that it names."""
    first, _, table = text.partition("\n")
    named = first.strip('\r"')
    if named.lower().startswith("sep=") and len(named) == len("sep=;") and named[-1] in DELIMITERS:
        return table, named[-1]
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


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _check_header(header: list[str], records: list[list[str]], delimiter: str, file: Path) -> None:
    if header[0].startswith(_COMMENTS) and (len(header) == 1 or len(header) < len(records[-1])):
        raise InputError(
            f"a table must begin with the names of its columns, however {str(file)!r} begins with the comment "
            f"{header[0][:40]!r}; take such lines out"
        )
    if len(header) == 1:
        _check_single(header[0], [record[0] for record in records], file)
    empty = [i + 1 for i, name in enumerate(header) if not name]
    ends = [record[len(header) - 1 :] for record in records]
    if len(header) > 1 and empty == [len(header)] and all(end in ([], [""]) for end in ends):
        raise InputError(
            f"a line must end with its last field, however every line of {str(file)!r} ends with a "
            f"{_NAMES[delimiter]}; take it off"
        )
    if empty and empty == list(range(2, len(header), 2)) and not any(any(record[1::2]) for record in records):
        raise InputError(
            f"every column must have a name, however column 2 of {str(file)!r} has none ({len(empty)} in all); two "
            "delimiters may stand in the place of one, take one off"
        )
    # A title, padded with delimiters by a spreadsheet: text in one cell, hardly any beside it.
    if (empty not in ([], [1]) and 2 * len(empty) >= len(header)) or len(empty) == len(header):
        raise InputError(
            f"every column must have a name, however column {empty[0]} of {str(file)!r} has none ({len(empty)} in all);"
            " name it, or delete the lines above the header, such as a title"
        )


def _check_single(header: str, cells: list[str], file: Path) -> None:
    """Refuse a table of one column that another sign seems to part."""
    for sign in _UNCOMMON:
        counts = {cell.count(sign) for cell in cells}
        # A space is common inside a name: it must stand in every line, as often as in the header.
        if len(cells) > 1 and len(counts) == 1 and counts.pop() > 0:
            name = {" ": "a space", "\x01": "Ctrl-A"}.get(sign, repr(sign))
            raise InputError(
                f"the delimiter must be comma, semicolon, tab or pipe, however {str(file)!r} seems to use {name}"
                f" and gives the single column {header!r}; save it again with commas"
            )
    if any(sign in header for sign in DELIMITERS):
        raise InputError(
            f"a table must be split by one delimiter, however {str(file)!r} gives the single column {header!r};"
            " check its quotes and save it with commas"
        )


def _other_width(line: int, fields: int, width: int, delimiter: str, file: Path) -> InputError:
    titled = "delete the lines above the header, such as a title, or " if width == 1 else ""
    return InputError(
        f"every line must have as many fields as the header, however line {line} of {str(file)!r} has {fields} where"
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


def _check_escapes(text: str, delimiter: str, file: Path, before: int) -> None:
    """Refuse quotes that a backslash is meant to escape: CSV doubles them, and would give other cells in silence."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for _ in reader:
            pass
    except csv.Error:
        line = reader.line_num + before
        raise InputError(
            f"a quote within quotes must be doubled, however line {line} of {str(file)!r} escapes it with a backslash; "
            'write "" in its place'
        ) from None
