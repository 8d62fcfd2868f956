"""The JSON Schema of everything that ``--json`` prints and the tools of ``permgrad
mcp`` return.

``python docs/output_schema.py`` writes the file that the docs publish. Tests check the
output of every command and tool against it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "_static" / "output.schema.json"
Schema = dict[str, Any]

TEXT, FLAG, COUNT = (
    {"type": "string"},
    {"type": "boolean"},
    {"type": "integer", "minimum": 0},
)
NUMBER, NAME, CELL = (
    {"type": [*kinds, "null"]}
    for kinds in (("number",), ("string",), ("string", "number", "boolean"))
)
ANY: Schema = {}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _each(entry: Schema) -> Schema:
    return {"type": "object", "additionalProperties": entry}


def _object(needed: Schema, optional: Schema | None = None) -> Schema:
    return {
        "type": "object",
        "properties": {**needed, **(optional or {})},
        "required": list(needed),
    }


#: Entries that mean the same in every output, by their type.
_TEXTS = (
    *(
        "folder",
        "report",
        "results",
        "page",
        "preset",
        "command",
        "method",
        "metric",
        "quantity",
        "importance_unit",
    ),
    *("study", "space", "again", "cache", "words", "reason", "run"),
)
_COUNTS = (
    "cells",
    "columns",
    "computed",
    "outcome_rows",
    "parts",
    "row",
    "rows",
    "rows_explained",
    "trials",
)
_PREDICTION = _object({"prediction": CELL})
_CELLS = _each(_object({"from": CELL, "to": CELL}))
_NUMBERS = (
    *("std_error", "ci_low", "ci_high", "p_value", "p_adjusted"),
    *("tabular", "image", "interaction", "without"),
)
#: What several outputs have.
_SHARED = {
    "sentence": _object({"sentence": TEXT, "facts": _object({"kind": TEXT})}),
    "feature": _object(
        {"feature": TEXT, "importance": NUMBER},
        {
            "modality": TEXT,
            "class": TEXT,
            "row": COUNT,
            "order": COUNT,
            **dict.fromkeys(_NUMBERS, NUMBER),
        },
    ),
}
_ENTRIES: Schema = {
    **dict.fromkeys(_TEXTS, TEXT),
    **dict.fromkeys(_COUNTS, COUNT),
    **dict.fromkeys(("unit", "out"), NAME),
    "already_finished": FLAG,
    "task": {"enum": ["classification", "regression"]},
    "scope": {"enum": ["global", "local"]},
    # Sentences in reading order with the numbers behind each, whose kind says what it
    # is about.
    "verdict": _list({"$ref": "#/$defs/sentence"}),
    "sentences": _list(TEXT),
    "test": _each(ANY),  # metrics by name
    "baselines": _each(_each(ANY)),
    "branches": _each(ANY),
    "time": _each(ANY),
    "cuts": _each(ANY),
    "decision": _each(ANY),
    "never_predicted": _list(ANY),
    "failures": _list(_each(ANY)),
    "loss": {
        "anyOf": [
            _object({"metric": TEXT, "model": NUMBER, "constant": NUMBER}),
            {"type": "null"},
        ]
    },
    "top_features": _list({"$ref": "#/$defs/feature"}),
    "importance": _list({"$ref": "#/$defs/feature"}),
    "classes": _list(CELL),
    "predictions": _list(_PREDICTION),
    "sheets": _list(TEXT),
    "pixels": _list(COUNT),
    "states": _each(COUNT),
    "positive": CELL,
    "prediction": CELL,
    "before": _PREDICTION,
    "after": _PREDICTION,
    "changes": _CELLS,
    # Cells that no training row had: rows with one, the first of them, and for each
    # column how many and an example.
    "unlike": _object({"rows": COUNT, "first": ANY, "columns": _list(_each(ANY))}),
    "scores": _each(ANY),  # metrics by name, of a table with the target
    "warnings": _list(TEXT),  # only of tools: commands write them on stderr
}


def _output(needed: str, optional: str = "", **own: Schema) -> Schema:
    """Return the schema of an output by the names of its entries.

    ``own``: those that mean something else in it.
    """
    known, may_miss = _ENTRIES | own, optional.split()
    names = dict.fromkeys([*needed.split(), *own])
    return _object(
        {name: known[name] for name in names if name not in may_miss},
        {name: known[name] for name in may_miss},
    )


_RUN = (
    "folder report already_finished task test verdict baselines importance_unit "
    "loss top_features branches"
)
_MODEL = {"model": TEXT, "label": TEXT, "mean": NUMBER, "std": NUMBER}
_COLUMN = {
    "name": TEXT,
    "kind": TEXT,
    "missing": COUNT,
    "levels": COUNT,
    "reason": TEXT,
}
_RANGE = {
    **dict.fromkeys(("low", "median", "high"), NUMBER),
    "frequent": _list(_object({"cell": TEXT, "rows": COUNT})),
}
_FOUND = {
    "prediction": CELL,
    "changes": COUNT,
    "distance": NUMBER,
    "to_data": NUMBER,
    "plausibility": NUMBER,
}
_run = _output(
    _RUN,
    "positive decision never_predicted cuts time command changes warnings",
    rows=_each(COUNT),
    changes=_each(ANY),
)
#: What each command prints, and what each tool returns that is no command.
OUTPUTS: dict[str, Schema] = {
    "run": _run,
    "demo": {"$ref": "#/$defs/run"},
    "explain": _output(
        "folder method scope quantity unit verdict importance",
        "rows rows_explained warnings",
        rows=_list(_each(ANY)),
    ),
    "predict": _output("rows out unlike", "classes predictions parts computed scores"),
    "report": _output(
        "report",
        "folder metric models rows changes",
        models=_each(NUMBER),
        changes=_each(ANY),
    ),
    "compare": _output(
        "folder page results already_finished task metric failures sentences verdict",
        "warnings",
        best=NAME,
        models=_list(_object(_MODEL)),
    ),
    "tune": _output(
        "folder page preset already_finished study space trials states again",
        table=TEXT,
        run={"$ref": "#/$defs/run"},
        best=_object(
            {"best": COUNT, "value": NUMBER, "seed": COUNT, "parameters": _each(ANY)}
        ),
    ),
    "benchmark": _output("folder results report already_finished cells rows"),
    "images": _output("folder rows pixels columns"),
    "datasets list": _output(
        "cache", datasets=_list(_object({"name": TEXT, "target": TEXT}))
    ),
    "datasets fetch": _output("", datasets=_each(TEXT)),
    "describe_table": _output(
        "rows verdict",
        "warnings",
        table=TEXT,
        target=NAME,
        columns=_list(_object(_COLUMN, _RANGE)),
    ),
    "what_if": _output("run row verdict changes before after", "warnings"),
    "counterfactuals": _output(
        "run row verdict prediction words rows outcome_rows",
        "reason warnings out",
        alternatives=_list(
            _object({**_FOUND, "cells": _CELLS}, {"probability": NUMBER})
        ),
    ),
}


def document() -> Schema:
    """Return the published schema: a definition for each command and tool.

    Any output fulfils one of them.
    """
    definitions = {name.replace(" ", "-"): schema for name, schema in OUTPUTS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What permgrad prints with --json, and what the tools of permgrad mcp "
        "return",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in definitions],
        "$defs": {**_SHARED, **definitions},
    }


def written() -> str:
    """Return the text of the file."""
    return json.dumps(document(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
