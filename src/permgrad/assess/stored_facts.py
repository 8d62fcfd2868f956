"""What the documents of an assessment hold: the types of their JSON.

A key is missing where it does not apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict


class RowsByPart(TypedDict, total=False):
    """Numbers of rows (None: not known)."""

    train: int | None
    validation: int
    test: int


class ModelScores(TypedDict, total=False):
    """``metrics.json``.

    Attributes:
        task: what is predicted.
        model: what it is called that is no network of permgrad.
        rows: how many rows each part has.
        validation, test: metrics of the model, by name.
        constant: those of a constant, ``learnt``, and by how much the model is
            ``ahead``.
        baselines: those of other models, by name.
        positive, decision: the positive class, and the threshold.
        never_predicted: classes that are never predicted.
        cuts: what several thresholds give.
        in_order: why classes seem to be in an order.
        intervals: how often intervals, or sets of classes, hold the truth.
        few_rows_decide: the few rows that decide a score.
        raised: by how much predictions were raised after training.
        branches: which branches were kept beside the network, and why.
        verdict: the first sentences, with the facts behind them.
    """

    task: str
    model: str
    rows: RowsByPart
    validation: Mapping[str, Any]
    test: Mapping[str, Any]
    constant: Mapping[str, Any]
    baselines: Mapping[str, Mapping[str, Any]]
    positive: Any
    decision: Mapping[str, Any]
    never_predicted: Sequence[Mapping[str, Any]]
    cuts: Mapping[str, Any]
    in_order: Mapping[str, Any]
    intervals: Mapping[str, Any]
    few_rows_decide: Mapping[str, Any]
    raised: float
    branches: Mapping[str, Mapping[str, Any]]
    verdict: Sequence[Mapping[str, Any]]


class RowWeights(TypedDict):
    """How much rows count: the column that says so, and its numbers."""

    column: str
    weights: list[float]


class GroupScores(TypedDict, total=False):
    """Scores of groups of rows, see ``permgrad.evaluation.segments``."""

    score: str
    overall: float | None
    events: int | None
    rows: int
    all_rows: int
    tests: int
    features: Sequence[Mapping[str, Any]]


class LevelScores(TypedDict, total=False):
    """Rates and errors by the levels of columns, see
    ``permgrad.evaluation.sensitive``.
    """

    positive: str | None
    columns: Sequence[Mapping[str, Any]]


class BranchWeight(TypedDict, total=False):
    """The weight of a path or an input: its importance, alone and behind all others,
    and its share of the total.
    """

    importance: float | None
    std_error: float | None
    ci_low: float | None
    ci_high: float | None
    alone: float | None
    last: float | None
    share: float | None
    share_low: float | None
    share_high: float | None


#: ``branches.json``: by path or input, and ``paper``, those by the published method.
BranchWeights = Mapping[str, BranchWeight | Mapping[str, BranchWeight] | None]


class RelatedPair(TypedDict):
    """A feature, another one that moves with it, how, and how closely."""

    feature: str
    other: str
    kind: str
    strength: float


class RelationMatrix(TypedDict, total=False):
    """How closely features are related, each with each."""

    names: Sequence[str]
    strengths: Sequence[Sequence[float]]


class ChosenRow(TypedDict, total=False):
    """A typical or wrong row: its number, why it was chosen, and what is said of it.

    ``output`` is the position of the class that it is predicted as.
    """

    row: int
    why: str
    title: str
    truth: Any
    prediction: Any
    output: int
    probability: float


#: The raw data of the most important features beside what the model does with them, see
#: ``permgrad.assess.sections.beside_data``.
DataBeside = TypedDict(
    "DataBeside",
    {
        "outcome": str,
        "overall": float,
        "rows": int,
        "attribution": str,
        "baseline": str,
        "class": str | None,
        "features": Sequence[Mapping[str, Any]],
        "leakage": Mapping[str, Any] | None,
        "alone": Mapping[str, Any] | None,
    },
    total=False,
)


class PageModel(TypedDict, total=False):
    """What a page needs to predict a changed row, or the ``reason`` why it cannot.

    The ``form`` of the model, its ``columns`` and ``rows``, and more that the script
    ``whatif.js`` reads.
    """

    reason: str
    form: str
    rows: Any
    columns: Sequence[Mapping[str, Any]]
