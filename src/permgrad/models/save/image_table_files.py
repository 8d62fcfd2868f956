"""Save and load networks of images and a table, in the form and with the checks of ``saving``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from permgrad import __version__
from permgrad.base.files import atomic_folder, json_text, plain
from permgrad.base.stored import sealed
from permgrad.models.save import saving
from permgrad.models.save.stored_checks import Budget, check_weights, try_out_images

if TYPE_CHECKING:
    from permgrad.models.estimators.image_table import ImageTableModel


def save(model: ImageTableModel, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a fitted model; the folder appears whole or not at all.

    Raises:
        InputError: the folder holds something else, or a model and ``overwrite`` is false.
        EnvironmentProblem: it cannot be written.
    """
    from safetensors.torch import save as weights_to_bytes

    target = Path(folder)
    saving.check_target(target, overwrite=overwrite)
    state = {name: value.detach().cpu().contiguous() for name, value in model.module_.state_dict().items()}
    description = _describe(model)
    with saving.writing_model(target), atomic_folder(target) as temporary:
        (temporary / saving.WEIGHTS).write_bytes(weights_to_bytes(state))
        with (temporary / saving.ARRAYS).open("wb") as file:
            np.savez_compressed(file, **_arrays(model))  # type: ignore[arg-type]
        names = (saving.WEIGHTS, saving.ARRAYS)
        description["checksums"] = {name: saving.checksum((temporary / name).read_bytes()) for name in names}
        text = json_text(sealed(plain(description)), indent=1)
        (temporary / saving.DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def _describe(model: ImageTableModel) -> dict[str, Any]:
    content: dict[str, Any] = {
        "format": saving.FORMAT_NAME,
        "version": saving.FORMAT_VERSION,
        "written_by": f"permgrad {__version__}",
        "estimator": saving.IMAGE_TABLE,
        "task": model.task,
        "preset": model.preset,
        "seed": model.seed_,
        "best_epoch": int(model.best_epoch_),
        "history": list(model.history_.columns),
        "training_options": model.training_options_,
        "network": dataclasses.asdict(model.module_.options),
        "images": [column.to_dict() for column in model.images_],
        "preprocessor": model.preprocessor_.to_dict(),
        "target": {"mean": model.target_mean_, "scale": model.target_scale_},
        "background": list(model.background_),
    }
    if model.task == "classification":
        content["class_weights"] = model.class_weights_.tolist()
    return content


def _arrays(model: ImageTableModel) -> dict[str, npt.NDArray[Any]]:
    # Names of columns may hold any sign; their places in the description stand for them.
    arrays = {f"background.{place}": array for place, array in enumerate(model.background_.values())}
    arrays["background_target"] = _plain_text(model.background_target_)
    if model.task == "classification":
        arrays["classes"] = _plain_text(model.classes_)
    for name in model.history_.columns:
        arrays[f"history.{name}"] = model.history_[name].to_numpy()
    return arrays


def _plain_text(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Text in object arrays would need pickle; fixed-width text is the same labels."""
    return values.astype(str) if values.dtype == object else values


def rebuild(
    description: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], weights: dict[str, Tensor], device: Any
) -> ImageTableModel:
    """Make a model from what ``save`` wrote; the caller has read and checked the files."""
    from permgrad.data.encode.encoding import TableEncoder
    from permgrad.data.image_table import ImageColumn
    from permgrad.models.estimators.image_table import ImageTableModel
    from permgrad.models.estimators.settings import choose_device
    from permgrad.models.network.multimodal import ImageTableOptions
    from permgrad.models.train.guard import sheltered

    model = ImageTableModel(description["task"], preset=str(description["preset"]))
    model.images_ = tuple(ImageColumn.from_dict(own) for own in description["images"])
    model.preprocessor_ = TableEncoder.from_dict(description["preprocessor"])
    model.target_mean_ = float(description["target"]["mean"])
    model.target_scale_ = float(description["target"]["scale"])
    if model.task == "classification":
        model.classes_ = arrays["classes"]
        model.class_weights_ = np.array(description["class_weights"], dtype=np.float64)
    options = ImageTableOptions.from_dict(description["network"])
    layers = len(options.filters) + len(options.table_units) + len(options.head_units)
    if layers > len(weights):
        raise ValueError(f"a network of {layers} layers for {len(weights)} weights")
    with sheltered(0), Budget(weights):
        module = model.build(len(model.preprocessor_.encoded_names_), options)
    check_weights(module, weights)
    module.load_state_dict(weights)
    model.module_ = module.to(choose_device(device)).eval()
    model.seed_ = int(description["seed"])
    model.best_epoch_ = int(description["best_epoch"])
    model.training_options_ = dict(description["training_options"])
    model.history_ = pd.DataFrame({name: arrays[f"history.{name}"] for name in description["history"]})
    model.background_ = {
        str(name): arrays[f"background.{place}"] for place, name in enumerate(description["background"])
    }
    model.background_target_ = arrays["background_target"]
    try_out_images(model)
    return model
