"""How many epochs a run trains, how long they are expected to take, and when the time
limit ends them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from statistics import median
from typing import TYPE_CHECKING

from permgrad.assess.budget import Clock
from permgrad.models.train.ending import SINCE

if TYPE_CHECKING:
    from permgrad.models.train.learner import TrainingOptions

#: Rows that a training sees at most, over all epochs: 60 epochs of 27,000 rows, so that
#: only larger tables get fewer. More epochs of so many rows make the default network no
#: better.
ROWS_SEEN = 1_640_000
#: Multiplications of a training's forward passes, at most: about ten minutes on two
#: processors. They are counted, so that a busy machine trains as long as any other.
MULTIPLICATIONS = 7e12
#: Rows of an epoch, at most. Where there are more, each epoch trains on another part of
#: them.
EPOCH_ROWS = 100_000
#: Members of the default network where an epoch does not hold all rows: on validation
#: rows of 327,346 flights, two have a smaller loss than eight after as many rows, in a
#: third of the time.
FEWER_MEMBERS = 2
#: Fewer epochs than this are too few for the schedule of the learning rate.
FEWEST_EPOCHS = 4
#: Rows by which epochs are compared, at most.
MOST_HELD = 20_000
#: Epochs that a usual training takes, after how many its own losses tell all, and the
#: share of the loss by which an epoch makes it smaller near the end. Of 36 runs, half
#: had an estimate within a factor of 1.9 after a quarter of their epochs.
USUAL_EPOCHS = 28
_SURE = 6
_LAST_STEP = 1 / 7000
#: What the branches beside the network take, in epochs: the median of ten tables, of 2
#: to 19.
BESIDE_EPOCHS = 4
#: The seconds of a baseline that is a network.
SLOW_BASELINE = 120.0


def plan_training(
    options: TrainingOptions,
    rows: int,
    multiplications: int,
    *,
    most_seen: float = math.inf,
) -> tuple[int, int]:
    """Return how many epochs see at most so many rows, each one of how many parts of
    the rows.

    ``multiplications``: of the network for each row.
    """
    epoch_parts = math.ceil(rows / EPOCH_ROWS)
    row_limit = min(most_seen, MULTIPLICATIONS / max(multiplications, 1))
    epochs = max(FEWEST_EPOCHS, math.ceil(row_limit * epoch_parts / rows))
    return min(options.max_epochs * epoch_parts, epochs), epoch_parts


def watch_epochs(
    clock: Clock,
    options: TrainingOptions,
    rows: int,
    reserved: Callable[[], float],
    constant: float,
    extra_epochs: int = 0,
) -> Callable[[Mapping[str, float]], int | None]:
    """Return what sees each epoch of so many rows: it corrects the time left, and ends
    the training at the limit.

    After each epoch, it says how many epochs fit into the time that is left by the pace
    of the last ones, so that the learning rate has fallen when the time is over.
    ``reserved``: seconds that the rest of the run needs by ``clock.per_row``.
    ``constant``: the validation loss of a constant prediction. ``extra_epochs``: how
    many epochs' time the training takes behind its last one.
    """
    losses = list[float]()
    seconds = list[float]()

    def seen(record: Mapping[str, float]) -> int | None:
        losses.append(record["validation_loss"])
        seconds.append(record["seconds"])
        # Beside other work, one slow epoch says little of the next.
        epoch_pace = median(seconds[-3:])
        done_epochs = len(losses)
        clock.per_row = epoch_pace / rows
        epochs_left = (
            expected_epochs(losses, options.max_epochs, options.patience, constant)
            - done_epochs
        )
        possible = (clock.left() - reserved()) / max(epoch_pace, 1e-9)
        clock.whole.expect(
            epoch_pace * (max(min(epochs_left, possible), 0) + extra_epochs)
        )
        if (
            done_epochs == options.max_epochs
            or possible >= options.max_epochs - done_epochs
        ):
            return options.max_epochs
        if possible < 1:
            clock.cut.append(
                f"training after {done_epochs} of {options.max_epochs} epochs"
            )
            return True
        return done_epochs + int(possible)

    return seen


def expected_epochs(
    losses: Sequence[float], most: int, patience: int | None, constant: float
) -> int:
    """Return after how many epochs a training will have ended, by its validation losses
    so far.

    The share by which an epoch makes the loss smaller falls with the square of the
    epochs done, until it is ``_LAST_STEP``. The more of the loss of a ``constant``
    prediction is left, the sooner this ends: the rest is noise.
    """
    done_epochs = len(losses)
    if patience is None or (losses and not math.isfinite(losses[-1])):
        return most
    if done_epochs < 2:
        return min(most, USUAL_EPOCHS)
    best_losses = list(accumulate(losses, min))
    since = done_epochs - 1 - losses.index(best_losses[-1])
    recent = min(4, (done_epochs + 1) // 2)
    relative_step = (best_losses[-1 - recent] / max(best_losses[-1], 1e-9) - 1) / recent
    improving = (
        done_epochs
        * max(1 - best_losses[-1] / max(constant, 1e-9), 0.0)
        * math.sqrt(max(relative_step, 0.0) / _LAST_STEP)
    )
    improving = min(improving, USUAL_EPOCHS + 2 * done_epochs)
    if not since and done_epochs < _SURE:
        improving = (
            done_epochs * improving + (_SURE - done_epochs) * USUAL_EPOCHS
        ) / _SURE
    # A loss that rises ends the training a little after ``SINCE``, and one that only
    # pauses is likely to fall again.
    expected_end = done_epochs - since + min(patience, SINCE + 3)
    expected = expected_end + max(1 - since / SINCE, 0.0) * max(
        improving - expected_end, 0.0
    )
    return min(most, max(round(expected), done_epochs + 1))
