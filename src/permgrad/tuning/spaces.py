"""Search spaces: which settings a study tries, by name in a registry, or from a JSON file (see ``space_files``).

A space is a function of a trial and the task that returns a preset: the mapping that a preset file holds, complete.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from permgrad.base.registry import Registry
from permgrad.models.estimators.presets import Preset, get_preset
from permgrad.tuning.parameters import Parameter, Trial, doubled, place_values

Build = Callable[[Trial, str], dict[str, Any]]
#: Finished trials of a study when nobody says how many.
DEFAULT_TRIALS = 30


@dataclasses.dataclass(frozen=True)
class Space:
    """A search space.

    Attributes:
        name: its name, or the path of its file.
        text: what it is, in a sentence.
        build: ``(trial, task) -> preset mapping``.
        content: what makes it this space and no other, as JSON knows it; part of a study's identity.
        base_name: the preset that it starts from, by name or file.
        trials: how many trials a study has by default, for each task.
        base: the preset that the search starts from, or None: then trial 0 is drawn like any other.
        start: base's own values of those parameters that can express them; what trial 0 is recorded with.
        pruning: whether trials that do badly may be ended early.
    """

    name: str
    text: str
    build: Build
    content: Mapping[str, Any]
    base_name: str = "default"
    trials: Mapping[str, int] = dataclasses.field(default_factory=dict)
    base: Preset | None = None
    start: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pruning: bool = True

    def __call__(self, trial: Trial, task: str) -> dict[str, Any]:
        """Return the preset that a trial chooses."""
        return self.build(trial, task)

    def trials_for(self, task: str) -> int:
        """Return the default number of trials."""
        return self.trials.get(task, DEFAULT_TRIALS)


spaces: Registry[Callable[[], Space]] = Registry("space")


def declared(name: str, base_name: str, parameters: Sequence[Parameter]) -> Space:
    """Return the space of a base preset and a list of parameters; its trial 0 is the base preset itself."""
    base = get_preset(base_name)
    complete = base.to_dict()
    content = {"base": complete, "parameters": {own.name: own.to_dict() for own in parameters}}
    text = f"{len(parameters)} settings around preset {base_name}, which is trial 0"

    def build(trial: Trial, task: str) -> dict[str, Any]:  # noqa: ARG001 — every space has the same signature
        made = copy.deepcopy(complete)
        place_values(made, parameters, {parameter.name: parameter.suggest(trial) for parameter in parameters})
        return made

    start = {parameter.name: parameter.own_value(complete) for parameter in parameters}
    own = {name: value for name, (inside, value) in start.items() if inside}
    return Space(name, text, build, content, base_name, base=base, start=own)


# ---- the published space ---------------------------------------------------------------------------------------------
_PAPER_CONTENT = {"space": "paper", "version": 2}
_UNITS = (8, 256)


@spaces.register("paper")
def paper() -> Space:
    """Return the search space of the published comparison of TINTO hybrids.

    Dropout 0.1 to 0.4; learning rate 1e-5 to 1e-2, logarithmic; 1 to 4 dense layers and as many fusion layers, of 8 to
    256 units each; 1 to 4 convolutions whose filters double from a base of 8 to 256, any whole number; Adam, or AdamW
    with weight decay 1e-6 to 1e-3, logarithmic; batches of 32; a learning rate that changes once per epoch, linear from
    1e-5 over the first quarter, then a cosine; patience 6; no pruning; 75 trials for regression and 50 for
    classification. NOTE[DIFF]: the publication leaves the number of epochs open; preset ``paper`` has at most 200.

    All four poolings fit an image of 20 × 20 pixels (20, 10, 5, 2, 1), so nothing is bounded: 256 filters at the base
    of four layers make 2,048 in the last, which is slow without a GPU.
    """
    base = get_preset("paper").to_dict()

    def build(trial: Trial, task: str) -> dict[str, Any]:  # noqa: ARG001 — as above
        made = copy.deepcopy(base)
        dense = trial.suggest_int("dense_layers", 1, 4)
        convolutions = trial.suggest_int("convolution_layers", 1, 4)
        made["network"] |= {
            "dropout": trial.suggest_float("dropout", 0.1, 0.4),
            "dense_units": [trial.suggest_int(f"dense_units_{layer}", *_UNITS) for layer in range(1, dense + 1)],
            "conv_filters": doubled(trial.suggest_int("base_filters", *_UNITS), convolutions),
            "fusion_units": [trial.suggest_int(f"fusion_units_{layer}", *_UNITS) for layer in range(1, dense + 1)],
        }
        optimizer = trial.suggest_categorical("optimizer", ("adam", "adamw"))
        made["training"] |= {
            "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True),
            "optimizer": optimizer,
            "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-3, log=True) if optimizer == "adamw" else 0.0,
            "batch_size": 32,
            "schedule": "warmup_cosine",
            "schedule_unit": "epoch",
            "patience": 6,
        }
        return made

    text = "the search space of the published comparison of TINTO hybrids"
    trials = {"regression": 75, "classification": 50}
    return Space("paper", text, build, _PAPER_CONTENT, "paper", trials=trials, pruning=False)


# ---- ours ------------------------------------------------------------------------------------------------------------
#: What ``--space default`` tries around preset ``default``; the form is that of a space's file.
DEFAULT_CONTENT: dict[str, Any] = {
    "base": "default",
    "parameters": {
        "training.learning_rate": {"low": 5e-4, "high": 1e-2, "log": True},
        "training.weight_decay": {"low": 1e-4, "high": 1e-1, "log": True},
        "training.label_smoothing": {"choices": [0.0, 0.05, 0.1]},
        "training.batch_size": {"choices": ["auto", 64, 128, 256]},
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
    """Return our space: around preset ``default``, which is its trial 0, so that tuning never chooses a worse one."""
    from permgrad.tuning.space_files import space_from_dict

    return space_from_dict(DEFAULT_CONTENT, "default")
