"""A hundred wrong uses of the command line and of Python: each is answered in plain
sentences with a code.
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from docs.error_codes import CODES
from explaining import explain_with
from sklearn.ensemble import RandomForestClassifier
from torch import nn
from typer.testing import CliRunner

import permgrad as pg
from permgrad.cli import app
from permgrad.data.datasets import dataset_store as store
from permgrad.runs.requests import RunRequest

#: Arguments of the command line, and the code of the answer.
COMMANDS: list[tuple[str, str]] = [
    ("run", "PG005"),
    ("run table.csv", "PG005"),
    ("run table.csv --target", "PG005"),
    ("run table.csv --target Y", "PG012"),
    ("run table.csv --target nothing", "PG012"),
    ("run table.csv --targt y", "PG003"),
    ("run tabel.csv --target y", "PG010"),
    ("run . --target y", "PG010"),
    ("run table.csv --target y --target a", "PG006"),
    ("run table.csv --target y --task regresion", "PG003"),
    ("run table.csv --target town --task regression", "PG015"),
    ("run table.csv --target same", "PG015"),
    ("run short.csv --target y", "PG013"),
    ("run only.csv --target y", "PG015"),
    ("run flat.csv --target y", "PG015"),
    ("run table.csv --target y --drop y", "PG006"),
    ("run table.csv --target y --kind x=image --kind x=text", "PG006"),
    ("run table.csv --target y --drop aa", "PG012"),
    ("run table.csv --target y --id number", "PG012"),
    ("run table.csv --target y --kind a", "PG001"),
    ("run table.csv --target y --kind a=numbr", "PG003"),
    ("run table.csv --target y --kind a=date --kind a=numeric", "PG006"),
    ("run table.csv --target y --kind y=date", "PG015"),
    ("run table.csv --target y --row-group town --time a", "PG006"),
    ("run table.csv --target y --cost 0 0", "PG002"),
    ("run table.csv --target a --cost 1 5", "PG004"),
    ("run table.csv --target y --seed one", "PG001"),
    ("run table.csv --target y --max-rows 0", "PG002"),
    ("run table.csv --target y --threads 0", "PG002"),
    ("run table.csv --target y --from modell", "PG003"),
    ("run table.csv --target y --from report", "PG055"),
    ("run table.csv --target y --kind town=image", "PG019"),
    ("run table.csv --target y --test nowhere.csv", "PG010"),
    ("run table.csv --target y --preset nowhere.json", "PG010"),
    ("run table.csv --target y --out table.csv", "PG050"),
    ("run table.csv --target y --out thesis", "PG050"),
    ("rnu table.csv", "PG003"),
    ("predict nowhere table.csv", "PG010"),
    ("predict thesis table.csv extra", "PG003"),
    ("explain nowhere table.csv", "PG010"),
    ("explain thesis table.csv --row 1 --max-rows 5", "PG006"),
    ("explain thesis table.csv --method permutation --option baseline=mean", "PG003"),
    ("report nowhere", "PG010"),
    ("report thesis", "PG010"),
    ("compare table.csv --target y --models linear", "PG005"),
    ("compare table.csv --target y --models linear,linear", "PG005"),
    ("compare table.csv --target y --models linear,ligthgbm", "PG003"),
    ("compare table.csv --target y --cv 1", "PG002"),
    ("compare table.csv --target y --cv one", "PG002"),
    ("run table.csv --target y --encoder efficientnet", "PG003"),
    ("run table.csv --target y --baselines lightgmb", "PG003"),
    ("run table.csv --target y --competitor tabm", "PG003"),
    ("tune table.csv --target y --trials 0", "PG002"),
    ("benchmark tabluar", "PG003"),
    ("benchmark tabular --seeds 0", "PG002"),
    ("benchmark tabular --image-sets organamnist", "PG004"),
    ("datasets fetch helok", "PG003"),
]

#: Commands that the environment does not allow, and the code of the answer: the exit
#: code is 3.
ENVIRONMENT: list[tuple[str, str]] = [
    ("run book.xlsx --target y", "PG060"),
    ("compare table.csv --target y --models linear,xgboost", "PG060"),
    ("tune table.csv --target y", "PG060"),
    ("datasets fetch heloc", "PG063"),
    ("run heloc", "PG063"),
    ("run table.csv --target y --out /dev/full/run", "PG062"),
]

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(RNG.normal(size=(40, 3)), columns=["age", "dose", "weight"])
LABELS = np.where(FRAME["age"] > 0, "ill", "well")
FOREST = RandomForestClassifier(n_estimators=3, random_state=0).fit(FRAME, LABELS)
NET = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
PAIR = nn.Bilinear(3, 3, 2)
ROWS = torch.as_tensor(FRAME.to_numpy(np.float32).copy())
IMAGES = torch.zeros(6, 1, 8, 8)
CNN = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))


def explain(*arguments: Any, **options: Any) -> Any:
    return explain_with(
        *arguments, **{"progress": False, "random_state": 0, "n_repeats": 1} | options
    )


def fitted() -> pg.HyNNClassifier:
    return pg.HyNNClassifier(
        preset="fast", max_epochs=1, random_state=0, progress=False
    ).fit(FRAME, LABELS)


def other_library(name: str, call: Callable[[], Any]) -> Callable[[], Any]:
    """Return a call that finds no package of a name."""

    def without() -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            return call()

    return without


#: Calls in Python, and the code of the answer.
CALLS: list[tuple[Callable[[], Any], str]] = [
    (lambda: explain(RandomForestClassifier(), FRAME, LABELS), "PG030"),
    (lambda: explain(RandomForestClassifier, FRAME, LABELS), "PG031"),
    (lambda: explain(pg.HyNNClassifier(), FRAME, LABELS), "PG030"),
    (lambda: explain("model.pkl", FRAME, LABELS), "PG031"),
    (lambda: explain(FOREST, FRAME, LABELS[:9]), "PG007"),
    (lambda: explain(FOREST, FRAME[["age"]], LABELS), "PG032"),
    (lambda: explain(FOREST, FRAME.head(0), LABELS[:0]), "PG013"),
    (lambda: explain(FOREST, FRAME, LABELS, method="shaply"), "PG003"),
    (lambda: explain(FOREST, FRAME, LABELS, method="gradcam"), "PG034"),
    (lambda: explain(FOREST, FRAME, LABELS, method="integrated_gradients"), "PG034"),
    (lambda: explain(FOREST, FRAME, LABELS, layer="0"), "PG004"),
    (
        lambda: explain(
            FOREST, FRAME, LABELS, method=pg.methods.Shapley(max_permutations=0)
        ),
        "PG002",
    ),
    (lambda: explain(FOREST, FRAME, LABELS, loss="mse"), "PG003"),
    (lambda: explain(FOREST, FRAME, LABELS, scope="row"), "PG003"),
    (lambda: explain(FOREST, FRAME, LABELS, groups="features"), "PG001"),
    (lambda: explain(FOREST, FRAME, LABELS, n_repeats=0), "PG002"),
    (lambda: explain(FOREST, FRAME, LABELS, confidence=95), "PG002"),
    (
        lambda: explain(FOREST, FRAME, LABELS, groups={"body": ["wieght", "age"]}),
        "PG039",
    ),
    (lambda: explain(FOREST, FRAME, LABELS, background=5), "PG038"),
    (lambda: explain(FOREST, FRAME, LABELS, positive="il"), "PG035"),
    (lambda: explain(FOREST, FRAME, LABELS, sample_weight=np.ones(3)), "PG007"),
    (lambda: explain(FOREST, FRAME, method="shapley", target="il"), "PG035"),
    (lambda: explain(NET, ROWS, method="gradient", target=7), "PG035"),
    (lambda: explain(NET, ROWS, method="gradcam", layer="conv9"), "PG003"),
    (lambda: explain(NET, ROWS[:, :2], method="gradient"), "PG032"),
    (lambda: explain(CNN, IMAGES, method="gradient", segments=4), "PG039"),
    (lambda: explain(CNN, IMAGES, method="gradient", segments="patches"), "PG003"),
    (
        lambda: explain(PAIR, {"input1": ROWS, "inptu2": ROWS}, method="gradient"),
        "PG007",
    ),
    (lambda: pg.Explanation.load("nowhere"), "PG010"),
    (lambda: pg.load("nowhere"), "PG010"),
    (lambda: pg.read_table("tabel.csv"), "PG010"),
    (lambda: pg.load_dataset("helok"), "PG003"),
    (lambda: pg.HyNNClassifier(preset="fsat").fit(FRAME, LABELS), "PG003"),
    (lambda: pg.HyNNClassifier(max_epochs=0).fit(FRAME, LABELS), "PG001"),
    (lambda: pg.HyNNClassifier().fit(FRAME, LABELS[:9]), "PG007"),
    (lambda: pg.HyNNRegressor().fit(FRAME, LABELS), "PG015"),
    (lambda: explain(FOREST, FRAME, LABELS).plot.waterfall(row=0), "PG004"),
    (lambda: explain(FOREST, FRAME, LABELS).ranking("il"), "PG003"),
    (other_library("shap", lambda: explain(FOREST, FRAME, LABELS).to_shap()), "PG060"),
    (
        other_library("ray", lambda: explain(FOREST, FRAME, LABELS, engine="ray")),
        "PG060",
    ),
    (
        other_library(
            "onnx", lambda: pg.integrations.export_onnx(fitted(), "model.onnx")
        ),
        "PG060",
    ),
    (lambda: RunRequest(table="t.csv", cost=(-1, 2)).check(), "PG002"),
    (
        lambda: pg.compare(["linear", "extra_trees"], np.ones((30, 2)), np.ones(20)),
        "PG007",
    ),
]


def _no_network(url: str) -> bytes:
    raise OSError(url)


def answered(text: str, code: str) -> None:
    """Check that an answer has a problem and a hint as sentences, or names what can be
    passed, and the code.
    """
    assert text.endswith(f"[{code}]"), text
    assert code in CODES
    named = re.search(
        r"must be (one of|from|at least|at most|above|below) .*, got .*\. \[PG", text
    )
    assert named or re.search(r"[.?!…] [A-Z'\"].*[.?!:)\w] \[PG", text), (
        f"a problem and a hint: {text}"
    )
    assert "however" not in text
    assert "Traceback" not in text
    assert len(text.split()) < 80, text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base_folder = tmp_path_factory.mktemp("wrong")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=60),
            "b": rng.normal(size=60),
            "town": rng.choice(["Bonn", "Ulm"], 60),
        }
    )
    frame = frame.assign(same="one", y=np.where(frame["a"] > 0, "yes", "no"))
    frame.to_csv(base_folder / "table.csv", index=False)
    frame.head(5).to_csv(base_folder / "short.csv", index=False)
    frame[["y"]].to_csv(base_folder / "only.csv", index=False)
    frame[["same", "y"]].to_csv(base_folder / "flat.csv", index=False)
    with zipfile.ZipFile(base_folder / "book.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    (base_folder / "thesis").mkdir()
    (base_folder / "thesis" / "chapter.tex").write_text("years of work")
    return base_folder


def test_wrong_commands_are_answered(folder, monkeypatch):
    monkeypatch.chdir(folder)
    before = sorted(path.name for path in Path().rglob("*"))
    for words, code in COMMANDS:
        result = CliRunner().invoke(app, words.split())
        errors = [
            line for line in result.stderr.splitlines() if line.startswith("error: ")
        ]
        assert result.exit_code == 2, f"{words}: {result.output} {result.exception!r}"
        assert len(errors) == 1, f"{words}: {result.stderr}"
        answered(errors[0], code)
    assert sorted(path.name for path in Path().rglob("*")) == before, (
        "nothing is written"
    )


def test_what_the_environment_does_not_allow_is_answered(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ("openpyxl", "xgboost", "optuna"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(store, "fetch_bytes", _no_network)
    monkeypatch.setenv("PERMGRAD_DATA", "")
    monkeypatch.setenv("PERMGRAD_CACHE", str(folder / "cache"))
    for words, code in ENVIRONMENT:
        result = CliRunner().invoke(app, words.split())
        errors = [
            line for line in result.stderr.splitlines() if line.startswith("error: ")
        ]
        assert result.exit_code == 3, f"{words}: {result.output} {result.exception!r}"
        assert len(errors) == 1, f"{words}: {result.stderr}"
        answered(errors[0], code)


def test_wrong_calls_are_answered():
    for call, code in CALLS:
        with pytest.raises(pg.PermgradError) as caught:
            call()
        answered(str(caught.value), code)
        assert caught.value.code == code
    assert caught.value.exit_code == (3 if code == "PG060" else 2)
    assert len(COMMANDS) + len(ENVIRONMENT) + len(CALLS) >= 100
