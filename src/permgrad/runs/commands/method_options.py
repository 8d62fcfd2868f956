"""Further arguments of ``pg.explain`` on the command line: ``--option NAME=VALUE``."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from permgrad.attribution.request import methods
from permgrad.attribution.request.arguments import Arguments
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, unknown
from permgrad.runs.requests import ExplainRequest

#: Arguments that have an option of their own, and those that the command fills in.
_OWN = {"method": "--method", "target": "--target", "groups": "--groups", "n_repeats": "--repeats"}
_OWN |= {"random_state": "--seed"}
_FILLED = {"model", "inputs", "background", "progress", "options", "positive"}


def method_options(request: ExplainRequest) -> dict[str, Any]:
    """Return the arguments that ``--option`` makes. Refuse those that the method does not have.

    ``y`` and ``scope`` are not among them: the request has them.
    """
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
            options[name] = json.loads(value)  # JSON where the text is such, else text
        except ValueError:
            options[name] = value
    check_choice("scope", options.pop("scope", "auto"), ("auto", "global", "local"))
    options.pop("y", None)
    return options
