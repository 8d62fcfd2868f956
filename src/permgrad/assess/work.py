"""What sections are computed from, and what they may need of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.assess.assessed_model import EvaluatedModel
from permgrad.assess.assessed_rows import Places, Rows
from permgrad.assess.assessment import PLACES, Assessment
from permgrad.assess.budget import Budget
from permgrad.assess.network_form import runs_in_page
from permgrad.assess.predictions import Predictions
from permgrad.assess.store import Store
from permgrad.attribution.explanation import Explanation
from permgrad.base.errors import by_count, counted
from permgrad.base.random import generator
from permgrad.data.read.table import blank_codes
from permgrad.data.types.as_one import as_features
from permgrad.data.types.column_types import infer_schema, with_categories


@dataclass
class Work:
    """A model, rows that it was not fitted on, and what an assessment of it may cost.

    Attributes:
        model: the model.
        test: rows that the model was not fitted on.
        content: the assessment. Sections fill its fields.
        budget: which rows are explained, and the time.
        train, validation: rows that it was fitted on, and that stopped its training.
        store: where the sections are written.
        fit_others: trains other models. It returns their metrics, and adds their
            predictions for the test rows.
        refit: explains ``refits`` further trainings.
        card_notes: what the data card says about columns.
    """

    model: EvaluatedModel
    test: Rows
    content: Assessment
    budget: Budget = field(default_factory=Budget)
    train: Rows | None = None
    validation: Rows | None = None
    store: Store = field(default_factory=Store)
    fit_others: Callable[[dict[str, npt.NDArray[Any]]], dict[str, Any]] | None = None
    refit: Callable[[int], Explanation] | None = None
    card_notes: Mapping[str, list[str]] = field(default_factory=dict)
    #: What sections hand on: rows, seconds and options of the ranking, which rows are
    #: explained one by one, and attributions of all of them.
    ranked: tuple[Places | None, float, Mapping[str, Any]] = (None, 0.0, {})
    explained_places: Places = field(
        default_factory=lambda: np.zeros(0, dtype=np.int64)
    )
    all_rows: Explanation | None = None

    def __post_init__(self) -> None:
        """Show numbers that the model reads as categories as levels."""
        if self.model.encoder is None:
            return
        for part_name in ("test", "train", "validation"):
            part_rows = getattr(self, part_name)
            if part_rows is not None and part_rows.table is not None:
                table = with_categories(part_rows.table, self.model.encoder.schema_)
                setattr(self, part_name, replace(part_rows, table=table))

    def put(self, **values: Any) -> None:
        """Store values of fields, and fill them in as reading them would."""
        for field_name, value in values.items():
            location, *folder = PLACES[field_name]
            setattr(self.content, field_name, self.store.put(location, value, *folder))

    @cached_property
    def predictions(self) -> Predictions:
        """The predictions for all test rows."""
        weights = self.test.weights
        return replace(
            self.model.predict(self.test),
            weights=None if weights is None else weights.to_numpy(),
        )

    @property
    def learned(self) -> Rows:
        """The rows that a constant is learned from: the training rows, unless only the
        test rows have weights.
        """
        train = self.train
        test_rows = self.test
        if train is None or (train.weights is None) != (test_rows.weights is None):
            return test_rows
        return train

    @cached_property
    def places(self) -> Places:
        """Which test rows are explained: those of classes that the model knows."""
        codes = self.predictions.codes
        budget = self.budget
        if self.model.classes:
            row_indices = np.flatnonzero(codes >= 0)
        else:
            row_indices = np.arange(len(self.test))
        if unknown := len(self.test) - len(row_indices):
            row_words = (
                f"{counted(unknown, 'test row')} {by_count(unknown, 'has', 'have')} a "
                "class that no training row has"
            )
            budget.say(
                f"note: {row_words}; {by_count(unknown, 'it is', 'they are')} not "
                "explained"
            )
        return row_indices

    @cached_property
    def explained(self) -> Rows:
        """The test rows that are explained."""
        return self.test.take(self.places)

    @cached_property
    def seen(self) -> Predictions:
        """The predictions for the rows explained."""
        if len(self.places) == len(self.test):
            return self.predictions
        return self.predictions.take(self.places)

    @cached_property
    def drawn(self) -> Places:
        """A permutation of the rows explained, of which the first ones are shown."""
        return generator(self.budget.seed, "swarm rows").permutation(
            len(self.explained)
        )

    @cached_property
    def members(self) -> dict[str, list[str]]:
        """The columns of features that have several."""
        encoder = self.model.encoder
        return dict(
            encoder.groups_
            if encoder is not None
            else self.model.options.get("groups") or {}
        )

    @cached_property
    def undated(self) -> pd.DataFrame | None:
        """The training rows without columns of dates and with missing codes blanked,
        else the test rows.

        They have one column for each feature. Written as text, dates have nearly as
        many values as there are rows.
        """
        if self.train is None or self.train.table is None:
            source_rows = self.test
        else:
            source_rows = self.train
        if source_rows.table is None:
            return None
        encoder = self.model.encoder
        if encoder is not None:
            dates = set(encoder.schema_.where(lambda kind: kind.is_moment))
        elif self.test.table is None:
            dates = set()
        else:
            dates = set(self.model.dates(self.test.table))
        table = blank_codes(source_rows.table, self.model.na).drop(
            columns=[
                column_name for column_name in source_rows.table if column_name in dates
            ]
        )
        return as_features(table, self.members)

    @cached_property
    def texts(self) -> list[str]:
        """The columns of free text and of images.

        Their cells are no levels to count, to compare or to set.
        """
        encoder = self.model.encoder
        table = self.test.table
        if encoder is not None:
            schema = encoder.schema_
        elif table is not None:
            schema = infer_schema(table, na=list(self.model.na))
        else:
            return []
        return [*schema.of_modality("text"), *schema.of_modality("photo")]


#: What a section needs of a model or its rows. A new capability is one line.
CAPABILITIES: dict[str, Callable[[Work], bool]] = {
    "table": lambda work: work.test.table is not None,
    "in a page": lambda work: (
        work.model.encoder is not None and runs_in_page(work.model.model)
    ),
    "maps": lambda work: work.model.draws_maps,
    "even": lambda work: work.test.weights is None,
    "sensitive": lambda work: work.test.sensitive is not None,
    "refits": lambda work: work.budget.refits is not None and work.refit is not None,
    "one logit": lambda work: (
        work.model.has_one_logit and work.model.positive is not None
    ),
}
