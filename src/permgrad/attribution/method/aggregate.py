"""``aggregate``: the mean of several methods' importances, each divided by its sum
(AGG).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.request import Configured, Request, Scope, methods, name_of
from permgrad.attribution.request.method_call import fields_of, resolve_method
from permgrad.attribution.request.method_registry import READ_BY_SOME, USUAL
from permgrad.attribution.request.result import build, shown_outputs
from permgrad.attribution.request.takes import takes
from permgrad.attribution.scopes import GLOBAL
from permgrad.attribution.subject.network import BatchError
from permgrad.attribution.typed_options import as_typed
from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError, shown, warn_user
from permgrad.base.sequences import values_at

#: AGG of the published work.
MEMBERS = ("gradient", "permutation", "lime", "shapley")


@methods.register("aggregate")
class Aggregate(Configured):
    """Mean of several methods' shares: absolute importances divided by their sum, for
    each output.

    Each member is called with the same request. A local one is summarised by its mean
    absolute value over the rows. For a method that explains outputs, ``all`` is the sum
    over the outputs and class k is output k. For a method that explains the loss, class
    k covers the rows of that class. There is no interval: the members share rows and
    network, so their spread shows disagreement, not error.

    Options:
        members: methods, by name or as of ``pg.methods``.

    Members that refuse the network or its inputs (gradients of whole numbers) are left
    out with a warning. Two must remain. ``parts`` holds each member's shares.

    Examples:
        >>> import torch, permgrad as pg
        >>> net, X = torch.nn.Linear(3, 1), torch.randn(40, 3)
        >>> method = pg.methods.Aggregate(members=("gradient", "permutation"))
        >>> explanation = pg.explain(net, X, net(X).detach()[:, 0], method=method)
        >>> list(explanation.parts)
        ['gradient', 'permutation']
    """

    scopes: ClassVar[tuple[Scope, ...]] = (GLOBAL,)
    takes: ClassVar[frozenset[str]] = (USUAL - {"global confidence"}) | frozenset(
        {"global n_repeats", "global loss"}
    )
    members: Iterable[Any] = MEMBERS

    def taken(self) -> frozenset[str]:
        """Return what it takes: of what only some methods read, what its members do."""
        members = _members(self.members).values()
        unread = set[str]()
        for name in READ_BY_SOME:
            if not any(
                takes(method, f"{method.scopes[0]} {name}") for method in members
            ):
                unread.add(f"global {name}")
        return self.takes - unread

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        every = ("all", *request.subject.outputs.class_names)
        outputs = tuple(values_at(every, shown_outputs(request)))
        shares: dict[str, Floats] = {}
        left_out: dict[str, str] = {}
        quantities: dict[str, Any] = {}
        evaluated = 0
        for member_name, method in _members(self.members).items():
            try:
                explanation = _explain(request, member_name, method)
            except BatchError:
                raise  # The network itself is at fault, not this member.
            except InputError as error:
                left_out[member_name] = error.message
                continue
            shares[member_name] = _shares(explanation, outputs)
            quantities[member_name] = explanation.meta.get("quantity")
            evaluated += int(explanation.meta.get("model_rows") or 0)
        reasons = " ".join(
            f"{excluded_name!r}: {reason}" for excluded_name, reason in left_out.items()
        )
        if len(shares) < 2:
            if shares:
                remain = f"only {next(iter(shares))!r}"
            else:
                remain = "none"
            problem = (
                "aggregate needs at least two members that can explain the "
                f"model, and {remain} can ({reasons})"
            )
            raise InputError(
                problem,
                hint=f"Pass {as_typed(self, members=...)} with others.",
                code="PG034",
            )
        if left_out:
            warn_user(
                "aggregate leaves out members that cannot explain the model "
                f"({reasons}). Pass {as_typed(self, members=...)} without them."
            )
        facts = {
            "quantity": "mean share of the importance over methods",
            "unit": "share",
            "members": list(shares),
            "member_quantities": quantities,
            "left_out": left_out,
            "model_rows": evaluated,
        }
        values = np.mean(list(shares.values()), axis=0)
        return build(
            request,
            "aggregate",
            values,
            facts,
            outputs=outputs,
            parts=shares,
            additive=True,
            maps={},
        )


def _members(asked_for: Any) -> dict[str, Configured]:
    """Return the members by name. Refuse unknown methods and fewer than two."""
    if not isinstance(asked_for, Iterable) or isinstance(
        asked_for, (str, bytes, Mapping)
    ):
        problem = (
            "members must be methods, by name or as of pg.methods, got "
            f"{shown(asked_for)}"
        )
        raise InputError(
            problem,
            hint=f"Pass {as_typed(Aggregate, members=('permutation', 'lime'))}.",
            code="PG001",
        )
    members: dict[str, Configured] = {}
    for member in asked_for:
        method: Any
        if isinstance(member, Configured):
            method = member
        else:
            method = methods.get(member)()
        members[name_of(method)] = method
        if isinstance(method, Aggregate):
            raise InputError(
                "members must not contain 'aggregate'",
                hint="Leave it out.",
                code="PG006",
            )
    if len(members) < 2:
        problem = f"aggregate needs at least two members, got {list(members)}"
        raise InputError(problem, hint="Add another method.", code="PG005")
    return members


def _explain(request: Request, name: str, method: Any) -> Explanation:
    """Return a member's global importance."""
    scope, options = resolve_method(method, "auto")
    explanation = method(
        replace(
            request,
            scope=scope,
            **fields_of(method, options),
        )
    )
    if explanation.names != request.space.names:
        problem = (
            f"Member {name!r} explains other players "
            f"({', '.join(explanation.names[:5])})"
        )
        raise InputError(problem, hint="Leave it out.", code="PG034")
    if explanation.scope.by_row:
        return explanation.to_global("mean_abs")
    return explanation


def _shares(explanation: Explanation, outputs: tuple[str, ...]) -> Floats:
    """Return absolute values divided by their sum, ``(players, outputs)``, or 0 where
    all are 0.
    """
    values = np.abs(explanation.values)
    columns = []
    for output_name in outputs:
        if output_name in explanation.outputs:
            columns.append(values[:, explanation.outputs.index(output_name)])
        elif output_name == "all":
            columns.append(values.sum(axis=1))
        else:
            # A single output: evidence for one class is evidence against the other.
            columns.append(
                values[:, 0] if values.shape[1] == 1 else np.full(len(values), np.nan)
            )
    stacked = np.stack(columns, axis=1)
    total = stacked.sum(axis=0, keepdims=True)
    # NaN stays NaN: a class without rows has no importance.
    return np.where(total == 0, 0.0, stacked / np.where(total == 0, 1.0, total))
