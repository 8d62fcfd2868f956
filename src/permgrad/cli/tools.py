"""The tools of ``permgrad mcp``: what a program may ask, the request that a call makes, and where it may write.

A tool is a command, or a function of ``runs/commands/rows.py``, with some of its options as arguments. What would run
code of others is no argument: own estimators, and files of models, presets and encoders.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from permgrad.base.csv_files import csv_formulas
from permgrad.base.errors import InputError, keeping_warnings, unknown
from permgrad.base.files import plain
from permgrad.base.startup import interrupt, own_process
from permgrad.cli.terminal import outcome_of_error, tell
from permgrad.runs import requests
from permgrad.runs.options import data_sets, options_of
from permgrad.runs.tool_requests import CounterfactualRequest, WhatIfRequest

#: Options of tables, and of a row of a table with the model of a run.
_TABLE = ("table", "sheet", "kind", "na", "not_na")
_TARGET = ("target", "task", "positive", "drop", "identifier", "group", "seed", "out", "overwrite")
_ROW = ("model_folder", "row", "table", "sheet")
#: What options do not say: the names of models of a comparison, as others would be files, and the cells of a table.
_LIMITS: dict[str, dict[str, Any]] = {
    "models": {"pattern": "^[a-z][a-z0-9_-]*(:tabular|:image)?$"},
    "changes": {"minProperties": 1, "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
}
_TYPES = {bool: "boolean", int: "integer", str: "string", Path: "string"}


@dataclass(frozen=True)
class Tool:
    """A tool: what it does, its function, its request, which of its fields are arguments, and values of others."""

    about: str
    function: str
    request: type
    fields: tuple[str, ...]
    fixed: tuple[tuple[str, Any], ...] = ()

    @cached_property
    def names(self) -> dict[str, str]:
        """The field of each argument, which is named as on the command line."""
        flags = {field: (option.name or "").partition("/")[0] for field, option in options_of(self.request).items()}
        flags |= {"model_folder": "run", "keep_rows": ""}
        return {flags[field].lstrip("-").replace("-", "_") or field: field for field in self.fields}

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the arguments."""
        needed = {"row", *(entry.name for entry in fields(self.request) if entry.default is MISSING)}
        return {
            "type": "object",
            "properties": {name: self._schema_of(field) for name, field in self.names.items()},
            "required": [name for name, field in self.names.items() if field in needed],
            "additionalProperties": False,
        }

    def _schema_of(self, field: str) -> dict[str, Any]:
        option, hint = options_of(self.request)[field], get_type_hints(self.request)[field]
        # Words in capitals stand for files and functions.
        words = [] if option.table else [choice for choice in option.choices if choice == choice.lower()]
        ends: dict[str, Any] = {"enum": words or None, "minimum": option.least, "maximum": option.most}
        limits = {name: value for name, value in ends.items() if value is not None} | _LIMITS.get(field, {})
        kinds = get_args(hint) or (hint,)
        if ... in kinds:
            return {"description": option.text, "type": "array", "items": {"type": ["string", "number"], **limits}}
        name = (
            "object" if get_origin(hint) is Mapping else next((_TYPES[one] for one in kinds if one in _TYPES), "object")
        )
        return {"description": option.text, **({} if hint is Any else {"type": name}), **limits}


_RUNS, _ROWS = "permgrad.cli.commands:", "permgrad.runs.commands.rows:"
TOOLS: dict[str, Tool] = {
    "describe_table": Tool(
        "Describe a table before a run: the kind of each column and why, ranges, frequent and missing cells.",
        f"{_ROWS}describe_table", requests.RunRequest, _TABLE,
    ),
    "run": Tool(
        "Train a model on a table, test and explain it, and write a report. The verdict says in sentences how good it "
        "is and what it relies on. The same call resumes a run that was stopped, and shows a finished one.",
        f"{_RUNS}run", requests.RunRequest,
        (*_TABLE, *_TARGET, "time", "test", "validation", "model", "preset", "baselines", "named_baselines",
         "time_limit", "thorough", "refits", "sensitive", "split_seed", "keep_rows"),
    ),
    "read_run": Tool(
        "Return the verdict and the results of a finished run again.",
        f"{_ROWS}read_run", requests.ExplainRequest, ("model_folder",),
    ),
    "explain_row": Tool(
        "Say how much each feature of one row moved the model's output, and write the explanation with its plots. "
        "Without a table, row is the number of a test row of the run.",
        f"{_RUNS}explain", requests.ExplainRequest,
        (*_ROW, "method", "baseline", "classes", "positive", "donors", "seed", "out"),
        (("scope", "local"), ("overwrite", True)),
    ),
    "what_if": Tool(
        "Predict one row as it is and with other cells. It says what the model would predict, not what would happen.",
        f"{_ROWS}what_if", WhatIfRequest, (*_ROW, "changes"),
    ),
    "counterfactuals": Tool(
        "Find what would have to differ in one row for the model to predict something else, with few changes.",
        f"{_ROWS}find_counterfactuals", CounterfactualRequest,
        (*_ROW, "want", "fixed", "ranges", "direction", "most_changes", "count", "seed"),
    ),
    "compare": Tool(
        "Compare models on one table by cross-validation: which is best, by how much, and what each relies on.",
        f"{_RUNS}compare", requests.CompareRequest,
        (*_TABLE, *_TARGET, "models", "folds", "repeats", "metric", "explain"),
    ),
}  # fmt: skip


# ---- a call ----------------------------------------------------------------------------------------------------------
def request_of(called: str, arguments: Mapping[str, Any], folder: Path, threads: int | None) -> Any:
    """Return the request of a call. Refuse wrong arguments, and places to write outside the folder."""
    if called not in TOOLS:
        raise unknown("tool", called, TOOLS)
    tool = TOOLS[called]
    schema, names, hints = tool.schema, tool.names, get_type_hints(tool.request)
    several = {name for name, field in names.items() if ... in get_args(hints[field])}
    # One name may stand alone.
    arguments = {name: [one] if name in several and isinstance(one, str) else one for name, one in arguments.items()}
    if error := best_match(Draft202012Validator(schema).iter_errors(arguments)):
        place = ".".join(map(str, error.absolute_path))
        raise InputError(f"{place}{': ' * bool(place)}{error.message}", hint="See the tool's schema.", code="PG001")
    values: dict[str, Any] = {**dict(tool.fixed), "threads": threads}
    for name, value in arguments.items():
        field = names[name]
        if name in several:
            values[field] = tuple(map(str, value))
        elif Path in (get_args(hints[field]) or (hints[field],)) or field == "table":
            path = _place(name, value, folder, reading=field in ("table", "test", "validation"))
            values[field] = str(path) if hints[field] is str else path
        else:
            values[field] = int(value) if schema["properties"][name].get("type") == "integer" else value  # of 3.0
    request = tool.request(**values)
    if "out" in tool.fields:
        _place("out", os.fspath(request.folder), folder, reading=False)
    return request


def _place(argument: str, text: str, folder: Path, *, reading: bool) -> Path:
    """Return a path from the folder. Refuse one to write that is outside, and what is neither file nor folder."""
    if reading and text in data_sets():
        return Path(text)
    try:
        path = (folder / text).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{argument} {text!r} is no path: {error}", "Name another place.", "PG010") from error
    if not (path.is_file() or path.is_dir() or not path.exists() if reading else folder in path.parents):
        what = "no file" if reading else f"not inside {folder}, the folder of permgrad mcp"
        raise InputError(f"{argument} {text!r} is {what}", hint="Name another place.", code="PG050")
    return path if reading else path.relative_to(folder)


def answer(name: str, arguments: Mapping[str, Any], folder: Path, threads: int | None) -> dict[str, Any]:
    """Return what a call results in: ``facts`` and ``text``, or the sentence of an ``error``."""
    try:
        with own_process(tell=tell), keeping_warnings() as warned, csv_formulas("quote"):
            request = request_of(name, arguments, folder, threads)
            module, _, function = TOOLS[name].function.partition(":")
            outcome = getattr(import_module(module), function)(request)
    except Exception as error:  # noqa: BLE001 — whatever happens is answered in words
        return {"error": outcome_of_error(error)[1]}
    facts = {**outcome.facts, **({"warnings": list(dict.fromkeys(warned))} if warned else {})}
    text = "\n".join([*(f"warning: {one}" for one in facts.get("warnings", ())), outcome.text])
    return {"facts": plain(facts), "text": text}


# ---- the process that computes ---------------------------------------------------------------------------------------
#: What changes a file or folder, and which of its arguments name it.
_ONE = ("os.chmod", "os.chown", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.utime", "shutil.rmtree")
_CHANGES = {**dict.fromkeys(_ONE, (0,)), **dict.fromkeys(("os.rename", "os.link"), (0, 1)), "os.symlink": (1,)}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def guard(folder: Path) -> None:
    """Refuse, from now on in this process, to change anything outside a folder, whatever the code or a link says."""

    def check(event: str, values: tuple[Any, ...]) -> None:
        places = (0,) * bool(values[2] & _WRITES) if event == "open" else _CHANGES.get(event, ())
        if event in ("os.remove", "os.rmdir") and values[-1] >= 0:  # in a folder that shutil.rmtree removes
            return
        for path in [os.fsdecode(values[place]) for place in places if not isinstance(values[place], int)]:
            absolute = Path.cwd() / path
            # A link as the last name is changed itself, except by what opens it.
            is_link = event != "open" and absolute.name not in ("", "..")
            real = absolute.parent.resolve() / absolute.name if is_link else absolute.resolve()
            if path != os.devnull and folder not in (real, *real.parents):
                raise PermissionError(1, f"outside {folder}, the folder of permgrad mcp", path)

    sys.addaudithook(check)


def work(connection: Connection, folder: Path, threads: int | None, scratch: str) -> None:
    """Answer calls, one after the other, until the server ends or interrupts. The main function of a process."""
    lock, server = threading.Lock(), multiprocessing.parent_process()

    class Lines(io.StringIO):
        """What is written for people. Each line is told to the client."""

        def write(self, text: str) -> int:
            for line in filter(None, map(str.strip, text.split("\n"))):
                send(("line", line))
            return len(text)

    def send(message: Any) -> None:
        with lock:
            connection.send(message)

    def follow() -> None:
        if server is not None:
            server.join()
        interrupt(os.getpid())

    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=follow, daemon=True).start()
    sys.stdout = sys.stderr = Lines()
    for name in ("PERMGRAD_DATA", "PERMGRAD_CACHE"):
        if named := os.environ.get(name):
            os.environ[name] = str(Path(named).resolve())  # as named from where the server was started
    os.chdir(folder)
    tempfile.tempdir, sys.dont_write_bytecode = scratch, True
    warnings.simplefilter("ignore")
    guard(folder)
    try:
        while True:
            name, arguments = connection.recv()
            send(("done", answer(name, arguments, folder, threads)))
    except (KeyboardInterrupt, EOFError, OSError):
        os._exit(0)  # everything is in order, and taking down the libraries takes seconds
