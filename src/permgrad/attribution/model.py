"""``pg.Model``: how a model is read, said once and found out once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from permgrad.base.arrays import Floats
from permgrad.base.checks import check_choice, is_whole
from permgrad.base.errors import InputError, shown
from permgrad.base.near_names import with_near_names
from permgrad.base.shown import show
from permgrad.data.tasks import OF_OUTPUTS

RETURNS = ("logits", "probabilities", "log_probabilities", "values")


@with_near_names
@dataclass(frozen=True, eq=False)
class Model:
    """A model and how it is read, accepted wherever a model is.

    A bare model is read as ``Model(model)``: what is left out here is found out on the
    first rows of a call. A ``Model`` remembers it, so that a second call pays only for
    the explanation. It says nothing about methods or rows.

    Args:
        model: a fitted ``HyNNClassifier`` or ``HyNNRegressor``, a ``torch.nn.Module``,
            or any predictor on a table: a fitted estimator or booster, or a function of
            rows (docs/any-model.md).
        task: ``"classification"``, ``"regression"`` or ``"multilabel"``.
        class_names: names of the classes in the order of the outputs, or of several
            numbers.
        positive: the class that plots show where they show one of two, and whose
            log-odds ``scale="logit"`` explains. Default: the rarer class in the
            training rows that an estimator keeps, or for plots in ``y``. Without both
            it is the second class.
        returns: what the model returns: ``"logits"``, ``"probabilities"``,
            ``"log_probabilities"`` or ``"values"``.
        head: which of a network's several outputs is explained, by name or position.
        hold: inputs of a network that are never replaced and are not features, beside
            masks and lengths, which are found. None: nothing is held.
        segments: how images (``"pixels"``, ``("grid", 7)``, ``"superpixels"`` or a
            mask) and series (``("windows", 10)``, ``"channels"``, or ``("windows", 10,
            "channels")`` for both) are divided. A dict sets it by input.
        channel_names: names of the channels of series and images by input, such as
            ``{"eeg": ["Fz", "Cz"]}``. A frame stands for its columns. Each channel is
            then cut along time.
        tokenizer: of Hugging Face, or a function from text to ids. Words are then
            features, and a list of texts is an input.
        layer: explain the output of a named layer of a network, or of several, instead
            of its inputs.
        batch_size: rows per forward. ``"auto"`` fits the cache, and is halved when
            memory runs out.
        vocabulary: words of token ids, where rows are ids: a function from a list of
            ids to words (``tokenizer.convert_ids_to_tokens``), a list of all words, or
            a dict. Each place is then shown by its word.
        cache: a folder that keeps the answers of a predictor of a table for later
            calls, such as those of a service. Each model needs its own.

    Raises:
        InputError: an argument cannot be used with any model. What does not fit this
            one is refused when it is read.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(300, 3))
        >>> facts = {"task": "classification", "class_names": ["low", "high"]}
        >>> model = pg.Model(lambda rows: rows[:, 0] > 0, **facts)
        >>> pg.explain(model, X, X[:, 0] > 0).ranking()[0]
        'x0'
        >>> print(model.describe(X))
        function of a table, classification
        inputs: table (300 rows, 3 columns)
        features: x0, x1, x2
        outputs: probabilities of the classes low, high in one column (positive: high)
        rows that an explanation asks for: up to 9,300
        rows that depend on each other: no sign in the columns
        >>> model.predict(X[:5]).shape
        (5, 2)
    """

    model: Any
    _: KW_ONLY
    task: Literal["classification", "regression", "multilabel"] | None = None
    class_names: Iterable[Any] | None = None
    positive: Any = None
    returns: (
        Literal["logits", "probabilities", "log_probabilities", "values"] | None
    ) = None
    head: int | str | None = None
    hold: Iterable[str] | str | None = ()
    segments: Any = None
    tokenizer: Any = None
    layer: Any = None
    batch_size: int | Literal["auto"] = "auto"
    vocabulary: Any = None
    channel_names: Mapping[str, Iterable[Any]] | None = None
    cache: str | os.PathLike[str] | None = None
    #: What was found out about the model, by the kind of rows. Emptied where it travels
    #: to another process.
    found: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what fits no model."""
        if isinstance(self.model, Model):
            raise InputError(
                "model is a pg.Model already",
                hint="Pass the model inside, as .model.",
                code="PG031",
            )
        if isinstance(self.model, type):
            problem = (
                f"model must be a fitted model, got the class {self.model.__name__}"
            )
            raise InputError(
                problem, hint="Create an instance and fit it.", code="PG031"
            )
        if self.task is not None:
            check_choice("task", self.task, OF_OUTPUTS)
        if self.returns is not None:
            check_choice("returns", self.returns, RETURNS)
        if self.cache is not None and not isinstance(self.cache, (str, os.PathLike)):
            problem = f"cache must be the path of a folder, got {shown(self.cache)}"
            raise InputError(problem, hint="Pass for example 'answers'.", code="PG001")
        automatic = isinstance(self.batch_size, str) and self.batch_size == "auto"
        if not automatic and not (is_whole(self.batch_size) and self.batch_size >= 1):
            problem = (
                "batch_size must be 'auto' or an integer of at least 1, got "
                f"{shown(self.batch_size)}"
            )
            raise InputError(problem, hint="Pass for example 'auto'.", code="PG002")

    def describe(self, X: Any, y: Any = None) -> str:
        """Return a few lines: what is taken for inputs, features, outputs, classes and
        rows that depend on each other.

        ``pg.explain`` does what is said here.

        Args:
            X: The rows, as ``pg.explain`` takes them.
            y: Their targets, ``(rows,)``. None: there are none.
        """
        description: str = show("Model.describe", self, X, y)
        return description

    def predict(self, X: Any) -> Floats:
        """Return the outputs that explanations of single rows explain, float64 ``(rows,
        outputs)``.

        Probabilities of a classifier, numbers of a regression in y's units. It has no
        y: where that alone says that several numbers of a network are scores of
        classes, say ``returns="logits"``.
        """
        outputs: Floats = show("Model.predict", self, X)
        return outputs

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "found": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def as_model(model: Any) -> Model:
    """Return a model as it is read by default, or as the user described it."""
    if isinstance(model, Model):
        return model
    return Model(model)


def described(model: Model) -> dict[str, Any]:
    """Return what differs from the default, as a record keeps it."""
    names = (
        "task",
        "class_names",
        "positive",
        "returns",
        "head",
        "hold",
        "segments",
        "layer",
        "channel_names",
    )
    return {
        field_name: value
        for field_name in names
        if not _is(value := getattr(model, field_name), _DEFAULTS.get(field_name))
    }


_DEFAULTS: dict[str, Any] = {"hold": ()}


def _is(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, tuple) and value == default)
