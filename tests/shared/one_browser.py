"""One Chromium for the pages of a process, asked over a pipe: to start one takes a
second of processor time.

Each page has a context of its own: no cookies, no storage and no cache of the page
before it.
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Chromium reads commands from file 3 and writes to file 4.
_START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)
_SECONDS = 180


class OneBrowser:
    """A browser without a window.

    ``page`` opens one; what it asks for and what its console says is kept.
    """

    def __init__(self, program: str, options: list[str]) -> None:
        import fcntl  # which Windows lacks

        self.folder = tempfile.mkdtemp(prefix="permgrad-browser-")
        ends = [
            fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10)
            for pair in (os.pipe(), os.pipe())
            for end in pair
        ]
        theirs, self.commands, self.answers, answer_end = ends
        words = [
            sys.executable,
            "-ISc",
            _START,
            str(theirs),
            str(answer_end),
            program,
            *options,
        ]
        words += [
            "--remote-debugging-pipe",
            f"--user-data-dir={self.folder}",
            "about:blank",
        ]
        # Ctrl-C, which tests send to their own group, is not for the browser.
        self.process = subprocess.Popen(
            words,
            pass_fds=(theirs, answer_end),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in (theirs, answer_end):
            os.close(end)
        self.numbers = itertools.count(1)
        self.left = b""
        self.events = list[dict[str, Any]]()
        self.owner = os.getpid()
        atexit.register(self.end)

    def end(self) -> None:
        """End the browser, in the process that started it."""
        if os.getpid() == self.owner:
            self.process.kill()
            self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)

    def alive(self) -> bool:
        return os.getpid() == self.owner and self.process.poll() is None

    def ask(
        self, method: str, session: str | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """Give a command, and return its result."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters} | (
            {"sessionId": session} if session else {}
        )
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self.left:
            assert select.select([self.answers], [], [], _SECONDS)[0], (
                "the browser says nothing"
            )
            read = os.read(self.answers, 1 << 20)
            assert read, "the browser has ended"
            self.left += read
        text, _, self.left = self.left.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    @contextmanager
    def page(
        self, address: str, *, width: int, height: int, dark: bool
    ) -> Iterator[OnePage]:
        """Open a page in a window of its own."""
        self.events.clear()
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        context_options = {
            "browserContextId": context,
            "newWindow": True,
            "width": width,
            "height": height,
        }
        target = self.ask("Target.createTarget", url="about:blank", **context_options)[
            "targetId"
        ]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable", session)
        if dark:
            self.ask(
                "Emulation.setEmulatedMedia",
                session,
                features=[{"name": "prefers-color-scheme", "value": "dark"}],
            )
        self.ask("Page.navigate", session, url=address)
        try:
            yield OnePage(self, session)
        finally:
            self.ask("Target.disposeBrowserContext", browserContextId=context)


class OnePage:
    """An open page."""

    def __init__(self, browser: OneBrowser, session: str) -> None:
        self.browser = browser
        self.session = session

    def text(self, expression: str) -> str | None:
        """Return a text that a script finds."""
        result = self.browser.ask(
            "Runtime.evaluate", self.session, expression=expression, returnByValue=True
        )
        expression_value: str | None = result["result"].get("value")
        return expression_value

    def awaited(self, query: str) -> str | None:
        """Return the text of an element as soon as it is there.

        None: it does not come.
        """
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            if (
                element_text := self.text(
                    f"document.querySelector({query!r})?.textContent"
                )
            ) is not None:
                return element_text
            time.sleep(0.01)
        return None

    def _told(self, method: str) -> list[dict[str, Any]]:
        return [
            browser_event["params"]
            for browser_event in self.browser.events
            if browser_event.get("method") == method
        ]

    def said(self) -> list[str]:
        """Return what the console of the page says."""
        lines = [
            *self._told("Runtime.consoleAPICalled"),
            *self._told("Runtime.exceptionThrown"),
        ]
        return [json.dumps(line) for line in (*lines, *self._told("Log.entryAdded"))]

    def requests(self) -> list[str]:
        """Return the addresses that the page asked for."""
        requested_urls = {
            request_event["request"]["url"]
            for request_event in self._told("Network.requestWillBeSent")
        }
        return sorted(
            url
            for url in requested_urls
            if url.startswith(("http:", "https:", "ws:", "wss:"))
        )
