"""Groups of columns, and files of them, are checked."""

from __future__ import annotations

import json

import pytest

from permgrad import InputError
from permgrad.data.encode.groups import read_groups


def test_groups_are_read_from_json(tmp_path):
    expected = {"body": ["height", "mass"], "life": ["smoker"]}
    file = tmp_path / "groups.json"
    file.write_text(json.dumps(expected))
    assert read_groups(file) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"a": ["x"], "b": ["x"]}',
            "Column 'x' is listed in two groups, 'a' and 'b'. List it once.",
        ),
        (
            '{"a": "x"}',
            'The groups file {} must be a mapping. Write {{"group": ["column", …]}}.',
        ),
        (
            '{"a": [',
            (
                "The groups file {} is not valid JSON: {}: line 1 column 8 (char 7). "
                "Correct the file."
            ),
        ),
        (
            "column,group\n",
            (
                "The groups file {} is not valid JSON: {}: line 1 column 1 (char 0). "
                "Correct the file."
            ),
        ),
        ("{}", "The groups file {} names no group. Add one, or leave --groups out."),
    ],
)
def test_bad_group_files(tmp_path, content, message):
    file = tmp_path / "groups.txt"
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        read_groups(file)
    assert caught.value.message == message.format(file, "Expecting value")


def test_missing_group_file(tmp_path):
    with pytest.raises(
        InputError, match=r"Cannot read the groups file .*none.json: .*Correct the path"
    ):
        read_groups(tmp_path / "none.json")
