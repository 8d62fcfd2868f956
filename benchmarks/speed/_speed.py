"""What the speed scripts share: contestants that take turns, and one form of line for
the speed page.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from permgrad.data.datasets import load_dataset
from permgrad.data.splitting import Split, split_rows

#: A line of the speed page. ``ours`` and ``theirs`` are medians in ``unit``; ``ratio``
#: is how many times as fast permgrad is, median of the rounds' ratios, and ``low`` and
#: ``high`` are the least and the largest of them.
Line = dict[str, Any]


class Heloc(NamedTuple):
    """The table that most methods are measured on.

    Attributes:
        frame: Its features, ``(rows, features)``.
        y: Its labels, ``(rows,)``.
        split: Its rows for training and for testing.
        na: Codes of missing cells.
    """

    frame: pd.DataFrame
    y: np.ndarray
    split: Split
    na: Sequence[Any]

    @classmethod
    def read(cls) -> Heloc:
        """Return the table, split."""
        data = load_dataset("heloc")
        y = data.frame[data.target].to_numpy()
        split = split_rows(len(y), y, task="classification")
        return cls(data.frame.drop(columns=data.target), y, split, data.na)

    def fit(self, model: Any) -> Any:
        """Fit a model on the training rows, and return it."""
        return model.fit(self.frame.iloc[self.split.train], self.y[self.split.train])

    def tested(self, rows: int | None = None) -> pd.DataFrame:
        """Return some test rows, numbered from 0."""
        return self.frame.iloc[self.split.test[:rows]].reset_index(drop=True)


def take_turns(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Return what each call took in each round; all are called once before, so that
    nobody pays for loading.

    Examples:
        >>> sorted(take_turns({"a": lambda: None, "b": lambda: None}, 2))
        ['a', 'b']
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            started = clock()
            call()
            if number:
                taken[name].append(clock() - started)
    return taken


def timed_errors(
    work: Callable[[int], np.ndarray], truth: np.ndarray, seeds: Iterable[int]
) -> tuple[list[float], float]:
    """Return the processor seconds of ``work(seed)`` for each seed, and the root mean
    square error over all of them.

    Examples:
        >>> timed_errors(lambda seed: np.array([1.0, 3.0 - seed]), np.array([1.0, 3.0]), range(1))[
        ...     1
        ... ]
        0.0
    """
    seconds, errors = [], []
    for seed in seeds:
        started = time.process_time()
        values = work(seed)
        seconds.append(time.process_time() - started)
        errors.append(np.mean((values - truth) ** 2))
    return seconds, float(np.sqrt(np.mean(errors)))


def line(
    what: str,
    peer: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    equal: str = "work",
    unit: str = "s",
    note: str = "",
) -> Line:
    """Return a line from what both took in the same rounds.

    Args:
        what: what is computed, on what.
        peer: who else computes it.
        ours: seconds (or seconds per row) of each round.
        theirs: likewise.
        equal: what is equal on both sides, ``"work"`` or ``"error"``.
        unit: of both.
        note: what a reader must know to judge the ratio.

    Examples:
        >>> line("sum", "other", [1.0, 2.0], [4.0, 6.0])["ratio"]
        3.5
    """
    ratios = [other / own for own, other in zip(ours, theirs, strict=True)]
    return {
        "what": what,
        "peer": peer,
        "equal": equal,
        "unit": unit,
        "ours": statistics.median(ours),
        "theirs": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "rounds": len(ratios),
        "note": note,
    }


def missing(what: str, peer: str, why: str) -> Line:
    """Return the line of a peer that is not there: it is named, never left out in
    silence.
    """
    empty = dict.fromkeys(
        ("equal", "unit", "ours", "theirs", "ratio", "low", "high", "rounds")
    )
    return {"what": what, "peer": peer, **empty, "note": f"missing: {why}"}


def is_there(package: str) -> bool:
    """Whether a package can be imported.

    Examples:
        >>> is_there("json"), is_there("no_such_package")
        (True, False)
    """
    return importlib.util.find_spec(package) is not None
