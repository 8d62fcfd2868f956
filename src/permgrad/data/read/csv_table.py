"""From the text of a CSV file to columns of text: its delimiter, the names of its columns, and the line of each row."""

from __future__ import annotations

import csv
import io
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from permgrad.base.arrays import Integers
from permgrad.base.errors import InputError, by_count, counted, listed, warn_user
from permgrad.data.read.around import lines_above, totals_said
from permgrad.data.read.header import COMMENTS, DELIMITERS, LINE, first_records, is_number, sniff_delimiter
from permgrad.data.read.reading import MISSING_ANYWAY, Reading
from permgrad.data.types.identifiers import YEARS

_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_UNCOMMON = (":", "^", "~", "\x01", "/", "!", "#", "@", "*", "&", "%", "=", "§", "¢", "¦", "¬", " ")
#: So many years a table may hold. More rows than that are numbered by their column, though the numbers may be years.
_MOST_YEARS = 300
#: Bytes of a text without quotes that are looked at in one go.
_PART_BYTES = 2**22
#: Records of a text with quotes that are held as Python's texts.
_CHUNK_ROWS = 16_384

#: The line of each row, None where it is not known, and the columns.
_Rows = tuple[Integers | None, list[pa.ChunkedArray]]


@dataclass(frozen=True)
class TextTable:
    """A CSV file as text: cells as written, without leading blanks, and the line of each row if known.

    So many lines ``above`` the header were left out. Whoever reads the columns takes them
    out of ``cells``, so that no cell is held twice.
    """

    cells: dict[str, pa.ChunkedArray]
    rows: int
    delimiter: str
    lines: Integers | None
    notes: tuple[str, ...]
    has_hexadecimal: bool
    above: int = 0


def parse_csv(text: str, file: Path, reading: Reading) -> TextTable:
    """Return the cells of a CSV file as text. Unnamed columns without information are left out."""
    # The line ``sep=;``, which Excel understands, names the delimiter.
    first = text[: text.find("\n") + 1]
    separator = first.strip('\r\n"')
    has_separator = separator[:4].lower() == "sep=" and separator[4:] in DELIMITERS
    text, delimiter = (text[len(first) :], separator[4:]) if has_separator else (text, sniff_delimiter(text))
    above, start, titles = lines_above(text)
    if titles:
        text = text[start:]
        delimiter = delimiter if has_separator else sniff_delimiter(text)
    source = _Source(text, delimiter, file, int(has_separator) + above)
    records = first_records(text, delimiter)
    if not records:
        raise _too_long(source)
    written = [name.strip() for name in records[0]]
    _check_header(written, records, str(file))
    header, notes = _unique_names(written, file, reading.classes)
    notes = [titles, *notes] if titles else notes
    is_plain = '"' not in text and text.count("\r") == text.count("\r\n")
    has_hexadecimal = "0x" in text or "0X" in text
    del text  # from here on only the source has it
    lines, cells = (source.plain_rows if is_plain else source.quoted_rows)(len(header))
    if labels := [name for name in written if is_number(name)]:
        _warn_of_no_header(written, labels, file)
    rows, columns = len(cells[0]), dict(zip(header, cells, strict=True))
    notes += totals_said(columns)
    unnamed = [name for name, label in zip(header, written, strict=True) if not label]
    if unnamed:
        notes += _leave_out(columns, unnamed, reading)
    return TextTable(columns, rows, delimiter, lines, tuple(notes), has_hexadecimal, above)


def _too_long(source: _Source) -> InputError:
    """Return the error for a first field that is longer than any may be."""
    text, line = io.StringIO(source.text, newline=""), 0
    reader = csv.reader(text, delimiter=source.delimiter, skipinitialspace=True)
    with suppress(csv.Error):
        for _ in reader:
            line = reader.line_num
    where = f"A field in line {line + 1 + source.before} of {str(source.file)!r}"
    problem = f"{where} has more than {csv.field_size_limit():,} characters"
    return InputError(problem, hint="Check its quotes (one may not be closed), or shorten it.", code="PG011")


# ---- rows -----------------------------------------------------------------------------------------------------------
@dataclass
class _Source:
    """The text of a CSV file, which reading its rows takes out, and how many lines stand before it."""

    text: str
    delimiter: str
    file: Path
    before: int

    def plain_rows(self, width: int) -> _Rows:
        """Return lines and columns of a text without quotes."""
        content, self.text = self.text.encode("utf-8"), ""
        lines, start, longest = self._checked_lines(content, width)
        names = [str(place) for place in range(width)]
        if start is None:
            return lines, [pa.chunked_array([], pa.string()) for _ in names]
        has_blanks = f"{self.delimiter} ".encode() in content or b"\n " in content
        table = pa.csv.read_csv(
            pa.BufferReader(pa.py_buffer(content).slice(start)),
            read_options=pa.csv.ReadOptions(
                use_threads=False, column_names=names, block_size=max(2**22, 2 * longest + 2)
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=self.delimiter, quote_char=False, invalid_row_handler=lambda _: "skip"
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
        del content
        if has_blanks:
            table = pa.table([pc.utf8_ltrim(column, " ") for column in table.columns], names=names)
        if width == 1:
            # No reader can tell a line of blanks from a cell of blanks.
            table = table.filter(pc.not_equal(pc.utf8_trim_whitespace(table.column(0)), ""))
        # Better no line than a wrong one.
        return lines if len(lines) == len(table) else None, list(table.columns)

    def _checked_lines(self, content: bytes, width: int) -> tuple[Integers, int | None, int]:
        """Return the lines of the rows, where the first row begins, and the longest line. Refuse lines of other width.

        Blank lines are skipped. A line may end with a carriage return. A part of the text is looked at after another.
        """
        blank_signs = np.array([ord(sign) for sign in "\r \t" if sign != self.delimiter], dtype=np.uint8)
        begin, line, longest, first, blanks = 0, 1 + self.before, 0, list[int](), list[int]()
        while begin < len(content):
            end = content.find(b"\n", min(begin + _PART_BYTES, len(content) - 1)) + 1 or len(content)
            signs = np.frombuffer(content, dtype=np.uint8, count=end - begin, offset=begin)
            ends = np.flatnonzero(signs == ord("\n"))
            ends = np.append(ends, len(signs)) if len(ends) == 0 or ends[-1] != len(signs) - 1 else ends
            starts = np.append(0, ends[:-1] + 1)
            places = np.flatnonzero(signs == ord(self.delimiter))
            fields = np.searchsorted(places, ends) - np.searchsorted(places, starts) + 1
            lengths = ends - starts
            blank = (lengths == 0) | ((lengths == 1) & np.isin(signs[np.minimum(starts, len(signs) - 1)], blank_signs))
            bad = np.flatnonzero((fields != width) & ~blank)
            if len(bad):
                raise self.other_width(int(bad[0]) + line, int(fields[bad[0]]), width)
            rows = np.flatnonzero(~blank)
            first += (starts[rows[:2]] + begin).tolist() if len(first) < 2 else []
            blanks += (np.flatnonzero(blank) + line).tolist()
            begin, line, longest = end, line + len(ends), max(longest, int(lengths.max()))
        lines: Any = np.arange(1 + self.before, line, dtype=np.int32 if line < 2**31 else np.int64)
        lines = np.delete(lines, np.array(blanks) - lines[0]) if blanks else lines
        return lines[1:], first[1] if len(first) > 1 else None, longest

    def quoted_rows(self, width: int) -> _Rows:
        """Return the same for a text with quotes, in which a row may have several lines."""
        if '\\"' in self.text:
            self._check_escapes()
        lines = array("i" if len(self.text) < 2**31 else "q")
        columns: list[list[pa.Array]] = [[] for _ in range(width)]
        records = self._wholefirst_records(width)
        while True:
            # One flat list: thousands of small ones would keep the garbage collector busy.
            cells: list[str] = []
            for line, record in islice(records, _CHUNK_ROWS):
                lines.append(line)
                cells += record
            if not cells:
                # The first record is the header.
                return np.frombuffer(lines, dtype=lines.typecode)[1:], [
                    pa.chunked_array(arrays).slice(1) for arrays in columns
                ]
            for place, arrays in enumerate(columns):
                arrays.append(pa.array(cells[place::width], pa.string()))

    def _wholefirst_records(self, width: int) -> Iterator[tuple[int, list[str]]]:
        """Yield each record that is not blank, with the line that it begins in."""
        # An open quote at the end of the text swallows this line, which can be no cell.
        end = "\0"
        lines = chain(filter(None, (line[0] for line in LINE.finditer(self.text))), [end])
        reader = csv.reader(lines, delimiter=self.delimiter, skipinitialspace=True)
        first = 1 + self.before
        try:
            for record in reader:
                last = reader.line_num + self.before
                # Nearly all records: as wide as the header, in one line, and not the end.
                if len(record) == width and last == first and record[0] != end:
                    yield first, record
                elif record == [end]:
                    return
                elif record:
                    is_open = record[-1].endswith(end)
                    if len(record) != width:
                        self._check_quotes([field.removesuffix(end) for field in record], first, last - is_open, width)
                        raise self.other_width(last - is_open, len(record), width)
                    if is_open:
                        raise csv.Error("a quote is never closed")  # noqa: TRY301 — as Python's reader says it
                    yield first, record
                first = last + 1
        except csv.Error as error:
            problem = f"{str(self.file)!r} is not well-formed CSV from line {first}: {error}"
            hint = "Check its quotes (one may not be closed), or correct the line."
            raise InputError(problem, hint=hint, code="PG011") from None

    def other_width(self, line: int, fields: int, width: int) -> InputError:
        """Return the error for a line of more or fewer fields than the header."""
        titled = "delete the lines above the header, such as a title, or " if width == 1 else ""
        problem = (
            f"Line {line} of {str(self.file)!r} has {counted(fields, 'field')} where the header has {width} "
            f"(delimiter: {_NAMES[self.delimiter]})"
        )
        return InputError(problem, hint=f"{titled}correct the line or quote its text.", code="PG011")

    def _check_quotes(self, record: list[str], first: int, last: int, width: int) -> None:
        """Refuse a record with a field of several whole lines: its quote is probably not closed."""
        for place, field in enumerate(record):
            # Only quotes let a field continue in the next line, and a text of several lines hardly looks like fields.
            if self.delimiter in field.partition("\n")[2]:
                line = first + sum(before.count("\n") for before in record[:place])
                problem = (
                    f"A quote in line {line} of {str(self.file)!r} is probably not closed: its field ends in line "
                    f"{last} and "
                    f"makes {counted(len(record), 'field')} where the header has {width} "
                    f"(delimiter: {_NAMES[self.delimiter]})"
                )
                raise InputError(problem, hint="Close the quote or remove it.", code="PG011")

    def _check_escapes(self) -> None:
        """Refuse quotes that a backslash is meant to escape: CSV doubles them, and would give other cells."""
        lines = io.StringIO(self.text, newline="")
        reader = csv.reader(lines, delimiter=self.delimiter, skipinitialspace=True, strict=True)
        try:
            for _ in reader:
                pass
        except csv.Error:
            problem = f"Line {reader.line_num + self.before} of {str(self.file)!r} escapes a quote with a backslash"
            raise InputError(problem, hint='Write "" instead.', code="PG011") from None


# ---- names ----------------------------------------------------------------------------------------------------------
def _check_header(header: list[str], records: list[list[str]], file: str) -> None:
    """Refuse lines that are no header: comments, a title, delimiters where none belong."""
    width = len(header)
    if header[0].startswith(COMMENTS) and (width == 1 or width < len(records[-1])):
        problem = f"{file!r} begins with the comment {header[0][:40]!r} instead of the names of its columns"
        raise InputError(problem, hint="Remove such lines.", code="PG011")
    if width == 1:
        _check_single(header[0], [record[0] for record in records], file)
    empty = [place for place, name in enumerate(header, start=1) if not name]
    if not empty:
        return
    # Spreadsheets pad lines with delimiters, which make columns without name and values.
    filled = [place for place in empty if any("".join(record[place - 1 : place]) for record in records)]
    fix = ""
    if empty == list(range(2, width, 2)) and not any(any(record[1::2]) for record in records):
        fix = "two delimiters may stand in the place of one, take one off"
    # A title, padded with delimiters by a spreadsheet: text in one cell, hardly any beside it.
    elif (filled != [1] and 2 * len(filled) >= width) or len(empty) == width:
        fix = "name it, or delete the lines above the header, such as a title"
    if fix:
        raise InputError(f"Column {empty[0]} of {file!r} has no name ({len(empty)} such columns in all)", fix, "PG011")


def _check_single(header: str, cells: list[str], file: str) -> None:
    """Refuse a table of one column that another sign seems to part."""
    for sign in _UNCOMMON:
        counts = {cell.count(sign) for cell in cells}
        # A space is common inside a name: it must stand in every line, as often as in the header.
        if len(cells) > 1 and len(counts) == 1 and counts.pop() > 0:
            name = {" ": "a space", "\x01": "Ctrl-A"}.get(sign, repr(sign))
            problem = (
                f"The delimiter must be comma, semicolon, tab or pipe, but {file!r} seems to use {name}: "
                f"its only column would be {header!r}"
            )
            raise InputError(problem, hint="Save it again with commas.", code="PG011")
    if any(sign in header for sign in DELIMITERS):
        problem = f"No delimiter splits {file!r}: its only column would be {header!r}"
        raise InputError(problem, hint="Check its quotes and save it with commas.", code="PG011")


def _unique_names(written: list[str], file: Path, once: Collection[str]) -> tuple[list[str], list[str]]:
    """Return a name for each column, all different, and notes on those that are repeated."""
    named = [name or f"column {place}" for place, name in enumerate(written, start=1)]
    repeated = {name: count for name, count in Counter(filter(None, written)).items() if count > 1}
    if repeated and all(map(is_number, written)):
        problem = f"Column names must be unique, but {str(file)!r} begins with numbers, some of them repeated"
        raise InputError(problem, hint="Add a line with names.", code="PG008")
    for name in once:
        if name in repeated:
            problem = (
                f"Column {name!r} is in the header of {str(file)!r} {repeated[name]} times, so the target is unclear"
            )
            raise InputError(problem, hint="Rename or delete the others.", code="PG008")
    if len(set(named)) == len(named):
        return named, []
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


def _leave_out(columns: dict[str, pa.ChunkedArray], unnamed: Sequence[str], reading: Reading) -> list[str]:
    """Remove unnamed columns without information, unless they are requested. Return notes on them."""
    asked_for = {*reading.named, *reading.text}
    in_doubt = [name for name in unnamed if name not in asked_for]
    first, nothing = next(iter(columns), None), pa.array(["", *MISSING_ANYWAY.difference(reading.not_na)])
    numbering = [name for name in in_doubt if _only_numbers_rows(columns[name], name == first)]
    blank = [name for name in in_doubt if pc.all(pc.is_in(columns[name], nothing)).as_py()]
    for name in {*numbering, *blank}:
        del columns[name]
    sentences = []
    if numbering:
        why = by_count(len(numbering), "it has no name and only numbers", "they have no names and only number")
        sentences.append(f"left out, because {why} the rows: {listed(numbering)}")
    if blank:
        why = by_count(len(blank), "it has no name and", "they have no names and")
        sentences.append(f"left out, because {why} no values: {listed(blank)}")
    if by_place := [name for name in unnamed if name in columns]:
        sentences.append(f"columns without a name are called by their place: {listed(by_place)}")
    return sentences


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


def _warn_of_no_header(header: list[str], labels: list[str], file: Path) -> None:
    """Warn if names look like the numbers of a row. Rising numbers (years, pixels, wavelengths) are accepted."""
    numbers, alike = list(map(float, labels)), len({"." in label for label in labels}) == 1
    rising = alike and len(numbers) > 1 and all(one < two for one, two in pairwise(numbers))
    if len(header) > 1 and 2 * len(numbers) >= len(header) and not rising:
        more = ", …" if len(header) > 4 else ""
        warn_user(
            f"The first line of {str(file)!r} looks like a row ({', '.join(map(repr, header[:4]))}{more}), "
            "but is read as the names of the columns",
            "Add a line with names.",
        )
