"""Folders that resume: the record, what is refused, and files that were emptied."""

from __future__ import annotations

import pytest

from permgrad.base.errors import InputError
from permgrad.base.folders import FolderKind, configuration_hash, files_of

KIND = FolderKind("toy", ("toy.json", "table.csv", "cells"))
ASKED = {"seed": 0, "sizes": (1, 2), "share": float("nan")}


def work(folder, configuration=None, **options):
    """Do the work of a toy command, and return what was there when it began."""
    options = {"command": "toy", "overwrite": False, **options}
    with KIND.open(
        folder, ASKED if configuration is None else configuration, **options
    ) as record:
        there = files_of(folder, KIND.names)
        (folder / "cells" / "deep").mkdir(parents=True, exist_ok=True)
        (folder / "cells" / "deep" / "one.json").write_text("1")
        (folder / "cells" / ".hidden").write_text("")
        (folder / "table.csv").write_text("a\n")
        KIND.finish(folder, record, "now")
    return there


def test_work_resumes_and_is_finished_once(tmp_path):
    folder = tmp_path / "deep" / "out"
    assert KIND.finished(folder, ASKED) is None
    assert work(folder) == ["toy.json"]
    record = KIND.finished(folder, ASKED)
    assert record["configuration_hash"] == configuration_hash(ASKED)
    assert record["configuration"] == {"seed": 0, "sizes": [1, 2], "share": None}
    assert work(folder) == ["toy.json", "table.csv", "cells/deep/one.json"]
    assert KIND.finished(folder, ASKED)["started"] == record["started"]
    assert KIND.finished(folder, {**ASKED, "seed": 1}) is None
    with pytest.raises(
        InputError,
        match=r"a toy of another settings, which differs in seed \(0 there, 1 now\)",
    ):
        work(folder, {**ASKED, "seed": 1})
    (folder / "notes.txt").write_text("mine")
    assert work(folder, {**ASKED, "seed": 1}, overwrite=True) == ["toy.json"]
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["table.csv", "cells/deep/one.json"])
def test_an_emptied_file_is_not_finished_and_goes(tmp_path, name):
    work(tmp_path)
    (tmp_path / name).write_text("")
    assert KIND.finished(tmp_path, ASKED) is None
    assert name not in work(tmp_path)
    assert KIND.finished(tmp_path, ASKED) is not None


def test_work_that_is_refused_leaves_no_folder(tmp_path):
    with (
        pytest.raises(InputError, match="no"),
        KIND.hold(tmp_path / "a" / "b", ASKED, overwrite=False),
    ):
        raise InputError("no")
    assert list(tmp_path.iterdir()) == []
