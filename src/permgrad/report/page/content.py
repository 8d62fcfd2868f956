"""What a report is made of: plain containers that a run, a notebook or a script fills.

Every section is optional; a report shows what it is given and leaves the rest out. Nothing here imports a plotting or
learning library, so that a report can be described without them.
"""

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

    Attributes:
        rows: Number of rows by part, as in ``metrics.json``: ``{"train": …, "validation": …, "test": …}``.
        columns: One row per column of the table; ``name, kind, missing, levels, role, reason`` are shown first.
        split: How the rows were divided, in words ("named split: 40 % off, then halved, stratified, seed 42").
        shared_rows: Test rows that are equal to a training row in every column of the file; None when nobody counted.
        alike_rows: Test rows that are equal to a training row in every feature and the target, or None.
        class_counts: For classification, one row per class, one column per part; None for regression.
        notes: Sentences the reader should know (codes declared as missing, columns dropped, one-hot blocks found).
        card: Facts about a named data set (``{"home": …, "licence": …}``), shown as a small list.
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
    """The network that was trained.

    ``drawing`` is a Figure or SVG markup, ``summary`` the layer table, ``parameters`` counts the trainable ones,
    ``options`` are those of the network and its training, ``branches`` for example ``("tabular", "image")``.
    """

    preset: str = ""
    branches: Sequence[str] = ()
    parameters: int | None = None
    drawing: Figure | str | None = None
    summary: pd.DataFrame | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(kw_only=True)
class TrainingSection:
    """How training went.

    Attributes:
        history: One row per epoch: ``epoch, train_loss, validation_loss``, optionally ``learning_rate, seconds``.
        best_epoch: The value in ``history["epoch"]`` whose weights were kept.
        seconds: Time of the whole fit.
        loss: Name of the loss, with its unit if it has one ("cross-entropy, nats").
    """

    history: pd.DataFrame
    best_epoch: int | None = None
    seconds: float | None = None
    loss: str = "loss"


@dataclass(kw_only=True)
class PredictionSection:
    """The test rows' truth beside what the model says, for the ROC curves, the confusion matrix or the residuals.

    Attributes:
        truth: What is true of each row.
        classes: The classes in the order of the columns of ``probabilities``.
        probabilities: Predicted probabilities, for classification.
        predictions: Predicted values, for regression.
        training_mean: Mean of the target over the training rows, for regression: what a constant would predict. None:
            unknown; the mean of ``truth`` takes its place.
        before_calibration: Probabilities before they were calibrated; None where the model does not calibrate.
        strongest: Raw values of the features that the model relies on most, the strongest first; for regression.

    Shape:
        truth ``(rows,)``; probabilities and before_calibration ``(rows, classes)`` for classification; predictions
        ``(rows,)`` and strongest ``(rows, features)`` for regression.
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
    """One row explained.

    Attributes:
        explanation: A local explanation that contains the row.
        row: Position of the row inside ``explanation.values``.
        title: Heading ("Test row 17: good, predicted good with 0.93").
        output: Which output to show (an entry of ``explanation.outputs``, or its position); None: the predicted one.
        image: The row's rendered image, ``(height, width)`` or ``(height, width, 3)``, or None.
        heat: Class activation map of the same height and width, or None.
        heat_title: What the map is ("Grad-CAM of the last convolution, class good").
        text: A sentence under the heading.
        pictures: Further pictures with their captions.
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

    drawing: Figure | str | None = None
    name: str = ""
    pixels: int | None = None
    table: pd.DataFrame | None = None
    text: str = ""


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

    Attributes:
        table: One row per encoded input (``level = "input"``) and per feature (``level = "feature"``), with
            ``baseline, name, mean, mean_absolute, published``.
        facts: ``rows, output, baselines``, the last a list of ``baseline_name, baseline`` (in words),
            ``completeness_gap, quadrature_error``.
    """

    table: pd.DataFrame
    facts: Mapping[str, Any]


@dataclass(kw_only=True)
class ExtraSection:
    """A section of one's own: a title, paragraphs, a picture, a table, each but the title optional."""

    title: str
    text: Sequence[str] = ()
    drawing: Figure | str | None = None
    drawing_text: str = ""
    table: pd.DataFrame | None = None


@dataclass(kw_only=True)
class ReportContent:
    """Everything a report can show; only ``title``, ``target`` and ``task`` are needed.

    Attributes:
        title: Name of the table ("heloc").
        target: Name of the target column.
        task: ``"classification"`` or ``"regression"``.
        target_unit: Unit of the target, if known (shown on residual axes).
        headline: One sentence to stand first; None: it is composed from metrics and ranking.
        metrics: The content of ``metrics.json``: ``{"task", "rows", "validation", "test", "baselines"}``.
        data: The table and its split.
        network: The network.
        training: Learning curves.
        predictions: Truth and predictions of the test rows.
        explanation: The global explanation: ranking, classes, direction, and (``explanation.branches``) branch shares.
        compared: Further global explanations by other methods, shown as a small table of ranks ({name: explanation}).
        branches: The content of ``branches.json``; None: ``explanation.branches``.
        local: A local explanation of many rows, drawn as a beeswarm.
        rows: A few rows explained one by one.
        gradients: Integrated gradients summed up over all test rows.
        reading: The leading features beside the raw data, as in ``explanations/reading.json``.
        related: Which features move with the leading ones, as in ``explanations/related.json``.
        layout: The picture of the layout.
        provenance: What was run.
        positive: The positive one of two classes, which metrics and plots speak of; None: the second.
        warnings: Sentences that must not be overlooked; shown directly under the headline.
        extra: Sections of one's own, shown before "What was run".
        top_n: How many features the plots show; tables always list all.
    """

    title: str
    target: str
    task: Literal["classification", "regression"]
    target_unit: str = ""
    headline: str | None = None
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
    top_n: int = 15
