"""Lines on stderr, colours where the terminal wants them, and pages in a browser."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from permgrad.base import startup
from permgrad.base.errors import printable

#: Codes of terminals.
_STYLES = {"bold": "1", "red": "1;31", "yellow": "33"}


def say(text: str, mark: str = "", style: str = "") -> None:
    """Write one line on stderr, after a ``mark`` in a style. A closed pipe is not an error."""
    with suppress(BrokenPipeError):
        start = f"{painted(mark, style, sys.stderr)} " if mark else ""
        print(f"{start}{printable(text)}", file=sys.stderr, flush=True)  # noqa: T201 — the command line's voice


def put(text: str) -> None:
    """Write lines on stdout. A table that another program reads, which ends its last line itself, stays as it is."""
    is_table = text.endswith("\n")
    text = text if is_table and not sys.stdout.isatty() else printable(text, lines=True)
    sys.stdout.write(text if is_table else f"{text}\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """Write one line about progress on stderr, if ``--quiet`` is not used."""
    if not startup.silent:
        say(text)


def painted(text: str, style: str, stream: TextIO | Any) -> str:
    """Return a text in a style, if the stream is a terminal whose user wants colours (https://no-color.org)."""
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    is_terminal = getattr(stream, "isatty", lambda: False)()
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if is_terminal and not is_plain else text


def open_page(page: str | os.PathLike[str]) -> None:
    """Open a page in a browser. Without a display or browser, write where the page is."""
    path = Path(page).absolute()
    is_local = sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if is_local:
        import webbrowser

        with suppress(webbrowser.Error, OSError):
            if webbrowser.open(path.as_uri()):
                return
    say(f"note: No browser can be opened here. Open this file: {path}")
