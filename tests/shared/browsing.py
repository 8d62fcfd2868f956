"""A page in a real browser: what it became, what its console said, what it asked the
network for, what a script saw.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from one_browser import OneBrowser

from permgrad.pages.html import render_page
from permgrad.pages.tabs import rows
from permgrad.pages.views import TabView, page_data

BROWSER = (
    shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on this machine"
)
needs_axe = pytest.mark.skipif(
    find_spec("axe_core_python") is None, reason="axe-core-python is not installed"
)
_OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--v=0",
]
_OPTIONS += [
    "--enable-logging=stderr",
    "--disable-component-update",
    "--disable-background-networking",
]
#: Runs the test's script when the page is drawn, and leaves its answer in the page,
#: also in the one around a phone.
_ANSWER = """
const leave = (text) => {
  const made = document.createElement("pre");
  made.id = "probe-found";
  made.textContent = text;
  document.body.append(made);
};
const probe = async () => { SCRIPT };
addEventListener("load", () => setTimeout(async () => {
  let text = "";
  try {
    if (typeof Page !== "undefined") await Page.start();
    text = JSON.stringify({ answer: await probe() });
  } catch (problem) { text = JSON.stringify({ problem: String(problem && problem.stack || problem) }); }
  leave(text);
  if (parent !== window) parent.postMessage(text, "*");
}, 50));
"""
_FRAME = """
addEventListener("message", (event) => {
  const made = document.createElement("pre");
  made.id = "probe-found";
  made.textContent = event.data;
  document.body.append(made);
});
"""


@dataclasses.dataclass(frozen=True)
class Visit:
    """What came of opening a page.

    Attributes:
        page: the document after its scripts ran.
        said: lines of the browser's console.
        requests: addresses that the page asked for. What the browser itself asks its
            maker for is left out.
        answer: what the test's script returned.
    """

    page: str
    said: list[str]
    requests: list[str]
    answer: Any = None

    def quiet(self) -> Any:
        """Return the answer of a page that said nothing and asked for nothing."""
        assert self.said == []
        assert self.requests == []
        return self.answer


def visit(
    page: str | Path,
    folder: Path,
    script: str = "",
    *,
    axe: bool = False,
    width: int = 1400,
    height: int = 1000,
    dark: bool = False,
    hash_: str = "",
) -> Visit:
    """Open a page, whose files are in ``folder``, and run a script in it.

    Without a script, as of pages that attack, the browser is the page's own, and its
    log of the network is read. ``script`` is the body of an async function, and what it
    returns is ``answer``. It runs when the page has drawn its first tab. It is allowed
    by its hash, so the page's policy holds for all else. ``axe`` adds the checker of
    barriers.
    """
    assert BROWSER is not None, "mark the test with needs_browser"
    text = page if isinstance(page, str) else page.read_text(encoding="utf-8")
    if script:
        code = (axe_source() if axe else "") + _ANSWER.replace("SCRIPT", script)
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        text = text.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
        head, end, tail = text.rpartition("</body>")
        text = f"{head}<script>{code}</script>{end}{tail}"
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    if width < 500:  # the narrowest window: a phone is a frame in it
        inner = (
            f'<iframe src="page.html{hash_}" width="{width}" '
            f'height="{height}"></iframe>'
        )
        path = folder / "phone.html"
        path.write_text(
            f"<body>{inner}<script>{_FRAME}</script></body>", encoding="utf-8"
        )
        hash_ = ""
        width = 700
    if script and hasattr(os, "fork"):
        # 56 pixels: the bar above a page that is opened with the browser.
        return _in_the_one_browser(
            path.as_uri() + hash_, width=width, height=height - 56, dark=dark
        )
    log = folder / "net.json"
    command = [
        BROWSER,
        *_OPTIONS,
        f"--user-data-dir={folder / 'profile'}",
        f"--log-net-log={log}",
    ]
    command += [f"--window-size={width},{height}", "--virtual-time-budget=60000"]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(
        [*command, "--dump-dom", path.as_uri() + hash_],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    console_lines = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    requested_urls = set(
        re.findall(
            r'"url":"(https?://[^"]+)"',
            log.read_text(encoding="utf-8", errors="replace"),
        )
    )
    requests = sorted(
        url for url in requested_urls if "google" not in url and "gvt1" not in url
    )
    return Visit(done.stdout, console_lines, requests)


_browsers: list[OneBrowser] = []


def _the_browser() -> OneBrowser:
    if not _browsers or not _browsers[0].alive():
        _browsers[:] = [OneBrowser(str(BROWSER), _OPTIONS)]
    return _browsers[0]


def written(text: str, folder: Path) -> Any:
    """Return what a page writes into its element ``out``, as
    ``verification.verify_what_if.browse`` does.
    """
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    with _the_browser().page(path.as_uri(), width=800, height=600, dark=False) as page:
        written_text = page.awaited("#out:not(:empty)")
        assert written_text is not None, page.said()
    return json.loads(written_text)


def _in_the_one_browser(address: str, **size: Any) -> Visit:
    with _the_browser().page(address, **size) as page:
        left = page.awaited("#probe-found")
        page_text = page.text("document.documentElement.outerHTML")
        console_lines = page.said()
        requests = page.requests()
    assert left is not None, f"the script did not finish: {console_lines}"
    result = json.loads(left)
    assert "problem" not in result, result["problem"]
    return Visit(str(page_text), console_lines, requests, result.get("answer"))


def axe_source() -> str:
    """Return the checker of barriers."""
    spec = find_spec("axe_core_python")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    """Return the data that a page holds for its scripts."""
    stored = re.search(r'id="page-data">([^<]*)</script>', page)
    assert stored is not None
    data: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(stored[1])))
    return data


def page_of_rows(what_if: dict[str, Any]) -> str:
    """Return a page without anything but the scripts of the tab of rows, and the data
    of *What if* for them.
    """
    views = [TabView("rows", "Rows", (), None, rows.TAB.scripts)]
    whole_page = render_page(title="", kind="", headline="", tabs=views)
    (script,) = re.findall(r"<script>(.*?)</script>", whole_page, re.DOTALL)
    data = base64.b64encode(
        zlib.compress(page_data({"rows": {"whatIf": what_if}}).encode())
    ).decode()
    return (
        '<!doctype html><meta charset="utf-8"><title>panel</title><body>'
        '<script type="text/plain" '
        f'id="page-data">{data}</script><script>{script}</script></body>'
    )
