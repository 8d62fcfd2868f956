"""Runs of tables with images: their files, rows in the form of the network, and parts of the report."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import InputError
from permgrad.data.image_table import check_images, locate_images, pages_said, shared_images
from permgrad.data.read.table import read_table
from permgrad.report.page.content import ExtraSection, RowSection
from permgrad.report.units import output_words
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.dividing import find_column

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.models.estimators.image_table import ImageTableModel, Records
    from permgrad.runs.run.inputs import SplitPart

PartFiles = dict[str, dict[str, list[Path]]]
#: Patches on each side of an image in a run's ranking: few enough for a list with the table's columns.
RANKED_PATCHES = 4


def is_image_model(model: Any) -> bool:
    """Whether a model reads images and a table."""
    from permgrad.models.estimators.image_table import ImageTableModel

    return isinstance(model, ImageTableModel)


# ---- files -----------------------------------------------------------------------------------------------------------
def images_configuration(request: RunRequest) -> dict[str, Any]:
    """Return the image part of a run's configuration: columns, size, and a hash of all contents."""
    if not Path(request.table).is_file():
        what, fix = "a data set without images", "Leave --image out."
        if Path(request.table).is_dir():
            what, fix = "a folder", "Name one file, or leave --image out."
        raise InputError(f"--image needs a table file, but {request.table} is {what}", hint=fix, code="PG006")
    digest = hashlib.sha256()
    paths = {"table": Path(request.table), "test": request.test, "validation": request.validation}
    for role, path in paths.items():
        if path is None:
            continue
        frame = read_table(path)
        for name in request.images:
            find_column(name, list(frame.columns), "image")
            files = list(dict.fromkeys(locate_images(frame[name], path.parent, f"the {role} file")))
            check_images(name, files)
            for file in files:
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return {"images": list(request.images), "image_size": request.image_size, "image content": digest.hexdigest()}


def locate(request: RunRequest, tables: Mapping[str, pd.DataFrame], notes: list[str]) -> PartFiles:
    """Return the rows' files for each part of the split and each image column.

    Notes columns with files of several pages, and test rows that show the same image as a training row.
    """
    files: PartFiles = {}
    for part, table in tables.items():
        # A part may have a separate file.
        folder = Path(getattr(request, part, None) or request.table).parent
        files[part] = {name: locate_images(table[name], folder, f"the {part} rows") for name in request.images}
    for name in request.images:
        notes += pages_said(name, [file for part in files.values() for file in part[name]])
    for name in request.images:
        test = files["test"][name]
        if count := shared_images(files["train"][name], test):
            notes.append(
                f"{count} of {len(test)} test rows show the same image of column {name!r} as a training row, so "
                f"figures on the test rows are too good. Keep equal images together with --split-group {name}."
            )
    return files


def model_rows(part: SplitPart) -> Any:
    """Return a part of the split in the form of the run's model: a frame, or ``Records`` of images."""
    if not part.images:
        return part.X
    from permgrad.models.estimators.image_table import Records

    return Records(part.images, part.X, part.y)


# ---- explanations ----------------------------------------------------------------------------------------------------
def explain_records(
    model: ImageTableModel, records: Records, y: npt.NDArray[Any] | None = None, **options: Any
) -> Explanation:
    """Explain a network of images and a table. Players are raw columns and segments of the images."""
    from permgrad.attribution.explain import explain

    inputs, y, arguments = _arguments(model, records, y)
    if options.get("level") != "modality":
        # One grid for all methods: a patch always has the same name and place.
        arguments |= {"groups": model.groups_, "segments": ("grid", RANKED_PATCHES)}
    explanation = explain(model.module_, inputs, y, **{**arguments, **options})
    if explanation.scope == "global":
        # Values over all rows are drawn on the mean image.
        means = {f"images:{image.name}": inputs[image.name].mean(axis=0, keepdims=True) for image in model.images_}
        explanation = replace(explanation, maps=means | explanation.maps)
    if explanation.scope == "local" and explanation.level != "modality":
        names = [name for name in explanation.names if name in records.table.columns]
        values = records.table[names].reset_index(drop=True) if names else None
        explanation = replace(explanation, feature_values=values)
    # The encoded columns of one raw column form one group, which is called by the raw column.
    return replace(explanation, level="feature", groups={}) if explanation.level == "group" else explanation


def information_of(
    model: ImageTableModel, records: Records, y: npt.NDArray[Any], **options: Any
) -> pd.DataFrame | None:
    """Return what the images and the table tell alone, both and only together, or None: one input or too few rows."""
    from permgrad.attribution.information import FEWEST_ROWS
    from permgrad.attribution.missing import missing

    inputs, y, arguments = _arguments(model, records, y)
    if len(inputs) < 2 or len(y) < FEWEST_ROWS:
        return None
    result = missing(model.module_, inputs, y, **{**arguments, **options})
    return result.information(result.modalities[0])


def _arguments(model: ImageTableModel, records: Records, y: Any) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Return the inputs of the network, the targets in its form, and the arguments that describe it."""
    arguments: dict[str, Any] = {"background": model.background(), "task": model.task, "progress": "auto"}
    if model.task == "classification":
        arguments |= {"output_kind": "logits", "class_names": [str(label) for label in model.classes_.tolist()]}
        # By name: if classes are 1, 2, 3, a position would be taken for a name.
        y = None if y is None else np.array([str(label) for label in np.asarray(y).astype(model.classes_.dtype)])
    return model.inputs(records), y, arguments


def inputs_importance(modalities: Explanation) -> dict[str, Any]:
    """Return the importance of whole inputs as ``branches.json`` holds it: importance, interval, share, alone, last."""
    if modalities.branches:
        return dict(modalities.branches)
    low, high = modalities.ci()
    entries: dict[str, Any] = {}
    for place, name in enumerate(modalities.names):
        entries[name] = {"importance": modalities.values[place, 0], "ci_low": low[place, 0], "ci_high": high[place, 0]}
        entries[name] |= {part: values[place, 0] for part, values in modalities.parts.items()}
    return entries


def image_inputs(explanation: Explanation) -> list[str]:
    """Return the image inputs over which an explanation can be drawn."""
    names = [key.partition(":")[2] for key in explanation.maps if key.startswith(("maps:", "segments:"))]
    return [name for name in dict.fromkeys(names) if name]


# ---- report ----------------------------------------------------------------------------------------------------------
def where_in_images(main: Explanation | None) -> list[ExtraSection]:
    """Draw the ranking's patches on the mean image of each column."""
    if main is None:
        return []
    text = (
        "The numbers of the ranking, drawn on the mean image of the explained rows. If one patch is shuffled, its "
        "neighbours can make up for it. All patches together can therefore matter far more than the sum suggests."
    )
    return [
        ExtraSection(
            title=f"Where in the images: {name}",
            text=(text,),
            drawing=main.plot.image(input=name, title=""),
            drawing_text=f"Left: mean of the images in {name}. Right: importance of each patch.",
            tab="features",
        )
        for name in image_inputs(main)
    ]


def overlays(section: RowSection, local: Explanation | None, maps: Explanation | None) -> list[tuple[Any, str]]:
    """Return a row's images with the attributions of their patches, and with their activation maps."""
    pictures = []
    up = "" if local is None else output_words(local, "prediction", section.output)
    sides = ((local, f"What moves the {up} up (blue) and down (orange)"), (maps, "Grad-CAM"))
    for explanation, words in sides:
        if explanation is None:
            continue
        for name in image_inputs(explanation):
            heat = explanation.maps.get(f"maps:{name}")
            if heat is not None and not np.any(heat[section.row]):
                continue  # no part of the image supports any output
            picture = explanation.plot.image(row=section.row, input=name, output=section.output, title="")
            pictures.append((picture, f"{words}, over the image {name}."))
    return pictures
