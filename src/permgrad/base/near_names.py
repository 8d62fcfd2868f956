"""Which argument a wrong keyword was meant to be: what Python says itself from
3.13 on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from permgrad.base.errors import nearest

C = TypeVar("C", bound=Callable[..., Any])


def with_near_names(called: C) -> C:
    """Let a call of a function or class with a keyword that it does not take name the
    near one in its ``TypeError``.

    Examples:
        >>> @with_near_names
        ... def explain(model, *, n_repeats=10):
        ...     return n_repeats
        >>> explain(None, n_repeat=3)
        Traceback (most recent call last):
        TypeError: explain() got an unexpected keyword argument 'n_repeat'. Did you mean
            'n_repeats'?
    """
    if sys.version_info >= (3, 13):
        return called
    target: Any = called
    if isinstance(called, type):
        target.__init__ = with_near_names(target.__init__)
        return called
    code_object = target.__code__
    names = code_object.co_varnames[
        : code_object.co_argcount + code_object.co_kwonlyargcount
    ]

    @wraps(called)
    def call(*args: Any, **keyword_arguments: Any) -> Any:
        for keyword_name in keyword_arguments:
            if keyword_name not in names:
                nearest_name = nearest(keyword_name, names)
                problem = (
                    f"{called.__qualname__}() got an unexpected keyword argument "
                    f"{keyword_name!r}"
                )
                raise TypeError(
                    problem
                    + (f". Did you mean {nearest_name!r}?" if nearest_name else "")
                )
        return called(*args, **keyword_arguments)

    return call  # type: ignore[return-value]
