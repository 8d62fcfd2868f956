"""Class activation maps of the image path, and how much of each map lies on the pixels of each feature.

Grad-CAM: Selvaraju et al. 2017 (arXiv 1610.02391), equations 1 and 2. HiResCAM: Draelos & Carin 2020 (arXiv
2011.08891), section 3. LayerCAM: Jiang et al. 2021 (IEEE TIP 30), equations 5 to 7.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.attribution.build import describe, modalities, shown_values
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.maps.cam import network_maps
from permgrad.attribution.maps.cam_maps import KEPT_NUMBERS, check_cam_options, weighted_maps
from permgrad.attribution.method import Request, Scope, methods, refuse_conditional
from permgrad.attribution.slopes.gradients import output_gradients
from permgrad.attribution.subject.subject import Subject
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, warn_user
from permgrad.base.progress import Progress
from permgrad.models.batches import in_batches
from permgrad.models.devices import rows_at_once
from permgrad.models.network.blocks import ACTIVATIONS
from permgrad.models.network.network import HybridNetwork

Floats = npt.NDArray[np.float64]


# ---- reading the network ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CamLayer:
    """The image branch, cut in two behind the layer whose maps are read.

    Attributes:
        name: of the layer, as in ``HybridNetwork.image_layers()``.
        before: layers up to and including the one that gives the maps.
        after: the rest of the image branch.
    """

    name: str
    before: tuple[nn.Module, ...]
    after: tuple[nn.Module, ...]


def cam_layer(module: HybridNetwork, name: str | None = None, *, before_activation: bool = False) -> CamLayer:
    """Cut the image branch behind a convolution, the last one if ``name`` is None.

    The three papers read *rectified* maps, as Keras' ``Conv2D(activation="relu")`` returns them, so the activation
    that directly follows the convolution belongs to it unless ``before_activation``.

    No hook is set: the branch is a chain, and walking its two halves leaves nothing behind in the user's module.

    Raises:
        InputError: The network has no image path, or no layer of this name.
    """
    layers = module.image_layers()
    if module.image_branch is None or not layers:
        raise InputError(
            f"class activation maps need a network with the image path, however: branches={module.paths!r}; "
            "choose method='permgrad' or 'integrated_gradients', or fit with branches=('tabular', 'image')"
        )
    name = list(layers)[-1] if name is None else name
    check_choice("layer", name, layers)
    chain = list(module.image_branch)
    end = next(place for place, layer in enumerate(chain) if layer is layers[name]) + 1
    if not before_activation and end < len(chain) and _is_activation(chain[end]):
        end += 1
    return CamLayer(name, tuple(chain[:end]), tuple(chain[end:]))


def _is_activation(layer: nn.Module) -> bool:
    return any(type(layer) is kind for kind in ACTIVATIONS.values())


def class_maps(
    subject: Subject,
    encoded: Tensor,
    layer: CamLayer,
    *,
    output: str,
    targets: Sequence[int],
    variant: str,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return one map per row and output, all rows at once; the gradient is taken at the layer and not one step further.

    What each variant is: ``cam_maps.weighted_maps``.

    Args:
        subject: the model, already open.
        encoded: ``(rows, encoded)``.
        layer: from ``cam_layer``.
        output: ``"logit"`` or ``"probability"``.
        targets: positions of the outputs.
        variant: one of ``VARIANTS``.
        relu: whether negative cells become 0.

    Returns:
        Maps ``(rows, targets, height, width)``, the outputs ``(rows, all outputs)`` and the images
        ``(rows, channels, height, width)``.
    """
    module = subject.module
    with torch.inference_mode(mode=False):
        with torch.no_grad():
            images: Tensor = module.renderer(encoded)
            values = images
            for step in layer.before:
                values = step(values)
            other = {path: module.embed(path, encoded) for path in module.paths if path != "image"}
        with torch.enable_grad():
            activation = values.detach().requires_grad_()
            values = activation
            for step in layer.after:
                values = step(values)
            outputs = subject.readout(module.fuse({**other, "image": values}), output)
            gradients = output_gradients(outputs, targets, [activation], constant_sum=subject.sum_is_constant(output))[
                0
            ]
        with torch.no_grad():
            kept = activation.detach()
            return weighted_maps(kept, gradients, variant, relu=relu), outputs.detach(), images


def maps_at_once(request: Request) -> int:
    """Return the rows per backward pass: on a processor a batch's activations should stay in its cache."""
    if request.batch_size != "auto":
        return int(request.batch_size)
    return rows_at_once(request.subject.device, on_processor=128, on_accelerator=4096)


# ---- from pixels to features -----------------------------------------------------------------------------------------


def enlarging(cells: tuple[int, int], pixels: tuple[int, int], how: str) -> Tensor:
    """Return the matrix ``(cells, pixels)`` that enlarges a flattened map to the image's size.

    Examples:
        >>> enlarging((1, 2), (1, 4), "nearest").tolist()
        [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    """
    count = cells[0] * cells[1]
    each = torch.eye(count).reshape(count, 1, *cells)
    options: dict[str, Any] = {"mode": "bilinear", "align_corners": False} if how == "bilinear" else {"mode": "nearest"}
    return functional.interpolate(each, size=pixels, **options).reshape(count, pixels[0] * pixels[1])


def pixel_shares(influence: Tensor, players: Sequence[npt.NDArray[np.intp]]) -> Tensor:
    """Return how much of each pixel belongs to each player: |∂R_p/∂x_j| / Σ_k |∂R_p/∂x_k|, summed over its columns.

    Shape:
        influence ``(encoded, height, width)``; result ``(players, height × width)``, whose columns sum to 1 where all
        columns have a player, and to 0 on pixels that no column reaches.
    """
    flat = influence.flatten(1).double()
    total = flat.sum(dim=0)
    shares = torch.where(total > 0, flat / total.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    rows = [shares[torch.as_tensor(np.asarray(columns, dtype=np.int64))].sum(dim=0) for columns in players]
    return torch.stack(rows)


# ---- the method ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Options:
    """The method's options after they have been checked."""

    variant: str
    layer: CamLayer
    upsample: str
    relu: bool
    maps: bool | str


def _check_options(request: Request) -> _Options:
    given = request.options
    variant, upsample, relu, maps = check_cam_options(given)
    return _Options(
        variant=variant,
        layer=cam_layer(
            request.subject.module,
            given.get("layer"),
            before_activation=bool(given.get("before_activation", False)),
        ),
        upsample=upsample,
        relu=relu,
        maps=maps,
    )


@dataclass
class _Collected:
    """What is kept of the rows while the batches go by."""

    values: Floats
    predictions: Floats
    mass: Floats
    reached: Floats
    empty: npt.NDArray[np.int64]
    maps: npt.NDArray[np.float32] | None = None
    images: npt.NDArray[np.float32] | None = None


@methods.register("gradcam")
class GradCam:
    """Class activation maps, and their mass on each feature's pixels.

    A feature's value is a_j = Σ_p M_p |∂R_p/∂x_j| / Σ_k |∂R_p/∂x_k| with M the map at the image's size and R the
    renderer. The share of the map's mass on pixels that no feature reaches is reported in
    ``meta["background_share"]``. Maps are for looking
    at: they say where the image path looks, know nothing of the table path, and are as coarse as the layer.

    Of any other network, each image input has a map of its own, and a player's value is its mean over the player's
    pixels; inputs without a map do not appear. By default a map is read at the last value with spatial extent on the
    way to the output, whatever made it (a convolution and its activation, the join of two ways, a normalisation); the
    tokens of an image's patches are laid out as its grid, without the class token. ``meta["layer"]`` and
    ``meta["layer_shape"]`` tell which it is.

    Options:
        variant: ``"gradcam"``, ``"hirescam"`` or ``"layercam"``.
        layer: name of a convolution as in ``model.module_.image_layers()``, or of any layer as in
            ``network.named_modules()``; None is the last convolution, of any network the last value with spatial
            extent.
        before_activation: read the convolution's result before the activation that follows it; by default no
            activation and no normalisation is read then.
        upsample: how maps are enlarged to the image's size: ``"bilinear"``, ``"nearest"``, or ``"none"`` (maps keep
            the layer's size; features read the nearest cell).
        relu: whether negative cells become 0; ``"auto"``: as published, which is so for all but HiResCAM.
        maps: whether the result keeps ``maps["cam"]`` (rows, outputs, height, width) and ``maps["images"]`` (rows,
            height, width); ``"auto"``: up to 20 million numbers.

    Sources: see the head of this file. The pull-back to features is permgrad's own.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(80, 3)); y = (X[:, 0] > 0).astype(int)
        >>> model = pg.HyNNClassifier(preset="fast", max_epochs=1, random_state=0).fit(X, y)
        >>> explanation = pg.explain(model, X[:5], method="gradcam", variant="layercam", progress=False)
        >>> explanation.values.shape
        (5, 3, 2)
    """

    scopes: ClassVar[tuple[Scope, ...]] = ("local",)
    options: ClassVar[Mapping[str, Any]] = {
        "variant": "gradcam",
        "layer": None,
        "before_activation": False,
        "upsample": "bilinear",
        "relu": "auto",
        "maps": "auto",
    }

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        refuse_conditional(request, "gradcam")
        if request.subject.kind == "network":
            return network_maps(request)
        started = time.perf_counter()
        options = _check_options(request)
        shares = _shares(request)
        collected = _collect(request, options, shares)
        _warn_of_empty_maps(collected, options)
        mass = collected.mass
        background = np.divide(mass - collected.reached, mass, out=np.full(mass.shape, np.nan), where=mass > 0)
        names = tuple(request.subject.output_names[target] for target in request.targets)
        maps = {"cam": collected.maps, "images": collected.images}
        return Explanation(
            values=collected.values if shares is not None else np.full(collected.values.shape, np.nan),
            names=tuple(request.players),
            modality=modalities(request),
            outputs=names,
            method="gradcam",
            scope="local",
            level=request.level,
            additive=False,
            groups=request.groups,
            feature_values=shown_values(request),
            predictions=collected.predictions,
            maps={name: array for name, array in maps.items() if array is not None},
            meta=describe(
                request,
                quantity="mass of the class activation map on the feature's pixels",
                unit="map",
                output=request.output,
                variant=options.variant,
                layer=options.layer.name,
                upsample=options.upsample,
                rectified=options.relu,
                background_share=None
                if shares is None
                else {
                    name: None if np.isnan(share) else float(share)
                    for name, share in zip(names, background, strict=True)
                },
                empty_maps={name: int(count) for name, count in zip(names, collected.empty, strict=True)},
                seconds=time.perf_counter() - started,
            ),
        )


def _shares(request: Request) -> Tensor | None:
    """Return the players' shares of the pixels; None, with a warning, where foreign code draws the pictures."""
    renderer: Any = request.subject.module.renderer
    if not getattr(renderer, "differentiable", True):
        warn_user(
            "gradcam reads maps back to features through a differentiable renderer, however: these pictures are drawn "
            "by foreign code, so only the maps are given and the features' values are NaN; "
            "choose method='permgrad', 'permutation' or 'ablation' for values"
        )
        return None
    return pixel_shares(renderer.influence(), list(request.players.values())).to(request.subject.device)


def _collect(request: Request, options: _Options, shares: Tensor | None) -> _Collected:
    """Go through the rows in batches."""
    subject = request.subject
    rows, targets = len(request.encoded), list(request.targets)
    store = _Collected(
        values=np.zeros((rows, len(request.players), len(targets))),
        predictions=np.zeros((rows, len(targets))),
        mass=np.zeros(len(targets)),
        reached=np.zeros(len(targets)),
        empty=np.zeros(len(targets), dtype=np.int64),
    )
    matrix: Tensor | None = None
    dtype = next(subject.module.parameters()).dtype

    def one_batch(part: slice) -> None:
        nonlocal matrix
        encoded = torch.as_tensor(np.ascontiguousarray(request.encoded[part]), device=subject.device).to(dtype)
        small, outputs, images = class_maps(
            subject,
            encoded,
            options.layer,
            output=request.output,
            targets=targets,
            variant=options.variant,
            relu=options.relu,
        )
        cells, pixels = (small.shape[2], small.shape[3]), (images.shape[2], images.shape[3])
        if matrix is None:
            matrix = enlarging(cells, pixels, options.upsample).to(small)
            _make_room(
                store, options.maps, (rows, len(targets)), cells if options.upsample == "none" else pixels, pixels
            )
        large = small.flatten(2) @ matrix
        _keep(store, part, outputs[:, targets], large, shares)
        if store.maps is not None and store.images is not None:
            shown = small if options.upsample == "none" else large.unflatten(2, pixels)
            store.maps[part] = shown.cpu().numpy()
            store.images[part] = images.mean(dim=1).cpu().numpy()
        progress.advance(part.stop - part.start)

    with Progress(rows, "gradcam", request.progress) as progress, subject.open():
        in_batches(rows, maps_at_once(request), one_batch)
    return store


def _make_room(
    store: _Collected, maps: bool | str, shape: tuple[int, int], size: tuple[int, int], pixels: tuple[int, int]
) -> None:
    """Allocate the maps, if they are to be kept, once their size is known."""
    numbers = shape[0] * (shape[1] * size[0] * size[1] + pixels[0] * pixels[1])
    if maps is True or (maps == "auto" and numbers <= KEPT_NUMBERS):
        store.maps = np.zeros((*shape, *size), dtype=np.float32)
        store.images = np.zeros((shape[0], *pixels), dtype=np.float32)


def _keep(store: _Collected, part: slice, outputs: Tensor, large: Tensor, shares: Tensor | None) -> None:
    """Add one batch: enlarged maps ``(rows, targets, pixels)``, outputs ``(rows, targets)``."""
    store.predictions[part] = outputs.double().cpu().numpy()
    size = large.abs()
    store.empty += (size.amax(dim=2) == 0).sum(dim=0).cpu().numpy()
    store.mass += size.sum(dim=(0, 2)).double().cpu().numpy()
    if shares is not None:
        store.values[part] = (large @ shares.to(large).T).transpose(1, 2).double().cpu().numpy()
        reached = (shares.sum(dim=0) > 0).to(size)
        store.reached += (size @ reached).sum(dim=0).double().cpu().numpy()


def _warn_of_empty_maps(collected: _Collected, options: _Options) -> None:
    empty, total = int(collected.empty.sum()), collected.values.shape[0] * collected.values.shape[2]
    if empty:
        warn_user(
            f"a class activation map should have cells above zero, however: {empty} of {total} maps at layer "
            f"{options.layer.name!r} are all zero, and so are their features' values; "
            "try variant='hirescam' or another layer"
        )
