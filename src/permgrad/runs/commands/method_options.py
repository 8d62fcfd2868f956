"""Further arguments of ``pg.explain`` on the command line: the order of causes, and ``--option NAME=VALUE``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from permgrad.attribution.request import methods
from permgrad.attribution.request.arguments import Arguments
from permgrad.base.errors import InputError, counted, unknown
from permgrad.base.stored import read_user_json
from permgrad.runs.requests import ExplainRequest

#: Arguments that have an option of their own, and those that the command fills in.
_OWN = {"method": "--method", "scope": "--scope", "target": "--class", "n_repeats": "--repeats"}
_OWN |= {"random_state": "--seed", "positive": "--positive", "baseline": "--baseline"}
_OWN |= {"causal_order": "--causal-order", "confounding": "--confounding", "asymmetric": "--asymmetric"}
_FILLED = {"model", "inputs", "y", "background", "progress", "options"}
_WORDS = {"yes": True, "no": False}


def method_options(request: ExplainRequest) -> dict[str, Any]:
    """Return the arguments that options of a request make. Refuse those that the method does not have."""
    known = methods.get(request.method).options
    # Those of --option are JSON where the text is such, else text.
    choices = {entry.name for entry in fields(Arguments)} | {*known}
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
    options = {**_of_causes(request, known), **options}
    options |= {} if request.baseline is None else {"baseline": request.baseline}
    return options


def _of_causes(request: ExplainRequest, known: Mapping[str, Any]) -> dict[str, Any]:
    order, hidden = request.causal_order, request.confounding
    used: dict[str, Any] = {"causal_order": order, "confounding": hidden, "asymmetric": request.asymmetric}
    used = {name: value for name, value in used.items() if value not in (None, (), False)}
    if strange := [name for name in used if name not in known]:
        problem = f"{_OWN[strange[0]]} does not apply to --method {request.method}"
        raise InputError(problem, hint=f"Use --method shapley, or leave {_OWN[strange[0]]} out.", code="PG004")
    if used and order is None:
        problem = f"{_OWN[next(iter(used))]} is about the blocks of --causal-order, which is missing"
        raise InputError(problem, hint="For example: --causal-order 'age,sex > income > loan'.", code="PG005")
    if order is None:
        return {}
    blocks: Any = read_user_json(order, "the order") if order.endswith(".json") else _blocks(order)
    if hidden:
        count = len(blocks) if isinstance(blocks, list) else 1
        if len(hidden) not in (1, count) or not set(hidden) <= {*_WORDS}:
            got = ",".join(hidden)
            problem = f"--confounding must be yes or no for each of {counted(count, 'block')}, got {got}"
            raise InputError(problem, hint=f"For example: --confounding {','.join(['no'] * count)}.", code="PG001")
        used["confounding"] = [_WORDS[word] for word in hidden] if len(hidden) > 1 else _WORDS[hidden[0]]
    return {**used, "causal_order": blocks}


def _blocks(order: str) -> list[list[str]]:
    """Return the names between commas, of the blocks between signs of the order."""
    blocks = [[name.strip() for name in block.split(",")] for block in order.split(">")]
    if not all(name for block in blocks for name in block):
        problem = f"--causal-order must list columns in blocks, got {order!r}"
        hint = "For example: --causal-order 'age,sex > income > loan'. Names with these signs need a JSON file."
        raise InputError(problem, hint=hint, code="PG001")
    return blocks
