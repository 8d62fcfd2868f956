"""What single arguments and training options must be: a table of rules, and the sentences that refuse the rest."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from permgrad.base.checks import MOST, is_number, is_whole
from permgrad.base.errors import InputError, shown, suggest
from permgrad.data.encode.groups import is_blocks
from permgrad.data.read.cells import MissingCodes
from permgrad.models.devices import PRECISIONS
from permgrad.models.estimators.presets import CLASS_WEIGHTS
from permgrad.models.train.learner import OPTIMIZERS
from permgrad.models.train.schedules import schedules

NUMERIC_ENCODINGS = ("robust", "standard", "minmax", "quantile")
TASK_LOSSES = {"classification": ("cross_entropy",), "regression": ("squared_error",)}
CALIBRATIONS = ("prior", "temperature", "isotonic")
SCHEDULE_UNITS = ("epoch", "step")


_LEAST = re.compile(r"a whole number of at least \d+")


@dataclasses.dataclass(frozen=True)
class Rule:
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
        if is_whole(value) and value > MOST:
            rule = _LEAST.sub(rf"\g<0> and at most {MOST}", rule)
        fact, example = f"{self.name}={shown(value)}", f"{self.name}={self.example}"
        return [f"{self.name} must be {rule}, however: {fact}; pass for example {example}"]


def _at_least_one(value: Any) -> bool:
    return is_whole(value) and 1 <= value <= MOST


def _below_one(value: Any) -> bool:
    return is_number(value) and 0 <= value < 1


#: Training options that are arguments of the estimators too, where None means: as the preset says.
_TRAINING_RULES = (
    Rule("max_epochs", "a whole number of at least 1", "50", _at_least_one),
    Rule(
        "batch_size", "'auto' or a whole number of at least 2", "128",
        lambda size: size == "auto" if isinstance(size, str) else is_whole(size) and 2 <= size <= MOST,
    ),
    Rule("learning_rate", "a number above 0", "0.001", lambda rate: is_number(rate) and 0 < rate < math.inf),
    Rule("weight_decay", "a number of at least 0", "0.0001", lambda rate: is_number(rate) and 0 <= rate < math.inf),
    Rule(
        "patience", "a whole number of at least 1, or float('inf')", "10",
        lambda epochs: _at_least_one(epochs) or (is_number(epochs) and epochs == math.inf),
    ),
)  # fmt: skip
_ARGUMENT_RULES = (
    *_TRAINING_RULES,
    Rule("pixels", "a whole number of at least 1", "20", _at_least_one, none=False),
    Rule("validation_fraction", "a number from 0 to below 1", "0.1", _below_one),
    Rule("background_size", "a whole number of at least 1", "1000", _at_least_one, none=False),
    Rule("max_levels", "a whole number of at least 1", "50", _at_least_one),
    Rule(
        "progress", "'auto', True or False", "False",
        lambda own: isinstance(own, bool) or (isinstance(own, str) and own == "auto"), none=False,
    ),
    Rule(
        "class_weight", "'balanced', 'pos_weight' or a mapping of class to weight", "'balanced'",
        lambda own: isinstance(own, Mapping) or (isinstance(own, str) and own in CLASS_WEIGHTS),
    ),
    Rule("kinds", "a mapping of column to kind", "{'postcode': 'categorical'}", lambda own: isinstance(own, Mapping)),
    Rule("groups", "a mapping of group to a list of columns", "{'size': ['width', 'height']}", is_blocks),
    Rule("variables", "a mapping of variable to a list of columns", "{'soil': ['soil_1', 'soil_2']}", is_blocks),
)  # fmt: skip
#: Training options that only a preset says.
_PRESET_RULES = (
    *(dataclasses.replace(rule, none=rule.name == "patience") for rule in _TRAINING_RULES),
    Rule("averaging", "a number from 0 to below 1", "0.99", _below_one, none=False),
    Rule("label_smoothing", "a number from 0 to below 1", "0.1", _below_one, none=False),
    Rule("refinement", "true or false", "true", lambda own: isinstance(own, bool), none=False),
)


def argument_faults(given: Mapping[str, Any], task: str) -> list[str]:
    """Return what is wrong with the arguments of an estimator that stand alone, a sentence each."""
    faults = [fault for rule in _ARGUMENT_RULES if rule.name in given for fault in rule.fault(given)]
    choices = {
        "optimizer": OPTIMIZERS,
        "schedule": schedules.names(),
        "loss": TASK_LOSSES[task],
        "numeric": NUMERIC_ENCODINGS,
        "precision": PRECISIONS,
        "calibration": CALIBRATIONS,
    }
    for name, known in choices.items():
        if given.get(name) is not None:
            faults += _choice_fault(name, given[name], known)
    if given.get("layout") is not None:
        faults += layout_faults(given["layout"])
    return faults + _code_faults(given.get("na_codes"))


def training_faults(training: Mapping[str, Any], task: str) -> list[str]:
    """Return what is wrong with training options, a sentence each; those that are not there are as by default.

    Examples:
        >>> training_faults({"learning_rate": -1, "optimizer": "adam"}, "regression")
        ['learning_rate must be a number above 0, however: learning_rate=-1; pass for example learning_rate=0.001']
    """
    faults = [fault for rule in _PRESET_RULES if rule.name in training for fault in rule.fault(training)]
    choices = {
        "optimizer": OPTIMIZERS,
        "schedule": schedules.names(),
        "schedule_unit": SCHEDULE_UNITS,
        "precision": PRECISIONS,
    }
    for name, known in choices.items():
        if name in training:
            faults += _choice_fault(name, training[name], known)
    if "loss" in training and training["loss"] not in TASK_LOSSES[task]:
        faults.append(
            f"the loss of a {task} must be {TASK_LOSSES[task][0]!r}, however: loss={training['loss']!r}; leave loss "
            "out of it, or choose another task"
        )
    return faults


def numeric_faults(numeric: Any) -> list[str]:
    """Return what is wrong with the name of a scaling of numbers, in a sentence; nothing if it is one."""
    return _choice_fault("numeric", numeric, NUMERIC_ENCODINGS)


def layout_faults(layout: Any) -> list[str]:
    """Return what is wrong with a layout, in a sentence; nothing if it is a name or an object that can be one."""
    from permgrad.imaging import make_layout
    from permgrad.imaging.foreign import is_foreign

    # An object is looked at when it is fitted: only then is it known what it does.
    if not isinstance(layout, str) and (is_foreign(layout) or callable(getattr(layout, "fit", None))):
        return []
    try:
        make_layout(layout)
    except InputError as error:
        return [str(error)]
    return []


def _choice_fault(name: str, value: Any, known: Sequence[str]) -> list[str]:
    if isinstance(value, str) and value in known:
        return []
    words = ", ".join(map(repr, known))
    return [f"{name} must be one of {words}, however: {name}={shown(value)}{suggest(value, known)}"]


def _code_faults(codes: Any) -> list[str]:
    try:
        MissingCodes.of(codes)
    except InputError as error:
        return [str(error)]
    return []
