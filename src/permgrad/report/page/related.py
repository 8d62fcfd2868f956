"""The sentence that says which features move with those that clearly matter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: Features of one group, and groups, that are named.
_MEMBERS, _GROUPS = 8, 4


def related_words(pairs: Sequence[Mapping[str, Any]], names: Sequence[str], show: Callable[[str], str] = str) -> str:
    """Return one sentence on the features that move with some of the names; empty where none does.

    Args:
        pairs: ``feature, other, strength, kind``, as a run's ``explanations/related.json`` holds them.
        names: the features that were named, in rank order.
        show: how a name is written.

    Examples:
        >>> pairs = [{"feature": "x7", "other": "x2", "strength": 0.9, "kind": "correlation"}]
        >>> related_words(pairs, ["x7"])
        'x7 moves with x2 (correlation 0.9), so importance may be shared between them.'
        >>> pairs += [{"feature": "x7", "other": "x1", "strength": -0.62, "kind": "correlation"}]
        >>> related_words(pairs, ["x7"])
        'x7, x2 and x1 move together (correlation 0.62 to 0.9), so importance may be shared between them.'
    """
    groups: list[dict[str, None]] = []
    for pair in pairs:
        if pair["feature"] in names:
            joined = [group for group in groups if pair["feature"] in group or pair["other"] in group]
            merged = {name: None for group in joined for name in group} | {pair["feature"]: None, pair["other"]: None}
            groups = [group for group in groups if group not in joined] + [merged]
    if not groups:
        return ""
    order = {name: place for place, name in enumerate(names)}
    said = [_group_words(sorted(group, key=lambda name: order.get(name, len(order))), pairs, show) for group in groups]
    more = [f"so do {len(said) - _GROUPS} more groups"] if len(said) > _GROUPS else []
    return f"{'; '.join([*said[:_GROUPS], *more])}, so importance may be shared between them."


def _group_words(group: Sequence[str], pairs: Sequence[Mapping[str, Any]], show: Callable[[str], str]) -> str:
    own = [pair for pair in pairs if pair["feature"] in group and pair["other"] in group]
    kind = "correlation" if all(pair["kind"] == "correlation" for pair in own) else "association"
    if len(group) == 2:
        strength = _text(float(own[0]["strength"]))
        return f"{show(group[0])} moves with {show(group[1])} ({kind} {strength})"
    names = [show(name) for name in group[:_MEMBERS]]
    names += [f"{len(group) - _MEMBERS} more"] if len(group) > _MEMBERS else []
    low, high = (_text(end(abs(float(pair["strength"])) for pair in own)) for end in (min, max))
    reach = low if low == high else f"{low} to {high}"
    return f"{', '.join(names[:-1])} and {names[-1]} move together ({kind} {reach})"


def _text(value: float) -> str:
    return f"{value:.2g}".replace("-", "−")
