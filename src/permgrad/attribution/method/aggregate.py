"""``aggregate``: the mean of several methods' importances, each brought to shares of its own sum (AGG)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from permgrad.attribution.build import build, shown_outputs
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request, Scope, methods
from permgrad.attribution.request import resolve_options
from permgrad.attribution.subject.network import BatchError
from permgrad.base.errors import InputError, shown, warn_user

Floats = npt.NDArray[np.float64]

#: AGG of the published work.
MEMBERS = ("gradient", "permutation", "lime", "shapley")


@methods.register("aggregate")
class Aggregate:
    """Mean of several methods' shares: absolute importances divided by their sum, for each output.

    Each member is called with the same request; a local one is summarised by its mean absolute value over the rows.
    ``all`` of a method that explains outputs is the sum over the outputs, and its class k is output k; of a method that
    explains the loss, class k are the rows of that class. There is no interval: the members share rows and network, so
    that their spread is disagreement and not error.

    Options:
        members: names of registered methods, or a mapping from names to options of each.

    Members that refuse the network or its inputs (gradients of whole numbers) are left out with a warning; two must
    remain. ``parts`` holds each member's shares.
    """

    scopes: ClassVar[tuple[Scope, ...]] = ("global",)
    options: ClassVar[Mapping[str, Any]] = {"members": MEMBERS}

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        every = ("all", *request.subject.class_names)
        outputs = tuple(every[place] for place in shown_outputs(request))
        shares: dict[str, Floats] = {}
        left_out: dict[str, str] = {}
        quantities: dict[str, Any] = {}
        evaluated = 0
        for name, options in _members(request.options["members"]).items():
            try:
                explanation = _explain(request, name, options)
            except BatchError:
                raise  # The network itself is at fault: that is no refusal of this member.
            except InputError as error:
                left_out[name] = str(error)
                continue
            shares[name] = _shares(explanation, outputs)
            quantities[name] = explanation.meta.get("quantity")
            evaluated += int(explanation.meta.get("model_rows") or 0)
        reasons = "; ".join(f"{name!r}: {reason}" for name, reason in left_out.items())
        if len(shares) < 2:
            remain = ", ".join(map(repr, shares)) or "none"
            raise InputError(
                f"aggregate needs at least two members that can explain the model, however: {remain} can ({reasons}); "
                "pass other members="
            )
        if left_out:
            warn_user(
                f"aggregate should average all its members, however: it leaves out those that refuse ({reasons}); pass "
                "members= without them"
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
        return build(request, "aggregate", values, facts, outputs=outputs, parts=shares, additive=True, maps={})


def _members(asked_for: Any) -> dict[str, dict[str, Any]]:
    """Return the members and their options; refuse what is not a method, or too few."""
    if isinstance(asked_for, Mapping):
        members = {str(name): {} if options is None else options for name, options in asked_for.items()}
    elif isinstance(asked_for, Iterable) and not isinstance(asked_for, (str, bytes)):
        members = {str(name): {} for name in asked_for}
    else:
        raise InputError(
            "members must be names of methods, or a mapping from names to their options, "
            f"however: members={shown(asked_for)}; pass for example members=('permutation', 'lime')"
        )
    for name, options in members.items():
        method: Any = methods.get(name)
        if not isinstance(options, Mapping):
            raise InputError(
                f"options of a member must be a mapping from their names, however: {name!r} has {shown(options)}; pass "
                f"for example members={{{name!r}: {{}}}}"
            )
        if name == "aggregate":
            raise InputError("members must be methods of their own, however: 'aggregate' is among them; leave it out")
        resolve_options(method, name, dict(options))
    if len(members) < 2:
        raise InputError(f"aggregate needs at least two members, however: members={list(members)}; name another")
    return members


def _explain(request: Request, name: str, options: Mapping[str, Any]) -> Explanation:
    """Return a member's global importance."""
    method = methods.get(name)
    scope = method.scopes[0]
    explanation = method()(replace(request, scope=scope, options={**method.options, **options}))
    if explanation.names != request.space.names:
        raise InputError(
            f"members must explain the same players, however: {name!r} explains {', '.join(explanation.names[:5])}; "
            "leave it out"
        )
    return explanation.to_global("mean_abs") if explanation.scope == "local" else explanation


def _shares(explanation: Explanation, outputs: tuple[str, ...]) -> Floats:
    """Return absolute values divided by their sum, ``(players, outputs)``; 0 where all are 0."""
    values, columns = np.abs(explanation.values), []
    for name in outputs:
        if name in explanation.outputs:
            columns.append(values[:, explanation.outputs.index(name)])
        elif name == "all":
            columns.append(values.sum(axis=1))
        else:
            # A single output: what speaks for one class speaks against the other.
            columns.append(values[:, 0] if values.shape[1] == 1 else np.full(len(values), np.nan))
    stacked = np.stack(columns, axis=1)
    total = stacked.sum(axis=0, keepdims=True)
    # NaN stays NaN: a class without rows has no importance.
    return np.where(total == 0, 0.0, stacked / np.where(total == 0, 1.0, total))
