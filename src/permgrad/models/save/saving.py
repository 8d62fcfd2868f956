"""Loading fitted models. Nothing executes on load."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load as weights_from_bytes
from torch import Tensor, nn

from permgrad import __version__
from permgrad.base.arrays import Array, Floats32
from permgrad.base.checks import check_path
from permgrad.base.errors import EnvironmentProblem, InputError, shown
from permgrad.base.stored import is_intact, parse_json, read_npz, read_times
from permgrad.base.threads import warning_filters
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.read.cells import check_characters
from permgrad.imaging.render import Renderer
from permgrad.models.estimators.calibration import Calibration
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.estimators.intervals import HeldOut
from permgrad.models.estimators.kept_rows import rows_in
from permgrad.models.estimators.order import Order
from permgrad.models.estimators.presets import preset_from_dict
from permgrad.models.estimators.settings import choose_device
from permgrad.models.images.features import ImageFeatures
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.options import NetworkOptions
from permgrad.models.save.writing import ARRAYS, DESCRIPTION, FORMAT_NAME, FORMAT_VERSION, IMAGE_TABLE, WEIGHTS
from permgrad.models.train.guard import sheltered

if TYPE_CHECKING:
    from permgrad.models.estimators.image_table import ImageTableModel
    from permgrad.models.network.multimodal import ImageTableOptions

Module = TypeVar("Module", bound=nn.Module)

#: What a damaged or doctored description leads to while it is read.
_READING_ERRORS = (KeyError, TypeError, IndexError, AttributeError, ValueError, RuntimeError, OverflowError)


def load(folder: str | os.PathLike[str], *, images: Any = None, device: Any = "auto") -> Any:
    """Read a fitted estimator (or ``ImageTableModel``) that ``save`` wrote. Its predictions are the same.

    Args:
        folder: the model's folder.
        images: the callable ``X -> images`` or TINTOlib method, or the ``image_encoder`` of the user's own, that the
            model was fitted with. Code is never stored.
        device: where the network goes: ``"auto"``, ``"cpu"``, ``"cuda"`` (or ``"gpu"``), ``"mps"``.

    Raises:
        InputError: The folder is not a model. A file is missing, damaged, holds a pickle, or is of a newer version. The
            model needs ``images`` or does not use them. The device cannot be used.

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
    weights = _read_part(source / WEIGHTS, description, "a safetensors file", _tensors)
    arrays = _read_part(source / ARRAYS, description, "an npz file of plain arrays", read_npz)
    if "history.seconds" not in arrays and "history.epoch" in arrays:  # which older models hold
        seconds, count = read_times(source), len(arrays["history.epoch"])
        known = isinstance(seconds, list) and len(seconds) == count
        arrays["history.seconds"] = np.array(seconds if known else [np.nan] * count)
    if not is_intact(description):
        raise _damaged(source / DESCRIPTION, "its seal differs from its content")
    drawn = description.get("renderer")
    is_drawn = isinstance(drawn, Mapping) and drawn.get("kind") == "foreign"
    if images is not None and not (is_drawn or _has_own_encoder(description)):
        raise InputError(
            f"images is only for models fitted with a foreign image callable or method, got {shown(images)}",
            hint="Call pg.load(folder).",
            code="PG004",
        )
    try:
        if description.get("estimator") == IMAGE_TABLE:
            model = _rebuild_images(description, arrays, weights)
        else:
            model = _rebuild(description, arrays, weights, images)
        model.module_ = model.module_.to(chosen).eval()
        if isinstance(model.preprocessor_.images_, ImageFeatures):
            model.preprocessor_.images_.to(chosen)
        try_out(model)
    except InputError:
        raise
    except _READING_ERRORS as error:
        raise InputError(
            f"Part of {DESCRIPTION} in {source} is missing or damaged "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})",
            hint="Save the model again.",
            code="PG052",
        ) from error
    return model


def _has_own_encoder(description: Mapping[str, Any]) -> bool:
    columns = description.get("images_of_columns")
    return isinstance(columns, Mapping) and any(one["encoder"] == "own" for one in columns.values())


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
            f"A model's folder holds {DESCRIPTION}, {ARRAYS} and {WEIGHTS}, but {path} does not exist",
            hint="Check the path or save the model again.",
            code="PG010",
        ) from None
    except OSError as error:
        raise EnvironmentProblem(
            f"Cannot read {path}: {error.strerror or error}", hint="Check the path and its permissions.", code="PG062"
        ) from error


def _read_description(source: Path) -> dict[str, Any]:
    if not source.is_dir():
        raise InputError(f"{source} is not a folder", hint="Pass the folder that save() wrote.", code="PG010")
    path = source / DESCRIPTION
    try:
        description = parse_json(_read(path))
    except ValueError as error:
        raise _damaged(path, f"it is no complete JSON ({error})") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT_NAME:
        raise InputError(
            f"{path} does not describe a permgrad model", hint="Pass the folder that save wrote.", code="PG052"
        )
    version = description.get("version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise InputError(
            f"{source} has format version {version!r}, written by "
            f"{description.get('written_by', 'an unknown version')}, "
            f"but this permgrad ({__version__}) reads at most {FORMAT_VERSION}",
            hint="Update permgrad.",
            code="PG053",
        )
    return description


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path} is damaged: {why}", hint="Save the model again.", code="PG052")


def _read_part(
    path: Path, description: Mapping[str, Any], kind: str, decode: Callable[[bytes], dict[str, Any]]
) -> dict[str, Any]:
    """Return the tensors, or the arrays, of a file that is the one that was saved."""
    content, sums = _read(path), description.get("checksums")
    differs = hashlib.sha256(content).hexdigest() != (sums.get(path.name) if isinstance(sums, dict) else None)
    try:
        parts = decode(content)
    except Exception as error:
        if "pickle" in str(error):
            raise InputError(
                f"{path} must be {kind}: {error}", hint="Save the model again with permgrad.", code="PG052"
            ) from error
        if not differs:
            raise _damaged(path, f"it is not {kind} ({error})") from error
        parts = {}
    if differs:
        raise _damaged(path, "its checksum differs, so it is truncated or was changed")
    return parts


def _tensors(content: bytes) -> dict[str, Tensor]:
    # PyTorch's own files are zips or raw pickles. A safetensors file starts with the length of its JSON header.
    if content[:2] == b"PK" or (content[:1] == b"\x80" and content[8:9] != b"{"):
        raise ValueError("it looks like a pickle, which could run code on loading and is never opened")
    return weights_from_bytes(content)


def _restore(model: Any, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
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
    description: Mapping[str, Any], arrays: Mapping[str, Array], weights: dict[str, Tensor], images: Any
) -> Any:
    kinds: dict[str, Callable[..., Any]] = {kind.__name__: kind for kind in (HyNNClassifier, HyNNRegressor)}
    from permgrad.imaging.foreign import renderer_from_dict

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
    own = images if _has_own_encoder(description) else None
    columns = description.get("images_of_columns", {})
    model.image_encoder = model.image_encoder if own is None else own
    model.preprocessor_.images_ = ImageFeatures.from_dict(columns, weights, built, model.image_encoder)
    model.module_ = _rebuild_network(description["network"], len(model.preprocessor_.encoded_names_), renderer, weights)
    model.renderer_ = renderer
    model.order_ = Order(**description["order"]) if "order" in description else None
    model.network_options_ = model.module_.options.to_dict()
    model.training_options_ = dict(_unpack(description["training_options"]))
    model.n_features_in_ = int(description["n_features_in"])
    if description["feature_names_in"] is not None:
        model.feature_names_in_ = np.array(description["feature_names_in"], dtype=object)
    model.background_ = arrays["background"]
    model.held_out_ = HeldOut.from_arrays(arrays, len(model.preprocessor_.encoded_names_))
    if isinstance(model, HyNNClassifier):
        model.calibration_ = Calibration.from_dict(description["calibration"])
    return model


def _rebuild_images(
    description: Mapping[str, Any], arrays: Mapping[str, Array], weights: dict[str, Tensor]
) -> ImageTableModel:
    from permgrad.data.image_table import ImageColumn  # a table alone needs none of it
    from permgrad.models.estimators.image_table import ImageTableModel, image_network
    from permgrad.models.network.multimodal import ImageTableOptions

    model: Any = ImageTableModel(description["task"], preset=str(description["preset"]))
    model.images_ = tuple(ImageColumn.from_dict(column) for column in description["images"])
    _restore(model, description, arrays)
    options = ImageTableOptions(**description["network"])
    _check_layers(options, weights)
    encoded = len(model.preprocessor_.encoded_names_)
    model.module_ = built(lambda: image_network(model, encoded, options), weights)
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
    """Return the network with its weights. No memory is taken for one that is larger than they are."""
    options = NetworkOptions.from_mapping(content["options"])
    numeric, blocks = content["numeric_columns"], content.get("level_blocks", ())
    scores = content.get("score_blocks", ())
    for columns in (numeric, *blocks, *scores):
        if columns is not None and not all(isinstance(column, int) and 0 <= column < encoded for column in columns):
            raise ValueError(f"columns {columns!r:.60} of {encoded}")
    if content["encoded"] != encoded:
        raise ValueError(f"a network of {content['encoded']!r} columns for an encoder of {encoded}")
    _check_layers(options, weights)
    # Only somebody else's code knows the size of its images, and tells it by drawing one.
    size: Any = None
    if isinstance(renderer, Renderer):
        size = renderer.channels, renderer.height, renderer.width
    elif renderer is not None:
        size = renderer(torch.zeros(1, encoded)).shape[1:]
    columns = {"numeric_columns": numeric, "level_blocks": blocks, "score_blocks": scores, "paths": content["paths"]}
    outputs = int(content["outputs"])
    module = built(lambda: HybridNetwork(encoded, outputs, options, image_shape=size, **columns), weights)
    if "image" in module.paths:
        module.renderer = renderer
    return module


# ---- what a stored model must be, before memory is taken for it and before somebody works with it --------------------
# Seal and checksums tell damage, not whether the parts of a model fit together: whoever makes a file can make its seal.


def built(make: Callable[[], Module], weights: Mapping[str, Tensor]) -> Module:
    """Return a network with its weights. No memory is taken for one that is larger than they are."""
    with sheltered(0):
        with torch.device("meta"):  # where tensors have sizes, and no memory
            expected = make().state_dict()
        if set(weights) != set(expected):
            raise ValueError(f"weights {sorted(set(weights) ^ set(expected))[:3]} do not fit the network")
        for name, stored in weights.items():
            if stored.shape != expected[name].shape or stored.dtype != expected[name].dtype:
                kinds = [f"{weight.dtype} {tuple(weight.shape)}" for weight in (stored, expected[name])]
                raise ValueError(f"weights {name} are {kinds[0]} in the place of {kinds[1]}")
            if not bool(torch.isfinite(stored).all()):
                raise ValueError(f"weights {name} are not all finite")
        module = make()
    module.load_state_dict(weights)
    return module


def try_out(model: Any) -> None:
    """Predict a row without a cell with a fitted model, and look at all that it brings along. Raise ``ValueError``."""
    encoder = model.preprocessor_
    names = encoder.feature_names_in_
    if len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        raise ValueError("names of features that are no text, or stand more than once")
    for blocks in (encoder.groups_, encoder.variables_):
        if strange := {name for block in blocks.values() for name in block} - set(names):
            raise ValueError(f"groups of columns that are not there ({sorted(map(str, strange))[:3]})")
    if np.any(np.diff(encoder.feature_of_) < 0):
        raise ValueError("encoded columns that are not in the order of their features")
    encoder.to_dict()  # what an encoder was made with is not needed to encode, but to save it again
    with warning_filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoded = np.asarray(encoder.transform(pd.DataFrame([[None] * len(names)], columns=names, dtype=object)))
        if encoded.shape != (1, len(encoder.encoded_names_)) or not np.isfinite(encoded).all():
            raise ValueError("an encoder that gives no finite numbers for a row without a cell")
        if hasattr(model, "images_"):
            _try_images(model)
        else:
            _try_hybrid(model, encoded)
    if not all(model.history_[name].dtype.kind in "biuf" for name in model.history_):
        raise ValueError("a history that does not hold numbers")
    if hasattr(model, "target_mean_") and not np.isfinite([model.target_mean_, model.target_scale_]).all():
        raise ValueError("a target's mean and scale that are not finite")


def check_background(inputs: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], target: Array) -> None:
    """Refuse, with a ValueError, background rows that are not rows of the model's inputs, which have ``shapes``."""
    if set(inputs) != set(shapes):
        raise ValueError(f"a background of {sorted(inputs)} for inputs {sorted(shapes)}")
    if target.ndim != 1:
        raise ValueError(f"a background's target of shape {target.shape}")
    lean = not any(map(len, inputs.values()))  # saved without rows: a target only says how frequent classes are
    for name, rows in inputs.items():
        if rows.shape != ((1 - lean) * len(target), *shapes[name]) or rows.dtype not in (np.float32, np.uint8):
            raise ValueError(f"a background of {rows.dtype} {rows.shape} for {len(target)} rows of {shapes[name]}")
        if not np.isfinite(rows).all():
            raise ValueError("a background with numbers that are not finite")


def _check_classes(model: Any, outputs: int) -> None:
    """Refuse, with a ValueError, classes that are not one for each output. Two may share one."""
    classes, weights = model.classes_, model.class_weights_
    if not len(model.background_target_):
        raise ValueError("a background that has no class")
    if classes.ndim != 1 or len(classes) < 2 or outputs not in ((1, 2) if len(classes) == 2 else (len(classes),)):
        raise ValueError(f"classes of shape {classes.shape} for {outputs} outputs")
    if len(np.unique(classes.astype(str) if classes.dtype == object else classes)) < len(classes):
        raise ValueError("classes that stand more than once")
    try:
        check_characters(classes.tolist(), "classes")
    except InputError:
        raise ValueError("classes that hold half a character") from None
    if weights.shape != classes.shape or not np.isfinite(weights).all():
        raise ValueError(f"class weights of shape {weights.shape} for {len(classes)} classes")


def _try_hybrid(model: Any, encoded: Floats32) -> None:
    """Predict an encoded row."""
    names, outputs = model.preprocessor_.feature_names_in_, model.module_.outputs
    predicted = model.predict_encoded(encoded)
    if predicted.shape != (1, outputs) or model.n_features_in_ != len(names):
        raise ValueError(f"outputs of shape {predicted.shape} in the place of {(1, outputs)}, or other features")
    if [str(name) for name in getattr(model, "feature_names_in_", names)] != list(names):
        raise ValueError("the names of its features are not those that its encoder knows")
    check_background({"table": model.background_}, {"table": (model.module_.encoded,)}, model.background_target_)
    if hasattr(model, "classes_"):
        _check_classes(model, outputs)
        probabilities = model.calibration_.probabilities(predicted)
        if probabilities.shape != (1, len(model.classes_)) or not np.isfinite(probabilities).all():
            raise ValueError("probabilities that are not one for each class")


def _try_images(model: Any) -> None:
    """Predict a row of the background, or of zeros if the model keeps none."""
    shapes: dict[str, tuple[int, ...]] = {
        column.name: (column.channels, column.height, column.width) for column in model.images_
    }
    if len(shapes) < len(model.images_) or not shapes:
        raise ValueError("images that are not there, or of one name")
    shapes[model.table_input] = (len(model.preprocessor_.encoded_names_),)
    check_background(model.background_, shapes, model.background_target_)
    outputs = 1
    if model.task == "classification":
        outputs = len(model.classes_)
        _check_classes(model, outputs)
    row, device = model.background() if rows_in(model)[0] else {}, next(model.module_.parameters()).device
    first = [np.asarray(row.get(name, np.zeros((1, *shapes[name]))), dtype=np.float32)[:1] for name in shapes]
    tensors = [torch.from_numpy(one).to(device) for one in first]
    with torch.no_grad():
        predicted = model.module_(*tensors)
    if tuple(predicted.shape) != (1, outputs) or not bool(torch.isfinite(predicted).all()):
        raise ValueError(f"outputs of shape {tuple(predicted.shape)} in the place of {(1, outputs)}, or not finite")
