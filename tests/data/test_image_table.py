"""Reading images that a table names: every format becomes one shape, and every fault
names its file.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from permgrad.base.errors import InputError, PermgradWarning
from permgrad.data.encode.scores import Target
from permgrad.data.image_table import (
    FORMATS,
    check_image_cells,
    each_image,
    pages_said,
    read_image,
)
from permgrad.models.images import ImageFeatures


def write(folder: Path, name: str, array: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(folder / name)
    return folder / name


def read(
    files: list[Path], channels: int = 1, height: int = 12, width: int = 12
) -> np.ndarray:
    """Read files of column ``scan`` in one shape."""
    pixels: dict[Path, np.ndarray] = {}
    each_image(
        "scan",
        files,
        lambda file: pixels.update({file: read_image(file, channels, height, width)}),
        len(files),
    )
    return np.stack([pixels[file] for file in files])


@pytest.fixture(name="ramp")
def _ramp() -> np.ndarray:
    return np.linspace(0, 255, 20 * 30).reshape(20, 30).astype(np.uint8)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_grey_or_colour(tmp_path, ramp, mode, channels):
    ending = "tif" if mode == "CMYK" else "png"
    file = write(tmp_path, f"a.{ending}", ramp, mode)
    pixels = read([file], channels, 20, 30)
    assert pixels.shape == (1, channels, 20, 30)
    assert pixels.dtype == np.uint8
    if mode == "1":
        assert set(np.unique(pixels)) == {0, 255}
    else:
        np.testing.assert_allclose(pixels[0, 0].astype(int), ramp, atol=3)


def test_sixteen_bits_keep_their_scale_over_images(tmp_path):
    dark = np.full((12, 12), 1000, np.uint16)
    bright = np.full((12, 12), 65535, np.uint16)
    files = [write(tmp_path, "dark.png", dark), write(tmp_path, "bright.png", bright)]
    pixels = read(files)
    assert int(pixels[0].max()) == round(1000 / 65535 * 255)
    assert int(pixels[1].min()) == 255, "images are not stretched to their own range"


@pytest.mark.parametrize(("kind", "top"), [(np.float32, 1.0), (np.int32, 65535)])
def test_levels_of_formats_without_a_range(tmp_path, kind, top):
    levels = (np.linspace(0, 1, 144).reshape(12, 12) * top).astype(kind)
    dark = (levels / 300).astype(kind)
    files = [write(tmp_path, "levels.tiff", levels), write(tmp_path, "dark.tiff", dark)]
    pixels = read(files)
    assert int(pixels[0].max()) == 255
    assert abs(float(pixels[0].mean()) - 127.5) < 1
    assert int(pixels[1].max()) == 1, (
        "images of one storage type have one scale, whatever the brightest pixel is"
    )


def test_real_numbers_may_miss_their_range_by_rounding_and_must_be_finite(tmp_path):
    levels = np.full((12, 12), np.float32(1) + np.float32(2e-7))
    levels[0, 0] = -1e-8
    assert set(np.unique(read([write(tmp_path, "rounded.tiff", levels)]))) == {0, 255}
    levels[3, 3] = np.nan
    with pytest.raises(InputError, match="pixels that are not finite"):
        read([write(tmp_path, "broken.tiff", levels)])


def test_levels_without_a_scale_are_refused_by_name(tmp_path):
    ramp = np.linspace(0, 1, 144).reshape(12, 12)
    good = write(tmp_path, "good.tif", ramp.astype(np.float32))
    scan = write(tmp_path, "scan.tif", (ramp * 2000 - 1000).astype(np.float32))
    bright = write(tmp_path, "bright.tif", (ramp * 1.5).astype(np.float32))
    for look in (read, partial(check_image_cells, "scan")):
        with pytest.raises(InputError) as error:
            look(list(map(str, [good, scan, bright])))
        assert error.value.message == (
            "2 of 3 image files in column 'scan' hold real numbers outside 0 … 1 "
            f"({scan}: -1000.0 … 1000.0; {bright}: 0.0 … 1.5). Rescale all images of "
            "the column to 0 … 1 in the same way, or save them with 8 or 16 bits."
        )
    for levels, fact in (
        ((ramp * 2000 - 1000), "-1,000 … 1,000"),
        (ramp * 65536, "0 … 65,536"),
    ):
        file = write(tmp_path, "integers.tif", levels.astype(np.int32))
        with pytest.raises(InputError) as error:
            read([good, file])
        assert error.value.message == (
            "1 of 2 image files in column 'scan' hold integers outside 0 … 65,535 "
            f"({file}: {fact}). Rescale all images of the column to 0 … 65,535 in the "
            "same way, or save them with 8 or 16 bits."
        )


def test_a_column_that_keeps_few_of_its_levels_is_told_of(tmp_path):
    levels = np.linspace(0, 4095, 144).reshape(12, 12).astype(np.uint16)
    twelve = write(tmp_path, "twelve.png", levels)
    full = write(tmp_path, "full.png", levels * 16)
    mask = write(
        tmp_path, "mask.png", (levels > 9).astype(np.uint8)
    )  # it loses nothing
    target = Target(np.arange(2.0), 0, np.ones(2), seed=0)
    with pytest.warns(
        PermgradWarning,
        match="The training images of column 'scan' reach level 16 of 255 at most, .* "
        "Rescale all",
    ):
        ImageFeatures().learn("scan", [str(twelve)], np.zeros(2, dtype=int), target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageFeatures().learn("scan", [str(twelve), str(full)], np.arange(2), target)
        ImageFeatures().learn("scan", [str(mask)], np.zeros(2, dtype=int), target)


def test_files_of_several_pages_are_told_of(tmp_path, ramp):
    first_page = Image.fromarray(ramp)
    second_page = Image.fromarray(255 - ramp)
    for name in ("moving.gif", "pages.tif"):
        first_page.save(tmp_path / name, save_all=True, append_images=[second_page])
    first_page.save(
        tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=[second_page]
    )
    (tmp_path / "text.png").write_text("no image")
    single_page_files = [
        write(tmp_path, name, ramp) for name in ("still.gif", "still.tif", "still.png")
    ]
    single_page_files += [tmp_path / "photo.jpg", tmp_path / "text.png"]
    assert pages_said("scan", single_page_files) == []
    several = [tmp_path / "pages.tif", tmp_path / "moving.gif"]
    (message,) = pages_said("scan", [*single_page_files, *several, *several])
    assert message == (
        "2 of 7 image files of column 'scan' have several frames or pages "
        f"({str(several[0])!r}, …): the first of each is read and the others are not"
    )
    pixels = read(several, 1, 20, 30)
    np.testing.assert_allclose(pixels[:, 0].astype(int), np.stack([ramp, ramp]), atol=3)


def test_turned_photographs_stand_upright(tmp_path):
    array = np.zeros((16, 8, 3), np.uint8)
    array[:4] = 255
    image = Image.fromarray(array)
    marks = image.getexif()
    marks[0x0112] = 6  # to be turned by a quarter clockwise
    image.save(tmp_path / "photo.png", exif=marks)
    pixels = read([tmp_path / "photo.png"], 3, 8, 16)
    assert pixels[0, 0, :, -4:].min() == 255
    assert pixels[0, 0, :, :-4].max() == 0


def test_faults_name_their_files(tmp_path, ramp):
    good = write(tmp_path, "good.png", ramp)
    (tmp_path / "text.png").write_text("no image")
    noise = write(
        tmp_path,
        "noise.png",
        np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8),
    )
    (tmp_path / "cut.png").write_bytes(noise.read_bytes()[:600])
    with pytest.raises(InputError) as error:
        read([good, tmp_path / "text.png", tmp_path / "cut.png"])
    message = str(error.value)
    assert message.startswith("2 of 3 image files in column 'scan' cannot be read (")
    assert f"{tmp_path / 'text.png'}: not an image that Pillow can read" in message
    assert "cut.png" in message
    assert "good.png" not in message
    with pytest.raises(InputError) as error:
        check_image_cells(
            "scan", [str(good), str(tmp_path / "gone.png"), str(tmp_path / "text.png")]
        )
    assert error.value.message == (
        "1 of 3 image files in column 'scan' cannot be found "
        f"({tmp_path / 'gone.png'}). Paths start from the table's folder, those of a "
        "frame made in Python from the working directory. The cell of a row without an "
        "image is empty."
    )


@pytest.mark.parametrize("kind", [*FORMATS, "MPO"])
def test_every_named_format_is_read(tmp_path, ramp, kind):
    from PIL import features

    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow was built without it")
    Image.fromarray(ramp).save(tmp_path / "scan", format=kind)
    pixels = read([tmp_path / "scan"], 1, *ramp.shape)
    assert pixels.shape == (1, 1, *ramp.shape)
    assert pixels.std() > 10


@pytest.mark.parametrize("kind", ["TGA", "ICO", "PCX", "SGI", "DDS"])
def test_other_formats_are_not_tried(tmp_path, ramp, kind):
    file = tmp_path / f"scan.{kind.lower()}"
    Image.fromarray(ramp).convert("RGB").save(file, format=kind)
    with Image.open(file) as image:
        assert image.format == kind, "the precondition: Pillow would read it"
    with pytest.raises(
        InputError, match=r"not an image that Pillow can read as one of PNG, JPEG, TIFF"
    ) as error:
        check_image_cells("scan", [str(file)])
    assert "Replace them or empty their cells" in str(error.value)
    with Image.open(file) as image:
        image.save(file.with_suffix(".png"))
    check_image_cells("scan", [str(file.with_suffix(".png"))])


def test_every_place_that_opens_an_image_names_its_formats():
    import ast

    import permgrad

    calls = []
    for file in Path(permgrad.__file__).parents[1].rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text if "Image.open" in text else "")
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        opens = [
            node for node in nodes if ast.unparse(node.func).endswith("Image.open")
        ]
        calls += [(file.name, [word.arg for word in node.keywords]) for node in opens]
    assert len(calls) >= 3, "the precondition: it is found"
    assert [name for name, words in calls if "formats" not in words] == []
