"""How options of a method are passed to ``pg.explain``, or to the command that runs, as
messages tell users to type it.
"""

from __future__ import annotations

from typing import Any

from permgrad.base.registry import of_kind
from permgrad.base.typed import as_option


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
        >>> from permgrad.base.typed import typed_for
        >>> with typed_for("explain"):
        ...     as_typed("IntegratedGradients", steps=64)
        '--method integrated_gradients --option steps=64'
    """
    class_name = method
    if isinstance(method, type):
        class_name = method.__name__
    elif not isinstance(method, str):
        class_name = type(method).__name__
    if as_method := as_option("method", _registered_name(class_name)):
        option_words = [as_method]
        for option_name, value in options.items():
            option_words.append(as_option(option_name, value))
        return " ".join(option_words)
    option_texts = []
    for option_name, value in options.items():
        value_text = "..." if value is ... else repr(value)
        option_texts.append(f"{option_name}={value_text}")
    return f"method=pg.methods.{class_name}({', '.join(option_texts)})"


def _registered_name(class_name: str) -> str:
    """Return what ``method=`` and ``--method`` call a class of methods."""
    for method_name, method in of_kind.get("method", {}).items():
        if method.__name__ == class_name:
            return method_name
    return class_name
