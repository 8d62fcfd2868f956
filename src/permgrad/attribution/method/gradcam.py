"""Class activation maps, and the values of players in them.

``maps.drawn`` names the sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar, Literal

import numpy as np

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.maps.called import CalledMaps
from permgrad.attribution.maps.drawn import Drawing, DrawnMaps
from permgrad.attribution.request import Configured, Request, Scope, methods, setting
from permgrad.attribution.request.method_registry import USUAL
from permgrad.attribution.request.result import build, shown_values
from permgrad.attribution.scopes import LOCAL
from permgrad.attribution.slopes.gradients import differentiable
from permgrad.attribution.slopes.part_with_slopes import of_slopes
from permgrad.attribution.slopes.slopes import Slopes
from permgrad.attribution.slopes.truth import warn_of_untrue_slopes
from permgrad.attribution.subject.scales import RAW, Scale
from permgrad.attribution.typed_options import as_typed
from permgrad.base.errors import InputError, warn_user
from permgrad.models.batches import in_batches


@methods.register("gradcam")
class GradCam(Configured):
    """Class activation maps, and their mass on each feature's pixels.

    A feature's value is a_j = Σ_p M_p |∂R_p/∂x_j| / Σ_k |∂R_p/∂x_k| with M the map at
    the image's size and R the renderer. ``meta["background_share"]`` is the share of
    the map's mass on pixels that no feature reaches. Maps are for display: they show
    where the image branch looks, ignore the table branch, and are as coarse as the
    layer.

    For any other network, each image input has a separate map, and a player's value is
    the mean over its pixels. Inputs without a map do not appear. By default a map is
    read at the last value with spatial extent before the output, whatever computed it
    (a convolution and its activation, the sum of two branches, a normalisation). Tokens
    of image patches are arranged as a grid, without the class token. ``meta["layer"]``
    and ``meta["layer_shape"]`` name the layer, and so does ``summary()``. A map lies
    where the layer looks: on the crop of a network that crops, turned back where it
    flips, and 0 elsewhere. Convolutions and pools that read the image tell this. Else
    it is measured on two rows, once for each ``pg.Model``. Where the layer's cells are
    no grid over the input, as of a rotated one, the call is refused.

    Options:
        variant: ``"gradcam"``, ``"hirescam"`` or ``"layercam"``.
        layer: name of a convolution as in ``model.module_.image_layers()``, or of any
            layer as in ``network.named_modules()``. None: the last convolution, or for
            other networks the last value with spatial extent.
        relu: whether negative cells become 0. ``"auto"``: as published, which is true
            for all but HiResCAM.

    The result keeps ``maps["cam"]`` (rows, outputs, height, width) and
    ``maps["images"]`` (rows, height, width) if they have at most 20 million numbers.

    Sources: Grad-CAM: Selvaraju et al. 2017 (arXiv 1610.02391), equations 1 and 2.
    HiResCAM: Draelos & Carin 2020 (arXiv 2011.08891), section 3. LayerCAM: Jiang et al.
    2021 (IEEE TIP 30), equations 5 to 7. The pull-back is new in permgrad.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(80, 3))
        >>> y = (X[:, 0] > 0).astype(int)
        >>> model = pg.HyNNClassifier(
        ...     preset="fast", image="always", max_epochs=1, random_state=0
        ... ).fit(X, y)
        >>> method = pg.methods.GradCam(variant="layercam")
        >>> explanation = pg.explain(model, X[:5], method=method)
        >>> explanation.values.shape
        (5, 3, 2)
    """

    scopes: ClassVar[tuple[Scope, ...]] = (LOCAL,)
    takes: ClassVar[frozenset[str]] = USUAL - {"predictor"}
    scales: ClassVar[Mapping[Scope, Scale]] = {LOCAL: RAW}
    scale_reason: ClassVar[str] = "Grad-CAM was published for what a network returns"
    by_output: ClassVar[bool] = True
    by_slopes: ClassVar[bool] = True
    tells_of_zeros: ClassVar[bool] = True  # of empty maps
    variant: Literal["gradcam", "hirescam", "layercam"] = "gradcam"
    layer: str | None = None
    relu: bool | Literal["auto"] = "auto"
    #: ``before_activation``: a convolution is read before the activation that follows
    #: it. ``upsample``: how maps are enlarged. ``maps``: whether the result keeps them.
    before_activation: bool = setting(default=False)
    upsample: Literal["bilinear", "nearest", "none"] = setting(default="bilinear")
    maps: bool | Literal["auto"] = setting(default="auto")

    @property
    def drawing(self) -> Drawing:
        """Which maps are drawn, and how."""
        relu = self.relu
        if relu == "auto":
            # HiResCAM's equation has no rectifier: its cells add up to what the rest of
            # the network computes.
            relu = self.variant != "hirescam"
        return Drawing(
            self.variant,
            self.layer,
            bool(relu),
            self.before_activation,
            self.upsample,
            self.maps,
        )

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        request.subject.check_network("gradcam")
        request = of_slopes(request)
        drawing = self.drawing
        subject = request.subject
        targets = list(request.targets)
        predictions = np.zeros((request.count, len(targets)))
        with subject.open(), differentiable(subject):
            # Maps need no slopes towards the inputs, so a network without these is not
            # refused.
            with suppress(InputError):
                if not subject.encoded_names and all(subject.real):
                    warn_of_untrue_slopes(Slopes(request, "gradcam"), "gradcam")
            reader: DrawnMaps | CalledMaps = (
                DrawnMaps if subject.paths else CalledMaps
            )(request, drawing)
            values = np.zeros((request.count, len(reader.names), len(targets)))

            def work(row_slice: slice) -> None:
                map_reading = reader.read(row_slice)
                values[row_slice] = map_reading.values
                predictions[row_slice] = (
                    map_reading.outputs[:, targets].double().cpu().numpy()
                )
                if drawing.upsample == "none":
                    shown = map_reading.maps
                else:
                    shown = map_reading.large
                for picture, cells, image in zip(
                    reader.pictures, shown, map_reading.images, strict=True
                ):
                    picture.keep(row_slice, cells, image)
                progress.advance(row_slice.stop - row_slice.start)

            with request.bar(request.count, "gradcam") as progress:
                in_batches(request.count, reader.batch, work)
        for picture in reader.pictures:
            _tell_of_empty(picture)
        facts = {
            "quantity": reader.quantity,
            "unit": "map",
            "variant": drawing.variant,
            "upsample": drawing.upsample,
            "rectified": drawing.relu,
            **reader.facts(),
        }
        return build(
            request,
            "gradcam",
            values,
            facts,
            names=reader.names,
            modality=reader.modality,
            feature_values=None if request.raw is None else shown_values(request),
            predictions=predictions,
            maps={
                array_key: array
                for picture in reader.pictures
                for array_key, array in picture.arrays.items()
            },
        )


def _tell_of_empty(picture: Any) -> None:
    """Warn of maps that are zero everywhere."""
    empty = int(picture.empty.sum())
    if empty:
        warn_user(
            f"{empty} of {picture.empty.size} class activation maps {picture.words}. "
            f"Try {as_typed(GradCam, variant='hirescam')} or another layer."
        )
