"""Search spaces from JSON files.

A file holds the preset that the search starts from, which is trial 0, and a range or choices for each setting::

    {
      "base": "default",
      "parameters": {
        "training.learning_rate": {"low": 0.0001, "high": 0.01, "log": true},
        "network.dropout": {"low": 0.0, "high": 0.4, "step": 0.05},
        "network.dense_units.width": {"low": 64, "high": 512, "step": 64},
        "network.dense_units.depth": {"low": 1, "high": 4},
        "layout": {"choices": ["assignment", "tinto"]}
      }
    }

Names are those of preset files, see ``parameters`` for the derived ones. Every fault of a file is listed at once.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from permgrad.base.checks import check_path, is_finite_number
from permgrad.base.errors import InputError, suggest, unknown
from permgrad.base.stored import parse_json
from permgrad.models.estimators.presets import Preset, get_preset, preset_from_dict
from permgrad.models.estimators.settings import check_preset as check_values
from permgrad.models.network.options import NetworkOptions
from permgrad.tuning.parameters import BASE, DERIVED, SIZES, WIDTH, Parameter, place_values
from permgrad.tuning.spaces import Space, declared, spaces

_SUFFIX = ".json"
_RANGE = ("low", "high", "log", "step")
_KNOWN = (*_RANGE, "choices")
#: Options of training that are no numbers to search or are the task's.
_FIXED = ("loss",)


def get_space(name: str) -> Space:
    """Return a space by its name, or from the JSON file that ``name`` is the path of.

    Raises:
        InputError: No such name or file, or the file is no space; all faults are listed.

    Examples:
        >>> get_space("paper").trials_for("regression")
        75
    """
    if isinstance(name, str) and name.endswith(_SUFFIX):
        return read_space(name)
    if not isinstance(name, str) or name not in spaces:
        raise unknown("space", name, [*spaces.names(), "a path ending in .json"])
    return spaces.get(name)()


def read_space(path: str | os.PathLike[str]) -> Space:
    """Read a space's file.

    Raises:
        InputError: No such file, or it is no space; all faults are listed.
    """
    file = check_path("path", path)
    try:
        content = parse_json(file.read_bytes(), names_once=True)
    except OSError as error:
        raise InputError(f"a space's file must be readable JSON, however: {file}: {error}; correct the path") from error
    except ValueError as error:
        raise InputError(
            f"a space's file must be readable JSON that names nothing twice, however: {file}: {error}; correct what "
            "the file holds"
        ) from error
    return space_from_dict(content, os.fspath(path))


def space_from_dict(content: Any, source: str = "the mapping") -> Space:
    """Return the space that a file describes.

    Raises:
        InputError: Lists every fault.

    Examples:
        >>> space = space_from_dict({"base": "fast", "parameters": {"network.dropout": {"low": 0.0, "high": 0.3}}})
        >>> dict(space.start)
        {'network.dropout': 0.0}
        >>> space_from_dict({"parameters": {"network.dropuot": {"low": 0.0, "high": 0.3}}})
        Traceback (most recent call last):
        permgrad.InputError: a space must be ... 'network.dropuot' is no setting (did you mean ...
    """
    if not isinstance(content, Mapping):
        raise InputError(
            f"a space must be a JSON object, however: {source} holds a {type(content).__name__}; see docs/tuning.md"
        )
    faults = [
        f"{key!r} is not known{suggest(str(key), ('base', 'parameters'))}"
        for key in content
        if key not in ("base", "parameters")
    ]
    base: Preset | None = None
    base_name = content.get("base", "default")
    try:
        base = get_preset(base_name)
        check_values(base_name)
    except InputError as error:
        faults.append(f"'base' must name a preset: {error}")
    given = content.get("parameters")
    parameters: list[Parameter] = []
    if not isinstance(given, Mapping) or not given:
        faults.append("'parameters' must be an object with at least one setting")
    else:
        for name, own in given.items():
            parameter, found = _parameter(str(name), own)
            faults += found
            if parameter is not None:
                parameters.append(parameter)
        faults += _conflicts(parameters)
    if base is not None and not faults:
        faults += list(_value_faults(base, parameters))
    if faults or base is None:
        raise InputError(
            "a space must be {'base': preset, 'parameters': {setting: range or choices}}, however: "
            f"{source}: {'; '.join(faults)}"
        )
    return declared(source, base_name, parameters)


def settings_names() -> list[str]:
    """Return every name that a space may search."""
    import dataclasses

    from permgrad.models.train.learner import TrainingOptions

    training = [field.name for field in dataclasses.fields(TrainingOptions) if field.name not in _FIXED]
    own = [field.name for field in dataclasses.fields(Preset) if field.name not in ("network", "training")]
    names = [*own, *(f"training.{name}" for name in training), *(f"network.{name}" for name in NetworkOptions.names())]
    return [*names, *(f"network.{name}.{derived}" for name in SIZES for derived in DERIVED)]


# ---- faults ----------------------------------------------------------------------------------------------------------
def _parameter(name: str, own: Any) -> tuple[Parameter | None, list[str]]:
    """Return a parameter, or what is wrong with it."""
    names = settings_names()
    faults = [] if name in names else [f"{name!r} is no setting{suggest(name, names)}; docs/tuning.md lists them"]
    if not isinstance(own, Mapping):
        return None, [*faults, f"{name!r} must be an object with low and high, or with choices, it is {own!r}"]
    faults += [
        f"{name!r} has {key!r}, which is not known{suggest(str(key), _KNOWN)}" for key in own if key not in _KNOWN
    ]
    if "choices" in own:
        faults += _choice_faults(name, own)
        return (None if faults else Parameter(name, choices=tuple(own["choices"]))), faults
    faults += _range_faults(name, own)
    if faults:
        return None, faults
    return Parameter(name, own["low"], own["high"], bool(own.get("log", False)), own.get("step")), []


def _choice_faults(name: str, own: Mapping[str, Any]) -> list[str]:
    faults = [f"{name!r} has choices and {key!r}; leave one out" for key in _RANGE if key in own]
    choices = own["choices"]
    if not isinstance(choices, list) or not choices:
        return [*faults, f"{name!r} must list at least one choice, it has {choices!r}"]
    texts = [json.dumps(choice, sort_keys=True) for choice in choices]
    return faults + ([f"{name!r} lists a choice twice"] if len(set(texts)) < len(texts) else [])


def _range_faults(name: str, own: Mapping[str, Any]) -> list[str]:
    faults = [
        f"{name!r} needs a finite number {end!r}" + (f", it is {own[end]!r}" if end in own else "")
        for end in ("low", "high")
        if not is_finite_number(own.get(end))
    ]
    if not isinstance(own.get("log", False), bool):
        faults.append(f"{name!r} must have log true or false, it is {own['log']!r}")
    step = own.get("step")
    if step is not None and (not is_finite_number(step) or step <= 0):
        faults.append(f"{name!r} must have a step above 0, it is {step!r}")
    if faults:
        return faults
    if own["low"] >= own["high"]:
        faults.append(f"{name!r} must have low below high, they are {own['low']} and {own['high']}")
    elif step is not None and Decimal(str(step)) > _width(own["low"], own["high"]):
        faults.append(
            f"{name!r} must have a step of at most high - low, it is {step!r} from {own['low']} to {own['high']}"
        )
    if own.get("log") and own["low"] <= 0:
        faults.append(f"{name!r} must have low above 0 where log is true, it is {own['low']}")
    if own.get("log") and step is not None:
        faults.append(f"{name!r} has log and step; leave one out")
    return faults


def _width(low: float, high: float) -> Decimal:
    """Return the width of a range in the digits that were written: 0.3 - 0.1 is 0.2 and not a little less."""
    return Decimal(str(high)) - Decimal(str(low))


def _conflicts(parameters: list[Parameter]) -> Iterator[str]:
    by_name = {parameter.name: parameter for parameter in parameters}
    for option in SIZES:
        plain = f"network.{option}"
        derived = [f"{plain}.{own}" for own in DERIVED if f"{plain}.{own}" in by_name]
        if plain in by_name and derived:
            yield f"{plain!r} and {derived[0]!r} are both searched; leave one out"
        if f"{plain}.{WIDTH}" in by_name and f"{plain}.{BASE}" in by_name:
            yield f"'{plain}.{WIDTH}' and '{plain}.{BASE}' are both searched; leave one out"


def _value_faults(base: Preset, parameters: list[Parameter]) -> Iterator[str]:
    """Try both ends of every range and every choice in the base preset."""
    for parameter in parameters:
        for value in parameter.choices or (parameter.low, parameter.high):
            content = copy.deepcopy(base.to_dict())
            try:
                place_values(content, [parameter], {parameter.name: value})
                check_preset(content)
            except (InputError, TypeError, ValueError, OverflowError) as error:
                words = str(error).removeprefix("a preset file must hold known options, however: the mapping: ")
                yield f"{parameter.name!r} cannot be {value!r}: {words}"
                break


def check_preset(content: Mapping[str, Any]) -> Preset:
    """Return a preset from its mapping, with all its values checked.

    Raises:
        InputError: A value that no training could use.
    """
    preset = preset_from_dict(content)
    check_values(preset)
    return preset
