"""The loop over epochs: the same for one device and for each of several."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from permgrad.base.progress import Progress, ProgressMode
from permgrad.models.train.checkpoint import write_checkpoint

if TYPE_CHECKING:
    from permgrad.models.train.training import EpochWatcher, Learner


def run_epochs(
    learner: Learner, progress: ProgressMode, checkpoint: Path | None, on_epoch: EpochWatcher | None = None
) -> None:
    """Let a learner take its steps until it has finished, or diverged.

    Args:
        learner: of one device.
        progress: ``"auto"``, True or False.
        checkpoint: file that its state is kept in after each epoch, so that a killed training can go on; None:
            nowhere. After an epoch that diverged, the state of the last good one stays.
        on_epoch: called with the history's line of each epoch, after the checkpoint is written; True ends the training.
    """
    remaining = learner.options.max_epochs - learner.epoch
    with Progress(remaining * len(learner.order), "training", progress, lines=False) as bar:
        stopped = False
        while not (learner.finished or stopped):
            learner.start_epoch()
            for number, batch in enumerate(learner.order):
                learner.step(batch, number)
                bar.advance()
            learner.end_epoch()
            if learner.diverged:
                return
            bar.note(f"best validation loss {learner.best_loss:.4g}")
            if checkpoint is not None:
                write_checkpoint(checkpoint, learner)
            stopped = on_epoch is not None and bool(on_epoch(learner.history[-1]))
