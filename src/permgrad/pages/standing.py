"""How the features of an explanation stand: their order, and what is certain of it.

Charts, tabs and sentences of one explanation share these answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from permgrad.pages.summaries import clear_names
from permgrad.pages.words import shown_ranks

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.explanation.ranks import Ranks


@dataclass(frozen=True)
class Standing:
    """The features of an output of a global explanation.

    Examples:
        >>> from permgrad import Explanation
        >>> facts = {"p_values": np.array([[0.4], [0.001]])}
        >>> names = ("a", "b")
        >>> explained = Explanation(
        ...     np.array([[1.0], [2.0]]),
        ...     names,
        ...     ("t",) * 2,
        ...     ("all",),
        ...     "permutation",
        ...     "global",
        ...     **facts,
        ... )
        >>> Standing(explained).names, Standing(explained).clear
        (['b', 'a'], ['b'])
    """

    explanation: Explanation
    column: int = 0

    @cached_property
    def names(self) -> list[str]:
        """The names by falling importance."""
        return self.explanation.ranking(self.column)

    @cached_property
    def tested(self) -> list[str] | None:
        """The names that clearly matter, or None without a test."""
        return clear_names(self.explanation, self.column)

    @property
    def clear(self) -> list[str]:
        """The names that clearly matter."""
        return self.tested or []

    @cached_property
    def ranks(self) -> Ranks | None:
        """Which ranks are certain, or None where errors are not known."""
        return shown_ranks(self.explanation, self.column)

    @cached_property
    def idle(self) -> list[int]:
        """Positions of the features that the model does not use: their importance is 0
        for certain.
        """
        lower_ends, upper_ends = self.explanation.ci()
        numbers = np.stack([self.explanation.values, lower_ends, upper_ends])
        positions: list[int] = np.flatnonzero(
            (numbers[:, :, self.column] == 0).all(axis=0)
        ).tolist()
        return positions
