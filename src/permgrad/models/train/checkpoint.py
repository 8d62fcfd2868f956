"""The file from which a training that was killed goes on: writing it, reading it, and what must stand in it."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from permgrad.base.checks import is_number
from permgrad.base.errors import EnvironmentProblem
from permgrad.base.files import atomic_path, writing
from permgrad.base.stored import check_archive

if TYPE_CHECKING:
    from permgrad.models.train.learner import Learner
    from permgrad.models.train.optimizers import Optimizer

CHECKPOINT_NAME = "training.pt"
#: What each epoch leaves in the history.
EPOCH = ("epoch", "train_loss", "validation_loss", "learning_rate", "seconds")


def write_checkpoint(path: Path, learner: Learner) -> None:
    """Write a learner's state; the file appears complete or not at all."""
    # PyTorch says of a full disk that a position within the file is wrong; Python says what it is.
    content = io.BytesIO()
    torch.save(learner.state(), content)
    with writing("the checkpoint must be written", path, "free or allow space"), atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Return the state that ``write_checkpoint`` wrote, on a device. Nothing executes."""
    try:
        # Older forms of PyTorch's files are pickles that are read as they come; this one is looked at first.
        with path.open("rb") as stream:
            check_archive(stream)
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise damaged(path, f"cannot be read ({type(error).__name__})") from error
    if not isinstance(state, dict):
        raise damaged(path, "holds something else")
    return state


def epochs_in(folder: Path) -> int:
    """Return how many epochs a folder's checkpoint has behind it; 0: none, or it cannot be read."""
    try:
        return len(read_checkpoint(folder / CHECKPOINT_NAME, torch.device("cpu"))["history"])
    except (EnvironmentProblem, KeyError, TypeError):
        return 0


def damaged(path: Path, what: str) -> EnvironmentProblem:
    """Return the error for a file that is no training's state."""
    return EnvironmentProblem(
        f"a checkpoint must be a complete file written by permgrad, however: {path} {what}; delete it to begin the "
        "training anew"
    )


def check_state(state: Mapping[str, Any], learner: Learner) -> None:
    """Refuse a state that this learner could not go on from."""
    weights = learner.network.state_dict()
    epochs = len(state["history"])
    _check_weights("network", state["network"], weights)
    _check_weights("average", state["average"], weights if learner.average else {})
    _check_weights("best_state", state["best_state"], weights if epochs else {})
    if epochs > learner.options.max_epochs or not 0 <= state["best_epoch"] <= epochs:
        raise ValueError(f"{epochs} epochs, the best of them {state['best_epoch']!r}")
    for line in state["history"]:
        if set(line) != set(EPOCH) or not all(isinstance(value, float) for value in line.values()):
            raise ValueError("a history of something else")
    if not isinstance(state["steps"], int) or state["steps"] < 0 or not isinstance(state["best_loss"], float):
        raise ValueError("no number of steps, or no loss")
    temperature = state["best_temperature"]
    if not isinstance(temperature, float) or not math.isfinite(temperature) or temperature <= 0:
        raise ValueError(f"a temperature of {temperature!r}")
    _check_optimizer(state["optimizer"], learner.optimizer)


def _check_weights(name: str, stored: Any, expected: Mapping[str, Tensor]) -> None:
    if not isinstance(stored, dict) or stored.keys() != expected.keys():
        raise ValueError(f"{name} of other weights")
    for key, value in expected.items():
        weight = stored[key]
        if not isinstance(weight, Tensor) or weight.shape != value.shape or weight.dtype != value.dtype:
            raise ValueError(f"{name} with another {key}")
        if weight.layout != torch.strided:
            raise ValueError(f"{name} with a sparse {key}")


def _check_optimizer(stored: Any, optimizer: Optimizer) -> None:
    """Compare with the optimizer as it is before its first step."""
    stored_groups, groups = stored["param_groups"], optimizer.state_dict()["param_groups"]
    alike = len(stored_groups) == len(groups) and all(
        all(left[name] == right[name] for name in left.keys() & right.keys() if name != "lr") and _is_rate(left["lr"])
        for left, right in zip(stored_groups, groups, strict=True)
    )
    if not alike:
        raise ValueError("an optimizer with other settings")
    shapes = [weight.shape for group in optimizer.param_groups for weight in group["params"]]
    needed = {"momentum_buffer"} if isinstance(optimizer, torch.optim.SGD) else {"step", "exp_avg", "exp_avg_sq"}
    for place, values in stored["state"].items():
        if not needed <= values.keys():
            raise ValueError(f"an optimizer without {sorted(needed - values.keys())}")
        for name, value in values.items():
            if value is None:
                continue
            if not isinstance(value, Tensor) or value.layout != torch.strided or not value.is_floating_point():
                raise ValueError(f"an optimizer whose {name} is no tensor")
            if value.shape not in (torch.Size([]), shapes[place]):
                raise ValueError(f"an optimizer whose {name} does not fit")


def _is_rate(value: Any) -> bool:
    return is_number(value) and 0 <= value < math.inf
