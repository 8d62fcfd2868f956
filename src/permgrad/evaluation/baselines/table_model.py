"""A baseline, or an estimator of the user's, as a model of raw tables: fitted, with its
encoder and its errors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if

from permgrad.base.arrays import Array, Booleans, Floats, Floats32, Integers
from permgrad.base.checks import check_confidence, check_flag
from permgrad.base.dependence import Dependence
from permgrad.base.errors import Fault, InputError, refusing
from permgrad.base.random import generator
from permgrad.base.stored import read_npz
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.readable_rows import (
    are_records,
    encoded_as_read,
    named_rows,
    with_readable_cells,
)
from permgrad.data.encode.scores import Target
from permgrad.data.kinds.column import Schema
from permgrad.data.read.cells import as_frame
from permgrad.data.read.table import blank_codes
from permgrad.data.tasks import CLASSIFICATION, REGRESSION, Task, tasks
from permgrad.evaluation.baselines import fitting
from permgrad.evaluation.baselines.file_model import FileModel
from permgrad.evaluation.baselines.fitting import FittedBaseline, baselines
from permgrad.evaluation.baselines.saved import LazyModel, read_boosted, save
from permgrad.models.decision import (
    Decision,
    check_decision,
    choose_decision,
    decided,
    read_decision,
)
from permgrad.models.estimators.fit_inputs import held_out
from permgrad.models.estimators.intervals import MOST_HELD, HeldOut, Scale
from permgrad.models.estimators.kept_rows import ComparedRows
from permgrad.models.estimators.prepared import EncodedRows
from permgrad.models.libraries.job import Rows as BaselineRows
from permgrad.models.losses import losses
from permgrad.models.reading_trees import AsTrees, ReadTrees
from permgrad.models.save.model_folders import ARRAYS, WEIGHTS, read_part

_NOWHERE: Integers = np.zeros(0, dtype=np.int64)
#: What only a model of encoded rows has. Whoever explains models looks for it.
_if_encoded: Callable[[Callable[..., Any]], Callable[..., Any]] = available_if(
    lambda model: isinstance(model.model, str)
)


class _Learned(BaseEstimator):
    """What a fitted model has, see ``TableModel``."""

    task: ClassVar[Task]
    target_scale_: ClassVar[float] = 1.0
    preprocessor_: TableEncoder
    fitted_: FittedBaseline
    classes_: Array
    held_out_: HeldOut | None
    compared_: ComparedRows | None = None
    decision_: Decision | None = None
    #: Whether rows are read as ``permgrad predict`` does, of a model that was loaded.
    by_name_: bool = False


@dataclass(eq=False, repr=False)
class TableModel(_Learned, AsTrees):
    """A model of another library on raw columns, with the interface of permgrad's own
    models.

    A baseline of the registry reads encoded rows: scaled numbers, a 0/1 column for each
    level and each kind of missing cell, parts of dates, and scores of texts, images and
    further levels. An estimator of the user's, or a model of a file, reads the raw
    columns, with the codes of missing cells blanked.

    Args:
        model: the name of a baseline, or an unfitted estimator of scikit-learn's kind.
        settings: arguments of the library's model, for a baseline.
        encoding: options of ``TableEncoder``.
        text_encoder: what reads texts beside their words, as for ``HyNNClassifier``.
        image_encoder: what reads images, as for ``HyNNClassifier``.
        validation_fraction: share of the rows that ``fit`` without ``eval_set`` holds
            out for a baseline.
        random_state: seed of the fit. An estimator's seeds that are None get it.
        threads: number of threads.
        device: where images and texts are encoded.
        loss: ``"poisson"`` for counts and rates, which a baseline minimises where its
            library can. None: the usual one.
        cost: what errors cost, as for ``HyNNClassifier``.
        threshold: of the probability of the positive class, as for ``HyNNClassifier``.

    Attributes:
        preprocessor_: the fitted ``TableEncoder``.
        fitted_: the ``FittedBaseline``.
        held_out_: what rows held out of training say of the errors, for intervals and
            sets. None without any.
        compared_: encoded training rows that single rows are compared with. None of a
            model that reads raw columns.
        decision_: the positive class and the threshold of two classes, else None.
        target_mean_: mean of the training targets. Regression only.
    """

    model: Any = "lightgbm"
    _: KW_ONLY
    settings: Mapping[str, Any] | None = None
    encoding: Mapping[str, Any] | None = None
    text_encoder: Any = None
    image_encoder: Any = None
    validation_fraction: float = 0.15
    random_state: int = 0
    threads: int = 1
    device: Any = "cpu"
    loss: str | None = None
    cost: Any = None
    threshold: Any = None

    @property
    def decision_threshold_(self) -> float | None:
        """The probability of the positive class from which on it is predicted.

        None: not two classes.
        """
        if self.decision_ is None:
            return None
        return self.decision_.threshold

    def questions(self) -> ReadTrees:
        """Return the trees of an estimator that reads the raw columns."""
        if isinstance(self.model, str):
            return super().questions()
        return self.fitted_.questions()

    @property
    def counts(self) -> bool:
        """Whether it predicts counts or rates."""
        return self.loss is not None and losses.get(self.loss).counts

    @property
    def training_mean_(self) -> float:
        """Mean of the training targets."""
        return self.target_mean_

    @property
    def label(self) -> str:
        """The model's name for people."""
        if isinstance(self.model, str):
            return baselines.get(self.model).label_for(self.task, counts=self.counts)
        if self.model is None:  # it was read from a file
            return str(self.fitted_.name)
        if isinstance(self.model, FileModel):
            return self.model.label
        return type(
            self.model[-1] if hasattr(self.model, "steps") else self.model
        ).__name__

    # ---- fitting ---------------------------------------------------------------------
    def fit_encoder(
        self,
        X: Any,
        schema: Schema | None = None,
        *,
        y: Any,
        sample_weight: Any = None,
        dependence: Any = None,
    ) -> EncodedRows:
        """Fit the encoder on training rows, and return them with their encoding."""
        from permgrad.models.estimators.presets import get_preset  # loads torch

        frame = as_frame(X)
        numeric: Any = get_preset("default").numeric
        if isinstance(self.model, str):
            numeric = baselines.get(self.model).numeric or numeric
        encoder = TableEncoder(numeric, **self.encoding or {})
        encoder.fit(X, schema=schema)
        if encoder.schema_.of_modality("photo"):
            from permgrad.models.estimators.settings import (
                choose_device,
            )  # few tables have images
            from permgrad.models.images import ImageFeatures

            encoder.images_ = ImageFeatures(
                self.image_encoder, choose_device(self.device)
            )
        if self.text_encoder is not None:
            from permgrad.models.texts import (
                TextFeatures,
            )  # few models read texts beside their words

            encoder.read_texts_with(TextFeatures(self.text_encoder))
        self.preprocessor_ = encoder
        if dependence is None:
            units = None
        else:
            units = dependence.codes
        if sample_weight is None:
            weights = None
        else:
            weights = np.asarray(sample_weight, dtype=np.float64)
        target = Target.of(
            np.asarray(y), self.task, int(self.random_state), weights, units
        )
        return EncodedRows(frame, encoder, encoder.learn(frame, target))

    def fit(
        self,
        X: Any,
        y: Any,
        eval_set: Any = None,
        *,
        weights: Any = None,
        dependence: Any = None,
    ) -> Self:
        """Fit on training rows, a frame or ``EncodedRows``.

        ``eval_set``: rows and targets that stop the training early, where the model has
        such a stop, and tell how large its errors are, perhaps with their weights.
        Their classes are among those of the training rows. ``dependence``: of these
        rows. ``weights``: of the training rows, with an ``eval_set``.
        """
        y = np.asarray(y)
        self._check_loss()
        check_decision(self.cost, self.threshold)
        if (
            eval_set is None
            and isinstance(self.model, str)
            and self.validation_fraction
        ):
            X, y, eval_set = self._divided(X, y)
        encoded_rows = X if isinstance(X, EncodedRows) else self.fit_encoder(X, y=y)
        self.preprocessor_ = encoded_rows.encoder
        self.feature_names_in_ = np.array(
            encoded_rows.encoder.feature_names_in_, dtype=object
        )
        self.n_features_in_ = len(self.feature_names_in_)
        if self.task.has_classes:
            self.classes_ = np.unique(y)
        else:
            self.target_mean_ = float(
                np.average(np.asarray(y, dtype=np.float64), weights=weights)
            )
        stopping: Any = None
        if eval_set is not None and len(eval_set[1]):
            stopping = self.encode_rows(eval_set[0]), *map(np.asarray, eval_set[1:])
        self._fit_model(encoded_rows, y, weights, stopping)
        if self.task.has_classes:
            self._decide(y, stopping)
        self._learn_errors(stopping, dependence)
        return self

    @refusing
    def _check_loss(self) -> Iterator[Fault]:
        """Refuse a loss that no library is asked to minimise."""
        if self.loss is None:
            return
        loss = losses.get(self.loss)
        hint = "Leave loss out."
        if self.task not in loss.tasks:
            problem = f"loss={self.loss!r} cannot be used for {self.task}"
            yield problem, hint, "PG036"
        if loss.fits_counts and loss.fitted_by == loss.name:
            return
        if loss.trains and loss is not losses.usual(self.task):
            problem = f"loss={self.loss!r} trains networks, and no {self.label}"
            yield problem, "Leave loss out, or fit a HyNNRegressor.", "PG036"
        if self.task.numeric:
            hint = "Leave loss out, or pass loss='poisson' for counts."
        yield f"loss={self.loss!r} cannot be chosen for {self.label}", hint, "PG036"

    def _fit_model(
        self, rows: EncodedRows, y: Any, weights: Any, stopping: Any
    ) -> None:
        """Fit the model of a library, or the user's own."""
        options: dict[str, Any] = {
            "classes": getattr(self, "classes_", ()),
            "seed": int(self.random_state),
        }
        if isinstance(self.model, str):
            self.compared_ = ComparedRows.of(
                rows.encoded, weights, int(self.random_state)
            )
            if stopping is None:
                held_rows = None
            else:
                held_rows = self._readable(*stopping)
            options |= {"options": self.settings or {}, "counts": self.counts}
            self.fitted_ = fitting.fit_baseline(
                self.model,
                self.task,
                self._readable(rows, y, weights),
                held_rows,
                threads=self.threads,
                **options,
            )
        else:
            if isinstance(self.model, FileModel):
                weights = None
            self.fitted_ = fitting.fit_estimator(
                self.model, self.label, self._readable(rows), y, weights, **options
            )
            if self.task.has_classes:
                self.classes_ = self.fitted_.classes

    def _divided(self, X: Any, y: Array) -> tuple[Any, Array, Any]:
        """Return training rows and their targets, and rows held out of them."""
        codes = None
        if self.task.has_classes:
            codes = np.unique(y, return_inverse=True)[1]
        fitted, held_indices = held_out(
            len(y), self.validation_fraction, int(self.random_state), codes
        )
        if isinstance(X, EncodedRows):
            frame = X.table
        else:
            frame = as_frame(X)
        return (
            frame.iloc[fitted],
            y[fitted],
            (frame.iloc[held_indices], y[held_indices]),
        )

    def _decide(self, y: Array, held_out: tuple[Any, ...] | None) -> None:
        """Choose the positive class and its threshold, by costs on held-out rows."""
        counts = np.array([np.sum(y == label) for label in self.classes_])
        decision_options = {"cost": self.cost, "threshold": self.threshold}
        self.decision_ = choose_decision(self.classes_, counts, **decision_options)
        if self.decision_ is None or self.decision_.cost is None or held_out is None:
            return
        codes = np.searchsorted(self.classes_, held_out[1])
        if len(held_out) > 2:
            weights = held_out[2]
        else:
            weights = None
        chances = self.fitted_.guess(self._readable(held_out[0]))
        self.decision_ = self.decision_.on_held_out(codes, chances, weights)

    def _learn_errors(
        self, held_out: tuple[Any, ...] | None, dependence: Dependence | None
    ) -> None:
        """Learn from held-out rows how large errors are: split conformal prediction,
        the same width for every row.
        """
        self.held_out_ = None
        if held_out is None:
            return
        held_out_rows, y = held_out[:2]
        sampled_indices = np.sort(
            generator(int(self.random_state), "rows of errors").permutation(len(y))[
                :MOST_HELD
            ]
        )
        if dependence is None:
            dependence = None
        else:
            dependence = dependence.take(sampled_indices)
        guess = self.fitted_.guess(self._readable(held_out_rows.take(sampled_indices)))
        no_features = held_out_rows.encoded[:0]
        if self.task.has_classes:
            codes = np.searchsorted(self.classes_, y[sampled_indices]).astype(np.int64)
            scores = 1 - guess[np.arange(len(codes)), codes]
            self.held_out_ = HeldOut(
                no_features, scores, codes=codes, dependence=dependence
            )
        else:
            error_scale = Scale(np.zeros((1, 0)), np.zeros((1, 1)))
            self.held_out_ = HeldOut(
                no_features,
                np.asarray(y, dtype=np.float64)[sampled_indices] - guess,
                error_scale,
                dependence=dependence,
            )

    # ---- predicting ------------------------------------------------------------------
    def encode_rows(self, X: Any) -> EncodedRows:
        """Return rows with their encoding.

        Rows that this model has encoded are returned as they are.
        """
        if isinstance(X, EncodedRows):
            if X.encoder is self.preprocessor_:
                return X
            X = X.table
        frame, encoded = self._read(X)
        return EncodedRows(frame, self.preprocessor_, encoded)

    def _read(self, X: Any) -> tuple[pd.DataFrame, Floats32]:
        """Return rows as a frame, and encoded."""
        frame = self._frame_of(X)
        if self.by_name_:
            return encoded_as_read(frame, self.preprocessor_)
        return frame, self.preprocessor_.transform(frame)

    def _frame_of(self, X: Any) -> pd.DataFrame:
        """Return rows as a frame: those of a model that was loaded by the names of
        columns.
        """
        # A mapping alone has columns here, and of a loaded model one record.
        is_list = not isinstance(X, Mapping) and are_records(X)
        if self.by_name_ or is_list:
            X = named_rows(X, self.preprocessor_)
            if isinstance(X, pd.DataFrame):
                return X
        return as_frame(X)

    def _readable(self, X: Any, y: Array = _NOWHERE, weights: Any = None) -> Any:
        """Return rows as the fitted model reads them."""
        if not isinstance(self.model, str):
            if isinstance(X, EncodedRows):
                frame = X.table
            else:
                frame = self._frame_of(X)
            if self.by_name_:
                frame = with_readable_cells(frame, self.preprocessor_)
            codes = self.preprocessor_.na
            if not codes:
                return frame
            return blank_codes(frame, codes)
        if isinstance(X, EncodedRows):
            encoded = self.encode_rows(X).encoded
        else:
            encoded = self._read(X)[1]
        return BaselineRows(encoded, y, weights)

    @_if_encoded
    def of_encoded(self) -> Any:
        """Return the fitted model as an estimator of encoded rows ``(rows,
        encoded)``.
        """
        return (_EncodedClassifier if self.task.has_classes else _EncodedRegressor)(
            self
        )

    @_if_encoded
    def predict_encoded(self, encoded: Array) -> Floats:
        """Return logarithms of probabilities, or predicted numbers less their mean,
        ``(rows, outputs)``.
        """
        guess = self.of_encoded().guess(encoded)
        if self.task.numeric:
            return np.asarray(guess - self.target_mean_)[:, None]
        return np.log(np.clip(guess, np.finfo(np.float64).eps, None))

    def predict_parts(
        self, X: Any, coverage: float | None = None, *, by_class: bool = False
    ) -> dict[str, Array]:
        """Return predictions with all that belongs to them, as
        ``HyNNClassifier.predict_parts`` does.
        """
        guess = self.fitted_.guess(self._readable(X))
        held_out = self.held_out_
        inside = {}
        if coverage is not None:
            if held_out is None:
                advice = "Fit it with an eval_set."
                raise InputError(
                    "Intervals and sets need rows held out of training",
                    hint=advice,
                    code="PG055",
                )
            nothing = np.zeros(
                (len(guess), 0), dtype=np.float32
            )  # neither ends nor sets depend on the columns
            inside["inside"] = (
                held_out.members(nothing, guess, coverage, _NOWHERE, by_class=by_class)
                if self.task.has_classes
                else held_out.ends(nothing, guess, coverage, _NOWHERE)
            )
            if self.counts:
                inside["inside"] = np.maximum(inside["inside"], 0.0)
        if self.task.numeric:
            return {"prediction": guess, **inside}
        return {
            "prediction": self.classes_[decided(guess, self.decision_)],
            "probabilities": guess,
            **inside,
        }

    def predict(self, X: Any) -> Array:
        """Return the predicted classes or numbers ``(rows,)``.

        Of two classes, ``decision_threshold_`` decides.
        """
        return self.predict_parts(X)["prediction"]

    def reasons(self, X: Any, n: int = 3) -> pd.DataFrame:
        """Return the strongest reasons of the predictions, as
        ``HyNNClassifier.reasons`` does.
        """
        from permgrad.attribution.reasons import reasons  # loads torch

        if isinstance(self.model, str):
            return reasons(self, self.encode_rows(X), n)
        return reasons(self, self._frame_of(X), n)

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        keep_rows: bool = True,
    ) -> None:
        """Write the fitted model into a folder.

        ``keep_rows``: with the encoded training rows that single rows are compared
        with. Without them, explanations of single rows are compared with rows of the
        table that is explained.
        """
        save(self, folder, overwrite=overwrite, keep_rows=keep_rows)


class _EncodedRegressor(AsTrees):
    """A fitted model on encoded rows."""

    _estimator_type = "regressor"

    def __init__(self, model: TableModel) -> None:
        self.model = model

    def questions(self) -> ReadTrees:
        """Return the trees of the library's model, of encoded rows."""
        return self.model.fitted_.questions()

    def guess(self, encoded: Array) -> Floats:
        """Return predicted numbers ``(rows,)``, or probabilities ``(rows,
        classes)``.
        """
        contiguous_rows = np.ascontiguousarray(encoded, dtype=np.float32)
        return self.model.fitted_.guess(contiguous_rows)

    predict = guess


class _EncodedClassifier(_EncodedRegressor):
    """The same of classes."""

    _estimator_type = "classifier"

    @property
    def classes_(self) -> Array:
        """The classes."""
        return self.model.classes_

    def predict_proba(self, encoded: Array) -> Floats:
        """Return probabilities ``(rows, classes)``."""
        return self.guess(encoded)

    def predict(self, encoded: Array) -> Array:
        """Return the predicted classes ``(rows,)``."""
        codes = decided(self.guess(encoded), self.model.decision_)
        return np.asarray(self.classes_[codes])


class TableClassifier(ClassifierMixin, TableModel):
    """A classifier of another library on raw columns."""

    task = CLASSIFICATION

    def predict_proba(self, X: Any) -> Floats:
        """Return probabilities ``(rows, classes)``."""
        return np.asarray(self.predict_parts(X)["probabilities"])

    def predict_set(
        self, X: Any, coverage: float = 0.9, *, by_class: bool = False
    ) -> Booleans:
        """Return for each class whether it is in the row's prediction set ``(rows,
        classes)``.

        As ``HyNNClassifier.predict_set`` does, with the same limits for every row.
        """
        share = check_confidence(coverage, "coverage")
        is_by_class = check_flag("by_class", by_class)
        return np.asarray(self.predict_parts(X, share, by_class=is_by_class)["inside"])


class TableRegressor(RegressorMixin, TableModel):
    """A regressor of another library on raw columns."""

    task = REGRESSION

    def predict_interval(self, X: Any, coverage: float = 0.9) -> Floats:
        """Return the ends of an interval for each row ``(rows, 2)``, of the same width
        for all.

        As ``HyNNRegressor.predict_interval`` does otherwise.
        """
        share = check_confidence(coverage, "coverage")
        return np.asarray(self.predict_parts(X, share)["inside"])


def table_model(task: str, model: Any, **options: Any) -> TableModel:
    """Return an unfitted model for a task."""
    if tasks.get(task).has_classes:
        model_type = TableClassifier
    else:
        model_type = TableRegressor
    return model_type(model, **options)


def restore(
    source: Path, description: Mapping[str, Any], *, trust: Sequence[str] = (), **_: Any
) -> TableModel:
    """Return the model of a folder with this description."""
    arrays: dict[str, Array] = read_part(
        source / ARRAYS, description, "an npz file of plain arrays", read_npz
    )
    model_name = description["model"]
    task = tasks.get(description["task"])
    texts, images = description["encoders"]
    options: dict[str, Any] = {
        "text_encoder": texts,
        "image_encoder": images,
        "loss": description.get("loss"),
    }
    model = table_model(
        task, model_name, random_state=int(description["seed"]), **options
    )
    encoder = model.preprocessor_ = TableEncoder.from_dict(description["preprocessor"])
    # Encoders of images that were not trained here have no weights, and there is no
    # file of them.
    has_weights = WEIGHTS in description["checksums"]
    if has_weights or texts is not None or description.get("images_of_columns"):
        from permgrad.models.save.networks import read_features, tensors  # loads torch

        if has_weights:
            weights = read_part(
                source / WEIGHTS, description, "a safetensors file", tensors
            )
        else:
            weights = {}
        read_features(model, description, weights)
    model.feature_names_in_ = np.array(encoder.feature_names_in_, dtype=object)
    model.n_features_in_ = len(model.feature_names_in_)
    classes = arrays.get("classes", np.zeros(0))
    if task.has_classes:
        if description.get("classes_are_objects"):
            model.classes_ = classes.astype(object)
        else:
            model.classes_ = classes
        model.decision_ = read_decision(description, model.classes_)
    else:
        model.target_mean_ = float(description["target_mean"])
    model.held_out_ = HeldOut.from_arrays(arrays, len(encoder.encoded_names_))
    model.compared_ = ComparedRows.from_arrays(arrays, len(encoder.encoded_names_))
    boosted = read_boosted(description, arrays, len(encoder.encoded_names_))
    fitted: Any
    if boosted is None:
        fitted = LazyModel(source, description, trust)
    else:
        fitted = boosted
    seconds, processor = map(float, description["seconds"])
    model.fitted_ = FittedBaseline(
        model_name or str(description["label"]),
        fitted,
        seconds,
        getattr(model, "classes_", classes),
        arrays["seen"],
        processor,
        model.counts,
    )
    return model
