"""``MethodCall``: what a call says before its model is read, and what its method makes
of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.method_registry import Configured, Method
from permgrad.attribution.request.related_rows import with_columns
from permgrad.attribution.request.takes import (
    is_estimator,
    refuse_apart,
    said_of,
    said_of_reading,
    scope_is_open,
    tell_of_unread,
)
from permgrad.attribution.scopes import AUTO, GLOBAL, LOCAL, Scope, chosen_scope
from permgrad.attribution.subject.functions import as_network
from permgrad.attribution.typed_options import as_typed
from permgrad.base.checks import check_number, check_whole
from permgrad.base.errors import InputError, shown


@dataclass(frozen=True)
class MethodCall:
    """A call, with what its method decides. Nothing in it contradicts another.

    Attributes:
        arguments: The arguments, the model as one that can be called.
        method: The method. None: what is asked needs none.
        name: What messages call the method.
        caller_name: Who asks, one of ``takes.CALLERS``, empty for ``pg.explain``.
        scope: Single rows or all of them.
        options: Options and settings of the method.
        facts: What the call says, by its key in ``takes``, in words.
    """

    arguments: Arguments
    method: Method | None
    name: str
    caller_name: str
    scope: Scope
    options: Mapping[str, Any]
    facts: Mapping[str, str]

    @property
    def by_word(self) -> bool:
        """Whether the method explains words, where a network reads parts of them."""
        return bool(getattr(self.method, "by_word", True))

    @property
    def explains_outputs(self) -> bool:
        """Whether the outputs of a scale are explained, not a loss of theirs."""
        return self.method is None or self.scope in self.method.scales

    @property
    def may_be_by_row(self) -> bool:
        """Whether an output of each row is explained row by row: nobody says how, and
        the method can.
        """
        can_be_local = self.method is not None and LOCAL in self.method.scopes
        return (
            not self.scope.by_row
            and self.arguments.scope == AUTO
            and not self.caller_name
            and can_be_local
        )

    def tell_of_unread(self) -> None:
        """Warn of arguments that the method does not read in this scope, where only the
        outputs say whether the target is one of each row.
        """
        if scope_is_open(self.arguments):
            facts = said_of_reading(self.arguments, self.scope)
            tell_of_unread(self.method, self.name, facts)

    def refuse(self, key: str, words: str) -> None:
        """Refuse what the model makes of the call, if that does not go together.

        Args:
            key: A key of ``takes``, such as ``"masks"``.
            words: What is said, for the message.
        """
        refuse_apart(self.method, self.name, {**self.facts, key: words})


def read_call(
    arguments: Arguments, chosen_method: Method | None, name: str, caller_name: str
) -> MethodCall:
    """Return the call, or refuse what does not go together in it.

    Args:
        arguments: The user's.
        chosen_method: The method, or None.
        name: What messages call it.
        caller_name: Who asks, one of ``takes.CALLERS``, or empty.

    Raises:
        InputError: An option is none of the method's, or two arguments exclude each
            other.
    """
    arguments = _of_networks(arguments)
    if arguments.relates_rows:
        arguments = with_columns(arguments)
    scope, options = resolve_method(chosen_method, arguments.scope)
    facts = said_of(arguments, scope, options, caller_name)
    refuse_apart(chosen_method, name, facts)
    tell_of_unread(chosen_method, name, facts)
    # One of classes says that outputs are scores of classes.
    if "loss" in facts and arguments.y is None and not arguments.speaks_of_classes:
        raise InputError(
            f"loss={shown(arguments.loss)} compares with y, and there is no y",
            hint="Pass y, or leave loss out: then changes of the predictions are "
            "measured.",
            code="PG006",
        )
    return MethodCall(
        arguments, chosen_method, name, caller_name, scope, options, facts
    )


def _of_networks(arguments: Arguments) -> Arguments:
    """Return arguments whose model is a network where it is a function of tensors."""
    model = arguments.model
    if is_estimator(model.model):
        network_model = model
    else:
        network_model = as_network(model, arguments.X)
    if network_model is model:
        return arguments
    return replace(arguments, model=network_model)


def resolve_method(
    chosen_method: Method | None, stated_scope: str
) -> tuple[Scope, dict[str, Any]]:
    """Return the scope of a call and the options of its method, of which those that
    several methods share are checked here.

    Args:
        chosen_method: The method. None: what is asked needs none.
        stated_scope: ``scope=``. ``"auto"`` is the method's first scope, and global
            without a method.

    Returns:
        The scope, and the method's options and settings by name.

    Raises:
        InputError: The method has no such scope, or an option is not what it takes.
    """
    options = {} if chosen_method is None else chosen_method.settings()
    usual_scope = GLOBAL if chosen_method is None else chosen_method.scopes[0]
    scope = chosen_scope(stated_scope, usual_scope)
    if not isinstance(chosen_method, Configured):  # options of another library
        return scope, options
    chosen_method.check_types()
    chosen_method.tell_of_unread(scope)
    if "order" in options:
        check_whole("order", options["order"], "pass 2 for pairs")
        pairs = options.get("pairs", "auto")
        if not (isinstance(pairs, str) and pairs == "auto"):
            _check_pairs(chosen_method, pairs, options["order"])
    if isinstance(options.get("tolerance"), str) and options["tolerance"] == "auto":
        options["tolerance"] = None
    if "incremental" in options and options["tolerance"] is not None:
        check_number(
            "tolerance", options["tolerance"], "pass for example 0.01, or None"
        )
    return scope, options


def fields_of(method: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that its method and resolved options decide.

    Args:
        method: The method, or None.
        options: Its resolved options.
    """
    return {
        "method": method,
        "sampling": options.get("sampling", "marginal"),
        "tolerance": options.get("tolerance"),
        "incremental": bool(options.get("incremental", True)),
    }


def _check_pairs(method: Any, pairs: Any, order: int) -> None:
    """Refuse a number of pairs that is none, or beside no pairs or larger sets."""
    if not (isinstance(pairs, str) and pairs == "all"):
        check_whole(
            "pairs",
            pairs,
            "Pass 'auto', 'all' or the number of pairs that are measured on all rows.",
        )
    if order != 2 and not (order > 2 and pairs == "all"):
        problem = f"pairs={pairs!r} needs order=2, got order={order}"
        raise InputError(
            problem,
            hint=f"Pass {as_typed(method, order=2, pairs=pairs)}, or leave pairs out.",
            code="PG006",
        )
