"""From an estimator's arguments to settings that are known to be right; faults are found before any work is done."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from permgrad.base.errors import InputError, shown, suggest
from permgrad.models.estimators.argument_rules import (
    TASK_LOSSES,
    argument_faults,
    collecting,
    layout_faults,
    numeric_faults,
    training_faults,
)
from permgrad.models.estimators.presets import Preset, get_preset
from permgrad.models.network.network import check_paths
from permgrad.models.network.options import NetworkOptions, check_network
from permgrad.models.train.distributed import devices_faults
from permgrad.models.train.learner import TrainingOptions

MOST_LEVELS, MOST_EMBEDDED_LEVELS = 50, 256
#: Arguments that are training options as they are.
_OF_TRAINING = (
    "max_epochs", "batch_size", "learning_rate", "optimizer", "weight_decay", "schedule", "patience", "loss",
    "precision",
)  # fmt: skip
_SMALLEST_BATCH, _LARGEST_BATCH, _ROWS_PER_BATCH = 32, 256, 64


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """Checked choices: the preset with the estimator's arguments in place."""

    paths: tuple[str, ...]
    layout: Any
    numeric: str
    network: NetworkOptions
    training: TrainingOptions
    automatic_batch: bool
    device: torch.device
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
    """Return a power of two near ``rows / 64`` from 32 to 256: enough steps per epoch for few rows, speed for many."""
    power = 2 ** round(math.log2(max(rows, 1) / _ROWS_PER_BATCH)) if rows >= _ROWS_PER_BATCH else 1
    return int(min(max(power, _SMALLEST_BATCH), _LARGEST_BATCH))


def raise_faults(faults: Sequence[str], what: str = "arguments") -> None:
    """Raise one error for all faults of arguments, or of what else they are, if there are any."""
    if len(faults) == 1:
        raise InputError(faults[0])
    if faults:
        listed = "".join(f"\n  - {fault}" for fault in faults)
        raise InputError(f"{len(faults)} {what} are wrong:{listed}")


def resolve_settings(arguments: Mapping[str, Any], task: str) -> FitSettings:
    """Check all arguments of an estimator together, and then what its preset says beside them."""
    faults: list[str] = []
    paths: tuple[str, ...] = ()
    preset: Preset | None = None
    with collecting(faults):
        paths = () if arguments.get("branches") is None else check_paths(arguments["branches"])
    with collecting(faults):
        preset = get_preset(arguments["preset"])
    network, network_faults = check_network(arguments.get("network"))
    faults += network_faults + argument_faults(arguments, task)
    with collecting(faults):
        # Whether several devices can share a batch can only be said of a device that is one.
        device = choose_device(arguments.get("device"))
        faults += devices_faults(arguments.get("devices", 1), device)
    raise_faults(faults)
    assert preset is not None
    training = {name: arguments[name] for name in _OF_TRAINING if arguments.get(name) is not None}
    training = {**preset.training, **training}
    options = dataclasses.replace(preset.network, **network)
    raise_faults(_preset_faults(arguments, preset, options, training, task), "settings")
    if training.get("patience") is not None:
        training["patience"] = None if math.isinf(training["patience"]) else int(training["patience"])
    training.setdefault("loss", TASK_LOSSES[task][0])
    automatic = training.get("batch_size") == "auto"
    if automatic:
        del training["batch_size"]

    paths = paths or preset.branches
    # More levels of a category are told apart where they are embedded; where an image is drawn each takes a pixel.
    most = MOST_EMBEDDED_LEVELS if options.level_embedding_size and "image" not in paths else MOST_LEVELS

    def chosen(name: str, otherwise: Any) -> Any:
        return otherwise if arguments.get(name) is None else arguments[name]

    return FitSettings(
        paths=paths,
        layout=chosen("layout", preset.layout),
        numeric=chosen("numeric", preset.numeric),
        network=options,
        training=TrainingOptions(**training),
        automatic_batch=automatic,
        device=device,
        class_weight=chosen("class_weight", preset.class_weight),
        validation_fraction=float(chosen("validation_fraction", preset.validation_fraction)),
        pairs_as_levels=preset.pairs_as_levels,
        max_levels=int(chosen("max_levels", most)),
    )


def check_preset(preset: Any, task: str | None = None) -> None:
    """Refuse a preset (a name, a path, a ``Preset``) whose values no training could use, listing every fault."""
    loss = None if task is not None else TASK_LOSSES["classification"][0]
    resolve_settings({"preset": preset, "loss": loss}, task or "classification")


def _preset_faults(
    arguments: Mapping[str, Any], preset: Preset, network: NetworkOptions, training: Mapping[str, Any], task: str
) -> list[str]:
    """Check what comes from the preset, arguments being right already, and name the preset's file."""
    faults = training_faults(training, task)
    if arguments.get("numeric") is None:
        faults += numeric_faults(preset.numeric)
    if arguments.get("layout") is None:
        faults += layout_faults(preset.layout)
    if not isinstance(arguments["preset"], Preset):
        words = f"however: preset {os.fspath(arguments['preset'])} has "
        faults = [fault.replace("however: ", words, 1) for fault in faults]
    with collecting(faults):
        network.check()  # either of the options that exclude each other may be an argument
    return faults


def device_faults(device: Any) -> list[str]:
    """Return what is wrong with a device, in a sentence; nothing if it can be used."""
    faults: list[str] = []
    with collecting(faults):
        choose_device(device)
    return faults


def choose_device(device: Any) -> torch.device:
    """Return the torch device of a name; ``"auto"`` is a CUDA device, else the processor; ``"gpu"`` is ``"cuda"``."""
    if device is None or (isinstance(device, str) and device == "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kinds = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    available = ["auto", *(kind for kind, is_there in kinds.items() if is_there)]
    chosen, why = None, ""
    try:
        is_gpu = isinstance(device, str) and device.partition(":")[0] == "gpu"
        chosen = torch.device(f"cuda{device[3:]}" if is_gpu else device)
    except (RuntimeError, TypeError, ValueError) as error:
        why = str(error).split("\n", 1)[0]
    if chosen is not None:
        if chosen.type not in kinds:
            why = "only processors, CUDA devices and Apple's mps are supported"
        elif chosen.type == "mps" and not kinds["mps"]:
            why = "torch finds no Apple GPU"
        elif chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
            why = f"{torch.cuda.device_count()} CUDA devices are visible"
        else:
            return chosen
    reason = f" ({why})"
    if why.startswith("Expected one of"):
        # Its own sentence lists devices that cannot be used here.
        reason = suggest(device, available) or " (torch knows none of that name)"
    names = ", ".join(map(repr, available))
    raise InputError(f"device must be one of {names} on this machine, however: device={shown(device)}{reason}")
