"""The orders of an explanation: its players, their pairs, and larger interactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from permgrad.attribution.explanation.numbers import Numbers, no_order
from permgrad.base.arrays import Floats
from permgrad.base.checks import is_whole
from permgrad.base.errors import EnvironmentProblem, InputError, shown
from permgrad.base.sequences import positions_of

#: What the features beyond the most important ones are called, where they are one
#: player.
OTHERS = "all other features"


def sizes_of(explanation: Numbers, output: int) -> Floats:
    """Return what names of a global explanation are ranked by: importances, and
    absolute values of interactions.

    Args:
        explanation: Of all rows.
        output: The position of the output.

    Returns:
        Of each name, ``(names,)``.
    """
    values = explanation.values[:, output]
    return np.where(explanation.order > 1, np.abs(values), values)


def _index_and_values(explanation: Numbers, order: int) -> tuple[str, Floats]:
    """Return the name of the index up to an order, and its values."""
    if order == 1:
        return "SV", explanation.values
    index = str(explanation.meta.get("interactions", {}).get("index", "SII"))
    # The index's own values of single players, where they are not the Shapley values.
    return index, explanation.parts.get(index, explanation.values)


def _count_players(explanation: Numbers, names: Sequence[tuple[int, ...]]) -> int:
    """Return how many players there are."""
    if (explanation.order == 1).any() or not explanation.members:
        return int((explanation.order == 1).sum())
    last = max(max(members) for members in names)
    return int(explanation.meta.get("players", last + 1))


def to_shapiq(explanation: Numbers, order: int, row: int, column: int) -> Any:
    """Return ``shapiq.InteractionValues`` of all names up to an order.

    See ``Explanation.to_shapiq``.
    """
    single = (explanation.order == 1).any() or not explanation.members
    orders = sorted({*((1,) if single else ()), int(explanation.order.max(initial=1))})
    if not is_whole(order) or order not in orders:
        raise no_order(orders, order)
    try:
        from shapiq import InteractionValues
    except ImportError as error:
        raise not_installed("shapiq") from error
    index, values = _index_and_values(explanation, order)
    base = explanation.base_values
    if explanation.scope.by_row:
        values = values[_checked_row(row, len(values))]
        base = base[row] if base is not None and base.ndim == 2 else base
    baseline = (
        0.0 if base is None else float(np.atleast_1d(base)[..., column].ravel()[0])
    )
    names = explanation.members or tuple(
        (player_index,) for player_index in range(len(explanation.names))
    )
    lookup = {
        members: name_index
        for name_index, members in enumerate(names)
        if len(members) <= order
    }
    # Interactions alone have no value of the empty set.
    first = [baseline] if single else []
    return InteractionValues(
        np.concatenate(
            [first, np.asarray(values[list(lookup.values()), column], dtype=np.float64)]
        ),
        index=index,
        max_order=order,
        min_order=0 if single else int(explanation.order.min()),
        n_players=_count_players(explanation, names),
        interaction_lookup=positions_of([()] * len(first) + list(lookup)),
        estimated=explanation.std_error is not None,
        baseline_value=baseline,
    )


def _checked_row(row: int, count: int) -> int:
    if not is_whole(row) or not -count <= row < count:
        problem = f"row must be a position from 0 to {count - 1}, got {shown(row)}"
        raise InputError(problem, hint="Pass for example row=0.", code="PG002")
    return row


def not_installed(package: str) -> EnvironmentProblem:
    """Return the error of a conversion that needs a missing package."""
    problem = f"to_{package} needs the package {package}, which is not installed"
    return EnvironmentProblem(
        problem, hint="Run pip install 'permgrad[peers]'.", code="PG060"
    )


def without_common_unit(what: str) -> InputError:
    """Return the error of a comparison of values in different units."""
    problem = (
        f"{what} cannot compare these values: each modality was explained by a "
        "different method"
    )
    return InputError(
        problem,
        hint='Call explanation.plot.features(), or compare parts["share"].',
        code="PG004",
    )
