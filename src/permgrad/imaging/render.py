"""Rendering: encoded rows become pictures, differentiable, whole batches at once, on
any device, in any precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from permgrad.base.arrays import Floats, Integers
from permgrad.base.checks import as_numbers, check_flag, check_number, check_whole
from permgrad.base.errors import InputError
from permgrad.imaging.layout import (
    Layout,
    StoredLayout,
    check_layout,
    has_pixel,
    layout_to_dict,
)

Box = tuple[int, int, int, int]
"""A half-open box of pixels: first row, row behind the last, first column, column
behind the last."""

_KEPT_PLANS = 256
#: Numbers that a blurred maximum compares at a time.
_PAINTED = 2**22


@dataclass(frozen=True)
class _Plan:
    """What a box of the picture needs: which columns, where they go, and constants on
    one device in one precision.
    """

    size: tuple[int, int]
    columns: Tensor | None  # None: all, in order
    minimum: Tensor
    scale: Tensor
    targets: Tensor  # each column's pixel in the box
    shared: bool = False  # whether columns share pixels
    weights: Tensor | None = (
        # of a blur: how strongly each column paints each pixel, (columns, numbers)
        None
    )
    touched: Tensor | None = None  # whether it does


def _read_ends(name: str, values: npt.ArrayLike, columns: int) -> Floats:
    """Return a copy of one end of each column's range, which must be finite."""
    numbers = as_numbers(name, values, f"pass the encoder's {name}_")
    if numbers.shape != (columns,) or not np.isfinite(numbers).all():
        problem = (
            f"{name} must be {columns} finite numbers, one for each encoded column, "
            f"got shape {numbers.shape} with {int((~np.isfinite(numbers)).sum())} "
            "not finite"
        )
        raise InputError(problem, hint=f"Pass the encoder's {name}_.", code="PG007")
    return numbers.copy()


def _check_order(minimum: Floats, maximum: Floats) -> None:
    """Refuse a column whose maximum is below its minimum."""
    if np.any(maximum < minimum):
        worst = int(np.argmax(minimum - maximum))
        problem = (
            "maximum must be at least minimum, but encoded column "
            f"{worst} has minimum={minimum[worst]:g} and maximum={maximum[worst]:g}"
        )
        raise InputError(problem, hint="Swap them.", code="PG002")


def _slopes(spread: Floats) -> Floats:
    """Return by how much the drawn value of each column rises with its value."""
    # The same bound as MinMaxScaler's: narrower columns count as constant.
    return 1.0 / np.where(spread < 10 * np.finfo(np.float64).eps, 1.0, spread)


def _last_of_each_pixel(columns: Integers, pixels: Integers) -> Integers:
    """Return, in order, those of the columns that are the last on their pixel."""
    _, first_from_behind = np.unique(pixels[columns][::-1], return_index=True)
    return np.sort(columns[len(columns) - 1 - first_from_behind])


class Renderer(nn.Module):
    """Draws encoded rows as pictures.

    It has neither parameters nor buffers: its few constants follow the device and the
    dtype of the rows. A column's value is ``(x − minimum) / (maximum − minimum)``, a
    column that was constant in training is drawn as ``x − minimum``, as scikit-learn's
    MinMaxScaler does. Rows outside the training range leave 0…1 unless ``clip``.

    Where columns share a pixel, the layout's ``overlap`` decides. Without a blur: the
    last column, the plain mean, or the maximum. With a blur, as TINTOlib computes it:
    the sum divided by the number of columns that paint a value *above zero* there, or
    the maximum of these and zero. Columns in different channels of a layout do not
    meet.

    Shape:
        input ``(n, encoded)``, output ``(n, channels, height, width)``.

    Args:
        layout: A fitted layout. Only its positions, pixels, overlap and blur are kept.
        minimum, maximum: Training range of each encoded column.
        channels: Number of equal channels (3 in the published networks), unless the
            layout has channels.
        scale: Value of a column at its training maximum (255 in the published
            networks).
        clip: Whether values outside the training range are drawn as 0 or 1.

    Examples:
        >>> from permgrad.imaging import StoredLayout
        >>> renderer = Renderer(
        ...     StoredLayout([[0, 0], [1, 1]], pixels=2), minimum=[0, 0], maximum=[1, 4]
        ... )
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
        self.layout = check_layout(layout)
        positions, (self.height, self.width, *depth) = (
            self.layout.positions,
            self.layout.shape,
        )
        self.overlap = self.layout.overlap
        self.blur = self.layout.blur
        #: row and column of each encoded column, and its channel among those of the
        #: layout
        self.positions = positions[:, :2]
        if depth:
            self._channel = positions[:, 2]
        else:
            self._channel = np.zeros_like(positions[:, 0])
        if depth:
            self.depth = depth[0]
        else:
            self.depth = 1
        self.minimum = _read_ends("minimum", minimum, len(positions))
        self.maximum = _read_ends("maximum", maximum, len(positions))
        _check_order(self.minimum, self.maximum)
        if depth:
            self.channels = self.depth
        else:
            self.channels = check_whole("channels", channels, "pass 1 or 3")
        self.scale = check_number("scale", scale, "pass 1 or 255", above_zero=True)
        self.clip = check_flag("clip", clip)
        self._slope = _slopes(self.maximum - self.minimum)
        #: the place of each column in a flat picture, channels first
        self.flat = (
            self._channel * self.height + positions[:, 0]
        ) * self.width + positions[:, 1]
        if self.blur:
            self._reach = self.blur.radius
        else:
            self._reach = 0
        if self.blur:
            self._kernel = self.blur.kernel()
        else:
            self._kernel = np.ones((1, 1))
        #: the columns that are seen, in order: each may overwrite those before it on
        #: its pixel
        self._visible = np.flatnonzero(has_pixel(positions))
        if self.overlap == "last" and self.blur is None:
            self._visible = _last_of_each_pixel(self._visible, self.flat)
        self._plans: dict[tuple[Any, ...], _Plan] = {}

    # ---- drawing ---------------------------------------------------------------------

    def forward(self, encoded: Tensor, box: Box | None = None) -> Tensor:
        """Draw whole pictures: ``(n, encoded)`` to ``(n, channels, height, width)``, or
        a half-open box of them.
        """
        if encoded.ndim != 2 or encoded.shape[1] != len(self.positions):
            problem = (
                f"Encoded rows must have the shape (n, {len(self.positions)}), one "
                f"column for each position of the layout, got {tuple(encoded.shape)}"
            )
            raise InputError(
                problem,
                "Encode the table with the encoder that the layout was fitted with.",
                "PG007",
            )
        if not encoded.is_floating_point():
            encoded = encoded.to(torch.get_default_dtype())
        box = box or (0, self.height, 0, self.width)
        columns = self._plan(box, encoded.device, encoded.dtype).columns
        return self.draw_region(
            encoded if columns is None else encoded.index_select(1, columns), box
        )

    def render_region(self, encoded: Tensor, box: Box) -> Tensor:
        """Draw the pixels of a half-open box alone ``(n, channels, rows, columns)``, a
        crop of `forward`.
        """
        return self.forward(encoded, box)

    def placed(self) -> list[tuple[int, int, int, int]] | None:
        """Return the columns that are seen, each with its channel, row and column.

        None: a picture is more.
        """
        drawing_plan = self._plan(
            (0, self.height, 0, self.width), torch.device("cpu"), torch.float32
        )
        if drawing_plan.shared or drawing_plan.weights is not None:
            return None
        column_pixels = np.column_stack(
            [np.arange(len(self.positions)), self._channel, self.positions]
        )
        return [
            (column, channel, pixel_row, pixel_column)
            for column, channel, pixel_row, pixel_column in column_pixels[
                self._visible
            ].tolist()
        ]

    def ranges(self, columns: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
        """Return minimum and factor of some columns: of a value is drawn ``(value −
        minimum) · factor``.
        """
        index = np.asarray(columns, dtype=np.intp)
        minimum_and_factor = self.minimum[index], self._slope[index] * self.scale
        column_minimum, factor = (
            torch.as_tensor(numbers).to(device=like.device, dtype=like.dtype)
            for numbers in minimum_and_factor
        )
        return column_minimum, factor

    def columns_near(self, box: Box) -> list[int]:
        """Return the encoded columns on which the pixels of a box may depend."""
        columns = self._plan(box, torch.device("cpu"), torch.float32).columns
        if columns is None:
            return list(range(len(self.positions)))
        return list(map(int, columns))

    def draw_region(self, values: Tensor, box: Box) -> Tensor:
        """Draw a box from the columns ``columns_near(box)`` of encoded rows alone, as
        `render_region` does.
        """
        drawing_plan = self._plan(box, values.device, values.dtype)
        values = (values - drawing_plan.minimum) * drawing_plan.scale
        if self.clip:
            values = values.clamp(0.0, self.scale)
        (row_count, columns), pixels = (
            values.shape,
            self.depth * drawing_plan.size[0] * drawing_plan.size[1],
        )
        if columns == 0 or pixels == 0:
            flat_images = values.new_zeros(row_count, pixels)
        elif drawing_plan.weights is None:
            flat_images = values.new_zeros(row_count, pixels)
            targets = drawing_plan.targets.expand(row_count, -1)
            if drawing_plan.shared:
                if self.overlap == "mean":
                    reduction = "mean"
                else:
                    reduction = "amax"
                flat_images = flat_images.scatter_reduce(
                    1, targets, values, reduction, include_self=False
                )
            else:
                flat_images = flat_images.scatter(1, targets, values)
        elif self.overlap == "maximum":
            row_batches = values.split(max(1, _PAINTED // (columns * pixels)))
            flat_images = torch.cat(
                [
                    (row_batch.unsqueeze(2) * drawing_plan.weights).amax(dim=1).relu()
                    for row_batch in row_batches
                ]
            )
        else:
            assert drawing_plan.touched is not None
            painted = (values.detach() > 0).to(values.dtype)
            flat_images = (
                values
                @ drawing_plan.weights
                / (painted @ drawing_plan.touched).clamp(min=1.0)
            )
        images: Tensor = flat_images.unflatten(1, (self.depth, *drawing_plan.size))
        if self.channels == self.depth:
            return images
        return images.expand(-1, self.channels, -1, -1)

    # ---- who reaches what ------------------------------------------------------------

    def region_of(self, columns: Iterable[int] | int) -> Box:
        """Return the smallest half-open box with every pixel that depends on the
        columns. ``(0, 0, 0, 0)``: none.
        """
        seen_columns = self._seen(columns)
        if not seen_columns.size:
            return (0, 0, 0, 0)
        lower_bounds = np.maximum(
            self.positions[seen_columns].min(axis=0) - self._reach, 0
        )
        upper_bounds = np.minimum(
            self.positions[seen_columns].max(axis=0) + self._reach + 1,
            (self.height, self.width),
        )
        return (
            int(lower_bounds[0]),
            int(upper_bounds[0]),
            int(lower_bounds[1]),
            int(upper_bounds[1]),
        )

    def pixels_of(self, columns: Iterable[int] | int) -> list[tuple[int, int]]:
        """Return the (row, column) of each pixel that depends on any of the encoded
        columns, in reading order.
        """
        seen_columns = self._seen(columns)
        if not seen_columns.size:
            return []
        reached = np.zeros(
            (self.height + 2 * self._reach, self.width + 2 * self._reach), dtype=bool
        )
        kernel_side = 2 * self._reach + 1
        for pixel_row, pixel_column in self.positions[seen_columns]:
            reached[
                pixel_row : pixel_row + kernel_side,
                pixel_column : pixel_column + kernel_side,
            ] |= self._kernel > 0
        inner = reached[
            self._reach : self._reach + self.height,
            self._reach : self._reach + self.width,
        ]
        return [
            (int(reached_row), int(reached_column))
            for reached_row, reached_column in np.argwhere(inner)
        ]

    def influence(self) -> Tensor:
        """Return |∂R_p / ∂x_j| of one channel, float32 ``(encoded, height, width)``,
        inside the training range.

        Of a layout with channels it is that of the column's own channel. For a mean
        every column that reaches the pixel is counted. For a maximum the slope holds
        where the column wins.
        """
        weights = np.zeros((len(self.positions), self.depth * self.height * self.width))
        weights[self._visible] = self._weights(
            self._visible, (0, self.height, 0, self.width)
        )
        if self.overlap == "mean":
            weights /= np.maximum((weights > 0).sum(axis=0), 1)
        weights *= (self._slope * self.scale)[:, None]
        column_slopes = (
            weights.astype(np.float32)
            .reshape(-1, self.depth, self.height, self.width)
            .sum(axis=1)
        )
        return torch.from_numpy(column_slopes)

    def _seen(self, columns: Iterable[int] | int) -> Integers:
        """Return the columns without those that are never seen."""
        indexes = np.atleast_1d(
            np.asarray(
                columns if np.ndim(columns) == 0 else list(columns),  # type: ignore[arg-type]
                dtype=np.int64,
            )
        )
        return np.intersect1d(indexes, self._visible)

    # ---- saving, loading -------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return all that `from_dict` needs, plain numbers and lists, fit for JSON."""
        return {
            "kind": "renderer",
            "layout": layout_to_dict(self.layout),
            **{
                array_name: getattr(self, array_name).tolist()
                for array_name in ("minimum", "maximum")
            },
            **{
                setting_name: getattr(self, setting_name)
                for setting_name in ("channels", "scale", "clip")
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Renderer:
        """Read what `to_dict` wrote. Lists may be arrays. Nothing in it is executed."""
        names = ("layout", "minimum", "maximum", "channels", "scale", "clip")
        arguments = {}
        for argument_name in names:
            if argument_name in content:
                arguments[argument_name] = content[argument_name]
        return cls(**{**arguments, "layout": StoredLayout.from_dict(content["layout"])})

    def __getstate__(self) -> dict[str, Any]:
        """Leave the plans out of pickles and copies: they are rebuilt on first use."""
        return {**self.__dict__, "_plans": {}}

    # ---- plans -----------------------------------------------------------------------

    def _plan(self, box: Box, device: torch.device, dtype: torch.dtype) -> _Plan:
        """Return what a box needs, made once for a device and a precision."""
        plan_key = (tuple(box), device, dtype)
        if plan_key in self._plans:
            return self._plans[plan_key]
        top_row, bottom, left_column, right = box
        box_size = (bottom - top_row, right - left_column)
        reach = self._reach
        box_positions = self.positions - (top_row, left_column)
        is_near = np.all(
            (box_positions >= -reach) & (box_positions < np.add(box_size, reach)),
            axis=1,
        )
        columns = self._visible[is_near[self._visible]]

        targets = (
            self._channel[columns] * box_size[0] + box_positions[columns, 0]
        ) * box_size[1] + box_positions[columns, 1]
        if self.blur is None:
            weights = None
        else:
            weights = self._weights(columns, box)
        # A tensor made in inference mode could never take part in a gradient
        # afterwards.
        with torch.inference_mode(False), torch.no_grad():
            self._plans[plan_key] = _Plan(
                box_size,
                None
                if len(columns) == len(self.positions)
                else torch.from_numpy(columns).to(device, torch.long),
                torch.from_numpy(self.minimum[columns]).to(device, dtype),
                torch.from_numpy(self._slope[columns] * self.scale).to(device, dtype),
                torch.from_numpy(targets).to(device, torch.long),
                self.overlap != "last"
                and len(np.unique(self.flat[columns])) < len(columns),
                None
                if weights is None
                else torch.from_numpy(weights).to(device, dtype),
                None
                if weights is None
                else torch.from_numpy(weights > 0).to(device, dtype),
            )
        if len(self._plans) > _KEPT_PLANS:
            del self._plans[next(iter(self._plans))]
        return self._plans[plan_key]

    def _weights(self, columns: Integers, box: Box) -> Floats:
        """Return how strongly each column paints each number of a box, ``(columns,
        channels · pixels of the box)``.
        """
        top_row, bottom, left_column, right = box
        reach = self._reach
        row_offsets = (
            np.arange(top_row, bottom)[None, :] - self.positions[columns, 0][:, None]
        )
        column_offsets = (
            np.arange(left_column, right)[None, :] - self.positions[columns, 1][:, None]
        )
        inside = (np.abs(row_offsets) <= reach)[:, :, None] & (
            np.abs(column_offsets) <= reach
        )[:, None, :]
        kernel = self._kernel[
            np.clip(row_offsets, -reach, reach)[:, :, None] + reach,
            np.clip(column_offsets, -reach, reach)[:, None, :] + reach,
        ]
        painted = np.zeros(
            (len(columns), self.depth, bottom - top_row, right - left_column)
        )
        painted[np.arange(len(columns)), self._channel[columns]] = np.where(
            inside, kernel, 0.0
        )
        return painted.reshape(
            len(columns), self.depth * (bottom - top_row) * (right - left_column)
        )
