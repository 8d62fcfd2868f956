"""How options of a method are passed to ``pg.explain``, as messages tell users to type
it.
"""

from __future__ import annotations

from typing import Any


def as_typed(method: Any, **options: Any) -> str:
    """Return how options of a method are typed.

    Args:
        method: The method, its class, or the name of its class.
        options: Their values. ``...`` stands for one that users choose.

    Examples:
        >>> as_typed("Shapley", order=2)
        'method=pg.methods.Shapley(order=2)'
        >>> as_typed("Lime", samples=...)
        'method=pg.methods.Lime(samples=...)'
    """
    class_name = method
    if isinstance(method, type):
        class_name = method.__name__
    elif not isinstance(method, str):
        class_name = type(method).__name__
    option_texts = []
    for option_name, value in options.items():
        value_text = "..." if value is ... else repr(value)
        option_texts.append(f"{option_name}={value_text}")
    return f"method=pg.methods.{class_name}({', '.join(option_texts)})"
