"""Rendering: encoded rows become pictures, differentiable, whole batches at once, on any device, in any precision.

Each encoded column is brought to 0…1 with its training minimum and maximum and drawn at its pixel, with or without
TINTO's blur. `Renderer.render_region` draws a part of the picture alone, at the cost of that part, for methods that
replace one column.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.base.checks import as_numbers, check_flag, check_number, check_whole
from permgrad.base.errors import InputError
from permgrad.imaging.layout import Layout, StoredLayout, check_layout, layout_to_dict

Box = tuple[int, int, int, int]
"""A half-open box of pixels: first row, row behind the last, first column, column behind the last."""

_DENSE_WEIGHTS = 2_000_000
_KEPT_PLANS = 256
_CACHED_ROWS = 512


@dataclass(frozen=True)
class _Plan:
    """What a box of the picture needs: which columns, where they go, and constants on one device in one precision.

    ``kind`` is "place" (each column has a pixel of its own), "pool" (columns share pixels, no blur), "dense" or
    "filter" (blur and mean), or "winner" (blur and maximum).
    """

    kind: str
    height: int
    width: int
    columns: Tensor | None  # None: all, in order
    minimum: Tensor
    scale: Tensor
    targets: Tensor | None = None
    weights: Tensor | None = None
    touched: Tensor | None = None
    padded: tuple[int, int] = (0, 0)
    boxes: tuple[tuple[Box, tuple[int, int]], ...] = ()


class Renderer(nn.Module):
    """Draws encoded rows as pictures.

    It has neither parameters nor buffers: its few constants follow the device and the dtype of the rows. A column's
    value is ``(x − minimum) / (maximum − minimum)``, a column that was constant in training is drawn as ``x −
    minimum``, as scikit-learn's MinMaxScaler does. Rows outside the training range leave 0…1 unless ``clip``; then
    the gradient there is 0.

    Where columns share a pixel, the layout's ``overlap`` decides. Without a blur: the last column, the plain mean, or
    the maximum. With a blur, as TINTOlib computes it: the sum divided by the number of columns that paint a value
    *above zero* there, or the maximum of these and zero.

    Shape:
        input ``(n, encoded)``, output ``(n, channels, pixels, pixels)``.

    Args:
        layout: A fitted layout; only its positions, pixels, overlap and blur are kept.
        minimum: Training minimum of each encoded column.
        maximum: Training maximum of each encoded column.
        channels: Number of equal channels (3 in the published networks).
        scale: Value of a column at its training maximum (255 in the published networks).
        clip: Whether values outside the training range are drawn as 0 or 1.

    Raises:
        InputError: if the layout is not fitted or the range does not fit it.

    Examples:
        >>> from permgrad.imaging import StoredLayout
        >>> renderer = Renderer(StoredLayout([[0, 0], [1, 1]], pixels=2), minimum=[0, 0], maximum=[1, 4])
        >>> renderer(torch.tensor([[0.5, 1.0]]))
        tensor([[[[0.5000, 0.0000],
                  [0.0000, 0.2500]]]])
    """

    differentiable = True

    def __init__(
        self,
        layout: Layout,
        minimum: npt.ArrayLike,
        maximum: npt.ArrayLike,
        channels: int = 1,
        scale: float = 1.0,
        clip: bool = False,
    ) -> None:
        super().__init__()
        positions, pixels, overlap, blur = check_layout(layout)
        self.layout = StoredLayout(positions, pixels, overlap, blur, str(getattr(layout, "name", "stored")))
        self.layout.grown = bool(getattr(layout, "grown", False))
        self.positions = positions
        self.overlap = overlap
        self.blur = blur
        self.height = self.width = pixels
        self.minimum = _check_range("minimum", minimum, len(positions))
        self.maximum = _check_range("maximum", maximum, len(positions))
        if np.any(self.maximum < self.minimum):
            worst = int(np.argmax(self.minimum - self.maximum))
            raise InputError(
                f"maximum must be at least minimum for each encoded column, however: column {worst} has "
                f"minimum={self.minimum[worst]:g}, maximum={self.maximum[worst]:g}; swap them"
            )
        self.channels = check_whole("channels", channels, "pass 1 or 3")
        self.scale = check_number("scale", scale, "pass 1 or 255", above_zero=True)
        self.clip = check_flag("clip", clip)
        spread = self.maximum - self.minimum
        # The same bound as MinMaxScaler's: narrower columns count as constant.
        spread = np.where(spread < 10 * np.finfo(np.float64).eps, 1.0, spread)
        self._slope = 1.0 / spread
        self._flat = positions[:, 0] * pixels + positions[:, 1]
        self._reach = blur.radius if blur else 0
        self._kernel = blur.kernel() if blur else np.ones((1, 1))
        self._visible = _visible(self._flat) if overlap == "last" and blur is None else np.arange(len(positions))
        self._plans: OrderedDict[tuple[Any, ...], _Plan] = OrderedDict()

    # ---------------------------------------------------------------------------------------------------- drawing

    def forward(self, encoded: Tensor) -> Tensor:
        """Draw whole pictures: ``(n, encoded)`` to ``(n, channels, height, width)``."""
        return self.render_region(encoded, (0, self.height, 0, self.width))

    def render_region(self, encoded: Tensor, box: Box) -> Tensor:
        """Draw the pixels of a half-open box alone; equal to the same crop of `forward`.

        Args:
            encoded: Encoded rows (n, encoded).
            box: ``(first row, row behind the last, first column, column behind the last)``.

        Returns:
            Tensor ``(n, channels, rows of the box, columns of the box)``.
        """
        self._check_encoded(encoded)
        if not encoded.is_floating_point():
            encoded = encoded.to(torch.get_default_dtype())
        plan = self._plan(self._check_box(box), encoded.device, encoded.dtype)
        return self._pictures(encoded if plan.columns is None else encoded.index_select(1, plan.columns), plan)

    def placed(self) -> list[tuple[int, int]] | None:
        """Return the encoded columns that are seen, each with its pixel ``row · width + column``; in order.

        None where a picture is not simply every such column's value on a pixel of its own.
        """
        plan = self._plan((0, self.height, 0, self.width), torch.device("cpu"), torch.float32)
        if plan.kind != "place":
            return None
        return [(int(column), int(self._flat[column])) for column in self._visible]

    def ranges(self, columns: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
        """Return minimum and factor of some encoded columns, of the type and on the device of ``like``.

        What is drawn of a value is ``(value − minimum) · factor``, between 0 and ``scale`` if ``clip``.
        """
        index = np.asarray(columns, dtype=np.intp)
        pair = self.minimum[index], self._slope[index] * self.scale
        low, factor = (torch.as_tensor(numbers).to(device=like.device, dtype=like.dtype) for numbers in pair)
        return low, factor

    def columns_near(self, box: Box) -> list[int]:
        """Return the encoded columns on which the pixels of a box may depend."""
        plan = self._plan(self._check_box(box), torch.device("cpu"), torch.float32)
        columns: list[int] = list(range(len(self.positions))) if plan.columns is None else plan.columns.tolist()
        return columns

    def draw_region(self, values: Tensor, box: Box) -> Tensor:
        """Draw a box from the columns ``columns_near(box)`` of encoded rows alone, which a wide table has few of.

        Shape:
            values ``(n, len(columns_near(box)))``; the result is that of `render_region`.
        """
        return self._pictures(values, self._plan(self._check_box(box), values.device, values.dtype))

    def _pictures(self, values: Tensor, plan: _Plan) -> Tensor:
        values = (values - plan.minimum) * plan.scale
        if self.clip:
            values = values.clamp(0.0, self.scale)
        images: Tensor = self._draw(values, plan).unflatten(1, (plan.height, plan.width)).unsqueeze(1)
        return images if self.channels == 1 else images.expand(-1, self.channels, -1, -1)

    def _draw(self, values: Tensor, plan: _Plan) -> Tensor:
        """Put values (n, columns of the plan) on the pixels of the plan's box (n, height · width)."""
        rows = values.shape[0]
        size = plan.height * plan.width
        if plan.targets is None or values.shape[1] == 0 or size == 0:
            return values.new_zeros(rows, size)
        if plan.kind == "winner":
            followed = torch.is_grad_enabled() and values.requires_grad
            return self._draw_winner(values, plan) if followed else _draw_maximum(values, plan)
        targets = plan.targets.expand(rows, -1)
        if plan.kind == "place":
            return values.new_zeros(rows, size).scatter(1, targets, values)
        if plan.kind == "pool":
            how = "mean" if self.overlap == "mean" else "amax"
            return values.new_zeros(rows, size).scatter_reduce(1, targets, values, how, include_self=False)
        assert plan.weights is not None
        assert plan.touched is not None
        painted = (values.detach() > 0).to(values.dtype)
        if plan.kind == "dense":
            total = values @ plan.weights
            count = painted @ plan.touched
        else:
            # Many columns: they are added up on their pixels first, then one convolution spreads them.
            pad = plan.padded[0] * plan.padded[1]
            sums = values.new_zeros(rows, pad).scatter_add(1, targets, values).unflatten(1, (1, *plan.padded))
            counts = values.new_zeros(rows, pad).scatter_add(1, targets, painted).unflatten(1, (1, *plan.padded))
            total = functional.conv2d(sums, plan.weights).flatten(1)
            count = functional.conv2d(counts, plan.touched).flatten(1).round()
        return total / count.clamp(min=1.0)

    def _draw_winner(self, values: Tensor, plan: _Plan) -> Tensor:
        """Blur with the maximum: find out without gradient which column wins a pixel, then draw the winners."""
        assert plan.weights is not None
        assert plan.targets is not None
        rows, columns = values.shape
        side = 2 * self._reach + 1
        kernel = plan.weights
        best = values.new_zeros(rows, plan.height, plan.width)
        winner = torch.full(best.shape, -1, dtype=torch.long, device=values.device)
        with torch.no_grad():
            fixed = values.detach()
            for column in range(columns):  # over columns, each for all rows at once and in its own box
                (top, bottom, left, right), (row, place) = plan.boxes[column]
                here = (slice(None), slice(top, bottom), slice(left, right))
                weight = kernel[top - row : bottom - row, left - place : right - place]
                painted = fixed[:, column, None, None] * weight
                better = painted > best[here]
                best[here] = torch.where(better, painted, best[here])
                winner[here].masked_fill_(better, column)
        chosen = winner.flatten(1)
        nobody = chosen < 0
        chosen = chosen.clamp(min=0)
        pixels = torch.arange(plan.height * plan.width, device=values.device)
        # Where a pixel lies in the kernel of its winner; for pixels without one any place will do.
        down = (pixels // plan.width - plan.targets[0][chosen]).clamp(0, side - 1)
        along = (pixels % plan.width - plan.targets[1][chosen]).clamp(0, side - 1)
        drawn = torch.where(nobody, 0.0, values.gather(1, chosen) * kernel.flatten()[down * side + along])
        # A comparison with not-a-number is false, so it would vanish in silence.
        return drawn.masked_fill(values.isnan().any(dim=1, keepdim=True), torch.nan)

    # ---------------------------------------------------------------------------------------------- who reaches what

    def region_of(self, columns: Iterable[int] | int) -> Box:
        """Return the smallest half-open box that holds every pixel depending on the encoded columns.

        No pixel may depend on them (no columns, or all overwritten by others): then the box is ``(0, 0, 0, 0)``.
        """
        chosen = self._seen(columns)
        if not chosen.size:
            return (0, 0, 0, 0)
        low = np.maximum(self.positions[chosen].min(axis=0) - self._reach, 0)
        high = np.minimum(self.positions[chosen].max(axis=0) + self._reach + 1, self.height)
        return int(low[0]), int(high[0]), int(low[1]), int(high[1])

    def pixels_of(self, columns: Iterable[int] | int) -> list[tuple[int, int]]:
        """Return the (row, column) of each pixel that depends on any of the encoded columns, in reading order."""
        chosen = self._seen(columns)
        if not chosen.size:
            return []
        reached = np.zeros((self.height + 2 * self._reach, self.width + 2 * self._reach), dtype=bool)
        side = 2 * self._reach + 1
        for row, place in self.positions[chosen]:
            reached[row : row + side, place : place + side] |= self._kernel > 0
        inner = reached[self._reach : self._reach + self.height, self._reach : self._reach + self.width]
        return [(int(row), int(place)) for row, place in np.argwhere(inner)]

    def influence(self) -> Tensor:
        """Return |∂R_p / ∂x_j| of one channel, float32 ``(encoded, height, width)``.

        Where the picture is not linear it is the slope inside the training range: for a mean, with every column that
        reaches the pixel counted; for a maximum, the slope that holds where the column wins.
        """
        weights = np.zeros((len(self.positions), self.height * self.width))
        weights[self._visible] = self._weights(self._visible, (0, self.height, 0, self.width))
        if self.overlap == "mean":
            weights /= np.maximum((weights > 0).sum(axis=0), 1)
        weights *= (self._slope * self.scale)[:, None]
        return torch.from_numpy(weights.astype(np.float32).reshape(-1, self.height, self.width))

    def _seen(self, columns: Iterable[int] | int) -> npt.NDArray[np.int64]:
        """Return the checked columns without those that are never seen."""
        indexes = np.atleast_1d(np.asarray(columns if np.ndim(columns) == 0 else list(columns), dtype=np.int64))  # type: ignore[arg-type]
        if indexes.size and (indexes.min() < 0 or indexes.max() >= len(self.positions)):
            raise InputError(
                f"encoded columns are numbered from 0 to {len(self.positions) - 1}, "
                f"however: columns={indexes.tolist()}; see the encoder's columns_of"
            )
        return np.intersect1d(indexes, self._visible)

    # ----------------------------------------------------------------------------------------------- saving, loading

    def to_dict(self) -> dict[str, Any]:
        """Return all that `from_dict` needs, plain numbers and lists, fit for JSON."""
        return {
            "kind": "renderer",
            "layout": layout_to_dict(self.layout),
            "minimum": self.minimum.tolist(),
            "maximum": self.maximum.tolist(),
            "channels": self.channels,
            "scale": self.scale,
            "clip": self.clip,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Renderer:
        """Read what `to_dict` wrote; lists may be arrays; nothing in it is executed."""
        missing = [key for key in ("layout", "minimum", "maximum") if key not in content]
        if missing:
            raise InputError(
                "a stored renderer must have 'layout', 'minimum' and 'maximum', "
                f"however: {', '.join(map(repr, missing))} missing; save the model again"
            )
        return cls(
            StoredLayout.from_dict(content["layout"]),
            content["minimum"],
            content["maximum"],
            content.get("channels", 1),
            content.get("scale", 1.0),
            content.get("clip", False),
        )

    def extra_repr(self) -> str:
        """Say what is drawn, for ``print(network)``."""
        blur = f", blur={self.blur}" if self.blur else ""
        return (
            f"columns={len(self.positions)}, size={self.height}×{self.width}, channels={self.channels}, "
            f"layout={self.layout.name!r}, overlap={self.overlap!r}{blur}"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the plans out of pickles and copies: they are rebuilt on first use."""
        return {**self.__dict__, "_plans": OrderedDict()}

    # -------------------------------------------------------------------------------------------------------- plans

    def _check_encoded(self, encoded: Tensor) -> None:
        if encoded.ndim != 2 or encoded.shape[1] != len(self.positions):
            raise InputError(
                f"encoded rows must have the shape (n, {len(self.positions)}), one column per position of the layout, "
                f"however: shape {tuple(encoded.shape)}; encode the table with the encoder the layout was fitted with"
            )

    def _check_box(self, box: Box) -> Box:
        top, bottom, left, right = (int(edge) for edge in box)
        if not (0 <= top <= bottom <= self.height and 0 <= left <= right <= self.width):
            raise InputError(
                f"a box must lie in the picture of {self.height}×{self.width} pixels, "
                f"however: box={tuple(box)}; take it from region_of"
            )
        return top, bottom, left, right

    def _plan(self, box: Box, device: torch.device, dtype: torch.dtype) -> _Plan:
        key = (box, device, dtype)
        plan = self._plans.get(key)
        if plan is None:
            # A tensor made in inference mode could never take part in a gradient afterwards.
            with torch.inference_mode(False), torch.no_grad():
                plan = self._build_plan(box, device, dtype)
            self._plans[key] = plan
            while len(self._plans) > _KEPT_PLANS:
                self._plans.popitem(last=False)
        return plan

    def _build_plan(self, box: Box, device: torch.device, dtype: torch.dtype) -> _Plan:
        top, bottom, left, right = box
        height, width = bottom - top, right - left
        place = self.positions - (top, left)
        reach = self._reach
        near = (place >= -reach).all(axis=1) & (place[:, 0] < height + reach) & (place[:, 1] < width + reach)
        columns = self._visible[near[self._visible]]

        def constant(values: npt.NDArray[Any]) -> Tensor:
            return torch.as_tensor(values.astype(np.float64), device="cpu").to(device=device, dtype=dtype)

        def index(values: npt.NDArray[np.int64]) -> Tensor:
            return torch.as_tensor(values, dtype=torch.long).to(device)

        complete = len(columns) == len(self.positions)
        plan: dict[str, Any] = {
            "height": height,
            "width": width,
            "columns": None if complete else index(columns),
            "minimum": constant(self.minimum[columns]),
            "scale": constant(self._slope[columns] * self.scale),
        }
        if self.blur is None:
            shared = self.overlap != "last" and len(np.unique(self._flat[columns])) < len(columns)
            targets = index(place[columns, 0] * width + place[columns, 1])
            return _Plan("pool" if shared else "place", targets=targets, **plan)
        if self.overlap == "maximum":
            corner = place[columns] - reach
            low = np.maximum(corner, 0)
            high = np.minimum(place[columns] + reach + 1, (height, width))
            edges = np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1).tolist()
            boxes = tuple((tuple(edge), tuple(start)) for edge, start in zip(edges, corner.tolist(), strict=True))
            return _Plan("winner", targets=index(corner.T.copy()), weights=constant(self._kernel), boxes=boxes, **plan)
        if len(columns) * height * width <= _DENSE_WEIGHTS:
            weights = self._weights(columns, box)
            return _Plan(
                "dense", targets=index(columns), weights=constant(weights), touched=constant(weights > 0), **plan
            )
        padded = (height + 2 * reach, width + 2 * reach)
        targets = index((place[columns, 0] + reach) * padded[1] + place[columns, 1] + reach)
        kernel = self._kernel[None, None]
        return _Plan(
            "filter", targets=targets, weights=constant(kernel), touched=constant(kernel > 0), padded=padded, **plan
        )

    def _weights(self, columns: npt.NDArray[np.int64], box: Box) -> npt.NDArray[np.float64]:
        """Return how strongly each column paints each pixel of a box, ``(columns, pixels of the box)``."""
        top, bottom, left, right = box
        reach = self._reach
        rows = np.arange(top, bottom)[None, :] - self.positions[columns, 0][:, None]
        places = np.arange(left, right)[None, :] - self.positions[columns, 1][:, None]
        inside = (np.abs(rows) <= reach)[:, :, None] & (np.abs(places) <= reach)[:, None, :]
        kernel = self._kernel[
            np.clip(rows, -reach, reach)[:, :, None] + reach, np.clip(places, -reach, reach)[:, None, :] + reach
        ]
        return np.where(inside, kernel, 0.0).reshape(len(columns), (bottom - top) * (right - left))


def _draw_maximum(values: Tensor, plan: _Plan) -> Tensor:
    """Blur with the maximum where no gradient is asked for: the same pixels, several times as fast."""
    assert plan.weights is not None
    rows, columns = values.shape
    across = values.t().contiguous()
    drawn = []
    # On a processor a block of rows stays in its cache; an accelerator takes all rows at once. No rows are one block.
    block = _CACHED_ROWS if values.device.type == "cpu" else max(rows, 1)
    for part in across.split(block, dim=1):
        best = values.new_zeros(plan.height, plan.width, part.shape[1])
        for column in range(columns):
            (top, bottom, left, right), (row, place) = plan.boxes[column]
            weight = plan.weights[top - row : bottom - row, left - place : right - place]
            here = best[top:bottom, left:right]
            torch.maximum(here, weight.unsqueeze(2) * part[column], out=here)
        drawn.append(best.flatten(0, 1).t())
    return torch.cat(drawn)


def _visible(flat: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the columns that are seen when each overwrites those before it on its pixel, in order."""
    _, first_from_behind = np.unique(flat[::-1], return_index=True)
    return np.sort(len(flat) - 1 - first_from_behind)


def _check_range(name: str, values: npt.ArrayLike, columns: int) -> npt.NDArray[np.float64]:
    checked = as_numbers(name, values, f"pass the encoder's {name}_")
    if checked.shape != (columns,) or not np.isfinite(checked).all():
        raise InputError(
            f"{name} must be {columns} finite numbers, one for each encoded column, "
            f"however: shape {checked.shape}, {int((~np.isfinite(checked)).sum())} not finite; "
            f"pass the encoder's {name}_"
        )
    return checked.copy()
