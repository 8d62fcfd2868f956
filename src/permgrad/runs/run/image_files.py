"""The image files that a run's tables name: where they are, what is in them, which parts of the split share them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from permgrad.base.errors import InputError
from permgrad.data.image_table import check_images, locate_images, pages_said, shared_images
from permgrad.data.read.table import read_table
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.target import find_column

PartFiles = dict[str, dict[str, list[Path]]]


def configuration(request: RunRequest) -> dict[str, Any]:
    """Return what the images add to a run's configuration: their columns, their size, and a hash of all contents.

    Raises:
        InputError: A column or a file is missing, or a file cannot be used: all are named before work starts.
    """
    if not Path(request.table).is_file():
        what, fix = "a data set without images", "leave --image out"
        if Path(request.table).is_dir():
            what, fix = "a folder", "name one file, or leave --image out"
        raise InputError(f"--image names columns of a file, however: {request.table} is {what}; {fix}")
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


def locate(request: RunRequest, tables: Mapping[str, pd.DataFrame]) -> PartFiles:
    """Return for each part of the split, and each image column, the rows' files.

    Raises:
        InputError: Cells without a path, or files that do not exist.
    """
    found: PartFiles = {}
    for part, table in tables.items():
        own = getattr(request, part, None)  # the file of a part that has its own
        folder = Path(request.table if own is None else own).parent
        found[part] = {name: locate_images(table[name], folder, f"the {part} rows") for name in request.images}
    return found


def notes_on(files: PartFiles) -> list[str]:
    """Say which columns have files of several pages, and where test rows show images that training rows show."""
    notes = []
    for name in files["train"]:
        notes += pages_said(name, [file for part in files.values() for file in part[name]])
    for name, train in files["train"].items():
        test = files["test"][name]
        if count := shared_images(train, test):
            notes.append(
                f"{count} of {len(test)} test rows show an image of column {name!r} that a training row shows as well: "
                f"figures on the test rows are too good; keep equal images together with --group {name}"
            )
    return notes
