"""``PageContent``: an assessment as a page, its ``report.md`` and the terminal tell it.

What several of them ask is answered here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import FrozenInstanceError, dataclass, field, fields
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np

from permgrad.assess.assessment import Assessment
from permgrad.assess.sections.data import DataSection
from permgrad.assess.stored_facts import RelatedPair
from permgrad.evaluation.metrics import Metric
from permgrad.pages.sentences import main_metric
from permgrad.pages.standing import Standing
from permgrad.pages.units import Loss, in_plain_units, loss_without
from permgrad.pages.words import texts_of

Answer = TypeVar("Answer")
#: Most features that a sentence names.
NAMED = 3


class RowCounts(NamedTuple):
    """The number of test rows (None: unknown), and that of each class that has some."""

    total: int | None
    by_class: Mapping[str, int]


@dataclass(kw_only=True)
class PageContent(Assessment):
    """An assessment in units that every reader knows, and answers to what is asked of
    it in several places.

    It does not change: ``dataclasses.replace`` returns another one, with answers of its
    own.

    Examples:
        >>> facts = {"target": "y", "task": "regression"}
        >>> content = PageContent.of(Assessment(title="t", **facts))
        >>> content.clear_names, content.ask(lambda page: page.target)
        ([], 'y')
    """

    _answers: dict[Callable[[PageContent], Any], Any] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    @classmethod
    def of(cls, content: Assessment) -> PageContent:
        """Return the content of a page of an assessment."""
        if isinstance(content, PageContent):
            return content
        plain = in_plain_units(content)
        values = {}
        for assessment_field in fields(Assessment):
            values[assessment_field.name] = getattr(plain, assessment_field.name)
        return cls(**values)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to change what answers were found from."""
        if "_answers" in vars(self):
            raise FrozenInstanceError(f"{name} of a page's content does not change")
        super().__setattr__(name, value)

    def ask(self, question: Callable[[PageContent], Answer]) -> Answer:
        """Return the answer to a question, which is looked for only once."""
        if question not in self._answers:
            self._answers[question] = question(self)
        answer: Answer = self._answers[question]
        return answer

    @property
    def in_python(self) -> bool:
        """Whether the page is made in Python, so that options of the command line are
        of no use.
        """
        if self.provenance is None:
            return bool(self.subject)
        return not self.provenance.command.startswith("permgrad ")

    # ---- rows and scores -------------------------------------------------------------
    @cached_property
    def table(self) -> DataSection:
        """The table and its split, empty where they are not known."""
        return self.data or DataSection(rows={})

    @cached_property
    def test_rows(self) -> RowCounts:
        """How many test rows there are."""
        row_count = ((self.metrics or {}).get("rows") or {}).get("test")
        scored = self.predictions
        if scored is None:
            return RowCounts(row_count, {})
        if row_count is None:
            row_count = len(scored.truth)
        if self.task.numeric:
            return RowCounts(row_count, {})
        labels, counts = np.unique(texts_of(scored.truth), return_counts=True)
        by_class = dict(zip(labels.tolist(), counts.tolist(), strict=True))
        return RowCounts(row_count, by_class)

    @cached_property
    def main_metric(self) -> Metric:
        """The metric that is named first."""
        return main_metric(self.task, self.test)

    # ---- features --------------------------------------------------------------------
    @cached_property
    def standing(self) -> Standing | None:
        """How the features stand."""
        if self.explanation is None:
            return None
        return Standing(self.explanation)

    @property
    def ranking(self) -> list[str]:
        """The features by falling importance."""
        if self.standing is None:
            return []
        return self.standing.names

    @property
    def clear_names(self) -> list[str]:
        """The features that clearly matter, by falling importance."""
        if self.standing is None:
            return []
        return self.standing.clear

    @cached_property
    def loss(self) -> Loss | None:
        """The model's loss, and what it is without a feature.

        None: that is not known, or the model has learned nothing.
        """
        if self.explanation is None:
            return None
        return loss_without(self.explanation.meta, self.metrics or {})

    @cached_property
    def moving(self) -> list[RelatedPair]:
        """What the first features that clearly matter move with."""
        leading = self.clear_names[:NAMED]
        pairs = []
        for related_pair in self.related:
            if self.learnt and related_pair["feature"] in leading:
                pairs.append(related_pair)
        return pairs

    @cached_property
    def _ranks_of_columns(self) -> dict[str, int]:
        """The place of each feature in the ranking, and of each column of one."""
        ranks = {}
        for rank, feature_name in enumerate(self.ranking):
            for column in self._columns_of(feature_name):
                ranks[column] = rank
        return ranks

    @property
    def columns_of_clear(self) -> set[str]:
        """The features that clearly matter, and the columns of those that are groups of
        them.
        """
        columns = set[str]()
        for feature_name in self.clear_names:
            columns.update(self._columns_of(feature_name))
        return columns

    def _columns_of(self, feature_name: str) -> list[str]:
        """Return a feature, and its columns where it is a group of them."""
        groups: dict[str, Sequence[str]] = {}
        if self.explanation is not None:
            groups |= self.explanation.groups or {}
        if self.cards is not None:
            groups |= self.cards.groups
        return [str(name) for name in (feature_name, *groups.get(feature_name, ()))]

    def by_rank(self, names: Iterable[Any]) -> list[int]:
        """Return the positions of features or columns, the most important first, in the
        ranking as it now is.
        """
        known_ranks = self._ranks_of_columns
        last_rank = len(known_ranks)
        ranks = [known_ranks.get(str(name), last_rank) for name in names]
        return sorted(range(len(ranks)), key=ranks.__getitem__)
