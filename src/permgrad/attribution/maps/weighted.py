"""Class activation maps from a layer's values and gradients, and what is kept of them.

Grad-CAM: Selvaraju et al. 2017 (arXiv 1610.02391), equations 1 and 2. HiResCAM: Draelos & Carin 2020 (arXiv
2011.08891), section 3. LayerCAM: Jiang et al. 2021 (IEEE TIP 30), equations 5 to 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from permgrad.base.checks import check_choice, check_flag_or_auto
from permgrad.base.errors import warn_user

Floats = npt.NDArray[np.float64]

#: The variants, by the names that their papers give them.
MAP_NAMES = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM", "layercam": "LayerCAM"}
VARIANTS = tuple(MAP_NAMES)
UPSAMPLING = ("bilinear", "nearest", "none")
#: With ``maps="auto"``, maps of more numbers than this are not kept.
KEPT_NUMBERS = 20_000_000


@dataclass(frozen=True)
class CamOptions:
    """The options of ``GradCam``, checked: ``relu`` says whether negative cells become 0."""

    variant: str
    upsample: str
    relu: bool
    maps: bool | str
    layer: str | None
    before_activation: bool

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> CamOptions:
        """Check a call's options.

        Raises:
            InputError: an option cannot be used.
        """
        variant, upsample = options["variant"], options["upsample"]
        check_choice("variant", variant, VARIANTS)
        check_choice("upsample", upsample, UPSAMPLING)
        relu, maps = (check_flag_or_auto(name, options[name]) for name in ("relu", "maps"))
        # NOTE: HiResCAM's equation has no rectifier, so that its cells add up to what the rest of the network computes.
        relu = variant != "hirescam" if relu == "auto" else bool(relu)
        return cls(variant, upsample, relu, maps, options["layer"], bool(options["before_activation"]))


def weighted_maps(values: Tensor, gradients: Tensor, variant: str, *, relu: bool) -> Tensor:
    """Return one map per row and output.

    With A the layer's maps and g = ∂output/∂A: Grad-CAM Σ_k mean(g_k) A_k; HiResCAM Σ_k g_k A_k; LayerCAM Σ_k
    max(g_k, 0) A_k; the sums run over the channels k, the mean over all cells of a channel.

    Shape:
        values ``(rows, channels, *cells)``, gradients ``(targets, rows, channels, *cells)``; result ``(rows, targets,
        *cells)``.

    Examples:
        >>> values, gradients = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[[4.0, -2.0]]]])
        >>> [weighted_maps(values, gradients, name, relu=False).tolist() for name in VARIANTS]
        [[[[1.0, 2.0]]], [[[4.0, -4.0]]], [[[4.0, 0.0]]]]
    """
    if variant == "gradcam":
        maps = torch.einsum("tnc,nc...->nt...", gradients.flatten(3).mean(dim=3), values)
    else:
        weights = gradients if variant == "hirescam" else gradients.clamp_min(0)
        maps = torch.einsum("tnc...,nc...->nt...", weights, values)
    return maps.clamp_min(0) if relu else maps


def enlarged(maps: Tensor, size: tuple[int, ...], how: str) -> Tensor:
    """Return maps ``(rows, targets, *cells)`` at an image's size; maps of one dimension run along its width.

    Examples:
        >>> enlarged(torch.tensor([[[1.0, 2.0]]]), (2, 4), "nearest").tolist()
        [[[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]]
    """
    cells = maps.reshape(*maps.shape[:2], *[1] * (len(size) + 2 - maps.ndim), *maps.shape[2:])
    if how == "bilinear":
        mode = "bilinear" if len(size) == 2 else "trilinear"
        return functional.interpolate(cells, size=size, mode=mode, align_corners=False)
    return functional.interpolate(cells, size=size, mode="nearest")


class Picture:
    """A picture with a map for each row and output, and what is kept of both.

    Args:
        maps_key, images_key: names in ``Explanation.maps``.
        words: what a warning calls its maps.
        count: number of rows.
        targets: number of outputs.
        keep: whether maps are kept; ``"auto"``: up to ``KEPT_NUMBERS``.

    Attributes:
        empty: whether each map is all zero, ``(rows, targets)``.
    """

    def __init__(
        self, maps_key: str, images_key: str, words: str, count: int, targets: int, *, keep: bool | str
    ) -> None:
        self.maps_key, self.images_key, self.words, self._keep = maps_key, images_key, words, keep
        self.empty = np.zeros((count, targets), dtype=bool)
        self.maps: npt.NDArray[np.float32] | None = None
        self.images: npt.NDArray[np.float32] | None = None

    def keep(self, part: slice, maps: Tensor, images: Tensor) -> None:
        """Keep the maps ``(b, targets, *cells)`` of some rows and the images that they are of."""
        self.empty[part] = (maps.flatten(2).abs().amax(dim=2) == 0).cpu().numpy()
        count = len(self.empty)
        numbers = count * (maps[0].numel() + images[0].numel())
        if self.maps is None and (self._keep is True or (self._keep == "auto" and numbers <= KEPT_NUMBERS)):
            self.maps = np.zeros((count, *maps.shape[1:]), dtype=np.float32)
            self.images = np.zeros((count, *images.shape[1:]), dtype=np.float32)
        if self.maps is not None and self.images is not None:
            self.maps[part], self.images[part] = maps.float().cpu().numpy(), images.float().cpu().numpy()

    def warn_of_empty_maps(self) -> None:
        """Say how many maps are all zero, if any are."""
        empty = int(self.empty.sum())
        if empty:
            warn_user(
                f"a class activation map should have cells above zero, however: {empty} of {self.empty.size} maps "
                f"{self.words}; try variant='hirescam' or another layer"
            )


class MapReader:
    """How a network's class activation maps are read: what ``GradCam`` needs of it.

    Attributes:
        pictures: those that have maps.
        names, modality: of the players.
        batch: rows at once.
        quantity: what a player's value is.
        layer_facts: of the layer that is read, for the explanation.
    """

    pictures: Sequence[Picture]
    names: tuple[str, ...]
    modality: tuple[str, ...]
    batch: int
    quantity: str
    layer_facts: Mapping[str, Any]

    def read(self, part: slice) -> tuple[list[Tensor], list[Tensor], list[tuple[int, ...]], Tensor]:
        """Return for each picture maps ``(b, targets, *cells)``, images and the size of its maps; then all outputs."""
        raise NotImplementedError

    def values(self, part: slice, maps: Sequence[Tensor]) -> Floats:
        """Return the players' values ``(b, players, targets)`` of enlarged maps, one tensor for each picture."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Return what there is to say after the last batch."""
        raise NotImplementedError
