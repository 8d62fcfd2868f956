"""What a number is that a user passes: whole or real, Python's or NumPy's, and never a truth value."""

from __future__ import annotations

import math
import numbers
from typing import Any, TypeGuard

from permgrad._errors import InputError


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether a value is one whole number; an array with one number in it is none.

    Examples:
        >>> import numpy as np
        >>> [is_whole(value) for value in (3, np.int64(3), True, 3.0, np.array([3]))]
        [True, True, False, False, False]
    """
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is one number that float64 can hold, infinities included.

    Examples:
        >>> import numpy as np
        >>> [is_number(value) for value in (3, 0.5, math.inf, math.nan, "1", np.array([1.0]), 10**400)]
        [True, True, True, False, False, False, False]
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return not math.isnan(float(value))
    except OverflowError:
        return False


def check_whole(name: str, value: Any, fix: str, *, least: int | None = 1) -> int:
    """Return a whole number as one of Python.

    Args:
        name: of the argument.
        value: what was passed.
        fix: what to do instead, the end of the message.
        least: the smallest number allowed; None for any.

    Raises:
        InputError: No whole number, or one that is too small.

    Examples:
        >>> import numpy as np
        >>> check_whole("threads", np.int64(2), "pass 1")
        2
        >>> check_whole("threads", 1.5, "pass for example 2")
        Traceback (most recent call last):
        permgrad._errors.InputError: threads must be an integer of at least 1, however: threads=1.5; pass for example 2
    """
    if not is_whole(value) or (least is not None and value < least):
        words = "" if least is None else f" of at least {least}"
        raise InputError(f"{name} must be an integer{words}, however: {name}={value!r}; {fix}")
    return int(value)
