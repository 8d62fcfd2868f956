"""Search spaces: which settings a study tries, by name in a registry or from a JSON
file.

For a trial, a space builds a complete preset, as in a preset file. A file has the form
of ``DEFAULT_CONTENT``: the preset that the search starts from, which is trial 0, and a
range or choices for each setting, by names of preset files and the derived names of
``parameters``.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from permgrad.base.checks import check_choice, is_finite_number, is_number
from permgrad.base.errors import InputError, did_you_mean, must, two_sentences
from permgrad.base.registry import Registry
from permgrad.base.stored import read_user_json
from permgrad.models.estimators.presets import Preset, get_preset, preset_from_dict
from permgrad.models.estimators.settings import check_preset as check_values
from permgrad.models.network.options import NetworkOptions

Build = Callable[[Any], dict[str, Any]]
#: Default number of finished trials of a study.
DEFAULT_TRIALS = 30
_RANGE = ("low", "high", "log", "step")
#: Options of training that cannot be searched, or that depend on the task.
_FIXED = ("loss",)


@dataclasses.dataclass(frozen=True)
class Space:
    """A search space: ``build`` makes the preset mapping of a trial, ``content``
    identifies the space.

    ``base`` is the preset, or the settings of another model, that the search starts
    from (None: trial 0 is drawn like any other), ``start`` its values of the
    ``parameters`` that can express them. ``trials`` is the default number of trials for
    each task.
    """

    name: str
    text: str
    build: Build
    content: Mapping[str, Any]
    base_name: str = "default"
    trials: Mapping[str, int] = dataclasses.field(default_factory=dict)
    base: Any = None
    start: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    parameters: Sequence[Parameter] = ()
    pruning: bool = True

    def trials_for(self, task: str) -> int:
        """Return the default number of trials."""
        return self.trials.get(task, DEFAULT_TRIALS)


spaces: Registry[Callable[[], Space]] = Registry("space")


# ---- one searched setting ------------------------------------------------------------
#: The options that derived names apply to.
SIZES = ("dense_units", "conv_filters", "fusion_units", "image_units")
DEPTH = "depth"
WIDTH = "width"
BASE = "base"
#: Derived names for one branch. Each doubling of a size is also a layer.
MOST_LAYERS = 1000
DERIVED = (DEPTH, WIDTH, BASE)


@dataclass(frozen=True)
class Parameter:
    """A searched setting: a range (of whole numbers if both ends are), or a list of
    choices.

    Choices may be lists and null. Its name is a path, see the module. With ``log``
    equal ratios are equally likely.
    """

    name: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()

    @property
    def path(self) -> tuple[str, ...]:
        """The names to follow in a preset, without a derived one."""
        name_parts = tuple(self.name.split("."))
        if self.derived:
            return name_parts[:-1]
        return name_parts

    @property
    def derived(self) -> str:
        """``"depth"``, ``"width"`` or ``"base"``, or empty for a plain option."""
        name_parts = self.name.split(".")
        if len(name_parts) == 3 and name_parts[1] in SIZES and name_parts[2] in DERIVED:
            return name_parts[2]
        return ""

    @property
    def whole(self) -> bool:
        """Whether its range is of whole numbers."""
        return all(
            isinstance(end, int) for end in (self.low, self.high, self.step or 1)
        )

    def suggest(self, trial: Any) -> Any:
        """Let an Optuna trial choose the value."""
        if self.choices:
            labels = list(map(choice_label, self.choices))
            return self.choices[
                labels.index(trial.suggest_categorical(self.name, labels))
            ]
        if self.whole:
            return trial.suggest_int(
                self.name, self.low, self.high, step=self.step or 1, log=self.log
            )
        return trial.suggest_float(
            self.name, self.low, self.high, step=self.step, log=self.log
        )

    def own_value(self, content: Mapping[str, Any]) -> tuple[bool, Any]:
        """Return whether a preset's value lies in this parameter's range, and the value
        in the form of a trial.
        """
        value: Any = content
        for option_name in self.path:
            if isinstance(value, Mapping):
                value = value.get(option_name)
            else:
                value = None
        if self.derived:
            sizes = list(value or ())
            if sizes and self.derived == BASE:
                rule = doubled(sizes[0], len(sizes))
            else:
                rule = sizes[:1] * len(sizes)
            if sizes and sizes == rule:
                value = sizes[0]
            else:
                value = None
            if self.derived == DEPTH:
                value = len(sizes)
        if self.choices:
            labels = list(map(choice_label, self.choices))
            return choice_label(value) in labels, choice_label(value)
        if not is_number(value):
            return False, value
        assert self.low is not None
        assert self.high is not None
        inside = self.low <= value <= self.high and (
            not self.whole or value == int(value)
        )
        if inside and self.step is not None:
            steps = (value - self.low) / self.step
            inside = abs(steps - round(steps)) < 1e-8
        return inside, (int(value) if self.whole and inside else float(value))

    def to_dict(self) -> dict[str, Any]:
        """Return its entry in a space's file."""
        if self.choices:
            return {"choices": list(self.choices)}
        content: dict[str, Any] = {"low": self.low, "high": self.high}
        return (
            content
            | ({"log": True} if self.log else {})
            | ({} if self.step is None else {"step": self.step})
        )


def parameter_of(name: str, entry: Mapping[str, Any]) -> Parameter:
    """Return the parameter of an entry in a space's file."""
    return Parameter(name, **{**entry, "choices": tuple(entry.get("choices", ()))})


def doubled(base: int, depth: int) -> list[int]:
    """Return sizes that double from one to the next."""
    return [int(base) * 2**layer for layer in range(int(depth))]


def choice_label(choice: Any) -> Any:
    """Return a choice as Optuna can store it: lists and objects become JSON text."""
    if isinstance(choice, tuple):
        choice = list(choice)
    if isinstance(choice, (list, dict)):
        return json.dumps(choice, ensure_ascii=False)
    return choice


def place_values(
    content: dict[str, Any], parameters: Sequence[Parameter], values: Mapping[str, Any]
) -> None:
    """Write chosen values into a preset's mapping, the derived ones last."""
    derived: dict[str, dict[str, int]] = {}
    for parameter in parameters:
        if parameter.name not in values:
            continue
        value = values[parameter.name]
        if parameter.derived:
            derived.setdefault(parameter.path[1], {})[parameter.derived] = int(value)
            continue
        *sections, option = parameter.path
        option_mapping = content
        for section in sections:
            option_mapping = option_mapping[section]
        if isinstance(value, tuple):
            option_mapping[option] = list(value)
        else:
            option_mapping[option] = value
    for option, derived_sizes in derived.items():
        present = list(content["network"][option])
        depth = derived_sizes.get(DEPTH, len(present))
        must(
            depth <= MOST_LAYERS,
            f"The depth is {depth}, at most {MOST_LAYERS:,} layers are possible.",
        )
        doubles = BASE in derived_sizes or (
            WIDTH not in derived_sizes
            and len(present) > 1
            and present[1] == 2 * present[0]
        )
        size = derived_sizes.get(
            BASE, derived_sizes.get(WIDTH, present[0] if present else 64)
        )
        if doubles:
            content["network"][option] = doubled(size, depth)
        else:
            content["network"][option] = [int(size)] * int(depth)


# ---- from files ----------------------------------------------------------------------
def get_space(name: str) -> Space:
    """Return a space by its name, or from the JSON file that ``name`` is the path
    of.
    """
    if isinstance(name, str) and name.endswith(".json"):
        return read_space(name)
    check_choice("space", name, spaces, ["FILE.json"])
    return spaces.get(name)()


def read_space(path: str | os.PathLike[str]) -> Space:
    """Read a space's file. An error lists all its faults."""
    return space_from_dict(read_user_json(path, "the space"), os.fspath(path))


def space_from_dict(content: Any, source: str = "the mapping") -> Space:
    """Return the space of a file's content. An error lists all its faults."""
    if not isinstance(content, Mapping):
        problem = (
            f"A space must be a JSON object, but {source} holds a "
            f"{type(content).__name__}"
        )
        raise InputError(problem, hint="See docs/tuning.md.", code="PG011")
    entries = ("base", "parameters")
    faults = [
        two_sentences(f"{key!r} is unknown", did_you_mean(key, entries))
        for key in content
        if key not in entries
    ]
    base: Preset | None = None
    base_name = content.get("base", "default")
    try:
        base = get_preset(base_name)
        check_values(base_name)
    except InputError as error:
        faults.append(f"'base' must name a preset: {getattr(error, 'message', error)}")
    settings = content.get("parameters")
    parameters: list[Parameter] = []
    if not isinstance(settings, Mapping) or not settings:
        faults.append("'parameters' must be an object with at least one setting")
    else:
        parameters = _read_parameters(settings, faults)
    if base is not None and not faults:
        faults += list(_value_faults(base, parameters))
    if faults or base is None:
        problem = (
            f"The space in {source} has faults: {' '.join(map(two_sentences, faults))}"
        )
        hint = "A space is {'base': preset, 'parameters': {setting: range or choices}}."
        raise InputError(problem, hint=hint, code="PG011")
    complete = base.to_dict()
    own_values = {
        preset_parameter.name: preset_parameter.own_value(base.to_dict())
        for preset_parameter in parameters
    }

    def build(trial: Any) -> dict[str, Any]:
        preset_content = copy.deepcopy(complete)
        place_values(
            preset_content,
            parameters,
            {parameter.name: parameter.suggest(trial) for parameter in parameters},
        )
        return preset_content

    return Space(
        name=source,
        text=f"{len(parameters)} settings around preset {base_name}, which is trial 0",
        build=build,
        content={
            "base": complete,
            "parameters": {
                saved_parameter.name: saved_parameter.to_dict()
                for saved_parameter in parameters
            },
        },
        base_name=base_name,
        base=base,
        start={
            name: value for name, (is_inside, value) in own_values.items() if is_inside
        },
        parameters=parameters,
    )


def _read_parameters(settings: Mapping[Any, Any], faults: list[str]) -> list[Parameter]:
    """Return the parameters without faults, and add the faults of the others."""
    parameters: list[Parameter] = []
    setting_names = settings_names()
    for name, entry in ((str(name), entry) for name, entry in settings.items()):
        wrong = form_faults(name, entry)
        if name not in setting_names:
            hint = did_you_mean(name, setting_names, "See docs/tuning.md")
            wrong = [two_sentences(f"{name!r} is not a setting", hint), *wrong]
        faults += wrong
        if not wrong:
            parameters += [parameter_of(name, entry)]
    faults += _conflicts(parameters)
    return parameters


def settings_names() -> list[str]:
    """Return every name that a space may search."""
    from permgrad.models.train.learner import TrainingOptions  # loads torch

    training = []
    for field in dataclasses.fields(TrainingOptions):
        if field.name not in _FIXED:
            training.append(field.name)
    preset = []
    for field in dataclasses.fields(Preset):
        if field.name not in ("network", "training"):
            preset.append(field.name)
    names = [
        *preset,
        *training,
        *(f"network.{name}" for name in NetworkOptions.names()),
    ]
    return [
        *names,
        *(f"network.{name}.{derived}" for name in SIZES for derived in DERIVED),
    ]


# ---- faults --------------------------------------------------------------------------
def form_faults(name: str, entry: Any) -> list[str]:
    """Return the faults of a range or choices."""
    if not isinstance(entry, Mapping):
        return [
            (
                f"{name!r} must be an object with low and high, or with choices, got "
                f"{entry!r}"
            )
        ]
    entries = (*_RANGE, "choices")
    strange = [key for key in entry if key not in entries]
    faults = []
    for key in strange:
        faults.append(
            two_sentences(
                f"{name!r} has an unknown entry {key!r}", did_you_mean(key, entries)
            )
        )
    if "choices" not in entry:
        return faults + _range_faults(name, entry)
    faults += [
        f"{name!r} has both choices and {key!r}" for key in _RANGE if key in entry
    ]
    choices = entry["choices"]
    if not isinstance(choices, list) or not choices:
        return [*faults, f"{name!r} must list at least one choice, got {choices!r}"]
    texts = [json.dumps(choice, sort_keys=True) for choice in choices]
    return faults + (
        [f"{name!r} lists a choice twice"] if len(set(texts)) < len(texts) else []
    )


def _range_faults(name: str, entry: Mapping[str, Any]) -> list[str]:
    faults = []
    for end in ("low", "high"):
        if not is_finite_number(entry.get(end)):
            faults.append(
                f"{name!r} needs a finite number {end!r}"
                + (f", got {entry[end]!r}" if end in entry else "")
            )
    log = entry.get("log", False)
    step = entry.get("step")
    if not isinstance(log, bool):
        faults.append(f"{name!r}: log must be true or false, got {log!r}")
    if step is not None and (not is_finite_number(step) or step <= 0):
        faults.append(f"{name!r}: step must be above 0, got {step!r}")
    if faults:
        return faults
    low = entry["low"]
    high = entry["high"]
    if low >= high:
        faults.append(f"{name!r}: low must be below high, got {low} and {high}")
    # In the digits of the file: 0.3 - 0.1 is exactly 0.2.
    elif step is not None and Decimal(str(step)) > Decimal(str(high)) - Decimal(
        str(low)
    ):
        faults.append(
            f"{name!r}: step must be at most high - low, got {step!r} from {low} to "
            f"{high}"
        )
    if log and low <= 0:
        faults.append(f"{name!r}: low must be above 0 where log is true, got {low}")
    if log and step is not None:
        faults.append(f"{name!r} has both log and step")
    return faults


def _conflicts(parameters: list[Parameter]) -> Iterator[str]:
    by_name = {parameter.name: parameter for parameter in parameters}
    for option in SIZES:
        plain = f"network.{option}"
        derived = []
        for derived_name in DERIVED:
            if f"{plain}.{derived_name}" in by_name:
                derived.append(f"{plain}.{derived_name}")
        if plain in by_name and derived:
            yield f"{plain!r} and {derived[0]!r} cannot both be searched"
        if f"{plain}.{WIDTH}" in by_name and f"{plain}.{BASE}" in by_name:
            yield f"'{plain}.{WIDTH}' and '{plain}.{BASE}' cannot both be searched"


def _value_faults(base: Preset, parameters: list[Parameter]) -> Iterator[str]:
    """Try both ends of every range and every choice in the base preset."""
    for parameter in parameters:
        for value in parameter.choices or (parameter.low, parameter.high):
            content = copy.deepcopy(base.to_dict())
            try:
                place_values(content, [parameter], {parameter.name: value})
                check_preset(content)
            except (InputError, TypeError, ValueError, OverflowError) as error:
                words = getattr(error, "message", str(error)).removeprefix(
                    "The mapping is not a valid preset: "
                )
                yield f"{parameter.name!r} cannot be {value!r}: {words}"
                break


def check_preset(content: Mapping[str, Any]) -> Preset:
    """Return a preset from its mapping. All its values are checked."""
    preset = preset_from_dict(content)
    check_values(preset)
    return preset


# ---- the published space -------------------------------------------------------------
_UNITS = (8, 256)


@spaces.register("paper")
def paper() -> Space:
    """Return the search space of the published comparison of TINTO hybrids.

    Its 256 base filters need a GPU.

    NOTE[DIFF]: the publication does not give the number of epochs. Preset ``paper`` has
    at most 200.
    """
    base = get_preset("paper").to_dict()

    def build(trial: Any) -> dict[str, Any]:
        preset_content = copy.deepcopy(base)
        dense = trial.suggest_int("dense_layers", 1, 4)
        convolutions = trial.suggest_int("convolution_layers", 1, 4)
        preset_content["network"] |= {
            "dropout": trial.suggest_float("dropout", 0.1, 0.4),
            "dense_units": [
                trial.suggest_int(f"dense_units_{layer}", *_UNITS)
                for layer in range(1, dense + 1)
            ],
            "conv_filters": doubled(
                trial.suggest_int("base_filters", *_UNITS), convolutions
            ),
            "fusion_units": [
                trial.suggest_int(f"fusion_units_{layer}", *_UNITS)
                for layer in range(1, dense + 1)
            ],
        }
        optimizer = trial.suggest_categorical("optimizer", ("adam", "adamw"))
        preset_content |= {
            "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True),
            "optimizer": optimizer,
            "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-3, log=True)
            if optimizer == "adamw"
            else 0.0,
            "batch_size": 32,
            "schedule": "warmup_cosine",
            "schedule_unit": "epoch",
            "patience": 6,
        }
        return preset_content

    text = "the search space of the published comparison of TINTO hybrids"
    content = {"space": "paper", "version": 2}
    trials = {"regression": 75, "classification": 50}
    return Space("paper", text, build, content, "paper", trials=trials, pruning=False)


# ---- ours ----------------------------------------------------------------------------
#: The settings of ``--space default`` around preset ``default``, in the form of a
#: space's file.
DEFAULT_CONTENT: dict[str, Any] = {
    "base": "default",
    "parameters": {
        "learning_rate": {"low": 5e-4, "high": 1e-2, "log": True},
        "weight_decay": {"low": 1e-4, "high": 1e-1, "log": True},
        "label_smoothing": {"choices": [0.0, 0.05, 0.1]},
        "batch_size": {"choices": ["auto", 64, 128, 256]},
        "network.members": {"choices": [4, 8, 16]},
        "network.dropout": {"low": 0.0, "high": 0.4, "step": 0.05},
        "network.dense_units.width": {"low": 64, "high": 384, "step": 64},
        "network.dense_units.depth": {"low": 1, "high": 3},
        "network.embedding_scale": {"low": 0.02, "high": 1.0, "log": True},
        "network.embedding_frequencies": {"low": 8, "high": 32, "step": 8},
        "network.conv_filters.base": {"choices": [4, 8, 16]},
        "layout": {"choices": ["assignment", "tinto"]},
    },
}


@spaces.register("default")
def default() -> Space:
    """Return our space around preset ``default``.

    That preset is trial 0, so tuning never chooses a worse one.
    """
    return space_from_dict(DEFAULT_CONTENT, "default")
