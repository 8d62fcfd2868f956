"""How names, numbers and values are written."""

from __future__ import annotations

import math

import pytest

from permgrad.pages import words


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (words.clean("a\nb"), "a b"),
        (words.clean("\t"), "(blank)"),
        (words.shorten("MSinceMostRecentDelq", 26), "MSinceMostRecentDelq"),
        (words.shorten("NumTrades60Ever2DerogPubRecOfTheLastYear", 20), "NumTrades60…LastYear"),
        (words.labels_of(["x" * 40 + "1" + "x" * 40, "x" * 40 + "2" + "x" * 40], 10), ["xxxxx…xx·1", "xxxxx…xx·2"]),
        (words.listed(["a"]), "a"),
        (words.listed(["a", "b"]), "a and b"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
        (words.listed(["a", "b", "c", "d"], 2), "a, b and 2 more"),
        (words.listed([]), ""),
        (words.valued(["a", "b\n"], [0.1, -2.0]), "a 0.100, b −2.00"),
        (words.plain_text([128, 64]), "128, 64"),
        (words.plain_text({"rate": 0.1, "of": {}}), "rate: 0.1, of: –"),
        (words.plain_text(None), "–"),
        (words.plain_text(math.nan), "–"),
        (words.plain_text(True), "yes"),
    ],
)
def test_writing(written, expected):
    assert written == expected


def test_cells_of_the_users_table():
    assert [words.value_text(value) for value in (100.0, 0.123456, None, -7, True)] == [
        "100",
        "0.1235",
        "missing",
        "−7",
        "True",
    ]
    assert words.value_text("within 30 days of it", 12) == "within …f it"


def test_times():
    times = (0.04, 12.34, 184, 7265, None)
    assert [words.duration(seconds) for seconds in times] == ["0.04 s", "12 s", "3 min 4 s", "2 h 1 min", "–"]
