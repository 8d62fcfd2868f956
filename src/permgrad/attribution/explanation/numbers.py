"""The numbers of an explanation, which all that is computed from them takes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from permgrad.attribution.scopes import FEATURE, Level, Scope, levels, scopes
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.checks import is_whole
from permgrad.base.errors import InputError, shown, text_of, unknown
from permgrad.base.late import pd
from permgrad.base.sequences import values_at
from permgrad.base.significance import adjusted, adjusted_within


def no_order(orders: list[int], order: Any) -> InputError:
    """Return the error for an order that an explanation does not have."""
    problem = f"order must be one of {', '.join(map(str, orders))}, got {shown(order)}"
    return InputError(
        problem,
        hint="Explain with method=pg.methods.PermGrad(order=2) for pairs.",
        code="PG002",
    )


def arrays_like_values(explanation: Numbers) -> dict[str, Floats]:
    """Return the arrays that are shaped like ``values``, by name: errors, intervals,
    p-values and parts.
    """
    arrays = {}
    for field_name in ("std_error", "low", "high", "p_values"):
        arrays[field_name] = getattr(explanation, field_name)
    stored = {}
    for array_name, array in arrays.items():
        if array is not None:
            stored[array_name] = array
    stored |= {
        f"parts/{part_name}": array for part_name, array in explanation.parts.items()
    }
    stored |= {
        f"part_std/{part_name}": array
        for part_name, array in explanation.part_std.items()
    }
    return stored


@dataclass(frozen=True, eq=False)
class Numbers:
    """The fields of ``Explanation``, and what they say directly."""

    values: Floats
    names: tuple[str, ...]
    modality: tuple[str, ...]
    outputs: tuple[str, ...]
    method: str
    scope: Scope
    std_error: Floats | None = None
    low: Floats | None = None
    high: Floats | None = None
    p_values: Floats | None = None
    correlation: Floats | None = None
    parts: dict[str, Floats] = field(default_factory=dict)
    part_std: dict[str, Floats] = field(default_factory=dict)
    level: Level = FEATURE
    additive: bool = False
    groups: dict[str, list[str]] = field(default_factory=dict)
    branches: dict[str, Any] | None = None
    direction: dict[str, dict[str, Any]] | None = None
    feature_values: pd.DataFrame | None = None
    base_values: Floats | None = None
    predictions: Floats | None = None
    maps: dict[str, Array] = field(default_factory=dict)
    members: tuple[tuple[int, ...], ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Read a pickle, also one from when scopes and levels were names alone."""
        vars(self).update(state)
        object.__setattr__(self, "scope", scopes.get(self.scope))
        object.__setattr__(self, "level", levels.get(self.level))

    def __post_init__(self) -> None:
        """Refuse arrays whose shapes do not fit together."""
        object.__setattr__(self, "scope", scopes.get(self.scope))
        object.__setattr__(self, "level", levels.get(self.level))
        expected_shape = (len(self.names), len(self.outputs))
        has_axes = self.values.ndim == len(self.scope.axes)
        if self.values.shape[-2:] != expected_shape or not has_axes:
            problem = (
                "values must be (features, outputs) if global and (rows, features, "
                "outputs) if local, got shape "
                f"{self.values.shape} with scope={self.scope!r}, {expected_shape[0]} "
                f"names and {expected_shape[1]} outputs"
            )
            raise InputError(problem, hint="Pass an array of that shape.", code="PG007")
        for array_name, array in arrays_like_values(self).items():
            if array.shape != self.values.shape:
                problem = (
                    f"{array_name} must have the shape of values, "
                    f"{self.values.shape}, got {array.shape}"
                )
                raise InputError(
                    problem, hint="Pass an array of that shape.", code="PG007"
                )
        singles = tuple(
            (player_index,)
            for player_index in range(
                sum(len(member_players) == 1 for member_players in self.members)
            )
        )
        if self.members and (
            len(self.members) != expected_shape[0]
            or self.members[: len(singles)] != singles
        ):
            problem = (
                "members must have the players of each of the "
                f"{expected_shape[0]} names, single players first"
            )
            raise InputError(
                problem, hint="Pass for example ((0,), (1,), (0, 1)).", code="PG007"
            )

    @property
    def order(self) -> Integers:
        """How many players each name has, ``(names,)``: 1 for a player, 2 for an
        interaction of two.

        Examples:
            >>> from permgrad import Explanation
            >>> values, names = np.array([[2.0], [1.0]]), ("a", "b")
            >>> explanation = Explanation(
            ...     values, names, ("table",) * 2, ("all",), "permutation", "global"
            ... )
            >>> explanation.order.tolist()
            [1, 1]
        """
        return np.array(
            list(map(len, self.members)) or [1] * len(self.names),
            dtype=np.int64,
        )

    def ci(self) -> tuple[Floats, Floats]:
        """Return both ends of the confidence interval, NaN where the method gives
        none.
        """
        missing = np.full(self.values.shape, np.nan)
        return (
            missing if self.low is None else self.low,
            missing.copy() if self.high is None else self.high,
        )

    @property
    def p_adjusted(self) -> Floats | None:
        """The p-values of an output (and row), adjusted by Holm's steps within each
        modality, or None without p-values.

        The K modalities with a test share the level. Undefined p-values stay NaN, and
        those of features that cannot change the output 1: neither counts as a test.
        Interactions are adjusted for all of their order, also for those that screening
        left out.
        """
        if self.p_values is None:
            return None
        left_out = int(self.meta.get("interactions", {}).get("left_out", 0))
        tests = tests_of(self)
        result = np.empty_like(tests)
        for order in np.unique(self.order):
            order_mask = self.order == order
            order_tests = tests[..., order_mask, :]
            modalities = np.asarray(self.modality)[order_mask].tolist()
            if order == 1:
                result[..., order_mask, :] = adjusted_within(order_tests, modalities)
            else:
                result[..., order_mask, :] = adjusted(order_tests, left_out)
        return np.where(np.isnan(tests), self.p_values, result)

    def output_index(self, target: str | int | None) -> int:
        """Return the position of an output from its name or position.

        None is the first.
        """
        if target is None:
            return 0
        if is_whole(target) and 0 <= target < len(self.outputs):
            return int(target)
        if text_of(target) in self.outputs:
            return self.outputs.index(text_of(target))
        raise unknown("target", target, self.outputs)


def tests_of(numbers: Numbers) -> Floats:
    """Return the p-values that count as tests, else NaN: a feature that cannot change
    the output needs none.
    """
    if numbers.p_values is None or numbers.std_error is None:
        if numbers.p_values is None:
            return np.full(numbers.values.shape, np.nan)
        return numbers.p_values
    is_unmoved = (
        (numbers.values == 0) & (numbers.std_error == 0) & (numbers.order == 1)[:, None]
    )
    return np.where(is_unmoved, np.nan, numbers.p_values)


N = TypeVar("N", bound=Numbers)


def of_order(explanation: N, order: int) -> N:
    """Return the explanation of the names of one order only: 1 for the players, 2 for
    their pairs.

    Without players, order 1 is the lowest there is, so that pairs alone can be shown
    like players.

    Args:
        explanation: Of players, pairs or larger sets.
        order: How many players each name that stays stands for.

    Examples:
        >>> from permgrad import Explanation
        >>> values = np.array([[2.0], [1.0], [-0.5]])
        >>> facts = {"members": ((0,), (1,), (0, 1))}
        >>> names = ("a", "b", "a × b")
        >>> both = Explanation(
        ...     values, names, ("t",) * 3, ("all",), "permutation", "global", **facts
        ... )
        >>> of_order(both, 2).names
        ('a × b',)
    """
    single = is_whole(order) and order == 1
    if single and not explanation.members:
        return explanation
    orders = explanation.order
    wanted_order = order if is_whole(order) else 0
    if single:
        wanted_order = min(orders)
    name_positions = np.flatnonzero(orders == wanted_order)
    if not len(name_positions):
        raise no_order(np.unique(orders).tolist(), order)
    players = orders[name_positions][0] == 1
    if len(name_positions) == len(explanation.names) and not players:
        return explanation
    order_fields: dict[str, Any] = {}
    for field_name in ("values", "std_error", "low", "high", "p_values"):
        array = getattr(explanation, field_name)
        if array is None:
            order_fields[field_name] = None
        else:
            order_fields[field_name] = array[..., name_positions, :]
    for group in ("parts", "part_std"):
        order_fields[group] = {
            part_name: array[..., name_positions, :]
            for part_name, array in getattr(explanation, group).items()
        }
    return replace(
        explanation,
        names=tuple(values_at(explanation.names, name_positions)),
        modality=tuple(values_at(explanation.modality, name_positions)),
        members=()
        if players
        else tuple(values_at(explanation.members, name_positions)),
        correlation=explanation.correlation if players else None,
        meta=explanation.meta
        if players
        else {**explanation.meta, "players": int((orders == 1).sum())},
        **order_fields,
    )
