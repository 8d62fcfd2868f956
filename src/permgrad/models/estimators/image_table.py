"""Training on a table of records and a folder of images: encode, train, predict, save."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from permgrad.base.arrays import Array, Floats
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, shown, unknown
from permgrad.base.progress import ProgressMode
from permgrad.base.random import derive_seed, resolve_seed
from permgrad.base.registry import Registry
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.image_table import ImageColumn
from permgrad.data.types.column_types import Kind, Schema
from permgrad.models.batches import in_batches, sparing
from permgrad.models.devices import full_float32
from permgrad.models.estimators.inputs import code_target, learn_target
from permgrad.models.estimators.kept_rows import draw_background, kept_rows
from permgrad.models.estimators.prepared import EncodedRows, Prepared, TrainedModel, check_hooks
from permgrad.models.estimators.settings import (
    TASK_LOSSES,
    argument_faults,
    choose_device,
    collecting,
    joined,
    training_faults,
)
from permgrad.models.network.multimodal import ImageTableNetwork, ImageTableOptions
from permgrad.models.save.writing import save
from permgrad.models.train.guard import sheltered, untouched
from permgrad.models.train.learner import EpochWatcher, TrainingJob, TrainingOptions
from permgrad.models.train.rows import Rows

Task = Literal["classification", "regression"]
Files = Sequence[Path]
#: Rows of each input: images as they are stored, and the encoded table.
Arrays = dict[str, Array]

#: Name of the encoded table among a network's inputs.
TABLE = "table"
#: Rows per forward when predicting.
_ROWS, _ROWS_ACCELERATOR = 256, 8192


@dataclasses.dataclass(frozen=True)
class ImageTablePreset:
    """Sizes of the network, how it is trained, and how numbers of the table are scaled."""

    network: ImageTableOptions = dataclasses.field(default_factory=ImageTableOptions)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    numeric: Literal["robust", "standard", "minmax", "quantile"] = "robust"


#: Presets by name.
image_presets: Registry[ImageTablePreset] = Registry("preset")
_TRAINING = {
    "max_epochs": 30, "batch_size": 64, "learning_rate": 2e-3, "weight_decay": 1e-2, "schedule": "flat_cosine",
    "schedule_unit": "step", "patience": 8,
}  # fmt: skip
image_presets.register("default")(ImageTablePreset(training=_TRAINING))
image_presets.register("fast")(
    ImageTablePreset(
        network=ImageTableOptions(filters=(8, 16), image_units=16, table_units=(32, 16), head_units=(32,)),
        training={**_TRAINING, "max_epochs": 12, "batch_size": 32, "learning_rate": 4e-3, "patience": 5},
    )
)


@dataclasses.dataclass(frozen=True)
class Records:
    """Rows that have images and a table.

    Attributes:
        images: for each image column the rows' files.
        table: the other features ``(rows, columns)``, raw.
        y: the target ``(rows,)``, where it is known.

    Examples:
        >>> rows = Records({"scan": ["a.png", "b.png"]}, pd.DataFrame({"age": [31, 40]}))
        >>> rows.take([1]).images
        {'scan': ['b.png']}
    """

    images: Mapping[str, Files]
    table: pd.DataFrame
    y: Array | None = None

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: npt.NDArray[np.integer] | list[int]) -> Records:
        """Return some of the rows, by position."""
        images = {name: [files[row] for row in rows] for name, files in self.images.items()}
        return Records(images, self.table.iloc[rows], None if self.y is None else self.y[rows])


class InputRows:
    """Several tensors with the same rows that are indexed and moved together, as one tensor would be."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = tuple(tensors)
        self.device = self.tensors[0].device

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, rows: Any) -> InputRows:
        return InputRows(tensor[rows] for tensor in self.tensors)

    def to(self, device: torch.device) -> InputRows:
        """Return the same rows on a device."""
        return InputRows(tensor.to(device) for tensor in self.tensors)

    def floats(self) -> list[Tensor]:
        """Return float32 tensors. Stored pixels 0 … 255 become 0 … 1."""
        return [tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor for tensor in self.tensors]


class _Trainee(nn.Module):
    """The network as the training sees it: one argument, outputs before the target's units."""

    def __init__(self, network: ImageTableNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, rows: InputRows) -> Tensor:
        return self.network.standardised(*rows.floats())


@dataclasses.dataclass(eq=False, repr=False)
class ImageTableModel(TrainedModel):
    """A network of images and a table, with everything needed to read further rows.

    Args:
        task: ``"classification"`` or ``"regression"``.
        preset: ``"default"`` or ``"fast"``.
        network: sizes that differ from the preset's, as in ``ImageTableOptions``.
        training: what differs from the preset's training, as in ``TrainingOptions``.
        class_weight: None, ``"balanced"``, or a weight for each class. Probabilities are then those of a world in
            which the classes are as frequent as the weights make them.
        image_size: height and width of all images in pixels. None: their median size, at most 64.
        na_codes, variables, kinds: as in ``TableEncoder``.
        background_size: training rows kept with the model, from which explanations of few rows draw.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` (or ``"gpu"``), ``"mps"``.
        random_state: seed.

    Attributes:
        module_: the ``ImageTableNetwork``, in eval mode.
        images_: one ``ImageColumn`` for each image column, fitted on training rows.
        preprocessor_: the ``TableEncoder`` of the other columns, fitted on training rows.
        classes_: sorted classes. Classification only.
        background_: input name to arrays of training rows. ``background_target_`` their target.
        history_, best_epoch_, seed_, training_options_, class_weights_: how training went.

    Examples:
        >>> import tempfile, permgrad as pg
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for row in range(24):
        ...     Image.new("L", (8, 8), 10 * row).save(folder / f"{row}.png")
        >>> scans = pg.locate_images(pd.Series([f"{row}.png" for row in range(24)], name="scan"), folder)
        >>> rows = pg.Records({"scan": scans}, pd.DataFrame({"dose": np.arange(24.0)}), np.arange(24) > 11)
        >>> model = pg.ImageTableModel(preset="fast", training={"max_epochs": 1}, random_state=0, progress=False)
        >>> held = rows.take([3, 20])
        >>> model = model.fit(rows, held)
        >>> list(model.inputs(held)), model.table_input, model.groups_, len(model.background()["scan"])
        (['scan', 'table'], 'table', {'dose': ['dose']}, 24)
        >>> model.outputs(held).shape, model.predict(held).shape, model.predict_proba(held).shape
        ((2, 2), (2,), (2, 2))
        >>> known = model.fit_encoder(rows), model.encode_rows(held)
        >>> prepared = model.prepare(known[0], rows.y, eval_set=(known[1], held.y))
        >>> sorted(model.train(prepared).predict_parts(known[1]))
        ['prediction', 'probabilities']
        >>> model.save(folder / "model")
        >>> type(pg.load(folder / "model")).__name__
        'ImageTableModel'
    """

    reads_images = True
    task: Task = "classification"
    _: dataclasses.KW_ONLY
    preset: str = "default"
    network: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    class_weight: Any = None
    image_size: int | None = None
    na_codes: Any = None
    variables: Mapping[str, Sequence[str]] | None = None
    kinds: Mapping[str, Kind] | None = None
    background_size: int = 200
    device: Any = "auto"
    random_state: Any = None
    progress: ProgressMode = "auto"
    classes_: Array = dataclasses.field(init=False)
    class_weights_: Floats = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Refuse another task."""
        check_choice("task", self.task, tuple(TASK_LOSSES))

    # ---- fitting -----------------------------------------------------------------------------------------------------
    def fit(
        self,
        train_rows: Records,
        validation_rows: Records,
        *,
        checkpoint_folder: str | os.PathLike[str] | None = None,
        on_epoch: EpochWatcher | None = None,
    ) -> Self:
        """Fit encoders on training rows and train. The epoch with the best loss on the validation rows is kept.

        A stopped training is resumed from its ``checkpoint_folder``. ``on_epoch`` is called with each epoch's line of
        the history, and True ends the training.
        """
        check_hooks(checkpoint_folder, on_epoch)
        prepared = self.prepare(train_rows, train_rows.y, eval_set=(validation_rows, validation_rows.y))
        return self.train(prepared, checkpoint_folder=checkpoint_folder, on_epoch=on_epoch)

    def fit_encoder(self, X: Records, schema: Schema | None = None) -> EncodedRows:
        """Read the images of training rows, fit the encoders of images and table, and return the rows encoded.

        ``schema``: types of the table's columns, where they are known.

        Raises:
            InputError: Arguments or rows cannot be used, an image cannot be read, or no column of the table varies.
        """
        with untouched():
            preset = image_presets.get(self.preset)
            self._check_arguments()
            fitted = [ImageColumn.fit(name, files, size=self.image_size) for name, files in X.images.items()]
            self.images_ = tuple(column for column, _ in fitted)
            encoder = TableEncoder(preset.numeric, na_codes=self.na_codes, variables=self.variables, kinds=self.kinds)
            self.preprocessor_ = encoder.fit(X.table, schema=schema)
            encoded = encoder.transform(X.table)
        if encoded.shape[1] == 0:
            raise InputError(
                "The table with the images needs a column that varies, but none does among the training rows",
                hint="Add columns.",
                code="PG017",
            )
        return EncodedRows(X.table, encoder, encoded, {column.name: pixels for column, pixels in fitted})

    def prepare(self, X: Records | EncodedRows, y: Any, *, eval_set: tuple[Records | EncodedRows, Any]) -> Prepared:
        """Do all of ``fit`` that comes before the first step, see ``HyNNClassifier.prepare``.

        ``X``: training rows, or what ``fit_encoder`` of this model returned, or some of it. ``eval_set``: validation
        rows and their target. Rows of classes without a training row are left out.

        Raises:
            InputError: Arguments or rows cannot be used, or an image cannot be read.
        """
        preset = image_presets.get(self.preset)
        device = self._check_arguments()
        options = _changed(preset.network, self.network, "network option")
        loss = TASK_LOSSES[self.task][0]
        training = _changed(TrainingOptions(loss=loss), {**preset.training, **(self.training or {})}, "training option")
        self.seed_ = resolve_seed(self.random_state)
        if y is None:
            raise InputError("Training rows need a target, but y is None", hint="Pass y.", code="PG005")
        held, held_y = eval_set
        if held_y is None or len(held) == 0:
            raise InputError(
                "Validation rows with a target are needed, but there are none", hint="Pass some.", code="PG005"
            )
        with untouched():
            self.target_mean_, self.target_scale_ = 0.0, 1.0
            target, held_y = learn_target(self, np.asarray(y), self.class_weight), np.asarray(held_y)
            if self.task == "classification" and not (known := np.isin(held_y, self.classes_)).all():
                held, held_y = held.take(np.flatnonzero(known)), held_y[known]
            if len(held) == 0:
                raise InputError(
                    "No validation row has a class of the training rows",
                    hint="Pass other validation rows.",
                    code="PG015",
                )
            held_target = code_target(self, held_y)
            rows = self.encode_rows(X) if isinstance(X, EncodedRows) else self.fit_encoder(X)
            arrays = self._arrays(rows)
            draw_background(self, arrays, np.asarray(y))
            self.__dict__.pop("history_", None)  # what an earlier training left no longer belongs to the network
            with sheltered(derive_seed(self.seed_, "weights")):
                self.module_ = image_network(self, rows.encoded.shape[1], options)
            train_rows, held_rows = self._rows(arrays, target), self._rows(self._arrays(held), held_target)
            trainee, seed = cast("Any", _Trainee(self.module_)), derive_seed(self.seed_, "training")
            job = TrainingJob(trainee, train_rows, held_rows, training, seed, self.progress)
        return Prepared(job, self.module_, device, 1, np.ones(len(held)))

    def _check_arguments(self) -> torch.device:
        """Refuse arguments that cannot be used, all at once, before an image is read."""
        names = ("background_size", "progress", "class_weight", "kinds", "variables", "na_codes")
        faults = argument_faults({name: getattr(self, name) for name in names}, self.task)
        for name in ("network", "training"):
            if not isinstance(getattr(self, name), Mapping | None):
                problem = f"{name} must be None or a mapping of options, got {shown(getattr(self, name))}"
                faults.append(InputError(problem, hint="Leave it out.", code="PG001"))
        if isinstance(self.training, Mapping):
            faults += training_faults(self.training, self.task)
        with collecting(faults):
            device = choose_device(self.device)
        if faults:
            raise joined(faults)
        return device

    def _rows(self, inputs: Arrays, y: Array) -> Rows:
        """Put rows into tensors. Classes weigh as ``class_weights_`` says, and the mean weight is 1."""
        weights = self.class_weights_[y] if self.task == "classification" else np.ones(len(y))
        target = torch.from_numpy(y)
        target = target.long() if self.task == "classification" else target.float()
        weight = torch.from_numpy(weights / weights.mean()).float()
        return Rows(cast("Any", _together(inputs)), target, weight)

    # ---- using -------------------------------------------------------------------------------------------------------
    @property
    def table_input(self) -> str:
        """Name of the encoded table among the inputs."""
        names = [column.name for column in self.images_]
        return next(name for name in (TABLE, *(f"{TABLE}_{k}" for k in range(2, 99))) if name not in names)

    @property
    def groups_(self) -> dict[str, list[str]]:
        """Each raw feature with its encoded columns, for ``pg.explain(..., level="group", groups=model.groups_)``."""
        names = self.preprocessor_.encoded_names_
        players = self.preprocessor_.features("feature")
        return {feature: [names[column] for column in columns] for feature, columns in players.items() if len(columns)}

    def encode_rows(self, X: Records | EncodedRows) -> EncodedRows:
        """Return rows with their pixels and their encoded table, which all methods take in the place of ``Records``.

        Raises:
            InputError: Another model encoded the rows, an image cannot be read, or the table has other columns.
        """
        if not isinstance(X, EncodedRows):
            pixels = {column.name: column.read(X.images[column.name]) for column in self.images_}
            return EncodedRows(X.table, self.preprocessor_, self.preprocessor_.transform(X.table), pixels)
        if X.encoder is not self.preprocessor_:
            raise InputError(
                "Another model encoded these rows, and its images may have another size",
                hint="Pass the Records.",
                code="PG004",
            )
        return X

    def _arrays(self, rows: Records | EncodedRows) -> Arrays:
        """Return the pixels of the images, and the encoded table."""
        known = self.encode_rows(rows)
        return {**known.images, self.table_input: known.encoded}

    def inputs(self, rows: Records | EncodedRows) -> dict[str, Any]:
        """Return what ``pg.explain(model.module_, ...)`` takes: images in 0 … 1, and the encoded table as a frame."""
        return self._shown(self._arrays(rows))

    def background(self) -> dict[str, Any]:
        """Return the kept training rows in the form of ``inputs``.

        Raises:
            InputError: The model was saved without them.
        """
        return self._shown(kept_rows(self))

    def _shown(self, arrays: Arrays) -> dict[str, Any]:
        inputs: dict[str, Any] = {
            column.name: arrays[column.name].astype(np.float32) / np.float32(255) for column in self.images_
        }
        frame = pd.DataFrame(arrays[self.table_input], columns=list(self.preprocessor_.encoded_names_))
        return {**inputs, self.table_input: frame}

    @torch.no_grad()
    def outputs(self, rows: Records | EncodedRows) -> Floats:
        """Return logits, or predictions in the target's units, ``(rows, outputs)``."""
        if not hasattr(self, "history_"):
            raise InputError("This ImageTableModel is not fitted", hint="Call fit first.", code="PG030")
        together, device = _together(self._arrays(rows)), next(self.module_.parameters()).device
        size = _ROWS if device.type == "cpu" else _ROWS_ACCELERATOR
        outputs: list[Tensor] = []
        with sparing(), full_float32():
            in_batches(
                len(together), size, lambda part: outputs.append(self.module_(*together[part].to(device).floats()))
            )
        return torch.cat(outputs).double().cpu().numpy()

    def predict_proba(self, rows: Records | EncodedRows) -> Floats:
        """Return each class's probability ``(rows, classes)``. Rows sum to 1."""
        if self.task != "classification":
            raise InputError(
                "predict_proba needs classes, but this model is a regression", hint="Call predict.", code="PG004"
            )
        return self.predict_parts(rows)["probabilities"]

    def predict(self, rows: Records | EncodedRows) -> Array:
        """Return the most probable class, or the prediction in the target's units ``(rows,)``."""
        return self.predict_parts(rows)["prediction"]

    def predict_parts(self, rows: Records | EncodedRows, coverage: float | None = None) -> dict[str, Array]:
        """Return ``"prediction"`` ``(rows,)``, and of classes ``"probabilities"`` ``(rows, classes)``.

        Raises:
            InputError: ``coverage`` is passed: models that read images have no intervals or sets.
        """
        if coverage is not None:
            raise InputError(
                "A model that reads images has no intervals or sets", hint="Leave coverage out.", code="PG004"
            )
        outputs = self.outputs(rows)
        if self.task == "regression":
            return {"prediction": outputs[:, 0]}
        probabilities = np.asarray(torch.softmax(torch.from_numpy(outputs), dim=1).numpy())
        return {"prediction": np.asarray(self.classes_[probabilities.argmax(axis=1)]), "probabilities": probabilities}

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False, keep_rows: bool = True) -> None:
        """Write weights as safetensors, the rest as JSON and npz. Nothing executes on load.

        ``keep_rows``: whether ``background_size`` training rows with their images go along.
        """
        save(self, folder, overwrite=overwrite, keep_rows=keep_rows)


def _together(arrays: Arrays) -> InputRows:
    return InputRows(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays.values())


def _changed(base: Any, changes: Mapping[str, Any] | None, kind: str) -> Any:
    names = [field.name for field in dataclasses.fields(base)]
    if strange := [name for name in changes or {} if name not in names]:
        raise unknown(kind, strange[0], names)
    return dataclasses.replace(base, **(changes or {}))


def image_network(model: ImageTableModel, encoded: int, options: ImageTableOptions) -> ImageTableNetwork:
    """Return an untrained network for the fitted image columns and a number of encoded columns."""
    columns = [(column.channels, column.height, column.width, column.mean, column.spread) for column in model.images_]
    outputs = len(model.classes_) if model.task == "classification" else 1
    made = ImageTableNetwork(columns, encoded, outputs, options, centre=model.target_mean_, scale=model.target_scale_)
    return made.eval()
