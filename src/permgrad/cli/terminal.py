"""Lines on stderr, what they say of an error, colours where the terminal wants them, and pages in a browser."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from permgrad.base import startup
from permgrad.base.errors import EnvironmentProblem, PermgradError, one_line, printable

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


def outcome_of_error(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the sentence for an error."""
    sentence = one_line(error)
    if isinstance(error, KeyboardInterrupt):
        # Some commands say more exactly what is finished.
        return 130, str(error) or "Interrupted. Run the same command to resume after the last finished stage."
    if isinstance(error, MemoryError):
        error = EnvironmentProblem(
            "Not enough memory", hint="Use fewer rows or columns, or another machine.", code="PG061"
        )
    elif isinstance(error, OSError) and not isinstance(error, PermgradError):
        where = f"{error.filename}: " if error.filename else ""
        error = EnvironmentProblem(
            f"Cannot read or write a file: {where}{error.strerror or sentence}",
            hint="Free some space or check the permissions, or choose another place with --out.",
            code="PG062",
        )
    if isinstance(error, PermgradError):
        return error.exit_code, " ".join(str(error).split())
    return 1, f"A fault in permgrad: {type(error).__name__}: {sentence}. Run again with --debug and report it."
