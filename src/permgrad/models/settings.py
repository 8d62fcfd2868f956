"""From an estimator's arguments to settings that are known to be right; faults are found before any work is done."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
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


@dataclasses.dataclass(frozen=True)
class _Rule:
    """What an argument that stands alone must be; ``example`` is a value that is.

    Attributes:
        name: of the argument.
        words: the rule, behind "must be".
        example: a value to pass, as it is written.
        holds: whether a value is right; only asked where None is not.
        none: whether None is right.
    """

    name: str
    words: str
    example: str
    holds: Callable[[Any], bool]
    none: bool = True

    def fault(self, given: Mapping[str, Any]) -> list[str]:
        """Return the sentence that refuses what was given, if it is wrong."""
        value = given[self.name]
        if (value is None and self.none) or (value is not None and self.holds(value)):
            return []
        rule = f"None{',' if ' or ' in self.words else ' or'} {self.words}" if self.none else self.words
        return [
            f"{self.name} must be {rule}, however: {self.name}={value!r}; pass for example {self.name}={self.example}"
        ]


def _at_least_one(value: Any) -> bool:
    return _is_whole(value) and value >= 1


_RULES = (
    _Rule("max_epochs", "a whole number of at least 1", "50", _at_least_one),
    _Rule(
        "batch_size", "'auto' or a whole number of at least 2", "128",
        lambda size: size == "auto" if isinstance(size, str) else _is_whole(size) and size >= 2,
    ),
    _Rule("learning_rate", "a number above 0", "0.001", lambda rate: _is_number(rate) and 0 < rate < math.inf),
    _Rule("weight_decay", "a number of at least 0", "0.0001", lambda rate: _is_number(rate) and 0 <= rate < math.inf),
    _Rule(
        "patience", "a whole number of at least 1, or float('inf')", "10",
        lambda epochs: _at_least_one(epochs) or (_is_number(epochs) and epochs == math.inf),
    ),
    _Rule("pixels", "a whole number of at least 1", "20", _at_least_one, none=False),
    _Rule("validation_fraction", "a number from 0 to below 1", "0.1", lambda own: _is_number(own) and 0 <= own < 1),
    _Rule("background_size", "a whole number of at least 1", "1000", _at_least_one, none=False),
    _Rule("max_levels", "a whole number of at least 1", "50", _at_least_one),
    _Rule(
        "progress", "'auto', True or False", "False",
        lambda own: isinstance(own, bool) or (isinstance(own, str) and own == "auto"), none=False,
    ),
    _Rule(
        "class_weight", "'balanced', 'pos_weight' or a mapping of class to weight", "'balanced'",
        lambda own: isinstance(own, Mapping) or (isinstance(own, str) and own in CLASS_WEIGHTS),
    ),
)  # fmt: skip


def _argument_faults(given: Mapping[str, Any], task: str) -> list[str]:
    """Check the arguments that stand alone."""
    choices: dict[str, Sequence[str]] = {
        "optimizer": OPTIMIZERS,
        "schedule": schedules.names(),
        "loss": TASK_LOSSES[task],
        "numeric": NUMERIC_ENCODINGS,
        "precision": PRECISIONS,
        "calibration": CALIBRATIONS,
    }
    faults = [fault for rule in _RULES if rule.name in given for fault in rule.fault(given)]
    for name, known in choices.items():
        value = given.get(name)
        if value is not None and (not isinstance(value, str) or value not in known):
            words = ", ".join(map(repr, known))
            faults.append(f"{name} must be one of {words}, however: {name}={value!r}{suggest(str(value), known)}")
    # Whether several devices can share a batch can only be said of a device that is one.
    return faults + (device_faults(given["device"]) or devices_faults(given["devices"], choose_device(given["device"])))


def device_faults(device: Any) -> list[str]:
    """Return what is wrong with a device, in a sentence; nothing if it can be used."""
    import torch

    try:
        choose_device(device)
    except (RuntimeError, TypeError, InputError) as error:
        available = "'auto', 'cpu'" + (", 'cuda'" if torch.cuda.is_available() else "")
        reason = str(error).split("\n", 1)[0] if not isinstance(error, InputError) else str(error)
        if reason.startswith("Expected one of"):
            reason = "torch knows none of that name"  # its own sentence lists devices that cannot be used here
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
