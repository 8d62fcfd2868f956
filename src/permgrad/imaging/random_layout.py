"""The control: the same pixels as the assignment layout, but who sits where is left to chance."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from permgrad.base.random import generator
from permgrad.imaging.assignment import block_cells
from permgrad.imaging.layout import PlacedLayout, Positions, layouts


@layouts.register("random")
class RandomLayout(PlacedLayout):
    """Places columns at random on the compact block that the assignment layout uses.

    It answers the question whether it matters that correlated columns are neighbours, so it differs from
    `AssignmentLayout` in nothing else: the same block, one column per pixel.

    Args:
        pixels: Side of the grid; it grows when there are more columns than pixels.
        random_state: As in scikit-learn.

    Examples:
        >>> layout = RandomLayout(20, random_state=0).fit(np.eye(6))
        >>> layout.collisions
        0
    """

    name: ClassVar[str] = "random"

    def __init__(self, pixels: int = 20, *, random_state: Any = None) -> None:
        super().__init__(pixels, random_state=random_state)

    def _place(self, encoded: npt.NDArray[np.float64], seed: int) -> Positions:
        columns = encoded.shape[1]
        cells = block_cells(columns, self.pixels)
        chosen = generator(seed, "layout", "random").permutation(len(cells))[:columns]
        return cells[chosen]
