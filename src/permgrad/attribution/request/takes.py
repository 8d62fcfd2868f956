"""What a call of ``pg.explain`` says together, and the one function that refuses what does not go together.

What is said has short keys, such as ``"scoring"`` or ``"global"``. A method declares in ``takes`` which of the keys of
``OF_METHODS`` it takes, and ``APART`` lists pairs of keys of which a call has one at most, whatever its method.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from permgrad.attribution.request.registry import MODELS, OF_METHODS, Method, methods
from permgrad.base.errors import InputError, shown

if TYPE_CHECKING:
    from permgrad.attribution.request.arguments import Arguments

_OF_NETWORKS = ("head", "hold", "segments", "tokenizer", "layer", "channel_names")
#: Pairs of which a call has one at most.
APART = (
    ("row_groups", "row_time"),
    *(("predictor", one) for one in _OF_NETWORKS),
    *((one, "cache") for one in ("network", "estimator")),
    *(("estimator", one) for one in (*_OF_NETWORKS, "task", "class_names", "returns")),
    *(
        (one, "order")
        for one in ("mixed", "refits", "parts", "scoring", "conditional", "blocks")
    ),
    *((one, "groups") for one in ("named blocks", "encoded players")),
    ("network", "encoded players"),
    *(("conditional", one) for one in ("layer", "modality")),
    ("layer", "channel_names"),
    *((one, "scoring") for one in ("local", "own loss", "parts")),
    *((one, "mixed") for one in ("estimator", "parts")),
    *((one, "masks") for one in ("local", "scoring")),
    ("global", "row target"),
    ("engine", "row target"),
    ("parts", "own loss"),
    ("global parts", "tolerance"),
    ("local files", "sample_weight"),
    *(("files", one) for one in ("row_groups", "row_time", "level loss")),
)
#: Who calls, where it is not ``pg.explain``.
CALLERS = {
    "engine": "engine=",
    "files": "a table in parts",
    "refits": "explain_refits",
    "mixed": "a dict of methods",
}
#: What a call has anyway, so that the other one goes.
_GIVEN = (*MODELS, *CALLERS, "parts", "global parts", "local files")
#: What helps, where leaving an argument out is not all.
_HINTS = {
    "global": "Leave it out and call .to_global() on the result.",
    "row_time": "Pass row_groups if rows of different groups are independent, else row_time.",
    "masks": "Wrap the network in a module that returns one row of numbers, such as "
    "output.flatten(2).mean(2), or choose method='permutation' without scoring=.",
    "row target": "Pass target= one output, or scope='local' for one of each row.",
}


def is_estimator(model: Any) -> bool:
    """Return whether a model is an estimator of permgrad. Their module is not loaded for other models."""
    module = sys.modules.get("permgrad.models.estimators.hynn")
    return module is not None and isinstance(
        model, (module.HyNNClassifier, module.HyNNRegressor)
    )


def kind_of_model(model: Any) -> str:
    """Return which of ``MODELS`` a model is."""
    return (
        "network"
        if isinstance(model, nn.Module)
        else "estimator"
        if is_estimator(model)
        else "predictor"
    )


def said_of(
    arguments: Arguments, scope: str, options: Mapping[str, Any], by: str = ""
) -> dict[str, str]:
    """Return what a call says, by its key, in words for messages. ``by`` is one of ``CALLERS``."""
    said = {scope: f"scope={scope!r}"}
    if (model := arguments.model.model) is not None:
        named = {"network": "a torch network", "estimator": "an estimator of permgrad"}
        kind = kind_of_model(model)
        said[kind] = named.get(kind, f"a {type(model).__name__}, which is no network")
        told = {
            name: getattr(arguments.model, name)
            for name in (*_OF_NETWORKS, "task", "class_names", "returns", "cache")
        }
        said |= {
            name: f"{name}="
            for name, value in told.items()
            if value is not None and not (isinstance(value, tuple) and not value)
        }
        if (
            kind == "predictor"
            and arguments.level == "modality"
            and not hasattr(model, "of_encoded")
        ):
            said["lone modality"] = (
                "groups='modality' for a table, which is one modality"
            )
    further = ("scoring", "sample_weight", "row_groups", "row_time")
    said |= {
        name: f"{name}=" for name in further if getattr(arguments, name) is not None
    }
    if callable(arguments.loss):
        said["own loss"] = "a callable loss="
    elif isinstance(arguments.loss, (tuple, list)):
        said["level loss"] = f"loss={shown(arguments.loss)}"
    if arguments.groups is not None:
        said["groups"] = "groups="
    if arguments.level == "modality":
        said["modality"] = "groups='modality'"
    if isinstance(arguments.method, Mapping):
        said["mixed"] = CALLERS["mixed"]
    said |= _said_of_options(options, scope)
    if by:
        said[by] = CALLERS[by]
    if by in ("engine", "files"):
        said["parts"] = CALLERS[by]
        said[f"{scope} parts"] = f"{CALLERS[by]} with scope={scope!r}"
        said[f"{scope} {by}"] = said[f"{scope} parts"]
    return said


def _said_of_options(options: Mapping[str, Any], scope: str) -> dict[str, str]:
    """Return what options of methods say that do not go with every other argument."""
    said: dict[str, str] = {}
    if options.get("order", 1) != 1:
        said["order"] = f"order={options['order']!r}"
        said[f"{scope} order"] = f"order={options['order']!r} with scope={scope!r}"
    if options.get("sampling") == "conditional":
        said["conditional"] = "sampling='conditional'"
    if options.get("blocks") is not None:
        said["blocks"] = "blocks="
        said |= (
            {"named blocks": "blocks="}
            if isinstance(options["blocks"], Mapping)
            else {}
        )
    if isinstance(options.get("players"), str) and options["players"] == "encoded":
        said["encoded players"] = "players='encoded'"
    if options.get("tolerance") is not None:
        said["tolerance"] = f"tolerance={shown(options['tolerance'])}"
    return said


def refuse_apart(chosen: Method | None, name: str, said: Mapping[str, str]) -> None:
    """Refuse what a method does not take, and two things said that do not go together.

    ``chosen`` is the method and ``name`` its name. None: what is asked needs none.
    """
    if chosen is not None:
        for key, words in said.items():
            if not takes(chosen, key):
                code = "PG034" if key in MODELS else "PG004"
                raise refused(f"method={name!r}", words, _others(key), code)
    for one, other in APART:
        if one in said and other in said:
            usual = "Leave it out." if one in _GIVEN else "Leave one of them out."
            raise refused(
                said[one],
                said[other],
                _HINTS.get(other, usual),
                "PG004" if one in MODELS else "PG006",
            )


def takes(method: Any, key: str) -> bool:
    """Return whether a method takes something that is said. What is not of methods all take."""
    if key in ("global", "local"):
        return key in method.scopes
    return key not in OF_METHODS or key in method.takes


def refused(
    who: str, what: str, hint: str = "Leave it out.", code: str = "PG006"
) -> InputError:
    """Return the error of two things that do not go together, in the one form of its sentence."""
    who = who[0].upper() + who[1:] if who.startswith(("a ", "an ")) else who
    return InputError(f"{who} does not take {what}", hint=hint, code=code)


def _others(key: str) -> str:
    """Return the hint for a method that does not take something: which ones do."""
    names = [repr(name) for name, method in methods.items() if takes(method, key)]
    choose = (
        f"choose {', '.join(names[:-1])}{' or ' if len(names) > 1 else ''}{names[-1]}."
        if names
        else ""
    )
    if key in (*MODELS, "refits"):
        return choose[0].upper() + choose[1:]
    leave = _HINTS.get(key, "Leave it out.")
    return (
        f"{leave[:-1]}, or {choose}"
        if choose and key not in ("global", "local")
        else leave
    )
