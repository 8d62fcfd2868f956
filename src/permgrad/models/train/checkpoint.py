"""The file from which training is resumed: writing it, reading it, and checking its
content.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from permgrad.base.errors import EnvironmentProblem, must
from permgrad.base.files import atomic_path, writing
from permgrad.base.stored import check_archive, read_saved

CHECKPOINT_NAME = "training.pt"
#: What a learner has beside weights, optimizer, and what a training began with.
RESUMED = (
    "average",
    "steps",
    "history",
    "best_epoch",
    "best_loss",
    "best_temperature",
    "best_state",
)
#: What each epoch leaves in the history.
EPOCH = ("epoch", "train_loss", "validation_loss", "learning_rate", "seconds")


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a learner's state. The file appears complete or not at all."""
    # PyTorch says of a full disk that a position within the file is wrong. Python says
    # what it is.
    content = io.BytesIO()
    torch.save(state, content)
    with writing(path, "free or allow space"), atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Return the state that ``write_checkpoint`` wrote, on a device.

    Nothing executes.
    """
    try:
        # Older forms of PyTorch's files are pickles, and PyTorch reads no checksum.
        # So the file is checked first.
        content = io.BytesIO(read_saved(path))
        check_archive(content)
        content.seek(0)
        state = torch.load(content, map_location=device, weights_only=True)
    except Exception as error:
        raise damaged(path, f"cannot be read ({type(error).__name__})") from error
    if not isinstance(state, dict):
        raise damaged(path, "holds something else")
    return state


def damaged(path: Path, what: str) -> EnvironmentProblem:
    """Return the error for a file that does not hold the state of a training."""
    return EnvironmentProblem(
        f"The checkpoint {path} {what}",
        "Delete it to begin the training anew.",
        "PG052",
    )


def check_state(
    state: Mapping[str, Any], own_state: Mapping[str, Any], optimizer: Any
) -> None:
    """Raise ``ValueError`` for a state that a learner with this state and optimizer
    cannot resume from.
    """
    history = state["history"]
    trained = [weight for group in optimizer.param_groups for weight in group["params"]]
    moments = (
        {"momentum_buffer"}
        if isinstance(optimizer, torch.optim.SGD)
        else {"step", "exp_avg", "exp_avg_sq"}
    )
    moved = {
        weight_index: {
            moment_name: torch.zeros(())
            if moment_name == "step"
            else trained[weight_index]
            for moment_name in moments
        }
        for weight_index in state["optimizer"]["state"]
    }
    expected = {
        **{state_name: own_state[state_name] for state_name in (*RESUMED, "network")},
        "best_state": own_state["network"] if history else {},
        "history": [dict.fromkeys(EPOCH, 0.0)] * len(history),
        "optimizer": {**own_state["optimizer"], "state": moved},
    }
    for entry_name, value in expected.items():
        _compare(entry_name, state[entry_name], value)
    must(
        len(history) <= own_state["options"]["max_epochs"]
        and 0 <= state["best_epoch"] <= len(history)
        and state["steps"] >= 0,
        f"{len(history)} epochs, the best of them {state['best_epoch']!r}",
    )
    must(
        0 < state["best_temperature"] < math.inf,
        f"a temperature of {state['best_temperature']!r}",
    )


def _compare(name: str, stored: Any, expected: Any) -> None:
    """Refuse a state with other keys, lengths, shapes or types.

    Numbers are not checked.
    """
    if (
        isinstance(expected, dict)
        and isinstance(stored, dict)
        and stored.keys() == expected.keys()
    ):
        for state_key in expected:
            _compare(f"{name} {state_key}", stored[state_key], expected[state_key])
    elif (
        isinstance(expected, (list, tuple))
        and isinstance(stored, type(expected))
        and len(stored) == len(expected)
    ):
        for item_index, value in enumerate(expected):
            _compare(f"{name} {item_index}", stored[item_index], value)
    elif isinstance(expected, Tensor):
        is_alike = isinstance(stored, Tensor) and (stored.shape, stored.dtype) == (
            expected.shape,
            expected.dtype,
        )
        must(is_alike and stored.layout == torch.strided, f"another {name}")
    else:
        must(
            type(stored) is type(expected)
            and not isinstance(expected, (dict, list, tuple)),
            f"another {name}",
        )
