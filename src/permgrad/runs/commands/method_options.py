"""The method of ``permgrad explain``, and further arguments of ``pg.explain``: ``--option NAME=VALUE``."""

from __future__ import annotations

import inspect
import json
from typing import Any

from permgrad.attribution.explain import explain
from permgrad.attribution.request import methods
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError
from permgrad.runs.requests import ExplainRequest

#: Arguments that have an option of their own, and those that the command fills in.
_OWN = {"method": "--method", "target": "--target", "groups": "--groups", "n_repeats": "--repeats"}
_OWN |= {"random_state": "--seed", "max_rows": "--max-rows"}
_FILLED = {"model", "X", "background", "progress"}


def method_options(request: ExplainRequest) -> tuple[Any, dict[str, Any]]:
    """Return the method with its options, and the arguments that ``--option`` makes. Refuse what neither has.

    ``y`` and ``scope`` are not among them: the request has them.
    """
    kind: Any = methods.get(request.method)
    choices = {*inspect.signature(explain).parameters, *kind.options}
    options: dict[str, Any] = {}
    for text in request.further:
        name, sign, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not sign:
            problem = f"--option must have the form NAME=VALUE, got {text!r}"
            raise InputError(problem, hint="For example: --option max_permutations=4000.", code="PG001")
        if name in _OWN:
            raise InputError(f"--option {name} has an option of its own", hint=f"Use {_OWN[name]}.", code="PG006")
        check_choice("--option", name, sorted(choices - _FILLED - {*_OWN}))
        try:
            options[name] = json.loads(value)  # JSON where the text is such, else text
        except ValueError:
            options[name] = value
    check_choice("scope", options.pop("scope", "auto"), ("auto", "global", "local"))
    options.pop("y", None)
    method = kind(**{name: options.pop(name) for name in kind.options if name in options})
    return method, options
