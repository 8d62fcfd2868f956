"""What an assessment may cost: which rows are explained, how many donors each has, and
what a time limit cuts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from permgrad.attribution.method.permgrad import PermGrad
from permgrad.attribution.replace.moments import FEWEST_REPEATS, expected_repeats
from permgrad.attribution.request import tuned
from permgrad.base.progress import Whole

#: Rows explained one by one, and rows behind the beeswarm: fewer, but at least so many,
#: where their attributions to all outputs would be more than ``_SWARM_NUMBERS``. With
#: 300 classes 200 rows took 80 s.
SHOWN_ROWS = 4
SWARM_ROWS = 200
FEWEST_SWARM_ROWS = 20
_SWARM_NUMBERS = 4000
#: Predictions for the beeswarm of a model without slopes, at most: of 130 columns 200
#: rows took five times as many as the ranking, and with this number 45 rows are shown.
_SWARM_PREDICTIONS = 600_000
#: Rows of a network that reads no table: each costs more, and no list shows them.
FEW_ROWS = 12
#: Rows that are explained of a test set of more than ``AT_ONCE`` rows.
FIRST_ROWS = 1000
AT_ONCE = 3000
#: Rows of a ranking for which there is no time.
FEWEST_ROWS = 200
#: Rows that are explained as published.
PAPER_ROWS = 100
#: Seconds to write a report.
REPORT = 3.0
#: Up to this many features each has as many donors as pay, and up to so many its
#: direction is traced. Beyond, either would take longer than the ranking.
MOST_FEATURES = 1000
MOST_DIRECTIONS = 2000
#: What work takes in units of a training step on one row: a replaced pair, a row
#: explained by gradients, a prediction.
PAIR = 0.09
GRADIENT_ROW = 60.0
PREDICTION = 0.35

Say = Callable[[str], None]


def silent(text: str) -> None:
    """Say nothing."""


@dataclass
class Clock:
    """When work began, how long it may take (infinite: ``--max-rows all``), and what
    the limit cut, in words.
    """

    limit: float = math.inf
    thorough: bool = False
    started: float = field(default_factory=time.monotonic)
    cut: list[str] = field(default_factory=list)
    whole: Whole = field(default_factory=lambda: Whole("run"))
    #: Seconds that a training step takes for a row, once measured.
    per_row: float = 0.0

    def left(self) -> float:
        """Return the seconds until the limit, at least 0."""
        return max(self.limit - (time.monotonic() - self.started), 0.0)

    def least_training(self) -> float:
        """Return how many seconds a training has in any case: as many as passed before
        it, half of the limit at most.
        """
        if math.isinf(self.limit):
            return 0.0
        return min(time.monotonic() - self.started, self.limit / 2)

    def facts(self) -> dict[str, Any]:
        """Return what ``run.json`` records of the time."""
        if math.isinf(self.limit):
            limit = None
        else:
            limit = self.limit
        return {"limit": limit, "thorough": self.thorough, "cut": list(self.cut)}

    def expect(self, **seconds: float) -> None:
        """Correct the plan of a run whose parts are planned."""
        if self.whole.expected:
            self.whole.expect(**seconds)


def expected_refits(
    refits: int, training: float, train: int, held_out_rows: int
) -> float:
    """Return about how many seconds further trainings take, by those of the first on
    ``train`` rows.
    """
    # Folds leave out one part of the rows each, halves half of them. The first does not
    # train on held-out rows.
    folds = refits - refits // 2
    return (
        training
        * (folds - 1 + (refits // 2) / 2)
        * (train + held_out_rows)
        / max(train, 1)
    )


@dataclass(kw_only=True)
class Budget:
    """What an assessment may cost.

    Attributes:
        clock: the time left.
        seed: seed of every draw.
        max_rows: rows whose features are replaced, at most. None: all. ``"auto"``: as
            the number of test rows says.
        interactions: how many features are measured in pairs. None: some, if that takes
            little time. 0: none.
        refits: how many further trainings are explained.
        say: takes notes for the user.
    """

    clock: Clock = field(default_factory=Clock)
    seed: int = 0
    max_rows: int | Literal["auto"] | None = "auto"
    interactions: int | None = None
    refits: int | None = None
    say: Say = silent

    # ---- the plan --------------------------------------------------------------------
    def expected(self, rows: int, features: int, classes: int) -> float:
        """Return about how many seconds the explanation will take."""
        clock = self.clock
        if clock.thorough or rows <= AT_ONCE:
            first = rows
        else:
            first = FIRST_ROWS
        if clock.thorough:
            published = first
        else:
            published = min(rows, PAPER_ROWS)
        swarm = min(rows, self.swarm_rows(classes)) * max(
            1, classes * SWARM_ROWS // _SWARM_NUMBERS
        )
        single = clock.per_row * swarm * GRADIENT_ROW
        published_way = clock.per_row * published * features
        return self.ranking(rows, features) + single + published_way

    def ranking(self, rows: int, features: int) -> float:
        """Return about how many seconds a ranking of the features takes."""
        all_rows = self.clock.thorough or rows <= AT_ONCE
        if all_rows:
            first = rows
        else:
            first = FIRST_ROWS
        pairs = features * expected_repeats(rows)
        return self.clock.per_row * first * pairs * PAIR

    # ---- rows and donors -------------------------------------------------------------
    def in_time(
        self, rows: int, fewest: int, features: int, classes: int, of: int
    ) -> int:
        """Return how many of some rows, ``of`` all, are explained before the limit, and
        record what it cuts.
        """
        clock = self.clock
        expected = self.expected(of, features, classes)
        if expected:
            share = (clock.left() - REPORT) / expected
        else:
            share = 1.0
        if share < 1:
            fewer = min(rows, max(fewest, int(share * rows)))
        else:
            fewer = rows
        if fewer < rows:
            clock.cut.append(f"explanation: {fewer:,} rows instead of {rows:,}")
        return fewer

    def ranking_options(self, features: int) -> dict[str, Any]:
        """Return the arguments of a ranking of a network. Report what limits it."""
        directed = features <= MOST_DIRECTIONS
        donors = "auto" if features <= MOST_FEATURES else FEWEST_REPEATS
        wide_note = "note: the table is wide, so"
        if donors != "auto":
            self.say(
                f"{wide_note} each row has {donors} donors; intervals widen a little"
            )
        if not directed:
            self.say(
                f"{wide_note} directions are not computed (more than "
                f"{MOST_DIRECTIONS:,} features)"
            )
        return {"n_repeats": donors, "method": tuned(PermGrad(), direction=directed)}

    def swarm_rows(self, classes: int, predictions: int = 0) -> int:
        """Return how many rows the beeswarm has for so many classes (0: regression) and
        ``predictions`` of each row.
        """
        max_rows = min(
            SWARM_ROWS,
            _SWARM_NUMBERS // max(classes, 1),
            _SWARM_PREDICTIONS // max(predictions, 1),
        )
        return max(FEWEST_SWARM_ROWS, max_rows)
