"""Further arguments of ``pg.explain`` on the command line: ``--option NAME=VALUE``."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from permgrad.attribution.request import methods
from permgrad.attribution.request.arguments import Arguments
from permgrad.base.errors import InputError, unknown
from permgrad.runs.requests import ExplainRequest

#: Arguments that have an option of their own, and those that the command fills in.
_OWN = {"method": "--method", "scope": "--scope", "target": "--class", "n_repeats": "--repeats"}
_OWN |= {"random_state": "--seed", "positive": "--positive", "baseline": "--baseline"}
_FILLED = {"model", "inputs", "y", "background", "progress", "options"}


def method_options(request: ExplainRequest) -> dict[str, Any]:
    """Return the arguments that options of a request make. Refuse those that the method does not have."""
    # Those of --option are JSON where the text is such, else text.
    choices = {entry.name for entry in fields(Arguments)} | {*methods.get(request.method).options}
    options: dict[str, Any] = {}
    for text in request.further:
        name, sign, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not sign:
            problem = f"--option must have the form NAME=VALUE, got {text!r}"
            raise InputError(problem, hint="For example: --option max_permutations=4000.", code="PG001")
        if name in _OWN:
            raise InputError(f"--option {name} has an option of its own", hint=f"Use {_OWN[name]}.", code="PG006")
        if name not in choices - _FILLED:
            raise unknown("--option", name, sorted(choices - _FILLED - {*_OWN}))
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    options |= {} if request.baseline is None else {"baseline": request.baseline}
    return options
