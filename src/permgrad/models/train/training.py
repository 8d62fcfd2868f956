"""Training of a network: what is done before and after its epochs."""

from __future__ import annotations

import torch

from permgrad.base.errors import two_sentences, warn_user
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32
from permgrad.models.train.guard import sheltered
from permgrad.models.train.learner import DivergenceError, EpochWatcher, Learner, TrainingJob, TrainingOutcome
from permgrad.models.train.rows import Rows

#: Encoded columns are near 1 in size. One this large can drive a network's outputs, and its loss, out of bounds.
_EXTREME = 1e3


def train(
    job: TrainingJob, device: torch.device | str = "cpu", *, on_epoch: EpochWatcher | None = None
) -> TrainingOutcome:
    """Train the network in place. Afterwards it has the weights of the best epoch and is in eval mode, on ``device``.

    A loss that is not finite ends the training with a ``PermgradWarning``, and the best weights are kept. In
    the first epoch it is a ``DivergenceError``. ``on_epoch`` sees each epoch's line of the history, earlier ones on
    resuming. True ends the training.
    """
    device = torch.device(device)
    try:
        with sparing(), sheltered(job.seed):
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
