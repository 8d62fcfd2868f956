"""TINTO: columns sit where a projection of the transposed training table puts them
(Castillo-Cara et al. 2023).

The numerical choices are TINTOlib 1.3.1's, so that pictures equal the arrays that it
writes in its npy format.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, ClassVar, Literal

import numpy as np

from permgrad.base.arrays import Floats
from permgrad.base.checks import check_choice, check_flag, check_whole, is_whole
from permgrad.base.errors import InputError, shown
from permgrad.base.threads import warning_filters
from permgrad.imaging.layout import Blur, PlacedLayout, Positions, layouts

_ALGORITHMS = ("PCA", "t-SNE")
_OPTIONS = ("mean", "maximum")
_PERPLEXITY = 50.0


@layouts.register("tinto")
class TintoLayout(PlacedLayout):
    """The layout of TINTO, equal to TINTOlib's for ``algorithm="PCA"``.

    Columns may fall on one pixel: without a blur the last of them is drawn and the
    others are not seen, as in TINTOlib. `collisions` counts them. The defaults are
    TINTOlib's.

    NOTE[DIFF]: where TINTOlib stops or divides 0 by 0 (one column, columns all alike,
    t-SNE with fewer points than its perplexity) the columns sit in the middle, or the
    perplexity is lowered. TINTOlib's ``submatrix=False`` is not offered.

    Args:
        pixels: Side of the grid. Pixels are shared, so it never grows.
        random_state: Not used: the layout depends on ``random_seed``, as in TINTOlib,
            so that it is the published one.
        algorithm: The projection, ``"PCA"`` or ``"t-SNE"``.
        blur: Whether columns are painted with fading discs around their pixels.
        amplification: Factor of the discs' intensity.
        distance: Pixels between one disc's radius and the next.
        steps: Number of discs.
        option: What a pixel shows where blurred columns meet, ``"mean"`` or
            ``"maximum"``.
        times: How often t-SNE's table is doubled.
        random_seed: Seed of the projection.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(50, 4))
        >>> layout = TintoLayout(20).fit(rows)
        >>> layout.positions.shape, layout.collisions
        ((4, 2), 0)
    """

    name: ClassVar[str] = "tinto"
    shares: ClassVar[bool] = True

    def __init__(
        self,
        pixels: int = 20,
        *,
        random_state: Any = None,
        algorithm: Literal["PCA", "t-SNE"] = "PCA",
        blur: bool = False,
        amplification: float = math.pi,
        distance: int = 2,
        steps: int = 4,
        option: Literal["mean", "maximum"] = "mean",
        times: int = 4,
        random_seed: int = 1,
    ) -> None:
        super().__init__(pixels, random_state=random_state)
        check_choice("algorithm", algorithm, _ALGORITHMS)
        check_choice("option", option, _OPTIONS)
        # Ten doublings are a thousand times the rows of t-SNE's table.
        if not is_whole(times) or not 0 <= times <= 10:
            problem = f"times must be an integer from 0 to 10, got {shown(times)}"
            raise InputError(
                problem,
                hint="Each one doubles t-SNE's table: pass for example times=4.",
                code="PG002",
            )
        self.algorithm = algorithm
        self.times = int(times)
        self.random_seed = check_whole(
            "random_seed", random_seed, "pass for example 1", least=0
        )
        discs = Blur(
            amplification, distance, steps
        )  # refused where it makes no sense, drawn or not
        if check_flag("blur", blur):
            self.blur = discs
        else:
            self.blur = None
        if blur:
            self.overlap = option
        else:
            self.overlap = "last"

    def _place(self, encoded: Floats, seed: int) -> Positions:  # noqa: ARG002 — see random_state
        return square_positions(self._project(encoded), self.pixels)

    def _project(self, encoded: Floats) -> Floats:
        """Return two coordinates for each column."""
        from sklearn.decomposition import PCA
        from sklearn.preprocessing import MinMaxScaler

        points = MinMaxScaler().fit_transform(encoded).T
        columns, row_count = points.shape
        coordinates = np.zeros((columns, 2))
        # One column, or columns all alike: there is no direction to project on.
        if np.all(points == points[:1]):
            return coordinates
        if self.algorithm == "t-SNE":
            return self._project_tsne(points)
        components = min(2, columns, row_count)
        model = PCA(n_components=components, random_state=self.random_seed)
        coordinates[:, :components] = model.fit(points).transform(points)
        return coordinates

    def _project_tsne(self, points: Floats) -> Floats:
        from sklearn.manifold import TSNE

        columns = len(points)
        copies = 2**self.times
        # Two points and two rows at least: alone there is no direction, and they do not
        # come here.
        table = np.tile(points, (copies, 1))
        if len(table) > _PERPLEXITY:
            perplexity = _PERPLEXITY
        else:
            perplexity = (len(table) - 1) / 3
        model = TSNE(
            n_components=2,
            random_state=self.random_seed,
            perplexity=perplexity,
            init="pca",
        )
        with warning_filters, warnings.catch_warnings():
            # Copies of a column are equal points: their share of the start's variance
            # is 0/0, which t-SNE survives.
            warnings.simplefilter("ignore", RuntimeWarning)
            embedded = model.fit_transform(table)
        mean_coordinates: Floats = (
            embedded.astype(np.float64).reshape(copies, columns, 2).mean(axis=0)
        )
        return mean_coordinates


def square_positions(coordinates: Floats, pixels: int) -> Positions:
    """Return the pixel ``(columns, 2)`` of each point in a square around their mean.

    The second axis points down.

    The half side is the largest distance from the mean, rounded up to a whole number.
    """
    centred = coordinates - np.mean(coordinates, axis=0, keepdims=True)
    reach = math.ceil(np.max(np.sqrt(centred[:, 0] ** 2 + centred[:, 1] ** 2)))
    half_side = max(reach, 1)
    corner = np.array([-half_side, half_side])
    # The order of the operations decides which way an exact half is rounded, so it is
    # TINTOlib's.
    scaled = ((centred - corner) / (2 * half_side)) * (pixels - 1)
    positions: Positions = np.round(np.abs(scaled)).astype(np.int64)
    return positions
