"""``permgrad mcp``: the tools over the Model Context Protocol, on stdin and stdout.

One process of its own does the calls, one at a time: it keeps the libraries loaded, what it prints never reaches the
protocol, and a call that is cancelled ends with it.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from permgrad import __version__
from permgrad.base.startup import interrupt
from permgrad.cli.tools import TOOLS, work

#: Seconds that a process has to leave its folder in order before it is killed.
_GRACE = 10
_ABOUT = (
    "permgrad trains models on tables and explains them. Describe the table, run, read the verdict, then ask about "
    "rows. Paths are relative to {0}. Tables may be anywhere; nothing is written outside this folder."
)


class Worker:
    """The process that does the calls. It is started by the first one, and again after one was cancelled."""

    def __init__(self, folder: Path, threads: int | None, scratch: str) -> None:
        self._settings = (folder, threads, scratch)
        self._process: Any = None
        self._turn = anyio.Lock()

    async def call(self, name: str, arguments: Mapping[str, Any], session: Any) -> dict[str, Any]:
        """Do a call, and tell the client what it says about its progress. If cancelled, end the process."""
        async with self._turn:
            try:
                await anyio.to_thread.run_sync(self._send, (name, arguments))
                done = 0.0
                while True:
                    kind, content = await anyio.to_thread.run_sync(self._connection.recv, abandon_on_cancel=True)
                    if kind == "done":
                        return dict(content)
                    place = re.match(r"\[(\d+)/(\d+)\] ", content)
                    done = round(max(done + 1e-3, float(place[1]) - 1 if place else 0.0), 3)
                    await session.report_progress(done, float(place[2]) if place else None, content)
            except (EOFError, OSError):
                self.stop()
                return {"error": "The process that computes ended. Is there enough memory? Call again to resume."}
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self.stop)
                raise

    def _send(self, message: Any) -> None:
        if self._process is None or not self._process.is_alive():
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=work, args=(theirs, *self._settings))
            self._process.start()
            theirs.close()
        self._connection.send(message)

    def stop(self) -> None:
        """Interrupt the process, and wait until it has left everything as Ctrl-C does."""
        if self._process is None:
            return
        if self._process.is_alive():
            interrupt(self._process.pid)
            self._process.join(_GRACE)
            self._process.kill()
        self._process.join()
        self._connection.close()
        self._process = None


def serve(folder: Path, threads: int | None) -> None:
    """Serve the tools until the client closes stdin."""

    async def list_tools(_: Any, __: Any) -> types.ListToolsResult:
        hints = {name: types.ToolAnnotations(read_only_hint="out" not in tool.fields) for name, tool in TOOLS.items()}
        return types.ListToolsResult(
            tools=[
                types.Tool(name=name, description=tool.about, input_schema=tool.schema, annotations=hints[name])
                for name, tool in TOOLS.items()
            ]
        )

    async def main(scratch: str) -> None:
        worker = Worker(folder, threads, scratch)

        async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
            result = await worker.call(params.name, params.arguments or {}, context.session)
            facts = result.get("facts")
            texts = [result["error"]] if facts is None else [result["text"], json.dumps(facts, ensure_ascii=False)]
            content: list[Any] = [types.TextContent(type="text", text=text) for text in texts]
            return types.CallToolResult(content=content, structured_content=facts, is_error=facts is None)

        about = _ABOUT.format(folder)
        server = Server(
            "permgrad", version=__version__, instructions=about, on_list_tools=list_tools, on_call_tool=call_tool
        )
        try:
            async with stdio_server() as (read, write):
                await server.run(read, write, server.create_initialization_options())
        finally:
            worker.stop()

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is under way ends as by Ctrl-C
    with tempfile.TemporaryDirectory(prefix=".permgrad-mcp-", dir=folder, ignore_cleanup_errors=True) as scratch:
        anyio.run(main, scratch)
