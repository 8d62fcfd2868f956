"""One changed byte in any file of finished work is noticed by the command that made it,
which writes the file again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from invoking import call

import permgrad as pg
from permgrad.base.folders import files_of


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, a folder of it in parts, and a saved model."""
    folder = tmp_path_factory.mktemp("changed")
    draw = np.random.default_rng(3)
    frame = pd.DataFrame(draw.normal(size=(120, 3)), columns=["a", "b", "c"])
    frame["y"] = np.where(frame["a"] + draw.normal(size=120) > 0, "p", "q")
    frame.to_csv(folder / "table.csv", index=False)
    (folder / "parts").mkdir()
    for file_number in range(2):
        frame[60 * file_number : 60 * file_number + 60].to_parquet(
            folder / "parts" / f"{file_number}.parquet"
        )
    model = pg.HyNNClassifier(
        preset="fast", max_epochs=1, progress=False, random_state=0
    )
    model.fit(frame[["a", "b", "c"]], frame["y"]).save(folder / "model")
    return folder


def words_of(what: str, base_folder: Path) -> list[Any]:
    out = ["--out", base_folder / what]
    if what == "predict":
        return ["predict", base_folder / "model", base_folder / "parts", *out]
    if what == "explain":
        return [
            "explain",
            base_folder / "model",
            base_folder / "parts",
            "--max-rows",
            100,
            *out,
        ]
    models = ["--models", "linear,extra_trees"]
    return [
        "compare",
        base_folder / "table.csv",
        "--target",
        "y",
        *models,
        "--cv",
        2,
        *out,
    ]


@pytest.mark.parametrize("what", ["compare", "predict", "explain"])
@pytest.mark.slow
def test_a_changed_byte_of_finished_work_is_noticed(place: Path, what: str) -> None:
    words = words_of(what, place)
    call(*words)
    folder = place / what
    files = [
        name
        for name in files_of(folder, ["*"])
        if not name.startswith(("_stream", "comparison.json", "plots"))
    ]
    assert len(files) > 1
    before = {name: (folder / name).read_bytes() for name in files}
    call(*words)
    assert {name: (folder / name).read_bytes() for name in files} == before, (
        "the precondition: nothing is repeated"
    )
    for name, content in before.items():
        middle = len(content) // 2
        changed = (
            content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        )
        (folder / name).write_bytes(changed)
        call(*words)
        assert (folder / name).read_bytes() != changed, name
        if what == "predict":
            assert (folder / name).read_bytes() == content
