"""Deletion and insertion curves: what the loss does as features are taken away, or given back, in order of importance.

A caveat that every table of these figures carries: a curve replaces features in a certain way, and favours methods that
probe in the same way; on images it favours blurry maps, because neighbouring pixels go together. A curve tells whether
a ranking fits *this network under this replacement*, not whether an importance is true. Where the truth is known, use
that.

Sources: Petsiuk et al. 2018 (RISE, arXiv 1806.07421), who replace pixels by constants; here features are replaced by
those of another row, so that each stays within its own distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curves:
    """Mean loss along both curves.

    Attributes:
        deletion: Loss with the 0, 1, …, P most important features replaced ``(features + 1,)``.
        insertion: Loss with only the 0, 1, …, P most important features kept ``(features + 1,)``.
    """

    deletion: Floats
    insertion: Floats

    @property
    def deletion_area(self) -> float:
        """Mean of the deletion curve between its ends as 0 and 1: higher is better, 0.5 for a straight line.

        NaN where replacing everything changes nothing.
        """
        return _area(self.deletion, self.deletion[0], self.deletion[-1])

    @property
    def insertion_area(self) -> float:
        """Mean of the insertion curve between complete and empty as 0 and 1: lower is better.

        NaN where replacing everything changes nothing.
        """
        return _area(self.insertion, self.insertion[-1], self.insertion[0])


def _area(curve: Floats, zero: float, one: float) -> float:
    if one == zero:
        return float("nan")
    scaled = (curve - zero) / (one - zero)
    return float(np.mean((scaled[1:] + scaled[:-1]) / 2))


def faithfulness_curves(
    loss: Callable[[npt.NDArray[Any]], Floats],
    rows: npt.NDArray[Any],
    donors: npt.NDArray[Any],
    columns: Mapping[str, npt.NDArray[np.intp]],
    ranking: Sequence[str],
) -> Curves:
    """Compute the deletion and the insertion curve of a ranking.

    Args:
        loss: The loss of each row ``(rows,)`` of a table ``(rows, columns)`` that has been edited.
        rows: The rows ``(rows, columns)``.
        donors: For each row another one ``(rows, columns)`` from which replaced features come.
        columns: The columns of each feature.
        ranking: Features from the most to the least important; each exactly once.

    Examples:
        >>> rows, donors = np.zeros((1, 2)), np.ones((1, 2))
        >>> curves = faithfulness_curves(
        ...     lambda x: 3 * x[:, 0] + x[:, 1], rows, donors, {"a": np.array([0]), "b": np.array([1])}, ["a", "b"]
        ... )
        >>> curves.deletion.tolist(), curves.deletion_area, curves.insertion_area
        ([0.0, 3.0, 4.0], 0.625, 0.375)
    """
    if sorted(ranking) != sorted(columns):
        raise InputError(
            "ranking must name each feature exactly once, however: "
            f"it names {len(ranking)}, {len(set(ranking) & set(columns))} of the {len(columns)} features"
        )
    if rows.shape != donors.shape:
        raise InputError(f"rows and donors must have one shape, however: {rows.shape} and {donors.shape}")
    deleted, inserted = rows.copy(), donors.copy()
    deletion, insertion = [float(np.mean(loss(deleted)))], [float(np.mean(loss(inserted)))]
    for name in ranking:
        places = columns[name]
        deleted[:, places] = donors[:, places]
        inserted[:, places] = rows[:, places]
        deletion.append(float(np.mean(loss(deleted))))
        insertion.append(float(np.mean(loss(inserted))))
    return Curves(np.array(deletion), np.array(insertion))
