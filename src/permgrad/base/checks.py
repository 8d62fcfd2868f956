"""What a single argument must be: a number, a truth value, one of some names; the sentences that refuse the rest."""

from __future__ import annotations

import errno
import math
import numbers
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeGuard

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError, shown, unknown

#: Counts are at most this: the most that every library below can hold.
MOST = 2**31 - 1


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


def is_finite_number(value: Any) -> TypeGuard[float]:
    """Whether a value is one number that float64 can hold, infinities excluded.

    Examples:
        >>> [is_finite_number(value) for value in (3, 0.5, math.inf, "1")]
        [True, True, False, False]
    """
    return is_number(value) and math.isfinite(value)


def check_whole(name: str, value: Any, fix: str, *, least: int | None = 1) -> int:
    """Return a whole number as one of Python.

    Args:
        name: of the argument.
        value: what was passed.
        fix: what to do instead, the end of the message.
        least: the smallest number allowed; None for any.

    Raises:
        InputError: No whole number, or one that is too small, or above ``MOST``.

    Examples:
        >>> import numpy as np
        >>> check_whole("threads", np.int64(2), "pass 1")
        2
        >>> check_whole("threads", 1.5, "pass for example 2")
        Traceback (most recent call last):
        permgrad.InputError: threads must be an integer of at least 1, however: threads=1.5; pass for example 2
    """
    if not is_whole(value) or (least is not None and value < least):
        words = "" if least is None else f" of at least {least}"
        raise InputError(f"{name} must be an integer{words}, however: {name}={shown(value)}; {fix}")
    if value > MOST:
        raise InputError(f"{name} must be at most {MOST:,}, however: {name}={shown(value)}; {fix}")
    return int(value)


def check_number(name: str, value: Any, fix: str, *, above_zero: bool = False) -> float:
    """Return a finite number of at least 0, or above 0, as one of Python.

    Raises:
        InputError: No number, or one that is too small or not finite.

    Examples:
        >>> check_number("tolerance", 1, "pass for example 0.01")
        1.0
        >>> check_number("tolerance", float("nan"), "pass for example 0.01")
        Traceback (most recent call last):
        permgrad.InputError: tolerance must be a finite number of at least 0, however: tolerance=nan; pass for \
example 0.01
    """
    if not is_number(value) or not 0 <= value < math.inf or (above_zero and value == 0):
        words = "above 0" if above_zero else "of at least 0"
        raise InputError(f"{name} must be a finite number {words}, however: {name}={shown(value)}; {fix}")
    return float(value)


def check_confidence(value: Any) -> float:
    """Return the share of cases in which an interval is meant to hold, as a number of Python.

    Raises:
        InputError: No number, or one that is not between 0 and 1.

    Examples:
        >>> check_confidence(95)
        Traceback (most recent call last):
        permgrad.InputError: confidence must lie between 0 and 1, however: confidence=95; pass for example 0.95
    """
    if not is_number(value) or not 0 < value < 1:
        raise InputError(
            f"confidence must lie between 0 and 1, however: confidence={shown(value)}; pass for example 0.95"
        )
    return float(value)


def as_numbers(name: str, value: Any, fix: str) -> npt.NDArray[np.float64]:
    """Return numbers as an array of float64, of whatever shape they are; nothing is copied that is one already.

    Raises:
        InputError: Something else than real numbers.

    Examples:
        >>> as_numbers("scores", [1, 0.5], "pass a list")
        array([1. , 0.5])
        >>> as_numbers("scores", ["high", "low"], "pass a list of numbers")
        Traceback (most recent call last):
        permgrad.InputError: scores must be numbers, however: scores=['high', 'low']; pass a list of numbers
    """
    try:
        # A complex array would lose its imaginary parts with no more than a warning.
        if getattr(value, "dtype", None) is None or np.asarray(value).dtype.kind != "c":
            return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last: a tensor that wants gradients
        pass
    raise InputError(f"{name} must be numbers, however: {name}={shown(value)}; {fix}") from None


def check_flag(name: str, value: Any) -> bool:
    """Return True or False; 1, "False" and an array are refused, as what they mean can only be guessed.

    Raises:
        InputError: Neither True nor False.

    Examples:
        >>> check_flag("signed", "False")
        Traceback (most recent call last):
        permgrad.InputError: signed must be True or False, however: signed='False'; pass one of them
    """
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name} must be True or False, however: {name}={shown(value)}; pass one of them")
    return bool(value)


def check_flag_or_auto(name: str, value: Any) -> bool | Literal["auto"]:
    """Return True, False or "auto".

    Raises:
        InputError: Something else.

    Examples:
        >>> check_flag_or_auto("progress", "auto"), check_flag_or_auto("progress", False)
        ('auto', False)
    """
    if isinstance(value, str) and value == "auto":
        return "auto"
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name} must be 'auto', True or False, however: {name}={shown(value)}; pass one of them")
    return bool(value)


def check_path(name: str, value: Any, fix: str = "pass text or a pathlib.Path") -> Path:
    """Return a path; text and ``os.PathLike`` are, bytes and open files are not.

    Raises:
        InputError: No path, or one that no file of this system can have. Whether there is a file is not asked.

    Examples:
        >>> check_path("folder", "model").name
        'model'
        >>> check_path("folder", None)
        Traceback (most recent call last):
        permgrad.InputError: folder must be a path, however: folder=None; pass text or a pathlib.Path
    """
    if isinstance(value, (str, os.PathLike)):
        path = os.fspath(value)
        if isinstance(path, str):
            if (why := _no_name(path)) is not None:
                raise InputError(f"{name} must be a path, however: {name}={shown(value)} ({why}); {fix}")
            return Path(path)
    raise InputError(f"{name} must be a path, however: {name}={shown(value)}; {fix}")


def _no_name(path: str) -> str | None:
    """Return why no file can have this name, None if one can."""
    try:
        os.lstat(path)
    except ValueError as error:  # a null character, or one that the system's encoding has not
        return str(error)
    except OSError as error:
        return "the name is too long" if error.errno == errno.ENAMETOOLONG else None
    return None


def check_names(name: str, value: Any, fix: str) -> tuple[str, ...]:
    """Return names as a tuple; one name alone stands for itself.

    Raises:
        InputError: Something else than names.

    Examples:
        >>> check_names("models", "linear", "pass names"), check_names("models", ["a", "b"], "pass names")
        (('linear',), ('a', 'b'))
        >>> check_names("models", 7, "pass for example models=['default', 'linear']")
        Traceback (most recent call last):
        permgrad.InputError: models must list names, however: models=7; pass for example models=['default', \
'linear']
    """
    listed = [value] if isinstance(value, str) else value
    try:
        names = None if isinstance(listed, (bytes, Mapping)) else tuple(listed)
    except TypeError:
        names = None
    if names is not None and all(isinstance(own, str) for own in names):
        return names
    raise InputError(f"{name} must list names, however: {name}={shown(value)}; {fix}")


def check_class_names(names: Iterable[object]) -> None:
    """Refuse a class, or another output, that is called as explanations call all of them together.

    Raises:
        InputError: One is.

    Examples:
        >>> check_class_names(["some", "all"])
        Traceback (most recent call last):
        permgrad.InputError: no class may be called 'all', which explanations call all classes together, \
however: one is; rename it, for example to 'every'
    """
    if any(str(name) == "all" for name in names):
        raise InputError(
            "no class may be called 'all', which explanations call all classes together, however: one is; rename it, "
            "for example to 'every'"
        )


def check_choice(kind: str, given: object, known: Iterable[str]) -> None:
    """Refuse what is not one of some names, whatever it is: an array or a list as well.

    Examples:
        >>> check_choice("output", "logit", ["logit", "probability"])
    """
    names = list(known)
    if not isinstance(given, str) or given not in names:
        raise unknown(kind, given, names)
