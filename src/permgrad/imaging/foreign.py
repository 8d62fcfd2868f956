"""Pictures made by somebody else's code: a callable ``X -> images``, or a fitted
TINTOlib method.

They serve for training, prediction and every explanation that needs no gradient through
the picture.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from permgrad.base.arrays import Floats
from permgrad.base.errors import (
    Fault,
    InputError,
    error_in_words,
    must,
    refusing,
    turned,
)
from permgrad.imaging.render import Box, Renderer

Images = Floats


class ForeignRenderer(nn.Module):
    """Draws encoded rows by calling somebody else's code.

    What may come back for n rows: ``(n, height, width)``, ``(n, channels, height,
    width)`` or ``(n, height, width, channels)``. Of the latter two, unless
    ``channels_last`` says which: if two adjacent axes are equal and the third differs,
    these two are height and width. Otherwise the axis of length 1, 3 or 4 is that of
    the channels.

    Shape:
        input ``(n, encoded)``, output ``(n, channels, height, width)`` on the input's
        device, in its dtype.

    Args:
        images: A callable from a float64 array (n, encoded) to pictures, or a fitted
            TINTOlib method. The method is fitted on a table of *encoded* columns (the
            estimator's ``encode_rows``), then a target column if its problem has one.
            Of the PNG files that it draws, the red, green and blue channels are read,
            0…1.
        names: Names of the encoded columns. With them a callable receives a DataFrame
            instead of an array.
        channels_last: Whether the last axis is that of the channels. None: found out as
            told above.

    Examples:
        >>> renderer = ForeignRenderer(lambda rows: rows.reshape(-1, 1, 2))
        >>> renderer(torch.tensor([[1.0, 2.0]])).shape
        torch.Size([1, 1, 1, 2])
    """

    differentiable = False
    scale = 1.0

    def __init__(
        self,
        images: Any,
        names: Sequence[str] | None = None,
        channels_last: bool | None = None,
    ) -> None:
        super().__init__()
        # In a tuple, because torch would take over the parameters of a foreign network
        # put here openly.
        self._source = (images,)
        if names is None:
            self.names = None
        else:
            self.names = list(map(str, names))
        self.channels_last = channels_last
        self._shape: tuple[int, int, int] | None = None

    @property
    def images(self) -> Any:
        """The foreign callable or method."""
        return self._source[0]

    def forward(self, encoded: Tensor) -> Tensor:
        """Draw pictures: ``(n, encoded)`` to ``(n, channels, height, width)``.

        No gradient flows back.
        """
        if encoded.is_floating_point():
            dtype = encoded.dtype
        else:
            dtype = torch.get_default_dtype()
        if encoded.shape[0] == 0 and self._shape is not None:
            return torch.zeros((0, *self._shape), dtype=dtype, device=encoded.device)
        # A copy in float64: foreign code may write into its input.
        encoded_rows = (
            encoded.detach().to(device="cpu", dtype=torch.float64).numpy().copy()
        )
        which = f"The foreign image method failed on {len(encoded_rows)} rows"
        failure_hint = "Try it on the same rows outside permgrad."
        with turned(
            lambda error: InputError(
                f"{which} with {error_in_words(error)}", failure_hint, "PG032"
            ),
            memory=True,
        ):
            drawn = self._drawn(encoded_rows)
        return torch.from_numpy(self._checked(drawn, len(encoded_rows))).to(
            device=encoded.device, dtype=dtype
        )

    def render_region(self, encoded: Tensor, box: Box) -> Tensor:
        """Return the crop of whole pictures. It costs as much as they do."""
        top_row, bottom, left_column, right = box
        return self.forward(encoded)[:, :, top_row:bottom, left_column:right]

    # ---- who reaches what ------------------------------------------------------------

    def _known_shape(self) -> tuple[int, int, int]:
        if self._shape is None:
            problem = (
                "The size of foreign pictures is unknown before the first is drawn"
            )
            raise InputError(problem, hint="Draw one row first.", code="PG055")
        return self._shape

    #: Sizes of a picture, known after the first has been drawn.
    channels = property(lambda self: self._known_shape()[0])
    height = property(lambda self: self._known_shape()[1])
    width = property(lambda self: self._known_shape()[2])

    def region_of(self, columns: Iterable[int] | int) -> Box:
        """Return the box that may depend on the columns: the whole picture, or an empty
        box for no columns.
        """
        if not np.size(columns if np.ndim(columns) == 0 else list(columns)):  # type: ignore[arg-type]
            return (0, 0, 0, 0)
        return (0, self.height, 0, self.width)

    def influence(self) -> Tensor:
        """Refuse: nobody knows the slopes of foreign pictures."""
        problem = (
            "Maps cannot be read back to columns, because foreign code draws the "
            "pictures and it has no slopes"
        )
        hint = (
            "Choose method='permgrad', 'permutation' or 'ablation', or a layout of "
            "permgrad."
        )
        raise InputError(problem, hint=hint, code="PG034")

    # ---- saving, loading -------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return all but the foreign code itself, which is never stored."""
        return {
            "kind": "foreign",
            "names": self.names,
            "channels_last": self.channels_last,
            "shape": None if self._shape is None else list(self._shape),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], images: Any) -> ForeignRenderer:
        """Read what `to_dict` wrote. The foreign code is given anew."""
        renderer = cls(images, content.get("names"), content.get("channels_last"))
        shape = content.get("shape")
        if shape is None:
            renderer._shape = None
        else:
            renderer._shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        return renderer

    # ---- drawing ---------------------------------------------------------------------

    def _drawn(self, rows: Images) -> Any:
        """Call the callable, or let a TINTOlib method write its files and read them
        back in the order of rows.
        """
        from matplotlib.image import imread

        if callable(self.images):
            return self.images(
                rows if self.names is None else pd.DataFrame(rows, columns=self.names)
            )
        frame = pd.DataFrame(
            rows,
            columns=self.names or [f"column{index}" for index in range(rows.shape[1])],
        )
        problem = str(getattr(self.images, "problem", "unsupervised"))
        if problem != "unsupervised":
            # The method files pictures by target. All go under one, since nobody knows
            # it at prediction.
            frame["target"] = 0
        with tempfile.TemporaryDirectory(prefix="permgrad-images-") as folder:
            self.images.transform(frame, folder)
            listed = Path(folder) / f"{problem}.csv"
            if not listed.is_file():
                problem = (
                    f"The TINTOlib method did not write {listed.name}, the list "
                    "of its pictures"
                )
                raise InputError(
                    problem, hint="Use TINTOlib 1.3 or later.", code="PG060"
                )
            paths = pd.read_csv(listed, usecols=["images"])["images"]
            pictures = []
            for picture_path in map(Path(folder).joinpath, paths):
                if picture_path.suffix == ".npy":
                    pictures.append(np.load(picture_path))
                else:
                    pictures.append(imread(picture_path))
            # Transparency carries nothing here.
            return np.stack(
                [
                    picture[..., :3] if picture.ndim == 3 else picture
                    for picture in pictures
                ]
            )

    def _checked(self, drawn: Any, rows: int) -> Images:
        """Return pictures as float64 ``(n, channels, height, width)``, or say what is
        wrong with them.
        """
        if isinstance(drawn, Tensor):
            drawn = drawn.detach().cpu().numpy()
        shape_rule = "Foreign pictures must be numbers of one shape"
        shape_hint = "Return one array for all rows."
        with turned(
            lambda error: InputError(f"{shape_rule}: {error}", shape_hint, "PG032"),
            TypeError,
            ValueError,
        ):
            images = np.asarray(drawn, dtype=np.float64)
        _check_pictures(images, rows)
        if images.ndim == 3:
            images = images[:, None]
        # A method's picture files have their channels last.
        elif (
            not callable(self.images)
            or self.channels_last
            or _last_is_channels(images.shape, self.channels_last)
        ):
            images = np.moveaxis(images, 3, 1)
        shape = (images.shape[1], images.shape[2], images.shape[3])
        self._shape = self._shape or shape
        if shape != self._shape:
            problem = (
                "Foreign pictures must have one shape (channels, height, "
                f"width), got {shape} after {self._shape}"
            )
            raise InputError(
                problem, hint="Return the same size each time.", code="PG007"
            )
        return np.ascontiguousarray(images)


@refusing
def _check_pictures(images: Images, rows: int) -> Iterator[Fault]:
    """Refuse pictures that are not one for each row, or not finite."""
    if images.ndim not in (3, 4) or len(images) != rows or 0 in images.shape[1:]:
        problem = (
            "Foreign pictures must have the shape (n, height, width), (n, channels, "
            "height, width) or "
            f"(n, height, width, channels), got {images.shape} for n={rows} rows"
        )
        yield problem, "Return one picture for each row.", "PG007"
    if not np.isfinite(images).all():
        bad_pictures = int((~np.isfinite(images.reshape(rows, -1))).any(axis=1).sum())
        problem = (
            f"Foreign pictures must be finite, but {bad_pictures} of {rows} hold NaN "
            "or infinity"
        )
        yield problem, "Correct the callable.", "PG040"


def _last_is_channels(shape: tuple[int, ...], declared: bool | None) -> bool:
    if declared is not None:
        return declared
    _, first, middle, last = shape
    if (middle == last) != (first == middle):
        return first == middle
    channel_counts = (1, 3, 4)
    if (first in channel_counts) == (last in channel_counts):
        problem = (
            f"Either axis of pictures of shape {shape} may be that of the channels"
        )
        raise InputError(
            problem, hint="Pass channels_last=True or False.", code="PG005"
        )
    return last in channel_counts


def renderer_from_dict(
    content: Mapping[str, Any], images: Any = None
) -> Renderer | ForeignRenderer:
    """Read a renderer of either kind.

    Foreign code, if the model had some, is given anew.
    """
    renderer_kind = content.get("kind")
    if renderer_kind == "renderer":
        return Renderer.from_dict(content)
    must(renderer_kind == "foreign", f"a renderer of kind {renderer_kind!r:.40}")
    if images is None:
        problem = "A model with a foreign image callable needs that callable on loading"
        raise InputError(
            problem,
            hint="Call pg.load(folder, encoders={'layout': callable}).",
            code="PG005",
        )
    return ForeignRenderer.from_dict(content, images)
