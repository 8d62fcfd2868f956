"""Class activation maps from a layer's values and gradients, and what is kept of them; sources: ``GradCam``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from permgrad.attribution.method import Request
from permgrad.base.errors import warn_user

#: The variants, by the names that their papers give them.
MAP_NAMES = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM", "layercam": "LayerCAM"}
VARIANTS = tuple(MAP_NAMES)
UPSAMPLING = ("bilinear", "nearest", "none")
#: With ``maps="auto"``, maps of more numbers than this are not kept.
KEPT_NUMBERS = 20_000_000


def weighted_maps(values: Tensor, gradients: Tensor, variant: str, *, relu: bool) -> Tensor:
    """Return one map ``(rows, targets, *cells)`` per row and output.

    With A the layer's maps ``(rows, channels, *cells)`` and g = ∂output/∂A ``(targets, rows, channels, *cells)``:
    Grad-CAM Σ_k mean(g_k) A_k; HiResCAM Σ_k g_k A_k; LayerCAM Σ_k max(g_k, 0) A_k.
    """
    if variant == "gradcam":
        maps = torch.einsum("tnc,nc...->nt...", gradients.flatten(3).mean(dim=3), values)
    else:
        weights = gradients if variant == "hirescam" else gradients.clamp_min(0)
        maps = torch.einsum("tnc...,nc...->nt...", weights, values)
    return maps.clamp_min(0) if relu else maps


def enlarged(maps: Tensor, size: tuple[int, ...], how: str) -> Tensor:
    """Return maps ``(rows, targets, *cells)`` at an image's size; maps of one dimension run along its width."""
    cells = maps.reshape(*maps.shape[:2], *[1] * (len(size) + 2 - maps.ndim), *maps.shape[2:])
    if how == "bilinear":
        mode = "bilinear" if len(size) == 2 else "trilinear"
        return functional.interpolate(cells, size=size, mode=mode, align_corners=False)
    return functional.interpolate(cells, size=size, mode="nearest")


class Picture:
    """A picture with a map for each row and output, and what is kept of both: ``"auto"``, up to ``KEPT_NUMBERS``.

    ``maps_key`` and ``images_key`` are names in ``Explanation.maps``; ``words`` is what a warning calls the maps.
    """

    def __init__(self, maps_key: str, images_key: str, words: str, request: Request, keep: bool | str) -> None:
        self.maps_key, self.images_key, self.words, self._keep = maps_key, images_key, words, keep
        self.empty = np.zeros((request.count, len(request.targets)), dtype=bool)
        self.kept: dict[str, npt.NDArray[np.float32]] = {}

    def keep(self, part: slice, maps: Tensor, images: Tensor) -> None:
        """Keep the maps ``(b, targets, *cells)`` of some rows and the images that they are of."""
        self.empty[part] = (maps.flatten(2).abs().amax(dim=2) == 0).cpu().numpy()
        count = len(self.empty)
        numbers = count * (maps[0].numel() + images[0].numel())
        for key, array in ((self.maps_key, maps), (self.images_key, images)):
            if self._keep is True or (self._keep == "auto" and numbers <= KEPT_NUMBERS):
                self.kept.setdefault(key, np.zeros((count, *array.shape[1:]), dtype=np.float32))
                self.kept[key][part] = array.float().cpu().numpy()

    def warn_of_empty_maps(self) -> None:
        """Say how many maps are all zero, if any are."""
        empty = int(self.empty.sum())
        if empty:
            warn_user(
                f"a class activation map should have cells above zero, however: {empty} of {self.empty.size} maps "
                f"{self.words}; try variant='hirescam' or another layer"
            )
