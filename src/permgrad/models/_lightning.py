"""The adapter between our learner and Lightning's hooks. Imported only while training: Lightning takes time to load."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch

from permgrad._progress import Progress
from permgrad.models.rows import BatchOrder
from permgrad.models.training import EpochWatcher, Learner

#: Steps per call of Lightning's loop. Its hooks cost about 0.3 ms per call, as much as a small network's whole step.
_STEPS_PER_CALL = 16


class Chunks:
    """The batches of an epoch, several at a time: what Lightning iterates over."""

    def __init__(self, order: BatchOrder) -> None:
        self.order = order

    def __len__(self) -> int:
        return math.ceil(len(self.order) / _STEPS_PER_CALL)

    def __iter__(self) -> Iterator[list[Any]]:
        batches = iter(self.order)
        while chunk := list(itertools.islice(batches, _STEPS_PER_CALL)):
            yield chunk


class LightningLearner(lightning.LightningModule):
    """Hands each of Lightning's calls to the learner. Optimisation is "manual": the learner takes the whole step."""

    def __init__(
        self,
        learner: Learner,
        bar: Progress,
        checkpoint: Path | None,
        write_checkpoint: Callable[[Path, Learner], None],
        on_epoch: EpochWatcher | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = learner.network
        self.learner = learner
        self.bar = bar
        self.checkpoint = checkpoint
        self.write_checkpoint = write_checkpoint
        self.on_epoch = on_epoch

    def configure_optimizers(self) -> None:
        """Return nothing: the learner owns its optimizer."""

    def transfer_batch_to_device(self, batch: list[Any], device: torch.device, dataloader_idx: int) -> list[Any]:  # noqa: ARG002 — Lightning's signature
        """Leave the batches where they are: rows bring them to the device themselves."""
        return batch

    def on_train_epoch_start(self) -> None:
        """Seed the epoch."""
        self.learner.start_epoch()

    def training_step(self, batch: list[Any], batch_idx: int) -> None:
        """Take the chunk's steps, one after the other."""
        for number, rows in enumerate(batch, start=batch_idx * _STEPS_PER_CALL):
            self.learner.step(rows, number)
            self.bar.advance()

    def on_train_epoch_end(self) -> None:
        """Validate, keep the best weights, write the checkpoint, stop when it is enough."""
        self.learner.end_epoch()
        if self.learner.diverged:
            # The checkpoint of the last good epoch stays.
            self.trainer.should_stop = True
            return
        self.bar.note(f"best validation loss {self.learner.best_loss:.4g}")
        if self.checkpoint is not None:
            self.write_checkpoint(self.checkpoint, self.learner)
        stop = self.on_epoch is not None and self.on_epoch(self.learner.history[-1])
        if stop or self.learner.finished:
            self.trainer.should_stop = True

    def __getstate__(self) -> dict[str, Any]:
        """Refuse copies: the adapter lives for one training."""
        raise TypeError("a LightningLearner cannot be pickled or copied")
