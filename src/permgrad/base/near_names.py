"""Which argument a wrong keyword was meant to be: what Python says itself from
3.13 on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

from permgrad.base.errors import nearest

C = TypeVar("C", bound=Callable[..., Any])


def with_near_names(
    called: C, *, taken_by: Callable[[str, Mapping[str, Any]], str] | None = None
) -> C:
    """Let a call of a function or class with a keyword that it does not take name the
    near one in its ``TypeError``.

    Args:
        called: the function or class.
        taken_by: of such a keyword and all keywords of the call, what takes it and how
            to write it. Empty: nothing does.

    Examples:
        >>> @with_near_names
        ... def explain(model, *, n_repeats=10):
        ...     return n_repeats
        >>> explain(None, n_repeat=3)
        Traceback (most recent call last):
        TypeError: explain() got an unexpected keyword argument 'n_repeat'. Did you mean
            'n_repeats'?
    """
    if sys.version_info >= (3, 13) and taken_by is None:
        return called
    target: Any = called
    if isinstance(called, type):
        target.__init__ = with_near_names(target.__init__, taken_by=taken_by)
        return called
    code_object = target.__code__
    names = code_object.co_varnames[
        : code_object.co_argcount + code_object.co_kwonlyargcount
    ]

    @wraps(called)
    def call(*args: Any, **keyword_arguments: Any) -> Any:
        for keyword_name in keyword_arguments:
            if keyword_name in names:
                continue
            remedy = ""
            if taken_by is not None:
                remedy = taken_by(keyword_name, keyword_arguments)
            nearest_name = nearest(keyword_name, names)
            if not remedy and nearest_name:
                remedy = f"Did you mean {nearest_name!r}?"
            problem = (
                f"{called.__qualname__}() got an unexpected keyword argument "
                f"{keyword_name!r}"
            )
            raise TypeError(f"{problem}. {remedy}" if remedy else problem)
        return called(*args, **keyword_arguments)

    return call  # type: ignore[return-value]
