"""What single arguments and training options must be: rules, and the sentences that refuse everything else."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from permgrad.base.checks import MOST, is_number, is_whole
from permgrad.base.errors import InputError, shown, suggest
from permgrad.data.encode.groups import is_blocks
from permgrad.data.read.cells import MissingCodes
from permgrad.imaging.foreign import is_foreign
from permgrad.imaging.layout import layouts, make_layout
from permgrad.models.devices import PRECISIONS
from permgrad.models.estimators.presets import CLASS_WEIGHTS
from permgrad.models.train.learner import OPTIMIZERS
from permgrad.models.train.schedules import schedules

NUMERIC_ENCODINGS = ("robust", "standard", "minmax", "quantile")
TASK_LOSSES = {"classification": ("cross_entropy",), "regression": ("squared_error",)}
CALIBRATIONS = ("prior", "temperature", "isotonic")

_LEAST = re.compile(r"a whole number of at least \d+")


@dataclasses.dataclass(frozen=True)
class ArgumentRule:
    """What an argument must be: ``words`` behind "must be", an ``example`` as it is written; whether None is right."""

    name: str
    words: str
    example: str
    holds: Callable[[Any], bool]
    none: bool = True
    choices: Callable[[], Sequence[str]] | None = None

    def faults(self, value: Any) -> list[str]:
        """Return the sentence that refuses a value, if it is wrong."""
        if (value is None and self.none) or (value is not None and self.holds(value)):
            return []
        if self.choices is not None:
            words, guess = ", ".join(map(repr, self.choices())), suggest(value, self.choices())
            return [f"{self.name} must be one of {words}, however: {self.name}={shown(value)}{guess}"]
        rule = f"None{',' if ' or ' in self.words else ' or'} {self.words}" if self.none else self.words
        if is_whole(value) and value > MOST:
            rule = _LEAST.sub(rf"\g<0> and at most {MOST}", rule)
        fact, example = f"{self.name}={shown(value)}", f"{self.name}={self.example}"
        return [f"{self.name} must be {rule}, however: {fact}; pass for example {example}"]


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
#: Training options as a preset says them; None is right for the patience alone.
_PRESET: tuple[ArgumentRule, ...] = (
    *(dataclasses.replace(rule, none=rule.name == "patience") for rule in _TRAINING),
    ArgumentRule("averaging", "a number from 0 to below 1", "0.99", _below_one, none=False),
    ArgumentRule("label_smoothing", "a number from 0 to below 1", "0.1", _below_one, none=False),
    ArgumentRule("refinement", "true or false", "true", lambda value: isinstance(value, bool), none=False),
    _names("schedule_unit", lambda: ("epoch", "step"), none=False),
)


@contextlib.contextmanager
def collecting(faults: list[str]) -> Iterator[None]:
    """Put the sentence that the body is refused with, if it is, to other faults."""
    try:
        yield
    except InputError as error:
        faults.append(str(error))


def _faults(rules: Sequence[ArgumentRule], values: Mapping[str, Any]) -> list[str]:
    return [fault for rule in rules if rule.name in values for fault in rule.faults(values[rule.name])]


def argument_faults(arguments: Mapping[str, Any], task: str) -> list[str]:
    """Return what is wrong with the arguments of an estimator that stand alone, a sentence each."""
    faults = _faults((*_ARGUMENTS, _names("loss", lambda: TASK_LOSSES[task])), arguments)
    if arguments.get("layout") is not None:
        faults += layout_faults(arguments["layout"])
    with collecting(faults):
        MissingCodes.of(arguments.get("na_codes"))
    return faults


def training_faults(training: Mapping[str, Any], task: str) -> list[str]:
    """Return what is wrong with training options, a sentence each; those that are not there are as by default."""
    faults = _faults(_PRESET, training)
    if "loss" in training and training["loss"] not in TASK_LOSSES[task]:
        faults.append(
            f"the loss of a {task} must be {TASK_LOSSES[task][0]!r}, however: loss={training['loss']!r}; leave loss "
            "out of it, or choose another task"
        )
    return faults


def numeric_faults(numeric: Any) -> list[str]:
    """Return what is wrong with the name of a scaling of numbers."""
    return _names("numeric", lambda: NUMERIC_ENCODINGS, none=False).faults(numeric)


def layout_faults(layout: Any) -> list[str]:
    """Return what is wrong with a layout; nothing if it is a name or an object that can be one."""
    faults: list[str] = []
    # An object is looked at when it is fitted: only then is it known what it does.
    with collecting(faults):
        if isinstance(layout, str):
            layouts.get(layout)
        elif not (is_foreign(layout) or callable(getattr(layout, "fit", None))):
            make_layout(layout)
    return faults
