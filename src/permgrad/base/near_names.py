"""Which argument a wrong keyword was meant to be: what Python says itself from 3.13 on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from permgrad.base.errors import nearest

C = TypeVar("C", bound=Callable[..., Any])


def with_near_names(called: C) -> C:
    """Let a call of a function or class with a keyword that it does not take name the near one in its ``TypeError``.

    Examples:
        >>> @with_near_names
        ... def explain(model, *, n_repeats=10):
        ...     return n_repeats
        >>> explain(None, n_repeat=3)
        Traceback (most recent call last):
        TypeError: explain() got an unexpected keyword argument 'n_repeat'. Did you mean 'n_repeats'?
    """
    if sys.version_info >= (3, 13):
        return called
    target: Any = called
    if isinstance(called, type):
        target.__init__ = with_near_names(target.__init__)
        return called
    code = target.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    @wraps(called)
    def call(*args: Any, **given: Any) -> Any:
        for name in given:
            if name not in names:
                near = nearest(name, names)
                problem = f"{called.__qualname__}() got an unexpected keyword argument {name!r}"
                raise TypeError(problem + (f". Did you mean {near!r}?" if near else ""))
        return called(*args, **given)

    return call  # type: ignore[return-value]
