"""What lies at a path in words, JSON of broken text, and what the disk refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from permgrad.base.errors import EnvironmentProblem
from permgrad.base.files import json_text, what_lies_at, why_missing, writing


def test_what_lies_at_a_path(tmp_path):
    (tmp_path / "file").touch()
    assert what_lies_at(tmp_path / "file") == "a file"
    assert why_missing(tmp_path / "nothing here") == "does not exist"


def test_json_holds_text_that_is_half_a_character():
    assert (
        json_text({"größe": 1, "broken": "\ud800"})
        == '{"größe": 1, "broken": "\\ud800"}'
    )


def test_what_the_disk_refuses_is_a_sentence():
    expected = "^Cannot write page.html: Permission denied. Choose another folder."
    with (
        pytest.raises(EnvironmentProblem, match=expected),
        writing(Path("page.html"), "choose another folder"),
    ):
        raise PermissionError(13, "Permission denied")
