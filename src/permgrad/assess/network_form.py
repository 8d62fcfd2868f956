"""A fitted model as numbers and a short description, from which a script in the page
predicts as Python does.

The description is plain JSON. Matrices are float32, one behind the other, and the
description says where each begins. Only what predicts is written: dropout is left out,
batch normalisation becomes a scale and a shift, and layers with learned embeddings of
categories become their matrix. Models are networks of permgrad, with what they have
beside their head, and boosted trees, which are a network that has nothing but trees
beside its head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from permgrad.assess.encoder_form import formless
from permgrad.base.sequences import values_at
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.tasks import CLASSIFICATION, REGRESSION
from permgrad.imaging.render import Renderer
from permgrad.models.branches import added_branches, joined_branches
from permgrad.models.branches.branch import Store
from permgrad.models.branches.tree_form import tree_form
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.fast.folding import Affine, is_plain, pair
from permgrad.models.libraries.boosted import BoostedTrees
from permgrad.models.network.blocks import SHARPNESS, Dropout, RandomKernels, Rate
from permgrad.models.network.members import MemberLinear, MemberMean, MemberScale
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.options import ACTIVATIONS
from permgrad.models.network.table_and_image import TableBranch

_NAMES = {
    activation_type: activation_name
    for activation_name, activation_type in ACTIVATIONS.items()
}
_NOTHING = (nn.Dropout, Dropout, nn.Identity, nn.Flatten)


#: Arrays one behind the other.
Weights = list[npt.NDArray[np.float32]]


def add(weights: Weights, numbers: Any) -> dict[str, Any]:
    """Store an array as float32, and return where it begins, and its shape."""
    if isinstance(numbers, torch.Tensor):
        numbers = numbers.detach().cpu().numpy()
    array = np.ascontiguousarray(numbers, dtype=np.float32)
    location = {
        "at": sum(stored_array.size for stored_array in weights),
        "shape": list(array.shape),
    }
    weights.append(array.reshape(-1))
    return location


def runs_in_page(model: Any) -> bool:
    """Return whether a model is of a kind that can predict inside a page."""
    return _boosted(model) is not None or isinstance(
        model, (HyNNClassifier, HyNNRegressor)
    )


def _boosted(model: Any) -> BoostedTrees | None:
    fitted = getattr(getattr(model, "fitted_", None), "model", None)
    if isinstance(fitted, BoostedTrees):
        return fitted
    return None


def model_form(model: Any, weights: Weights) -> dict[str, Any]:
    """Return the description of a fitted model, and add its matrices to ``weights``.

    Its ``result`` says how outputs become what users read: probabilities with their
    calibration, or numbers in units of y.

    Raises:
        NotImplementedError: The model has a part that the script does not know. The
            text names it, as a clause.
    """
    encoder = getattr(model, "preprocessor_", None)
    if isinstance(encoder, TableEncoder) and (unread := formless(encoder)):
        raise NotImplementedError(
            f"no page encodes columns of kind {unread[0].kind}, such as "
            f"{unread[0].name!r}"
        )
    if (boosted := _boosted(model)) is not None:
        return _form_of_trees(model, boosted, weights)
    module = getattr(model, "module_", None)
    if (
        not isinstance(model, (HyNNClassifier, HyNNRegressor))
        or type(module) is not HybridNetwork
    ):
        raise NotImplementedError(
            "only the networks of permgrad and boosted trees can predict inside a page"
        )
    return _form_of_network(model, module, weights)


def _form_of_trees(
    model: Any, boosted: BoostedTrees, weights: Weights
) -> dict[str, Any]:
    """Describe a model of boosted trees."""
    outputs = len(boosted.trees.base)
    if hasattr(model, "classes_") and len(model.fitted_.seen) < len(model.classes_):
        raise NotImplementedError("one of its classes has no training row")
    return {
        "encoded": len(model.preprocessor_.encoded_names_),
        "outputs": outputs,
        "members": 1,
        "table": None,
        "image": None,
        "head": None,
        "rates": boosted.link == "exp",
        "beside": [tree_form(boosted.trees, partial(add, weights))],
        "result": _result(model, {"mean": 0.0, "scale": 1.0}),
    }


def _form_of_network(
    model: Any, module: HybridNetwork, weights: Weights
) -> dict[str, Any]:
    """Describe a network of permgrad."""
    network_form: dict[str, Any] = {
        "encoded": module.encoded,
        "outputs": module.outputs,
        "members": module.members,
    }
    network_form["table"] = branch = module.table_branch
    if branch is not None:
        if type(branch) is not TableBranch:
            raise NotImplementedError("its table branch is not permgrad's")
        layers: list[Any] = list(branch.layers)
        if isinstance(layers[0], MemberScale):
            scale = layers.pop(0)
        else:
            scale = None
        embedding = branch.embedding
        described = None
        other_columns = list(range(layers[0].in_features))
        if embedding is not None:
            weight_names = ("frequency", "phase", "weight", "bias")
            described = {"columns": branch.numeric.tolist(), "size": embedding.size}
            for weight_name in weight_names:
                described[weight_name] = add(weights, getattr(embedding, weight_name))
            other_columns = branch.other.tolist()
        network_form["table"] = {
            "embedding": described,
            "other": other_columns,
            "products": branch.products,
            "scale": None if scale is None else add(weights, scale.weight),
            "layers": _layers(layers, weights),
        }
    if module.image_branch is None:
        network_form["image"] = None
    else:
        network_form["image"] = _image(module, weights)
    network_form["head"] = _head(list(module.head), dict(module.widths), weights)
    network_form["rates"] = module.rates
    store: Store = partial(add, weights)
    network_form["beside"] = []
    for branch_name, added_module in module.additive.items():
        branch_form = added_branches()[branch_name].form(added_module, store)
        network_form["beside"].append(branch_form)
    scales = {}
    for scale_name in ("mean", "scale"):
        scales[scale_name] = float(getattr(model, f"target_{scale_name}_", 0.0))
    network_form["result"] = _result(model, scales)
    return network_form


def _result(model: Any, units: dict[str, float]) -> dict[str, Any]:
    """Describe how outputs become what users read.

    Args:
        model: the fitted estimator. Its ``decision_`` is the probability of the
            positive class from which that class is predicted (None: more than two
            classes). A calibration without a ``method`` changes nothing.
        units: the ``mean`` and the ``scale`` by which a numeric target was
            standardised.
    """
    classes = getattr(model, "classes_", None)
    calibration = getattr(model, "calibration_", None)
    if classes is None:
        return {"task": REGRESSION, **units}
    return {
        "task": CLASSIFICATION,
        "classes": list(map(str, classes.tolist())),
        "decision": None
        if model.decision_ is None
        else {
            "positive": model.decision_.positive,
            "threshold": model.decision_.threshold,
        },
        "calibration": None
        if calibration is None or calibration.method is None
        else calibration.to_dict(),
    }


def _layers(layers: list[Any], weights: Weights) -> list[dict[str, Any]]:
    """Describe layers that act on each row's numbers."""
    forms: list[dict[str, Any]] = []
    for layer in layers:
        if is_plain(layer, nn.Linear):
            bias_weights = (
                torch.zeros(layer.out_features) if layer.bias is None else layer.bias
            )
            forms.append(
                {
                    "kind": "dense",
                    "weight": add(weights, layer.weight),
                    "bias": add(weights, bias_weights),
                }
            )
        elif type(layer) in _NAMES:
            forms.append({"kind": "activation", "name": _NAMES[type(layer)]})
        elif type(layer) is Rate:
            forms.append({"kind": "activation", "name": "rate"})
        elif isinstance(layer, nn.BatchNorm1d):
            affine = Affine(layer)
            forms.append(
                {
                    "kind": "affine",
                    "scale": add(weights, affine.scale),
                    "shift": add(weights, affine.shift),
                }
            )
        elif type(layer) is nn.LayerNorm:
            numbers = {
                weight_name: add(weights, getattr(layer, weight_name))
                for weight_name in ("weight", "bias")
            }
            forms.append({"kind": "norm", **numbers, "epsilon": layer.eps})
        elif type(layer) is MemberLinear:
            forms.append(
                {
                    "kind": "members",
                    "weight": add(weights, layer.weight),
                    "bias": add(weights, layer.bias),
                }
            )
        elif not isinstance(layer, (*_NOTHING, MemberMean)):
            raise NotImplementedError(
                f"it has a layer of the kind {type(layer).__name__}"
            )
    return forms


def _head(
    layers: list[Any], widths: dict[str, int], weights: Weights
) -> dict[str, Any]:
    """Describe the head.

    Its first layer is split into what reads the table and what reads the image.
    """
    first = layers[0]
    path_weights: dict[str, Any] = {}
    # Members that share a matrix scale what is the same for all of them.
    scale = getattr(first, "scale", None)
    if type(first) is MemberLinear:
        path_weights = {}
        for path_name in widths:
            path_weights[path_name] = first.weight[:, :, _place(first, path_name)]
    elif is_plain(first, nn.Linear):
        path_weights = dict(
            zip(widths, first.weight.split(list(widths.values()), dim=1), strict=True)
        )
    else:
        raise NotImplementedError(
            f"its head begins with a layer of the kind {type(first).__name__}"
        )
    first_form: dict[str, Any] = dict.fromkeys((*joined_branches(), "scale"))
    for path_name, weight in path_weights.items():
        first_form[path_name] = add(weights, weight)
    if scale is not None:
        first_form["scale"] = add(weights, scale)
    first_form["bias"] = add(weights, first.bias)
    return {
        "first": first_form,
        "layers": _layers(layers[1:], weights),
    }


def _place(layer: MemberLinear, path: str) -> slice:
    names = list(layer.widths)
    start = sum(values_at(layer.widths, names[: names.index(path)]))
    return slice(start, start + layer.widths[path])


def _image(module: HybridNetwork, weights: Weights) -> dict[str, Any]:
    """Describe how a row is drawn, the convolutions, and the dense layers behind
    them.
    """
    renderer = module.renderer
    if type(renderer) is not Renderer:
        raise NotImplementedError("its images are drawn by a function from elsewhere")
    layers: list[Any] = list(module.image_branch or [])
    flatten_index = next(
        layer_index
        for layer_index, layer in enumerate(layers)
        if isinstance(layer, nn.Flatten)
    )
    blocks, means = _blocks(layers[:flatten_index], renderer.depth, weights)
    minimum, factor = renderer.ranges(range(len(renderer.positions)), torch.zeros(0))
    return {
        "pixels": [renderer.height, renderer.width],
        "channels": renderer.depth,
        "means": means,
        "minimum": add(weights, minimum),
        "factor": add(weights, factor),
        "top": renderer.scale if renderer.clip else None,
        "place": renderer.flat.tolist(),
        "overlap": renderer.overlap,
        "kernel": None
        if renderer.blur is None
        else add(weights, renderer.blur.kernel()),
        "blocks": blocks,
        "kernels": None
        if module.kernels is None
        else _kernels(module.kernels, renderer.depth, weights),
        "layers": _layers(layers[flatten_index + 1 :], weights),
    }


def _blocks(
    layers: Sequence[Any], depth: int, weights: Weights
) -> tuple[list[dict[str, Any]], int]:
    """Describe the convolutions, and over how many places a last layer takes means."""
    blocks: list[dict[str, Any]] = []
    means = 0
    for layer in layers:
        if is_plain(layer, nn.Conv2d):
            weight = layer.weight
            if not blocks and depth == 1:  # the channels of the picture are equal
                weight = weight.sum(dim=1, keepdim=True)
            blocks.append(
                {
                    "weight": add(weights, weight),
                    "bias": add(weights, layer.bias),
                    "activation": "",
                    "pool": [1, 1],
                }
            )
        elif type(layer) in _NAMES:
            blocks[-1]["activation"] = _NAMES[type(layer)]
        elif isinstance(layer, nn.BatchNorm2d):
            affine = Affine(layer)
            blocks[-1] |= {
                "scale": add(weights, affine.scale),
                "shift": add(weights, affine.shift),
            }
        elif isinstance(layer, nn.MaxPool2d):
            blocks[-1]["pool"] = list(pair(layer.kernel_size))
        elif is_plain(layer, nn.AvgPool2d) and layer is layers[-1]:
            means = math.prod(
                pair(layer.kernel_size)
            )  # of all places: the last layer before the dense ones
        elif not isinstance(layer, _NOTHING):
            raise NotImplementedError(
                f"its image branch has a layer of the kind {type(layer).__name__}"
            )
    return blocks, means


def _kernels(kernels: RandomKernels, depth: int, weights: Weights) -> dict[str, Any]:
    """Describe random kernels beside the convolutions, on so many channels.

    What they say is added to the outputs.
    """
    readout: Any = kernels.readout
    layers: list[Any] = list(kernels.convolutions)
    return {
        "centre": float(kernels.centre),
        "parts": kernels.parts,
        "sharpness": SHARPNESS,
        "groups": [
            {
                # The channels of a picture of one are equal.
                "weight": add(
                    weights,
                    layer.weight.sum(dim=1, keepdim=True)
                    if depth == 1
                    else layer.weight,
                ),
                "bias": add(weights, layer.bias),
                "dilation": layer.dilation[0],
            }
            for layer in layers
        ],
        "weight": add(weights, readout.weight),
        "bias": add(weights, readout.bias),
    }
