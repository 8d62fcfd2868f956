"""Columns of images: how they are found, declared and named, and where their files are
looked for.
"""

from __future__ import annotations

import io
import pickle

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.data.image_table import opened_image, read_image
from permgrad.data.read.cells import Distinct, as_frame
from permgrad.data.read.image_cells import ImageCell, source_of, with_image_cells
from permgrad.data.types.column_types import infer_schema

ARRAYS = [np.full((6, 5), 10 * k, np.uint8) for k in range(20)]


def column(cells):
    return pd.DataFrame({"photo": pd.Series(cells, dtype=object)})


def kind_of(cells, **options):
    return infer_schema(column(cells), **options)["photo"].kind


@pytest.fixture(name="folder")
def _folder(tmp_path):
    for k, array in enumerate(ARRAYS):
        Image.fromarray(array).save(tmp_path / f"{k}.png")
    return tmp_path


def test_paths_of_files_that_exist_are_images(folder, monkeypatch):
    names = [f"{k}.png" for k in range(20)]
    assert kind_of(names) == "identifier"  # they are not here
    monkeypatch.chdir(folder)
    assert kind_of(names) == "image"
    assert kind_of([*names[:19], "lost.png"]) == "image"
    assert kind_of([*names[:15], *(f"lost {k}.png" for k in range(5))]) == "identifier"
    assert kind_of([None, *names]) == "image"
    assert kind_of([str(folder / name) for name in names]) == "image"
    assert kind_of(names, kinds={"photo": "categorical"}) == "categorical"
    assert (
        kind_of(["x" * 5000 + ".png", "\0.png"] * 10) == "categorical"
    )  # no names of files
    assert kind_of([name.replace("png", "txt") for name in names]) == "identifier"


def test_a_declared_column_is_one_of_images_wherever_they_are():
    declared = infer_schema(
        column([f"{k}.png" for k in range(20)]), kinds={"photo": "image"}
    )["photo"]
    assert (declared.kind, declared.storage, declared.reason) == (
        "image",
        "text",
        "declared",
    )


@pytest.mark.parametrize("form", ["array", "colour", "deep", "PIL", "bytes"])
def test_images_in_cells_are_found(form):
    def cell(array):
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, "PNG")
        forms = {
            "array": array,
            "colour": np.stack([array] * 3, axis=2),
            "deep": array.astype(np.uint16) * 257,
        }
        return {**forms, "PIL": Image.fromarray(array), "bytes": stream.getvalue()}[
            form
        ]

    cells = [None, *map(cell, ARRAYS)]
    image_column = infer_schema(column(cells))["photo"]
    assert (image_column.kind, image_column.n_levels, image_column.n_missing) == (
        "image",
        20,
        1,
    )
    read = [
        read_image(source_of(image_cell), 1, 6, 5)[0]
        for image_cell in as_frame(column(cells))["photo"][1:]
    ]
    assert np.array_equal(read, ARRAYS)


def test_other_containers_are_refused_as_before():
    for cell in (
        np.zeros((3, 3)),
        np.zeros(4, np.uint8),
        [1, 2],
        np.zeros((2, 2, 7), np.uint8),
    ):
        with pytest.raises(InputError, match="column 'photo' holds a"):
            infer_schema(column([cell, cell]))


def test_equal_pixels_are_one_image_and_others_are_not():
    image = Image.fromarray(ARRAYS[1])
    changed = ARRAYS[1].copy()
    changed[0, 0] += 1
    cells = [
        ARRAYS[1],
        image,
        image.copy(),
        changed,
        ARRAYS[1].astype(np.uint16),
        ARRAYS[1].reshape(5, 6),
    ]
    distinct = Distinct.of(as_frame(column(cells))["photo"], "photo")
    assert distinct.index.tolist() == [0, 0, 0, 1, 2, 3]
    palettes = [Image.new("P", (4, 4), 1) for _ in range(2)]
    palettes[0].putpalette([0, 0, 0, 255, 0, 0])
    palettes[1].putpalette([0, 0, 0, 0, 255, 0])
    assert len(Distinct.of(as_frame(column(palettes))["photo"], "photo").texts) == 2


def test_a_frame_without_images_is_returned_as_it_is():
    frame = pd.DataFrame(
        {"a": [1, 2], "b": ["x", None], "c": pd.Series([None, np.nan], dtype=object)}
    )
    assert with_image_cells(frame) is frame
    photos = column(ARRAYS)
    table_with_cells = with_image_cells(photos)
    assert table_with_cells is not photos
    assert isinstance(photos["photo"][0], np.ndarray)


def test_a_cell_keeps_its_pixels_on_its_way():
    cell = ImageCell("a", ARRAYS[3])
    again = pickle.loads(pickle.dumps(cell))
    assert again == "a"
    assert np.array_equal(source_of(again), ARRAYS[3])
    frame = column([cell, "b"])
    assert isinstance(Distinct.of(frame["photo"], "photo").texts[0], ImageCell)
    assert isinstance(pd.concat([frame, frame.iloc[[0]]])["photo"].iloc[2], ImageCell)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_names_in_a_file_start_from_its_folder(folder, form, monkeypatch):
    table = pd.DataFrame({"photo": [f"{k}.png" for k in range(20)], "y": range(20)})
    file = folder / f"table.{form}"
    table.to_csv(file, index=False) if form == "csv" else table.to_parquet(file)
    monkeypatch.chdir("/")
    frame = pg.read_table(file)
    assert frame["photo"].tolist() == table["photo"].tolist()
    assert infer_schema(frame)["photo"].kind == "image"
    assert source_of(frame["photo"][3]) == folder / "3.png"


def test_programs_in_bytes_are_refused():
    with pytest.raises(ValueError, match="it is PostScript"):
        opened_image(b"%!PS-Adobe-3.0 EPSF-3.0")
