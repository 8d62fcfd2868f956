"""From the text of a CSV file to columns of text: its delimiter, the names of its
columns, and the line of each row.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from permgrad.base.arrays import Booleans, Integers
from permgrad.base.errors import (
    Fault,
    InputError,
    by_count,
    counted,
    listed,
    refusing,
    warn_user,
)
from permgrad.data.read.header import (
    COMMENTS,
    DELIMITERS,
    LINE,
    first_records,
    is_number,
    sniff_delimiter,
)
from permgrad.data.read.odd_rows import odd_lines
from permgrad.data.read.reading import MISSING_ANYWAY, Reading
from permgrad.data.types.identifiers import YEARS

_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_UNCOMMON = (
    ":",
    "^",
    "~",
    "\x01",
    "/",
    "!",
    "#",
    "@",
    "*",
    "&",
    "%",
    "=",
    "§",
    "¢",
    "¦",
    "¬",
    " ",
)
#: So many years a table may hold. More rows than that are numbered by their column,
#: though the numbers may be years.
_MOST_YEARS = 300
#: Bytes that are read in one go. A row that is longer needs more.
_BLOCK_BYTES = (2**22, 2**27, 2**31 - 1)
#: The last cell of what is read: no text holds it.
_END = "\0"
#: Two header rows stand above at least so many lines in all.
_FEWEST_BELOW = 6
_LINE_ENDS = re.compile(r"\r\n?|\n")


@dataclass(frozen=True)
class TextTable:
    """A CSV file as text: cells as written, without leading blanks, and the line of
    each row if known.

    So many lines ``above`` the header were left out. Whoever reads the columns takes
    them out of ``cells``, so that no cell is held twice. ``cautions`` are the notes
    that a page has, too.
    """

    cells: dict[str, pa.ChunkedArray]
    rows: int
    delimiter: str
    lines: Integers | None
    notes: tuple[str, ...]
    has_hexadecimal: bool
    above: int = 0
    cautions: tuple[str, ...] = ()


def _named_separator(text: str) -> str | None:
    """Return the delimiter that the line ``sep=;``, which Excel understands, names."""
    line = text[: text.find("\n") + 1].strip('\r\n"')
    if line[:4].lower() == "sep=" and line[4:] in DELIMITERS:
        return line[4:]
    return None


def _places_below(sheet_rows: Integers, above: int, rows: int) -> Integers | None:
    """Return the row in the sheet of each row of the table, if they are as many."""
    if len(sheet_rows) != above + rows:
        return None
    return sheet_rows[above:]


def _some(lines: Integers | None, rows: slice | Booleans) -> Integers | None:
    """Return the lines of some rows, if lines are known."""
    if lines is None:
        return None
    return lines[rows]


def parse_csv(
    text: str, file: Path, reading: Reading, line_numbers: Integers | None = None
) -> TextTable:
    """Return the cells of a CSV file as text.

    Unnamed columns without information are left out.

    ``line_numbers``: of the text of a sheet, the row in the sheet of each line but the
    first.
    """
    source, above, titles = _opened(text, file)
    del text  # from here on only the source has it
    delimiter = source.delimiter
    records = first_records(source.text, delimiter)
    if not records:
        raise _too_long(source)
    joined = _two_headers(records)
    written = joined or [name.strip() for name in records[0]]
    _check_header(written, records, str(file))
    header, notes = _unique_names(written, file, reading.classes)
    if titles:
        notes = [titles, *notes]
    has_hexadecimal = "0x" in source.text or "0X" in source.text
    of_file, cells = source.rows(len(header))
    lines: Integers | None = of_file
    if labels := [number_name for number_name in written if is_number(number_name)]:
        _warn_of_no_header(written, labels, file)
    row_count = len(cells[0])
    columns = dict(zip(header, cells, strict=True))
    if line_numbers is not None:
        lines = _places_below(line_numbers, above, row_count)
    if joined is not None:
        columns = {
            column_name: column.slice(1) for column_name, column in columns.items()
        }
        lines = _some(lines, slice(1, None))
        row_count -= 1
        joined_names = listed(joined, 3, show=repr)
        notes = [*notes, f"the names of two header rows are joined: {joined_names}"]
    odd_rows = odd_lines(columns, written, lines, row_count)
    if odd_rows.rows.any():
        is_kept = pa.array(~odd_rows.rows)
        columns = {
            kept_name: column.filter(is_kept) for kept_name, column in columns.items()
        }
        lines = _some(lines, ~odd_rows.rows)
        row_count -= int(odd_rows.rows.sum())
    notes += [*odd_rows.notes, *odd_rows.cautions]
    unnamed = []
    for column_name, label in zip(header, written, strict=True):
        if not label:
            unnamed.append(column_name)
    if unnamed:
        notes += _leave_out(columns, unnamed, reading)
    return TextTable(
        columns,
        row_count,
        delimiter,
        lines,
        tuple(notes),
        has_hexadecimal,
        above,
        odd_rows.cautions,
    )


class _Opened(NamedTuple):
    """The beginning of a file.

    Attributes:
        source: The text from the header on.
        above: How many lines stand above it.
        titles: A note that names them, or nothing.
    """

    source: _Source
    above: int
    titles: str


def _opened(text: str, file: Path) -> _Opened:
    """Find the header and the delimiter of a file."""
    separator = _named_separator(text)
    if separator is not None:
        text = text[text.find("\n") + 1 :]
    above, start, titles = _lines_above(text)
    if titles:
        text = text[start:]
    delimiter = separator or sniff_delimiter(text)
    before = int(separator is not None) + above
    return _Opened(_Source(text, delimiter, file, before), above, titles)


def _two_headers(records: list[list[str]]) -> list[str] | None:
    """Return the joined names of two header rows, of which the upper ones stand above
    several columns. None: it is one.
    """
    if len(records) < _FEWEST_BELOW:
        return None
    upper, lower = (
        [header_cell.strip() for header_cell in record] for record in records[:2]
    )
    names = [upper_name for upper_name in upper if upper_name]
    is_alike = len(set(names)) == len(upper) or len(upper) != len(lower) or not names
    if is_alike or len(upper) < 3 or not all(lower) or any(map(is_number, lower)):
        return None
    below = [record for record in records[2:] if len(record) == len(lower)]
    numbers = []
    for column_index in range(len(lower)):
        numbers.append(sum(is_number(record[column_index].strip()) for record in below))
    if 2 * sum(2 * count > len(below) for count in numbers) < len(lower):
        return None
    last_title = ""
    joined = list[str]()
    for above, lower_name in zip(upper, lower, strict=True):
        last_title = above or last_title
        joined.append(f"{last_title} {lower_name}".strip())
    if len(set(joined)) == len(joined):
        return joined
    return None


def _too_long(source: _Source) -> InputError:
    """Return the error for a first field that is longer than any may be."""
    text_stream = io.StringIO(source.text, newline="")
    line_number = 0
    reader = csv.reader(text_stream, delimiter=source.delimiter, skipinitialspace=True)
    with suppress(csv.Error):
        for _ in reader:
            line_number = reader.line_num
    where = f"A field in line {line_number + 1 + source.before} of {str(source.file)!r}"
    problem = f"{where} has more than {csv.field_size_limit():,} characters"
    return InputError(
        problem,
        hint="Check its quotes (one may not be closed), or shorten it.",
        code="PG011",
    )


# ---- rows ----------------------------------------------------------------------------
@dataclass
class _Source:
    """The text of a CSV file, which reading its rows takes out, and how many lines
    stand before it.
    """

    text: str
    delimiter: str
    file: Path
    before: int

    def rows(self, width: int) -> tuple[Integers, list[pa.ChunkedArray]]:
        """Return the line of each row and the columns.

        Blank lines are skipped, those of another width are refused.
        """
        if '\\"' in self.text:
            self._check_escapes()
        content: bytes | bytearray = self.text.encode("utf-8")
        self.text = ""
        blanks = (
            b"\n\n",
            b"\n\r",
            b"\r\r",
            b"\n ",
            b"\r ",
            b"\n\t",
            f"{self.delimiter} ".encode(),
        )
        if any(blank_sign in content for blank_sign in blanks):
            content = _without_blanks(content, self.delimiter)
        has_quotes = b'"' in content
        # An open quote swallows this last row.
        if content[-1:] in (b"\n", b"\r"):
            content += b""
        else:
            content += b"\n"
        content += f"{self.delimiter * (width - 1)}{_END}".encode()
        table, skipped, odd_row = _read(content, self.delimiter, width)
        del content
        records = len(table) + len(skipped)
        record_positions = np.delete(np.arange(records), skipped)
        heights = np.ones(records, dtype=np.int32)
        for column in table.columns if has_quotes else ():
            heights[record_positions] += pc.count_substring_regex(
                column, _LINE_ENDS.pattern
            ).to_numpy()
        lines: Integers = np.cumsum(heights, dtype=np.int32) - heights + 1 + self.before
        if odd_row is not None:
            raise self._other_width(int(lines[odd_row.number - 1]), odd_row, width)
        if table.column(width - 1)[-1].as_py() != _END:
            problem = (
                f"{str(self.file)!r} is not well-formed CSV from line "
                f"{lines[record_positions[-1]]}"
            )
            raise InputError(
                f"{problem}: a quote is never closed",
                hint="Check its quotes (one may not be closed), or correct the line.",
                code="PG011",
            )
        # Neither the header nor the end, nor the blank lines of a table of one column.
        kept_rows = np.arange(1, len(table) - 1)
        if width == 1:
            column = table.column(0)
            is_row = pc.or_(
                pc.equal(column, ""), pc.not_equal(pc.utf8_trim_whitespace(column), "")
            ).to_numpy()
            kept_rows = kept_rows[is_row[1:-1]]
            table = table.take(kept_rows)
        else:
            table = table.slice(1, len(table) - 2)
        return lines[record_positions[kept_rows]], list(table.columns)

    def _other_width(self, line: int, row: pa.csv.InvalidRow, width: int) -> InputError:
        """Return the error for a row of more or fewer fields than the header.

        Maybe one of its quotes is not closed.
        """
        row_text = row.text.removesuffix(self.delimiter * (width - 1) + _END).rstrip(
            "\r\n"
        )
        last_line = line + len(_LINE_ENDS.findall(row_text))
        fields = f"{counted(row.actual_columns, 'field')} where the header has {width}"
        fields = f"{fields} (delimiter: {_NAMES[self.delimiter]})"
        # Only quotes let a field continue in the next line, and a text of several lines
        # hardly looks like fields.
        if quote := re.search(
            rf'"[^"]*[\r\n][^"]*{re.escape(self.delimiter)}', row_text
        ):
            line += len(_LINE_ENDS.findall(row_text, 0, quote.start()))
            problem = (
                f"A quote in line {line} of {str(self.file)!r} is probably not "
                f"closed: its field ends in line {last_line}"
            )
            return InputError(
                f"{problem} and makes {fields}",
                hint="Close the quote or remove it.",
                code="PG011",
            )
        if width == 1:
            titled = "delete the lines above the header, such as a title, or "
        else:
            titled = ""
        problem = f"Line {last_line} of {str(self.file)!r} has {fields}"
        return InputError(
            problem, hint=f"{titled}correct the line or quote its text.", code="PG011"
        )

    def _check_escapes(self) -> None:
        """Refuse quotes that a backslash is meant to escape: CSV doubles them, and
        would give other cells.
        """
        lines = io.StringIO(self.text, newline="")
        reader = csv.reader(
            lines, delimiter=self.delimiter, skipinitialspace=True, strict=True
        )
        try:
            for _ in reader:
                pass
        except csv.Error:
            problem = (
                f"Line {reader.line_num + self.before} of {str(self.file)!r} "
                "escapes a quote with a backslash"
            )
            raise InputError(problem, hint='Write "" instead.', code="PG011") from None


def _without_blanks(content: bytes | bytearray, delimiter: str) -> bytearray:
    """Return a text whose cells have no blanks in front, but within quotes, and whose
    blank lines are one blank.
    """
    delimiter_pattern = re.escape(delimiter).encode()
    if delimiter == "\t":
        tab_pattern = b""
    else:
        tab_pattern = rb"\t"
    blank_line = rb"(?<![^\r\n])(?!(?<=\r)\n)[ %b]*(?=[\r\n])" % tab_pattern
    field = rb"(?<![^%b\r\n])" % delimiter_pattern
    pattern = re.compile(
        rb'(%b)|%b *("(?:[^"]+|"")*+")|%b +' % (blank_line, field, field)
    )
    without = bytearray()
    begin = 0
    for match in pattern.finditer(content):
        without += content[begin : match.start()]
        without += match[2] or (b"" if match[1] is None else b" ")
        begin = match.end()
    without += content[begin:]
    return without


class _Parsed(NamedTuple):
    """The rows of a text.

    Attributes:
        table: Rows of the table's width, from the header on, as texts.
        skipped: Places of all other rows among all rows.
        odd_row: The first of these that is not blank. None: all are blank.
    """

    table: pa.Table
    skipped: list[int]
    odd_row: pa.csv.InvalidRow | None


def _read(content: bytes | bytearray, delimiter: str, width: int) -> _Parsed:
    """Return the rows of a text, from its header on."""
    names = list(map(str, range(width)))
    for block_size in _BLOCK_BYTES:
        skipped = list[int]()
        odd_rows = list[pa.csv.InvalidRow]()

        def skip(
            row: pa.csv.InvalidRow,
            skipped: list[int] = skipped,
            odd: list[pa.csv.InvalidRow] = odd_rows,
        ) -> str:
            skipped.append(row.number - 1)
            if not odd and (row.actual_columns > 1 or row.text.strip()):
                odd.append(row)
            return "skip"

        try:
            table = pa.csv.read_csv(
                pa.BufferReader(content),
                read_options=pa.csv.ReadOptions(
                    use_threads=False, column_names=names, block_size=block_size
                ),
                parse_options=pa.csv.ParseOptions(
                    delimiter=delimiter,
                    newlines_in_values=True,
                    ignore_empty_lines=False,
                    invalid_row_handler=skip,
                ),
                convert_options=pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            # A row is longer than a block.
            if block_size == _BLOCK_BYTES[-1]:
                raise
        else:
            return _Parsed(table, skipped, next(iter(odd_rows), None))
    raise AssertionError


# ---- names ---------------------------------------------------------------------------
@refusing
def _check_header(
    header: list[str], records: list[list[str]], file: str
) -> Iterator[Fault]:
    """Refuse lines that are no header: comments, a title, delimiters where none
    belong.
    """
    width = len(header)
    if header[0].startswith(COMMENTS) and (width == 1 or width < len(records[-1])):
        problem = (
            f"{file!r} begins with the comment {header[0][:40]!r} instead of the names "
            "of its columns"
        )
        yield problem, "Remove such lines.", "PG011"
    if width == 1:
        _check_single(header[0], [record[0] for record in records], file)
    empty = [
        column_number
        for column_number, header_name in enumerate(header, start=1)
        if not header_name
    ]
    if not empty:
        return
    # Spreadsheets pad lines with delimiters, which make columns without name and
    # values.
    filled = [
        empty_number
        for empty_number in empty
        if any("".join(record[empty_number - 1 : empty_number]) for record in records)
    ]
    correction = ""
    if empty == list(range(2, width, 2)) and not any(
        any(record[1::2]) for record in records
    ):
        correction = "two delimiters may stand in the place of one, take one off"
    # A title, padded with delimiters by a spreadsheet: text in one cell, hardly any
    # beside it.
    elif (filled != [1] and 2 * len(filled) >= width) or len(empty) == width:
        correction = "name it, or delete the lines above the header, such as a title"
    if correction:
        yield (
            (
                f"Column {empty[0]} of {file!r} has no name ({len(empty)} such columns "
                "in all)"
            ),
            correction,
            "PG011",
        )


@refusing
def _check_single(header: str, cells: list[str], file: str) -> Iterator[Fault]:
    """Refuse a table of one column that another sign seems to part."""
    for uncommon_sign in _UNCOMMON:
        counts = {cell_text.count(uncommon_sign) for cell_text in cells}
        # A space is common inside a name: it must stand in every line, as often as in
        # the header.
        if len(cells) > 1 and len(counts) == 1 and counts.pop() > 0:
            sign_name = {" ": "a space", "\x01": "Ctrl-A"}.get(
                uncommon_sign, repr(uncommon_sign)
            )
            problem = (
                f"The delimiter must be comma, semicolon, tab or pipe, but {file!r} "
                f"seems to use {sign_name}: its only column would be {header!r}"
            )
            yield problem, "Save it again with commas.", "PG011"
    if any(delimiter in header for delimiter in DELIMITERS):
        problem = f"No delimiter splits {file!r}: its only column would be {header!r}"
        yield problem, "Check its quotes and save it with commas.", "PG011"


def _unique_names(
    written: list[str], file: Path, once: Collection[str]
) -> tuple[list[str], list[str]]:
    """Return a name for each column, all different, and notes on those that are
    repeated.
    """
    named = []
    for column_number, header_name in enumerate(written, start=1):
        named.append(header_name or f"column {column_number}")
    repeated = {}
    for repeated_name, count in Counter(filter(None, written)).items():
        if count > 1:
            repeated[repeated_name] = count
    if repeated and all(map(is_number, written)):
        problem = (
            f"Column names must be unique, but {str(file)!r} begins with "
            "numbers, some of them repeated"
        )
        raise InputError(problem, hint="Add a line with names.", code="PG008")
    for unique_name in once:
        if unique_name in repeated:
            problem = (
                f"Column {unique_name!r} is in the header of {str(file)!r} "
                f"{repeated[unique_name]} times, so the target is unclear"
            )
            raise InputError(problem, hint="Rename or delete the others.", code="PG008")
    if len(set(named)) == len(named):
        return named, []
    header = numbered(named)
    if not repeated:
        return header, []
    example = next(iter(repeated))
    second = [
        new_name
        for new_name, old_name in zip(header, named, strict=True)
        if old_name == example
    ][1]
    names = listed(list(repeated), show=repr)
    return header, [
        (
            f"columns of the same name are numbered: {names} (the second {example!r} "
            f"is called {second!r})"
        )
    ]


def numbered(names: Sequence[str]) -> list[str]:
    """Return names of which each that occurs again gets a number behind it, as in
    pandas.
    """
    taken_names = set(names)
    times = Counter[str]()
    different = []
    for column_name in names:
        numbered_name = column_name
        while times[column_name] and numbered_name in taken_names:
            numbered_name = f"{column_name}.{times[column_name]}"
            times[column_name] += numbered_name in taken_names
        times[column_name] += 1
        taken_names.add(numbered_name)
        different.append(numbered_name)
    return different


def _leave_out(
    columns: dict[str, pa.ChunkedArray], unnamed: Sequence[str], reading: Reading
) -> list[str]:
    """Remove unnamed columns without information, unless they are requested.

    Return notes on them.
    """
    asked_for = {*reading.named, *reading.text}
    in_doubt = [
        unnamed_column for unnamed_column in unnamed if unnamed_column not in asked_for
    ]
    first = next(iter(columns), None)
    nothing = pa.array(["", *MISSING_ANYWAY.difference(reading.not_na)])
    numbering = [
        doubtful_name
        for doubtful_name in in_doubt
        if _only_numbers_rows(columns[doubtful_name], doubtful_name == first)
    ]
    blank = [
        doubtful_name
        for doubtful_name in in_doubt
        if pc.all(pc.is_in(columns[doubtful_name], nothing)).as_py()
    ]
    for dropped_name in {*numbering, *blank}:
        del columns[dropped_name]
    sentences = []
    if numbering:
        explanation = by_count(
            len(numbering),
            "it has no name and only numbers",
            "they have no names and only number",
        )
        sentences.append(
            f"left out, because {explanation} the rows: {listed(numbering)}"
        )
    if blank:
        explanation = by_count(
            len(blank), "it has no name and", "they have no names and"
        )
        sentences.append(f"left out, because {explanation} no values: {listed(blank)}")
    if by_place := [
        remaining_name for remaining_name in unnamed if remaining_name in columns
    ]:
        sentences.append(
            f"columns without a name are called by their place: {listed(by_place)}"
        )
    return sentences


def _only_numbers_rows(cells: pa.ChunkedArray, is_first: bool) -> bool:
    """Return whether a column without a name numbers the rows: as ``to_csv()`` does in
    front, also of drawn rows.
    """
    try:
        numbers = pc.cast(cells, pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        return False
    if len(np.unique(numbers)) < len(numbers) or numbers.min(initial=0) < 0:
        return False
    steps = bool((np.diff(numbers) == 1).all())
    are_years = (
        bool(((numbers >= YEARS[0]) & (numbers <= YEARS[1])).all())
        and len(numbers) < _MOST_YEARS
    )
    return (steps and numbers[:1].tolist() in ([0], [1])) or (
        is_first and not are_years
    )


def _warn_of_no_header(header: list[str], labels: list[str], file: Path) -> None:
    """Warn if names look like the numbers of a row.

    Rising numbers (years, pixels, wavelengths) are accepted.
    """
    numbers = list(map(float, labels))
    alike = len({"." in label for label in labels}) == 1
    rising = (
        alike
        and len(numbers) > 1
        and all(
            lower_number < higher_number
            for lower_number, higher_number in pairwise(numbers)
        )
    )
    if len(header) > 1 and 2 * len(numbers) >= len(header) and not rising:
        if len(header) > 4:
            further_text = ", …"
        else:
            further_text = ""
        warn_user(
            f"The first line of {str(file)!r} looks like a row "
            f"({', '.join(map(repr, header[:4]))}{further_text}), "
            "but is read as the names of the columns",
            "Add a line with names.",
        )


#: Lines and characters that are searched for a header.
_MOST_LINES = 20
_HEAD = 2**18
_NUMBER = re.compile(r"[-+(]?\W{0,2}\d[\d.,' ]*\W{0,2}")


def _lines_above(text: str) -> tuple[int, int, str]:
    """Return how many lines stand above the header, where it begins, and a note that
    names them, or nothing.

    Each of them has text in at most half of the columns, or is a comment. The header is
    as wide as most lines, and has a name for nearly each column, no name twice and no
    number.
    """
    text_start = text[:_HEAD]
    titles = list[str]()
    delimiter, width = _parted(text_start)
    for count, start, record in (
        _first_records(text_start, delimiter) if width > 1 else ()
    ):
        cells = [cell_text.strip() for cell_text in record]
        filled = [filled_cell for filled_cell in cells if filled_cell]
        is_comment = text_start.startswith(COMMENTS, start) and len(cells) < width
        if not is_comment and len(filled) > width // 2:
            if not titles or len(cells) != width or not _are_names(filled, width):
                break
            left_out_lines = (
                f"{counted(len(titles), 'line')} above the header "
                f"{by_count(len(titles), 'is', 'are')} left out"
            )
            return count, start, f"{left_out_lines}: {listed(titles, 3, show=repr)}"
        if filled:
            titles += [" ".join(" ".join(filled).split())[:60]]
    return 0, 0, ""


def _first_records(head: str, delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yield how many lines stand above each of the first records, where it begins, and
    its cells.

    A quoted cell may have several lines.
    """
    lines = list(islice(LINE.finditer(head), _MOST_LINES))
    reader = csv.reader(
        (line_match[0] for line_match in lines),
        delimiter=delimiter,
        skipinitialspace=True,
    )
    above = 0
    with suppress(csv.Error):
        for record in reader:
            yield above, lines[above].start(), record
            above = reader.line_num


def _parted(head: str) -> tuple[str, int]:
    """Return the delimiter that parts most lines in equally many fields, and how many
    fields, 0 if few agree.
    """
    agreements = []
    for delimiter in DELIMITERS:
        widths = list(map(len, first_records(head, delimiter)))
        width = max(set(widths), key=widths.count, default=0)
        agreements.append((widths.count(width) if width > 1 else 0, width, delimiter))
    agree, width, delimiter = max(agreements)
    return delimiter, width if agree > 2 else 0


def _are_names(filled: Sequence[str], width: int) -> bool:
    return len(set(filled)) == len(filled) >= max(2, width - 1) and not any(
        map(_NUMBER.fullmatch, filled)
    )
