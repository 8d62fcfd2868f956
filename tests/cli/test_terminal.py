"""Colours only where a terminal wants them, a quiet mode, and pages opened only where
there is a display.
"""

from __future__ import annotations

import io
import re
import sys
import webbrowser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from permgrad import InputError, PermgradWarning
from permgrad.base.errors import warn_user
from permgrad.base.progress import Progress
from permgrad.base.startup import own_process
from permgrad.cli import app
from permgrad.cli.terminal import completion_of, open_page, painted, put, say, tell
from permgrad.runs.options import options_of
from permgrad.runs.requests import RunRequest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "stream", "coloured"),
    [
        ({"TERM": "xterm"}, Terminal(), True),
        ({"TERM": "xterm"}, io.StringIO(), False),
        ({"TERM": "dumb"}, Terminal(), False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, Terminal(), False),
    ],
    ids=["terminal", "pipe", "dumb", "NO_COLOR"],
)
def test_colours(monkeypatch, variables, stream, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (painted("error:", "red", stream) != "error:") == coloured


def test_quiet_hides_progress_alone(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    with own_process(quiet=True), Progress(3, "work") as progress:
        progress.advance()
        tell("[1/5] data")
        assert progress._bar is None
    with Progress(3, "work") as progress:
        assert progress._bar is not None
    monkeypatch.undo()
    assert "[1/5]" not in capsys.readouterr().err
    result = CliRunner().invoke(app, ["run", "nothing.csv", "-q"])
    assert result.stderr.startswith("error: "), "problems are shown"


def test_a_page_is_opened_only_where_there_is_a_display(monkeypatch, tmp_path, capsys):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) is None)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    open_page(tmp_path / "report.html")
    assert opened == []
    assert f"Open this file: {tmp_path / 'report.html'}" in capsys.readouterr().err
    monkeypatch.setenv("DISPLAY", ":0")
    open_page(tmp_path / "report.html")
    assert opened == [(tmp_path / "report.html").as_uri()]


#: A name that erases the line, goes back in it, breaks it, turns the order of letters,
#: and begins a colour.
HOSTILE = "kg\x1b[2K\rall is well\n\u202egnp.x\u2066\x9b31mred\x7f"
SEEN = r"kg\u001b[2K\rall is well\n\u202egnp.x\u2066\u009b31mred\u007f"
UNSEEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def test_what_cannot_be_seen_is_shown(capsys, monkeypatch):
    say(HOSTILE, "error:", "red")
    with Progress(1, HOSTILE, mode=True) as progress:
        progress.note(HOSTILE)
        progress.advance()
    error_text = capsys.readouterr().err
    assert error_text.startswith(f"error: {SEEN}\n")
    assert SEEN in error_text.partition("\n")[2].replace("\r", "")
    put(f"a {HOSTILE}\nb")
    put(f"table,{HOSTILE}\n")
    shown, as_it_is = capsys.readouterr().out.split("table,")
    assert shown.splitlines()[0] == r"a kg\u001b[2K\rall is well"
    assert shown.splitlines()[-1] == "b"
    assert as_it_is == f"{HOSTILE}\n", "another program reads it"
    monkeypatch.setattr("sys.stdout", Terminal())
    put(f"table,{HOSTILE}\n")
    assert not UNSEEN.search(sys.stdout.getvalue())
    with pytest.warns(PermgradWarning) as warned:
        warn_user(f"Column {HOSTILE} is odd")
    assert str(warned[0].message) == f"Column {SEEN} is odd".replace(
        r"well\n", "well\n"
    )
    assert not UNSEEN.search(
        str(InputError(f"Column {HOSTILE} not found", f"Did you mean {HOSTILE}?"))
    )


def test_no_command_prints_a_name_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    other_column = f"x{HOSTILE}"
    text = f"t{HOSTILE}"
    frame = pd.DataFrame(
        {
            HOSTILE: draw.normal(size=90),
            other_column: draw.normal(size=90),
            "n": draw.permutation(90),
        }
    )
    frame[text] = np.resize([f"a{HOSTILE}", "None", "b"], 90)
    frame["y"] = np.where(frame[HOSTILE] > 0, f"p{HOSTILE}", f"q{HOSTILE}")
    frame.to_parquet("t.parquet")
    run = ("run", "t.parquet", "--target", "y", "--preset", "fast", "--out", "r")
    for words in (
        [*run, "--kind", f"{HOSTILE}=boolean"],
        [*run, "--drop", other_column, "--no-such-option", HOSTILE],
        [*run[:3], HOSTILE * 2],
        [*run, "--debug", "--target", HOSTILE],
        [*run],
        [*run],
        ["explain", "r", "t.parquet", "--row", "3", "--out", "why"],
    ):
        result = CliRunner().invoke(app, words)
        printed_text = result.stdout + result.stderr
        assert len(printed_text) > 40
        assert not UNSEEN.search(printed_text), ascii(printed_text)
        assert not any(
            line.startswith(HOSTILE[-9:-5]) for line in printed_text.splitlines()
        )
    assert r"\u001b[2K\r" in result.stdout, "of the row"


def test_names_that_cannot_be_seen_are_no_completions(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("a\x1b[2Kb,ab,c\n1,2,3\n")
    option = options_of(RunRequest)["drop"]
    context = SimpleNamespace(params={"table": str(file)})
    assert completion_of(option)(context, "a") == ["ab"]
