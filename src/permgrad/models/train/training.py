"""Training of a network: on one device here, or on several in processes of their own."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from permgrad.base.errors import InputError, warn_user
from permgrad.base.progress import ProgressMode
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32
from permgrad.models.train.checkpoint import CHECKPOINT_NAME
from permgrad.models.train.distributed import BestWeights, Task, train_together
from permgrad.models.train.guard import sheltered
from permgrad.models.train.learner import Course, DivergenceError, EpochWatcher, Learner, TrainingOptions
from permgrad.models.train.rows import Rows, TrainingRows

if TYPE_CHECKING:
    from permgrad.models.network.network import HybridNetwork

#: Encoded columns are near 1 in size; one this large can drive a network's outputs, and its loss, out of bounds.
_EXTREME = 1e3


@dataclasses.dataclass
class TrainingResult:
    """What ``train`` gives back: one dictionary per epoch, and the epoch whose weights the network now has.

    ``diverged`` says what ended the training before its time, a loss that is no number any more; empty otherwise.
    """

    history: list[dict[str, float]]
    best_epoch: int
    diverged: str = ""


def train(
    network: HybridNetwork,
    train_rows: TrainingRows,
    validation_rows: Rows | None,
    options: TrainingOptions,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    devices: int = 1,
    progress: ProgressMode = "auto",
    checkpoint_folder: str | os.PathLike[str] | None = None,
    on_epoch: EpochWatcher | None = None,
    columns: Sequence[str] = (),
) -> TrainingResult:
    """Train the network in place; afterwards it has the weights of the best epoch and is in eval mode.

    A loss that is no number any more ends the training with a ``PermgradWarning``, and the best weights are kept.

    Args:
        network: float32, on any device; ends on ``device``.
        train_rows: rows that weights are fitted on, in memory or read in batches.
        validation_rows: rows that early stopping looks at, or None: all epochs run and the last weights stay.
        options: see ``TrainingOptions``.
        seed: decides row order and dropout.
        device: where to train.
        devices: how many of its kind share each batch, in processes of their own: nothing but rounding changes, dropout
            and batch normalisation aside, which each device draws, or measures, on its share.
        progress: ``"auto"``, True or False.
        checkpoint_folder: where the state is kept after each epoch; a training that was killed goes on from there.
        on_epoch: called after each epoch, when its checkpoint is written, with that epoch's line of the history; True
            ends the training. A training that goes on from a checkpoint calls it for the earlier epochs again.
        columns: names of the encoded columns, for messages.

    Raises:
        DivergenceError: The loss is NaN or infinite from the first epoch on.
        KeyboardInterrupt: Ctrl-C; the process's handlers are as before.
    """
    device = torch.device(device)
    checkpoint = None if checkpoint_folder is None else Path(checkpoint_folder) / CHECKPOINT_NAME
    course = Course(network, train_rows, validation_rows, options, seed, progress, checkpoint)
    if devices > 1:
        _check_watchers(on_epoch)
    try:
        with sparing(), sheltered(seed):
            if devices > 1:
                threads = max(1, torch.get_num_threads() // devices)
                result = _finish(network, train_together(Task(course, device.type, devices, threads)), device)
            else:
                with full_float32():
                    result = _finish(network, course.run(device, on_epoch=on_epoch), device)
    except DivergenceError as error:
        fix = _what_to_do(options, train_rows, columns)
        raise DivergenceError(f"training needs finite losses, however: {error}; {fix}") from None
    if result.diverged:
        warn_user(
            f"training should end with a finite loss, however: {result.diverged}; the weights of epoch "
            f"{result.best_epoch} are kept; {_what_to_do(options, train_rows, columns)}"
        )
    return result


def _finish(network: HybridNetwork, outcome: Learner | BestWeights, device: torch.device) -> TrainingResult:
    """Give the network the weights of the best epoch."""
    network.to(device)
    network.load_state_dict(outcome.best_state)
    if outcome.best_temperature != 1.0:
        network.divide_outputs(outcome.best_temperature)
    network.eval()
    network.requires_grad_(True)
    for parameter in network.parameters():
        parameter.grad = None
    return TrainingResult(outcome.history, outcome.best_epoch, outcome.diverged)


def _check_watchers(on_epoch: Any) -> None:
    if on_epoch is not None:
        raise InputError(
            "on_epoch is called in the process that trains, however: several devices train in processes of their own; "
            "pass devices=1"
        )


def _what_to_do(options: TrainingOptions, rows: TrainingRows, columns: Sequence[str]) -> str:
    """Return the fix of a loss that is no number: the learning rate, and the column that reaches furthest, if far."""
    rate = f"lower learning_rate (now {options.learning_rate:g})"
    if isinstance(rows, Rows) and isinstance(rows.x, torch.Tensor) and rows.x.numel() and rows.x.ndim == 2:
        reach = rows.x.abs().amax(dim=0)
        furthest = int(reach.argmax())
        if reach[furthest] > _EXTREME and furthest < len(columns):
            return (
                f"{rate}; column {columns[furthest]!r} reaches {float(reach[furthest]):.3g} once encoded, "
                "look for extreme values in it"
            )
    return f"{rate} or look for extreme values in X"
