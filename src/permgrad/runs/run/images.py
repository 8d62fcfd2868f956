"""Runs of tables with images: their files, and rows in the form of the network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from permgrad.base.errors import InputError, option_of
from permgrad.data.read.table import read_table
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.splitting import find_column


def images_configuration(request: RunRequest) -> dict[str, Any]:
    """Return the image part of a run's configuration: columns, size, and a hash of all contents."""
    from permgrad.data.image_table import check_images, locate_images  # a table alone needs none of it

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


def with_images(
    request: RunRequest, rows: Mapping[str, pd.DataFrame], features: Mapping[str, pd.DataFrame], notes: list[str]
) -> dict[str, Any]:
    """Return the ``Records`` of each part of the split: image files and the table of the other ``features``.

    Notes columns with files of several pages, and test rows that show the same image as a training row.
    """
    from permgrad.data.image_table import locate_images, pages_said, shared_images
    from permgrad.models.estimators.image_table import Records  # loads torch

    files: dict[str, dict[str, list[Path]]] = {}
    for part, table in rows.items():
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
                "figures on the test rows are too good. Keep equal images together with "
                f"{option_of('--split-group', name)}."
            )
    return {part: Records(images, features[part]) for part, images in files.items()}
