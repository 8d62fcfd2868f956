"""The errors users meet. Every message is the rule, then the fact, then the fix, in one sentence or two."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable


class PermgradError(Exception):
    """Base of every error that permgrad raises on purpose.

    ``exit_code`` is what the command line ends with.
    """

    exit_code: int = 1


class InputError(PermgradError, ValueError):
    """What the user gave cannot be used: a file, a column, an option, a model. Exit code 2."""

    exit_code = 2


class EnvironmentProblem(PermgradError, OSError):  # noqa: N818 — it is what the user has, a problem around them
    """The surroundings do not allow the work: network, disk, a missing extra. Exit code 3."""

    exit_code = 3


class PermgradWarning(UserWarning):
    """Something the user should know that does not stop the work."""


def warn_user(message: str) -> None:
    """Warn with the line of the caller's own code, however deep inside the package it happens."""
    depth, frame = 1, sys._getframe(0)  # noqa: SLF001 — the documented way to walk up the stack
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    warnings.warn(message, PermgradWarning, stacklevel=depth)


#: How many known names a message lists.
_LISTED = 20


def suggest(given: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest known name, or an empty string.

    Examples:
        >>> suggest("gradcan", ["gradcam", "lime"])
        " (did you mean 'gradcam'?)"
    """
    near = difflib.get_close_matches(str(given), [str(name) for name in known], n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def error_in_words(error: BaseException) -> str:
    """Return an error's type and text in one line, also where it cannot be printed.

    Examples:
        >>> error_in_words(KeyError("age")), error_in_words(ValueError())
        ("KeyError: 'age'", 'ValueError')
    """
    try:
        text = " ".join(str(error).split())[:300]
    except Exception:  # noqa: BLE001 — the user's own error may not even be printed
        text = ""
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural where it is not one.

    Examples:
        >>> counted(1, "part"), counted(12000, "row")
        ('1 part', '12,000 rows')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def unknown(kind: str, given: object, known: Iterable[str]) -> InputError:
    """Build the error for a name that is not in a fixed list.

    Examples:
        >>> str(unknown("method", "gradcan", ["gradcam", "lime"]))
        "method must be one of 'gradcam', 'lime', however: method='gradcan' (did you mean 'gradcam'?)"
    """
    names = list(known)
    listed = ", ".join(repr(name) for name in names[:_LISTED])
    if len(names) > _LISTED:
        listed += f" … ({len(names)} in all)"
    return InputError(f"{kind} must be one of {listed}, however: {kind}={given!r}{suggest(str(given), names)}")
