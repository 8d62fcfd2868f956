"""``permgrad mcp``: commands as tools of the Model Context Protocol, on stdin and
stdout.

What would run code of others is no argument: own estimators, and files of models,
presets and encoders. A process of its own does the calls, one at a time: it keeps the
libraries loaded, and ends with a call that is cancelled.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from functools import cache, cached_property
from importlib import import_module
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import anyio
from anyio import to_process
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import (
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from permgrad import __version__
from permgrad.base.checks import check_choice
from permgrad.base.csv_files import csv_formulas
from permgrad.base.errors import InputError, keeping_warnings
from permgrad.base.files import plain
from permgrad.base.startup import own_process
from permgrad.cli.terminal import outcome_of_error, tell
from permgrad.runs import requests
from permgrad.runs.options import data_sets, options_of
from permgrad.runs.row_requests import CounterfactualsRequest, WhatIfRequest

_ABOUT = (
    "permgrad trains models on tables and explains them. Describe the table, run, read "
    "the verdict, then ask about "
    "rows. Paths are relative to {0}. {1}; nothing is written outside this folder."
)
#: Options of tables, and of a row of a table with the model of a run.
_TABLE = ("table", "sheet", "kind", "na", "not_na")
_TARGET = (
    "target",
    "task",
    "positive",
    "drop",
    "identifier",
    "row_group",
    "seed",
    "out",
    "overwrite",
)
_ROW = ("model_folder", "row", "table")
_TYPES: dict[Any, Any] = {
    bool: StrictBool,
    int: StrictInt,
    str: StrictStr,
    Path: StrictStr,
}
#: A name of a model of a comparison, as others would be files.
_MODEL = Annotated[StrictStr, Field(pattern="^[a-z][a-z0-9_-]*(:tabular|:image)?$")]
_CELLS = Annotated[
    dict[str, StrictStr | StrictInt | StrictFloat | StrictBool | None],
    Field(min_length=1),
]


@dataclass(frozen=True)
class Tool:
    """A tool: what it does, its function, its request, which of its fields are
    arguments, and values of others.
    """

    about: str
    function: str
    request: type
    fields: tuple[str, ...]
    fixed: tuple[tuple[str, Any], ...] = ()

    @cached_property
    def names(self) -> dict[str, str]:
        """The field of each argument, which is named as on the command line."""
        flags = {}
        for field, option in options_of(self.request).items():
            flags[field] = (option.name or "").partition("/")[0]
        flags |= {"model_folder": "run", "keep_rows": ""}
        return {
            flags[field].lstrip("-").replace("-", "_") or field: field
            for field in self.fields
        }

    @property
    def signature(self) -> Signature:
        """The arguments with their types and descriptions.

        Those that are not given are None.
        """
        options = options_of(self.request)
        hints = get_type_hints(self.request)
        needed = {
            "row",
            *(entry.name for entry in fields(self.request) if entry.default is MISSING),
        }
        parameters = [Parameter("context", Parameter.KEYWORD_ONLY, annotation=Context)]
        for argument_name, field in self.names.items():
            option = options[field]
            kinds = get_args(hints[field]) or (hints[field],)
            # Words in capitals stand for files and functions.
            words = (
                ()
                if option.table
                else tuple(
                    choice for choice in option.choices if choice == choice.lower()
                )
            )
            value_type: Any = (
                Literal[words]
                if words
                else next(
                    (
                        _TYPES[python_type]
                        for python_type in kinds
                        if python_type in _TYPES
                    ),
                    None,
                )
            )
            value_type = {"models": _MODEL, "changes": _CELLS}.get(field, value_type)
            value_type = (
                list[value_type | StrictInt | StrictFloat] | value_type
                if ... in kinds
                else value_type
            )  # one may stand alone
            facts = Field(
                alias=argument_name,
                description=option.text,
                ge=option.least,
                le=option.most,
            )
            default = Parameter.empty if field in needed else None
            parameters.append(
                Parameter(
                    field,
                    Parameter.KEYWORD_ONLY,
                    default=default,
                    annotation=Annotated[value_type, facts],
                )
            )
        return Signature(parameters, return_annotation=CallToolResult)


_RUNS = "permgrad.cli.commands:"
_ROWS = "permgrad.runs.commands.row_questions:"
_RUN = (
    "time",
    "test",
    "model",
    "preset",
    "baselines",
    "time_limit",
    "max_rows",
    "refits",
    "sensitive",
    "keep_rows",
)
TOOLS: dict[str, Tool] = {
    "describe_table": Tool(
        "Describe a table before a run: the kind of each column and why, ranges, "
        "frequent and missing cells.",
        f"{_ROWS}describe_table",
        requests.RunRequest,
        _TABLE,
    ),
    "run": Tool(
        "Train a model on a table, test and explain it, and write a report. The "
        "verdict says in sentences how good it is and what it relies on. The same call "
        "resumes a run that was stopped, and shows a finished one.",
        f"{_RUNS}run",
        requests.RunRequest,
        (*_TABLE, *_TARGET, *_RUN),
    ),
    "read_run": Tool(
        "Return the verdict and the results of a finished run again.",
        f"{_ROWS}read_run",
        requests.ExplainRequest,
        ("model_folder",),
    ),
    "explain_row": Tool(
        "Say how much each feature of one row moved the model's output, and write the "
        "explanation with its plots. "
        "Without a table, row is the number of a test row of the run.",
        f"{_RUNS}explain",
        requests.ExplainRequest,
        (*_ROW, "method", "target", "donors", "seed", "out"),
        (("further", ("scope=local",)), ("overwrite", True)),
    ),
    "what_if": Tool(
        "Predict one row as it is and with other cells. It says what the model would "
        "predict, not what would happen.",
        f"{_ROWS}what_if",
        WhatIfRequest,
        (*_ROW, "changes"),
    ),
    "counterfactuals": Tool(
        "Find what would have to differ in one row for the model to predict something "
        "else, with few changes.",
        f"{_RUNS}counterfactuals",
        CounterfactualsRequest,
        (*_ROW, "want", "fixed", "ranges", "direction", "max_changes", "count"),
    ),
    "compare": Tool(
        "Compare models on one table by cross-validation: which is best, by how much, "
        "and what each relies on.",
        f"{_RUNS}compare",
        requests.CompareRequest,
        (*_TABLE, *_TARGET, "models", "cv", "metric", "explain"),
    ),
}


# ---- the process that computes -------------------------------------------------------
@dataclass(frozen=True)
class Settings:
    """What a server was started with.

    ``folder``: of runs and results. ``threads``: to compute with. ``scratch``: a folder
    for temporary files. ``tables_in_folder``: whether tables elsewhere are refused.
    """

    folder: Path
    threads: int | None
    scratch: str
    tables_in_folder: bool


def request_of(tool: Tool, arguments: Mapping[str, Any], settings: Settings) -> Any:
    """Return the request of a call.

    Refuse to write outside the folder, and to read there where ``tables_in_folder`` is
    set.
    """
    folder = settings.folder
    values = {**dict(tool.fixed), "threads": settings.threads}
    hints = get_type_hints(tool.request)
    for argument_name, value in arguments.items():
        field = tool.names[argument_name]
        kinds = get_args(hints[tool.names[argument_name]]) or (
            hints[tool.names[argument_name]],
        )
        if ... in kinds:
            values[field] = tuple(
                map(str, value if isinstance(value, list) else [value])
            )
        elif Path in kinds or field == "table":
            is_table = field in ("table", "test")
            resolved_path = _place(argument_name, value, folder, reading=is_table)
            if is_table and settings.tables_in_folder:
                _refuse_table_elsewhere(argument_name, value, resolved_path, folder)
            if str in kinds:
                values[field] = str(resolved_path)
            else:
                values[field] = resolved_path
        else:
            values[field] = value
    request = tool.request(**values)
    if "out" in tool.fields:
        _place("out", os.fspath(request.folder), folder, reading=False)
    return request


def _place(argument: str, text: str, folder: Path, *, reading: bool) -> Path:
    """Return a path from the folder.

    Refuse one to write that is outside, and what is neither file nor folder.
    """
    if reading and text in data_sets():
        return Path(text)
    try:
        resolved_path = (folder / text).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{argument} {text!r} is no path: {error}", "Name another place.", "PG010"
        ) from error
    if not (
        resolved_path.is_file() or resolved_path.is_dir() or not resolved_path.exists()
        if reading
        else folder in resolved_path.parents
    ):
        if reading:
            path_problem = "no file"
        else:
            path_problem = f"not inside {folder}, the folder of permgrad mcp"
        raise InputError(
            f"{argument} {text!r} is {path_problem}",
            hint="Name another place.",
            code="PG050",
        )
    if reading:
        return resolved_path
    return resolved_path.relative_to(folder)


def _refuse_table_elsewhere(argument: str, text: str, path: Path, folder: Path) -> None:
    """Refuse a table outside the folder: who asks could read the first line of any
    file.
    """
    if text in data_sets() or folder in path.parents:
        return
    raise InputError(
        f"{argument} {text!r} is not inside {folder}, the folder of permgrad mcp",
        hint="Copy the table there, or start permgrad mcp with --no-tables-in-folder.",
        code="PG050",
    )


#: What changes a file or folder, and which of its arguments name it.
_ONE = (
    "os.chmod",
    "os.chown",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.truncate",
    "os.utime",
    "shutil.rmtree",
)
_CHANGES = {
    **dict.fromkeys(_ONE, (0,)),
    **dict.fromkeys(("os.rename", "os.link"), (0, 1)),
    "os.symlink": (1,),
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def guard(folder: Path) -> None:
    """Refuse, from now on in this process, to change anything outside a folder,
    whatever the code or a link says.
    """

    def check(event: str, values: tuple[Any, ...]) -> None:
        if event == "open":
            path_positions = (0,) * bool(values[2] & _WRITES)
        else:
            path_positions = _CHANGES.get(event, ())
        if (
            event in ("os.remove", "os.rmdir") and values[-1] >= 0
        ):  # in a folder that shutil.rmtree removes
            return
        for changed_path in [
            os.fsdecode(values[position])
            for position in path_positions
            if not isinstance(values[position], int)
        ]:
            absolute = Path.cwd() / changed_path
            # A link as the last name is changed itself, except by what opens it.
            is_link = event != "open" and absolute.name not in ("", "..")
            if is_link:
                real_path = absolute.parent.resolve() / absolute.name
            else:
                real_path = absolute.resolve()
            if changed_path != os.devnull and folder not in (
                real_path,
                *real_path.parents,
            ):
                raise PermissionError(
                    1, f"outside {folder}, the folder of permgrad mcp", changed_path
                )

    sys.addaudithook(check)


@cache
def _settle(folder: Path, scratch: str) -> None:
    """Make this process one that writes into the folder alone."""
    for variable_name in ("PERMGRAD_DATA", "PERMGRAD_CACHE"):
        if named := os.environ.get(variable_name):
            os.environ[variable_name] = str(
                Path(named).resolve()
            )  # as named from where the server was started
    os.chdir(folder)
    tempfile.tempdir = scratch
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    guard(folder)


def answer(
    name: str, arguments: Mapping[str, Any], settings: Settings, progress_file: Path
) -> CallToolResult:
    """Return what a call results in: text and facts, or the sentence of an error.

    ``progress_file``: where progress is told.
    """
    _settle(settings.folder, settings.scratch)
    with progress_file.open("w", encoding="utf8", buffering=1) as lines:
        sys.stdout = sys.stderr = lines
        os.dup2(lines.fileno(), 2)
        try:
            with (
                own_process(tell=tell),
                keeping_warnings() as warned,
                csv_formulas("quote"),
            ):
                request = request_of(TOOLS[name], arguments, settings)
                module, _, function = TOOLS[name].function.partition(":")
                outcome = getattr(import_module(module), function)(request)
        except Exception as error:  # noqa: BLE001 — whatever happens is answered in words
            return _refusal(outcome_of_error(error)[1])
    facts = plain(
        {
            **outcome.facts,
            **({"warnings": list(dict.fromkeys(warned))} if warned else {}),
        }
    )
    answer_text = "\n".join(
        [
            *(f"warning: {warning_text}" for warning_text in facts.get("warnings", ())),
            outcome.text,
        ]
    )
    content: list[Any] = []
    for content_text in (answer_text, json.dumps(facts, ensure_ascii=False)):
        content.append(TextContent(type="text", text=content_text))
    return CallToolResult(content=content, structured_content=facts)


def _refusal(sentence: str) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=sentence)], is_error=True
    )


# ---- the server ----------------------------------------------------------------------
class Server(MCPServer):
    """The server of the tools, which refuses wrong arguments in one sentence."""

    def __init__(self, settings: Settings) -> None:
        if settings.tables_in_folder:
            tables = "Tables are files in it"
        else:
            tables = "Tables may be anywhere"
        super().__init__(
            "permgrad",
            version=__version__,
            instructions=_ABOUT.format(settings.folder, tables),
            log_level="CRITICAL",
        )
        self._settings = settings
        self._turn = anyio.CapacityLimiter(1)
        for tool_name, tool in TOOLS.items():
            hints = ToolAnnotations(read_only_hint="out" not in tool.fields)
            self.add_tool(
                self._function(tool_name, tool),
                tool_name,
                description=tool.about,
                annotations=hints,
            )

    def _function(self, name: str, tool: Tool) -> Any:
        async def call(context: Context, **arguments: Any) -> CallToolResult:
            given_arguments = {}
            for argument_name, value in arguments.items():
                if value is not None:
                    given_arguments[argument_name] = value
            file_descriptor, progress_path = tempfile.mkstemp(
                dir=self._settings.scratch
            )
            os.close(file_descriptor)
            result = _refusal(
                "The process that computes ended. Is there enough memory? Call again "
                "to resume."
            )
            async with anyio.create_task_group() as group:
                group.start_soon(_follow, Path(progress_path), context)
                with suppress(anyio.BrokenWorkerProcess):
                    result = await to_process.run_sync(
                        answer,
                        name,
                        given_arguments,
                        self._settings,
                        Path(progress_path),
                        cancellable=True,
                        limiter=self._turn,
                    )
                group.cancel_scope.cancel()
            return result

        call.__signature__ = tool.signature  # type: ignore[attr-defined]
        return call

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Any = None
    ) -> Any:
        """Call a tool. Its arguments are refused in one sentence."""
        try:
            check_choice("tool", name, TOOLS)
            for argument in arguments:
                check_choice("argument", argument, TOOLS[name].names)
            return await super().call_tool(name, arguments, context)
        except InputError as error:
            return _refusal(outcome_of_error(error)[1])
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            wrong = error.__cause__.errors(include_url=False, include_input=False)[0]
            problem = f"{'.'.join(map(str, wrong['loc']))!r}: {wrong['msg']}"
            return _refusal(
                str(InputError(problem, hint="See the tool's schema.", code="PG001"))
            )


async def _follow(path: Path, context: Context) -> None:
    """Tell the client each line that a call writes into a file."""
    steps_done = 0.0
    unfinished_line = ""
    with path.open(encoding="utf8", errors="replace") as lines:
        while True:
            *complete_lines, unfinished_line = (unfinished_line + lines.read()).split(
                "\n"
            )
            for progress_line in filter(None, map(str.strip, complete_lines)):
                step_match = re.match(r"\[(\d+)/(\d+)\] ", progress_line)
                steps_done = round(
                    max(
                        steps_done + 1e-3,
                        float(step_match[1]) - 1 if step_match else 0.0,
                    ),
                    3,
                )
                await context.report_progress(
                    steps_done,
                    float(step_match[2]) if step_match else None,
                    progress_line,
                )
            await anyio.sleep(0.1)


def serve(folder: Path, threads: int | None, *, tables_in_folder: bool = True) -> None:
    """Serve the tools until the client closes stdin, or is gone."""
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # what is under way ends as by Ctrl-C
    with tempfile.TemporaryDirectory(
        prefix=".permgrad-mcp-", dir=folder, ignore_cleanup_errors=True
    ) as scratch:
        settings = Settings(folder, threads, scratch, tables_in_folder)
        try:
            Server(settings).run()
        except* (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            # Nobody is left who could read an answer, or why there is none.
            pass
