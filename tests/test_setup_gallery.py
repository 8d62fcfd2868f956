"""The scripts of the gallery run outside the repository, with no data but what they
make.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from apart import run_script

GALLERY = Path(__file__).resolve().parents[1] / "examples" / "gallery"


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", sorted(GALLERY.glob("plot_*.py")), ids=lambda script: script.stem
)
def test_a_script_runs_alone(script, tmp_path):
    environment = {
        name: value for name, value in os.environ.items() if name != "PERMGRAD_DATA"
    }
    ended = run_script(script, cwd=tmp_path, env=environment | {"MPLBACKEND": "Agg"})
    assert ended.returncode == 0, ended.stderr


def test_every_script_has_a_title_and_a_figure():
    scripts = [path.read_text(encoding="utf-8") for path in GALLERY.glob("plot_*.py")]
    assert len(scripts) >= 6
    assert [
        text[:60]
        for text in scripts
        if not text.startswith('"""\n') or "\n===" not in text
    ] == []
    assert [
        text[:60]
        for text in scripts
        if "plt.show()" not in text and ".plot." not in text
    ] == []
