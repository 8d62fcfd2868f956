"""A client of the ``mcp`` package that talks to ``permgrad mcp``, called from tests
that are no coroutines.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import pytest

mcp = pytest.importorskip(
    "mcp", reason="mcp is not installed: pip install 'permgrad[agents]'"
)


class Agent:
    """A session with ``permgrad mcp``, in a thread."""

    def __init__(
        self, folder: Path, *, tables_in_folder: bool = True, **environment: str
    ) -> None:
        self.folder = folder
        anywhere = () if tables_in_folder else ("--no-tables-in-folder",)
        # The folder of data may be named from where the tests are, which is not where
        # the server starts.
        data = {
            name: str(Path(os.environ[name]).resolve())
            for name in ("PERMGRAD_DATA",)
            if name in os.environ
        }
        self.parameters = mcp.StdioServerParameters(
            command=sys.executable,
            args=[
                *("-m", "permgrad", "mcp", "--folder", str(folder), "--threads", "1"),
                *anywhere,
            ],
            env={**os.environ, **data, **environment},
            cwd=folder.parent,
        )
        self._ready: Future[Any] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    def __enter__(self) -> Self:
        self._thread.start()
        self.loop, self.client, self._end = self._ready.result(timeout=120)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()

    async def _live(self) -> None:
        try:
            async with mcp.Client(self.parameters) as client:
                end = asyncio.Event()
                self._ready.set_result((asyncio.get_running_loop(), client, end))
                await end.wait()
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise

    def tools(self) -> dict[str, Any]:
        tool_list = asyncio.run_coroutine_threadsafe(
            self.client.list_tools(), self.loop
        ).result(timeout=60)
        return {tool.name: tool for tool in tool_list.tools}

    def begin(
        self,
        name: str,
        arguments: Any,
        on_progress: Callable[[Any, Any, Any], None] | None = None,
    ) -> Future[Any]:
        """Begin a call, which ``cancel`` of the result cancels.

        ``seen`` gets each progress.
        """

        async def heard(progress: Any, total: Any, message: Any) -> None:
            if on_progress is not None:
                on_progress(progress, total, message)

        call = self.client.call_tool(name, arguments, progress_callback=heard)
        return asyncio.run_coroutine_threadsafe(call, self.loop)

    def ask(self, name: str, arguments: Any = None, **tool_arguments: Any) -> Any:
        return self.begin(
            name, tool_arguments if arguments is None else arguments
        ).result(timeout=300)

    def told(self, name: str, **tool_arguments: Any) -> dict[str, Any]:
        """Return what a call that succeeds results in."""
        result = self.ask(name, tool_arguments)
        assert not result.is_error, result.content[0].text
        return dict(result.structured_content)
