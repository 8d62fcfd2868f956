"""What the first lines of a file say of its columns, and when they leave it open."""

import gzip

import pytest

from permgrad import read_table
from permgrad.data.read.header import csv_header

LINES = "".join(f"{number},{number % 7},{number % 3}\n" for number in range(60_000))


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (f"age, arm ,dose\n{LINES}", ("age", "arm", "dose")),
        (f"\ufeffage,größe,dose\n{LINES}", ("age", "größe", "dose")),
        ('"a;b";"two\nlines"\n1;2\n3;4\n', ("a;b", "two\nlines")),
        ("a|b\r\n1|2\r\n", ("a", "b")),
        (",age,arm\n0,1,2\n1,2,3\n", ("age", "arm")),
    ],
    ids=["long", "mark", "quotes", "pipes", "numbered rows"],
)
def test_names_are_those_that_the_complete_file_has(content, names, tmp_path):
    plain = tmp_path / "table.csv"
    packed = tmp_path / "table.gz"
    plain.write_bytes(content.encode())
    packed.write_bytes(gzip.compress(content.encode()))
    assert csv_header(plain) == csv_header(packed) == names
    assert tuple(read_table(plain).columns) == names


@pytest.mark.parametrize(
    "content",
    [
        b"", b"age\n1\n", b"age,age\n1,2\n", b"age,,arm\n1,2,3\n", b"1,2\n3,4\n", b"# age,arm\n1,2\n",
        b"sep=;\na;b\n1;2\n",
        b"A title\nage,arm\n1,2\n", "größe,arm\n1,2\n".encode("cp1252"), "age,arm\n1,2\n".encode("utf-16"),
        b"PAR1\x00,1\n", b"\x1f\x8bno,gzip\n", b"age,arm\n1,2\n3\n",
    ],
    ids=range(13),
)  # fmt: skip
def test_where_the_first_lines_leave_names_open_there_are_none(content, tmp_path):
    file = tmp_path / "table.csv"
    file.write_bytes(content)
    assert csv_header(file) == csv_header(tmp_path / "no.csv") == csv_header(None) == ()
