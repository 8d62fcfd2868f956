"""The orders of an explanation: its players, their pairs, the strongest first, and larger interactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from permgrad.base.arrays import Booleans, Floats
from permgrad.base.checks import is_whole
from permgrad.base.errors import EnvironmentProblem, InputError, shown
from permgrad.base.significance import LEVEL

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: What the features beyond the most important ones are called, where they are one player.
OTHERS = "all other features"


def no_order(orders: list[int], order: Any) -> InputError:
    """Return the error for an order that an explanation does not have."""
    return InputError(
        f"order must be one of {', '.join(map(str, orders))}, got {shown(order)}",
        hint="Pass interactions=2 to pg.explain for pairs.",
        code="PG002",
    )


def sizes_of(explanation: Explanation, output: int) -> Floats:
    """Return what names of a global explanation are ranked by: importances, and absolute values of interactions."""
    values = explanation.values[:, output]
    return np.where(explanation.order > 1, np.abs(values), values)


class RankedPairs(NamedTuple):
    """The pairs of an explanation, the largest absolute value first. ``clear``: the adjusted p is below 0.05."""

    names: tuple[tuple[str, str], ...]
    values: Floats
    low: Floats
    high: Floats
    p_adjusted: Floats
    clear: Booleans


def pairs_of(explanation: Explanation, output: str | int | None = None) -> RankedPairs:
    """Return the pairs of an explanation with interactions. Those of a local one are means of absolute values.

    Such a mean is always above 0, so that none of them is clear.
    """
    signed = explanation.scope == "global"
    explanation = explanation if signed else explanation.to_global("mean_abs")
    pairs, column = explanation.of_order(2), explanation.output_index(output)
    order = np.argsort(-np.nan_to_num(np.abs(pairs.values[:, column]), nan=-np.inf), kind="stable")
    undefined = np.full(pairs.values.shape, np.nan)
    adjusted = undefined if pairs.p_adjusted is None else pairs.p_adjusted
    values, low, high, p_adjusted = (each[order, column] for each in (pairs.values, *pairs.ci(), adjusted))
    members = (pairs.members[place] for place in order)
    names = tuple((explanation.names[first], explanation.names[second]) for first, second in members)
    return RankedPairs(names, values, low, high, p_adjusted, (p_adjusted < LEVEL) & signed)


def to_shapiq(explanation: Explanation, order: int, row: int, column: int) -> Any:
    """Return ``shapiq.InteractionValues`` of all names up to an order. See ``Explanation.to_shapiq``."""
    single = (explanation.order == 1).any() or not explanation.members
    orders = sorted({*((1,) if single else ()), int(explanation.order.max(initial=1))})
    if not is_whole(order) or order not in orders:
        raise no_order(orders, order)
    try:
        from shapiq import InteractionValues
    except ImportError as error:
        raise not_installed("shapiq") from error
    index = "SV"
    values, base = explanation.values, explanation.base_values
    if order > 1:
        index = str(explanation.meta.get("interactions", {}).get("index", "SII"))
        # The index's own values of single players, where they are not the Shapley values.
        values = explanation.parts.get(index, values)
    if explanation.scope == "local":
        values = values[_checked_row(row, len(values))]
        base = base[row] if base is not None and base.ndim == 2 else base
    baseline = 0.0 if base is None else float(np.atleast_1d(base)[..., column].ravel()[0])
    names = explanation.members or tuple((place,) for place in range(len(explanation.names)))
    lookup = {members: place for place, members in enumerate(names) if len(members) <= order}
    # Interactions alone have no value of the empty set.
    first = [baseline] if single else []
    players = int((explanation.order == 1).sum()) if single else max(max(members) for members in names) + 1
    return InteractionValues(
        np.concatenate([first, np.asarray(values[list(lookup.values()), column], dtype=np.float64)]),
        index=index,
        max_order=order,
        min_order=0 if single else int(explanation.order.min()),
        n_players=players if single else int(explanation.meta.get("players", players)),
        interaction_lookup={members: place for place, members in enumerate([()] * len(first) + list(lookup))},
        estimated=explanation.std is not None,
        baseline_value=baseline,
    )


def _checked_row(row: int, count: int) -> int:
    if not is_whole(row) or not -count <= row < count:
        raise InputError(
            f"row must be a position from 0 to {count - 1}, got {shown(row)}",
            hint="Pass for example row=0.",
            code="PG002",
        )
    return row


def not_installed(package: str) -> EnvironmentProblem:
    """Return the error of a conversion that needs a missing package."""
    return EnvironmentProblem(
        f"to_{package} needs the package {package}, which is not installed",
        hint="Run pip install 'permgrad[peers]'.",
        code="PG060",
    )


def without_common_unit(what: str) -> InputError:
    """Return the error of a comparison of values in different units."""
    return InputError(
        f"{what} cannot compare these values: each modality was explained by a different method",
        hint='Call explanation.plot.features(), or compare parts["share"].',
        code="PG004",
    )
