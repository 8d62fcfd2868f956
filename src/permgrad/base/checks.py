"""Checks of single arguments: numbers, booleans, names, paths.

Each returns the value or raises ``InputError``.
"""

from __future__ import annotations

import errno
import math
import numbers
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, overload

from permgrad.base.errors import InputError, shown, unknown
from permgrad.base.late import np

if TYPE_CHECKING:
    from permgrad.base.arrays import Floats

#: Counts are at most this: the most that every library below can hold.
MOST = 2**31 - 1


def is_whole(value: Any) -> TypeGuard[int]:
    """Return whether a value is one integer. Arrays with one number are not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is one number that float64 can hold, infinities included."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return not math.isnan(float(value))
    except OverflowError:
        return False


def is_finite_number(value: Any) -> TypeGuard[float]:
    """Whether a value is one number that float64 can hold, infinities excluded."""
    return is_number(value) and math.isfinite(value)


def check_whole(name: str, value: Any, fix: str, *, least: int | None = 1) -> int:
    """Return a whole number of at least ``least`` (None: any) as one of Python.

    ``fix`` ends the message.
    """
    if not is_whole(value) or (least is not None and value < least):
        if least is None:
            words = ""
        else:
            words = f" of at least {least}"
        raise InputError(
            f"{name} must be an integer{words}, got {shown(value)}",
            hint=fix,
            code="PG002",
        )
    if value > MOST:
        raise InputError(
            f"{name} must be at most {MOST:,}, got {shown(value)}",
            hint=fix,
            code="PG002",
        )
    return int(value)


def check_number(name: str, value: Any, fix: str, *, above_zero: bool = False) -> float:
    """Return a finite number of at least 0, or above 0, as one of Python."""
    if not is_number(value) or not 0 <= value < math.inf or (above_zero and value == 0):
        if above_zero:
            words = "above 0"
        else:
            words = "of at least 0"
        raise InputError(
            f"{name} must be a finite number {words}, got {shown(value)}",
            hint=fix,
            code="PG002",
        )
    return float(value)


def check_confidence(value: Any, name: str = "confidence") -> float:
    """Return the share of cases in which an interval is meant to hold, as a number of
    Python.
    """
    if not is_number(value) or not 0 < value < 1:
        raise InputError(
            f"{name} must be between 0 and 1, got {shown(value)}",
            "Pass for example 0.95.",
            "PG002",
        )
    return float(value)


def as_numbers(name: str, value: Any, fix: str, code: str = "PG001") -> Floats:
    """Return numbers as a float64 array of any shape, without a copy if possible.

    ``fix`` is the hint of the refusal. Lists of complex numbers are refused by NumPy.
    """
    try:
        # A complex array would lose its imaginary parts with no more than a warning.
        if getattr(value, "dtype", None) is None or np.asarray(value).dtype.kind != "c":
            return np.asarray(value, dtype=np.float64)
    except (
        TypeError,
        ValueError,
        OverflowError,
        RuntimeError,
    ):  # the last: a tensor that wants gradients
        pass
    raise InputError(
        f"{name} must be numbers, got {shown(value)}", hint=fix, code=code
    ) from None


@overload
def check_flag(name: str, value: Any) -> bool: ...
@overload
def check_flag(
    name: str, value: Any, *, auto: Literal[True]
) -> bool | Literal["auto"]: ...
def check_flag(name: str, value: Any, *, auto: bool = False) -> bool | Literal["auto"]:
    """Return True or False, or "auto" if that is a choice.

    1, "False" and an array can only be guessed: refused.
    """
    if auto and isinstance(value, str) and value == "auto":
        return "auto"
    if not isinstance(value, (bool, np.bool_)):
        if auto:
            choices = "'auto', True or False"
        else:
            choices = "True or False"
        raise InputError(f"{name} must be {choices}, got {shown(value)}", code="PG001")
    return bool(value)


def check_path(name: str, value: Any, fix: str = "pass text or a pathlib.Path") -> Path:
    """Return text or an ``os.PathLike`` as a path. Bytes and open files are refused."""
    if isinstance(value, (str, os.PathLike)):
        path_text = os.fspath(value)
    else:
        path_text = None
    reason = ""
    if isinstance(path_text, str):
        try:
            os.lstat(path_text)
        except (
            ValueError
        ) as error:  # a null character, or one that the system's encoding has not
            reason = f" ({error})"
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                reason = " (the name is too long)"
            else:
                reason = ""
        if not reason:
            return Path(path_text)
    raise InputError(
        f"{name} must be a path, got {shown(value)}{reason}", hint=fix, code="PG001"
    )


def check_names(name: str, value: Any, fix: str) -> tuple[str, ...]:
    """Return names as a tuple. A single name becomes a tuple of one."""
    try:
        names = (value,) if isinstance(value, str) else tuple(value)
    except TypeError:
        names = (None,)
    if isinstance(value, (bytes, Mapping)) or not all(
        isinstance(entry, str) for entry in names
    ):
        raise InputError(
            f"{name} must list names, got {shown(value)}", hint=fix, code="PG001"
        )
    return names


def check_class_names(names: Iterable[object]) -> None:
    """Refuse a class, or another output, that is called as explanations call all of
    them together.
    """
    if any(str(class_name) == "all" for class_name in names):
        problem = (
            "A class must not be called 'all': explanations use that name for "
            "all classes together"
        )
        raise InputError(
            problem, hint="Rename the class, for example to 'every'.", code="PG008"
        )


def check_kind(name: str, value: Any, kinds: Any, rule: str, fix: str) -> None:
    """Refuse a value of another type than ``kinds``: it must be what ``rule`` says."""
    if not isinstance(value, kinds):
        raise InputError(
            f"{name} must be {rule}, got {shown(value)}", hint=fix, code="PG001"
        )


def check_rows(
    name: str, values: Any, rows: int, fix: str = "Pass the values of the same rows."
) -> None:
    """Refuse what does not hold one value for each of the rows."""
    if np.shape(values) != (rows,):
        problem = (
            f"{name} must have one value for each of the {rows} rows, got the "
            f"shape {np.shape(values)}"
        )
        raise InputError(problem, hint=fix, code="PG007")


def check_choice(
    kind: str, value: object, choices: Iterable[str], patterns: Iterable[str] = ()
) -> None:
    """Refuse what is not one of some names, whatever it is: an array or a list as
    well.
    """
    names = list(choices)
    if not isinstance(value, str) or value not in names:
        raise unknown(kind, value, names, patterns)
