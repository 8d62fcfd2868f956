"""Colours only where a terminal wants them, a quiet mode, and pages opened only where there is a display."""

from __future__ import annotations

import io
import webbrowser

import pytest
from typer.testing import CliRunner

from permgrad.base.progress import Progress
from permgrad.base.startup import own_process
from permgrad.cli import app
from permgrad.cli.terminal import open_page, painted, tell


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
