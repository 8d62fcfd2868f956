"""Tables and targets whose rows are in different orders: they are matched by place, which is hardly ever meant then."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.errors import warn_user


def tell_of_other_order(X: Any, **others: Any) -> None:
    """Warn where a pandas object beside ``X`` has the labels of its rows in another order; the rows stay as they are.

    Args:
        X: table; nothing is said where it is no data frame, or where labels differ otherwise.
        **others: what has a value for each row, by its name.

    Examples:
        >>> import warnings
        >>> X, y = pd.DataFrame({"a": [1, 2]}, index=[7, 8]), pd.Series([3, 4], index=[8, 7])
        >>> with warnings.catch_warnings(record=True) as said:
        ...     warnings.simplefilter("always")
        ...     tell_of_other_order(X, y=y)
        >>> str(said[0].message)
        'X and y are matched by place, however their indexes hold the same labels in another order (row 0 is 7 in X and 8 in y); pass y.loc[X.index], or call reset_index(drop=True) on both where the labels mean nothing'
    """  # noqa: E501 — what is said stands in one line
    if not isinstance(X, pd.DataFrame):
        return
    for name, other in others.items():
        if not isinstance(other, (pd.Series, pd.DataFrame)) or not _same_in_other_order(X.index, other.index):
            continue
        sort = f"pass {name}.loc[X.index]" if X.index.is_unique else "sort both alike"
        row = int(np.argmax(np.asarray(X.index != other.index)))
        warn_user(
            f"X and {name} are matched by place, however their indexes hold the same labels in another order (row "
            f"{row} is {X.index[row]} in X and {other.index[row]} in {name}); {sort}, or call "
            "reset_index(drop=True) on both where the labels mean nothing"
        )


def _same_in_other_order(one: pd.Index[Any], other: pd.Index[Any]) -> bool:
    if len(one) != len(other) or one.nlevels != other.nlevels or one.equals(other) or not other.isin(one).all():
        return False
    return (one.is_unique and other.is_unique) or Counter(one) == Counter(other)
