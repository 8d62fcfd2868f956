"""Reading files: every common form is read, every broken one is refused in one clear
sentence.
"""

from __future__ import annotations

import gzip
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from permgrad import EnvironmentProblem, InputError, PermgradWarning
from permgrad.base.csv_files import read_csv, write_csv
from permgrad.data.partitions import open_partitioned
from permgrad.data.read.cells import MissingCodes
from permgrad.data.read.header import sniff_delimiter
from permgrad.data.read.reading import MISSING_ANYWAY, SPREADSHEET_ERRORS, Reading
from permgrad.data.read.table import blank_codes, read_table, read_written, unused_codes
from permgrad.data.types.column_types import infer_schema, read_numbers

FRAME = pd.DataFrame(
    {"age": [31, 40, 25], "town": ["Köln", "Ulm", "Bonn"], "height": [1.5, 2.25, 1.75]}
)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("zipped", [False, True])
def test_every_common_form_gives_the_same_frame(tmp_path, delimiter, encoding, zipped):
    content = FRAME.to_csv(index=False, sep=delimiter).encode(encoding)
    # The name says nothing: content decides.
    file = tmp_path / "table.dat"
    file.write_bytes(gzip.compress(content) if zipped else content)
    pd.testing.assert_frame_equal(
        read_table(file), FRAME, check_dtype=False, check_column_type=False
    )


def test_parquet_is_known_by_content(tmp_path):
    file = tmp_path / "table.csv"
    FRAME.to_parquet(file)
    pd.testing.assert_frame_equal(
        read_table(file), FRAME, check_dtype=False, check_column_type=False
    )
    FRAME.set_index("town").to_parquet(file)
    assert read_table(file).columns.tolist() == ["town", "age", "height"]


def test_numbers_are_read_to_the_last_digit(tmp_path):
    written = pd.DataFrame(
        {
            "a": np.random.default_rng(0).normal(size=1000),
            "b": 10.0 ** np.arange(-300, 300, 0.6),
        }
    )
    assert (np.round(written["a"], 15) != written["a"]).mean() > 0.5, (
        "rounding would show"
    )
    write_csv(written, tmp_path / "t.csv")
    for read in (read_table, read_csv):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            numbers_read = read(tmp_path / "t.csv")
        np.testing.assert_array_equal(numbers_read.to_numpy(), written.to_numpy())


def test_windows_line_ends_quotes_and_blank_lines(tmp_path):
    file = tmp_path / "t.csv"
    file.write_bytes(b'a,b\r\n1,"x, y"\r\n\r\n2,"line\r\nbreak"\r\n')
    frame = read_table(file)
    assert frame["a"].tolist() == [1, 2]
    assert frame["b"].tolist()[0] == "x, y"


def test_decimal_commas(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("a;b\n1,5;x\n2,25;y\n")
    assert read_table(file)["a"].tolist() == [1.5, 2.25]


def test_a_single_column_is_a_table(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("name of thing\nred\nblue green\n")
    assert read_table(file).shape == (2, 1)


def test_commas_in_text_do_not_fool_the_sniffer():
    text = 'a;b\n"x,y,z";1\n"u,v,w";2\n'
    assert sniff_delimiter(text) == ";"
    assert sniff_delimiter("a|b,c\n1|2,3\n4|5,6\n") in {"|", ","}
    assert sniff_delimiter("name;notes\nx;a, b, c\ny;d\n") == ";"


def test_text_columns_keep_leading_zeros(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("code,n\n007,1\n012,2\n")
    assert read_table(file, kinds={"code": "categorical"})["code"].tolist() == [
        "007",
        "012",
    ]
    assert read_table(file)["code"].tolist() == [7, 12]


def test_errors_of_spreadsheets_are_missing_as_other_marks_are(tmp_path):
    import pandas._libs.parsers as parsers

    assert set(parsers.STR_NA_VALUES) - {""} <= MISSING_ANYWAY
    file = tmp_path / "t.csv"
    errors = [*SPREADSHEET_ERRORS, "N/A"]
    assert {"#NV", "#N/A", "#DIV/0!", "#WERT!", "#VALUE!", "#REF!", "#BEZUG!"} < set(
        errors
    )
    for decimal in ",.":
        lines = [
            f"1{decimal}{i:02};{error};{error};#{i}" for i, error in enumerate(errors)
        ]
        file.write_text(
            "a;b;c;d\n"
            + "\n".join([*lines, f"1{decimal}75;2{decimal}25;green;#NVIDIA"]),
            encoding="utf-8",
        )
        frame = read_table(file)
        assert frame.isna().sum().tolist() == [0, len(errors), len(errors), 0]
        assert (frame["b"].iloc[-1], frame["c"].iloc[-1], frame["d"].iloc[-1]) == (
            2.25,
            "green",
            "#NVIDIA",
        )
        assert unused_codes(frame, ["#NV", "NA", "?"]) == ["?"], (
            "missing without being declared"
        )


def test_a_code_does_not_keep_a_column_from_being_read_as_one_without_it(tmp_path):
    """Decimal commas as decimal points."""
    file = tmp_path / "t.csv"
    numbers = [round(12.5 + 1.37 * i, 2) for i in range(40)]

    def read(decimal, odd, codes=(), values=numbers, **like):
        cells = [f"{number:.2f}".replace(".", decimal) for number in values]
        cells[3] = odd
        file.write_text(
            "a;b\n" + "\n".join(f"{cell};{i % 3}" for i, cell in enumerate(cells))
        )
        written = read_written(file, Reading(codes=MissingCodes.of(codes), **like))
        return infer_schema(written.frame, na=codes)["a"], written

    for decimal in ",.":
        column, written = read(decimal, " k.A.", ["k.A.", -9])
        assert (column.kind, column.storage, column.n_missing, column.n_levels) == (
            "numeric",
            "number",
            1,
            39,
        )
        read_back, missing = read_numbers(
            written.frame["a"], column, MissingCodes.of(["k.A.", -9])
        )
        assert missing.tolist() == [0] * 3 + [2] + [0] * 36
        assert np.delete(read_back, 3).tolist() == np.delete(numbers, 3).tolist()
        assert written.decimal == decimal
        # Undeclared it is named.
        column, _ = read(decimal, "k.A.")
        assert column.kind == "categorical"
        assert (
            "98% are numbers, 'k.A.' is not (if it means missing, declare it as a code)"
            in column.reason
        )
        assert "written in several ways, first odd cell 'k.A.'" in column.reason
        column, _ = read(decimal, "k.A.", values=[number // 15 for number in numbers])
        assert "are numbers, 'k.A.' is not" in column.reason, (
            "also where there are few values"
        )
        # In a later table it is what is wrong with the column, not the numbers beside
        # it.
        learned, signs = read(decimal, f"7{decimal}5")
        assert learned.kind == "numeric"
        _, later = read(decimal, "k.A.", later=True, like=signs.decimal)
        with pytest.raises(
            InputError,
            match=r"Column 'a' must be numeric, but holds 'k\.A\.' in row 3. Correct "
            r"the cell",
        ):
            read_numbers(later.frame["a"], learned, MissingCodes())


def test_codes_beside_thousands_and_per_cent_signs(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("a;b;c;d\n1.234,5;7,4 %;007;1,5\n?;?;?;2.5\n2.000,25;8 %;012;?\n")
    written = read_written(file, Reading(codes=MissingCodes.of("?")))
    assert {
        name: column_cells.tolist() for name, column_cells in written.frame.items()
    } == {
        "a": ["1234.5", "?", "2000.25"],
        "b": ["7.4", "?", "8"],
        "c": ["007", "?", "012"],
        "d": ["1,5", "2.5", "?"],
    }
    assert written.units == {"b": "%"}


def test_codes_become_missing_in_numbers_and_text(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("a,b,c\n-9,?,x\n1,2,-9\n3,4,y\n")
    frame = read_table(file, na=[-9, "?"])
    assert frame.isna().sum().tolist() == [1, 1, 1]
    assert frame["b"].tolist()[1:] == [2, 4]
    assert pd.api.types.is_numeric_dtype(frame["b"])
    numeric_frame = pd.DataFrame({"a": [-9.0, 1.0], "b": [-9, 2]})
    before = numeric_frame.copy()
    assert blank_codes(numeric_frame, {"a": [-9]}).isna().sum().tolist() == [1, 0]
    pd.testing.assert_frame_equal(numeric_frame, before)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"",
            "{} is empty: a table needs a header and rows. Check how it was written.",
        ),
        (
            b"  \n\n",
            "{} is empty: a table needs a header and rows. Check how it was written.",
        ),
        (
            b"a,b\n",
            "{} has a header (2 columns) but no rows. Check how it was written.",
        ),
        (
            b"1,2,1\n1,2,3\n",
            (
                "Column names must be unique, but {} begins with numbers, some of them "
                "repeated. Add a line with names."
            ),
        ),
        (
            b"Survey of 2020,,\na,b,b\n1,2,3\n",
            (
                "Column 2 of {} has no name (2 such columns in all). Name it, or "
                "delete the lines above the header, such as a title."
            ),
        ),
        (
            b"Survey of 2020\na,b,c\n1,2,3\n",
            (
                "Line 2 of {} has 3 fields where the header has 1 (delimiter: comma). "
                "Delete the lines above the "
                "header, such as a title, or correct the line or quote its text."
            ),
        ),
        (
            b"a:b:c\n1:2:3\n4:5:6\n",
            (
                "The delimiter must be comma, semicolon, tab or pipe, but {} seems to "
                "use ':': its only column would be 'a:b:c'. Save it again with commas."
            ),
        ),
        (
            b"a b c\n1 2 3\n4 5 6\n",
            (
                "The delimiter must be comma, semicolon, tab or pipe, but {} seems to "
                "use a space: its only "
                "column would be 'a b c'. Save it again with commas."
            ),
        ),
        (
            b'"a;b"\n1;2\n3;4\n',
            (
                "No delimiter splits {}: its only column would be 'a;b'. Check its "
                "quotes and save it with commas."
            ),
        ),
        (
            b"a,b\n1,2\n1,2,3\n",
            (
                "Line 3 of {} has 3 fields where the header has 2 (delimiter: comma). "
                "Correct the line or quote its text."
            ),
        ),
        (
            b'a,b\n"1",2\n1\n',
            (
                "Line 3 of {} has 1 field where the header has 2 (delimiter: comma). "
                "Correct the line or quote its text."
            ),
        ),
        (
            b'a,b,c\n1,"x\ny",3\n4,"z,5\n6,w,7\n8,v,9\n',
            (
                "A quote in line 4 of {} is probably not closed: its field ends in "
                "line 6 and makes 2 fields where the header has 3 (delimiter: comma). "
                "Close the quote or remove it."
            ),
        ),
        (
            b'a,b\n1,2\n"3,4\n5,6\n',
            (
                "A quote in line 3 of {} is probably not closed: its field ends in "
                "line 4 and makes 1 field where the header has 2 (delimiter: comma). "
                "Close the quote or remove it."
            ),
        ),
        (
            b'a,b\n1,2\n"x\ny",4,5\n',  # a text of two lines, and a field too many
            (
                "Line 4 of {} has 3 fields where the header has 2 (delimiter: comma). "
                "Correct the line or quote its text."
            ),
        ),
        (
            b"a,b\n" + 300 * b"1,2\n" + b'3,"4\n' + 50_000 * b"5,6\n",
            (
                "{} is not well-formed CSV from line 302: a quote is never closed. "
                "Check its quotes (one may not be closed), or correct the line."
            ),
        ),
        (
            b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 9,
            (
                "A table must be CSV or Parquet, but {} is a binary file of another "
                "kind. Export it as CSV."
            ),
        ),
        (
            bytes(range(1, 256)) * 20,
            (
                "A table must be CSV or Parquet, but {} is a binary file of another "
                "kind. Export it as CSV."
            ),
        ),
        (
            b"PK\x03\x04rest",
            (
                "A table must be CSV or Parquet, but {} is a zip or Excel file. Unpack "
                "it or save it as CSV."
            ),
        ),
        (
            gzip.compress(b"a,b\n1,2\n" * 100, mtime=0)[:-20],
            "The gzip file {} is cut off or damaged. Copy it again.",
        ),
        (
            b"PAR1 not really",
            "{} is cut off, damaged or no Parquet file. Write it again.",
        ),
    ],
)
def test_broken_files_are_refused(tmp_path, content, message):
    file = tmp_path / "bad.csv"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_table(file)
    assert caught.value.message == message.format(repr(str(file)))


def test_columns_kept_as_text_must_be_there(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("a,b\n01,2\n")
    assert read_table(file, kinds={"a": "text"})["a"].tolist() == ["01"]
    with pytest.raises(
        InputError, match="column in kinds must be one of 'a', 'b', got 'c'"
    ):
        read_table(file, kinds={"c": "identifier"})
    with pytest.raises(
        InputError, match="column in kinds must be one of 'a', 'b', got 'c'"
    ):
        read_table(file, kinds={"c": "numeric"})
    with pytest.raises(
        InputError, match=r"kind of column 'a' cannot be 'words'\. Did you mean 'text'"
    ):
        read_table(file, kinds={"a": "words"})


def test_declared_images_are_files_of_the_tables_folder(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("scan,dose\nfirst,1\nsecond,2\n")
    assert type(read_table(file)["scan"][0]) is str, (
        "the precondition: no name ends as those of images do"
    )
    frame = read_table(file, kinds={"scan": "image", "dose": "numeric"})
    assert [cell.source for cell in frame["scan"]] == [
        tmp_path / "first",
        tmp_path / "second",
    ]
    assert frame["dose"].tolist() == [1, 2]


def test_parquet_needs_columns_of_different_names(tmp_path):
    file = tmp_path / "table.parquet"
    column = pa.array([1, 2])
    pq.write_table(
        pa.Table.from_arrays([column, column, column], names=["a", "b", "a"]), file
    )
    with pytest.raises(
        InputError,
        match=r"Column names must be unique, but 'a' is in '.*table.parquet' more than "
        r"once. Rename the copies",
    ):
        read_table(file)
    pq.write_table(pa.table({}), file)
    with pytest.raises(InputError, match=r"' has no columns. Write it again"):
        read_table(file)


def test_the_word_none_among_texts_is_told(tmp_path):
    file = tmp_path / "table.csv"
    rows = [
        ("None", "None", "a", " None"),
        ("2", "2020-01-01", "b", "Mild"),
        ("3", "", "NA", "Severe"),
        ("4", "x", "c", ""),
    ]
    file.write_text(
        "n,day,town,severity\n" + "".join(",".join(row) + "\n" for row in rows * 5)
    )
    with pytest.warns(PermgradWarning) as warnings_told:
        frame = read_table(file)
    assert frame["severity"].isna().sum() == 10
    (message,) = [str(warning.message) for warning in warnings_told]
    assert message == (
        'taken as missing: "None" in day (25 %), severity (25 %), "NA" in town (25 %); '
        "if a text is a level, keep it "
        'with --not-na None (in Python: not_na=["None"])'
    )
    table_with_levels = read_table(file, not_na=["None", "NA"])
    assert set(table_with_levels["severity"].dropna()) == {"None", "Mild", "Severe"}
    assert table_with_levels["severity"].isna().sum() == 5
    assert table_with_levels["town"].tolist()[2] == "NA"
    with pytest.raises(InputError, match=r"^Text 'none' is not read as missing"):
        read_table(file, not_na=["none"])
    with pytest.raises(
        InputError, match=r"^Text 'None' is declared both as missing and as not missing"
    ):
        read_table(file, na=["None"], not_na="None")
    file.write_text(file.read_text().replace("None", "none").replace("NA", "n"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(read_table(file)["severity"].dropna()) == {"none", "Mild", "Severe"}


def test_missing_file_and_folder(tmp_path):
    (tmp_path / "heloc.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"does not exist. Did you mean 'heloc.csv'\?"):
        read_table(tmp_path / "helok.csv")
    with pytest.raises(
        InputError,
        match=r"'.*test_missing_file_and_folder0' is a folder, not a file. Name the "
        r"CSV or Parquet file in it",
    ):
        read_table(tmp_path)


def test_links_that_lead_nowhere_are_called_links(tmp_path):
    (tmp_path / "lost.csv").symlink_to("gone.csv")
    (tmp_path / "ring.csv").symlink_to("ring.csv")
    with pytest.raises(
        InputError,
        match=r"lost\.csv' is a link to 'gone\.csv', where nothing is. Check the path",
    ):
        read_table(tmp_path / "lost.csv")
    with pytest.raises(
        InputError,
        match=r"ring\.csv' is a link that leads back to itself. Check the path",
    ):
        read_table(tmp_path / "ring.csv")
    with pytest.raises(
        InputError,
        match=r"lost\.csv' is a link to 'gone\.csv', where nothing is. Check the path",
    ):
        open_partitioned(tmp_path / "lost.csv")


def test_unreadable_file_is_the_environments_fault(tmp_path, monkeypatch):
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\n")

    def refuse(_self, *_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(
        EnvironmentProblem, match=r"Permission denied. Check its permissions"
    ):
        read_table(file)


def test_reading_warns_about_nothing(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\nx,3\n" + "4,5\n" * 5000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_table(file).shape == (5002, 2)


@pytest.mark.slow
def test_wide_table(tmp_path):
    file = tmp_path / "t.csv"
    wide = pd.DataFrame(
        np.arange(20_000).reshape(2, 10_000), columns=[f"c{i}" for i in range(10_000)]
    )
    wide.to_csv(file, index=False)
    pd.testing.assert_frame_equal(read_table(file), wide, check_column_type=False)


def test_codes_with_decimals_are_found_in_columns_of_float32():
    cells = np.array([20.5, -99.9, 18.25, -99.9, 7.0])
    narrow = pd.DataFrame({"temperature": cells.astype(np.float32)})
    assert float(narrow["temperature"].iloc[1]) != -99.9
    for frame in (narrow, pd.DataFrame({"temperature": cells})):
        assert blank_codes(frame, [-99.9, -9])["temperature"].isna().tolist() == [
            False,
            True,
            False,
            True,
            False,
        ]
        assert unused_codes(frame, [-99.9, -9]) == ["-9"]
    assert MissingCodes.of(["?", -99.9]).kind_of("abc", "temperature") == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert unused_codes(narrow, [1e300, -1e39, 3.4028235e38]) == [
            "1e+300",
            "-1e+39",
            "3.4028235e+38",
        ]


def test_a_blank_behind_a_word_for_missing_changes_nothing(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,x\nn/a ,y\n3,NULL \n", encoding="utf-8")
    frame = read_table(tmp_path / "t.csv")
    assert frame["a"].isna().tolist() == [False, True, False]
    assert frame["b"].isna().tolist() == [False, False, True]
