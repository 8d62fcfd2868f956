"""``Assessment``: all that is known of a model on held-out rows.

Pages leave out what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.data.tasks import Task, tasks
from permgrad.models.branches import path_names, title_of
from permgrad.models.branches.head_branches import IMAGE, TABLE

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from permgrad.assess.predictions import Predictions
    from permgrad.assess.sections.cards import CardsSection
    from permgrad.assess.sections.data import DataSection
    from permgrad.assess.sections.gradients import GradientSection
    from permgrad.assess.sections.network import (
        LayoutSection,
        NetworkSection,
        TrainingSection,
    )
    from permgrad.assess.sections.photos import PhotoColumn
    from permgrad.assess.sections.provenance import ProvenanceSection
    from permgrad.assess.sections.rows import ListedSection, LocalRows, RowSection
    from permgrad.assess.sections.together import TogetherSection
    from permgrad.assess.sections.what_if import ChangeableRows
    from permgrad.assess.stored_facts import (
        BranchWeights,
        ChosenRow,
        DataBeside,
        GroupScores,
        LevelScores,
        ModelScores,
        PageModel,
        RelatedPair,
        RelationMatrix,
        RowWeights,
    )
    from permgrad.attribution.explanation import Explanation
    from permgrad.base.dependence import Dependence
    from permgrad.evaluation.changes import Changes

NOT_BRANCHES = ("interaction", "paper", "total")


def entries_of(branches: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the entries of ``branches.json`` that are paths."""
    return {
        branch_name: entry
        for branch_name, entry in branches.items()
        if branch_name not in NOT_BRANCHES and isinstance(entry, Mapping)
    }


def is_hybrid(branches: Mapping[str, Any]) -> bool:
    """Whether the entries are the paths of a hybrid network, and not the inputs of
    another network.
    """
    return are_paths(entries_of(branches))


def are_paths(names: Iterable[str]) -> bool:
    """Whether names are those of a hybrid network's branches, and not of the inputs of
    another network.
    """
    return set(names) - {*NOT_BRANCHES} <= {*path_names()}


def titles_of(names: Collection[str]) -> dict[str, str]:
    """Return what the branches of a hybrid network are called. The names of inputs of
    another network are what these are called.

    Examples:
        >>> titles_of(["tabular", "interaction"])
        {'tabular': 'table branch', 'interaction': 'interaction'}
        >>> titles_of(["image", "clinical"])
        {'image': 'image', 'clinical': 'clinical'}
    """
    if not are_paths(names):
        return {name: name for name in names}
    return {name: title_of(name) for name in names}


def value_of(entry: Any, key: str) -> float:
    """Return a number of an entry, or NaN if it is missing, null or not a number."""
    if isinstance(entry, Mapping):
        value = entry.get(key)
    else:
        value = None
    if isinstance(value, (int, float, np.number)):
        return float(value)
    return math.nan


#: Share of the model from which the image of a row is shown in the first tabs, else in
#: Details.
LEAST_SHOWN = 0.05


@dataclass(kw_only=True)
class Assessment:
    """All that is known of a model on held-out rows.

    Only ``title``, ``target`` and ``task`` are required.

    Attributes:
        title, target, task: of what, and which column is predicted.
        positive: the positive class for metrics and plots.
        subject: what a model is called that is no network of permgrad.
        warnings: notes on the page that follow its headline.
        data: the table and its split.
        metrics: what ``metrics.json`` holds.
        predictions: truth and predictions of the test rows.
        dependence: which of them depend on each other, where that is known.
        weights: how much they count: the ``column`` of their weights, and ``weights``.
            None: all alike.
        guesses: predictions of other models for the same rows, by name.
        segments: scores of groups of rows.
        sensitive: rates, errors and reliance by level of columns that need not be
            features.
        explanation: the ranking of the features. ``paper`` is that of the published
            method, ``absolute`` that by absolute errors where few rows decide the
            squared ones, ``refits`` that of the training procedure.
        changes: what changed since an earlier run.
        branches: the weight of each path or input.
        related: pairs of features that move together. ``matrix``: how closely the
            strongest are related.
        residual_features: raw values of the strongest features of each test row, which
            residuals are drawn against.
        chosen: facts of a few typical and wrong rows.
        explained, notable: attributions of these and of drawn rows, and of further
            wrong or unsure rows.
        maps: activation maps of some of these rows.
        local, rows: what a page shows of them: a beeswarm, and the chosen rows one by
            one.
        reading: raw data of the strongest features beside their attributions.
        gradients: integrated gradients summed up over all test rows.
        cards, listed, photos, together, changeable: see the files of ``sections/``.
        words: what each word of some rows' texts does.
        what_if: what a page needs to predict a changed row.
        network, training, layout, provenance: what was trained, how, and by which
            command.
        keep_rows: whether the page may show single rows.
    """

    title: str
    target: str
    task: Task
    positive: Any = None
    subject: str = ""
    warnings: Sequence[str] = ()
    data: DataSection | None = None
    metrics: ModelScores | None = None
    predictions: Predictions | None = None
    dependence: Dependence | None = None
    weights: RowWeights | None = None
    guesses: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    segments: GroupScores | None = None
    sensitive: LevelScores | None = None
    explanation: Explanation | None = None
    paper: Explanation | None = None
    absolute: Explanation | None = None
    refits: Explanation | None = None
    changes: Changes | None = None
    branches: BranchWeights | None = None
    related: Sequence[RelatedPair] = ()
    matrix: RelationMatrix | None = None
    residual_features: pd.DataFrame | None = None
    chosen: Sequence[ChosenRow] | None = None
    explained: LocalRows | None = None
    notable: LocalRows | None = None
    maps: LocalRows | None = None
    local: Explanation | None = None
    rows: Sequence[RowSection] = ()
    reading: DataBeside | None = None
    gradients: GradientSection | None = None
    cards: CardsSection | None = None
    listed: ListedSection | None = None
    photos: Sequence[PhotoColumn] = ()
    together: TogetherSection | None = None
    changeable: ChangeableRows | None = None
    words: LocalRows | None = None
    what_if: PageModel | None = None
    network: NetworkSection | None = None
    training: TrainingSection | None = None
    layout: LayoutSection | None = None
    provenance: ProvenanceSection | None = None
    keep_rows: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", tasks.get(self.task))

    @property
    def test(self) -> Mapping[str, Any]:
        """The model's metrics on the test rows."""
        return (self.metrics or {}).get("test") or {}

    @property
    def counts(self) -> bool:
        """Whether the model is judged as one of counts."""
        return "poisson_deviance" in self.test

    @property
    def constant(self) -> Mapping[str, Any]:
        """The metrics of a constant that ignores the features, with ``learnt`` and
        ``ahead`` if it was compared.
        """
        return (self.metrics or {}).get("constant") or {}

    @property
    def noun(self) -> str:
        """What the page calls the model: a network if it is one of permgrad."""
        if self.subject:
            return "model"
        return "network"

    @property
    def learnt(self) -> bool:
        """Whether the model is significantly better than the constant."""
        return bool(self.constant.get("learnt", True))

    @property
    def image_counts(self) -> bool:
        """Whether the image of a row carries at least 5 % of the model: then maps are
        worth a place.

        Images that users provide always do, and so does the only path of a network.
        """
        entries = self._weighed_paths
        return (
            entries is None or value_of(entries.get(IMAGE.name), "share") >= LEAST_SHOWN
        )

    @property
    def parts_count(self) -> bool:
        """Whether any path beside the table's carries at least 5 % of the model: then
        parts by path are worth a place.

        Parts of a model that is no hybrid network always are.
        """
        entries = self._weighed_paths
        shares = (
            value_of(entry, "share")
            for path_name, entry in (entries or {}).items()
            if path_name != TABLE.name
        )
        return entries is None or any(share >= LEAST_SHOWN for share in shares)

    @property
    def _weighed_paths(self) -> dict[str, Mapping[str, Any]] | None:
        """The entries of the paths of a hybrid network that reads its table as numbers,
        too. None of all others.

        Where whole kinds of columns are weighed, the paths are those of the
        explanation.
        """
        known_paths = (
            self.explanation.branches
            if self.explanation is not None and not is_hybrid(self.paths)
            else self.paths
        )
        entries = entries_of(known_paths or {})
        if is_hybrid(entries) and TABLE.name in entries:
            return entries
        return None

    @property
    def paths_count(self) -> bool:
        """Whether shares of paths are worth a place.

        Those of inputs, and of kinds of columns, always are.
        """
        return self.parts_count or not is_hybrid(self.paths)

    def positive_place(self, classes: Sequence[Any]) -> int:
        """Return the position of the positive one of two classes: by default the
        second.
        """
        labels = list(map(str, classes))
        if str(self.positive) in labels:
            return labels.index(str(self.positive))
        return 1

    @property
    def cuts(self) -> Mapping[str, Any]:
        """The results for several thresholds, with the ``cost`` that the run was given,
        or nothing.
        """
        return (self.metrics or {}).get("cuts") or {}

    @property
    def paths(self) -> Mapping[str, Any]:
        """The content of ``branches.json``, from the explanation or the file."""
        if self.branches is not None:
            return self.branches
        return (
            self.explanation.branches if self.explanation is not None else None
        ) or {}


#: Where a field of an assessment is stored in the folder of a run: a name without
#: ending, and the folder of an explanation in it. A new stored field is one line here.
PLACES: dict[str, tuple[str, ...]] = {
    "metrics": ("metrics",),
    "dependence": ("dependence",),
    "weights": ("weights",),
    "segments": ("segments",),
    "sensitive": ("explanations/sensitive",),
    "explanation": ("explanations/permgrad",),
    "paper": ("explanations/permgrad_paper",),
    "absolute": ("explanations/absolute_errors",),
    "refits": ("explanations/refits",),
    "branches": ("branches",),
    "related": ("explanations/related",),
    "matrix": ("explanations/matrix",),
    "residual_features": ("explanations/residual_features",),
    "chosen": ("explanations/chosen",),
    "explained": ("explanations/explained", "integrated_gradients"),
    "notable": ("explanations/wrong_or_unsure", "notable"),
    "maps": ("explanations/maps", "gradcam"),
    "reading": ("explanations/reading",),
    "gradients": ("explanations/gradients",),
    "cards": ("explanations/cards",),
    "listed": ("explanations/listed",),
    "photos": ("explanations/photos",),
    "together": ("explanations/together", "interactions"),
    "changeable": ("explanations/what_if",),
    "words": ("explanations/words", "words_of_texts"),
}
