"""The notebooks are those of the gallery's scripts, and run cell by cell."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import make_notebooks  # noqa: E402

sys.path.pop(0)
MADE = dict(make_notebooks.notebooks())
#: The one whose cells are run. The statements of the others are those of their scripts,
#: which are all run.
RUN = "any_model.ipynb"


def test_the_notebooks_are_those_of_the_scripts():
    assert sorted(make_notebooks.NOTEBOOKS.iterdir()) == sorted(MADE)
    assert len(MADE) >= 6
    differing = [
        path.name
        for path, text in MADE.items()
        if path.read_text(encoding="utf-8") != text
    ]
    assert differing == [], "run: make notebooks"


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.stem)
def test_a_notebook_has_its_script_and_no_outputs(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 4)
    cells = content["cells"]
    programs = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [
        cell for cell in programs if cell["outputs"] or cell["execution_count"]
    ] == []
    assert all(ast.parse("".join(cell["source"])).body for cell in programs), (
        "each cell is a program"
    )
    code = "".join(line for cell in programs for line in [*cell["source"], "\n"])
    script = (make_notebooks.GALLERY / f"plot_{path.stem}.py").read_text(
        encoding="utf-8"
    )
    statements = [
        line
        for line in script.split('"""', 2)[2].split("\n")
        if line and not line.startswith("#")
    ]
    assert statements == [
        line for line in code.split("\n") if line and not line.startswith("#")
    ]
    words = "".join(
        line
        for cell in cells
        if cell["cell_type"] == "markdown"
        for line in [*cell["source"], "\n\n"]
    )
    assert words.startswith("# ")
    assert re.findall(r"``|:doc:|>`__|^[=-]{3,}$", words, re.MULTILINE) == []
    links = [
        target for target in re.findall(r"\]\(([^)#]+)", words) if "://" not in target
    ]
    assert [target for target in links if not (path.parent / target).is_file()] == []


def test_a_notebook_runs_cell_by_cell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    text = (make_notebooks.NOTEBOOKS / RUN).read_text(encoding="utf-8")
    ran = list(make_notebooks.run(text, RUN))
    assert (
        len(ran)
        == sum(cell["cell_type"] == "code" for cell in json.loads(text)["cells"])
        >= 2
    )
    assert "worst texture" in ran[-1].to_svg()


def test_every_script_has_a_small_picture_for_a_site_that_does_not_run_it():
    for path in MADE:
        script = (make_notebooks.GALLERY / f"plot_{path.stem}.py").read_text(
            encoding="utf-8"
        )
        assert (
            f'\n# sphinx_gallery_thumbnail_path = "pictures/gallery/{path.stem}.png"\n'
            in script
        )
        with Image.open(make_notebooks.THUMBNAILS / f"{path.stem}.png") as picture:
            assert picture.size == make_notebooks.SIZE
            assert len(picture.getcolors()) > 8, "not an empty picture"
