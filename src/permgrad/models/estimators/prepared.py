"""Rows on their way into training: encoded, and together with everything that a training needs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from types import NoneType
from typing import Any, Self

import pandas as pd
import torch
from torch import nn

from permgrad.base.arrays import Floats, Floats32
from permgrad.base.checks import check_kind, check_path
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, listed, two_sentences, warn_user
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.types.column_notes import fused_columns
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32
from permgrad.models.train.guard import sheltered, untouched
from permgrad.models.train.learner import DivergenceError, EpochWatcher, Learner, TrainingJob, TrainingOutcome
from permgrad.models.train.rows import Rows

#: Encoded columns are near 1 in size. One this large can drive a network's outputs, and its loss, out of bounds.
_EXTREME = 1e3


def train(
    job: TrainingJob, device: torch.device | str = "cpu", *, devices: int = 1, on_epoch: EpochWatcher | None = None
) -> TrainingOutcome:
    """Train the network in place. Afterwards it has the weights of the best epoch and is in eval mode, on ``device``.

    A loss that is not finite ends the training with a ``PermgradWarning``, and the best weights are kept. In
    the first epoch it is a ``DivergenceError``. Each of ``devices`` draws dropout, and normalises, on its share of a
    batch. ``on_epoch`` sees each epoch's line of the history, earlier ones on resuming. True ends the training.
    """
    device = torch.device(device)
    if devices > 1 and on_epoch is not None:
        raise InputError(
            "on_epoch cannot be called with several devices, because they train in separate processes",
            hint="Pass devices=1.",
            code="PG006",
        )
    try:
        with sparing(), sheltered(job.seed):
            if devices > 1:
                from permgrad.models.train.distributed import train_together

                threads = max(1, torch.get_num_threads() // devices)
                outcome = train_together(job, device.type, devices, threads)
            else:
                with full_float32():
                    outcome = Learner(job, device).run(on_epoch)
            network = job.network.to(device)
            network.load_state_dict(outcome.best_state)
            if outcome.best_temperature != 1.0:
                network.divide_outputs(outcome.best_temperature)
            network.eval().requires_grad_(True).zero_grad(set_to_none=True)
    except DivergenceError as error:
        raise DivergenceError(f"Training diverged: {error.problem}", hint=_what_to_do(job), code="PG041") from None
    if outcome.diverged:
        fact = f"Training diverged: {outcome.diverged}, and the weights of epoch {outcome.best_epoch} are used"
        warn_user(two_sentences(fact, _what_to_do(job)))
    return outcome


def _what_to_do(job: TrainingJob) -> str:
    """Return the hint for a loss that is not finite: the learning rate, and the column with the largest values."""
    rows, columns = job.train_rows, job.columns
    rate = f"Lower learning_rate (now {job.options.learning_rate:g})"
    if isinstance(rows, Rows) and isinstance(rows.x, torch.Tensor) and rows.x.numel() and rows.x.ndim == 2:
        reach = rows.x.abs().amax(dim=0)
        furthest = int(reach.argmax())
        if reach[furthest] > _EXTREME and furthest < len(columns):
            return (
                f"{rate}, or look for extreme values in column {columns[furthest]!r}, which reaches "
                f"{float(reach[furthest]):.3g} once encoded."
            )
    return f"{rate}, or look for extreme values in X."


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedRows:
    """Rows with what a model's encoder makes of them, so that they are encoded once.

    Estimators of permgrad take them in the place of a frame, and so does ``permgrad.explain``. ``encode_rows`` of a
    model returns them.

    Attributes:
        table: the rows as they were passed, ``(rows, features)``.
        encoder: what encoded them. A model with another encoder encodes the table again.
        encoded: float32 ``(rows, encoded)``.

    Examples:
        >>> table = pd.DataFrame({"age": [31.0, 40.0, 60.0]})
        >>> encoder = TableEncoder("minmax").fit(table)
        >>> rows = EncodedRows(table, encoder, encoder.transform(table))
        >>> len(rows), rows.take([2, 0]).encoded.tolist()
        (3, [[1.0], [0.0]])
    """

    table: pd.DataFrame
    encoder: TableEncoder
    encoded: Floats32

    def __len__(self) -> int:
        return len(self.table)

    def take(self, places: Any) -> EncodedRows:
        """Return the rows at some places, which are not encoded again."""
        return EncodedRows(self.table.iloc[places], self.encoder, self.encoded[places])


def nothing_varies(frame: pd.DataFrame, encoder: TableEncoder) -> InputError:
    """Return the error for training rows without a column that varies."""
    why, hint = f" ({listed(list(map(str, frame.columns)), 5, repr)})", "add columns"
    if fused := fused_columns(encoder.schema_):
        why = f" as float64: {listed(list(fused.values()))}"
        hint = f"declare kinds={{{next(iter(fused))!r}: 'categorical'}}, or add columns"
    return InputError(
        "X must have a column that varies and is not an identifier, "
        f"but none of its {frame.shape[1]} feature(s) does{why}",
        hint=hint,
        code="PG017",
    )


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What ``prepare`` of an estimator returns and ``train`` takes.

    Attributes:
        job: the network, its rows and how it is trained.
        module: the network as it stands in the estimator's ``module_``.
        device, devices: where it is trained, and on how many devices.
        validation_weight: weights of the validation rows, ``(rows,)``, without those of their classes.
        dependence: which validation rows depend on each other, where that is known.
        random_kernels: how many are fitted after training.
    """

    job: TrainingJob
    module: nn.Module
    device: torch.device
    devices: int
    validation_weight: Floats
    dependence: Dependence | None = None
    random_kernels: int = 0

    def with_epochs(self, most: int, parts: int = 1) -> Prepared:
        """Return the same training of at most so many epochs, each on one of ``parts`` of the rows in turn."""
        options, rows = dataclasses.replace(self.job.options, max_epochs=most), self.job.train_rows
        if isinstance(rows, Rows):
            rows = dataclasses.replace(rows, parts=parts)
        return dataclasses.replace(self, job=dataclasses.replace(self.job, options=options, train_rows=rows))


def check_hooks(checkpoint_folder: Any, on_epoch: Any) -> None:
    """Refuse a folder of checkpoints, or a watcher of epochs, that cannot be one."""
    if checkpoint_folder is not None:
        check_path("checkpoint_folder", checkpoint_folder)
    fix = "Pass a function, or leave it out."
    check_kind("on_epoch", on_epoch, (Callable, NoneType), "a function of one epoch's line of the history", fix)


class TrainedModel:
    """What all models of permgrad share: ``prepare`` returns what ``train`` takes."""

    module_: Any
    history_: pd.DataFrame
    best_epoch_: int
    training_options_: dict[str, Any]

    def train(
        self,
        prepared: Prepared,
        *,
        checkpoint_folder: str | os.PathLike[str] | None = None,
        on_epoch: EpochWatcher | None = None,
    ) -> Self:
        """Train the network that ``prepare`` built, and learn from held-out rows how sure its predictions are.

        Args:
            prepared: what ``prepare`` returned.
            checkpoint_folder: folder for the state after each epoch. The same calls of ``prepare`` and ``train`` resume
                from it.
            on_epoch: called with each epoch's line of the history, earlier ones on resuming. True ends the training,
                and a number is that of all epochs from now on.

        Raises:
            InputError: ``prepared`` is not this model's, a hook cannot be used, or the loss of the first epoch is not
                finite.
        """
        check_hooks(checkpoint_folder, on_epoch)
        if prepared.module is not getattr(self, "module_", None):
            raise InputError(
                "This training was prepared by another model, or by an earlier call of prepare",
                hint="Pass what the model's last prepare returned.",
                code="PG004",
            )
        job = dataclasses.replace(prepared.job, checkpoint_folder=checkpoint_folder)
        with untouched():
            outcome = train(job, prepared.device, devices=prepared.devices, on_epoch=on_epoch)
            history = pd.DataFrame(outcome.history)
            self.history_ = history.assign(epoch=history["epoch"].astype(int))
            self.best_epoch_ = outcome.best_epoch
            self.training_options_ = dataclasses.asdict(job.options)
            self._learn_from_held_out(prepared)
        return self

    def _learn_from_held_out(self, prepared: Prepared) -> None:
        """Learn what held-out rows tell of a trained network."""
