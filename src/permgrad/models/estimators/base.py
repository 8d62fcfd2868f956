"""What both estimators share: encode, lay out, train, predict, save."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from permgrad.base.checks import check_choice, check_confidence, check_names, check_path
from permgrad.base.errors import InputError, PermgradError, shown
from permgrad.base.progress import ProgressMode
from permgrad.base.random import derive_seed, generator, resolve_seed
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.types.column_notes import tell_of_columns, tell_of_other_order
from permgrad.data.types.column_types import infer_schema
from permgrad.data.weights import check_weights
from permgrad.imaging.foreign import ForeignRenderer, is_foreign
from permgrad.imaging.layout import fit_layout, make_layout
from permgrad.imaging.render import Renderer
from permgrad.models.batches import in_batches, sparing
from permgrad.models.devices import device_of, full_float32, rows_at_once
from permgrad.models.estimators import inputs
from permgrad.models.estimators.calibration import Calibration, check_calibration, fit_calibration
from permgrad.models.estimators.intervals import HeldOut, Places, learn_errors
from permgrad.models.estimators.prepared import EncodedFrame, FitRows, Prepared, encode_training, train_model
from permgrad.models.estimators.presets import get_preset
from permgrad.models.estimators.settings import FitSettings, resolve_settings
from permgrad.models.fast.inference import FoldedNetwork
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.options import NetworkOptions
from permgrad.models.network.summary import TrainingTime, draw_network, measure_training_time, summarize
from permgrad.models.save.writing import save
from permgrad.models.train.distributed import count_devices
from permgrad.models.train.guard import sheltered, untouched
from permgrad.models.train.learner import Course, EpochWatcher
from permgrad.models.train.rows import Rows, TrainingRows

_NETWORK_PREFIX = "network__"
# Measured on the paper network, one thread: 64 rows 25,900 rows/s, 512 rows 9,300, 2,048 rows 6,600.
_ROWS_ON_CPU = 64
_ROWS_ON_GPU = 8192


class HyNNBase(BaseEstimator):
    """What classifier and regressor share: encode, lay out, train, predict, save."""

    _task: str
    # Arguments that are read here, stored by the constructors of the two estimators.
    network: Any
    pixels: int
    background_size: int
    device: Any
    devices: Any
    random_state: Any
    progress: ProgressMode
    na_codes: Any
    kinds: Any
    calibration: str | None
    # What fitting leaves behind for classes.
    classes_: npt.NDArray[Any]
    class_weights_: npt.NDArray[np.float64]
    calibration_: Calibration
    held_out_: HeldOut | None

    # ---- parameters --------------------------------------------------------------------------------------------------

    def _store(self, arguments: Mapping[str, Any]) -> None:
        """Set what a constructor was called with, all of its ``locals()``, as attributes."""
        self.__dict__.update({name: value for name, value in arguments.items() if name != "self"})

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments. ``deep`` adds each network option as ``network__<option>``."""
        parameters: dict[str, Any] = super().get_params(deep=False)
        if deep:
            changes = parameters["network"] if isinstance(parameters["network"], Mapping) else {}
            options: Mapping[str, Any] = {}
            with contextlib.suppress(PermgradError):  # a wrong preset is for fit to report
                options = get_preset(parameters["preset"]).network.to_dict()
            parameters.update({f"{_NETWORK_PREFIX}{name}": value for name, value in {**options, **changes}.items()})
        return parameters

    def set_params(self, **params: Any) -> Self:
        """Set arguments. ``network__dropout=0.2`` sets one option of ``network`` and leaves the others."""
        named = [name for name in params if name.startswith(_NETWORK_PREFIX)]
        options = {name.removeprefix(_NETWORK_PREFIX): params.pop(name) for name in named}
        for name in options:
            check_choice("network option", name, NetworkOptions.names())
        super().set_params(**params)
        if options:
            base = self.network if isinstance(self.network, Mapping) else {}
            self.network = {**base, **options}
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.categorical = tags.input_tags.string = True
        tags.target_tags.required = True
        return tags

    # ---- fitting -----------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None, eval_set: Any = None) -> Self:
        """Fit encoder, layout and network.

        Args:
            X: table ``(rows, features)``: a frame with numbers, text, booleans, dates and missing values, or an array.
            y: target ``(rows,)``.
            sample_weight: weight of each row's loss ``(rows,)``. Rows of weight 0 are left out.
            eval_set: ``(X, y)`` for early stopping and calibration in the place of ``validation_fraction``. Never
                trained on.

        Raises:
            InputError: Arguments or data cannot be used. All wrong arguments are listed at once.
        """
        return self._fit(X, y, sample_weight, eval_set)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        eval_set: Any = None,
        *,
        checkpoint_folder: str | os.PathLike[str] | None = None,
        on_epoch: EpochWatcher | None = None,
    ) -> Self:
        """Fit the model. With a ``checkpoint_folder``, a stopped training is resumed by the same call.

        ``on_epoch`` sees each epoch's line of the history and may end the training, see ``training.train``.
        """
        return self._prepare_and_train(
            lambda: self._prepare(X, y, sample_weight, eval_set), checkpoint_folder, on_epoch
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
        """Fit on a Parquet file, or a folder of them, that need not fit in memory. See docs/training-at-scale.md.

        The files are read once before training, and once per epoch. Scales, levels, class weights and the target's
        scale are those of all training rows. Types come from up to 100,000 rows spread over the table, layout and
        background from a uniform sample. A table that fits into one block is trained on as by ``fit``.

        Args:
            path: a Parquet file, or a folder. Files are read in the order of their names.
            target: name of the target's column.
            validation: another file or folder with rows for early stopping and calibration, of which at most 50,000
                are drawn. None: ``validation_fraction`` of the rows, at most 50,000, drawn by their row number.
            features: columns to learn from. None: all but the target and the weight.
            sample_weight: name of a column with each row's weight in the loss. Rows of weight 0 are left out.
            block_rows: encoded rows in memory at once, within which rows are shuffled. None: 128 MiB of them.
            checkpoint_folder: folder for the state after each epoch. The same call resumes from it.
            on_epoch: called with each epoch's line of the history. True ends the training.

        Raises:
            InputError: Arguments or files cannot be used, or files change while they are read.
            EnvironmentProblem: A file cannot be read.

        Examples:
            >>> import tempfile, permgrad as pg
            >>> rng = np.random.default_rng(0)
            >>> table = pd.DataFrame(rng.normal(size=(400, 3)), columns=["a", "b", "y"])
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     for part in range(4):
            ...         table[part * 100 : (part + 1) * 100].to_parquet(f"{folder}/{part}.parquet")
            ...     model = pg.HyNNRegressor(preset="fast", max_epochs=2, random_state=0).fit_stream(folder, "y")
            >>> model.predict(table[["a", "b"]]).shape
            (400,)
        """
        from permgrad.models.stream.streaming import prepare_stream  # loads pyarrow.parquet

        arguments = path, target, validation, features, sample_weight, block_rows
        return self._prepare_and_train(lambda: prepare_stream(self, *arguments), checkpoint_folder, on_epoch)

    def _prepare_and_train(
        self,
        prepare: Callable[[], Prepared],
        checkpoint_folder: str | os.PathLike[str] | None,
        on_epoch: EpochWatcher | None,
    ) -> Self:
        if checkpoint_folder is not None:
            check_path("checkpoint_folder", checkpoint_folder)
        if on_epoch is not None and not callable(on_epoch):
            raise InputError(
                f"on_epoch must be a function of one epoch's line of the history, got {shown(on_epoch)}",
                hint="Pass a function, or leave it out.",
                code="PG001",
            )
        # Also around the parts that only calculate: libraries that they load on first use change filters and loggers.
        with untouched():
            return self._train(prepare(), checkpoint_folder, on_epoch)

    def _train(
        self, work: Prepared, checkpoint_folder: str | os.PathLike[str] | None, on_epoch: EpochWatcher | None
    ) -> Self:
        train_model(self, work, checkpoint_folder, on_epoch)
        if self._task == "classification":
            held, outputs, y = work.course.validation_rows, None, None
            if held is not None and self.calibration not in (None, "prior"):
                outputs, y = self.predict_encoded(held.x.numpy()), held.y.numpy()
            weights = work.validation_weight
            self.calibration_ = fit_calibration(self.calibration, self.class_weights_, outputs, y, weights)
        self.held_out_ = learn_errors(self, work.course)
        return self

    def _prepare(self, X: Any, y: Any, sample_weight: Any, eval_set: Any) -> Prepared:
        """Check everything, fit encoder and layout, build the network: all that comes before the first step."""
        settings = resolve_settings(self.get_params(deep=False), self._task)
        tell_of_other_order(X, y=y, sample_weight=sample_weight)
        frame = inputs.as_frame(self, X, reset=True)
        target = inputs.one_column(y, estimator=self)
        inputs.check_rows_match(frame, target)
        weights = np.ones(len(frame)) if sample_weight is None else check_weights(sample_weight, len(frame))
        weighty = np.flatnonzero(weights > 0)
        if len(weighty) < len(weights):
            frame, target, weights = frame.iloc[weighty], target[weighty], weights[weighty]
            if len(frame) < 2:
                raise InputError(
                    f"Training needs at least 2 rows with a weight above 0, got n_samples={len(frame)}",
                    hint="Add rows.",
                    code="PG013",
                )
        seed = resolve_seed(self.random_state)
        # A class is stratified over. A number is not, and looked at before there is work.
        is_classes = self._task == "classification"
        strata = inputs.class_target(target)[1] if is_classes else None
        if not is_classes:
            inputs.number_target(target)
        training, held_out = np.arange(len(frame)), np.zeros(0, dtype=np.int64)
        if eval_set is None:
            training, held_out = inputs.held_out(len(frame), settings.validation_fraction, seed, strata)
        train_frame = frame if len(training) == len(frame) else frame.iloc[training]
        encoder = self._make_encoder(train_frame, settings).fit(train_frame)
        together = [*encoder.groups_.values(), *encoder.variables_.values()]
        tell_of_columns(train_frame, encoder.schema_, dict(self.kinds or {}), together=together)
        encoded = encode_training(encoder, train_frame)
        self.preprocessor_ = encoder
        mean = weights[training].mean()
        held: FitRows | None = None
        if eval_set is not None:
            held = self._evaluation_rows(eval_set, encoder)
        elif len(held_out):
            held_encoded = encoder.transform(frame.iloc[held_out])
            held = FitRows(held_encoded, target[held_out], weights[held_out] / mean)
        rows = FitRows(encoded, target[training], weights[training] / mean)
        return self._learn_rows(encoder, rows, held, settings, seed)

    def _prepare_encoded(
        self,
        encoder: TableEncoder,
        train_rows: FitRows,
        validation_rows: FitRows | None,
        settings: FitSettings | None = None,
    ) -> Prepared:
        """Do what ``_prepare`` does, for callers that hold the table's fitted encoder and its rows, such as a run.

        ``na_codes``, ``groups``, ``variables``, ``kinds``, ``max_levels`` and ``numeric`` are then the encoder's.
        """
        settings = settings or resolve_settings(self.get_params(deep=False), self._task)
        self.feature_names_in_ = np.array(encoder.feature_names_in_, dtype=object)
        self.n_features_in_ = len(self.feature_names_in_)
        return self._learn_rows(encoder, train_rows, validation_rows, settings, resolve_seed(self.random_state))

    def _learn_rows(
        self, encoder: TableEncoder, train_rows: FitRows, held: FitRows | None, settings: FitSettings, seed: int
    ) -> Prepared:
        """Learn the target, fit the layout and build the network."""
        self.preprocessor_, self.seed_ = encoder, seed
        coded = inputs.learn_target(self, self._task, train_rows.y, settings.class_weight)
        rows = self._rows(train_rows.x, coded, train_rows.weights)
        validation, plain = None, np.zeros(0)
        if held is not None:
            plain = held.weights
            validation = self._rows(held.x, inputs.code_target(self, self._task, held.y), plain)
        return self._ready(settings, train_rows.x, coded, rows, validation, plain)

    def _ready(
        self,
        settings: FitSettings,
        encoded: npt.NDArray[np.float32],
        coded: npt.NDArray[Any],
        rows: TrainingRows,
        validation: Rows | None,
        validation_weight: npt.NDArray[np.float64],
    ) -> Prepared:
        """Fit the layout on encoded training rows, or a sample of them, and build the network."""
        with sheltered(derive_seed(self.seed_, "weights")):
            self._build(encoded, settings)
        # Training rows from which explanations draw donors.
        chosen = generator(self.seed_, "background").permutation(len(encoded))[: int(self.background_size)]
        self.background_, self.background_target_ = encoded[np.sort(chosen)], coded[np.sort(chosen)]
        if self._task == "classification":
            held = np.zeros(0, dtype=np.int64) if validation is None else validation.y.numpy()
            check_calibration(self.calibration, self.class_weights_, self.classes_, held)
        options, seed = settings.training_for(len(rows)), derive_seed(self.seed_, "training")
        columns = self.preprocessor_.encoded_names_
        course = Course(self.module_, rows, validation, options, seed, self.progress, columns=columns)
        return Prepared(course, settings.device, count_devices(self.devices, settings.device), validation_weight)

    def _make_encoder(self, frame: pd.DataFrame, settings: FitSettings) -> TableEncoder:
        """Return an encoder with the estimator's arguments. ``frame`` shows what its columns are."""
        kinds, numeric = self.kinds, cast("Any", settings.numeric)
        if settings.pairs_as_levels:
            # A column of yes and no that is text is a category like any other.
            schema = infer_schema(frame, na_codes=self.na_codes, kinds=self.kinds)
            pairs = [column.name for column in schema if column.kind == "boolean" and column.storage == "pair"]
            kinds = {**dict.fromkeys(pairs, "categorical"), **(self.kinds or {})}
        arguments = {name: getattr(self, name) for name in ("na_codes", "groups", "variables")}
        return TableEncoder(numeric, settings.max_levels, kinds=kinds, **arguments)

    def _build(self, encoded: npt.NDArray[np.float32], settings: FitSettings) -> None:
        """Make renderer and network for the encoded training rows, with torch's generators seeded by the caller."""
        encoder, network, layout = self.preprocessor_, settings.network, settings.layout
        names, seed = list(encoder.encoded_names_), derive_seed(self.seed_, "layout") % 2**31
        self.renderer_: Any = None
        if "image" in settings.paths and is_foreign(layout):
            self.renderer_ = ForeignRenderer(layout, None if callable(layout) else names)
        elif "image" in settings.paths:
            fitted = fit_layout(make_layout(layout, int(self.pixels), seed), encoded, names, seed)
            self.renderer_ = Renderer(
                fitted, encoder.minimum_, encoder.maximum_, network.image_channels, network.image_scale
            )
        outputs = len(self.classes_) if self._task == "classification" else 1
        self.module_ = HybridNetwork(
            encoded.shape[1],
            1 if network.single_logit and outputs == 2 else outputs,
            network,
            renderer=self.renderer_,
            paths=settings.paths,
            numeric_columns=[int(column) for column in encoder.numeric_columns_],
            level_blocks=inputs.level_blocks(encoder),
        )
        self.network_options_ = network.to_dict()

    def _rows(self, encoded: npt.NDArray[Any], coded: npt.NDArray[Any], weights: npt.NDArray[np.float64]) -> Rows:
        """Put rows into tensors. The class weights go into the rows' weights."""
        y = torch.from_numpy(np.ascontiguousarray(coded))
        if self._task == "classification":
            weights = weights * self.class_weights_[coded]
        y = y.long() if self._task == "classification" else y.float()
        return Rows(
            torch.from_numpy(np.ascontiguousarray(encoded, dtype=np.float32)), y, torch.from_numpy(weights).float()
        )

    def _evaluation_rows(self, eval_set: Any, encoder: TableEncoder) -> FitRows:
        if not isinstance(eval_set, (tuple, list)) or len(eval_set) != 2:
            raise InputError(
                f"eval_set must be a pair (X, y), got {type(eval_set).__name__}",
                hint="Pass eval_set=(X_validation, y_validation).",
                code="PG001",
            )
        tell_of_other_order(eval_set[0], **{"eval_set's y": eval_set[1]})
        frame = inputs.as_frame(self, eval_set[0], reset=False)
        target = inputs.one_column(eval_set[1], estimator=self)
        inputs.check_rows_match(frame, target, "eval_set's y")
        return FitRows(encoder.transform(frame), target, np.ones(len(frame)))

    # ---- predicting --------------------------------------------------------------------------------------------------

    def encode(self, X: Any) -> npt.NDArray[np.float32]:
        """Return the rows as the network sees them, float32 ``(rows, encoded)``.

        Raises:
            sklearn.exceptions.NotFittedError: Before ``fit``.
            ValueError: Other columns, or the same in another order, than in ``fit``.
        """
        check_is_fitted(self, "module_")
        if isinstance(X, EncodedFrame) and X.encoder is self.preprocessor_:
            return X.encoded.copy()
        frame = inputs.as_frame(self, X, reset=False)
        return np.ascontiguousarray(self.preprocessor_.transform(frame), dtype=np.float32)

    def predict_encoded(
        self, encoded: npt.ArrayLike, batch_size: int | Literal["auto"] = "auto"
    ) -> npt.NDArray[np.float32]:
        """Return logits, or standardised predictions, of what ``encode`` returns, float32 ``(rows, outputs)``.

        ``batch_size="auto"`` keeps a batch's activations in the processor's cache, which is faster than larger batches.
        The last batch is filled up, so that a row's prediction does not depend on the number of other rows.
        """
        check_is_fitted(self, "module_")
        rows = torch.from_numpy(np.ascontiguousarray(encoded, dtype=np.float32))
        device = device_of(self.module_)
        usual = rows_at_once(device, on_processor=_ROWS_ON_CPU, on_accelerator=_ROWS_ON_GPU)
        size, count = usual if batch_size == "auto" else int(batch_size), len(rows)
        if batch_size == "auto" and device.type == "cpu":
            # Matrix products round differently for another number of rows.
            rows = torch.cat([rows, rows[-1:].expand(-count % size, -1)])
        outputs = torch.empty(len(rows), self.module_.outputs)
        with sparing(), torch.inference_mode(), full_float32():
            network = self.module_ if self.module_.training else FoldedNetwork(self.module_)

            def predict(part: slice) -> None:
                outputs[part] = network(rows[part].to(device)).cpu()

            in_batches(len(rows), size, predict)
        return outputs[:count].numpy()

    def _calibrated(self, coverage: Any, groups: Any) -> tuple[HeldOut, float, Places]:
        """Return the held-out rows, and the checked arguments of intervals: groups as places of encoded columns."""
        check_is_fitted(self, "module_")
        share = check_confidence(coverage, "coverage")
        names = () if groups is None else check_names("groups", groups, "Pass for example groups='sex'.")
        places = [self.preprocessor_.columns_of(name) for name in names]
        if self.held_out_ is None:
            raise InputError(
                "Intervals and sets need rows held out of training, but this model has none",
                hint="Fit it with validation_fraction=0.1 or an eval_set. A model saved by an older version needs "
                "fitting again.",
                code="PG055",
            )
        return self.held_out_, share, np.concatenate([np.zeros(0, dtype=np.int64), *places])

    # ---- saving, showing ---------------------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the fitted model into a folder: weights as safetensors, the rest JSON and npz. See ``permgrad.load``.

        ``overwrite``: whether a model that is already there is replaced. Other folders never are.

        Raises:
            InputError: The folder holds something already.
            EnvironmentProblem: It cannot be written.
        """
        check_is_fitted(self, "module_")
        save(self, folder, overwrite=overwrite)

    def summary(self) -> str:
        """Return the network's branches, shapes and parameter counts as text."""
        check_is_fitted(self, "module_")
        return summarize(self.module_)

    def draw_network(self) -> Any:
        """Return a ``matplotlib.figure.Figure`` of the network: what flows where, with shapes and parameters."""
        check_is_fitted(self, "module_")
        return draw_network(self.module_)

    def estimate_training_time(self, X: Any, y: Any, sample_weight: Any = None, eval_set: Any = None) -> TrainingTime:
        """Measure a few training steps on a copy and say how long ``fit`` with the same arguments will take."""
        twin = copy.copy(self)
        work = twin._prepare(X, y, sample_weight, eval_set)  # noqa: SLF001 — a copy of ourselves
        return measure_training_time(work.course, work.device)

    def __getstate__(self) -> dict[str, Any]:
        """Bring the network to the processor, so that a pickle opens on any machine."""
        state: dict[str, Any] = dict(super().__getstate__())
        module = state.get("module_")
        if isinstance(module, HybridNetwork) and next(module.parameters()).device.type != "cpu":
            state["module_"] = copy.deepcopy(module).cpu()
            state["renderer_"] = state["module_"].renderer
        return state
