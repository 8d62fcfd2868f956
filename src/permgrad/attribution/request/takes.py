"""What a call of ``pg.explain`` says together, and the one function that refuses what
does not go together.

What is said has short keys, such as ``"scoring"`` or ``"global"``. A method declares in
``takes`` which of the keys of ``OF_METHODS`` it takes, and ``APART`` lists pairs of
keys of which a call has one at most, whatever its method.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from permgrad.attribution.request.method_registry import (
    MODELS,
    OF_METHODS,
    READ_BY_SOME,
    Configured,
    Method,
    methods,
)
from permgrad.attribution.scopes import AUTO, GLOBAL, scopes
from permgrad.attribution.typed_options import as_typed
from permgrad.base.errors import InputError, shown, warn_user
from permgrad.base.typed import argument_typed

if TYPE_CHECKING:
    from permgrad.attribution.request.arguments import Arguments

_OF_NETWORKS = (
    "head",
    "hold",
    "segments",
    "tokenizer",
    "layer",
    "vocabulary",
    "channel_names",
)
#: Pairs of which a call has one at most.
APART = (
    ("row_groups", "row_time"),
    *(("predictor", argument_name) for argument_name in _OF_NETWORKS),
    *((model_kind, "cache") for model_kind in ("network", "estimator")),
    *(
        ("estimator", argument_name)
        for argument_name in (*_OF_NETWORKS, "task", "class_names", "returns")
    ),
    *(
        (call_key, "order")
        for call_key in ("mixed", "refits", "parts", "scoring", "conditional", "blocks")
    ),
    *((call_key, "groups") for call_key in ("named blocks", "encoded players")),
    ("network", "encoded players"),
    *(("conditional", call_key) for call_key in ("layer", "modality")),
    ("layer", "channel_names"),
    *((argument_name, "vocabulary") for argument_name in ("layer", "tokenizer")),
    *((call_key, "scoring") for call_key in ("local", "own loss", "parts", "loss")),
    *((call_key, "mixed") for call_key in ("estimator", "parts")),
    *((call_key, "masks") for call_key in ("local", "scoring")),
    ("global", "row target"),
    ("engine", "row target"),
    ("parts", "own loss"),
    ("global parts", "tolerance"),
    ("local files", "sample_weight"),
    *(("files", call_key) for call_key in ("row_groups", "row_time", "level loss")),
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
    GLOBAL: "Leave it out and call .to_global() on the result.",
    "row_time": "Pass row_groups if rows of different groups are independent, else "
    "row_time.",
    "masks": "Wrap the network in a module that returns one row of numbers, such as "
    "output.flatten(2).mean(2), or choose method='permutation' without scoring=.",
    "row target": "Pass target= one output, or scope='local' for one of each row.",
}


def is_estimator(model: Any) -> bool:
    """Return whether a model is an estimator of permgrad.

    Their module is not loaded for other models.
    """
    module = sys.modules.get("permgrad.models.estimators.hynn")
    return module is not None and isinstance(
        model, (module.HyNNClassifier, module.HyNNRegressor)
    )


def kind_of_model(model: Any) -> str:
    """Return which of ``MODELS`` a model is."""
    if isinstance(model, nn.Module):
        return "network"
    if is_estimator(model):
        return "estimator"
    return "predictor"


def said_of(
    arguments: Arguments, scope: str, options: Mapping[str, Any], caller_name: str = ""
) -> dict[str, str]:
    """Return what a call says, by its key, in words for messages.

    Args:
        arguments: The user's.
        scope: That of the call.
        options: Options and settings of the method.
        caller_name: Who asks, one of ``CALLERS``, or empty.
    """
    call_facts = {scope: f"scope={scope!r}"}
    call_facts |= _said_of_model(arguments)
    further = ("scoring", "sample_weight", "row_groups", "row_time")
    call_facts |= {
        argument_name: f"{argument_name}="
        for argument_name in further
        if getattr(arguments, argument_name) is not None
    }
    if "loss" in stated(arguments):
        call_facts["loss"] = "loss="
    if callable(arguments.loss):
        call_facts["own loss"] = "a callable loss="
    elif isinstance(arguments.loss, (tuple, list)):
        call_facts["level loss"] = f"loss={shown(arguments.loss)}"
    if arguments.groups is not None:
        call_facts["groups"] = "groups="
    if arguments.level.of_modalities:
        call_facts["modality"] = "groups='modality'"
    if isinstance(arguments.method, Mapping):
        call_facts["mixed"] = CALLERS["mixed"]
    call_facts |= _said_of_options(options, scope)
    if caller_name:
        call_facts[caller_name] = CALLERS[caller_name]
    if caller_name in ("engine", "files"):
        call_facts["parts"] = CALLERS[caller_name]
        call_facts[f"{scope} parts"] = f"{CALLERS[caller_name]} with scope={scope!r}"
        call_facts[f"{scope} {caller_name}"] = call_facts[f"{scope} parts"]
    if not scope_is_open(arguments):
        call_facts |= said_of_reading(arguments, scope)
    return call_facts


def scope_is_open(arguments: Arguments) -> bool:
    """Return whether outputs are read before the scope is known, as the target may be
    one of each row.
    """
    return bool(arguments.scope == AUTO and arguments.target is not None)


def said_of_reading(arguments: Arguments, scope: str) -> dict[str, str]:
    """Return which of ``READ_BY_SOME`` a call says in a scope."""
    call_facts = dict[str, str]()
    for argument_name in stated(arguments):
        words = call_words(argument_name, str(scope))
        call_facts[f"{scope} {argument_name}"] = words
    return call_facts


def _said_of_model(arguments: Arguments) -> dict[str, str]:
    """Return what a call says by its model, and how it is read."""
    model = arguments.model.model
    if model is None:
        return {}
    call_facts = dict[str, str]()
    named = {"network": "a torch network", "estimator": "an estimator of permgrad"}
    model_kind = kind_of_model(model)
    call_facts[model_kind] = named.get(
        model_kind, f"a {type(model).__name__}, which is no network"
    )
    model_settings = {
        setting_name: getattr(arguments.model, setting_name)
        for setting_name in (
            *_OF_NETWORKS,
            "task",
            "class_names",
            "returns",
            "cache",
        )
    }
    call_facts |= {
        setting_name: f"{setting_name}="
        for setting_name, value in model_settings.items()
        if value is not None and not (isinstance(value, tuple) and not value)
    }
    if (
        model_kind == "predictor"
        and arguments.level.of_modalities
        and not hasattr(model, "of_encoded")
    ):
        call_facts["lone modality"] = (
            "groups='modality' for a table, which is one modality"
        )
    return call_facts


def stated(arguments: Arguments) -> list[str]:
    """Return which of ``READ_BY_SOME`` a call says. Defaults say nothing."""
    names = []
    for entry in fields(arguments):
        if entry.name in READ_BY_SOME:
            value = getattr(arguments, entry.name)
            plain = isinstance(value, (str, int, float))
            if value is not entry.default and not (plain and value == entry.default):
                names.append(entry.name)
    return names


def without_unread(
    arguments: Arguments, method: Any, readers: Iterable[Any] = ()
) -> Arguments:
    """Return arguments without those that a method does not read, for callers that pass
    the same to several.

    Args:
        arguments: The call's.
        method: The method.
        readers: The methods that get the same. What none of them reads stays, and is
            warned of. None: nothing stays.
    """
    several = list(readers)
    usual = {entry.name: entry.default for entry in fields(arguments) if entry.init}
    unread = dict[str, Any]()
    for name in stated(arguments):
        is_of_another = not several or any(
            reads(reader, name, arguments.scope) for reader in several
        )
        if is_of_another and not reads(method, name, arguments.scope):
            unread[name] = usual[name]
    return replace(arguments, **unread)


def reads(method: Any, name: str, stated_scope: str) -> bool:
    """Return whether a method reads an argument in a scope that it has.

    Args:
        method: The method.
        name: An argument of ``pg.explain``.
        stated_scope: ``scope=``. One that the method does not have is its first.
    """
    scope = method.scopes[0]
    if stated_scope in method.scopes:
        scope = scopes[stated_scope]
    return name not in READ_BY_SOME or takes(method, f"{scope} {name}")


def _said_of_options(options: Mapping[str, Any], scope: str) -> dict[str, str]:
    """Return what options of methods say that do not go with every other argument."""
    option_facts: dict[str, str] = {}
    if options.get("order", 1) != 1:
        option_facts["order"] = f"order={options['order']!r}"
        option_facts[f"{scope} order"] = (
            f"order={options['order']!r} with scope={scope!r}"
        )
    if options.get("sampling") == "conditional":
        option_facts["conditional"] = "sampling='conditional'"
    if options.get("blocks") is not None:
        option_facts["blocks"] = "blocks="
        if isinstance(options["blocks"], Mapping):
            option_facts |= {"named blocks": "blocks="}
    if isinstance(options.get("players"), str) and options["players"] == "encoded":
        option_facts["encoded players"] = "players='encoded'"
    if options.get("tolerance") is not None:
        option_facts["tolerance"] = f"tolerance={shown(options['tolerance'])}"
    return option_facts


def refuse_apart(
    chosen_method: Method | None, name: str, call_facts: Mapping[str, str]
) -> None:
    """Refuse what a method does not take, and two things said that do not go together.

    Args:
        chosen_method: The method. None: what is asked needs none.
        name: What messages call it.
        call_facts: What the call says, as ``said_of`` returns it.

    Raises:
        InputError: The method does not take one of them, or two exclude each other.
    """
    for call_key, words in call_facts.items():
        if chosen_method is None or _is_read_by_some(call_key):
            continue
        if not takes(chosen_method, call_key):
            raise _not_taken(name, call_key, words)
    for first_key, second_key in APART:
        if first_key in call_facts and second_key in call_facts:
            if first_key in _GIVEN:
                usual = "Leave it out."
            else:
                usual = "Leave one of them out."
            raise refused(
                call_facts[first_key],
                call_facts[second_key],
                _HINTS.get(second_key, usual),
                "PG004" if first_key in MODELS else "PG006",
            )


def takes(method: Any, key: str) -> bool:
    """Return whether a method takes something that is said.

    What is not of methods all take.
    """
    if key in scopes:
        return key in method.scopes
    if isinstance(method, Configured):
        return key not in OF_METHODS or key in method.taken()
    return key not in OF_METHODS or key in method.takes


def tell_of_unread(
    method: Method | None, name: str, call_facts: Mapping[str, str]
) -> None:
    """Warn of arguments that a method does not read: they change nothing.

    They are no error, as callers pass the same to several methods.

    Args:
        method: The method. None: what is asked needs none.
        name: What messages call it.
        call_facts: What the call says, as ``said_of`` returns it.
    """
    if method is None:
        return
    for call_key in filter(_is_read_by_some, call_facts):
        if not takes(method, call_key):
            warn_user(_unread_words(method, name, call_key))


def _is_read_by_some(key: str) -> bool:
    """Return whether something that is said is an argument that some methods read."""
    return key.partition(" ")[2] in READ_BY_SOME


def _unread_words(method: Any, name: str, key: str) -> str:
    """Say that a method does not read an argument, and what helps: an option that says
    the same, another scope, or another method.
    """
    scope_name, _, argument_name = key.partition(" ")
    argument_words = f"{argument_name}="
    hint = _others(key, name)
    for scope in method.scopes:
        if takes(method, f"{scope} {argument_name}"):
            argument_words = call_words(argument_name, scope_name)
            hint = f"Leave it out, or pass {argument_typed('scope', str(scope))}."
    option = getattr(method, "instead", {}).get(argument_name)
    if option is not None:
        hint = f"Pass {as_typed(method, **{option: ...})}."
    return f"method={name!r} does not read {argument_words}. {hint}"


def _not_taken(name: str, key: str, words: str) -> InputError:
    """Return the error of what a method does not take, with which ones do."""
    code = "PG034" if key in MODELS else "PG004"
    return refused(f"method={name!r}", words, _others(key, name), code)


def call_words(argument_name: str, scope: str) -> str:
    """Return how messages call an argument in a scope."""
    return f"{argument_name}= with scope={scope!r}"


def refused(
    who: str, what: str, hint: str = "Leave it out.", code: str = "PG006"
) -> InputError:
    """Return the error of two things that do not go together, in the one form of its
    sentence.
    """
    if who.startswith(("a ", "an ")):
        who = who[0].upper() + who[1:]
    return InputError(f"{who} does not take {what}", hint=hint, code=code)


def _others(key: str, name: str) -> str:
    """Return the hint for a method that does not take something: which ones do."""
    names = []
    for method_name, method in methods.items():
        if takes(method, key) and method_name != name:
            names.append(repr(method_name))
    if names:
        if len(names) > 1:
            last_joint = " or "
        else:
            last_joint = ""
        choose = f"choose {', '.join(names[:-1])}{last_joint}{names[-1]}."
    else:
        choose = ""
    if key in (*MODELS, "refits"):
        return choose[0].upper() + choose[1:]
    leave = _HINTS.get(key, "Leave it out.")
    if choose and key not in scopes:
        return f"{leave[:-1]}, or {choose}"
    return leave
