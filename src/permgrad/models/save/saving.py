"""Loading fitted models; nothing executes on load."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors.torch import load as weights_from_bytes
from torch import Tensor

from permgrad import __version__
from permgrad.base.checks import check_path
from permgrad.base.errors import EnvironmentProblem, InputError, shown
from permgrad.base.stored import is_intact, parse_json, read_npz
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.image_table import ImageColumn
from permgrad.imaging.foreign import ForeignRenderer, renderer_from_dict
from permgrad.models.estimators.calibration import Calibration
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.estimators.image_table import ImageTableModel
from permgrad.models.estimators.presets import preset_from_dict
from permgrad.models.estimators.settings import choose_device
from permgrad.models.network.multimodal import ImageTableOptions
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.options import NetworkOptions
from permgrad.models.save.stored_checks import Outline, built, check_columns, try_out
from permgrad.models.save.writing import (
    ARRAYS,
    DESCRIPTION,
    FORMAT_NAME,
    FORMAT_VERSION,
    IMAGE_TABLE,
    WEIGHTS,
    checksum,
)

#: What a damaged or doctored description leads to while it is read.
_READING_ERRORS = (KeyError, TypeError, IndexError, AttributeError, ValueError, RuntimeError, OverflowError)


def load(folder: str | os.PathLike[str], *, images: Any = None, device: Any = "auto") -> Any:
    """Read a fitted estimator (or ``ImageTableModel``) that ``save`` wrote; its predictions are the same.

    Args:
        folder: the model's folder.
        images: the callable ``X -> images`` or TINTOlib method that the model was fitted with; code is never stored.
        device: where the network goes: ``"auto"``, ``"cpu"``, ``"cuda"`` (or ``"gpu"``), ``"mps"``.

    Raises:
        InputError: The folder is no model, a file is missing, damaged, holds a pickle, or is of a newer version; or the
            model needs ``images``, or has no use for them; or the device cannot be used.

    Examples:
        >>> import tempfile
        >>> from permgrad import HyNNRegressor
        >>> X = np.random.default_rng(0).normal(size=(60, 2))
        >>> model = HyNNRegressor(preset="fast", max_epochs=1, random_state=0).fit(X, X[:, 0])
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     model.save(f"{parent}/model")
        ...     bool((load(f"{parent}/model").predict(X) == model.predict(X)).all())
        True
    """
    source = check_path("folder", folder)
    chosen = choose_device(device)
    description = _read_description(source)
    weights = _read_weights(source / WEIGHTS, description)
    arrays = _read_arrays(source / ARRAYS, description)
    if not is_intact(description):
        raise _damaged(source / DESCRIPTION, "its seal differs, so it is damaged or was changed")
    drawn = description.get("renderer")
    if images is not None and not (isinstance(drawn, Mapping) and drawn.get("kind") == "foreign"):
        raise InputError(
            "images must be left out for a model that was not fitted with a callable or method of somebody else, "
            f"however: images={shown(images)}; call pg.load(folder)"
        )
    try:
        if description.get("estimator") == IMAGE_TABLE:
            model = _rebuild_images(description, arrays, weights)
        else:
            model = _rebuild(description, arrays, weights, images)
        model.module_ = model.module_.to(chosen).eval()
        try_out(model)
    except InputError:
        raise
    except _READING_ERRORS as error:
        raise InputError(
            f"a model's {DESCRIPTION} must be as permgrad wrote it, however: in {source} a part is missing or damaged "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); save the model again"
        ) from error
    return model


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    if isinstance(value, dict):
        if "number" in value:
            return float(value["number"])
        if "preset" in value:
            return preset_from_dict(value["preset"])
        if "tuple" in value:
            return tuple(_unpack(item) for item in value["tuple"])
        return {_unpack(key): _unpack(item) for key, item in value["mapping"]}
    return value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"a model's folder must hold {DESCRIPTION}, {ARRAYS} and {WEIGHTS}, however: {path} does not exist; "
            "check the path or save the model again"
        ) from None
    except OSError as error:
        raise EnvironmentProblem(
            f"a model's files must be readable, however: {path}: {error.strerror or error}; "
            "check the path and its rights"
        ) from error


def _read_description(source: Path) -> dict[str, Any]:
    if not source.is_dir():
        raise InputError(f"a model is a folder, however: {source} is none; pass the folder that save wrote")
    path = source / DESCRIPTION
    try:
        description = parse_json(_read(path))
    except ValueError as error:
        raise _damaged(path, f"it is no complete JSON ({error})") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT_NAME:
        raise InputError(
            f"{path} must describe a permgrad model, however: it does not; pass the folder that save wrote"
        )
    version = description.get("version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise InputError(
            f"a model's format version must be at most {FORMAT_VERSION}, however: {source} has version {version!r}, "
            f"written by {description.get('written_by', 'an unknown version')}; update permgrad (this is {__version__})"
        )
    return description


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path} must be as permgrad wrote it, however: {why}; save the model again")


def _check_intact(path: Path, content: bytes, description: Mapping[str, Any]) -> None:
    sums = description.get("checksums")
    expected = sums.get(path.name) if isinstance(sums, dict) else None
    if checksum(content) != expected:
        raise _damaged(path, "its checksum differs, so it is truncated or was changed")


def _read_weights(path: Path, description: Mapping[str, Any]) -> dict[str, Tensor]:
    content = _read(path)
    # PyTorch's own files are zips or raw pickles; a safetensors file starts with the length of its JSON header.
    if content[:2] == b"PK" or (content[:1] == b"\x80" and content[8:9] != b"{"):
        raise InputError(
            f"{path} must be a safetensors file, however: it looks like a pickle, which could run code on loading "
            "and is never opened; save the model again with permgrad"
        )
    _check_intact(path, content, description)
    try:
        return weights_from_bytes(content)
    except Exception as error:
        raise _damaged(path, f"it is no safetensors file ({error})") from error


def _read_arrays(path: Path, description: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    content = _read(path)
    try:
        arrays = read_npz(content)
    except ValueError as error:
        if "pickle" in str(error):
            raise InputError(
                f"{path} must be an npz file of plain arrays, however: {error}; save the model again with permgrad"
            ) from error
        raise _damaged(path, str(error)) from error
    _check_intact(path, content, description)
    return arrays


def _restore(model: Any, description: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Give a model what every kind of model has."""
    model.preprocessor_ = TableEncoder.from_dict(description["preprocessor"])
    model.seed_ = int(description["seed"])
    model.best_epoch_ = int(description["best_epoch"])
    model.history_ = pd.DataFrame({name: arrays[f"history.{name}"] for name in description["history"]})
    model.background_target_ = arrays["background_target"]
    if "target" in description:
        model.target_mean_ = float(description["target"]["mean"])
        model.target_scale_ = float(description["target"]["scale"])
    if "class_weights" in description:
        classes = arrays["classes"]
        model.classes_ = classes.astype(object) if description.get("classes_are_objects", False) else classes
        model.class_weights_ = np.array(description["class_weights"], dtype=np.float64)


def _rebuild(
    description: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], weights: dict[str, Tensor], images: Any
) -> Any:
    kinds: dict[str, Callable[..., Any]] = {kind.__name__: kind for kind in (HyNNClassifier, HyNNRegressor)}
    renderer = None if description["renderer"] is None else renderer_from_dict(description["renderer"], images)
    parameters = dict(description["parameters"])
    layout = parameters["layout"]
    if isinstance(layout, dict):  # it was fitted: its positions are the renderer's
        parameters["layout"] = None
        layout = images if images is not None else getattr(renderer, "layout", None)
    elif not isinstance(layout, (str, type(None))):
        raise TypeError(f"the layout {layout!r:.40}, which is no name")
    model: Any = kinds[description["estimator"]](**{name: _unpack(value) for name, value in parameters.items()})
    model.layout = layout
    _restore(model, description, arrays)
    model.module_ = _rebuild_network(description["network"], len(model.preprocessor_.encoded_names_), renderer, weights)
    model.renderer_ = renderer
    model.network_options_ = model.module_.options.to_dict()
    model.training_options_ = dict(_unpack(description["training_options"]))
    model.n_features_in_ = int(description["n_features_in"])
    if description["feature_names_in"] is not None:
        model.feature_names_in_ = np.array(description["feature_names_in"], dtype=object)
    model.background_ = arrays["background"]
    if isinstance(model, HyNNClassifier):
        model.calibration_ = Calibration.from_dict(description["calibration"])
    return model


def _rebuild_images(
    description: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], weights: dict[str, Tensor]
) -> ImageTableModel:
    model = ImageTableModel(description["task"], preset=str(description["preset"]))
    model.images_ = tuple(ImageColumn.from_dict(column) for column in description["images"])
    _restore(model, description, arrays)
    options = ImageTableOptions.from_dict(description["network"])
    _check_layers(options, weights)
    model.module_ = built(lambda: model.build(len(model.preprocessor_.encoded_names_), options), weights)
    model.training_options_ = dict(description["training_options"])
    model.background_ = {str(name): arrays[f"background.{at}"] for at, name in enumerate(description["background"])}
    return model


def _check_layers(options: NetworkOptions | ImageTableOptions, weights: Mapping[str, Tensor]) -> None:
    """Refuse more layers, or members, than there are weights, before any is made."""
    layers = sum(len(sizes) for sizes in dataclasses.asdict(options).values() if isinstance(sizes, tuple))
    members, numbers = getattr(options, "members", 1), sum(weight.numel() for weight in weights.values())
    if layers > len(weights) + 1 or members > numbers:
        raise ValueError(f"a network of {layers} layers and {members} members for {len(weights)} weights")


def _rebuild_network(
    content: Mapping[str, Any], encoded: int, renderer: Any, weights: dict[str, Tensor]
) -> HybridNetwork:
    """Return the network with its weights; no memory is taken for one that is larger than they are."""
    options = NetworkOptions.from_mapping(content["options"])
    numeric, blocks = content["numeric_columns"], content.get("level_blocks", ())
    for columns in (numeric, *blocks):
        check_columns(columns, encoded)
    if content["encoded"] != encoded:
        raise ValueError(f"a network of {content['encoded']!r} columns for an encoder of {encoded}")
    _check_layers(options, weights)
    # Only somebody else's code knows the size of its images, and tells it by drawing one.
    size: tuple[int, ...] | None = None
    if isinstance(renderer, ForeignRenderer):
        size = tuple(renderer(torch.zeros(1, encoded)).shape[1:])
    elif renderer is not None:
        size = renderer.channels, renderer.height, renderer.width

    drawn = None if size is None else Outline((size[0], size[1], size[2]))
    columns = {"numeric_columns": numeric, "level_blocks": blocks, "paths": content["paths"]}
    outputs = int(content["outputs"])
    module = built(lambda: HybridNetwork(encoded, outputs, options, renderer=drawn, **columns), weights)
    if "image" in module.paths:
        module.renderer = renderer
    return module
