"""The data of the page's scripts: exact, small, and closed by no string."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from permgrad.pages.views import packed, page_data

CLOSING = [
    "</script>",
    "<!--",
    "<script>",
    "]]>",
    "\u2028",
    "\u2029",
    "&lt;",
    '"',
    "\\",
    "\ud800",
]


def test_no_string_closes_the_element_and_all_come_back():
    text = page_data({name: name for name in CLOSING})
    assert not set("<>&\u2028\u2029") & set(text)
    assert list(json.loads(text).values()) == [*CLOSING[:-1], "?"]


def test_numbers_are_short_and_undefined_ones_are_null():
    values = [
        1 / 3,
        np.float32(2.0),
        np.int64(7),
        np.nan,
        np.inf,
        True,
        None,
        123456789.5,
    ]
    assert json.loads(page_data({"n": values}))["n"] == [
        0.333333,
        2,
        7,
        None,
        None,
        True,
        None,
        123457000,
    ]
    assert page_data({"n": np.eye(2)}) == '{"n":[[1,0],[0,1]]}'


@pytest.mark.parametrize(
    ("kind", "dtype"), [("f4", "<f4"), ("i4", "<i4"), ("u1", "u1"), ("u2", "<u2")]
)
def test_packed_arrays_come_back(kind, dtype):
    array = np.arange(6).reshape(2, 3)
    text = packed(array, kind)
    assert text["shape"] == [2, 3]
    planes = np.frombuffer(base64.b64decode(text["base64"]), np.uint8).reshape(-1, 6)
    assert np.array_equal(
        np.ascontiguousarray(planes.T).view(dtype).reshape(2, 3), array
    )
