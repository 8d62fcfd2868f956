"""Saving and loading fitted models: weights as safetensors, arrays as npz, the rest JSON; nothing executes on load."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from permgrad import __version__
from permgrad.base.checks import check_flag, check_path
from permgrad.base.errors import EnvironmentProblem, InputError, shown
from permgrad.base.files import atomic_folder, json_text, writing
from permgrad.base.stored import is_intact, parse_json, read_npz, sealed
from permgrad.models.estimators.calibration import Calibration
from permgrad.models.estimators.presets import Preset, preset_from_dict
from permgrad.models.save.stored_checks import Budget, Outline, check_columns, check_weights, try_out
from permgrad.models.train.guard import sheltered

FORMAT_NAME = "permgrad model"
FORMAT_VERSION = 1
#: The estimator of networks of images and a table, which ``image_table_files`` writes and reads.
IMAGE_TABLE = "ImageTableModel"
DESCRIPTION, ARRAYS, WEIGHTS = "model.json", "arrays.npz", "weights.safetensors"

#: What a damaged or doctored description leads to while it is read.
_READING_ERRORS = (KeyError, TypeError, IndexError, AttributeError, ValueError, RuntimeError, OverflowError)


def save(model: Any, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a fitted estimator; the folder appears whole or not at all. See ``HyNNClassifier.save``."""
    from safetensors.torch import save as weights_to_bytes

    target = check_path("folder", folder)
    check_flag("overwrite", overwrite)
    check_target(target, overwrite=overwrite)
    weights = weights_to_bytes({name: value.detach().cpu().contiguous() for name, value in _weights(model).items()})
    description = _describe(model)
    with writing_model(target), atomic_folder(target) as temporary:
        (temporary / WEIGHTS).write_bytes(weights)
        with (temporary / ARRAYS).open("wb") as file:
            np.savez(file, **_arrays(model))  # type: ignore[arg-type]
        description["checksums"] = {name: checksum((temporary / name).read_bytes()) for name in (WEIGHTS, ARRAYS)}
        text = json_text(sealed(description), indent=1)
        (temporary / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def writing_model(target: Path) -> AbstractContextManager[None]:
    """Turn what the disk refuses into an ``EnvironmentProblem`` that names the model's folder."""
    return writing("a model's folder must be writable", target, "choose another folder")


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
    from permgrad.models.estimators.settings import device_faults, raise_faults

    source = check_path("folder", folder)
    raise_faults(device_faults(device))
    description = _read_description(source)
    weights = _read_weights(source / WEIGHTS, description)
    arrays = _read_arrays(source / ARRAYS, description)
    if not is_intact(description):
        raise _damaged(source / DESCRIPTION, "its seal differs, so it is damaged or was changed")
    if images is not None and not _needs_images(description):
        raise InputError(
            "images must be left out for a model that was not fitted with a callable or method of somebody else, "
            f"however: images={shown(images)}; call pg.load(folder)"
        )
    try:
        if description.get("estimator") == IMAGE_TABLE:
            from permgrad.models.save.image_table_files import rebuild

            return rebuild(description, arrays, weights, device)
        model = _rebuild(description, arrays, weights, images, device)
        try_out(model)
    except InputError:
        raise
    except _READING_ERRORS as error:
        raise InputError(
            f"a model's {DESCRIPTION} must be as permgrad wrote it, however: in {source} a part is missing or damaged "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); save the model again"
        ) from error
    return model


def _needs_images(description: Mapping[str, Any]) -> bool:
    renderer = description.get("renderer")
    return isinstance(renderer, Mapping) and renderer.get("kind") == "foreign"


# ---- writing ---------------------------------------------------------------------------------------------------------


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds anything but an older model that may be replaced."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InputError(f"a model is saved into a folder, however: {target} is a file or a link; choose another name")
    if not target.exists() or not any(target.iterdir()):
        return
    if not _is_model(target):
        raise InputError(
            f"a model's folder must be new, empty or an older model, however: {target} holds other files; "
            "choose another folder"
        )
    if not overwrite:
        raise InputError(
            f"a model's folder must be new, however: {target} holds a model already; "
            "pass overwrite=True or choose another folder"
        )


def _is_model(folder: Path) -> bool:
    """Tell whether the folder holds a model and nothing else."""
    if {entry.name for entry in folder.iterdir()} - {DESCRIPTION, ARRAYS, WEIGHTS}:
        return False
    try:
        return bool(parse_json((folder / DESCRIPTION).read_bytes()).get("format") == FORMAT_NAME)
    except (OSError, ValueError, AttributeError):
        return False


def _weights(model: Any) -> dict[str, Tensor]:
    """Return the network's state without its renderer, which is described in words and numbers."""
    state: dict[str, Tensor] = model.module_.state_dict()
    return {name: value for name, value in state.items() if not name.startswith("renderer.")}


def _arrays(model: Any) -> dict[str, npt.NDArray[Any]]:
    arrays = {"background": model.background_, "background_target": model.background_target_}
    if hasattr(model, "classes_"):
        classes = np.asarray(model.classes_)
        # Text in object arrays would need pickle; fixed-width text is the same labels.
        arrays["classes"] = classes.astype(str) if classes.dtype == object else classes
    for name in model.history_.columns:
        arrays[f"history.{name}"] = model.history_[name].to_numpy()
    return arrays


def _describe(model: Any) -> dict[str, Any]:
    module = model.module_
    content: dict[str, Any] = {
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "written_by": f"permgrad {__version__}",
        "estimator": type(model).__name__,
        "parameters": _describe_parameters(model),
        "seed": model.seed_,
        "n_features_in": int(model.n_features_in_),
        "feature_names_in": [str(name) for name in model.feature_names_in_]
        if hasattr(model, "feature_names_in_")
        else None,
        "best_epoch": int(model.best_epoch_),
        "history": list(model.history_.columns),
        "training_options": _pack(model.training_options_),
        "network": {
            "encoded": module.encoded,
            "outputs": module.outputs,
            "paths": list(module.paths),
            "numeric_columns": module.numeric_columns,
            "level_blocks": module.level_blocks,
            "options": module.options.to_dict(),
        },
        "preprocessor": model.preprocessor_.to_dict(),
        "renderer": None if model.renderer_ is None else model.renderer_.to_dict(),
    }
    if hasattr(model, "classes_"):
        content["classes_are_objects"] = bool(np.asarray(model.classes_).dtype == object)
        content["class_weights"] = model.class_weights_.tolist()
        content["calibration"] = model.calibration_.to_dict()
    else:
        content["target"] = {"mean": model.target_mean_, "scale": model.target_scale_}
    return content


def _describe_parameters(model: Any) -> dict[str, Any]:
    """Return the constructor's arguments; what cannot be written as data is replaced by what it led to."""
    packed: dict[str, Any] = {}
    for name, value in model.get_params(deep=False).items():
        if name == "random_state" and not isinstance(value, (int, np.integer, type(None))):
            packed[name] = model.seed_
        elif name == "layout" and not isinstance(value, (str, type(None))):
            packed[name] = {"fitted": True}
        elif isinstance(value, (torch.device, os.PathLike)):
            packed[name] = str(value)
        elif isinstance(value, Preset):
            packed[name] = {"preset": value.to_dict()}
        else:
            packed[name] = _pack(value, name)
    return packed


def _pack(value: Any, name: str = "value") -> Any:
    """Write plain values so that JSON gives back the same types: tuples, keys that are no text, infinity."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"number": str(value)}
    if isinstance(value, tuple):
        return {"tuple": [_pack(item, name) for item in value]}
    if isinstance(value, (list, np.ndarray, pd.Index, pd.Series)):
        return [_pack(item, name) for item in value]
    if isinstance(value, Mapping):
        return {"mapping": [[_pack(key, name), _pack(item, name)] for key, item in value.items()]}
    raise InputError(
        f"arguments of a saved model must be plain values, however: {name} holds a {type(value).__name__}; "
        "use numbers, text, lists and mappings"
    )


# ---- reading ---------------------------------------------------------------------------------------------------------


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


def checksum(content: bytes) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


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
    content = _read(path)
    try:
        description = parse_json(content)
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
    from safetensors.torch import load as weights_from_bytes

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


def _rebuild(
    description: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
    weights: dict[str, Tensor],
    images: Any,
    device: Any,
) -> Any:
    from permgrad.data.encode.encoding import TableEncoder
    from permgrad.imaging.foreign import renderer_from_dict
    from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
    from permgrad.models.estimators.settings import choose_device

    kinds: dict[str, Callable[..., Any]] = {"HyNNClassifier": HyNNClassifier, "HyNNRegressor": HyNNRegressor}
    renderer = None
    if description["renderer"] is not None:
        renderer = renderer_from_dict(description["renderer"], images)
    parameters = dict(description["parameters"])
    if isinstance(parameters["layout"], dict):
        parameters["layout"] = None
        layout = images if images is not None else getattr(renderer, "layout", None)
    elif isinstance(parameters["layout"], (str, type(None))):
        layout = parameters["layout"]
    else:
        raise TypeError(f"the layout {parameters['layout']!r:.40}, which is no name")
    model = kinds[description["estimator"]](**{name: _unpack(value) for name, value in parameters.items()})
    model.layout = layout
    model.preprocessor_ = TableEncoder.from_dict(description["preprocessor"])
    module = _rebuild_network(description["network"], len(model.preprocessor_.encoded_names_), renderer, weights)
    model.module_ = module.to(choose_device(device)).eval()
    model.renderer_ = renderer
    model.network_options_ = module.options.to_dict()
    model.training_options_ = dict(_unpack(description["training_options"]))
    model.seed_ = int(description["seed"])
    model.best_epoch_ = int(description["best_epoch"])
    model.n_features_in_ = int(description["n_features_in"])
    if description["feature_names_in"] is not None:
        model.feature_names_in_ = np.array(description["feature_names_in"], dtype=object)
    model.history_ = pd.DataFrame({name: arrays[f"history.{name}"] for name in description["history"]})
    model.background_ = arrays["background"]
    model.background_target_ = arrays["background_target"]
    if "target" in description:
        model.target_mean_ = float(description["target"]["mean"])
        model.target_scale_ = float(description["target"]["scale"])
    else:
        classes = arrays["classes"]
        model.classes_ = classes.astype(object) if description["classes_are_objects"] else classes
        model.class_weights_ = np.array(description["class_weights"], dtype=np.float64)
        model.calibration_ = Calibration.from_dict(description["calibration"])
    return model


def _rebuild_network(content: Mapping[str, Any], encoded: int, renderer: Any, weights: dict[str, Tensor]) -> Any:
    """Return the network with its weights; no memory is taken for one that is larger than they are."""
    from permgrad.imaging.foreign import ForeignRenderer
    from permgrad.models.network.network import HybridNetwork
    from permgrad.models.network.options import NetworkOptions

    options = NetworkOptions.from_mapping(content["options"])
    numeric, blocks = content["numeric_columns"], content.get("level_blocks", ())
    for columns in (numeric, *blocks):
        check_columns(columns, encoded)
    if content["encoded"] != encoded:
        raise ValueError(f"a network of {content['encoded']!r} columns for an encoder of {encoded}")
    layers = sum(len(sizes) for sizes in options.to_dict().values() if isinstance(sizes, list))
    if layers > len(weights) + 1:
        raise ValueError(f"a network of {layers} layers for {len(weights)} weights")
    # Only somebody else's code knows the size of its images, and tells it by drawing one.
    foreign = renderer is not None and (isinstance(renderer, ForeignRenderer))
    drawn = tuple(renderer(torch.zeros(1, encoded)).shape[1:]) if foreign else None

    size = drawn if renderer is None or foreign else (renderer.channels, renderer.height, renderer.width)
    with sheltered(0), Budget(weights):
        module = HybridNetwork(
            encoded,
            int(content["outputs"]),
            options,
            renderer=None if size is None else Outline((size[0], size[1], size[2])),
            paths=content["paths"],
            numeric_columns=numeric,
            level_blocks=blocks,
        )
    if "image" in module.paths:
        module.renderer = renderer
    check_weights(module, weights)
    module.load_state_dict(weights, strict=False)
    return module
