"""Class activation maps from a layer's values and gradients: what hybrid and other networks share.

Grad-CAM: Selvaraju et al. 2017 (arXiv 1610.02391), equations 1 and 2. HiResCAM: Draelos & Carin 2020 (arXiv
2011.08891), section 3. LayerCAM: Jiang et al. 2021 (IEEE TIP 30), equations 5 to 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from permgrad.base.checks import check_choice, check_flag_or_auto

#: The variants, by the names that their papers give them.
MAP_NAMES = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM", "layercam": "LayerCAM"}
VARIANTS = tuple(MAP_NAMES)
UPSAMPLING = ("bilinear", "nearest", "none")
#: With ``maps="auto"``, maps of more numbers than this are not kept.
KEPT_NUMBERS = 20_000_000


def check_cam_options(given: Mapping[str, Any]) -> tuple[str, str, bool, bool | str]:
    """Return variant, upsampling, whether negative cells become 0, and whether maps are kept.

    Raises:
        InputError: an option cannot be used.
    """
    variant, upsample = given.get("variant", "gradcam"), given.get("upsample", "bilinear")
    check_choice("variant", variant, VARIANTS)
    check_choice("upsample", upsample, UPSAMPLING)
    relu, maps = (check_flag_or_auto(name, given.get(name, "auto")) for name in ("relu", "maps"))
    # NOTE: HiResCAM's equation has no rectifier, so that its cells add up to what the rest of the network computes.
    return variant, upsample, variant != "hirescam" if relu == "auto" else bool(relu), maps


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
