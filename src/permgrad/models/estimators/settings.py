"""From an estimator's arguments to checked settings. All faults are found before any work is done."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from permgrad.base.checks import MOST, is_number, is_whole
from permgrad.base.errors import InputError, did_you_mean, shown, unknown
from permgrad.data.encode.groups import is_blocks
from permgrad.data.read.cells import MissingCodes
from permgrad.imaging.foreign import is_foreign
from permgrad.imaging.layout import layouts, make_layout
from permgrad.models.devices import PRECISIONS
from permgrad.models.estimators.presets import CLASS_WEIGHTS, Preset, get_preset
from permgrad.models.network.network import check_paths
from permgrad.models.network.options import NetworkOptions, check_network
from permgrad.models.train.distributed import devices_faults
from permgrad.models.train.learner import OPTIMIZERS, TrainingOptions
from permgrad.models.train.schedules import schedules

NUMERIC_ENCODINGS = ("robust", "standard", "minmax", "quantile")
TASK_LOSSES = {"classification": ("cross_entropy",), "regression": ("squared_error",)}
CALIBRATIONS = ("prior", "temperature", "isotonic")

MOST_LEVELS, MOST_EMBEDDED_LEVELS = 50, 256
#: Arguments that are training options as they are.
_OF_TRAINING = (
    "max_epochs", "batch_size", "learning_rate", "optimizer", "weight_decay", "schedule", "patience", "loss",
    "precision",
)  # fmt: skip
#: Of an automatic batch size.
_SMALLEST_BATCH, _LARGEST_BATCH, _ROWS_PER_BATCH = 32, 256, 64
_LEAST = re.compile(r"a whole number of at least \d+")


@dataclasses.dataclass(frozen=True)
class ArgumentRule:
    """What an argument must be: ``words`` behind "must be", an ``example`` as it is written. Whether None is right."""

    name: str
    words: str
    example: str
    holds: Callable[[Any], bool]
    none: bool = True
    choices: Callable[[], Sequence[str]] | None = None

    def faults(self, value: Any) -> list[InputError]:
        """Return the error for a value, if it is wrong."""
        if (value is None and self.none) or (value is not None and self.holds(value)):
            return []
        if self.choices is not None:
            return [unknown(self.name, value, self.choices())]
        rule = f"None{',' if ' or ' in self.words else ' or'} {self.words}" if self.none else self.words
        if is_whole(value) and value > MOST:
            rule = _LEAST.sub(rf"\g<0> and at most {MOST}", rule)
        hint = f"Pass for example {self.name}={self.example}."
        return [InputError(f"{self.name} must be {rule}, got {shown(value)}", hint=hint, code="PG001")]


def _names(name: str, choices: Callable[[], Sequence[str]], *, none: bool = True) -> ArgumentRule:
    """Return the rule of an argument that is one of some names, read when it is checked."""
    return ArgumentRule(name, "", "", lambda value: isinstance(value, str) and value in choices(), none, choices)


def _at_least_one(value: Any) -> bool:
    return is_whole(value) and 1 <= value <= MOST


def _at_least_zero(value: Any) -> bool:
    return is_number(value) and 0 <= value < math.inf


def _below_one(value: Any) -> bool:
    return is_number(value) and 0 <= value < 1


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


#: Training options that are arguments of the estimators too, where None means: as the preset says.
_TRAINING: tuple[ArgumentRule, ...] = (
    ArgumentRule("max_epochs", "a whole number of at least 1", "50", _at_least_one),
    ArgumentRule(
        "batch_size", "'auto' or a whole number of at least 2", "128",
        lambda size: size == "auto" if isinstance(size, str) else is_whole(size) and 2 <= size <= MOST,
    ),
    ArgumentRule("learning_rate", "a number above 0", "0.001", lambda rate: _at_least_zero(rate) and rate > 0),
    ArgumentRule("weight_decay", "a number of at least 0", "0.0001", _at_least_zero),
    ArgumentRule(
        "patience", "a whole number of at least 1, or float('inf')", "10",
        lambda epochs: _at_least_one(epochs) or (is_number(epochs) and epochs == math.inf),
    ),
    _names("optimizer", lambda: OPTIMIZERS),
    _names("schedule", schedules.names),
    _names("precision", lambda: PRECISIONS),
)  # fmt: skip
_ARGUMENTS: tuple[ArgumentRule, ...] = (
    *_TRAINING,
    ArgumentRule("pixels", "a whole number of at least 1", "20", _at_least_one, none=False),
    ArgumentRule("validation_fraction", "a number from 0 to below 1", "0.1", _below_one),
    ArgumentRule("background_size", "a whole number of at least 1", "1000", _at_least_one, none=False),
    ArgumentRule("max_levels", "a whole number of at least 1", "50", _at_least_one),
    ArgumentRule(
        "progress", "'auto', True or False", "False",
        lambda mode: isinstance(mode, bool) or (isinstance(mode, str) and mode == "auto"), none=False,
    ),
    ArgumentRule(
        "class_weight", "'balanced', 'pos_weight' or a mapping of class to weight", "'balanced'",
        lambda weight: _is_mapping(weight) or (isinstance(weight, str) and weight in CLASS_WEIGHTS),
    ),
    ArgumentRule("kinds", "a mapping of column to kind", "{'postcode': 'categorical'}", _is_mapping),
    ArgumentRule("groups", "a mapping of group to a list of columns", "{'size': ['width', 'height']}", is_blocks),
    ArgumentRule("variables", "a mapping of variable to a list of columns", "{'soil': ['sand', 'clay']}", is_blocks),
    _names("numeric", lambda: NUMERIC_ENCODINGS),
    _names("calibration", lambda: CALIBRATIONS),
)  # fmt: skip
#: Training options as a preset says them. None is right for the patience alone.
_PRESET: tuple[ArgumentRule, ...] = (
    *(dataclasses.replace(rule, none=rule.name == "patience") for rule in _TRAINING),
    ArgumentRule("averaging", "a number from 0 to below 1", "0.99", _below_one, none=False),
    ArgumentRule("label_smoothing", "a number from 0 to below 1", "0.1", _below_one, none=False),
    ArgumentRule("refinement", "true or false", "true", lambda value: isinstance(value, bool), none=False),
    _names("schedule_unit", lambda: ("epoch", "step"), none=False),
)


@contextlib.contextmanager
def collecting(faults: list[InputError]) -> Iterator[None]:
    """Add the error that the body raises, if any, to others."""
    try:
        yield
    except InputError as error:
        faults.append(error)


def _faults(rules: Sequence[ArgumentRule], values: Mapping[str, Any]) -> list[InputError]:
    return [fault for rule in rules if rule.name in values for fault in rule.faults(values[rule.name])]


def argument_faults(arguments: Mapping[str, Any], task: str) -> list[InputError]:
    """Return an error for each argument of an estimator that is wrong by itself."""
    faults = _faults((*_ARGUMENTS, _names("loss", lambda: TASK_LOSSES[task])), arguments)
    if arguments.get("layout") is not None:
        faults += layout_faults(arguments["layout"])
    with collecting(faults):
        MissingCodes.of(arguments.get("na_codes"))
    return faults


def training_faults(training: Mapping[str, Any], task: str) -> list[InputError]:
    """Return an error for each training option that is wrong."""
    faults = _faults(_PRESET, training)
    if "loss" in training and training["loss"] not in TASK_LOSSES[task]:
        problem = f"The loss of a {task} must be {TASK_LOSSES[task][0]!r}, got {training['loss']!r}"
        faults.append(InputError(problem, hint="Leave loss out, or choose another task.", code="PG036"))
    return faults


def layout_faults(layout: Any) -> list[InputError]:
    """Return the error for a layout that is neither a known name nor an object that can be one, or nothing."""
    faults: list[InputError] = []
    # An object is looked at when it is fitted: only then is it known what it does.
    with collecting(faults):
        if isinstance(layout, str):
            layouts.get(layout)
        elif not (is_foreign(layout) or callable(getattr(layout, "fit", None))):
            make_layout(layout)
    return faults


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
        # A power of two near a 64th of the rows: enough steps per epoch for few rows, speed for many.
        power = 2 ** round(math.log2(max(rows, 1) / _ROWS_PER_BATCH))
        return dataclasses.replace(self.training, batch_size=int(min(max(power, _SMALLEST_BATCH), _LARGEST_BATCH)))


def raise_faults(faults: Sequence[InputError], what: str = "arguments") -> None:
    """Raise the error, or one that lists all of several."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        listed = "".join(f"\n  - {fault.message}" for fault in faults)
        raise InputError(f"{len(faults)} {what} are wrong:{listed}", code="PG001")


def resolve_settings(arguments: Mapping[str, Any], task: str) -> FitSettings:
    """Check all arguments of an estimator together, and then what its preset says beside them."""
    faults: list[InputError] = []
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
    # More levels of a category are distinguished if they are embedded. In an image each takes a pixel.
    most = MOST_EMBEDDED_LEVELS if options.level_embedding_size and "image" not in paths else MOST_LEVELS

    passed = {name: value for name, value in arguments.items() if value is not None}
    return FitSettings(
        paths=paths,
        layout=passed.get("layout", preset.layout),
        numeric=passed.get("numeric", preset.numeric),
        network=options,
        training=TrainingOptions(**training),
        automatic_batch=automatic,
        device=device,
        class_weight=passed.get("class_weight", preset.class_weight),
        validation_fraction=float(passed.get("validation_fraction", preset.validation_fraction)),
        pairs_as_levels=preset.pairs_as_levels,
        max_levels=int(passed.get("max_levels", most)),
    )


def check_preset(preset: Any, task: str | None = None) -> None:
    """Refuse a preset (a name, a path, a ``Preset``) whose values no training could use, listing every fault."""
    loss = None if task is not None else TASK_LOSSES["classification"][0]
    resolve_settings({"preset": preset, "loss": loss}, task or "classification")


def _preset_faults(
    arguments: Mapping[str, Any], preset: Preset, network: NetworkOptions, training: Mapping[str, Any], task: str
) -> list[InputError]:
    """Return an error, with the preset's file, for each setting of the preset that is wrong."""
    faults = training_faults(training, task)
    if arguments.get("numeric") is None:
        faults += _names("numeric", lambda: NUMERIC_ENCODINGS, none=False).faults(preset.numeric)
    if arguments.get("layout") is None:
        faults += layout_faults(preset.layout)
    if not isinstance(arguments["preset"], Preset):
        file = os.fspath(arguments["preset"])
        faults = [InputError(f"Preset {file}: {fault.problem}", fault.hint, fault.code) for fault in faults]
    with collecting(faults):
        network.check()  # either of the options that exclude each other may be an argument
    return faults


def device_faults(device: Any) -> list[InputError]:
    """Return the error for a device that cannot be used, or nothing."""
    faults: list[InputError] = []
    with collecting(faults):
        choose_device(device)
    return faults


def choose_device(device: Any) -> torch.device:
    """Return the torch device of a name. ``"auto"`` is a CUDA device, else the processor. ``"gpu"`` is ``"cuda"``."""
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
    if why.startswith("Expected one of"):
        # Torch lists devices that cannot be used here.
        why = did_you_mean(device, available, "torch knows no device of that name")
    names = ", ".join(map(repr, available))
    raise InputError(
        f"device must be one of {names} on this machine, got {shown(device)}", hint=why or "pass 'cpu'", code="PG064"
    )
