"""A fitted network as numbers and a short description, from which a script in the page predicts as Python does.

The description is plain JSON. Matrices are float32, one behind the other, and the description says where each begins.
Only what predicts is written: dropout is left out, batch normalisation becomes a scale and a shift, and layers with
learned embeddings of categories become their matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from permgrad.imaging.render import Renderer
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.fast.folding import Affine, is_plain, pair
from permgrad.models.network.blocks import ACTIVATIONS, Dropout
from permgrad.models.network.branches import TableBranch
from permgrad.models.network.members import MemberLinear, MemberMean, MemberScale
from permgrad.models.network.network import HybridNetwork
from permgrad.pages.page_data import packed

_NAMES = {kind: name for name, kind in ACTIVATIONS.items()}
_NOTHING = (nn.Dropout, Dropout, nn.Identity, nn.Flatten)


class NoFormError(Exception):
    """This model cannot predict in a page. The text says why, as a clause for users."""


class Weights:
    """Arrays one behind the other, as float32."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[np.float32]] = []
        self._size = 0

    def add(self, numbers: Any) -> dict[str, Any]:
        """Store an array and return where it begins, and its shape."""
        if isinstance(numbers, torch.Tensor):
            numbers = numbers.detach().cpu().numpy()
        array = np.ascontiguousarray(numbers, dtype=np.float32)
        place = {"at": self._size, "shape": list(array.shape)}
        self._parts.append(array.reshape(-1))
        self._size += array.size
        return place

    @property
    def bytes(self) -> int:
        """Size as base64 in the page."""
        return 4 * -(-4 * self._size // 3)

    def packed(self) -> dict[str, Any]:
        """Return all numbers as the page holds them."""
        return packed(np.concatenate(self._parts) if self._parts else np.zeros(0, dtype=np.float32))


def network_form(model: Any, weights: Weights) -> dict[str, Any]:
    """Return the description of a fitted model's network, and add its matrices to ``weights``.

    Raises:
        NoFormError: The network has a part that the script does not know.
    """
    network = None
    if getattr(model, "reads_images", False):
        from permgrad.models.network.multimodal import ImageTableNetwork  # no other model needs it

        if type(model.module_) is ImageTableNetwork:
            network = _image_table(model.module_, weights)
    elif isinstance(model, (HyNNClassifier, HyNNRegressor)) and type(model.module_) is HybridNetwork:
        network = _hybrid(model.module_, weights)
    if network is None:
        raise NoFormError("only the networks of permgrad can predict inside a page")
    return {**network, "result": _result(model)}


def _result(model: Any) -> dict[str, Any]:
    """Return how outputs become what users read: probabilities with their calibration, or numbers in units of y."""
    classes = getattr(model, "classes_", None)
    if classes is None:
        image_table = getattr(model, "reads_images", False)  # its network returns y's units
        mean, scale = (0.0, 1.0) if image_table else (float(model.target_mean_), float(model.target_scale_))
        return {"task": "regression", "mean": mean, "scale": scale}
    calibration = getattr(model, "calibration_", None)
    return {
        "task": "classification",
        "classes": [str(label) for label in classes.tolist()],
        "calibration": None if calibration is None or calibration.method is None else calibration.to_dict(),
    }


def _hybrid(module: HybridNetwork, weights: Weights) -> dict[str, Any]:
    form: dict[str, Any] = {"encoded": module.encoded, "outputs": module.outputs, "members": module.members}
    form["table"] = None if module.table_branch is None else _table(module.table_branch, weights)
    form["image"] = None if module.image_branch is None else _image(module, weights)
    form["head"] = _head(list(module.head), {path: module.widths[path] for path in module.paths}, weights)
    return form


def _image_table(module: Any, weights: Weights) -> dict[str, Any]:
    """Describe a network of images and a table. What the images say comes with each row, see ``fixed``."""
    layers = _layers(list(module.table_branch), weights)
    first: Any = module.table_branch[0]
    head: Any = module.head
    last = [layer for layer in module.table_branch if isinstance(layer, nn.Linear)][-1]
    fixed = head[0].in_features - last.out_features
    return {
        "encoded": first.in_features,
        "outputs": head[-1].out_features,
        "members": 1,
        "table": {"embedding": None, "other": list(range(first.in_features)), "scale": None, "layers": layers},
        "image": None,
        "fixed": fixed,
        "head": _head(list(head), {"image": fixed, "tabular": last.out_features}, weights),
        "units": [float(module.scale), float(module.centre)],
    }


def _table(branch: nn.Module, weights: Weights) -> dict[str, Any]:
    if type(branch) is not TableBranch:
        raise NoFormError("its table branch is not permgrad's")
    layers: list[Any] = list(branch.layers)
    scale = layers.pop(0) if isinstance(layers[0], MemberScale) else None
    embedding = branch.embedding
    described = None
    if embedding is not None:
        described = {
            "columns": branch.numeric.tolist(),
            "size": embedding.size,
            **{name: weights.add(getattr(embedding, name)) for name in ("frequency", "phase", "weight", "bias")},
        }
    return {
        "embedding": described,
        "other": branch.other.tolist() if embedding is not None else list(range(layers[0].in_features)),
        "scale": None if scale is None else weights.add(scale.weight),
        "layers": _layers(layers, weights),
    }


def _layers(layers: list[Any], weights: Weights) -> list[dict[str, Any]]:
    """Describe layers that act on each row's numbers."""
    forms: list[dict[str, Any]] = []
    for layer in layers:
        if is_plain(layer, nn.Linear):
            bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias
            forms.append({"kind": "dense", "weight": weights.add(layer.weight), "bias": weights.add(bias)})
        elif type(layer) in _NAMES:
            forms.append({"kind": "activation", "name": _NAMES[type(layer)]})
        elif isinstance(layer, nn.BatchNorm1d):
            affine = Affine(layer)
            forms.append({"kind": "affine", "scale": weights.add(affine.scale), "shift": weights.add(affine.shift)})
        elif type(layer) is nn.LayerNorm:
            numbers = {name: weights.add(getattr(layer, name)) for name in ("weight", "bias")}
            forms.append({"kind": "norm", **numbers, "epsilon": layer.eps})
        elif type(layer) is MemberLinear:
            forms.append({"kind": "members", "weight": weights.add(layer.weight), "bias": weights.add(layer.bias)})
        elif not isinstance(layer, (*_NOTHING, MemberMean)):
            raise NoFormError(f"it has a layer of the kind {type(layer).__name__}")
    return forms


def _head(layers: list[Any], widths: dict[str, int], weights: Weights) -> dict[str, Any]:
    """Describe the head. Its first layer is split into what reads the table and what reads the image."""
    first = layers[0]
    parts: dict[str, Any] = {}
    # Members that share a matrix scale what is the same for all of them.
    scale = getattr(first, "scale", None)
    if type(first) is MemberLinear:
        parts = {path: first.weight[:, :, _place(first, path)] for path in widths}
    elif is_plain(first, nn.Linear):
        parts = dict(zip(widths, first.weight.split(list(widths.values()), dim=1), strict=True))
    else:
        raise NoFormError(f"its head begins with a layer of the kind {type(first).__name__}")
    return {
        "first": {
            "tabular": weights.add(parts["tabular"]) if "tabular" in parts else None,
            "image": weights.add(parts["image"]) if "image" in parts else None,
            "scale": weights.add(scale) if scale is not None else None,
            "bias": weights.add(first.bias),
        },
        "layers": _layers(layers[1:], weights),
    }


def _place(layer: MemberLinear, path: str) -> slice:
    names = list(layer.widths)
    start = sum(layer.widths[name] for name in names[: names.index(path)])
    return slice(start, start + layer.widths[path])


def _image(module: HybridNetwork, weights: Weights) -> dict[str, Any]:
    """Describe how a row is drawn, the convolutions, and the dense layers behind them."""
    renderer = module.renderer
    if type(renderer) is not Renderer:
        raise NoFormError("its images are drawn by a function from elsewhere")
    layers: list[Any] = list(module.image_branch or [])
    flat = next(place for place, layer in enumerate(layers) if isinstance(layer, nn.Flatten))
    blocks: list[dict[str, Any]] = []
    for layer in layers[:flat]:
        if is_plain(layer, nn.Conv2d):
            weight = layer.weight
            if not blocks:  # the channels of the picture are equal
                weight = weight.sum(dim=1, keepdim=True)
            blocks.append({"weight": weights.add(weight), "bias": weights.add(layer.bias), "activation": "", "pool": 1})
        elif type(layer) in _NAMES:
            blocks[-1]["activation"] = _NAMES[type(layer)]
        elif isinstance(layer, nn.BatchNorm2d):
            affine = Affine(layer)
            blocks[-1] |= {"scale": weights.add(affine.scale), "shift": weights.add(affine.shift)}
        elif isinstance(layer, nn.MaxPool2d):
            blocks[-1]["pool"] = pair(layer.kernel_size)[0]
        elif not isinstance(layer, _NOTHING):
            raise NoFormError(f"its image branch has a layer of the kind {type(layer).__name__}")
    positions = renderer.positions
    minimum, factor = renderer.ranges(range(len(positions)), torch.zeros(0))
    return {
        "pixels": renderer.height,
        "minimum": weights.add(minimum),
        "factor": weights.add(factor),
        "top": renderer.scale if renderer.clip else None,
        "place": (positions[:, 0] * renderer.width + positions[:, 1]).tolist(),
        "overlap": renderer.overlap,
        "kernel": None if renderer.blur is None else weights.add(renderer.blur.kernel()),
        "blocks": blocks,
        "layers": _layers(layers[flat + 1 :], weights),
    }
