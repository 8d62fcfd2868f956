"""Which branches beside the network there is time for, under a time limit, by trying a
few rounds of each.
"""

from __future__ import annotations

import time
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from permgrad.assess.budget import Clock
from permgrad.base.arrays import Array, Floats32
from permgrad.base.errors import keeping_warnings
from permgrad.base.random import generator
from permgrad.data.tasks import tasks
from permgrad.evaluation.baselines.fitting import baselines, fit_baseline
from permgrad.models.branches import AddedBranch, added_branches, title_of
from permgrad.models.estimators.beside import MOST_ROWS, branches_to_try
from permgrad.models.estimators.folds import FOLDS
from permgrad.models.libraries.job import PATIENCE, PATIENCE_OF_SEVERAL, Job
from permgrad.models.libraries.job import Rows as BaselineRows

if TYPE_CHECKING:
    from permgrad.models.estimators.prepared import Prepared

#: Rounds of a first and a second try, by which those of a whole fit are estimated, and
#: rows of a try at most.
_TRIES = (2, 8)
_TRIED_ROWS = 4000
#: What the second try may take of the time that is left, by the first one.
_MOST_OF_TIME = 0.02
#: Fits by folds take as long as so many fits: each waits for less long for a gain.
_FITS = FOLDS * PATIENCE_OF_SEVERAL / PATIENCE
#: Of the time that is left, what branches beside the network may take.
SHARE = 0.5


class Learned(NamedTuple):
    """Training rows that branches are tried on: encoded ``(rows, encoded)``, with their
    target.
    """

    task: str
    encoded: Floats32
    y: Array
    seed: int


def branches_in_time(
    learned: Learned, ready: Prepared, clock: Clock
) -> tuple[tuple[str, ...], float]:
    """Return the branches that are tried beside the network, and about how many seconds
    they take.

    Those that would take more than half of the time that is left are left out, unless
    they are named. Nothing that is not tried anyway, such as trees of many classes, is
    measured.
    """
    classify = tasks.get(learned.task).has_classes
    if classify:
        classes = len(np.unique(learned.y))
    else:
        classes = 0
    waiting = branches_to_try(ready, classes)
    branch_names: list[str] = []
    total = 0.0
    # Those that are named first take less time.
    for name in filter(waiting.__contains__, added_branches()):
        seconds = _seconds(learned, name, classes, _MOST_OF_TIME * clock.left())
        if ready.units is not None and added_branches()[name].mean is not None:
            seconds *= _FITS
        if not ready.beside_by_name and total + seconds > SHARE * clock.left():
            clock.cut.append(f"training: the {title_of(name)} was not tried")
            continue
        branch_names.append(name)
        total += seconds
    # In the order of the settings, and those that are never tried as they are.
    left = []
    for branch_name in ready.beside:
        if branch_name in branch_names or branch_name not in waiting:
            left.append(branch_name)
    return tuple(left), total


def _seconds(learned: Learned, name: str, classes: int, most: float) -> float:
    """Return about how many seconds a branch takes.

    The second try is only made where it takes less than ``most``.
    """
    branch = added_branches()[name]
    rows, count = _tried_rows(learned, classes)
    if branch.trial is None:
        return _fit_seconds(learned, branch, rows, classes) * count / len(rows.y)
    library, key, total_rounds = branch.trial(classes)
    import_module(baselines.get(library).package)  # once, however many rows there are
    took = [_tried(learned, library, rows, {key: _TRIES[0]})]
    per_round = took[0] / _TRIES[0]
    if took[0] * _TRIES[1] / _TRIES[0] <= most:
        took.append(_tried(learned, library, rows, {key: _TRIES[1]}))
        # What does not grow with the rounds counts once. A first try that something
        # delayed would hide what does.
        grown = (took[1] - took[0]) / (_TRIES[1] - _TRIES[0])
        per_round = max(grown, took[1] / _TRIES[1] / 2)
    return float((took[0] + per_round * total_rounds) * count / len(rows.y))


def _fit_seconds(
    learned: Learned, branch: AddedBranch, rows: BaselineRows, classes: int
) -> float:
    """Return the seconds of a whole fit of a branch on some rows."""
    job = Job(learned.task, rows, None, classes, learned.seed, torch.get_num_threads())
    started = time.perf_counter()
    with keeping_warnings(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        branch.fit(job, max(1, classes))
    return time.perf_counter() - started


def _tried_rows(learned: Learned, classes: int) -> tuple[BaselineRows, int]:
    """Return some training rows, with each class among them, and of how many."""
    y = learned.y[:MOST_ROWS]
    count = len(y)
    encoded = learned.encoded[:count]
    if count <= _TRIED_ROWS:
        return BaselineRows(encoded, y), count
    drawn = generator(learned.seed, "rows tried").permutation(count)[:_TRIED_ROWS]
    if classes:
        drawn = np.union1d(drawn, np.unique(y, return_index=True)[1])
    return BaselineRows(encoded[drawn], y[drawn]), count


def _tried(
    learned: Learned, library: str, rows: BaselineRows, options: dict[str, int]
) -> float:
    """Return the seconds of a fit of a few rounds, on the clock."""
    started = time.perf_counter()
    with keeping_warnings(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit_baseline(
            library,
            learned.task,
            rows,
            None,
            seed=learned.seed,
            threads=torch.get_num_threads(),
            options=options,
        )
    return time.perf_counter() - started
