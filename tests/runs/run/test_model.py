"""``permgrad run --model``: every model with every kind of table is trained, explained,
saved, loaded and resumed.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with
from PIL import Image
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import permgrad as pg
from permgrad.assess.assessed_model import TrainedOther
from permgrad.assess.assessed_rows import Rows
from permgrad.assess.budget import Clock
from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.base.files import file_hash, json_text
from permgrad.base.numerals import number
from permgrad.base.stored import sealed
from permgrad.evaluation.baselines.fitting import FittedBaseline, baselines
from permgrad.evaluation.baselines.table_model import table_model
from permgrad.runs.commands.explain_command import explain_table
from permgrad.runs.commands.predict import predict_table
from permgrad.runs.commands.report_command import rebuild_report
from permgrad.runs.requests import (
    ExplainRequest,
    PredictRequest,
    ReportRequest,
    RunRequest,
)
from permgrad.runs.run import others
from permgrad.runs.run.choosing import estimator_of
from permgrad.runs.run.run import run_table

MODELS = [name for name, baseline in baselines.items() if baseline.file]
TABLES = ("binary", "classes", "numbers")
#: The model with which everything that a run does is tried. All others are fitted,
#: saved, loaded and explained.
USUAL = "lightgbm"


def skip_without(name):
    baseline = baselines.get(name)
    lacking = [
        package_name
        for package_name in (baseline.package, "skops" * (baseline.file == "skops"))
        if package_name and find_spec(package_name) is None
    ]
    if lacking:
        pytest.skip(f"{lacking[0]} is not installed")


def table(kind: str, rows: int = 240) -> pd.DataFrame:
    """Return rows with a number that is sometimes missing, a category, a date, a text,
    and a target.
    """
    rng = np.random.default_rng(0)
    words = np.array(["red", "blue", "old", "new", "big", "fast", "slow", "cheap"])
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=rows).round(2),
            "town": rng.choice(["Bonn", "Ulm", "Kiel"], rows),
        }
    )
    frame["listed"] = rng.permutation(
        pd.date_range("2021-01-01", periods=rows).strftime("%Y-%m-%d")
    )
    frame["text"] = [
        " ".join(rng.permutation(words)[:4]) + f" item {row}" for row in range(rows)
    ]
    frame.loc[::9, "size"] = None
    frame.loc[::11, "town"] = None
    truth = (
        frame["size"].fillna(0) * 2
        + 2.0 * (frame["town"] == "Bonn")
        + 2.0 * frame["text"].str.contains("red")
    )
    truth += rng.normal(0, 0.1, rows)
    if kind == "numbers":
        return frame.assign(y=truth.round(3))
    cuts = truth.quantile([0.5] if kind == "binary" else [0.3, 0.6])
    return frame.assign(y=np.array(["low", "mid", "top"])[np.digitize(truth, cuts)])


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tables")
    for kind in TABLES:
        table(kind).to_csv(folder / f"{kind}.csv", index=False)
    return {kind: folder / f"{kind}.csv" for kind in TABLES}


def test_columns_that_are_one_feature_are_that_for_every_model(tables, tmp_path):
    skip_without(USUAL)
    (tmp_path / "groups.json").write_text('{"what": ["size", "town"]}')
    for model, preset in ((USUAL, "default"), ("network", "fast")):
        folder = tmp_path / model
        run_options = {
            "model": model,
            "preset": preset,
            "groups": tmp_path / "groups.json",
        }
        run_table(
            RunRequest(
                table=str(tables["numbers"]), target=("y",), out=folder, **run_options
            ),
            say=lambda _: None,
        )
        explanation = pg.Explanation.load(folder / "explanations" / "permgrad")
        assert (explanation.level, explanation.names[0]) == ("feature", "what"), model
        assert (folder / "explanations" / "reading.json").is_file(), (
            "what shows features one by one"
        )


@pytest.fixture(scope="module")
def runs(tables, tmp_path_factory):
    """Return what runs a table with the usual model once, and its folder."""
    done: dict[str, tuple[RunRequest, list[str]]] = {}

    def run(kind: str) -> tuple[RunRequest, list[str]]:
        skip_without(USUAL)
        if kind not in done:
            out = tmp_path_factory.mktemp("runs") / kind
            progress_lines = []
            request = RunRequest(
                table=str(tables[kind]), target=("y",), model=USUAL, out=out
            )
            run_table(request, say=progress_lines.append)
            done[kind] = request, progress_lines
        return done[kind]

    return run


def test_a_mean_that_was_taken_off_is_saved(tmp_path):
    skip_without(USUAL)
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=300)})
    y = 5e8 + X["a"].to_numpy()
    fitted = table_model("regression", USUAL).fit(X, y)
    fitted.save(tmp_path / "model")
    again = pg.load(tmp_path / "model")
    assert np.abs(again.predict(X) - y).max() < 2
    assert (again.predict(X) == fitted.predict(X)).all()
    again.save(tmp_path / "copy")
    assert (pg.load(tmp_path / "copy").predict(X) == fitted.predict(X)).all()


# ---- every model ---------------------------------------------------------------------
@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("name", MODELS)
def test_is_fitted_saved_loaded_and_explained(name, kind, tmp_path):
    skip_without(name)
    frame = table(kind)
    X = frame.drop(columns="y")
    y = frame["y"].to_numpy()
    task = "regression" if kind == "numbers" else "classification"
    fitted = table_model(task, name).fit(
        X[:150], y[:150], eval_set=(X[150:190], y[150:190])
    )
    fitted.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    ours, theirs = (model.predict_parts(X[190:], 0.8) for model in (fitted, loaded))
    assert list(ours) == list(theirs)
    for part_name, values in ours.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(
                theirs[part_name], values, rtol=1e-12, atol=1e-12
            )
        else:
            assert (theirs[part_name] == values).all()
    assert loaded.label == fitted.label
    inside = ours["inside"]
    if kind == "numbers":
        assert (inside[:, 0] < ours["prediction"]).all()
        assert 0.6 < ((inside[:, 0] <= y[190:]) & (y[190:] <= inside[:, 1])).mean() <= 1
    else:
        assert (
            0.6
            < inside[np.arange(50), np.searchsorted(fitted.classes_, y[190:])].mean()
            <= 1
        )
    explanation = pg.explain(
        loaded,
        X[190:],
        y[190:],
        background=X[:150],
        n_repeats=2,
        progress=False,
        random_state=0,
    )
    date_features = {
        f"listed: {date_part}"
        for date_part in ("trend", "season", "day of the month", "weekday")
    }
    assert set(explanation.names) == set(X.columns) - {"listed"} | date_features
    assert explanation.modality[explanation.names.index("text")] == "text"
    assert (
        explanation.ranking()[-1] in date_features
    )  # the target does not depend on it


def test_images_too_few_to_train_on_are_read_after_loading(tmp_path):
    skip_without(USUAL)
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, 60)
    for image_number, value in enumerate(values):
        shades = rng.integers(100 * value, 100 + 100 * value, (12, 12)).astype(np.uint8)
        Image.fromarray(shades).save(tmp_path / f"{image_number}.png")
    X = pd.DataFrame(
        {
            "scan": [str(tmp_path / f"{file_number}.png") for file_number in range(60)],
            "size": rng.normal(size=60),
        }
    )
    fitted = table_model("regression", USUAL).fit(
        X, values + 0.1 * X["size"].to_numpy()
    )
    assert np.ptp(fitted.predict(X)) > 0.5, "it reads the images"
    fitted.save(tmp_path / "model")
    np.testing.assert_allclose(
        pg.load(tmp_path / "model").predict(X), fitted.predict(X), rtol=1e-12
    )


def test_damaged_trees_are_refused(tmp_path):
    skip_without(USUAL)
    frame = table("numbers")
    X = frame[["size", "town"]]
    y = frame["y"].to_numpy()
    table_model("regression", USUAL).fit(X, y).save(tmp_path / "model")
    assert not list((tmp_path / "model").glob("fitted*")), (
        "trees need no file of their library"
    )
    file = tmp_path / "model" / "arrays.npz"
    arrays = dict(np.load(file))
    arrays["trees.left"][0] = 10**6
    np.savez(file, **arrays)
    with pytest.raises(
        InputError, match=r"arrays\.npz is damaged: its checksum differs"
    ):
        pg.load(tmp_path / "model")
    description = json.loads((tmp_path / "model" / "model.json").read_bytes())
    description["checksums"]["arrays.npz"] = file_hash(file)
    (tmp_path / "model" / "model.json").write_text(json_text(sealed(description)))
    with pytest.raises(InputError, match=r"damaged \(.*a node that does not exist"):
        pg.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "catboost"])
def test_trees_are_read_without_their_library(name, tmp_path, monkeypatch):
    skip_without(name)
    frame = table("classes")
    X = frame[["size", "town"]]
    y = frame["y"].to_numpy()
    fitted = table_model("classification", name).fit(X, y)
    fitted.save(tmp_path / "model")
    monkeypatch.setitem(sys.modules, name, None)
    np.testing.assert_array_equal(
        pg.load(tmp_path / "model").predict_proba(X), fitted.predict_proba(X)
    )


# ---- the run -------------------------------------------------------------------------
@pytest.mark.parametrize(
    "kind", ["binary", "classes", pytest.param("numbers", marks=pytest.mark.slow)]
)
def test_a_run_names_its_model_and_resumes(runs, kind):
    request, progress_lines = runs(kind)
    page = (request.folder / "report.html").read_text(encoding="utf-8")
    assert "The model LightGBM predicts y with" in page
    assert "Network and training" not in page
    assert "this network" not in page
    assert any("LightGBM was fitted in" in line for line in progress_lines)
    assert "The trained model is inside this page" in page, "What if? walks its trees"
    metrics = json.loads((request.folder / "metrics.json").read_bytes())
    assert metrics["model"] == "LightGBM"
    assert metrics["intervals"]["coverage"] == 0.9
    # A process that was killed while it explained.
    names = ("importance.csv", "metrics.json", "predictions.csv")
    before = {name: (request.folder / name).read_bytes() for name in names}
    record = json.loads((request.folder / "run.json").read_bytes())
    record["finished_stages"] = ["data", "layout", "model"]
    (request.folder / "run.json").write_text(json.dumps(record))
    again: list[str] = []
    outcome = run_table(request, say=again.append)
    assert "[3/5] model: finished before" in again
    assert {name: (request.folder / name).read_bytes() for name in names} == before
    assert not outcome.facts["already_finished"]
    assert run_table(request, say=again.append).facts["already_finished"]


def test_its_folder_predicts_explains_and_reports(runs, tables, tmp_path):
    request, _ = runs("classes")
    outcome = predict_table(
        PredictRequest(
            model_folder=request.folder,
            table=tables["classes"],
            out=tmp_path / "p.csv",
            coverage=0.9,
        )
    )
    assert outcome.facts["classes"] == ["low", "mid", "top"]
    predicted = pd.read_csv(tmp_path / "p.csv").set_index("row")
    stored = pd.read_csv(request.folder / "predictions.csv").set_index("row")
    pd.testing.assert_series_equal(
        predicted["probability_top"].loc[stored.index], stored["probability_top"]
    )
    explained = ExplainRequest(
        model_folder=request.folder,
        row=3,
        method="shapley",
        table=tables["classes"],
        out=tmp_path / "e",
    )
    explain_table(explained)
    local = pg.Explanation.load(tmp_path / "e")
    assert local.values.shape == (1, 7, 3)
    before = (request.folder / "report.html").read_text(encoding="utf-8")
    rebuild_report(ReportRequest(folder=request.folder, title="A new title"))
    assert (request.folder / "report.html").read_text(encoding="utf-8").replace(
        "A new title", "classes"
    ) == before


def test_one_row_has_no_donors(runs, tables, tmp_path):
    request, _ = runs("classes")
    pd.read_csv(tables["classes"])[:1].to_csv(tmp_path / "one.csv", index=False)
    with pytest.raises(InputError, match="The table has one row"):
        explain_table(
            ExplainRequest(
                model_folder=request.folder,
                row=0,
                table=tmp_path / "one.csv",
                out=tmp_path / "e",
            )
        )


@pytest.mark.slow
@pytest.mark.parametrize("columns", [6, 13])
def test_single_rows_take_few_predictions_and_are_near_the_exact_values(
    columns, monkeypatch
):
    skip_without(USUAL)
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        rng.normal(size=(400, columns)),
        columns=[f"x{column_number}" for column_number in range(columns)],
    )
    y = (X["x0"] * X["x1"] + X["x2"]).to_numpy()
    model = table_model("regression", USUAL).fit(X, y)
    few = X[:10].reset_index(drop=True)
    work = TrainedOther.of(model, X, Clock(), seed=0)
    predicted = []
    guess = FittedBaseline.guess

    def counted(one, rows):
        predicted.append(len(getattr(rows, "encoded", rows)))
        return guess(one, rows)

    monkeypatch.setattr(FittedBaseline, "guess", counted)
    ours = work.attribute(
        Rows(inputs=few, y=y[:10], numbers=np.arange(10), table=few)
    ).values
    # Orders and their reverses: a prediction for each further feature.
    assert sum(predicted) < 1.5 * 10 * 200 * (columns + 1)
    if columns == 6:
        options = {"random_state": 0, "progress": False}
        exact = explain_with(
            model, few, method="shapley", scope="local", **options
        ).values
        assert np.abs(ours - exact).max() < 0.03 * np.ptp(y)


def test_single_rows_of_wide_tables_take_fewer_orders(monkeypatch):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        rng.normal(size=(300, 12)),
        columns=[f"x{column_number}" for column_number in range(12)],
    )
    y = (X["x0"] + X["x2"]).to_numpy()
    # Of trees values are exact, and no order is played.
    model = table_model("regression", "linear").fit(X, y)
    few = X[:10].reset_index(drop=True)
    rows = Rows(inputs=few, y=y[:10], numbers=np.arange(10), table=few)
    orders = []
    for wide in (12, 3):
        monkeypatch.setattr("permgrad.attribution.reasons._WIDE", wide)
        work = TrainedOther.of(model, X, Clock(), seed=0)
        orders.append(work.attribute(rows).meta["permutations"])
        assert work.clock.cut == []
    assert orders[0] > 50 >= orders[1]


# ---- an estimator of the user's ------------------------------------------------------
def pipeline(model):
    numbers = (SimpleImputer(), ["size"])
    levels = (OneHotEncoder(handle_unknown="ignore"), ["town"])
    return make_pipeline(make_column_transformer(numbers, levels), model)


def test_an_estimator_of_the_user_gets_the_columns_as_they_are(
    tables, tmp_path, monkeypatch
):
    pytest.importorskip("skops")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_models.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n"
        "from tests.runs.run.test_model import pipeline\n"
        "def make(): return pipeline(LogisticRegression())\n"
    )
    request = RunRequest(
        table=str(tables["binary"]),
        target=("y",),
        model="own_models:make",
        out=tmp_path / "run",
    )
    outcome = run_table(request, say=lambda _: None)
    assert outcome.text.startswith("The model LogisticRegression predicts y with")
    frame = pd.read_csv(tables["binary"])
    split = np.load(tmp_path / "run" / "split.npz")
    own_pipeline = pipeline(LogisticRegression()).fit(
        frame.iloc[split["train"]], frame["y"][split["train"]]
    )
    expected = own_pipeline.predict_proba(frame.iloc[split["test"]])[:, 1]
    stored = pd.read_csv(tmp_path / "run" / "predictions.csv")
    np.testing.assert_allclose(stored["probability_mid"], expected)
    loaded = pg.load(tmp_path / "run" / "model")
    np.testing.assert_allclose(
        loaded.predict_proba(frame.drop(columns="y"))[split["test"], 1], expected
    )


def test_types_of_the_users_own_are_loaded_in_python_alone(
    tables, tmp_path, monkeypatch
):
    skops = pytest.importorskip("skops")
    pytest.importorskip("skops.io")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_types.py").write_text(
        "from sklearn.linear_model import LogisticRegression\nfrom "
        "tests.runs.run.test_model import pipeline\nclass Mine(LogisticRegression): "
        "pass\ndef make(): return pipeline(Mine())\n"
    )
    request = RunRequest(
        table=str(tables["binary"]),
        target=("y",),
        model="own_types:make",
        out=tmp_path / "run",
    )
    run_table(request, say=lambda _: None)
    # Newer versions of skops do not trust numpy.dtype either.
    message_pattern = (
        r"by itself: own_types\.Mine\. .*skops\.io\.load\('run/model/fitted\.skops', "
        r"trusted=\[('numpy\.dtype', )?'own_types\.Mine'\]\)"
    )
    for ask, request_class in (
        (predict_table, PredictRequest),
        (explain_table, ExplainRequest),
    ):
        with pytest.raises(InputError, match=message_pattern) as refused:
            ask(
                request_class(
                    model_folder=Path("run"),
                    table=tables["binary"],
                    out=tmp_path / "out",
                )
            )
    X = pd.read_csv(tables["binary"]).drop(columns="y")
    remedy = re.search(r"skops\.io\.load\(.*\)", str(refused.value))
    loaded = eval(remedy[0], {"skops": skops})
    stored = pd.read_csv(tmp_path / "run" / "predictions.csv")
    np.testing.assert_allclose(
        loaded.predict_proba(X)[stored["row"], 1], stored["probability_mid"]
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "def make(): return None",
            "returns a NoneType, which has no fit and no predict",
        ),
        (
            "def make(): return SimpleImputer()",
            "returns a SimpleImputer, which has no predict",
        ),
        ("make = lambda: LogisticRegression", "returns a class"),
        ("def make(): raise KeyError('x')", "KeyError"),
        ("def other(): return Ridge()", "has no attribute 'make'"),
    ],
)
def test_what_a_function_must_return(text, words, tables, tmp_path, monkeypatch):
    pytest.importorskip("skops")
    monkeypatch.chdir(tmp_path)
    name = f"own_{abs(hash(text))}"
    imports = (
        "from sklearn.impute import SimpleImputer\nfrom sklearn.linear_model "
        "import LogisticRegression\n"
    )
    (tmp_path / f"{name}.py").write_text(imports + text)
    request = RunRequest(
        table=str(tables["binary"]),
        target=("y",),
        model=f"{name}:make",
        out=tmp_path / "run",
    )
    with pytest.raises(InputError, match=words):
        run_table(request, say=lambda _: None)
    assert not (tmp_path / "run").exists()


def test_a_function_may_return_its_estimator_in_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_read.py").write_text(
        "import permgrad as pg\nfrom sklearn.linear_model import Ridge\ndef make(): "
        "return pg.Model(Ridge(alpha=3))\ndef said(): return pg.Model(Ridge(), "
        "positive='yes')\ndef fitted(): return pg.Model(lambda rows: rows)\n"
    )
    assert estimator_of("own_read:make").alpha == 3
    with pytest.raises(
        InputError,
        match=r"returns a pg\.Model with positive=\. Of a run its options say this",
    ):
        estimator_of("own_read:said")
    with pytest.raises(InputError, match="which has no fit and no predict"):
        estimator_of("own_read:fitted")


# ---- what is refused -----------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"preset": "fast"},
            "--preset fast is for permgrad's network, and --model is lightgbm",
        ),
        (
            {"preset": "default:image"},
            "--preset default:image is for permgrad's network",
        ),
    ],
)
def test_options_of_the_network_are_refused(options, words, tables, tmp_path):
    with pytest.raises(InputError, match=words):
        run_table(
            RunRequest(
                table=str(tables["binary"]),
                model="lightgbm",
                out=tmp_path / "r",
                **options,
            )
        )


def test_a_missing_package_is_named_before_the_table_is_read(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "permgrad.evaluation.baselines.fitting.importlib.util.find_spec", lambda _: None
    )
    with pytest.raises(
        EnvironmentProblem, match=r"lightgbm is not installed.*permgrad\[boost\]"
    ):
        run_table(RunRequest(table="no.csv", model="lightgbm", out=tmp_path / "run"))


# ---- auto ----------------------------------------------------------------------------
def test_auto_takes_the_model_with_the_least_loss(tables, tmp_path, monkeypatch):
    pytest.importorskip("skops")
    skip_without(USUAL)
    monkeypatch.setattr(others, "CANDIDATES", ("extra_trees", "linear"))
    progress_lines: list[str] = []
    request = RunRequest(
        table=str(tables["numbers"]), target=("y",), model="auto", out=tmp_path / "run"
    )
    outcome = run_table(request, say=progress_lines.append)
    auto_facts = json.loads((tmp_path / "run" / "run.json").read_bytes())["facts"][
        "auto"
    ]
    assert auto_facts["model"] == "linear"  # the target is a sum
    assert auto_facts["losses"]["linear"] < auto_facts["losses"]["extra_trees"]
    assert outcome.text.startswith("The model ridge regression predicts y")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "--model auto chose ridge regression" in page
    assert "The first two differ by" in page


@pytest.mark.parametrize("timed", [None, False, True])
def test_parts_keep_classes_groups_and_times(timed):
    from permgrad.base.dependence import Dependence

    y = np.tile(["a", "a", "b"], 30)
    groups = np.repeat(np.arange(30), 3)
    part_codes = others._parts(
        y,
        "classification",
        0,
        None if timed is None else Dependence(groups, timed=timed),
    )
    assert sorted(np.unique(part_codes, return_counts=True)[1].tolist()) == [30, 30, 30]
    if timed is None:
        assert all(
            abs((y[part_codes == part_code] == "b").sum() - 10) <= 1
            for part_code in range(3)
        )
    else:
        assert all(
            len(np.unique(part_codes[groups == group_code])) == 1
            for group_code in range(30)
        )
    if timed:
        assert (np.diff(part_codes) >= 0).all()


@pytest.mark.slow
def test_the_report_of_a_loaded_model_is_that_of_its_run(runs, tables):
    folder = runs("binary")[0].folder
    frame = pd.read_csv(tables["binary"])
    split = np.load(folder / "split.npz")
    split_frames = (frame.iloc[split[split_name]] for split_name in ("train", "test"))
    train, test = ((rows.drop(columns="y"), rows["y"]) for rows in split_frames)
    page = pg.report(pg.load(folder / "model"), *test, train=train, progress=False)
    assert "cannot run inside the page" not in page.html
    stored = json.loads((folder / "metrics.json").read_text())["test"]["roc_auc"]
    heading = f'predicts y with <span class="whole">ROC-AUC</span> {number(stored)}'
    assert f"LightGBM {heading}" in page.html
