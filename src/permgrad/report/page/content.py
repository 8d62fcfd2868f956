"""The content of a report: plain containers, each optional. The report leaves out what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from permgrad.report.sentences import entries_of, is_hybrid, value_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from matplotlib.figure import Figure

    from permgrad.attribution.explanation import Explanation
    from permgrad.evaluation.side_by_side import SideBySide

#: Share of the model from which the image of a row is shown in the first tabs, else in Details.
LEAST_SHOWN = 0.05


@dataclass(kw_only=True)
class DataSection:
    """The table and how it was split.

    ``rows`` and ``class_counts`` (one row per class) are by part. ``columns`` has one row per column of the table.
    ``constant_from`` is the part that the constant was taken from. ``shared_rows`` are test rows equal to a training
    row in every column, ``blank_rows`` those of them without a value, and ``alike_rows`` are equal in the model's
    columns. ``leaks`` are columns that alone predict the target, and ``drift`` compares columns of training and test
    rows, see ``permgrad.evaluation.leaks`` and ``permgrad.evaluation.drift``. ``described`` has the ``rows`` of both
    parts that were compared and their ``columns``, see ``permgrad.evaluation.distributions``. ``unchecked`` is what the
    search for leaks, drift and copies of rows needs and does not have.
    """

    rows: Mapping[str, int | None]
    columns: pd.DataFrame | None = None
    split: str = ""
    constant_from: str = "train"
    shared_rows: int | None = None
    blank_rows: int = 0
    alike_rows: int | None = None
    class_counts: pd.DataFrame | None = None
    notes: Sequence[str] = ()
    card: Mapping[str, str] = field(default_factory=dict)
    leaks: Sequence[Mapping[str, Any]] = ()
    drift: Sequence[Mapping[str, Any]] = ()
    described: Mapping[str, Any] = field(default_factory=dict)
    unchecked: str = ""


@dataclass(kw_only=True)
class NetworkSection:
    """The trained network. ``drawing`` is a Figure or SVG markup, ``summary`` the table of layers."""

    preset: str = ""
    branches: Sequence[str] = ()
    parameters: int = 0
    drawing: Figure | str | None = None
    summary: pd.DataFrame | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(kw_only=True)
class TrainingSection:
    """The training: ``history`` has ``epoch, train_loss, validation_loss``, ``loss`` is the name of the loss."""

    history: pd.DataFrame
    best_epoch: int
    seconds: float
    loss: str


@dataclass(kw_only=True)
class PredictionSection:
    """The test rows' truth ``(rows,)`` and the model's predictions for them.

    Probabilities, also ``before_calibration``, are ``(rows, classes)`` in the order of ``classes``. For regression
    ``predictions`` are ``(rows,)``, ``training_mean`` is the prediction of a constant, and ``strongest`` has the raw
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
    """One explained row: the position ``row`` in a local explanation.

    ``output`` is the output shown (None: the predicted one). ``image`` is the rendered row ``(height, width)``,
    ``heat`` its activation map, ``pictures`` are further ones with their captions.
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
    """The place of each encoded column in the image: a labelled picture (a Figure or SVG markup) and its legend."""

    drawing: Figure | str
    name: str
    pixels: int
    text: str
    table: pd.DataFrame | None = None


@dataclass(kw_only=True)
class ProvenanceSection:
    """What was run, so that others can repeat it: ``command`` is a command line or a call in Python."""

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
    ``baseline, name, mean, mean_absolute, published``. ``facts["baselines"]`` lists ``baseline_name, baseline`` (in
    words), ``completeness_gap, quadrature_error``.
    """

    table: pd.DataFrame
    facts: Mapping[str, Any]


@dataclass(kw_only=True)
class CardsSection:
    """One feature at a time, see ``evaluation/cards.py``: the strongest of ``features``, on as many test ``rows``.

    ``curves``: predictions ``(curve_rows, points, outputs)`` of some rows by feature, with these rows' numbers. The
    outputs are ``classes``, or None for regression.
    """

    cards: Sequence[dict[str, Any]]
    curves: Mapping[str, npt.NDArray[np.floating]]
    classes: Sequence[str] | None
    rows: int
    features: int
    curve_rows: npt.NDArray[np.integer] | Sequence[int] = ()


@dataclass(kw_only=True)
class SimilarRows:
    """Rows like the listed ones, by their distance in the encoded table: of training, and ``beside`` them in the list.

    ``near`` ``(rows, k)`` are positions in the similar training rows, which have ``numbers`` in their file, ``truth``
    (the code of a class, or the target) and a ``table`` of raw values. ``searched`` of all training rows were compared.
    """

    near: npt.NDArray[np.integer]
    distance: npt.NDArray[np.floating]
    beside: npt.NDArray[np.integer]
    beside_distance: npt.NDArray[np.floating]
    numbers: npt.NDArray[np.integer]
    truth: npt.NDArray[Any]
    table: pd.DataFrame
    searched: int
    of: int


@dataclass(kw_only=True)
class LocalRows:
    """A local explanation, and the numbers of its rows in their file."""

    explanation: Explanation
    numbers: Sequence[int]


@dataclass(kw_only=True)
class ListedSection:
    """Single test rows: raw values of the strongest features, truth (the code of a class, or the target), predictions.

    ``predicted`` ``(rows, outputs)`` are probabilities or the prediction. ``numbers`` are those of the rows in their
    file, ``random`` says which were drawn at random from all ``rows``. ``notable`` are the numbers of those that were
    explained in addition. ``local`` are the explanations of listed rows, ``maps`` their activation maps. ``inside`` are
    the ends of their intervals ``(rows, 2)``, or whether each class is in their set ``(rows, classes)``. ``groups`` are
    those of the tab Trust, by column: each row's group, and the groups' names.
    """

    table: pd.DataFrame
    numbers: npt.NDArray[np.integer]
    random: npt.NDArray[np.bool_]
    truth: npt.NDArray[Any]
    predicted: npt.NDArray[np.floating]
    classes: Sequence[str] | None
    rows: int
    notable: Sequence[int] = ()
    local: Sequence[LocalRows] = ()
    maps: LocalRows | None = None
    identifiers: pd.DataFrame | None = None
    similar: SimilarRows | None = None
    inside: npt.NDArray[Any] | None = None
    groups: Mapping[str, tuple[npt.NDArray[np.integer], Sequence[str]]] = field(default_factory=dict)


@dataclass(kw_only=True)
class TogetherSection:
    """What features and modalities do together.

    ``pairs`` is an explanation with interactions of order 2, ``effects`` are those of ``evaluation/pair_effects.py``
    for some of them, of the outputs ``classes`` (None: regression). ``information`` is what ``Missing.information``
    returned.
    """

    pairs: Explanation | None = None
    effects: Sequence[Mapping[str, Any]] = ()
    classes: Sequence[str] | None = None
    information: pd.DataFrame | None = None


@dataclass(kw_only=True)
class ExtraSection:
    """An additional section: a title, paragraphs, a picture. Only the title is required. ``tab`` is where it goes."""

    title: str
    text: Sequence[str] = ()
    drawing: Figure | str | None = None
    drawing_text: str = ""
    tab: str = "details"


@dataclass(kw_only=True)
class ReportContent:
    """Everything that a report can show. Only ``title``, ``target`` and ``task`` are required.

    ``metrics``, ``branches``, ``reading``, ``related`` and ``segments`` are the contents of the files of these names.
    ``matrix`` is how closely the strongest features are related to each other. ``what_if`` is
    what ``report/page/whatif.py`` returns.
    ``explanation`` is the global one, ``compared`` further ones by other methods, ``refits`` that of the training
    procedure, ``local`` one of many rows.
    ``positive`` is the positive class for metrics and plots. ``subject`` is what a model is called that permgrad did
    not train. ``models`` are several models on the same rows. ``warnings`` follow the headline.
    ``sentences`` are those of the verdict, where they are known already.
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
    refits: Explanation | None = None
    branches: Mapping[str, Any] | None = None
    local: Explanation | None = None
    rows: Sequence[RowSection] = ()
    cards: CardsSection | None = None
    listed: ListedSection | None = None
    together: TogetherSection | None = None
    what_if: Mapping[str, Any] | None = None
    gradients: GradientSection | None = None
    reading: Mapping[str, Any] | None = None
    related: Sequence[Mapping[str, Any]] = ()
    matrix: Mapping[str, Any] | None = None
    segments: Mapping[str, Any] | None = None
    layout: LayoutSection | None = None
    provenance: ProvenanceSection | None = None
    positive: Any = None
    subject: str = ""
    models: SideBySide | None = None
    warnings: Sequence[str] = ()
    extra: Sequence[ExtraSection] = ()
    sentences: Sequence[dict[str, Any]] | None = None

    @property
    def test(self) -> Mapping[str, Any]:
        """The model's metrics on the test rows."""
        return (self.metrics or {}).get("test") or {}

    @property
    def constant(self) -> Mapping[str, Any]:
        """The metrics of a constant that ignores the features, with ``learnt`` and ``ahead`` if it was compared."""
        return (self.metrics or {}).get("constant") or {}

    @property
    def noun(self) -> str:
        """What the page calls the model: a network if permgrad trained it."""
        return "model" if self.subject else "network"

    @property
    def learnt(self) -> bool:
        """Whether the model is significantly better than the constant."""
        return bool(self.constant.get("learnt", True))

    @property
    def image_counts(self) -> bool:
        """Whether the image of a row carries at least 5 % of the model: then paths and maps are worth a place.

        Images that users provide always do, and so does the only path of a network.
        """
        entries = entries_of(self.paths)
        if not is_hybrid(self.paths) or "tabular" not in entries:
            return True
        return value_of(entries.get("image"), "share") >= LEAST_SHOWN

    def positive_place(self, classes: Sequence[Any]) -> int:
        """Return the position of the positive one of two classes: by default the second."""
        labels = [str(label) for label in classes]
        return labels.index(str(self.positive)) if str(self.positive) in labels else 1

    def by_rank(self, names: Iterable[Any]) -> list[int]:
        """Return the positions of features or columns, the most important first, in the ranking as it now is."""
        explanation, places = self.explanation, dict[str, int]()
        if explanation is not None:
            ranking, groups = explanation.ranking(), explanation.groups or {}
            places = {str(column): at for at, name in enumerate(ranking) for column in (name, *groups.get(name, ()))}
        return [at for at, _ in sorted(enumerate(names), key=lambda pair: places.get(str(pair[1]), len(places)))]

    @property
    def cuts(self) -> Mapping[str, Any]:
        """The results for several thresholds, with the ``cost`` that the run was given, or nothing."""
        return (self.metrics or {}).get("cuts") or {}

    @property
    def paths(self) -> Mapping[str, Any]:
        """The content of ``branches.json``, from the explanation or the file."""
        if self.branches is not None:
            return self.branches
        return (self.explanation.branches if self.explanation is not None else None) or {}
