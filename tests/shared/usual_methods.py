"""The methods that explain estimators and networks of any kind: all of them, with few
draws.
"""

from __future__ import annotations

from typing import Any

from permgrad.attribution import methods

#: In an order of their own: that of their registration depends on what is imported
#: first.
USUAL = sorted(methods)
#: Each method with each of its scopes.
CASES = [(name, scope) for name in USUAL for scope in methods.get(name).scopes]
#: Few draws, by the name of an option or of an inner setting.
_FEW: dict[str, Any] = {
    "min_permutations": 4,
    "max_permutations": 8,
    "references": 8,
    "samples": 120,
    "members": ("gradient", "permutation"),
}
#: The same of methods that go backwards through the network for each draw.
_FEW_BACKWARD: dict[str, Any] = {"samples": 4, "max_steps": 16}


def few_draws(name: str, **otherwise: Any) -> dict[str, Any]:
    """Return options of a method with which it draws little. What is asked then must
    not depend on precision.

    A new method has those of its options that are called as others are. ``otherwise``:
    other values for methods that have such options.
    """
    method = methods.get(name)
    few = (_FEW_BACKWARD if method.by_output else _FEW) | otherwise
    available = {**method.options, **method.inner}
    return {option: value for option, value in few.items() if option in available}
