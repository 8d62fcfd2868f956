"""A page in a real browser: what it became, what its console said, and what it asked the network for."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


@dataclasses.dataclass(frozen=True)
class Visit:
    """What came of opening a page.

    Attributes:
        page: the document after its scripts ran.
        said: lines of the browser's console.
        requests: addresses that the page asked for; what the browser itself asks its maker for is left out.
    """

    page: str
    said: list[str]
    requests: list[str]


def visit(path: Path, folder: Path) -> Visit:
    """Open a file in a browser of its own, which keeps what it has to keep in ``folder``."""
    log = folder / "net.json"
    assert BROWSER is not None, "mark the test with needs_browser"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += ["--disable-component-update", "--disable-background-networking", "--no-first-run"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--virtual-time-budget=3000"]
    done = subprocess.run(
        [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    asked = set(re.findall(r'"url":"(https?://[^"]+)"', log.read_text(encoding="utf-8", errors="replace")))
    return Visit(
        page=done.stdout,
        said=[line for line in done.stderr.splitlines() if "CONSOLE" in line],
        requests=sorted(url for url in asked if "google" not in url and "gvt1" not in url),
    )
