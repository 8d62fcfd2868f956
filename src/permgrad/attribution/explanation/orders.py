"""The orders of an explanation: its players, their pairs and larger interactions, and how names of each are read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.arrays import Floats, Indexes
from permgrad.base.checks import is_whole
from permgrad.base.errors import EnvironmentProblem, InputError, shown
from permgrad.base.significance import adjusted

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


def check_members(members: tuple[tuple[int, ...], ...], names: int) -> None:
    """Refuse players of names that do not fit: single players come first, in their order."""
    players = sum(len(each) == 1 for each in members)
    if members and (len(members) != names or members[:players] != tuple((place,) for place in range(players))):
        raise InputError(
            f"members must have the players of each of the {names} names, single players first",
            hint="Pass for example ((0,), (1,), (0, 1)).",
            code="PG007",
        )


def places_of(explanation: Explanation, order: int) -> Indexes:
    """Return the positions of the names of one order, or refuse an order without any.

    Without players, order 1 is the lowest there is, so that pairs alone can be shown like players.
    """
    orders = explanation.order
    single = is_whole(order) and order == 1
    wanted = orders.min() if single and len(orders) else order
    places = np.flatnonzero(orders == wanted) if is_whole(order) else np.empty(0, np.intp)
    if not len(places) and (explanation.members or not single):
        raise _no_order(np.unique(orders).tolist(), order)
    return places


def _no_order(orders: list[int], order: Any) -> InputError:
    return InputError(
        f"order must be one of {', '.join(map(str, orders))}, got {shown(order)}",
        hint="Pass interactions=2 to pg.explain for pairs.",
        code="PG002",
    )


def lowest_order(explanation: Explanation) -> int:
    """Return 1, or the order of interactions that are alone."""
    return int(min(explanation.order, default=1))


def sizes_of(explanation: Explanation, output: int) -> Floats:
    """Return what names of a global explanation are ranked by: importances, and absolute values of interactions."""
    values = explanation.values[:, output]
    return np.where(explanation.order > 1, np.abs(values), values)


def of_order(explanation: Explanation, order: int) -> Explanation:
    """Return the explanation of the names of one order only."""
    places = places_of(explanation, order)
    single = explanation.order[places].max(initial=1) == 1
    if not explanation.members or (len(places) == len(explanation.names) and not single):
        return explanation

    def chosen(array: Floats | None) -> Floats | None:
        return None if array is None else array[..., places, :]

    some: dict[str, Any] = {name: chosen(getattr(explanation, name)) for name in ("std", "low", "high", "p_values")}
    for group in ("parts", "part_std"):
        some[group] = {name: chosen(array) for name, array in getattr(explanation, group).items()}
    return replace(
        explanation,
        values=explanation.values[..., places, :],
        names=tuple(explanation.names[place] for place in places),
        modality=tuple(explanation.modality[place] for place in places),
        members=() if single else tuple(explanation.members[place] for place in places),
        correlation=explanation.correlation if single else None,
        meta=explanation.meta if single else {**explanation.meta, "players": int((explanation.order == 1).sum())},
        **some,
    )


def adjusted_by_order(explanation: Explanation) -> Floats | None:
    """Return the p-values adjusted among the names of one order. Those that screening left out count as tests."""
    if explanation.p_values is None:
        return None
    left_out = int(explanation.meta.get("interactions", {}).get("left_out", 0))
    result = np.empty_like(explanation.p_values)
    for order in np.unique(explanation.order):
        places = explanation.order == order
        result[..., places, :] = adjusted(explanation.p_values[..., places, :], left_out if order > 1 else 0)
    return result


def to_shapiq(explanation: Explanation, order: int, row: int, column: int) -> Any:
    """Return ``shapiq.InteractionValues`` of all names up to an order. See ``Explanation.to_shapiq``."""
    single = (explanation.order == 1).any() or not explanation.members
    orders = sorted({*((1,) if single else ()), int(explanation.order.max(initial=1))})
    if not is_whole(order) or order not in orders:
        raise _no_order(orders, order)
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
