"""The picture of README is made by a script, whose short form runs here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("chromium", "google-chrome", "chrome"))), reason="needs Chromium")
def test_the_short_form_makes_the_picture(tmp_path):
    picture = tmp_path / "picture.png"
    command = [sys.executable, str(ROOT / "docs" / "make_pictures.py"), "--quick", "--out", str(picture)]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    with Image.open(picture) as made, Image.open(ROOT / "docs" / "pictures" / "what-you-get.png") as committed:
        assert made.size == committed.size
        assert len(made.getcolors(2**16)) > 20, "not an empty page"
