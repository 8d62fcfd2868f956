"""A model and what sections ask of it: its predictions, explanations, and the parts of
it that can be shown.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.assess.assessed_rows import Rows
from permgrad.assess.budget import PAIR, Clock
from permgrad.assess.predictions import COVERAGE, Predictions, before_calibration
from permgrad.attribution.explain import explain, find_method
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method.gradcam import GradCam
from permgrad.attribution.method.integrated_gradients import IntegratedGradients
from permgrad.attribution.model import Model
from permgrad.attribution.reasons import FEWEST_ORDERS, OF_ROWS, orders_of_features
from permgrad.attribution.request import changed
from permgrad.attribution.request.arguments import Arguments, RowsToCompare
from permgrad.attribution.request.takes import reads
from permgrad.attribution.row_losses import row_losses
from permgrad.attribution.scopes import AUTO, is_by_row, stated_scope
from permgrad.base import __version__
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.errors import InputError, keeping_warnings, warn_user
from permgrad.base.files import atomic_path, file_hash, write_json_atomic
from permgrad.base.folders import configuration_hash
from permgrad.base.random import generator
from permgrad.base.stored import TIMES, read_json
from permgrad.data.encode.calendar import CIRCLES
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.read.cells import rows_hash
from permgrad.data.tasks import CLASSIFICATION, REGRESSION, Task
from permgrad.data.types.column_types import read_numbers
from permgrad.evaluation.metrics import scores_of
from permgrad.models.decision import Decision
from permgrad.models.estimators.kept_rows import TRAINING_ROWS
from permgrad.models.losses import named_loss

_SUMS = "sums.json"
_WARNINGS = "warnings.json"


@dataclass(frozen=True)
class Cache:
    """The explanations that are cached in a folder, of a model by its hash.

    Without a folder nothing is cached.

    An entry's name is a hash of the saved model, the rows, the method and all its
    options. The entry is a folder as ``Explanation.save`` writes it, with the hashes of
    its files: a damaged one is computed again. It also holds what the user was warned
    of, who is warned again.
    """

    folder: Path | None = None
    model: str = ""

    def explain(
        self,
        compute: Callable[..., Explanation],
        model: Any,
        X: Any,
        y: npt.NDArray[Any] | None = None,
        *,
        method: Any = "permgrad",
        **options: Any,
    ) -> Explanation:
        """Return an explanation of a frame or encoded rows from the cache, or compute
        and cache it.

        ``meta["cached"]`` is true if it was read. ``compute`` is ``permgrad.explain``.
        The seed is among the options.
        """
        entry = cached = None
        if self.folder is not None:
            table = X if isinstance(X, pd.DataFrame) else X.table
            chosen_method, method_name = find_method(method)
            facts = {
                "version": __version__,
                "model": self.model,
                "method": repr(chosen_method),
                "data": rows_hash(table, y),
            }
            call_hash = configuration_hash({"facts": facts, "options": options})
            entry = self.folder / f"{method_name}-{call_hash[:24]}"
            cached = _read(entry)
        if cached is not None:
            explanation, messages = cached
            _warn_of(messages)
        else:
            messages = []
            try:
                with keeping_warnings() as messages:
                    explanation = compute(model, X, y, method=method, **options)
            finally:
                _warn_of(messages)
        explanation.meta["cached"] = cached is not None
        if entry is not None and cached is None:
            _store(entry, explanation, messages)
        return explanation


def _warn_of(messages: Sequence[str]) -> None:
    for message in messages:
        warn_user(message)


def _read(entry: Path) -> tuple[Explanation, list[str]] | None:
    """Return a cached explanation and what it warned of, None where there is none."""
    if not entry.is_dir():
        return None
    with suppress(OSError, ValueError, TypeError, AttributeError, InputError):
        checksums = read_json(entry / _SUMS)
        if {
            file_name: file_hash(entry / file_name) for file_name in checksums
        } == checksums:
            messages: list[str] = []
            if _WARNINGS in checksums:
                messages = read_json(entry / _WARNINGS)["warnings"]
            return Explanation.load(entry), messages
    warn_user(f"The saved explanation {entry} is damaged. It is computed again.")
    return None


def _store(entry: Path, explanation: Explanation, messages: Sequence[str]) -> None:
    """Write an explanation and what it warned of, where that can be written."""
    # The folder may be read-only. The explanation is valid without the cache.
    with suppress(OSError), atomic_path(entry, folder=True) as temporary:
        explanation.save(temporary, overwrite=True)
        write_json_atomic(temporary / _WARNINGS, {"warnings": list(messages)})
        checksums = {}
        for file_path in sorted(temporary.iterdir()):
            if file_path.is_file() and file_path.name != TIMES:
                checksums[file_path.name] = file_hash(file_path)
        write_json_atomic(temporary / _SUMS, checksums)


#: Training rows that stand for all others, and rows that are their own donors from this
#: number on.
_BACKGROUND = 1000
_OWN_DONORS = 200
#: Arguments that only a loss over all rows has.
_GLOBAL_ONLY = ("loss", "confidence", "n_repeats")


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """A model and what sections ask of it. What a model does not have is None or empty.

    Attributes:
        name: the model's name for people.
        model: as the user passed it.
        task: ``"classification"`` or ``"regression"``.
        classes: names of the classes, empty for regression.
        labels: the classes as the targets hold them.
        positive: the name of the positive one of two classes.
        options: further arguments of ``pg.explain``.
        described: how it is read, where that is not found out.
        seed: seed of explanations.
        cache: where explanations of a saved model are kept.
        labels_only: it returns classes without probabilities.
        subject: what a page calls it, where it is no network of permgrad.
        encoder: the encoder of its table, if permgrad trained it, with the codes of
            missing cells ``na``.
        width: the number of features of that table.
        paths: the branches that read the table of a row.
        draws_maps: activation maps can be drawn.
        has_slopes: its outputs have gradients.
        has_one_logit: a plain network of two classes with one logit, which is explained
            by its gradients first.
        several_inputs: it is a network whose inputs can be missing one by one.
        counts: it predicts counts or rates, which are judged by their deviance.
    """

    name: str
    model: Any
    task: Task
    classes: tuple[str, ...]
    labels: Sequence[Any] = ()
    positive: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    described: Model | None = None
    seed: int = 0
    cache: Cache = field(default_factory=Cache)
    labels_only: bool = False
    subject: str = ""
    encoder: TableEncoder | None = None
    na: Sequence[Any] = ()
    width: int = 0
    paths: tuple[str, ...] = ()
    draws_maps: bool = False
    has_slopes: bool = False
    has_one_logit: bool = False
    several_inputs: bool = False
    counts: bool = False

    @cached_property
    def read(self) -> Model:
        """The model as explanations read it, once."""
        if self.described is None:
            return Model(self.model, positive=self.positive_label)
        return self.described

    @property
    def decision(self) -> Decision | None:
        """From which probability on the model predicts the positive class, or None
        where that is not known.
        """
        return getattr(self.model, "decision_", None)

    def targets(self, rows: Rows) -> Array:
        """Return the targets of rows: classes as ``labels`` has them, or numbers
        ``(rows,)``.
        """
        return np.asarray(rows.y if rows.truth is None else rows.truth)

    def truth(self, rows: Rows) -> Array:
        """Return the targets as names of classes, or numbers ``(rows,)``."""
        if not self.classes:
            return np.asarray(self.targets(rows), dtype=np.float64)
        return np.array(list(map(str, self.targets(rows).tolist())), dtype=object)

    def codes(self, rows: Rows) -> Array:
        """Return the targets as positions of classes (-1: none of them), or numbers
        ``(rows,)``.
        """
        truth = self.truth(rows)
        if self.classes:
            return pd.Index(self.classes).get_indexer(pd.Index(truth))
        return truth

    @property
    def positive_label(self) -> Any:
        """The positive class as in ``labels``, or None."""
        pairs = zip(self.classes, self.labels, strict=True)
        return next(
            (label for class_name, label in pairs if class_name == self.positive), None
        )

    def measure(
        self, guess: Floats, rows: Rows, called: Array | None = None
    ) -> dict[str, Any]:
        """Return every metric of predictions for rows, of the classes ``called`` (None:
        the most probable ones).
        """
        if self.labels_only:
            called = guess.argmax(axis=1)
        if called is None:
            decided = None
        else:
            decided = np.asarray(self.labels, dtype=object)[called]
        options: dict[str, Any] = {
            "weights": rows.weights,
            "classes": self.labels,
            "positive": self.positive_label,
        }
        if self.counts:
            options |= {"counts": True}
        if self.labels_only:
            probabilities = None
        else:
            probabilities = guess
        return scores_of(
            self.task, self.targets(rows), probabilities, called=decided, **options
        )

    @abstractmethod
    def predict(self, rows: Rows) -> Predictions:
        """Return predictions for rows, with intervals or sets where the model has
        them.
        """

    @abstractmethod
    def predict_changed(
        self, rows: Rows, row_positions: Integers, table: pd.DataFrame
    ) -> Floats:
        """Return predictions ``(places, outputs)`` for the rows at places, whose table
        was changed.
        """

    def explain(
        self, rows: Rows, y: Any = None, *, model: Model | None = None, **options: Any
    ) -> Explanation:
        """Explain some rows by a method, with ``y`` of a global one.

        ``model``: read in another way.
        """
        options = self._options(rows, options)
        if model is None:
            read_model = self.read
        else:
            read_model = model
        if self.encoder is None or isinstance(options["method"], GradCam):
            return explain(read_model, rows.inputs, y, **options)
        return self.cache.explain(explain, read_model, rows.inputs, y, **options)

    def _options(self, rows: Rows, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of an explanation of some rows."""
        dropped = _GLOBAL_ONLY if is_by_row(options.get("scope", AUTO)) else ()
        always = {}
        for option_name, value in self.options.items():
            if option_name not in dropped:
                always[option_name] = value
        chosen_options = {**always, "random_state": self.seed, **options}
        scope = stated_scope(chosen_options.get("scope", AUTO))
        if rows.dependence is not None and not (scope is not None and scope.by_row):
            argument_name, values = rows.dependence.argument
            chosen_options[argument_name] = values.tolist()
        if rows.weights is not None and scope is not None and not scope.by_row:
            chosen_options["sample_weight"] = rows.weights.tolist()
        method, _ = find_method(chosen_options.get("method", "permgrad"))
        read_options = {}
        for name, value in chosen_options.items():
            if reads(method, name, chosen_options.get("scope", AUTO)):
                read_options[name] = value
        return read_options

    def row_losses(self, rows: Rows, **options: Any) -> dict[str, Floats]:
        """Return by feature how much the loss of each row grows without it
        ``(rows,)``.
        """
        chosen_options = self._options(rows, {**options, "scope": "global"})
        return row_losses(Arguments(self.read, rows.inputs, rows.y, **chosen_options))

    def attribute(self, rows: Rows, **options: Any) -> Explanation:
        """Return attributions of single rows: integrated gradients, or Shapley values
        where there is no gradient.
        """
        if self.has_slopes:
            with keeping_warnings():
                try:
                    return self.explain(
                        rows, method=IntegratedGradients(), scope="local", **options
                    )
                except (
                    InputError
                ):  # images drawn by a function, tokens without embeddings
                    pass
        return self.explain(rows, method=OF_ROWS, scope="local", **options)

    @abstractmethod
    def dates(self, table: pd.DataFrame) -> dict[str, Floats]:
        """Return the columns of dates as numbers."""

    def date_parts(self, table: pd.DataFrame) -> dict[str, tuple[str, int | None]]:  # noqa: ARG002
        """Return the features of dates, their columns, and after how many values they
        begin again (None: never).
        """
        return {}

    def with_parts(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table with the features that its dates are, in words."""
        return table

    def kept_rows(self) -> npt.NDArray[np.float32] | None:
        """Return encoded training rows that parts are compared with.

        None: those that the model keeps.
        """
        return None

    @property
    def is_own_network(self) -> bool:
        """Whether it is a network of permgrad."""
        return self.encoder is not None and self.has_slopes


@dataclass(frozen=True, kw_only=True)
class Trained(EvaluatedModel):
    """A model that permgrad trained on a table, with its encoder."""

    def predict(self, rows: Rows) -> Predictions:
        """Return predictions for rows, with intervals or sets where it has held-out
        rows, which count once each.
        """
        held_out = getattr(self.model, "held_out_", None)
        enough = (
            held_out is not None
            and len(held_out.scores) >= held_out.fewest(COVERAGE)
            and rows.weights is None
        )
        options = {}
        if rows.outputs is not None:
            options["outputs"] = rows.outputs
        predicted_parts = self.model.predict_parts(
            rows.inputs, COVERAGE if enough else None, **options
        )
        guess = predicted_parts["probabilities" if self.classes else "prediction"]
        return Predictions(
            truth=self.truth(rows),
            guess=guess,
            classes=self.classes,
            positive=self.positive,
            inside=predicted_parts.get("inside"),
            called=None
            if self.decision is None
            else self.decision.called(predicted_parts["probabilities"]),
            decision=self.decision,
            training_mean=None if self.classes else float(self.model.training_mean_),
            counts=self.counts,
            before_calibration=before_calibration(
                getattr(self.model, "calibration_", None), guess
            ),
        )

    def predict_changed(
        self,
        rows: Rows,  # noqa: ARG002
        row_positions: Integers,  # noqa: ARG002
        table: pd.DataFrame,
    ) -> Floats:
        """Return predictions ``(places, outputs)`` for the rows at places, whose table
        was changed.

        Further columns are features of dates: they hold the date that has their value.
        """
        assert self.encoder is not None
        changed = []
        for column_name in table:
            if column_name in self.encoder.date_parts_:
                changed.append(column_name)
        if changed:
            table = self._with_parts_of(
                table.drop(columns=changed),
                {column_name: table[column_name] for column_name in changed},
            )
        if self.classes:
            guess = self.model.predict_proba(table)
        else:
            guess = self.model.predict(table)
        if self.classes:
            return np.asarray(guess)
        return np.asarray(guess)[:, None]

    def _with_parts_of(
        self, table: pd.DataFrame, dates: Mapping[str, pd.Series[Any]]
    ) -> Any:
        """Return rows, encoded, that have what other dates say."""
        encoded_rows = self.model.encode_rows(table)
        for feature_name, column in dates.items():
            date_column, _, encoded_columns = encoded_rows.encoder.date_parts_[
                feature_name
            ]
            other_rows = self.model.encode_rows(
                table.assign(**{date_column: column.array})
            )
            encoded_rows.encoded[:, encoded_columns] = other_rows.encoded[
                :, encoded_columns
            ]
        return encoded_rows

    def date_parts(self, table: pd.DataFrame) -> dict[str, tuple[str, int | None]]:
        """Return the features of dates, their columns, and after how many values they
        begin again.
        """
        assert self.encoder is not None
        if hasattr(self.model, "encode_rows"):
            features_of_dates = self.encoder.date_parts_
        else:
            features_of_dates = {}
        return {
            feature_name: (date_part.column, CIRCLES.get(date_part.part))
            for feature_name, date_part in features_of_dates.items()
            if date_part.column in table
        }

    def with_parts(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table with the features that its dates are, in words."""
        assert self.encoder is not None
        wanted_parts = self.date_parts(table)
        if not wanted_parts:
            return table
        return pd.concat([table, self.encoder.cells_of_parts(table)], axis=1)

    def dates(self, table: pd.DataFrame) -> dict[str, Floats]:
        """Return the columns of dates, and what they say, as numbers."""
        assert self.encoder is not None
        columns = []
        for column in self.encoder.schema_:
            if column.of.is_moment and column.name in table:
                columns.append(column)
        dates = {}
        for column in columns:
            dates[column.name] = read_numbers(
                table[column.name], column, self.encoder.codes_
            )[0]
        features_of_dates = self.date_parts(table)
        if features_of_dates:
            cells = self.encoder.cells_of_parts(table)
            for feature_name, (date_column, _) in features_of_dates.items():
                if isinstance(cells[feature_name].dtype, pd.CategoricalDtype):
                    codes = cells[feature_name].cat.codes
                else:
                    codes = None
                if codes is None:
                    dates[feature_name] = dates[date_column]
                else:
                    dates[feature_name] = np.where(codes < 0, np.nan, codes)
        return dates


@dataclass(frozen=True, kw_only=True)
class Network(Trained):
    """A network that permgrad trained: with its encoder, its training, its paths."""

    @classmethod
    def of(cls, model: Any, **facts: Any) -> Network:
        """Return a fitted ``HyNNClassifier`` or ``HyNNRegressor``."""
        if hasattr(model, "classes_"):
            labels = model.classes_.tolist()
        else:
            labels = []
        names = tuple(map(str, labels))
        module = model.module_
        has_images = getattr(module, "image_branch", None) is not None
        if len(names) == 2 and facts.get("positive") is None:
            facts |= {"positive": names[model.decision_.positive]}
        renderer = getattr(model, "renderer_", None)
        options = getattr(model, "network_options_", {})
        loss = named_loss(getattr(model, "training_options_", {}).get("loss"))
        return cls(
            model=model,
            task=CLASSIFICATION if labels else REGRESSION,
            classes=names,
            labels=labels,
            encoder=model.preprocessor_,
            na=[] if model.na is None else model.na,
            width=len(model.preprocessor_.features()),
            paths=tuple(getattr(module, "paths", ())),
            draws_maps=has_images and getattr(renderer, "differentiable", True),
            has_slopes=True,
            counts=loss is not None and loss.counts,
            has_one_logit=bool(options.get("single_logit"))
            and not has_images
            and len(names) == 2,
            **{"name": type(model).__name__, **facts},
        )


def predictions_of_row(features: int) -> int:
    """Return how many predictions the Shapley values of a predictor's row take."""
    return orders_of_features(features) * (features + 1)


@dataclass(frozen=True, kw_only=True)
class TrainedOther(Trained):
    """A model of another library that a run trained.

    Attributes:
        background: training rows, which replace features of few rows.
        clock: the time that is left.
    """

    background: pd.DataFrame
    clock: Clock

    @classmethod
    def of(
        cls, model: Any, train: pd.DataFrame, clock: Clock, **facts: Any
    ) -> TrainedOther:
        """Return a fitted ``TableModel``, with the training rows."""
        if hasattr(model, "classes_"):
            labels = model.classes_.tolist()
        else:
            labels = []
        model_seed = int(model.random_state)
        background_rows = np.sort(
            generator(model_seed, "background").permutation(len(train))[:_BACKGROUND]
        )
        return cls(
            name=model.label,
            subject=model.label,
            model=model,
            task=model.task,
            classes=tuple(map(str, labels)),
            labels=labels,
            encoder=model.preprocessor_,
            na=model.preprocessor_.na or [],
            width=len(model.feature_names_in_),
            background=train.iloc[background_rows].reset_index(drop=True),
            clock=clock,
            **facts,
        )

    def kept_rows(self) -> npt.NDArray[np.float32]:
        """Return encoded training rows, which the model does not keep."""
        return np.asarray(self.model.encode_rows(self.background).encoded)

    def explain(self, rows: Rows, y: Any = None, **options: Any) -> Explanation:
        """Explain some rows by their raw columns.

        Few rows take their replacements from training rows.
        """
        if is_by_row(options.get("scope", AUTO)):
            # A model that keeps rows to compare single rows with is explained by these.
            if self.model.compared_ is None:
                compared = RowsToCompare(self.background, TRAINING_ROWS)
                options = {"background": compared, **options}
        elif len(rows) < _OWN_DONORS:
            options = {"background": self.background, **options}
        if not hasattr(self.model, "of_encoded"):
            rows = replace(rows, inputs=rows.frame)
        return super().explain(rows, y, **options)

    def attribute(self, rows: Rows, **options: Any) -> Explanation:
        """Return Shapley values of single rows, by fewer orders where a third of the
        time that is left is too short.
        """
        usual = int(OF_ROWS.max_permutations)
        per_order = self.clock.per_row * PAIR * len(rows) * (self.width + 1)
        usual_orders = orders_of_features(self.width)
        if per_order:
            in_time = int(min(usual_orders, self.clock.left() / 3 / per_order))
        else:
            in_time = usual_orders
        orders = max(FEWEST_ORDERS, in_time)
        if orders < usual_orders:
            self.clock.cut.append(
                f"explanation of {len(rows)} single rows: {orders} orders of features "
                f"instead of {usual_orders}"
            )
        if orders < usual:
            with keeping_warnings():  # of the errors that this leaves
                fewer = changed(OF_ROWS, max_permutations=orders)
                return self.explain(rows, method=fewer, scope="local", **options)
        return super().attribute(rows, **options)
