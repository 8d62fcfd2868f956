"""From an estimator's arguments to settings that are known to be right; faults are found before any work is done."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from permgrad._errors import InputError, suggest
from permgrad.models.devices import PRECISIONS
from permgrad.models.distributed import devices_faults
from permgrad.models.network import check_paths
from permgrad.models.network_options import NetworkOptions, check_network
from permgrad.models.presets import CLASS_WEIGHTS, Preset, get_preset
from permgrad.models.schedules import schedules
from permgrad.models.training import OPTIMIZERS, TrainingOptions

NUMERIC_ENCODINGS = ("robust", "standard", "minmax", "quantile")
TASK_LOSSES = {"classification": ("cross_entropy",), "regression": ("squared_error",)}
CALIBRATIONS = ("prior", "temperature", "isotonic")
MOST_LEVELS, MOST_EMBEDDED_LEVELS = 50, 256
#: Arguments that are training options as they are.
_OF_TRAINING = (
    "max_epochs", "batch_size", "learning_rate", "optimizer", "weight_decay", "schedule", "loss", "precision",
)  # fmt: skip
_SMALLEST_BATCH, _LARGEST_BATCH, _ROWS_PER_BATCH = 32, 256, 64


@dataclasses.dataclass(frozen=True)
class Settings:
    """Checked choices: the preset with the estimator's own arguments in place."""

    paths: tuple[str, ...]
    layout: Any
    numeric: str
    network: NetworkOptions
    training: TrainingOptions
    automatic_batch: bool
    class_weight: Any = None
    validation_fraction: float = 0.1
    pairs_as_levels: bool = False
    max_levels: int = 50

    def training_for(self, rows: int) -> TrainingOptions:
        """Return the training options for a number of training rows: an automatic batch size is settled."""
        if not self.automatic_batch:
            return self.training
        return dataclasses.replace(self.training, batch_size=automatic_batch_size(rows))


def automatic_batch_size(rows: int) -> int:
    """Return a power of two near ``rows / 64`` between 32 and 256: enough steps per epoch for few rows, speed for many.

    Examples:
        >>> [automatic_batch_size(rows) for rows in (100, 6000, 27000)]
        [32, 128, 256]
    """
    power = 2 ** round(math.log2(max(rows, 1) / _ROWS_PER_BATCH)) if rows >= _ROWS_PER_BATCH else 1
    return int(min(max(power, _SMALLEST_BATCH), _LARGEST_BATCH))


def raise_faults(faults: Sequence[str]) -> None:
    """Raise one error for all faults, if there are any."""
    if len(faults) == 1:
        raise InputError(faults[0])
    if faults:
        listed = "".join(f"\n  - {fault}" for fault in faults)
        raise InputError(f"{len(faults)} arguments are wrong:{listed}")


def resolve_settings(parameters: Mapping[str, Any], task: str) -> Settings:
    """Check all arguments of an estimator together.

    Args:
        parameters: the estimator's ``get_params(deep=False)``.
        task: ``"classification"`` or ``"regression"``.

    Raises:
        InputError: Lists every fault at once.
    """
    faults: list[str] = []
    paths: tuple[str, ...] = ()
    preset: Preset | None = None
    try:
        paths = () if parameters["branches"] is None else check_paths(_listed(parameters["branches"]))
    except InputError as error:
        faults.append(str(error))
    try:
        preset = get_preset(parameters["preset"])
    except InputError as error:
        faults.append(str(error))
    network, network_faults = check_network(parameters["network"])
    faults += network_faults
    faults += _argument_faults(parameters, task)
    raise_faults(faults)
    assert preset is not None
    paths = paths or preset.branches
    options = dataclasses.replace(preset.network, **network)
    training = dict(preset.training)
    for name in _OF_TRAINING:
        if parameters[name] is not None:
            training[name] = parameters[name]
    if parameters["patience"] is not None:
        training["patience"] = None if math.isinf(parameters["patience"]) else int(parameters["patience"])
    training.setdefault("loss", TASK_LOSSES[task][0])
    automatic = training.get("batch_size") == "auto"
    if automatic:
        del training["batch_size"]
    return Settings(
        paths=paths,
        layout=preset.layout if parameters["layout"] is None else parameters["layout"],
        numeric=preset.numeric if parameters["numeric"] is None else parameters["numeric"],
        network=options,
        training=TrainingOptions(**training),
        automatic_batch=automatic,
        class_weight=preset.class_weight if parameters.get("class_weight") is None else parameters["class_weight"],
        validation_fraction=float(_given(parameters["validation_fraction"], preset.validation_fraction)),
        pairs_as_levels=preset.pairs_as_levels,
        max_levels=int(_given(parameters["max_levels"], most_levels(paths, options))),
    )


def _given(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def most_levels(paths: Sequence[str], network: NetworkOptions) -> int:
    """Return how many levels of a category are told apart unless the user says: more if they are embedded.

    Where an image is drawn each level takes a pixel, so 50 remain; each also takes 4 bytes per row.
    """
    return MOST_EMBEDDED_LEVELS if network.level_embedding_size and "image" not in paths else MOST_LEVELS


def _listed(branches: Any) -> Sequence[str]:
    """Return the branches as a sequence; anything else is given on as one unknown branch."""
    return branches if isinstance(branches, (str, list, tuple)) else (branches,)


def _is_whole(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return not isinstance(value, (bool, str)) and hasattr(value, "__float__") and not math.isnan(float(value))


def _argument_faults(given: Mapping[str, Any], task: str) -> list[str]:
    """Check the arguments that stand alone."""
    faults: list[str] = []

    def need(name: str, rule: str, fix: str, *, holds: bool) -> None:
        if not holds:
            faults.append(f"{name} must be {rule}, however: {name}={given[name]!r}; pass for example {name}={fix}")

    def choose(name: str, choices: Sequence[str], also: str = "") -> None:
        value = given[name]
        if value is not None and (not isinstance(value, str) or value not in choices):
            listed = ", ".join(map(repr, choices)) + also
            faults.append(f"{name} must be one of {listed}, however: {name}={value!r}{suggest(str(value), choices)}")

    epochs = given["max_epochs"]
    holds = epochs is None or (_is_whole(epochs) and epochs >= 1)
    need("max_epochs", "None or a whole number of at least 1", "50", holds=holds)
    batch = given["batch_size"]
    need(
        "batch_size",
        "None, 'auto' or a whole number of at least 2",
        "128",
        holds=batch is None or (isinstance(batch, str) and batch == "auto") or (_is_whole(batch) and batch >= 2),
    )
    rate = given["learning_rate"]
    holds = rate is None or (_is_number(rate) and 0 < rate < math.inf)
    need("learning_rate", "None or a number above 0", "0.001", holds=holds)
    decay = given["weight_decay"]
    holds = decay is None or (_is_number(decay) and 0 <= decay < math.inf)
    need("weight_decay", "None or a number of at least 0", "0.0001", holds=holds)
    patience = given["patience"]
    holds = (
        patience is None or (_is_whole(patience) and patience >= 1) or (_is_number(patience) and patience == math.inf)
    )
    need("patience", "None, a whole number of at least 1, or float('inf')", "10", holds=holds)
    need("pixels", "a whole number of at least 1", "20", holds=_is_whole(given["pixels"]) and given["pixels"] >= 1)
    fraction = given["validation_fraction"]
    holds = fraction is None or (_is_number(fraction) and 0 <= fraction < 1)
    need("validation_fraction", "None or a number from 0 to below 1", "0.1", holds=holds)
    size = given["background_size"]
    need("background_size", "a whole number of at least 1", "1000", holds=_is_whole(size) and size >= 1)
    levels = given["max_levels"]
    need(
        "max_levels",
        "None or a whole number of at least 1",
        "50",
        holds=levels is None or (_is_whole(levels) and levels >= 1),
    )
    choose("optimizer", OPTIMIZERS)
    choose("schedule", schedules.names())
    choose("loss", TASK_LOSSES[task])
    choose("numeric", NUMERIC_ENCODINGS)
    choose("precision", PRECISIONS)
    faults += device_faults(given["device"]) or devices_faults(given["devices"], choose_device(given["device"]))
    progress = given["progress"]
    need("progress", "'auto', True or False", "False", holds=isinstance(progress, bool) or progress == "auto")
    weight = given.get("class_weight")
    if (
        weight is not None
        and not isinstance(weight, Mapping)
        and not (isinstance(weight, str) and weight in CLASS_WEIGHTS)
    ):
        need(
            "class_weight", "None, 'balanced', 'pos_weight' or a mapping of class to weight", "'balanced'", holds=False
        )
    if "calibration" in given:
        choose("calibration", CALIBRATIONS)
    return faults


def device_faults(device: Any) -> list[str]:
    """Return what is wrong with a device, in a sentence; nothing if it can be used."""
    import torch

    try:
        choose_device(device)
    except (RuntimeError, TypeError, InputError) as error:
        available = "'auto', 'cpu'" + (", 'cuda'" if torch.cuda.is_available() else "")
        reason = str(error).split("\n", 1)[0] if not isinstance(error, InputError) else str(error)
        return [f"device must be one of {available} on this machine, however: device={device!r} ({reason})"]
    return []


def choose_device(device: Any) -> Any:
    """Return the torch device that ``"auto"``, a name or a device stands for."""
    import torch

    if device is None or (isinstance(device, str) and device == "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = torch.device(os.fspath(device) if isinstance(device, str) else device)
    if chosen.type not in ("cpu", "cuda"):
        raise InputError("only processors and CUDA devices are supported")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(f"{torch.cuda.device_count()} CUDA devices are visible")
    return chosen
