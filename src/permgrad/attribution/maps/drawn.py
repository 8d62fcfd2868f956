"""Class activation maps: from a layer's values and gradients, and of the images that a
hybrid network draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.attribution.request import Request
from permgrad.attribution.slopes.gradients import copied_rows, output_gradients
from permgrad.attribution.subject.scales import Scale
from permgrad.attribution.subject.subject import Subject
from permgrad.base.arrays import Booleans, Floats, Floats32, Indexes
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, warn_user
from permgrad.base.sequences import values_at
from permgrad.models.branches.head_branches import IMAGE
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.options import ACTIVATIONS

#: The variants, by the names that their papers give them.
MAP_NAMES = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM", "layercam": "LayerCAM"}
VARIANTS = tuple(MAP_NAMES)


class Drawing(NamedTuple):
    """Which maps are drawn, and how: options of ``GradCam``."""

    variant: str
    layer: Any
    relu: bool
    before_activation: bool
    upsample: str
    maps: bool | Literal["auto"]


#: With ``maps="auto"``, maps of more numbers than this are not kept.
KEPT_NUMBERS = 20_000_000


def weighted_maps(
    values: Tensor, gradients: Tensor, variant: str, *, relu: bool
) -> Tensor:
    """Return one map ``(rows, targets, *cells)`` per row and output.

    With A the layer's maps ``(rows, channels, *cells)`` and g = ∂output/∂A ``(targets,
    rows, channels, *cells)``: Grad-CAM Σ_k mean(g_k) A_k, HiResCAM Σ_k g_k A_k,
    LayerCAM Σ_k max(g_k, 0) A_k.
    """
    if variant == "gradcam":
        row_maps = torch.einsum(
            "tnc,nc...->nt...", gradients.flatten(3).mean(dim=3), values
        )
    else:
        if variant == "hirescam":
            weights = gradients
        else:
            weights = gradients.clamp_min(0)
        row_maps = torch.einsum("tnc...,nc...->nt...", weights, values)
    if relu:
        return row_maps.clamp_min(0)
    return row_maps


def enlarged(maps: Tensor, size: tuple[int, ...], how: str) -> Tensor:
    """Return maps ``(rows, targets, *cells)`` at an image's size.

    Maps of one dimension run along its width.
    """
    cells = maps.reshape(
        *maps.shape[:2], *[1] * (len(size) + 2 - maps.ndim), *maps.shape[2:]
    )
    if how == "bilinear":
        interpolation = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
        return functional.interpolate(
            cells, size=size, mode=interpolation, align_corners=False
        )
    return functional.interpolate(cells, size=size, mode="nearest")


@dataclass
class Picture:
    """An image and a map for each row and output, of which the empty ones are noted."""

    maps_key: str
    images_key: str
    words: str  # what is said of empty maps
    empty: Booleans  # ``(rows, targets)``
    stored: bool | str  # whether both are kept. ``"auto"``: up to ``KEPT_NUMBERS``
    arrays: dict[str, Floats32] = field(default_factory=dict)

    def keep(self, row_slice: slice, maps: Tensor, images: Tensor) -> None:
        """Store the maps ``(b, targets, *cells)`` of some rows and their images."""
        self.empty[row_slice] = (maps.flatten(2).abs().amax(dim=2) == 0).cpu().numpy()
        count = len(self.empty)
        numbers = count * (maps[0].numel() + images[0].numel())
        for array_key, array in ((self.maps_key, maps), (self.images_key, images)):
            if self.stored is True or (
                self.stored == "auto" and numbers <= KEPT_NUMBERS
            ):
                self.arrays.setdefault(
                    array_key, np.zeros((count, *array.shape[1:]), dtype=np.float32)
                )
                self.arrays[array_key][row_slice] = array.float().cpu().numpy()


class Read(NamedTuple):
    """What is read of some rows, the first three for each image input."""

    maps: list[Tensor]  # ``(b, targets, *cells)``
    large: list[Tensor]  # the same at the image's size
    images: list[Tensor]  # without channels if the network draws them
    values: Floats  # ``(b, players, targets)``
    outputs: Tensor  # all of them


# ---- pictures that a hybrid network draws --------------------------------------------
# No hook is set: the image branch is a chain, and walking its two halves leaves nothing
# behind in the user's module.


@dataclass(frozen=True)
class CamLayer:
    """The image branch, cut in two behind the layer whose maps are read.

    Attributes:
        name: Its name in ``image_layers()``.
        before: The image branch up to the layer.
        after: What follows it.
    """

    name: str
    before: tuple[nn.Module, ...]
    after: tuple[nn.Module, ...]


def cam_layer(
    module: HybridNetwork, name: str | None = None, *, before_activation: bool = False
) -> CamLayer:
    """Return the image branch, cut behind a convolution and its activation.

    Args:
        module: The network.
        name: The convolution. None: the last.
        before_activation: Whether the cut is before the activation that takes it up.
    """
    layers = module.image_layers()
    if module.image_branch is None or not layers:
        # The module may be a part of the network.
        problem = (
            "Class activation maps need a network with the image branch, which this "
            "one does not have"
        )
        hint = (
            "Choose method='permgrad' or 'integrated_gradients', or fit with "
            "branches=('tabular', 'image')"
        )
        raise InputError(problem, hint=hint, code="PG034")
    if name is None:
        name = list(layers)[-1]
    check_choice("layer", name, layers)
    chain = list(module.image_branch)
    chain_end = (
        next(
            layer_index
            for layer_index, layer in enumerate(chain)
            if layer is layers[name]
        )
        + 1
    )
    if (
        not before_activation
        and chain_end < len(chain)
        and type(chain[chain_end]) in ACTIVATIONS.values()
    ):
        chain_end += 1
    return CamLayer(name, tuple(chain[:chain_end]), tuple(chain[chain_end:]))


class ClassMaps(NamedTuple):
    """Activation maps of outputs, with what they are maps of.

    Attributes:
        maps: ``(rows, targets, height, width)``.
        outputs: All outputs, ``(rows, K)``.
        images: ``(rows, channels, height, width)``.
    """

    maps: Tensor
    outputs: Tensor
    images: Tensor


def class_maps(
    subject: Subject,
    encoded: Tensor,
    layer: CamLayer,
    scale: Scale,
    targets: Sequence[int],
    variant: str,
    *,
    relu: bool,
) -> ClassMaps:
    """Return the maps of some outputs.

    Args:
        subject: The network.
        encoded: Rows, ``(rows, encoded)``.
        layer: Whose maps are read.
        scale: Of the outputs explained.
        targets: The positions of these outputs.
        variant: Of Grad-CAM.
        relu: Whether only what raises an output counts.
    """
    module = subject.module
    with torch.inference_mode(mode=False):
        with torch.no_grad():
            images: Tensor = module.renderer(encoded)
            values = images
            for layer_step in layer.before:
                values = layer_step(values)
            branch_embeddings = {}
            for branch_name in module.paths:
                if branch_name != IMAGE.name:
                    branch_embeddings[branch_name] = module.embed(branch_name, encoded)
        with torch.enable_grad():
            activation = values.detach().requires_grad_()
            values = activation
            for layer_step in layer.after:
                values = layer_step(values)
            values = module.with_kernels(values, images)
            outputs = scale.read(
                subject.outputs, module.fuse({**branch_embeddings, IMAGE.name: values})
            )
            constant_sum = scale.sum_is_constant(subject.outputs)
            (gradients,) = output_gradients(
                outputs, targets, [activation], constant_sum=constant_sum
            )
        with torch.no_grad():
            return ClassMaps(
                weighted_maps(activation.detach(), gradients, variant, relu=relu),
                outputs.detach(),
                images,
            )


def maps_at_once(request: Request) -> int:
    """Return the rows per backward pass: on a processor a batch's activations should
    stay in its cache.
    """
    if request.batch_size != "auto":
        return int(request.batch_size)
    if request.subject.device.type == "cpu":
        return 128
    return 4096


def pixel_shares(influence: Tensor, players: Sequence[Indexes]) -> Tensor:
    """Return how much of each pixel is each player's: |∂R_p/∂x_j| / Σ_k |∂R_p/∂x_k|,
    ``(players, height × width)``.
    """
    flat_influence = influence.flatten(1).double()
    total = flat_influence.sum(dim=0)
    shares = torch.where(
        total > 0,
        flat_influence / total.clamp_min(torch.finfo(torch.float64).tiny),
        0.0,
    )
    player_shares = []
    for columns in players:
        player_shares.append(
            shares[torch.as_tensor(np.asarray(columns, dtype=np.int64))].sum(dim=0)
        )
    return torch.stack(player_shares)


class DrawnMaps:
    """Maps of the image branch, and their mass on the pixels of each player's encoded
    columns, with the subject open.
    """

    quantity = "mass of the class activation map on the feature's pixels"

    def __init__(self, request: Request, drawing: Drawing) -> None:
        self.request = request
        self.drawing = drawing
        self.layer = cam_layer(
            request.subject.module,
            drawing.layer,
            before_activation=drawing.before_activation,
        )
        words = (
            f"at layer {self.layer.name!r} are all zero, and so are their "
            "features' values"
        )
        empty = np.zeros((request.count, len(request.targets)), dtype=bool)
        self.pictures = [Picture("cam", "images", words, empty, drawing.maps)]
        self.names = request.space.names
        self.modality = request.space.modality
        self.batch = maps_at_once(request)
        renderer: Any = request.subject.module.renderer
        self._shares = None
        if getattr(renderer, "differentiable", True):
            shares = pixel_shares(
                renderer.influence(), list(request.space.columns.values())
            )
            self._shares = shares.to(request.subject.device)
        else:
            warn_user(
                "The images are drawn by a function of the user, so gradcam returns "
                "maps, and the values of features are NaN. Choose method='permgrad', "
                "'permutation' or 'ablation' for values."
            )
        self._mass, self._reached = np.zeros((2, request.count, len(request.targets)))

    def read(self, row_slice: slice) -> Read:
        """Return the maps, and the mass on each player's share of the pixels, NaN if a
        user's function draws them.
        """
        request = self.request
        drawing = self.drawing
        (batch_rows,) = copied_rows(request.subject, request.inputs, row_slice)
        subject = request.subject
        row_maps, outputs, images = class_maps(
            subject,
            batch_rows,
            self.layer,
            request.scale,
            request.targets,
            drawing.variant,
            relu=drawing.relu,
        )
        large = enlarged(row_maps, tuple(images.shape[2:]), drawing.upsample)
        flat_maps = large.flatten(2)
        values = np.full(
            (len(batch_rows), len(self.names), len(request.targets)), np.nan
        )
        if self._shares is not None:
            absolute_maps = flat_maps.abs()
            shares = self._shares.to(flat_maps)
            self._mass[row_slice] = absolute_maps.sum(dim=2).double().cpu().numpy()
            self._reached[row_slice] = (
                (absolute_maps @ (shares.sum(dim=0) > 0).to(absolute_maps))
                .double()
                .cpu()
                .numpy()
            )
            values = (flat_maps @ shares.T).transpose(1, 2).double().cpu().numpy()
        return Read([row_maps], [large], [images.mean(dim=1)], values, outputs)

    def facts(self) -> dict[str, Any]:
        """Return the layer, the share of the mass that lies on no feature's pixels, and
        how many maps are all zero.
        """
        names = self.request.scale.names(self.request.subject.outputs)
        outputs = values_at(names, self.request.targets)
        background = None
        if self._shares is not None:
            output_masses = zip(
                outputs, self._mass.sum(axis=0), self._reached.sum(axis=0), strict=True
            )
            background = {
                output_name: float((total_mass - reached) / total_mass)
                if total_mass > 0
                else None
                for output_name, total_mass, reached in output_masses
            }
        empty = self.pictures[0].empty.sum(axis=0)
        return {
            "layer": self.layer.name,
            "background_share": background,
            "empty_maps": {
                output_name: int(count)
                for output_name, count in zip(outputs, empty, strict=True)
            },
        }
