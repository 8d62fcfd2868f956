"""``Request``: one call of ``pg.explain``, as a method receives it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from permgrad.attribution.players.segments import ImageShape
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.scopes import FEATURE, Level, Scope
from permgrad.attribution.subject.outputs import spread_of
from permgrad.attribution.subject.row_target import RowTarget, outputs_of
from permgrad.attribution.subject.scales import LOGIT, Scale
from permgrad.attribution.subject.subject import Subject
from permgrad.base.arrays import Array, Floats, Floats32, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.late import pd
from permgrad.base.progress import Progress, Quicker, with_fewer_rows
from permgrad.models.estimators.kept_rows import PASSED_ROWS
from permgrad.models.losses import DIVERGENCE, Loss

#: The largest share of the time that is worth another call.
_QUICKER = 0.2


class RowNumbers:
    """Numbers of rows that do not follow each other: added to positions they give the
    rows' numbers.

    It stands where ``row_offset`` does, so that rows picked out of a longer table draw
    the donors they draw in it.
    """

    # NumPy then leaves the sum to this class.
    __array_ufunc__ = None

    def __init__(self, numbers: Integers) -> None:
        self.numbers = numbers

    def __radd__(self, positions: Integers) -> Integers:
        return self.numbers[positions]


@dataclass(frozen=True)
class Request:
    """One call of ``pg.explain`` with every argument checked and resolved.

    ``inputs`` are the rows explained, one tensor per input of the network, rows first.
    They must not be changed. ``donors`` is the background in the same form, or
    ``inputs`` itself where the rows are their own background. ``raw`` are the user's
    rows, or None where no table has an encoder. ``y`` holds class indexes, numbers in
    y's units, or the targets that a loss takes. In the last case ``classes`` holds the
    class indexes, if there are any. ``labels`` are the classes as the user's y holds
    them. ``targets``: places of the outputs among the names of ``scale``.
    ``scale_reason``: why single rows are not explained in probabilities, where the user
    did not ask for it. ``as_one``: columns of a table that are one feature, because an
    encoder says so or because they say one thing. ``shapes`` say how inputs are read as
    images or volumes. ``engine`` plays a loss game in parts, as ``play_losses`` does.
    ``kept`` stores whatever is fitted on the background for the next rows of a longer
    table, and ``row_offset`` is the number of its first row. ``automatic``: fewer
    donors than ``n_repeats`` where more would not pay. ``found`` is what a ``pg.Model``
    remembers of its model. ``compared``: places of the background rows that a model
    keeps to compare single rows with (None: it keeps none). ``drawn_from``: how many
    rows a background that the user did not pass was drawn from, 0 where that is not
    known.
    """

    subject: Subject
    inputs: tuple[Tensor, ...]
    donors: tuple[Tensor, ...]
    space: PlayerSpace
    background_kind: str
    scope: Scope
    targets: tuple[int, ...]
    y: Any = None
    classes: Integers | None = None
    labels: Array | None = None
    raw: pd.DataFrame | None = None
    as_one: Mapping[str, list[str]] = field(default_factory=dict)
    shapes: tuple[ImageShape | None, ...] = ()
    scale: Scale = LOGIT
    scale_reason: str = ""
    level: Level = FEATURE
    sampling: Literal["marginal", "conditional"] = "marginal"
    loss: Loss = DIVERGENCE
    scoring: Any = None
    sample_weight: Floats | None = None
    units: Dependence | None = None
    confidence: float = 0.95
    n_repeats: int = 10
    automatic: bool = False
    batch_size: int | Literal["auto"] = "auto"
    seed: int = 0
    progress: Any = "auto"
    row_offset: int | RowNumbers = 0
    method: Any = None
    tolerance: float | None = None
    incremental: bool = True
    engine: Any = None
    positive: str | None = None
    positive_by_y: bool = False
    compared: Integers | None = None
    drawn_from: int = 0
    row_target: RowTarget | None = None
    kept: dict[str, Any] | None = None
    found: dict[Any, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @property
    def count(self) -> int:
        """Number of rows explained."""
        return len(self.inputs[0])

    @cached_property
    def measured(self) -> Loss:
        """The loss, or without y the divergence from the model's own predictions."""
        if self.y is None:
            return self.subject.outputs.divergence(self.spread)
        return self.loss

    @property
    def passed_background(self) -> bool:
        """Whether the user passed the background."""
        return self.background_kind == PASSED_ROWS

    @property
    def shared(self) -> bool:
        """Whether the background is the rows explained."""
        return self.donors is self.inputs

    def bar(self, total: int, label: str, *, by_player: bool = False) -> Progress:
        """Return the progress of so many steps, which knows what takes less time.

        Args:
            total: How many steps there are.
            label: What is done, in a word or two.
            by_player: Whether the time is that of as many features as there are.
        """
        progress = Progress(total, label, self.progress)
        inputs = len(set(self.space.modality))
        share = inputs / max(len(self.space), 1)
        calls = []
        if by_player and self.level.of_features and inputs > 1 and share <= _QUICKER:
            calls.append(Quicker("groups", "modality", "takes", share))
        progress.quicker = [*calls, *with_fewer_rows(self.count)]
        return progress

    @cached_property
    def spread(self) -> Floats | None:
        """The standard deviation of each output over the background, ``(K,)``.

        It is the unit in which changes of several numbers are averaged. None where
        there is one.
        """
        output_form = self.subject.outputs
        if not output_form.task.numeric or len(output_form.measured) < 2:
            return None
        if self.shared:
            weights = self.sample_weight
        else:
            weights = None
        return spread_of(outputs_of(self.subject, self.donors), weights)

    @cached_property
    def shown(self) -> pd.DataFrame | None:
        """``raw``, with the features that its dates are, in words."""
        encoder = getattr(self.subject, "preprocessor", None)
        if self.raw is None or not getattr(encoder, "date_parts_", None):
            return self.raw
        assert encoder is not None
        return pd.concat([self.raw, encoder.cells_of_parts(self.raw)], axis=1)

    @cached_property
    def encoded(self) -> Floats32:
        """The rows explained as the network sees them, ``(rows, encoded)``."""
        return self.inputs[0].detach().cpu().numpy()
