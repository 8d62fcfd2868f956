"""``permgrad images``: each row of a table as a picture in a file, as the image branch
of a network sees it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from permgrad.base.arrays import Floats32
from permgrad.base.csv_files import write_csv
from permgrad.base.errors import counted
from permgrad.base.files import (
    atomic_path,
    write_json_atomic,
    write_text_atomic,
    writing,
)
from permgrad.base.folders import FolderKind
from permgrad.base.progress import Progress
from permgrad.imaging.layout import layout_to_dict
from permgrad.imaging.picture import layout_svg
from permgrad.imaging.render import Renderer
from permgrad.models.estimators.building import place_columns
from permgrad.models.estimators.settings import resolve_settings
from permgrad.runs.configuration import configuration
from permgrad.runs.requests import ImagesRequest, Outcome
from permgrad.runs.run.predicting import use_threads
from permgrad.runs.run.run_inputs import load_inputs
from permgrad.runs.run.run_training import fit_encoder, make_estimator
from permgrad.runs.run_folder import refuse_input

PICTURES = "images"
LIST = "images.csv"
FOLDER = FolderKind(
    "images", ("images.json", PICTURES, LIST, "layout.json", "layout.svg")
)
#: Rows that are drawn together, and the brightness of a column's largest value.
_ROWS = 512
_WHITE = 255


def write_images(
    request: ImagesRequest, *, say: Callable[[str], None] = print
) -> Outcome:
    """Draw every row as a grey PNG, and list the files with the target.

    ``say`` takes lines on the progress.

    Encoder and layout are fitted on all rows, as TINTOlib does. An interrupted command
    goes on where it was.
    """
    run_request = request.run_request("paper")
    folder = request.folder
    run_request.check()
    settings = configuration(request)
    refuse_input(folder, request.files, names=FOLDER.names)
    if (
        not request.overwrite
        and (finished_record := FOLDER.finished(folder, settings)) is not None
    ):
        return _outcome(
            folder,
            finished_record["finished"],
            "These images are already finished. Nothing was changed.\n",
        )
    use_threads(request.threads)
    inputs = load_inputs(run_request, undivided=True)
    table_rows = inputs.parts["train"]
    model = make_estimator(run_request, inputs)
    model.set_params(layout=request.layout, pixels=request.pixels, branches=("image",))
    encoded = fit_encoder(model, inputs)
    layout = _layout(model, encoded.encoded, table_rows.y)
    names = list(encoded.encoder.encoded_names_)
    draw = _renderer(layout, encoded.encoder)
    width = len(str(int(table_rows.numbers.max(initial=0))))
    files = []
    for number in table_rows.numbers.tolist():
        files.append(f"{PICTURES}/{number:0{width}d}.png")
    with (
        FOLDER.open(
            folder, settings, command=request.command, overwrite=request.overwrite
        ) as record,
        writing(folder),
        Progress(len(table_rows), "images", lines=False) as progress_bar,
    ):
        (folder / PICTURES).mkdir(exist_ok=True)
        _draw_missing(folder, files, encoded.encoded, draw, progress_bar)
        table = pd.DataFrame(
            {"row": table_rows.numbers, "image": files, inputs.target: table_rows.y}
        )
        _write_lists(folder, table, layout, names)
        facts = {
            "rows": len(table_rows),
            "pixels": list(layout.shape),
            "columns": len(names),
        }
        FOLDER.finish(folder, record, facts)
    for input_note in inputs.notes:
        say(f"note: {input_note}")
    return _outcome(folder, facts)


def _layout(model: Any, encoded: Floats32, y: Any) -> Any:
    """Return where each encoded column is drawn."""
    resolved = resolve_settings(model.get_params(deep=False), model.task)
    _, layout = place_columns(model, resolved, encoded, y)
    assert layout is not None, "an image is always drawn"
    return layout


def _write_lists(
    folder: Path, table: pd.DataFrame, layout: Any, names: Sequence[str]
) -> None:
    """Write the list of the images, and the layout as numbers and as a picture."""
    write_csv(table, folder / LIST)
    write_json_atomic(
        folder / "layout.json", {**layout_to_dict(layout), "columns": names}
    )
    write_text_atomic(folder / "layout.svg", layout_svg(layout, names))


def _renderer(layout: Any, encoder: Any) -> Renderer:
    """Return what draws encoded rows in the grey levels of a file."""
    return Renderer(
        layout,
        encoder.minimum_,
        encoder.maximum_,
        1,
        float(_WHITE),
        clip=True,
    )


def _draw_missing(
    folder: Path, files: Sequence[str], encoded: Floats32, draw: Renderer, bar: Progress
) -> None:
    """Draw the rows that have no file."""
    for start in range(0, len(files), _ROWS):
        batch = slice(start, start + _ROWS)
        missing = [
            row
            for row in range(len(files))[batch]
            if not (folder / files[row]).exists()
        ]
        with torch.no_grad():
            drawn = draw(torch.as_tensor(encoded[missing]))[:, 0].round().byte().numpy()
        for row, picture in zip(missing, drawn, strict=True):
            with atomic_path(folder / files[row]) as temporary:
                Image.fromarray(picture).save(temporary, format="PNG")
        bar.advance(len(range(len(files))[batch]))


def _outcome(folder: Path, facts: dict[str, object], before: str = "") -> Outcome:
    pixel_height, pixel_width = np.asarray(facts["pixels"]).tolist()
    outcome_text = (
        f"{before}{counted(int(str(facts['rows'])), 'image')} of {pixel_height} × "
        f"{pixel_width} pixels, which show "
        f"{counted(int(str(facts['columns'])), 'encoded column')}: "
        f"{folder / PICTURES}\nFiles and targets: {folder / LIST}\nWhich column is "
        f"where: {folder / 'layout.svg'}"
    )
    return Outcome({"folder": os.fspath(folder), **facts}, outcome_text)
