"""The arguments of ``pg.explain``: each is checked once, most before the model is
read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from permgrad.attribution.model import as_model
from permgrad.attribution.scopes import (
    AUTO,
    COLUMN,
    FEATURE,
    GROUP,
    MODALITY,
    Level,
    scopes,
)
from permgrad.attribution.subject.examples import (
    MOST,
    Gathered,
    gathered,
    may_be_examples,
    warn_of_rest,
)
from permgrad.attribution.subject.scales import (
    SCALE_NAMES,
    SCALES,
)
from permgrad.base.arrays import Floats32
from permgrad.base.checks import (
    check_choice,
    check_confidence,
    check_kind,
    check_whole,
)
from permgrad.base.errors import (
    InputError,
    shown,
)
from permgrad.base.frames import taken
from permgrad.base.random import resolve_seed
from permgrad.data.tasks import CLASSIFICATION, REGRESSION
from permgrad.models.losses import losses

#: Targets that ask for a class.
_OF_CLASSES = ("predicted", "true")
#: Rows on which a callable loss is tried out before any work starts.
_TRIED = 256
#: Donors of each row and feature at most, where the user does not say.
REPEATS = 10


@dataclass(frozen=True)
class Arguments:
    """The user's arguments, unchanged but that ``model`` is a ``Model``.

    ``pg.explain`` says what each means.

    ``row_offset`` is the number of the first row of one part of a longer table.
    """

    model: Any = None
    X: Any = None
    y: Any = None
    method: Any = "permgrad"
    target: Any = None
    scope: Any = "auto"
    scale: Any = "auto"
    groups: Any = None
    background: Any = None
    loss: Any = "auto"
    scoring: Any = None
    sample_weight: Any = None
    row_groups: Any = None
    row_time: Any = None
    max_rows: Any = None
    n_repeats: Any = "auto"
    confidence: float = 0.95
    random_state: Any = 0
    progress: Any = "auto"
    row_offset: int | None = None
    #: what the players are: features, groups, a network's inputs, or raw columns where
    #: ``groups`` is empty
    level: Level = field(init=False)
    #: how many examples of a DataLoader, a Dataset or a list were gathered, and where
    #: they come from (None: X is one batch of rows)
    gathered: Gathered | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Refuse arguments that fit no model, before anything is read."""
        object.__setattr__(self, "model", as_model(self.model))
        if self.background is not None and isinstance(
            self.background, (int, float, str, os.PathLike)
        ):
            problem = f"background must be rows like X, got {shown(self.background)}"
            raise InputError(problem, hint="Pass a table.", code="PG038")
        check_choice("scope", self.scope, (AUTO, *scopes))
        check_choice("scale", self.scale, SCALE_NAMES)
        check_confidence(self.confidence)
        if not (isinstance(self.n_repeats, str) and self.n_repeats == "auto"):
            check_whole("n_repeats", self.n_repeats, "pass for example 10")
        if self.max_rows is not None:
            check_whole("max_rows", self.max_rows, "pass how many to explain")
        if self.groups is not None and not (
            isinstance(self.groups, str) and self.groups == MODALITY
        ):
            self._check_groups()
        if isinstance(self.groups, str):
            level = MODALITY
        elif self.groups:
            level = GROUP
        else:
            level = COLUMN
        object.__setattr__(self, "level", FEATURE if self.groups is None else level)
        self._gather()

    def _gather(self) -> None:
        """Put the rows of a DataLoader, a Dataset or a list of examples in its
        place.
        """
        changes = of_examples(self)
        for field_name, value in changes.items():
            object.__setattr__(self, field_name, value)

    @property
    def relates_rows(self) -> bool:
        """Whether an argument says which rows depend on each other."""
        return self.row_groups is not None or self.row_time is not None

    @property
    def speaks_of_classes(self) -> bool:
        """Whether an argument is of classes, which then have the outputs as scores."""
        by_target = isinstance(self.target, str) and self.target in _OF_CLASSES
        loss = None
        if isinstance(self.loss, str):
            loss = losses.get(self.loss, None)
        by_loss = (
            loss is not None
            and CLASSIFICATION in loss.tasks
            and REGRESSION not in loss.tasks
        )
        scale = SCALES.get(self.scale)
        by_scale = scale is not None and scale.of_classes
        return by_target or by_loss or by_scale

    def _check_groups(self) -> None:
        groups = self.groups
        remedy_words = "Pass groups={'name': ['feature', …]} or 'modality'."
        check_kind(
            "groups",
            groups,
            Mapping,
            "a mapping of names to lists of features",
            remedy_words,
        )
        for group_name, members in groups.items():
            if not isinstance(members, Iterable) or isinstance(
                members, (bytes, Mapping)
            ):
                problem = (
                    f"Group {group_name!r} must be a list of features, got "
                    f"{shown(members)}"
                )
                raise InputError(
                    problem,
                    hint=f"Pass groups={{{group_name!r}: ['feature', …]}}.",
                    code="PG001",
                )


@dataclass(frozen=True)
class EncodedBackground:
    """Rows for ``background=`` as the network sees them, encoded once for many calls
    with parts of a longer table.

    Attributes:
        rows: ``(donors, encoded)``.
        kind: The value of ``meta["background"]["kind"]``.
    """

    rows: Floats32  # ``(donors, encoded)``
    kind: str  # the value of ``meta["background"]["kind"]``


@dataclass(frozen=True)
class RowsToCompare:
    """Rows for ``background=`` that single rows are compared with, or from which such
    rows are chosen.

    Attributes:
        rows: As a user passes them.
        kind: The value of ``meta["background"]["kind"]``.
        drawn_from: How many rows they were chosen of. None: they are all rows.
    """

    rows: Any
    kind: str = "rows of the table"  # the value of ``meta["background"]["kind"]``
    drawn_from: int | None = None


def of_examples(arguments: Arguments) -> dict[str, Any]:
    """Return the fields that change where X or background is a set of examples."""
    model = arguments.model
    changes = dict[str, Any]()
    if not may_be_examples(arguments.X) and not may_be_examples(arguments.background):
        return changes
    if arguments.max_rows is None:
        row_limit = MOST
    else:
        row_limit = int(arguments.max_rows)
    seed = resolve_seed(arguments.random_state)
    gather_options = {"seed": seed, "most": row_limit, "tokenizer": model.tokenizer}
    gathered_rows = gathered(model.model, arguments.X, arguments.y, **gather_options)
    if gathered_rows is not None:
        changes |= {
            "X": gathered_rows.X,
            "y": gathered_rows.y,
            "gathered": gathered_rows,
        }
        changes["random_state"] = seed
        changes |= _of_the_set(arguments, gathered_rows)
        if arguments.max_rows is None:
            warn_of_rest(gathered_rows, row_limit)
    background_rows = gathered(
        model.model, arguments.background, None, **gather_options
    )
    if background_rows is None:
        return changes
    return changes | {"background": background_rows.X}


def _of_the_set(arguments: Arguments, gathered_rows: Gathered) -> dict[str, Any]:
    """Return what says something of each example of a set, of those that are drawn."""
    if gathered_rows.places is None or gathered_rows.count is None:
        return {}
    changes = {}
    for field_name in ("sample_weight", "row_groups", "row_time", "target"):
        value = getattr(arguments, field_name)
        by_row = hasattr(value, "__len__") and not isinstance(value, (str, tuple))
        if by_row and len(value) == gathered_rows.count:
            changes[field_name] = taken(
                value, gathered_rows.places, gathered_rows.count
            )
    return changes
