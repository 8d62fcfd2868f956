"""``permgrad run``, ``predict`` and ``explain`` for a table of records whose rows name images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError, keeping_warnings, warn_user
from permgrad.base.files import atomic_path, write_json_atomic
from permgrad.data.encode.encoding import TableEncoder, align_columns
from permgrad.data.image_table import locate_images, pages_said
from permgrad.runs.commands.report import is_image_model
from permgrad.runs.folder.documents import read_like
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.dividing import PARTS
from permgrad.runs.run.inputs import Inputs, Part
from permgrad.runs.run.stages import (
    Work,
    data_stage,
    measures,
    report_stage,
    say_baselines,
    say_resumed,
    say_skipped,
    train_baselines,
    validation_rows,
    write_predictions,
)

if TYPE_CHECKING:
    from permgrad.models.estimators.image_table import ImageTableModel, Records

__all__ = ["STAGE_WORK", "check_options", "is_image_model", "predictions_of", "read_records", "records_of"]


def check_options(request: RunRequest) -> None:
    """Refuse a preset or a device that cannot be used, before anything is written.

    Raises:
        InputError: Unknown preset, or a device that this machine does not have.
    """
    from permgrad.models.estimators.image_table import image_presets
    from permgrad.models.estimators.settings import device_faults

    image_presets.get(request.preset)
    if faults := device_faults(request.device):
        raise InputError(faults[0])


def check_inputs(request: RunRequest, inputs: Inputs) -> None:  # noqa: ARG001 — as permgrad.runs.run.stages.check_inputs
    """Refuse validation rows that cannot say when to stop, before anything is written.

    Raises:
        InputError: Such rows.
    """
    validation_rows(inputs)


def rehearse(request: RunRequest, inputs: Inputs) -> None:
    """Encode the table of all rows as the training would, before another run is removed; images are looked at before.

    Raises:
        InputError: Values that cannot be used.
    """
    from permgrad.models.estimators.image_table import image_presets

    numeric = image_presets.get(request.preset).numeric
    encoder = TableEncoder(numeric, **inputs.encoder_options)
    # What is warned of is said when it is done in earnest.
    with keeping_warnings():
        encoder.fit(inputs.parts["train"].X)
        for part in PARTS:
            encoder.transform(inputs.parts[part].X)


# ---- stages ----------------------------------------------------------------------------------------------------------
def layout_stage(work: Work) -> None:
    """Say that nothing is laid out: the images are given."""
    count = {name: len(set(files)) for name, files in work.inputs.parts["train"].images.items()}
    work.say("  images are given: " + ", ".join(f"{name} ({files:,} training files)" for name, files in count.items()))


def model_stage(work: Work) -> None:
    """Train the network, measure it on validation and test rows, and train the baselines if asked for."""
    from permgrad.models.estimators.image_table import ImageTableModel

    inputs, request = work.inputs, work.request
    model = ImageTableModel(
        inputs.task,
        preset=request.preset,
        image_size=request.image_size,
        **inputs.encoder_options,
        device=request.device,
        random_state=request.seed,
    )
    held = validation_rows(inputs)
    work.folder.checkpoint.mkdir(exist_ok=True)
    parts = {part: records_of(inputs.parts[part]) for part in PARTS}
    say_resumed(work)
    say_baselines(work)
    model.fit(parts["train"], parts["validation"], checkpoint_folder=work.folder.checkpoint)
    for column in model.images_:
        colours = "colour" if column.channels == 3 else "grey"
        work.say(f"  images of {column.name!r}: {column.height} × {column.width} pixels, {colours}")
    model.save(work.folder / "model", overwrite=True)
    work.model = model
    with atomic_path(work.folder / "history.csv") as temporary:
        write_csv(model.history_, temporary)
    predicted = {part: predictions_of(model, parts[part]) for part in ("validation", "test")}
    metrics = measures(inputs, predicted, model)
    if request.wanted_baselines:
        # What the images add to the table is seen beside models of the table alone.
        work.say("  baselines see the table alone")
    train_baselines(work, model, model.preprocessor_.transform, metrics, predicted["test"])
    write_predictions(work, predicted["test"])
    write_json_atomic(work.folder / "metrics.json", metrics)
    say_skipped(work, len(parts["validation"]) - len(held[1]))


def explanation_stage(work: Work) -> None:
    """Explain the network on the test rows."""
    from permgrad.runs.run.image_table_explaining import explain_run

    explain_run(work.load_model(), work.inputs, work.folder.path, seed=work.request.seed, say=work.say)


#: As ``permgrad.runs.run.stages.STAGE_WORK``, with images.
STAGE_WORK: dict[str, Callable[[Work], None]] = {
    "data": data_stage,
    "layout": layout_stage,
    "model": model_stage,
    "explanation": explanation_stage,
    "report": report_stage,
}


# ---- rows ------------------------------------------------------------------------------------------------------------
def records_of(part: Part) -> Records:
    """Return a part of the split in the form that the model takes."""
    from permgrad.models.estimators.image_table import Records

    return Records(part.images, part.X, part.y)


def read_records(model: ImageTableModel, data: Mapping[str, Any], table: Path) -> tuple[Records, pd.DataFrame]:
    """Return a table's rows in the form that the model takes, and the whole table.

    Raises:
        InputError: Columns are missing, or images are.
    """
    from permgrad.models.estimators.image_table import Records

    names = [str(name) for name in model.preprocessor_.feature_names_in_]
    whole = read_like(table, data, names)
    images = [column.name for column in model.images_]
    present = [name for name in whole.columns if name in names or name in images]
    aligned = align_columns(whole[present], [*names, *images])
    files = {name: locate_images(aligned[name], table.parent, str(table)) for name in images}
    for name in images:
        for said in pages_said(name, files[name]):
            warn_user(said)
    return Records(files, aligned[names]), whole


def predictions_of(model: ImageTableModel, rows: Records) -> dict[str, npt.NDArray[Any]]:
    """Return ``{"prediction": (rows,)}``, for classifiers also ``"probabilities": (rows, classes)``."""
    if model.task == "regression":
        return {"prediction": model.predict(rows)}
    probabilities = model.predict_proba(rows)
    return {"prediction": np.asarray(model.classes_)[probabilities.argmax(axis=1)], "probabilities": probabilities}
