"""One searched setting: where it stands in a preset, what it may be, and how a preset's own value is read.

A name is the path of an option in a preset file: ``layout``, ``training.learning_rate``, ``network.dropout``. Options
that are lists of sizes have derived names beside it: ``network.dense_units.depth`` is how many there are,
``network.dense_units.width`` makes all of them equal, and ``network.conv_filters.base`` is the first of sizes that
double from one to the next.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from permgrad.base.checks import is_number

#: The options that derived names speak of.
SIZES = ("dense_units", "conv_filters", "fusion_units", "image_units")
DEPTH, WIDTH, BASE = "depth", "width", "base"
#: Of one branch; each doubling of a size is a layer, too.
MOST_LAYERS = 1000
DERIVED = (DEPTH, WIDTH, BASE)


@dataclass(frozen=True)
class Parameter:
    """A searched setting: a range (of whole numbers if both ends are), or a list of choices.

    Choices may be lists and null. Its name is a path, see the module; with ``log`` equal ratios are equally likely.
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
        parts = tuple(self.name.split("."))
        return parts[:-1] if self.derived else parts

    @property
    def derived(self) -> str:
        """``"depth"``, ``"width"`` or ``"base"``; empty for an option as it stands."""
        parts = self.name.split(".")
        return parts[2] if len(parts) == 3 and parts[1] in SIZES and parts[2] in DERIVED else ""

    @property
    def whole(self) -> bool:
        """Whether its range holds whole numbers alone."""
        return all(isinstance(end, int) for end in (self.low, self.high, self.step or 1))

    def suggest(self, trial: Any) -> Any:
        """Let an Optuna trial choose the value."""
        if self.choices:
            labels = [choice_label(choice) for choice in self.choices]
            return self.choices[labels.index(trial.suggest_categorical(self.name, labels))]
        if self.whole:
            return trial.suggest_int(self.name, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def own_value(self, content: Mapping[str, Any]) -> tuple[bool, Any]:
        """Return whether a preset's own value lies in this parameter's range, and the value as a trial knows it."""
        value: Any = content
        for part in self.path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if self.derived:
            sizes = list(value or ())
            rule = doubled if self.derived == BASE else repeated
            value = sizes[0] if sizes and sizes == rule(sizes[0], len(sizes)) else None
            value = len(sizes) if self.derived == DEPTH else value
        if self.choices:
            labels = [choice_label(choice) for choice in self.choices]
            return choice_label(value) in labels, choice_label(value)
        if not is_number(value):
            return False, value
        assert self.low is not None
        assert self.high is not None
        inside = self.low <= value <= self.high and (not self.whole or value == int(value))
        if inside and self.step is not None:
            steps = (value - self.low) / self.step
            inside = abs(steps - round(steps)) < 1e-8
        return inside, (int(value) if self.whole and inside else float(value))

    def to_dict(self) -> dict[str, Any]:
        """Return what a space's file holds about it."""
        if self.choices:
            return {"choices": list(self.choices)}
        content: dict[str, Any] = {"low": self.low, "high": self.high}
        return content | ({"log": True} if self.log else {}) | ({} if self.step is None else {"step": self.step})


def repeated(size: int, depth: int) -> list[int]:
    """Return ``depth`` equal sizes."""
    return [int(size)] * int(depth)


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


def place_values(content: dict[str, Any], parameters: Sequence[Parameter], values: Mapping[str, Any]) -> None:
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
        place = content
        for section in sections:
            place = place[section]
        place[option] = list(value) if isinstance(value, tuple) else value
    for option, parts in derived.items():
        present = list(content["network"][option])
        depth = parts.get(DEPTH, len(present))
        if depth > MOST_LAYERS:
            raise ValueError(f"at most {MOST_LAYERS:,} layers are searched, however: {depth}")
        doubles = BASE in parts or (WIDTH not in parts and len(present) > 1 and present[1] == 2 * present[0])
        size = parts.get(BASE, parts.get(WIDTH, present[0] if present else 64))
        content["network"][option] = doubled(size, depth) if doubles else repeated(size, depth)
