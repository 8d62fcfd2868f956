"""Which of two classes is the positive one: what metrics, thresholds, plots and
one-column outputs speak of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Array
from permgrad.base.errors import InputError, did_you_mean, shown
from permgrad.data.read.cells import canonical

#: Of two equally frequent classes the one that is called so is positive.
_YES = ("1", "yes", "true")
#: Short classes in which capitals mean nothing. In other short ones they may: Aa, aa.
_SHORT_WORDS = ("no", "on", "y", "n", "t", "f")


def spelling(text: str) -> str:
    """Return a class as it is compared with others: YES and "yes " are one."""
    words = " ".join(text.split())
    if len(words) > 2 or words.casefold() in _SHORT_WORDS:
        return words.casefold()
    return words


def one_spelling(counts: Mapping[str, int]) -> dict[str, str]:
    """Return for classes that are the same as a more frequent one but for their
    spelling what that one is called.

    Examples:
        >>> one_spelling({"yes ": 2, "Yes": 30, "YES": 1, "no": 40, "Aa": 7, "aa": 9})
        {'yes ': 'Yes', 'YES': 'Yes'}
    """
    usual: dict[str, str] = {}
    for class_name in sorted(counts, key=lambda text: (-counts[text], text)):
        usual.setdefault(spelling(class_name), class_name)
    return {
        class_text: usual[spelling(class_text)]
        for class_text in counts
        if usual[spelling(class_text)] != class_text
    }


def usual_positive(classes: Sequence[Any] | Array, codes: npt.ArrayLike) -> int:
    """Return the place of the positive class by rows' ``codes``, as ``rarer`` does by
    counts.
    """
    return rarer(
        classes,
        [int(np.sum(np.asarray(codes) == class_index)) for class_index in (0, 1)],
    )


def rarer(classes: Sequence[Any] | Array, counts: Sequence[int] | Array) -> int:
    """Return the place of the rarer of two classes.

    Of equally frequent ones 1, yes or true, or the second.
    """
    first, second = map(int, counts)
    if first != second:
        return int(second < first)
    named = []
    for class_index in (0, 1):
        if canonical(classes[class_index]).strip().casefold() in _YES:
            named.append(class_index)
    if len(named) == 1:
        return named[0]
    return 1


def find_positive(classes: Sequence[Any] | Array, level: Any) -> int:
    """Return the position of the one of two classes that a user calls positive.

    1, 1.0 and "1" are one level.
    """
    names = list(map(canonical, classes))
    if len(names) != 2:
        if names:
            prediction = f"{len(names)} classes are predicted"
        else:
            prediction = "a number is predicted"
        problem = f"A positive class is one of two, but {prediction} here"
        raise InputError(
            problem, hint="Leave --positive (positive=) out.", code="PG035"
        )
    if isinstance(level, (str, int, float, np.generic)):
        positive_name = canonical(level)
    else:
        positive_name = ""
    if positive_name not in names:
        suggestion = did_you_mean(positive_name, names)
        if suggestion:
            guess = f"{suggestion} "
        else:
            guess = ""
        class_hint = f"{guess}The classes are {' and '.join(map(repr, names))}.".strip()
        raise InputError(
            f"Positive class {shown(level)} not found", hint=class_hint, code="PG035"
        )
    return names.index(positive_name)
