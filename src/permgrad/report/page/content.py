"""What a report is made of: plain containers, each optional, that a run fills; a report leaves the rest out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from matplotlib.figure import Figure

    from permgrad.attribution.explanation import Explanation


@dataclass(kw_only=True)
class DataSection:
    """The table and how it was split.

    ``rows`` and ``class_counts`` (one row per class) are by part, ``columns`` has one row per column of the table;
    ``shared_rows`` are test rows equal to a training row in every column, ``alike_rows`` in what the model reads.
    """

    rows: Mapping[str, int | None]
    columns: pd.DataFrame | None = None
    split: str = ""
    shared_rows: int | None = None
    alike_rows: int | None = None
    class_counts: pd.DataFrame | None = None
    notes: Sequence[str] = ()
    card: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class NetworkSection:
    """The network that was trained; ``drawing`` is a Figure or SVG markup, ``summary`` the table of layers."""

    preset: str = ""
    branches: Sequence[str] = ()
    parameters: int = 0
    drawing: Figure | str | None = None
    summary: pd.DataFrame | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(kw_only=True)
class TrainingSection:
    """How training went: ``history`` has ``epoch, train_loss, validation_loss``, ``loss`` is the name of the loss."""

    history: pd.DataFrame
    best_epoch: int
    seconds: float
    loss: str


@dataclass(kw_only=True)
class PredictionSection:
    """The test rows' truth ``(rows,)`` beside what the model says of them.

    Probabilities, also ``before_calibration``, are ``(rows, classes)`` in the order of ``classes``; for regression
    ``predictions`` are ``(rows,)``, ``training_mean`` is what a constant would predict, and ``strongest`` has the raw
    values of the features that the model relies on most.
    """

    truth: npt.NDArray[Any]
    classes: Sequence[Any] = ()
    probabilities: npt.NDArray[np.floating] | None = None
    predictions: npt.NDArray[Any] | None = None
    training_mean: float | None = None
    before_calibration: npt.NDArray[np.floating] | None = None
    strongest: pd.DataFrame | None = None


@dataclass(kw_only=True)
class RowSection:
    """One row explained: the position ``row`` in a local explanation.

    ``output`` is the one shown, None: the predicted one. ``image`` is the rendered row ``(height, width)``, ``heat``
    its activation map, ``pictures`` are further ones with their captions.
    """

    explanation: Explanation
    row: int
    title: str = ""
    output: Any = None
    image: npt.NDArray[np.floating] | None = None
    heat: npt.NDArray[np.floating] | None = None
    heat_title: str = ""
    text: str = ""
    pictures: Sequence[tuple[Figure, str]] = ()


@dataclass(kw_only=True)
class LayoutSection:
    """Where each encoded column sits in the image: its labelled picture (a Figure or SVG markup) and its legend."""

    drawing: Figure | str
    name: str
    pixels: int
    text: str
    table: pd.DataFrame | None = None


@dataclass(kw_only=True)
class ProvenanceSection:
    """What was run, so that somebody else can run it again: ``command`` is a command line or a call in Python."""

    command: str = ""
    seed: int | None = None
    split_seed: int | None = None
    started: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    configuration_hash: str = ""


@dataclass(kw_only=True)
class GradientSection:
    """Integrated gradients summed up over all test rows.

    The table has one row per encoded input (``level = "input"``) and per feature (``level = "feature"``) with
    ``baseline, name, mean, mean_absolute, published``; ``facts["baselines"]`` lists ``baseline_name, baseline`` (in
    words), ``completeness_gap, quadrature_error``.
    """

    table: pd.DataFrame
    facts: Mapping[str, Any]


@dataclass(kw_only=True)
class ExtraSection:
    """A section of one's own: a title, paragraphs, a picture, each but the title optional."""

    title: str
    text: Sequence[str] = ()
    drawing: Figure | str | None = None
    drawing_text: str = ""


@dataclass(kw_only=True)
class ReportContent:
    """Everything a report can show; only ``title``, ``target`` and ``task`` are needed.

    ``metrics``, ``branches``, ``reading`` and ``related`` are the contents of the files of these names;
    ``explanation`` is the global one, ``compared`` further ones by other methods, ``local`` one of many rows;
    ``positive`` is the class of two that metrics and plots speak of; ``warnings`` stand under the headline.
    """

    title: str
    target: str
    task: Literal["classification", "regression"]
    metrics: Mapping[str, Any] | None = None
    data: DataSection | None = None
    network: NetworkSection | None = None
    training: TrainingSection | None = None
    predictions: PredictionSection | None = None
    explanation: Explanation | None = None
    compared: Mapping[str, Explanation] = field(default_factory=dict)
    branches: Mapping[str, Any] | None = None
    local: Explanation | None = None
    rows: Sequence[RowSection] = ()
    gradients: GradientSection | None = None
    reading: Mapping[str, Any] | None = None
    related: Sequence[Mapping[str, Any]] = ()
    layout: LayoutSection | None = None
    provenance: ProvenanceSection | None = None
    positive: Any = None
    warnings: Sequence[str] = ()
    extra: Sequence[ExtraSection] = ()

    @property
    def test(self) -> Mapping[str, Any]:
        """The model's metrics on the test rows."""
        return (self.metrics or {}).get("test") or {}

    @property
    def constant(self) -> Mapping[str, Any]:
        """The metrics of a constant that looks at no feature, with ``learnt`` and ``ahead`` where it was compared."""
        return (self.metrics or {}).get("constant") or {}

    @property
    def learnt(self) -> bool:
        """Whether the model is better than the constant by more than chance."""
        return bool(self.constant.get("learnt", True))

    @property
    def paths(self) -> Mapping[str, Any]:
        """The content of ``branches.json``, wherever it was given."""
        if self.branches is not None:
            return self.branches
        return (self.explanation.branches if self.explanation is not None else None) or {}
