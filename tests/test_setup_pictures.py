"""The pictures of README and of the method are made by scripts.

That of README runs here in its short form.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from apart import run_script
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, ("chromium", "google-chrome", "chrome"))),
    reason="needs Chromium",
)
def test_the_short_form_makes_the_picture(tmp_path):
    picture = tmp_path / "picture.png"
    ended = run_script(
        ROOT / "docs" / "make_pictures.py",
        "--quick",
        "--out",
        str(picture),
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    with (
        Image.open(picture) as made_picture,
        Image.open(ROOT / "docs" / "pictures" / "what-you-get.png") as committed,
    ):
        assert made_picture.size == committed.size
        assert len(made_picture.getcolors(2**16)) > 20, "not an empty page"


@pytest.mark.slow
def test_the_picture_of_the_method_is_made_again(tmp_path):
    picture = tmp_path / "method.png"
    ended = run_script(
        ROOT / "docs" / "make_abstract.py", "--out", str(picture), cwd=tmp_path
    )
    assert ended.returncode == 0, ended.stderr
    with (
        Image.open(picture) as made_picture,
        Image.open(ROOT / "docs" / "pictures" / "method.png") as committed,
    ):
        assert made_picture.size == committed.size
        assert len(made_picture.convert("RGB").getcolors(2**16)) > 20, (
            "not an empty page"
        )
