"""What both estimators share: encode, lay out, train, predict, save."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from permgrad.base.arrays import Array, Floats, Floats32
from permgrad.base.checks import check_choice, check_confidence, check_names
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, PermgradError
from permgrad.base.progress import ProgressMode
from permgrad.base.random import resolve_seed
from permgrad.base.shown import show
from permgrad.data.encode.readable_rows import (
    are_records,
    encoded_as_read,
    named_rows,
)
from permgrad.data.encode.scores import Target
from permgrad.data.kinds.column import Schema
from permgrad.data.read.cells import as_frame
from permgrad.data.tasks import Task
from permgrad.data.types.findings import (
    all_findings,
    tell_of_columns,
    tell_of_other_order,
    without_scores,
)
from permgrad.data.types.odd_cells import warn_of_odd_cells, without_odd_cells
from permgrad.data.weights import check_weights, exposures
from permgrad.models.batches import in_batches, sparing
from permgrad.models.decision import Decision, decided
from permgrad.models.devices import full_float32
from permgrad.models.estimators import fit_inputs as inputs
from permgrad.models.estimators.building import (
    build_network,
    find_as_one,
    known_types,
    make_encoder,
    tensor_rows,
)
from permgrad.models.estimators.calibration import Calibration
from permgrad.models.estimators.dividing import Divided, divide, rows_with_weight
from permgrad.models.estimators.folds import units_of_folds
from permgrad.models.estimators.intervals import HeldOut, Places
from permgrad.models.estimators.learned import learn_from_held_out
from permgrad.models.estimators.prepared import (
    EncodedRows,
    Prepared,
    check_hooks,
    nothing_varies,
)
from permgrad.models.estimators.presets import get_preset
from permgrad.models.estimators.settings import FitSettings, resolve_settings
from permgrad.models.estimators.share import branch_words
from permgrad.models.fast.inference import FoldedNetwork
from permgrad.models.losses import losses, named_loss
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.network_summary import summarize
from permgrad.models.network.options import NetworkOptions
from permgrad.models.save.writing import save
from permgrad.models.train.guard import untouched
from permgrad.models.train.learner import EpochWatcher, train
from permgrad.models.train.training_rows import Rows

_NETWORK_PREFIX = "network__"
# Measured on the paper network, one thread: 64 rows 25,900 rows/s, 512 rows 9,300,
# 2,048 rows 6,600.
_ROWS_ON_CPU = 64
_ROWS_ON_GPU = 8192


class _TrainingRows(NamedTuple):
    """Rows that a model is trained on.

    Attributes:
        frame: Their cells, ``(rows, columns)``.
        target: Their target, of counts with an exposure the rates, ``(rows,)``.
        weights: How much each counts, ``(rows,)``.
    """

    frame: pd.DataFrame
    target: Array
    weights: Floats


class HyNNBase(BaseEstimator):
    """What classifier and regressor share: encode, lay out, train, predict, save."""

    task: Task
    # Arguments that are read here, stored by the constructors of the two estimators.
    network: Any
    random_state: Any
    progress: ProgressMode
    kinds: Any
    calibration: str | None
    cost: Any
    threshold: Any
    # What fitting leaves behind.
    module_: HybridNetwork
    history_: pd.DataFrame
    preprocessor_: Any
    classes_: Array
    class_weights_: Floats
    calibration_: Calibration
    decision_: Decision | None
    held_out_: HeldOut | None
    #: What judges held-out rows that branches have learned from: what fits say that
    #: left them out ``(rows, outputs)``. None: the model itself. It is not saved.
    held_out_outputs_: Floats | None
    branches_: dict[str, dict[str, Any]]
    #: Whether rows are read as ``permgrad predict`` does, of a model that was loaded.
    by_name_: bool = False
    #: The target's column, of a model that learned from files.
    target_name_: str | None = None
    target_mean_: float
    target_scale_: float

    # ---- parameters ------------------------------------------------------------------
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments.

        ``deep`` adds each network option as ``network__<option>``.
        """
        parameters: dict[str, Any] = super().get_params(deep=False)
        if deep:
            if isinstance(parameters["network"], Mapping):
                changes = parameters["network"]
            else:
                changes = {}
            options: Mapping[str, Any] = {}
            with contextlib.suppress(
                PermgradError
            ):  # a wrong preset is for fit to report
                options = get_preset(parameters["preset"]).network.to_dict()
            parameters.update(
                {
                    f"{_NETWORK_PREFIX}{option_name}": value
                    for option_name, value in {**options, **changes}.items()
                }
            )
        return parameters

    def set_params(self, **params: Any) -> Self:
        """Set arguments.

        ``network__dropout=0.2`` sets one option of ``network`` and leaves the others.
        """
        named = []
        for parameter_name in params:
            if parameter_name.startswith(_NETWORK_PREFIX):
                named.append(parameter_name)
        options = {}
        for prefixed_name in named:
            options[prefixed_name.removeprefix(_NETWORK_PREFIX)] = params.pop(
                prefixed_name
            )
        for option_name in options:
            check_choice("network option", option_name, NetworkOptions.names())
        super().set_params(**params)
        if options:
            if isinstance(self.network, Mapping):
                base_options = self.network
            else:
                base_options = {}
            self.network = {**base_options, **options}
        return self

    def __sklearn_tags__(self) -> Any:
        estimator_tags = super().__sklearn_tags__()
        estimator_tags.input_tags.allow_nan = estimator_tags.input_tags.categorical = (
            estimator_tags.input_tags.string
        ) = True
        estimator_tags.target_tags.required = True
        return estimator_tags

    # ---- fitting ---------------------------------------------------------------------
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        eval_set: Any = None,
        *,
        row_groups: npt.ArrayLike | None = None,
        row_time: npt.ArrayLike | None = None,
        offset: npt.ArrayLike | None = None,
        checkpoint_folder: str | os.PathLike[str] | None = None,
        on_epoch: EpochWatcher | None = None,
    ) -> Self:
        """Fit encoder, layout and network: ``prepare``, then ``train``.

        Args:
            X: table ``(rows, features)``: a frame with numbers, text, booleans, dates
                and missing values, or an array.
            y: target ``(rows,)``.
            sample_weight: weight of each row's loss ``(rows,)``. Rows of weight 0 are
                left out.
            eval_set: ``(X, y)`` for early stopping and calibration in the place of
                ``validation_fraction``. Never trained on. A third item has the weights
                of its rows (or None), a fourth their offset.
            row_groups: rows that depend on each other, such as those of one patient: a
                label per row ``(rows,)``. ``validation_fraction`` holds whole groups
                out, and intervals and sets of predictions count groups.
            row_time: the time of each row ``(rows,)``. The latest rows are held out.
            offset: with ``loss="poisson"`` the logarithm of each row's exposure
                ``(rows,)``: years, area, people. It is no feature. Rates are learned,
                whose rows count by their exposure.
            checkpoint_folder: folder for the state after each epoch. The same call
                resumes from it.
            on_epoch: called with each epoch's line of the history. True ends the
                training, and a number is that of all epochs from now on.

        Raises:
            InputError: Arguments or data cannot be used. All wrong arguments are listed
                at once.
        """
        check_hooks(checkpoint_folder, on_epoch)
        dependence: dict[str, Any] = {"row_groups": row_groups, "row_time": row_time}
        prepared = self.prepare(
            X, y, sample_weight, eval_set, **dependence, offset=offset
        )
        return self.train(
            prepared, checkpoint_folder=checkpoint_folder, on_epoch=on_epoch
        )

    def fit_stream(
        self,
        path: str | os.PathLike[str],
        target: str,
        *,
        validation: str | os.PathLike[str] | None = None,
        features: Sequence[str] | None = None,
        sample_weight: str | None = None,
        block_rows: int | None = None,
        checkpoint_folder: str | os.PathLike[str] | None = None,
        on_epoch: EpochWatcher | None = None,
    ) -> Self:
        """Fit on a Parquet file, or a folder of them, that need not fit in memory.

        See docs/large-tables.md.

        The files are read once before training, and once per epoch. Scales, levels,
        class weights and the target's scale are those of all training rows. Types come
        from up to 100,000 rows spread over the table, layout and background from a
        uniform sample. A table that fits into one block is trained on as by ``fit``,
        without trees and a line beside the network.

        Args:
            path: a Parquet file, or a folder. Files are read in the order of their
                names.
            target: name of the target's column.
            validation: another file or folder with rows for early stopping and
                calibration, of which at most 50,000 are drawn. None:
                ``validation_fraction`` of the rows, at most 50,000, drawn by their row
                number.
            features: columns to learn from. None: all but the target and the weight.
            sample_weight: name of a column with each row's weight in the loss. Rows of
                weight 0 are left out.
            block_rows: encoded rows in memory at once, within which rows are shuffled.
                None: 128 MiB of them.
            checkpoint_folder: folder for the state after each epoch. The same call
                resumes from it.
            on_epoch: called with each epoch's line of the history. True ends the
                training, and a number is that of all epochs from now on.

        Raises:
            InputError: Arguments or files cannot be used, or files change while they
                are read.
            EnvironmentProblem: A file cannot be read.

        Examples:
            >>> import tempfile, permgrad as pg
            >>> rng = np.random.default_rng(0)
            >>> table = pd.DataFrame(rng.normal(size=(400, 3)), columns=["a", "b", "y"])
            >>> model = pg.HyNNRegressor(preset="fast", max_epochs=2, random_state=0)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     for part in range(4):
            ...         rows = table[part * 100 : (part + 1) * 100]
            ...         rows.to_parquet(f"{folder}/{part}.parquet")
            ...     model = model.fit_stream(folder, "y")
            >>> model.predict(table[["a", "b"]]).shape
            (400,)
        """
        from permgrad.models.streaming import (
            prepare_stream,
        )  # loads pyarrow.parquet

        check_hooks(checkpoint_folder, on_epoch)
        with untouched():
            prepared = prepare_stream(
                self, path, target, validation, features, sample_weight, block_rows
            )
        return self.train(
            prepared, checkpoint_folder=checkpoint_folder, on_epoch=on_epoch
        )

    def fit_encoder(
        self,
        X: Any,
        schema: Schema | None = None,
        *,
        y: Any = None,
        sample_weight: Any = None,
        dependence: Dependence | None = None,
    ) -> EncodedRows:
        """Fit the table's encoder as ``prepare`` does, and return the training rows
        with their encoding.

        For programs that need both before they train, for example to choose or to save
        a layout.

        Args:
            X: training rows ``(rows, features)``.
            schema: types of the columns, where they are known. None: found out.
            y: target ``(rows,)``, from which scores of text and of categories with many
                levels are learned. None: text is left out, and rare levels share one.
            sample_weight: weight of each row ``(rows,)``.
            dependence: which rows depend on each other.

        Raises:
            InputError: Arguments or rows cannot be used, or no column varies.
        """
        with untouched():
            settings = resolve_settings(self.get_params(deep=False), self.task)
            frame = inputs.as_frame(self, X, reset=True)
            target = None
            self.seed_ = resolve_seed(self.random_state)
            if y is not None:
                if sample_weight is None:
                    checked_weights = None
                else:
                    checked_weights = check_weights(sample_weight, len(frame))
                if dependence is None:
                    units = None
                else:
                    units = dependence.codes
                labels = inputs.one_column(y, estimator=self, rows=len(frame))
                target = Target.of(
                    labels, self.task, self.seed_, checked_weights, units
                )
            return self._fit_encoder(frame, settings, schema, target)[0]

    def _fit_encoder(
        self,
        frame: pd.DataFrame,
        settings: FitSettings,
        schema: Schema | None = None,
        target: Target | None = None,
        held_out_frame: pd.DataFrame | None = None,
        *,
        every: pd.DataFrame | None = None,
        later: bool = False,
    ) -> tuple[EncodedRows, Floats32 | None]:
        """Fit the encoder on training rows.

        Scores of wide columns are learned from ``held_out_frame`` rows, too, behind
        them.

        Return the training rows and what the others are encoded as. The scores of all
        come from models of other training rows: what is learned from them must know no
        label of the rows that judge it. Rows that are ``later`` do not even help to
        choose what has scores, and the encoder that is kept has not learned from them.
        ``every`` row decides the kinds of columns, as which ones are held out is drawn.
        """
        encoder = make_encoder(self, frame if every is None else every, settings)
        levels = settings.network.level_embedding_size > 0
        encoder.fit(
            frame,
            schema=known_types(
                self, encoder, frame, schema, target if levels else None, every
            ),
        )
        if encoder.schema_.of_modality("photo"):
            from permgrad.models.images import ImageFeatures  # few tables have images

            encoder.images_ = ImageFeatures(self.image_encoder, settings.device)
        column_groups = find_as_one(self, frame, encoder.schema_)
        encoder.groups_ |= column_groups
        if schema is None:  # who knows the types has told of them
            together = list(encoder.groups_.values())
            tell_of_columns(
                all_findings(
                    frame,
                    encoder.schema_,
                    together=together,
                    found_groups=column_groups,
                    codes=encoder.codes_,
                )
            )
        self.preprocessor_ = encoder
        if held_out_frame is not None:
            # Known types were decided without it.
            held_out_frame, odd_cells = without_odd_cells(
                held_out_frame, encoder.schema_, encoder.codes_
            )
            warn_of_odd_cells(odd_cells)
        if held_out_frame is None or later:
            all_rows = frame
        else:
            all_rows = pd.concat([frame, held_out_frame])
        if target is None:
            encoded = encoder.transform(all_rows)
        else:
            # A published network reads categories as it was published.
            encoded = encoder.learn(
                all_rows, target.first(len(all_rows)), levels=levels
            )
            if schema is None:
                tell_of_columns(
                    without_scores(
                        encoder.schema_, encoder.scoreless_, encoder.max_levels
                    )
                )
        if not encoded.shape[1]:
            raise nothing_varies(frame, encoder)
        encoded_rows = EncodedRows(frame, encoder, encoded[: len(frame)])
        if held_out_frame is None:
            return encoded_rows, None
        return encoded_rows, encoder.transform(held_out_frame) if later else encoded[
            len(frame) :
        ]

    def prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        eval_set: Any = None,
        *,
        row_groups: npt.ArrayLike | None = None,
        row_time: npt.ArrayLike | None = None,
        offset: npt.ArrayLike | None = None,
    ) -> Prepared:
        """Do all of ``fit`` that comes before the first step: check, fit encoder and
        layout, build the network.

        Until ``train`` is called, the model predicts nothing.

        Args:
            X: training rows as for ``fit``, or the ``EncodedRows`` that ``fit_encoder``
                returned, or some of them: the model then takes over their encoder.
                ``na``, ``groups``, ``kinds``, and the preset's ``max_levels`` and
                ``numeric`` are those of that encoder.
            y: target ``(rows,)``.
            sample_weight: weight of each row's loss ``(rows,)``.
            eval_set: as for ``fit``. Its rows may be ``EncodedRows`` of the same
                encoder.
            row_groups: as for ``fit``.
            row_time: as for ``fit``.
            offset: as for ``fit``.

        Returns:
            What ``train`` takes. ``prepared.with_epochs(10)`` is the same training, at
            most so many epochs long.

        Raises:
            InputError: Arguments or data cannot be used. All wrong arguments are listed
                at once.
        """
        with untouched():
            settings = resolve_settings(self.get_params(deep=False), self.task)
            frame, target, weights = self._read_rows(
                X, y, sample_weight, offset, settings.training.loss
            )
            self.seed_ = resolve_seed(self.random_state)
            weighty = rows_with_weight(weights)
            # A class is stratified over. A number is not, and looked at before there is
            # work.
            strata = None
            if self.task.has_classes:
                strata = inputs.class_target(target[weighty])[1]
            else:
                inputs.number_target(target[weighty])
            divided = divide(
                weighty,
                inputs.dependence_between(row_groups, row_time, len(frame), eval_set),
                settings.validation_fraction if eval_set is None else 0.0,
                self.seed_,
                strata,
            )
            training = divided.training
            coded = inputs.learn_target(
                self, target[training], settings, weights[training]
            )
            held_out_coded = inputs.code_target(self, target[divided.held_out])
            relative_weights = weights / weights[training].mean()
            train, held_out = self._encode_divided(
                X, frame, target, relative_weights, settings, divided
            )
            validation, plain = None, np.zeros(0)
            if eval_set is not None:
                validation, plain = self._judged_rows(eval_set, settings.training.loss)
            elif held_out is not None:
                plain = relative_weights[divided.held_out]
                validation = tensor_rows(self, held_out, held_out_coded, plain)
            prepared_training = build_network(
                self,
                settings,
                train.encoded,
                coded,
                tensor_rows(self, train.encoded, coded, relative_weights[training]),
                validation,
                plain,
                weights[training],
            )
            units = None
            if held_out is not None:
                units = units_of_folds(
                    self.preprocessor_, divided.related, *divided.positions
                )
            return dataclasses.replace(
                prepared_training, dependence=divided.among_held_out(), units=units
            )

    def _read_rows(
        self, X: Any, y: Any, sample_weight: Any, offset: Any, loss: str
    ) -> _TrainingRows:
        """Check the training rows, and note whether their exposures are known."""
        table = X.table if isinstance(X, EncodedRows) else X
        tell_of_other_order(table, y=y, sample_weight=sample_weight)
        frame = inputs.as_frame(self, table, reset=True)
        target = inputs.one_column(y, estimator=self, rows=len(frame))
        weights = np.ones(len(frame))
        if sample_weight is not None:
            weights = check_weights(sample_weight, len(frame))
        self.has_offset_ = offset is not None
        return _TrainingRows(frame, *inputs.per_exposure(loss, target, weights, offset))

    def _encode_divided(
        self,
        X: Any,
        frame: pd.DataFrame,
        target: Array,
        weights: Floats,
        settings: FitSettings,
        divided: Divided,
    ) -> tuple[EncodedRows, Floats32 | None]:
        """Return the rows that teach and what held-out rows are encoded as, if there
        are any, by the encoder of ``X`` or one that is fitted.

        Args:
            X: as for ``prepare``.
            frame: the same rows as a table.
            target: of each row ``(rows,)``.
            weights: of each row, in units of the mean of those that teach.
            settings: of the call.
            divided: which rows teach.
        """
        training, held_out_rows = divided.training, divided.held_out
        if isinstance(X, EncodedRows):
            self.preprocessor_ = X.encoder
            train = X if len(training) == len(X) else X.take(training)
            if not len(held_out_rows):
                return train, None
            return train, X.take(held_out_rows).encoded
        score_target = Target.of(
            target[divided.all_rows],
            self.task,
            self.seed_,
            weights[divided.all_rows],
            divided.units,
            len(held_out_rows),
        )
        held_out_frame = None
        every = None
        if len(held_out_rows):
            held_out_frame = frame.iloc[held_out_rows]
            every = frame.iloc[np.sort(divided.all_rows)]
        return self._fit_encoder(
            frame if len(training) == len(frame) else frame.iloc[training],
            settings,
            None,
            score_target,
            held_out_frame,
            every=every,
            later=divided.is_later,
        )

    def train(
        self,
        prepared: Prepared,
        *,
        checkpoint_folder: str | os.PathLike[str] | None = None,
        on_epoch: EpochWatcher | None = None,
    ) -> Self:
        """Train the network that ``prepare`` built, and learn from held-out rows how
        sure its predictions are.

        Args:
            prepared: what ``prepare`` returned.
            checkpoint_folder: folder for the state after each epoch. The same calls of
                ``prepare`` and ``train`` resume from it.
            on_epoch: called with each epoch's line of the history, earlier ones on
                resuming. True ends the training, and a number is that of all epochs
                from now on.

        Raises:
            InputError: ``prepared`` is not this model's, a hook cannot be used, or the
                loss of the first epoch is not finite.
        """
        check_hooks(checkpoint_folder, on_epoch)
        if prepared.module is not getattr(self, "module_", None):
            problem = (
                "This training was prepared by another model, or by an earlier "
                "call of prepare"
            )
            raise InputError(
                problem,
                hint="Pass what the model's last prepare returned.",
                code="PG004",
            )
        training_job = dataclasses.replace(
            prepared.job, checkpoint_folder=checkpoint_folder
        )
        with untouched():
            learner = train(training_job, prepared.device, on_epoch=on_epoch)
            history = pd.DataFrame(learner.history)
            self.history_ = history.assign(epoch=history["epoch"].astype(int))
            self.best_epoch_ = learner.best_epoch
            self.training_options_ = dataclasses.asdict(training_job.options)
            learn_from_held_out(self, prepared)
        return self

    def _judged_rows(self, eval_set: Any, loss: str) -> tuple[Rows, Floats]:
        """Return the rows of an ``eval_set`` as tensors, and their weights without
        those of classes.
        """
        if not isinstance(eval_set, (tuple, list)) or not 2 <= len(eval_set) <= 4:
            problem = f"eval_set must be a pair (X, y), got {type(eval_set).__name__}"
            raise InputError(
                problem,
                hint="Pass eval_set=(X_validation, y_validation).",
                code="PG001",
            )
        tell_of_other_order(eval_set[0], **{"eval_set's y": eval_set[1]})
        judged = self.encode_rows(eval_set[0])
        held_y = inputs.one_column(
            eval_set[1], estimator=self, rows=len(judged), what="eval_set's y"
        )
        given_weights, offset = (*eval_set[2:], None, None)[:2]
        if given_weights is None:
            weights = np.ones(len(judged))
        else:
            weights = check_weights(given_weights, len(judged))
        held_y, weights = inputs.per_exposure(loss, held_y, weights, offset)
        if self.task.numeric:
            inputs.check_numbers(losses[loss], inputs.number_target(held_y))
        plain = weights / weights.mean()
        return tensor_rows(
            self, judged.encoded, inputs.code_target(self, held_y), plain
        ), plain

    # ---- predicting ------------------------------------------------------------------
    def encode_rows(self, X: Any) -> EncodedRows:
        """Return rows with their encoding, which ``predict`` and ``permgrad.explain``
        take in the place of a table.

        Its ``encoded`` are the rows as the network sees them, float32 ``(rows,
        encoded)``. Rows that this model has encoded already are returned as they are.

        Raises:
            sklearn.exceptions.NotFittedError: Before the encoder is fitted.
            InputError: Other columns, or the same in another order, than in ``fit``.
        """
        check_is_fitted(self, "preprocessor_")
        if isinstance(X, EncodedRows) and X.encoder is self.preprocessor_:
            return X
        frame, encoded = self._read(X)
        return EncodedRows(frame, self.preprocessor_, encoded)

    def _read(self, X: Any) -> tuple[pd.DataFrame, Floats32]:
        """Return rows as a frame, and encoded."""
        check_is_fitted(self, "preprocessor_")
        encoder = self.preprocessor_
        if isinstance(X, EncodedRows):
            if X.encoder is encoder:
                return X.table, X.encoded
            X = X.table
        if are_records(X):
            frame = named_rows(X, encoder)
            if self.by_name_:
                return encoded_as_read(frame, encoder)
            return frame, encoder.transform(frame)
        # Columns without names are taken by their place, as scikit-learn does.
        has_names = hasattr(self, "feature_names_in_")
        if not self.by_name_ or (isinstance(X, pd.DataFrame) and not has_names):
            frame = inputs.as_frame(self, X, reset=False)
            return frame, encoder.transform(frame)
        rows = named_rows(X, encoder)
        if not isinstance(rows, pd.DataFrame):
            rows = inputs.as_frame(self, rows, reset=False)
        return encoded_as_read(as_frame(rows), encoder)

    def predict_parts(
        self,
        X: Any,
        coverage: float | None = None,
        *,
        by: Any = None,
        by_class: bool = False,
        offset: npt.ArrayLike | None = None,
        outputs: npt.ArrayLike | None = None,
    ) -> dict[str, Array]:
        """Return predictions with all that belongs to them, for which the network runs
        once.

        Args:
            X: table ``(rows, features)``, or ``EncodedRows``.
            coverage: share of rows whose truth their intervals or sets hold, above 0
                and below 1. None: without them.
            by: columns in whose groups the share is to hold as well, as in
                ``predict_interval``.
            by_class: whether it is to hold in each class as well, as in
                ``predict_set``.
            offset: of counts the logarithm of each row's exposure ``(rows,)``. None:
                rates are predicted.
            outputs: what is said of the rows instead of what ``predict_encoded`` says,
                ``(rows, outputs)``.

        Returns:
            ``"prediction"`` ``(rows,)``, as ``predict``. Of classes ``"probabilities"``
            ``(rows, classes)``. With a coverage ``"inside"``: the ends of intervals
            ``(rows, 2)``, or whether each class is in the row's set ``(rows,
            classes)``.

        Raises:
            InputError: The model has no rows held out of training, or too few for the
                coverage.

        Examples:
            >>> import permgrad as pg
            >>> X = np.random.default_rng(0).normal(size=(300, 2))
            >>> model = pg.HyNNRegressor(preset="fast", max_epochs=2, random_state=0)
            >>> model = model.fit(X, X[:, 0])
            >>> parts = model.predict_parts(X[:5], coverage=0.8)
            >>> {name: values.shape for name, values in parts.items()}
            {'prediction': (5,), 'inside': (5, 2)}
        """
        if coverage is None:
            calibrated = None
        else:
            calibrated = self._calibrated(coverage, by)
        encoded = self._read(X)[1]
        if outputs is None:
            row_outputs = self.predict_encoded(encoded)
        else:
            row_outputs = np.asarray(outputs)
        predictions: dict[str, Array] = {}
        if self.task.has_classes:
            probabilities = self.calibration_.probabilities(row_outputs)
            codes = decided(probabilities, self.decision_)
            predictions["prediction"] = np.asarray(self.classes_[codes])
            predictions["probabilities"] = probabilities
            if calibrated is not None:
                predictions["inside"] = calibrated[0].members(
                    encoded, probabilities, *calibrated[1:], by_class=by_class
                )
            return predictions
        predicted = row_outputs[:, 0].astype(np.float64)
        predictions["prediction"] = predicted * self.target_scale_ + self.target_mean_
        if calibrated is not None:
            interval_ends = calibrated[0].ends(encoded, predicted, *calibrated[1:])
            predictions["inside"] = (
                interval_ends * self.target_scale_ + self.target_mean_
            )
            if self.module_.rates:
                predictions["inside"] = np.maximum(predictions["inside"], 0.0)
        if offset is None:
            return predictions
        return self._per_exposure(predictions, offset)

    def _per_exposure(
        self, predictions: Mapping[str, Array], offset: npt.ArrayLike
    ) -> dict[str, Array]:
        """Return counts, of rates and their intervals, by the logarithms of
        exposures.
        """
        loss = named_loss(self.training_options_["loss"])
        if loss is None or not loss.counts:
            raise InputError(
                "offset is for models of loss='poisson'",
                hint="Leave it out.",
                code="PG006",
            )
        exposure = exposures(offset, len(predictions["prediction"]))
        return {
            result_name: (result_values.T * exposure).T
            for result_name, result_values in predictions.items()
        }

    def predict_encoded(
        self, encoded: npt.ArrayLike, batch_size: int | Literal["auto"] = "auto"
    ) -> Floats32:
        """Return logits, or standardised predictions, of encoded rows, float32 ``(rows,
        outputs)``.

        ``batch_size="auto"`` keeps a batch's activations in the processor's cache,
        which is faster than larger batches. The last batch is filled up, so that a
        row's prediction does not depend on the number of other rows.
        """
        check_is_fitted(self, "history_")
        encoded_rows = torch.from_numpy(np.ascontiguousarray(encoded, dtype=np.float32))
        device = next(self.module_.parameters()).device
        usual = _ROWS_ON_CPU if device.type == "cpu" else _ROWS_ON_GPU
        rows_per_batch = usual if batch_size == "auto" else int(batch_size)
        count = len(encoded_rows)
        if batch_size == "auto" and device.type == "cpu":
            # Matrix products round differently for another number of rows.
            encoded_rows = torch.cat(
                [encoded_rows, encoded_rows[-1:].expand(-count % rows_per_batch, -1)]
            )
        outputs = torch.empty(len(encoded_rows), self.module_.outputs)
        with sparing(), torch.inference_mode(), full_float32():
            network = (
                self.module_ if self.module_.training else FoldedNetwork(self.module_)
            )

            def predict(row_slice: slice) -> None:
                outputs[row_slice] = network(encoded_rows[row_slice].to(device)).cpu()

            in_batches(len(encoded_rows), rows_per_batch, predict)
        return outputs[:count].numpy()

    def reasons(self, X: Any, n: int = 3) -> pd.DataFrame:
        """Return the strongest reasons of the predictions for rows.

        They are Shapley values against the 100 training rows that the model keeps to
        compare single rows with, as in the *What if* of a report. For speed, twelve of
        them are played, and what the others say follows from their cells: two reasons
        that are nearly as strong may change places. ``pg.explain`` plays all of them.

        Args:
            X: table ``(rows, features)``.
            n: how many reasons, at most one for each feature.

        Returns:
            One line for each row, the strongest reason first: ``reason_1``, a feature,
            ``reason_1_value``, the row's value of it, ``reason_1_points``, how far it
            moves the prediction, and so on. Points are percentage points of the
            probability of the positive class, of more than two classes of the predicted
            one. A regression has ``reason_1_change`` instead, in units of the target.

        Raises:
            InputError: the model keeps no training rows.

        Examples:
            >>> import permgrad as pg
            >>> X = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 2)))
            >>> X.columns = ["age", "dose"]
            >>> model = pg.HyNNRegressor(preset="fast", random_state=0)
            >>> model.fit(X, 3 * X["dose"]).reasons(X[:2], n=1)["reason_1"].tolist()
            ['dose', 'dose']
        """
        check_is_fitted(self, "module_")
        return show("Estimator.reasons", self, self.encode_rows(X), n)

    def _calibrated(
        self, coverage: Any, group_names: Any
    ) -> tuple[HeldOut, float, Places]:
        """Return the held-out rows, and the checked arguments of intervals: groups as
        places of encoded columns.
        """
        check_is_fitted(self, "history_")
        share = check_confidence(coverage, "coverage")
        names = (
            ()
            if group_names is None
            else check_names("by", group_names, "Pass for example by='sex'.")
        )
        group_columns = list(map(self.preprocessor_.columns_of, names))
        if self.held_out_ is None:
            problem = (
                "Intervals and sets need rows held out of training, but this "
                "model has none"
            )
            raise InputError(
                problem,
                hint="Fit it with validation_fraction=0.1 or an eval_set.",
                code="PG055",
            )
        return (
            self.held_out_,
            share,
            np.concatenate([np.zeros(0, dtype=np.int64), *group_columns]),
        )

    # ---- saving, showing -------------------------------------------------------------
    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        keep_rows: bool = True,
    ) -> None:
        """Write the fitted model into a folder: weights as safetensors, the rest JSON
        and npz. See ``permgrad.load``.

        Args:
            folder: the folder to write.
            overwrite: whether a model that is already there is replaced. Other folders
                never are.
            keep_rows: whether encoded rows of the table go along: 1,000 training rows
                (the preset's ``background_size``), and up to 5,000 that were held out
                of training. Without them, explanations of few rows need
                ``background=``, and intervals and sets have no ``by``.

        Raises:
            InputError: The folder holds something already.
            EnvironmentProblem: It cannot be written.
        """
        check_is_fitted(self, "history_")
        save(self, folder, overwrite=overwrite, keep_rows=keep_rows)

    def summary(self) -> str:
        """Return the network's branches, shapes and parameter counts, and which were
        tried beside it, as text.
        """
        check_is_fitted(self, "module_")
        tried = []
        for branch_name, facts in getattr(self, "branches_", {}).items():
            tried.append(branch_words(branch_name, facts))
        return "\n".join([summarize(self.module_), *tried])

    def __getstate__(self) -> dict[str, Any]:
        """Bring the network to the processor, so that a pickle opens on any machine."""
        state: dict[str, Any] = dict(super().__getstate__())
        module = state.get("module_")
        if (
            isinstance(module, HybridNetwork)
            and next(module.parameters()).device.type != "cpu"
        ):
            state["module_"] = copy.deepcopy(module).cpu()
            state["renderer_"] = state["module_"].renderer
        return state
